//! Flavour `calico`: the objects that Calico's BIRD is configured by.
//!
//! In: nodes (as annotations of the core's Node, or as Calico's own), BGPConfiguration, IPPool, BlockAffinity here; BGPPeer and Secret in [`peers`],
//! BGPFilter in [`filters`]. Out: one [`Meaning`]. Where what Calico does is a mistake, what is meant is done, and the doc of the function says so.

mod filters;
mod peers;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::meaning::{
    Announce, Block, Encapsulation, KeptOut, Listen, Meaning, NodeMeaning, Notes, Pool, PrefixCommunities, Priorities, Sourced, is_host,
};
use super::object::{BgpConfiguration, CalicoNode, Key, Kind, Node, Words, asn_text};
use super::services::{self, Ranges};
use super::store::Store;
use super::{Setting, leaving};
use crate::config::model::LogLevel;
use crate::num::{Asn, ClusterId};

/// A node of the cluster.
pub(super) struct Facts<'a> {
    key: Key,
    ipv4: Option<(Ipv4Addr, IpNet)>,
    ipv6: Option<(Ipv6Addr, IpNet)>,
    asn: Option<Asn>,
    cluster_id: Option<ClusterId>,
    wireguard: [bool; 2],
    drain_why: Option<String>,
    shuts_down: bool,
    labels: &'a Words,
}

impl Facts<'_> {
    fn address(&self, v6: bool) -> Option<IpAddr> {
        if v6 { self.ipv6.map(|(a, _)| IpAddr::V6(a)) } else { self.ipv4.map(|(a, _)| IpAddr::V4(a)) }
    }

    fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        [false, true].into_iter().filter_map(|v6| self.address(v6))
    }
}

/// `BGPConfiguration default` and those of nodes, and what follows from them where they say nothing.
pub(super) struct Configurations<'a> {
    default: Option<(&'a Key, &'a BgpConfiguration)>,
    by_node: BTreeMap<&'a str, (&'a Key, &'a BgpConfiguration)>,
}

