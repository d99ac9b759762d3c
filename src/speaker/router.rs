//! The router itself: which part is called, with what, in which order.
//!
//! In: `Input`s and the time. Out: `Effect`s. What each part does is told in its own file.

use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;

use ipnet::IpNet;

use super::counters::RouterCounters;
use super::departure::Departure;
use super::explain;
use super::export::Export;
use super::fib_sync::{FibSync, Program};
use super::import::Import;
use super::io::{Effect, Effects, Input, StopMode};
use super::jobs::{Job, JobKey, Jobs};
use super::lifecycle::{Lifecycle, Step};
use super::monitoring::Monitoring;
use super::origination::Origination;
use super::overlay::Tunnels;
use super::params::{BlockSource, OnTerm, Params};
use super::query::Query;
use super::redistribute::Redistribution;
use super::remembered::Memory;
use super::sessions::Sessions;
use super::startup::{Progress, StartupConvergence};
use super::validation::Validation;
use crate::api::Answer;
use crate::kernel::{IfIndex, KernelEvent};
use crate::num::{Family, Instant, Nlri, PeerId};
use crate::peer::{Event, StopKind};
use crate::rib::nexthop::NexthopTable;
use crate::rib::update_group::{Bounds, UpdateGroups};
use crate::rib::{BestChange, Rib, SourceFacts};
use crate::stats::Notice;
use crate::wire::PathAttributes;

/// Prefixes that one `settle` selects at most; the caller comes back while there are more. About as many /24s as one UPDATE holds: a few more would
/// make a second, nearly empty one of each settlement.
const SETTLE_BUDGET: usize = 1000;

/// Changes that one `settle` hands to update groups, counted for each group.
const ADVERTISED: usize = 4096;

/// So many calls of `settle` may pass, a millisecond each, before members are handed what was announced meanwhile.
const GATHERED: u32 = 3;

/// Inputs of connections that wait for the peers to be started at most.
const EARLY: usize = 4096;

/// Paths that the jobs of one `settle` judge, or destinations that they look at.
const JOB_BUDGET: usize = 1024;

/// A BGP-4 router (RFC 4271).
pub struct Speaker {
    /// What holds now.
    pub(super) params: Box<Params>,
    /// The neighbours.
    pub(super) sessions: Sessions,
    /// Adj-RIB-In and Loc-RIB.
    pub(super) rib: Rib,
    /// How next hops are reached.
    pub(super) nexthops: NexthopTable,
    /// Adj-RIB-Out, by update group.
    pub(super) groups: UpdateGroups,
    /// The kernel's side.
    pub(super) fib_sync: FibSync,
    /// Which tunnel devices were asked for last.
    pub(super) tunnels: Tunnels,
    /// What this node originates.
    pub(super) origination: Origination,
    /// Kernel routes of others that are announced.
    pub(super) redistribution: Redistribution,
    /// Running, draining, stopping.
    pub(super) lifecycle: Lifecycle,
    /// The cluster says that this node leaves.
    pub(super) departure: Option<Departure>,
    /// What an earlier run left, until it is replaced or removed.
    pub(super) startup: StartupConvergence,
    /// Work as large as a table, in steps.
    pub(super) jobs: Jobs,
    /// What the next start is to know.
    pub(super) memory: Memory,
    /// Who is told of all this, far away.
    pub(super) monitoring: Monitoring,
    /// Which AS may originate what.
    pub(super) validation: Validation,
    counters: RouterCounters,
    /// What is to be done outside.
    pub(super) effects: Effects,
    /// Who waits for the end of a drain.
    pub(super) drain_waiters: Vec<u64>,
    /// What came on connections before peers were started.
    early: Option<VecDeque<Input>>,
    /// Messages wait outside that came after this moment.
    received_until: Option<Instant>,
    /// Somebody wants to hear of each prefix that changes.
    watched: bool,
    /// What was chosen last, while some update groups have yet to take it in.
    changes: Vec<BestChange>,
    /// Calls of `settle` in a row after which nothing was handed to members, because more was to be chosen.
    gathered: u32,
}

