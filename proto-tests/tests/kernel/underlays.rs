//! What the overlay stands on, beside a real kernel: one family alone, several uplinks, a width that changes; and devices that a former life
//! of the daemon has left.

use std::time::Duration;

use proto_tests::netlab::echo::Echo;
use proto_tests::netlab::may_run;
use proto_tests::netlab::sites::{Sites, ip};

/// A loaded machine takes its time.
const PATIENT: Duration = Duration::from_secs(60);
const ROUTES: &str = "route show proto bgp";
const ROUTES6: &str = "-6 route show proto bgp";

fn until_ping(sites: &Sites, v6: bool) {
    let to = if v6 { "fd00:10:244:2::2" } else { "10.244.2.2" };
    let answer = sites.nodes[0].pod.run(move || proto_tests::netlab::ping::ping(to.parse().unwrap(), PATIENT));
    answer.unwrap_or_else(|why| panic!("{to}: {why}\n{}\n{}\n{}", sites.log(0), sites.ip(0, ROUTES), sites.ip(0, ROUTES6)));
}

fn none_lost(talk: Vec<Echo>, sites: &Sites, what: &str) {
    let counted: Vec<(u64, u64)> = talk.into_iter().map(Echo::stop).collect();
    println!("{what}: sent and lost: {counted:?}");
    assert!(counted.iter().all(|(_, lost)| *lost == 0), "{what}: {counted:?}\n{}", sites.log(0));
}

/// Nodes that have addresses of one family only, and pods that have both.
fn of_one_family(test: &str, v6: bool) -> Option<Sites> {
    if !may_run(test) {
        return None;
    }
    let mut sites = Sites::build(24).unwrap();
    sites.configure("[fib.overlay]\nmode = \"cross-subnet\"").unwrap();
    for (index, n) in [(0, 1), (1, 2)] {
        let gone = if v6 { format!("addr del 10.0.{n}.1/24 dev eth0") } else { format!("addr del fd00:{n}::1/32 dev eth0") };
        ip(&sites.nodes[index].ns, &gone);
        let mut text = sites.config_text(index).replace("asn = 64512", &format!("asn = 64512\nrouter_id = \"10.0.{n}.1\""));
        for m in 1..=2 {
            let (v4_addr, v6_addr) = (format!("\"10.0.{m}.1\""), format!("\"fd00:{m}::1\""));
            let alone = if v6 { &v6_addr } else { &v4_addr };
            text = text.replace(&format!("[{v4_addr}, {v6_addr}]"), &format!("[{alone}]"));
        }
        sites.set_config_text(index, &text).unwrap();
    }
    // Without an IPv4 route a node answers no ARP for its pods' gateway.
    for site in &sites.nodes {
        let said = ip(&site.ns, "-o link show cali1");
        let mac = said.split_whitespace().skip_while(|word| *word != "link/ether").nth(1).unwrap().to_owned();
        ip(&site.pod, &format!("neigh replace 169.254.1.1 lladdr {mac} dev eth0 nud permanent"));
    }
    sites.start_all().unwrap();
    Some(sites)
}

#[test]
fn an_ipv6_only_underlay_carries_ipv4_pods() {
    let Some(sites) = of_one_family("an_ipv6_only_underlay_carries_ipv4_pods", true) else { return };
    sites.until_ip(0, PATIENT, ROUTES, |s| s.contains("10.244.2.0/26 via inet6 fe80:") && s.contains("dev catbird-v6"));
    sites.until_ip(0, PATIENT, ROUTES6, |s| s.contains("fd00:10:244:2::/122 via fe80:") && s.contains("dev catbird-v6"));
    until_ping(&sites, false);
    until_ping(&sites, true);
    let talk = [false, true].map(|v6| sites.ping(v6).unwrap());
    talk.iter().for_each(|echo| echo.await_more(200));
    none_lost(talk.into(), &sites, "over IPv6 alone");
}

