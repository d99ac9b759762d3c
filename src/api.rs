//! What can be asked of the router, and the shape of the answers.
//!
//! In: a `Question` from the control socket or HTTP. Out: rows of plain data, which the edge prints as tables or JSON with these very names.
//! Lists come in pages: the shell asks again from `next` until it is `None`, so that no list is ever whole in memory and the protocol
//! goes on between two pages. How a row is found is `speaker::query`'s matter.
//!
//! # Units and forms
//! Times are seconds, as decimal numbers where parts of a second matter; sizes are octets. What has no value is `null` in JSON and absent
//! from a table. Addresses of peers are text, because a link-local one needs its interface (`fe80::1%eth0`, RFC 4007 §11). Text in a row is
//! for people; numbers and the lower-case words that are named in its documentation are for programs, and stay as they are from one release
//! to the next.
//!
//! # Invariants
//! Nothing here refers back to a table: a row is a copy, and holds nothing up while it is printed. A page holds about [`PAGE_ROWS`] rows,
//! so an answer takes a bounded time to make, whatever the tables hold. Rows of two pages may be of different moments; those of one page
//! are of one.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::num::{Asn, ConnId, Family};

/// Rows of a page when the asker did not say.
pub const PAGE_ROWS: usize = 512;

/// What an operator may ask. Nothing here changes state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "question", rename_all = "snake_case")]
pub enum Question {
    /// Identity and health of the router: [`Answer::Status`].
    Status,
    /// All peers, listed and dynamic, in the order of their numbers: pages of [`Answer::Peers`].
    Peers { cursor: u64 },
    /// One peer by name or address.
    Peer {
        /// Its configured name, or its address.
        peer: String,
    },
    /// Adj-RIB-In of a peer, refused routes included; only those if `rejected`.
    Received {
        /// Name or address.
        peer: String,
        /// Only the routes that import refused.
        rejected: bool,
        /// Zero, or [`Page::next`] of the page before.
        cursor: u64,
    },
    /// Adj-RIB-Out of a peer.
    Advertised {
        /// Name or address.
        peer: String,
        /// Zero, or [`Page::next`] of the page before.
        cursor: u64,
    },
    /// Loc-RIB: everything, one prefix, the longest match of an address, or what lies inside a prefix.
    Routes {
        filter: RouteFilter,
        /// Zero, or [`Page::next`] of the page before.
        cursor: u64,
    },
    /// The whole story of a prefix, or with `longest` of the longest one in use that holds its first address.
    Why {
        /// Host bits are ignored.
        net: IpNet,
        #[serde(default)]
        longest: bool,
    },
    /// Kernel routes: wanted, installed, failed, foreign.
    Fib {
        /// Only this prefix, exactly.
        net: Option<IpNet>,
        /// Zero, or [`Page::next`] of the page before.
        cursor: u64,
    },
    /// The next hops that any route asks for, and how the kernel's routes resolve them: pages of [`Answer::Nexthops`].
    Nexthops {
        /// Zero, or [`Page::next`] of the page before.
        cursor: u64,
    },
    /// The prefixes that this node originates: [`Answer::Blocks`].
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
    /// With `net`: the prefixes inside it too.
    pub longer: bool,
    /// The longest match of an address.
    pub address: Option<IpAddr>,
    /// Only paths of this peer (name or address).
    pub peer: Option<String>,
    /// Only what is used: best paths, and those that share the load.
    pub best: bool,
    /// Only paths with this community of any kind, as it is shown.
    pub community: Option<String>,
    /// Only paths whose AS_PATH has these numbers in a row.
    pub as_path: Option<String>,
    /// No rows, but how many there would be ([`Answer::Count`]).
    pub count: bool,
}

