//! What the kernel says by itself: dumps, others' changes, links and addresses.
//!
//! Our own changes are not among it (the shell's monitor leaves them out, and knows that by the socket, not by the protocol), so
//! whatever is said about a route of ours was done by somebody else, or by the kernel when a link went.

use ipnet::IpNet;

use super::plan::{Fib, Foreign};
use super::show::FibEvent;
use super::store::{Entry, Flags, Shape, ShapeSet, Slot};
use super::{Conflict, FibRoute};
use crate::kernel::{IfIndex, KernelEvent, KernelRoute, RouteKind};
use crate::num::{Family, Instant};

impl Fib {
    /// Takes in what the kernel says of links, addresses and routes; what it disturbs of ours is put right by later changes.
    pub fn on_kernel(&mut self, now: Instant, event: &KernelEvent) {
        self.now = self.now.max(now);
        match event {
            KernelEvent::Link { ifindex, up, .. } => self.on_link(*ifindex, *up),
            KernelEvent::LinkGone { ifindex } => self.on_link(*ifindex, false),
            KernelEvent::Address { ifindex, net } => self.on_address(*ifindex, *net),
            KernelEvent::AddressGone { ifindex, net } => self.on_address_gone(*ifindex, *net),
            KernelEvent::Route(route) => match self.params.as_ours(route) {
                Some(shape) => self.on_bgp_route(route, shape),
                None => self.on_foreign(route),
            },
            KernelEvent::RouteGone(route) => match self.params.as_ours(route) {
                Some(shape) => self.on_own_gone(shape),
                None => self.on_foreign_gone(route),
            },
            KernelEvent::DumpStart => {
                self.dumping = true;
                self.sweep = None;
                self.dump = self.dump.checked_add(1).unwrap_or(1);
            }
            KernelEvent::DumpEnd => self.on_dump_end(),
            // Ways, not routes: next hops follow them (`rib::nexthop`).
            KernelEvent::Tunnel { .. } | KernelEvent::TunnelGone { .. } => {}
        }
    }

    /// Routing daemons whose routes stand in our table at the start: what they left would count for ever.
    pub(super) fn name_others(&mut self) {
        let mut others = std::collections::BTreeMap::<u8, usize>::new();
        // RTPROT_ZEBRA, RTPROT_BIRD, RTPROT_BABEL, and RTPROT_BGP to RTPROT_EIGRP.
        let daemons = self.foreign.values().flatten().filter(|route| matches!(route.protocol, 11 | 12 | 42 | 186..=192));
        daemons.for_each(|route| *others.entry(route.protocol).or_default() += 1);
        others.into_iter().for_each(|(protocol, routes)| self.tell(FibEvent::Others { protocol, routes }));
    }

    fn on_dump_end(&mut self) {
        if !self.dumping {
            return;
        }
        self.dumping = false;
        self.totals.reconciles += 1;
        let dump = self.dump;
        let gone: Vec<(IpNet, u32)> =
            self.foreign.iter().flat_map(|(n, l)| l.iter().filter(|f| f.seen != dump).map(|f| (*n, f.metric))).collect();
        for (net, metric) in gone {
            self.drop_foreign(net, metric);
        }
        if self.synced { self.sweep = Some(0) } else { self.on_synced() }
    }

    /// After a dump: what it did not mention, and we have not written since it began, is gone.
    pub(super) fn sweep_on(&mut self, most: usize) {
        let Some(from) = self.sweep else { return };
        let to = from.saturating_add(u32::try_from(most).unwrap_or(u32::MAX)).min(self.entries.end());
        let dump = self.dump;
        let stands = |f: Flags| !f.has(Flags::FLYING) && !f.has(Flags::GONE);
        let missing = |e: &Entry| e.installed.is_some() && e.seen != dump && e.touched != dump && stands(e.flags);
        let gone: Vec<Slot> =
            self.entries.iter_from(from).take_while(|(s, _)| s.0 < to).filter(|(_, e)| missing(e)).map(|(s, _)| s).collect();
        for slot in gone {
            self.set_gone(slot);
            self.disturbed(slot);
        }
        self.sweep = (to < self.entries.end()).then_some(to);
    }

