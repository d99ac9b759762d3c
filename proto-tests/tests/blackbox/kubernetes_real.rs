//! `[kubernetes]` against a real kube-apiserver, with the rights of our own manifests and a ServiceAccount's token over TLS.
//!
//! What the scripted API of [`kubernetes`](super::kubernetes) is made to do, a real one does by itself: 410 after `kill -9`, 403 before it is warm,
//! definitions that come and go, tokens that end. Two daemons on loopback have a session, so that a flap is seen.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use proto_tests::api_server::{ApiServer, definition};
use proto_tests::netlab::mounts::Scratch;
use proto_tests::netlab::patiently;
use proto_tests::outside::{Daemon, PATIENCE, free_port};
use serde_json::{Value, json};

/// A daemon that is a node of the cluster, at an address of its own on loopback.
pub(super) fn node(name: &str, address: [u8; 4], port: u16, kubernetes: &str) -> Daemon {
    node_with(name, address, port, "", kubernetes)
}

/// The same with settings of `[cluster]`.
pub(super) fn node_with(name: &str, address: [u8; 4], port: u16, cluster: &str, kubernetes: &str) -> Daemon {
    let address = Ipv4Addr::from(address);
    Daemon::at(address, port, |folder| {
        format!(
            "[node]\nname = \"{name}\"\n[listen]\naddresses = [\"{address}\"]\nport = {port}\n[fib]\nenabled = false\n[metrics]\nlisten = \"\"\n\
             [control]\nsocket = \"{}\"\n[cluster]\nport = {port}\nconnect_retry = \"1s\"\nidle_hold_max = \"2s\"\n{cluster}[kubernetes]\n{kubernetes}",
            folder.join("sock").display(),
        )
    })
}

pub(super) fn settings(flavour: &str, kubeconfig: &Path, state: Option<&Path>) -> String {
    let state = state.map_or_else(String::new, |path| format!("state_file = \"{}\"\n", path.display()));
    format!("flavour = \"{flavour}\"\nkubeconfig = \"{}\"\n{state}", kubeconfig.display())
}

/// The neighbours by name, in order.
pub(super) fn peers(daemon: &Daemon) -> Vec<String> {
    let rows: Vec<Value> = serde_json::from_str(&daemon.ask(&["--json", "peers"])).unwrap_or_default();
    rows.iter().filter_map(|row| row["name"].as_str().map(str::to_owned)).collect()
}

#[track_caller]
pub(super) fn until(daemon: &Daemon, what: &str, is_so: impl Fn() -> bool) {
    assert!(patiently(PATIENCE * 2, is_so).is_some(), "{what}\n{}\n{}", daemon.ask(&["status"]), daemon.log());
}

#[track_caller]
fn until_peers(daemon: &Daemon, names: &[&str]) {
    until(daemon, &format!("{:?} and not {names:?}", peers(daemon)), || peers(daemon) == names);
}

/// How often sessions of this daemon came up, by its log.
pub(super) fn established(daemon: &Daemon) -> usize {
    daemon.log().matches("established").count()
}

fn blocks(daemon: &Daemon) -> String {
    daemon.ask(&["blocks"])
}

pub(super) struct Cluster {
    pub server: ApiServer,
    pub kubeconfig: PathBuf,
    state: Scratch,
}

impl Cluster {
    pub fn new(what: &str, overlay: &str, components: &[&str]) -> Option<Cluster> {
        let server = ApiServer::start(what, &[])?;
        server.allow(overlay, components);
        let kubeconfig = server.kubeconfig();
        Some(Cluster { server, kubeconfig, state: Scratch::new("known").expect("a temporary folder") })
    }

    pub fn settings(&self, flavour: &str) -> String {
        settings(flavour, &self.kubeconfig, Some(&self.state.path().join("objects")))
    }

    pub fn three_nodes(&self) {
        self.server.node("us", "127.0.0.1", "10.244.1.0/24");
        self.server.node("b", "127.0.0.2", "10.244.2.0/24");
        self.server.node("c", "127.0.0.3", "10.244.3.0/24");
    }
}

