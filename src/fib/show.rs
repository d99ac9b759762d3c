//! What the operator sees of the planner: counts that are always at hand, rows by the page, news.

use ipnet::IpNet;
use serde::Serialize;
use smallvec::SmallVec;

use super::plan::{Fib, Foreign, Wait};
use super::store::{Entry, Flags, Slot};
use super::{Errno, FibRoute};
use crate::num::Family;

/// One family's prefixes by their state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Prefixes that should stand in the kernel.
    pub wanted: usize,
    /// Wanted, and standing exactly so. Less than `wanted` for long means drift.
    pub installed: usize,
    /// Refused by the kernel, waiting to be tried again.
    pub failed: usize,
    /// Wanted, and others have routes for the same prefix.
    pub foreign: usize,
    /// Not written because another's route stands there.
    pub blocked: usize,
    /// Standing, but a route of another with a better metric carries the traffic.
    pub shadowed: usize,
    /// Adopted from an earlier run and not wanted yet.
    pub stale: usize,
    /// All its links are down.
    pub parked: usize,
}

impl Counts {
    fn each(&mut self, e: &Entry, step: impl Fn(&mut usize)) {
        let wanted = e.wanted.is_some();
        let count = |on: bool, n: &mut usize| {
            if on {
                step(n)
            }
        };
        count(wanted, &mut self.wanted);
        count(wanted && e.installed == e.wanted && e.flags.has(Flags::SURE), &mut self.installed);
        count(e.flags.has(Flags::FAILED), &mut self.failed);
        count(wanted && e.flags.has(Flags::FOREIGN), &mut self.foreign);
        count(wanted && e.flags.has(Flags::BLOCKED), &mut self.blocked);
        count(wanted && e.flags.has(Flags::SHADOWED), &mut self.shadowed);
        count(e.flags.has(Flags::STALE), &mut self.stale);
        count(wanted && e.flags.has(Flags::PARKED), &mut self.parked);
    }

    /// One more entry.
    pub(super) fn add(&mut self, e: &Entry) {
        self.each(e, |n| *n += 1);
    }

    /// One fewer.
    pub(super) fn take(&mut self, e: &Entry) {
        self.each(e, |n| *n -= 1);
    }
}

/// Counters since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Routes written.
    pub replaced: u64,
    /// Attempts to, that the kernel refused.
    pub replace_errors: u64,
    /// Routes removed.
    pub removed: u64,
    /// Attempts to, that the kernel refused.
    pub remove_errors: u64,
    /// Routes that an earlier run had left.
    pub adopted: u64,
    /// Changes of our routes by others, or by the kernel.
    pub disturbed: u64,
    /// Routes put right after that.
    pub repaired: u64,
    /// Dumps compared with what we know, the first one included.
    pub reconciles: u64,
}

impl Totals {
    /// One answer of the kernel.
    pub(super) fn count(&mut self, remove: bool, ok: bool) {
        *match (remove, ok) {
            (false, true) => &mut self.replaced,
            (false, false) => &mut self.replace_errors,
            (true, true) => &mut self.removed,
            (true, false) => &mut self.remove_errors,
        } += 1;
    }
}

/// What deserves a line in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FibEvent {
    /// The kernel refused a route, for the first time.
    Refused { net: IpNet, errno: Errno },
    /// Another's route took the place of ours, or stands before it.
    Foreign { net: IpNet, protocol: u8 },
    /// Others keep changing this one: from here on we put it right at a pace.
    Contested { net: IpNet },
    /// Another routing daemon's routes stood in our table at the start.
    Others { protocol: u8, routes: usize },
}

/// Where a prefix stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The kernel has what is wanted.
    Installed,
    /// Installed, but another's better metric carries the traffic.
    Shadowed,
    /// To be written or removed, or on its way.
    Pending,
    /// The kernel refused; it is tried again.
    Failed,
    /// Another's route stands there and is left alone.
    Foreign,
    /// Others changed it too often; waits.
    Contested,
    /// Every link of it is down.
    LinkDown,
    /// Left by an earlier run, not wanted yet.
    Stale,
}

impl State {
    /// As in `catbird fib`.
    pub fn name(self) -> &'static str {
        match self {
            State::Installed => "installed",
            State::Shadowed => "shadowed",
            State::Pending => "pending",
            State::Failed => "failed",
            State::Foreign => "foreign",
            State::Contested => "contested",
            State::LinkDown => "link_down",
            State::Stale => "stale",
        }
    }
}

