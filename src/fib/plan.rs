//! The planner: what is wanted, what stands, and the one change to make next for each prefix.
//!
//! In and out: see `Fib`. What the kernel says by itself is taken in by `kernel_events`; rows and counts for the operator are made in `show`.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use foldhash::fast::{FixedState, RandomState};
use ipnet::IpNet;
use smallvec::SmallVec;

use super::kernel_events::Recheck;
use super::queue::Queue;
use super::show::{Counts, FibEvent, Totals};
use super::store::{Entries, Entry, Flags, Shape, ShapeId, Shapes, Slot};
use super::{Conflict, Errno, FibChange, FibKind, FibRoute, Owner, Params};
use crate::kernel::IfIndex;
use crate::num::{Family, Instant};

/// The kernel's routes, kept true.
///
/// **Who owns what.** The protocol number is no proof of ownership (FRR too writes 186). We own what we wrote, and what the first dump
/// shows with our protocol, our table, a metric and a shape that we would write: an earlier run left it (`adopt`). It stays where it
/// is until `want` asks for something else or `reap` says that nobody will ask any more. Nothing is written before the first dump ended.
///
/// **One change at a time** is on its way for a prefix; what is wanted anew meanwhile is written once, when the answer is there. So the
/// order of answers does not matter between prefixes, and memory grows by prefixes, not by updates.
///
/// **Make before break.** Another next hop is one `Replace`. Another metric is another key: the new route is added, and only when it
/// stands is the old one removed.
///
/// **Others.** A route of another protocol under our key (prefix, table, metric) that was there first is never overwritten (`Conflict`
/// may change that). What others delete or replace is put right at once, and at a pace if they insist. A route of theirs with a
/// better metric shadows ours: that is counted and shown, and both stand.
///
/// # Invariants
/// Checked by `check_invariants`: an entry exists for what is wanted, stands, or waits; nothing that needs work is forgotten.
#[derive(Debug)]
pub struct Fib {
    /// What we write and what we leave alone.
    pub(super) params: Params,
    /// Routes without their prefixes, each once.
    pub(super) shapes: Shapes,
    /// What is known of each prefix.
    pub(super) entries: Entries,
    queue: Queue,
    /// By sequence number from `first_seq` on; answered ones are `None` until those before them are.
    ops_in_flight: VecDeque<Option<InFlight>>,
    first_seq: u64,
    in_flight: usize,
    /// Entries that wait for a time, and why.
    pub(super) waits: hashbrown::HashMap<Slot, Wait, RandomState>,
    timers: BTreeSet<(Instant, Slot)>,
    /// Routes of others in our table, by prefix.
    pub(super) foreign: hashbrown::HashMap<IpNet, SmallVec<[Foreign; 1]>, RandomState>,
    /// Routes of ours at metrics that are not wanted any more.
    pub(super) superseded: hashbrown::HashMap<Slot, SmallVec<[ShapeId; 1]>, RandomState>,
    /// Up or down, of links that our routes use or used.
    pub(super) links: hashbrown::HashMap<IfIndex, bool, FixedState>,
    /// IPv4 addresses of interfaces: the kernel takes routes with the last of them.
    pub(super) addrs: hashbrown::HashMap<IfIndex, SmallVec<[ipnet::Ipv4Net; 1]>, FixedState>,
    /// The first dump has ended: what stands is known.
    pub(super) synced: bool,
    /// A dump is under way.
    pub(super) dumping: bool,
    /// The number of the current or last dump, 1 to 255 and round again.
    pub(super) dump: u8,
    /// How far the walk after a dump is.
    pub(super) sweep: Option<u32>,
    /// How far the walk after a change of links is.
    pub(super) recheck: Recheck,
    reap_at_sync: bool,
    /// Nothing is wanted any more.
    ended: bool,
    /// By [`Family::index`].
    pub(super) counts: [Counts; 2],
    /// Since the start.
    pub(super) totals: Totals,
    /// Not yet fetched.
    pub(super) events: Vec<FibEvent>,
    /// Put right since that was asked last; some of them.
    pub(super) repaired: Vec<IpNet>,
    /// A route of another's gave way to ours: what it carried may be resolved anew.
    pub(super) displaced_foreign: bool,
    /// Routes of an earlier run stood in the kernel at the start, by family.
    pub(super) preserved: [bool; 2],
    /// The latest time that was handed in.
    pub(super) now: Instant,
}