#[test]
fn nodes_are_followed_with_a_bound_token_and_the_rights_of_the_manifests() {
    let Some(cluster) = Cluster::new("nodes_are_followed_with_a_bound_token_and_the_rights_of_the_manifests", "nodes", &[]) else { return };
    let server = &cluster.server;
    cluster.three_nodes();
    let us = node("us", [127, 0, 0, 1], free_port(), &(cluster.settings("nodes") + "cluster_ips = [\"10.96.0.0/16\"]\n"));
    until_peers(&us, &["b", "c"]);
    assert!(blocks(&us).contains("10.244.1.0/24"), "{}", blocks(&us));
    assert!(us.ask(&["peer", "b"]).contains("from Node b"), "{}", us.ask(&["peer", "b"]));
    until(&us, "the range of services is announced", || us.ask(&["routes", "10.96.0.0/16"]).contains("10.96.0.0/16"));
    server.node("d", "127.0.0.4", "10.244.4.0/24");
    until_peers(&us, &["b", "c", "d"]);
    let taken_over = || us.log().matches("is taken over").count();
    let before = taken_over();
    (0..5).for_each(|n| server.heartbeat("b", n));
    server.kubectl(&["delete", "node", "c"]);
    until_peers(&us, &["b", "d"]);
    assert_eq!(taken_over(), before + 1, "heartbeats are no change: {}", us.log());
    // The same name, another machine.
    server.node("c", "127.0.0.33", "10.244.33.0/24");
    until_peers(&us, &["b", "c", "d"]);
    until(&us, "c is where it is now", || us.ask(&["peer", "c"]).contains("127.0.0.33"));
    server.address("d", "127.0.0.44");
    until(&us, "d has moved", || us.ask(&["peer", "d"]).contains("127.0.0.44"));
    assert!(!us.log().contains("forbidden"), "the rights are enough: {}", us.log());
}

#[test]
fn an_api_that_is_killed_comes_back_with_another_history_and_no_session_flaps() {
    let name = "an_api_that_is_killed_comes_back_with_another_history_and_no_session_flaps";
    let Some(cluster) = Cluster::new(name, "nodes", &[]) else { return };
    let server = &cluster.server;
    cluster.three_nodes();
    let port = free_port();
    let us = node("us", [127, 0, 0, 1], port, &cluster.settings("nodes"));
    let b = node("b", [127, 0, 0, 2], port, &settings("nodes", &cluster.kubeconfig, None));
    until(&us, "the session is up", || us.ask(&["routes", "10.244.2.0/24"]).contains("10.244.2.0/24"));
    until_peers(&b, &["c", "us"]);
    let ups = (established(&us), established(&b));
    for round in 0..3 {
        // What is written last is what its watchers have not seen when it dies.
        server.node(&format!("new-{round}"), &format!("127.0.1.{round}"), &format!("10.245.{round}.0/24"));
        server.kill();
        until(&us, "it is said that the API is away", || us.ask(&["status"]).contains("cannot be watched"));
        assert!(us.ask(&["routes", "10.244.2.0/24"]).contains("10.244.2.0/24"), "nothing goes because the API does");
        server.up();
        until(&us, "the new node is known", || peers(&us).contains(&format!("new-{round}")));
        until(&b, "and to the other", || peers(&b).contains(&format!("new-{round}")));
        until(&us, "and nothing is wrong any more", || !us.ask(&["status"]).contains("cannot be watched"));
    }
    assert_eq!((established(&us), established(&b)), ups, "no session came up a second time: {}", us.log());
    // A start while the API is away. What is known is written down within seconds.
    let kept = || std::fs::read_to_string(cluster.state.path().join("objects")).unwrap_or_default();
    until(&us, "the last node is written down", || kept().contains("new-2"));
    server.kill();
    drop(us);
    let us = node("us", [127, 0, 0, 1], port, &cluster.settings("nodes"));
    until_peers(&us, &["b", "c", "new-0", "new-1", "new-2"]);
    until(&us, "and has its session", || us.ask(&["routes", "10.244.2.0/24"]).contains("10.244.2.0/24"));
    server.up();
    server.kubectl(&["delete", "node", "new-0", "new-1", "new-2"]);
    until_peers(&us, &["b", "c"]);
    until_peers(&b, &["c", "us"]);
}