/// What an operator may order. Each answers `Answer::Done` or `Answer::Refused`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    /// Administrative Shutdown with an optional text (RFC 9003).
    PeerDown {
        /// Name or address.
        peer: String,
        /// For the peer's operator, in the NOTIFICATION (RFC 9003 §2); 128 octets of it are sent.
        text: Option<String>,
    },
    /// Start a peer that was shut down (ManualStart, RFC 4271 §8.1.2).
    PeerUp {
        /// Name or address.
        peer: String,
    },
    /// Close and open again: Administrative Reset (RFC 4486). Where both sides keep routes over a NOTIFICATION (RFC 8538), they do, and
    /// no packet is lost; with `hard` both drop them.
    PeerClear {
        /// Name or address.
        peer: String,
        #[serde(default)]
        hard: bool,
    },
    /// Judge what the peer announced again, without a flap (import policy from Adj-RIB-In, or ROUTE-REFRESH).
    RefreshIn {
        /// Name or address.
        peer: String,
    },
    /// Send the peer everything again.
    RefreshOut {
        /// Name or address.
        peer: String,
    },
    /// GRACEFUL_SHUTDOWN (RFC 8326), withdraw, close. With `wait` the answer comes when all of it is done.
    Drain {
        /// Answer when nothing is announced any more, instead of at once.
        #[serde(default)]
        wait: bool,
    },
    /// Announce again; sessions that the drain closed start again.
    Undrain,
    /// Originate one more prefix, until the daemon ends or it is removed.
    BlockAdd {
        /// Host bits are dropped.
        net: IpNet,
    },
    /// No longer originate a prefix that `BlockAdd` added; those of the configuration or of a file stay.
    BlockRemove {
        /// Host bits are dropped.
        net: IpNet,
    },
}

/// What a change costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grade {
    /// Taken over at once; no session and no route is touched.
    Live,
    /// Routes are judged or announced again; sessions stay up.
    Refresh,
    /// The sessions it touches are closed and come up again.
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
    /// The worst that it costs.
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
    /// To [`Question::Status`].
    Status(Box<Status>),
    /// To [`Question::Peers`].
    Peers(Page<PeerRow>),
    /// To [`Question::Peer`].
    Peer(Box<PeerDetail>),
    /// To [`Question::Received`]: attributes as the peer sent them, before import policy.
    Received(Page<RouteRow>),
    /// To [`Question::Advertised`]: attributes as they are sent, after export policy.
    Advertised(Page<RouteRow>),
    /// To [`Question::Routes`]: attributes after import policy, as the decision sees them.
    Routes(Page<RouteRow>),
    /// To [`Question::Routes`] with `count`: how many of them a part of the table has.
    Count {
        /// That have at least one such path.
        prefixes: u64,
        /// Of all of them.
        paths: u64,
        /// Where to go on; `None` after the last part.
        next: Option<u64>,
    },
    /// To [`Question::Why`].
    Why(Box<Explanation>),
    /// To [`Question::Fib`].
    Fib(Page<FibRow>),
    /// To [`Question::Nexthops`].
    Nexthops(Page<NexthopRow>),
    /// To [`Question::Blocks`].
    Blocks(Vec<BlockRow>),
    /// To [`Question::Metrics`].
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
    /// May be empty on a page that is not the last: a filter looks at a bounded number of rows a page, whether they fit or not.
    pub rows: Vec<T>,
    /// `None` after the last page.
    pub next: Option<u64>,
}

