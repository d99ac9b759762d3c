//! The points of what a drop-in for Calico's BIRD must do, as far as objects say it: proto-tests/calico.toml names a test for each.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use super::super::{Announce, Meaning, Merged, NextHopMode, Session, SessionKind, Store, merge};
use crate::config::model::{ChainRef, Config};
use crate::config::{Environment, params};
use crate::num::Asn;
use crate::peer::PeerKind;
use crate::policy::{LocalKind, PeerFacts, Source, Verdict};
use crate::speaker::reload_plan::{self, Change, Grade, NotRunning};
use crate::speaker::{NextHopSetting, PeerConfig};
use crate::wire::{Editor, NextHop, Origin, PathAttributes};
use ipnet::IpNet;

fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

/// A node with labels; `v6` may be empty.
fn node(name: &str, v4: &str, v6: &str, labels: Value) -> Value {
    let bgp = json!({"ipv4Address": v4, "ipv6Address": v6});
    json!({"apiVersion": "projectcalico.org/v3", "kind": "Node", "metadata": {"name": name, "labels": labels}, "spec": {"bgp": bgp}})
}

fn reflector(name: &str, v4: &str, id: &str, labels: Value) -> Value {
    let mut node = node(name, v4, "", labels);
    node["spec"]["bgp"]["routeReflectorClusterID"] = json!(id);
    node
}

fn defaults(spec: Value) -> Value {
    object("BGPConfiguration", "default", spec)
}

fn no_mesh() -> Value {
    defaults(json!({"nodeToNodeMeshEnabled": false}))
}

fn peer(name: &str, spec: Value) -> Value {
    object("BGPPeer", name, spec)
}

/// Three nodes, dual stack.
fn three() -> Vec<Value> {
    ["a", "b", "c"]
        .iter()
        .zip(1..)
        .map(|(name, n)| node(name, &format!("10.0.0.{n}/24"), &format!("fd00::{n}/64"), json!({"kubernetes.io/hostname": name})))
        .collect()
}

fn store(objects: Vec<Value>) -> Store {
    let mut store = Store::default();
    for object in objects {
        store.insert(object);
    }
    store
}

fn file(node: &str, more: &str) -> Config {
    let text = format!("[kubernetes]\nflavour = \"calico\"\n{more}");
    let read = |_: &std::path::Path| Err("no files here".to_owned());
    let checked = Config::parse("test.toml", &text, &Environment { hostname: Some(node.to_owned()), read: &read, memory_limit: None });
    let report = checked.report.render(false);
    checked.config.unwrap_or_else(|| panic!("{report}"))
}

fn merged_as(node: &str, objects: Vec<Value>) -> Merged {
    merge(&file(node, ""), &store(objects)).unwrap_or_else(|why| panic!("{why}"))
}

fn merged(objects: Vec<Value>) -> Merged {
    merged_as("a", objects)
}

fn meaning(objects: Vec<Value>) -> Meaning {
    merged(objects).meaning
}

fn with(mut objects: Vec<Value>, more: impl IntoIterator<Item = Value>) -> Vec<Value> {
    objects.extend(more);
    objects
}

fn names(meaning: &Meaning) -> Vec<&str> {
    meaning.sessions.iter().map(|s| s.name.as_str()).collect()
}

#[track_caller]
fn only(meaning: &Meaning) -> &Session {
    assert_eq!(meaning.sessions.len(), 1, "{:?}", names(meaning));
    &meaning.sessions[0]
}

#[track_caller]
fn noted(meaning: &Meaning, said: &str) {
    assert!(meaning.notes.iter().any(|note| note.text.contains(said)), "{said}: {:?}", meaning.notes);
}

fn changes(old: &Merged, new: &Merged) -> Vec<Change> {
    let [old, new] = [old, new].map(|merged| params::speaker(&merged.config));
    reload_plan::diff(&old, &new, &NotRunning).into_changes()
}

#[test]
fn a_mesh_has_a_session_to_each_other_node_of_a_family_and_none_to_itself() {
    let objects = with(three(), [node("d", "10.0.0.4/24", "", json!({}))]);
    let meaning = meaning(objects);
    assert_eq!(names(&meaning), ["Mesh_10_0_0_2", "Mesh_10_0_0_3", "Mesh_10_0_0_4", "Mesh_fd00__2", "Mesh_fd00__3"]);
    assert!(meaning.sessions.iter().all(|s| s.kind == SessionKind::Mesh && s.asn == Asn(64512) && !s.rr_client));
    assert_eq!(meaning.sessions[0].source, Some("10.0.0.1".parse().unwrap()));
    assert_eq!(meaning.sessions[3].source, Some("fd00::1".parse().unwrap()));
}

#[test]
fn reflectors_are_outside_the_mesh_in_both_directions() {
    let objects = || with(three(), [reflector("rr", "10.0.0.9/24", "10.0.0.9", json!({}))]);
    assert!(names(&meaning(objects())).iter().all(|name| !name.contains("10_0_0_9")));
    assert_eq!(names(&merged_as("rr", objects()).meaning), Vec::<&str>::new());
    assert_eq!(names(&meaning(three())).len(), 4, "without the reflector the mesh is whole");
}

#[test]
fn the_mesh_can_be_switched_off_and_on() {
    assert!(names(&meaning(with(three(), [no_mesh()]))).is_empty());
    let on = defaults(json!({"nodeToNodeMeshEnabled": true}));
    assert_eq!(names(&meaning(with(three(), [on]))).len(), 4);
}

#[test]
fn a_node_without_an_as_number_has_that_of_the_cluster_or_in_the_mesh_ours() {
    let mut own = node("a", "10.0.0.1/24", "", json!({}));
    own["spec"]["bgp"]["asNumber"] = json!("65001");
    let other = node("b", "10.0.0.2/24", "", json!({}));
    let mesh = meaning(vec![own.clone(), other.clone(), defaults(json!({"asNumber": 64600}))]);
    assert_eq!((mesh.node.asn.value, only(&mesh).asn), (Asn(65001), Asn(65001)), "the mesh takes the local node's");
    let by_selector = peer("p", json!({"peerSelector": "all()"}));
    let objects = vec![own, other.clone(), defaults(json!({"asNumber": 64600, "nodeToNodeMeshEnabled": false})), by_selector];
    assert_eq!(only(&meaning(objects)).asn, Asn(64600), "a selector the cluster's");
    let plain = meaning(vec![node("a", "10.0.0.1/24", "", json!({})), other]);
    assert_eq!((plain.node.asn.value, plain.node.asn.from.clone()), (Asn(64512), None));
}

