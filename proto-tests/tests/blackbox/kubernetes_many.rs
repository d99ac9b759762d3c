//! `[kubernetes]` against a real kube-apiserver, many at a time: services that come and go, nodes under churn. And a thousand peers that dial at once.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use proto_tests::outside::{Caller, Daemon, addr, free_port};
use serde_json::{Value, json};

use super::kubernetes_real::{Cluster, established, node, node_with, peers, settings, until};

/// Services with an address out of 192.0.2.0/24 and policy Local, and their endpoints: on this node, on another, or nowhere.
fn services(count: u8, endpoints: &str) -> String {
    let service = |n: u8| {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": format!("s{n}"), "namespace": "default"},
            "spec": {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "externalIPs": [format!("192.0.2.{n}")],
                "ports": [{"port": 80, "protocol": "TCP"}]}})
    };
    let slice = |n: u8| {
        let on = |node: &str, ready: bool| {
            json!([{"addresses": ["10.244.1.5"], "nodeName": node,
                "conditions": {"ready": ready, "serving": true, "terminating": !ready}}])
        };
        let endpoints = match endpoints {
            "here" => on("us", true),
            "terminating" => on("us", false),
            "elsewhere" => on("b", true),
            _ => json!([]),
        };
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4", "endpoints": endpoints,
            "metadata": {"name": format!("s{n}"), "namespace": "default", "labels": {"kubernetes.io/service-name": format!("s{n}")}},
            "ports": [{"port": 8080, "protocol": "TCP"}]})
    };
    list((1..=count).flat_map(|n| [service(n), slice(n)]))
}

fn list(items: impl Iterator<Item = Value>) -> String {
    json!({"apiVersion": "v1", "kind": "List", "items": items.collect::<Vec<_>>()}).to_string()
}

/// How many of the services' addresses are in the table of this daemon.
fn told(daemon: &Daemon) -> usize {
    let rows = daemon.json(&["routes", "192.0.2.0/24", "--longer"]);
    rows.as_array().map_or(0, |rows| rows.iter().filter(|row| row["net"].as_str().is_some_and(|net| net.starts_with("192.0.2."))).count())
}

#[test]
fn fifty_services_are_out_in_twenty_seconds_and_gone_with_their_endpoints() {
    let Some(cluster) = Cluster::new("fifty_services_are_out_in_twenty_seconds_and_gone_with_their_endpoints", "nodes", &[]) else {
        return;
    };
    let server = &cluster.server;
    cluster.three_nodes();
    let port = free_port();
    let ranges = "external_ips = [\"192.0.2.0/24\"]\n";
    let us = node_with("us", [127, 0, 0, 1], port, "export = \"all\"\n", &(cluster.settings("nodes") + ranges));
    let b = node("b", [127, 0, 0, 2], port, &settings("nodes", &cluster.kubeconfig, None));
    until(&us, "the session is up", || us.ask(&["routes", "10.244.2.0/24"]).contains("10.244.2.0/24"));
    // The range is announced whole.
    until(&b, "the range is out", || told(&b) == 1);
    let within = |what: &str, endpoints: &str, count: usize, most: u64| {
        server.apply(&services(50, endpoints));
        let since = Instant::now();
        until(&b, what, || told(&b) == count);
        let took = since.elapsed();
        println!("{what}: {took:.1?} after the last object was written");
        assert!(took < Duration::from_secs(most), "{what}: {took:?}\n{}", us.log());
    };
    within("fifty services", "here", 51, 20);
    server.apply(&services(50, "terminating"));
    within("none with their endpoints gone", "", 1, 60);
    within("and back", "here", 51, 20);
    within("none while their endpoints are elsewhere", "elsewhere", 1, 60);
    within("those whose endpoints serve while they terminate", "terminating", 51, 20);
    server.kubectl(&["delete", "service", "-n", "default", "--wait=false", "s1", "s2"]);
    until(&b, "deleted ones are gone", || told(&b) == 49);
    assert_eq!(established(&us), established(&b), "the session was left alone");
}

fn bare_node(n: u16) -> Value {
    let [high, low] = n.to_be_bytes();
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": format!("n{n:04}"), "labels": {"fifty": (n / 50).to_string()}},
        "spec": {"podCIDRs": [format!("10.{}.{low}.0/24", 200 + high)]},
        "status": {"addresses": [{"type": "InternalIP", "address": format!("127.9.{high}.{low}")}]}})
}