    /// What stands has changed: put it right if we want it, forget or remove it if not.
    fn disturbed(&mut self, slot: Slot) {
        match self
            .entries
            .get(slot)
            .map(|e| e.wanted.is_some() && e.installed != e.wanted || e.wanted.is_some() && !e.flags.has(Flags::SURE))
        {
            Some(true) => self.external_change(slot),
            Some(false) => {
                // It stands as it should: nothing is left to wait for.
                self.forget_wait(slot);
                self.tidy(slot);
            }
            None => {}
        }
    }

    fn on_bgp_route(&mut self, route: &KernelRoute, shape: FibRoute) {
        let Some(slot) = self.entries.find(&route.net) else {
            return if self.synced { self.on_namesake(route, &shape) } else { self.adopt(shape) };
        };
        let (dump, dumping) = (self.dump, self.dumping);
        if self.entries.get(slot).is_some_and(|e| dumping && e.touched == dump) {
            return;
        }
        if self.foreign.contains_key(&route.net) && route.table == self.params.table {
            // There is but one route under a key.
            self.drop_foreign(route.net, route.metric);
        }
        let Some(entry) = self.entries.get(slot) else { return };
        let (wanted, installed, flags) = (entry.wanted, entry.installed, entry.flags);
        let ours = !self.synced && self.params.could_be_ours(&shape);
        let said = self.shapes.hold(Shape::from(shape));
        let same_key = self.key(installed) == self.key(said);
        let wanted_there = self.key(wanted) == self.key(said);
        if same_key || wanted_there {
            self.edit(slot, |e| e.seen = dump);
        }
        if installed == said && flags.has(Flags::SURE) || self.superseded.get(&slot).is_some_and(|l| l.contains(&said)) {
            return self.shapes.release(said);
        }
        if flags.has(Flags::FLYING) {
            self.shapes.release(said);
            return self.edit(slot, |e| e.flags.set(Flags::DOUBT, installed != said));
        }
        if installed.is_none() && (ours || wanted_there) || same_key {
            self.count_adopted(&route.net);
            self.set_installed(slot, said, true);
            return self.disturbed(slot);
        }
        if ours || wanted_there {
            self.count_adopted(&route.net);
            self.add_superseded(slot, said);
            return self.tidy(slot);
        }
        if let Some(shape) = self.shapes.get(said).map(|s| s.with(route.net)) {
            self.on_namesake(route, &shape);
        }
        self.shapes.release(said);
    }

    /// It bears a name that was ours, and came after the start: whoever writes under it is somebody else.
    fn on_namesake(&mut self, route: &KernelRoute, shape: &FibRoute) {
        if shape.former.is_some() {
            self.on_foreign(route);
        }
    }

    /// At the start: an earlier run left this.
    fn adopt(&mut self, shape: FibRoute) {
        if !self.params.could_be_ours(&shape) {
            return;
        }
        let slot = self.create(shape.net);
        self.count_adopted(&shape.net);
        let shape = self.shapes.hold(Shape::from(shape));
        self.set_installed(slot, shape, true);
        let dump = self.dump;
        self.edit(slot, |e| {
            e.seen = dump;
            e.flags.set(Flags::STALE, true);
        });
    }

    fn count_adopted(&mut self, net: &IpNet) {
        if !self.synced {
            self.totals.adopted += 1;
            self.preserved[Family::of(net).index()] = true;
        }
    }