/// One screen of identity and health.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Of the node, as configured.
    pub name: String,
    /// The BGP Identifier that our OPENs carry (RFC 4271 §4.2).
    pub router_id: Ipv4Addr,
    /// Our AS; a peer with `local_asn` sees another.
    pub asn: Asn,
    /// `full-mesh` or `route-reflector`, or `none` without a cluster.
    pub mode: String,
    /// As a reflector (RFC 4456 §7); `None` if we reflect nothing.
    pub cluster_id: Option<Ipv4Addr>,
    /// Since the router was made, which is when the daemon started.
    pub uptime_seconds: f64,
    /// Listed peers, and those that a listen range has let in.
    pub peers_configured: usize,
    /// Of these, those whose session is up.
    pub peers_established: usize,
    /// Some of those that are not up and should be, the longest away first: [`DOWN_PEERS`] at most.
    #[serde(default)]
    pub peers_down: Vec<DownPeer>,
    /// The Loc-RIB, one row for each family.
    pub tables: Vec<TableRow>,
    /// Distinct sets of path attributes in memory; paths with the same attributes share one.
    pub attribute_sets: usize,
    /// Kernel routes of all families together.
    pub fib: FibCounts,
    /// The same, each family by itself.
    #[serde(default)]
    pub fib_tables: Vec<FibTableRow>,
    /// Prefixes that this node originates.
    pub blocks: usize,
    /// starting, running, draining, drained or stopping.
    #[serde(default)]
    pub phase: String,
    /// Draining, drained or stopping.
    pub draining: bool,
    /// What the tables hold, as they count it themselves; the process needs more.
    #[serde(default)]
    pub memory: MemoryRow,
    /// Work as large as a table that goes on in steps.
    #[serde(default)]
    pub jobs: Vec<JobRow>,
    /// We came up with old kernel routes and have not yet removed what was not learned again.
    pub recovering: bool,
    /// Sources of blocks that have not spoken since the start.
    #[serde(default)]
    pub waiting: Option<WaitingRow>,
    /// What an operator should know, in words.
    pub warnings: Vec<String>,
}

/// What is waited for after a start, before anything is withdrawn for want of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WaitingRow {
    /// As `catbird blocks` names them.
    pub sources: Vec<String>,
    /// No longer than this.
    pub seconds_left: f64,
}

impl fmt::Display for WaitingRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sources, left) = (self.sources.join(", "), self.seconds_left);
        write!(
            f,
            "the node's blocks are not all known yet, from: {sources}; End-of-RIB and old routes wait for them {left:.0} s more at most"
        )
    }
}

/// Peers that are away and named by `status` at most.
pub const DOWN_PEERS: usize = 5;

/// A peer that is not up and should be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DownPeer {
    pub name: String,
    pub why: String,
    /// How long it has been away; for one that never came, since the router's start.
    pub away_seconds: f64,
}

/// Octets that the tables hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryRow {
    /// Adj-RIB-In and Loc-RIB: destinations, paths and their indexes.
    pub routes_bytes: u64,
    /// Sets of path attributes, each once.
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
    /// Whose table.
    pub family: Family,
    /// Prefixes with a best path.
    pub prefixes: usize,
    /// Paths of all peers to all prefixes, refused ones included.
    pub paths: usize,
}

/// Kernel routes of ours by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FibCounts {
    /// Prefixes that should stand in the kernel.
    pub wanted: usize,
    /// Wanted, and the kernel has exactly that.
    pub installed: usize,
    /// The kernel refused them; they are tried again.
    pub failed: usize,
    /// Wanted, and somebody else has a route for the same prefix.
    pub foreign: usize,
}

/// One family's kernel routes of ours by state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FibTableRow {
    /// Whose routes.
    pub family: Family,
    /// The kernel's number of the table.
    pub table: u32,
    /// By state.
    #[serde(flatten)]
    pub counts: FibCounts,
}

/// One line of `catbird peers`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerRow {
    /// As configured; of one that a listen range let in, its address.
    pub name: String,
    /// With `%ifname` if it is link-local; never with a port.
    pub address: String,
    /// mesh, rr_client, rr or external.
    pub kind: String,
    /// The AS that we present to it.
    pub local_as: Asn,
    /// `None` until a peer of any AS has said its own in an OPEN.
    pub remote_as: Option<Asn>,
    /// Idle, Connect, Active, OpenSent, OpenConfirm or Established (RFC 4271 §8.2.2), of the connection that is furthest.
    pub state: String,
    /// The operator wants it up.
    pub admin_up: bool,
    /// How long it has been in this state.
    pub state_seconds: f64,
    /// Established sessions that ended, since the peer was configured.
    pub flaps: u64,
    /// One row for each configured family.
    pub families: Vec<FamilyRow>,
    /// Why it is not up, in words: the most telling reason.
    pub why_down: Option<String>,
    /// All reasons since the last session, the most telling first.
    #[serde(default)]
    pub failures: Vec<FailureRow>,
    /// For instance `no import policy: accepts nothing`.
    pub warnings: Vec<String>,
}

