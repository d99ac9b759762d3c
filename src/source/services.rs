//! Services: which of their addresses this node announces.
//!
//! In: Services, EndpointSlices, and the ranges that may be announced. Out: ranges that every node announces whole, single addresses, and the ranges of
//! which no learned route goes into the kernel, since kube-proxy is there.
//!
//! | a service | its addresses are announced by |
//! |---|---|
//! | `externalTrafficPolicy: Local` | nodes with an endpoint that is ready, or serves while it terminates where none of the node's is ready |
//! | an address that is configured alone (`/32`, `/128`), policy Cluster | all nodes |
//! | policy Cluster, aggregation switched off | all nodes, as long as an endpoint is ready anywhere |
//! | any other | nobody alone: it is in a range |
//!
//! A node that is excluded from load balancing announces none. One that leaves ([`leaving`](super::leaving)) announces those alone that nobody else takes:
//! of policy Local where no other node that stays has a ready endpoint, and all of them where no other node stays.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::Setting;
use super::leaving::Others;
use super::meaning::{NodeMeaning, Notes, ServiceAddress, Services, Sourced, host, is_host};
use super::object::{BgpConfiguration, Cidr, Endpoint, EndpointSlice, Key, Service, Words};
use super::store::Store;

/// What may be announced.
#[derive(Clone, Debug, Default)]
pub(super) struct Ranges {
    cluster: Vec<Sourced<IpNet>>,
    external: Vec<Sourced<IpNet>>,
    load_balancer: Vec<Sourced<IpNet>>,
    /// Addresses of load balancers are announced one by one.
    apart: bool,
}

impl Ranges {
    /// What BGPConfiguration says, and the file besides.
    pub fn of_calico(configuration: Option<(&Key, &BgpConfiguration)>, setting: &Setting<'_>, notes: &mut Notes) -> Ranges {
        let mut ranges = Ranges::of_file(setting);
        let Some((key, c)) = configuration else { return ranges };
        let mut read = |into: &mut Vec<Sourced<IpNet>>, field: &str, list: &[Cidr]| {
            into.extend(list.iter().filter_map(|c| notes.prefix(key, field, &c.cidr)).map(|net| Sourced::by(net, key)));
        };
        read(&mut ranges.cluster, "serviceClusterIPs", &c.service_cluster_ips);
        read(&mut ranges.external, "serviceExternalIPs", &c.service_external_ips);
        read(&mut ranges.load_balancer, "serviceLoadBalancerIPs", &c.service_load_balancer_ips);
        ranges.apart |= c.service_load_balancer_aggregation == "Disabled";
        ranges
    }

    pub fn of_file(setting: &Setting<'_>) -> Ranges {
        let said = |list: &[IpNet]| list.iter().map(|net| Sourced::default(net.trunc())).collect();
        let services = setting.services;
        Ranges {
            cluster: said(&services.cluster),
            external: said(&services.external),
            load_balancer: said(&services.load_balancer),
            apart: !services.aggregate,
        }
    }

    fn is_empty(&self) -> bool {
        self.cluster.is_empty() && self.external.is_empty() && self.load_balancer.is_empty()
    }
}

fn inside(ranges: &[Sourced<IpNet>], address: IpAddr) -> bool {
    ranges.iter().any(|range| range.value.contains(&address))
}

fn named_alone(ranges: &[Sourced<IpNet>], address: IpAddr) -> bool {
    ranges.iter().any(|range| range.value == host(address))
}

/// The label by which Kubernetes keeps a node out of load balancing.
pub(super) fn are_excluded(labels: &Words) -> bool {
    labels.get("node.kubernetes.io/exclude-from-external-load-balancers").is_some_and(|value| value == "true")
}

/// What this node announces, and of which ranges it writes no learned route.
pub(super) fn meaning(
    store: &Store,
    node: &NodeMeaning,
    allowed: &Ranges,
    setting: &Setting<'_>,
    notes: &mut Notes,
) -> (Services, Vec<Sourced<IpNet>>) {
    if allowed.is_empty() {
        return (Services::default(), Vec::new());
    }
    let wide = |list: &[Sourced<IpNet>]| list.iter().filter(|range| !is_host(&range.value)).cloned().collect::<Vec<_>>();
    let balancers = if allowed.apart { Vec::new() } else { wide(&allowed.load_balancer) };
    let whole: Vec<Sourced<IpNet>> = [allowed.cluster.clone(), wide(&allowed.external), balancers].concat();
    let reflected = if node.cluster_id.is_some() { [allowed.load_balancer.clone(), allowed.external.clone()].concat() } else { Vec::new() };
    if node.services_excluded.is_some() {
        return (Services { reflected, ..Services::default() }, whole);
    }
    let others = node.drain.as_ref().map(|_| Others::of(store, &node.name, setting));
    let (addresses, mut leaving) = addresses(store, &node.name, allowed, others.as_ref(), notes);
    let ranges = match others {
        Some(others) if others.any => {
            leaving.extend(whole.iter().map(|range| range.value));
            Vec::new()
        }
        _ => whole.clone(),
    };
    (Services { ranges, addresses, reflected, leaving }, whole)
}

