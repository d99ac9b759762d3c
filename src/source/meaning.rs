//! What the objects mean for one node, each value with the object that says it, before the file has its say.
//!
//! In: made by the flavours (`nodes`, `calico`) and by `services`. Out: read by `merge`, which makes a [`Config`](crate::config::Config) of it,
//! and shown as it is by `catbird check --objects --json`: the names of the fields are that format, and are documented in `docs/kubernetes.md`.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde::{Serialize, Serializer};

use super::object::Key;
use crate::config::model::LogLevel;
use crate::num::{Asn, ClusterId};

/// A value, and the object that says it; `None`: nobody does, and the default holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sourced<T> {
    /// What holds.
    pub value: T,
    /// Whose word it is.
    pub from: Option<Key>,
}

impl<T> Sourced<T> {
    /// A value that an object names.
    pub fn by(value: T, from: &Key) -> Sourced<T> {
        Sourced { value, from: Some(from.clone()) }
    }

    /// A value that no object names.
    pub fn default(value: T) -> Sourced<T> {
        Sourced { value, from: None }
    }
}

/// Everything.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Meaning {
    /// Who this node is.
    pub node: NodeMeaning,
    /// Where sessions are accepted.
    pub listen: Listen,
    /// By name.
    pub sessions: Vec<Session>,
    /// This node's pod blocks.
    pub blocks: Vec<Block>,
    /// Kernel routes that the paths to neighbours need.
    pub static_routes: Vec<StaticRoute>,
    /// Addresses of services.
    pub services: Services,
    /// Ranges that pods have addresses of.
    pub pools: Vec<Pool>,
    /// Prefixes of which catbird writes no learned route into the kernel, and why.
    pub kept_out_of_kernel: Vec<KeptOut>,
    /// Next hops of which it writes none.
    pub next_hops_kept_out: Vec<Sourced<IpAddr>>,
    /// BGPFilters that a session uses, by name.
    pub filters: BTreeMap<String, Filter>,
    /// Filters that cannot be read: nothing passes a session that uses one.
    pub broken_filters: Vec<String>,
    /// What routes carry when they are announced.
    pub communities: Vec<PrefixCommunities>,
    /// Nothing is learned of these.
    pub ignored_interfaces: Vec<Sourced<String>>,
    /// Metric of the kernel's routes.
    pub priority: Priorities,
    /// As `[log] level`.
    pub log_level: Option<Sourced<LogLevel>>,
    /// What was left out, and why.
    pub notes: Vec<Note>,
}

/// Who this node is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NodeMeaning {
    /// Of the Node object.
    pub name: String,
    /// Its own, or that of the cluster.
    pub asn: Sourced<Asn>,
    /// Where other nodes reach it.
    pub ipv4: Option<Sourced<Ipv4Addr>>,
    /// Where other nodes reach it.
    pub ipv6: Option<Sourced<Ipv6Addr>>,
    /// It is a route reflector (RFC 4456 §7).
    pub cluster_id: Option<Sourced<ClusterId>>,
    /// It leaves: its services are withdrawn, and its blocks when its pods are gone.
    pub drain: Option<Key>,
    /// In words.
    pub drain_why: Option<String>,
    /// It leaves since the machine shuts down.
    pub shuts_down: bool,
    /// Pods that need its blocks, if it leaves and they are known.
    pub pods: Option<usize>,
    /// Kept from announcing services.
    pub services_excluded: Option<Key>,
}

/// Where sessions are accepted; empty: as the file says.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Listen {
    /// `None`: as the file says, or 179.
    pub port: Option<Sourced<u16>>,
    /// None: as the file says.
    pub addresses: Vec<Sourced<IpAddr>>,
}

/// What made a session; Calico's tools know its name by the first word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionKind {
    /// Between nodes.
    Mesh,
    /// A BGPPeer for all nodes.
    Global,
    /// A BGPPeer for some nodes, or a mirror of one.
    Node,
    /// With a pod of this node.
    LocalWorkload,
}

/// What NEXT_HOP becomes when announcing (RFC 4271 §5.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NextHopMode {
    /// Ourselves to an external peer, unchanged to an internal one.
    Auto,
    /// Ourselves, always.
    #[serde(rename = "self")]
    Own,
    /// Unchanged, always.
    Keep,
}

