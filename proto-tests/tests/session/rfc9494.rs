//! RFC 9494: routes that stay on, as the last choice, long after the restart time of who announced them.

use std::sync::Arc;
use std::time::Duration;

use catbird::num::{Asn, Family, RouterId};
use catbird::peer::GracefulParams;
use catbird::policy::{Chain, Edit, Policy, Rule, Step};
use catbird::speaker::PeerConfig;
use catbird::wire::{Capability, GracefulRestart, LongLivedFamily, Open};
use proto_tests::lab::{Lab, open_of, raw_update, session};

const SECOND: Duration = Duration::from_secs(1);
const BLOCK: &str = "10.9.0.0/26";

/// Five seconds to restart, and a minute beyond.
fn long_lived(config: &mut PeerConfig, seconds: u32) {
    session(config, |s| {
        s.offer.graceful_restart = Some(GracefulParams { restart_time: 5, ..GracefulParams::default() });
        s.offer.long_lived = [seconds; 2];
    });
}

/// `a` learns from `b`, and tells `knows` and `plain`; the latter offers no long life.
fn house(seed: u64, at_b: u32) -> Lab {
    let mut lab = Lab::seeded(seed);
    for (name, asn) in [("a", 64512), ("b", 64513), ("knows", 64514), ("plain", 64515), ("other", 64516)] {
        lab = lab.speaker(name, asn);
    }
    lab = lab.linked_as("a", "b", |me, config| long_lived(config, if me == "a" { 60 } else { at_b }));
    lab = lab.linked_as("a", "knows", |_, config| long_lived(config, 60));
    lab = lab.linked_as("a", "plain", |me, config| {
        if me == "a" {
            long_lived(config, 60)
        }
    });
    lab = lab.linked("a", "other");
    for peer in ["b", "knows", "plain", "other"] {
        lab.until_established("a", peer);
    }
    lab.blocks("b", &[BLOCK]);
    lab.until("the route", 10 * SECOND, |lab| ["knows", "plain"].iter().all(|name| lab.best(name, BLOCK).is_some()));
    lab
}

fn is_marked(lab: &mut Lab, name: &str) -> bool {
    lab.best(name, BLOCK).is_some_and(|row| row.communities.iter().any(|c| c == "llgr-stale"))
}

#[test]
fn stale_routes_stay_on_for_those_who_know_what_that_means_and_go_in_the_end() {
    let mut lab = house(1, 60);
    assert!(lab.peer("a", "b").capabilities.negotiated.join(" ").contains("long-lived graceful restart of ipv4-unicast, 60 s"));
    lab.kill("b");
    lab.run(3 * SECOND);
    assert!(!is_marked(&mut lab, "a") && lab.best("plain", BLOCK).is_some(), "the restart time is not over");
    lab.run(5 * SECOND);
    assert!(is_marked(&mut lab, "a") && lab.in_kernel("a", BLOCK), "it is all there is");
    assert!(is_marked(&mut lab, "knows") && lab.in_kernel("knows", BLOCK));
    assert!(lab.best("plain", BLOCK).is_none(), "it has not said that it knows");
    let story = serde_json::to_string(&lab.explain("a", BLOCK)).expect("JSON");
    assert!(story.contains("long_lived_stale") && story.contains("llgr-stale"), "{story}");
    lab.run(50 * SECOND);
    assert!(lab.in_kernel("a", BLOCK));
    lab.run(15 * SECOND);
    assert!(!lab.in_kernel("a", BLOCK) && lab.best("knows", BLOCK).is_none(), "the long time is over, too");
}

