//! The whole daemon beside real kernels, and packets between pods that are counted: what its death, its absence and its return cost them.

use std::net::IpAddr;
use std::process::Command;
use std::time::Duration;

use proto_tests::netlab::cluster::{Cluster, Mode, Plan};
use proto_tests::netlab::echo::Echo;
use proto_tests::netlab::monitor::Monitor;
use proto_tests::netlab::sites::{Sites, ip};
use proto_tests::netlab::{may_run, patiently, proc, until};

const PATIENT: Duration = Duration::from_secs(60);

/// Three nodes with a pod each, agreed.
fn cluster(test: &str) -> Option<Cluster> {
    if !may_run(test) {
        return None;
    }
    let plan = Plan { mode: Mode::FullMesh, nodes: 3, pods: 1, dark: 0 };
    let mut cluster = Cluster::build(plan, &proc::catbird().unwrap()).unwrap();
    cluster.start_all().unwrap();
    cluster.converge(&[0, 1, 2], PATIENT).unwrap_or_else(|why| panic!("{why}"));
    established(&cluster);
    let (_, silent) = cluster.ping_all(&[0, 1, 2], PATIENT);
    assert!(silent.is_empty(), "{silent:?}");
    Some(cluster)
}

fn established(cluster: &Cluster) {
    let all = cluster.session_ends();
    let seen = until(PATIENT, || match cluster.established_ends() {
        Ok(n) if n == all => Ok(()),
        other => Err(other),
    });
    assert!(seen.is_ok(), "session ends established: {seen:?} of {all}");
}

/// Datagrams from pod to pod and back, in both families.
fn talk(cluster: &Cluster, from: usize, to: usize) -> [Echo; 2] {
    let (near, far) = (&cluster.members[from].pods[0], &cluster.members[to].pods[0]);
    let echo = |a: IpAddr, b: IpAddr| Echo::start((&near.ns, a), (&far.ns, b)).unwrap();
    [echo(near.v4.into(), far.v4.into()), echo(near.v6.into(), far.v6.into())]
}

#[test]
fn killed_and_back_it_loses_no_ping_between_pods_and_deletes_no_route_anywhere() {
    let Some(mut cluster) = cluster("killed_and_back_it_loses_no_ping_between_pods_and_deletes_no_route_anywhere") else { return };
    let monitors: Vec<Monitor> = cluster.members.iter().map(|m| Monitor::start(&m.ns)).collect();
    let talk: Vec<Echo> = [(0, 1), (1, 0), (2, 0)].into_iter().flat_map(|(a, b)| talk(&cluster, a, b)).collect();
    let go_on = || talk.iter().for_each(|echo| echo.await_more(100));
    go_on();
    for _ in 0..2 {
        cluster.kill(0);
        go_on();
        cluster.start(0).unwrap();
        // It has found its routes, heard everybody's End-of-RIB and removed what nobody told again.
        let recovered = || cluster.metrics(0).is_ok_and(|text| text.contains("\ncatbird_graceful_restart_active 0\n"));
        patiently(PATIENT, recovered).unwrap_or_else(|| panic!("{}", cluster.metrics(0).unwrap()));
        established(&cluster);
    }
    go_on();
    let counted: Vec<(u64, u64)> = talk.into_iter().map(Echo::stop).collect();
    let sent: u64 = counted.iter().map(|(sent, _)| sent).sum();
    assert!(counted.iter().all(|(_, lost)| *lost == 0), "sent and lost, each way: {counted:?}");
    for (monitor, member) in monitors.into_iter().zip(&cluster.members) {
        let said = monitor.said(&member.ns);
        let ours: Vec<&String> = said.iter().filter(|l| l.contains("proto bgp")).collect();
        assert!(ours.is_empty(), "{}: no route of ours was to be touched: {ours:?}", member.name);
    }
    println!("killed twice under {sent} datagrams there and back: none lost, no route touched in three kernels");
    cluster.agree(&[0, 1, 2]).unwrap();
}

#[test]
fn what_was_done_to_the_kernel_while_it_was_stopped_is_put_right_when_it_goes_on() {
    let Some(cluster) = cluster("what_was_done_to_the_kernel_while_it_was_stopped_is_put_right_when_it_goes_on") else { return };
    let ip = |words: &str| {
        let mut command = Command::new("ip");
        command.args(words.split(' '));
        assert!(cluster.members[0].ns.output(command).unwrap().status.success(), "ip {words}");
    };
    cluster.signal(0, libc::SIGSTOP).unwrap();
    ip("route del 10.244.2.0/26");
    ip("route replace 10.244.3.0/26 via 10.12.22.2 metric 1024");
    ip("-6 route flush proto bgp");
    ip("addr add 10.12.22.77/24 dev eth1");
    assert!(cluster.node_agrees(0, &[0, 1, 2]).is_err());
    cluster.signal(0, libc::SIGCONT).unwrap();
    let (_, took) = until(PATIENT, || cluster.node_agrees(0, &[0, 1, 2])).unwrap_or_else(|why| panic!("{why}"));
    println!("put right {took:?} after SIGCONT");
    let (answered, silent) = cluster.ping_all(&[0, 1, 2], PATIENT);
    assert!(silent.is_empty() && answered == 12, "{answered}, {silent:?}");
}