#[test]
fn an_ipv4_only_underlay_carries_ipv6_pods() {
    let Some(sites) = of_one_family("an_ipv4_only_underlay_carries_ipv6_pods", false) else { return };
    sites.until_ip(0, PATIENT, ROUTES, |s| s.contains("10.244.2.0/26 via 10.0.2.1 dev catbird"));
    sites.until_ip(0, PATIENT, ROUTES6, |s| s.contains("fd00:10:244:2::/122 via fe80:") && s.contains("dev catbird "));
    until_ping(&sites, false);
    until_ping(&sites, true);
    let talk = [false, true].map(|v6| sites.ping(v6).unwrap());
    talk.iter().for_each(|echo| echo.await_more(200));
    // Somebody removes what the tunnel needs for it: it is put back.
    sites.ip(0, "-6 neigh flush dev catbird nud permanent");
    sites.until_ip(0, PATIENT, "-6 neigh show dev catbird", |s| s.contains("PERMANENT"));
    until_ping(&sites, true);
    let _ = talk.map(Echo::stop);
}

/// Node 1's own address stands on its loopback, and two links lead out.
#[test]
fn over_two_uplinks_the_narrowest_decides_and_one_may_go() {
    if !may_run("over_two_uplinks_the_narrowest_decides_and_one_may_go") {
        return;
    }
    let mut sites = Sites::build(24).unwrap();
    sites.configure("[fib.overlay]\nmode = \"cross-subnet\"").unwrap();
    let (near, far) = (&sites.nodes[0].ns, sites.nodes[0].ns.net_fd());
    sites
        .router
        .rtnl(move |r| {
            r.add_veth("second", None, "eth1", far)?;
            let (port, bridge) = (r.index("second")?, r.index("br0")?);
            r.set_master(port, bridge)?;
            r.set_up(port)
        })
        .unwrap();
    for line in ["addr add 10.8.1.254/24 dev br0", "addr add 10.9.1.254/24 dev br0"] {
        ip(&sites.router, line);
    }
    ip(&sites.router, "route add 10.0.1.1/32 nexthop via 10.8.1.1 nexthop via 10.9.1.1");
    for line in [
        "addr del 10.0.1.1/24 dev eth0",
        "addr add 10.0.1.1/32 dev lo",
        "addr add 10.8.1.1/24 dev eth0",
        "link set eth1 up",
        "addr add 10.9.1.1/24 dev eth1",
        "route add default src 10.0.1.1 nexthop via 10.8.1.254 dev eth0 nexthop via 10.9.1.254 dev eth1",
    ] {
        ip(near, line);
    }
    sites.start_all().unwrap();
    sites.until_ip(0, PATIENT, ROUTES, |s| s.contains("10.244.2.0/26 via 10.0.2.1 dev catbird"));
    until_ping(&sites, false);
    sites.until_ip(0, PATIENT, "link show catbird", |s| s.contains("mtu 1450"));
    for (mtu, carried) in [(1400, 1350), (1500, 1450)] {
        sites.ip(0, &format!("link set eth1 mtu {mtu}"));
        let took = sites.until_ip(0, PATIENT, "link show catbird", |s| s.contains(&format!("mtu {carried}")));
        println!("eth1 of {mtu}: the tunnel carries {carried} after {took:?}");
    }
    let talk = sites.ping(false).unwrap();
    talk.await_more(100);
    // Its operator takes one of them out of service.
    ip(&sites.router, "route replace 10.0.1.1/32 via 10.9.1.1");
    sites.ip(0, "route replace default via 10.9.1.254 dev eth1 src 10.0.1.1");
    talk.await_more(100);
    sites.ip(0, "link set eth0 down");
    talk.await_more(200);
    none_lost(vec![talk], &sites, "one of two uplinks was taken away");
    // The way over it alone is the narrower one.
    sites.ip(0, "link set eth1 mtu 1400");
    sites.until_ip(0, PATIENT, "link show catbird", |s| s.contains("mtu 1350"));
}

