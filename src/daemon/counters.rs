//! What the shell counts about itself: queues, connections, callers that were turned away.
//!
//! In: additions from the tasks of the shell, at any time and from any of them. Out: plain numbers for `daemon::metrics`.
//! It leaves names and units of metrics to `metrics`, and everything about routes and peers to the core's own counters.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::atomics::{Counter, DurationCounter, Gauge, StepHistogram};
use super::event_log::LogCounters;
use super::protocol::SourceRow;
use crate::bfd::Drop as Dropped;

/// Descriptors that BGP connections leave to everything else: some 20 are always open, and clients and files want theirs.
const RESERVED: u64 = 30;

/// What of the thread is known outside of it.
#[derive(Debug, Default)]
pub struct BfdMetrics {
    /// The kernel runs it before others.
    pub realtime: AtomicBool,
    /// Sessions that are wanted.
    pub sessions: Gauge,
    /// Of these, those that are Up.
    pub up: Gauge,
    /// Packets taken in.
    pub received: AtomicU64,
    /// Packets handed to the kernel.
    pub sent: Counter,
    /// Of these, those that it refused.
    pub send_failures: Counter,
    /// By reason.
    pub dropped: [AtomicU64; Dropped::ALL.len()],
    /// Wake-ups that came more than 5 ms after the moment for which they were meant.
    pub late: Counter,
}

impl BfdMetrics {
    /// Packets that were dropped for this reason.
    pub fn dropped(&self, why: Dropped) -> u64 {
        self.dropped.get(why as usize).map_or(0, |count| count.load(Relaxed))
    }
}

/// One for the whole daemon, shared by its tasks.
#[derive(Debug, Default)]
pub struct DaemonMetrics {
    /// Events that wait in the core's queue (bound: `core::event_queue::QUEUE`).
    pub queue: Gauge,
    /// Time that readers and others waited because that queue was full.
    pub queue_wait: DurationCounter,
    /// Questions and commands that wait for the core (bound: `core::REQUESTS`).
    pub requests: Gauge,
    /// Octets that wait in the shell because a peer's socket was full (bound: the speaker's credit, connection by connection).
    pub unsent_octets: Gauge,
    /// Connections that are open, either side having dialled.
    pub connections: Gauge,
    /// Accepted ones that the core has yet to take in.
    pub accepting: Gauge,
    /// Dials that are under way.
    pub dialling: Gauge,
    /// Accepted ones that have not sent their OPEN (bound: `half_open::HALF_OPEN`).
    pub half_open: Gauge,
    /// Closed ones that still flush or drain (bound: `conn::LINGERING`).
    pub lingering: Gauge,
    /// What an operator ought to know of, by topic.
    warnings: Mutex<BTreeMap<&'static str, Vec<String>>>,
    /// What keeps packets from going, by topic; the node is not ready meanwhile.
    obstacles: Mutex<BTreeMap<&'static str, Vec<String>>>,
    /// How the last reading of each kind of file went.
    files: Mutex<BTreeMap<&'static str, bool>>,
    /// Lines of the log that were not written.
    pub log: LogCounters,
    /// Most descriptors that the process may have open; zero: not known.
    pub descriptors: u64,
    /// The wall clock at the start, once: a time that is computed anew at each scrape jitters.
    started: std::sync::OnceLock<std::time::SystemTime>,
    /// Connections that `accept` returned.
    pub accepted: Counter,
    /// Turned away at the door: no such peer.
    pub unknown_peers: Counter,
    /// Turned away at the door: too many without OPEN, in all or from one address.
    pub half_open_limited: Counter,
    /// Turned away at the door: sessions from that address failed again and again.
    pub penalized: Counter,
    /// Turned away at the door: more hops away than `ttl_security` allows.
    pub ttl_rejected: Counter,
    /// `accept` failed, for want of descriptors or memory.
    pub accept_failures: Counter,
    /// `accept` failed because the process or the system had no descriptor left.
    pub descriptors_exhausted: Counter,
    /// Attempts to connect.
    pub dials: Counter,
    /// Of these, those that led to no connection.
    pub dial_failures: Counter,
    /// Moments in which the process did not run (stopped, starved): input was read before any timer was believed.
    pub leaps: Counter,
    /// The longest step of each cycle of the core: nothing else happens on its thread meanwhile.
    pub core_steps: StepHistogram,
    /// Cycles of the core: wake-ups that did something.
    pub cycles: Counter,
    /// Of BFD's thread.
    pub bfd: BfdMetrics,
    /// The watches of a cluster's API.
    pub watches: Watches,
    /// Netlink's own, from the moment that it is open.
    pub netlink: std::sync::OnceLock<std::sync::Arc<super::netlink::Counters>>,
}

