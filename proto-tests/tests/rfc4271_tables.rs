//! RFC 4271 §9, told by routers that run: what is chosen, what is believed, and what is said again.

use std::sync::Arc;
use std::time::Duration;

use catbird::policy::{Chain, Condition, Edit, Policy, PrefixRange, PrefixSet, Rule, Step};
use catbird::speaker::show::Command;
use catbird::wire::{Message, Update};
use proto_tests::dsl::upd;
use proto_tests::lab::{Lab, net};

const SECOND: Duration = Duration::from_secs(1);

/// `dut` with an external neighbour that speaks and a peer that listens.
fn between(listener: u32, change: impl Fn(&mut catbird::speaker::PeerConfig)) -> Lab {
    let lab = Lab::seeded(12).speaker("dut", 64512).scripted("left", 65001).scripted("right", listener);
    let mut lab = lab.linked_as("dut", "left", |_, config| change(config)).linked("dut", "right");
    lab.until_established("dut", "left");
    lab.until_established("dut", "right");
    lab.run(SECOND);
    lab.heard("right");
    lab
}

fn say(lab: &mut Lab, prefix: &str, next_hop: &str) {
    lab.raw("left", &upd().reach(prefix).next_hop(next_hop).as_path(&[65001]).octets());
    lab.run(SECOND);
}

/// The UPDATEs that the listener was sent since it was asked last.
fn updates(lab: &mut Lab) -> Vec<Update> {
    lab.run(SECOND);
    lab.heard("right").into_iter().filter_map(|m| if let Message::Update(update) = m { Some(update) } else { None }).collect()
}

/// The prefixes announced in them.
fn announced(updates: &[Update]) -> Vec<String> {
    let sets = updates.iter().flat_map(|u| u.announced.iter());
    let mut nets: Vec<String> = sets.flat_map(|a| a.nlri.iter()).map(|n| n.net.to_string()).collect();
    nets.sort();
    nets
}

#[test]
fn overlapping_routes_stand_side_by_side_and_none_is_taken_apart() {
    let mut lab = between(65002, |_| {});
    // ATOMIC_AGGREGATE: type 6, well-known discretionary, empty.
    lab.raw("left", &upd().reach("10.0.0.0/8").next_hop("10.255.0.2").as_path(&[65001]).attr(6, 0x40, &[]).octets());
    say(&mut lab, "10.1.0.0/16", "10.255.0.2");
    for prefix in ["10.0.0.0/8", "10.1.0.0/16"] {
        assert!(lab.best("dut", prefix).is_some() && lab.in_kernel("dut", prefix), "{prefix}");
    }
    assert_eq!(lab.prefixes("dut"), 2, "nothing else was made of them");
    let told = updates(&mut lab);
    assert_eq!(announced(&told), ["10.0.0.0/8", "10.1.0.0/16"]);
    let atomic = |u: &&Update| u.announced.iter().filter_map(|a| a.attrs.as_ref()).any(|a| a.atomic_aggregate());
    assert_eq!(told.iter().filter(atomic).count(), 1, "and only on the route that came with it");
    lab.raw("left", &upd().withdraw("10.1.0.0/16").octets());
    lab.run(SECOND);
    assert!(lab.in_kernel("dut", "10.0.0.0/8") && !lab.in_kernel("dut", "10.1.0.0/16"), "what is left carries its part");
}

#[test]
fn the_preference_that_policy_gives_an_external_route_is_its_local_pref_inside() {
    let rule = Rule { when: vec![], set: vec![Edit::LocalPref(250)], then: Step::Accept, name: None };
    let policy = Arc::new(Policy { name: "dear".into(), rules: vec![rule], otherwise: Step::Reject });
    let mut lab = between(64512, |config| config.import = Some(Chain::from_policies(vec![policy.clone()])));
    say(&mut lab, "10.1.0.0/26", "10.255.0.2");
    let told = updates(&mut lab);
    let preferences: Vec<_> = told.iter().flat_map(|u| &u.announced).filter_map(|a| a.attrs.as_ref()?.local_pref()).collect();
    assert_eq!(preferences, [250]);
    assert_eq!(lab.best("dut", "10.1.0.0/26").and_then(|row| row.local_pref), Some(250));
}

#[test]
fn the_same_route_is_not_told_twice() {
    let mut lab = between(65002, |_| {});
    say(&mut lab, "10.1.0.0/26", "10.255.0.2");
    assert_eq!(announced(&updates(&mut lab)), ["10.1.0.0/26"]);
    say(&mut lab, "10.1.0.0/26", "10.255.0.2");
    assert_eq!(updates(&mut lab), [], "said again as it was");
    // A neighbour's MED is not passed on, nor is its next hop: what goes out is what went out.
    lab.raw("left", &upd().reach("10.1.0.0/26").next_hop("10.255.0.2").as_path(&[65001]).med(77).octets());
    assert_eq!(updates(&mut lab), [], "another MED makes no other UPDATE");
    assert_eq!(lab.best("dut", "10.1.0.0/26").and_then(|row| row.med), Some(77), "though it was taken in");
}