/// Table and metric: with the prefix, the kernel's key.
pub(super) type Key = (u32, u32);

/// A change on its way.
#[derive(Clone, Copy, Debug)]
struct InFlight {
    slot: Slot,
    op: Op,
    shape: ShapeId,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    /// Nothing should stand there.
    Add,
    /// In the place of what stands there.
    Replace,
    /// What we wrote.
    Remove,
}

/// Why and how long an entry waits.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wait {
    /// `None`: others keep changing it, and we do not fight.
    pub errno: Option<Errno>,
    /// How many failed.
    pub attempts: u32,
    /// When it is tried again.
    pub until: Instant,
}

/// A route of another's for a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Foreign {
    /// With the prefix and the table its key.
    pub metric: u32,
    /// Whose it is.
    pub protocol: u8,
    /// The dump that last mentioned it.
    pub seen: u8,
}

/// A refused change is tried again after this, then after twice as long, and so on.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MOST: Duration = Duration::from_secs(30);
/// So many times what others do is put right at once; from then on a route is put right so often at most, and in the whole so many a
/// second. A minute of peace forgives all.
const REPAIRS_AT_ONCE: u8 = 4;
const REPAIR_EVERY: Duration = Duration::from_millis(250);
const REPAIRS_A_SECOND: u32 = 10_000;
const REPAIR_MOST: Duration = Duration::from_secs(30);
const PEACE: Duration = Duration::from_secs(60);
/// The unit of [`Entry::repaired_at`].
const TICK: Duration = Duration::from_millis(10);
/// Prefixes that were put right and are named.
const NAMED_REPAIRS: usize = 16;
/// Entries looked at in one go, after a dump or when a link has changed.
const SWEEP_STEP: usize = 2048;

impl Fib {
    /// Nothing wanted, nothing known: changes wait for the end of the first dump.
    pub fn new(params: Params) -> Fib {
        Fib {
            params,
            shapes: Shapes::default(),
            entries: Entries::new(),
            queue: Queue::new(),
            ops_in_flight: VecDeque::new(),
            first_seq: 1,
            in_flight: 0,
            waits: hashbrown::HashMap::default(),
            timers: BTreeSet::new(),
            foreign: hashbrown::HashMap::default(),
            superseded: hashbrown::HashMap::default(),
            links: hashbrown::HashMap::default(),
            addrs: hashbrown::HashMap::default(),
            synced: false,
            dumping: false,
            dump: 0,
            sweep: None,
            recheck: Recheck::default(),
            reap_at_sync: false,
            ended: false,
            counts: Default::default(),
            totals: Totals::default(),
            events: Vec::new(),
            repaired: Vec::new(),
            displaced_foreign: false,
            preserved: [false; 2],
            now: Instant::ZERO,
        }
    }

    /// What holds until the next start.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// What we want for this prefix from now on; `None` for nothing. What `Params::permits` refuses counts as nothing.
    pub fn set_desired(&mut self, net: IpNet, route: Option<FibRoute>) {
        let net = net.trunc();
        let route = route.filter(|r| !self.ended && self.params.permits(&net, &r.kind).is_ok());
        let slot = match (self.entries.find(&net), &route) {
            (Some(slot), _) => slot,
            (None, Some(_)) => self.create(net),
            (None, None) => return,
        };
        let wanted = route.map_or(ShapeId::NONE, |r| self.shapes.hold(Shape::from(FibRoute { net, ..r }.normal())));
        let before = self.entries.get(slot).map_or(ShapeId::NONE, |e| e.wanted);
        let (reshaped, rekeyed) = (before != wanted, self.key(before) != self.key(wanted));
        self.shapes.release(before);
        self.edit(slot, |e| {
            e.wanted = wanted;
            let taken = e.flags.has(Flags::TAKEN) && !rekeyed;
            e.flags.set(Flags::TAKEN, taken);
            // What is put back under one key says nothing of another.
            let repairing = e.flags.has(Flags::REPAIRING) && !rekeyed;
            e.flags.set(Flags::REPAIRING, repairing);
            if wanted.is_some() {
                e.flags.set(Flags::STALE, false);
            }
        });
        if reshaped {
            self.forget_wait(slot);
            self.see_others(slot);
        }
        self.tidy(slot);
    }