#[test]
fn a_thousand_nodes_come_and_go_and_none_is_missing_or_too_many() {
    let Some(cluster) = Cluster::new("a_thousand_nodes_come_and_go_and_none_is_missing_or_too_many", "nodes", &[]) else { return };
    let server = &cluster.server;
    cluster.three_nodes();
    let port = free_port();
    let us = node("us", [127, 0, 0, 1], port, &cluster.settings("nodes"));
    let b = node("b", [127, 0, 0, 2], port, &settings("nodes", &cluster.kubeconfig, None));
    until(&us, "the session is up", || us.ask(&["routes", "10.244.2.0/24"]).contains("10.244.2.0/24"));
    let ups = (established(&us), established(&b));
    let names = |range: std::ops::Range<u16>| range.map(|n| format!("n{n:04}"));
    let create = |range: std::ops::Range<u16>| server.with_text(&["create"], &list(range.map(bare_node)));
    // One request, where kubectl would take its time with each.
    let delete = |labels: &str| server.kubectl(&["delete", "--raw", &format!("/api/v1/nodes?labelSelector={labels}")]);
    let are = |expected: &BTreeSet<String>| {
        let all = |own: &str, other: &str| {
            let others = [other.to_owned(), "c".to_owned()].into_iter();
            expected.iter().cloned().chain(others).filter(|name| name != own).collect::<BTreeSet<String>>()
        };
        let seen = |daemon: &Daemon| peers(daemon).into_iter().collect::<BTreeSet<String>>();
        seen(&us) == all("us", "b") && seen(&b) == all("b", "us")
    };
    let mut expected: BTreeSet<String> = names(0..250).collect();
    create(0..250);
    // Each round: some more, some fewer, some of the same name at another time; heartbeats of others meanwhile.
    for round in 1..4_u16 {
        let (first, last) = (round * 250, round * 250 + 250);
        create(first..last);
        delete(&format!("fifty%20in%20({},{})", first / 50 - 2, first / 50 - 1));
        server.heartbeat("b", round.into());
        create(first - 50..first);
        expected.extend(names(first..last));
        expected.retain(|name| !names(first - 100..first - 50).any(|gone| gone == *name));
    }
    create(150..200);
    create(400..450);
    create(650..700);
    expected.extend(names(0..1000));
    until(&us, "all thousand are neighbours of both, and no others", || are(&expected));
    delete("fifty");
    until(&us, "they are gone again", || are(&BTreeSet::new()));
    assert_eq!((established(&us), established(&b)), ups, "no session came up a second time: {}", us.log());
    assert!(us.ask(&["routes", "10.244.2.0/24"]).contains("10.244.2.0/24"));
}

/// A backlog of eight would leave some of them out for a minute.
#[test]
fn a_thousand_peers_that_dial_at_once_are_all_up_soon() {
    let daemon = Daemon::start("", "");
    let (port, since, slow) = (daemon.port, Instant::now(), AtomicUsize::new(0));
    let dial = |first: u16| -> Vec<Caller> {
        let connect = |n: u16| {
            let began = Instant::now();
            let caller = Caller::from(addr(n), port).unwrap_or_else(|error| panic!("{n}: {error}"));
            // A SYN that is dropped is sent again after a second.
            slow.fetch_add(usize::from(began.elapsed() > Duration::from_millis(900)), Ordering::Relaxed);
            caller
        };
        let connected: Vec<Caller> = (first..first + 50).map(connect).collect();
        connected.into_iter().map(Caller::established).collect()
    };
    let callers: Vec<Caller> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..20_u16).map(|n| scope.spawn(move || dial(1 + n * 50))).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("all of them")).collect()
    });
    let took = since.elapsed();
    println!("{} sessions after {took:.1?}, {} connections took more than one try", callers.len(), slow.load(Ordering::Relaxed));
    let rows = daemon.json(&["peers"]);
    let up = rows.as_array().map_or(0, |rows| rows.iter().filter(|row| row["state"] == "Established").count());
    assert_eq!((callers.len(), up), (1000, 1000));
    // 1.5 s on two cores that nobody else wants, and 11 s on those that twenty do.
    assert!(took < Duration::from_secs(40), "{took:?}");
}