impl Speaker {
    /// A router that has just started; its peers dial as soon as `settle` is called.
    pub fn new(params: Params, now: Instant, seed: u64) -> Speaker {
        let mut rib = Rib::new(params.rules.clone(), seed);
        rib.set_limits(params.limits.tables);
        rib.set_now(now);
        let mut speaker = Speaker {
            sessions: Sessions::new(seed),
            rib,
            nexthops: NexthopTable::new(params.nexthops()),
            groups: UpdateGroups::new(Bounds::default(), seed),
            fib_sync: FibSync::new(&params),
            tunnels: Tunnels::default(),
            origination: Origination::default(),
            redistribution: Redistribution::default(),
            lifecycle: Lifecycle::default(),
            departure: Departure::at_start(&params, now),
            startup: StartupConvergence::new(now, &params.recovery),
            jobs: Jobs::default(),
            memory: Memory::default(),
            monitoring: Monitoring::default(),
            validation: Validation::default(),
            counters: RouterCounters::default(),
            effects: Effects::default(),
            drain_waiters: Vec::new(),
            early: Some(VecDeque::new()),
            received_until: None,
            watched: false,
            changes: Vec::new(),
            gathered: 0,
            params: Box::new(params),
        };
        speaker.start(now);
        speaker
    }

    fn start(&mut self, now: Instant) {
        self.memory.touch(now, true);
        self.rib.peer_up(self.local_facts());
        self.groups.defer_end_of_rib(true);
        self.set_own();
        self.program().pin();
        for config in self.params.peers.clone() {
            self.add_peer(config, now);
        }
        self.ask_tunnels(now);
        self.sync_stations();
        self.sync_caches();
    }

    /// Takes in what happened. Cheap; selection and announcements wait for `settle`.
    pub fn handle(&mut self, now: Instant, input: Input) {
        let mut rest = Some(input);
        while let Some(input) = rest {
            rest = self.handle_some(now, input);
        }
    }

    /// The same for who has others to look after meanwhile: of a long read some messages only. The rest is to be handed in before anything else
    /// that comes on the connection.
    #[must_use]
    pub fn handle_some(&mut self, now: Instant, input: Input) -> Option<Input> {
        self.rib.set_now(now);
        let input = self.keep_early(input)?;
        let mut rest = None;
        match input {
            Input::Received { conn, batch } => {
                rest = self.on_received(conn, batch, now).map(|batch| Input::Received { conn, batch });
            }
            Input::Connected { conn, local, remote, direction } => self.on_connected(conn, local, remote, direction, now),
            Input::DialFailed { conn, error } => self.on_conn_end(conn, Event::DialFailed { conn, error }, now),
            Input::Closed { conn, error } => self.on_conn_end(conn, Event::Closed { conn, error }, now),
            Input::Writable { conn, written } => {
                if let Some(id) = self.sessions.on_writable(conn, written, now, &mut self.effects) {
                    self.export().pump_member(id, now);
                }
            }
            Input::FibDone { seq, result } => self.fib_sync.on_done(seq, result, &mut self.counters, &mut self.effects, now),
            Input::Kernel(event) => self.on_kernel(&event, now),
            Input::Md5Refused(totals) => self.sessions.on_md5_refused(totals, now),
            Input::Bfd(status) => self.on_bfd(status, now),
            Input::Bmp(report) => self.on_station(report, now),
            Input::Rpki(report) => self.on_rpki(*report),
            Input::Neighbour { interface, addr, sign } => self.on_neighbour(&interface, addr, sign, now),
            Input::Blocks { source, blocks } => self.set_blocks(source, &blocks),
            Input::Reload { id, params } => self.reload(id, params, now),
            Input::Plan { id, params } => {
                let plan = self.plan(&params);
                self.effects.answer(id, Answer::Plan(plan.into_changes()));
            }
            Input::Query { id, question } => {
                let answer = self.query().answer(&question, now);
                self.effects.answer(id, answer);
            }
            Input::Command { id, command } => self.command(id, command, now),
            Input::Stop(mode) => self.stop(mode, now),
        }
        self.run_session_events(now);
        rest
    }