/// Route counts of one peer and family.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FamilyRow {
    /// Which one.
    pub family: Family,
    /// The running session carries it (RFC 4760 §8).
    pub negotiated: bool,
    /// Paths in Adj-RIB-In; `accepted + rejected`.
    pub received: u64,
    /// Prefixes of these paths: more than one path each with ADD-PATH (RFC 7911). They count against `max_prefix`.
    pub prefixes: u64,
    /// Of the paths, let in by import.
    pub accepted: u64,
    /// Of these, refused by import and kept for show.
    pub rejected: u64,
    /// Of these, kept over a restart of the peer and not announced again (RFC 4724 §4.2).
    pub stale: u64,
    /// Paths in Adj-RIB-Out: announced, or about to be.
    pub advertised: u64,
    /// The peer's End-of-RIB has been seen in this session.
    pub end_of_rib: bool,
    /// The most that the peer may announce.
    pub max_prefix: Option<u32>,
}

/// Everything about one peer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerDetail {
    /// As in the list.
    #[serde(flatten)]
    pub row: PeerRow,
    /// As configured.
    pub description: Option<String>,
    /// We never dial it (RFC 4271 §8.1.1, PassiveTcpEstablishment).
    pub passive: bool,
    /// Our address and port of the session's connection.
    pub local_endpoint: Option<String>,
    /// Its address and port.
    pub remote_endpoint: Option<String>,
    /// The BGP Identifier of its OPEN.
    pub remote_router_id: Option<Ipv4Addr>,
    /// The lower of both OPENs (RFC 4271 §4.2); zero: no keepalives are sent or wanted.
    pub hold_seconds: Option<u16>,
    /// Between two KEEPALIVEs of ours, before jitter.
    pub keepalive_seconds: Option<f64>,
    /// Those that run.
    pub timers: Vec<TimerRow>,
    /// Of both OPENs, and what came of them.
    pub capabilities: Capabilities,
    /// Names of the policies, in order; `all` or `none configured` without one.
    pub import: String,
    /// Likewise.
    pub export: String,
    /// One row for each type of message.
    pub messages: Vec<MessageRow>,
    /// Prefixes in UPDATE messages.
    pub updates: UpdateRow,
    /// The end of the last session.
    pub last_down: Option<LastDown>,
    /// The newest last, 64 at most.
    pub events: Vec<EventRow>,
    /// Of the session's connection; the kernel's answer at this moment.
    pub transport: Option<TransportRow>,
    /// That connection, for whoever holds it.
    #[serde(skip)]
    pub conn: Option<ConnId>,
}

/// How a TCP connection fares.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TransportRow {
    /// Sent, and not acknowledged by the peer's machine.
    pub unacknowledged_bytes: u32,
    /// Written, and not sent yet.
    pub unsent_bytes: u32,
    /// How often in a row the oldest of it was sent again in vain.
    pub resent: u8,
    /// It has waited at least so long for its acknowledgement.
    pub unacknowledged_seconds: f64,
    /// Longest segment that we send, and longest packet that the path is believed to carry.
    pub mss: u32,
    pub path_mtu: u32,
}

