//! From the Loc-RIB to the kernel: what is used is wanted there, and what this node owns is originated.
//!
//! In: best paths that changed, blocks, words of the kernel. Out: what the FIB planner shall want, routes of our own for the RIB, and
//! next hops looked at again. The planner (`fib`) knows what stands in the kernel; the shell writes it.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::{BlockSource, Effect, OnTerm, Speaker};
use crate::fib::{Errno, FibKind, FibRoute, News, Refused};
use crate::kernel::KernelEvent;
use crate::num::{Family, Instant, Nlri, PeerId};
use crate::policy::LocalKind;
use crate::rib::nexthop::{OwnRoute, combine};
use crate::rib::{Best, BestChange, Cause, DestId, Route, RouteChange, Step, Touched};
use crate::stats::Notice;
use crate::wire::{NextHop, Origin, PathAttributes};

/// This node's blocks, and who named each.
#[derive(Default)]
pub(super) struct Blocks {
    named: BTreeMap<IpNet, BTreeSet<BlockSource>>,
}

impl Blocks {
    pub fn iter(&self) -> impl Iterator<Item = (&IpNet, &BTreeSet<BlockSource>)> {
        self.named.iter()
    }

    pub fn len(&self) -> usize {
        self.named.len()
    }

    pub fn of(&self, source: BlockSource) -> Vec<IpNet> {
        self.named.iter().filter(|(_, by)| by.contains(&source)).map(|(net, _)| *net).collect()
    }

    /// Those that need a blackhole of ours: what only the kernel names stands there already.
    fn written(&self) -> BTreeSet<IpNet> {
        self.named.iter().filter(|(net, _)| self.is_written(net)).map(|(net, _)| *net).collect()
    }

    fn is_written(&self, net: &IpNet) -> bool {
        self.named.get(net).is_some_and(|by| by.iter().any(|source| *source != BlockSource::Kernel))
    }

    /// Replaces what `source` named. What is new and what is gone, each in order.
    fn set(&mut self, source: BlockSource, nets: &[IpNet]) -> (Vec<IpNet>, Vec<IpNet>) {
        let wanted: BTreeSet<IpNet> = nets.iter().map(IpNet::trunc).collect();
        let added = wanted.iter().filter(|n| !self.named.contains_key(n)).copied().collect();
        for (_, by) in self.named.iter_mut().filter(|(net, _)| !wanted.contains(net)) {
            by.remove(&source);
        }
        let removed: Vec<IpNet> = self.named.iter().filter(|(_, by)| by.is_empty()).map(|(net, _)| *net).collect();
        self.named.retain(|_, by| !by.is_empty());
        for net in wanted {
            self.named.entry(net).or_default().insert(source);
        }
        (added, removed)
    }
}

impl Speaker {
    /// The blocks that one source names, whole.
    pub(super) fn set_blocks(&mut self, source: BlockSource, nets: &[IpNet]) {
        let was_written = self.blocks.written();
        let (added, removed) = self.blocks.set(source, nets);
        for net in &added {
            self.originate_as(LocalKind::Block, *net, true);
        }
        for net in &removed {
            self.originate_as(LocalKind::Block, *net, false);
        }
        let written = self.blocks.written();
        let others: Vec<IpNet> = was_written.symmetric_difference(&written).copied().collect();
        let told = |n: &IpNet| added.binary_search(n).is_ok() || removed.binary_search(n).is_ok();
        for net in others.into_iter().filter(|n| !told(n)) {
            self.program_again(net);
        }
        if !added.is_empty() || !removed.is_empty() {
            self.notice(Notice::Blocks { added, removed });
        }
    }

