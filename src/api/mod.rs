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
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::num::Asn;

mod bfd;
mod bmp;
mod forwarding;
mod metrics;
mod peers;
mod routes;
mod rpki;
mod status;

pub use bfd::{BfdLastDown, BfdReport, BfdRow, BfdTimes};
pub use bmp::BmpRow;
pub use forwarding::{ForwardingHop, ForwardingReport, LinkRow, NeighbourRow};
pub use metrics::{Counters, FibOperations, Histogram, MalformedCount, NotificationCount, PeerMetrics, Snapshot};
pub use peers::{
    Capabilities, EventRow, FailureRow, FamilyRow, LastDown, MessageRow, PeerDetail, PeerRow, TimerRow, TransportRow, UpdateRow,
};
pub use routes::{
    BlockRow, DepartedRow, Explanation, ExportRow, Fate, FibEntry, FibRow, HopRow, KernelAnswer, NexthopRow, PathExplanation,
    ResolutionRow, RouteRow, STEPS,
};
pub use rpki::{RpkiCacheRow, RpkiReport, RpkiVerdict, VrpRow};
pub use status::{DOWN_PEERS, DownPeer, FibCounts, FibTableRow, JobRow, MemoryRow, Status, TableRow, WaitingRow};

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
    /// RPKI caches, and what their VRPs say: [`Answer::Rpki`].
    Rpki {
        /// About this prefix, too. Host bits are ignored.
        #[serde(default)]
        net: Option<IpNet>,
        /// Originated by this AS.
        #[serde(default)]
        asn: Option<Asn>,
    },
    /// Monitoring stations: [`Answer::Bmp`].
    Bmp,
    /// BFD sessions: [`Answer::Bfd`].
    Bfd {
        /// Only of this one, by name or address.
        #[serde(default)]
        peer: Option<String>,
    },
    /// What this machine does with a packet: [`Answer::Forwarding`].
    Forwarding {
        to: IpAddr,
        /// Its source; `None`: any address of this machine.
        #[serde(default)]
        from: Option<IpAddr>,
        /// The address of this machine that the one before sends it to.
        #[serde(default)]
        at: Option<IpAddr>,
        /// `fwmark`, for `ip rule`.
        #[serde(default)]
        mark: u32,
    },
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
        /// Only if the cluster says that the machine shuts down; else nothing is done.
        #[serde(default)]
        if_shutdown: bool,
    },
    /// Announce again; sessions that the drain closed start again.
    Undrain,
    /// Originate one more prefix, until it is removed or the machine restarts.
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
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
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
    /// To [`Question::Rpki`].
    Rpki(Box<RpkiReport>),
    /// To [`Question::Bmp`].
    Bmp(Vec<BmpRow>),
    /// To [`Question::Bfd`].
    Bfd(Box<BfdReport>),
    /// To [`Question::Forwarding`].
    Forwarding(Box<ForwardingReport>),
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
