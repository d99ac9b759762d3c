//! Settings of a peer, turned on routers that run.

use std::sync::Arc;
use std::time::Duration;

use catbird::num::{Asn, ClusterId, Family, FamilySet};
use catbird::policy::{Chain, Condition, Edit, NextHopEdit, Policy, Rule, Step};
use catbird::speaker::NextHopSetting;
use catbird::wire::{Capability, Message};
use proto_tests::dsl::upd;
use proto_tests::lab::{Lab, session};

const SECOND: Duration = Duration::from_secs(1);

/// AS_PATH and next hop of the last announcement that a scripted peer heard.
fn last_told(lab: &mut Lab, name: &str) -> (String, String) {
    lab.run(SECOND);
    let updates = lab.heard(name).into_iter().filter_map(|m| if let Message::Update(update) = m { Some(update) } else { None });
    let sets: Vec<_> = updates.flat_map(|u| u.announced.into_iter()).filter_map(|a| a.attrs).collect();
    let attrs = sets.last().unwrap_or_else(|| panic!("{name} was told nothing"));
    (attrs.as_path().to_string(), attrs.next_hop().to_string())
}

#[test]
fn our_own_as_is_let_in_as_often_as_allowed() {
    for (allowed, refused) in [(0, [true, true]), (1, [false, true]), (2, [false, false])] {
        let lab = Lab::seeded(3).speaker("dut", 64512).scripted("rack", 65001);
        let mut lab = lab.linked_as("dut", "rack", |_, config| config.allow_own_as = allowed);
        lab.until_established("dut", "rack");
        for (prefix, path) in [("10.1.0.0/26", &[65001, 64512][..]), ("10.2.0.0/26", &[65001, 64512, 65001, 64512])] {
            lab.raw("rack", &upd().reach(prefix).next_hop("10.255.0.2").as_path(path).octets());
        }
        lab.run(SECOND);
        let found = ["10.1.0.0/26", "10.2.0.0/26"].map(|prefix| lab.best("dut", prefix).is_none());
        assert_eq!(found, refused, "allowed {allowed} times");
        assert_eq!(lab.paths("dut", "10.2.0.0/26").len(), 1, "refused or not, it is kept");
    }
}

#[test]
fn a_session_under_another_as_shows_that_one() {
    let lab = Lab::seeded(4).speaker("dut", 64512).scripted("old", 65001).scripted("new", 65002);
    let lab = lab.linked_as("dut", "old", |_, config| session(config, |s| s.local_as = Asn(64999)));
    let mut lab = lab.linked("dut", "new");
    lab.until_established("dut", "old");
    lab.until_established("dut", "new");
    lab.blocks("dut", &["10.9.0.0/26"]);
    assert_eq!(last_told(&mut lab, "old").0, "64999");
    assert_eq!(last_told(&mut lab, "new").0, "64512");
    // Both numbers are ours, whoever put them into the path.
    for (prefix, path) in [("10.1.0.0/26", [65001, 64512]), ("10.2.0.0/26", [65001, 64999]), ("10.3.0.0/26", [65001, 65009])] {
        lab.raw("old", &upd().reach(prefix).next_hop("10.255.0.2").as_path(&path).octets());
    }
    lab.run(SECOND);
    assert_eq!(["10.1.0.0/26", "10.2.0.0/26", "10.3.0.0/26"].map(|p| lab.best("dut", p).is_some()), [false, false, true]);
}

#[test]
fn the_next_hop_is_ourselves_a_third_party_on_the_link_or_what_was_learned() {
    let cases = [
        (NextHopSetting::Auto, "10.255.0.2", "10.255.0.1"),
        (NextHopSetting::ThirdParty, "10.255.0.2", "10.255.0.2"),
        (NextHopSetting::Unchanged, "10.255.0.2", "10.255.0.2"),
        (NextHopSetting::SelfAddress, "10.255.0.2", "10.255.0.1"),
    ];
    for (setting, learned, told) in cases {
        let lab = Lab::seeded(5).speaker("dut", 64512).scripted("left", 65001).scripted("right", 65002);
        let mut lab = lab.linked("dut", "left").linked_as("dut", "right", |_, config| config.next_hop = setting);
        lab.until_established("dut", "left");
        lab.until_established("dut", "right");
        lab.raw("left", &upd().reach("10.1.0.0/26").next_hop(learned).as_path(&[65001]).octets());
        assert_eq!(last_told(&mut lab, "right"), ("64512 65001".to_owned(), told.to_owned()), "{setting:?}");
    }
}

