//! The overlay beside a real kernel: two daemons in two subnets with a router between, pods that speak with each other through tunnels.

use std::time::Duration;

use catbird::fib::overlay::gateway;
use proto_tests::netlab::echo::Echo;
use proto_tests::netlab::sites::{Sites, ip};
use proto_tests::netlab::{may_run, patiently};

/// A loaded machine takes its time.
const SOON: Duration = Duration::from_secs(20);

const CROSS_SUBNET: &str = "[fib.overlay]\nmode = \"cross-subnet\"";

fn sites(test: &str, prefix_len: u8, more: &str) -> Option<Sites> {
    if !may_run(test) {
        return None;
    }
    let mut sites = Sites::build(prefix_len).unwrap();
    sites.configure(more).unwrap();
    sites.start_all().unwrap();
    Some(sites)
}

const ROUTES: &str = "route show proto bgp";

/// What routes over the tunnel to an IPv6 node name.
fn v6_gateway(node: &str) -> String {
    gateway(node.parse().unwrap()).to_string()
}

fn until_route(sites: &Sites, to: &str) -> Duration {
    sites.until_ip(0, SOON, ROUTES, |said| said.contains(to))
}

/// Until each pod reaches the other.
fn until_ping(sites: &Sites, v6: bool) {
    let to = if v6 { "fd00:10:244:2::2" } else { "10.244.2.2" };
    let answer = sites.nodes[0].pod.run(move || proto_tests::netlab::ping::ping(to.parse().unwrap(), SOON));
    answer.unwrap_or_else(|why| panic!("{to}: {why}\n{}\n{}", sites.ip(0, "neigh show"), sites.log(0)));
}

#[test]
fn pods_of_two_subnets_reach_each_other_over_vxlan() {
    let Some(sites) = sites("pods_of_two_subnets_reach_each_other_over_vxlan", 24, CROSS_SUBNET) else { return };
    until_route(&sites, "10.244.2.0/26 via 10.0.2.1 dev catbird metric 1024 onlink");
    sites.until_ip(0, SOON, "-6 route show proto bgp", |s| {
        s.contains(&format!("fd00:10:244:2::/122 via {} dev catbird-v6", v6_gateway("fd00:2::1")))
    });
    until_ping(&sites, false);
    until_ping(&sites, true);
    let link = sites.ip(0, "-d link show dev catbird");
    for wanted in ["vxlan id 4096 local 10.0.1.1", "dstport 4789", "nolearning", "mtu 1450", "02:cb:0a:00:01:01"] {
        assert!(link.contains(wanted), "{wanted} is not in\n{link}");
    }
    assert!(sites.ip(0, "link show dev catbird-v6").contains("mtu 1430"));
    let said = sites.catbird(0, "nexthops");
    assert!(said.contains("via 10.0.2.1 dev catbird onlink (overlay)"), "{said}");
    let said = sites.catbird(0, "fib");
    assert!(said.contains("10.244.2.0/26 via 10.0.2.1 dev catbird onlink metric 1024"), "{said}");
}

#[test]
fn a_tunnel_that_others_damage_is_whole_again() {
    let Some(sites) = sites("a_tunnel_that_others_damage_is_whole_again", 24, CROSS_SUBNET) else { return };
    until_route(&sites, "10.244.2.0/26 via 10.0.2.1 dev catbird metric 1024 onlink");
    until_ping(&sites, false);
    let sound = |said: &str| said.contains("02:cb:0a:00:02:01");
    type IsRight = fn(&str) -> bool;
    let mischief: [(&str, &str, IsRight); 6] = [
        ("link del catbird", ROUTES, |s| s.contains("10.244.2.0/26 via 10.0.2.1 dev catbird metric 1024 onlink")),
        ("neigh del 10.0.2.1 dev catbird", "neigh show dev catbird", |s| s.contains("02:cb:0a:00:02:01 PERMANENT")),
        ("neigh replace 10.0.2.1 lladdr 02:00:00:00:00:07 dev catbird", "neigh show dev catbird", |s| {
            s.contains("02:cb:0a:00:02:01 PERMANENT")
        }),
        ("link set catbird mtu 1400", "link show catbird", |s| s.contains("mtu 1450")),
        ("link set catbird down", ROUTES, |s| s.contains("10.244.2.0/26 via 10.0.2.1 dev catbird metric 1024 onlink")),
        ("link set catbird address 02:00:00:00:00:07", "link show catbird", |s| s.contains("02:cb:0a:00:01:01")),
    ];
    for (deed, look, is_right) in mischief {
        let ping = sites.ping(false).unwrap();
        sites.ip(0, deed);
        let took = sites.until_ip(0, SOON, look, is_right);
        until_ping(&sites, false);
        let (sent, lost) = ping.stop();
        println!("{deed}: right again after {took:?}, {lost} of {sent} round trips lost");
    }
    let mut bridge = std::process::Command::new("bridge");
    bridge.args(["fdb", "del", "02:cb:0a:00:02:01", "dev", "catbird", "dst", "10.0.2.1"]);
    assert!(sites.nodes[0].ns.output(bridge).unwrap().status.success());
    until_ping(&sites, false);
    assert!(sound(&sites.ip(0, "neigh show dev catbird")));
    let repairs =
        sites.nodes[0].ns.run(|| proto_tests::netlab::story::http_get(proto_tests::netlab::story::METRICS.into(), "/metrics")).unwrap();
    assert!(repairs.lines().any(|l| l.starts_with("catbird_tunnel_repairs_total ") && !l.ends_with(" 0")), "{repairs}");
}

