//! Which sessions a node of Calico has: the mesh, and what BGPPeers say, of itself and as mirrors of what others have.
//!
//! In: the nodes, BGPPeer, Secret, and the files that name local workloads. Out: sessions, by name, and the routes that lead to their addresses.
//!
//! A neighbour is an address and a port. Of several objects that speak of one, those for all nodes come first, then those for some, then mirrors;
//! among equals the first by name. Names (`Mesh_`, `Global_`, `Node_`, `Local_Workload_` and the address) are read by Calico's tools.
//!
//! Addresses are compared as such: where Calico compares text, another spelling of an IPv6 address loses port, passive side and mirror.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::super::meaning::{Families, NextHopMode, NodeMeaning, Notes, PasswordSource, Session, SessionKind, StaticRoute, host};
use super::super::object::{BgpPeer, Key, PasswordRef};
use super::super::selector::Selector;
use super::super::store::Store;
use super::super::{Setting, secrets};
use super::{Configurations, Facts};
use crate::num::{Asn, ClusterId};

/// Everything that is asked for on the way.
struct Peering<'a> {
    store: &'a Store,
    nodes: &'a BTreeMap<&'a str, Facts<'a>>,
    configurations: &'a Configurations<'a>,
    own: &'a NodeMeaning,
    setting: &'a Setting<'a>,
}

/// Whom a BGPPeer means.
struct Remote {
    address: IpAddr,
    /// 0: nobody says one.
    port: u16,
    asn: Asn,
    cluster_id: Option<ClusterId>,
    /// A node of Calico's has this address.
    is_node: bool,
    /// Given by its address, not by a selector.
    by_address: bool,
}

/// A BGPPeer whose selectors could be read.
struct Peer<'a> {
    key: &'a Key,
    spec: &'a BgpPeer,
    nodes: Option<Selector>,
    peers: Option<Selector>,
}

impl Peer<'_> {
    fn is_global(&self) -> bool {
        self.nodes.is_none() && self.spec.node.is_empty()
    }

    fn is_workload(&self) -> bool {
        !self.spec.local_workload_selector.is_empty()
    }

    /// The nodes on our side of it.
    fn is_for(&self, name: &str, facts: &Facts<'_>) -> bool {
        match &self.nodes {
            Some(selector) => selector.matches(facts.labels),
            None => self.spec.node.is_empty() || self.spec.node == name,
        }
    }
}

type Found = BTreeMap<(IpAddr, u16), (Session, Option<StaticRoute>)>;

/// See the module.
pub(super) fn sessions<'a>(
    store: &'a Store,
    nodes: &'a BTreeMap<&'a str, Facts<'a>>,
    configurations: &'a Configurations<'a>,
    own: &'a NodeMeaning,
    setting: &'a Setting<'a>,
    notes: &mut Notes,
) -> (Vec<Session>, Vec<StaticRoute>) {
    let peering = Peering { store, nodes, configurations, own, setting };
    let peers: Vec<Peer<'_>> = store.bgp_peers().filter_map(|(key, spec)| readable(key, spec, notes)).collect();
    peering.name_missing_filters(&peers, notes);
    let mut found: Found = BTreeMap::new();
    for of_all in [true, false] {
        for peer in peers.iter().filter(|peer| peer.is_global() == of_all) {
            peering.forward(peer, &mut found, notes);
        }
    }
    for peer in peers.iter().filter(|peer| !peer.is_workload() && peer.spec.reverse_peering != "Manual") {
        peering.mirror(peer, &mut found, notes);
    }
    let (mut sessions, routes): (Vec<Session>, Vec<Option<StaticRoute>>) = found.into_values().unzip();
    sessions.extend(peering.mesh(notes));
    sessions.sort_by(|a, b| a.name.cmp(&b.name));
    supersede(&mut sessions);
    (sessions, routes.into_iter().flatten().collect())
}

/// One address is one neighbour to us, where BIRD has a protocol for each port, and one for the mesh besides. What a BGPPeer says counts more than
/// the mesh, and of several the first by name.
fn supersede(sessions: &mut [Session]) {
    let mut first: BTreeMap<IpAddr, (bool, String)> = BTreeMap::new();
    for session in sessions.iter() {
        let rank = (session.kind == SessionKind::Mesh, session.name.clone());
        let best = first.entry(session.address).or_insert_with(|| rank.clone());
        if rank < *best {
            *best = rank;
        }
    }
    for session in sessions {
        let best = first.get(&session.address).map(|(_, name)| name).filter(|name| **name != session.name);
        session.superseded_by = best.cloned();
    }
}

