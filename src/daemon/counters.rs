//! What the shell counts about itself: queues, connections, callers that were turned away.
//!
//! In: additions from the tasks of the shell, at any time and from any of them. Out: plain numbers for `daemon::metrics`.
//! It leaves names and units of metrics to `metrics`, and everything about routes and peers to the core's own counters.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::event_log::LogCounters;
use crate::speaker::show::Histogram;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    pub fn set(&self, n: usize) {
        self.0.store(n as u64, Relaxed);
    }

    /// Puts one share of a sum in the place of its former value.
    pub fn shift(&self, from: usize, to: usize) {
        if from != to {
            self.0.fetch_add((to as u64).wrapping_sub(from as u64), Relaxed);
        }
    }

    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    pub fn sub(&self, n: u64) {
        self.0.fetch_sub(n, Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Time spent, in total.
#[derive(Debug, Default)]
pub struct DurationCounter(AtomicU64);

impl DurationCounter {
    pub fn add(&self, time: Duration) {
        self.0.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    pub fn get(&self) -> Duration {
        Duration::from_nanos(self.0.load(Relaxed))
    }
}

/// Descriptors that BGP connections leave to everything else: some 20 are always open, and clients and files want theirs.
const RESERVED: u64 = 30;

/// Upper bounds of the buckets of a [`StepHistogram`], in seconds. A step is meant to end after a millisecond or so.
pub const STEP_BOUNDS: [f64; 8] = [0.001, 0.0025, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0];

/// How long things took.
#[derive(Debug, Default)]
pub struct StepHistogram {
    /// One for each of [`STEP_BOUNDS`], and one for what took longer.
    counts: [AtomicU64; STEP_BOUNDS.len() + 1],
    sum: DurationCounter,
}

impl StepHistogram {
    pub fn observe(&self, time: Duration) {
        let seconds = time.as_secs_f64();
        let bucket = STEP_BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(STEP_BOUNDS.len());
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(1, Relaxed);
        }
        self.sum.add(time);
    }

    pub fn snapshot(&self) -> Histogram {
        let counts = self.counts.iter().map(|count| count.load(Relaxed)).collect();
        Histogram { bounds: STEP_BOUNDS.to_vec(), counts, sum: self.sum.get().as_secs_f64() }
    }
}

/// One for the whole daemon, shared by its tasks.
#[derive(Debug, Default)]
pub struct DaemonMetrics {
    /// Events that wait in the core's queue (bound: `core::QUEUE`).
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
    /// How the last reading of each kind of file went.
    files: Mutex<BTreeMap<&'static str, bool>>,
    /// Lines of the log that were not written.
    pub log: LogCounters,
    /// Most descriptors that the process may have open; zero: not known.
    pub descriptors: u64,
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
    pub dials: Counter,
    pub dial_failures: Counter,
    /// Moments in which the process did not run (stopped, starved): input was read before any timer was believed.
    pub leaps: Counter,
    /// The longest step of each cycle of the core: nothing else happens on its thread meanwhile.
    pub core_steps: StepHistogram,
    /// Cycles of the core: wake-ups that did something.
    pub cycles: Counter,
    /// Notices that a slow `monitor` did not get.
    pub notices_lost: Counter,
    /// Netlink's own, from the moment that it is open.
    pub netlink: std::sync::OnceLock<std::sync::Arc<super::netlink::Counters>>,
}

impl DaemonMetrics {
    pub fn new(log: LogCounters, descriptors: u64) -> DaemonMetrics {
        DaemonMetrics { log, descriptors, ..DaemonMetrics::default() }
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
        if texts.is_empty() { drop(lock(&self.warnings).remove(topic)) } else { drop(lock(&self.warnings).insert(topic, texts)) }
    }

    /// What holds now.
    pub fn warnings(&self) -> Vec<String> {
        let dropped = match self.log.stalled() {
            0 => None,
            lines => Some(format!("{lines} lines of the log were dropped: whoever reads standard error does not keep up")),
        };
        lock(&self.warnings).values().flatten().cloned().chain(dropped).collect()
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