/// One node's subnet becomes narrow or wide, as its operator would do it: the new prefix first.
fn resize(sites: &Sites, index: usize, from: u8, to: u8) {
    let n = index + 1;
    sites.ip(index, &format!("addr add 10.0.{n}.1/{to} dev eth0"));
    sites.ip(index, &format!("addr del 10.0.{n}.1/{from} dev eth0"));
    // The default route had the old prefix' address as its own and may have gone with it.
    sites.ip(index, &format!("route replace default via 10.0.{n}.254 dev eth0 onlink"));
}

#[test]
fn a_node_that_leaves_our_subnet_is_reached_by_vxlan_and_back_without_a_packet_lost() {
    let test = "a_node_that_leaves_our_subnet_is_reached_by_vxlan_and_back_without_a_packet_lost";
    let Some(sites) = sites(test, 16, CROSS_SUBNET) else { return };
    until_route(&sites, "10.244.2.0/26 via 10.0.2.1 dev eth0");
    until_ping(&sites, false);
    // What is needed for the tunnel is there before it is.
    sites.until_ip(0, SOON, "neigh show dev catbird", |s| s.contains("10.0.2.1"));
    let ping = sites.ping(false).unwrap();
    let mut times = Vec::new();
    for _ in 0..3 {
        for (from, to, way) in [(16, 24, "dev catbird metric 1024 onlink"), (24, 16, "dev eth0")] {
            for index in [0, 1] {
                resize(&sites, index, from, to);
                let other = 2 - index;
                let wanted = format!("10.244.{other}.0/26 via 10.0.{other}.1 {way}");
                times.push(sites.until_ip(index, SOON, ROUTES, |said| said.contains(&wanted)));
                ping.await_more(10);
            }
        }
    }
    let (sent, lost) = ping.stop();
    println!("12 switches, each within {:?}: {lost} of {sent} round trips lost", times.iter().max().unwrap());
    assert_eq!(lost, 0);
}

/// The second node's addresses: where it lives first, and where it moves to, in the subnet of the first node.
const OWN: [&str; 3] = ["10.0.2.1", "fd00:2::1", "2"];
const NEAR: [&str; 3] = ["10.0.1.2", "fd00:1::2", "1"];