fn readable<'a>(key: &'a Key, spec: &'a BgpPeer, notes: &mut Notes) -> Option<Peer<'a>> {
    let mut selector = |field: &str, text: &str| match Selector::calico(text) {
        _ if text.is_empty() => Some(None),
        Ok(selector) => Some(Some(selector)),
        Err(why) => {
            notes.push(key, format!("{field} `{text}` is no selector: {why}"));
            None
        }
    };
    let (nodes, peers) = (selector("nodeSelector", &spec.node_selector)?, selector("peerSelector", &spec.peer_selector)?);
    Some(Peer { key, spec, nodes, peers })
}

/// `10.0.0.1`, `10.0.0.1:179`, `fd00::1`, `[fd00::1]:179`.
fn address_and_port(text: &str) -> Option<(IpAddr, u16)> {
    if let Ok(address) = text.parse() {
        return Some((address, 0));
    }
    let socket: std::net::SocketAddr = text.parse().ok()?;
    Some((socket.ip(), socket.port()))
}

impl<'a> Peering<'a> {
    fn own_address(&self, v6: bool) -> Option<IpAddr> {
        let (v4, six) = (self.own.ipv4.as_ref().map(|a| IpAddr::V4(a.value)), self.own.ipv6.as_ref().map(|a| IpAddr::V6(a.value)));
        if v6 { six } else { v4 }
    }

    /// A session for each other node, unless one of both reflects.
    fn mesh(&self, notes: &mut Notes) -> Vec<Session> {
        if self.own.cluster_id.is_some() || !self.configurations.mesh() {
            return Vec::new();
        }
        let reference = self.configurations.global(|c| c.node_mesh_password.as_ref());
        let password = reference.and_then(|r| self.password(r.from.as_ref()?, r.value, notes));
        let restart = self.configurations.global(|c| c.node_mesh_max_restart_time).map(|t| t.value);
        let mut sessions = Vec::new();
        for (name, other) in self.nodes.iter().filter(|(name, other)| **name != self.own.name && other.cluster_id.is_none()) {
            for address in other.addresses() {
                let Some(source) = self.own_address(address.is_ipv6()).filter(|own| *own != address) else { continue };
                let port = self.configurations.listen_port(name).map(|port| port.value);
                // The local node's AS, not the cluster's, where the other says none of its own.
                let asn = other.asn.unwrap_or(self.own.asn.value);
                sessions.push(Session {
                    name: name_of(SessionKind::Mesh, address, 0),
                    port,
                    passive: address.to_string() > source.to_string(),
                    source: Some(source),
                    password: password.clone(),
                    graceful_restart_seconds: Some(restart.unwrap_or(120)),
                    ..plain(SessionKind::Mesh, address, asn, self.own.asn.value, &other.key)
                });
            }
        }
        sessions
    }

    /// What a BGPPeer says of this node.
    fn forward(&self, peer: &Peer<'a>, found: &mut Found, notes: &mut Notes) {
        let is_ours = self.nodes.get(self.own.name.as_str()).is_some_and(|facts| peer.is_for(&self.own.name, facts));
        if !is_ours {
            return;
        }
        if peer.is_workload() {
            return self.workloads(peer, found, notes);
        }
        let kind = if peer.is_global() { SessionKind::Global } else { SessionKind::Node };
        let remotes = match &peer.peers {
            Some(selector) => self.selected(selector),
            None => self.by_address(peer, notes).into_iter().collect(),
        };
        for remote in remotes {
            self.emit(peer, kind, &remote, found, notes);
        }
    }

    /// What a BGPPeer of others means for this node.
    fn mirror(&self, peer: &Peer<'a>, found: &mut Found, notes: &mut Notes) {
        let Some(own) = self.nodes.get(self.own.name.as_str()) else { return };
        let (is_meant, family) = match &peer.peers {
            Some(selector) => (selector.matches(own.labels), None),
            None => match address_and_port(&peer.spec.peer_ip) {
                Some((address, port)) => (self.is_at(&self.own.name, own, address, peer.spec.as_number, port), Some(address.is_ipv6())),
                None => return,
            },
        };
        if !is_meant {
            return;
        }
        for (name, other) in self.nodes.iter().filter(|(name, other)| peer.is_for(name, other)) {
            let remotes = self.as_remotes(name, other);
            for remote in remotes.filter(|remote| family.is_none_or(|v6| v6 == remote.address.is_ipv6())) {
                self.emit(peer, SessionKind::Node, &remote, found, notes);
            }
        }
    }