    /// Tells that messages wait which came after this moment; `None`: no longer. Until they are handed in, silence since then proves nothing, and
    /// no hold timer ends a session by it.
    pub fn set_backlog(&mut self, since: Option<Instant>) {
        self.received_until = since;
    }

    /// Whether each prefix that is used otherwise is told as a [`Notice::Route`]: nobody pays for words that nobody reads.
    pub fn watch_routes(&mut self, on: bool) {
        self.watched = on;
    }

    /// Before peers are started, what comes on connections waits; too much of it ends the wait.
    fn keep_early(&mut self, input: Input) -> Option<Input> {
        let of_conn = matches!(input, Input::Received { .. } | Input::Connected { .. } | Input::Closed { .. } | Input::Writable { .. });
        match self.early.as_mut().filter(|early| of_conn && early.len() < EARLY) {
            Some(early) => {
                early.push_back(input);
                None
            }
            None => Some(input),
        }
    }

    /// Starts the peers, as soon as it is known what their OPENs are to say of our restart.
    fn start_peers(&mut self, now: Instant) {
        let waits = self
            .early
            .as_ref()
            .is_some_and(|early| early.len() < EARLY && self.startup.awaits(now, &self.params, self.tunnels.are_to_come()));
        if waits {
            return;
        }
        let Some(early) = self.early.take() else { return };
        self.sync_all_bfd();
        self.start_enabled(now);
        early.into_iter().for_each(|input| self.handle(now, input));
    }

    /// Peers are not started yet: what the kernel has, and what our OPENs are to say, is not known.
    pub(super) fn awaits_kernel(&self) -> bool {
        self.early.is_some()
    }

    /// Runs due timers, selects, announces and plans. `true` means that there is more to do and it wants to be called again at once.
    pub fn settle(&mut self, now: Instant) -> bool {
        self.rib.set_now(now);
        self.start_peers(now);
        self.run_timers(now);
        self.hold_budget(now);
        self.run_jobs();
        self.import().use_room();
        self.track_nexthops();
        if self.changes.is_empty() {
            self.select(now);
        }
        if self.groups.advertise_some(&self.rib, &self.changes, ADVERTISED) {
            self.changes.clear();
        }
        self.run_startup(now);
        // While more is being chosen, what is announced gathers a little: fewer writes, and larger ones.
        self.gathered = if self.is_choosing() && self.gathered < GATHERED { self.gathered + 1 } else { 0 };
        if self.gathered == 0 {
            self.export().pump(now);
        }
        self.feed_stations(now);
        if !self.lifecycle.leaves_kernel_alone() {
            self.fib_sync.drain(&mut self.counters, &mut self.effects, now);
        }
        self.run_departure(now);
        self.run_lifecycle(now);
        self.run_session_events(now);
        self.write_down(now);
        self.is_choosing() || self.nexthops.has_changed() || !self.jobs.is_empty()
    }

    /// Chooses best paths, and says what they mean to the kernel.
    fn select(&mut self, now: Instant) {
        let mut changes = std::mem::take(&mut self.changes);
        self.rib.rank_paths(self.groups.ranked());
        self.rib.settle(SETTLE_BUDGET, &mut self.nexthops, &mut changes);
        if self.tunnels.take_nodes(&mut self.nexthops) {
            self.ask_tunnels(now);
        }
        self.program().apply(&changes);
        self.monitoring.used(&changes);
        self.program().resolve_newly_tracked();
        if self.watched {
            explain::notice_changes(&changes, &self.rib, &self.sessions, &mut self.effects);
        }
        self.changes = changes;
    }

    /// Something is to be chosen, or was and is on its way to the update groups.
    fn is_choosing(&self) -> bool {
        self.rib.is_dirty() || !self.changes.is_empty()
    }

