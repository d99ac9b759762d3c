//! What a reload shows is what happens: over random pairs of whole configurations, the sessions that flap are those that the plan grades
//! Restart, the routes that change are those of sessions it names, and an equal model does nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use catbird::config::params::speaker;
use catbird::speaker::reload_plan::{Change, Grade};
use proto_tests::one_router::OneRouter;
use proto_tests::random_config::{pair, read};

/// Names of the sessions that changes of at least this grade touch.
fn touched(plan: &[Change], grade: Grade) -> BTreeSet<&str> {
    plan.iter().filter(|c| c.grade >= grade).flat_map(|c| &c.sessions).map(String::as_str).collect()
}

fn check(seed: u64) -> (usize, usize) {
    let (before, after) = pair(seed);
    let told = |what: &str| format!("seed {seed}: {what}\n--- before\n{before}\n--- after\n{after}");
    let (old, new) = (speaker(&read(&before).expect("accepted")), speaker(&read(&after).expect("accepted")));
    let equal = old == new;
    let name_in = |params: &catbird::speaker::Params, address: &str| {
        let listed = params.peers.iter().find(|p| p.session.remote.to_string() == address);
        listed.map(|p| p.session.name.clone())
    };
    let name = |address: &str| name_in(&new, address).or_else(|| name_in(&old, address)).unwrap_or_else(|| address.to_owned());
    let mut router = OneRouter::new(old.clone());
    let up = router.established();
    let routes: Vec<_> = up.iter().map(|peer| (peer.clone(), router.received(peer))).collect();
    router.mark();
    let plan = router.reload(new.clone());
    router.run(Duration::from_millis(100));
    let flapped: BTreeSet<&str> = router.flapped().iter().filter(|a| up.contains(*a)).map(String::as_str).collect();
    let restarts = touched(&plan, Grade::Restart);
    let graded: BTreeSet<&str> = up.iter().filter(|a| restarts.contains(name(a).as_str())).map(String::as_str).collect();
    let flaps = flapped.len();
    assert_eq!(flapped, graded, "{}", told(&format!("flapped, and graded restart in {plan:#?}")));
    if equal {
        assert_eq!((plan.len(), router.spoken()), (0, (0, 0)), "{}", told("an equal model"));
    }
    let refreshed = touched(&plan, Grade::Refresh);
    for (peer, was) in routes.iter().filter(|(peer, _)| !refreshed.contains(name(peer).as_str())) {
        // The best path and the stale mark depend on others; the verdict does not.
        let verdict = |rows: &[catbird::api::RouteRow]| {
            rows.iter().map(|r| (r.net, r.local_pref, r.communities.clone(), r.refused.clone())).collect::<Vec<_>>()
        };
        let is = router.received(peer);
        assert_eq!(verdict(was), verdict(&is), "{}", told(&format!("routes of {peer} with {plan:#?}")));
    }
    assert_eq!(router.plan(new).len(), 0, "{}", told("once applied, nothing is left to change"));
    (up.len(), flaps)
}

fn check_all(seeds: std::ops::Range<u64>) {
    let (mut up, mut flapped) = (0, 0);
    for (sessions, flaps) in seeds.map(check) {
        up += sessions;
        flapped += flaps;
    }
    assert!(flapped > 0 && flapped < up, "{flapped} of {up} sessions flapped: some do, and some do not");
}

#[test]
fn sessions_that_flap_are_those_graded_restart() {
    check_all(0..1000);
}

#[test]
#[ignore = "ten thousand pairs take a minute: `proto-tests/run --big`"]
fn sessions_that_flap_are_those_graded_restart_in_ten_thousand_pairs() {
    check_all(0..10_000);
}
