//! The configuration as it is meant: every default filled in, every reference resolved, every session of the cluster named.
//!
//! In: made by [`super::validate`]. Out: read by the shell (where to listen, what to serve), compared by `speaker::reload_plan`, and turned into the
//! core's own parameters by [`super::params`].

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::policy::Policy;
use super::values::{ZonedAddr, keyword_enum};
use crate::fib;
use crate::num::{Asn, ClusterId, FamilySet, HoldTime, Role, RouterId};
use crate::peer::{PeerKind, RemoteAs};
use crate::speaker::{self, Burden, Forwarding, Leaving, NextHopSetting, OnTerm, RedistributeParams};
use crate::{bfd, bmp, rpki};
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
    /// Which objects of a cluster say who its nodes are.
    Flavour {
        /// The nodes that Kubernetes itself knows: their InternalIPs and podCIDRs.
        Nodes = "nodes",
        /// The same, with the blocks that Cilium gave out.
        Cilium = "cilium",
        /// Those that Calico's BIRD is configured by.
        Calico = "calico",
    }
}
keyword_enum! {
    /// ADD-PATH (RFC 7911).
    AddPath { Off = "off", Send = "send", Receive = "receive", Both = "both" }
}
keyword_enum! {
    /// When a peer announces more prefixes than it may.
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
/// `[reload] watch`: which new versions of the configuration file are taken over without being asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchFile {
    /// None.
    Never,
    /// Of a file that is a link, when it leads to another version: such a version was written before.
    Links,
    /// Every one, also of a file that is edited in place, as soon as it stands still.
    Always,
}

impl fmt::Display for WatchFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            WatchFile::Never => "false",
            WatchFile::Links => "links",
            WatchFile::Always => "true",
        })
    }
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
    /// `[node]`.
    pub node: Node,
    /// `[listen]`.
    pub listen: Listen,
    /// `[cluster]`; `None` where nodes are no cluster.
    pub cluster: Option<Cluster>,
    /// `[kubernetes]`.
    pub kubernetes: Option<Kubernetes>,
    /// The objects of the cluster are not known yet: this is not all.
    pub provisional: bool,
    /// Whose word something is, where objects of a cluster speak besides the file: `peer ADDRESS`, `block PREFIX`, `service PREFIX`.
    pub origins: BTreeMap<String, String>,
    /// Those of the cluster and the explicit ones, in the order of the file.
    pub sessions: Vec<Session>,
    /// Peer groups with `listen`.
    pub ranges: Vec<Range>,
    /// `[pods]`.
    pub pods: Pods,
    /// Addresses of services that this node announces.
    pub services: Vec<IpNet>,
    /// The cluster's objects say that this node leaves.
    pub leaving: Option<Leaving>,
    /// `[policy.NAME]` by name, with the sets of prefixes that their rules name written out.
    pub policies: BTreeMap<String, Policy>,
    /// `[best_path]`.
    pub best_path: BestPath,
    /// `[fib]`, with its overlay.
    pub fib: fib::Params,
    /// `[[redistribute]]`, and `[fib] ignore_interfaces`.
    pub redistribution: RedistributeParams,
    /// `[[bmp]]`, sorted.
    pub bmp: Vec<bmp::StationParams>,
    /// `[[rpki]]`, the most preferred first.
    pub rpki: Vec<rpki::CacheParams>,
    /// `[graceful_restart]`.
    pub graceful: Graceful,
    /// `[limits]`.
    pub limits: Limits,
    /// `[ready]`.
    pub ready: Ready,
    /// `[metrics]`.
    pub metrics: Metrics,
    /// `[looking_glass] listen`; `None`: not served.
    pub looking_glass: Option<SocketAddr>,
    /// `[control]`.
    pub control: Control,
    /// `[reload] watch`.
    pub watch: WatchFile,
    /// The folder in which sockets answer as BIRD's do.
    pub bird_sockets: Option<PathBuf>,
    /// `[log]`.
    pub log: Log,
}

/// Who this router is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// As configured, else of the cluster's entry with one of our addresses, else the host's.
    pub name: String,
    /// Our AS; a peer with `local_asn` sees that one instead.
    pub asn: Asn,
    /// The BGP Identifier (RFC 4271 §4.2): as configured, else our first IPv4 address, else a hash of the name.
    pub router_id: RouterId,
    /// The next hop of IPv4 routes that we originate.
    pub ipv4: Option<Ipv4Addr>,
    /// The next hop of IPv6 routes that we originate.
    pub ipv6: Option<Ipv6Addr>,
    /// What SIGTERM means for sessions and kernel routes.
    pub on_term: OnTerm,
    /// How long a drain waits between withdrawing and closing.
    pub drain_wait: Duration,
    /// A reflector passes on the routes of one client to the others (RFC 4456 §6).
    pub client_to_client: bool,
}

