//! What the shell counts about itself: queues, connections, strangers.
//!
//! In: additions from the tasks of the shell, at any time and from any of them. Out: plain numbers for `daemon::metrics`.
//! It leaves names and units of metrics to `metrics`, and everything about routes and peers to the core's own counters.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

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

    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Time spent, in total.
#[derive(Debug, Default)]
pub struct Spent(AtomicU64);

impl Spent {
    pub fn add(&self, time: Duration) {
        self.0.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    pub fn get(&self) -> Duration {
        Duration::from_nanos(self.0.load(Relaxed))
    }
}

/// One for the whole daemon, shared by its tasks.
#[derive(Debug, Default)]
pub struct Gauges {
    /// Words that wait in the core's queue (bound: `core::INBOX`).
    pub inbox: Gauge,
    /// Time that readers and others waited because that queue was full.
    pub inbox_wait: Spent,
    /// Questions and commands that wait for the core (bound: `core::REQUESTS`).
    pub requests: Gauge,
    /// Octets that wait in the shell because a peer's socket was full (bound: the speaker's credit, connection by connection).
    pub unsent_octets: Gauge,
    /// Connections that are open, either side having dialled.
    pub connections: Gauge,
    /// Accepted ones that have not sent their OPEN (bound: `crowd::HALF_OPEN`).
    pub half_open: Gauge,
    /// Closed ones that still flush or drain (bound: `conn::LINGERING`).
    pub lingering: Gauge,
    /// By who was refused.
    refused: Mutex<BTreeMap<&'static str, Vec<String>>>,
    pub accepted: Counter,
    /// Turned away at the door: no such peer.
    pub strangers: Counter,
    /// Turned away at the door: too many without OPEN, in all or from one address.
    pub crowded: Counter,
    /// Turned away at the door: more hops away than `ttl_security` allows.
    pub too_far: Counter,
    /// `accept` failed, for want of descriptors or memory.
    pub accept_failures: Counter,
    /// `accept` failed because the process or the system had no descriptor left.
    pub descriptors_exhausted: Counter,
    pub dials: Counter,
    pub dial_failures: Counter,
    /// Moments in which the process did not run (stopped, starved): input was read before any timer was believed.
    pub leaps: Counter,
    /// Cycles of the core: wake-ups that did something.
    pub cycles: Counter,
    /// Notices that a slow `monitor` did not get.
    pub notices_lost: Counter,
    /// Netlink's own, from the moment that it is open.
    pub netlink: std::sync::OnceLock<std::sync::Arc<super::netlink::Counters>>,
}

impl Gauges {
    /// What the kernel refuses `who` and is asked for again (an address to listen on, a key), in words; what `who` said before is over.
    pub fn refuse(&self, who: &'static str, words: Vec<String>) {
        if words.is_empty() { drop(self.lock().remove(who)) } else { drop(self.lock().insert(who, words)) }
    }

    /// What is refused now.
    pub fn refused(&self) -> Vec<String> {
        self.lock().values().flatten().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Vec<String>>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
