//! How a change enters the tables: paths come, are replaced and go, and what that makes dirty is remembered once.
//!
//! In: judged routes of one peer, by [`Rib`](super::Rib). Out: destinations in the dirty list, each with what was last reported of it.
//! Everything here is generic over the family; [`Core`] is what both families share.

use std::collections::{BTreeSet, VecDeque};

use super::attrs::{AttrTable, Attrs};
use super::cause::{Cause, CauseId, Causes};
use super::decide::{Rules, SourceFacts};
use super::departed::{Departed, Departures};
use super::jobs::Jobs;
use super::keyed::Keyed;
use super::loc::{BestChange, Dirty, best_of, choose};
use super::path::{Beside, Path, PathFlags, Route, Slot, Verdict};
use super::sources::Peers;
use super::table::{Dest, DestFlags, Key, Table};
use super::{DestId, Limits, NextHops, NhId, TableCounts};
use crate::num::{Family, Nlri, PathId, PeerId};
use crate::wire::Community;

/// What both families share.
pub(super) struct Core {
    /// Prefixes that nobody announces any more.
    pub departures: Departures,
    /// How the best path is chosen.
    pub rules: Rules,
    /// What is kept of what was refused, and how many paths of a prefix.
    pub limits: Limits,
    /// Each attribute set once.
    pub attrs: AttrTable,
    /// Why paths stand as they stand.
    pub causes: Causes,
    /// Who announces.
    pub peers: Peers,
    /// Destinations to be chosen again, in the order in which they changed.
    pub dirty: VecDeque<Dirty>,
    /// Counts UPDATEs, so that destinations of one are known as such; it may wrap.
    pub update: u32,
    /// Scratch of one settlement.
    postponed: Vec<Dirty>,
    /// Destinations whose last path went; freed at the next settlement.
    pub emptied: Vec<DestId>,
    /// By family.
    pub counts: [TableCounts; 2],
    /// Peers that may have room now for what was refused for want of it.
    pub freed: BTreeSet<PeerId>,
    /// Walks over the paths of one peer that are due.
    pub jobs: Jobs,
    /// Next hops that peers who left had tracked on their links.
    pub untracked: Vec<NhId>,
    /// Tell of every path that comes, goes or changes, not only of the best.
    pub all_paths: bool,
    /// Then so many of a destination stand in order of preference.
    pub ranked: usize,
    /// Seconds of the speaker's time line.
    pub now: u32,
    /// Paths of peers that came, went or changed since somebody last asked, while somebody wants to know.
    pub journal: Option<Vec<(PeerId, Nlri)>>,
    /// Paths that were passed in search of others of their prefix, since somebody asked.
    pub passed: usize,
}

impl Core {
    /// Without a peer and without a route.
    pub fn new(rules: Rules, hasher: Keyed) -> Core {
        Core {
            departures: Departures::default(),
            rules,
            limits: Limits::default(),
            attrs: AttrTable::new(hasher),
            causes: Causes::new(),
            peers: Peers::default(),
            dirty: VecDeque::new(),
            update: 0,
            postponed: Vec::new(),
            emptied: Vec::new(),
            counts: Default::default(),
            freed: BTreeSet::new(),
            jobs: Jobs::default(),
            untracked: Vec::new(),
            all_paths: false,
            ranked: usize::MAX,
            now: 0,
            journal: None,
            passed: 0,
        }
    }

    /// Puts a destination into the dirty list, with what was last reported of it, unless it is there.
    pub fn mark_dirty<K: Key>(&mut self, dest: &mut Dest<K>, id: DestId) {
        if !dest.flags.has(DestFlags::DIRTY) {
            dest.flags.set(DestFlags::DIRTY, true);
            self.dirty.push_back(Dirty { dest: id, old: best_of(dest, &self.peers), update: self.update });
        }
    }

