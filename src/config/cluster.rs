//! The sessions that follow from the cluster's list of nodes.
//!
//! In: `[cluster]` and which of its nodes we are. Out: one [`Session`] for each node that we peer with.
//!
//! Full mesh: every node without a cluster id peers with every other such node. Route reflection (RFC 4456): nodes with a cluster id
//! reflect and peer with everybody, the others with the reflectors alone; reflectors with the same cluster id are not each other's clients.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::Config;
use super::model::{ChainRef, Cluster, Member, Mode, Node, Session};
use super::raw::{Raw, RawCluster, RawMember, Settings};
use super::report::{At, Problem};
use super::validate::{Validator, by_family, or};
use super::values::ZonedAddr;
use crate::num::Asn;
use crate::peer::{PeerKind, RemoteAs};

/// Which entry of the list is this node: by name, by address, or by host name, in this order.
pub(super) fn find_self(raw: &Raw, validator: &Validator<'_>) -> Option<usize> {
    let cluster = raw.cluster.as_ref()?;
    if raw.kubernetes.is_some() {
        return None;
    }
    duplicates(cluster, validator);
    let named = |name: &str| cluster.nodes.iter().position(|m| m.name.as_ref().is_some_and(|n| n.value == name));
    let by_name = raw.node.name.as_ref().and_then(|name| named(&name.value));
    let by_address = || {
        let own: Vec<IpAddr> = raw.node.addresses.iter().flat_map(|list| &list.value).map(|a| a.value).collect();
        cluster.nodes.iter().position(|m| m.addresses.iter().flat_map(|list| &list.value).any(|a| own.contains(&a.value)))
    };
    let by_host = || validator.environment.hostname.as_deref().filter(|_| raw.node.name.is_none()).and_then(named);
    let found = by_name.or_else(by_address).or_else(by_host);
    if found.is_none() {
        let known = cluster.nodes.iter().filter_map(|m| m.name.as_ref()).map(|n| n.value.clone()).collect();
        let typed = raw.node.name.as_ref().map(|n| n.value.clone());
        let name = typed.or_else(|| validator.environment.hostname.clone()).unwrap_or_default();
        let span = raw.node.name.as_ref().map_or_else(|| cluster.span.clone(), |n| n.span.clone());
        validator.diagnostics.report(span, Problem::NotInCluster { name, known });
    }
    found
}

/// Two nodes of one name or address.
fn duplicates(cluster: &RawCluster, validator: &Validator<'_>) {
    let mut names = BTreeMap::new();
    let mut addresses = BTreeMap::new();
    for member in &cluster.nodes {
        if let Some(name) = &member.name
            && let Some(first) = names.insert(name.value.clone(), name.span.clone())
        {
            let problem = Problem::Duplicate { kind: "node", what: name.value.clone() };
            validator.diagnostics.report_with(name.span.clone(), problem, first, "first here");
        }
        for address in member.addresses.iter().flat_map(|list| &list.value) {
            if let Some(first) = addresses.insert(address.value, address.span.clone()) {
                let problem = Problem::Duplicate { kind: "node address", what: address.value.to_string() };
                validator.diagnostics.report_with(address.span.clone(), problem, first, "first here");
            }
        }
    }
}

fn mode(cluster: &RawCluster) -> Mode {
    or(&cluster.mode, Mode::FullMesh)
}

impl Config {
    /// There is a list of nodes, and this node is not in it.
    pub fn waits_to_be_listed(&self) -> bool {
        self.cluster.as_ref().is_some_and(|cluster| !cluster.listed)
    }

    /// That it is so, in words for operators.
    pub fn unlisted_warning(&self) -> Option<String> {
        let name = &self.node.name;
        let text = || {
            format!(
                "this node, `{name}`, is not in the cluster's list: it has no sessions with the cluster until the list names it ([cluster] nodes)"
            )
        };
        self.waits_to_be_listed().then(text)
    }
}

/// The cluster's shape as this node sees it.
pub(super) fn cluster(raw: &Raw, me: Option<usize>) -> Option<Cluster> {
    let cluster = raw.cluster.as_ref().filter(|_| raw.kubernetes.is_none())?;
    let member = me.and_then(|index| cluster.nodes.get(index));
    Some(Cluster {
        mode: mode(cluster),
        cluster_id: member.and_then(|m| m.cluster_id.as_ref()).map(|id| id.value),
        members: cluster.nodes.iter().map(model_member).collect(),
        listed: me.is_some(),
    })
}

