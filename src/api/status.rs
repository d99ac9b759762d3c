//! Answers about the router as a whole: `catbird status`.
//!
//! Units and forms are those of [`super`].

use std::fmt;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::num::{Asn, Family};

/// One screen of identity and health.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
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
    /// The cluster says that this node leaves: why, and how far it is.
    #[serde(default)]
    pub leaving: Option<String>,
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
    /// The VRPs that origins are judged by (RFC 6811), in words; absent without a cache, or where none is synchronised.
    #[serde(default)]
    pub rpki: Option<String>,
    /// What an operator should know, in words.
    pub warnings: Vec<String>,
}

/// What is waited for after a start, before anything is withdrawn for want of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
pub struct DownPeer {
    pub name: String,
    pub why: String,
    /// How long it has been away; for one that never came, since the router's start.
    pub away_seconds: f64,
}

/// Octets that the tables hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
pub struct MemoryRow {
    /// Adj-RIB-In and Loc-RIB: destinations, paths and their indexes.
    pub routes_bytes: u64,
    /// Sets of path attributes, each once.
    pub attributes_bytes: u64,
    /// What peers are announced, and what of it waits for them.
    pub export_bytes: u64,
    /// Kernel routes: what should stand, what does, and what others have under the same prefixes.
    #[serde(default)]
    pub fib_bytes: u64,
    /// Beyond it, who holds most beyond its share pays.
    pub budget_bytes: Option<u64>,
}

/// Work that goes on in steps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
pub struct JobRow {
    /// In words.
    pub what: String,
    /// Prefixes that it has looked at.
    pub done: u32,
}

/// Size of one family's Loc-RIB.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
pub struct FibTableRow {
    /// Whose routes.
    pub family: Family,
    /// The kernel's number of the table.
    pub table: u32,
    /// By state.
    #[serde(flatten)]
    pub counts: FibCounts,
}
