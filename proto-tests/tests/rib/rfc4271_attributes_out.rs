//! RFC 4271 §5.1 on the way out, with RFC 2545, 4360, 6793 and 8950 where they speak of it: what each attribute looks like towards whom.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use bytes::BytesMut;
use catbird::num::{Asn, Family, FamilySet, Nlri};
use catbird::policy::{Chain, Edit, LocalKind, MedEdit, NextHopEdit, Policy, Rule, Source, Step};
use catbird::rib::SourceKind;
use catbird::rib::adj_out::{GroupKey, MemberFacts, NextHopMode, NextHopRule, SplitHorizon, Withheld, export};
use catbird::wire::{AttrCode, Community, Context, ExtendedCommunity, NextHop, PathAttributes, encode_reach};
use proto_tests::exporting::{LOCAL_ADDR, LOCAL_AS, addr, from, key, net, route, router_id};

const V4: &str = "10.1.0.0/24";

fn told(attrs: &PathAttributes, source: Source, key: &GroupKey) -> PathAttributes {
    export(&net(V4), attrs, &from(1, source), key).expect("told")
}

fn path(attrs: &PathAttributes) -> Vec<u32> {
    attrs.as_path().asns().map(|a| a.0).collect()
}

fn editing(set: Vec<Edit>) -> Chain {
    let rule = Rule { set, then: Step::Accept, ..Rule::default() };
    Chain::from_policies(vec![Arc::new(Policy { name: "edit".into(), rules: vec![rule], otherwise: Step::Reject })])
}

#[test]
fn as_path_gets_our_as_in_front_outside_and_stays_inside() {
    let attrs = route(1).prepend(Asn(65001), 1).finish();
    assert_eq!(path(&told(&attrs, Source::External, &key(SourceKind::External))), [LOCAL_AS.0, 65001]);
    assert_eq!(path(&told(&attrs, Source::External, &key(SourceKind::Internal))), [65001]);
    let own = route(0).finish();
    assert_eq!(path(&told(&own, Source::Local(LocalKind::Block), &key(SourceKind::External))), [LOCAL_AS.0]);
    assert!(path(&told(&own, Source::Local(LocalKind::Block), &key(SourceKind::Internal))).is_empty());
}

#[test]
fn prepending_by_policy_comes_on_top() {
    let key = GroupKey { chain: editing(vec![Edit::Prepend { asn: None, count: 2 }]), ..key(SourceKind::External) };
    assert_eq!(path(&told(&route(1).prepend(Asn(65001), 1).finish(), Source::External, &key)), [LOCAL_AS.0, LOCAL_AS.0, LOCAL_AS.0, 65001]);
}

#[test]
fn private_numbers_are_removed_and_a_sites_number_is_overridden() {
    let attrs = route(1).prepend(Asn(65001), 1).prepend(Asn(3320), 1).finish();
    let removing = |peer| GroupKey { remove_private: Some(Asn(peer)), ..key(SourceKind::External) };
    assert_eq!(path(&told(&attrs, Source::External, &removing(65009))), [LOCAL_AS.0, 3320]);
    assert_eq!(path(&told(&attrs, Source::External, &removing(65001))), [LOCAL_AS.0, 3320, 65001], "by its own number a peer finds loops");
    let overriding = GroupKey { as_override: Some(Asn(65001)), ..key(SourceKind::External) };
    assert_eq!(path(&told(&attrs, Source::External, &overriding)), [LOCAL_AS.0, 3320, LOCAL_AS.0]);
    let both = GroupKey { as_override: Some(Asn(65001)), ..removing(65001) };
    assert_eq!(path(&told(&attrs, Source::External, &both)), [LOCAL_AS.0, 3320, LOCAL_AS.0]);
}

#[test]
fn local_pref_is_always_there_inside_and_never_outside() {
    let (bare, set) = (route(1).finish(), route(1).set_local_pref(Some(250)).finish());
    let inside = key(SourceKind::Internal);
    assert_eq!(told(&bare, Source::External, &inside).local_pref(), Some(100));
    assert_eq!(told(&set, Source::External, &inside).local_pref(), Some(250));
    assert_eq!(told(&set, Source::External, &key(SourceKind::External)).local_pref(), None);
}

