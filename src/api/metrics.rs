//! Numbers for one scrape: what [`super::Question::Metrics`] gets.
//!
//! Units and forms are those of [`super`].

use serde::{Deserialize, Serialize};

use super::{BlockRow, BmpRow, LastDown, MessageRow, PeerRow, RpkiReport, Status, UpdateRow};

/// Numbers for one scrape, all of the same moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// As of [`super::Question::Status`].
    pub status: Status,
    /// All of them, whatever their number.
    pub peers: Vec<PeerMetrics>,
    /// As of [`super::Question::Blocks`].
    pub blocks: Vec<BlockRow>,
    /// As of [`super::Question::Bmp`].
    #[serde(default)]
    pub bmp: Vec<BmpRow>,
    /// As of [`super::Question::Rpki`]; `None` where no cache is configured.
    #[serde(default)]
    pub rpki: Option<RpkiReport>,
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
    /// How often its BFD session went down.
    #[serde(default)]
    pub bfd_downs: u32,
    /// Of a peer that is configured by its interface: how often somebody was found on the link, and lost.
    #[serde(default)]
    pub neighbours: Option<(u64, u64)>,
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