#[test]
fn any_other_route_is_preferred() {
    let mut lab = house(2, 60);
    lab.blocks("other", &[BLOCK]);
    lab.run(5 * SECOND);
    assert_eq!(lab.best("a", BLOCK).map(|row| row.peer), Some("b".to_owned()), "the older, and the lower identifier");
    lab.kill("b");
    lab.run(8 * SECOND);
    assert_eq!(lab.best("a", BLOCK).map(|row| row.peer), Some("other".to_owned()));
    assert!(lab.best("plain", BLOCK).is_some());
    assert_eq!(lab.paths("a", BLOCK).len(), 2, "the stale one is kept for worse times");
    assert!(serde_json::to_string(&lab.explain("a", BLOCK)).expect("JSON").contains("\"long_lived\""));
}

#[test]
fn the_shorter_time_of_both_holds_and_none_without_the_peers_word() {
    let mut lab = house(3, 20);
    lab.kill("b");
    lab.run(20 * SECOND);
    assert!(lab.in_kernel("a", BLOCK));
    lab.run(8 * SECOND);
    assert!(!lab.in_kernel("a", BLOCK), "5 s and 20 s");
    let mut lab = house(4, 0);
    lab.kill("b");
    lab.run(8 * SECOND);
    assert!(!lab.in_kernel("a", BLOCK), "after the restart time alone");
}

#[test]
fn who_is_back_in_time_has_its_routes_fresh() {
    let mut lab = house(5, 60);
    lab.kill("b");
    lab.run(15 * SECOND);
    assert!(is_marked(&mut lab, "a"));
    lab.start("b");
    lab.until_established("a", "b");
    lab.blocks("b", &[BLOCK]);
    lab.run(20 * SECOND);
    assert!(lab.in_kernel("a", BLOCK) && !is_marked(&mut lab, "a") && !is_marked(&mut lab, "knows"));
    assert!(lab.best("plain", BLOCK).is_some(), "and everybody is told again");
    lab.run(80 * SECOND);
    assert!(lab.in_kernel("a", BLOCK), "the long time runs no more");
}

#[test]
fn another_verdict_does_not_make_a_marked_route_fresh() {
    let mut lab = scripted(&[]);
    lab.listen("x", false);
    lab.hang_up_script("x");
    lab.run(10 * SECOND);
    lab.listen("x", true);
    lab.until_established("a", "x");
    assert!(is_marked(&mut lab, "a"), "it is back, and has not said it again");
    let rule = Rule { when: vec![], set: vec![Edit::LocalPref(250)], then: Step::Accept, name: None };
    let policy = Arc::new(Policy { name: "dear".into(), rules: vec![rule], otherwise: Step::Reject });
    lab.reload("a", |params| Arc::make_mut(&mut params.peers[0]).import = Some(Chain::from_policies(vec![policy])));
    lab.run(5 * SECOND);
    assert_eq!(lab.best("a", BLOCK).and_then(|row| row.local_pref), Some(250));
    assert!(is_marked(&mut lab, "a"));
}

#[test]
fn who_is_back_without_its_state_loses_what_was_marked_at_once() {
    let mut lab = scripted(&[]);
    lab.listen("x", false);
    lab.hang_up_script("x");
    lab.run(10 * SECOND);
    assert!(is_marked(&mut lab, "a"));
    lab.script("x").open = open(false);
    lab.listen("x", true);
    lab.until_established("a", "x");
    lab.run(SECOND);
    assert!(lab.paths("a", BLOCK).is_empty(), "the F bit of the capability is not set");
}

/// What such a peer says; `forwarding`: that it has kept its state.
fn open(forwarding: bool) -> Open {
    let mut open = open_of(Asn(64513), RouterId::new([192, 0, 2, 9].into()).expect("an identifier"));
    let family = Family::Ipv4Unicast;
    let graceful = GracefulRestart { restarting: false, notification: true, time: 5, families: vec![(1, 1, true)] };
    let long = LongLivedFamily { afi: family.afi(), safi: family.safi(), forwarding, stale_time: 60 };
    open.capabilities.extend([Capability::GracefulRestart(graceful), Capability::LongLivedGracefulRestart(vec![long])]);
    open
}

