//! Nodes, services, and the merge with a file.

use serde_json::{Value, json};

use super::*;
use crate::config::model::{ChainRef, Config};
use crate::config::{Environment, params};
use crate::peer::PeerKind;
use crate::speaker::reload_plan::{self, NotRunning};

fn parse(node: &str, text: &str) -> Config {
    let read = |_: &std::path::Path| Err("no files here".to_owned());
    let checked = Config::parse("test.toml", text, &Environment { hostname: Some(node.to_owned()), read: &read, memory_limit: None });
    let report = checked.report.render(false);
    checked.config.unwrap_or_else(|| panic!("{report}"))
}

const NODES: &str = "[kubernetes]\nflavour = \"nodes\"\n";

fn node(name: &str, addresses: &[&str], cidrs: &[&str], annotations: Value) -> Value {
    let addresses: Vec<Value> = addresses.iter().map(|a| json!({"type": "InternalIP", "address": a})).collect();
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "annotations": annotations},
        "spec": {"podCIDRs": cidrs}, "status": {"addresses": addresses}})
}

fn store(objects: Vec<Value>) -> Store {
    let mut store = Store::default();
    objects.into_iter().for_each(|object| drop(store.insert(object)));
    store
}

fn three() -> Vec<Value> {
    vec![
        node("a", &["10.0.0.1", "fd00::1"], &["10.244.1.0/24", "fd01:1::/64"], json!({})),
        node("b", &["10.0.0.2", "fd00::2"], &["10.244.2.0/24"], json!({})),
        node("c", &["fd00::3"], &["10.244.3.0/24"], json!({"catbird.dev/asn": "65003"})),
    ]
}

#[track_caller]
fn merged(text: &str, objects: Vec<Value>) -> Merged {
    merge(&parse("a", text), &store(objects)).unwrap_or_else(|why| panic!("{why}"))
}