impl TransportRow {
    /// Small packets pass and large ones vanish: what that looks like from here, and what helps.
    pub fn mtu_hint(&self) -> Option<String> {
        let stuck = self.resent >= 2 && self.unacknowledged_bytes > 0 && self.mss > 536;
        stuck.then(|| {
            format!(
                "segments of {} octets do not arrive while the session lives: does the path carry packets of {} octets (ping -M do -s {})? `tcp_mss` \
                 of the peer makes them shorter, and so does the sysctl net.ipv4.tcp_mtu_probing=1",
                self.mss,
                self.path_mtu,
                self.path_mtu.saturating_sub(28)
            )
        })
    }
}

/// A running timer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TimerRow {
    /// HoldTimer, KeepaliveTimer and the like, as RFC 4271 §8 calls it.
    pub timer: String,
    /// Until it expires. The HoldTimer is counted from the last message.
    pub remaining_seconds: f64,
}

/// Capabilities in words (RFC 5492).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// Of our last OPEN.
    pub ours: Vec<String>,
    /// Of the peer's OPEN, while the session is up.
    pub theirs: Vec<String>,
    /// What holds for this session, families first.
    pub negotiated: Vec<String>,
}

/// Messages of one type since the peer was configured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageRow {
    /// open, update, notification, keepalive or route_refresh.
    pub kind: String,
    /// Read from the connection.
    pub received: u64,
    /// Handed to the connection.
    pub sent: u64,
}

/// Prefixes that went by since the peer was configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateRow {
    /// Prefixes that the peer announced.
    pub announced_received: u64,
    /// Of these, refused by import.
    pub announced_rejected: u64,
    /// Prefixes that the peer withdrew.
    pub withdrawn_received: u64,
    /// Prefixes that were announced to it.
    pub announced_sent: u64,
    /// Prefixes that were withdrawn from it.
    pub withdrawn_sent: u64,
    /// Malformed attributes and UPDATEs (RFC 7606), whatever was done about them.
    pub malformed: u64,
}

/// How the last session ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LastDown {
    /// How long ago.
    pub ago_seconds: f64,
    /// `sent`, `received` or `local`.
    pub direction: String,
    /// Of the NOTIFICATION (RFC 4271 §4.5), if there was one.
    pub code: Option<u8>,
    /// Likewise.
    pub subcode: Option<u8>,
    /// Hexadecimal.
    pub data: Option<String>,
    /// In words.
    pub reason: String,
}

/// One reason why a peer is not up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FailureRow {
    pub reason: String,
    pub first_ago_seconds: f64,
    pub last_ago_seconds: f64,
    pub count: u32,
}

/// One entry of a peer's event ring. What happened again since the session last began or ended is one entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventRow {
    /// How long ago; of what repeated, the last time.
    pub ago_seconds: f64,
    /// How long ago it was for the first time.
    pub first_ago_seconds: f64,
    /// How often.
    pub count: u32,
    /// In words.
    pub what: String,
}

/// One path.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RouteRow {
    /// The prefix.
    pub net: IpNet,
    /// RFC 7911; zero where ADD-PATH is not in use.
    pub path_id: u32,
    /// Name of the peer, or `local`.
    pub peer: String,
    /// `None` for our own routes.
    pub peer_address: Option<IpAddr>,
    /// The decision chose it.
    pub best: bool,
    /// It shares load with the best.
    pub multipath: bool,
    /// Kept over a restart of its peer and not announced again (RFC 4724 §4.2).
    pub stale: bool,
    /// Import let it in, and its next hop can be reached.
    #[serde(default)]
    pub usable: bool,
    /// Since it was last announced otherwise than before.
    #[serde(default)]
    pub age_seconds: Option<u32>,
    /// `None` for our own routes; with the link-local address in parentheses where a peer sent both (RFC 2545 §3).
    pub next_hop: Option<String>,
    /// IGP, EGP or incomplete (RFC 4271 §5.1.1).
    pub origin: String,
    /// Space-separated, sets in braces, confederation segments in parentheses or brackets (RFC 5065 §5).
    pub as_path: String,
    /// RFC 4271 §5.1.5.
    pub local_pref: Option<u32>,
    /// MULTI_EXIT_DISC (RFC 4271 §5.1.4).
    pub med: Option<u32>,
    /// RFC 1997, as `asn:value` or by their registered names.
    pub communities: Vec<String>,
    /// RFC 8092, as `asn:value:value`.
    pub large_communities: Vec<String>,
    /// RFC 4360; unknown types in hexadecimal.
    pub extended_communities: Vec<String>,
    /// RFC 4456 §8.
    pub originator_id: Option<Ipv4Addr>,
    /// RFC 4456 §8, our own cluster first if we reflected it.
    pub cluster_list: Vec<Ipv4Addr>,
    /// Why it was refused, if it was.
    pub refused: Option<String>,
}