#[test]
fn one_side_of_a_mesh_session_is_passive_by_the_text_of_the_addresses() {
    let two = || vec![node("a", "10.0.0.9/24", "fd00::9/64", json!({})), node("b", "10.0.0.10/24", "fd00::10/64", json!({}))];
    let passive = |of: &str| merged_as(of, two()).meaning.sessions.iter().map(|s| s.passive).collect::<Vec<_>>();
    assert_eq!(passive("a"), [false, false], "\"10.0.0.9\" is greater than \"10.0.0.10\", so b waits");
    assert_eq!(passive("b"), [true, true]);
    let chosen = with(two(), [no_mesh(), peer("all", json!({"peerSelector": "all()"}))]);
    assert!(merged_as("b", chosen).meaning.sessions.iter().all(|s| !s.passive), "sessions by selector are active at both ends");
}

#[test]
fn a_global_peer_by_address_is_passive_only_where_a_node_has_the_address() {
    let session = |ip: &str| {
        let objects = with(three(), [no_mesh(), peer("p", json!({"peerIP": ip, "asNumber": 64512}))]);
        only(&meaning(objects)).clone()
    };
    assert!(session("10.0.0.3").passive, "a node, and the greater text");
    assert!(!session("10.0.9.9").passive, "no node");
    let of_node = with(three(), [no_mesh(), peer("p", json!({"peerIP": "10.0.0.3", "asNumber": 64512, "node": "a"}))]);
    assert!(!only(&meaning(of_node)).passive, "for some nodes only");
}

#[test]
fn a_global_peer_counts_more_than_a_node_s_and_duplicates_are_one() {
    let objects = with(
        three(),
        [
            no_mesh(),
            peer("x-node", json!({"peerIP": "192.0.2.1", "asNumber": 65002, "node": "a"})),
            peer("y-global", json!({"peerIP": "192.0.2.1", "asNumber": 65001})),
            peer("z-global", json!({"peerIP": "192.0.2.1", "asNumber": 65003})),
        ],
    );
    let meaning = meaning(objects);
    let session = only(&meaning);
    assert_eq!((session.name.as_str(), session.asn, session.from.name.as_str()), ("Global_192_0_2_1", Asn(65001), "y-global"));
    noted(&meaning, "192.0.2.1 is a neighbour by BGPPeer y-global already");
}

#[test]
fn one_address_with_two_ports_is_two_sessions_of_calico_s_and_one_of_ours() {
    let of_port = |name: &str, port: u16| peer(name, json!({"peerIP": format!("192.0.2.1:{port}"), "asNumber": 65001}));
    let merged = merged(with(three(), [no_mesh(), of_port("p", 179), of_port("q", 1790)]));
    assert_eq!(names(&merged.meaning), ["Global_192_0_2_1_port_179", "Global_192_0_2_1_port_1790"]);
    assert_eq!(merged.meaning.sessions[1].superseded_by.as_deref(), Some("Global_192_0_2_1_port_179"));
    assert_eq!(merged.config.sessions.len(), 1);
}

#[test]
fn a_change_of_a_label_touches_the_sessions_it_selects_and_no_others() {
    let objects = |rack: &str| {
        let labelled = node("b", "10.0.0.2/24", "", json!({"rack": rack}));
        let rest = [node("a", "10.0.0.1/24", "", json!({})), node("c", "10.0.0.3/24", "", json!({"rack": "1"})), no_mesh(), labelled];
        with(rest.to_vec(), [peer("rack", json!({"node": "a", "peerSelector": "rack == '1'"}))])
    };
    let (before, after) = (merged(objects("1")), merged(objects("2")));
    assert_eq!(names(&before.meaning), ["Node_10_0_0_2", "Node_10_0_0_3"]);
    assert_eq!(names(&after.meaning), ["Node_10_0_0_3"]);
    let changes = changes(&before, &after);
    assert!(changes.iter().all(|change| change.sessions.iter().all(|name| name == "Node_10_0_0_2")), "{changes:?}");
    assert!(!changes.is_empty());
}

#[test]
fn peerings_are_mirrored_unless_they_are_manual() {
    let objects = |mode: &str| {
        with(three(), [no_mesh(), peer("p", json!({"node": "b", "peerSelector": "kubernetes.io/hostname == 'a'", "reversePeering": mode}))])
    };
    assert_eq!(names(&merged_as("b", objects("Auto")).meaning), ["Node_10_0_0_1", "Node_fd00__1"], "as it stands there");
    assert_eq!(names(&meaning(objects("Auto"))), ["Node_10_0_0_2", "Node_fd00__2"], "its mirror, for each family");
    assert!(names(&meaning(objects("Manual"))).is_empty());
    let by_address =
        with(three(), [no_mesh(), peer("p", json!({"node": "b", "peerIP": "fd00:0::1", "asNumber": 64512, "keepaliveTime": "20s"}))]);
    let meaning = meaning(by_address);
    let mirror = only(&meaning);
    assert_eq!(
        (mirror.name.as_str(), mirror.passive, mirror.keepalive_seconds),
        ("Node_fd00__2", false, Some(20)),
        "one family, however it is spelt"
    );
}

#[test]
fn a_peer_s_port_is_its_own_or_its_node_s_or_the_cluster_s() {
    let port = |peer_ip: &str, asn: u32, more: Vec<Value>| {
        let objects = with(three(), [peer("p", json!({"peerIP": peer_ip, "asNumber": asn}))]);
        let meaning = meaning(with(objects, more));
        (only(&meaning).name.clone(), only(&meaning).port)
    };
    let global = || defaults(json!({"nodeToNodeMeshEnabled": false, "listenPort": 178}));
    assert_eq!(port("10.0.0.2:1790", 64512, vec![global()]).1, Some(1790));
    assert_eq!(port("10.0.0.2", 64512, vec![global()]), ("Global_10_0_0_2_port_178".to_owned(), Some(178)));
    assert_eq!(port("10.0.0.2", 65001, vec![global()]).1, Some(179), "another AS: it is not the node");
    let own = object("BGPConfiguration", "node.b", json!({"listenPort": 177}));
    assert_eq!(port("10.0.0.2", 64512, vec![global(), own]).1, Some(177));
    assert_eq!(port("192.0.2.1", 64512, vec![global()]).1, Some(179));
    let mesh = meaning(with(three(), [defaults(json!({"listenPort": 178}))]));
    assert!(mesh.sessions.iter().all(|s| s.port == Some(178) && !s.name.contains("port")));
}