fn conflicts(text: &str, objects: Vec<Value>) -> Vec<String> {
    match merge(&parse("a", text), &store(objects)) {
        Err(Unusable::Conflicts(all)) => all.iter().map(Conflict::to_string).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn nodes_become_neighbours_and_pod_cidrs_blocks() {
    let Merged { config, meaning } = merged(NODES, three());
    let sessions: Vec<(String, String)> = config.sessions.iter().map(|s| (s.name.clone(), s.remote.to_string())).collect();
    assert_eq!(sessions, [("b".to_owned(), "10.0.0.2".to_owned()), ("c".to_owned(), "fd00::3".to_owned())]);
    let blocks: Vec<String> = config.pods.blocks.iter().map(ToString::to_string).collect();
    assert_eq!(blocks, ["10.244.1.0/24", "fd01:1::/64"]);
    assert_eq!((config.node.asn.0, config.node.router_id.to_string().as_str()), (64512, "10.0.0.1"));
    assert_eq!(config.sessions[0].options.source, Some("10.0.0.1".parse().unwrap()));
    assert_eq!(config.sessions[0].options.description.as_deref(), Some("from Node b"));
    assert_eq!((config.sessions[0].options.export.clone(), config.sessions[0].kind), (ChainRef::OwnBlocks, PeerKind::Mesh));
    assert_eq!(config.sessions[1].kind, PeerKind::External, "its annotation names another AS");
    assert_eq!(meaning.blocks[0].from.to_string(), "Node a");
}

#[test]
fn the_settings_of_the_cluster_hold_for_its_sessions() {
    let text = "[node]\nasn = 65000\n[kubernetes]\nflavour = \"nodes\"\n[cluster]\nport = 1179\nhold_time = \"9s\"\nexport = \"all\"\n";
    let Merged { config, .. } = merged(text, three());
    let options = &config.sessions[0].options;
    assert_eq!((options.port, options.hold_time.seconds(), options.export.clone()), (1179, 9, ChainRef::All));
    assert_eq!((config.node.asn.0, options.local_asn.0), (65000, 65000));
}

#[test]
fn reflectors_are_named_by_annotation_or_by_label() {
    let text = "[kubernetes]\nflavour = \"nodes\"\nreflectors = \"catbird.dev/reflector=true\"\n[cluster]\nmode = \"route-reflector\"\n";
    let mut labelled = node("rr2", &["10.0.0.8"], &[], json!({}));
    labelled["metadata"]["labels"] = json!({"catbird.dev/reflector": true});
    let objects = || {
        vec![
            node("a", &["10.0.0.1"], &["10.244.1.0/24"], json!({})),
            node("b", &["10.0.0.2"], &[], json!({})),
            node("rr1", &["10.0.0.9"], &[], json!({"catbird.dev/cluster-id": "1.1.1.1"})),
            labelled.clone(),
        ]
    };
    let client = merged(text, objects()).config;
    let kinds: Vec<(&str, PeerKind)> = client.sessions.iter().map(|s| (s.name.as_str(), s.kind)).collect();
    assert_eq!(kinds, [("rr1", PeerKind::Rr), ("rr2", PeerKind::Rr)]);
    let reflector = merge(&parse("rr1", text), &store(objects())).expect("no conflict").config;
    let clients: Vec<(&str, bool)> = reflector.sessions.iter().map(|s| (s.name.as_str(), s.options.rr_client)).collect();
    assert_eq!(clients, [("a", true), ("b", true), ("rr2", false)]);
    assert_eq!(reflector.sessions[0].options.export, ChainRef::All);
    assert_eq!(params::speaker(&reflector).cluster_id.map(|id| id.0.to_string()).as_deref(), Some("1.1.1.1"));
}

#[test]
fn cilium_s_blocks_count_where_it_gave_some_out() {
    let cilium = json!({"apiVersion": "cilium.io/v2", "kind": "CiliumNode", "metadata": {"name": "a"}, "spec": {"ipam": {"podCIDRs": ["10.9.1.0/24"]}}});
    let objects = || vec![node("a", &["10.0.0.1"], &["10.244.1.0/24"], json!({})), cilium.clone()];
    let of = |flavour: &str| merged(&format!("[kubernetes]\nflavour = \"{flavour}\"\n"), objects()).meaning;
    assert_eq!(
        (of("cilium").blocks[0].prefix.to_string(), of("cilium").blocks[0].from.to_string()),
        ("10.9.1.0/24".into(), "CiliumNode a".into())
    );
    assert_eq!(of("nodes").blocks[0].prefix.to_string(), "10.244.1.0/24");
}

#[test]
fn a_node_that_is_not_complete_yet_stops_nothing() {
    let objects = || {
        vec![
            node("a", &["10.0.0.1"], &[], json!({})),
            node("new", &[], &[], json!({})),
            node("odd", &["10.0.0"], &["x"], json!({"catbird.dev/asn": "?"})),
        ]
    };
    let Merged { config, meaning } = merged(NODES, objects());
    assert!(config.sessions.is_empty() && config.pods.blocks.is_empty());
    let said: Vec<String> = meaning.notes.iter().map(|note| format!("{}: {}", note.from, note.text)).collect();
    for text in
        ["Node new: it has no InternalIP", "Node odd: annotation catbird.dev/asn `?`", "Node odd: spec.podCIDRs `x` is not a prefix"]
    {
        assert!(said.iter().any(|note| note.starts_with(text)), "{text}: {said:?}");
    }
    assert!(matches!(merge(&parse("z", NODES), &store(objects())), Err(Unusable::Missing(why)) if why == "there is no Node z"));
}

#[test]
fn an_object_that_cannot_be_read_is_named_and_its_last_good_version_stays() {
    let mut store = store(three());
    let broken = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "b"}, "status": {"addresses": 7}});
    assert!(matches!(store.insert(broken).as_slice(), [Inserted::Unreadable(key, _)] if key.name == "b"));
    let Merged { config, meaning } = merge(&parse("a", NODES), &store).expect("no conflict");
    assert_eq!(config.sessions.len(), 2);
    assert!(meaning.notes.iter().any(|note| note.from.name == "b" && note.text.starts_with("it cannot be read")));
    assert!(matches!(store.insert(three().remove(1)).as_slice(), [Inserted::Same(_)]));
    assert_eq!(store.unreadable().count(), 0);
}

