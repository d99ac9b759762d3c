//! What FAILURES.md has kernels and neighbours do to a node, and packets that are counted meanwhile. (Keeper and node as in `kernel::fib`.)

use std::time::Duration;

use catbird::fib::{Params, State};
use proto_tests::netlab::patiently;
use proto_tests::node::{Node, Stream, arrived, furnish, ip, net, until_true};

const PATIENT: Duration = Duration::from_secs(20);
const SOON: Duration = Duration::from_millis(500);

/// Sixteen pods behind both routers, reached by two ways: sent, arrived, refused while `faults` are done to the ways.
fn flows(node: &Node, faults: impl FnOnce(&Stream)) -> (u64, u64, u64) {
    let pods: Vec<String> = (1..=16).map(|i| format!("10.244.2.{i}")).collect();
    for pod in &pods {
        ip(&node.router, &format!("addr replace {pod}/32 dev lo"));
    }
    let before = arrived(&node.router);
    let stream = Stream::to_all(node, pods);
    stream.await_more(EACH);
    faults(&stream);
    let (sent, refused) = stream.stop();
    let came = || arrived(&node.router) - before;
    patiently(Duration::from_secs(2), || came() >= sent);
    (sent, came(), refused)
}

const TWO_WAYS: [&str; 2] = ["10.0.0.2", "10.0.1.2"];
/// Datagrams between two events: a lasting fault of one way of two would cost half of them.
const EACH: u64 = 400;

#[test]
fn a_router_of_two_that_bgp_loses_and_finds_again_costs_no_packet() {
    let Some(node) = Node::new("a_router_of_two_that_bgp_loses_and_finds_again_costs_no_packet") else { return };
    let keeper = node.keeper(Params::default());
    keeper.want("10.244.2.0/26", &TWO_WAYS);
    node.until_routes(SOON, "two ways", |now| now.contains("nexthop via 10.0.1.2"));
    let (sent, came, refused) = flows(&node, |stream| {
        for _ in 0..20 {
            keeper.want("10.244.2.0/26", &TWO_WAYS[..1]);
            node.until_routes(SOON, "one way", |now| now.contains("10.244.2.0/26 via 10.0.0.2 dev eth1"));
            stream.await_more(EACH / 4);
            keeper.want("10.244.2.0/26", &TWO_WAYS);
            node.until_routes(SOON, "two ways again", |now| now.contains("nexthop via 10.0.1.2"));
            stream.await_more(EACH / 4);
        }
    });
    eprintln!("a way withdrawn and announced 20 times: {came} of {sent} arrived, {refused} refused");
    assert_eq!((came, refused), (sent, 0));
}

#[test]
fn a_link_of_two_that_goes_down_and_comes_costs_what_was_on_it() {
    let Some(node) = Node::new("a_link_of_two_that_goes_down_and_comes_costs_what_was_on_it") else { return };
    let keeper = node.keeper(Params::default());
    keeper.want("10.244.2.0/26", &TWO_WAYS);
    node.until_routes(SOON, "two ways", |now| now.contains("nexthop via 10.0.1.2"));
    let before = node.routes();
    let flaps = 5;
    let (sent, came, refused) = flows(&node, |stream| {
        for _ in 0..flaps {
            node.ip("link set eth2 down");
            node.until_routes(SOON, "one way", |now| now.contains("10.244.2.0/26 via 10.0.0.2 dev eth1"));
            stream.await_more(EACH);
            node.ip("link set eth2 up");
            node.until_routes(SOON, "two ways again", |now| now == before);
            node.know_routers();
            stream.await_more(EACH);
        }
    });
    let lost = sent - came;
    eprintln!("{flaps} flaps of a link: {came} of {sent} arrived, {lost} lost, {refused} refused");
    assert_eq!(refused, 0, "the other way stood all the time");
    // What the link had in hand when it went, and at once comes back for its neighbour; what comes later the kernel sends over the other.
    assert!(lost * 8 < sent, "{lost} of {sent} datagrams lost with {flaps} flaps");
}

