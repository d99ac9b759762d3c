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
    pub value: T,
    pub from: Option<Key>,
}

impl<T> Sourced<T> {
    pub fn by(value: T, from: &Key) -> Sourced<T> {
        Sourced { value, from: Some(from.clone()) }
    }

    pub fn default(value: T) -> Sourced<T> {
        Sourced { value, from: None }
    }
}

/// Everything.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Meaning {
    pub node: NodeMeaning,
    pub listen: Listen,
    /// By name.
    pub sessions: Vec<Session>,
    pub blocks: Vec<Block>,
    /// Kernel routes that the paths to neighbours need.
    pub static_routes: Vec<StaticRoute>,
    pub services: Services,
    pub pools: Vec<Pool>,
    /// Prefixes of which catbird writes no learned route into the kernel, and why.
    pub kept_out_of_kernel: Vec<KeptOut>,
    /// Next hops of which it writes none.
    pub next_hops_kept_out: Vec<Sourced<IpAddr>>,
    pub filters: BTreeMap<String, Filter>,
    /// Filters that cannot be read: nothing passes a session that uses one.
    pub broken_filters: Vec<String>,
    pub communities: Vec<PrefixCommunities>,
    pub ignored_interfaces: Vec<Sourced<String>>,
    pub priority: Priorities,
    pub log_level: Option<Sourced<LogLevel>>,
    pub notes: Vec<Note>,
}

/// Who this node is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NodeMeaning {
    pub name: String,
    pub asn: Sourced<Asn>,
    pub ipv4: Option<Sourced<Ipv4Addr>>,
    pub ipv6: Option<Sourced<Ipv6Addr>>,
    pub cluster_id: Option<Sourced<ClusterId>>,
    /// Its routes shall be withdrawn gently.
    pub drain: Option<Key>,
    /// Kept from announcing services.
    pub services_excluded: Option<Key>,
}

/// Where sessions are accepted; empty: as the file says.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Listen {
    pub port: Option<Sourced<u16>>,
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
    LocalWorkload,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NextHopMode {
    Auto,
    #[serde(rename = "self")]
    Own,
    Keep,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Families {
    Ipv4,
    Ipv6,
    Both,
}

/// One neighbour.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Session {
    pub name: String,
    pub kind: SessionKind,
    pub address: IpAddr,
    /// `None`: as the file says, or 179.
    pub port: Option<u16>,
    pub asn: Asn,
    pub local_asn: Asn,
    pub passive: bool,
    pub families: Families,
    pub rr_client: bool,
    /// It is a reflector.
    pub reflector: bool,
    pub password: Option<PasswordSource>,
    /// GTSM with so many hops (RFC 5082); else `multihop`.
    pub ttl_security: Option<u8>,
    pub multihop: Option<u8>,
    pub source: Option<IpAddr>,
    /// Seconds; `None`: as the file says.
    pub graceful_restart_seconds: Option<u16>,
    pub keepalive_seconds: Option<u16>,
    pub next_hop: NextHopMode,
    pub allow_own_as: u8,
    /// Names in `filters`, in order.
    pub filters: Vec<String>,
    /// Another session to the same address runs in its place.
    pub superseded_by: Option<String>,
    /// What `filters` leave open is for Calico's own rules.
    #[serde(skip)]
    pub calico: bool,
    pub from: Key,
}

/// Where a password is; what it is is never shown.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct PasswordSource {
    /// `Secret namespace/name, key`.
    pub place: String,
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Announce {
    Always,
    /// While the workload's route of the same prefix is in the kernel.
    WithRoute,
    Never,
}

/// A block of this node's pods.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Block {
    pub prefix: IpNet,
    pub announce: Announce,
    /// Kept in the kernel as a blackhole.
    pub blackhole: bool,
    pub from: Key,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StaticRoute {
    pub prefix: IpNet,
    pub via: IpAddr,
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
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ServiceAddress {
    pub prefix: IpNet,
    pub from: Vec<Key>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Encapsulation {
    None,
    Ipip,
    IpipCrossSubnet,
    Vxlan,
}

/// A range of pod addresses.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Pool {
    pub prefix: IpNet,
    pub encapsulation: Encapsulation,
    /// Routes inside it are announced.
    pub exported: bool,
    /// Learned routes inside it are written into the kernel by catbird; else by Felix.
    pub written: bool,
    pub from: Key,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KeptOut {
    pub prefix: IpNet,
    pub why: &'static str,
    pub from: Key,
}

/// A BGPFilter.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Filter {
    pub import_ipv4: Vec<Rule>,
    pub export_ipv4: Vec<Rule>,
    pub import_ipv6: Vec<Rule>,
    pub export_ipv6: Vec<Rule>,
    pub from: Key,
}

/// One rule: all conditions must hold.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rule {
    #[serde(rename = "match")]
    pub matches: Matches,
    pub action: Action,
    pub operations: Vec<Operation>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    Accept,
    Reject,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Matches {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<PrefixMatch>,
    /// Learned from a peer, not local.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub learned: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Of the session on which it would be taken or told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub community: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub as_path_begins: Vec<Asn>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<u32>,
}

/// Prefixes inside `prefix` of `min` to `max` bits, or (`outside`) all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PrefixMatch {
    pub prefix: IpNet,
    pub min: u8,
    pub max: u8,
    pub outside: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    AddCommunity(String),
    /// Reads in the path as written here.
    PrependAsPath(Vec<Asn>),
    SetPriority(u32),
}

/// Communities of what is announced inside a prefix.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PrefixCommunities {
    pub prefix: IpNet,
    /// Sorted, each once.
    pub communities: Vec<String>,
    pub from: Key,
}

/// The kernel's metric of a normal route; LOCAL_PREF is 2^31-1 less it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Priorities {
    pub ipv4: u32,
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
    pub from: Key,
    pub text: String,
}

/// Collects notes.
#[derive(Default)]
pub(super) struct Notes(pub Vec<Note>);

impl Notes {
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