/// Two reflectors that peer with each other, and a client of both with a block.
fn two_reflectors(clusters: [u8; 2]) -> Lab {
    let mut lab = Lab::seeded(6).speaker("rr-1", 64512).speaker("rr-2", 64512).speaker("client", 64512).linked("rr-1", "rr-2");
    for (name, cluster) in [("rr-1", clusters[0]), ("rr-2", clusters[1])] {
        lab = lab
            .linked_as(name, "client", |me, config| config.rr_client = me != "client")
            .configured(name, |params| params.cluster_id = Some(ClusterId([10, 0, 0, cluster].into())));
    }
    lab.until_all_established();
    lab.blocks("client", &["10.9.0.0/26"]);
    lab.run(3 * SECOND);
    lab
}

#[test]
fn reflectors_of_two_clusters_keep_each_others_copy_and_those_of_one_cluster_refuse_it() {
    for (clusters, refused) in [([1, 2], 0), ([1, 1], 1)] {
        let mut lab = two_reflectors(clusters);
        for name in ["rr-1", "rr-2"] {
            let paths = lab.paths(name, "10.9.0.0/26");
            assert_eq!(paths.len(), 2, "{name} has the client's and the other reflector's, clusters {clusters:?}");
            assert_eq!(paths.iter().filter(|p| p.refused.is_some()).count(), refused, "{name}, clusters {clusters:?}");
            assert_eq!(lab.best(name, "10.9.0.0/26").map(|p| p.peer), Some("client".to_owned()));
        }
    }
}

/// Was `peer` told of the prefix, and why (not)?
fn export_of(lab: &mut Lab, name: &str, prefix: &str, peer: &str) -> (bool, String) {
    let explanation = lab.explain(name, prefix).unwrap_or_else(|| panic!("{name} knows {prefix}"));
    let row = explanation.exports.into_iter().find(|e| e.peer == peer).unwrap_or_else(|| panic!("{name} has a session with {peer}"));
    (row.announced, row.explanation)
}

#[test]
fn clients_that_are_meshed_hear_nothing_of_each_other_from_the_reflector() {
    let mut lab = Lab::seeded(7).speaker("rr", 64512).speaker("a", 64512).speaker("b", 64512).speaker("other", 64512);
    for client in ["a", "b"] {
        lab = lab.linked_as("rr", client, |me, config| config.rr_client = me == "rr");
    }
    let mut lab = lab.linked("rr", "other").configured("rr", |params| {
        params.cluster_id = Some(ClusterId([10, 0, 0, 1].into()));
        params.client_to_client = false;
    });
    lab.until_all_established();
    lab.blocks("a", &["10.9.0.0/26"]);
    lab.blocks("other", &["10.9.1.0/26"]);
    lab.run(SECOND);
    assert!(lab.best("b", "10.9.0.0/26").is_none(), "another client tells it");
    let why = export_of(&mut lab, "rr", "10.9.0.0/26", "b");
    assert_eq!(why, (false, "learned from a client, and `client_to_client` is off: clients tell each other".to_owned()));
    assert!(lab.best("other", "10.9.0.0/26").is_some() && lab.best("b", "10.9.1.0/26").is_some(), "all else is reflected");
    for (on, heard) in [(true, true), (false, false)] {
        lab.reload("rr", |params| params.client_to_client = on);
        lab.run(SECOND);
        assert_eq!(lab.best("b", "10.9.0.0/26").is_some(), heard, "turned {on}");
        assert!(lab.established("rr", "b"));
    }
}

/// `dut` between the peer that is sent `path` and the one whose ear is asked.
fn as_told(path: &[u32], change: impl Fn(&mut catbird::speaker::PeerConfig)) -> String {
    let lab = Lab::seeded(8).speaker("dut", 64512).scripted("left", path[0]).scripted("right", 65001);
    let mut lab = lab.linked("dut", "left").linked_as("dut", "right", |_, config| change(config));
    lab.until_established("dut", "left");
    lab.until_established("dut", "right");
    lab.raw("left", &upd().reach("10.1.0.0/26").next_hop("10.255.0.2").as_path(path).octets());
    last_told(&mut lab, "right").0
}

#[test]
fn the_peers_own_as_gives_way_to_ours_where_that_is_asked() {
    assert_eq!(as_told(&[3356, 65001, 65001], |_| {}), "64512 3356 65001 65001");
    assert_eq!(as_told(&[3356, 65001, 65001], |config| config.as_override = true), "64512 3356 64512 64512");
}

