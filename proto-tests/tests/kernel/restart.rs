//! What a daemon is to find again after its death, on real kernels: blocks whose file is late, clients of a listen range, that it was drained.

use std::time::Duration;

use proto_tests::netlab::echo::Echo;
use proto_tests::netlab::sites::Sites;
use proto_tests::netlab::{may_run, patiently};

use super::ready::readiness;

/// A loaded machine takes its time.
const PATIENT: Duration = Duration::from_secs(60);
const ROUTES: &str = "route show proto bgp";

/// Two nodes in one subnet that have each other's blocks.
fn sites(test: &str, configure: impl FnOnce(&Sites)) -> Option<Sites> {
    if !may_run(test) {
        return None;
    }
    let mut sites = Sites::build(16).unwrap();
    sites.configure("").unwrap();
    configure(&sites);
    sites.start_all().unwrap();
    for (index, other) in [(0, 2), (1, 1)] {
        sites.until_ip(index, PATIENT, ROUTES, |s| s.contains(&format!("10.244.{other}.0/26 via 10.0.{other}.1")));
        sites
            .until_ip(index, PATIENT, "-6 route show proto bgp", |s| s.contains(&format!("fd00:10:244:{other}::/122 via fd00:{other}::1")));
    }
    Some(sites)
}

fn until_said(sites: &Sites, index: usize, words: &str, is_so: impl Fn(&str) -> bool) -> Duration {
    patiently(PATIENT, || is_so(&sites.catbird(index, words)))
        .unwrap_or_else(|| panic!("catbird {words}:\n{}\n{}", sites.catbird(index, words), sites.log(index)))
}

#[test]
fn a_file_of_blocks_that_comes_after_the_start_costs_no_packet_and_is_waited_for() {
    let test = "a_file_of_blocks_that_comes_after_the_start_costs_no_packet_and_is_waited_for";
    let to_file = |sites: &Sites| {
        let blocks = "blocks = [\"10.244.1.0/26\", \"fd00:10:244:1::/122\"]";
        let text = sites.config_text(0).replace(blocks, &format!("file = \"{}\"", sites.path("blocks").display()));
        sites.set_config_text(0, &text).unwrap();
        std::fs::write(sites.path("blocks"), "10.244.1.0/26\nfd00:10:244:1::/122\n").unwrap();
    };
    let Some(mut sites) = sites(test, to_file) else { return };
    for to in ["10.244.2.2", "fd00:10:244:2::2"] {
        sites.nodes[0].pod.run(move || proto_tests::netlab::ping::ping(to.parse().unwrap(), PATIENT)).unwrap();
    }
    let talk: Vec<Echo> = [false, true].map(|v6| sites.ping(v6).unwrap()).into();
    let go_on = || talk.iter().for_each(|echo| echo.await_more(100));
    go_on();
    std::fs::rename(sites.path("blocks"), sites.path("away")).unwrap();
    sites.end(0, libc::SIGTERM);
    sites.start(0).unwrap();
    until_said(&sites, 0, "peer n2", |s| s.contains("Established since"));
    let left = || {
        let status = sites.catbird(0, "status");
        let (_, rest) = status.split_once("not all known yet, from: file; End-of-RIB and old routes wait for them ")?;
        rest.split_once(' ')?.0.parse::<u32>().ok()
    };
    assert!(left().is_some_and(|left| left > 60), "{}", sites.catbird(0, "status"));
    assert!(readiness(&sites, 0).contains("not all known yet, from: file"), "{}", readiness(&sites, 0));
    // End-of-RIB waits no longer than 10 s for peers: that is over.
    patiently(PATIENT, || left().is_some_and(|left| left < 108)).unwrap_or_else(|| panic!("{}", sites.catbird(0, "status")));
    go_on();
    assert!(sites.ip(1, ROUTES).contains("10.244.1.0/26") && sites.ip(0, ROUTES).contains("blackhole 10.244.1.0/26"));
    std::fs::rename(sites.path("away"), sites.path("blocks")).unwrap();
    until_said(&sites, 0, "status", |s| !s.contains("not all known yet") && !s.contains("recovering"));
    go_on();
    let counted: Vec<(u64, u64)> = talk.into_iter().map(Echo::stop).collect();
    println!("sent and lost, IPv4 and IPv6: {counted:?}");
    assert!(counted.iter().all(|(_, lost)| *lost == 0), "{counted:?}\n{}", sites.log(0));
    assert!(sites.log(0).contains("kernel routes adopted, 0 not learned again"), "{}", sites.log(0));
}