    /// What we want there now.
    pub fn wanted(&self, net: &IpNet) -> Option<FibRoute> {
        let entry = self.entries.get(self.entries.find(net)?)?;
        self.shapes.get(entry.wanted).map(|s| s.with(entry.net))
    }

    /// The next change to make, with the number under which its outcome is to be reported to `on_done`.
    ///
    /// `None`: nothing to do, or `Params::window` changes are on their way. Call again after `on_done`, and at `next_deadline`.
    pub fn poll(&mut self) -> Option<(u64, FibChange)> {
        if !self.synced {
            return None;
        }
        let mut sweeps = 0;
        while self.in_flight < self.params.window {
            match self.queue.pop() {
                Some(slot) => {
                    if let Some(change) = self.step(slot) {
                        return Some(change);
                    }
                }
                None if sweeps < 4 && (self.sweep.is_some() || self.recheck.is_on()) => {
                    self.recheck_on(SWEEP_STEP);
                    self.sweep_on(SWEEP_STEP);
                    sweeps += 1;
                }
                None => return None,
            }
        }
        None
    }

    /// When `on_deadline` has something to do. May lie in the past: then at once.
    pub fn next_deadline(&self) -> Option<Instant> {
        let timer = self.timers.first().map(|(at, _)| *at);
        // With the window full, the kernel's next answer is what there is to wait for.
        let has_work = self.is_walking() || self.synced && !self.queue.is_empty();
        let room = (has_work && self.in_flight < self.params.window).then_some(self.now);
        [timer, room].into_iter().flatten().min()
    }

    /// Serves what is due: waits that are over, and one step of a walk.
    pub fn on_deadline(&mut self, now: Instant) {
        self.now = self.now.max(now);
        while let Some(&(at, slot)) = self.timers.first() {
            if at > now {
                break;
            }
            self.timers.pop_first();
            self.edit(slot, |e| e.flags.set(Flags::WAITING, false));
            self.tidy(slot);
        }
    }

    /// How the kernel answered. A number that is not on its way is ignored.
    pub fn on_done(&mut self, now: Instant, seq: u64, result: Result<(), Errno>) {
        self.now = self.now.max(now);
        let Some(op_in_flight) = self.complete(seq) else { return };
        let slot = op_in_flight.slot;
        let doubt = self.entries.get(slot).is_some_and(|e| e.flags.has(Flags::DOUBT));
        // What is written while a dump is read, or compared, cannot be missing from it.
        let (dump, looking) = (self.dump, self.dumping || self.sweep.is_some());
        self.edit(slot, |e| {
            e.flags.set(Flags::FLYING, false);
            e.flags.set(Flags::DOUBT, false);
            e.touched = if looking { dump } else { e.touched };
        });
        self.totals.count(op_in_flight.op == Op::Remove, result.is_ok());
        match (op_in_flight.op, result) {
            (Op::Remove, Ok(()) | Err(Errno::ESRCH | Errno::ENOENT | Errno::ENODEV)) => self.on_removed(slot, op_in_flight.shape, doubt),
            // Replacing a route by itself while another's stands before it under the same key (IPv4, `ip route append`).
            (Op::Add | Op::Replace, Ok(())) | (Op::Replace, Err(Errno::EEXIST)) => self.on_put(slot, op_in_flight.shape, doubt),
            (op, Err(errno)) => self.on_refused(slot, op, op_in_flight.shape, errno),
        }
        self.shapes.release(op_in_flight.shape);
        match self.entries.get(slot) {
            Some(e) if doubt && e.wanted.is_some() => self.external_change(slot),
            _ => self.tidy(slot),
        }
    }