#[test]
fn what_an_object_says_besides_is_no_change() {
    let mut store = store(three());
    let mut beat = three().remove(0);
    beat["status"]["conditions"] = json!([{"type": "Ready", "lastHeartbeatTime": "2026-11-30T00:00:00Z"}]);
    beat["metadata"]["resourceVersion"] = json!("77");
    assert!(matches!(store.insert(beat).as_slice(), [Inserted::Same(_)]));
    let list = json!({"apiVersion": "v1", "kind": "NodeList", "items": three().into_iter().map(|mut n| { n.as_object_mut().unwrap().remove("kind"); n }).collect::<Vec<_>>()});
    assert!(store.insert(list).iter().all(|one| matches!(one, Inserted::Same(_))), "a typed list is its objects");
    assert!(matches!(
        store.insert(json!({"apiVersion": "v1", "kind": "ReplicaSet", "metadata": {"name": "p"}})).as_slice(),
        [Inserted::Foreign(_)]
    ));
}

#[test]
fn a_conflict_names_both_places() {
    let address = "[kubernetes]\nflavour = \"nodes\"\n[node]\naddresses = [\"10.0.0.7\"]\n";
    assert_eq!(
        conflicts(address, three()),
        ["this node's address (10.0.0.1 or 10.0.0.7): Node a and the file, line 4 say different things"]
    );
    let peer = "[kubernetes]\nflavour = \"nodes\"\n\n[[peer]]\naddress = \"10.0.0.2\"\nasn = \"internal\"\n";
    assert_eq!(conflicts(peer, three()), ["neighbour 10.0.0.2: Node b and the file, line 5 say different things"]);
    let asn = "[node]\nasn = 65000\n[kubernetes]\nflavour = \"nodes\"\n";
    let mut objects = three();
    objects[0]["metadata"]["annotations"] = json!({"catbird.dev/asn": "65001"});
    assert_eq!(conflicts(asn, objects), ["this node's AS number: Node a and the file, line 2 say different things"]);
    let name = "[kubernetes]\nflavour = \"nodes\"\n[[peer]]\nname = \"b\"\naddress = \"192.0.2.1\"\nasn = \"internal\"\n";
    assert_eq!(conflicts(name, three()), ["the name b: Node b and the file, line 4 say different things"]);
}

#[test]
fn what_the_file_says_besides_stays() {
    let text = "[kubernetes]\nflavour = \"nodes\"\n[[peer]]\nname = \"tor\"\naddress = \"192.0.2.1\"\nasn = 65100\nimport = \"all\"\nexport = \"own-blocks\"\n[pods]\nblocks = [\"10.250.0.0/24\"]\n[fib]\nmetric = 50\n";
    let config = merged(text, three()).config;
    let names: Vec<&str> = config.sessions.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["tor", "b", "c"]);
    assert_eq!(config.pods.blocks.len(), 3);
    let read = |_: &std::path::Path| Err(String::new());
    let both = "[kubernetes]\nflavour = \"nodes\"\n[cluster]\nnodes = [{ name = \"a\", addresses = [\"10.0.0.1\"] }]\n";
    let checked = Config::parse("test.toml", both, &Environment { hostname: Some("a".into()), read: &read, memory_limit: None });
    assert!(checked.report.render(false).contains("a list of nodes beside [kubernetes]"), "{}", checked.report.render(false));
}

#[test]
fn a_new_node_is_a_new_session_and_touches_no_other() {
    let file = parse("a", NODES);
    let of = |objects: Vec<Value>| params::speaker(&merge(&file, &store(objects)).expect("no conflict").config);
    let mut more = three();
    more.push(node("d", &["10.0.0.4"], &["10.244.4.0/24"], json!({})));
    let changes = reload_plan::diff(&of(three()), &of(more), &NotRunning).into_changes();
    assert!(changes.iter().all(|change| change.sessions.iter().all(|name| name == "d")), "{changes:?}");
    assert!(changes.iter().any(|change| change.what.contains('d')));
    assert!(reload_plan::diff(&of(three()), &of(three()), &NotRunning).into_changes().is_empty(), "equal objects change nothing");
}