/// Which routes a session carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Families {
    /// IPv4 unicast.
    Ipv4,
    /// IPv6 unicast.
    Ipv6,
    /// IPv4 and IPv6 unicast.
    Both,
}

/// One neighbour.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Session {
    /// Unique; as `[[peer]] name`.
    pub name: String,
    /// What made it.
    pub kind: SessionKind,
    /// The neighbour's.
    pub address: IpAddr,
    /// `None`: as the file says, or 179.
    pub port: Option<u16>,
    /// The neighbour's.
    pub asn: Asn,
    /// Ours, as it sees it.
    pub local_asn: Asn,
    /// Wait to be dialled.
    pub passive: bool,
    /// Which routes it carries.
    pub families: Families,
    /// Reflect to it (RFC 4456 §6).
    pub rr_client: bool,
    /// It is a reflector.
    pub reflector: bool,
    /// TCP-MD5 (RFC 2385); `None`: unsigned.
    pub password: Option<PasswordSource>,
    /// GTSM with so many hops (RFC 5082); else `multihop`.
    pub ttl_security: Option<u8>,
    /// TTL of what we send; `None`: as the file says.
    pub multihop: Option<u8>,
    /// Our end; `None`: the kernel chooses.
    pub source: Option<IpAddr>,
    /// Seconds; `None`: as the file says.
    pub graceful_restart_seconds: Option<u16>,
    /// `None`: as the file says.
    pub keepalive_seconds: Option<u16>,
    /// What NEXT_HOP becomes.
    pub next_hop: NextHopMode,
    /// How often our AS may stand in AS_PATH of what is let in.
    pub allow_own_as: u8,
    /// Names in `filters`, in order.
    pub filters: Vec<String>,
    /// Another session to the same address runs in its place.
    pub superseded_by: Option<String>,
    /// What `filters` leave open is for Calico's own rules.
    #[serde(skip)]
    pub calico: bool,
    /// The object that made it.
    pub from: Key,
}

/// Where a password is; what it is is never shown.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct PasswordSource {
    /// `Secret namespace/name, key`.
    pub place: String,
    /// `Err`: why there is none.
    #[serde(rename = "found", serialize_with = "is_found")]
    pub secret: Result<String, String>,
}

fn is_found<S: Serializer>(secret: &Result<String, String>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bool(secret.is_ok())
}

impl fmt::Debug for PasswordSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "password from {} ({})", self.place, if self.secret.is_ok() { "found" } else { "missing" })
    }
}

/// When a block is announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Announce {
    /// As long as it is this node's.
    Always,
    /// While the workload's route of the same prefix is in the kernel.
    WithRoute,
    /// It is only held.
    Never,
}

/// A block of this node's pods.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Block {
    /// Without host bits.
    pub prefix: IpNet,
    /// When.
    pub announce: Announce,
    /// Kept in the kernel as a blackhole.
    pub blackhole: bool,
    /// The object that names it.
    pub from: Key,
}

/// A kernel route that the path to a neighbour needs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StaticRoute {
    /// The destination.
    pub prefix: IpNet,
    /// The gateway.
    pub via: IpAddr,
    /// The object that asks for it.
    pub from: Key,
}

/// What of the services this node announces.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Services {
    /// Whole ranges, from every node.
    pub ranges: Vec<Sourced<IpNet>>,
    /// Single addresses, each with all services that want it.
    pub addresses: Vec<ServiceAddress>,
    /// Ranges inside which a reflector passes on what others announce.
    pub reflected: Vec<Sourced<IpNet>>,
    /// What would be announced if the node did not leave.
    pub leaving: Vec<IpNet>,
}

/// An address of services.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ServiceAddress {
    /// A single address, as a prefix of full length.
    pub prefix: IpNet,
    /// Every service that has it.
    pub from: Vec<Key>,
}

/// How packets between nodes are wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Encapsulation {
    /// Not at all.
    None,
    /// In IPv4 (RFC 2003).
    Ipip,
    /// In IPv4, between nodes of different subnets.
    IpipCrossSubnet,
    /// In UDP (RFC 7348).
    Vxlan,
}

/// A range of pod addresses.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Pool {
    /// The range.
    pub prefix: IpNet,
    /// How packets to its addresses go.
    pub encapsulation: Encapsulation,
    /// Routes inside it are announced.
    pub exported: bool,
    /// Learned routes inside it are written into the kernel by catbird; else by Felix.
    pub written: bool,
    /// The IPPool.
    pub from: Key,
}