/// The second node has other addresses from now on; its operator tells it so, then the others, and when they have agreed the old addresses
/// go. How long from the first word until each kernel leads to the other's pods by the new way.
fn renumber(sites: &Sites, from: [&str; 3], to: [&str; 3], over: [&str; 2]) -> Duration {
    let [v4, v6, subnet] = to;
    sites.ip(1, &format!("addr add {v4}/24 dev eth0"));
    sites.ip(1, &format!("addr add {v6}/32 dev eth0 nodad"));
    sites.ip(1, &format!("route replace default via 10.0.{subnet}.254 dev eth0 onlink"));
    sites.ip(1, &format!("-6 route replace default via fd00:{subnet}::fe dev eth0 onlink"));
    let begun = std::time::Instant::now();
    for index in [1, 0] {
        let config = sites.config_text(index).replace(from[0], v4).replace(from[1], v6);
        sites.set_config_text(index, &config).unwrap();
        let said = sites.catbird(index, "reload");
        assert!(said.contains("restart"), "a session changes: {said}");
    }
    let until_there = |index: usize, other: [&str; 2]| {
        let pods = 2 - index;
        let wanted = format!("10.244.{pods}.0/26 via {} dev {}", other[0], over[0]);
        sites.until_ip(index, SOON, ROUTES, |said| said.contains(&wanted));
        let by = if over[1] == "eth0" { other[1].to_owned() } else { v6_gateway(other[1]) };
        let wanted = format!("fd00:10:244:{pods}::/122 via {by} dev {}", over[1]);
        sites.until_ip(index, SOON, "-6 route show proto bgp", |said| said.contains(&wanted));
    };
    until_there(0, [v4, v6]);
    // As long as it has both, the first node is on its link.
    sites.ip(1, &format!("addr del {}/24 dev eth0", from[0]));
    sites.ip(1, &format!("addr del {}/32 dev eth0", from[1]));
    until_there(1, ["10.0.1.1", "fd00:1::1"]);
    begun.elapsed()
}

#[test]
fn a_node_that_moves_to_another_subnet_with_a_new_address_is_followed_and_back() {
    let test = "a_node_that_moves_to_another_subnet_with_a_new_address_is_followed_and_back";
    let Some(sites) = sites(test, 24, CROSS_SUBNET) else { return };
    until_route(&sites, "10.244.2.0/26 via 10.0.2.1 dev catbird metric 1024 onlink");
    let both = |sites: &Sites| [false, true].map(|v6| sites.ping(v6).unwrap());
    for (what, from, to, over) in [("near", OWN, NEAR, ["eth0", "eth0"]), ("far", NEAR, OWN, ["catbird metric 1024 onlink", "catbird-v6"])]
    {
        until_ping(&sites, false);
        until_ping(&sites, true);
        let moving = both(&sites);
        moving.iter().for_each(|echo| echo.await_more(100));
        let took = renumber(&sites, from, to, over);
        moving.iter().for_each(|echo| echo.await_more(100));
        let lost = moving.map(Echo::stop);
        println!("{what}, with a new address: both kernels after {took:?}; sent and lost, IPv4 and IPv6: {lost:?}");
        assert!(lost.iter().all(|(sent, lost)| lost + 100 <= *sent), "those before the move came back: {lost:?}");
        until_ping(&sites, false);
        until_ping(&sites, true);
        let there = both(&sites);
        there.iter().for_each(|echo| echo.await_more(200));
        let lost = there.map(Echo::stop);
        assert!(lost.iter().all(|(_, lost)| *lost == 0), "{what}, and all is quiet again: {lost:?}");
    }
    // Of where it was meanwhile nothing is left in the end; for some seconds there may yet be a route over it.
    let v6 = [OWN[1], NEAR[1]].map(v6_gateway);
    for (dev, here, there) in [("catbird", OWN[0], NEAR[0]), ("catbird-v6", &v6[0], &v6[1])] {
        sites.until_ip(0, SOON, &format!("neigh show dev {dev}"), |s| s.contains(here) && s.contains("PERMANENT") && !s.contains(there));
    }
    let link = sites.ip(1, "-d link show dev catbird");
    assert!(link.contains("local 10.0.2.1 ") && link.contains("02:cb:0a:00:02:01"), "{link}");
}