    fn selected(&self, selector: &Selector) -> Vec<Remote> {
        let meant = self.nodes.iter().filter(|(_, facts)| selector.matches(facts.labels));
        meant.flat_map(|(name, facts)| self.as_remotes(name, facts)).collect()
    }

    fn as_remotes<'n>(&'n self, name: &str, facts: &'n Facts<'_>) -> impl Iterator<Item = Remote> + use<'n, 'a> {
        let port = self.configurations.listen_port(name).map_or(0, |port| port.value);
        let asn = facts.asn.unwrap_or_else(|| self.configurations.asn(self.setting).value);
        let remote = move |address| Remote { address, port, asn, cluster_id: facts.cluster_id, is_node: true, by_address: false };
        facts.addresses().map(remote)
    }

    fn by_address(&self, peer: &Peer<'_>, notes: &mut Notes) -> Option<Remote> {
        let Some((address, port)) = address_and_port(&peer.spec.peer_ip) else {
            notes.push(peer.key, format!("peerIP `{}` is no address, nor an address and a port", peer.spec.peer_ip));
            return None;
        };
        let asn = peer.spec.as_number;
        let owner = self.nodes.iter().find(|(name, facts)| self.is_at(name, facts, address, asn, port));
        let inherited = || owner.and_then(|(name, _)| self.configurations.listen_port(name)).map_or(0, |port| port.value);
        Some(Remote {
            address,
            port: if port == 0 { inherited() } else { port },
            asn: asn.unwrap_or_else(|| self.configurations.asn(self.setting).value),
            cluster_id: None,
            is_node: self.nodes.values().any(|facts| facts.addresses().any(|a| a == address)),
            by_address: true,
        })
    }

    /// Is this the node at that address, in that AS, listening there as far as both say where?
    fn is_at(&self, name: &str, facts: &Facts<'_>, address: IpAddr, asn: Option<Asn>, port: u16) -> bool {
        let global = self.configurations.asn(self.setting).value;
        let listens = self.configurations.listen_port(name);
        facts.addresses().any(|a| a == address)
            && facts.asn.unwrap_or(global) == asn.unwrap_or(global)
            && (port == 0 || listens.is_none_or(|listens| listens.value == port))
    }

    fn emit(&self, peer: &Peer<'_>, kind: SessionKind, remote: &Remote, found: &mut Found, notes: &mut Notes) {
        let v6 = remote.address.is_ipv6();
        if self.own_address(v6) == Some(remote.address) {
            return;
        }
        let spec = peer.spec;
        let Some(own) = self.own_address(v6) else {
            notes.push(peer.key, format!("this node has no address of the family of {}: no session", remote.address));
            return;
        };
        let via = self.reachable_by(peer, remote, notes);
        let via = match via {
            Ok(via) => via,
            Err(()) => return,
        };
        let place = (remote.address, remote.port);
        if let Some((first, _)) = found.get(&place) {
            if first.from != *peer.key {
                notes.push(peer.key, format!("{} is a neighbour by {} already", remote.address, first.from));
            }
            return;
        }
        let local_asn = spec.local_as_number.filter(|_| remote.by_address).unwrap_or(self.own.asn.value);
        let internal = remote.asn == local_asn;
        let client = internal && self.own.cluster_id.as_ref().is_some_and(|own| remote.cluster_id != Some(own.value));
        let session = Session {
            name: name_of(kind, remote.address, remote.port),
            port: Some(remote.port).filter(|port| *port != 0),
            passive: kind == SessionKind::Global && remote.by_address && remote.is_node && remote.address.to_string() > own.to_string(),
            rr_client: client,
            reflector: remote.cluster_id.is_some(),
            password: spec.password.as_ref().and_then(|reference| self.password(peer.key, reference, notes)),
            ttl_security: spec.ttl_security.filter(|hops| *hops > 0),
            multihop: spec.ttl_security.is_none_or(|hops| hops == 0).then_some(64),
            source: Some(own).filter(|_| spec.source_address != "None"),
            graceful_restart_seconds: Some(spec.max_restart_time.unwrap_or(120)),
            keepalive_seconds: spec.keepalive_time,
            next_hop: next_hop(spec, remote.by_address && !internal),
            allow_own_as: if remote.by_address { spec.allowed_local_as } else { 0 },
            filters: spec.filters.clone(),
            ..plain(kind, remote.address, remote.asn, local_asn, peer.key)
        };
        found.insert(place, (session, via));
    }

    /// The route to the neighbour, if one is asked for; another family in the object leaves it out as a whole, in a mirror the route alone.
    fn reachable_by(&self, peer: &Peer<'_>, remote: &Remote, notes: &mut Notes) -> Result<Option<StaticRoute>, ()> {
        let text = &peer.spec.reachable_by;
        let Some(via) = notes.address(peer.key, "reachableBy", text) else { return Ok(None) };
        if via.is_ipv6() == remote.address.is_ipv6() {
            return Ok(Some(StaticRoute { prefix: host(remote.address), via, from: peer.key.clone() }));
        }
        if remote.by_address {
            notes.push(peer.key, format!("reachableBy {via} is not of the family of peerIP {}: no session", remote.address));
            return Err(());
        }
        Ok(None)
    }

    /// Peers inside local workloads: Felix's files say which. Of the object they take the AS numbers and the filters.
    fn workloads(&self, peer: &Peer<'_>, found: &mut Found, notes: &mut Notes) {
        let asn = peer.spec.as_number.unwrap_or_else(|| self.configurations.asn(self.setting).value);
        for (status, workload) in self.store.endpoint_statuses().filter(|(_, w)| w.bgp_peer_name == peer.key.name) {
            let nets = [&workload.ipv4_nets, &workload.ipv6_nets].map(|nets| nets.first());
            for address in nets.into_iter().flatten().filter_map(|net| notes.prefix(status, "nets", net)).map(|net| net.addr()) {
                let local_asn = peer.spec.local_as_number.unwrap_or(self.own.asn.value);
                let internal_client = asn == local_asn && self.own.cluster_id.is_some();
                let session = Session {
                    name: name_of(SessionKind::LocalWorkload, address, 0),
                    passive: true,
                    rr_client: internal_client,
                    filters: peer.spec.filters.clone(),
                    ..plain(SessionKind::LocalWorkload, address, asn, local_asn, peer.key)
                };
                found.entry((address, 0)).or_insert((session, None));
            }
        }
    }

    fn password(&self, from: &Key, reference: &PasswordRef, notes: &mut Notes) -> Option<PasswordSource> {
        let reference = reference.secret_key_ref.as_ref()?;
        let source = secrets::password(self.store, self.setting.namespace, &reference.name, &reference.key);
        if let Err(why) = &source.secret {
            notes.push(from, format!("no password in {}: {why}; its sessions stay down", source.place));
        }
        Some(source)
    }

    fn name_missing_filters(&self, peers: &[Peer<'_>], notes: &mut Notes) {
        let known = self.store.bgp_filters().map(|(key, _)| key.name.as_str());
        let known: BTreeSet<&str> = known.chain(self.store.unreadable().map(|(key, _)| key.name.as_str())).collect();
        for peer in peers {
            for name in peer.spec.filters.iter().filter(|name| !known.contains(name.as_str())) {
                notes.push(peer.key, format!("there is no BGPFilter {name}: it is passed over"));
            }
        }
    }
}