    /// Everybody who could has announced their routes: remove what an earlier run left and nobody wants, step by step.
    /// Returns how many; before the first dump has ended, 0, and it happens then.
    pub fn reap(&mut self) -> usize {
        if !self.synced {
            self.reap_at_sync = true;
            return 0;
        }
        self.recheck.reap();
        self.counts.iter().map(|counts| counts.stale).sum()
    }

    /// The first dump has ended: from here on we write.
    pub(super) fn on_synced(&mut self) {
        self.synced = true;
        self.sweep = Some(0);
        self.name_others();
        if std::mem::take(&mut self.reap_at_sync) {
            self.reap();
        }
    }

    /// The first dump has ended: we know what stands in the kernel.
    pub fn is_synced(&self) -> bool {
        self.synced
    }

    /// Other parameters hold for what is wanted from now on; the caller wants everything again. Table and protocol say what is ours
    /// and stay as they were at the start.
    pub fn set_params(&mut self, params: Params) {
        let Owner { table, protocol } = self.params.owner();
        let (former, former_metrics) = (std::mem::take(&mut self.params.former), std::mem::take(&mut self.params.former_metrics));
        self.params = Params { table, protocol, former, former_metrics, ..params };
        self.recheck.blocked();
    }

    /// Nothing is wanted from now on, adopted routes included: all that is ours goes, step by step.
    pub fn remove_all(&mut self) {
        self.ended = true;
        self.recheck.end();
        self.reap();
    }

    /// Nothing is wanted and nothing stands.
    pub fn is_empty(&self) -> bool {
        self.entries.len() == 0
    }

    /// Nothing to do, nothing on its way, nothing waiting for a timer.
    pub fn is_settled(&self) -> bool {
        self.queue.is_empty() && self.in_flight == 0 && self.timers.is_empty() && !self.is_walking()
    }

    /// Entries are to be looked at, which begins with the end of the first dump.
    fn is_walking(&self) -> bool {
        self.synced && (self.sweep.is_some() || self.recheck.is_on())
    }

    /// How many changes are on their way, and how many wait to be made.
    pub fn backlog(&self) -> (usize, usize) {
        (self.in_flight, self.queue.len())
    }

    // ------------------------------------------------------------------------------------------------ one prefix, one step

    /// The next change for this entry, if it needs one and may have one.
    fn step(&mut self, slot: Slot) -> Option<(u64, FibChange)> {
        let entry = self.entries.get_mut(slot)?;
        entry.flags.set(Flags::QUEUED, false);
        if entry.flags.has(Flags::FLYING) || entry.flags.has(Flags::WAITING) {
            return None;
        }
        if entry.wanted.is_none() && entry.installed.is_none() && !entry.flags.has(Flags::SUPERSEDED) {
            self.tidy(slot);
            return None;
        }
        let (op, shape) = self.next_op(slot)?;
        let net = self.entries.get(slot)?.net;
        let route = self.shapes.get(shape)?.with(net);
        self.shapes.hold_again(shape);
        self.edit(slot, |e| e.flags.set(Flags::FLYING, true));
        self.in_flight += 1;
        self.ops_in_flight.push_back(Some(InFlight { slot, op, shape }));
        let seq = self.first_seq + self.ops_in_flight.len() as u64 - 1;
        let change = match op {
            Op::Add => FibChange::Add(route),
            Op::Replace => FibChange::Replace(route),
            Op::Remove => FibChange::Remove(route),
        };
        Some((seq, change))
    }

