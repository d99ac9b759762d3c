//! Routers that are configured by the objects of a cluster, in virtual time: the API is away for a day, and comes back.
//!
//! What the daemon does is done by hand: objects are merged with the file, and what comes of it is a reload. An API that is away hands in no objects, and
//! may be asked for them as often as you like.

use std::time::Duration;

use catbird::config::{Config, Environment, params};
use catbird::source::{Store, merge};
use catbird::speaker::Params;
use proto_tests::lab::Lab;
use serde_json::{Value, json};

pub const NAMES: [&str; 3] = ["a", "b", "c"];

pub fn node(n: usize) -> Value {
    let address = format!("10.255.0.{}", n + 1);
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NAMES[n]}, "spec": {"podCIDRs": [format!("10.244.{n}.0/24")]},
        "status": {"addresses": [{"type": "InternalIP", "address": address}]}})
}

/// What the objects make of one node.
fn meant(name: &str, store: &Store) -> Params {
    meant_by("", name, store)
}

/// The same with settings of `[kubernetes]`.
pub fn meant_by(settings: &str, name: &str, store: &Store) -> Params {
    let read = |_: &std::path::Path| Err("no files here".to_owned());
    let environment = Environment { hostname: Some(name.to_owned()), read: &read, memory_limit: None };
    let text = format!("[kubernetes]\nflavour = \"nodes\"\n{settings}");
    let file = Config::parse("test.toml", &text, &environment).config.expect("legal");
    params::speaker(&merge(&file, store).expect("no conflict").config)
}

/// Every node takes over what the objects say now.
fn merged_everywhere(lab: &mut Lab, nodes: usize, store: &Store) {
    for name in &NAMES[..nodes] {
        lab.reload(name, |params| *params = meant(name, store));
    }
}

fn updates(lab: &mut Lab) -> Vec<String> {
    let mut told = Vec::new();
    for (us, them) in [("a", "b"), ("b", "a")] {
        told.push(format!("{:?}", lab.peer(us, them).updates));
    }
    told
}

#[test]
fn an_api_that_is_away_for_a_day_changes_no_route_and_its_return_only_what_is_new() {
    let mut store = Store::default();
    (0..2).for_each(|n| drop(store.insert(node(n))));
    let mut lab = Lab::seeded(11).audit_every(10_000);
    for name in NAMES {
        lab = lab.speaker(name, 64512);
    }
    merged_everywhere(&mut lab, 2, &store);
    lab.until_established("a", "b");
    lab.run(Duration::from_secs(30));
    assert!(lab.in_kernel("a", "10.244.1.0/24") && lab.in_kernel("b", "10.244.0.0/24"));
    let (before, flaps) = (updates(&mut lab), lab.peer("a", "b").row.flaps);
    for _hour in 0..24 {
        lab.run(Duration::from_secs(3600));
        merged_everywhere(&mut lab, 2, &store);
    }
    let removed = |lab: &Lab| lab.kernel_removals("a") + lab.kernel_removals("b");
    assert!(lab.seconds() > 24.0 * 3600.0);
    assert_eq!(updates(&mut lab), before, "nobody was told anything");
    assert_eq!((removed(&lab), lab.peer("a", "b").row.flaps), (0, flaps));
    assert!(lab.in_kernel("a", "10.244.1.0/24") && lab.in_kernel("b", "10.244.0.0/24"));
    // It is back, and has a node more.
    drop(store.insert(node(2)));
    merged_everywhere(&mut lab, 3, &store);
    lab.until_established("a", "c");
    lab.run(Duration::from_secs(30));
    assert!(lab.in_kernel("a", "10.244.2.0/24") && lab.in_kernel("c", "10.244.0.0/24"));
    assert_eq!((removed(&lab), lab.peer("a", "b").row.flaps), (0, flaps));
    // The absence of an object is another thing than the absence of the API.
    assert!(store.remove(&catbird::source::Key::new(catbird::source::Kind::Node, "", "b")));
    lab.reload("a", |params| *params = meant("a", &store));
    lab.run(Duration::from_secs(5));
    assert!(!lab.in_kernel("a", "10.244.1.0/24"));
}
