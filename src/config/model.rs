//! The configuration as it is meant: every default filled in, every reference resolved, every session of the cluster named.
//!
//! In: made by [`super::validate`]. Out: read by the shell (where to listen, what to serve), compared by `speaker::reload_plan`, and turned into the
//! core's own parameters by [`super::params`].

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::policy::Policy;
use super::values::{ZonedAddr, keyword_enum};
use crate::fib;
use crate::num::{Asn, ClusterId, FamilySet, HoldTime, RouterId};
use crate::peer::{PeerKind, RemoteAs};
use crate::speaker::{self, Burden, Forwarding, NextHopSetting, OnTerm, RedistributeParams};
use ipnet::IpNet;

keyword_enum! {
    /// How the nodes of the cluster peer.
    Mode {
        /// An iBGP session to every other node; reflectors are left out.
        FullMesh = "full-mesh",
        /// Sessions to the nodes with a cluster id only.
        RouteReflector = "route-reflector",
    }
}
keyword_enum! {
    /// ADD-PATH (RFC 7911).
    AddPath { Off = "off", Send = "send", Receive = "receive", Both = "both" }
}
keyword_enum! {
    /// When a peer says more prefixes than it may.
    MaxPrefixAction {
        /// Close the session (RFC 4486: Cease, maximum number of prefixes reached).
        Close = "close",
        /// Keep the session, refuse what is too much.
        Refuse = "refuse",
        Warn = "warn",
    }
}
keyword_enum! {
    /// Which peers have series of their own.
    PerPeer { All = "all", External = "external", None = "none" }
}
keyword_enum! {
    LogLevel { Error = "error", Warn = "warn", Info = "info", Debug = "debug", Trace = "trace" }
}
keyword_enum! {
    LogFormat { Text = "text", Json = "json" }
}

keyword_enum! {
    /// From whom a route is.
    RouteSource { Local = "local", Internal = "internal", External = "external" }
}

/// What the router is to be.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub node: Node,
    pub listen: Listen,
    pub cluster: Option<Cluster>,
    /// Those of the cluster and the explicit ones, in the order of the file.
    pub sessions: Vec<Session>,
    pub ranges: Vec<Range>,
    pub pods: Pods,
    pub policies: BTreeMap<String, Policy>,
    pub best_path: BestPath,
    pub fib: fib::Params,
    pub redistribution: RedistributeParams,
    pub graceful: Graceful,
    pub limits: Limits,
    pub ready: Ready,
    pub metrics: Metrics,
    pub control: Control,
    /// Take over this file by itself when it is a link and leads to another version.
    pub follow_file: bool,
    pub log: Log,
}

/// Who this router is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub name: String,
    pub asn: Asn,
    pub router_id: RouterId,
    pub ipv4: Option<Ipv4Addr>,
    pub ipv6: Option<Ipv6Addr>,
    pub on_term: OnTerm,
    /// How long a drain waits between withdrawing and closing.
    pub drain_wait: Duration,
    /// A reflector passes on the routes of one client to the others (RFC 4456 §6).
    pub client_to_client: bool,
}

/// Where sessions are accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    pub addresses: Vec<IpAddr>,
    pub port: u16,
}

/// The cluster's shape, as far as this node needs to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    pub mode: Mode,
    /// This node's, if it reflects.
    pub cluster_id: Option<ClusterId>,
    /// All nodes of the list, this one among them.
    pub members: Vec<Member>,
}

/// A node of the cluster's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub name: String,
    pub addresses: Vec<IpAddr>,
}

/// This node's pod blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pods {
    pub blocks: Vec<IpNet>,
    /// More blocks, one a line, `#` begins a comment; watched, and replaced as a whole.
    pub file: Option<PathBuf>,
}

/// A password that came from a file; never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Password {
    pub file: PathBuf,
    /// Or why there is none; then its sessions stay down.
    pub secret: Result<String, String>,
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Password from {}", self.file.display())
    }
}

/// How many prefixes a peer may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxPrefix {
    pub ipv4: Option<u32>,
    pub ipv6: Option<u32>,
    pub action: MaxPrefixAction,
    /// Try again after this time; `None`: stay down until an operator starts it.
    pub restart: Option<Duration>,
}