#[test]
fn med_of_a_neighbour_is_not_told_to_other_ases_unless_we_set_it() {
    let attrs = route(1).set_med(Some(50)).finish();
    let outside = key(SourceKind::External);
    assert_eq!(told(&attrs, Source::External, &outside).med(), None);
    assert_eq!(told(&attrs, Source::Internal, &outside).med(), None);
    assert_eq!(told(&attrs, Source::Local(LocalKind::Network), &outside).med(), Some(50), "our own is ours to tell");
    assert_eq!(told(&attrs, Source::External, &key(SourceKind::Internal)).med(), Some(50), "inside the AS it is passed on");
    let setting = |edit| GroupKey { chain: editing(vec![Edit::Med(edit)]), ..key(SourceKind::External) };
    assert_eq!(told(&attrs, Source::External, &setting(MedEdit::Set(7))).med(), Some(7));
    assert_eq!(told(&attrs, Source::External, &setting(MedEdit::Add(7))).med(), Some(57));
    assert_eq!(told(&attrs, Source::Local(LocalKind::Block), &setting(MedEdit::Remove)).med(), None);
}

#[test]
fn next_hop_is_ourselves_outside_and_as_learned_inside() {
    let attrs = route(1).finish();
    assert_eq!(told(&attrs, Source::External, &key(SourceKind::External)).next_hop(), NextHop::V4(LOCAL_ADDR));
    assert_eq!(told(&attrs, Source::External, &key(SourceKind::Internal)).next_hop(), NextHop::V4(addr(1)));
    let own = proto_tests::exporting::own_attributes(Family::Ipv4Unicast);
    assert_eq!(told(&own, Source::Local(LocalKind::Block), &key(SourceKind::Internal)).next_hop(), NextHop::V4(LOCAL_ADDR));
}

fn with_mode(mode: NextHopMode, kind: SourceKind) -> GroupKey {
    let key = key(kind);
    GroupKey { next_hop: NextHopRule { mode, ..key.next_hop }, ..key }
}

#[test]
fn next_hop_rules_and_policy_can_say_otherwise() {
    let attrs = route(1).finish();
    let hop = |key: &GroupKey| told(&attrs, Source::External, key).next_hop();
    assert_eq!(hop(&with_mode(NextHopMode::SelfAddress, SourceKind::Internal)), NextHop::V4(LOCAL_ADDR));
    assert_eq!(hop(&with_mode(NextHopMode::Unchanged, SourceKind::External)), NextHop::V4(addr(1)));
    let link = |net| with_mode(NextHopMode::ThirdParty(net), SourceKind::External);
    assert_eq!(hop(&link(net("198.18.0.0/24"))), NextHop::V4(addr(1)), "a third party on the link that we share");
    assert_eq!(hop(&link(net("198.19.0.0/24"))), NextHop::V4(LOCAL_ADDR));
    let policy = |edit| GroupKey { chain: editing(vec![Edit::NextHop(edit)]), ..key(SourceKind::External) };
    assert_eq!(hop(&policy(NextHopEdit::Unchanged)), NextHop::V4(addr(1)));
    assert_eq!(hop(&policy(NextHopEdit::Address(IpAddr::V4(addr(77))))), NextHop::V4(addr(77)));
    let inside = GroupKey { chain: editing(vec![Edit::NextHop(NextHopEdit::SelfAddress)]), ..key(SourceKind::Internal) };
    assert_eq!(hop(&inside), NextHop::V4(LOCAL_ADDR));
}

#[test]
fn a_peers_own_address_is_not_told_to_it_as_next_hop() {
    let out = told(&route(3).finish(), Source::External, &key(SourceKind::Internal));
    let member = |n| MemberFacts { id: catbird::num::PeerId(n), router_id: router_id(n), addr: IpAddr::V4(addr(n)) };
    let avoid = SplitHorizon::new(catbird::num::PeerId(1), &out);
    assert_eq!(avoid.hits(&member(3)), Some(Withheld::NextHopIsPeer));
    assert_eq!(avoid.hits(&member(2)), None);
}

#[test]
fn ipv6_next_hops_are_ours_with_a_link_local_on_a_shared_link() {
    let own = proto_tests::exporting::own_attributes(Family::Ipv6Unicast);
    let (global, link_local): (Ipv6Addr, Ipv6Addr) = ("2001:db8::254".parse().unwrap(), "fe80::254".parse().unwrap());
    let base = key(SourceKind::External);
    let linked = GroupKey { next_hop: NextHopRule { link_local: Some(link_local), ..base.next_hop }, ..base.clone() };
    let told = |key: &GroupKey| export(&net("2001:db8:1::/64"), &own, &from(0, Source::Local(LocalKind::Block)), key).map(|o| o.next_hop());
    assert_eq!(told(&base), Ok(NextHop::V6 { global, link_local: None }));
    assert_eq!(told(&linked), Ok(NextHop::V6 { global, link_local: Some(link_local) }));
    let none = GroupKey { next_hop: NextHopRule { v6: None, ..base.next_hop }, ..base };
    assert_eq!(told(&none), Err(Withheld::NoNextHop));
    let alone = GroupKey { next_hop: NextHopRule { v6: None, ..linked.next_hop }, ..linked };
    assert_eq!(told(&alone), Ok(NextHop::V6 { global: link_local, link_local: Some(link_local) }), "it has no other");
}

