//! Whose a route is: others' routes for a prefix of ours, and what was left under another name, on a real kernel.

use std::time::Duration;

use proto_tests::netlab::echo::Echo;
use proto_tests::netlab::may_run;
use proto_tests::netlab::sites::Sites;

/// A loaded machine takes its time.
const PATIENT: Duration = Duration::from_secs(60);

/// Two nodes in one subnet; the first has these settings.
fn sites(test: &str, more: &str) -> Option<Sites> {
    if !may_run(test) {
        return None;
    }
    let mut sites = Sites::build(16).unwrap();
    sites.configure("").unwrap();
    sites.configure_one(0, more).unwrap();
    sites.start_all().unwrap();
    sites.until_ip(0, PATIENT, "route show", |s| s.contains("10.244.2.0/26 via 10.0.2.1"));
    sites.until_ip(0, PATIENT, "-6 route show", |s| s.contains("fd00:10:244:2::/122 via fd00:2::1"));
    Some(sites)
}

/// Datagrams between the pods, both families, some of which have come back.
fn talk(sites: &Sites) -> Vec<Echo> {
    for to in ["10.244.2.2", "fd00:10:244:2::2"] {
        let answer = sites.nodes[0].pod.run(move || proto_tests::netlab::ping::ping(to.parse().unwrap(), PATIENT));
        answer.unwrap_or_else(|why| panic!("{to}: {why}\n{}", sites.log(0)));
    }
    let talk: Vec<Echo> = [false, true].map(|v6| sites.ping(v6).unwrap()).into();
    talk.iter().for_each(|echo| echo.await_more(50));
    talk
}

fn none_lost(talk: Vec<Echo>) {
    talk.iter().for_each(|echo| echo.await_more(50));
    let counted: Vec<(u64, u64)> = talk.into_iter().map(Echo::stop).collect();
    assert!(counted.iter().all(|(_, lost)| *lost == 0), "sent and lost, IPv4 and IPv6: {counted:?}");
}

/// What bridge plugins do on a node that was there first: the block's own prefix on a bridge; and another link with a learned prefix.
#[test]
fn a_connected_subnet_that_comes_after_ours_carries_the_packets() {
    for more in ["", "[fib]\nconflict = \"yield\""] {
        let Some(sites) = sites("a_connected_subnet_that_comes_after_ours_carries_the_packets", more) else { return };
        let way = |to: &str| sites.ip(0, &format!("route get {to}"));
        for (own, neighbour) in [("10.244.1.1/26", "10.244.1.50"), ("10.244.2.1/26", "10.244.2.50")] {
            sites.ip(0, "link add cni0 type bridge");
            sites.ip(0, "link set cni0 up");
            sites.ip(0, &format!("addr add {own} dev cni0"));
            assert!(way(neighbour).contains("dev cni0"), "{}", way(neighbour));
            let said = || sites.catbird(0, "fib");
            assert!(proto_tests::netlab::patiently(PATIENT, || said().contains("shadowed")).is_some(), "{}", said());
            // Again after its link was deleted, as a plugin does.
            sites.ip(0, "link del cni0");
            sites.until_ip(0, PATIENT, "route show proto bgp", |s| {
                s.contains("10.244.2.0/26 via 10.0.2.1") && s.contains("blackhole 10.244.1.0/26")
            });
        }
        let lines = sites.log(0).lines().filter(|l| l.contains("WARN")).count();
        assert!(lines < 8, "{lines} warnings:\n{}", sites.log(0));
    }
}