impl<'a> Configurations<'a> {
    fn of(store: &'a Store, notes: &mut Notes) -> Configurations<'a> {
        let mut all = Configurations { default: None, by_node: BTreeMap::new() };
        for (key, configuration) in store.bgp_configurations() {
            match key.name.strip_prefix("node.") {
                Some(node) => drop(all.by_node.insert(node, (key, configuration))),
                None if key.name == "default" => all.default = Some((key, configuration)),
                None => notes.push(key, "only `default` and `node.NAME` count".to_owned()),
            }
        }
        all
    }

    /// What the one of the cluster says.
    fn global<T>(&self, of: impl Fn(&'a BgpConfiguration) -> Option<T>) -> Option<Sourced<T>> {
        let (key, configuration) = self.default?;
        of(configuration).map(|value| Sourced::by(value, key))
    }

    /// What the node's own says, else the cluster's.
    fn of_node<T>(&self, node: &str, of: impl Fn(&'a BgpConfiguration) -> Option<T>) -> Option<Sourced<T>> {
        let own = self.by_node.get(node).and_then(|(key, configuration)| of(configuration).map(|value| Sourced::by(value, key)));
        own.or_else(|| self.global(of))
    }

    fn listen_port(&self, node: &str) -> Option<Sourced<u16>> {
        self.of_node(node, |c| c.listen_port)
    }

    /// 64512 unless said otherwise.
    fn asn(&self, setting: &Setting<'_>) -> Sourced<Asn> {
        self.global(|c| c.as_number).unwrap_or(Sourced::default(setting.asn))
    }

    fn mesh(&self) -> bool {
        self.global(|c| c.node_to_node_mesh_enabled).is_none_or(|enabled| enabled.value)
    }
}

/// The meaning of all objects for the node called `name`.
///
/// # Errors
/// There is no such node.
pub(super) fn meaning(store: &Store, name: &str, setting: &Setting<'_>) -> Result<Meaning, String> {
    let mut notes = Notes::default();
    let nodes = nodes(store, setting, &mut notes);
    let Some(own) = nodes.get(name) else { return Err(format!("there is no Node {name}")) };
    let configurations = Configurations::of(store, &mut notes);
    let node = own_node(name, own, &configurations, setting);
    let pools = pools(store, &configurations, &mut notes);
    let (sessions, static_routes) = peers::sessions(store, &nodes, &configurations, &node, setting, &mut notes);
    let used: BTreeSet<&str> = sessions.iter().flat_map(|s| &s.filters).map(String::as_str).collect();
    let ranges = Ranges::of_calico(configurations.default, setting, &mut notes);
    let (services, service_ranges) = services::meaning(store, &node, &ranges, setting, &mut notes);
    let listen_port = configurations.listen_port(name);
    let (filters, broken_filters) = filters::filters(store, &used, &mut notes);
    Ok(Meaning {
        listen: Listen { port: listen_port, addresses: bound_addresses(own, &configurations) },
        filters,
        broken_filters,
        sessions,
        static_routes,
        blocks: blocks(store, name, &pools, &mut notes),
        services,
        kept_out_of_kernel: kept_out(&pools, service_ranges),
        next_hops_kept_out: wireguard_peers(own, &nodes),
        communities: communities(name, &configurations, &mut notes),
        ignored_interfaces: ignored_interfaces(&configurations),
        priority: priorities(&configurations),
        log_level: configurations.of_node(name, |c| log_level(&c.log_severity_screen)),
        pools,
        notes: notes.0,
        node,
    })
}

/// All nodes: as Calico has them, and as annotations of the core's.
fn nodes<'a>(store: &'a Store, setting: &Setting<'_>, notes: &mut Notes) -> BTreeMap<&'a str, Facts<'a>> {
    let mut all: BTreeMap<&str, Facts<'_>> = BTreeMap::new();
    for (key, node) in store.nodes() {
        all.insert(&key.name, annotated(key, node, setting, notes));
    }
    for (key, node) in store.calico_nodes() {
        all.insert(&key.name, own_object(key, node, notes));
    }
    all
}

fn annotated<'a>(key: &Key, node: &'a Node, setting: &Setting<'_>, notes: &mut Notes) -> Facts<'a> {
    let annotation = |name: &str| node.metadata.annotations.get(&format!("projectcalico.org/{name}")).map_or("", String::as_str);
    let asn = Some(annotation("ASNumber")).filter(|text| !text.is_empty()).and_then(|text| {
        let number = asn_text(text);
        if number.is_none() {
            notes.push(key, format!("annotation projectcalico.org/ASNumber `{text}` is no AS number"));
        }
        number.map(Asn)
    });
    let wireguard = ["IPv4WireguardInterfaceAddr", "IPv6WireguardInterfaceAddr"].map(|name| !annotation(name).is_empty());
    let texts = [annotation("IPv4Address"), annotation("IPv6Address"), annotation("RouteReflectorClusterID")];
    let facts = facts(key, texts, asn, wireguard, &node.metadata.labels, notes);
    Facts { drain_why: leaving::why(node, setting), shuts_down: leaving::shuts_down(node), ..facts }
}

fn own_object<'a>(key: &Key, node: &'a CalicoNode, notes: &mut Notes) -> Facts<'a> {
    let bgp = &node.spec.bgp;
    let wireguard = [&node.spec.wireguard.ipv4, &node.spec.wireguard.ipv6].map(|address| !address.is_empty());
    facts(key, [&bgp.ipv4_address, &bgp.ipv6_address, &bgp.cluster_id], bgp.as_number, wireguard, &node.metadata.labels, notes)
}

fn facts<'a>(key: &Key, texts: [&str; 3], asn: Option<Asn>, wireguard: [bool; 2], labels: &'a Words, notes: &mut Notes) -> Facts<'a> {
    let [ipv4, ipv6, cluster_id] = texts;
    // With its subnet, or without.
    let mut interface = |field, text: &str| {
        let long = if text.contains('/') {
            text.to_owned()
        } else {
            text.parse::<IpAddr>().map_or(text.to_owned(), |a| IpNet::from(a).to_string())
        };
        notes.parsed_net(key, field, &long)
    };
    let (v4, v6) = (interface("the IPv4 address", ipv4), interface("the IPv6 address", ipv6));
    let id = cluster_id.parse().ok().map(ClusterId);
    if id.is_none() && !cluster_id.is_empty() {
        notes.push(key, format!("cluster id `{cluster_id}` is not written as an IPv4 address"));
    }
    Facts {
        key: key.clone(),
        ipv4: v4.and_then(|net| if let IpAddr::V4(a) = net.addr() { Some((a, net.trunc())) } else { None }),
        ipv6: v6.and_then(|net| if let IpAddr::V6(a) = net.addr() { Some((a, net.trunc())) } else { None }),
        asn,
        cluster_id: id,
        wireguard,
        drain_why: None,
        shuts_down: false,
        labels,
    }
}