#[test]
fn between_link_local_addresses_ipv4_goes_by_ours_to_those_who_understand_it() {
    let own = proto_tests::exporting::own_attributes(Family::Ipv4Unicast);
    let (v4, link_local) = ("192.0.2.254".parse().unwrap(), "fe80::254".parse().unwrap());
    let mut linked = key(SourceKind::External);
    linked.next_hop = NextHopRule { v4: Some(v4), v6: None, link_local: Some(link_local), ..linked.next_hop };
    let told = |key: &GroupKey| export(&net("10.1.0.0/26"), &own, &from(0, Source::Local(LocalKind::Block)), key).map(|o| o.next_hop());
    assert_eq!(told(&linked), Ok(NextHop::V4(v4)), "without RFC 8950");
    linked.send.extended_next_hop = FamilySet::ALL;
    assert_eq!(told(&linked), Ok(NextHop::V6 { global: link_local, link_local: Some(link_local) }));
}

#[test]
fn a_learned_link_local_next_hop_is_not_passed_on() {
    let (global, link_local) = ("2001:db8::7".parse().unwrap(), Some("fe80::7".parse().unwrap()));
    let told = |next_hop| {
        let attrs = route(1).set_next_hop(next_hop).finish();
        export(&net("2001:db8:1::/64"), &attrs, &from(1, Source::External), &key(SourceKind::Internal)).expect("told").next_hop()
    };
    assert_eq!(told(NextHop::V6 { global, link_local }), NextHop::V6 { global, link_local: None });
    let ours = NextHop::V6 { global: "2001:db8::254".parse().unwrap(), link_local: None };
    assert_eq!(told(NextHop::V6 { global: link_local.unwrap(), link_local: None }), ours, "only we can forward to it");
}

#[test]
fn ipv4_over_ipv6_goes_to_those_who_understand_it_and_by_ourselves_to_others() {
    let global: Ipv6Addr = "2001:db8::7".parse().unwrap();
    let attrs = route(1).set_next_hop(NextHop::V6 { global, link_local: None }).finish();
    let plain = key(SourceKind::Internal);
    let extended = GroupKey { send: Context { extended_next_hop: FamilySet::IPV4, ..plain.send.clone() }, ..plain.clone() };
    assert_eq!(told(&attrs, Source::External, &extended).next_hop(), NextHop::V6 { global, link_local: None });
    assert_eq!(told(&attrs, Source::External, &plain).next_hop(), NextHop::V4(LOCAL_ADDR));
    let v6_only = NextHopRule { v4: None, ..plain.next_hop };
    let own = proto_tests::exporting::own_attributes(Family::Ipv4Unicast);
    let hop = |key: &GroupKey| export(&net(V4), &own, &from(0, Source::Local(LocalKind::Block)), key).map(|o| o.next_hop());
    assert_eq!(
        hop(&GroupKey { next_hop: v6_only, ..extended }),
        Ok(NextHop::V6 { global: "2001:db8::254".parse().unwrap(), link_local: None })
    );
    assert_eq!(hop(&GroupKey { next_hop: v6_only, ..plain }), Err(Withheld::NoNextHop));
}

#[test]
fn unknown_transitive_attributes_pass_with_the_partial_bit() {
    let attrs = route(1).set_unknown(catbird::wire::AttrCode(200), &[1, 2, 3]).finish();
    for kind in [SourceKind::External, SourceKind::Internal] {
        let out = told(&attrs, Source::External, &key(kind));
        let unknown: Vec<_> = out.unknown().map(|a| (a.code.0, a.flags & 0xe0, a.value.to_vec())).collect();
        assert_eq!(unknown, [(200, 0xe0, vec![1, 2, 3])], "octet for octet, optional transitive partial");
    }
}