/// Where rows of watches are to be had, once somebody has them.
#[derive(Default)]
pub struct Watches(std::sync::OnceLock<Box<dyn Fn() -> Vec<SourceRow> + Send + Sync>>);

impl Watches {
    /// From here on.
    pub fn come_from(&self, rows: impl Fn() -> Vec<SourceRow> + Send + Sync + 'static) {
        self.0.get_or_init(|| Box::new(rows));
    }
}

impl std::fmt::Debug for Watches {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Watches")
    }
}

impl DaemonMetrics {
    /// One row for each watch.
    pub fn sources(&self) -> Vec<SourceRow> {
        self.watches.0.get().map(|rows| rows()).unwrap_or_default()
    }

    /// All at zero; `descriptors` as in the field.
    pub fn new(log: LogCounters, descriptors: u64) -> DaemonMetrics {
        let counters = DaemonMetrics { log, descriptors, ..DaemonMetrics::default() };
        counters.started();
        counters
    }

    /// When the daemon started, by the wall clock of that moment.
    pub fn started(&self) -> std::time::SystemTime {
        *self.started.get_or_init(std::time::SystemTime::now)
    }

    /// Is there a descriptor for one more BGP connection? [`RESERVED`] are kept for what is not BGP.
    pub fn has_descriptors(&self) -> bool {
        let open = self.connections.get() + self.accepting.get() + self.dialling.get() + self.lingering.get();
        let room = self.descriptors == 0 || open < self.descriptors.saturating_sub(RESERVED).max(1);
        let limit = self.descriptors;
        let text =
            || format!("{open} BGP connections are all that {limit} file descriptors allow; raise the limit (LimitNOFILE, ulimit -n)");
        self.warn("descriptors", if room { Vec::new() } else { vec![text()] });
        room
    }

    /// What is to be said of `topic` from now on (an address that cannot be listened on, a file that cannot be read); nothing: it is over.
    pub fn warn(&self, topic: &'static str, texts: Vec<String>) {
        put(&self.warnings, topic, texts);
    }

    /// The same of what makes this node unready.
    pub fn obstruct(&self, topic: &'static str, texts: Vec<String>) {
        put(&self.obstacles, topic, texts);
    }

    /// Why no packets go, as far as this machine is concerned.
    pub fn obstacles(&self) -> Vec<String> {
        let tunnels = self.netlink.get().map(|netlink| netlink.tunnel_troubles()).unwrap_or_default();
        lock(&self.obstacles).values().flatten().cloned().chain(tunnels).collect()
    }

    /// What is to be said of this topic now.
    pub fn warnings_of(&self, topic: &str) -> Vec<String> {
        lock(&self.warnings).get(topic).cloned().unwrap_or_default()
    }

    /// What holds now.
    pub fn warnings(&self) -> Vec<String> {
        let dropped = match self.log.stalled() {
            0 => None,
            lines => Some(format!("{lines} lines of the log were dropped: whoever reads standard error does not keep up")),
        };
        self.obstacles().into_iter().chain(lock(&self.warnings).values().flatten().cloned()).chain(dropped).collect()
    }

    /// A file of this kind was read, or could not be: then `texts` say which and why, until the next time.
    pub fn file_read(&self, kind: &'static str, texts: Vec<String>) {
        lock(&self.files).insert(kind, texts.is_empty());
        self.warn(kind, texts);
    }

    /// No file of this kind is read any more.
    pub fn file_forgotten(&self, kind: &'static str) {
        lock(&self.files).remove(kind);
        self.warn(kind, Vec::new());
    }

    /// Each kind of file that was read so far, and whether the last reading was good.
    pub fn files(&self) -> Vec<(&'static str, bool)> {
        lock(&self.files).iter().map(|(kind, good)| (*kind, *good)).collect()
    }
}

fn put(topics: &Mutex<BTreeMap<&'static str, Vec<String>>>, topic: &'static str, texts: Vec<String>) {
    if texts.is_empty() { drop(lock(topics).remove(topic)) } else { drop(lock(topics).insert(topic, texts)) }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