/// A node announces the network that all nodes live in. Through the tunnel that would lead to it, the tunnel's own packets would go.
#[test]
fn a_route_that_holds_its_own_tunnels_end_is_not_written_unless_a_longer_one_leads_there() {
    let test = "a_route_that_holds_its_own_tunnels_end_is_not_written_unless_a_longer_one_leads_there";
    let learn = format!(
        "{CROSS_SUBNET}\n[[redistribute]]\nprefixes = [\"10.0.0.0/16\", \"10.50.0.0/16\"]\nprotocols = [\"static\"]\nkind = \"block\""
    );
    let Some(sites) = sites(test, 24, &learn) else { return };
    until_route(&sites, "10.244.2.0/26 via 10.0.2.1 dev catbird metric 1024 onlink");
    until_ping(&sites, false);
    let ping = sites.ping(false).unwrap();
    sites.ip(1, "route add 10.0.0.0/16 via 10.0.2.254 dev eth0 proto static");
    let why = || sites.catbird(0, "why 10.0.0.0/16");
    let said = "kernel: not written: it holds the address that its tunnel leads to";
    patiently(SOON, || why().contains(said)).unwrap_or_else(|| panic!("{}", why()));
    // What was announced after it stands, and it does not.
    sites.ip(1, "route add 10.50.0.0/16 via 10.0.2.254 dev eth0 proto static");
    until_route(&sites, "10.50.0.0/16 via 10.0.2.1 dev catbird metric 1024 onlink");
    assert!(!sites.ip(0, ROUTES).contains("10.0.0.0/16"), "the way to the node would lead to itself");
    ping.await_more(50);
    // With a longer route to the node the tunnel has a way of its own.
    sites.ip(0, "route add 10.0.2.0/24 via 10.0.1.254 dev eth0 proto static");
    let took = until_route(&sites, "10.0.0.0/16 via 10.0.2.1 dev catbird metric 1024 onlink");
    ping.await_more(50);
    // It is to go before what carries the tunnel does.
    sites.ip(0, "route del 10.0.2.0/24 via 10.0.1.254 dev eth0 proto static");
    let gone = sites.until_ip(0, SOON, ROUTES, |s| !s.contains("10.0.0.0/16"));
    until_ping(&sites, false);
    let (sent, lost) = ping.stop();
    println!("written {took:?} after its tunnel had a way, gone {gone:?} after that: {lost} of {sent} round trips lost");
    let ping = sites.ping(false).unwrap();
    ping.await_more(100);
    assert_eq!(ping.stop().1, 0);
}

#[test]
fn a_reload_changes_the_overlay_while_it_runs() {
    let Some(mut sites) = sites("a_reload_changes_the_overlay_while_it_runs", 24, CROSS_SUBNET) else { return };
    until_route(&sites, "10.244.2.0/26 via 10.0.2.1 dev catbird metric 1024 onlink");
    sites.configure("[fib.overlay]\nmode = \"always\"\nvni = 77\nport = 8472\nmtu = 1300\naddresses = [\"10.244.1.1\"]").unwrap();
    let said = sites.catbird(0, "reload");
    assert!(said.contains("[fib.overlay] vni 4096 -> 77: another device takes its place"), "{said}");
    sites.catbird(1, "reload");
    for index in [0, 1] {
        sites.until_ip(index, SOON, "-d link show type vxlan", |s| {
            s.contains("vxlan id 77") && s.contains("dstport 8472") && s.contains("mtu 1300")
        });
    }
    sites.until_ip(0, SOON, "addr show", |s| s.contains("10.244.1.1/32"));
    until_ping(&sites, false);
    // Another name: the old device stays until the routes lead over the new one, then goes.
    sites.configure("[fib.overlay]\nmode = \"always\"\ndevice = \"ov\"\nvni = 78\nport = 8472").unwrap();
    sites.catbird(0, "reload");
    sites.catbird(1, "reload");
    until_route(&sites, "10.244.2.0/26 via 10.0.2.1 dev ov metric 1024 onlink");
    until_ping(&sites, false);
    sites.until_ip(0, SOON, "link show", |s| !s.contains(" catbird:"));
    // A restart finds everything as it is: the same device, and not one route written.
    let before = sites.ip(0, "-o link show dev ov");
    sites.end(0, libc::SIGKILL);
    sites.start(0).unwrap();
    let settled = || sites.catbird(0, "nexthops").contains("(overlay)");
    patiently(SOON, settled).unwrap_or_else(|| panic!("{}", sites.log(0)));
    assert_eq!(sites.ip(0, "-o link show dev ov"), before);
    // Without an overlay no device of it stays.
    sites.configure("[fib.overlay]\nmode = \"never\"").unwrap();
    sites.catbird(0, "reload");
    sites.until_ip(0, SOON, "link show", |s| !s.contains(" ov:"));
    sites.until_ip(0, SOON, ROUTES, |s| s.contains("10.244.2.0/26 via 10.0.1.254 dev eth0"));
}