#[test]
fn non_transitive_extended_communities_stay_inside_the_as() {
    let (stays, goes) = (ExtendedCommunity([0x43, 0, 0, 0, 0, 0, 0, 1]), ExtendedCommunity([0x03, 0, 0, 0, 0, 0, 0, 1]));
    let attrs = route(1).add_extended_community(stays).add_extended_community(goes).finish();
    let out = |kind| told(&attrs, Source::External, &key(kind)).extended_communities().collect::<Vec<_>>();
    assert_eq!(out(SourceKind::External), [goes]);
    assert_eq!(out(SourceKind::Internal), [stays, goes]);
}

#[test]
fn attributes_that_fill_a_message_are_not_told() {
    let with = |n| {
        (0..n)
            .fold(route(1), |mut editor, i| {
                editor.add_community(Community::new(1, i));
                editor
            })
            .finish()
    };
    let base = key(SourceKind::Internal);
    let to = |attrs: &PathAttributes, key: &GroupKey| export(&net(V4), attrs, &from(1, Source::External), key).map(|_| ());
    assert_eq!(to(&with(1011), &base), Ok(()), "a /24 has room beside them: 4,096 octets");
    let host = export(&net("10.1.0.1/32"), &with(1011), &from(1, Source::External), &base).map(|_| ());
    assert_eq!(host, Err(Withheld::NoRoom), "a /32 has not");
    assert_eq!(to(&with(1012), &base), Err(Withheld::TooLong));
    let long = GroupKey { send: Context { max_len: 65535, ..base.send.clone() }, ..base };
    assert_eq!(to(&with(1012), &long), Ok(()), "an extended message carries it (RFC 8654)");
}

#[test]
fn a_route_is_withheld_exactly_when_no_message_has_room_for_it() {
    let (mut told, mut withheld) = (0, 0);
    for (prefix, add_path) in
        ["10.1.0.0/24", "10.1.0.1/32", "0.0.0.0/0"].into_iter().flat_map(|p| [(p, FamilySet::NONE), (p, FamilySet::ALL)])
    {
        let short = key(SourceKind::External);
        let short = GroupKey { send: Context { add_path, ..short.send.clone() }, ..short };
        let long = GroupKey { send: Context { max_len: 65535, ..short.send.clone() }, ..short.clone() };
        for filler in 4000..4060 {
            let attrs = route(1).set_unknown(AttrCode(99), &vec![7; filler]).finish();
            let out = |key: &GroupKey| export(&net(prefix), &attrs, &from(1, Source::External), key);
            let octets = out(&long).expect("an extended message has room");
            let room = encode_reach(&octets, &[Nlri::new(net(prefix))], &short.send, &mut BytesMut::new());
            match out(&short) {
                Ok(attrs) => {
                    assert_eq!((room, attrs), (1, octets), "{prefix} beside {filler}");
                    told += 1;
                }
                Err(Withheld::TooLong | Withheld::NoRoom) => {
                    assert_eq!(room, 0, "{prefix} beside {filler}");
                    withheld += 1;
                }
                Err(other) => panic!("{other}"),
            }
        }
    }
    assert!(told > 60 && withheld > 60, "{told} {withheld}");
}

#[test]
fn families_that_were_not_negotiated_are_not_told() {
    let base = key(SourceKind::Internal);
    let v6 = GroupKey { families: FamilySet::IPV6, ..base };
    assert_eq!(export(&net(V4), &route(1).finish(), &from(1, Source::External), &v6), Err(Withheld::Family));
}

#[test]
fn nodes_blocks_go_outside_by_own_blocks_and_what_other_nodes_told_does_not() {
    let key = GroupKey { chain: Chain::own_blocks(), ..key(SourceKind::External) };
    assert!(export(&net("10.1.0.0/26"), &route(0).finish(), &from(0, Source::Local(LocalKind::Block)), &key).is_ok());
    let Err(Withheld::Policy(rule)) = export(&net("10.2.0.0/26"), &route(2).finish(), &from(2, Source::Internal), &key) else {
        panic!("another node's block")
    };
    assert_eq!(rule.to_string(), "policy own-blocks");
}

#[test]
fn who_is_about_to_go_says_so_in_every_route() {
    let going = |kind| GroupKey { graceful_shutdown: true, ..key(kind) };
    let attrs = route(1).set_local_pref(Some(250)).finish();
    let (inside, outside) =
        (told(&attrs, Source::External, &going(SourceKind::Internal)), told(&attrs, Source::External, &going(SourceKind::External)));
    assert!(inside.has_community(Community::GRACEFUL_SHUTDOWN) && outside.has_community(Community::GRACEFUL_SHUTDOWN));
    assert_eq!((inside.local_pref(), outside.local_pref()), (Some(0), None));
}