#[test]
fn the_listening_port_and_addresses_are_set_and_change_without_a_restart() {
    let merged_with = |spec: Value| merged(with(three(), [defaults(spec)]));
    let plain = merged_with(json!({}));
    assert_eq!((plain.config.listen.port, plain.config.listen.addresses.len()), (179, 2));
    let bound = merged_with(json!({"listenPort": 178, "bindMode": "NodeIP"}));
    assert_eq!(bound.config.listen.port, 178);
    let own: Vec<String> = bound.config.listen.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(own, ["10.0.0.1", "fd00::1"]);
    let only_bound = merged_with(json!({"bindMode": "NodeIP"}));
    assert!(changes(&plain, &only_bound).iter().all(|change| change.grade == Grade::Live), "{:?}", changes(&plain, &only_bound));
}

fn of_peer(spec: Value) -> Session {
    only(&meaning(with(three(), [no_mesh(), peer("p", spec)]))).clone()
}

#[test]
fn the_source_address_is_the_node_s_unless_none_is_wanted() {
    assert_eq!(of_peer(json!({"peerIP": "192.0.2.1", "asNumber": 65001})).source, Some("10.0.0.1".parse().unwrap()));
    assert_eq!(of_peer(json!({"peerIP": "192.0.2.1", "asNumber": 65001, "sourceAddress": "None"})).source, None);
}

#[test]
fn sessions_may_have_many_hops_or_ttl_security() {
    let ttl = |spec: Value| {
        let session = of_peer(spec);
        (session.ttl_security, session.multihop)
    };
    assert_eq!(ttl(json!({"peerIP": "192.0.2.1", "asNumber": 65001})), (None, Some(64)));
    assert_eq!(ttl(json!({"peerIP": "192.0.2.1", "asNumber": 65001, "ttlSecurity": 2})), (Some(2), None));
    assert_eq!(ttl(json!({"peerIP": "192.0.2.1", "asNumber": 65001, "ttlSecurity": 0})), (None, Some(64)));
}

fn secret(key: &str, encoded: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "bgp", "namespace": "kube-system"}, "data": {key: encoded}})
}

