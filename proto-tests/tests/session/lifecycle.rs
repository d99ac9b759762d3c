//! Drain and stop: each promise of DESIGN's lifecycle, seen from the peers and the kernel.

use std::time::Duration;

use catbird::api::Command;
use catbird::speaker::StopMode;
use catbird::wire::Message;
use proto_tests::dsl::upd;
use proto_tests::lab::Lab;

const SECOND: Duration = Duration::from_secs(1);

/// Two routers; b announces a block, which is in a's kernel.
fn pair(seed: u64) -> Lab {
    let mut lab = Lab::seeded(seed).speaker("a", 64512).speaker("b", 64512).linked("a", "b");
    lab.until_established("a", "b");
    lab.blocks("b", &["10.9.0.0/26"]);
    lab.run(SECOND);
    assert!(lab.in_kernel("a", "10.9.0.0/26"));
    lab
}

#[test]
fn a_second_term_does_not_wait() {
    let mut lab = pair(1);
    lab.stop("a", StopMode::Withdraw);
    assert!(!lab.stopped("a"), "the others get their time");
    lab.stop("a", StopMode::Keep);
    assert!(lab.stopped("a"));
}

#[test]
fn term_finishes_a_drain() {
    let mut lab = pair(2);
    lab.blocks("a", &["10.8.0.0/26"]);
    lab.run(SECOND);
    assert!(lab.best("b", "10.8.0.0/26").is_some());
    lab.order("a", Command::Drain { wait: false });
    lab.stop("a", StopMode::Keep);
    assert!(!lab.stopped("a"));
    lab.run(2 * SECOND);
    assert!(lab.stopped("a") && lab.in_kernel("a", "10.9.0.0/26"), "and leaves the kernel's routes, as it was told");
    assert!(lab.best("b", "10.8.0.0/26").is_none());
}

#[test]
fn what_a_drain_kept_goes_when_the_drain_is_over_and_the_peer_is_dead() {
    let mut lab = pair(3);
    lab.order("a", Command::Drain { wait: false });
    lab.run(5 * SECOND);
    lab.unplug("b");
    lab.run(3600 * SECOND);
    assert!(lab.in_kernel("a", "10.9.0.0/26"), "as long as the drain lasts, pods that are still here need it");
    lab.order("a", Command::Undrain);
    lab.run(SECOND);
    assert!(lab.best("a", "10.9.0.0/26").is_some(), "it gets the time of a restart");
    lab.run(300 * SECOND);
    assert!(lab.best("a", "10.9.0.0/26").is_none() && !lab.in_kernel("a", "10.9.0.0/26"));
}

#[test]
fn an_end_that_withdraws_says_goodbye_as_a_drain_does_and_empties_the_kernel() {
    let mut lab = Lab::seeded(9).speaker("a", 64512).scripted("x", 64512).linked("a", "x");
    lab.until_established("a", "x");
    lab.blocks("a", &["10.9.0.0/26"]);
    lab.run(SECOND);
    lab.heard("x");
    lab.stop("a", StopMode::Withdraw);
    lab.run(5 * SECOND);
    let kinds: Vec<&str> = lab
        .heard("x")
        .iter()
        .map(|m| match m {
            Message::Update(u) if !u.withdrawn.is_empty() => "withdrawn",
            Message::Update(_) => "marked",
            Message::Notification(_) => "notification",
            _ => "other",
        })
        .collect();
    assert_eq!(kinds, ["marked", "withdrawn", "notification"]);
    assert!(lab.stopped("a") && !lab.in_kernel("a", "10.9.0.0/26"));
}

#[test]
fn a_stopping_router_takes_no_session() {
    let mut lab = Lab::seeded(5).speaker("a", 64512).scripted("x", 64512).linked("a", "x");
    lab.until_established("a", "x");
    lab.stop("a", StopMode::Withdraw);
    lab.connect("x", "a");
    lab.run(Duration::from_millis(100));
    assert_eq!(lab.told("x").map(|n| (n.code, n.subcode)), Some((6, 5)));
}

#[test]
fn an_end_that_withdraws_waits_until_the_kernel_has_let_go_of_the_last_route() {
    let mut lab = pair(6);
    let blocks: Vec<_> = (0..3000_u32).map(|n| format!("10.{}.{}.0/26", 64 + n / 256, n % 256)).collect();
    lab.many_blocks("b", blocks.iter().map(|net| net.parse().unwrap()).collect());
    lab.run(5 * SECOND);
    assert!(blocks.iter().all(|net| lab.in_kernel("a", net)));
    lab.stop("a", StopMode::Withdraw);
    lab.until("the end", 60 * SECOND, |lab| lab.stopped("a"));
    let left = blocks.iter().filter(|net| lab.in_kernel("a", net)).count();
    assert_eq!(left, 0, "routes in the kernel of a router that has ended");
}

#[test]
fn what_a_drain_kept_of_a_peer_that_comes_back_and_says_nothing_goes_too() {
    let mut lab = Lab::seeded(8).speaker("a", 64512).scripted("x", 64513).linked("a", "x");
    lab.until_established("a", "x");
    lab.raw("x", &upd().reach("10.9.0.0/26").next_hop("10.255.0.2").as_path(&[64513]).octets());
    lab.run(SECOND);
    assert!(lab.in_kernel("a", "10.9.0.0/26"));
    lab.order("a", Command::Drain { wait: false });
    lab.run(5 * SECOND);
    assert!(lab.in_kernel("a", "10.9.0.0/26"), "the drain keeps it");
    lab.order("a", Command::Undrain);
    lab.until_established("a", "x");
    assert!(lab.in_kernel("a", "10.9.0.0/26"), "and gives x time to announce it again");
    lab.run(3600 * SECOND);
    assert!(lab.established("a", "x"));
    assert!(lab.best("a", "10.9.0.0/26").is_none() && !lab.in_kernel("a", "10.9.0.0/26"));
}