/// The answer to `catbird why`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// The prefix that was asked for, without host bits.
    pub net: IpNet,
    /// What was asked for: `net` itself, or an address in it.
    pub asked: IpNet,
    /// Shorter prefixes in use that hold it, the longest first, and longer ones inside it: eight of each at most.
    pub covering: Vec<IpNet>,
    pub longer: Vec<IpNet>,
    /// If there is no path: who had it last and why it went, as far as that is remembered.
    #[serde(default)]
    pub departed: Option<DepartedRow>,
    /// Every path that anybody announced, the best first.
    pub paths: Vec<PathExplanation>,
    /// What we want in the kernel and what it answered.
    pub fib: Option<FibRow>,
    /// What the kernel does with a packet to it. `None` if it could not be asked.
    #[serde(default)]
    pub kernel: Option<KernelAnswer>,
    /// The rule that keeps the best path out of the kernel, if one does.
    #[serde(default)]
    pub not_written: Option<String>,
    /// For each established peer, whether it is announced to it, and why not.
    pub exports: Vec<ExportRow>,
}

/// The end of a prefix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DepartedRow {
    /// Name of the peer that had it last, or `local`.
    pub peer: String,
    /// In words: withdrawn, session down, refused and by what.
    pub why: String,
    /// How long ago.
    pub ago_seconds: u64,
}

/// How the kernel forwards (RTM_GETROUTE).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelAnswer {
    /// The address that it was asked about.
    pub address: IpAddr,
    /// The route that it chose; `None` if none leads there.
    pub net: Option<IpNet>,
    pub table: u32,
    pub metric: u32,
    /// Who wrote it, as `ip route` says: `kernel`, `static`, `bird`, or a number.
    pub protocol: String,
    /// It is one that we wrote.
    pub ours: bool,
    /// unicast, blackhole, unreachable, prohibit, local, or none.
    pub kind: String,
    /// As `ip route` would say it.
    pub route: String,
}

/// What became of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    Best,
    /// Carries load together with the best.
    Shares,
    Lost,
    /// Its next hop cannot be reached.
    Ineligible,
    Refused,
}

/// One candidate and its fate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PathExplanation {
    /// The path, as in a list.
    #[serde(flatten)]
    pub route: RouteRow,
    pub fate: Fate,
    /// The step of the decision at which it won or lost (RFC 4271 §9.1.2.2), and what it compared: of this path, and of the best.
    pub step: Option<String>,
    pub value: Option<String>,
    pub best_value: Option<String>,
    /// The same in words.
    pub verdict: String,
    /// How the next hop was resolved, in words, and by which route.
    pub next_hop_via: Option<String>,
    pub next_hop_through: Option<IpNet>,
    /// Of a stale path: when it goes unless it is announced again.
    pub stale_seconds_left: Option<f64>,
}

/// Is it announced to this peer?
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportRow {
    /// Its name.
    pub peer: String,
    /// It is in the peer's Adj-RIB-Out.
    pub announced: bool,
    /// In words; of an announced route, what is left to do if anything.
    pub reason: String,
}