#[test]
fn passwords_come_from_secrets_and_without_one_the_session_stays_down() {
    let reference = json!({"secretKeyRef": {"name": "bgp", "key": "tor"}});
    let spec = json!({"peerIP": "192.0.2.1", "asNumber": 65001, "password": reference});
    let other = peer("q", json!({"peerIP": "192.0.2.2", "asNumber": 65001}));
    let with_secret =
        |secret: Option<Value>| merged(with(three(), [no_mesh(), peer("p", spec.clone()), other.clone()].into_iter().chain(secret)));
    let first = |merged: &Merged| params::speaker(&merged.config).peers[0].session.clone();
    let (good, rotated) = (with_secret(Some(secret("tor", "aHVudGVyMg=="))), with_secret(Some(secret("tor", "aHVudGVyMw=="))));
    assert!(first(&good).md5.is_some() && first(&good).enabled);
    for (missing, why) in [(with_secret(None), "no such Secret"), (with_secret(Some(secret("other", "eA=="))), "no such key")] {
        assert!(first(&missing).md5.is_none() && !first(&missing).enabled, "it fails closed");
        noted(&missing.meaning, why);
    }
    let changes = changes(&good, &rotated);
    let restarted: Vec<&String> = changes.iter().filter(|c| c.grade == Grade::Restart).flat_map(|c| &c.sessions).collect();
    assert_eq!(restarted, ["Global_192_0_2_1"], "the other session knows nothing of it");
    let shown = format!("{:?} {}", good.meaning, serde_json::to_string(&good.meaning).unwrap());
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn the_mesh_has_a_password_of_its_own() {
    let spec = json!({"nodeMeshPassword": {"secretKeyRef": {"name": "bgp", "key": "mesh"}}, "nodeMeshMaxRestartTime": "200s"});
    let meaning = meaning(with(three(), [defaults(spec), secret("mesh", "aHVudGVyMg==")]));
    assert!(
        meaning.sessions.iter().all(|s| s.password.as_ref().is_some_and(|p| p.secret.is_ok()) && s.graceful_restart_seconds == Some(200))
    );
    assert_eq!(meaning.sessions.len(), 4);
}

#[test]
fn the_local_as_number_of_a_peer_decides_whether_it_is_external() {
    let session = of_peer(json!({"peerIP": "192.0.2.1", "asNumber": 65001, "localASNumber": 65001, "keepOriginalNextHop": true}));
    assert_eq!((session.local_asn, session.next_hop), (Asn(65001), NextHopMode::Auto), "internal, so the next hop is kept anyway");
    let by_selector =
        with(three(), [no_mesh(), peer("p", json!({"peerSelector": "kubernetes.io/hostname == 'b'", "localASNumber": 65001}))]);
    assert!(meaning(by_selector).sessions.iter().all(|s| s.local_asn == Asn(64512)), "not with a selector");
}

#[test]
fn our_own_as_may_stand_in_paths_as_often_as_the_peer_says() {
    let merged =
        merged(with(three(), [no_mesh(), peer("p", json!({"peerIP": "192.0.2.1", "asNumber": 65001, "numAllowedLocalASNumbers": 2}))]));
    assert_eq!(params::speaker(&merged.config).peers[0].allow_own_as, 2);
}

#[test]
fn times_are_whole_seconds_and_have_the_defaults_of_calico() {
    let spec = json!({"peerIP": "192.0.2.1", "asNumber": 65001, "keepaliveTime": "15s", "maxRestartTime": "1m30.4s"});
    let merged = merged(with(three(), [no_mesh(), peer("p", spec), peer("q", json!({"peerIP": "192.0.2.2", "asNumber": 65001}))]));
    let speaker = params::speaker(&merged.config);
    let times = |n: usize| {
        let session = &speaker.peers[n].session;
        (session.keepalive, session.offer.graceful_restart.map(|g| g.restart_time), session.hold_time.seconds())
    };
    assert_eq!(times(0), (Some(15), Some(90), 90));
    assert_eq!(times(1), (None, Some(120), 90));
    let slow = merged_hold("100s");
    assert_eq!((slow.keepalive, slow.hold_time.seconds()), (Some(100), 300), "a hold time that leaves room for the keepalives");
}

fn merged_hold(keepalive: &str) -> crate::peer::Params {
    let spec = json!({"peerIP": "192.0.2.1", "asNumber": 65001, "keepaliveTime": keepalive});
    (*params::speaker(&merged(with(three(), [no_mesh(), peer("p", spec)])).config).peers[0].session).clone()
}

#[test]
fn reflectors_have_clients_and_those_of_one_cluster_are_none_of_each_other_s() {
    let nodes = [
        reflector("a", "10.0.0.1/24", "1.0.0.1", json!({"rr": "yes"})),
        reflector("same", "10.0.0.2/24", "1.0.0.1", json!({"rr": "yes"})),
        reflector("other", "10.0.0.3/24", "1.0.0.2", json!({"rr": "yes"})),
        node("plain", "10.0.0.4/24", "", json!({})),
    ];
    let all = peer("all", json!({"nodeSelector": "has(rr)", "peerSelector": "all()"}));
    let outside = peer("tor", json!({"nodeSelector": "has(rr)", "peerIP": "192.0.2.1", "asNumber": 65001}));
    let inside = peer("by-ip", json!({"nodeSelector": "has(rr)", "peerIP": "10.0.0.7", "asNumber": 64512}));
    let objects = with(nodes.to_vec(), [all, outside, inside]);
    let merged = merged(objects.clone());
    let clients: Vec<(&str, bool)> = merged.meaning.sessions.iter().map(|s| (s.name.as_str(), s.rr_client)).collect();
    let expected =
        [("Node_10_0_0_2", false), ("Node_10_0_0_3", true), ("Node_10_0_0_4", true), ("Node_10_0_0_7", true), ("Node_192_0_2_1", false)];
    assert_eq!(clients, expected);
    assert_eq!(params::speaker(&merged.config).cluster_id.map(|id| id.0), Some(Ipv4Addr::new(1, 0, 0, 1)));
    let plain = merged_as("plain", objects).meaning;
    assert!(plain.sessions.iter().all(|s| !s.rr_client && s.reflector), "a node's own sessions are to its reflectors");
    assert_eq!(plain.sessions.len(), 3);
}

#[test]
fn next_hops_are_ours_or_kept_as_the_peer_says() {
    let mode = |more: Value| {
        let mut spec = json!({"peerIP": "192.0.2.1", "asNumber": 65001});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let merged = merged(with(three(), [no_mesh(), peer("p", spec)]));
        params::speaker(&merged.config).peers[0].next_hop
    };
    assert_eq!(mode(json!({})), NextHopSetting::Auto);
    assert_eq!(mode(json!({"nextHopMode": "Self"})), NextHopSetting::SelfAddress);
    assert_eq!(mode(json!({"nextHopMode": "Keep"})), NextHopSetting::Unchanged);
    assert_eq!(mode(json!({"keepOriginalNextHop": true})), NextHopSetting::Unchanged);
    assert_eq!(
        mode(json!({"keepOriginalNextHop": true, "asNumber": 64512})),
        NextHopSetting::Auto,
        "between internal peers it says nothing"
    );
}

#[test]
fn a_node_without_a_family_has_no_session_of_it_and_always_a_router_id() {
    let objects = with(three(), [node("six", "", "fd00::9/64", json!({}))]);
    assert_eq!(names(&meaning(objects.clone())).iter().filter(|n| n.contains("fd00")).count(), 3);
    let six = merged_as("six", objects);
    assert_eq!(names(&six.meaning), ["Mesh_fd00__1", "Mesh_fd00__2", "Mesh_fd00__3"]);
    assert!(!six.config.node.router_id.addr().is_unspecified());
    let tor = with(three(), [node("six", "", "fd00::9/64", json!({})), peer("tor", json!({"peerIP": "192.0.2.1", "asNumber": 65001}))]);
    noted(&merged_as("six", tor).meaning, "this node has no address of the family of 192.0.2.1");
}

#[test]
fn workload_peers_come_and_go_with_felix_s_files() {
    let spec = json!({"localWorkloadSelector": "app == 'router'", "asNumber": 64516, "localASNumber": 65002, "filters": ["f"],
        "password": {"secretKeyRef": {"name": "bgp", "key": "x"}}, "keepaliveTime": "5s"});
    let objects = with(three(), [no_mesh(), peer("pods", spec)]);
    assert!(names(&meaning(objects.clone())).is_empty());
    let status = json!({"ifaceName": "cali1", "ipv4Nets": ["10.244.1.5/32"], "ipv6Nets": ["fd01::5/128"], "bgpPeerName": "pods"});
    let meaning = meaning(with(objects, [status]));
    assert_eq!(names(&meaning), ["Local_Workload_10_244_1_5", "Local_Workload_fd01__5"]);
    let session = &meaning.sessions[0];
    assert_eq!((session.asn, session.local_asn, session.passive), (Asn(64516), Asn(65002), true));
    assert_eq!((session.source, session.password.is_none(), session.keepalive_seconds), (None, true, None), "the rest says nothing here");
    assert_eq!(session.filters, ["f"]);
}

#[test]
fn a_route_to_a_neighbour_is_asked_for_in_its_own_family() {
    let spec = |via: &str| json!({"peerIP": "192.0.2.1", "asNumber": 65001, "reachableBy": via});
    let routes = |via: &str| meaning(with(three(), [no_mesh(), peer("p", spec(via))]));
    let good = routes("10.0.0.254");
    let asked = |m: &Meaning| m.static_routes.iter().map(|r| format!("{} via {}", r.prefix, r.via)).collect::<Vec<_>>();
    assert_eq!(asked(&good), ["192.0.2.1/32 via 10.0.0.254"]);
    let with_route = merged(with(three(), [no_mesh(), peer("p", spec("10.0.0.254"))]));
    assert_eq!(with_route.config.fib.via, [(net("192.0.2.1/32"), "10.0.0.254".parse().expect("an address"))].into());
    let gone = changes(&with_route, &merged(with(three(), [no_mesh()])));
    assert!(gone.iter().any(|change| change.to_string().contains("routes to neighbours 192.0.2.1/32 via 10.0.0.254 -> none")), "{gone:?}");
    let wrong = routes("fd00::254");
    assert!(wrong.static_routes.is_empty() && wrong.sessions.is_empty());
    noted(&wrong, "is not of the family of peerIP");
}

fn affinity(name: &str, cidr: &str, state: &str) -> Value {
    object("BlockAffinity", name, json!({"node": "a", "cidr": cidr, "state": state, "deleted": "false"}))
}

fn pool(name: &str, spec: Value) -> Value {
    object("IPPool", name, spec)
}

#[test]
fn own_blocks_are_announced_once_and_held_by_whoever_writes_the_pool_s_routes() {
    let merged = merged(vec![
        node("a", "10.0.0.1/24", "", json!({})),
        pool("plain", json!({"cidr": "10.244.0.0/16"})),
        pool("ipip", json!({"cidr": "10.245.0.0/16", "ipipMode": "Always"})),
        pool("vxlan", json!({"cidr": "10.246.0.0/16", "vxlanMode": "CrossSubnet"})),
        affinity("1", "10.244.1.0/26", "confirmed"),
        affinity("2", "10.245.1.0/26", ""),
        affinity("3", "10.246.1.0/26", "confirmed"),
        affinity("4", "172.20.1.0/26", "confirmed"),
        object("BlockAffinity", "5", json!({"node": "b", "cidr": "10.244.2.0/26", "state": "confirmed"})),
        object("BlockAffinity", "6", json!({"node": "a", "type": "virtual", "cidr": "10.244.9.0/26", "state": "confirmed"})),
    ]);
    let told: Vec<(String, bool)> = merged.meaning.blocks.iter().map(|b| (b.prefix.to_string(), b.blackhole)).collect();
    let block = |net: &str, blackhole| (net.to_owned(), blackhole);
    let expected =
        [block("10.244.1.0/26", true), block("10.245.1.0/26", false), block("10.246.1.0/26", false), block("172.20.1.0/26", true)];
    assert_eq!(told, expected, "outside every pool it is ours, too");
    let speaker = params::speaker(&merged.config);
    assert_eq!((speaker.blocks.len(), speaker.held_blocks.len()), (2, 2));
}

#[test]
fn a_block_of_one_address_is_announced_with_its_route_and_never_a_blackhole() {
    let merged =
        merged(vec![node("a", "10.0.0.1/24", "", json!({})), affinity("1", "10.2.0.1/32", ""), affinity("2", "fd01::1/128", "confirmed")]);
    assert!(merged.meaning.blocks.iter().all(|b| b.announce == Announce::WithRoute && !b.blackhole));
    assert_eq!(merged.meaning.blocks.len(), 2);
    assert!(merged.config.pods.blocks.is_empty());
    let rule = &merged.config.redistribution.rules[0];
    assert_eq!(rule.kind, LocalKind::Pod);
    assert!(
        rule.prefixes.contains(&net("10.2.0.1/32"))
            && rule.prefixes.contains(&net("fd01::1/128"))
            && !rule.prefixes.contains(&net("10.2.0.2/32"))
    );
}

#[test]
fn blocks_that_are_not_ours_yet_or_no_longer_are_not_announced() {
    let pending = meaning(vec![node("a", "10.0.0.1/24", "", json!({})), affinity("1", "10.244.1.0/26", "pending")]);
    assert!(pending.blocks.is_empty());
    noted(&pending, "its state is pending");
    let going = merged(vec![node("a", "10.0.0.1/24", "", json!({})), affinity("1", "10.244.1.0/26", "pendingDeletion")]);
    assert_eq!(going.meaning.blocks[0].announce, Announce::Never);
    assert!(going.config.pods.blocks.is_empty());
}

fn net(text: &str) -> IpNet {
    text.parse().expect("a prefix")
}

/// The first session of the merged configuration.
fn first_peer(merged: &Merged) -> PeerConfig {
    (*params::speaker(&merged.config).peers[0]).clone()
}

fn attributes(edit: impl FnOnce(&mut Editor)) -> PathAttributes {
    let mut builder = PathAttributes::builder(Origin::Igp, NextHop::V4(Ipv4Addr::new(10, 0, 0, 2)));
    edit(&mut builder);
    builder.finish()
}

fn facts(peer: &PeerConfig, source: Source) -> PeerFacts {
    PeerFacts {
        peer: None,
        external: peer.session.kind == PeerKind::External,
        local_as: peer.session.local_as,
        source,
        validity: crate::rpki::Validity::NotFound,
    }
}

fn exported(merged: &Merged, prefix: &str, source: Source) -> Verdict {
    let peer = first_peer(merged);
    peer.export.as_ref().expect("a chain").judge(&net(prefix), &attributes(|_| {}), &facts(&peer, source))
}

fn passes(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Accept(_))
}