fn service(name: &str, spec: Value, ingress: &[&str]) -> Value {
    let ingress: Vec<Value> = ingress.iter().map(|ip| json!({"ip": ip})).collect();
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"}, "spec": spec, "status": {"loadBalancer": {"ingress": ingress}}})
}

fn slice(service: &str, family: &str, endpoints: Value) -> Value {
    json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": format!("{service}-{family}"), "namespace": "default", "labels": {"kubernetes.io/service-name": service}},
        "addressType": family, "endpoints": endpoints})
}

const RANGES: &str = "[kubernetes]\nflavour = \"nodes\"\ncluster_ips = [\"10.96.0.0/16\"]\nexternal_ips = [\"192.0.2.0/24\", \"203.0.113.7/32\"]\n\
                      load_balancer_ips = [\"198.51.100.0/24\", \"203.0.113.9/32\"]\n";

fn local(ip: &str) -> Value {
    json!({"type": "LoadBalancer", "clusterIP": ip, "externalTrafficPolicy": "Local"})
}

fn cluster(ip: &str) -> Value {
    json!({"type": "LoadBalancer", "clusterIP": ip, "externalTrafficPolicy": "Cluster"})
}

fn addresses(text: &str, objects: Vec<Value>) -> Vec<String> {
    let mut all = three();
    all.extend(objects);
    merged(text, all).meaning.services.addresses.iter().map(|a| a.prefix.to_string()).collect()
}

#[test]
fn ranges_of_services_are_announced_whole_but_for_single_addresses() {
    let Merged { config, meaning } = merged(RANGES, three());
    let ranges: Vec<String> = meaning.services.ranges.iter().map(|r| r.value.to_string()).collect();
    assert_eq!(ranges, ["10.96.0.0/16", "192.0.2.0/24", "198.51.100.0/24"]);
    assert_eq!(config.services.len(), 3);
    assert_eq!(config.fib.exclude.len(), 3, "no learned route to them is written");
    let apart = merged(&format!("{RANGES}aggregate_services = false\n"), three());
    let ranges: Vec<String> = apart.meaning.services.ranges.iter().map(|r| r.value.to_string()).collect();
    assert_eq!(ranges, ["10.96.0.0/16", "192.0.2.0/24"]);
    assert_eq!(apart.config.fib.exclude.len(), 2, "those of load balancers leave both lists");
}

#[test]
fn a_local_service_is_announced_where_an_endpoint_is_ready() {
    let with =
        |endpoints: Value| addresses(RANGES, vec![service("s", local("10.96.0.5"), &["198.51.100.5"]), slice("s", "IPv4", endpoints)]);
    let all = ["10.96.0.5/32", "198.51.100.5/32"];
    assert_eq!(with(json!([{"nodeName": "a", "conditions": {"ready": true}}])), all);
    assert_eq!(with(json!([{"nodeName": "a"}])), all, "nothing said is ready");
    assert!(with(json!([{"nodeName": "a", "conditions": {"ready": false}}])).is_empty());
    assert!(with(json!([{"nodeName": "b", "conditions": {"ready": true}}])).is_empty(), "not here");
    assert!(with(json!([])).is_empty());
    assert_eq!(
        with(json!([{"nodeName": "a", "conditions": {"ready": false, "serving": true, "terminating": true}}])),
        all,
        "the last one serves on"
    );
}