/// Each address once, with all the services that want it; and those that go since the node leaves.
fn addresses(
    store: &Store,
    node: &str,
    allowed: &Ranges,
    others: Option<&Others<'_>>,
    notes: &mut Notes,
) -> (Vec<ServiceAddress>, Vec<IpNet>) {
    let mut found: BTreeMap<IpNet, Vec<Key>> = BTreeMap::new();
    let mut leaving: BTreeSet<IpNet> = BTreeSet::new();
    let slices = slices(store);
    for (key, service) in store.services() {
        let slices = slices.get(&(key.namespace.as_str(), key.name.as_str())).map_or(&[][..], Vec::as_slice);
        if !is_announced(service, slices, node, allowed) {
            continue;
        }
        let leaves = others.is_some_and(|others| is_taken_by(others, service, slices, node));
        for address in announced_addresses(key, service, allowed, notes) {
            if leaves {
                leaving.insert(host(address));
                continue;
            }
            let wanted = found.entry(host(address)).or_default();
            if !wanted.contains(key) {
                wanted.push(key.clone());
            }
        }
    }
    leaving.retain(|address| !found.contains_key(address));
    (found.into_iter().map(|(prefix, from)| ServiceAddress { prefix, from }).collect(), leaving.into_iter().collect())
}

/// A node that leaves is not needed for it: another one that stays takes its packets.
fn is_taken_by(others: &Others<'_>, service: &Service, slices: &[&EndpointSlice], node: &str) -> bool {
    let elsewhere = |e: &Endpoint| e.conditions.ready.unwrap_or(true) && e.node_name != node && !others.idle.contains(e.node_name.as_str());
    let local = service.spec.external_traffic_policy == "Local";
    if local { slices.iter().flat_map(|slice| &slice.endpoints).any(elsewhere) } else { others.any }
}

/// The slices of each service, by namespace and name.
fn slices(store: &Store) -> BTreeMap<(&str, &str), Vec<&EndpointSlice>> {
    let mut all: BTreeMap<(&str, &str), Vec<&EndpointSlice>> = BTreeMap::new();
    for (key, slice) in store.endpoint_slices() {
        if let Some(service) = slice.metadata.labels.get("kubernetes.io/service-name") {
            all.entry((&key.namespace, service)).or_default().push(slice);
        }
    }
    all
}

fn is_announced(service: &Service, slices: &[&EndpointSlice], node: &str, allowed: &Ranges) -> bool {
    let spec = &service.spec;
    let has_address = !matches!(spec.cluster_ip.as_str(), "" | "None");
    if !matches!(spec.kind.as_str(), "" | "ClusterIP" | "NodePort" | "LoadBalancer") || !has_address || slices.is_empty() {
        return false;
    }
    let families: Vec<&str> = cluster_ips(service).map(|ip| if ip.contains(':') { "IPv6" } else { "IPv4" }).collect();
    let endpoints: Vec<&Endpoint> =
        slices.iter().filter(|slice| families.contains(&slice.address_type.as_str())).flat_map(|slice| &slice.endpoints).collect();
    let is_ready = |endpoint: &&&Endpoint| endpoint.conditions.ready.unwrap_or(true);
    if spec.external_traffic_policy == "Local" {
        let here: Vec<&&Endpoint> = endpoints.iter().filter(|endpoint| endpoint.node_name == node).collect();
        let ready = here.iter().any(is_ready);
        let last = |e: &&&Endpoint| e.conditions.serving.unwrap_or(true) && e.conditions.terminating.unwrap_or(false);
        return ready || here.iter().any(last);
    }
    (allowed.apart && endpoints.iter().any(|endpoint| is_ready(&endpoint))) || is_named_alone(service, allowed)
}

/// Policy Cluster, and one of its addresses is configured by itself.
fn is_named_alone(service: &Service, allowed: &Ranges) -> bool {
    let alone = |ranges: &[Sourced<IpNet>], text: &str| text.parse().is_ok_and(|address| named_alone(ranges, address));
    let spec = &service.spec;
    let ingress = service.status.load_balancer.ingress.iter().map(|ingress| ingress.ip.as_str());
    let mut balancers = ingress.chain([spec.load_balancer_ip.as_str()]);
    spec.external_traffic_policy == "Cluster"
        && (spec.kind == "LoadBalancer" && balancers.any(|text| alone(&allowed.load_balancer, text))
            || spec.external_ips.iter().any(|text| alone(&allowed.external, text)))
}

fn cluster_ips(service: &Service) -> impl Iterator<Item = &str> {
    let several = service.spec.cluster_ips.iter().map(String::as_str);
    let one = std::iter::once(service.spec.cluster_ip.as_str()).filter(|_| service.spec.cluster_ips.is_empty());
    several.chain(one)
}

/// The addresses of a service that may be announced.
fn announced_addresses(key: &Key, service: &Service, allowed: &Ranges, notes: &mut Notes) -> Vec<IpAddr> {
    let mut addresses: Vec<IpAddr> = Vec::new();
    if !allowed.cluster.is_empty() {
        addresses.extend(cluster_ips(service).filter_map(|text| text.parse::<IpAddr>().ok()));
    }
    let ingress =
        service.status.load_balancer.ingress.iter().map(|ingress| (&ingress.ip, "status.loadBalancer.ingress", &allowed.load_balancer));
    let external = service.spec.external_ips.iter().map(|ip| (ip, "spec.externalIPs", &allowed.external));
    for (text, field, ranges) in external.chain(ingress) {
        match notes.address(key, field, text) {
            Some(address) if inside(ranges, address) => addresses.push(address),
            Some(address) => notes.push(key, format!("{field}: {address} is in no range that may be announced")),
            None => {}
        }
    }
    addresses
}