fn two_with(more: impl IntoIterator<Item = Value>) -> Merged {
    merged(with(vec![node("a", "10.0.0.1/24", "", json!({})), node("b", "10.0.0.2/24", "", json!({}))], more))
}

#[test]
fn what_is_ours_or_in_an_exported_pool_is_announced_and_nothing_else() {
    let merged = two_with([
        pool("open", json!({"cidr": "10.244.0.0/16"})),
        pool("closed", json!({"cidr": "10.250.0.0/16", "disableBGPExport": true})),
        affinity("1", "10.244.1.0/26", "confirmed"),
        affinity("2", "10.250.1.0/26", "confirmed"),
        affinity("3", "172.20.1.0/26", "confirmed"),
    ]);
    let told = |prefix: &str, source| passes(&exported(&merged, prefix, source));
    let local = |kind| Source::Local(kind);
    assert!(told("10.244.1.0/26", local(LocalKind::Block)));
    assert!(told("172.20.1.0/26", local(LocalKind::Block)), "outside every pool");
    assert!(!told("10.250.1.0/26", local(LocalKind::Block)), "its pool is not exported");
    assert!(!told("10.244.1.5/32", local(LocalKind::Pod)), "the block says it already");
    assert!(told("10.244.7.5/32", local(LocalKind::Pod)), "borrowed from another node's block");
    let rule = &merged.config.redistribution.rules[0];
    assert!(rule.by_metric && rule.prefixes.contains(&net("10.244.7.5/32")) && !rule.prefixes.contains(&net("10.244.7.0/26")));
    assert!(told("10.244.2.0/26", Source::External), "inside a pool");
    assert!(!told("0.0.0.0/0", Source::External) && !told("192.168.0.0/24", local(LocalKind::Network)));
}