/// One direction's policy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ChainRef {
    /// RFC 8212: nothing passes.
    Missing,
    All,
    None,
    OwnBlocks,
    /// The names of `[policy.NAME]`, in order.
    Policies(Vec<String>),
}

impl fmt::Display for ChainRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ChainRef::Missing => f.write_str("missing"),
            ChainRef::All => f.write_str("all"),
            ChainRef::None => f.write_str("none"),
            ChainRef::OwnBlocks => f.write_str("own-blocks"),
            ChainRef::Policies(names) => f.write_str(&names.join(", ")),
        }
    }
}

/// How a session is set up; everything but whom it is with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerOptions {
    pub description: Option<String>,
    pub port: u16,
    pub local_asn: Asn,
    pub password: Option<Password>,
    pub ttl_security: Option<u8>,
    pub multihop: Option<u8>,
    pub source: Option<IpAddr>,
    pub interface: Option<String>,
    pub passive: bool,
    pub enabled: bool,
    pub hold_time: HoldTime,
    pub keepalive_time: Option<u16>,
    pub connect_retry: Duration,
    pub delay_open: Option<Duration>,
    pub open_timeout: Duration,
    pub idle_hold: Duration,
    pub idle_hold_max: Duration,
    pub send_hold: Option<Duration>,
    /// TCP_USER_TIMEOUT (RFC 5482); `None`: the kernel's own patience.
    pub tcp_user_timeout: Option<Duration>,
    /// CollisionDetectEstablishedState (RFC 4271 §8.1.1).
    pub collide_established: bool,
    pub families: FamilySet,
    pub graceful_restart: bool,
    pub add_path: AddPath,
    /// At most so many paths of a prefix are announced; 0: all.
    pub add_path_limit: u8,
    pub extended_messages: bool,
    pub extended_next_hop: bool,
    pub max_prefix: MaxPrefix,
    pub import: ChainRef,
    pub export: ChainRef,
    pub rr_client: bool,
    pub next_hop: NextHopSetting,
    pub allow_own_as: u8,
    /// An external path must begin with the peer's AS (RFC 4271 §6.3).
    pub enforce_first_as: bool,
    pub remove_private_as: bool,
    pub as_override: bool,
}

/// One neighbour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    pub name: String,
    pub kind: PeerKind,
    pub remote: ZonedAddr,
    pub remote_asn: RemoteAs,
    pub options: PeerOptions,
}

/// Neighbours that may come from anywhere in these prefixes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// The peer group's name.
    pub name: String,
    pub kind: PeerKind,
    pub nets: Vec<IpNet>,
    pub limit: u32,
    pub remote_asn: RemoteAs,
    pub options: PeerOptions,
}

/// How the best path is chosen where the RFC leaves a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BestPath {
    pub multipath_external: bool,
    pub multipath_internal: bool,
    pub always_compare_med: bool,
    pub as_path_relax: bool,
    /// At most so many next hops in one route.
    pub width: u8,
}

/// Graceful restart (RFC 4724), ours and our help with theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Graceful {
    pub enabled: bool,
    pub restart_time: u16,
    pub stale_time: Duration,
    /// After this, routes of an earlier run that nobody announced again are removed.
    pub startup_deadline: Duration,
    /// Our End-of-RIB waits no longer than this for peers that do not come up.
    pub end_of_rib_wait: Duration,
    pub forwarding: Forwarding,
}

/// What peers may have us keep.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// One alone.
    pub peer: Burden,
    /// All together.
    pub node: speaker::Limits,
}

/// When `/readyz` says yes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ready {
    /// The share of the enabled peers that must be up, from 0 to 1.
    pub share: f64,
}

/// `/metrics` and its neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// `None`: not served.
    pub listen: Option<SocketAddr>,
    pub per_peer: PerPeer,
}

/// The control socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    pub socket: PathBuf,
    pub mode: u32,
}

/// What is written to standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    pub level: LogLevel,
    pub format: LogFormat,
}