#[test]
fn private_as_numbers_stay_at_home_where_that_is_asked() {
    assert_eq!(as_told(&[65010, 3356, 4_200_000_000, 65534], |_| {}), "64512 65010 3356 4200000000 65534");
    assert_eq!(as_told(&[65010, 3356, 4_200_000_000, 65534], |config| config.remove_private_as = true), "64512 3356");
}

/// RFC 4271 §9.1.2: a peer knows by its own number in the path that a route comes back to it.
#[test]
fn the_peers_own_private_as_stays_so_that_it_finds_its_loops() {
    assert_eq!(as_told(&[65010, 65001, 65010], |config| config.remove_private_as = true), "64512 65001");
}

/// Routes of both families, with IPv6 next hops for either (RFC 8950).
fn both_families(lab: &mut Lab, name: &str) {
    let offered = vec![
        Capability::Multiprotocol { afi: 1, safi: 1 },
        Capability::Multiprotocol { afi: 2, safi: 1 },
        Capability::ExtendedNextHop(vec![(1, 1, 2)]),
        Capability::FourOctetAs(Asn(65001)),
    ];
    lab.script(name).offer(offered);
}

/// One attribute set, first with a prefix of one family and then of the other: what policy says of a family is said of that one alone.
#[test]
fn a_rule_for_one_family_does_not_judge_the_other() {
    let rule = Rule { when: vec![Condition::Family(Family::Ipv6Unicast)], then: Step::Reject, ..Rule::default() };
    let chain = Chain::from_policies(vec![Arc::new(Policy { name: "v4-only".into(), rules: vec![rule], otherwise: Step::Accept })]);
    let lab = Lab::seeded(12).speaker("dut", 64512).scripted("rack", 65001);
    let mut lab = lab.linked_as("dut", "rack", |_, config| {
        config.import = Some(chain.clone());
        session(config, |s| s.offer.extended_next_hop = FamilySet::IPV4);
    });
    both_families(&mut lab, "rack");
    lab.until_established("dut", "rack");
    let nets = ["10.1.0.0/26", "2001:db8:1::/48", "10.2.0.0/26", "2001:db8:2::/48"];
    for net in nets {
        lab.raw("rack", &upd().multiprotocol().reach(net).next_hop("2001:db8:255::2").as_path(&[65001]).octets());
    }
    lab.run(SECOND);
    let refused = nets.map(|net| lab.paths("dut", net)[0].refused.is_some());
    assert_eq!(refused, [false, true, false, true]);
}

/// An address is a next hop for its own family: the routes of the other keep theirs.
#[test]
fn a_next_hop_that_policy_sets_is_for_routes_of_its_family() {
    let lab = Lab::seeded(13).speaker("dut", 64512).scripted("rack", 65001);
    let set = vec![Edit::NextHop(NextHopEdit::Address("10.255.0.77".parse().expect("an address")))];
    let rule = Rule { set, then: Step::Accept, ..Rule::default() };
    let chain = Chain::from_policies(vec![Arc::new(Policy { name: "via".into(), rules: vec![rule], otherwise: Step::Reject })]);
    let mut lab = lab.linked_as("dut", "rack", |_, config| config.import = Some(chain.clone()));
    both_families(&mut lab, "rack");
    lab.until_established("dut", "rack");
    lab.raw("rack", &upd().reach("10.1.0.0/26").next_hop("10.255.0.2").as_path(&[65001]).octets());
    lab.raw("rack", &upd().reach("2001:db8:1::/48").next_hop("2001:db8:255::2").as_path(&[65001]).octets());
    lab.run(SECOND);
    let hops = ["10.1.0.0/26", "2001:db8:1::/48"].map(|net| lab.paths("dut", net)[0].next_hop.clone());
    assert_eq!(hops, [Some("10.255.0.77".to_owned()), Some("2001:db8:255::2".to_owned())]);
}

/// Three neighbours in two AS offer one prefix: two by way of AS 65001, one by way of 65002, with these MEDs.
fn three_offers(meds: [u32; 3]) -> Lab {
    let mut lab = Lab::seeded(9).speaker("dut", 64512);
    let offers = [("a", 65001), ("b", 65001), ("c", 65002)];
    for (name, asn) in offers {
        lab = lab.scripted(name, asn).linked("dut", name);
    }
    for (name, _) in offers {
        lab.until_established("dut", name);
    }
    for ((i, (name, asn)), med) in offers.into_iter().enumerate().zip(meds) {
        let next_hop = format!("10.255.0.{}", i + 2);
        lab.raw(name, &upd().reach("10.1.0.0/26").next_hop(&next_hop).as_path(&[asn]).med(med).octets());
    }
    lab.run(SECOND);
    lab
}

