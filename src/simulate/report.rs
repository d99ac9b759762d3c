//! The answers of a simulation.
//!
//! In: nothing; this is data. Tables, pages and JSON are made of it elsewhere.

use serde::{Deserialize, Serialize};

use super::cluster::Role;

/// All that one run has to say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
pub struct Report {
    /// The same seed gives the same report.
    pub seed: u64,
    /// It came to its end; false: this is what was known when it was interrupted.
    pub complete: bool,
    /// Virtual time that has passed.
    pub seconds: f64,
    /// Machines of all roles.
    pub machines: usize,
    /// Of these, those whose router was run with all its tables; the others are thin.
    pub whole: usize,
    /// Blocks of all nodes.
    pub blocks: usize,
    /// Sessions that are configured.
    pub sessions: usize,
    /// Of these, those that stand at the end.
    pub established: usize,
    /// What machines of a role did, and hold.
    pub roles: Vec<RoleRow>,
    /// The start, and each event.
    pub windows: Vec<Window>,
    /// Of every octet sent, its time and its sender.
    pub digest: String,
    /// What is not simulated of what these configurations ask for.
    pub notes: Vec<String>,
}

/// The machines of one role.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
pub struct RoleRow {
    /// Which.
    pub role: Role,
    /// How many.
    pub machines: usize,
    /// Of one machine, at the end; as all others here the mean of all.
    pub sessions: f64,
    /// Of one machine, from the start to the end.
    pub messages_sent: f64,
    /// Likewise.
    pub messages_received: f64,
    /// Likewise.
    pub updates_sent: f64,
    /// Likewise.
    pub updates_received: f64,
    /// Likewise.
    pub octets_sent: f64,
    /// Likewise.
    pub octets_received: f64,
    /// What the tables of the machine with the largest hold, as they count it themselves; absent where none was run whole.
    pub memory_bytes: Option<u64>,
    /// Time for which the processor of the busiest machine worked, by the costs that were assumed.
    pub busy_seconds: f64,
}

/// The start, or an event, and what came of it until the next one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
pub struct Window {
    /// In words.
    pub what: String,
    /// When it began, since the first start.
    pub at_seconds: f64,
    /// How long was looked.
    pub seconds: f64,
    /// Sessions that ended.
    pub sessions_lost: usize,
    /// Sent by all machines, KEEPALIVEs among them.
    pub messages: u64,
    /// UPDATEs of these.
    pub updates: u64,
    /// Likewise, octets of all messages.
    pub octets: u64,
    /// Summed over all nodes: prefixes times seconds for which there was no route to pods that could be reached.
    pub black_hole_prefix_seconds: f64,
    /// Likewise, for which there was a route by which packets did not arrive.
    pub wrong_route_prefix_seconds: f64,
    /// Nodes that had one of both.
    pub nodes_touched: usize,
    /// Blocks for which there was one of both.
    pub blocks_touched: usize,
    /// Pairs of node and block without a route at the end.
    pub no_route_at_end: u64,
    /// Pairs with a wrong one.
    pub wrong_at_end: u64,
    /// When the kernels of nodes changed last; absent where none did.
    pub convergence: Option<Convergence>,
    /// How it went.
    pub curve: Vec<Point>,
}

/// Seconds from the beginning of a window to the last change of a node's kernel routes, over the nodes that changed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
pub struct Convergence {
    /// Nodes whose routes changed.
    pub nodes: usize,
    /// Of the node that was first.
    pub first_seconds: f64,
    /// Half of the nodes were done.
    pub p50_seconds: f64,
    /// All but one of a hundred were.
    pub p99_seconds: f64,
    /// Of the node that was last.
    pub last_seconds: f64,
}

impl Convergence {
    /// Of times in order.
    pub(super) fn of(times: &[std::time::Duration]) -> Option<Convergence> {
        let at = |percent: usize| {
            times.get((times.len() * percent).div_ceil(100).saturating_sub(1)).map_or(0.0, std::time::Duration::as_secs_f64)
        };
        (!times.is_empty()).then(|| Convergence {
            nodes: times.len(),
            first_seconds: times.first().map_or(0.0, std::time::Duration::as_secs_f64),
            p50_seconds: at(50),
            p99_seconds: at(99),
            last_seconds: at(100),
        })
    }
}

/// A moment of a window.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
pub struct Point {
    /// Since the window began.
    pub seconds: f64,
    /// Pairs of node and block without a route, from then on.
    pub no_route: u64,
    /// Pairs with a wrong one.
    pub wrong: u64,
}