    /// A route takes the place of what the peer announced before of this path.
    pub fn put<K: Key>(&mut self, table: &mut Table<K>, key: K, slot: Slot, path_id: PathId, route: &Route, cause: &Cause) {
        if route.attrs.is_none() && !self.keeps(K::FAMILY, slot, route, cause) {
            return self.withdraw(table, key, slot, path_id, cause);
        }
        let index = table.find_or_insert(key);
        let Some(dest) = table.get_mut(index) else { return };
        match dest.paths.find(slot, path_id) {
            Some(at) => self.replace(dest, DestId::new(K::FAMILY, index), at, route, cause, None),
            None if self.has_too_many(dest, slot) => {
                self.peers.get_mut(slot).into_iter().for_each(|peer| peer.family(K::FAMILY).refused_paths += 1);
            }
            None => self.add(dest, DestId::new(K::FAMILY, index), slot, path_id, route, cause),
        }
    }

    /// Whether a refused route is kept; counts it if not, and then it is as good as withdrawn.
    fn keeps(&mut self, family: Family, slot: Slot, route: &Route, cause: &Cause) -> bool {
        let Some(peer) = self.peers.get_mut(slot) else { return false };
        let (most, adj) = (peer.keep_refused, &mut peer.families[family.index()]);
        let keeps = adj.keeps_refused(most, &self.limits, route.received.octets().len() as u64);
        adj.not_kept += u64::from(!keeps);
        adj.no_room += u64::from(!keeps && *cause == Cause::MaxPrefix);
        keeps
    }

    fn has_too_many<K: Key>(&self, dest: &mut Dest<K>, slot: Slot) -> bool {
        let most = self.limits.paths_of_a_prefix as usize;
        dest.paths.as_slice().len() >= most && dest.paths.count(slot) >= most
    }

    /// Another verdict on what the peer announced before. It announced nothing new, so what marks the path as old stays.
    pub fn judge_again<K: Key>(&mut self, table: &mut Table<K>, key: K, slot: Slot, nlri: &Nlri, route: &Route, cause: &Cause) {
        let Some(index) = table.find(key) else { return };
        let Some(dest) = table.get_mut(index) else { return };
        let Some(at) = dest.paths.find(slot, nlri.path_id) else { return };
        let Some(path) = dest.paths.as_slice().get(at) else { return };
        let (generation, marked) = (path.generation, path.changed.as_ref().is_some_and(Attrs::is_long_lived));
        let stale = self.peers.get_mut(slot).is_some_and(|peer| peer.family(K::FAMILY).generation() != generation);
        let kept = (marked && stale).then(|| self.marked_long_lived(route)).flatten();
        self.replace(dest, DestId::new(K::FAMILY, index), at, kept.as_ref().unwrap_or(route), cause, Some(generation));
    }

    /// A stale route that was the last choice (RFC 9494 §4.2) is so by another verdict, too.
    fn marked_long_lived(&mut self, route: &Route) -> Option<Route> {
        let attrs = route.attrs.as_ref().filter(|attrs| !attrs.is_long_lived())?;
        let marked = attrs.set().edit().add_community(Community::LLGR_STALE).finish();
        Some(Route { received: route.received.clone(), attrs: Some(self.attrs.intern_new(marked)) })
    }

    fn add<K: Key>(&mut self, dest: &mut Dest<K>, id: DestId, slot: Slot, path_id: PathId, route: &Route, cause: &Cause) {
        if route.attrs.is_some() || self.all_paths {
            self.mark_dirty(dest, id);
        }
        let cause = if route.attrs.is_some() { CauseId::ANNOUNCED } else { self.causes.hold(cause) };
        let (verdict, changed) = verdict(route);
        AttrTable::hold(&route.received);
        changed.iter().for_each(AttrTable::hold);
        let Some(peer) = self.peers.get_mut(slot) else { return };
        route.attrs.iter().for_each(|attrs| peer.hold_link_local(attrs));
        let adj = peer.family(id.family());
        let (at, generation) = (adj.push(id.raw()), adj.generation());
        adj.several |= path_id != PathId(0);
        let (beside, passed) = if adj.several { dest.paths.beside(slot, None, generation) } else { (Beside::default(), 0) };
        self.passed += passed;
        let received = route.received.clone();
        let path = Path { received, changed, path_id, slot, at, since: self.now, generation, cause, flags: PathFlags::default(), verdict };
        adj.count(id.raw(), &path, beside);
        let counts = &mut self.counts[id.family().index()];
        counts.paths += 1;
        counts.prefixes += u64::from(dest.paths.as_slice().is_empty());
        dest.paths.push(path);
        self.note(dest, slot, path_id);
    }