/// An import policy that refuses these prefixes.
fn all_but(prefixes: &[&str]) -> Option<Chain> {
    let set = PrefixSet::new(prefixes.iter().map(|prefix| PrefixRange::exact(net(prefix))));
    let rule = Rule { when: vec![Condition::Prefix(Arc::new(set))], then: Step::Reject, ..Rule::default() };
    Some(Chain::from_policies(vec![Arc::new(Policy { name: "all-but".into(), rules: vec![rule], otherwise: Step::Accept })]))
}

/// Received, accepted and rejected IPv4 paths of the neighbour that speaks, and how many announcements were rejected.
fn counts(lab: &mut Lab) -> (u64, u64, u64, u64) {
    let left = lab.peer("dut", "left");
    let row = &left.row.families[0];
    (row.received, row.accepted, row.rejected, left.updates.announced_rejected)
}

#[test]
fn what_is_no_unicast_prefix_is_kept_as_refused_and_told_to_nobody() {
    let routes = ["0.0.0.0/0", "10.1.0.0/26", "240.1.0.0/16"];
    let never = ["224.1.0.0/16", "127.5.0.0/16", "0.0.0.0/32", "255.255.255.255/32"];
    // One verdict for all, or one for each prefix.
    for import in [None, all_but(&["10.7.0.0/16"])] {
        let mut lab = between(65002, |config| config.import = import.clone().or(config.import.take()));
        let all = || never.iter().chain(&routes).fold(upd().next_hop("10.255.0.2").as_path(&[65001]), |u, prefix| u.reach(prefix)).octets();
        lab.raw("left", &all());
        assert_eq!(announced(&updates(&mut lab)), routes);
        assert!(lab.in_kernel("dut", "10.1.0.0/26") && lab.in_kernel("dut", "240.1.0.0/16"), "routes beside them hold");
        assert_eq!(counts(&mut lab), (7, 3, 4, 4));
        lab.order("dut", Command::RefreshIn { peer: "left".into() });
        lab.run(SECOND);
        for prefix in never {
            let story = lab.story("dut", prefix).expect("it is in the Adj-RIB-In");
            assert_eq!(story.paths[0].verdict, "refused: not a unicast prefix", "{prefix}");
            assert!(lab.best("dut", prefix).is_none() && !lab.in_kernel("dut", prefix), "{prefix}");
        }
        let said = |lab: &Lab| lab.notices("dut").into_iter().filter(|n| n.contains("no unicast route leads to")).collect::<Vec<_>>();
        let first = said(&lab);
        assert!(first.len() == 1 && never.iter().all(|prefix| first[0].contains(prefix)) && !first[0].contains("10.1."), "{first:?}");
        (0..100).for_each(|_| lab.raw("left", &all()));
        lab.run(SECOND);
        assert!(lab.established("dut", "left") && (2..30).contains(&said(&lab).len()), "said some more times, not each time");
    }
}

#[test]
fn routes_that_need_each_other_or_themselves_carry_nothing_and_are_told_to_nobody() {
    let mut lab = between(65002, |_| {});
    say(&mut lab, "10.8.0.0/16", "10.9.0.1");
    say(&mut lab, "10.9.0.0/16", "10.8.0.1");
    say(&mut lab, "203.0.113.0/24", "203.0.113.7");
    for prefix in ["10.8.0.0/16", "10.9.0.0/16", "203.0.113.0/24"] {
        assert!(lab.best("dut", prefix).is_none() && !lab.in_kernel("dut", prefix), "{prefix}");
        assert_eq!(lab.paths("dut", prefix).len(), 1, "{prefix} stays in the Adj-RIB-In");
        let story = lab.story("dut", prefix).expect("it is known");
        assert!(story.paths[0].verdict.starts_with("ineligible"), "{prefix}: {}", story.paths[0].verdict);
    }
    assert_eq!(announced(&updates(&mut lab)), [] as [&str; 0]);
    // With a way out of the circle all of it holds.
    say(&mut lab, "10.9.0.0/16", "10.255.0.2");
    assert_eq!(announced(&updates(&mut lab)), ["10.8.0.0/16", "10.9.0.0/16"]);
    assert!(lab.in_kernel("dut", "10.8.0.0/16"), "through 10.9.0.0/16");
}