    /// The next effect, in the order in which they are to be performed.
    pub fn poll(&mut self) -> Option<Effect> {
        self.effects.pop()
    }

    /// When `settle` must be called at the latest. `None`: not before the next input.
    pub fn next_deadline(&self) -> Option<Instant> {
        let (sessions, fib) = (self.sessions.next_deadline(), self.fib_sync.fib.next_deadline());
        let memory = self.memory.next_deadline().filter(|_| !self.lifecycle.is_stopping());
        if self.lifecycle.is_stopped() {
            return None;
        }
        let stations = self.monitoring.next_deadline();
        let departure = self.departure_deadline();
        [sessions, fib, self.startup.next_deadline(), self.lifecycle.next_deadline(), departure, memory, stations]
            .into_iter()
            .flatten()
            .min()
    }

    /// Whether `settle` has something to do although no input came and no deadline passed.
    pub fn wants_settle(&self) -> bool {
        self.is_choosing()
            || self.groups.has_ready()
            || self.sessions.has_unwatched()
            || self.monitoring.has_work()
            || !self.jobs.is_empty()
            || self.awaits_flush() && self.is_flushed()
    }

    fn awaits_flush(&self) -> bool {
        self.lifecycle.awaits_flush() || self.departure.as_ref().is_some_and(Departure::awaits_flush)
    }

    /// What this router is configured with.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// Panics where two rooms disagree; the lab calls it after each step.
    pub fn check_invariants(&self) {
        self.rib.check_invariants();
        self.fib_sync.fib.check_invariants();
        self.nexthops.check_invariants();
        self.sessions.check_invariants();
    }
}

/// The parts with what they touch.
impl Speaker {
    /// The part that judges what peers announce.
    pub(super) fn import(&mut self) -> Import<'_> {
        Import {
            params: &self.params,
            sessions: &mut self.sessions,
            rib: &mut self.rib,
            nexthops: &self.nexthops,
            vrps: &self.validation.table,
            counters: &mut self.counters,
            startup: &mut self.startup,
            effects: &mut self.effects,
        }
    }

    /// The part that announces.
    pub(super) fn export(&mut self) -> Export<'_> {
        Export {
            params: &self.params,
            lifecycle: &self.lifecycle,
            nexthops: &self.nexthops,
            sessions: &mut self.sessions,
            rib: &mut self.rib,
            groups: &mut self.groups,
            monitoring: &mut self.monitoring,
            effects: &mut self.effects,
        }
    }

    /// The part that tells the FIB planner.
    pub(super) fn program(&mut self) -> Program<'_> {
        Program {
            fib: &mut self.fib_sync.fib,
            pinned: &mut self.fib_sync.pinned,
            params: &self.params,
            rib: &self.rib,
            nexthops: &mut self.nexthops,
            origination: &self.origination,
        }
    }

    fn query(&mut self) -> Query<'_> {
        Query {
            params: &self.params,
            sessions: &self.sessions,
            rib: &self.rib,
            nexthops: &self.nexthops,
            groups: &mut self.groups,
            fib_sync: &self.fib_sync,
            origination: &self.origination,
            lifecycle: &self.lifecycle,
            departure: self.departure.as_ref(),
            startup: &self.startup,
            jobs: &self.jobs,
            counters: &self.counters,
            monitoring: &self.monitoring,
            validation: &self.validation,
        }
    }

    /// Ourselves, as the source of routes.
    pub(super) fn local_facts(&self) -> SourceFacts {
        SourceFacts::local(self.params.asn, self.params.router_id)
    }
}