#[test]
fn a_service_for_the_cluster_is_announced_by_its_single_address_or_apart() {
    let ready = || slice("s", "IPv4", json!([{"nodeName": "b", "conditions": {"ready": true}}]));
    let away = || slice("s", "IPv4", json!([{"nodeName": "b", "conditions": {"ready": false}}]));
    let in_range = || service("s", cluster("10.96.0.5"), &["198.51.100.5"]);
    assert!(addresses(RANGES, vec![in_range(), ready()]).is_empty(), "the range says it");
    let alone = service("s", cluster("10.96.0.5"), &["203.0.113.9"]);
    assert_eq!(addresses(RANGES, vec![alone, away()]), ["10.96.0.5/32", "203.0.113.9/32"]);
    let mut external = cluster("10.96.0.5");
    external["externalIPs"] = json!(["203.0.113.7", "8.8.8.8"]);
    assert_eq!(
        addresses(RANGES, vec![service("s", external, &[]), away()]),
        ["10.96.0.5/32", "203.0.113.7/32"],
        "and nothing outside the ranges"
    );
    let apart = format!("{RANGES}aggregate_services = false\n");
    assert_eq!(addresses(&apart, vec![in_range(), ready()]), ["10.96.0.5/32", "198.51.100.5/32"]);
    assert!(addresses(&apart, vec![in_range(), away()]).is_empty(), "no endpoint is ready anywhere");
    assert!(addresses(&apart, vec![in_range()]).is_empty(), "a service without a slice");
}

#[test]
fn slices_of_a_family_that_the_service_has_count_for_all_its_addresses() {
    let spec = |ips: &[&str]| json!({"type": "ClusterIP", "clusterIP": ips[0], "clusterIPs": ips, "externalTrafficPolicy": "Local"});
    let here = |family: &str| slice("s", family, json!([{"nodeName": "a"}]));
    assert!(addresses(RANGES, vec![service("s", spec(&["fd02::5"]), &[]), here("IPv4")]).is_empty(), "an IPv4 slice of an IPv6 service");
    assert_eq!(addresses(RANGES, vec![service("s", spec(&["fd02::5"]), &[]), here("IPv6")]), ["fd02::5/128"]);
    assert_eq!(addresses(RANGES, vec![service("s", spec(&["10.96.0.5", "fd02::5"]), &[]), here("IPv6")]), ["10.96.0.5/32", "fd02::5/128"]);
}

#[test]
fn an_excluded_node_announces_no_service_and_still_keeps_them_out_of_its_kernel() {
    let mut objects = three();
    objects[0]["metadata"]["labels"] = json!({"node.kubernetes.io/exclude-from-external-load-balancers": "true"});
    objects.extend([service("s", local("10.96.0.5"), &[]), slice("s", "IPv4", json!([{"nodeName": "a"}]))]);
    let Merged { config, meaning } = merged(RANGES, objects);
    assert!(config.services.is_empty());
    assert_eq!(config.fib.exclude.len(), 3);
    assert_eq!(meaning.node.services_excluded.map(|key| key.to_string()).as_deref(), Some("Node a"));
}

#[test]
fn a_node_leaves_by_its_annotation_a_cordon_a_taint_or_its_kubelet_s_word() {
    let leaves = |settings: &str, path: &str, value: Value| {
        let mut objects = three();
        let (parent, field) = path.rsplit_once('/').expect("a path");
        objects[0].pointer_mut(parent).expect("it is there")[field] = value;
        merged(&format!("{NODES}{settings}"), objects).config.leaving.map(|leaving| (leaving.why, leaving.shuts_down))
    };
    let ready = |message: &str| json!([{"type": "DiskPressure", "message": "fine"}, {"type": "Ready", "message": message}]);
    let taint = json!([{"key": "example.com/away", "effect": "NoExecute"}]);
    let keys = "drain_taints = [\"x\", \"example.com/away\"]\n";
    for (settings, path, value, why) in [
        ("", "/metadata/annotations", json!({"catbird.dev/drain": "true"}), Some("it is annotated catbird.dev/drain")),
        ("", "/metadata/annotations", json!({"catbird.dev/drain": "false"}), None),
        ("", "/spec/unschedulable", json!(true), Some("it is cordoned")),
        ("", "/spec/unschedulable", json!(false), None),
        ("drain_on_cordon = false\n", "/spec/unschedulable", json!(true), None),
        (keys, "/spec/taints", taint.clone(), Some("it has the taint example.com/away")),
        ("", "/spec/taints", taint, None),
        ("", "/status/conditions", ready("container runtime is down; node is shutting down"), Some("it shuts down")),
        ("drain_on_cordon = false\n", "/status/conditions", ready("kubelet is posting ready status"), None),
    ] {
        let expected = why.map(|why| (format!("Node a: {why}"), why.contains("shuts")));
        assert_eq!(leaves(settings, path, value.clone()), expected, "{settings}{path} {value}");
    }
}