#[test]
fn a_carrier_that_goes_is_left_before_the_stream_has_noticed() {
    let Some(node) = Node::new("a_carrier_that_goes_is_left_before_the_stream_has_noticed") else { return };
    let keeper = node.keeper(Params::default());
    keeper.want("10.244.2.0/26", &TWO_WAYS);
    node.until_routes(SOON, "two ways", |now| now.contains("nexthop via 10.0.1.2"));
    let before = node.routes();
    let (sent, came, refused) = flows(&node, |_| {
        ip(&node.router, "link set eth2 down");
        node.until_routes(SOON, "no carrier", |now| now.contains("10.244.2.0/26 via 10.0.0.2 dev eth1"));
    });
    eprintln!("a carrier lost: {} of {sent} lost until it was seen, {refused} refused", sent - came);
    assert_eq!(refused, 0);
    // The kernel would go on sending half of all into the dead link.
    let (sent, came, refused) = flows(&node, |stream| stream.await_more(2 * EACH));
    eprintln!("without the carrier: {came} of {sent} arrived, {refused} refused");
    assert_eq!((came, refused), (sent, 0));
    let (sent, came, refused) = flows(&node, |_| {
        ip(&node.router, "link set eth2 up");
        node.until_routes(SOON, "carrier", |now| now == before);
    });
    eprintln!("the carrier is back: {} of {sent} lost meanwhile, {refused} refused", sent - came);
    let (sent, came, refused) = flows(&node, |stream| stream.await_more(2 * EACH));
    assert_eq!((came, refused), (sent, 0), "both ways carry");
}

#[test]
fn pods_that_come_and_go_cost_no_dump_and_no_change_of_ours() {
    let Some(node) = Node::new("pods_that_come_and_go_cost_no_dump_and_no_change_of_ours") else { return };
    let keeper = node.keeper(Params::default());
    furnish(&keeper);
    let before = keeper.look();
    for round in 0..5 {
        node.pods_come_and_go(round, 40);
    }
    assert!(patiently(PATIENT, || keeper.look().messages >= before.messages + 200 && keeper.look().is_true()).is_some());
    let after = keeper.look();
    assert_eq!((after.dumps, after.sends, after.overruns), (before.dumps, before.sends, 0));
    assert_eq!(after.totals, before.totals, "nothing of ours was touched");
}

#[test]
fn the_same_fault_in_ipv6_is_healed_too() {
    let Some(node) = Node::new("the_same_fault_in_ipv6_is_healed_too") else { return };
    let keeper = node.keeper(Params::default());
    furnish(&keeper);
    let before = node.routes();
    node.ip("-6 route replace fd10::2:0/122 via fd00::3 dev eth1 metric 1024");
    node.until_routes(SOON, "replaced", |now| now == before);
    node.ip("-6 route add fd10::2:0/122 via fd00::3 dev eth1 metric 1");
    assert!(patiently(PATIENT, || keeper.row("fd10::2:0/122").unwrap().state == State::Shadowed).is_some());
    node.ip("-6 route del fd10::2:0/122 metric 1");
    assert!(patiently(PATIENT, || keeper.row("fd10::2:0/122").unwrap().state == State::Installed).is_some());
    node.ip("-6 route flush proto bgp");
    node.until_routes(SOON, "flushed", |now| now == before);
    node.ip("addr del fd00::1/64 dev eth1");
    node.until_routes(SOON, "no address", |now| !now.contains("via fd00::2"));
    node.ip("addr add fd00::1/64 dev eth1 nodad");
    node.until_routes(SOON, "address again", |now| now == before);
}

/// FAILURES.md, class 12: what waits grows by prefixes and not by changes.
#[test]
fn class_12_a_prefix_that_changes_all_the_time_waits_once() {
    let Some(node) = Node::new("class_12_a_prefix_that_changes_all_the_time_waits_once") else { return };
    let keeper = node.keeper(Params::default());
    keeper.want("10.244.2.0/26", &TWO_WAYS[..1]);
    until_true(&keeper);
    let change = |i: usize| ("10.244.2.0/26".parse().unwrap(), vec![TWO_WAYS[i % 2].parse().unwrap()]);
    let words = 200;
    for _ in 0..words {
        keeper.want_all((0..100).map(change).collect());
    }
    keeper.want("10.244.2.0/26", &TWO_WAYS);
    until_true(&keeper);
    node.until_routes(SOON, "the last word", |now| now.contains("nexthop via 10.0.1.2 dev eth2"));
    let written = keeper.look().totals.replaced;
    eprintln!("20,001 changes of a prefix in {} goes: written {written} times", words + 1);
    assert!(written <= words + 1, "at most once a go, and not even that while the kernel has one in hand");
}

