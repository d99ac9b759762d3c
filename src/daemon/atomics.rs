//! Numbers that many tasks change and one reads, without a lock: counter, gauge, time, histogram.
//!
//! Nothing orders one of these against another (`Relaxed`), so two of them read together may be a moment apart; what must belong together
//! comes from the core as one snapshot instead. All of them wrap rather than fail.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::api::Histogram;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Wraps after 2^64.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// As of some moment of late.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Puts this in the place of what was there.
    pub fn set(&self, n: usize) {
        self.0.store(n as u64, Relaxed);
    }

    /// Puts one share of a sum in the place of its former value.
    pub fn shift(&self, from: usize, to: usize) {
        if from != to {
            self.0.fetch_add((to as u64).wrapping_sub(from as u64), Relaxed);
        }
    }

    /// Upwards.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// Downwards; the caller has added as much before.
    pub fn sub(&self, n: u64) {
        self.0.fetch_sub(n, Relaxed);
    }

    /// As of some moment of late.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Time spent, in total.
#[derive(Debug, Default)]
pub struct DurationCounter(AtomicU64);

impl DurationCounter {
    /// Nanoseconds are counted.
    pub fn add(&self, time: Duration) {
        self.0.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    /// In total.
    pub fn get(&self) -> Duration {
        Duration::from_nanos(self.0.load(Relaxed))
    }
}

/// Upper bounds of the buckets of a [`StepHistogram`], in seconds. A step is meant to end after a millisecond or so,
/// and nobody is to wait for 20 for another's sake.
pub const STEP_BOUNDS: [f64; 9] = [0.001, 0.0025, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0];

/// How long things took.
#[derive(Debug, Default)]
pub struct StepHistogram {
    /// One for each of [`STEP_BOUNDS`], and one for what took longer.
    counts: [AtomicU64; STEP_BOUNDS.len() + 1],
    sum: DurationCounter,
}

impl StepHistogram {
    /// One more, in the bucket of its length.
    pub fn observe(&self, time: Duration) {
        let seconds = time.as_secs_f64();
        let bucket = STEP_BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(STEP_BOUNDS.len());
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(1, Relaxed);
        }
        self.sum.add(time);
    }

    /// Bounds and sum in seconds.
    pub fn snapshot(&self) -> Histogram {
        let counts = self.counts.iter().map(|count| count.load(Relaxed)).collect();
        Histogram { bounds: STEP_BOUNDS.to_vec(), counts, sum: self.sum.get().as_secs_f64() }
    }
}
