//! From the Loc-RIB to the kernel: what is used is wanted there.
//!
//! In: best paths that changed, blocks, the kernel's answers. Out: what the FIB planner shall want, and its changes as effects; routes of ours
//! that may carry next hops. The planner (`fib`) knows what stands in the kernel; the shell writes it.

use std::time::Duration;

use ipnet::IpNet;

use super::counters::RouterCounters;
use super::fixed_routes::Pinned;
use super::io::{Effect, Effects};
use super::origination::Origination;
use super::params::Params;
use crate::fib::{Errno, Fib, FibEvent, FibKind, FibRoute, Refused};
use crate::num::{Family, Instant, PeerId};
use crate::rib::nexthop::{BgpRoute, NexthopTable, combine, combine_weighted};
use crate::rib::{Best, BestChange, DestId, NhId, Rib, Sharing, Step, Touched};
use crate::stats::Notice;

/// Repairs are told of no more often than this.
const REPAIRS_EVERY: Duration = Duration::from_secs(10);

/// The planner, and what was said of it.
pub(super) struct FibSync {
    /// What should stand in the kernel, and what does.
    pub fib: Fib,
    /// What stands there whatever is learned.
    pub pinned: Pinned,
    /// Repairs of kernel routes that were told of.
    repaired_said: u64,
    /// When they were.
    repaired_at: Option<Instant>,
}

/// What a best path should be in the kernel follows from these.
#[derive(Clone, Copy)]
pub(super) struct Desired<'a> {
    pub params: &'a Params,
    pub rib: &'a Rib,
    pub nexthops: &'a NexthopTable,
    pub origination: &'a Origination,
}

/// What telling the planner touches.
pub(super) struct Program<'a> {
    pub fib: &'a mut Fib,
    pub pinned: &'a mut Pinned,
    pub params: &'a Params,
    pub rib: &'a Rib,
    pub nexthops: &'a mut NexthopTable,
    pub origination: &'a Origination,
}

impl Desired<'_> {
    fn wanted(&self, change: &BestChange) -> Option<FibRoute> {
        self.judged_route(change.dest, change.net, change.new.as_ref()?)?.ok()
    }

    /// What a best path should be in the kernel, or the rule that keeps it out. `None`: it is ours, and stands there by another's hand.
    fn judged_route(&self, dest: DestId, net: IpNet, best: &Best) -> Option<Result<FibRoute, Refused>> {
        let fib = &self.params.fib;
        if best.peer == PeerId::LOCAL && !self.origination.is_written(&net) {
            return None;
        }
        let route = match best.peer {
            PeerId::LOCAL => Ok(FibRoute { net, metric: fib.block_metric, kind: FibKind::Blackhole, source: None, former: None }),
            _ => self.learned_route(dest, net, best),
        };
        Some(route.and_then(|r| fib.permits(&net, &r.kind).map(|()| r)))
    }

    fn learned_route(&self, dest: DestId, net: IpNet, best: &Best) -> Result<FibRoute, Refused> {
        let fib = &self.params.fib;
        if fib.exclude_next_hops.contains(&best.attrs.next_hop().addr()) {
            return Err(Refused::ExcludedNextHop);
        }
        let width = usize::from(self.params.rules.multipath.width.max(1));
        let resolution = |id: NhId| self.nexthops.resolution(id);
        let mut hops = match self.rib.sharing(dest) {
            Sharing::Evenly { .. } => combine(self.rib.next_hops(dest).into_iter().map(resolution), width),
            Sharing::ByBandwidth(paths) => combine_weighted(paths.into_iter().map(|(id, bits)| (resolution(id), bits)), width),
        };
        if !hops.is_empty() {
            hops.retain(|hop| !self.nexthops.routes_own_underlay(&net, hop));
            if hops.is_empty() {
                return Err(Refused::Swallows);
            }
        }
        let metric = fib.metric.of(best.attrs.local_pref());
        Ok(FibRoute { net, metric, kind: FibKind::Unicast(hops), source: fib.source_for(&net), former: None })
    }

    /// Why the best path to a prefix is not written to the kernel, if a rule keeps it out.
    pub fn not_written(&self, net: &IpNet) -> Option<Refused> {
        let dest = self.rib.find(net)?;
        self.judged_route(dest, *net, &self.rib.best(dest)?)?.err()
    }
}