#[test]
fn a_pod_inside_our_own_block_is_announced_while_its_route_is_better_than_normal_ones() {
    let with_priority =
        |spec: Value| two_with([pool("p", json!({"cidr": "10.244.0.0/16"})), affinity("1", "10.244.1.0/26", "confirmed"), defaults(spec)]);
    let told = |merged: &Merged, metric: u32| {
        let peer = first_peer(merged);
        let attrs = attributes(|e| {
            e.set_local_pref(Some(0x7fff_ffff - metric));
        });
        let source = Source::Local(LocalKind::Pod);
        match peer.export.as_ref().expect("a chain").judge(&net("10.244.1.5/32"), &attrs, &facts(&peer, source)) {
            Verdict::Accept(changed) => Some(changed.unwrap_or(attrs).local_pref().map(|pref| 0x7fff_ffff - pref)),
            Verdict::Reject(_) => None,
        }
    };
    let normal = with_priority(json!({}));
    assert_eq!(told(&normal, 512), Some(Some(512)), "it was just moved here");
    assert_eq!((told(&normal, 1024), told(&normal, 2048)), (None, None));
    let higher = with_priority(json!({"ipv4NormalRoutePriority": 400}));
    assert_eq!((told(&higher, 512), told(&higher, 399)), (None, Some(Some(399))), "the threshold goes with the setting");
}

#[test]
fn normal_routes_carry_the_local_pref_of_their_priority() {
    let local_pref = |merged: &Merged| match exported(merged, "10.244.1.0/26", Source::Local(LocalKind::Block)) {
        Verdict::Accept(attrs) => attrs.and_then(|attrs| attrs.local_pref()),
        Verdict::Reject(why) => panic!("{why:?}"),
    };
    let block = || affinity("1", "10.244.1.0/26", "confirmed");
    assert_eq!(local_pref(&two_with([block()])), Some(2_147_482_623));
    let other = two_with([block(), defaults(json!({"ipv4NormalRoutePriority": 2000}))]);
    assert_eq!((local_pref(&other), other.config.fib.block_metric), (Some(2_147_481_647), 0), "a blackhole has no metric");
}

#[test]
fn communities_are_those_of_the_prefix_and_a_node_s_list_replaces_the_cluster_s() {
    let global = defaults(json!({
        "communities": [{"name": "std", "value": "100:1"}, {"name": "large", "value": "100:2:3"}],
        "prefixAdvertisements": [{"cidr": "10.244.0.0/16", "communities": ["std", "large", "5:6", "std"]}, {"cidr": "fd01::/64", "communities": ["std"]}],
    }));
    let own =
        object("BGPConfiguration", "node.a", json!({"prefixAdvertisements": [{"cidr": "10.244.0.0/16", "communities": ["7:7", "std"]}]}));
    let block = affinity("1", "10.244.1.0/26", "confirmed");
    let merged = two_with([global.clone(), block.clone()]);
    assert_eq!(merged.meaning.communities[0].communities, ["100:1", "100:2:3", "5:6"]);
    let Verdict::Accept(Some(attrs)) = exported(&merged, "10.244.1.0/26", Source::Local(LocalKind::Block)) else { panic!("refused") };
    assert_eq!((attrs.communities().count(), attrs.large_communities().count()), (2, 1));
    let replaced = two_with([global, own, block]);
    let all: Vec<_> = replaced.meaning.communities.iter().map(|c| (c.prefix.to_string(), c.communities.clone())).collect();
    assert_eq!(all, [("10.244.0.0/16".to_owned(), vec!["7:7".to_owned()])], "both families; names are of the same object");
    noted(&replaced.meaning, "`std` is neither a community nor the name of one");
}

fn filter(name: &str, spec: Value) -> Value {
    object("BGPFilter", name, spec)
}

/// A session of `a` to a ToR with these filters.
fn filtered(filters: &[&str], objects: impl IntoIterator<Item = Value>) -> Merged {
    let tor = peer("tor", json!({"peerIP": "192.0.2.1", "asNumber": 65001, "filters": filters}));
    merged(with(vec![node("a", "10.0.0.1/24", "", json!({})), tor], objects))
}

fn imported(merged: &Merged, prefix: &str, edit: impl FnOnce(&mut Editor)) -> Verdict {
    let peer = first_peer(merged);
    peer.import.as_ref().expect("a chain").judge(&net(prefix), &attributes(edit), &facts(&peer, Source::External))
}

#[test]
fn filters_are_asked_in_their_order_and_the_first_rule_that_matches_decides() {
    let first = filter(
        "first",
        json!({"importV4": [
        {"action": "Reject", "cidr": "10.1.0.0/16", "matchOperator": "In"},
        {"action": "Accept", "cidr": "10.1.0.0/16", "matchOperator": "In"},
    ], "importV6": [{"action": "Reject"}]}),
    );
    let second =
        filter("second", json!({"importV4": [{"action": "Accept", "cidr": "10.0.0.0/8", "matchOperator": "In"}, {"action": "Reject"}]}));
    let taken = |filters: &[&str], prefix: &str| passes(&imported(&filtered(filters, [first.clone(), second.clone()]), prefix, |_| {}));
    assert!(!taken(&["first", "second"], "10.1.1.0/24"), "the first rule of the first filter");
    assert!(taken(&["second", "first"], "10.1.1.0/24"), "the other order");
    assert!(!taken(&["first", "second"], "172.16.0.0/12"), "the last rule of the second");
    assert!(taken(&["first"], "172.16.0.0/12"), "no rule at all: taken");
    assert!(taken(&["first", "missing"], "172.16.0.0/12"), "a filter that does not exist is passed over");
}

