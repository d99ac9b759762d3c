//! What the router is to be: the configuration as it is meant, free of files and syntax.
//!
//! In: `config` makes a `Params` from what the operator typed; tests make one by hand. Out: the values that the other files of this room
//! read. Names, defaults and errors of the configuration language are `config`'s.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::fib::{self, overlay};
use crate::kernel::NamePattern;
use crate::num::{Asn, ClusterId, Family, RouterId};
use crate::peer;
use crate::policy::{Chain, LocalKind, PrefixSet};
use crate::rib::nexthop::{self, Nodes, TunnelRule};
use crate::rib::update_group::AddPathSend;
use crate::rib::{self, Rules};
use crate::{bfd, bmp, rpki};

/// Everything the speaker is configured with. Two equal values make the same router.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Params {
    /// The node's name, as `catbird status` shows it.
    pub name: String,
    /// Our AS (RFC 4271 §1.1).
    pub asn: Asn,
    /// Our BGP Identifier (RFC 6286).
    pub router_id: RouterId,
    /// `full-mesh`, `route-reflector` or `none`; shown, never acted on: the peers below say it all.
    pub mode: String,
    /// Set on a reflector (RFC 4456 §7); reflecting needs it.
    pub cluster_id: Option<ClusterId>,
    /// A reflector passes on the routes of one client to the others. Clients that are meshed do not need that.
    pub client_to_client: bool,
    /// This node's own addresses, next hops of what it originates where the session's own address is of the other family.
    pub addresses: NodeAddresses,
    /// The listed ones.
    pub peers: Vec<Arc<PeerConfig>>,
    /// Where peers that are not listed may come from.
    pub ranges: Vec<Arc<ListenRange>>,
    /// The node's pod blocks from the configuration; other sources come as `Input::Blocks`.
    pub blocks: Vec<IpNet>,
    /// Blocks that are announced, and held in the kernel by another program.
    pub held_blocks: Vec<IpNet>,
    /// Addresses and ranges of services that are announced; sorted.
    pub services: Vec<IpNet>,
    /// The cluster says that this node leaves.
    pub leaving: Option<Leaving>,
    /// Sources of blocks that speak up by themselves. After a start nothing is withdrawn for want of what they have not said yet.
    pub sources: BTreeSet<BlockSource>,
    /// How the best path is chosen where RFC 4271 leaves a choice.
    pub rules: Rules,
    /// What is written into the kernel.
    pub fib: fib::Params,
    /// Kernel routes of others that we announce, and the interfaces that are none of our business.
    pub redistribute: RedistributeParams,
    /// What an end and a drain do.
    pub stop: StopParams,
    /// What is kept of an earlier run, and how long.
    pub recovery: RecoveryParams,
    /// What peers may make us hold.
    pub limits: Limits,
    /// Monitoring stations, each once.
    pub bmp: Vec<bmp::StationParams>,
    /// RPKI caches, each once, the most preferred first.
    pub rpki: Vec<rpki::CacheParams>,
    /// Neighbours are still to be named: nothing is taken for gone because nobody announces it.
    pub provisional: bool,
    /// Whose word something is, for answers: `peer ADDRESS`, `block PREFIX`, `service PREFIX`. The router does not act on it.
    pub origins: BTreeMap<String, String>,
    /// Settings of the shell around the router, each by its name in words. The router does not act on them; they are here so that one
    /// comparison says all that a reload changes.
    pub shell: BTreeMap<String, String>,
}

/// Who named a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BlockSource {
    /// `[pods] blocks`.
    Config,
    /// `[pods] file`.
    File,
    /// `catbird block add`.
    Command,
    /// The configuration, of a block that another program holds in the kernel.
    Held,
    /// `[[redistribute]]`.
    Kernel,
}

impl BlockSource {
    /// As `catbird blocks` and `status` name it.
    pub fn name(self) -> &'static str {
        match self {
            BlockSource::Config => "config",
            BlockSource::File => "file",
            BlockSource::Command => "command",
            BlockSource::Held => "config, held by others",
            BlockSource::Kernel => "kernel",
        }
    }
}

/// Where this node can be reached, by family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NodeAddresses {
    /// IPv4.
    pub v4: Option<Ipv4Addr>,
    /// IPv6.
    pub v6: Option<Ipv6Addr>,
}

