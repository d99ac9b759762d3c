//! What can be asked of the router, and the shape of the answers.
//!
//! In: a `Question` from the control socket or HTTP. Out: rows of plain data, which the edge prints as tables or JSON with these very names.
//! Lists come in pages: the shell asks again from `next` until it is `None`, so that no list is ever whole in memory and the protocol
//! goes on between two pages. How a row is found is `speaker::query`'s matter.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::num::{Asn, Family};

/// Rows of a page when the asker did not say.
pub const PAGE_ROWS: usize = 512;

/// What an operator may ask. Nothing here changes state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "question", rename_all = "snake_case")]
pub enum Question {
    Status,
    Peers {
        cursor: u64,
    },
    /// One peer by name or address.
    Peer {
        peer: String,
    },
    /// Adj-RIB-In of a peer, refused routes included; only those if `rejected`.
    Received {
        peer: String,
        rejected: bool,
        cursor: u64,
    },
    /// Adj-RIB-Out of a peer.
    Advertised {
        peer: String,
        cursor: u64,
    },
    /// Loc-RIB: everything, one prefix, the longest match of an address, or what lies inside a prefix.
    Routes {
        filter: RouteFilter,
        cursor: u64,
    },
    /// The whole story of a prefix.
    Why {
        net: IpNet,
    },
    /// Kernel routes: wanted, installed, failed, foreign.
    Fib {
        net: Option<IpNet>,
        cursor: u64,
    },
    Nexthops {
        cursor: u64,
    },
    Blocks,
    /// Everything that a scrape needs, at one moment.
    Metrics,
}

/// Which routes of the Loc-RIB.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RouteFilter {
    /// An exact prefix, or with `longer` everything inside it.
    pub net: Option<IpNet>,
    pub longer: bool,
    /// The longest match of an address.
    pub address: Option<IpAddr>,
    /// Only paths of this peer (name or address).
    pub peer: Option<String>,
}

/// What an operator may order. Each answers `Answer::Done` or `Answer::Refused`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    /// Administrative Shutdown with an optional text (RFC 9003).
    PeerDown {
        peer: String,
        text: Option<String>,
    },
    PeerUp {
        peer: String,
    },
    /// Close and open again: Administrative Reset (RFC 4486). Where both sides keep routes over a NOTIFICATION (RFC 8538), they do, and
    /// no packet is lost; with `hard` both drop them.
    PeerClear {
        peer: String,
        #[serde(default)]
        hard: bool,
    },
    /// Judge what the peer said again, without a flap (import policy from Adj-RIB-In, or ROUTE-REFRESH).
    RefreshIn {
        peer: String,
    },
    /// Send the peer everything again.
    RefreshOut {
        peer: String,
    },
    /// GRACEFUL_SHUTDOWN (RFC 8326), withdraw, close. With `wait` the answer comes when all of it is done.
    Drain {
        #[serde(default)]
        wait: bool,
    },
    Undrain,
    BlockAdd {
        net: IpNet,
    },
    BlockRemove {
        net: IpNet,
    },
}

/// What a change costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grade {
    Live,
    Refresh,
    Restart,
}

impl fmt::Display for Grade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Grade::Live => "live",
            Grade::Refresh => "refresh",
            Grade::Restart => "restart",
        })
    }
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    pub grade: Grade,
    /// In words: what was and what is to be. Never a secret.
    pub what: String,
    /// Names of the sessions that are touched; empty for a live change.
    pub sessions: Vec<String>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:8}{}", self.grade, self.what)?;
        match self.sessions.as_slice() {
            [] => Ok(()),
            [one] if self.what.contains(one.as_str()) => Ok(()),
            some if some.len() <= 6 => write!(f, " (touches {})", some.join(", ")),
            many => write!(f, " (touches {} sessions)", many.len()),
        }
    }
}

/// What comes back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", content = "data", rename_all = "snake_case")]
pub enum Answer {
    Status(Box<Status>),
    Peers(Page<PeerRow>),
    Peer(Box<PeerDetail>),
    Received(Page<RouteRow>),
    Advertised(Page<RouteRow>),
    Routes(Page<RouteRow>),
    Why(Box<Explanation>),
    Fib(Page<FibRow>),
    Nexthops(Page<NexthopRow>),
    Blocks(Vec<BlockRow>),
    Metrics(Box<Snapshot>),
    /// What a reload changes, or would change.
    Plan(Vec<Change>),
    /// An order was carried out, in words.
    Done(String),
    /// There is no such peer or prefix, or the order makes no sense now; in words.
    Refused(String),
}

/// Some rows and where to go on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Page<T> {
    pub rows: Vec<T>,
    /// `None` after the last page.
    pub next: Option<u64>,
}

