//! A node that leaves by the cluster's word, in virtual time: its services first, its blocks when no pod needs them, and back.
//!
//! As in [`cluster_objects`](super::cluster_objects) what the daemon does is done by hand.

use std::time::Duration;

use catbird::api::{Answer, Command};
use catbird::source::Store;
use catbird::speaker::StopMode;
use proto_tests::lab::Lab;
use serde_json::{Value, json};

use super::cluster_objects::{NAMES, meant_by, node};

const SECOND: Duration = Duration::from_secs(1);
const SERVICE: &str = "192.0.2.5/32";
const BLOCK: &str = "10.244.0.0/24";

/// Three nodes; a service of policy Local has endpoints on a and b.
struct Cluster {
    lab: Lab,
    store: Store,
    settings: &'static str,
}

impl Cluster {
    fn new(seed: u64, settings: &'static str) -> Cluster {
        let mut store = Store::default();
        (0..3).for_each(|n| drop(store.insert(node(n))));
        store.insert(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": "x"},
            "spec": {"type": "LoadBalancer", "clusterIP": "10.96.0.5", "externalIPs": ["192.0.2.5"], "externalTrafficPolicy": "Local"}}));
        store.insert(json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": "s-1", "namespace": "x", "labels": {"kubernetes.io/service-name": "s"}},
            "endpoints": [{"nodeName": "a"}, {"nodeName": "b"}]}));
        let mut lab = Lab::seeded(seed);
        for name in NAMES {
            lab = lab.speaker(name, 64512);
        }
        let mut cluster = Cluster { lab, store, settings };
        cluster.follow();
        cluster.lab.until_established("a", "c");
        cluster.lab.run(30 * SECOND);
        assert_eq!(cluster.ways(SERVICE), 2, "a and b announce it");
        assert_eq!(cluster.ways(BLOCK), 1);
        cluster
    }

    /// All take over what the objects say.
    fn follow(&mut self) {
        let settings = format!("external_ips = [\"192.0.2.0/24\"]\n{}[cluster]\nexport = \"all\"\n", self.settings);
        for name in NAMES {
            let params = meant_by(&settings, name, &self.store);
            self.lab.reload(name, |all| *all = params);
        }
    }

    fn change(&mut self, change: impl FnOnce(&mut Value)) {
        let mut own = node(0);
        change(&mut own);
        self.store.insert(own);
        self.follow();
    }

    /// Pods of a; `None`: nobody looks.
    fn pods(&mut self, names: Option<&[&str]>) {
        self.store.know_pods(false);
        for name in names.unwrap_or_default() {
            self.store.insert(
                json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "x"}, "spec": {"nodeName": "a"}}),
            );
        }
        self.store.know_pods(names.is_some());
        self.follow();
    }

    /// By how many paths c knows a prefix.
    fn ways(&mut self, prefix: &str) -> usize {
        self.lab.paths("c", prefix).len()
    }

    fn status(&mut self) -> (String, Option<String>) {
        match self.lab.ask("a", catbird::api::Question::Status) {
            Answer::Status(status) => (status.phase.clone(), status.leaving.clone()),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_cordoned_node_withdraws_its_services_then_its_blocks_and_comes_back() {
    let mut cluster = Cluster::new(3, "");
    let flaps = cluster.lab.peer("c", "a").row.flaps;
    cluster.change(|node| node["spec"]["unschedulable"] = true.into());
    // First it is asked to be looked for elsewhere.
    cluster.lab.run(SECOND / 10);
    let marked = cluster.lab.paths("c", SERVICE).into_iter().find(|path| format!("{path:?}").contains("graceful-shutdown"));
    assert!(marked.is_some(), "{:?}", cluster.lab.paths("c", SERVICE));
    cluster.lab.run(SECOND);
    assert_eq!(cluster.ways(SERVICE), 1, "b's alone");
    // Pods that serve keep their block, however long; that nobody has looked is no word that they are gone.
    for pods in [None, Some(&["p", "q"][..]), Some(&["q"])] {
        cluster.pods(pods);
        cluster.lab.run(3600 * SECOND);
        assert_eq!(cluster.ways(BLOCK), 1, "{pods:?}");
        assert_eq!(cluster.status().0, "running");
        let said = cluster.status().1.unwrap_or_default();
        assert!(said.contains("Node a: it is cordoned") && said.contains("blocks stay"), "{said}");
    }
    cluster.pods(Some(&[]));
    cluster.lab.run(2 * SECOND);
    assert_eq!(cluster.ways(BLOCK), 0);
    assert_eq!(cluster.status().0, "drained");
    assert!(cluster.lab.in_kernel("a", "10.244.1.0/24"), "it learns on");
    // Its daemon is replaced meanwhile: the API says the same.
    cluster.lab.kill("a");
    cluster.lab.start("a");
    cluster.lab.until_established("a", "c");
    cluster.lab.run(30 * SECOND);
    assert_eq!(cluster.ways(BLOCK), 0);
    let flaps_of_restart = cluster.lab.peer("c", "a").row.flaps;
    cluster.change(|_| ());
    cluster.lab.run(2 * SECOND);
    assert_eq!((cluster.ways(BLOCK), cluster.ways(SERVICE)), (1, 2), "uncordoned");
    assert_eq!(cluster.status(), ("running".to_owned(), None));
    assert_eq!(cluster.lab.peer("c", "a").row.flaps, flaps_of_restart);
    assert_eq!(flaps, 0, "sessions stay");
}

#[test]
fn the_last_one_that_takes_a_service_keeps_it_until_another_does() {
    let mut cluster = Cluster::new(4, "");
    let slice = |nodes: &[&str]| {
        let endpoints: Vec<Value> = nodes.iter().map(|node| json!({"nodeName": node})).collect();
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4", "endpoints": endpoints,
            "metadata": {"name": "s-1", "namespace": "x", "labels": {"kubernetes.io/service-name": "s"}}})
    };
    cluster.store.insert(slice(&["a"]));
    cluster.change(|node| node["spec"]["unschedulable"] = true.into());
    cluster.lab.run(60 * SECOND);
    assert_eq!(cluster.ways(SERVICE), 1, "a's, for nobody else has it");
    cluster.store.insert(slice(&["a", "c"]));
    cluster.follow();
    cluster.lab.run(2 * SECOND);
    assert_eq!(cluster.lab.paths("b", SERVICE).len(), 1, "c's");
    assert!(cluster.lab.paths("a", SERVICE).iter().all(|path| path.peer != "local"), "{:?}", cluster.lab.paths("a", SERVICE));
}