/// Node 1 lets in whoever comes from a range; nobody ever did.
#[test]
fn with_a_listen_range_that_nobody_came_from_a_dead_route_goes_as_soon_as_without() {
    let test = "with_a_listen_range_that_nobody_came_from_a_dead_route_goes_as_soon_as_without";
    let range = "[[peer_group]]\nname = \"clients\"\nlisten = [\"172.16.0.0/12\"]\nasn = 64512\n";
    let Some(mut sites) = sites(test, |sites| sites.configure_one(0, range).unwrap()) else { return };
    let extra = |sites: &Sites, more: &str| {
        let text = sites.config_text(1);
        let at = text.find("blocks = [").unwrap() + "blocks = [".len();
        let rest = text[at..].trim_start_matches("\"10.244.99.0/26\", ");
        sites.set_config_text(1, &format!("{}{more}{rest}", &text[..at])).unwrap();
        sites.catbird(1, "reload");
    };
    extra(&sites, "\"10.244.99.0/26\", ");
    sites.until_ip(0, PATIENT, ROUTES, |s| s.contains("10.244.99.0/26 via 10.0.2.1"));
    sites.end(0, libc::SIGKILL);
    extra(&sites, "");
    until_said(&sites, 1, "blocks", |s| !s.contains("10.244.99.0/26"));
    assert!(sites.ip(0, ROUTES).contains("10.244.99.0/26"), "nobody is there to remove it");
    sites.start(0).unwrap();
    until_said(&sites, 0, "peer n2", |s| s.contains("Established since"));
    let took = sites.until_ip(0, Duration::from_secs(15), ROUTES, |s| !s.contains("10.244.99.0/26") && s.contains("10.244.2.0/26"));
    println!("gone {took:?} after the session was up; the deadline is 120 s");
}

#[test]
fn a_drained_node_follows_blocks_that_move_and_stays_drained_when_it_is_killed() {
    let test = "a_drained_node_follows_blocks_that_move_and_stays_drained_when_it_is_killed";
    let Some(mut sites) = sites(test, |_| ()) else { return };
    let said = sites.catbird(0, "drain");
    assert!(said.contains("drained: everything is withdrawn"), "{said}");
    let alone = |s: &str| !s.contains("10.244.1.0/26") && s.contains("blackhole 10.244.2.0/26");
    sites.until_ip(1, PATIENT, ROUTES, alone);
    let moved = |sites: &Sites, from: &str, to: &str| {
        let text = sites.config_text(1).replace(from, to);
        sites.set_config_text(1, &text).unwrap();
        sites.catbird(1, "reload");
    };
    moved(&sites, "10.244.2.0/26", "10.244.98.0/26");
    let took = sites.until_ip(0, PATIENT, ROUTES, |s| s.contains("10.244.98.0/26 via 10.0.2.1") && !s.contains("10.244.2.0/26"));
    println!("a drained node has followed after {took:?}");
    sites.end(0, libc::SIGKILL);
    sites.start(0).unwrap();
    until_said(&sites, 0, "peer n2", |s| s.contains("Established since"));
    until_said(&sites, 0, "status", |s| s.contains("drained") && !s.contains("recovering"));
    moved(&sites, "10.244.98.0/26", "10.244.2.0/26");
    sites.until_ip(0, PATIENT, ROUTES, |s| s.contains("10.244.2.0/26 via 10.0.2.1") && !s.contains("10.244.98.0/26"));
    assert!(alone(&sites.ip(1, ROUTES)), "{}", sites.ip(1, ROUTES));
    sites.catbird(0, "undrain");
    sites.until_ip(1, PATIENT, ROUTES, |s| s.contains("10.244.1.0/26 via 10.0.1.1"));
    sites.end(0, libc::SIGTERM);
    sites.start(0).unwrap();
    until_said(&sites, 0, "status", |s| !s.contains("drained") && s.contains("1/1 established"));
}

/// What was ordered at the control socket holds until the opposite is ordered, whatever happens to the daemon.
#[test]
fn blocks_that_were_added_and_peers_that_were_shut_down_stay_so_when_the_daemon_is_killed() {
    let test = "blocks_that_were_added_and_peers_that_were_shut_down_stay_so_when_the_daemon_is_killed";
    let Some(mut sites) = sites(test, |_| ()) else { return };
    let added = "10.244.77.0/26 via 10.0.1.1";
    sites.catbird(0, "block add 10.244.77.0/26");
    sites.catbird(0, "block add 10.244.78.0/26");
    sites.until_ip(1, PATIENT, ROUTES, |s| s.contains(added) && s.contains("10.244.78.0/26"));
    sites.end(0, libc::SIGKILL);
    // Of two that were added, the configuration of now speaks against one: a neighbour lives there.
    sites.configure_one(0, "[[peer]]\nname = \"far\"\naddress = \"10.244.78.7\"\nasn = 65001\n").unwrap();
    sites.start(0).unwrap();
    until_said(&sites, 0, "peer n2", |s| s.contains("Established since"));
    assert!(sites.catbird(0, "blocks").contains("10.244.77.0/26"), "{}", sites.catbird(0, "blocks"));
    sites.until_ip(1, PATIENT, ROUTES, |s| !s.contains("10.244.78.0/26"));
    assert!(sites.ip(1, ROUTES).contains(added), "{}", sites.ip(1, ROUTES));
    assert!(sites.log(0).contains("10.244.78.0/26") && sites.log(0).contains("it covers far 10.244.78.7"), "{}", sites.log(0));
    for command in ["block remove 10.244.77.0/26", "peer n2 down"] {
        sites.catbird(0, command);
    }
    until_said(&sites, 0, "peer n2", |s| s.contains("administratively down"));
    sites.end(0, libc::SIGKILL);
    sites.start(0).unwrap();
    until_said(&sites, 0, "peer n2", |s| s.contains("administratively down"));
    assert!(!sites.catbird(0, "blocks").contains("10.244.77.0/26"), "{}", sites.catbird(0, "blocks"));
    sites.catbird(0, "peer n2 up");
    until_said(&sites, 0, "peer n2", |s| s.contains("Established since"));
}
