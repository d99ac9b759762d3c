//! RFC 9687: a peer that reads nothing any more is let go, and a slow one is not.

use std::time::Duration;

use catbird::num::HoldTime;
use ipnet::IpNet;
use proto_tests::lab::{Lab, WINDOW, session};

/// Enough routes for several windows.
fn blocks(n: u32) -> Vec<IpNet> {
    (0..n).map(|i| format!("10.{}.{}.{}/28", 64 + i / 4096 % 64, i / 16 % 256, i % 16 * 16).parse().unwrap()).collect()
}

fn pair() -> Lab {
    let tuned = |c: &mut catbird::speaker::PeerConfig| {
        session(c, |p| {
            p.send_hold = Some(Duration::from_secs(100));
            p.hold_time = HoldTime::new(30).unwrap();
        });
    };
    let mut lab = Lab::seeded(7)
        .audit_every(50)
        .speaker("a", 64512)
        .scripted("x", 64513)
        .linked_as("a", "x", |_, c| tuned(c))
        .configured("a", |p| p.fib.enabled = false);
    lab.until_established("a", "x");
    lab.run(Duration::from_secs(15));
    lab
}

#[test]
fn a_peer_that_reads_nothing_is_let_go_after_the_send_hold_time() {
    let mut lab = pair();
    lab.stall("x");
    lab.many_blocks("a", blocks(60_000));
    let from = lab.seconds();
    lab.run(Duration::from_secs(95));
    assert!(lab.state("a", "x") == "established", "its KEEPALIVEs come, so the hold timer is content");
    lab.until("the end", Duration::from_secs(60), |lab| lab.state("a", "x") != "established");
    assert!((95.0..140.0).contains(&(lab.seconds() - from)), "after {} s", lab.seconds() - from);
    let events = lab.peer("a", "x").events;
    assert!(events.iter().any(|e| e.what.contains("Send Hold Timer Expired (8/0)")), "{events:?}");
}

#[test]
fn a_peer_that_reads_a_little_now_and_then_is_kept() {
    let mut lab = pair();
    lab.stall("x");
    lab.many_blocks("a", blocks(60_000));
    for _ in 0..6 {
        lab.run(Duration::from_secs(60));
        lab.resume("x");
        lab.run(Duration::from_millis(4));
        lab.stall("x");
    }
    assert_eq!(lab.state("a", "x"), "established");
    lab.resume("x");
    lab.run(Duration::from_secs(5));
    let octets: usize = lab.journal().len();
    assert!(octets > 3 * WINDOW, "the story needs more than a window: {octets}");
}

#[test]
fn a_slow_reader_holds_prefixes_not_updates() {
    let mut lab = pair();
    lab.stall("x");
    lab.many_blocks("a", blocks(20_000));
    lab.run(Duration::from_secs(1));
    let before = lab.journal().len();
    for round in 0..30 {
        let n = if round % 2 == 0 { 10_000 } else { 20_000 };
        lab.many_blocks("a", blocks(n));
        lab.run(Duration::from_secs(1));
    }
    let written = lab.journal().len() - before;
    assert!(written < 600 * 1024, "{written} octets were made for a peer that reads nothing");
    lab.resume("x");
    lab.run(Duration::from_secs(20));
    assert!(lab.established("a", "x"));
}
