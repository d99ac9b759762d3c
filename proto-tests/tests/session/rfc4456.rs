//! RFC 4456 §8 on a router that runs: a route that came round is recognised, refused, and kept as refused.

use std::sync::Arc;
use std::time::Duration;

use catbird::api::{Answer, Question};
use catbird::num::{ClusterId, RouterId};
use catbird::policy::{Chain, Condition, Policy, PrefixRange, PrefixSet, Rule, Step};
use catbird::speaker::Params;
use proto_tests::dsl::{Upd, upd};
use proto_tests::lab::{Lab, session};

const SECOND: Duration = Duration::from_secs(1);
const ORIGINATOR_ID: u8 = 9;
const CLUSTER_LIST: u8 = 10;

/// A reflector of cluster 10.0.0.1 and an internal peer that sends what the test wants.
fn reflector() -> Lab {
    let lab = Lab::seeded(44).speaker("rr", 64512).scripted("x", 64512).linked("rr", "x");
    let mut lab = lab.configured("rr", |params| params.cluster_id = Some(ClusterId([10, 0, 0, 1].into())));
    lab.until_established("rr", "x");
    lab
}

/// A reflected route.
fn reflected(prefix: &str, originator: [u8; 4], clusters: &[[u8; 4]]) -> Upd {
    let update = upd().reach(prefix).next_hop("10.255.0.2").local_pref(100);
    update.attr(ORIGINATOR_ID, 0x80, &originator).attr(CLUSTER_LIST, 0x80, &clusters.concat())
}

/// Is it used, and why not?
fn judged(lab: &mut Lab, prefix: &str) -> (bool, Option<String>) {
    let paths = lab.paths("rr", prefix);
    assert_eq!(paths.len(), 1, "{prefix} is kept, used or not");
    (lab.best("rr", prefix).is_some(), paths[0].refused.clone())
}

#[test]
fn a_route_that_we_originated_is_refused_by_its_originator_id() {
    let mut lab = reflector();
    lab.raw("x", &reflected("10.1.0.0/26", [10, 255, 0, 1], &[[10, 0, 0, 9]]).octets());
    lab.raw("x", &reflected("10.2.0.0/26", [10, 255, 0, 9], &[[10, 0, 0, 9]]).octets());
    lab.run(SECOND);
    let (used, why) = judged(&mut lab, "10.1.0.0/26");
    assert!(!used && why.as_deref().is_some_and(|why| why.contains("ORIGINATOR_ID")), "{used} {why:?}");
    assert_eq!(judged(&mut lab, "10.2.0.0/26"), (true, None));
}

#[test]
fn a_route_that_went_through_our_cluster_is_refused_by_its_cluster_list() {
    let mut lab = reflector();
    lab.raw("x", &reflected("10.1.0.0/26", [10, 255, 0, 9], &[[10, 0, 0, 9], [10, 0, 0, 1]]).octets());
    lab.raw("x", &reflected("10.2.0.0/26", [10, 255, 0, 9], &[[10, 0, 0, 9], [10, 0, 0, 8]]).octets());
    lab.run(SECOND);
    let (used, why) = judged(&mut lab, "10.1.0.0/26");
    assert!(!used && why.as_deref().is_some_and(|why| why.contains("CLUSTER_LIST")), "{used} {why:?}");
    assert_eq!(judged(&mut lab, "10.2.0.0/26"), (true, None));
}

/// Gives a router another BGP identifier.
fn call(params: &mut Params, last: u8) {
    params.router_id = RouterId::new([10, 255, 0, last].into()).expect("not 0.0.0.0");
    for config in &mut params.peers {
        session(Arc::make_mut(config), |s| s.router_id = params.router_id);
    }
}

/// A reflector with three clients, of which two are copies of one machine, with a block each.
fn copies() -> Lab {
    let mut lab = Lab::seeded(45).speaker("rr", 64512).configured("rr", |params| params.cluster_id = Some(ClusterId([10, 0, 0, 1].into())));
    for name in ["a", "b", "c"] {
        lab = lab.speaker(name, 64512).linked_as("rr", name, |me, config| config.rr_client = me == "rr");
    }
    let mut lab = lab.configured("a", |params| call(params, 77)).configured("b", |params| call(params, 77));
    for (name, block) in [("a", "10.1.0.0/26"), ("b", "10.2.0.0/26"), ("c", "10.3.0.0/26")] {
        lab.blocks(name, &[block]);
    }
    lab.until_all_established();
    lab.run(3 * SECOND);
    lab
}

/// What the reflector says that it has told a client, in numbers and one by one.
fn advertised(lab: &mut Lab, name: &str) -> (u64, Vec<String>) {
    let Answer::Advertised(page) = lab.ask("rr", Question::Advertised { peer: name.to_owned(), cursor: 0 }) else { panic!("a list") };
    (lab.peer("rr", name).row.families[0].advertised, page.rows.iter().map(|row| row.net.to_string()).collect())
}

#[test]
fn clients_with_one_identifier_are_counted_as_they_are_told_and_said() {
    let mut lab = copies();
    for (name, told) in [("a", &["10.3.0.0/26"][..]), ("b", &["10.3.0.0/26"]), ("c", &["10.1.0.0/26", "10.2.0.0/26"])] {
        let (count, list) = advertised(&mut lab, name);
        assert_eq!((count as usize, list.iter().map(String::as_str).collect::<Vec<_>>()), (told.len(), told.to_vec()), "{name}");
        assert_eq!(lab.prefixes(name), told.len() + 1, "{name} has them and its own");
    }
    let said = |texts: &[String]| texts.iter().filter(|text| text.contains("one BGP identifier, 10.255.0.77")).count();
    let Answer::Status(status) = lab.ask("rr", Question::Status) else { panic!("the status") };
    assert_eq!((said(&status.warnings), said(&lab.notices("rr"))), (1, 1), "{:?}", status.warnings);
    // With an identifier of its own it hears the other, and nothing is said any more.
    lab.reload("b", |params| call(params, 78));
    lab.until_established("rr", "b");
    lab.run(3 * SECOND);
    let Answer::Status(status) = lab.ask("rr", Question::Status) else { panic!("the status") };
    assert_eq!((said(&status.warnings), advertised(&mut lab, "a").0), (0, 2), "{:?}", status.warnings);
}

#[test]
fn where_policy_looks_at_prefixes_the_count_is_right_as_well() {
    let mut lab = copies();
    let not = "10.77.0.0/16".parse().expect("a prefix");
    lab.reload("rr", |params| {
        for config in &mut params.peers {
            let list = PrefixSet::new([PrefixRange::orlonger(not)]);
            let rule = Rule { when: vec![Condition::Prefix(Arc::new(list))], then: Step::Reject, ..Rule::default() };
            let policy = Policy { name: "most".into(), rules: vec![rule], otherwise: Step::Accept };
            Arc::make_mut(config).export = Some(Chain::from_policies(vec![Arc::new(policy)]));
        }
    });
    lab.run(3 * SECOND);
    assert_eq!(["a", "b", "c"].map(|name| advertised(&mut lab, name).0), [1, 1, 2]);
}