/// What is announced, what the kernel says, and work in steps.
impl Speaker {
    /// Beyond the budget of the process, whoever holds most beyond its share is let go before there is nothing left for the others. What is on its
    /// way out of the tables is nobody's any more.
    fn hold_budget(&mut self, now: Instant) {
        let Some(budget) = self.params.limits.memory else { return };
        let room = budget.checked_sub(self.rib.memory().total());
        let waiting = match room {
            Some(room) => self.groups.memory_beyond(room),
            None => Some(self.groups.memory()),
        };
        let Some(waiting) = waiting else { return };
        let held = self.rib.burdens().map(|(_, octets)| octets).sum::<u64>() + waiting;
        let Some(id) = self.rib.most_beyond_share(budget).filter(|_| held > budget) else { return };
        let Some(entry) = self.sessions.get(id).filter(|e| e.live.is_some()) else { return };
        self.effects.notice(Notice::OverBudget { peer: entry.name().to_owned(), octets: self.rib.burden(id), budget });
        self.dispatch(id, Event::Stop { kind: StopKind::OutOfResources, text: None }, now);
    }

    /// What the configuration has us announce.
    pub(super) fn set_own(&mut self) {
        self.set_blocks(BlockSource::Config, &self.params.blocks.clone());
        self.set_blocks(BlockSource::Held, &self.params.held_blocks.clone());
        self.set_services();
    }

    /// The blocks that one source names, whole.
    pub(super) fn set_blocks(&mut self, source: BlockSource, nets: &[IpNet]) {
        let change = self.origination.set(source, nets, &mut self.rib);
        self.startup.may_end();
        for net in change.rewritten {
            self.program().again(net);
        }
        let (added, removed) = (change.added, change.removed);
        if !added.is_empty() || !removed.is_empty() {
            self.effects.notice(Notice::Blocks { added, removed });
        }
    }

    fn on_kernel(&mut self, event: &KernelEvent, now: Instant) {
        self.tunnels.on_kernel(event);
        let blocks = self.redistribution.on_kernel(event, &self.params, self.fib_sync.fib.params(), &mut self.rib);
        if let Some(blocks) = blocks {
            self.set_blocks(BlockSource::Kernel, &blocks);
        }
        let moved = match event {
            KernelEvent::Address { net, .. } | KernelEvent::AddressGone { net, .. } => {
                Some((net.addr(), self.nexthops.is_own_address(net.addr())))
            }
            _ => None,
        };
        let (link, cut, lost) = (self.link_that_falls(event), self.cut_by(event), self.neighbour_lost(event));
        self.nexthops.on_kernel(event);
        self.end_cut(cut, now);
        self.lose_neighbour(lost, now);
        if let Some((link, before)) = link {
            self.notice_link_down(link, &before);
        }
        if let Some((addr, _)) = moved.filter(|(addr, was)| self.nexthops.is_own_address(*addr) != *was) {
            self.revalidate_own_address(addr);
        }
        self.fib_sync.fib.on_kernel(now, event);
        match event {
            KernelEvent::DumpEnd => self.startup.on_kernel_read(&self.fib_sync.fib),
            KernelEvent::LinkGone { ifindex } => {
                self.on_link_gone(*ifindex, now);
                self.sync_zoned_bfd();
            }
            KernelEvent::Link { .. } => self.sync_zoned_bfd(),
            _ => {}
        }
    }

    /// A link with addresses that goes down (which it does, too, before it goes away), and the peers that are cut off before that. A node with
    /// pods has hundreds of links that come and go, and no session depends on those: they have no address.
    fn link_that_falls(&self, event: &KernelEvent) -> Option<(String, BTreeSet<PeerId>)> {
        let KernelEvent::Link { ifindex, up: false, .. } = event else { return None };
        let link = self.nexthops.link_with_address(*ifindex)?;
        Some((link.to_owned(), explain::cut_off(&self.sessions, |addr| self.nexthops.is_reachable(addr))))
    }

    fn notice_link_down(&mut self, link: String, before: &BTreeSet<PeerId>) {
        let cut = explain::cut_off(&self.sessions, |addr| self.nexthops.is_reachable(addr));
        let mut peers = Vec::new();
        for id in cut.difference(before) {
            let Some(entry) = self.sessions.get_mut(*id) else { continue };
            peers.push(entry.name().to_owned());
            entry.live.iter_mut().for_each(|live| live.way_lost = true);
        }
        if !peers.is_empty() {
            self.effects.notice(Notice::LinkDown { link, peers });
        }
    }

