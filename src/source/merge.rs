//! The file's configuration and the objects' meaning, made one.
//!
//! In: a [`Config`] with `[kubernetes]`, and the objects. Out: the [`Config`] that the router runs, and the [`Meaning`] that it came from. What the file
//! says besides stays; where both say something about the same thing, that is an error with both places, for nobody could tell which was meant.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use super::meaning::{Announce, Encapsulation, Families, Meaning, NextHopMode, Note, Session, SessionKind};
use super::object::Key;
use super::policies;
use super::store::Store;
use super::{Setting, meaning_of};
use crate::config::model::{self, AddPath, ChainRef, Cluster, Config, Flavour, Kubernetes, Member, Password, PasswordPlace, PeerOptions};
use crate::config::{hashed_id, kind, values::ZonedAddr};
use crate::fib::{Metric, overlay};
use crate::kernel::NamePattern;
use crate::num::{Family, FamilySet, HoldTime, RouterId};
use crate::peer::{PeerKind, RemoteAs};
use crate::policy::{LocalKind, PrefixRange, PrefixSet};
use crate::speaker::{Leaving, NextHopSetting, RedistributeRule, Shape};

/// Who writes routes in a Calico node: BIRD's number in `rt_protos`.
const BIRD: u8 = 12;

/// What comes out.
#[derive(Clone, Debug)]
pub struct Merged {
    /// As from a file that had said all of it.
    pub config: Config,
    /// What the objects said.
    pub meaning: Meaning,
}

/// Two places say different things of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// Which setting.
    pub what: String,
    /// Who says what.
    pub places: [String; 2],
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second] = &self.places;
        write!(f, "{}: {first} and {second} say different things", self.what)
    }
}

/// No configuration comes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// The file has no `[kubernetes]`.
    NotAsked,
    /// The node is not there, or a setting of the file makes no sense.
    Missing(String),
    /// The file and the objects, or two objects, contradict each other.
    Conflicts(Vec<Conflict>),
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unusable::NotAsked => f.write_str("the file has no [kubernetes] section"),
            Unusable::Missing(why) => f.write_str(why),
            Unusable::Conflicts(all) => f.write_str(&all.iter().map(Conflict::to_string).collect::<Vec<_>>().join("\n")),
        }
    }
}

/// Makes one configuration, as the node that the file's configuration names.
///
/// # Errors
/// See [`Unusable`].
pub fn merge(file: &Config, store: &Store) -> Result<Merged, Unusable> {
    let kubernetes = file.kubernetes.as_ref().ok_or(Unusable::NotAsked)?;
    let meaning = meaning_of(store, &file.node.name, &Setting::new(kubernetes)).map_err(Unusable::Missing)?;
    let mut merge = Merge { config: file.clone(), kubernetes, conflicts: Vec::new(), notes: Vec::new() };
    merge.origins_of_the_file();
    merge.node(&meaning);
    merge.listen(&meaning);
    merge.policies(&meaning);
    for session in meaning.sessions.iter().filter(|session| session.superseded_by.is_none()) {
        merge.session(session, &meaning);
    }
    merge.blocks(&meaning);
    merge.leaving(&meaning);
    merge.fib(&meaning);
    if !merge.conflicts.is_empty() {
        return Err(Unusable::Conflicts(merge.conflicts));
    }
    let (config, notes) = (merge.config, merge.notes);
    let mut meaning = meaning;
    meaning.notes.extend(notes);
    for session in &mut meaning.sessions {
        session.port.get_or_insert(kubernetes.session.port);
    }
    Ok(Merged { config, meaning })
}

struct Merge<'a> {
    config: Config,
    kubernetes: &'a Kubernetes,
    conflicts: Vec<Conflict>,
    notes: Vec<Note>,
}