/// `keepOriginalNextHop` counts towards external neighbours that are given by address.
fn next_hop(spec: &BgpPeer, external_by_address: bool) -> NextHopMode {
    match spec.next_hop_mode.as_str() {
        "Self" => NextHopMode::Own,
        "Keep" => NextHopMode::Keep,
        _ if spec.keep_original_next_hop && external_by_address => NextHopMode::Keep,
        _ => NextHopMode::Auto,
    }
}

fn name_of(kind: SessionKind, address: IpAddr, port: u16) -> String {
    let kind = match kind {
        SessionKind::Mesh => "Mesh",
        SessionKind::Global => "Global",
        SessionKind::Node => "Node",
        SessionKind::LocalWorkload => "Local_Workload",
    };
    let address = address.to_string().replace(['.', ':'], "_");
    if port == 0 { format!("{kind}_{address}") } else { format!("{kind}_{address}_port_{port}") }
}

/// A session with everything at its default: one family, any route of it, over as many hops as may be.
fn plain(kind: SessionKind, address: IpAddr, asn: Asn, local_asn: Asn, from: &Key) -> Session {
    Session {
        name: String::new(),
        kind,
        address,
        port: None,
        asn,
        local_asn,
        passive: false,
        families: if address.is_ipv6() { Families::Ipv6 } else { Families::Ipv4 },
        rr_client: false,
        reflector: false,
        password: None,
        ttl_security: None,
        multihop: Some(64),
        source: None,
        graceful_restart_seconds: Some(120),
        keepalive_seconds: None,
        next_hop: NextHopMode::Auto,
        allow_own_as: 0,
        filters: Vec::new(),
        calico: true,
        superseded_by: None,
        from: from.clone(),
    }
}
