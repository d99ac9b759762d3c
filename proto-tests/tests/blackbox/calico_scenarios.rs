//! What Calico's objects mean, as `catbird --json check --objects` says it, against a table of situations: `data/calico-scenarios.yaml`.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use proto_tests::api_server::documents;
use proto_tests::netlab::mounts::Scratch;
use proto_tests::netlab::proc::catbird;
use serde_json::{Map, Value, json};

const V3: &str = "projectcalico.org/v3";

/// A map of the case, empty where it says nothing.
fn map(case: &Value, field: &str) -> Map<String, Value> {
    case[field].as_object().cloned().unwrap_or_default()
}

fn of_calico(kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": V3, "kind": kind, "metadata": {"name": name}, "spec": spec})
}

fn node(name: &str, short: &Value) -> Value {
    let mut bgp = short[3].as_object().cloned().unwrap_or_default();
    for (field, at) in [("ipv4Address", 0), ("ipv6Address", 1)] {
        if let Some(address) = short[at].as_str().filter(|text| !text.is_empty()) {
            bgp.insert(field.to_owned(), address.into());
        }
    }
    let labels = short.get(2).cloned().unwrap_or(json!({}));
    json!({"apiVersion": V3, "kind": "Node", "metadata": {"name": name, "labels": labels}, "spec": {"bgp": bgp}})
}

fn service(name: &str, short: &Value) -> Vec<Value> {
    let balancer = short["balancer"].as_array().cloned().unwrap_or_default();
    let ingress: Vec<Value> = balancer.into_iter().map(|ip| json!({"ip": ip})).collect();
    let mut all = vec![json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"},
        "spec": {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "clusterIP": short["cluster"]},
        "status": {"loadBalancer": {"ingress": ingress}}})];
    for (family, nodes) in map(short, "endpoints") {
        let endpoints: Vec<Value> = nodes.as_array().into_iter().flatten().map(|node| json!({"nodeName": node})).collect();
        all.push(json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": family, "endpoints": endpoints,
            "metadata": {"name": format!("{name}-{family}"), "namespace": "default", "labels": {"kubernetes.io/service-name": name}}}));
    }
    all
}

/// The objects of a case, written out.
fn objects(case: &Value) -> Vec<Value> {
    let mut all = vec![of_calico("BGPConfiguration", "default", Value::Object(map(case, "configuration")))];
    all.extend(map(case, "configuration_of").into_iter().map(|(name, spec)| of_calico("BGPConfiguration", &format!("node.{name}"), spec)));
    all.extend(map(case, "nodes").iter().map(|(name, short)| node(name, short)));
    for (field, kind) in [("peers", "BGPPeer"), ("pools", "IPPool"), ("affinities", "BlockAffinity"), ("filters", "BGPFilter")] {
        all.extend(map(case, field).into_iter().map(|(name, spec)| of_calico(kind, &name, spec)));
    }
    let secret = |(name, data): (String, Value)| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "kube-system"}, "data": data});
    all.extend(map(case, "secrets").into_iter().map(secret));
    all.extend(map(case, "services").iter().flat_map(|(name, short)| service(name, short)));
    all.extend(case["statuses"].as_array().cloned().unwrap_or_default());
    all
}

/// Sessions are told apart by their addresses.
fn by_address(answer: &mut Value) {
    let sessions = answer["sessions"].as_array().cloned().unwrap_or_default();
    let named = sessions.into_iter().map(|session| (session["address"].as_str().unwrap_or_default().to_owned(), session));
    answer["sessions"] = Value::Object(named.collect());
}

/// What is otherwise than expected. Objects may say more, but for `sessions`; lists are whole.
fn differences(at: &str, expected: &Value, is: &Value, said: &mut String) {
    match (expected, is) {
        (Value::Object(expected), Value::Object(is)) => {
            if at == "/sessions" && is.len() != expected.len() {
                let _ = writeln!(said, "{at} are {:?}", is.keys().collect::<Vec<_>>());
            }
            for (field, expected) in expected {
                differences(&format!("{at}/{field}"), expected, is.get(field).unwrap_or(&Value::Null), said);
            }
        }
        (Value::Array(expected), Value::Array(is)) if expected.len() == is.len() => {
            expected.iter().zip(is).enumerate().for_each(|(n, (expected, is))| differences(&format!("{at}/{n}"), expected, is, said));
        }
        _ if expected == is => {}
        _ => drop(writeln!(said, "{at} is {is} and not {expected}")),
    }
}

#[test]
fn every_situation_of_the_table_means_what_it_is_to_mean() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/calico-scenarios.yaml");
    let table = documents(&std::fs::read_to_string(&path).expect("the table")).remove(0);
    let cases = table["cases"].as_array().expect("cases");
    assert!(cases.len() >= 40, "{}", cases.len());
    let folder = Scratch::new("scenarios").expect("a temporary folder");
    let mut wrong = String::new();
    for case in cases {
        let (name, node) = (case["name"].as_str().expect("a name"), case["node"].as_str().expect("a node"));
        let dump = folder.path().join("objects.json");
        let text: Vec<String> = objects(case).iter().map(Value::to_string).collect();
        std::fs::write(&dump, text.join("\n")).expect("a file of our own");
        let out = Command::new(catbird().expect("it is built"))
            .args(["--json", "check", "--flavour", "calico", "--node", node, "--objects"])
            .arg(&dump)
            .output()
            .expect("our own binary");
        let mut answer: Value =
            serde_json::from_slice(&out.stdout).unwrap_or_else(|e| panic!("{name}: {e}: {}", String::from_utf8_lossy(&out.stderr)));
        by_address(&mut answer);
        let mut said = String::new();
        differences("", &json!({"ok": true, "flavour": "calico"}), &answer, &mut said);
        differences("", &case["expect"], &answer, &mut said);
        if !said.is_empty() {
            let _ = writeln!(wrong, "{name}:\n{said}");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