#[test]
fn at_the_deadline_blocks_go_although_pods_are_there_and_an_operator_has_the_last_word() {
    let mut cluster = Cluster::new(5, "drain_deadline = \"60s\"\n");
    cluster.change(|node| node["spec"]["unschedulable"] = true.into());
    cluster.pods(Some(&["p"]));
    cluster.lab.run(55 * SECOND);
    assert_eq!(cluster.ways(BLOCK), 1);
    cluster.lab.run(10 * SECOND);
    assert_eq!(cluster.ways(BLOCK), 0);
    cluster.lab.order("a", Command::Undrain);
    cluster.lab.run(600 * SECOND);
    assert_eq!(cluster.ways(BLOCK), 1, "until the node leaves anew");
    cluster.change(|_| ());
    cluster.change(|node| node["spec"]["unschedulable"] = true.into());
    cluster.lab.run(65 * SECOND);
    assert_eq!(cluster.ways(BLOCK), 0);
    // What an operator orders lasts.
    assert!(matches!(cluster.lab.order("a", Command::Drain { wait: false, if_shutdown: false }), Answer::Refused(_)), "drained already");
    cluster.change(|_| ());
    cluster.lab.run(5 * SECOND);
    assert_eq!(cluster.ways(BLOCK), 0);
}

/// What a preStop hook does: a rollout of the DaemonSet ends the daemon under pods that go on, the end of the machine does not.
#[test]
fn a_daemon_that_is_replaced_leaves_its_routes_and_one_whose_machine_ends_withdraws_them() {
    let hook = || Command::Drain { wait: false, if_shutdown: true };
    for cordoned in [false, true] {
        let mut cluster = Cluster::new(6, "");
        cluster.change(|node| node["spec"]["unschedulable"] = cordoned.into());
        cluster.pods(Some(&["p"]));
        cluster.lab.run(5 * SECOND);
        let said = cluster.lab.order("a", hook());
        assert!(matches!(&said, Answer::Done(text) if text.contains("does not shut down")), "{said:?}");
        cluster.lab.stop("a", StopMode::Configured);
        cluster.lab.run(5 * SECOND);
        assert_eq!(cluster.ways(BLOCK), 1, "kept for a daemon that comes back");
        assert!(cluster.lab.in_kernel("c", BLOCK));
    }
    let mut cluster = Cluster::new(7, "");
    cluster.change(|node| node["status"]["conditions"] = json!([{"type": "Ready", "message": "node is shutting down"}]));
    cluster.pods(Some(&["p"]));
    cluster.lab.run(2 * SECOND);
    assert_eq!((cluster.ways(BLOCK), cluster.ways(SERVICE)), (1, 1), "the pod still ends");
    assert!(matches!(cluster.lab.order("a", hook()), Answer::Done(_)));
    cluster.lab.run(2 * SECOND);
    assert_eq!(cluster.ways(BLOCK), 0);
    assert!(cluster.lab.established("a", "c"));
}
