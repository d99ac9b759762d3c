//! What the router counts, so that the edge can show it: per peer in `Traffic`, for the whole in `RouterCounters`.
//!
//! In: events of the other files of this room. Out: plain numbers for `show`. Prometheus and text are made by the shell.

use std::collections::{BTreeMap, VecDeque};

use crate::api::{Counters, FibOperations, Histogram, MalformedCount, UpdateRow};
use crate::fib;
use crate::num::Instant;
use crate::rib::pack::Load;
use crate::wire::AttrCode;

/// Notices about malformed attributes that one peer gets before they are only counted, in one session.
const COMPLAINTS: u32 = 16;

/// Batches of kernel changes whose beginning is remembered.
const ARRIVALS: usize = 1024;

/// Counters of one peer, over all its sessions.
#[derive(Default)]
pub(super) struct Traffic {
    /// Prefixes in UPDATE messages, both ways.
    pub updates: UpdateRow,
    /// UPDATE messages; those received are counted by [`crate::peer::Peer`].
    pub updates_sent: u64,
    /// ROUTE-REFRESH messages, marks of RFC 7313 among them.
    pub refreshes_sent: u64,
    malformed: BTreeMap<(Option<AttrCode>, &'static str), u64>,
    complaints: u32,
}

impl Traffic {
    /// RFC 7606: an attribute (0: none in particular) was malformed and this was done.
    pub fn count_malformed(&mut self, attribute: Option<AttrCode>, action: &'static str) {
        *self.malformed.entry((attribute, action)).or_default() += 1;
        self.updates.malformed += 1;
    }

    /// What a group announced to this peer.
    pub fn count_sent(&mut self, load: &Load) {
        self.updates_sent += u64::from(load.updates);
        self.refreshes_sent += u64::from(load.refreshes);
        self.updates.announced_sent += u64::from(load.announced);
        self.updates.withdrawn_sent += u64::from(load.withdrawn);
    }

    /// A peer that sends nothing but rubbish does not fill the log.
    pub fn may_complain(&mut self) -> bool {
        self.complaints = self.complaints.saturating_add(1);
        self.complaints <= COMPLAINTS
    }

    /// A new session may complain anew.
    pub fn session_began(&mut self) {
        self.complaints = 0;
    }

    /// A row for each attribute and consequence that occurred.
    pub fn malformed(&self) -> Vec<MalformedCount> {
        let row = |(&(code, action), &count): (&(Option<AttrCode>, &'static str), &u64)| MalformedCount {
            attribute: code.map_or_else(|| "none".to_owned(), |c| c.to_string()),
            action: action.replace(' ', "_"),
            count,
        };
        self.malformed.iter().map(row).collect()
    }
}

/// Counters of the router.
pub(super) struct RouterCounters {
    bestpath: Histogram,
    convergence: Histogram,
    /// When the oldest UPDATE came that is not settled yet.
    waiting: Option<Instant>,
    /// When the oldest UPDATE came of whose kernel changes some still wait to be made, and the last of them that was.
    making: Option<(Instant, Option<u64>)>,
    /// Kernel changes up to this number follow from an UPDATE of that moment.
    arrivals: VecDeque<(u64, Instant)>,
}

impl Default for RouterCounters {
    fn default() -> RouterCounters {
        RouterCounters {
            bestpath: Histogram::of_seconds(),
            convergence: Histogram::of_seconds(),
            waiting: None,
            making: None,
            arrivals: VecDeque::new(),
        }
    }
}

impl RouterCounters {
    /// The clock of convergence starts, unless it runs for an earlier UPDATE.
    pub fn update_arrived(&mut self, now: Instant) {
        self.waiting.get_or_insert(now);
    }

    /// Everything that had arrived is selected. Kernel changes up to `seq` follow from it, and those that `wait` until others are answered.
    pub fn settled(&mut self, seq: Option<u64>, wait: bool, now: Instant) {
        if let Some(arrived) = self.waiting.take() {
            self.bestpath.observe(now.since(arrived).as_secs_f64());
            self.making.get_or_insert((arrived, None));
        }
        let Some((arrived, last)) = &mut self.making else { return };
        *last = seq.or(*last);
        let (arrived, last) = (*arrived, *last);
        if wait {
            return;
        }
        self.making = None;
        if let Some(seq) = last.filter(|_| self.arrivals.len() < ARRIVALS) {
            self.arrivals.push_back((seq, arrived));
        }
    }

    /// The kernel answered change number `seq`.
    pub fn acknowledged(&mut self, seq: u64, now: Instant) {
        while let Some(&(_, arrived)) = self.arrivals.front().filter(|(upto, _)| *upto <= seq) {
            self.arrivals.pop_front();
            self.convergence.observe(now.since(arrived).as_secs_f64());
        }
    }

    /// With what the FIB counts.
    pub fn show(&self, fib: &fib::Totals) -> Counters {
        let row = |op: &str, result: &str, count| FibOperations { op: op.into(), result: result.into(), count };
        Counters {
            bestpath_seconds: self.bestpath.clone(),
            convergence_seconds: self.convergence.clone(),
            fib_operations: vec![
                row("replace", "ok", fib.replaced),
                row("replace", "error", fib.replace_errors),
                row("remove", "ok", fib.removed),
                row("remove", "error", fib.remove_errors),
            ],
            fib_repaired: fib.repaired,
            fib_reconciles: fib.reconciles,
            ..Counters::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn told(histogram: &Histogram) -> u64 {
        histogram.counts.iter().sum()
    }

    #[test]
    fn a_burst_has_converged_when_its_last_route_is_answered() {
        let mut counters = RouterCounters::default();
        let at = |ms| Instant::ZERO + Duration::from_millis(ms);
        counters.update_arrived(at(0));
        counters.settled(Some(10), true, at(1));
        counters.acknowledged(10, at(50));
        assert_eq!(told(&counters.convergence), 0, "some of its changes wait for the window");
        counters.settled(Some(20), false, at(51));
        counters.acknowledged(19, at(60));
        assert_eq!(told(&counters.convergence), 0);
        counters.acknowledged(20, at(70));
        assert_eq!((told(&counters.convergence), told(&counters.bestpath)), (1, 1));
        assert!((counters.convergence.sum - 0.07).abs() < 1e-9);
        counters.settled(Some(30), false, at(80));
        counters.acknowledged(30, at(90));
        assert_eq!(told(&counters.convergence), 1, "a repair follows from no UPDATE");
    }
}