    /// A path came, went or changed.
    fn note<K: Key>(&mut self, dest: &Dest<K>, slot: Slot, path_id: PathId) {
        if let (Some(journal), Some(peer)) = (&mut self.journal, self.peers.get(slot)) {
            journal.push((peer.facts.id, Nlri { net: dest.key.net(), path_id }));
        }
    }

    /// What the peer of this path has besides of its prefix.
    fn beside<K: Key>(&mut self, dest: &Dest<K>, id: DestId, at: usize) -> Beside {
        let several = |slot| self.peers.get(slot).map(|peer| &peer.families[id.family().index()]).filter(|adj| adj.several);
        let path = dest.paths.as_slice().get(at);
        let found = path.and_then(|path| Some(dest.paths.beside(path.slot, Some(at), several(path.slot)?.generation())));
        let (beside, passed) = found.unwrap_or_default();
        self.passed += passed;
        beside
    }

    /// Of a path that is gone nobody asks what is beside it: those of a peer that leaves are taken out without a look at each other.
    fn beside_unless_gone<K: Key>(&mut self, dest: &Dest<K>, id: DestId, at: usize) -> Beside {
        let gone = |path: &Path| self.peers.get(path.slot).is_none_or(|peer| peer.families[id.family().index()].is_gone(path));
        if dest.paths.as_slice().get(at).is_none_or(gone) { Beside::default() } else { self.beside(dest, id, at) }
    }

    /// Another route, or another verdict, in the place of one that is there; `judged`: its generation, if it was not announced now.
    fn replace<K: Key>(&mut self, dest: &mut Dest<K>, id: DestId, at: usize, route: &Route, cause: &Cause, judged: Option<u32>) {
        let (verdict, changed) = verdict(route);
        let told = if route.attrs.is_some() { CauseId::ANNOUNCED } else { self.causes.hold(cause) };
        let Some(path) = dest.paths.as_slice().get(at) else { return };
        let gone = self.peers.get(path.slot).is_none_or(|peer| peer.families[id.family().index()].is_gone(path));
        let same = !gone && path.received == route.received && path.changed == changed && path.verdict == verdict && path.cause == told;
        let fresh = self.rules.parts_with_stale() && judged.is_none() && self.is_stale(id.family(), path);
        if (!same || fresh) && (path.accepted() || route.attrs.is_some() || self.all_paths) {
            self.mark_dirty(dest, id);
        }
        let beside = self.beside(dest, id, at);
        let Some(path) = dest.paths.as_mut_slice().get_mut(at) else { return };
        let shared = path.flags.has(PathFlags::SHARES);
        let Some(peer) = self.peers.get_mut(path.slot) else { return };
        route.attrs.iter().for_each(|attrs| peer.hold_link_local(attrs));
        self.untracked.extend(path.attrs().and_then(|old| peer.release_link_local(old)));
        let (peer, adj) = (peer.facts.id, peer.family(id.family()));
        if adj.discount(id.raw(), path, beside) {
            self.freed.insert(peer);
        }
        path.generation = judged.unwrap_or(adj.generation());
        path.verdict = verdict;
        self.causes.release(std::mem::replace(&mut path.cause, told));
        if !same {
            AttrTable::hold(&route.received);
            changed.iter().for_each(AttrTable::hold);
            path.since = self.now;
            let old = std::mem::replace(&mut path.received, route.received.clone());
            self.attrs.release(old);
            if let Some(old) = std::mem::replace(&mut path.changed, changed) {
                self.attrs.release(old);
            }
        }
        adj.count(id.raw(), path, beside);
        let (slot, path_id) = (path.slot, path.path_id);
        if shared && !same {
            dest.flags.set(DestFlags::SHARE_TOUCHED, true);
        }
        if !same {
            self.note(dest, slot, path_id);
        }
    }