    fn on_link_gone(&mut self, ifindex: IfIndex, now: Instant) {
        for conn in self.sessions.over_link(ifindex) {
            self.effects.push(Effect::Close { conn });
            self.on_conn_end(conn, Event::Closed { conn, error: Some("its interface is gone".to_owned()) }, now);
        }
    }

    /// Paths whose next hop came, went or moved are judged again.
    fn track_nexthops(&mut self) {
        let changed = self.nexthops.take_changed();
        if !changed.is_empty() {
            self.rib.nexthop_changed(&changed);
            self.program().next_hops_changed(&changed);
        }
    }

    /// Asks for the tunnel devices that there should be, if they are others than were asked for last.
    pub(super) fn ask_tunnels(&mut self, now: Instant) {
        if !self.lifecycle.leaves_kernel_alone() && self.tunnels.ask(&self.params, self.startup.is_on(), &mut self.effects) {
            self.memory.touch(now, true);
        }
    }

    /// What this peer announced is judged again, by other reasons, in steps.
    pub(super) fn revalidate(&mut self, id: PeerId) {
        if self.import().renew_context(id) {
            Family::ALL.into_iter().for_each(|family| self.jobs.add(JobKey::Revalidate(id, family), 0));
        }
    }

    /// An address became ours, or is no longer: what names it as next hop is judged again (RFC 4271 §5.1.3).
    fn revalidate_own_address(&mut self, addr: IpAddr) {
        let live: Vec<PeerId> = self.sessions.iter().filter(|e| e.live.is_some()).map(|e| e.id).collect();
        for id in live {
            // The verdict that is remembered may be the one that was overturned.
            if let Some(live) = self.sessions.get_mut(id).and_then(|e| e.live.as_mut()) {
                live.cache = Default::default();
            }
            for family in Family::ALL {
                self.jobs.add_of(JobKey::OwnAddress(id, family), 0, BTreeSet::from([addr]));
            }
        }
    }

    /// Everything that is used is told to the planner again, in steps.
    pub(super) fn program_all(&mut self) {
        Family::ALL.into_iter().for_each(|family| self.jobs.add(JobKey::Program(family), 0));
    }

    fn run_jobs(&mut self) {
        if let Some(job) = self.jobs.next() {
            match self.job_step(&job) {
                Some(cursor) => self.jobs.again(job, cursor),
                None => self.jobs.done(job),
            }
        }
    }

    /// Where to go on, if there is more.
    fn job_step(&mut self, job: &Job) -> Option<u64> {
        match job.key {
            JobKey::Revalidate(id, family) => self.import().revalidate(id, family, job.cursor, JOB_BUDGET, |_, _| true),
            JobKey::Covered(id, family) => self.import().revalidate(id, family, job.cursor, JOB_BUDGET, |nlri, _| job.covers(nlri)),
            JobKey::LongLived(id, family) => self.import().long_lived(id, family, job.cursor, JOB_BUDGET),
            JobKey::OwnAddress(id, family) => {
                let concerns = |_: &Nlri, attrs: &PathAttributes| job.addresses.contains(&attrs.next_hop().addr());
                self.import().revalidate(id, family, job.cursor, JOB_BUDGET, concerns)
            }
            JobKey::Program(family) => self.program().some(family, job.cursor, JOB_BUDGET),
        }
    }
}

/// Time.
impl Speaker {
    fn run_timers(&mut self, now: Instant) {
        self.sessions.watch_unsent(now, &mut self.effects);
        self.sessions.run_timers(now, self.received_until.map_or(now, |until| until.min(now)), &mut self.effects);
        self.run_session_events(now);
        let fib = &mut self.fib_sync.fib;
        if fib.next_deadline().is_some_and(|at| at <= now) {
            fib.on_deadline(now);
        }
    }

