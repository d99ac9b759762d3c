//! Drain and stop: each promise of DESIGN's lifecycle, seen from the peers and the kernel.

use std::time::Duration;

use catbird::api::Command;
use catbird::speaker::StopMode;
use catbird::wire::Message;
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
    lab.order("a", Command::Drain { wait: false, if_shutdown: false });
    lab.stop("a", StopMode::Keep);
    assert!(!lab.stopped("a"));
    lab.run(2 * SECOND);
    assert!(lab.stopped("a") && lab.in_kernel("a", "10.9.0.0/26"), "and leaves the kernel's routes, as it was told");
    assert!(lab.best("b", "10.8.0.0/26").is_none());
}

#[test]
fn a_drained_router_learns_on_and_announces_nothing_until_undrain() {
    let mut lab = pair(3);
    lab.blocks("a", &["10.8.0.0/26"]);
    lab.run(SECOND);
    assert!(lab.best("b", "10.8.0.0/26").is_some());
    lab.order("a", Command::Drain { wait: false, if_shutdown: false });
    lab.run(5 * SECOND);
    assert!(lab.best("b", "10.8.0.0/26").is_none() && lab.in_kernel("a", "10.9.0.0/26"), "pods that are still here need it");
    lab.blocks("b", &["10.9.1.0/26"]);
    lab.blocks("a", &["10.8.0.0/26", "10.8.1.0/26"]);
    lab.run(SECOND);
    assert!(lab.in_kernel("a", "10.9.1.0/26") && !lab.in_kernel("a", "10.9.0.0/26"), "and where they are now");
    // Its own death changes nothing of that, and neither does the other's.
    for node in ["a", "b"] {
        lab.kill(node);
        lab.start(node);
        lab.blocks("a", &["10.8.0.0/26", "10.8.1.0/26"]);
        lab.blocks("b", &["10.9.2.0/26"]);
        lab.until_established("a", "b");
        lab.run(5 * SECOND);
        assert!(lab.in_kernel("a", "10.9.2.0/26") && !lab.in_kernel("a", "10.9.1.0/26"), "{node} was killed");
        assert_eq!(lab.prefixes("b"), 1, "{node} was killed: its own block and nothing else");
    }
    lab.order("a", Command::Undrain);
    lab.run(SECOND);
    assert!(lab.best("b", "10.8.0.0/26").is_some() && lab.best("b", "10.8.1.0/26").is_some());
    lab.kill("a");
    lab.start("a");
    lab.blocks("a", &["10.8.0.0/26"]);
    lab.until_established("a", "b");
    lab.run(SECOND);
    assert!(lab.best("b", "10.8.0.0/26").is_some(), "that it is over is known, too");
}

#[test]
fn routes_of_a_peer_that_dies_during_a_drain_go_as_at_any_time() {
    let mut lab = pair(4);
    lab.order("a", Command::Drain { wait: false, if_shutdown: false });
    lab.run(5 * SECOND);
    lab.unplug("b");
    lab.run(10 * SECOND);
    assert!(lab.in_kernel("a", "10.9.0.0/26"), "nobody has noticed");
    lab.run(600 * SECOND);
    assert!(!lab.in_kernel("a", "10.9.0.0/26"));
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