    fn next_op(&mut self, slot: Slot) -> Option<(Op, ShapeId)> {
        let entry = self.entries.get(slot)?.clone();
        if entry.wanted.is_none() {
            if entry.flags.has(Flags::STALE) {
                return None;
            }
            let last = if entry.installed.is_some() { Some(entry.installed) } else { self.one_superseded(slot) };
            return last.map(|shape| (Op::Remove, shape));
        }
        if entry.installed == entry.wanted && entry.flags.has(Flags::SURE) {
            return self.one_superseded(slot).map(|shape| (Op::Remove, shape));
        }
        let key = self.key(entry.wanted);
        self.align(slot, key);
        let taken = entry.flags.has(Flags::TAKEN);
        let occupied = self.foreign.get(&entry.net).is_some_and(|l| l.iter().any(|f| Some(self.params.key(f.metric)) == key));
        let may = match self.params.conflict {
            Conflict::Take => true,
            Conflict::Heal => !occupied || taken,
            Conflict::Yield => !occupied,
        };
        let parked = may && self.all_links_down(entry.wanted);
        self.edit(slot, |e| {
            e.flags.set(Flags::BLOCKED, !may);
            e.flags.set(Flags::PARKED, parked);
        });
        if !may || parked {
            self.forget_wait(slot);
        }
        if !may {
            // What cannot come keeps nothing old alive.
            return self.one_superseded(slot).map(|shape| (Op::Remove, shape));
        }
        if parked {
            return None;
        }
        let entry = self.entries.get(slot)?;
        let nothing = entry.installed.is_none() && entry.flags.has(Flags::SURE) || entry.flags.has(Flags::GONE);
        let absent = nothing && !occupied && !entry.flags.has(Flags::OVERWRITE);
        Some((if absent { Op::Add } else { Op::Replace }, entry.wanted))
    }

    /// The kernel's key besides the prefix: table and metric.
    pub(super) fn key(&self, id: ShapeId) -> Option<Key> {
        self.shapes.get(id).map(|s| (s.former.map_or(self.params.table, |owner| owner.table), s.metric))
    }

    fn one_superseded(&self, slot: Slot) -> Option<ShapeId> {
        self.superseded.get(&slot)?.last().copied()
    }

    /// One key, one memory. What stands at another metric than the wanted one is kept until the new route stands, then removed;
    /// a leftover at the wanted metric is what the new route replaces.
    fn align(&mut self, slot: Slot, key: Option<Key>) {
        let Some(installed) = self.entries.get(slot).map(|e| e.installed) else { return };
        if installed.is_some() && self.key(installed) != key {
            self.shapes.hold_again(installed);
            self.add_superseded(slot, installed);
            self.set_installed(slot, ShapeId::NONE, true);
        }
        let list = self.superseded.get(&slot);
        let same = list.and_then(|l| l.iter().copied().find(|&s| self.key(s) == key));
        let Some(same) = same else { return };
        if self.entries.get(slot).is_some_and(|e| e.installed.is_none()) {
            self.shapes.hold_again(same);
            self.set_installed(slot, same, false);
        }
        self.drop_superseded(slot, same);
    }

    /// A route of ours at a metric that is not wanted; it goes when what is wanted stands.
    pub(super) fn add_superseded(&mut self, slot: Slot, shape: ShapeId) {
        let key = self.key(shape);
        let same = self.superseded.get(&slot).and_then(|l| l.iter().copied().find(|&s| self.key(s) == key));
        if let Some(same) = same {
            self.drop_superseded(slot, same);
        }
        self.superseded.entry(slot).or_default().push(shape);
        self.edit(slot, |e| e.flags.set(Flags::SUPERSEDED, true));
    }

    /// A route of ours at a metric that was given up is gone.
    pub(super) fn drop_superseded(&mut self, slot: Slot, shape: ShapeId) {
        let Some(list) = self.superseded.get_mut(&slot) else { return };
        let Some(i) = list.iter().position(|&s| s == shape) else { return };
        list.remove(i);
        let none = list.is_empty();
        self.shapes.release(shape);
        if none {
            self.superseded.remove(&slot);
            self.edit(slot, |e| e.flags.set(Flags::SUPERSEDED, false));
        }
    }

