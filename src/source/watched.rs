//! Which objects of an API are watched: no more than the flavour asks for.
//!
//! In: what the file says, and the objects that are known. Out: kinds, each with the one name or the namespace that it is asked for.

use std::collections::BTreeSet;
use std::fmt;

use super::object::{Kind, Meta, PasswordRef};
use super::selector::Selector;
use super::store::Store;
use super::{Setting, leaving};
use crate::config::model::{Flavour, Kubernetes, Mode};

/// A kind of object, and which of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    pub kind: Kind,
    /// Empty for the core's.
    pub group: &'static str,
    pub version: &'static str,
    pub kind_name: &'static str,
    pub plural: &'static str,
    /// In this one only.
    pub namespace: Option<String>,
    /// This one only.
    pub name: Option<String>,
    /// What runs on this node only.
    pub on_node: Option<String>,
    /// Those with these labels only, and of these not the one called so, which has a watch of its own.
    pub labels: Option<(String, String)>,
    /// Without its definition in the API nothing can be concluded. Of others there are none then.
    pub essential: bool,
}

impl Watched {
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_owned() } else { format!("{}/{}", self.group, self.version) }
    }

    /// Its definition is an object of the API itself, which can be missing or be deleted, and takes all objects with it.
    pub fn is_custom(&self) -> bool {
        self.group.contains('.') && !self.group.ends_with(".k8s.io")
    }

    /// Is it one of those that a list of these would have?
    pub fn covers(&self, key: &super::Key) -> bool {
        let same = |wanted: &Option<String>, is: &str| wanted.as_ref().is_none_or(|wanted| wanted == is);
        let own = self.labels.as_ref().is_some_and(|(_, but)| *but == key.name);
        self.kind == key.kind && same(&self.namespace, &key.namespace) && same(&self.name, &key.name) && !own
    }
}

impl fmt::Display for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((labels, _)) = &self.labels {
            return write!(f, "{} {labels}", self.plural);
        }
        if let Some(node) = &self.on_node {
            return write!(f, "{} on {node}", self.plural);
        }
        match (&self.namespace, &self.name) {
            (None, None) => f.write_str(self.plural),
            (None, Some(name)) => write!(f, "{} {name}", self.plural),
            (Some(namespace), name) => write!(f, "{} {namespace}/{}", self.plural, name.as_deref().unwrap_or("*")),
        }
    }
}

const CALICO: &str = "crd.projectcalico.org";

fn all(kind: Kind, group: &'static str, version: &'static str, kind_name: &'static str, plural: &'static str) -> Watched {
    Watched { kind, group, version, kind_name, plural, namespace: None, name: None, on_node: None, labels: None, essential: true }
}

/// What the node of this name watches.
pub fn watched(kubernetes: &Kubernetes, node: &str, store: &Store) -> Vec<Watched> {
    let mut wanted = nodes(kubernetes, node, store);
    let ranges = &kubernetes.services;
    let mut services = !(ranges.cluster.is_empty() && ranges.external.is_empty() && ranges.load_balancer.is_empty());
    match kubernetes.flavour {
        Flavour::Nodes => {}
        Flavour::Cilium => {
            wanted.push(Watched { name: Some(node.to_owned()), ..all(Kind::CiliumNode, "cilium.io", "v2", "CiliumNode", "ciliumnodes") });
        }
        Flavour::Calico => {
            wanted.extend([
                all(Kind::BgpConfiguration, CALICO, "v1", "BGPConfiguration", "bgpconfigurations"),
                all(Kind::BgpPeer, CALICO, "v1", "BGPPeer", "bgppeers"),
                Watched { essential: false, ..all(Kind::BgpFilter, CALICO, "v1", "BGPFilter", "bgpfilters") },
                all(Kind::IpPool, CALICO, "v1", "IPPool", "ippools"),
                all(Kind::BlockAffinity, CALICO, "v1", "BlockAffinity", "blockaffinities"),
            ]);
            let secret = |name: String| Watched {
                namespace: Some(kubernetes.namespace.clone()),
                name: Some(name),
                ..all(Kind::Secret, "", "v1", "Secret", "secrets")
            };
            wanted.extend(secrets(store).into_iter().map(secret));
            let ranges = |(_, c): (_, &super::object::BgpConfiguration)| {
                [&c.service_cluster_ips, &c.service_external_ips, &c.service_load_balancer_ips].iter().any(|list| !list.is_empty())
            };
            services |= store.bgp_configurations().any(ranges);
        }
    }
    if services {
        wanted.push(all(Kind::Service, "", "v1", "Service", "services"));
        wanted.push(all(Kind::EndpointSlice, "discovery.k8s.io", "v1", "EndpointSlice", "endpointslices"));
    }
    // What is still there is asked for by one that leaves, and nobody else.
    let setting = Setting::new(kubernetes);
    if store.nodes().any(|(key, object)| key.name == node && leaving::why(object, &setting).is_some()) {
        wanted.push(Watched { on_node: Some(node.to_owned()), ..all(Kind::Pod, "", "v1", "Pod", "pods") });
    }
    wanted
}