fn own_node(name: &str, own: &Facts<'_>, configurations: &Configurations<'_>, setting: &Setting<'_>) -> NodeMeaning {
    let excluded = services::are_excluded(own.labels);
    NodeMeaning {
        name: name.to_owned(),
        asn: own.asn.map_or_else(|| configurations.asn(setting), |asn| Sourced::by(asn, &own.key)),
        ipv4: own.ipv4.map(|(a, _)| Sourced::by(a, &own.key)),
        ipv6: own.ipv6.map(|(a, _)| Sourced::by(a, &own.key)),
        cluster_id: own.cluster_id.map(|id| Sourced::by(id, &own.key)),
        drain: own.drain_why.as_ref().map(|_| own.key.clone()),
        drain_why: own.drain_why.clone(),
        shuts_down: own.shuts_down,
        pods: None,
        services_excluded: excluded.then(|| own.key.clone()),
    }
}

fn bound_addresses(own: &Facts<'_>, configurations: &Configurations<'_>) -> Vec<Sourced<IpAddr>> {
    let bound = configurations.global(|c| (c.bind_mode == "NodeIP").then_some(()));
    bound.iter().flat_map(|bound| own.addresses().map(|a| Sourced { value: a, from: bound.from.clone() })).collect()
}

/// `None` where nothing is said; BIRD knew three levels only.
fn log_level(severity: &str) -> Option<LogLevel> {
    match severity.to_ascii_lowercase().as_str() {
        "" => None,
        "debug" => Some(LogLevel::Debug),
        "info" => Some(LogLevel::Info),
        "warning" | "warn" => Some(LogLevel::Warn),
        _ => Some(LogLevel::Error),
    }
}

fn priorities(configurations: &Configurations<'_>) -> Priorities {
    let default = Priorities::default();
    let of = |field: fn(&BgpConfiguration) -> Option<u32>, default: u32| configurations.global(field).map_or(default, |p| p.value);
    Priorities { ipv4: of(|c| c.ipv4_priority, default.ipv4), ipv6: of(|c| c.ipv6_priority, default.ipv6) }
}

fn ignored_interfaces(configurations: &Configurations<'_>) -> Vec<Sourced<String>> {
    let said =
        configurations.default.into_iter().flat_map(|(key, c)| c.ignored_interfaces.iter().map(|name| Sourced::by(name.clone(), key)));
    said.chain(["cali*", "kube-ipvs*"].map(|name| Sourced::default(name.to_owned()))).collect()
}

/// Which encapsulations' routes are written by us: those that BIRD wrote (IPIP, none).
fn writes(configurations: &Configurations<'_>, notes: &mut Notes) -> (bool, bool) {
    let said = configurations.global(|c| Some(c.program_cluster_routes.as_str()).filter(|text| !text.is_empty()));
    match said.as_ref().map_or("", |said| said.value) {
        "Disabled" => (false, false),
        "Enabled" => (true, true),
        "EnabledIPIPOnly" => (true, false),
        "" | "EnabledNoEncapOnly" => (false, true),
        other => {
            if let Some(from) = said.as_ref().and_then(|said| said.from.as_ref()) {
                notes.push(from, format!("programClusterRoutes `{other}` is not known, and counts as EnabledNoEncapOnly"));
            }
            (false, true)
        }
    }
}

fn pools(store: &Store, configurations: &Configurations<'_>, notes: &mut Notes) -> Vec<Pool> {
    let (ipip, plain) = writes(configurations, notes);
    let mut pools = Vec::new();
    for (key, pool) in store.ip_pools() {
        let Some(prefix) = notes.prefix(key, "cidr", &pool.cidr) else { continue };
        let encapsulation = match (pool.vxlan_mode.as_str(), pool.ipip_mode.as_str()) {
            ("Always" | "CrossSubnet", _) => Encapsulation::Vxlan,
            (_, "Always") => Encapsulation::Ipip,
            (_, "CrossSubnet") => Encapsulation::IpipCrossSubnet,
            _ => Encapsulation::None,
        };
        let written = match encapsulation {
            Encapsulation::None => plain,
            Encapsulation::Vxlan => false,
            Encapsulation::Ipip | Encapsulation::IpipCrossSubnet => ipip,
        };
        pools.push(Pool { prefix, encapsulation, exported: !pool.disable_bgp_export, written, from: key.clone() });
    }
    pools
}