    fn is_stale(&self, family: Family, path: &Path) -> bool {
        self.peers.get(path.slot).is_some_and(|peer| peer.families[family.index()].is_stale(path))
    }

    /// What the peer announced of this path is no more.
    pub fn withdraw<K: Key>(&mut self, table: &mut Table<K>, key: K, slot: Slot, path_id: PathId, cause: &Cause) {
        let Some(index) = table.find(key) else { return };
        let Some(dest) = table.get_mut(index) else { return };
        let Some(at) = dest.paths.find(slot, path_id) else { return };
        let id = DestId::new(K::FAMILY, index);
        self.remove_path(dest, id, at);
        self.note_departure(dest, slot, cause);
        self.free_later(table, id);
    }

    /// The last path of a prefix went.
    pub fn note_departure<K: Key>(&mut self, dest: &Dest<K>, slot: Slot, cause: &Cause) {
        if let Some(peer) = self.peers.get(slot).filter(|_| dest.paths.as_slice().is_empty()) {
            let departed = Departed { peer: peer.facts.id, cause: cause.clone(), seconds: self.now };
            self.departures.push(dest.key.net(), departed);
        }
    }

    /// Takes a path out of its destination.
    pub fn remove_path<K: Key>(&mut self, dest: &mut Dest<K>, id: DestId, at: usize) {
        if self.all_paths || dest.paths.as_slice().get(at).is_some_and(Path::accepted) {
            self.mark_dirty(dest, id);
        }
        let beside = self.beside_unless_gone(dest, id, at);
        let Some(path) = dest.paths.swap_remove(at) else { return };
        if at == 0 {
            dest.flags.set(DestFlags::HAS_BEST, false);
        }
        if path.flags.has(PathFlags::SHARES) {
            dest.flags.set(DestFlags::SHARE_TOUCHED, true);
        }
        if let Some(peer) = self.peers.get_mut(path.slot) {
            self.untracked.extend(path.attrs().and_then(|old| peer.release_link_local(old)));
            if peer.family(id.family()).discount(id.raw(), &path, beside) {
                self.freed.insert(peer.facts.id);
            }
            peer.family(id.family()).tombstone(path.at);
        }
        let counts = &mut self.counts[id.family().index()];
        counts.paths -= 1;
        counts.prefixes -= u64::from(dest.paths.as_slice().is_empty());
        self.note(dest, path.slot, path.path_id);
        self.causes.release(path.cause);
        self.attrs.release(path.received);
        if let Some(changed) = path.changed {
            self.attrs.release(changed);
        }
    }

    /// A destination without paths that was never reported is freed now; one that is dirty is freed after it was settled.
    pub fn free_later<K: Key>(&mut self, table: &mut Table<K>, id: DestId) {
        if table.get(id.raw()).is_some_and(|d| d.paths.as_slice().is_empty() && !d.flags.has(DestFlags::DIRTY)) {
            self.emptied.push(id);
        }
    }

    /// Gives the number of an empty destination free, unless it is in use again.
    pub fn free<K: Key>(table: &mut Table<K>, id: DestId) {
        let empty = table
            .get(id.raw())
            .is_some_and(|d| d.paths.as_slice().is_empty() && !d.flags.has(DestFlags::DIRTY) && !d.flags.has(DestFlags::FREE));
        if empty {
            table.remove(id.raw());
        }
    }