impl Program<'_> {
    fn wanted(&self, change: &BestChange) -> Option<FibRoute> {
        let Program { params, rib, origination, nexthops, .. } = self;
        Desired { params, rib, nexthops, origination }.wanted(change)
    }

    /// What is used for a destination, as if it had just become so.
    fn as_change(&self, dest: DestId) -> Option<BestChange> {
        let (net, best) = (self.rib.net(dest)?, self.rib.best(dest)?);
        Some(BestChange { dest, net, old: None, new: Some(best), why: Step::Only, touched: Touched::default() })
    }

    /// A step of telling the planner again, or for the first time, of everything that is used (other FIB parameters hold, or none is to be in the
    /// kernel): up to `most` destinations from number `from` on. Where to go on, if there are more.
    pub fn some(&mut self, family: Family, from: u64, most: usize) -> Option<u64> {
        let from = u32::try_from(from).unwrap_or(u32::MAX);
        let dests: Vec<DestId> = self.rib.dests(family, from).take(most).collect();
        let next = dests.last().filter(|_| dests.len() == most).map(|last| last.index() as u64 + 1);
        for change in dests.into_iter().filter_map(|dest| self.as_change(dest)).collect::<Vec<_>>() {
            self.apply(&[change]);
        }
        next
    }

    /// Tells the planner what is wanted for prefixes whose use changed.
    pub fn apply(&mut self, changes: &[BestChange]) {
        if !self.params.fib.enabled && self.fib.is_empty() {
            return;
        }
        for change in changes {
            if self.pinned.gateway(&change.net).is_some() {
                self.apply_pinned(change.net);
                continue;
            }
            let wanted = self.wanted(change).filter(|_| self.params.fib.enabled);
            self.note_own(change, wanted.as_ref());
            self.fib.set_desired(change.net, wanted);
        }
    }

    /// Something else than the best path decides anew what is wanted for a prefix.
    pub fn again(&mut self, net: IpNet) {
        if let Some(change) = self.rib.find(&net).and_then(|dest| self.as_change(dest)) {
            self.apply(&[change]);
        }
    }

    /// The routes that stand whatever is learned are those of the configuration from now on.
    pub fn pin(&mut self) {
        let touched = self.pinned.set(&self.params.fib.via, self.nexthops);
        touched.into_iter().for_each(|net| self.apply_pinned(net));
    }

    /// The way to these next hops is another, and with it routes that stand whatever is learned.
    pub fn next_hops_changed(&mut self, changed: &[NhId]) {
        self.pinned.by(changed).into_iter().for_each(|net| self.apply_pinned(net));
    }

    /// A prefix that is pinned, or is no longer and gets what is learned.
    fn apply_pinned(&mut self, net: IpNet) {
        let Some(gateway) = self.pinned.gateway(&net) else {
            self.note(net, None);
            self.fib.set_desired(net, None);
            return self.again(net);
        };
        let wanted = self.pinned.route(&net, &self.params.fib, self.nexthops).filter(|_| self.params.fib.enabled);
        let next_hops = [gateway];
        self.note(net, wanted.as_ref().map(|route| BgpRoute::Leads { next_hops: &next_hops, metric: route.metric }));
        self.fib.set_desired(net, wanted);
    }

    fn note(&mut self, net: IpNet, own: Option<BgpRoute<'_>>) {
        if self.nexthops.is_tracked_within(&net) {
            self.nexthops.on_bgp_route(net, own);
        }
    }

    /// Next hops that paths name since now may lie in routes that we use already: the table of next hops did not keep these.
    pub fn resolve_newly_tracked(&mut self) {
        for addr in self.nexthops.take_newly_tracked() {
            if !self.params.fib.enabled {
                continue;
            }
            let most = if addr.is_ipv4() { 32 } else { 128 };
            for net in (0..=most).filter_map(|len| IpNet::new(addr, len).ok()).map(|net| net.trunc()) {
                if self.pinned.gateway(&net).is_some() {
                    self.apply_pinned(net);
                    continue;
                }
                let Some(change) = self.rib.find(&net).and_then(|dest| self.as_change(dest)) else { continue };
                let wanted = self.wanted(&change);
                self.note_own(&change, wanted.as_ref());
            }
        }
    }

    /// A route of ours may carry other next hops (`rib::nexthop`), if it is to be in the kernel.
    fn note_own(&mut self, change: &BestChange, wanted: Option<&FibRoute>) {
        if !self.nexthops.is_tracked_within(&change.net) {
            return;
        }
        let next_hops = self.rib.next_hops(change.dest);
        let own = wanted.map(|route| match route.kind {
            FibKind::Blackhole => BgpRoute::Discards,
            FibKind::Unicast(_) => BgpRoute::Leads { next_hops: &next_hops, metric: route.metric },
        });
        self.nexthops.on_bgp_route(change.net, own);
    }
}

impl FibSync {
    /// With nothing wanted.
    pub fn new(params: &Params) -> FibSync {
        FibSync { fib: Fib::new(params.fib.clone()), pinned: Pinned::default(), repaired_said: 0, repaired_at: None }
    }

    /// Hands planned changes to the shell, as many as the planner lets out.
    pub fn drain(&mut self, counters: &mut RouterCounters, effects: &mut Effects, now: Instant) {
        let mut last = None;
        while let Some((seq, change)) = self.fib.poll() {
            last = Some(seq);
            effects.push(Effect::Fib { seq, change });
        }
        counters.settled(last, self.fib.backlog().1 > 0, now);
        self.notice_news(effects, now);
    }

    /// What the planner met that an operator should know.
    fn notice_news(&mut self, effects: &mut Effects, now: Instant) {
        for news in self.fib.take_events() {
            effects.notice(match news {
                FibEvent::Refused { net, errno } => Notice::FibFailed { net, errno: errno.0, error: errno.text().to_owned() },
                FibEvent::Foreign { net, protocol } => Notice::FibForeign { net, protocol },
                FibEvent::Contested { net } => Notice::FibContested { net },
                FibEvent::Others { protocol, routes } => Notice::FibOthers { protocol, routes },
            });
        }
        self.notice_repairs(effects, now);
    }

    /// Who is in a fight with another about a route does not fill the log with its blows.
    fn notice_repairs(&mut self, effects: &mut Effects, now: Instant) {
        let repaired = self.fib.totals().repaired;
        let count = repaired.saturating_sub(self.repaired_said) as usize;
        if count > 0 && self.repaired_at.is_none_or(|at| now.since(at) >= REPAIRS_EVERY) {
            (self.repaired_said, self.repaired_at) = (repaired, Some(now));
            let mut nets = self.fib.take_repaired();
            nets.sort();
            nets.dedup();
            effects.notice(Notice::FibRepaired { count, nets });
        }
    }

    /// The kernel's answer to change `seq`. Changes that waited for it follow as effects.
    pub fn on_done(&mut self, seq: u64, result: Result<(), Errno>, counters: &mut RouterCounters, effects: &mut Effects, now: Instant) {
        self.fib.on_done(now, seq, result);
        if self.fib.take_displaced_foreign() {
            effects.push(Effect::ReadKernel);
        }
        counters.acknowledged(seq, now);
    }
}