    /// Announces a prefix as one of our own, or no longer.
    pub(super) fn originate_as(&mut self, kind: LocalKind, net: IpNet, ours: bool) {
        let route = ours.then(|| {
            let next_hop = match net {
                IpNet::V4(_) => NextHop::V4(std::net::Ipv4Addr::UNSPECIFIED),
                IpNet::V6(_) => NextHop::V6 { global: std::net::Ipv6Addr::UNSPECIFIED, link_local: None },
            };
            Route::as_received(self.rib.intern_new(PathAttributes::builder(Origin::Igp, next_hop).finish()))
        });
        let cause = if ours { Cause::Announced } else { Cause::Withdrawn };
        let nlri = Nlri { net, path_id: kind.path_id() };
        self.rib.apply(RouteChange { peer: PeerId::LOCAL, nlri, route, cause });
    }

    /// Something else than the best path decides anew what is wanted for a prefix.
    fn program_again(&mut self, net: IpNet) {
        let Some(dest) = self.rib.find(&net) else { return };
        if let Some(best) = self.rib.best(dest) {
            let change = BestChange { dest, net, old: None, new: Some(best), why: Step::Only, touched: Touched::default() };
            self.program(&[change]);
        }
    }

    /// Tells the planner what is wanted for prefixes whose use changed.
    pub(super) fn program(&mut self, changes: &[BestChange]) {
        if !self.params.fib.enabled {
            return;
        }
        for change in changes {
            let wanted = self.wanted_route(change);
            self.note_own(change, wanted.as_ref());
            self.fib.want(change.net, wanted);
        }
    }

    fn wanted_route(&self, change: &BestChange) -> Option<FibRoute> {
        self.judged_route(change.dest, change.net, change.new.as_ref()?)?.ok()
    }

    /// What a best path should be in the kernel, or the rule that keeps it out. `None`: it is ours, and stands there by another's hand.
    fn judged_route(&self, dest: DestId, net: IpNet, best: &Best) -> Option<Result<FibRoute, Refused>> {
        let fib = &self.params.fib;
        if best.peer == PeerId::LOCAL && !self.blocks.is_written(&net) {
            return None;
        }
        let route = match best.peer {
            PeerId::LOCAL => Ok(FibRoute { net, metric: fib.block_metric, kind: FibKind::Blackhole, source: None }),
            _ => self.learned_route(dest, net, best),
        };
        Some(route.and_then(|r| fib.permits(&net, &r.kind).map(|()| r)))
    }

    fn learned_route(&self, dest: DestId, net: IpNet, best: &Best) -> Result<FibRoute, Refused> {
        let fib = &self.params.fib;
        let resolutions = self.rib.next_hops(dest);
        let width = usize::from(self.params.rules.multipath.width.max(1));
        let mut hops = combine(resolutions.iter().map(|id| self.nexthops.resolution(*id)), width);
        if !hops.is_empty() {
            hops.retain(|hop| !self.nexthops.swallows(&net, hop));
            if hops.is_empty() {
                return Err(Refused::Swallows);
            }
        }
        let metric = fib.metric.of(best.attrs.local_pref());
        Ok(FibRoute { net, metric, kind: FibKind::Unicast(hops), source: fib.source_for(&net) })
    }

    /// Why the best path to a prefix is not written to the kernel, if a rule keeps it out.
    pub(super) fn not_written(&self, net: &IpNet) -> Option<Refused> {
        let dest = self.rib.find(net)?;
        self.judged_route(dest, *net, &self.rib.best(dest)?)?.err()
    }

    /// Next hops that paths name since now may lie in routes that we use already: the table of next hops did not keep these.
    pub(super) fn carry_fresh(&mut self) {
        for addr in self.nexthops.take_fresh() {
            if !self.params.fib.enabled {
                continue;
            }
            let most = if addr.is_ipv4() { 32 } else { 128 };
            for net in (0..=most).filter_map(|len| IpNet::new(addr, len).ok()).map(|net| net.trunc()) {
                let Some((dest, best)) = self.rib.find(&net).and_then(|dest| Some((dest, self.rib.best(dest)?))) else { continue };
                let change = BestChange { dest, net, old: None, new: Some(best), why: Step::Only, touched: Touched::default() };
                let wanted = self.wanted_route(&change);
                self.note_own(&change, wanted.as_ref());
            }
        }
    }