/// One neighbour: its session, and what is done with routes from and to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerConfig {
    /// How the session is set up.
    pub session: Arc<peer::Params>,
    /// `None` on an external peer accepts nothing (RFC 8212); on an internal one, everything.
    pub import: Option<Chain>,
    /// `None` on an external peer announces nothing (RFC 8212); on an internal one, everything that iBGP lets through.
    pub export: Option<Chain>,
    /// A client of ours, if we are a reflector (RFC 4456).
    pub rr_client: bool,
    /// What NEXT_HOP becomes when announcing to it.
    pub next_hop: NextHopSetting,
    /// How many paths of a prefix it is announced if ADD-PATH was agreed (RFC 7911).
    pub add_path: AddPathSend,
    /// By [`Family::index`].
    pub max_prefix: [Option<MaxPrefix>; 2],
    /// How often our own AS may stand in a path that we accept from here.
    pub allow_own_as: u8,
    /// An external path must begin with the peer's AS (RFC 4271 §6.3); off for route servers (RFC 7947).
    pub enforce_first_as: bool,
    /// Private AS numbers are left out when announcing to it (RFC 6996).
    pub remove_private_as: bool,
    /// Its own AS in AS_PATH is replaced by ours when announcing to it.
    pub as_override: bool,
    /// Honour GRACEFUL_SHUTDOWN from external peers by LOCAL_PREF 0 (RFC 8326 §4.2).
    pub graceful_shutdown: bool,
    /// What it alone may make us hold.
    pub burden: Burden,
    /// A BFD session tells whether the path to it is alive (RFC 5882).
    pub bfd: Option<Arc<bfd::Profile>>,
}

/// How much memory one peer may make us use, whatever `max_prefix` says; beyond it is told Cease / Out of Resources (RFC 4486).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Burden {
    /// Of all families, with all their path identifiers.
    pub paths: u64,
    /// Of attribute sets, counted for each path that has them.
    pub attribute_octets: u64,
}

impl Default for Burden {
    /// Three times the Internet's table, with attributes three times as long.
    fn default() -> Burden {
        Burden { paths: 4_000_000, attribute_octets: 1 << 30 }
    }
}

impl PeerConfig {
    /// With everything at its default.
    pub fn new(session: Arc<peer::Params>) -> PeerConfig {
        PeerConfig {
            session,
            import: None,
            export: None,
            rr_client: false,
            next_hop: NextHopSetting::Auto,
            add_path: AddPathSend::All,
            max_prefix: [None, None],
            allow_own_as: 0,
            enforce_first_as: true,
            remove_private_as: false,
            as_override: false,
            graceful_shutdown: true,
            burden: Burden::default(),
            bfd: None,
        }
    }

    /// The number of prefixes beyond which the session is closed.
    pub fn closes_at(&self, family: Family) -> Option<u64> {
        let limit = self.max_prefix(family)?;
        matches!(limit.action, MaxPrefixAction::Close { .. }).then(|| u64::from(limit.limit))
    }

    /// The limit of a family.
    pub fn max_prefix(&self, family: Family) -> Option<&MaxPrefix> {
        self.max_prefix.get(family.index()).and_then(Option::as_ref)
    }
}

/// The next hop of what a peer is announced (RFC 4271 §5.1.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum NextHopSetting {
    /// Ourselves towards external peers; towards internal ones as it was learned.
    #[default]
    Auto,
    /// Ourselves, always.
    SelfAddress,
    /// As it was learned.
    Unchanged,
    /// As it was learned where that address is on the link that we share with the peer; else ourselves.
    ThirdParty,
}

/// How many prefixes of a family a peer may announce (RFC 4271 §6.7, RFC 4486 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaxPrefix {
    /// More than this is too many.
    pub limit: u32,
    /// Percent of `limit` at which we warn.
    pub warn_percent: u8,
    /// What becomes of the session beyond it.
    pub action: MaxPrefixAction,
}

/// What happens to the prefix that is one too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MaxPrefixAction {
    /// Nothing; it is said in the log.
    Warn,
    /// Keep the session, refuse what is too much.
    Refuse,
    /// Cease / Maximum Number of Prefixes Reached; try again after `restart`, or never without.
    Close {
        /// `None`: it stays down until an operator starts it.
        restart: Option<Duration>,
    },
}

impl MaxPrefixAction {
    /// In words, for the log.
    pub fn name(self) -> &'static str {
        match self {
            MaxPrefixAction::Warn => "warning only",
            MaxPrefixAction::Refuse => "the excess is refused",
            MaxPrefixAction::Close { .. } => "the session is closed",
        }
    }
}

/// Peers that may connect from anywhere inside a prefix.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ListenRange {
    /// Who connects from here is let in, unless a listed peer has that address.
    pub net: IpNet,
    /// Sessions at a time.
    pub limit: usize,
    /// What each of them is like; its `remote` is replaced by the address that came.
    pub template: PeerConfig,
}

/// What all peers together may make us hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Octets of routes, attribute sets and what waits to be announced; `None`: no bound. Beyond it the peer that holds most beyond its share is
    /// told Cease / Out of Resources (RFC 4486 §4), and the others live on.
    pub memory: Option<u64>,
    /// What the tables keep of refused routes, and how many paths of a prefix.
    pub tables: rib::Limits,
}

/// A node that leaves by the cluster's word: its services first, and its blocks when no pod needs them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaving {
    /// Whose word it is, and why: `Node a: it is cordoned`.
    pub why: String,
    /// Services that it announced and others take over; sorted.
    pub services: Vec<IpNet>,
    /// No pod needs the blocks any more.
    pub pods_gone: bool,
    /// The machine ends.
    pub shuts_down: bool,
    /// The blocks go then at the latest, counted from when it began to leave.
    pub deadline: Option<Duration>,
}