#[test]
fn the_blocks_of_a_node_that_leaves_wait_for_its_pods() {
    let pod = |name: &str, node: &str, network: bool, phase: &str| {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "x"},
            "spec": {"nodeName": node, "hostNetwork": network}, "status": {"phase": phase}})
    };
    let gone = |known: bool, pods: Vec<Value>| {
        let mut objects = three();
        objects[0]["spec"]["unschedulable"] = true.into();
        objects.extend(pods);
        let mut store = store(objects);
        store.know_pods(known);
        let merged = merge(&parse("a", NODES), &store).expect("no conflict");
        (merged.meaning.node.pods, merged.config.leaving.expect("it leaves").pods_gone)
    };
    assert_eq!(gone(false, Vec::new()), (None, false), "nobody has looked");
    assert_eq!(gone(true, Vec::new()), (Some(0), true));
    assert_eq!(gone(true, vec![pod("p", "a", false, "Running"), pod("q", "a", false, "Pending")]), (Some(2), false));
    let others = [
        pod("h", "a", true, "Running"),
        pod("d", "a", false, "Succeeded"),
        pod("f", "a", false, "Failed"),
        pod("b", "b", false, "Running"),
    ];
    assert_eq!(gone(true, others.to_vec()), (Some(0), true), "of the host's network, ended, another node's");
}

#[test]
fn a_node_that_leaves_announces_what_nobody_else_takes() {
    let meant = |leaving: &[usize], endpoints: Value, kind: Value| {
        let mut objects = three();
        leaving.iter().for_each(|n| objects[*n]["spec"]["unschedulable"] = true.into());
        objects.extend([service("s", kind, &["203.0.113.9"]), slice("s", "IPv4", endpoints)]);
        let Merged { config, meaning } = merged(RANGES, objects);
        let [addresses, leaving] = [meaning.services.addresses.iter().map(|a| a.prefix).collect(), meaning.services.leaving]
            .map(|all: Vec<_>| all.iter().map(ToString::to_string).collect::<Vec<_>>());
        (meaning.services.ranges.len(), addresses, leaving, config.leaving.map_or(0, |leaving| leaving.services.len()))
    };
    let (own, both) = (json!([{"nodeName": "a"}]), json!([{"nodeName": "a"}, {"nodeName": "b"}]));
    let away = json!([{"nodeName": "a"}, {"nodeName": "b", "conditions": {"ready": false}}]);
    let is_local = || local("10.96.0.5");
    let (all, ranges) = (["10.96.0.5/32", "203.0.113.9/32"], ["10.96.0.0/16", "192.0.2.0/24", "198.51.100.0/24"]);
    let with_ranges = [all.as_slice(), &ranges].concat();
    assert_eq!(meant(&[], both.clone(), is_local()), (3, all.map(str::to_owned).to_vec(), Vec::new(), 0));
    let (announced, addresses, leaving, asked) = meant(&[0], both.clone(), is_local());
    assert_eq!((announced, addresses.len(), asked), (0, 0, 5), "b takes it");
    assert_eq!(leaving, with_ranges);
    for endpoints in [own, away] {
        let (announced, addresses, leaving, _) = meant(&[0], endpoints, is_local());
        assert_eq!((announced, addresses), (0, all.map(str::to_owned).to_vec()), "nobody else has a ready endpoint");
        assert_eq!(leaving, ranges);
    }
    assert_eq!(meant(&[0, 1], both.clone(), is_local()).1, all, "b leaves, too");
    assert_eq!(meant(&[0], both.clone(), cluster("10.96.0.5")).1, [""; 0], "any node takes it");
    assert_eq!(meant(&[0, 1, 2], both, cluster("10.96.0.5")).0, 3, "all leave: somebody has to");
}