#[test]
fn drift_repairs_and_convergence_are_told_by_the_metrics() {
    let Some(cluster) = cluster("drift_repairs_and_convergence_are_told_by_the_metrics") else { return };
    let value = |series: &str| -> f64 {
        let text = cluster.metrics(0).unwrap();
        let line = text.lines().find(|l| l.starts_with(series)).unwrap_or_else(|| panic!("no {series} in {text}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    let routes = |family: &str, state: &str| value(&format!("catbird_fib_routes{{table=\"254\",family=\"{family}\",state=\"{state}\"}}"));
    for family in ["ipv4-unicast", "ipv6-unicast"] {
        let settled = || (routes(family, "wanted"), routes(family, "installed"), routes(family, "failed"));
        // Two learned blocks and the blackhole of its own.
        assert!(patiently(PATIENT, || settled() == (3.0, 3.0, 0.0)).is_some(), "{family}: {:?}", settled());
    }
    assert!(value("catbird_convergence_seconds_count") > 0.0);
    let repaired = value("catbird_fib_repaired_routes_total");
    let mut command = Command::new("ip");
    command.args("route flush proto bgp".split(' '));
    assert!(cluster.members[0].ns.output(command).unwrap().status.success());
    assert!(patiently(PATIENT, || value("catbird_fib_repaired_routes_total") >= repaired + 3.0).is_some());
    let log = || std::fs::read_to_string(cluster.members[0].log()).unwrap_or_default();
    let named = || log().lines().any(|line| line.contains("put back what others had changed in the kernel") && line.contains("10.244."));
    assert!(patiently(PATIENT, named).is_some(), "which routes: {}", log());
    assert_eq!(value("catbird_netlink_overruns_total"), 0.0);
    cluster.node_agrees(0, &[0, 1, 2]).unwrap();
}

const ROUTES: &str = "route show proto bgp";
const DIRECT: &str = "10.244.2.0/26 via 10.0.2.1 dev eth0";

/// Two nodes in one subnet; no daemon runs yet.
fn pair(test: &str) -> Option<Sites> {
    may_run(test).then(|| {
        let sites = Sites::build(16).unwrap();
        sites.configure("").unwrap();
        sites
    })
}

fn until_ping(sites: &Sites) {
    for to in ["10.244.2.2", "fd00:10:244:2::2"] {
        let answer = sites.nodes[0].pod.run(move || proto_tests::netlab::ping::ping(to.parse().unwrap(), PATIENT));
        answer.unwrap_or_else(|why| panic!("{to}: {why}\n{}", sites.log(0)));
    }
}

/// Containers are started before their network is plugged in.
#[test]
fn started_before_its_link_is_up_and_has_addresses_it_agrees_when_they_come() {
    let test = "started_before_its_link_is_up_and_has_addresses_it_agrees_when_they_come";
    let Some(mut sites) = pair(test) else { return };
    // IPv6's go with the link.
    sites.ip(0, "link set eth0 down");
    sites.ip(0, "addr flush dev eth0");
    sites.start_all().unwrap();
    let runs = || sites.catbird(0, "status").contains("kernel");
    patiently(PATIENT, runs).unwrap_or_else(|| panic!("{}", sites.log(0)));
    assert!(sites.ip(0, ROUTES).contains("blackhole 10.244.1.0/26") && !sites.ip(0, ROUTES).contains("10.244.2.0/26"));
    for words in ["link set eth0 up", "addr add 10.0.1.1/16 dev eth0", "addr add fd00:1::1/16 dev eth0 nodad"] {
        sites.ip(0, words);
    }
    // The pod's gateway is answered for by a node that has a way to it.
    sites.ip(0, "route add default via 10.0.1.254 dev eth0 onlink");
    let took = sites.until_ip(0, PATIENT, ROUTES, |s| s.contains(DIRECT));
    sites.until_ip(0, PATIENT, "-6 route show proto bgp", |s| s.contains("fd00:10:244:2::/122 via fd00:2::1 dev eth0"));
    until_ping(&sites);
    println!("routes {took:?} after link and addresses, connect_retry being 1 s");
}

#[test]
fn an_address_of_its_own_that_goes_and_comes_is_followed_by_routes_and_session() {
    let test = "an_address_of_its_own_that_goes_and_comes_is_followed_by_routes_and_session";
    let Some(mut sites) = pair(test) else { return };
    sites.start_all().unwrap();
    sites.until_ip(0, PATIENT, ROUTES, |s| s.contains(DIRECT));
    until_ping(&sites);
    for round in 0..3 {
        sites.ip(0, "addr del 10.0.1.1/16 dev eth0");
        let gone = sites.until_ip(0, PATIENT, ROUTES, |s| !s.contains(DIRECT));
        sites.ip(0, "addr add 10.0.1.1/16 dev eth0");
        let back = sites.until_ip(0, PATIENT, ROUTES, |s| s.contains(DIRECT));
        until_ping(&sites);
        println!("round {round}: the route is gone {gone:?} after the address, and back {back:?} after it");
    }
    // What is said after that is heard at both ends: the session stands, or stands again.
    for index in [0, 1] {
        let (other, block) = (1 - index, format!("10.244.{}.64/26", 101 + index));
        let config = sites.config_text(index).replace("blocks = [", &format!("blocks = [\"{block}\", "));
        sites.set_config_text(index, &config).unwrap();
        sites.catbird(index, "reload");
        sites.until_ip(other, PATIENT, ROUTES, |s| s.contains(&format!("{block} via 10.0.{}.1 dev eth0", index + 1)));
    }
    let downs = sites.log(0).lines().filter(|l| l.contains(" n2: down")).count();
    println!("the session went down {downs} times");
}

/// RFC 5482, as `tcp_user_timeout` sets it: with keepalives agreed away, only TCP itself can tell that nobody acknowledges any more.
#[test]
fn what_nobody_acknowledges_ends_the_session_after_the_user_timeout() {
    let Some(mut sites) = pair("what_nobody_acknowledges_ends_the_session_after_the_user_timeout") else { return };
    for (index, more) in [(0, "tcp_user_timeout = \"2s\"\n"), (1, "")] {
        let text = sites.config_text(index).replace("[cluster]\n", &format!("[cluster]\nhold_time = 0\n{more}"));
        sites.set_config_text(index, &text).unwrap();
    }
    sites.start_all().unwrap();
    let is_up = |index: usize, peer: &str| sites.catbird(index, &format!("peer {peer}")).contains("Established since");
    assert!(patiently(PATIENT, || is_up(0, "n2") && is_up(1, "n1")).is_some(), "{}", sites.catbird(0, "peer n2"));
    sites.until_ip(0, PATIENT, "route show proto bgp", |said| said.contains("10.244.2.0/26"));
    // The wire is cut where neither sees it.
    ip(&sites.router, "link set port2 nomaster");
    // More to tell, and to both: the one without the setting waits on.
    for (index, block) in [(0, "10.244.1.64/26"), (1, "10.244.2.64/26")] {
        let text = sites.config_text(index).replace("blocks = [", &format!("blocks = [\"{block}\", "));
        sites.set_config_text(index, &text).unwrap();
        let said = sites.catbird(index, "reload");
        assert!(said.contains("is announced"), "{said}");
    }
    let took = patiently(PATIENT, || !is_up(0, "n2"));
    println!("given up {took:?} after there was more to tell");
    assert!(took.is_some(), "{}", sites.catbird(0, "peer n2"));
    let why = sites.catbird(0, "peer n2");
    assert!(why.contains("timed out"), "{why}");
    assert!(is_up(1, "n1"), "{}", sites.catbird(1, "peer n1"));
    ip(&sites.router, "link set port2 master br0");
    assert!(patiently(PATIENT, || is_up(0, "n2") && is_up(1, "n1")).is_some(), "{}", sites.catbird(1, "peer n1"));
    sites.until_ip(1, PATIENT, "route show proto bgp", |said| said.contains("10.244.1.64/26"));
}

/// The kernel then keeps two routes under one key, of which the first carries packets.
#[test]
fn our_subnet_on_a_second_link_changes_nothing_when_it_comes_and_when_it_goes() {
    let Some(mut sites) = pair("our_subnet_on_a_second_link_changes_nothing_when_it_comes_and_when_it_goes") else { return };
    sites.start_all().unwrap();
    sites.until_ip(0, PATIENT, ROUTES, |said| said.contains(DIRECT));
    until_ping(&sites);
    let echo = sites.ping(false).unwrap();
    sites.ip(0, "link add other0 type veth peer name other1");
    sites.ip(0, "link set other0 up");
    sites.ip(0, "link set other1 up");
    for round in 0..3 {
        sites.ip(0, "addr add 10.0.7.1/16 dev other0");
        sites.until_ip(0, PATIENT, "route show 10.0.0.0/16", |said| said.lines().count() == 2);
        echo.await_more(200);
        assert!(sites.ip(0, ROUTES).contains(DIRECT), "round {round}: {}", sites.ip(0, ROUTES));
        assert!(sites.catbird(0, "nexthops").contains("dev eth0"), "{}", sites.catbird(0, "nexthops"));
        match round {
            0 => drop(sites.ip(0, "addr del 10.0.7.1/16 dev other0")),
            // Without a word about the route.
            1 => drop(sites.ip(0, "link set other0 down") + &sites.ip(0, "addr flush dev other0") + &sites.ip(0, "link set other0 up")),
            _ => {
                // A dump tells both; it begins with the first.
                sites.end(0, libc::SIGKILL);
                sites.start(0).unwrap();
                assert!(patiently(PATIENT, || sites.catbird(0, "peer n2").contains("Established since")).is_some());
            }
        }
        echo.await_more(200);
        assert!(sites.ip(0, ROUTES).contains(DIRECT), "round {round}: {}", sites.ip(0, ROUTES));
    }
    let (sent, lost) = echo.stop();
    println!("{lost} of {sent} lost");
    assert_eq!(lost, 0);
}