/// All, where this node may have a session with each. Between reflectors and their clients (RFC 4456) a client need know itself and the reflectors
/// only, whatever the size of the cluster; as long as a node does not know itself, it asks for itself. A reflector's clients are all others.
fn nodes(kubernetes: &Kubernetes, node: &str, store: &Store) -> Vec<Watched> {
    let every = all(Kind::Node, "", "v1", "Node", "nodes");
    let reflectors =
        kubernetes.reflectors.as_ref().filter(|_| kubernetes.flavour != Flavour::Calico && kubernetes.mode == Mode::RouteReflector);
    let Some((text, selector)) = reflectors.and_then(|text| Some((text, Selector::labels(text).ok()?))) else { return vec![every] };
    let own = store.nodes().find(|(key, _)| key.name == node).map(|(_, node)| &node.metadata);
    let reflects = |own: &Meta| selector.matches(&own.labels) || own.annotations.contains_key("catbird.dev/cluster-id");
    let itself = Watched { name: Some(node.to_owned()), ..every.clone() };
    match own {
        Some(own) if reflects(own) => vec![every],
        Some(_) => vec![itself, Watched { labels: Some((text.clone(), node.to_owned())), ..every }],
        None => vec![itself],
    }
}

/// Names of Secrets that somebody refers to.
fn secrets(store: &Store) -> BTreeSet<String> {
    let of_peers = store.bgp_peers().filter_map(|(_, peer)| peer.password.as_ref());
    let of_mesh = store.bgp_configurations().filter_map(|(_, c)| c.node_mesh_password.as_ref());
    let name = |reference: &PasswordRef| reference.secret_key_ref.as_ref().map(|key| key.name.clone());
    of_peers.chain(of_mesh).filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn names(flavour: &str, more: &str, store: &Store) -> Vec<String> {
        let read = |_: &std::path::Path| Err(String::new());
        let text = format!("[kubernetes]\nflavour = \"{flavour}\"\n{more}");
        let environment = crate::config::Environment { hostname: Some("a".into()), read: &read, memory_limit: None };
        let config = crate::config::Config::parse("x", &text, &environment).config.expect("legal");
        watched(&config.kubernetes.expect("asked for"), "a", store).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn no_more_is_watched_than_is_asked_for() {
        let none = Store::default();
        assert_eq!(names("nodes", "", &none), ["nodes"]);
        assert_eq!(names("nodes", "cluster_ips = [\"10.96.0.0/12\"]\n", &none), ["nodes", "services", "endpointslices"]);
        assert_eq!(names("cilium", "", &none), ["nodes", "ciliumnodes a"], "of Cilium's its own alone");
        assert_eq!(names("calico", "", &none).len(), 6);
    }

    #[test]
    fn a_client_of_reflectors_watches_itself_and_them_and_a_reflector_all_nodes() {
        let node = |name: &str, labels: serde_json::Value| {
            json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels},
                "status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]}})
        };
        let reflectors = "reflectors = \"rr=true\"\n[cluster]\nmode = \"route-reflector\"\n";
        let mut store = Store::default();
        assert_eq!(names("nodes", reflectors, &store), ["nodes a"], "it does not know yet which it is");
        store.insert(node("a", json!({})));
        assert_eq!(names("nodes", reflectors, &store), ["nodes a", "nodes rr=true"]);
        store.insert(node("a", json!({"rr": "true"})));
        assert_eq!(names("nodes", reflectors, &store), ["nodes"]);
        assert_eq!(
            names("nodes", "[cluster]\nmode = \"route-reflector\"\n", &store),
            ["nodes"],
            "reflectors by annotation cannot be asked for"
        );
        let by_label = Watched { labels: Some(("rr=true".into(), "a".into())), ..all(Kind::Node, "", "v1", "Node", "nodes") };
        let covers = |name: &str| by_label.covers(&crate::source::Key::new(Kind::Node, "", name));
        assert!(covers("b") && !covers("a"), "that a node is no reflector any more does not mean that it is gone");
    }

    #[test]
    fn a_node_that_leaves_asks_for_its_own_pods() {
        let mut store = Store::default();
        let node = |name: &str, cordoned: bool| json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": {"unschedulable": cordoned}});
        [node("a", false), node("b", true)].into_iter().for_each(|node| drop(store.insert(node)));
        assert_eq!(names("nodes", "", &store), ["nodes"], "others' are none of its business");
        store.insert(node("a", true));
        assert_eq!(names("nodes", "", &store), ["nodes", "pods on a"]);
        assert_eq!(names("nodes", "drain_on_cordon = false\n", &store), ["nodes"]);
    }

    #[test]
    fn secrets_are_watched_by_name_and_services_where_a_range_is_said() {
        let mut store = Store::default();
        store.insert(json!({"apiVersion": "projectcalico.org/v3", "kind": "BGPPeer", "metadata": {"name": "p"},
            "spec": {"peerIP": "192.0.2.1", "password": {"secretKeyRef": {"name": "bgp", "key": "k"}}}}));
        store.insert(json!({"apiVersion": "projectcalico.org/v3", "kind": "BGPConfiguration", "metadata": {"name": "default"},
            "spec": {"serviceClusterIPs": [{"cidr": "10.96.0.0/12"}]}}));
        let names = names("calico", "", &store);
        assert!(names.contains(&"secrets kube-system/bgp".to_owned()) && names.contains(&"services".to_owned()), "{names:?}");
    }
}