#[test]
fn tokens_and_authorities_are_taken_from_their_files_when_they_change() {
    let name = "tokens_and_authorities_are_taken_from_their_files_when_they_change";
    let Some(cluster) = Cluster::new(name, "nodes", &[]) else { return };
    let server = &cluster.server;
    cluster.three_nodes();
    // One whose token ended while the API was away.
    server.token(-120);
    let us = node("us", [127, 0, 0, 1], free_port(), &cluster.settings("nodes"));
    until(&us, "it is said why", || us.ask(&["status"]).contains("Unauthorized"));
    assert_eq!(peers(&us), [""; 0]);
    server.token(3600);
    until_peers(&us, &["b", "c"]);
    // Another authority: who trusts the old one gets no new connection, and loses nothing.
    server.rotate();
    server.kill();
    server.up();
    server.kubectl(&["delete", "node", "c"]);
    until(&us, "it is said why", || us.ask(&["status"]).contains("certificate"));
    assert_eq!(peers(&us), ["b", "c"]);
    server.trust();
    until_peers(&us, &["b"]);
    // Rights that are taken away take nothing from us, and come back.
    server.kubectl(&["delete", "clusterrolebinding", "catbird"]);
    server.kill();
    server.up();
    until(&us, "it is said why", || us.ask(&["status"]).contains("forbidden"));
    assert_eq!(peers(&us), ["b"]);
    server.allow("nodes", &[]);
    server.node("d", "127.0.0.4", "10.244.4.0/24");
    until_peers(&us, &["b", "d"]);
}

#[test]
fn blocks_of_cilium_come_with_its_definition_and_stay_without_it() {
    let Some(cluster) = Cluster::new("blocks_of_cilium_come_with_its_definition_and_stay_without_it", "cilium", &[]) else { return };
    let server = &cluster.server;
    cluster.three_nodes();
    let us = node("us", [127, 0, 0, 1], free_port(), &cluster.settings("cilium"));
    until(&us, "it is said what is missing", || us.ask(&["status"]).contains("ciliumnodes us cannot be watched"));
    assert!(!blocks(&us).contains("10.244"), "Cilium's blocks are not known, and no others are announced in their place: {}", blocks(&us));
    let cilium = definition("cilium.io", "v2", "CiliumNode", false).to_string();
    let own = |block: &str| {
        json!({"apiVersion": "cilium.io/v2", "kind": "CiliumNode", "metadata": {"name": "us"}, "spec": {"ipam": {"podCIDRs": [block]}}})
            .to_string()
    };
    server.apply(&cilium);
    server.kubectl(&["wait", "--for=condition=Established", "crd", "--all"]);
    server.apply(&own("10.9.1.0/24"));
    until(&us, "the block is known", || blocks(&us).contains("10.9.1.0/24"));
    until_peers(&us, &["b", "c"]);
    server.apply(&own("10.9.2.0/24"));
    until(&us, "the other one is", || blocks(&us).contains("10.9.2.0/24") && !blocks(&us).contains("10.9.1.0/24"));
    // Deleted by mistake, with all that was of it.
    server.kubectl(&["delete", "crd", "ciliumnodes.cilium.io"]);
    until(&us, "it is said", || us.ask(&["status"]).contains("ciliumnodes us cannot be watched"));
    assert!(blocks(&us).contains("10.9.2.0/24"), "no definition is no order to forget: {}\n{}", blocks(&us), us.log());
    server.apply(&cilium);
    server.kubectl(&["wait", "--for=condition=Established", "crd", "--all"]);
    server.apply(&own("10.9.3.0/24"));
    until(&us, "the new one is known", || blocks(&us).contains("10.9.3.0/24") && !blocks(&us).contains("10.9.2.0/24"));
}

const CALICO: &str = "crd.projectcalico.org";

fn calico(kind: &str, name: &str, spec: &Value) -> String {
    json!({"apiVersion": format!("{CALICO}/v1"), "kind": kind, "metadata": {"name": name}, "spec": spec}).to_string()
}

fn annotate(server: &ApiServer, name: &str, address: IpAddr) {
    server.kubectl(&["annotate", "--overwrite", "node", name, &format!("projectcalico.org/IPv4Address={address}/8")]);
}