    fn on_own_gone(&mut self, shape: FibRoute) {
        let Some(slot) = self.entries.find(&shape.net) else { return };
        let Some(entry) = self.entries.get(slot) else { return };
        if entry.flags.has(Flags::FLYING) {
            return self.edit(slot, |e| e.flags.set(Flags::DOUBT, true));
        }
        // What stands at other metrics (leftovers) is removed by us in any case.
        let known = entry.flags.has(Flags::GONE);
        let installed = entry.installed;
        let gone = self.shapes.hold(Shape::from(shape));
        let (same_key, same) = (self.key(installed) == self.key(gone), installed == gone);
        self.shapes.release(gone);
        if known || !same_key {
            return;
        }
        // One way of several (IPv6), or something older: then who knows.
        if same {
            self.set_gone(slot)
        } else {
            self.edit(slot, |e| e.flags.set(Flags::SURE, false))
        }
        self.disturbed(slot);
    }

    fn on_foreign(&mut self, route: &KernelRoute) {
        if route.table != self.params.table {
            return;
        }
        self.on_connected(route);
        if self.dumping && self.wrote_since_dump(route) {
            return;
        }
        let entry = Foreign { metric: route.metric, protocol: route.protocol, seen: self.dump };
        let list = self.foreign.entry(route.net).or_default();
        let known = list.iter_mut().find(|f| f.metric == route.metric);
        let stood_before = known.is_some();
        match known {
            Some(known) => *known = entry,
            None => list.push(entry),
        }
        let Some(slot) = self.entries.find(&route.net) else { return };
        self.edit(slot, |e| e.flags.set(Flags::FOREIGN, true));
        self.see_others(slot);
        let Some(entry) = self.entries.get(slot) else { return };
        let (key, installed, wanted) = (self.params.key(route.metric), entry.installed, entry.wanted);
        let stood = self.key(installed) == Some(key);
        let ours_stood_there = stood && !entry.flags.has(Flags::GONE);
        if !ours_stood_there {
            // It came while ours was away because of others, and about to be put back: that is no coming first.
            let heals = entry.flags.has(Flags::REPAIRING) && self.params.conflict == Conflict::Heal;
            let took = heals && !stood_before && self.key(wanted) == Some(key);
            self.edit(slot, |e| e.flags.set(Flags::TAKEN, took || e.flags.has(Flags::TAKEN)));
            return if took { self.external_change(slot) } else { self.tidy(slot) };
        }
        if entry.flags.has(Flags::FLYING) {
            return self.edit(slot, |e| e.flags.set(Flags::DOUBT, true));
        }
        let (net, repairs) = (entry.net, entry.repairs);
        let wanted_there = self.key(wanted) == Some(key);
        self.set_gone(slot);
        self.edit(slot, |e| {
            e.flags.set(Flags::TAKEN, wanted_there);
            e.flags.set(Flags::STALE, false);
        });
        // Of a fight one line is enough, and `lost` has it.
        if repairs == 0 {
            self.tell(FibEvent::Foreign { net, protocol: route.protocol });
        }
        if self.params.conflict == Conflict::Yield { self.tidy(slot) } else { self.disturbed(slot) }
    }

    /// Did we, since the dump began, write what stands under this key? Then the dump tells of the time before.
    fn wrote_since_dump(&self, route: &KernelRoute) -> bool {
        let entry = self.entries.find(&route.net).and_then(|s| self.entries.get(s));
        let stands = |f: Flags| f.has(Flags::SURE) && !f.has(Flags::GONE);
        entry.is_some_and(|e| e.touched == self.dump && stands(e.flags) && self.key(e.installed) == Some(self.params.key(route.metric)))
    }

    fn on_foreign_gone(&mut self, route: &KernelRoute) {
        if route.table == self.params.table {
            self.drop_foreign(route.net, route.metric);
        }
    }

    fn drop_foreign(&mut self, net: IpNet, metric: u32) {
        self.forget_foreign(net, metric);
        let Some(slot) = self.entries.find(&net) else { return };
        self.see_others(slot);
        let Some(entry) = self.entries.get(slot) else { return };
        if self.key(entry.wanted) == Some(self.params.key(metric)) {
            // The next stranger there will be one who came first.
            self.edit(slot, |e| {
                e.flags.set(Flags::TAKEN, false);
                e.flags.set(Flags::BLOCKED, false);
            });
            self.tidy(slot);
        }
    }