/// Both daemons die, one starts again and the other does not yet: its kernel still has the way to our pods, and ours the way to its pods.
#[test]
fn a_restart_keeps_the_tunnels_entries_as_long_as_the_routes_over_them() {
    let test = "a_restart_keeps_the_tunnels_entries_as_long_as_the_routes_over_them";
    let Some(mut sites) = sites(test, 24, CROSS_SUBNET) else { return };
    until_route(&sites, "10.244.2.0/26 via 10.0.2.1 dev catbird metric 1024 onlink");
    until_ping(&sites, false);
    until_ping(&sites, true);
    let pings = [false, true].map(|v6| sites.ping(v6).unwrap());
    sites.end(1, libc::SIGKILL);
    sites.end(0, libc::SIGKILL);
    // Of a node that nobody names any more; and what no life of ours has written.
    sites.ip(0, "neigh add 10.0.2.77 lladdr 02:cb:0a:00:02:4d dev catbird nud permanent");
    sites.ip(0, "neigh add 10.0.2.78 lladdr 02:00:00:00:00:07 dev catbird nud permanent");
    sites.start(0).unwrap();
    sites.until_ip(0, SOON, "neigh show dev catbird", |s| !s.contains("10.0.2.78"));
    pings.iter().for_each(|ping| ping.await_more(200));
    for (dev, node) in [("catbird", "10.0.2.1 "), ("catbird", "10.0.2.77 "), ("catbird-v6", &format!("{} ", v6_gateway("fd00:2::1")))] {
        let said = sites.ip(0, &format!("neigh show dev {dev}"));
        assert!(said.lines().any(|l| l.starts_with(node) && l.contains("PERMANENT")), "{node} in {said}");
    }
    sites.start(1).unwrap();
    sites.until_ip(0, SOON, "neigh show dev catbird", |s| !s.contains("10.0.2.77"));
    let lost = pings.map(Echo::stop);
    assert!(lost.iter().all(|(_, lost)| *lost == 0), "sent and lost, IPv4 and IPv6: {lost:?}");
    assert!(sites.log(0).contains("not learned again"), "{}", sites.log(0));
    until_ping(&sites, false);
}

/// A route to the nodes that is not the default one: the kernel takes no gateway on the tunnel device that another link leads to.
#[test]
fn ipv6_pods_reach_each_other_whatever_leads_to_the_nodes() {
    let test = "ipv6_pods_reach_each_other_whatever_leads_to_the_nodes";
    for (prefix_len, mode) in [(16, "always"), (24, "cross-subnet")] {
        if !may_run(test) {
            return;
        }
        let mut sites = Sites::build(prefix_len).unwrap();
        if prefix_len == 24 {
            for n in 1..=2 {
                ip(&sites.nodes[n - 1].ns, "-6 route del default");
                ip(&sites.nodes[n - 1].ns, &format!("-6 route add fd00::/16 via fd00:{n}::fe dev eth0 onlink"));
            }
        }
        sites.configure(&format!("[fib.overlay]\nmode = \"{mode}\"")).unwrap();
        sites.start_all().unwrap();
        sites.until_ip(0, SOON, "-6 route show proto bgp", |s| s.contains("fd00:10:244:2::/122 via fe80:") && s.contains("dev catbird-v6"));
        until_ping(&sites, false);
        until_ping(&sites, true);
    }
}

/// Others add and remove entries on the tunnel device without end.
#[test]
fn a_storm_of_others_entries_neither_delays_a_repair_nor_the_end() {
    let Some(mut sites) = sites("a_storm_of_others_entries_neither_delays_a_repair_nor_the_end", 24, CROSS_SUBNET) else { return };
    until_route(&sites, "10.244.2.0/26 via 10.0.2.1 dev catbird metric 1024 onlink");
    let script = "while :; do ip neigh replace 10.9.0.9 lladdr 02:00:00:00:00:09 dev catbird nud permanent; \
                  ip neigh del 10.9.0.9 dev catbird 2>/dev/null; done";
    let mut command = std::process::Command::new("sh");
    command.args(["-c", script]);
    let mut storm = sites.nodes[0].ns.spawn(command).unwrap();
    let mut repairs: Vec<Duration> = (0..15)
        .map(|_| {
            sites.ip(0, "neigh del 10.0.2.1 dev catbird");
            sites.until_ip(0, SOON, "neigh show dev catbird", |s| s.contains("02:cb:0a:00:02:01 PERMANENT"))
        })
        .collect();
    repairs.sort();
    println!("repaired after {repairs:?}");
    // With the time that `ip` takes to be started and to look. The worst may be the machine's, if not more than once in a while.
    assert!(repairs[7] < Duration::from_millis(100) && repairs[12] < Duration::from_millis(200), "{repairs:?}");
    let began = std::time::Instant::now();
    sites.end(0, libc::SIGTERM);
    println!("ended after {:?}", began.elapsed());
    assert!(began.elapsed() < SOON);
    storm.kill().unwrap();
    storm.wait().unwrap();
}

