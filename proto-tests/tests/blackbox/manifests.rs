//! `configs/kubernetes/`: what `kubectl kustomize` makes of each folder, and what a real API server says to it.

use std::path::Path;

use proto_tests::api_server::{ApiServer, definition, documents, kubectl, kustomized};
use proto_tests::netlab::mounts::Scratch;
use proto_tests::netlab::skip;
use serde_json::Value;

const OVERLAYS: [&str; 6] = ["nodes", "nodes-cni", "nodes-reflectors", "cilium", "cilium-reflectors", "calico"];

fn text(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn of_kind<'a>(objects: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    objects.iter().filter(move |object| object["kind"] == kind)
}

/// Those that an overlay may be used with.
fn components(overlay: &str) -> &'static [&'static str] {
    if overlay == "calico" { &["monitoring", "passwords"] } else { &["monitoring"] }
}

#[test]
fn a_real_kubectl_makes_of_every_overlay_what_it_is_to_be() {
    let Some(kubectl) = kubectl() else {
        return skip("a_real_kubectl_makes_of_every_overlay_what_it_is_to_be", "no kubectl here: proto-tests/kubernetes/parts build");
    };
    let scratch = Scratch::new("overlays").expect("a temporary folder");
    for overlay in OVERLAYS {
        let objects = documents(&kustomized(&kubectl, scratch.path(), overlay, components(overlay)));
        is_as_it_should_be(&objects, overlay);
        assert_eq!(of_kind(&objects, "PrometheusRule").count(), 1, "{overlay}");
        assert_eq!(of_kind(&objects, "Role").count(), usize::from(overlay == "calico"), "{overlay}: passwords where they are asked for");
        assert_eq!(objects.iter().any(|object| object.to_string().contains("/var/run/calico")), overlay == "calico", "{overlay}");
    }
}

#[test]
fn a_real_api_server_takes_every_overlay_with_its_components() {
    let Some(server) = ApiServer::start("a_real_api_server_takes_every_overlay_with_its_components", &[]) else { return };
    for kind in ["PodMonitor", "PrometheusRule"] {
        server.apply(&definition("monitoring.coreos.com", "v1", kind, true).to_string());
    }
    server.kubectl(&["wait", "--for=condition=Established", "crd", "--all"]);
    server.apply(&text("configs/kubernetes/base/namespace.yaml"));
    for overlay in OVERLAYS {
        let made = server.kustomized(overlay, components(overlay));
        let said = server.with_text(&["apply", "--dry-run=server", "--validate=strict"], &made);
        let objects = documents(&made);
        assert_eq!(said.lines().count(), objects.len(), "{overlay}: {said}");
        assert!(said.contains("daemonset.apps/catbird created") && said.contains("podmonitor.monitoring.coreos.com/catbird"), "{said}");
    }
    // What it is to notice.
    let wrong = server.kustomized("nodes", &[]).replace("hostNetwork:", "hostsNetwork:");
    let file = server.folder().join("wrong.yaml");
    std::fs::write(&file, wrong).expect("a file of our own");
    let refused =
        std::panic::catch_unwind(|| server.kubectl(&["apply", "--dry-run=server", "--validate=strict", "-f", &file.display().to_string()]));
    assert!(refused.is_err(), "a schema that takes everything is none");
}

fn is_as_it_should_be(objects: &[Value], overlay: &str) {
    let daemons: Vec<&Value> = of_kind(objects, "DaemonSet").collect();
    let image = daemons[0].pointer("/spec/template/spec/containers/0/image").and_then(Value::as_str);
    assert_eq!((daemons.len(), image), (1, Some(concat!("catbird:", env!("CARGO_PKG_VERSION")))), "{overlay}: the image of this release");
    // A hook that withdrew would do so in every rollout.
    let hook = daemons[0].pointer("/spec/template/spec/containers/0/lifecycle/preStop/exec/command");
    assert_eq!(hook, Some(&serde_json::json!(["catbird", "drain", "--if-shutdown"])), "{overlay}");
    assert!(
        objects.iter().any(|object| object["kind"] == "ClusterRole" && object.to_string().contains("\"pods\"")),
        "{overlay}: it may see what still runs"
    );
    let configured: Vec<&Value> = of_kind(objects, "ConfigMap").filter_map(|map| map.pointer("/data/catbird.toml")).collect();
    let own = text(&format!("configs/kubernetes/{overlay}/catbird.toml"));
    assert_eq!(configured, [&Value::from(own)], "{overlay}: one configuration, its own");
    let rules = of_kind(objects, "ClusterRole").chain(of_kind(objects, "Role")).flat_map(|role| role["rules"].as_array().expect("rules"));
    for rule in rules {
        // Where the network of pods is ours, it says that it is there.
        let says = overlay == "nodes-cni" && rule["resources"] == serde_json::json!(["nodes/status"]);
        let verbs = if says { serde_json::json!(["patch"]) } else { serde_json::json!(["list", "watch"]) };
        assert_eq!(rule["verbs"], verbs, "{overlay}: it only looks: {rule}");
        assert!(rule["resources"].as_array().is_some_and(|all| all.iter().all(|one| one != "*")), "{overlay}: nothing at large: {rule}");
    }
}

#[test]
fn the_alerts_of_the_operator_s_rule_are_those_of_the_rules_file() {
    let rule = documents(&text("configs/kubernetes/components/monitoring/rules.yaml")).remove(0);
    let file = documents(&text("configs/prometheus/catbird.rules.yml")).remove(0);
    assert!(file["groups"].as_array().is_some_and(|groups| !groups.is_empty()));
    assert_eq!(rule["spec"]["groups"], file["groups"], "copy `groups` of catbird.rules.yml, two spaces further in");
}