#[test]
fn a_node_that_leaves_announces_no_services_and_keeps_its_blocks() {
    let with = |annotations: Value| {
        let mut objects = three();
        objects[0]["metadata"]["annotations"] = annotations;
        objects.extend([service("s", local("10.96.0.5"), &[]), slice("s", "IPv4", json!([{"nodeName": "a"}, {"nodeName": "b"}]))]);
        merged(RANGES, objects)
    };
    let (before, after) = (with(json!({"catbird.dev/drain": "false"})), with(json!({"catbird.dev/drain": "true"})));
    assert!(!before.config.services.is_empty() && before.meaning.node.drain.is_none());
    assert!(after.config.services.is_empty());
    assert_eq!(after.config.pods.blocks, before.config.pods.blocks);
    assert_eq!(after.config.fib.exclude, before.config.fib.exclude, "and learns none");
    assert_eq!(after.meaning.node.drain.map(|key| key.to_string()).as_deref(), Some("Node a"));
}

#[test]
fn whose_word_it_is_is_kept_and_told_by_a_reload() {
    let text = format!("{NODES}[pods]\nblocks = [\"10.9.0.0/24\"]\n[[peer]]\naddress = \"10.0.0.9\"\nasn = \"internal\"\n");
    let all = merged(&text, three());
    let said = |what: &str| all.config.origins.get(what).map(String::as_str);
    assert_eq!(said("peer 10.0.0.2"), Some("Node b"));
    assert_eq!(said("peer 10.0.0.9"), Some("the file, line 6"));
    assert_eq!((said("block 10.244.1.0/24"), said("block 10.9.0.0/24")), (Some("Node a"), Some("the file, line 4")));
    let services =
        merged(RANGES, vec![three()[0].clone(), service("s", local("10.96.0.5"), &[]), slice("s", "IPv4", json!([{"nodeName": "a"}]))]);
    assert_eq!(services.config.origins.get("service 10.96.0.5/32").map(String::as_str), Some("Service default/s"));
    let fewer = merged(&text, three().into_iter().take(1).collect());
    let [old, new] = [&fewer, &all].map(|merged| params::speaker(&merged.config));
    let changes: Vec<String> = reload_plan::diff(&old, &new, &NotRunning).changes().iter().map(ToString::to_string).collect();
    assert!(changes.iter().any(|change| change.contains("b: new session with 10.0.0.2, from Node b")), "{changes:?}");
}

#[test]
fn an_address_of_two_services_stays_until_both_are_gone() {
    let two = |names: &[&str]| {
        let of = |name: &&str| [service(name, local("10.96.0.5"), &[]), slice(name, "IPv4", json!([{"nodeName": "a"}]))];
        addresses(RANGES, names.iter().flat_map(of).collect())
    };
    assert_eq!(two(&["s", "t"]), ["10.96.0.5/32"]);
    assert_eq!(two(&["t"]), ["10.96.0.5/32"]);
    assert!(two(&[]).is_empty());
}

#[test]
fn a_reflector_passes_on_service_addresses_inside_its_ranges() {
    let reflector = |id: Option<&str>| {
        let bgp = json!({"ipv4Address": "10.0.0.1/24", "routeReflectorClusterID": id.unwrap_or_default()});
        let own = json!({"apiVersion": "projectcalico.org/v3", "kind": "Node", "metadata": {"name": "a"}, "spec": {"bgp": bgp}});
        let spec = json!({"serviceLoadBalancerIPs": [{"cidr": "198.51.100.0/24"}, {}], "serviceExternalIPs": [{"cidr": "203.0.113.7/32"}], "serviceClusterIPs": [{"cidr": "10.96.0.0/16"}]});
        let configuration =
            json!({"apiVersion": "projectcalico.org/v3", "kind": "BGPConfiguration", "metadata": {"name": "default"}, "spec": spec});
        let merged = merged("[kubernetes]\nflavour = \"calico\"\n", vec![own, configuration]);
        merged.meaning.services.reflected.iter().map(|range| range.value.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(reflector(Some("1.1.1.1")), ["198.51.100.0/24", "203.0.113.7/32"]);
    assert!(reflector(None).is_empty());
}