/// One screen of identity and health.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    pub name: String,
    pub router_id: Ipv4Addr,
    pub asn: Asn,
    /// `full-mesh` or `route-reflector`, or `none` without a cluster.
    pub mode: String,
    pub cluster_id: Option<Ipv4Addr>,
    pub uptime_seconds: f64,
    pub peers_configured: usize,
    pub peers_established: usize,
    pub tables: Vec<TableRow>,
    pub attribute_sets: usize,
    pub fib: FibCounts,
    /// The same, each family by itself.
    #[serde(default)]
    pub fib_tables: Vec<FibTableRow>,
    pub blocks: usize,
    /// starting, running, draining, drained or stopping.
    #[serde(default)]
    pub phase: String,
    /// Draining, drained or stopping.
    pub draining: bool,
    #[serde(default)]
    pub memory: MemoryRow,
    /// Work as large as a table that goes on in steps.
    #[serde(default)]
    pub jobs: Vec<JobRow>,
    /// We came up with old kernel routes and have not yet removed what was not learned again.
    pub recovering: bool,
    /// What an operator should know, in words.
    pub warnings: Vec<String>,
}

/// Octets that the tables hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryRow {
    pub routes_bytes: u64,
    pub attributes_bytes: u64,
    /// What peers are announced, and what of it waits for them.
    pub export_bytes: u64,
    /// Beyond it, who holds most beyond its share pays.
    pub budget_bytes: Option<u64>,
}

/// Work that goes on in steps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRow {
    /// In words.
    pub what: String,
    /// Prefixes that it has looked at.
    pub done: u32,
}

/// Size of one family's Loc-RIB.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableRow {
    pub family: Family,
    pub prefixes: usize,
    pub paths: usize,
}

/// Kernel routes of ours by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FibCounts {
    pub wanted: usize,
    pub installed: usize,
    pub failed: usize,
    pub foreign: usize,
}

/// One family's kernel routes of ours by state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FibTableRow {
    pub family: Family,
    /// The kernel's number of the table.
    pub table: u32,
    #[serde(flatten)]
    pub counts: FibCounts,
}

/// One line of `catbird peers`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerRow {
    pub name: String,
    /// With `%ifname` if it is link-local; never with a port.
    pub address: String,
    /// mesh, rr_client, rr or external.
    pub kind: String,
    pub local_as: Asn,
    /// `None` until a peer of any AS has told its own.
    pub remote_as: Option<Asn>,
    pub state: String,
    pub admin_up: bool,
    /// How long it has been in this state.
    pub state_seconds: f64,
    pub flaps: u64,
    pub families: Vec<FamilyRow>,
    /// Why it is not up, in words.
    pub why_down: Option<String>,
    /// For instance `no import policy: accepts nothing`.
    pub warnings: Vec<String>,
}

/// Route counts of one peer and family.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FamilyRow {
    pub family: Family,
    pub negotiated: bool,
    pub received: u64,
    pub accepted: u64,
    pub rejected: u64,
    pub stale: u64,
    pub advertised: u64,
    /// The peer's End-of-RIB has been seen in this session.
    pub end_of_rib: bool,
    pub max_prefix: Option<u32>,
}

/// Everything about one peer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerDetail {
    #[serde(flatten)]
    pub row: PeerRow,
    pub description: Option<String>,
    pub passive: bool,
    pub local_endpoint: Option<String>,
    pub remote_endpoint: Option<String>,
    pub remote_router_id: Option<Ipv4Addr>,
    pub hold_seconds: Option<u16>,
    pub keepalive_seconds: Option<f64>,
    pub timers: Vec<TimerRow>,
    pub capabilities: Capabilities,
    pub import: String,
    pub export: String,
    pub messages: Vec<MessageRow>,
    pub updates: UpdateRow,
    pub last_down: Option<LastDown>,
    /// The newest last, 64 at most.
    pub events: Vec<EventRow>,
}

/// A running timer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TimerRow {
    pub timer: String,
    pub remaining_seconds: f64,
}

/// Capabilities in words (RFC 5492).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    pub ours: Vec<String>,
    pub theirs: Vec<String>,
    pub negotiated: Vec<String>,
}

/// Messages of one type since the peer was configured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageRow {
    pub kind: String,
    pub received: u64,
    pub sent: u64,
}

/// Prefixes that went by since the peer was configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateRow {
    pub announced_received: u64,
    pub announced_rejected: u64,
    pub withdrawn_received: u64,
    pub announced_sent: u64,
    pub withdrawn_sent: u64,
    pub malformed: u64,
}

/// How the last session ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LastDown {
    pub ago_seconds: f64,
    /// `sent`, `received` or `local`.
    pub direction: String,
    pub code: Option<u8>,
    pub subcode: Option<u8>,
    /// Hexadecimal.
    pub data: Option<String>,
    pub reason: String,
}

/// One entry of a peer's event ring.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventRow {
    pub ago_seconds: f64,
    pub what: String,
}