    /// A route of another's is gone.
    pub(super) fn forget_foreign(&mut self, net: IpNet, metric: u32) {
        let Some(list) = self.foreign.get_mut(&net) else { return };
        list.retain(|f| f.metric != metric);
        if list.is_empty() {
            self.foreign.remove(&net);
        }
    }

    /// Are there routes of others for this prefix, and better ones?
    pub(super) fn see_others(&mut self, slot: Slot) {
        let Some(entry) = self.entries.get(slot) else { return };
        let metric = self.shapes.get(entry.wanted).map(|s| s.metric);
        let list = self.foreign.get(&entry.net);
        let any = list.is_some();
        let before_ours = list.and_then(|l| l.iter().find(|f| metric.is_some_and(|m| f.metric < m)));
        let better = before_ours.is_some();
        let news = before_ours.filter(|_| !entry.flags.has(Flags::SHADOWED)).map(|f| (entry.net, f.protocol));
        self.edit(slot, |e| {
            e.flags.set(Flags::FOREIGN, any);
            e.flags.set(Flags::SHADOWED, better);
        });
        if let Some((net, protocol)) = news {
            self.tell(FibEvent::Foreign { net, protocol });
        }
    }

    /// A link that went down took our routes over it along, perhaps silently (IPv4), perhaps not at all (carrier): write them again
    /// when it is up.
    fn on_link(&mut self, ifindex: IfIndex, up: bool) {
        let used = self.shapes.use_link(ifindex);
        let was = if used { self.links.insert(ifindex, up) } else { self.links.remove(&ifindex) };
        if !used || was == Some(up) || (was.is_none() && up && !self.has_parked()) {
            return;
        }
        let over = self.shapes.table(|s| s.uses(ifindex));
        if up { self.recheck.retry(over) } else { self.recheck.mistrust(over, true, true) }
    }

    fn has_parked(&self) -> bool {
        self.counts.iter().any(|c| c.parked > 0 || c.failed > 0)
    }

    /// A prefix is on a link now: what the kernel refused for want of it may stand.
    fn on_connected(&mut self, route: &KernelRoute) {
        let RouteKind::Unicast(hops) = &route.kind else { return };
        if self.counts.iter().all(|c| c.failed == 0) {
            return;
        }
        for hop in hops.iter().filter(|h| h.gateway.is_none()) {
            if self.shapes.use_link(hop.ifindex) {
                self.recheck.retry(self.shapes.table(|s| s.uses(hop.ifindex)));
            }
        }
    }

    fn on_address(&mut self, ifindex: IfIndex, net: IpNet) {
        let addr = net.addr();
        if let IpNet::V4(n) = net {
            let list = self.addrs.entry(ifindex).or_default();
            if list.contains(&n) {
                return;
            }
            list.push(n);
        }
        if self.has_parked() && (self.shapes.use_link(ifindex) || self.params.source_for(&addr.into()) == Some(addr)) {
            self.recheck.retry(self.shapes.table(|s| s.uses(ifindex) || s.source == Some(addr)));
        }
    }

    /// With the last IPv4 address of a link go, unsaid, the IPv4 routes over it; with any address, those that prefer it as source.
    fn on_address_gone(&mut self, ifindex: IfIndex, net: IpNet) {
        let (mut last, addr) = (false, net.addr());
        if let IpNet::V4(a) = net
            && let Some(list) = self.addrs.get_mut(&ifindex)
        {
            list.retain(|known| *known != a);
            last = list.is_empty();
            if last {
                self.addrs.remove(&ifindex);
            }
        }
        let over_link = last && self.shapes.use_link(ifindex);
        if over_link || self.params.source_for(&addr.into()) == Some(addr) {
            let over = self.shapes.table(|s| over_link && s.uses(ifindex) || s.source == Some(addr));
            self.recheck.mistrust(over, addr.is_ipv4(), addr.is_ipv6());
        }
    }