#[test]
fn the_width_of_the_underlay_is_followed_in_both_families() {
    let test = "the_width_of_the_underlay_is_followed_in_both_families";
    if !may_run(test) {
        return;
    }
    let mut sites = Sites::build(24).unwrap();
    sites.configure("[fib.overlay]\nmode = \"cross-subnet\"").unwrap();
    sites.start_all().unwrap();
    until_ping(&sites, false);
    until_ping(&sites, true);
    let talk: Vec<Echo> = [false, true].map(|v6| sites.ping(v6).unwrap()).into();
    for mtu in [1400, 1500, 1420, 1500] {
        sites.ip(0, &format!("link set eth0 mtu {mtu}"));
        for (device, wrapping) in [("catbird", 50), ("catbird-v6", 70)] {
            let took = sites.until_ip(0, PATIENT, &format!("link show {device}"), |s| s.contains(&format!("mtu {} ", mtu - wrapping)));
            println!("{mtu}: {device} follows after {took:?}");
        }
        talk.iter().for_each(|echo| echo.await_more(50));
    }
    let (_, lost) = talk.into_iter().next().unwrap().stop();
    assert_eq!(lost, 0, "{}", sites.log(0));
    until_ping(&sites, true);
}

/// Another VNI and port for both, then no overlay for one and then for the other: what the life before has left stays as long as it is
/// needed, and no longer.
#[test]
fn what_a_former_life_has_left_of_the_overlay_goes_and_no_packet_with_it() {
    let test = "what_a_former_life_has_left_of_the_overlay_goes_and_no_packet_with_it";
    if !may_run(test) {
        return;
    }
    let mut sites = Sites::build(16).unwrap();
    sites.configure("[fib.overlay]\nmode = \"always\"").unwrap();
    sites.start_all().unwrap();
    until_ping(&sites, false);
    until_ping(&sites, true);
    let talk: Vec<Echo> = [false, true].map(|v6| sites.ping(v6).unwrap()).into();
    let go_on = || talk.iter().for_each(|echo| echo.await_more(100));
    go_on();
    let devices = |sites: &Sites, index| sites.ip(index, "-o -d link show type vxlan");
    // Both die, and come back with other settings under the same name.
    sites.end(0, libc::SIGKILL);
    sites.end(1, libc::SIGTERM);
    sites.configure("[fib.overlay]\nmode = \"always\"\nvni = 77\nport = 8472").unwrap();
    sites.start_all().unwrap();
    for index in [0, 1] {
        sites.until_ip(index, PATIENT, "-o -d link show type vxlan", |s| s.matches("vxlan id 77").count() == 2);
    }
    go_on();
    for index in [0, 1] {
        sites.until_ip(index, PATIENT, "-o -d link show type vxlan", |s| s.lines().count() == 2 && !s.contains("-old"));
    }
    go_on();
    // One has no overlay any more; the other does not know that yet, and goes on to send over it.
    sites.end(0, libc::SIGTERM);
    sites.configure_one(0, "[fib.overlay]\nmode = \"never\"").unwrap();
    sites.start(0).unwrap();
    for (words, way) in [(ROUTES, "10.244.2.0/26 via 10.0.2.1 dev eth0"), (ROUTES6, "fd00:10:244:2::/122 via fd00:2::1 dev eth0")] {
        sites.until_ip(0, PATIENT, words, |s| s.contains(way));
    }
    std::thread::sleep(Duration::from_secs(12));
    go_on();
    assert_eq!(devices(&sites, 0).lines().count(), 2, "{}", sites.log(0));
    sites.end(1, libc::SIGTERM);
    sites.configure_one(1, "[fib.overlay]\nmode = \"never\"").unwrap();
    sites.start(1).unwrap();
    for index in [0, 1] {
        sites.until_ip(index, PATIENT, "-o -d link show type vxlan", str::is_empty);
    }
    go_on();
    none_lost(talk, &sites, "another VNI and port, then no overlay");
}
