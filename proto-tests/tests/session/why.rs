//! Why something is not there: prefixes (`catbird why`: who had it last, and why it went), and sessions (what the log says, and how often).

use std::time::Duration;

use catbird::wire::{Capability, GracefulRestart};
use proto_tests::dsl::upd;
use proto_tests::lab::{Lab, session};

/// A router that learned a prefix from x, which restarts gracefully within 60 s.
fn learned(prefix: &str) -> Lab {
    let mut lab = Lab::seeded(7).speaker("a", 64512).scripted("x", 64513).linked("a", "x");
    let graceful = GracefulRestart { restarting: false, notification: false, time: 60, families: vec![(1, 1, true)] };
    lab.script("x").open.capabilities.push(Capability::GracefulRestart(graceful));
    lab.until_established("a", "x");
    lab.raw("x", &upd().reach(prefix).next_hop("10.255.0.2").as_path(&[64513]).octets());
    lab.run(Duration::from_secs(1));
    assert!(lab.best("a", prefix).is_some() && departed(&mut lab, prefix).is_none());
    lab
}

fn departed(lab: &mut Lab, prefix: &str) -> Option<(String, String)> {
    lab.explain("a", prefix)?.departed.map(|gone| (gone.peer, gone.why))
}

fn from_x(why: &str) -> Option<(String, String)> {
    Some(("x".to_owned(), why.to_owned()))
}

#[test]
fn each_way_for_a_prefix_to_go_has_its_cause() {
    const NET: &str = "10.1.0.0/26";
    let mut lab = learned(NET);
    lab.raw("x", &upd().withdraw(NET).octets());
    lab.run(Duration::from_secs(1));
    assert_eq!(departed(&mut lab, NET), from_x("withdrawn"));

    let mut lab = learned(NET);
    lab.raw("x", &upd().reach(NET).next_hop("10.255.0.2").as_path(&[64513]).attr(4, 0x80, &[0, 0, 1]).octets());
    lab.run(Duration::from_secs(1));
    assert_eq!(departed(&mut lab, NET), from_x("malformed attribute 4"));

    let mut lab = learned(NET);
    lab.hang_up_script("x");
    lab.listen("x", false);
    lab.run(Duration::from_secs(59));
    assert_eq!(departed(&mut lab, NET), None, "it is kept over the restart");
    lab.run(Duration::from_secs(3));
    assert_eq!(departed(&mut lab, NET), from_x("stale and not announced again"));

    let mut lab = learned(NET);
    let mark = |subtype: u8| [&[0xff; 16][..], &[0, 23, 5, 0, 1, subtype, 1]].concat();
    lab.raw("x", &[0xff; 16].iter().copied().chain([0, 23, 2, 0, 0, 0, 0]).collect::<Vec<u8>>());
    lab.raw("x", &mark(1));
    lab.raw("x", &mark(2));
    lab.run(Duration::from_secs(1));
    assert_eq!(departed(&mut lab, NET), from_x("not announced again in a refresh"));

    let mut lab = Lab::seeded(7).speaker("a", 64512).speaker("b", 64512).linked("a", "b");
    lab.until_established("a", "b");
    lab.blocks("a", &[NET]);
    lab.run(Duration::from_secs(1));
    lab.blocks("a", &[]);
    lab.run(Duration::from_secs(1));
    assert_eq!(departed(&mut lab, NET), Some(("local".to_owned(), "withdrawn".to_owned())));
}

/// Lines of the log about one peer, without their times.
fn said(lab: &Lab, words: &str) -> Vec<String> {
    let all = lab.notices("a").into_iter().filter(|line| line.contains(words));
    all.map(|line| line.split_once(' ').map_or(String::new(), |(_, text)| text.to_owned())).collect()
}

#[test]
fn a_peer_that_does_not_come_up_is_said_once_for_each_reason_and_again_after_a_session() {
    let mut lab = Lab::seeded(7).speaker("a", 64512).scripted("x", 64513).linked("a", "x");
    lab.listen("x", false);
    lab.run(Duration::from_secs(600));
    let refused = said(&lab, "x: not up");
    assert_eq!(refused.len(), 1, "{refused:#?}");
    assert!(refused[0].contains("connection refused"), "{refused:#?}");
    lab.listen("x", true);
    lab.until_established("a", "x");
    lab.listen("x", false);
    lab.hang_up_script("x");
    lab.run(Duration::from_secs(2));
    assert_eq!(said(&lab, "x: down").len(), 1);
    assert_eq!(said(&lab, "x: not up").len(), 1, "the end of the session has said why: {:#?}", lab.notices("a"));
    lab.run(Duration::from_secs(600));
    let later = said(&lab, "x: not up");
    assert!((2..=3).contains(&later.len()), "another reason holds now, and is said: {later:#?}");
}

#[test]
fn a_passive_peer_that_nobody_is_does_not_go_unsaid() {
    let mut lab = Lab::seeded(7).speaker("a", 64512).scripted("x", 64513).linked_as("a", "x", |_, c| session(c, |p| p.passive = true));
    lab.run(Duration::from_secs(300));
    let waits = said(&lab, "x: not up");
    assert_eq!(waits.len(), 1, "{waits:#?}");
    assert!(waits[0].contains("passive: waiting for the peer to connect"), "{waits:#?}");
}

#[test]
fn a_stale_path_says_how_long_it_stays_and_the_log_says_stay_only_of_routes_that_do() {
    const NET: &str = "10.1.0.0/26";
    let mut lab = learned(NET);
    lab.hang_up_script("x");
    lab.listen("x", false);
    lab.run(Duration::from_secs(10));
    let paths = lab.explain("a", NET).expect("the prefix is known").paths;
    let left = paths[0].stale_seconds_left.unwrap_or_default();
    assert!(paths[0].route.stale && (45.0..=60.0).contains(&left), "{left} s");
    let down = said(&lab, "x: down");
    assert!(down.len() == 1 && down[0].contains("its routes stay, as stale"), "{down:#?}");

    let mut lab = Lab::seeded(7).speaker("a", 64512).scripted("x", 64513).linked("a", "x");
    lab.until_established("a", "x");
    lab.raw("x", &upd().reach(NET).next_hop("10.255.0.2").as_path(&[64513]).octets());
    lab.run(Duration::from_secs(1));
    lab.hang_up_script("x");
    lab.listen("x", false);
    lab.run(Duration::from_secs(1));
    assert!(lab.best("a", NET).is_none(), "without graceful restart routes go");
    let down = said(&lab, "x: down");
    assert!(down.len() == 1 && !down[0].contains("stay"), "{down:#?}");
}