    /// All that was received is chosen by next hops as they are, or it must be before what is not wanted goes from the kernel.
    fn run_startup(&mut self, now: Instant) {
        let chosen = !(self.is_choosing() || self.nexthops.has_changed() || self.nexthops.has_newly_tracked());
        let progress = Progress {
            chosen,
            tunnels: !self.tunnels.are_awaited(&self.nexthops),
            unknown: self.origination.unknown(&self.params.sources).collect(),
            redistributed: self.params.redistribute.rules.is_empty() || self.fib_sync.fib.is_synced(),
        };
        let due = self.startup.poll(now, &self.sessions, &self.params, &self.fib_sync.fib, progress);
        if due.release_eor {
            self.groups.defer_end_of_rib(false);
            let event = self.startup.restarted(now, &self.params);
            self.dispatch_all(|| event.clone(), now);
        }
        if due.purge {
            let adopted = self.fib_sync.fib.totals().adopted as usize;
            let removed = self.fib_sync.fib.reap();
            self.effects.notice(Notice::Recovered { adopted, removed, waited_seconds: self.startup.age(now).as_secs_f64() });
            self.ask_tunnels(now);
            self.memory.touch(now, false);
            self.tunnels.forget_former(now);
        }
    }

    /// Begins to end; a second call ends at once what the first still waits for.
    pub(super) fn stop(&mut self, mode: StopMode, now: Instant) {
        let mode = match mode {
            StopMode::Configured => self.params.stop.on_term,
            StopMode::Keep => OnTerm::Keep,
            StopMode::Withdraw => OnTerm::Withdraw,
        };
        self.effects.notice(Notice::Stopping { keep_routes: mode == OnTerm::Keep });
        let step = self.lifecycle.stop(mode, now);
        step.into_iter().for_each(|step| self.take_step(step, now));
        if self.lifecycle.is_stopped() {
            self.end_stations();
            self.effects.push(Effect::Stopped);
        }
    }

    fn run_lifecycle(&mut self, now: Instant) {
        let flushed = !self.lifecycle.awaits_flush() || self.is_flushed();
        while let Some(step) = self.lifecycle.poll(now, flushed, self.params.stop.drain_wait) {
            self.take_step(step, now);
        }
        if self.lifecycle.finish(self.fib_sync.fib.is_settled()) {
            if self.lifecycle.ended_by_withdrawing() {
                self.tunnels.end(&mut self.effects);
            }
            self.end_stations();
            self.effects.push(Effect::Stopped);
        }
    }

    /// Is everything that is to be announced in the peers' kernels' hands, or at least out of ours?
    pub(super) fn is_flushed(&self) -> bool {
        let out = |id| !self.groups.has_more(id) && self.sessions.is_flushed(id);
        !self.is_choosing() && !self.groups.has_work() && self.sessions.iter().filter(|e| e.live.is_some()).all(|e| out(e.id))
    }

    /// What a step of the lifecycle means for sessions and tables.
    pub(super) fn take_step(&mut self, step: Step, now: Instant) {
        self.memory.touch(now, true);
        match step {
            Step::Announce => self.export().rekey_all(),
            Step::Drained => {
                for id in std::mem::take(&mut self.drain_waiters) {
                    self.effects.answer(id, Answer::Done("drained: everything is withdrawn; it stays so until `undrain`".into()));
                }
                self.effects.notice(Notice::Drained);
            }
            Step::Stop(mode) => {
                let kind = if mode == OnTerm::Keep { StopKind::Quiet } else { StopKind::Shutdown };
                self.dispatch_all(|| Event::Stop { kind, text: None }, now);
                // After the connections: FRR and BIRD take AdminDown for a failure while their session stands (RFC 5882 §4.2 would not).
                self.effects.push(Effect::EndBfd);
                if mode == OnTerm::Withdraw {
                    self.fib_sync.fib.remove_all();
                }
            }
        }
    }
}