fn pool_of<'p>(pools: &'p [Pool], net: &IpNet) -> Option<&'p Pool> {
    pools.iter().filter(|pool| pool.prefix.contains(net)).max_by_key(|pool| pool.prefix.prefix_len())
}

/// This node's blocks. One that is pending is not ours yet; one that is about to be given back is announced no more, and its blackhole stays
/// until it is gone (Calico lets its single addresses out then).
fn blocks(store: &Store, node: &str, pools: &[Pool], notes: &mut Notes) -> Vec<Block> {
    let mut blocks = Vec::new();
    for (key, affinity) in store.block_affinities().filter(|(_, a)| a.node == node && matches!(a.kind.as_str(), "" | "host")) {
        let Some(prefix) = notes.prefix(key, "cidr", &affinity.cidr) else { continue };
        let going = affinity.state == "pendingDeletion" || affinity.deleted;
        if affinity.state == "pending" {
            notes.push(key, "its state is pending: it is not announced before it is confirmed".to_owned());
            continue;
        }
        let announce = match () {
            () if going => Announce::Never,
            () if is_host(&prefix) => Announce::WithRoute,
            () => Announce::Always,
        };
        // Where Felix writes the routes of the pool, it writes the blackhole, too.
        let blackhole = !is_host(&prefix) && pool_of(pools, &prefix).is_none_or(|pool| pool.written);
        blocks.push(Block { prefix, announce, blackhole, from: key.clone() });
    }
    blocks
}

fn kept_out(pools: &[Pool], services: Vec<Sourced<IpNet>>) -> Vec<KeptOut> {
    let pools = pools.iter().filter(|pool| !pool.written).map(|pool| KeptOut {
        prefix: pool.prefix,
        why: "Felix writes the routes of this pool",
        from: pool.from.clone(),
    });
    let file = Key::new(Kind::BgpConfiguration, "", "default");
    let services = services.into_iter().map(|range| KeptOut {
        prefix: range.value,
        why: "addresses of services are kube-proxy's",
        from: range.from.unwrap_or_else(|| file.clone()),
    });
    pools.chain(services).collect()
}

/// Where both ends run WireGuard, Felix routes by it.
fn wireguard_peers(own: &Facts<'_>, nodes: &BTreeMap<&str, Facts<'_>>) -> Vec<Sourced<IpAddr>> {
    let of_family = |v6: bool| {
        let runs = move |facts: &Facts<'_>| facts.wireguard.get(usize::from(v6)).copied().unwrap_or_default();
        let others = nodes.values().filter(move |other| runs(own) && runs(other) && other.key != own.key);
        others.filter_map(move |other| other.address(v6).map(|a| Sourced::by(a, &other.key)))
    };
    of_family(false).chain(of_family(true)).collect()
}

/// The node's own list, if it has one, replaces the cluster's for both families; names of communities are those of the same object.
fn communities(node: &str, configurations: &Configurations<'_>, notes: &mut Notes) -> Vec<PrefixCommunities> {
    let own = configurations.by_node.get(node).filter(|(_, c)| c.prefix_advertisements.is_some());
    let Some((key, configuration)) = own.copied().or(configurations.default) else { return Vec::new() };
    let mut all = Vec::new();
    for advertisement in configuration.prefix_advertisements.iter().flatten() {
        let Some(prefix) = notes.prefix(key, "prefixAdvertisements.cidr", &advertisement.cidr) else { continue };
        let mut values = BTreeSet::new();
        for text in &advertisement.communities {
            let named = configuration.communities.iter().find(|named| named.name == *text).map(|named| named.value.as_str());
            match named.unwrap_or(text) {
                value if value.parse::<crate::policy::AnyCommunity>().is_ok() => drop(values.insert(value.to_owned())),
                value => notes.push(key, format!("prefixAdvertisements: `{value}` is neither a community nor the name of one")),
            }
        }
        if !values.is_empty() {
            all.push(PrefixCommunities { prefix, communities: values.into_iter().collect(), from: key.clone() });
        }
    }
    all
}

#[cfg(test)]
mod tests;