/// Whose path is the best, and which ones carry traffic with it.
fn chosen(lab: &mut Lab) -> (String, Vec<String>) {
    let best = lab.best("dut", "10.1.0.0/26").expect("one of three").peer;
    let mut sharing: Vec<String> = lab.paths("dut", "10.1.0.0/26").into_iter().filter(|p| p.multipath).map(|p| p.peer).collect();
    sharing.sort();
    (best, sharing)
}

/// The ways in the router's kernel.
fn ways(lab: &mut Lab) -> usize {
    let fib = lab.explain("dut", "10.1.0.0/26").and_then(|s| s.fib).expect("it is wanted");
    fib.installed.expect("the lab's kernel takes it").hops.len()
}

#[test]
fn med_is_compared_between_neighbouring_as_only_where_that_is_asked_and_a_reload_is_enough() {
    let mut lab = three_offers([20, 30, 10]);
    assert_eq!(chosen(&mut lab).0, "a", "20 beats 30 of the same AS; against the other AS the lower identifier wins");
    for (always, best) in [(true, "c"), (false, "a")] {
        lab.reload("dut", |params| {
            params.rules.always_compare_med = always;
            params.rules.keep_older_external = false;
        });
        lab.run(SECOND);
        assert_eq!(chosen(&mut lab).0, best, "always: {always}");
        assert!(["a", "b", "c"].into_iter().all(|name| lab.established("dut", name)));
    }
}

#[test]
fn traffic_is_shared_as_widely_as_configured_and_over_other_as_only_if_relaxed() {
    let mut lab = three_offers([0, 0, 0]);
    let names = |of: &[&str]| of.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
    for (ebgp, width, relax, sharing) in [
        (true, 8, false, &["a", "b"][..]),
        (true, 8, true, &["a", "b", "c"]),
        (true, 2, true, &["a", "b"]),
        (true, 1, true, &["a"]),
        (false, 8, true, &["a"]),
    ] {
        lab.reload("dut", |params| {
            params.rules.multipath.ebgp = ebgp;
            params.rules.multipath.width = width;
            params.rules.as_path_relax = relax;
        });
        lab.run(SECOND);
        let case = format!("external {ebgp}, width {width}, relaxed {relax}");
        let (best, also) = chosen(&mut lab);
        let among: Vec<String> = if also.is_empty() { vec![best] } else { also };
        assert_eq!(among, names(sharing), "{case}");
        assert_eq!(ways(&mut lab), sharing.len(), "{case}");
    }
}

/// What two neighbours of one AS promise of a prefix, and the weights of the ways in the kernel.
fn weights(lab: &mut Lab, bandwidths: [Option<&str>; 2]) -> Vec<u16> {
    for ((name, i), bandwidth) in [("a", 2), ("b", 3)].into_iter().zip(bandwidths) {
        let offer = upd().reach("10.1.0.0/26").next_hop(&format!("10.255.0.{i}")).as_path(&[65001]);
        let offer = bandwidth.map_or(offer.clone(), |text| offer.extended_community(text));
        lab.raw(name, &offer.octets());
    }
    lab.run(SECOND);
    installed(lab)
}

fn installed(lab: &mut Lab) -> Vec<u16> {
    let fib = lab.explain("dut", "10.1.0.0/26").and_then(|s| s.fib).expect("it is wanted");
    assert_eq!(fib.wanted, fib.installed);
    fib.installed.expect("the lab's kernel takes it").hops.iter().map(|hop| hop.weight).collect()
}