/// `[fib] protocol`, then `table`: what stood under the old name is gone or replaced, and nothing is lost.
#[test]
fn a_changed_protocol_or_table_takes_over_what_was_written_before() {
    let Some(mut sites) = sites("a_changed_protocol_or_table_takes_over_what_was_written_before", "") else { return };
    sites.ip(0, "rule add to 10.244.2.0/26 lookup 100");
    sites.ip(0, "-6 rule add to fd00:10:244:2::/122 lookup 100");
    let talk = talk(&sites);
    for (settings, old, new) in
        [("[fib]\nprotocol = 200", "proto bgp", "proto 200"), ("[fib]\nprotocol = 200\ntable = 100", "proto 200", "table 100 proto 200")]
    {
        talk.iter().for_each(|echo| echo.await_more(50));
        sites.end(0, libc::SIGTERM);
        sites.configure_one(0, settings).unwrap();
        sites.start(0).unwrap();
        for (family, net) in [("", "10.244.2.0/26"), ("-6 ", "fd00:10:244:2::/122")] {
            sites.until_ip(0, PATIENT, &format!("{family}route show {old}"), str::is_empty);
            sites.until_ip(0, PATIENT, &format!("{family}route show {new}"), |s| s.contains(net) && s.contains("blackhole"));
        }
    }
    none_lost(talk);
}

/// The other daemon was stopped and has left its routes, metric and all; one of them leads to a node that has lost its block.
#[test]
fn the_routes_of_bird_are_named_at_the_start_and_taken_over_if_so_configured() {
    let test = "the_routes_of_bird_are_named_at_the_start_and_taken_over_if_so_configured";
    let Some(mut sites) = sites(test, "") else { return };
    let left = |sites: &Sites| {
        sites.ip(0, "route add 10.244.2.0/26 via 10.0.2.1 proto bird");
        sites.ip(0, "route add 10.244.7.0/26 via 10.0.2.1 proto bird");
        sites.ip(0, "-6 route add fd00:10:244:7::/122 via fd00:2::1 proto bird");
    };
    left(&sites);
    sites.end(0, libc::SIGTERM);
    sites.start(0).unwrap();
    let named = || sites.log(0).contains("[fib] adopt = [\"bird\"]");
    assert!(proto_tests::netlab::patiently(PATIENT, named).is_some(), "{}", sites.log(0));
    let talk = talk(&sites);
    sites.end(0, libc::SIGTERM);
    sites.configure_one(0, "[fib]\nadopt = [\"bird\"]").unwrap();
    sites.start(0).unwrap();
    for family in ["", "-6 "] {
        sites.until_ip(0, PATIENT, &format!("{family}route show proto bird"), str::is_empty);
    }
    sites.until_ip(0, PATIENT, "route show proto bgp", |s| s.contains("10.244.2.0/26 via 10.0.2.1") && !s.contains("10.244.7.0/26"));
    none_lost(talk);
}

/// As the first release wrote them, without a metric.
#[test]
fn an_upgrade_from_metric_0_loses_no_packet() {
    let Some(mut sites) = sites("an_upgrade_from_metric_0_loses_no_packet", "[fib]\nmetric = 0\nblock_metric = 0") else { return };
    let talk = talk(&sites);
    sites.end(0, libc::SIGKILL);
    sites.configure_one(0, "").unwrap();
    sites.start(0).unwrap();
    sites.until_ip(0, PATIENT, "route show proto bgp", |s| {
        s.contains("10.244.2.0/26 via 10.0.2.1 dev eth0 metric 1024") && s.lines().count() == 2
    });
    none_lost(talk);
}

/// Another link has our subnet for a moment: the kernel keeps both routes under one key, and ours resolve by the first all the time.
#[test]
fn an_ipv6_subnet_that_comes_and_goes_on_a_second_link_moves_nothing() {
    let Some(sites) = sites("an_ipv6_subnet_that_comes_and_goes_on_a_second_link_moves_nothing", "") else { return };
    let talk = talk(&sites);
    sites.ip(0, "link add other type bridge");
    sites.ip(0, "link set other up");
    for _ in 0..3 {
        sites.ip(0, "addr add fd00:1::9/16 dev other nodad");
        sites.ip(0, "addr add 10.0.1.9/16 dev other");
        talk.iter().for_each(|echo| echo.await_more(20));
        sites.ip(0, "addr del fd00:1::9/16 dev other");
        sites.ip(0, "addr del 10.0.1.9/16 dev other");
        talk.iter().for_each(|echo| echo.await_more(20));
    }
    none_lost(talk);
    assert!(sites.ip(0, "-6 route show proto bgp").contains("fd00:10:244:2::/122 via fd00:2::1"));
}