/// A prefix inside which catbird writes no learned route.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KeptOut {
    /// The range.
    pub prefix: IpNet,
    /// In words.
    pub why: &'static str,
    /// The object that says so.
    pub from: Key,
}

/// A BGPFilter.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Filter {
    /// In order; the first that matches decides.
    pub import_ipv4: Vec<Rule>,
    /// Likewise.
    pub export_ipv4: Vec<Rule>,
    /// Likewise.
    pub import_ipv6: Vec<Rule>,
    /// Likewise.
    pub export_ipv6: Vec<Rule>,
    /// The BGPFilter.
    pub from: Key,
}

/// One rule: all conditions must hold.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rule {
    /// All of it must hold.
    #[serde(rename = "match")]
    pub matches: Matches,
    /// What becomes of a route that matches.
    pub action: Action,
    /// What is changed in one that is accepted, in order.
    pub operations: Vec<Operation>,
}

/// What becomes of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It passes.
    Accept,
    /// It does not.
    Reject,
}

/// Conditions; what is absent does not matter.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Matches {
    /// Its prefix is one of these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<PrefixMatch>,
    /// Learned from a peer, not local.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub learned: bool,
    /// It leads over such an interface.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Of the session on which it would be taken or told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external: Option<bool>,
    /// It carries this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub community: Option<String>,
    /// AS_PATH begins with these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub as_path_begins: Vec<Asn>,
    /// Its metric is this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<u32>,
}

/// Prefixes inside `prefix` of `min` to `max` bits, or (`outside`) all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PrefixMatch {
    /// Inside this one.
    pub prefix: IpNet,
    /// The shortest length.
    pub min: u8,
    /// The longest length.
    pub max: u8,
    /// What is not such a prefix.
    pub outside: bool,
}

/// A change to a route that a rule accepts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Attached.
    AddCommunity(String),
    /// Reads in the path as written here.
    PrependAsPath(Vec<Asn>),
    /// Another metric.
    SetPriority(u32),
}

/// Communities of what is announced inside a prefix.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PrefixCommunities {
    /// Routes inside it.
    pub prefix: IpNet,
    /// Sorted, each once.
    pub communities: Vec<String>,
    /// The BGPConfiguration.
    pub from: Key,
}

/// The kernel's metric of a normal route; LOCAL_PREF is 2^31-1 less it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Priorities {
    /// Of IPv4 routes.
    pub ipv4: u32,
    /// Of IPv6 routes.
    pub ipv6: u32,
}

impl Default for Priorities {
    fn default() -> Priorities {
        Priorities { ipv4: 1024, ipv6: 1024 }
    }
}

/// What was left out, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Note {
    /// What it is about.
    pub from: Key,
    /// In words.
    pub text: String,
}

/// Collects notes.
#[derive(Default)]
pub(super) struct Notes(pub Vec<Note>);

impl Notes {
    /// Adds one.
    pub fn push(&mut self, from: &Key, text: String) {
        self.0.push(Note { from: from.clone(), text });
    }

    /// The prefix that the object names, without host bits; empty text is none and no mistake.
    pub fn prefix(&mut self, from: &Key, field: &str, text: &str) -> Option<IpNet> {
        self.parsed::<IpNet>(from, field, text, "a prefix").map(|net| net.trunc())
    }

    /// The address that the object names.
    pub fn address(&mut self, from: &Key, field: &str, text: &str) -> Option<IpAddr> {
        self.parsed(from, field, text, "an address")
    }

    /// The address with its subnet that the object names.
    pub fn parsed_net(&mut self, from: &Key, field: &str, text: &str) -> Option<IpNet> {
        self.parsed(from, field, text, "an address")
    }

    fn parsed<T: std::str::FromStr>(&mut self, from: &Key, field: &str, text: &str, what: &str) -> Option<T> {
        let value = text.parse().ok();
        if value.is_none() && !text.is_empty() {
            self.push(from, format!("{field} `{text}` is not {what}"));
        }
        value
    }
}

/// A prefix of one address.
pub(super) fn host(address: IpAddr) -> IpNet {
    IpNet::from(address)
}

/// Is it the prefix of a single address?
pub(super) fn is_host(net: &IpNet) -> bool {
    net.prefix_len() == net.max_prefix_len()
}