/// Withdrawn all at once, in whatever order the planner likes: all are gone, and nobody else's.
#[test]
fn ten_thousand_routes_go_at_once_and_leave_the_neighbours_alone() {
    let Some(node) = Node::new("ten_thousand_routes_go_at_once_and_leave_the_neighbours_alone") else { return };
    node.ip("route add 10.99.0.0/16 via 10.0.0.2 proto static");
    let keeper = node.keeper(Params::default());
    let nets: Vec<ipnet::IpNet> = (0..10_000).map(net).collect();
    keeper.want_all(nets.iter().map(|n| (*n, vec!["10.0.0.2".parse().unwrap()])).collect());
    furnish(&keeper);
    assert_eq!(node.routes().lines().filter(|l| l.starts_with("20.")).count(), 10_000);
    keeper.unwant(nets);
    until_true(&keeper);
    let left = node.routes();
    assert!(!left.contains("20.") && left.contains("10.244.2.0/26"), "{left}");
    assert!(node.ip("route show proto static").contains("10.99.0.0/16"));
}

/// Another program deletes our route each second: it is put back at once, each time.
#[test]
fn a_route_that_another_deletes_each_second_is_there_nearly_all_the_time() {
    let Some(node) = Node::new("a_route_that_another_deletes_each_second_is_there_nearly_all_the_time") else { return };
    let keeper = node.keeper(Params::default());
    keeper.want("10.244.2.0/26", &TWO_WAYS[..1]);
    node.until_routes(SOON, "there", |now| now.contains("10.244.2.0/26"));
    let mut away = Duration::ZERO;
    let begun = std::time::Instant::now();
    for second in 1..=12 {
        node.ip("route del 10.244.2.0/26 metric 1024");
        away += node.until_routes(PATIENT, "there again", |now| now.contains("10.244.2.0/26"));
        // The other's own timer.
        let due = Duration::from_secs(second);
        assert!(patiently(PATIENT, || begun.elapsed() >= due).is_some());
    }
    let share = away.as_secs_f64() / begun.elapsed().as_secs_f64();
    println!("deleted 12 times, once a second: missing {:.1} % of the time", share * 100.0);
    assert!(share < 0.25, "missing {:.0} % of the time", share * 100.0);
    assert_eq!(keeper.row("10.244.2.0/26").unwrap().state, State::Installed, "and so it says");
}

/// Another program fights for a prefix and then stops. What it was owed by then is not held against what comes later.
#[test]
fn a_fight_that_is_over_leaves_no_route_missing() {
    let Some(node) = Node::new("a_fight_that_is_over_leaves_no_route_missing") else { return };
    let keeper = node.keeper(Params::default());
    furnish(&keeper);
    let before = node.routes();
    for round in 0..40 {
        node.ip("route replace 10.244.2.0/26 via 10.0.0.9 dev eth1 metric 1024");
        if round % 2 == 0 {
            node.ip("route del 10.244.2.0/26 metric 1024");
        }
    }
    let end = node.until_routes(PATIENT, "the fight is over", |now| now == before);
    assert!(patiently(PATIENT, || keeper.row("10.244.2.0/26").unwrap().state == State::Installed).is_some(), "it stands, and is said to");
    node.ip("route flush proto bgp");
    node.ip("-6 route flush proto bgp");
    let flushed = node.until_routes(PATIENT, "all of it is back", |now| now == before);
    println!("right {end:?} after 40 replacements, {flushed:?} after a flush of all");
    assert!(end < Duration::from_secs(5) && flushed < Duration::from_secs(5), "{end:?} {flushed:?}");
}