#[test]
fn the_four_operators_and_lengths_match_prefixes() {
    let rule = |operator: &str, lengths: Option<Value>| {
        let mut rule = json!({"action": "Reject", "cidr": "10.1.0.0/16", "matchOperator": operator});
        if let Some(lengths) = lengths {
            rule["prefixLength"] = lengths;
        }
        filtered(&["f"], [filter("f", json!({"importV4": [rule]}))])
    };
    for (operator, lengths, refused, taken) in [
        ("Equal", None, vec!["10.1.0.0/16"], vec!["10.1.1.0/24", "10.2.0.0/16"]),
        ("NotEqual", None, vec!["10.1.1.0/24", "10.2.0.0/16"], vec!["10.1.0.0/16"]),
        ("In", None, vec!["10.1.0.0/16", "10.1.1.0/24", "10.1.1.1/32"], vec!["10.2.0.0/16", "10.0.0.0/8"]),
        ("NotIn", None, vec!["10.2.0.0/16", "10.0.0.0/8"], vec!["10.1.0.0/16", "10.1.1.1/32"]),
        ("In", Some(json!({"min": 24, "max": 26})), vec!["10.1.1.0/24", "10.1.1.0/26"], vec!["10.1.0.0/16", "10.1.1.0/27"]),
        ("In", Some(json!({"max": 24})), vec!["10.1.0.0/16", "10.1.1.0/24"], vec!["10.1.1.0/25"]),
        ("In", Some(json!({"min": 8})), vec!["10.1.0.0/16", "10.1.1.1/32"], vec!["10.0.0.0/8"]),
        ("NotIn", Some(json!({"min": 24})), vec!["10.1.0.0/16", "10.2.0.0/24"], vec!["10.1.1.0/24"]),
    ] {
        let merged = rule(operator, lengths.clone());
        for prefix in refused {
            assert!(!passes(&imported(&merged, prefix, |_| {})), "{operator} {lengths:?} {prefix}");
        }
        for prefix in taken {
            assert!(passes(&imported(&merged, prefix, |_| {})), "{operator} {lengths:?} {prefix}");
        }
    }
}

#[test]
fn rules_match_sources_kinds_of_peers_communities_paths_and_priorities() {
    let refuses = |conditions: Value, edit: &dyn Fn(&mut Editor)| {
        let mut rule = json!({"action": "Reject"});
        rule.as_object_mut().unwrap().extend(conditions.as_object().unwrap().clone());
        !passes(&imported(&filtered(&["f"], [filter("f", json!({"importV4": [rule]}))]), "10.1.0.0/16", edit))
    };
    assert!(refuses(json!({"source": "RemotePeers"}), &|_| {}));
    assert!(refuses(json!({"peerType": "eBGP"}), &|_| {}) && !refuses(json!({"peerType": "iBGP"}), &|_| {}));
    let community = |text: &str| json!({"communities": {"values": [text]}});
    let with_community = |b: &mut Editor| {
        b.add_community("65000:100".parse().unwrap()).add_large_community("1:2:3".parse().unwrap());
    };
    assert!(refuses(community("65000:100"), &with_community) && !refuses(community("65000:101"), &with_community));
    assert!(refuses(community("1:2:3"), &with_community) && !refuses(community("1:2:4"), &with_community));
    let path = |b: &mut Editor| {
        b.prepend(Asn(65003), 1).prepend(Asn(65002), 1).prepend(Asn(65001), 1);
    };
    for (begin, holds) in [
        (vec![65001], true),
        (vec![65001, 65002], true),
        (vec![65002], false),
        (vec![65001, 65003], false),
        (vec![65001, 65002, 65003, 65004], false),
    ] {
        assert_eq!(refuses(json!({"asPathPrefix": begin}), &path), holds, "{begin:?}");
    }
    let preferred = |b: &mut Editor| {
        b.set_local_pref(Some(2_147_483_647 - 100));
    };
    assert!(refuses(json!({"priority": 100}), &preferred) && !refuses(json!({"priority": 101}), &preferred));
    assert!(refuses(json!({"priority": 100, "source": "RemotePeers", "peerType": "eBGP"}), &preferred), "all conditions");
}

#[test]
fn accepted_routes_are_changed_by_the_operations_in_order() {
    let operations = json!([
        {"addCommunity": {"value": "65001:200"}}, {"addCommunity": {"value": "1:2:3"}},
        {"prependASPath": {"prefix": [65010, 65011]}}, {"setPriority": {"value": 100}},
    ]);
    let merged = filtered(&["f"], [filter("f", json!({"importV4": [{"action": "Accept", "operations": operations}]}))]);
    let Verdict::Accept(Some(attrs)) = imported(&merged, "10.1.0.0/16", |b| {
        b.prepend(Asn(65001), 1);
    }) else {
        panic!("refused")
    };
    assert_eq!((attrs.communities().count(), attrs.large_communities().count()), (1, 1));
    assert_eq!(attrs.as_path().asns().map(|asn| asn.0).collect::<Vec<_>>(), [65010, 65011, 65001]);
    assert_eq!(attrs.local_pref(), Some(2_147_483_547));
    let useless =
        filtered(&["f"], [filter("f", json!({"importV4": [{"action": "Reject", "operations": [{"setPriority": {"value": 1}}]}]}))]);
    noted(&useless.meaning, "operations stand beside Reject");
}

#[test]
fn imports_are_taken_by_default_and_an_accepting_filter_goes_before_the_rules_of_export() {
    let plain = filtered(&[], []);
    assert_eq!(plain.config.sessions[0].options.import, ChainRef::All);
    let network = Source::Local(LocalKind::Network);
    assert!(!passes(&exported(&plain, "192.168.0.0/24", network)));
    let open =
        filtered(&["f"], [filter("f", json!({"exportV4": [{"action": "Accept", "cidr": "192.168.0.0/16", "matchOperator": "In"}]}))]);
    assert!(passes(&exported(&open, "192.168.0.0/24", network)));
    assert!(!passes(&exported(&open, "192.169.0.0/24", network)));
}

#[test]
fn a_filter_that_cannot_be_read_lets_nothing_through() {
    let broken = filtered(&["f"], [filter("f", json!({"importV4": [{"action": "Perhaps"}]}))]);
    assert_eq!(broken.config.sessions[0].options.import, ChainRef::None);
    noted(&broken.meaning, "importV4, rule 1: action `Perhaps`");
    let unreadable = filtered(&["f"], [filter("f", json!({"importV4": "all"}))]);
    assert_eq!(unreadable.config.sessions[0].options.export, ChainRef::None);
    noted(&unreadable.meaning, "it cannot be read");
}

#[test]
fn an_edited_or_deleted_filter_judges_routes_again_and_keeps_the_session() {
    let with_cidr = |cidr: &str| filter("f", json!({"importV4": [{"action": "Reject", "cidr": cidr, "matchOperator": "In"}]}));
    let (one, other, none) =
        (filtered(&["f"], [with_cidr("10.1.0.0/16")]), filtered(&["f"], [with_cidr("10.2.0.0/16")]), filtered(&["f"], []));
    for changes in [changes(&one, &other), changes(&one, &none)] {
        assert!(changes.iter().any(|change| change.grade == Grade::Refresh), "{changes:?}");
        assert!(changes.iter().all(|change| change.grade != Grade::Restart), "{changes:?}");
    }
}

