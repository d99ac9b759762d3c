//! Flavours `nodes` and `cilium`: every node is a neighbour, and its blocks are its podCIDRs.
//!
//! In: Node objects, for `cilium` CiliumNodes too, and what the file says of the cluster. Out: who this node is, its blocks, and a session for each node
//! that it peers with, by the same rules as a list in the file ([`relation`]).
//!
//! | annotation | meaning |
//! |---|---|
//! | `catbird.dev/asn` | the node's AS number, if it is not the cluster's |
//! | `catbird.dev/cluster-id` | it is a reflector (RFC 4456 §7) |
//! | `catbird.dev/drain` | `"true"`: it leaves ([`leaving`]) |

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::meaning::{
    Announce, Block, Families, KeptOut, Listen, Meaning, NextHopMode, NodeMeaning, Notes, Priorities, Session, SessionKind, Sourced,
};
use super::object::{Key, Node, NodeAddress, asn_text};
use super::selector::Selector;
use super::services::{self, Ranges};
use super::store::Store;
use super::{Setting, leaving};
use crate::config::model::Flavour;
use crate::config::{relation, shared_address};
use crate::num::{Asn, ClusterId};

/// A node as this flavour sees it.
struct Facts {
    key: Key,
    addresses: Vec<IpAddr>,
    asn: Option<Asn>,
    cluster_id: Option<Sourced<ClusterId>>,
    blocks: Vec<(IpNet, Key)>,
}

/// The meaning of all nodes for the one called `name`.
///
/// # Errors
/// There is no such node, or the file's selector of reflectors is none.
pub(super) fn meaning(store: &Store, name: &str, setting: &Setting<'_>) -> Result<Meaning, String> {
    let mut notes = Notes::default();
    let reflectors = setting.reflectors.map(Selector::labels).transpose().map_err(|why| format!("[kubernetes] reflectors: {why}"))?;
    let all: BTreeMap<&str, Facts> =
        store.nodes().map(|(key, node)| (key.name.as_str(), facts(store, key, node, &reflectors, setting, &mut notes))).collect();
    let Some(own) = all.get(name) else { return Err(format!("there is no Node {name}")) };
    let node = own_node(name, own, store, setting);
    let meant = |other: &Facts| session(own, other, &node, setting, &mut notes);
    let sessions = all.iter().filter(|(other, _)| **other != name).map(|(_, facts)| facts).filter_map(meant).collect();
    let blocks =
        own.blocks.iter().map(|(prefix, from)| Block { prefix: *prefix, announce: Announce::Always, blackhole: true, from: from.clone() });
    let (services, service_ranges) = services::meaning(store, &node, &Ranges::of_file(setting), setting, &mut notes);
    let blocks = blocks.collect();
    let kept_out = service_ranges.into_iter().map(|range| KeptOut {
        prefix: range.value,
        why: "addresses of services are kube-proxy's",
        from: range.from.unwrap_or_else(|| own.key.clone()),
    });
    Ok(Meaning {
        listen: Listen::default(),
        sessions,
        blocks,
        static_routes: Vec::new(),
        services,
        pools: Vec::new(),
        kept_out_of_kernel: kept_out.collect(),
        next_hops_kept_out: Vec::new(),
        filters: BTreeMap::new(),
        broken_filters: Vec::new(),
        communities: Vec::new(),
        ignored_interfaces: Vec::new(),
        priority: Priorities::default(),
        log_level: None,
        notes: notes.0,
        node,
    })
}

fn own_node(name: &str, own: &Facts, store: &Store, setting: &Setting<'_>) -> NodeMeaning {
    let object = store.nodes().find(|(key, _)| key.name == name).map(|(_, node)| node);
    let drain_why = object.and_then(|object| leaving::why(object, setting));
    let excluded = object.is_some_and(|object| services::are_excluded(&object.metadata.labels));
    let of_family = |v6: bool| own.addresses.iter().find(move |a| a.is_ipv6() == v6).copied();
    NodeMeaning {
        name: name.to_owned(),
        asn: own.asn.map_or(Sourced::default(setting.asn), |asn| Sourced::by(asn, &own.key)),
        ipv4: of_family(false).and_then(|a| if let IpAddr::V4(a) = a { Some(Sourced::by(a, &own.key)) } else { None }),
        ipv6: of_family(true).and_then(|a| if let IpAddr::V6(a) = a { Some(Sourced::by(a, &own.key)) } else { None }),
        cluster_id: own.cluster_id.clone(),
        drain: drain_why.as_ref().map(|_| own.key.clone()),
        drain_why,
        shuts_down: object.is_some_and(leaving::shuts_down),
        pods: None,
        services_excluded: excluded.then(|| own.key.clone()),
    }
}