/// draft-ietf-idr-link-bandwidth: the share of a path is what its link can carry.
#[test]
fn equal_paths_share_the_load_by_their_link_bandwidth_if_all_have_one() {
    let mut lab = three_offers([0, 0, 0]);
    lab.reload("dut", |params| (params.rules.multipath.ebgp, params.rules.multipath.width) = (true, 8));
    let (ten, thirty) = (Some("bandwidth:65001:10G"), Some("bandwidth:65001:30G"));
    let verdicts = |lab: &mut Lab| lab.explain("dut", "10.1.0.0/26").unwrap().paths.iter().map(|p| p.verdict()).collect::<Vec<_>>();
    assert_eq!(weights(&mut lab, [None, None]), [1, 1]);
    assert_eq!(verdicts(&mut lab)[1], "shares the load with the best");
    assert_eq!(weights(&mut lab, [ten, thirty]), [1, 3]);
    let told = verdicts(&mut lab);
    assert!(told[0].starts_with("best: ") && told[0].ends_with("; its part by link bandwidth 10G of 40G"), "{told:?}");
    assert_eq!(told[1], "shares the load with the best; its part by link bandwidth 30G of 40G");
    let shown = lab.explain("dut", "10.1.0.0/26").and_then(|s| s.fib?.installed).expect("it stands");
    assert!(shown.as_ip_route(&"10.1.0.0/26".parse().unwrap()).contains(" weight 3"), "{shown:?}");
    let other = Some("bandwidth-transitive:65001:2500M");
    assert_eq!(weights(&mut lab, [ten, other]), [4, 1], "of the other kind, and of a path that is not the best");
    assert_eq!(weights(&mut lab, [ten, None]), [1, 1], "one of them promises nothing");
    assert!(verdicts(&mut lab)[0].ends_with("; evenly, though it promises 10G: not every path promises a link bandwidth"));
    assert_eq!(weights(&mut lab, [ten, Some("bandwidth:65001:0")]), [1, 1], "no bandwidth is none");
    assert_eq!(weights(&mut lab, [ten, thirty]), [1, 3]);
    for (heeded, wanted) in [(false, [1, 1]), (true, [1, 3])] {
        lab.reload("dut", |params| params.rules.multipath.link_bandwidth = heeded);
        lab.run(SECOND);
        assert_eq!(installed(&mut lab), wanted, "link_bandwidth = {heeded}, by a reload");
        assert_eq!(verdicts(&mut lab)[1].contains("bandwidth"), heeded);
        assert!(lab.established("dut", "a") && lab.established("dut", "b"));
    }
    lab.raw("a", &upd().withdraw("10.1.0.0/26").octets());
    lab.run(SECOND);
    assert_eq!(installed(&mut lab), [1], "who is alone carries all");
}

/// RFC 8654 §4: who offers long messages takes them, also from a peer that would take none itself; and sends it none.
#[test]
fn long_messages_are_taken_from_whoever_knows_that_we_take_them() {
    for (offered, taken) in [(true, true), (false, false)] {
        let lab = Lab::seeded(5).speaker("dut", 64512).scripted("rack", 65001);
        let mut lab = lab.linked_as("dut", "rack", |_, config| session(config, |s| s.offer.extended_messages = offered));
        lab.script("rack").open.capabilities.retain(|c| *c != Capability::ExtendedMessage);
        lab.until_established("dut", "rack");
        let many: Vec<String> = (0..1200).map(|n| format!("10.{}.{}.0/24", n >> 8, n & 255)).collect();
        let mut long = upd().next_hop("10.255.0.2").as_path(&[65001]);
        for prefix in &many {
            long = long.reach(prefix);
        }
        let octets = long.octets();
        assert!(octets.len() > 4096, "{}", octets.len());
        lab.raw("rack", &octets);
        lab.run(SECOND);
        assert_eq!(lab.established("dut", "rack"), taken);
        assert_eq!(lab.best("dut", "10.4.175.0/24").is_some(), taken);
    }
}

/// A peer that comes later hears what stands now, and nothing of what stood before.
#[test]
fn whoever_joins_later_hears_nothing_of_routes_that_have_gone() {
    let lab = Lab::seeded(6).speaker("dut", 64512).scripted("teller", 65001).scripted("stays", 65002).scripted("late", 65002);
    let mut lab = lab.linked("dut", "teller").linked("dut", "stays").linked("dut", "late");
    let tell = |lab: &mut Lab, prefix: &str| {
        lab.raw("teller", &upd().reach(prefix).next_hop("10.255.0.2").as_path(&[65001]).octets());
        lab.run(SECOND);
    };
    for name in ["teller", "stays"] {
        lab.until_established("dut", name);
    }
    tell(&mut lab, "10.1.0.0/26");
    tell(&mut lab, "10.2.0.0/26");
    lab.until_established("dut", "late");
    lab.run(SECOND);
    lab.heard("late");
    lab.part("dut", "late");
    lab.reset("dut", "late");
    lab.raw("teller", &upd().withdraw("10.1.0.0/26").octets());
    lab.run(Duration::from_secs(30));
    lab.heal("dut", "late");
    lab.until_established("dut", "late");
    lab.run(Duration::from_secs(20));
    let said: Vec<String> = lab
        .heard("late")
        .iter()
        .filter_map(Message::as_update)
        .flat_map(|u| {
            let gone = u.withdrawn.iter().flat_map(|set| set.iter()).map(|n| format!("-{n}"));
            gone.chain(u.announced.iter().flat_map(|a| a.nlri.iter()).map(|n| n.to_string())).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(said, ["10.2.0.0/26"]);
}