#[test]
fn calico_s_objects_are_followed_with_passwords_and_outlive_their_definitions() {
    let name = "calico_s_objects_are_followed_with_passwords_and_outlive_their_definitions";
    let Some(cluster) = Cluster::new(name, "calico", &["passwords"]) else { return };
    let server = &cluster.server;
    cluster.three_nodes();
    let kinds = ["BGPConfiguration", "BGPPeer", "IPPool", "BlockAffinity"];
    for kind in kinds {
        let mut made = definition(CALICO, "v1", kind, false);
        if kind == "BlockAffinity" {
            made["metadata"]["name"] = json!(format!("blockaffinities.{CALICO}"));
        }
        server.apply(&made.to_string());
    }
    server.kubectl(&["wait", "--for=condition=Established", "crd", "--all"]);
    let port = free_port();
    server.apply(&calico("BGPConfiguration", "default", &json!({"asNumber": 64999, "listenPort": port, "nodeToNodeMeshEnabled": true})));
    server.apply(&calico("IPPool", "pods", &json!({"cidr": "10.65.0.0/16", "ipipMode": "Never", "vxlanMode": "Never", "blockSize": 26})));
    let affinity = |node: &str, cidr: &str| {
        calico(
            "BlockAffinity",
            &format!("{node}-{}", cidr.replace(['.', '/'], "-")),
            &json!({"cidr": cidr, "node": node, "state": "confirmed"}),
        )
    };
    server.apply(&affinity("us", "10.65.1.0/26"));
    server.apply(&affinity("b", "10.65.2.0/26"));
    for (name, last) in [("us", 1), ("b", 2), ("c", 3)] {
        annotate(server, name, Ipv4Addr::new(127, 0, 0, last).into());
    }
    let us = node("us", [127, 0, 0, 1], port, &cluster.settings("calico"));
    let b = node("b", [127, 0, 0, 2], port, &settings("calico", &cluster.kubeconfig, None));
    until_peers(&us, &["Mesh_127_0_0_2", "Mesh_127_0_0_3"]);
    until(&us, "the other's block comes", || us.ask(&["routes", "10.65.2.0/26"]).contains("10.65.2.0/26"));
    assert!(us.ask(&["status"]).contains("64999"), "{}", us.ask(&["status"]));
    // A router of the rack, with a password that somebody has forgotten to make.
    let secret = json!({"secretKeyRef": {"name": "bgp-secrets", "key": "rack"}});
    server.apply(&calico("BGPPeer", "rack", &json!({"peerIP": "127.0.0.9", "asNumber": 65001, "password": secret})));
    until_peers(&us, &["Global_127_0_0_9", "Mesh_127_0_0_2", "Mesh_127_0_0_3"]);
    let rack = || us.ask(&["peer", "Global_127_0_0_9"]);
    until(&us, "it is said what is missing", || rack().contains("password"));
    let ups = established(&us);
    let made = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "bgp-secrets", "namespace": "kube-system"}, "stringData": {"rack": "hunter2"}});
    server.apply(&made.to_string());
    until(&us, "the session tries", || !rack().contains("no password") && !rack().contains("waits for its password"));
    assert!(!us.log().contains("hunter2") && !us.ask(&["--json", "peer", "Global_127_0_0_9"]).contains("hunter2"));
    let kept = || std::fs::read_to_string(cluster.state.path().join("objects")).unwrap_or_default();
    until(&us, "what is known is left", || kept().contains("10.65.1.0/26") && kept().contains("127.0.0.9"));
    assert!(!kept().contains("hunter2") && !kept().contains("aHVudGVyMg"), "and no secret");
    // Definitions that go.
    server.kubectl(&["delete", "crd", &format!("blockaffinities.{CALICO}"), &format!("ippools.{CALICO}")]);
    until(&us, "it is said", || us.ask(&["status"]).contains("blockaffinities cannot be watched"));
    assert!(blocks(&us).contains("10.65.1.0/26"), "{}", blocks(&us));
    assert!(us.ask(&["routes", "10.65.2.0/26"]).contains("10.65.2.0/26"), "{}", b.log());
    // A reflector by annotation leaves the mesh.
    server.kubectl(&["annotate", "node", "c", "projectcalico.org/RouteReflectorClusterID=10.0.0.3"]);
    until_peers(&us, &["Global_127_0_0_9", "Mesh_127_0_0_2"]);
    assert_eq!(established(&us), ups, "the session with b was left alone: {}", us.log());
}