/// One kernel route.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FibRow {
    /// The prefix.
    pub net: IpNet,
    /// wanted, installed, failed or foreign.
    pub state: String,
    /// As `ip route` would say it.
    pub wanted: Option<String>,
    /// What the kernel has, in the same form.
    pub installed: Option<String>,
    /// What the kernel answered last, if it refused.
    pub errno: Option<i32>,
    /// The same in words.
    pub error: Option<String>,
}

/// One next hop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NexthopRow {
    /// With `%ifname` if it is link-local.
    pub address: String,
    /// Some route of the kernel, or of ours, leads there.
    pub resolved: bool,
    /// As `ip route get` would say it, or why not.
    pub via: String,
    /// The interior cost that the decision compares (RFC 4271 §9.1.2.2 e).
    pub metric: Option<u32>,
    /// Attribute sets that name it.
    pub used_by: usize,
}

/// One block of this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockRow {
    /// The prefix.
    pub net: IpNet,
    /// Where it comes from: config, file, command or kernel.
    pub source: String,
    /// False while the router drains, or starts.
    pub announced: bool,
}

/// Numbers for one scrape, all of the same moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// As of [`Question::Status`].
    pub status: Status,
    /// All of them, whatever their number.
    pub peers: Vec<PeerMetrics>,
    /// As of [`Question::Blocks`].
    pub blocks: Vec<BlockRow>,
    /// Of the router as a whole.
    pub counters: Counters,
}

/// Numbers of one peer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerMetrics {
    /// As in the list.
    pub row: PeerRow,
    /// Its import policy may let something in.
    pub expects_routes: bool,
    /// When it became established, in seconds after the router's start.
    pub established_at_seconds: Option<f64>,
    /// The end of the last session.
    pub last_down: Option<LastDown>,
    /// One row for each type of message.
    pub messages: Vec<MessageRow>,
    /// Prefixes in UPDATE messages.
    pub updates: UpdateRow,
    /// NOTIFICATIONs: direction, code, subcode, how many.
    pub notifications: Vec<NotificationCount>,
    /// Malformed attributes: type code, what was done, how many.
    pub malformed: Vec<MalformedCount>,
}

/// NOTIFICATIONs of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotificationCount {
    /// `sent` or `received`.
    pub direction: String,
    /// RFC 4271 §4.5.
    pub code: u8,
    /// RFC 4271 §4.5; kinds beyond the first 64 are counted as code 0, subcode 0.
    pub subcode: u8,
    /// Since the peer was configured.
    pub count: u64,
}

/// Malformed attributes of one kind (RFC 7606).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MalformedCount {
    /// Its name, or its number if we do not know it.
    pub attribute: String,
    /// `attribute_discarded`, `treated_as_withdrawn` or `session_reset` (RFC 7606 §2).
    pub action: String,
    /// Since the peer was configured.
    pub count: u64,
}

/// Counters of the whole router.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counters {
    /// Settle rounds and their length: (upper bound in seconds, how many at most that long).
    pub bestpath_seconds: Histogram,
    /// From UPDATE in to the kernel's answer.
    pub convergence_seconds: Histogram,
    /// Changes that the kernel answered.
    pub fib_operations: Vec<FibOperations>,
    /// Kernel routes put right after somebody else changed them.
    pub fib_repaired: u64,
    /// Comparisons of all wanted routes with the kernel's.
    pub fib_reconciles: u64,
    /// Connections that the listener let in and no peer and no range of the router took.
    pub strangers: u64,
    /// Paths kept over a restart of their peer (RFC 4724 §4.2).
    pub stale_routes: usize,
}

/// Kernel operations by kind and result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FibOperations {
    /// replace or remove.
    pub op: String,
    /// ok or error.
    pub result: String,
    /// Since the start.
    pub count: u64,
}

/// A histogram with fixed bounds, ready for Prometheus.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    /// Upper ends of the buckets in seconds, ascending; what took longer is counted in one more bucket.
    pub bounds: Vec<f64>,
    /// Not cumulative; one more than `bounds`.
    pub counts: Vec<u64>,
    /// Seconds, of all observations.
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