/// Where sessions are accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// None: we only dial.
    pub addresses: Vec<IpAddr>,
    /// TCP; 179 unless configured (RFC 4271 §8.2.1).
    pub port: u16,
}

/// The cluster's shape, as far as this node needs to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Who peers with whom.
    pub mode: Mode,
    /// This node's, if it reflects.
    pub cluster_id: Option<ClusterId>,
    /// All nodes of the list.
    pub members: Vec<Member>,
    /// This node is one of them. If not, it has no sessions with the others, and waits to be listed.
    pub listed: bool,
}

/// A cluster that configures its nodes by the objects of its API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kubernetes {
    pub flavour: Flavour,
    pub mode: Mode,
    /// The AS of nodes that say none of their own.
    pub asn: Asn,
    /// The label selector of nodes that reflect.
    pub reflectors: Option<String>,
    /// Where the Secrets with passwords are.
    pub namespace: String,
    pub services: ServiceRanges,
    pub drain: DrainRules,
    /// The CNI configuration that is written for this node's pods; `None`: somebody else's matter.
    pub cni: Option<PathBuf>,
    /// How to reach the API; `None`: as a pod does.
    pub kubeconfig: Option<PathBuf>,
    /// Where what is known is left for the next start.
    pub state_file: Option<PathBuf>,
    /// What a session between nodes is like where no object says otherwise.
    pub session: Box<PeerOptions>,
    /// What was typed of all that an object may say, too.
    pub typed: Typed,
}

impl Kubernetes {
    /// Does the other say of another API, or of other objects of it?
    pub fn watches_other_objects(&self, other: &Kubernetes) -> bool {
        let of = |k: &Kubernetes| {
            let drain = (k.drain.on_cordon, k.drain.taints.clone());
            (k.flavour, k.mode, k.reflectors.clone(), k.namespace.clone(), k.services.clone(), k.kubeconfig.clone(), drain)
        };
        of(self) != of(other)
    }
}

/// When a node leaves, besides when somebody says so to it alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DrainRules {
    pub on_cordon: bool,
    /// Keys of taints.
    pub taints: Vec<String>,
    /// Blocks are withdrawn then, be there pods or not; `None`: when no pod needs them.
    pub deadline: Option<Duration>,
}

/// Addresses of services that may be announced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceRanges {
    pub cluster: Vec<IpNet>,
    pub external: Vec<IpNet>,
    pub load_balancer: Vec<IpNet>,
    /// Ranges are announced whole; else each address by itself.
    pub aggregate: bool,
}

/// Settings that stand in the file, with their lines: there an object must not say something else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Typed {
    pub lines: BTreeMap<String, usize>,
}

impl Typed {
    /// `the file, line 12`, if the setting stands there.
    pub fn place(&self, setting: &str) -> Option<String> {
        self.lines.get(setting).map(|line| format!("the file, line {line}"))
    }
}

/// A node of the cluster's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Unique in the list.
    pub name: String,
    /// One of each family at most.
    pub addresses: Vec<IpAddr>,
}

/// This node's pod blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pods {
    /// Announced, and blackholes in the kernel, where what has no address in them ends.
    pub blocks: Vec<IpNet>,
    /// Announced as blocks, and held in the kernel by others.
    pub held_by_others: Vec<IpNet>,
    /// More blocks, one a line, `#` begins a comment; watched, and replaced as a whole.
    pub file: Option<PathBuf>,
}

/// A password of TCP-MD5 or BFD that came from a file or an object; never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Password {
    /// A file is read at the start and whenever it changes.
    pub place: PasswordPlace,
    /// Or why there is none; then its sessions stay down.
    pub secret: Result<String, String>,
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Password from {}", self.place)
    }
}

/// Where a password is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PasswordPlace {
    File(PathBuf),
    /// Of an API, in words.
    Object(String),
}

impl PeerOptions {
    /// All secrets of the session.
    pub fn passwords(&self) -> impl Iterator<Item = &Password> {
        self.password.iter().chain(self.bfd.iter().filter_map(|bfd| bfd.key.as_ref()).map(|key| &key.password))
    }

    /// All secrets of the session.
    pub fn passwords_mut(&mut self) -> impl Iterator<Item = &mut Password> {
        self.password.iter_mut().chain(self.bfd.iter_mut().filter_map(|bfd| bfd.key.as_mut()).map(|key| &mut key.password))
    }
}