fn model_member(raw: &RawMember) -> Member {
    let name = raw.name.as_ref().map(|name| name.value.clone()).unwrap_or_default();
    Member { name, addresses: raw.addresses.iter().flat_map(|list| &list.value).map(|at| at.value).collect() }
}

/// One session for each node that we peer with.
pub(super) fn sessions(raw: &Raw, me: Option<usize>, node: &Node, validator: &Validator<'_>) -> Vec<Session> {
    let (Some(cluster), Some(index)) = (raw.cluster.as_ref(), me) else { return Vec::new() };
    let Some(own) = cluster.nodes.get(index) else { return Vec::new() };
    if mode(cluster) == Mode::RouteReflector && !cluster.nodes.iter().any(|m| m.cluster_id.is_some()) {
        let why = "in mode \"route-reflector\" at least one node has a `cluster_id`, or nobody peers with anybody";
        validator
            .diagnostics
            .report(cluster.span.clone(), Problem::Missing { key: "cluster_id", section: "[[cluster.nodes]]".into(), why });
    }
    let others = cluster.nodes.iter().enumerate().filter(|(other, _)| *other != index).map(|(_, member)| member);
    others.filter_map(|member| session(cluster, own, member, node, validator)).collect()
}

fn session(cluster: &RawCluster, own: &RawMember, member: &RawMember, node: &Node, validator: &Validator<'_>) -> Option<Session> {
    let (kind, client) = relation(mode(cluster), own.cluster_id.is_some(), member.cluster_id.is_some())?;
    let name = member.name.as_ref()?.value.clone();
    let theirs: Vec<IpAddr> = member.addresses.iter().flat_map(|list| &list.value).map(|a| a.value).collect();
    let addr = shared_address(&theirs, node.ipv4.is_some(), node.ipv6.is_some()).or_else(|| {
        let what = format!("{name} and this node have no address family in common");
        let help = "give both an IPv4 or both an IPv6 address; no session is made until then".to_owned();
        validator.diagnostics.report(member.span.clone(), Problem::Odd { what, help });
        None
    })?;
    let remote_asn = RemoteAs::Exactly(member.asn.as_ref().or(cluster.asn.as_ref()).map_or(node.asn, |asn: &At<Asn>| asn.value));
    let mut settings = with_policy(&cluster.settings, own.cluster_id.is_some());
    settings.port = member.port.clone().or(settings.port);
    let mut options = validator.peer_options(&settings, remote_asn, node, &member.span, &name);
    options.rr_client = client;
    options.source = options.source.or(match addr {
        IpAddr::V4(_) => node.ipv4.map(IpAddr::V4),
        IpAddr::V6(_) => node.ipv6.map(IpAddr::V6),
    });
    debug_assert_ne!(options.import, ChainRef::Missing);
    Some(Session { name, kind, remote: ZonedAddr { addr, zone: None }, remote_asn, options })
}

/// A cluster's nodes are meant to hear each other, whatever their AS: its default policy is a policy (RFC 8212).
pub(super) fn with_policy(settings: &Settings, reflects: bool) -> Settings {
    let mut settings = settings.clone();
    let list = |name: &str| At::new(vec![At::new(name.to_owned(), 0..0)], 0..0);
    settings.import.get_or_insert_with(|| list("all"));
    settings.export.get_or_insert_with(|| list(if reflects { "all" } else { "own-blocks" }));
    settings
}

/// What a node is to us, and whether we reflect to it as a client, by which of both reflect; `None`: no session.
pub(crate) fn relation(mode: Mode, own_reflects: bool, other_reflects: bool) -> Option<(PeerKind, bool)> {
    match (mode, own_reflects, other_reflects) {
        (Mode::FullMesh, false, false) => Some((PeerKind::Mesh, false)),
        (Mode::FullMesh, _, _) | (Mode::RouteReflector, false, false) => None,
        (Mode::RouteReflector, true, false) => Some((PeerKind::RrClient, true)),
        (Mode::RouteReflector, _, true) => Some((PeerKind::Rr, false)),
    }
}

/// IPv4 if both have it, else IPv6 if both have it.
pub(crate) fn shared_address(theirs: &[IpAddr], own_v4: bool, own_v6: bool) -> Option<IpAddr> {
    let (v4, v6) = by_family(theirs);
    let over_v4 = v4.filter(|_| own_v4).map(IpAddr::V4);
    over_v4.or_else(|| v6.filter(|_| own_v6).map(IpAddr::V6))
}
