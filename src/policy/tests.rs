//! Policies as an operator would write them, judged over routes as a peer would send them.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use ipnet::IpNet;

use super::*;
use crate::num::{Asn, Family};
use crate::wire::{Community, LargeCommunity, NextHop, Origin, PathAttributes};

fn net(s: &str) -> IpNet {
    s.parse().expect("a prefix")
}

fn facts(source: Source) -> PeerFacts {
    let peer = PeerName { name: "tor-1".into(), addr: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), asn: Asn(65001) };
    PeerFacts {
        peer: Some(peer),
        external: source == Source::External,
        local_as: Asn(64512),
        source,
        validity: crate::rpki::Validity::NotFound,
    }
}

fn communities(any: &[&str]) -> Condition {
    Condition::Community(any.iter().map(|text| text.parse().expect("a community")).collect())
}

fn community(text: &str) -> AnyCommunity {
    text.parse().expect("a community")
}

/// 65001 65002, next hop 192.0.2.1, MED 50, 65001:7, rt:64512:1, 7:8:9.
fn route() -> PathAttributes {
    let mut editor = PathAttributes::builder(Origin::Igp, NextHop::V4(Ipv4Addr::new(192, 0, 2, 1)));
    editor.prepend(Asn(65002), 1).prepend(Asn(65001), 1).set_med(Some(50)).add_community(Community::new(65001, 7));
    editor.add_extended_community("rt:64512:1".parse().expect("a community")).add_large_community(LargeCommunity::new(7, 8, 9));
    editor.finish()
}

fn rule(when: Vec<Condition>, set: Vec<Edit>, then: Step) -> Rule {
    Rule { name: None, when, set, then }
}

fn chain(rules: Vec<Rule>, otherwise: Step) -> Chain {
    Chain::from_policies(vec![Arc::new(Policy { name: "p".into(), rules, otherwise })])
}

fn holds(condition: Condition) -> bool {
    let chain = chain(vec![rule(vec![condition], vec![], Step::Accept)], Step::Reject);
    matches!(chain.judge(&net("10.1.0.0/24"), &route(), &facts(Source::External)), Verdict::Accept(_))
}

#[test]
fn each_condition_holds_for_what_it_names_and_not_for_its_neighbour() {
    let prefixes = |s: &str| Condition::Prefix(Arc::new(PrefixSet::new([PrefixRange::orlonger(net(s))])));
    let addr = |s: &str| PeerMatch::Addr(s.parse().expect("an address"));
    let pairs = [
        (prefixes("10.0.0.0/8"), prefixes("11.0.0.0/8")),
        (Condition::Family(Family::Ipv4Unicast), Condition::Family(Family::Ipv6Unicast)),
        (communities(&["1:1", "65001:7"]), communities(&["1:1", "65001:8"])),
        (communities(&["65001:*"]), communities(&["65002:*"])),
        (communities(&["rt:64512:*"]), communities(&["rt:64513:*", "soo:64512:1"])),
        (communities(&["7:*:9"]), communities(&["7:*:8"])),
        (Condition::AsPath(AsPathMatch::Contains(vec![Asn(65002)])), Condition::AsPath(AsPathMatch::Contains(vec![Asn(65003)]))),
        (Condition::AsPath(AsPathMatch::StartsWith(vec![Asn(65001)])), Condition::AsPath(AsPathMatch::StartsWith(vec![Asn(65002)]))),
        (Condition::AsPath(AsPathMatch::OriginatedBy(vec![Asn(65002)])), Condition::AsPath(AsPathMatch::OriginatedBy(vec![Asn(65001)]))),
        (Condition::AsPath(AsPathMatch::Length(2..=2)), Condition::AsPath(AsPathMatch::Length(3..=9))),
        (Condition::Not(Box::new(Condition::AsPath(AsPathMatch::Empty))), Condition::AsPath(AsPathMatch::Empty)),
        (Condition::NextHop(vec![net("192.0.2.0/24")]), Condition::NextHop(vec![net("192.0.3.0/24")])),
        (Condition::Peer(vec![PeerMatch::Name("tor-1".into())]), Condition::Peer(vec![PeerMatch::Name("tor-2".into())])),
        (Condition::Peer(vec![addr("192.0.2.1")]), Condition::Peer(vec![addr("192.0.2.2")])),
        (Condition::Peer(vec![PeerMatch::Asn(Asn(65001))]), Condition::Peer(vec![PeerMatch::Asn(Asn(65002))])),
        (Condition::External, Condition::Internal),
        (Condition::Any(vec![Condition::Local, Condition::External]), Condition::Local),
        (Condition::Origin(Origin::Igp), Condition::Origin(Origin::Egp)),
        (Condition::Med(50..=60), Condition::Med(51..=60)),
        (Condition::LocalPref(100..=100), Condition::LocalPref(101..=200)),
        (Condition::Not(Box::new(Condition::RouteType(vec![LocalKind::Block]))), Condition::RouteType(vec![LocalKind::Block])),
    ];
    for (yes, no) in pairs {
        assert!(holds(yes.clone()), "{yes:?} should hold");
        assert!(!holds(no.clone()), "{no:?} should not hold");
    }
}