    fn all_links_down(&self, id: ShapeId) -> bool {
        let Some(shape) = self.shapes.get(id) else { return false };
        matches!(shape.kind, FibKind::Unicast(_)) && shape.links().all(|l| self.links.get(&l) == Some(&false))
    }

    // ------------------------------------------------------------------------------------------------ answers

    fn complete(&mut self, seq: u64) -> Option<InFlight> {
        let i = usize::try_from(seq.checked_sub(self.first_seq)?).ok()?;
        let op_in_flight = self.ops_in_flight.get_mut(i)?.take()?;
        self.in_flight -= 1;
        while let Some(None) = self.ops_in_flight.front() {
            self.ops_in_flight.pop_front();
            self.first_seq += 1;
        }
        Some(op_in_flight)
    }

    fn on_removed(&mut self, slot: Slot, shape: ShapeId, doubt: bool) {
        self.forget_wait(slot);
        if self.entries.get(slot).is_some_and(|e| e.installed == shape) {
            self.set_installed(slot, ShapeId::NONE, !doubt);
        } else {
            self.drop_superseded(slot, shape);
        }
    }

    fn on_put(&mut self, slot: Slot, shape: ShapeId, doubt: bool) {
        self.forget_wait(slot);
        self.shapes.hold_again(shape);
        self.set_installed(slot, shape, !doubt);
        let was_repair = self.entries.get(slot).is_some_and(|e| e.flags.has(Flags::REPAIRING));
        self.totals.repaired += u64::from(was_repair);
        let repaired = self.entries.get(slot).filter(|_| was_repair && self.repaired.len() < NAMED_REPAIRS).map(|e| e.net);
        self.repaired.extend(repaired);
        self.edit(slot, |e| {
            for flag in [Flags::TAKEN, Flags::OVERWRITE, Flags::REPAIRING] {
                e.flags.set(flag, false);
            }
        });
        let (Some(entry), Some((_, metric))) = (self.entries.get(slot), self.key(shape)) else { return };
        // Whoever stood under this key does no longer, and nobody but us knows.
        if entry.flags.has(Flags::FOREIGN) {
            let net = entry.net;
            self.forget_foreign(net, metric);
            self.see_others(slot);
            self.displaced_foreign = true;
        }
    }

    fn on_refused(&mut self, slot: Slot, op: Op, shape: ShapeId, errno: Errno) {
        let Some(entry) = self.entries.get(slot) else { return };
        let (net, installed) = (entry.net, entry.installed);
        let known = self.foreign.get(&net).is_some_and(|l| l.iter().any(|f| Some(self.params.key(f.metric)) == self.key(shape)));
        if op != Op::Remove && errno == Errno::EEXIST && !known {
            // Nobody told us who stands there: give the news some time, then it gives way.
            self.edit(slot, |e| e.flags.set(Flags::OVERWRITE, true));
        }
        let several = self.shapes.get(shape).is_some_and(|s| s.links().nth(1).is_some());
        if op != Op::Remove && several && matches!(net, IpNet::V6(_)) {
            // The kernel writes IPv6 multipath one way after the other and may have stopped in the middle.
            if installed.is_none() {
                self.shapes.hold_again(shape);
                self.set_installed(slot, shape, false);
                self.set_gone(slot);
            } else {
                self.edit(slot, |e| e.flags.set(Flags::SURE, false));
            }
        }
        let attempts = self.waits.get(&slot).map_or(0, |w| w.attempts) + 1;
        if attempts == 1 {
            self.tell(FibEvent::Refused { net, errno });
        }
        self.wait(slot, Some(errno), attempts, backoff(RETRY_FIRST, attempts, RETRY_MOST));
    }

    // ------------------------------------------------------------------------------------------------ what stands