#[test]
fn pools_of_felix_are_announced_and_their_routes_not_written() {
    let merged = two_with([
        pool("vxlan", json!({"cidr": "10.246.0.0/16", "vxlanMode": "Always"})),
        pool("plain", json!({"cidr": "10.244.0.0/16"})),
        affinity("1", "10.246.1.0/26", "confirmed"),
    ]);
    assert_eq!(merged.config.fib.exclude, [net("10.246.0.0/16")]);
    assert!(passes(&exported(&merged, "10.246.1.0/26", Source::Local(LocalKind::Block))));
    assert!(passes(&exported(&merged, "10.246.9.0/26", Source::External)));
}

#[test]
fn program_cluster_routes_says_whose_routes_are_ours() {
    let written = |value: Option<&str>| {
        let spec = value.map_or(json!({}), |value| json!({"programClusterRoutes": value}));
        let pools = [pool("i", json!({"cidr": "10.1.0.0/16", "ipipMode": "CrossSubnet"})), pool("n", json!({"cidr": "10.2.0.0/16"}))];
        let merged = two_with(with(pools.to_vec(), [defaults(spec)]));
        merged.meaning.pools.iter().map(|p| p.written).collect::<Vec<_>>()
    };
    for (value, expected) in [
        (None, [false, true]),
        (Some("EnabledNoEncapOnly"), [false, true]),
        (Some("Enabled"), [true, true]),
        (Some("EnabledIPIPOnly"), [true, false]),
        (Some("Disabled"), [false, false]),
        (Some("Tomorrow"), [false, true]),
    ] {
        assert_eq!(written(value), expected, "{value:?}");
    }
}

#[test]
fn ipip_that_is_ours_goes_by_tunl0_to_other_subnets_or_everywhere() {
    let mode = |ipip: &str| {
        let merged =
            two_with([pool("i", json!({"cidr": "10.1.0.0/16", "ipipMode": ipip})), defaults(json!({"programClusterRoutes": "Enabled"}))]);
        let overlay = merged.config.fib.overlay;
        (overlay.mode, overlay.device, overlay.nodes.len())
    };
    use crate::fib::overlay::Mode;
    assert_eq!(mode("Always"), (Mode::Always, "tunl0".to_owned(), 2));
    assert_eq!(mode("CrossSubnet").0, Mode::CrossSubnet);
    assert_eq!(mode("Never").0, Mode::Never);
}

#[test]
fn wireguard_peers_are_known_where_both_ends_run_it() {
    let wireguard = |name: &str, v4: &str| {
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "annotations": {
            "projectcalico.org/IPv4Address": v4, "projectcalico.org/IPv4WireguardInterfaceAddr": "10.9.9.9"}}})
    };
    let plain = node("c", "10.0.0.3/24", "", json!({}));
    let with_it = meaning(vec![wireguard("a", "10.0.0.1/24"), wireguard("b", "10.0.0.2/24"), plain.clone()]);
    let kept_out = merged(vec![wireguard("a", "10.0.0.1/24"), wireguard("b", "10.0.0.2/24")]).config.fib.exclude_next_hops;
    assert_eq!(kept_out, ["10.0.0.2".parse().expect("an address")].into());
    let hops: Vec<String> = with_it.next_hops_kept_out.iter().map(|hop| hop.value.to_string()).collect();
    assert_eq!(hops, ["10.0.0.2"]);
    let without = meaning(vec![node("a", "10.0.0.1/24", "", json!({})), wireguard("b", "10.0.0.2/24")]);
    assert!(without.next_hops_kept_out.is_empty());
}

#[test]
fn routes_are_bird_s_in_number_and_metric_unless_the_file_says_otherwise() {
    use crate::fib::Metric;
    let fib = |more: &str| merge(&file("a", more), &store(three())).expect("no conflict").config.fib;
    assert_eq!((fib("").protocol, fib("").metric, fib("").block_metric), (12, Metric::FromLocalPref, 0));
    assert_eq!(fib("[fib]\nprotocol = 186\nmetric = 50\n").protocol, 186);
    assert_eq!(fib("[fib]\nprotocol = 186\nmetric = 50\n").metric, Metric::Fixed(50));
}

#[test]
fn ignored_interfaces_carry_no_next_hop() {
    let merged = two_with([defaults(json!({"ignoredInterfaces": ["virt*"]}))]);
    let ignored: Vec<&str> = merged.meaning.ignored_interfaces.iter().map(|name| name.value.as_str()).collect();
    assert_eq!(ignored, ["virt*", "cali*", "kube-ipvs*"]);
    assert!(merged.config.redistribution.ignore.iter().any(|pattern| pattern.matches("virt0")));
    assert!(merged.config.redistribution.ignore.iter().any(|pattern| pattern.matches("kube-ipvs0")));
}

#[test]
fn the_level_of_the_log_is_the_node_s_or_the_cluster_s() {
    use crate::config::model::LogLevel;
    let level = |objects: Vec<Value>| merged(with(three(), objects)).config.log.level;
    assert_eq!(level(vec![]), LogLevel::Info);
    assert_eq!(level(vec![defaults(json!({"logSeverityScreen": "Debug"}))]), LogLevel::Debug);
    let own = object("BGPConfiguration", "node.a", json!({"logSeverityScreen": "Error"}));
    assert_eq!(level(vec![defaults(json!({"logSeverityScreen": "Debug"})), own]), LogLevel::Error);
}

#[test]
fn nodes_of_the_core_say_the_same_by_their_annotations() {
    let annotated = |name: &str, v4: &str, more: Value| {
        let mut annotations = json!({"projectcalico.org/IPv4Address": v4});
        annotations.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "annotations": annotations}})
    };
    let meaning = meaning(vec![
        annotated("a", "10.0.0.1/24", json!({"projectcalico.org/ASNumber": "65009"})),
        annotated("b", "10.0.0.2/24", json!({})),
        annotated("rr", "10.0.0.9/24", json!({"projectcalico.org/RouteReflectorClusterID": "1.2.3.4"})),
        annotated("new", "", json!({})),
        annotated("odd", "10.0.0", json!({"projectcalico.org/ASNumber": "many"})),
    ]);
    assert_eq!((meaning.node.asn.value, names(&meaning)), (Asn(65009), vec!["Mesh_10_0_0_2"]));
    noted(&meaning, "`many` is no AS number");
    noted(&meaning, "`10.0.0` is not an address");
}