/// One path.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RouteRow {
    pub net: IpNet,
    pub path_id: u32,
    /// Name of the peer, or `local`.
    pub peer: String,
    pub peer_address: Option<IpAddr>,
    pub best: bool,
    pub multipath: bool,
    pub stale: bool,
    pub next_hop: Option<String>,
    pub origin: String,
    pub as_path: String,
    pub local_pref: Option<u32>,
    pub med: Option<u32>,
    pub communities: Vec<String>,
    pub large_communities: Vec<String>,
    pub extended_communities: Vec<String>,
    pub originator_id: Option<Ipv4Addr>,
    pub cluster_list: Vec<Ipv4Addr>,
    /// Why it was refused, if it was.
    pub refused: Option<String>,
}

/// The answer to `catbird why`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    pub net: IpNet,
    /// If there is no path: who had it last and why it went, as far as that is remembered.
    #[serde(default)]
    pub departed: Option<DepartedRow>,
    /// Every path anybody told us, the best first.
    pub paths: Vec<PathExplanation>,
    /// What we want in the kernel and what it answered.
    pub fib: Option<FibRow>,
    /// The rule that keeps the best path out of the kernel, if one does.
    #[serde(default)]
    pub not_written: Option<String>,
    /// For each established peer, whether it was told and why not.
    pub exports: Vec<ExportRow>,
}

/// The end of a prefix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DepartedRow {
    /// Name of the peer that had it last, or `local`.
    pub peer: String,
    pub why: String,
    pub ago_seconds: u64,
}

/// One candidate and its fate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PathExplanation {
    #[serde(flatten)]
    pub route: RouteRow,
    /// `best`, `multipath`, `lost: …` with the deciding step, `refused: …` or `ineligible: …`.
    pub verdict: String,
    /// How the next hop was resolved, in words.
    pub next_hop_via: Option<String>,
}

/// Was this peer told?
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportRow {
    pub peer: String,
    pub announced: bool,
    pub reason: String,
}

/// One kernel route.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FibRow {
    pub net: IpNet,
    /// wanted, installed, failed or foreign.
    pub state: String,
    /// As `ip route` would say it.
    pub wanted: Option<String>,
    pub installed: Option<String>,
    pub errno: Option<i32>,
    pub error: Option<String>,
}

/// One next hop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NexthopRow {
    pub address: String,
    pub resolved: bool,
    /// As `ip route get` would say it, or why not.
    pub via: String,
    pub metric: Option<u32>,
    pub used_by: usize,
}

/// One block of this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockRow {
    pub net: IpNet,
    /// Where it comes from: config, file, command or kernel.
    pub source: String,
    pub announced: bool,
}

/// Numbers for one scrape, all of the same moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    pub status: Status,
    pub peers: Vec<PeerMetrics>,
    pub blocks: Vec<BlockRow>,
    pub counters: Counters,
}

/// Numbers of one peer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerMetrics {
    pub row: PeerRow,
    /// Monotonic seconds ago that it became established.
    pub established_seconds: Option<f64>,
    pub last_down: Option<LastDown>,
    pub messages: Vec<MessageRow>,
    pub updates: UpdateRow,
    /// NOTIFICATIONs: direction, code, subcode, how many.
    pub notifications: Vec<NotificationCount>,
    /// Malformed attributes: type code, what was done, how many.
    pub malformed: Vec<MalformedCount>,
}

/// NOTIFICATIONs of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotificationCount {
    pub direction: String,
    pub code: u8,
    pub subcode: u8,
    pub count: u64,
}

/// Malformed attributes of one kind (RFC 7606).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MalformedCount {
    pub attribute: String,
    pub action: String,
    pub count: u64,
}

/// Counters of the whole router.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counters {
    /// Settle rounds and their length: (upper bound in seconds, how many at most that long).
    pub bestpath_seconds: Histogram,
    /// From UPDATE in to the kernel's answer.
    pub convergence_seconds: Histogram,
    pub fib_operations: Vec<FibOperations>,
    pub fib_repaired: u64,
    pub fib_reconciles: u64,
    pub strangers: u64,
    pub stale_routes: usize,
}

/// Kernel operations by kind and result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FibOperations {
    /// replace or remove.
    pub op: String,
    /// ok or error.
    pub result: String,
    pub count: u64,
}

/// A histogram with fixed bounds, ready for Prometheus.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    pub bounds: Vec<f64>,
    /// Not cumulative; one more than `bounds`.
    pub counts: Vec<u64>,
    pub sum: f64,
}

impl Histogram {
    /// From a hundred microseconds to some tens of seconds, by factors of about three.
    pub fn of_seconds() -> Histogram {
        let bounds = vec![0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0];
        Histogram { counts: vec![0; bounds.len() + 1], bounds, sum: 0.0 }
    }

    /// One observation, in seconds.
    pub fn observe(&mut self, seconds: f64) {
        let slot = self.bounds.iter().position(|b| seconds <= *b).unwrap_or(self.bounds.len());
        if let Some(count) = self.counts.get_mut(slot) {
            *count += 1;
        }
        self.sum += seconds;
    }
}