#[test]
fn a_name_that_is_taken_is_said_and_left_alone() {
    if !may_run("a_name_that_is_taken_is_said_and_left_alone") {
        return;
    }
    let mut sites = Sites::build(24).unwrap();
    sites.configure(CROSS_SUBNET).unwrap();
    ip(&sites.nodes[0].ns, "link add catbird type bridge");
    sites.start_all().unwrap();
    let said = || sites.log(0).contains("an interface catbird of kind \"bridge\" is there already");
    patiently(SOON, said).unwrap_or_else(|| panic!("{}", sites.log(0)));
    let why = || sites.catbird(0, "nexthops").contains("the tunnel that is to carry it does not stand");
    patiently(SOON, why).unwrap_or_else(|| panic!("{}", sites.catbird(0, "nexthops")));
    assert!(!sites.ip(0, ROUTES).contains("10.244.2.0/26"), "rather no route than one that leads nowhere");
    sites.ip(0, "link del catbird");
    until_route(&sites, "10.244.2.0/26 via 10.0.2.1 dev catbird metric 1024 onlink");
}

const LEARN: &str = r#"
[fib]
ignore_interfaces = ["calico*"]
[[redistribute]]
prefixes = ["10.244.0.0/16 ge 32", "fd00:10:244::/48 ge 128"]
interfaces = ["cali*"]
kind = "pod"
[[redistribute]]
prefixes = ["10.244.0.0/16 ge 26 le 26"]
shape = "blackhole"
protocols = [80]
kind = "block"
[policy.ours]
rules = [
    { prefixes = ["10.244.2.2/32", "fd00:10:244:2::2/128"], then = "reject" },
    { own_kinds = ["block", "pod"], then = "accept" },
]
"#;

#[test]
fn what_others_write_into_the_kernel_is_announced_by_rule_and_goes_with_it() {
    if !may_run("what_others_write_into_the_kernel_is_announced_by_rule_and_goes_with_it") {
        return;
    }
    let mut sites = Sites::build(16).unwrap();
    sites.configure(LEARN).unwrap();
    let export = |sites: &Sites| {
        let config = sites.config_text(1).replace("[cluster]\n", "[cluster]\nexport = [\"ours\"]\n");
        sites.set_config_text(1, &config).unwrap();
    };
    export(&sites);
    // One stands there before the daemon starts.
    sites.ip(1, "route add 10.244.1.77/32 dev cali1 proto boot");
    sites.start_all().unwrap();
    let there = |net: &'static str| move |said: &str| said.contains(net);
    let gone = |net: &'static str| move |said: &str| !said.contains(net);
    sites.until_ip(0, SOON, ROUTES, there("10.244.1.77 via 10.0.2.1 dev eth0"));
    sites.ip(1, "route add 10.244.1.78/32 dev cali1");
    sites.ip(1, "route add blackhole 10.244.8.0/26 proto 80");
    sites.ip(1, "-6 route add fd00:10:244:1::77/128 dev cali1");
    for net in ["10.244.1.78 via 10.0.2.1 dev eth0", "10.244.8.0/26 via 10.0.2.1 dev eth0"] {
        let took = sites.until_ip(0, SOON, ROUTES, there(net));
        println!("{net}: at the peer after {took:?}");
    }
    sites.until_ip(0, SOON, "-6 route show proto bgp", there("fd00:10:244:1::77 via fd00:2::1"));
    let said = sites.catbird(1, "blocks");
    assert!(said.contains("10.244.8.0/26") && said.contains("kernel"), "{said}");
    // None of it is written where it stands already, and what policy refuses is not told.
    let own = sites.ip(1, ROUTES);
    assert!(!own.contains("10.244.8.0/26") && !own.contains("10.244.1.77"), "{own}");
    assert!(!sites.ip(0, ROUTES).contains("10.244.2.2 "), "the policy keeps it back");
    // Not over interfaces that are ignored, not by other protocols.
    sites.ip(1, "link add calico7 type bridge");
    sites.ip(1, "link set calico7 up");
    sites.ip(1, "route add 10.244.1.90/32 dev calico7");
    sites.ip(1, "route add blackhole 10.244.9.0/26 proto 81");
    // It comes and goes, by route and by link.
    sites.ip(1, "route del 10.244.1.78/32");
    sites.ip(1, "route del blackhole 10.244.8.0/26");
    let took = sites.until_ip(0, SOON, ROUTES, |s| !s.contains("10.244.1.78") && !s.contains("10.244.8.0/26"));
    println!("withdrawn after {took:?}");
    let said = sites.ip(0, ROUTES);
    assert!(!said.contains("10.244.1.90") && !said.contains("10.244.9.0/26"), "{said}");
    assert!(said.contains("10.244.1.77"));
    sites.ip(1, "link del cali1");
    sites.until_ip(0, SOON, ROUTES, gone("10.244.1.77"));
    // A reload with other rules finds what no rule meant before.
    let config = sites.config_text(1).replace("protocols = [80]", "protocols = [81]");
    sites.set_config_text(1, &config).unwrap();
    let said = sites.catbird(1, "reload");
    assert!(said.contains("[[redistribute]] changes"), "{said}");
    let took = sites.until_ip(0, SOON, ROUTES, there("10.244.9.0/26 via 10.0.2.1"));
    println!("other rules: at the peer after {took:?}");
}