    /// Chooses for one destination. How many choices among few it was worth.
    pub fn settle_one<K: Key>(
        &mut self,
        table: &mut Table<K>,
        dirty: Dirty,
        next_hops: &mut impl NextHops,
        out: &mut Vec<BestChange>,
    ) -> usize {
        let Dirty { dest: id, old, update } = dirty;
        let Some(dest) = table.get_mut(id.raw()) else { return 1 };
        let ranked = if self.all_paths { self.ranked } else { 1 };
        let weight = 1 + dest.paths.as_slice().len() / 16;
        let Some((new, why, mut touched)) = choose(dest, &mut self.peers, &self.rules, next_hops, ranked) else {
            self.postponed.push(Dirty { dest: id, old, update });
            return weight;
        };
        touched.paths = self.all_paths;
        let counts = &mut self.counts[id.family().index()];
        counts.best = counts.best + u64::from(new.is_some()) - u64::from(old.is_some());
        if dest.paths.as_slice().is_empty() {
            self.emptied.push(id);
        }
        if old != new || touched.share || touched.way || touched.paths {
            out.push(BestChange { dest: id, net: dest.key.net(), old, new, why, touched });
        }
        weight
    }

    /// What could not be settled waits for the next settlement.
    pub fn put_back_postponed(&mut self) {
        self.dirty.extend(self.postponed.drain(..));
    }

    /// A peer that comes back over another interface has its link-local next hops there, and not where they were.
    pub fn forget_old_link(&mut self, facts: &SourceFacts) {
        let known = self.peers.slot(facts.id).and_then(|s| self.peers.get_mut(s));
        if let Some(peer) = known.filter(|p| p.facts.interface != facts.interface) {
            self.untracked.extend(peer.forget_link_local());
        }
    }

    /// The peer is gone, with all its paths: its place goes when the last of these was taken out of the table.
    pub fn forget_peer(&mut self, peer: PeerId) {
        let Some(slot) = self.peers.slot(peer) else { return };
        if let Some(known) = self.peers.get_mut(slot) {
            known.leaving = true;
            known.forget_next_hops();
            self.untracked.extend(known.forget_link_local());
        }
        self.forget_empty(slot);
    }
}