#[test]
fn a_node_that_is_cordoned_leaves_when_its_pods_are_gone_and_a_rollout_takes_nothing() {
    let name = "a_node_that_is_cordoned_leaves_when_its_pods_are_gone_and_a_rollout_takes_nothing";
    let Some(cluster) = Cluster::new(name, "nodes", &[]) else { return };
    let server = &cluster.server;
    cluster.three_nodes();
    let port = free_port();
    let settings = |state: bool| {
        let text = if state { cluster.settings("nodes") } else { settings("nodes", &cluster.kubeconfig, None) };
        text + "cluster_ips = [\"10.96.0.0/16\"]\n"
    };
    let us = node_with("us", [127, 0, 0, 1], port, "export = \"all\"\n", &settings(true));
    let b = node("b", [127, 0, 0, 2], port, &settings(false));
    let knows = |prefix: &str| b.ask(&["--json", "peer", "us", "received"]).contains(prefix);
    let (block, services) = ("10.244.1.0/24", "10.96.0.0/16");
    until(&b, "block and services are known", || knows(block) && knows(services));
    let ups = established(&b);
    let pod = |name: &str, host: bool| {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"},
            "spec": {"nodeName": "us", "hostNetwork": host, "containers": [{"name": "c", "image": "c"}]}})
        .to_string()
    };
    server.apply(&pod("web", false));
    server.apply(&pod("proxy", true));
    // A daemon that is replaced has nothing to withdraw.
    assert!(us.ask(&["drain", "--if-shutdown"]).contains("does not shut down"));
    server.kubectl(&["cordon", "us"]);
    until(&us, "it is said", || us.ask(&["status"]).contains("leaving   Node us: it is cordoned"));
    until(&b, "the services are gone", || !knows(services));
    until(&us, "its pods are asked for", || us.ask(&["status"]).contains("pods on us, 2 known"));
    assert!(knows(block), "a pod needs it: {}", us.log());
    assert!(us.ask(&["drain", "--if-shutdown"]).contains("does not shut down"));
    assert!(knows(block));
    server.kubectl(&["delete", "pod", "web", "--force", "--grace-period=0"]);
    until(&b, "the block is gone with the last pod", || !knows(block));
    until(&us, "it is drained", || us.ask(&["status"]).contains("drained"));
    server.kubectl(&["uncordon", "us"]);
    until(&b, "all is back", || knows(block) && knows(services));
    until(&us, "and pods are asked for no more", || !us.ask(&["status"]).contains("pods on us"));
    assert_eq!(established(&b), ups, "no session came up a second time: {}", b.log());
    // The machine ends, and a pod with it; the hook says when all is withdrawn.
    server.apply(&pod("web", false));
    let status = json!({"status": {"conditions": [{"type": "Ready", "status": "False", "message": "node is shutting down"}]}});
    server.kubectl(&["patch", "node", "us", "--subresource=status", "--type=strategic", "-p", &status.to_string()]);
    until(&us, "it is said", || us.ask(&["status"]).contains("it shuts down"));
    until(&us, "its pods are asked for", || us.ask(&["status"]).contains("pods on us, 2 known"));
    assert!(knows(block));
    let said = us.ask(&["drain", "--if-shutdown"]);
    assert!(said.contains("withdrawn") && !knows(block), "{said}");
    assert_eq!(established(&b), ups);
}

#[test]
fn the_cni_configuration_of_a_node_follows_its_pod_cidr_and_the_network_is_said_to_be_there() {
    let name = "the_cni_configuration_of_a_node_follows_its_pod_cidr_and_the_network_is_said_to_be_there";
    let Some(cluster) = Cluster::new(name, "nodes-cni", &[]) else { return };
    let server = &cluster.server;
    cluster.three_nodes();
    let condition = json!({"type": "NetworkUnavailable", "status": "True", "reason": "NoRouteCreated", "message": "no route yet"});
    let status = json!({"status": {"conditions": [condition]}}).to_string();
    for node in ["us", "b"] {
        server.kubectl(&["patch", "node", node, "--subresource=status", "--type=strategic", "-p", &status]);
    }
    let folder = Scratch::new("cni").expect("a temporary folder");
    let path = folder.path().join("10-catbird.conflist");
    let us = node("us", [127, 0, 0, 1], free_port(), &(cluster.settings("nodes") + &format!("cni = \"{}\"\n", path.display())));
    let subnet = || -> Option<String> {
        let written: Value = serde_json::from_str(&std::fs::read_to_string(&path).ok()?).ok()?;
        written.pointer("/plugins/0/ipam/ranges/0/0/subnet")?.as_str().map(str::to_owned)
    };
    until(&us, "the file is written", || subnet().as_deref() == Some("10.244.1.0/24"));
    let network = |node: &str| {
        let path = "jsonpath={.status.conditions[?(@.type==\"NetworkUnavailable\")].status}";
        server.kubectl(&["get", "node", node, "-o", path]).trim().to_owned()
    };
    until(&us, "the network is said to be there", || network("us") == "False");
    assert_eq!(network("b"), "True", "of others nothing is said");
    assert!(!us.log().contains("forbidden"), "the rights are enough: {}", us.log());
    // Somebody else's is left alone.
    std::fs::write(&path, "{\"name\": \"another\"}").expect("ours");
    until(&us, "it is said", || us.ask(&["status"]).contains("somebody else's"));
    assert_eq!(std::fs::read_to_string(&path).expect("there"), "{\"name\": \"another\"}");
    std::fs::remove_file(&path).expect("ours");
    until(&us, "it is written again", || subnet().as_deref() == Some("10.244.1.0/24"));
}