    /// Replaces what is known to stand; takes over one hold of `shape`.
    pub(super) fn set_installed(&mut self, slot: Slot, shape: ShapeId, sure: bool) {
        let Some(old) = self.entries.get(slot).map(|e| e.installed) else { return };
        self.edit(slot, |e| {
            e.installed = shape;
            e.flags.set(Flags::SURE, sure);
            for flag in [Flags::BLOCKED, Flags::PARKED, Flags::GONE] {
                e.flags.set(flag, false);
            }
        });
        self.shapes.release(old);
    }

    /// The kernel says that what stood is gone.
    pub(super) fn set_gone(&mut self, slot: Slot) {
        self.edit(slot, |e| {
            e.flags.set(Flags::SURE, false);
            e.flags.set(Flags::GONE, true);
        });
    }

    /// Others changed what we wrote: put it right at once, or as soon as its turn has come if this goes on and on. Whoever stops fighting
    /// us finds our route back after that time.
    pub(super) fn external_change(&mut self, slot: Slot) {
        let tick = (u128::from(self.now.as_nanos()) / TICK.as_nanos()) as u16;
        let contested = u32::try_from(self.waits.len()).unwrap_or(u32::MAX);
        let every = (Duration::from_secs(1) * contested / REPAIRS_A_SECOND).clamp(REPAIR_EVERY, REPAIR_MOST);
        let Some(entry) = self.entries.get_mut(slot) else { return };
        // It may be that the next time is still to come.
        let ahead = TICK * u32::from(entry.repaired_at.wrapping_sub(tick));
        let since = if ahead <= REPAIR_MOST { Duration::ZERO } else { TICK * u32::from(tick.wrapping_sub(entry.repaired_at)) };
        entry.repairs = if since > PEACE { 1 } else { entry.repairs.saturating_add(1) };
        let (repairs, net, installed, wanted) = (entry.repairs, entry.net, entry.installed, entry.wanted);
        let rest = if repairs > REPAIRS_AT_ONCE { every.saturating_sub(since) } else { Duration::ZERO };
        entry.repaired_at = tick.wrapping_add((rest.as_nanos() / TICK.as_nanos()) as u16);
        if self.key(installed) == self.key(wanted) {
            self.edit(slot, |e| e.flags.set(Flags::REPAIRING, true));
        }
        self.totals.disturbed += 1;
        if repairs == REPAIRS_AT_ONCE + 1 {
            self.tell(FibEvent::Contested { net });
        }
        if !rest.is_zero() {
            self.wait(slot, None, 0, rest);
        }
        self.tidy(slot);
    }

    fn wait(&mut self, slot: Slot, errno: Option<Errno>, attempts: u32, how_long: Duration) {
        let until = self.now + how_long;
        if let Some(old) = self.waits.insert(slot, Wait { errno, attempts, until }) {
            self.timers.remove(&(old.until, slot));
        }
        self.timers.insert((until, slot));
        self.edit(slot, |e| {
            e.flags.set(Flags::WAITING, true);
            e.flags.set(Flags::FAILED, errno.is_some());
        });
    }

    /// It no longer waits.
    pub(super) fn forget_wait(&mut self, slot: Slot) {
        if let Some(old) = self.waits.remove(&slot) {
            self.timers.remove(&(old.until, slot));
        }
        self.edit(slot, |e| {
            e.flags.set(Flags::WAITING, false);
            e.flags.set(Flags::FAILED, false);
        });
    }

    /// Try again now what waits, without forgetting how often it failed.
    pub(super) fn hasten(&mut self, slot: Slot) {
        if let Some(wait) = self.waits.get(&slot) {
            self.timers.remove(&(wait.until, slot));
        }
        self.edit(slot, |e| e.flags.set(Flags::WAITING, false));
        self.tidy(slot);
    }

    /// The entry of a prefix, made if there is none.
    pub(super) fn create(&mut self, net: IpNet) -> Slot {
        let slot = self.entries.find_or_insert(net);
        if self.foreign.contains_key(&net) {
            self.edit(slot, |e| e.flags.set(Flags::FOREIGN, true));
        }
        slot
    }