#[test]
fn the_first_rule_that_accepts_or_rejects_decides_and_is_named() {
    let mut refuse = rule(vec![Condition::External], vec![], Step::Reject);
    refuse.name = Some("no-transit".into());
    let judge = |rules| chain(rules, Step::Accept).judge(&net("10.1.0.0/24"), &route(), &facts(Source::External));
    let Verdict::Reject(by) = judge(vec![rule(vec![Condition::Local], vec![], Step::Accept), refuse.clone()]) else { panic!("refused") };
    assert_eq!((&*by.policy, by.rule, by.to_string().as_str()), ("p", Some(2), "policy p, rule no-transit"));
    assert_eq!(judge(vec![rule(vec![], vec![], Step::Accept), refuse]), Verdict::Accept(None));
}

#[test]
fn edits_add_up_over_rules_and_later_rules_see_them() {
    let tag = community("64512:1");
    let rules = vec![
        rule(vec![], vec![Edit::AddCommunities(vec![tag]), Edit::Med(MedEdit::Add(5)), Edit::Med(MedEdit::Add(1))], Step::Next),
        rule(vec![communities(&["64512:1"])], vec![Edit::Med(MedEdit::Subtract(6)), Edit::LocalPref(70)], Step::Next),
        rule(vec![Condition::Med(50..=50)], vec![Edit::Prepend { asn: None, count: 2 }], Step::Accept),
    ];
    let Verdict::Accept(Some(attrs)) = chain(rules, Step::Reject).judge(&net("10.1.0.0/24"), &route(), &facts(Source::External)) else {
        panic!("the third rule saw MED 50")
    };
    assert_eq!((attrs.med(), attrs.local_pref()), (Some(50), Some(70)));
    assert_eq!(attrs.as_path().asns().collect::<Vec<_>>(), [64512, 64512, 65001, 65002].map(Asn));
    assert!(CommunityMatch::exactly(tag).holds(&attrs) && attrs.has_community(Community::new(65001, 7)));
}

#[test]
fn communities_of_all_kinds_are_removed_added_and_cleared() {
    let after = |set: Vec<Edit>| {
        let judged =
            chain(vec![rule(vec![], set, Step::Accept)], Step::Reject).judge(&net("10.1.0.0/24"), &route(), &facts(Source::External));
        let Verdict::Accept(Some(attrs)) = judged else { panic!("accepted and changed") };
        let standard = attrs.communities().map(|c| c.to_string());
        let all =
            standard.chain(attrs.extended_communities().map(|c| c.to_string())).chain(attrs.large_communities().map(|c| c.to_string()));
        all.collect::<Vec<_>>().join(" ")
    };
    let remove = |text: &str| vec![Edit::RemoveCommunities(vec![text.parse().expect("a community")])];
    assert_eq!(after(remove("65001:7")), "rt:64512:1 7:8:9");
    assert_eq!(after(remove("65001:*")), "rt:64512:1 7:8:9");
    assert_eq!(after(remove("rt:64512:*")), "65001:7 7:8:9");
    assert_eq!(after(remove("0x0002*")), "65001:7 7:8:9");
    assert_eq!(after(remove("*:8:*")), "65001:7 rt:64512:1");
    assert_eq!(after(remove("65002:*")), "65001:7 rt:64512:1 7:8:9");
    assert_eq!(after(vec![Edit::ClearCommunities]), "");
    let add = ["1:1", "soo:192.0.2.1:5", "1:2:3", "65001:7"].map(community).to_vec();
    assert_eq!(after(vec![Edit::AddCommunities(add.clone())]), "65001:7 1:1 rt:64512:1 soo:192.0.2.1:5 7:8:9 1:2:3");
    assert_eq!(after(vec![Edit::ClearCommunities, Edit::AddCommunities(add)]), "1:1 65001:7 soo:192.0.2.1:5 1:2:3");
}

