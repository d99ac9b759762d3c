//! RFC 4456 §8 on a router that runs: a route that came round is recognised, refused, and kept as refused.

use std::time::Duration;

use catbird::num::ClusterId;
use proto_tests::dsl::{Upd, upd};
use proto_tests::lab::Lab;

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