/// What import said of a route, and the set that it made if that is another.
fn verdict(route: &Route) -> (Verdict, Option<super::Attrs>) {
    match &route.attrs {
        None => (Verdict::Refused, None),
        Some(attrs) if *attrs == route.received => (Verdict::AsReceived, None),
        Some(attrs) => (Verdict::Changed, Some(attrs.clone())),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv6Addr};

    use super::*;
    use crate::kernel::{IfIndex, KernelEvent};
    use crate::num::{Asn, Nlri, RouterId};
    use crate::rib::nexthop::NexthopTable;
    use crate::rib::{Rib, RouteChange, SourceKind};
    use crate::wire::{NextHop, Origin, PathAttributes};

    /// The interface of a link-local session goes and comes back under another number; the peer's routes were kept meanwhile.
    #[test]
    fn link_local_next_hops_follow_their_peer_to_another_interface() {
        let addr: IpAddr = "fe80::2".parse().unwrap();
        let router_id = RouterId::new([10, 0, 0, 2].into()).unwrap();
        let over = |n| SourceFacts {
            id: PeerId(1),
            kind: SourceKind::External,
            addr,
            interface: Some(IfIndex(n)),
            ..SourceFacts::local(Asn(65001), router_id)
        };
        let mut next_hops = NexthopTable::new(crate::rib::nexthop::Params::default());
        let mut rib = Rib::new(Rules::default(), 1);
        let settle = |rib: &mut Rib, next_hops: &mut NexthopTable| {
            let changed = next_hops.take_changed();
            rib.nexthop_changed(&changed);
            let mut out = Vec::new();
            while rib.settle(100, next_hops, &mut out) || next_hops.has_newly_tracked() {
                next_hops.take_newly_tracked();
            }
            rib.check_invariants();
            out
        };
        let link = |n, up| KernelEvent::Link { ifindex: IfIndex(n), name: format!("eth{n}"), up };
        next_hops.on_kernel(&link(2, true));
        rib.peer_up(over(2));
        let next_hop = NextHop::V6 { global: Ipv6Addr::UNSPECIFIED, link_local: Some("fe80::2".parse().unwrap()) };
        let route = Some(Route::as_received(rib.intern_new(PathAttributes::builder(Origin::Igp, next_hop).finish())));
        let nlri = Nlri { net: "2001:db8::/48".parse().unwrap(), path_id: PathId(0) };
        rib.apply(RouteChange { peer: PeerId(1), nlri, route, cause: Cause::Announced });
        assert!(settle(&mut rib, &mut next_hops)[0].new.is_some());
        next_hops.on_kernel(&KernelEvent::LinkGone { ifindex: IfIndex(2) });
        assert!(settle(&mut rib, &mut next_hops)[0].new.is_none());
        next_hops.on_kernel(&link(7, true));
        rib.peer_up(over(7));
        assert!(settle(&mut rib, &mut next_hops)[0].new.is_some(), "over the new one");
        let tracked: Vec<_> = next_hops.rows(None).map(|row| (row.addr, row.ifindex)).collect();
        assert_eq!(tracked, [(addr, Some(IfIndex(7)))], "and nothing is left of the old one");
        rib.peer_down(PeerId(1));
        settle(&mut rib, &mut next_hops);
        assert!(next_hops.is_empty());
    }

    #[test]
    fn link_local_next_hops_are_tracked_as_long_as_a_path_names_them() {
        let router_id = RouterId::new([10, 0, 0, 2].into()).unwrap();
        let facts = SourceFacts { id: PeerId(1), interface: Some(IfIndex(2)), ..SourceFacts::local(Asn(65001), router_id) };
        let mut next_hops = NexthopTable::new(crate::rib::nexthop::Params::default());
        let mut rib = Rib::new(Rules::default(), 1);
        rib.peer_up(SourceFacts { kind: SourceKind::External, ..facts });
        let mut announce = |rib: &mut Rib, net: &str, hop: Option<u16>| {
            let route = hop.map(|n| {
                let link_local = Some(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, n));
                let next_hop = NextHop::V6 { global: Ipv6Addr::UNSPECIFIED, link_local };
                Route::as_received(rib.intern_new(PathAttributes::builder(Origin::Igp, next_hop).finish()))
            });
            let nlri = Nlri { net: net.parse().unwrap(), path_id: PathId(0) };
            let cause = if hop.is_some() { Cause::Announced } else { Cause::Withdrawn };
            rib.apply(RouteChange { peer: PeerId(1), nlri, route, cause });
            while rib.settle(100, &mut next_hops, &mut Vec::new()) {}
            rib.check_invariants();
            next_hops.check_invariants();
            next_hops.len()
        };
        let tracked: Vec<usize> = (1..100).map(|n| announce(&mut rib, "2001:db8::/48", Some(n))).collect();
        assert_eq!(tracked, [1; 99], "one prefix, one next hop, however often it changes");
        assert_eq!(announce(&mut rib, "2001:db8:1::/48", Some(99)), 1, "two prefixes by the same");
        assert_eq!(announce(&mut rib, "2001:db8::/48", Some(7)), 2);
        assert_eq!(announce(&mut rib, "2001:db8:1::/48", None), 1);
        assert_eq!(announce(&mut rib, "2001:db8::/48", None), 0);
    }

    #[test]
    fn paths_of_one_prefix_are_found_in_any_number_and_order() {
        use super::super::testing::{Table, net, peer};
        let mut tables = Table::with_peers(3);
        tables.rib.tell_all_paths(true);
        for round in 0..3 {
            for id in 0..500 {
                tables.announce_path(1 + id % 3, 7, id, 1 + (id * 7 + round) % 90);
                if id % 50 == 0 {
                    tables.settle(10);
                }
            }
            tables.settle_all();
            tables.rib.check_invariants();
            let lengths: Vec<usize> =
                tables.rib.paths(tables.rib.find(&net(7)).unwrap()).iter().map(|p| p.received.as_path_len()).collect();
            assert!(lengths.len() == 500 && lengths.is_sorted(), "in order of preference");
        }
        for id in (0..500).rev().step_by(2) {
            tables.rib.withdraw(peer(1 + id % 3), [Nlri { net: net(7), path_id: PathId(id) }]);
        }
        tables.rib.check_invariants();
        tables.rib.peer_down(peer(2));
        tables.settle_all();
        tables.rib.check_invariants();
        assert_eq!(tables.rib.paths(tables.rib.find(&net(7)).unwrap()).len(), 167);
    }

    /// Nobody wants more than the best two, or three, in order of preference.
    #[test]
    fn as_many_paths_stand_in_order_as_somebody_wants() {
        use super::super::testing::{Table, net};
        let mut tables = Table::with_peers(1);
        tables.rib.tell_all_paths(true);
        tables.rib.rank_paths(2);
        (0..30).for_each(|id| tables.announce_path(1, 7, id, 40 - id));
        tables.settle_all();
        let lengths = |tables: &Table| -> Vec<usize> {
            tables.rib.paths(tables.rib.find(&net(7)).unwrap()).iter().map(|p| p.received.as_path_len()).collect()
        };
        assert!(lengths(&tables)[..2] == [11, 12] && !lengths(&tables).is_sorted());
        tables.rib.rank_paths(5);
        tables.settle_all();
        assert_eq!(lengths(&tables)[..5], [11, 12, 13, 14, 15]);
        tables.rib.rank_paths(20);
        tables.settle_all();
        assert!(lengths(&tables).is_sorted());
        tables.rib.check_invariants();
    }

    /// Beyond the bound a peer's further paths of a prefix are not taken, which concerns neither its other prefixes nor other peers.
    #[test]
    fn paths_of_one_prefix_are_bounded_for_each_peer() {
        use super::super::testing::{Table, net, peer};
        let mut tables = Table::with_peers(2);
        tables.rib.set_limits(Limits { paths_of_a_prefix: 100, ..Limits::default() });
        (0..150).for_each(|id| tables.announce_path(1, 7, id, 1));
        (0..50).for_each(|id| tables.announce_path(2, 7, id, 2));
        tables.announce_path(1, 8, 0, 1);
        let received = |tables: &Table, n| tables.rib.counts(peer(n), crate::num::Family::Ipv4Unicast).received;
        assert_eq!([received(&tables, 1), received(&tables, 2)], [101, 50]);
        assert_eq!(tables.rib.refused_paths(peer(1), crate::num::Family::Ipv4Unicast), 50);
        tables.rib.withdraw(peer(1), [Nlri { net: net(7), path_id: PathId(3) }]);
        tables.announce_path(1, 7, 120, 1);
        tables.announce_path(1, 7, 4, 5);
        assert_eq!(received(&tables, 1), 101);
        assert_eq!(tables.rib.refused_paths(peer(1), crate::num::Family::Ipv4Unicast), 50);
        tables.settle_all();
        tables.rib.check_invariants();
    }

    /// The best changes, paths come beyond the bound and go, and it stays known where each stands and how many a peer has.
    #[test]
    fn of_very_many_paths_it_stays_known_where_each_stands() {
        use super::super::testing::{Table, net, peer};
        let mut tables = Table::with_peers(3);
        tables.rib.set_limits(Limits { paths_of_a_prefix: 90, ..Limits::default() });
        let mut seed = 1u64;
        let mut draw = |below: u32| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 40) as u32 % below
        };
        for round in 0..6000 {
            let (from, id) = (1 + draw(3), draw(140));
            // At first more come than go, and then the other way round.
            if draw(8) < (if round < 4000 { 7 } else { 2 }) {
                tables.announce_path(from, 7, id, 1 + draw(40));
            } else {
                tables.rib.withdraw(peer(from), [Nlri { net: net(7), path_id: PathId(id) }]);
            }
            if draw(10) == 0 {
                tables.settle(10);
            }
            if round % 100 == 0 {
                tables.rib.check_invariants();
            }
        }
        assert!(tables.rib.refused_paths(peer(1), Family::Ipv4Unicast) > 50);
        tables.settle_all();
        tables.rib.check_invariants();
    }

    /// R34: a peer that leaves with very many paths of one prefix costs what they are, and not each of them a look at all others.
    #[test]
    fn paths_of_one_prefix_that_go_with_their_peer_do_not_look_at_each_other() {
        use super::super::testing::{Table, peer};
        let mut tables = Table::with_peers(2);
        for from in 1..3 {
            (0..3000).for_each(|id| tables.announce_path(from, 7, id, 1 + id % 9));
        }
        tables.settle_all();
        let announced = tables.rib.take_passed();
        tables.rib.peer_down(peer(2));
        tables.settle_all();
        assert_eq!(tables.rib.take_passed(), 0);
        // The first path of a peer is found at once, but behind those of the other.
        assert!(announced < 3 * 3000 + 3000 * 3001, "{announced}");
        tables.rib.check_invariants();
    }

    fn refuse(tables: &mut super::super::testing::Table, nets: std::ops::Range<u32>) {
        use super::super::testing::{net, peer, set};
        let received = tables.rib.intern_new(set(1));
        let route = Route { received, attrs: None };
        tables.rib.announce(peer(1), nets.map(|n| Nlri::new(net(n))), &route, &Cause::RefusedByPolicy("no".into()));
    }

    /// Refused routes are kept up to a bound and counted beyond it; what they take the place of is gone all the same.
    #[test]
    fn refused_routes_are_kept_up_to_a_bound_and_asked_for_again() {
        use super::super::testing::{Table, peer};
        let v4 = Family::Ipv4Unicast;
        let mut tables = Table::with_peers(2);
        tables.rib.set_limits(Limits { refused_paths: 100, ..Limits::default() });
        tables.announce(1, 0..50, 1);
        refuse(&mut tables, 1000..1100);
        refuse(&mut tables, 0..10);
        refuse(&mut tables, 2000..3000);
        let counts = tables.rib.counts(peer(1), v4);
        assert_eq!((counts.accepted, counts.rejected, tables.rib.not_kept(peer(1), v4)), (40, 100, 1010));
        tables.settle_all();
        assert!(tables.best(5).is_none() && tables.best(10).is_some());
        tables.rib.check_invariants();
        tables.withdraw(1, 20..21);
        assert!(tables.rib.take_freed().is_empty() && !tables.rib.ask_again(peer(1), v4, Some(0)), "room would let none of them in");
        let route = Route { received: tables.rib.intern_new(super::super::testing::set(1)), attrs: None };
        tables.rib.announce(peer(1), [Nlri::new(super::super::testing::net(5000))], &route, &Cause::MaxPrefix);
        tables.withdraw(1, 21..22);
        assert!(tables.rib.take_freed().contains(&peer(1)), "there is room, and there were more");
        assert!(tables.rib.ask_again(peer(1), v4, Some(30)) && !tables.rib.ask_again(peer(1), v4, Some(30)), "asked once");
        tables.rib.announce(peer(1), [Nlri::new(super::super::testing::net(5000))], &route, &Cause::MaxPrefix);
        assert!(!tables.rib.ask_again(peer(1), v4, Some(30)), "not so soon again");
        assert!(tables.rib.ask_again(peer(1), v4, None));
        // Who cannot be asked is kept whole.
        tables.rib.keep_refused(peer(1), None);
        refuse(&mut tables, 2000..3000);
        assert_eq!((tables.rib.counts(peer(1), v4).rejected, tables.rib.not_kept(peer(1), v4)), (1100, 0));
        tables.rib.check_invariants();
    }

    #[test]
    fn refused_routes_with_long_attributes_are_bounded_in_octets() {
        use super::super::testing::{Table, peer};
        let mut tables = Table::with_peers(1);
        tables.rib.set_limits(Limits { refused_octets: 2000, ..Limits::default() });
        refuse(&mut tables, 0..1000);
        let counts = tables.rib.counts(peer(1), Family::Ipv4Unicast);
        assert!(counts.rejected_octets <= 2000 && counts.rejected > 40, "{counts:?}");
        assert_eq!(counts.rejected + tables.rib.not_kept(peer(1), Family::Ipv4Unicast), 1000);
    }
}
