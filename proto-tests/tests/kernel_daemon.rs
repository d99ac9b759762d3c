//! The whole daemon beside real kernels, and packets between pods that are counted: what its death, its absence and its return cost them.

use std::io::Read as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use proto_tests::netlab::cluster::{Cluster, Mode, Plan};
use proto_tests::netlab::{Ns, may_run, patiently, proc, until};

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

/// A program in a namespace that talks until it is interrupted.
struct Talker(Child);

impl Talker {
    fn start(ns: &Ns, words: &str) -> Talker {
        let mut words = words.split(' ');
        let mut command = Command::new(words.next().unwrap());
        command.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        Talker(ns.spawn(command).unwrap())
    }

    fn said(mut self) -> String {
        // SAFETY: no preconditions; the child is ours and not yet waited for.
        unsafe { libc::kill(i32::try_from(self.0.id()).unwrap(), libc::SIGINT) };
        let mut text = String::new();
        self.0.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        text
    }
}

impl Drop for Talker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Echo requests from pod to pod in both families, a hundred a second.
fn pings(cluster: &Cluster, from: usize, to: usize) -> Vec<Talker> {
    let (from, to) = (&cluster.members[from].pods[0], &cluster.members[to].pods[0]);
    let start = |addr: &dyn std::fmt::Display| Talker::start(&from.ns, &format!("ping -n -q -i 0.01 {addr}"));
    vec![start(&to.v4), start(&to.v6)]
}

/// Sent and answered, of a `ping` that has ended.
fn tally(said: &str) -> (u64, u64) {
    let line = said.lines().find(|l| l.contains("packets transmitted")).unwrap_or_else(|| panic!("ping said {said:?}"));
    let mut numbers = line.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

#[test]
fn killed_and_back_it_loses_no_ping_between_pods_and_deletes_no_route_anywhere() {
    let Some(mut cluster) = cluster("killed_and_back_it_loses_no_ping_between_pods_and_deletes_no_route_anywhere") else { return };
    let monitors: Vec<Talker> = cluster.members.iter().map(|m| Talker::start(&m.ns, "ip monitor route")).collect();
    let talk: Vec<Talker> = [(0, 1), (1, 0), (2, 0)].into_iter().flat_map(|(a, b)| pings(&cluster, a, b)).collect();
    std::thread::sleep(Duration::from_millis(500));
    for _ in 0..2 {
        cluster.kill(0);
        std::thread::sleep(Duration::from_millis(400));
        cluster.start(0).unwrap();
        // It has found its routes, heard everybody's End-of-RIB and removed what nobody told again.
        let recovered = || cluster.metrics(0).is_ok_and(|text| text.contains("\ncatbird_graceful_restart_active 0\n"));
        patiently(PATIENT, recovered).unwrap_or_else(|| panic!("{}", cluster.metrics(0).unwrap()));
        established(&cluster);
    }
    std::thread::sleep(Duration::from_millis(500));
    let mut sent = 0;
    for talker in talk {
        let (asked, answered) = tally(&talker.said());
        // The last one may have been on its way.
        assert!(asked - answered <= 1, "{answered} of {asked} pings were answered");
        sent += asked;
    }
    assert!(sent > 500, "only {sent} pings were sent");
    for (monitor, member) in monitors.into_iter().zip(&cluster.members) {
        let said = monitor.said();
        let ours: Vec<&str> = said.lines().filter(|l| l.contains("proto bgp")).collect();
        assert_eq!(ours, [] as [&str; 0], "{}: no route of ours was touched", member.name);
    }
    println!("killed twice under {sent} pings: none lost, no route touched in three kernels");
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
    ip("route replace 10.244.3.0/26 via 10.12.22.2");
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
    assert_eq!(value("catbird_netlink_overruns_total"), 0.0);
    cluster.node_agrees(0, &[0, 1, 2]).unwrap();
}