/// What TERM and `drain` do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopParams {
    /// What TERM means.
    pub on_term: OnTerm,
    /// Between GRACEFUL_SHUTDOWN and the withdrawal, and between that and the close (RFC 8326 §3).
    pub drain_wait: Duration,
}

impl Default for StopParams {
    fn default() -> StopParams {
        StopParams { on_term: OnTerm::Keep, drain_wait: Duration::from_millis(300) }
    }
}

/// What happens to kernel routes and sessions when the daemon is asked to end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnTerm {
    /// Kernel routes stay, connections are closed without a NOTIFICATION so that helpers keep ours (RFC 4724 §4.2).
    #[default]
    Keep,
    /// Cease / Administrative Shutdown to all, kernel routes are removed.
    Withdraw,
}

/// After a start, how long routes of an earlier run stay in the kernel unconfirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveryParams {
    /// At the latest then, what was not learned again is removed.
    pub deadline: Duration,
    /// End-of-RIB is not held back longer than this for peers that do not come up.
    pub end_of_rib_wait: Duration,
    /// What our OPEN says after a restart.
    pub forwarding: Forwarding,
}

/// What our OPEN says of forwarding over our restart: the F bit (RFC 4724 §3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Forwarding {
    /// Preserved for the families of which an earlier run has left routes in the kernel; never without a kernel table of ours.
    #[default]
    Auto,
    /// Preserved whatever we do: others forward, as with a reflector beside the path of packets.
    Preserved,
}

impl Default for RecoveryParams {
    fn default() -> RecoveryParams {
        RecoveryParams { deadline: Duration::from_secs(120), end_of_rib_wait: Duration::from_secs(10), forwarding: Forwarding::Auto }
    }
}

/// What is learned.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RedistributeParams {
    /// The first that matches decides.
    pub rules: Vec<RedistributeRule>,
    /// Interfaces that nothing is learned of, whatever the rules say.
    pub ignore: Vec<NamePattern>,
}

/// Which routes, and as what. All conditions must hold; an empty list holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RedistributeRule {
    /// One of these.
    pub prefixes: PrefixSet,
    /// RTA protocols.
    pub protocols: Vec<u8>,
    /// One way of the route leads over one of these.
    pub interfaces: Vec<NamePattern>,
    /// `None`: either.
    pub shape: Option<Shape>,
    /// What it is to policies (`own_kinds`).
    pub kind: LocalKind,
    /// It carries LOCAL_PREF 2^31-1 less the kernel route's metric, as Calico has it; a route without a metric carries none.
    pub by_metric: bool,
}

/// What the kernel's route does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Shape {
    /// It leads somewhere.
    Unicast,
    /// It discards, as an IPAM's route for a block does.
    Blackhole,
}

impl Params {
    /// Whose word it is that there is this block, or this service.
    pub fn origin(&self, net: &IpNet) -> Option<&str> {
        ["block", "service"].into_iter().find_map(|what| self.origins.get(&format!("{what} {net}"))).map(String::as_str)
    }

    /// Whose word it is that there is this neighbour.
    pub fn origin_of_peer(&self, remote: &peer::Remote) -> Option<&str> {
        self.origins.get(&format!("peer {remote}")).map(String::as_str)
    }

    /// How next hops are resolved, as follows from where our routes stand.
    pub fn nexthops(&self) -> nexthop::Params {
        nexthop::Params {
            own: std::iter::once(self.fib.owner()).chain(self.fib.former.iter().copied()).map(|o| (o.table, o.protocol)).collect(),
            tunnels: self.tunnels(),
            ignore: self.redistribute.ignore.clone(),
            ..nexthop::Params::default()
        }
    }

    /// Which next hops go through a tunnel. Where nothing is written to the kernel, none does.
    pub fn tunnels(&self) -> TunnelRule {
        let overlay = &self.fib.overlay;
        let nodes = || Nodes::new(overlay.reachable_nodes());
        match overlay.mode {
            _ if !self.fib.enabled => TunnelRule::Never,
            overlay::Mode::Never => TunnelRule::Never,
            overlay::Mode::CrossSubnet => TunnelRule::Remote(nodes()),
            overlay::Mode::Always => TunnelRule::Always(nodes()),
        }
    }

    /// What somebody who connects from this address is, if a listen range lets it in: the longest range that contains it decides.
    pub fn range_peer(&self, addr: IpAddr, zone: Option<&str>) -> Option<(Arc<PeerConfig>, Arc<ListenRange>)> {
        let range = self.ranges.iter().filter(|r| r.net.contains(&addr)).max_by_key(|r| r.net.prefix_len())?.clone();
        let mut session = (*range.template.session).clone();
        session.name = addr.to_string();
        session.remote = peer::Remote { addr, zone: zone.map(str::to_owned) };
        session.passive = true;
        Some((Arc::new(PeerConfig { session: Arc::new(session), ..range.template.clone() }), range))
    }
}