/// `set_next_hop` of one family says nothing of the other; an IPv6 address is one for IPv4 routes where the rule names them (RFC 8950).
#[test]
fn a_next_hop_is_set_for_routes_of_its_family_alone() {
    let judged = |when: Vec<Condition>, hop: &str, of: &str| {
        let set = vec![Edit::NextHop(NextHopEdit::Address(hop.parse().expect("an address")))];
        let attrs = chain(vec![rule(when, set, Step::Accept)], Step::Reject).run(&net(of), &route(), &facts(Source::External));
        let accepted = attrs.expect("accepted");
        (accepted.attrs.unwrap_or_else(route).next_hop().addr().to_string(), accepted.next_hop.is_some())
    };
    let unchanged = ("192.0.2.1".to_owned(), false);
    assert_eq!(judged(vec![], "192.0.2.77", "10.1.0.0/24"), ("192.0.2.77".to_owned(), true));
    assert_eq!(judged(vec![], "192.0.2.77", "2001:db8::/32"), unchanged);
    assert_eq!(judged(vec![], "2001:db8::77", "2001:db8::/32"), ("2001:db8::77".to_owned(), true));
    assert_eq!(judged(vec![], "2001:db8::77", "10.1.0.0/24"), unchanged);
    assert_eq!(judged(vec![Condition::Family(Family::Ipv4Unicast)], "2001:db8::77", "10.1.0.0/24"), ("2001:db8::77".to_owned(), true));
}

#[test]
fn what_a_refusing_rule_sets_is_not_looked_at() {
    let rules = vec![rule(vec![], vec![Edit::LocalPref(1)], Step::Reject)];
    assert!(matches!(chain(rules, Step::Accept).judge(&net("10.1.0.0/24"), &route(), &facts(Source::External)), Verdict::Reject(_)));
}

#[test]
fn own_blocks_lets_blocks_of_this_node_out_and_nothing_else() {
    let judge = |source| matches!(Chain::own_blocks().judge(&net("10.1.0.0/26"), &route(), &facts(source)), Verdict::Accept(None));
    assert!(judge(Source::Local(LocalKind::Block)));
    let others = [Source::Local(LocalKind::Pod), Source::Local(LocalKind::Service), Source::Internal, Source::External];
    assert!(others.into_iter().all(|source| !judge(source)));
}

#[test]
fn policies_of_a_chain_are_asked_in_order_until_one_decides() {
    let services = Policy {
        name: "services".into(),
        rules: vec![rule(vec![Condition::RouteType(vec![LocalKind::Service])], vec![], Step::Accept)],
        otherwise: Step::Next,
    };
    let both = Chain::from_policies(vec![Arc::new(Policy::own_blocks()), Arc::new(services)]);
    let judge = |source| both.judge(&net("10.1.0.0/26"), &route(), &facts(source));
    assert_eq!(judge(Source::Local(LocalKind::Block)), Verdict::Accept(None));
    assert_eq!(judge(Source::Local(LocalKind::Service)), Verdict::Accept(None));
    let Verdict::Reject(by) = judge(Source::Internal) else { panic!("refused at the end") };
    assert_eq!(by.to_string(), "the end of the chain: no policy accepted it");
}

#[test]
fn an_external_session_without_policy_takes_and_tells_nothing_and_says_so() {
    let Verdict::Reject(by) = Chain::unconfigured(true).judge(&net("10.1.0.0/24"), &route(), &facts(Source::External)) else {
        panic!("RFC 8212 §2")
    };
    assert!(by.is_no_policy() && by.to_string().contains("RFC 8212"));
    assert_eq!(Chain::unconfigured(false).judge(&net("10.1.0.0/24"), &route(), &facts(Source::Internal)), Verdict::Accept(None));
}

#[test]
fn a_chain_knows_what_it_looks_at() {
    let asks =
        |c: Condition| chain(vec![rule(vec![Condition::Not(Box::new(Condition::Any(vec![c])))], vec![], Step::Accept)], Step::Reject);
    assert!(asks(Condition::Prefix(Arc::default())).depends_on_prefix() && !asks(Condition::Local).depends_on_prefix());
    assert!(asks(Condition::Peer(vec![])).depends_on_peer() && !asks(Condition::Prefix(Arc::default())).depends_on_peer());
    assert!(!Chain::all().depends_on_prefix() && !Chain::own_blocks().depends_on_peer());
}

#[test]
fn chains_of_equal_content_are_equal() {
    let make = |n| chain(vec![rule(vec![Condition::Med(0..=n)], vec![Edit::LocalPref(n)], Step::Accept)], Step::Reject);
    assert_eq!(make(1), make(1));
    assert_ne!(make(1), make(2));
    assert_ne!(Chain::none(), Chain::unconfigured(true));
    assert!(!make(1).ptr_eq(&make(1)) && Chain::all() == Chain::all());
}