    /// Goes on with what links and addresses have called for.
    pub(super) fn recheck_on(&mut self, most: usize) {
        let Some(walk) = self.recheck.take_walk() else { return };
        let to = walk.at.saturating_add(u32::try_from(most).unwrap_or(u32::MAX)).min(self.entries.end());
        let concerned = self.entries.iter_from(walk.at).take_while(|(s, _)| s.0 < to).filter(|(_, e)| walk.concerns(e));
        let slots: Vec<Slot> = concerned.map(|(s, _)| s).collect();
        for slot in slots {
            self.recheck_one(slot, &walk);
        }
        if to < self.entries.end() {
            self.recheck.under_way = Some(Walk { at: to, ..walk });
        }
    }

    fn recheck_one(&mut self, slot: Slot, walk: &Walk) {
        let Some(entry) = self.entries.get(slot) else { return };
        let (net, mistrusted, retried) = (entry.net, walk.mistrusts(entry), walk.retries(entry));
        if walk.end {
            self.set_desired(net, None);
        }
        self.edit(slot, |e| {
            if walk.reap {
                e.flags.set(Flags::STALE, false);
            }
            if mistrusted {
                e.flags.set(Flags::SURE, false);
                let flying = e.flags.has(Flags::FLYING);
                e.flags.set(Flags::DOUBT, flying);
            }
            if retried {
                e.flags.set(Flags::PARKED, false);
            }
        });
        if retried { self.hasten(slot) } else { self.tidy(slot) }
    }
}

/// What links and addresses have called for: a walk over all entries, in steps. What is called for while it runs makes one more.
#[derive(Debug, Default)]
pub(super) struct Recheck {
    under_way: Option<Walk>,
    next: Option<Walk>,
}

#[derive(Debug, Default)]
struct Walk {
    /// The next slot.
    at: u32,
    /// Routes of these shapes may have gone unsaid, by family.
    mistrust: [ShapeSet; 2],
    /// Routes of these shapes that the kernel refused, or whose links were down, may stand now.
    retry: ShapeSet,
    /// What an earlier run left and nobody wants goes.
    reap: bool,
    /// What another's route kept out may stand now.
    blocked: bool,
    /// Nothing is wanted any more.
    end: bool,
}

impl Recheck {
    /// Entries are still to be looked at.
    pub fn is_on(&self) -> bool {
        self.under_way.is_some() || self.next.is_some()
    }

    fn mistrust(&mut self, shapes: ShapeSet, v4: bool, v6: bool) {
        let walk = self.next.get_or_insert_default();
        for (_, set) in [v4, v6].into_iter().zip(&mut walk.mistrust).filter(|(on, _)| *on) {
            set.merge(&shapes);
        }
    }

    fn retry(&mut self, shapes: ShapeSet) {
        self.next.get_or_insert_default().retry.merge(&shapes);
    }

    pub fn reap(&mut self) {
        self.next.get_or_insert_default().reap = true;
    }

    pub fn blocked(&mut self) {
        self.next.get_or_insert_default().blocked = true;
    }

    pub fn end(&mut self) {
        self.next.get_or_insert_default().end = true;
    }

    fn take_walk(&mut self) -> Option<Walk> {
        self.under_way.take().or_else(|| self.next.take())
    }
}

impl Walk {
    fn concerns(&self, entry: &Entry) -> bool {
        let flagged = self.reap && entry.flags.has(Flags::STALE) || self.blocked && entry.flags.has(Flags::BLOCKED);
        flagged || self.end && entry.wanted.is_some() || self.mistrusts(entry) || self.retries(entry)
    }

    fn mistrusts(&self, entry: &Entry) -> bool {
        self.mistrust[Family::of(&entry.net).index()].contains(entry.installed)
    }

    fn retries(&self, entry: &Entry) -> bool {
        self.retry.contains(entry.wanted) && (entry.flags.has(Flags::PARKED) || entry.flags.has(Flags::FAILED))
    }
}