/// Another mode and another name, live and over a restart: routes move to the tunnel and back, the device is the same one.
#[test]
fn another_mode_and_another_device_name_lose_no_packet() {
    let Some(mut sites) = sites("another_mode_and_another_device_name_lose_no_packet", 16, CROSS_SUBNET) else { return };
    until_route(&sites, "10.244.2.0/26 via 10.0.2.1 dev eth0");
    sites.until_ip(0, SOON, "neigh show dev catbird", |s| s.contains("10.0.2.1"));
    sites.until_ip(1, SOON, "neigh show dev catbird", |s| s.contains("10.0.1.1"));
    until_ping(&sites, false);
    until_ping(&sites, true);
    let talk = [false, true].map(|v6| sites.ping(v6).unwrap());
    let go_on = || talk.iter().for_each(|echo| echo.await_more(50));
    go_on();
    let device = |sites: &Sites| {
        sites.ip(0, "-o link show type vxlan").lines().filter_map(|l| l.split(": ").next().map(str::to_owned)).collect::<Vec<_>>()
    };
    let first = device(&sites);
    assert_eq!(first.len(), 2);
    let ways = |way: &str, v6: &str| {
        sites.until_ip(0, SOON, ROUTES, |s| s.contains(&format!("10.244.2.0/26 via 10.0.2.1 dev {way}")));
        sites.until_ip(0, SOON, "-6 route show proto bgp", |s| s.contains(v6));
        go_on();
    };
    for (settings, said, way, v6) in [
        ("mode = \"always\"", "[fib.overlay] mode cross-subnet -> always: routes whose way changes", "catbird metric", "dev catbird-v6"),
        (
            "mode = \"always\"\ndevice = \"ov\"",
            "[fib.overlay] device catbird -> ov: the device gets the new name",
            "ov metric",
            "dev ov-v6",
        ),
        ("mode = \"cross-subnet\"\ndevice = \"ov\"", "[fib.overlay] mode always -> cross-subnet", "eth0", "via fd00:2::1 dev eth0"),
        ("mode = \"always\"", "[fib.overlay] device ov -> catbird", "catbird metric", "dev catbird-v6"),
    ] {
        sites.configure_one(0, &format!("[fib.overlay]\n{settings}")).unwrap();
        let plan = sites.catbird(0, "diff");
        assert!(plan.contains(said), "{said} is not in\n{plan}");
        sites.catbird(0, "reload");
        ways(way, v6);
        assert_eq!(device(&sites), first, "{settings}: the same devices");
    }
    // The name changes while nobody is there.
    sites.end(0, libc::SIGTERM);
    sites.configure_one(0, "[fib.overlay]\nmode = \"always\"\ndevice = \"later\"").unwrap();
    sites.start(0).unwrap();
    sites.until_ip(0, SOON, ROUTES, |s| s.contains("10.244.2.0/26 via 10.0.2.1 dev later metric"));
    talk.iter().for_each(|echo| echo.await_more(100));
    assert_eq!(device(&sites), first);
    let lost = talk.map(Echo::stop);
    println!("five changes of mode and name: sent and lost, IPv4 and IPv6: {lost:?}");
    assert!(lost.iter().all(|(_, lost)| *lost == 0), "{lost:?}\n{}", sites.log(0));
}