/// One line of `catbird fib`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The prefix.
    pub net: IpNet,
    /// Where it stands.
    pub state: State,
    /// What should stand.
    pub wanted: Option<FibRoute>,
    /// What stands, as far as we know.
    pub installed: Option<FibRoute>,
    /// What the kernel answered last, if it refused.
    pub errno: Option<Errno>,
    /// How often it did.
    pub attempts: u32,
    /// Others' routes for the same prefix: (metric, protocol).
    pub foreign: Vec<(u32, u8)>,
}

impl Fib {
    /// Octets held: what should stand, what does, and what others have under the same prefixes.
    pub fn memory(&self) -> u64 {
        let foreign = self.foreign.capacity() * (size_of::<(IpNet, SmallVec<[Foreign; 1]>)>() + 1);
        let waits = self.waits.capacity() * (size_of::<(Slot, Wait)>() + 1);
        (self.entries.memory() + self.shapes.memory() + foreign + waits) as u64
    }

    /// Of one family, at hand without a walk.
    pub fn counts(&self, family: Family) -> Counts {
        self.counts[family.index()]
    }

    /// One of those that the kernel refuses, and its answer.
    pub fn a_refused_one(&self) -> Option<(IpNet, Errno)> {
        let refused = self.waits.iter().find_map(|(slot, wait)| Some((*slot, wait.errno?)));
        refused.and_then(|(slot, errno)| Some((self.entries.get(slot)?.net, errno)))
    }

    /// Since the start.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Whether routes of this family that an earlier run had written were found in the kernel at the start: "forwarding state preserved"
    /// (RFC 4724 §4.1). `false` until the first dump has ended.
    pub fn preserved(&self, family: Family) -> bool {
        self.synced && self.preserved[family.index()]
    }

    /// Whether another's route gave way to ours since the last call: nobody but us knows, so whoever keeps others' routes is to ask anew.
    pub fn take_displaced_foreign(&mut self) -> bool {
        std::mem::take(&mut self.displaced_foreign)
    }

    /// What happened since the last call. At most 1024 are kept; the counters know all.
    pub fn take_events(&mut self) -> Vec<FibEvent> {
        std::mem::take(&mut self.events)
    }

    /// Some of the prefixes put right since the last call; the counter knows how many.
    pub fn take_repaired(&mut self) -> Vec<IpNet> {
        std::mem::take(&mut self.repaired)
    }

    /// Rows from a cursor on (0 at first), each with the cursor after it. In no order; a row that stays is shown once.
    pub fn rows(&self, cursor: u64) -> impl Iterator<Item = (u64, Row)> {
        let from = u32::try_from(cursor).unwrap_or(u32::MAX);
        self.entries.iter_from(from).map(|(slot, entry)| (u64::from(slot.0) + 1, self.row_of(slot, entry)))
    }

    /// The one of this prefix.
    pub fn row(&self, net: &IpNet) -> Option<Row> {
        let slot = self.entries.find(net)?;
        Some(self.row_of(slot, self.entries.get(slot)?))
    }

    /// Others' routes for a prefix, whether or not we want one there: (metric, protocol).
    pub fn foreign(&self, net: &IpNet) -> Vec<(u32, u8)> {
        self.foreign.get(net).map(|l| l.iter().map(|f| (f.metric, f.protocol)).collect()).unwrap_or_default()
    }

    fn row_of(&self, slot: Slot, entry: &Entry) -> Row {
        let wait = self.waits.get(&slot);
        let told = |id| self.shapes.get(id).map(|s| s.with(entry.net));
        Row {
            net: entry.net,
            state: state(entry),
            wanted: told(entry.wanted),
            installed: told(entry.installed).filter(|_| !entry.flags.has(Flags::GONE)),
            errno: wait.and_then(|w| w.errno),
            attempts: wait.map_or(0, |w| w.attempts),
            foreign: self.foreign(&entry.net),
        }
    }
}

fn state(e: &Entry) -> State {
    let has = |flag| e.flags.has(flag);
    if e.wanted.is_some() && e.installed == e.wanted && has(Flags::SURE) {
        return if has(Flags::SHADOWED) { State::Shadowed } else { State::Installed };
    }
    match () {
        () if has(Flags::FAILED) => State::Failed,
        () if has(Flags::WAITING) => State::Contested,
        () if has(Flags::BLOCKED) => State::Foreign,
        () if has(Flags::PARKED) => State::LinkDown,
        () if has(Flags::STALE) => State::Stale,
        () => State::Pending,
    }
}