    /// A route of ours may carry other next hops (`rib::nexthop`), if it is to be in the kernel.
    fn note_own(&mut self, change: &BestChange, wanted: Option<&FibRoute>) {
        if !self.nexthops.is_asked_in(&change.net) {
            return;
        }
        let next_hops = self.rib.next_hops(change.dest);
        let own = wanted.map(|route| match route.kind {
            FibKind::Blackhole => OwnRoute::Discards,
            FibKind::Unicast(_) => OwnRoute::Leads { next_hops: &next_hops, metric: route.metric },
        });
        self.nexthops.on_own(change.net, own);
    }

    /// Paths whose next hop came, went or moved are judged again.
    pub(super) fn track_nexthops(&mut self) {
        let changed = self.nexthops.take_changed();
        if !changed.is_empty() {
            self.rib.nexthop_changed(&changed);
        }
    }

    pub(super) fn on_kernel(&mut self, event: &KernelEvent, now: Instant) {
        self.learn(event);
        self.nexthops.on_kernel(event);
        self.fib.on_kernel(now, event);
        if matches!(event, KernelEvent::DumpEnd) {
            self.recovery_may_end();
        }
    }

    /// Other FIB parameters hold: everything that is used is looked at again.
    pub(super) fn program_all(&mut self) {
        for family in Family::ALL {
            let dests: Vec<_> = self.rib.dests(family, 0).collect();
            for dest in dests {
                let (Some(net), Some(best)) = (self.rib.net(dest), self.rib.best(dest)) else { continue };
                let change = BestChange { dest, net, old: None, new: Some(best), why: Step::Only, touched: Touched::default() };
                self.program(&[change]);
            }
        }
    }

    /// The FIB was switched off: what is ours in the kernel goes, and carries nothing any more.
    pub(super) fn program_none(&mut self) {
        for family in Family::ALL {
            let nets: Vec<IpNet> = self.rib.dests(family, 0).filter_map(|dest| self.rib.net(dest)).collect();
            nets.into_iter().for_each(|net| self.nexthops.on_own(net, None));
        }
        self.fib.remove_all();
    }

    /// What the planner met that an operator should know.
    fn say_fib_news(&mut self) {
        for news in self.fib.take_news() {
            let notice = match news {
                News::Refused { net, errno } => Notice::FibFailed { net, errno: errno.0, error: errno.text().to_owned() },
                News::Foreign { net, protocol } => Notice::FibForeign { net, protocol },
                News::Contested { net } => Notice::FibContested { net },
            };
            self.notice(notice);
        }
        let repaired = self.fib.totals().repaired;
        if let count @ 1.. = repaired.saturating_sub(self.repaired_said) {
            self.repaired_said = repaired;
            self.notice(Notice::FibRepaired { count: count as usize });
        }
    }

    /// Hands planned changes to the shell, as many as the planner lets out.
    pub(super) fn drain_fib(&mut self, now: Instant) {
        // Going away and leaving the kernel's routes: what the closing sessions take out of the tables is to stay in the kernel.
        if self.stopping == Some(OnTerm::Keep) {
            return;
        }
        let mut last = None;
        while let Some((seq, change)) = self.fib.poll() {
            last = Some(seq);
            self.effects.push_back(Effect::Fib { seq, change });
        }
        self.counters.settled(last, self.fib.backlog().1 > 0, now);
        self.say_fib_news();
    }

    pub(super) fn on_fib_done(&mut self, seq: u64, result: Result<(), Errno>, now: Instant) {
        self.fib.on_done(now, seq, result);
        if self.fib.take_displaced() {
            self.effects.push_back(Effect::ReadKernel);
        }
        self.counters.acknowledged(seq, now);
    }
}