/// A peer that offers both by hand, and announces with these communities.
fn scripted(communities: &[[u8; 4]]) -> Lab {
    let mut lab = Lab::seeded(6).speaker("a", 64512).scripted("x", 64513).linked_as("a", "x", |_, config| long_lived(config, 60));
    lab.script("x").open = open(true);
    lab.until_established("a", "x");
    let mut attrs = vec![0x40, 1, 1, 0, 0x40, 2, 6, 2, 1, 0, 0, 0xfc, 1, 0x40, 3, 4, 10, 255, 0, 2];
    if !communities.is_empty() {
        attrs.extend([0xc0, 8, 4 * communities.len() as u8]);
        attrs.extend(communities.concat());
    }
    lab.raw("x", &raw_update(&[], &attrs, &[BLOCK]));
    lab.until("the route", 5 * SECOND, |lab| lab.best("a", BLOCK).is_some());
    lab
}

#[test]
fn what_is_not_to_live_long_does_not() {
    let mut lab = scripted(&[[0xff, 0xff, 0, 7]]);
    lab.script("x").be_silent();
    lab.hang_up_script("x");
    lab.run(3 * SECOND);
    assert!(lab.best("a", BLOCK).is_some(), "over a restart it is kept");
    lab.run(5 * SECOND);
    assert!(lab.paths("a", BLOCK).is_empty(), "NO_LLGR");
    let mut lab = scripted(&[]);
    lab.script("x").be_silent();
    lab.hang_up_script("x");
    lab.run(8 * SECOND);
    assert!(is_marked(&mut lab, "a"));
}

#[test]
fn what_comes_marked_is_the_last_choice_too() {
    let mut lab = scripted(&[[0xff, 0xff, 0, 6]]);
    assert!(is_marked(&mut lab, "a"));
    let path = lab.best("a", BLOCK).expect("it is all there is");
    assert_eq!(path.peer, "x");
}

#[test]
fn without_graceful_restart_nothing_lives_long() {
    let long = |time| Capability::LongLivedGracefulRestart(vec![LongLivedFamily { afi: 1, safi: 1, forwarding: true, stale_time: time }]);
    let mut lab = Lab::seeded(7).speaker("a", 64512).scripted("x", 64513).linked_as("a", "x", |_, config| {
        session(config, |s| (s.offer.graceful_restart, s.offer.long_lived) = (None, [60; 2]));
    });
    let mut open = open_of(Asn(64513), RouterId::new([192, 0, 2, 9].into()).expect("an identifier"));
    open.capabilities.push(long(60));
    lab.script("x").open = open;
    lab.until_established("a", "x");
    let said = lab.peer("a", "x").capabilities;
    assert!(!said.ours.join(" ").contains("long-lived") && said.theirs.join(" ").contains("long-lived"), "{said:?}");
    assert!(!said.negotiated.join(" ").contains("long-lived"), "{:?}", said.negotiated);
    let mut lab = Lab::seeded(8).speaker("a", 64512).scripted("x", 64513).linked_as("a", "x", |_, config| long_lived(config, 60));
    lab.script("x").offer(vec![long(60)]);
    lab.until_established("a", "x");
    let negotiated = lab.peer("a", "x").capabilities.negotiated;
    assert!(!negotiated.join(" ").contains("long-lived"), "the peer's word alone is none: {negotiated:?}");
}

#[test]
fn who_falls_again_keeps_what_is_marked_for_its_time() {
    let mut lab = scripted(&[]);
    lab.listen("x", false);
    lab.hang_up_script("x");
    lab.run(10 * SECOND);
    assert!(is_marked(&mut lab, "a"));
    lab.listen("x", true);
    // It is back, says nothing, and falls again: the minute that began with the first fall goes on.
    lab.until_established("a", "x");
    lab.hang_up_script("x");
    lab.script("x").be_silent();
    lab.run(20 * SECOND);
    assert!(is_marked(&mut lab, "a"), "its time is not over");
    lab.run(40 * SECOND);
    assert!(lab.paths("a", BLOCK).is_empty(), "and no second one was given");
}