impl PasswordPlace {
    /// `None` for what is no file.
    pub fn file(&self) -> Option<&Path> {
        match self {
            PasswordPlace::File(file) => Some(file),
            PasswordPlace::Object(_) => None,
        }
    }
}

impl fmt::Display for PasswordPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PasswordPlace::File(file) => file.display().fmt(f),
            PasswordPlace::Object(place) => f.write_str(place),
        }
    }
}

/// How many prefixes a peer may announce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxPrefix {
    /// Of IPv4 unicast; `None`: any number.
    pub ipv4: Option<u32>,
    /// Of IPv6 unicast; `None`: any number.
    pub ipv6: Option<u32>,
    /// What becomes of the session beyond it.
    pub action: MaxPrefixAction,
    /// Try again after this time; `None`: stay down until an operator starts it.
    pub restart: Option<Duration>,
}

/// One direction's policy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ChainRef {
    /// RFC 8212: nothing passes.
    Missing,
    /// Everything passes unchanged.
    All,
    /// Nothing passes.
    None,
    /// This node's blocks pass, and nothing else.
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
    /// For `catbird peer`.
    pub description: Option<String>,
    /// TCP, of the peer; where we dial.
    pub port: u16,
    /// Our AS as this peer sees it, in OPEN and in AS_PATH.
    pub local_asn: Asn,
    /// TCP-MD5 (RFC 2385); `None`: segments go unsigned.
    pub password: Option<Password>,
    /// The peer is at most so many hops away; what comes from further is dropped (RFC 5082).
    pub ttl_security: Option<u8>,
    /// TTL of what we send; `None`: 1 to an external peer, 64 to an internal one.
    pub multihop: Option<u8>,
    /// Our end of a connection that we dial; in a cluster our address of the list. `None`: the kernel chooses.
    pub source: Option<IpAddr>,
    /// Bind to it; for a link-local address also its zone.
    pub interface: Option<String>,
    /// Seconds for which our advertisements on the link of a peer by interface offer us as default router (RFC 4861 §6.2.1); zero: not at all.
    pub router_lifetime: u16,
    /// Never dial (RFC 4271 §8.1.1, PassiveTcpEstablishment).
    pub passive: bool,
    /// False: administratively down until an operator starts it.
    pub enabled: bool,
    /// What our OPEN offers; the lower of both holds (RFC 4271 §4.2).
    pub hold_time: HoldTime,
    /// Seconds between KEEPALIVEs; `None`: a third of the hold time in use (RFC 4271 §4.4).
    pub keepalive_time: Option<u16>,
    /// ConnectRetryTime: between two attempts to connect (RFC 4271 §8).
    pub connect_retry: Duration,
    /// DelayOpenTime: how long the peer's OPEN is waited for before ours is sent; `None`: not at all.
    pub delay_open: Option<Duration>,
    /// How long a connection without an OPEN is kept.
    pub open_timeout: Duration,
    /// The rest after a first failure; doubled by each further one.
    pub idle_hold: Duration,
    /// The longest rest.
    pub idle_hold_max: Duration,
    /// SendHoldTime (RFC 9687); `None`: a peer that reads nothing is kept.
    pub send_hold: Option<Duration>,
    /// TCP_USER_TIMEOUT (RFC 5482); `None`: the kernel's own patience.
    pub tcp_user_timeout: Option<Duration>,
    /// TCP_MAXSEG, in octets; `None`: what the path's MTU makes of it.
    pub tcp_mss: Option<u16>,
    /// CollisionDetectEstablishedState (RFC 4271 §8.1.1).
    pub collide_established: bool,
    /// Offered in our OPEN (RFC 4760 §8).
    pub families: FamilySet,
    /// Offer it, and keep the peer's routes over its restart (RFC 4724).
    pub graceful_restart: bool,
    /// Seconds for which stale routes stay on after the restart time (RFC 9494), by `Family::index`; zero: not at all.
    pub long_lived: [u32; 2],
    /// What `[graceful_restart] restart_time` says for all, in seconds, if this session differs.
    pub restart_time: Option<u16>,
    /// Which ways ADD-PATH is offered (RFC 7911 §4).
    pub add_path: AddPath,
    /// At most so many paths of a prefix are announced; 0: all.
    pub add_path_limit: u8,
    /// Offer messages of up to 65,535 octets (RFC 8654).
    pub extended_messages: bool,
    /// Offer IPv4 prefixes with IPv6 next hops (RFC 8950).
    pub extended_next_hop: bool,
    /// How many prefixes the peer may announce.
    pub max_prefix: MaxPrefix,
    /// What is let into the decision.
    pub import: ChainRef,
    /// What is announced to it.
    pub export: ChainRef,
    /// Reflect to it (RFC 4456 §6); in a cluster this follows from the cluster ids.
    pub rr_client: bool,
    /// What NEXT_HOP of announced routes becomes (RFC 4271 §5.1.3).
    pub next_hop: NextHopSetting,
    /// How often our AS may stand in AS_PATH of a route that is let in; zero: never (RFC 4271 §9.1.2).
    pub allow_own_as: u8,
    /// An external path must begin with the peer's AS (RFC 4271 §6.3).
    pub enforce_first_as: bool,
    /// Leave out private AS numbers (RFC 6996) when announcing, but for the peer's own.
    pub remove_private_as: bool,
    /// Write our AS in the place of the peer's own when announcing, for sites that share one AS.
    pub as_override: bool,
    /// What our AS is to the peer's (RFC 9234).
    pub role: Option<Role>,
    /// No session with a peer that does not say its role (RFC 9234 §4.2).
    pub role_strict: bool,
    /// A BFD session beside it (RFC 5882).
    pub bfd: Option<Bfd>,
}