    /// Queue the entry if it needs work; forget it if there is nothing left to know.
    pub(super) fn tidy(&mut self, slot: Slot) {
        let Some(entry) = self.entries.get_mut(slot) else { return };
        let flags = entry.flags;
        if flags.has(Flags::FLYING) || flags.has(Flags::WAITING) || flags.has(Flags::QUEUED) {
            return;
        }
        let superseded = flags.has(Flags::SUPERSEDED);
        if entry.wanted.is_none() && entry.installed.is_none() && !superseded {
            self.forget_wait(slot);
            self.edit(slot, |e| e.flags = Flags::SURE);
            self.entries.remove(slot);
            return;
        }
        let idle = if entry.wanted.is_none() { flags.has(Flags::STALE) } else { entry.installed == entry.wanted && flags.has(Flags::SURE) };
        if !idle || (superseded && !flags.has(Flags::STALE)) {
            entry.flags.set(Flags::QUEUED, true);
            self.queue.push(slot);
        }
    }

    /// Every change of an entry goes through here, so that the counts are always right.
    pub(super) fn edit(&mut self, slot: Slot, change: impl FnOnce(&mut Entry)) {
        let Some(entry) = self.entries.get_mut(slot) else { return };
        let counts = &mut self.counts[Family::of(&entry.net).index()];
        counts.take(entry);
        change(entry);
        counts.add(entry);
    }

    /// A new entry counts nothing, and neither does one that is forgotten.
    pub(super) fn tell(&mut self, events: FibEvent) {
        if self.events.len() < 1024 {
            self.events.push(events);
        }
    }

    /// # Panics
    /// If counts, queue, timers or holders do not agree with the entries.
    pub fn check_invariants(&self) {
        let mut counts: [Counts; 2] = Default::default();
        let (mut flying, mut held, mut queued) = (0, 0, 0);
        for (slot, e) in self.entries.iter_from(0) {
            counts[Family::of(&e.net).index()].add(e);
            flying += usize::from(e.flags.has(Flags::FLYING));
            queued += usize::from(e.flags.has(Flags::QUEUED));
            held += usize::from(e.wanted.is_some()) + usize::from(e.installed.is_some());
            let superseded = self.superseded.get(&slot).map_or(0, SmallVec::len);
            held += superseded;
            assert_eq!(superseded > 0, e.flags.has(Flags::SUPERSEDED), "{}: leftovers", e.net);
            assert_eq!(self.entries.find(&e.net), Some(slot), "{} is not found", e.net);
            let due = self.waits.get(&slot).map(|w| (w.until, slot));
            assert_eq!(e.flags.has(Flags::WAITING), due.is_some_and(|d| self.timers.contains(&d)), "{}: timer", e.net);
            let moving = [Flags::FLYING, Flags::QUEUED, Flags::WAITING].iter().any(|f| e.flags.has(*f));
            assert!(e.wanted.is_some() || e.installed.is_some() || superseded > 0 || moving, "{} is empty", e.net);
            let busy = [Flags::FLYING, Flags::QUEUED, Flags::WAITING, Flags::BLOCKED, Flags::PARKED, Flags::STALE];
            let settled = e.installed == e.wanted && e.flags.has(Flags::SURE) && superseded == 0;
            assert!(settled || busy.iter().any(|f| e.flags.has(*f)), "{} is forgotten: {e:?}", e.net);
        }
        assert_eq!(counts, self.counts);
        assert_eq!(flying, self.in_flight);
        assert!(queued <= self.queue.len());
        assert_eq!(held + flying, self.shapes.holders(), "holders of shapes");
        assert!(self.timers.len() <= self.waits.len() && self.waits.len() <= self.entries.len());
    }
}

fn backoff(first: Duration, attempt: u32, most: Duration) -> Duration {
    first.saturating_mul(1 << attempt.saturating_sub(1).min(16)).min(most)
}