impl Merge<'_> {
    fn is_calico(&self) -> bool {
        self.kubernetes.flavour == Flavour::Calico
    }

    fn typed(&self, setting: &str) -> bool {
        self.kubernetes.typed.lines.contains_key(setting)
    }

    fn note(&mut self, from: &Key, text: String) {
        self.notes.push(Note { from: from.clone(), text });
    }

    /// The file says something else.
    fn conflict(&mut self, what: impl fmt::Display, setting: &str, from: &Key) {
        let file = self.kubernetes.typed.place(setting).unwrap_or_else(|| "the file".to_owned());
        self.conflicts.push(Conflict { what: what.to_string(), places: [from.to_string(), file] });
    }

    fn node(&mut self, meaning: &Meaning) {
        let said = &meaning.node;
        match &said.asn.from {
            Some(from) if self.typed("asn") && self.config.node.asn != said.asn.value => {
                self.conflict("this node's AS number", "asn", from)
            }
            _ => self.config.node.asn = said.asn.value,
        }
        for (address, from) in
            [said.ipv4.as_ref().map(|a| (IpAddr::V4(a.value), &a.from)), said.ipv6.as_ref().map(|a| (IpAddr::V6(a.value), &a.from))]
                .into_iter()
                .flatten()
        {
            self.own_address(address, from.as_ref());
        }
        if !self.typed("router_id") {
            let node = &self.config.node;
            self.config.node.router_id = node.ipv4.and_then(RouterId::new).unwrap_or_else(|| hashed_id(&node.name));
        }
        if let Some(level) = meaning.log_level.as_ref().filter(|_| !self.typed("log")) {
            self.config.log.level = level.value;
        }
        self.config.cluster = Some(Cluster {
            mode: self.kubernetes.mode,
            cluster_id: said.cluster_id.as_ref().map(|id| id.value),
            members: members(meaning),
            listed: true,
        });
    }

    fn own_address(&mut self, address: IpAddr, from: Option<&Key>) {
        let node = &mut self.config.node;
        let typed = match address {
            IpAddr::V4(_) => node.ipv4.map(IpAddr::V4),
            IpAddr::V6(_) => node.ipv6.map(IpAddr::V6),
        };
        match (typed, from) {
            (Some(typed), Some(from)) if typed != address => {
                self.conflict(format!("this node's address ({address} or {typed})"), "addresses", from);
            }
            _ => match address {
                IpAddr::V4(a) => node.ipv4 = Some(a),
                IpAddr::V6(a) => node.ipv6 = Some(a),
            },
        }
    }

    /// Whose word something is; what stands in the file was its word first.
    fn origin(&mut self, what: String, from: &Key) {
        self.config.origins.entry(what).or_insert_with(|| from.to_string());
    }

    /// What the file says of neighbours and blocks is its word.
    fn origins_of_the_file(&mut self) {
        let lines = &self.kubernetes.typed.lines;
        let said =
            lines.iter().filter(|(what, _)| what.starts_with("block ") || what.starts_with("peer ") && !what.starts_with("peer name "));
        self.config.origins.extend(said.map(|(what, line)| (what.clone(), format!("the file, line {line}"))));
    }

    fn listen(&mut self, meaning: &Meaning) {
        if let Some(port) = &meaning.listen.port {
            match &port.from {
                Some(from) if self.typed("port") && self.config.listen.port != port.value => {
                    self.conflict("the port to listen on", "port", from)
                }
                _ => self.config.listen.port = port.value,
            }
        }
        let addresses: Vec<IpAddr> = meaning.listen.addresses.iter().map(|a| a.value).collect();
        let from = meaning.listen.addresses.first().and_then(|a| a.from.as_ref());
        match from {
            Some(from) if self.typed("listen") && self.config.listen.addresses != addresses => {
                self.conflict("the addresses to listen on", "listen", from);
            }
            Some(_) => self.config.listen.addresses = addresses,
            None => {}
        }
    }

    fn policies(&mut self, meaning: &Meaning) {
        if !self.is_calico() {
            return;
        }
        let made = policies::policies(meaning);
        self.notes.extend(made.notes);
        for policy in made.policies {
            if self.typed(&format!("policy {}", policy.name)) {
                let (name, from) = (policy.name.clone(), meaning.node.asn.from.clone());
                let from = from.map_or_else(|| "flavour \"calico\"".to_owned(), |key| key.to_string());
                let file = self.kubernetes.typed.place(&format!("policy {name}")).unwrap_or_default();
                self.conflicts.push(Conflict { what: format!("policy {name}"), places: [from, file] });
            }
            self.config.policies.insert(policy.name.clone(), policy);
        }
    }

    fn session(&mut self, session: &Session, meaning: &Meaning) {
        let remote = ZonedAddr { addr: session.address, zone: None };
        if self.config.sessions.iter().any(|other| other.remote == remote && self.typed(&format!("peer {remote}"))) {
            self.conflict(format!("neighbour {remote}"), &format!("peer {remote}"), &session.from);
            return;
        }
        if self.typed(&format!("peer name {}", session.name)) {
            self.conflict(format!("the name {}", session.name), &format!("peer name {}", session.name), &session.from);
            return;
        }
        self.origin(format!("peer {remote}"), &session.from);
        let options = self.options(session, meaning);
        let remote_asn = RemoteAs::Exactly(session.asn);
        let kind = match kind(remote_asn, &options) {
            PeerKind::Internal if session.reflector => PeerKind::Rr,
            PeerKind::Internal => PeerKind::Mesh,
            kind => kind,
        };
        self.config.sessions.push(model::Session { name: session.name.clone(), kind, remote, remote_asn, options });
    }

    /// The file's settings for sessions of the cluster, and over them what the objects say.
    fn options(&self, session: &Session, meaning: &Meaning) -> PeerOptions {
        let base = (*self.kubernetes.session).clone();
        let hold_time = match session.keepalive_seconds {
            Some(keepalive) if keepalive >= base.hold_time.seconds() => {
                HoldTime::new(keepalive.saturating_mul(3)).unwrap_or(base.hold_time)
            }
            _ => base.hold_time,
        };
        let external = session.asn != session.local_asn;
        let (import, export) = if session.calico {
            policies::chains(session, meaning, external)
        } else if meaning.node.cluster_id.is_some() && !self.typed("export") {
            (base.import.clone(), ChainRef::All)
        } else {
            (base.import.clone(), base.export.clone())
        };
        PeerOptions {
            description: base.description.or_else(|| Some(format!("from {}", session.from))),
            port: session.port.unwrap_or(base.port),
            local_asn: session.local_asn,
            password: password(session).or(base.password),
            ttl_security: session.ttl_security.or(base.ttl_security.filter(|_| !session.calico)),
            multihop: session.multihop.or(base.multihop.filter(|_| !session.calico)),
            source: session.source.or(base.source),
            passive: session.passive || base.passive,
            hold_time,
            keepalive_time: session.keepalive_seconds.filter(|time| *time > 0).or(base.keepalive_time),
            families: match session.families {
                Families::Ipv4 => FamilySet::from(Family::Ipv4Unicast),
                Families::Ipv6 => FamilySet::from(Family::Ipv6Unicast),
                Families::Both => base.families,
            },
            restart_time: session.graceful_restart_seconds.filter(|_| session.calico),
            add_path: if session.calico && !self.typed("add_path") { AddPath::Both } else { base.add_path },
            import,
            export,
            rr_client: session.rr_client,
            next_hop: match session.next_hop {
                NextHopMode::Auto => base.next_hop,
                NextHopMode::Own => NextHopSetting::SelfAddress,
                NextHopMode::Keep => NextHopSetting::Unchanged,
            },
            allow_own_as: session.allow_own_as.max(base.allow_own_as),
            ..base
        }
    }

    fn blocks(&mut self, meaning: &Meaning) {
        for block in &meaning.blocks {
            let known = |nets: &[IpNet]| nets.contains(&block.prefix);
            if known(&self.config.pods.blocks) || known(&self.config.pods.held_by_others) || block.announce != Announce::Always {
                continue;
            }
            if let Some(why) = self.config.objection_to_block(&block.prefix) {
                self.note(&block.from, format!("{} cannot be a block: {why}", block.prefix));
                continue;
            }
            self.origin(format!("block {}", block.prefix), &block.from);
            let list = if block.blackhole { &mut self.config.pods.blocks } else { &mut self.config.pods.held_by_others };
            list.push(block.prefix);
        }
        let services = &meaning.services;
        let all = services.ranges.iter().map(|range| range.value).chain(services.addresses.iter().map(|a| a.prefix));
        self.config.services = all.collect::<BTreeSet<IpNet>>().into_iter().collect();
        for range in &services.ranges {
            let from = range.from.as_ref().map_or_else(|| "the file".to_owned(), Key::to_string);
            self.config.origins.entry(format!("service {}", range.value)).or_insert(from);
        }
        for address in &services.addresses {
            let from = address.from.iter().map(Key::to_string).collect::<Vec<_>>().join(", ");
            self.config.origins.entry(format!("service {}", address.prefix)).or_insert(from);
        }
    }

    fn leaving(&mut self, meaning: &Meaning) {
        let node = &meaning.node;
        self.config.leaving = node.drain.as_ref().map(|from| Leaving {
            why: format!("{from}: {}", node.drain_why.as_deref().unwrap_or_default()),
            services: meaning.services.leaving.iter().copied().collect::<BTreeSet<IpNet>>().into_iter().collect(),
            pods_gone: node.pods == Some(0),
            shuts_down: node.shuts_down,
            deadline: self.kubernetes.drain.deadline,
        });
    }

    fn fib(&mut self, meaning: &Meaning) {
        let kept_out: BTreeSet<IpNet> = meaning.kept_out_of_kernel.iter().map(|kept| kept.prefix).collect();
        self.config.fib.exclude.extend(kept_out);
        if !self.is_calico() {
            return;
        }
        let (protocol, metric, block_metric) = (self.typed("protocol"), self.typed("metric"), self.typed("block_metric"));
        let fib = &mut self.config.fib;
        fib.protocol = if protocol { fib.protocol } else { BIRD };
        fib.metric = if metric { fib.metric } else { Metric::FromLocalPref };
        // BIRD gives none to what is its own; IPv6 makes 1024 of that.
        fib.block_metric = if block_metric { fib.block_metric } else { 0 };
        self.tunnels(meaning);
        self.redistribution(meaning);
        for route in &meaning.static_routes {
            self.config.fib.via.entry(route.prefix).or_insert(route.via);
        }
        self.config.fib.exclude_next_hops.extend(meaning.next_hops_kept_out.iter().map(|hop| hop.value));
    }

    /// IPIP that is ours to do: one way for all pools, since the tunnel is chosen by next hop and not by pool.
    fn tunnels(&mut self, meaning: &Meaning) {
        let ours = meaning.pools.iter().filter(|pool| pool.written && pool.prefix.addr().is_ipv4());
        let modes: BTreeMap<&str, &super::Pool> = ours.map(|pool| (word(pool.encapsulation), pool)).collect();
        if self.typed("overlay") || modes.keys().all(|mode| *mode == "none") {
            return;
        }
        if modes.len() > 1 {
            for pool in modes.values().filter(|pool| pool.encapsulation != Encapsulation::None) {
                let text = format!(
                    "pools of several encapsulations ({}): that of {} is left to Felix",
                    modes.keys().copied().collect::<Vec<_>>().join(", "),
                    pool.prefix
                );
                self.note(&pool.from, text);
                self.config.fib.exclude.push(pool.prefix);
            }
            return;
        }
        let always = modes.contains_key("ipip");
        let overlay = &mut self.config.fib.overlay;
        overlay.mode = if always { overlay::Mode::Always } else { overlay::Mode::CrossSubnet };
        overlay.kind = overlay::Kind::Ipip;
        "tunl0".clone_into(&mut overlay.device);
        overlay.nodes = members(meaning).iter().flat_map(|member| &member.addresses).map(|a| IpNet::from(*a)).collect();
    }

    /// Addresses of pods that the CNI plugin routes to this node: out of blocks of others, and blocks of one address.
    fn redistribution(&mut self, meaning: &Meaning) {
        let hosts = meaning.pools.iter().filter_map(|pool| {
            let longest = pool.prefix.max_prefix_len();
            PrefixRange::range(pool.prefix, Some(longest), Some(longest))
        });
        let alone =
            meaning.blocks.iter().filter(|block| block.announce == Announce::WithRoute).map(|block| PrefixRange::exact(block.prefix));
        let prefixes: Vec<PrefixRange> = hosts.chain(alone).collect();
        if !prefixes.is_empty() {
            self.config.redistribution.rules.push(RedistributeRule {
                prefixes: PrefixSet::new(prefixes),
                protocols: Vec::new(),
                interfaces: vec![NamePattern::new("cali*")],
                shape: Some(Shape::Unicast),
                kind: LocalKind::Pod,
                by_metric: true,
            });
        }
        let ignored = meaning.ignored_interfaces.iter().filter(|name| name.value != "cali*");
        self.config.redistribution.ignore.extend(ignored.map(|name| NamePattern::new(&name.value)));
    }
}

fn word(encapsulation: Encapsulation) -> &'static str {
    match encapsulation {
        Encapsulation::None => "none",
        Encapsulation::Ipip => "ipip",
        Encapsulation::IpipCrossSubnet => "ipip_cross_subnet",
        Encapsulation::Vxlan => "vxlan",
    }
}

fn password(session: &Session) -> Option<Password> {
    let source = session.password.as_ref()?;
    Some(Password { place: PasswordPlace::Object(source.place.clone()), secret: source.secret.clone() })
}

/// This node, and those that it peers with.
fn members(meaning: &Meaning) -> Vec<Member> {
    let own = &meaning.node;
    let addresses = [own.ipv4.as_ref().map(|a| IpAddr::V4(a.value)), own.ipv6.as_ref().map(|a| IpAddr::V6(a.value))];
    let mut by_name: BTreeMap<&str, Vec<IpAddr>> = BTreeMap::new();
    by_name.insert(&own.name, addresses.into_iter().flatten().collect());
    for session in meaning.sessions.iter().filter(|session| session.kind == SessionKind::Mesh) {
        by_name.entry(&session.from.name).or_default().push(session.address);
    }
    by_name.into_iter().map(|(name, addresses)| Member { name: name.to_owned(), addresses }).collect()
}