/// What `[bfd.NAME]` says, or what holds without one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bfd {
    /// As the peer refers to it.
    pub name: String,
    /// All but the key.
    pub profile: bfd::Profile,
    /// Packets are authenticated (RFC 5880 §6.7).
    pub key: Option<BfdKey>,
}

/// How packets of a profile are authenticated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BfdKey {
    pub auth: bfd::AuthType,
    pub id: u8,
    pub password: Password,
}

/// One neighbour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// As configured, else its address; of a node of the cluster, the node's name.
    pub name: String,
    /// What it is to reflection and policy.
    pub kind: PeerKind,
    /// Its address.
    pub remote: ZonedAddr,
    /// Which AS its OPEN may carry (RFC 4271 §6.2).
    pub remote_asn: RemoteAs,
    /// Its own settings over those of its group, over the defaults.
    pub options: PeerOptions,
}

/// Neighbours that may come from anywhere in these prefixes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// The peer group's name.
    pub name: String,
    /// As of a [`Session`].
    pub kind: PeerKind,
    /// Whoever connects from here is let in, unless it is a listed peer.
    pub nets: Vec<IpNet>,
    /// Peers that exist at one time at most.
    pub limit: u32,
    /// As of a [`Session`].
    pub remote_asn: RemoteAs,
    /// Of each peer that comes.
    pub options: PeerOptions,
}

/// How the best path is chosen where the RFC leaves a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BestPath {
    /// Use equal external paths together.
    pub multipath_external: bool,
    /// Use equal internal paths together.
    pub multipath_internal: bool,
    /// Compare MED between paths of different neighbouring ASes too (RFC 4271 §9.1.2.2 c compares within one).
    pub always_compare_med: bool,
    /// Paths through different ASes are equal for multipath if their AS_PATHs have one length.
    pub as_path_relax: bool,
    /// Equal paths share the load by the bandwidth that their link bandwidth communities promise, if all have one.
    pub link_bandwidth: bool,
    /// At most so many next hops in one route.
    pub width: u8,
}

/// Graceful restart (RFC 4724), ours and our help with theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Graceful {
    /// Of peers that do not say otherwise.
    pub enabled: bool,
    /// Seconds, at most 4,095: how long peers are asked to keep our routes (RFC 4724 §3).
    pub restart_time: u16,
    /// How long a peer's stale routes stay at most once it is back (RFC 4724 §4.2).
    pub stale_time: Duration,
    /// After this, routes of an earlier run that nobody announced again are removed.
    pub startup_deadline: Duration,
    /// Our End-of-RIB waits no longer than this for peers that do not come up.
    pub end_of_rib_wait: Duration,
    /// What the F bit of our OPEN says after a restart (RFC 4724 §3).
    pub forwarding: Forwarding,
    /// Routes kept over a peer's restart share the load with fresh ones.
    pub stale_in_multipath: bool,
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
    /// Whose metrics are series of their own.
    pub per_peer: PerPeer,
}

/// The control socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// A path of the file system; made, and removed at the end.
    pub socket: PathBuf,
    /// Permissions of the socket, as chmod(1) takes them.
    pub mode: u32,
}

/// What is written to standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// At the start and after a reload that changes it; `catbird log set` changes it meanwhile.
    pub level: LogLevel,
    /// Text for people, or a JSON object a line.
    pub format: LogFormat,
}