fn facts(store: &Store, key: &Key, node: &Node, reflectors: &Option<Selector>, setting: &Setting<'_>, notes: &mut Notes) -> Facts {
    let annotation = |name: &str| node.metadata.annotations.get(&format!("catbird.dev/{name}"));
    let asn = annotation("asn").and_then(|text| {
        let number = asn_text(text);
        if number.is_none() {
            notes.push(key, format!("annotation catbird.dev/asn `{text}` is no AS number"));
        }
        number.map(Asn)
    });
    let addresses = addresses(key, &node.status.addresses, notes);
    let own_id = annotation("cluster-id").and_then(|text| {
        let id = text.parse().ok().map(ClusterId);
        if id.is_none() {
            notes.push(key, format!("annotation catbird.dev/cluster-id `{text}` is no cluster id, which is written as an IPv4 address"));
        }
        id
    });
    // One chosen by label reflects under its own address, unless it says otherwise (RFC 4456 §7).
    let by_label = || reflectors.as_ref().filter(|selector| selector.matches(&node.metadata.labels));
    let first_v4 = || addresses.iter().find_map(|a| if let IpAddr::V4(a) = a { Some(ClusterId(*a)) } else { None });
    let cluster_id = own_id.or_else(|| by_label().and_then(|_| first_v4()));
    if cluster_id.is_none() && by_label().is_some() {
        notes.push(
            key,
            "it is labelled as a reflector and has no IPv4 address to be its cluster id: annotate catbird.dev/cluster-id".to_owned(),
        );
    }
    let blocks = blocks(store, key, node, setting.flavour, notes);
    Facts { cluster_id: cluster_id.map(|id| Sourced::by(id, key)), key: key.clone(), addresses, asn, blocks }
}

/// The first InternalIP of each family.
fn addresses(key: &Key, list: &[NodeAddress], notes: &mut Notes) -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> = Vec::new();
    for entry in list.iter().filter(|entry| entry.kind == "InternalIP") {
        let address = notes.address(key, "status.addresses", &entry.address);
        found.extend(address.filter(|a| !found.iter().any(|known| known.is_ipv4() == a.is_ipv4())));
    }
    found
}

fn blocks(store: &Store, key: &Key, node: &Node, flavour: Flavour, notes: &mut Notes) -> Vec<(IpNet, Key)> {
    let cilium = store.cilium_node(&key.name).filter(|_| flavour == Flavour::Cilium);
    let (from, field, texts) = match cilium {
        Some((cilium, object)) if !object.spec.ipam.pod_cidrs.is_empty() => {
            (cilium, "spec.ipam.podCIDRs", object.spec.ipam.pod_cidrs.clone())
        }
        _ if node.spec.pod_cidrs.is_empty() => (key, "spec.podCIDR", vec![node.spec.pod_cidr.clone()]),
        _ => (key, "spec.podCIDRs", node.spec.pod_cidrs.clone()),
    };
    texts.iter().filter_map(|text| Some((notes.prefix(from, field, text)?, from.clone()))).collect()
}

fn session(own: &Facts, other: &Facts, node: &NodeMeaning, setting: &Setting<'_>, notes: &mut Notes) -> Option<Session> {
    let (_, client) = relation(setting.mode, own.cluster_id.is_some(), other.cluster_id.is_some())?;
    let Some(address) = shared_address(&other.addresses, node.ipv4.is_some(), node.ipv6.is_some()) else {
        notes.push(&other.key, "it has no InternalIP of a family that this node has: no session until then".to_owned());
        return None;
    };
    Some(Session {
        name: other.key.name.clone(),
        kind: SessionKind::Mesh,
        address,
        port: None,
        asn: other.asn.unwrap_or(setting.asn),
        local_asn: node.asn.value,
        passive: false,
        families: Families::Both,
        rr_client: client,
        reflector: other.cluster_id.is_some(),
        password: None,
        ttl_security: None,
        multihop: None,
        source: match address {
            IpAddr::V4(_) => node.ipv4.as_ref().map(|a| IpAddr::V4(a.value)),
            IpAddr::V6(_) => node.ipv6.as_ref().map(|a| IpAddr::V6(a.value)),
        },
        graceful_restart_seconds: None,
        keepalive_seconds: None,
        next_hop: NextHopMode::Auto,
        allow_own_as: 0,
        filters: Vec::new(),
        calico: false,
        superseded_by: None,
        from: other.key.clone(),
    })
}
