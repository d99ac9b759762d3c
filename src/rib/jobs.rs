//! Work that grows with a table, in small steps: taking out paths that are gone, looking again at those whose next hop or source changed,
//! choosing again everywhere when the rules changed.
//!
//! In: marks and wishes, each at the cost of a number, whatever the table holds. Out: a bounded number of places looked at in each
//! settlement, and destinations in the dirty list. What is said of a path that is gone until its turn comes is `adj_in`'s affair.
//!
//! There is one walk for each peer and family at most, which does everything that is wanted of it; what is wanted during a walk waits for
//! the next one, together. So a peer that asks a thousand times causes one walk, and then one more.

use std::collections::VecDeque;

use super::adj_in::{AdjRibIn, Touch, Walk};
use super::apply::Core;
use super::loc::nh_of;
use super::path::{PathFlags, Slot};
use super::table::{DestFlags, Key, Table};
use super::{DestId, NhId, Rib};
use crate::num::{Family, PeerId};

/// Places that one walk looks at before it is another's turn.
const TURN: usize = 512;

/// Walks that are under way or wanted.
#[derive(Default)]
pub(super) struct Jobs {
    /// Each at most once.
    walks: VecDeque<(Slot, Family)>,
    /// From these destinations on everything with a choice is chosen again.
    choices: [Option<u32>; 2],
    /// Places looked at, ever.
    pub steps: u64,
}

impl Jobs {
    /// Nothing is under way.
    pub fn is_empty(&self) -> bool {
        self.walks.is_empty() && self.choices == [None, None]
    }
}

impl Rib {
    /// Everything with a choice is chosen again.
    pub(super) fn touch_choices(&mut self) {
        self.core.jobs.choices = [Some(0), Some(0)];
    }

    /// Looks at up to `budget` places.
    pub(super) fn work(&mut self, budget: usize) {
        let Rib { v4, v6, core } = self;
        let mut left = budget;
        while left > 0
            && let Some((slot, family)) = core.jobs.walks.pop_front()
        {
            let turn = left.min(TURN);
            let done = match family {
                Family::Ipv4Unicast => core.walk(v4, slot, turn),
                Family::Ipv6Unicast => core.walk(v6, slot, turn),
            };
            // One that came to its end counts, too: there may be many that have nothing to do.
            left -= done.map_or(turn, |looked| (looked + 1).min(turn));
            if done.is_none() {
                core.jobs.walks.push_back((slot, family));
            }
        }
        core.touch_chosen(v4, &mut left);
        core.touch_chosen(v6, &mut left);
    }

    /// Places that jobs have looked at since the start: what a peer's marks and departures cost.
    pub fn steps(&self) -> u64 {
        self.core.jobs.steps
    }
}

impl Core {
    /// Has a walk begin, if there is reason for one and none is under way.
    pub fn want_walk(&mut self, slot: Slot, family: Family) {
        let Some(peer) = self.peers.get_mut(slot) else { return };
        let adj = peer.family(family);
        if adj.walk.is_none() && adj.wants_walk() {
            adj.walk = Some(Walk { at: 0, touch: std::mem::take(&mut adj.touch), choose: std::mem::take(&mut adj.choose) });
            self.jobs.walks.push_back((slot, family));
        }
    }

    /// Paths of the peer are to be chosen again.
    pub fn want_touch(&mut self, slot: Slot, family: Family, touch: Touch) {
        if let Some(peer) = self.peers.get_mut(slot) {
            peer.family(family).touch.merge(touch);
            self.want_walk(slot, family);
        }
    }

    /// Carries a walk on for up to `most` places. How many it took, if it is over.
    fn walk<K: Key>(&mut self, table: &mut Table<K>, slot: Slot, most: usize) -> Option<usize> {
        let mut looked = 0;
        while looked < most {
            let Some(place) = self.next_place(slot, K::FAMILY) else {
                self.end_walk(slot, K::FAMILY);
                return Some(looked);
            };
            // One of very many paths of a prefix takes as long to be found as some prefixes do.
            let weight = 1 + self.visit(table, slot, place) / 64;
            looked += weight;
            self.jobs.steps += weight as u64;
        }
        None
    }

    /// `None`: there is nothing more to do.
    fn next_place(&mut self, slot: Slot, family: Family) -> Option<usize> {
        let adj = self.peers.get_mut(slot)?.family(family);
        let (idle, end) = (!adj.has_gone(), adj.list.len());
        let walk = adj.walk.as_mut().filter(|walk| walk.at < end && !(idle && walk.touch.is_none() && !walk.choose))?;
        walk.at += 1;
        Some(walk.at - 1)
    }

    fn end_walk(&mut self, slot: Slot, family: Family) {
        let Some(peer) = self.peers.get_mut(slot) else { return };
        let adj = peer.family(family);
        adj.walk = None;
        if adj.wants_walk() {
            return self.want_walk(slot, family);
        }
        self.forget_empty(slot);
    }

    /// The place of a peer that leaves, without paths, is free.
    pub fn forget_empty(&mut self, slot: Slot) {
        let gone = self.peers.get(slot).filter(|peer| peer.leaving && peer.families.iter().all(|adj| adj.list.is_empty()));
        if let Some(id) = gone.map(|peer| peer.facts.id) {
            self.peers.remove(id);
        }
    }

    /// One place of a walk. Tells how many paths of its prefix were passed by.
    fn visit<K: Key>(&mut self, table: &mut Table<K>, slot: Slot, place: usize) -> usize {
        let Some(adj) = self.peers.get(slot).map(|p| &p.families[K::FAMILY.index()]) else { return 0 };
        let Some(index) = adj.list.get(place).copied() else { return 0 };
        let Some(dest) = table.get_mut(index).filter(|_| !AdjRibIn::is_tombstone(index)) else { return 0 };
        let mut paths = dest.paths.as_slice().iter().enumerate();
        let Some((at, path)) = paths.find(|(_, p)| p.slot == slot && p.at as usize == place) else { return 0 };
        let id = DestId::new(K::FAMILY, index);
        if adj.is_gone(path) {
            let cause = adj.gone_for();
            self.remove_path(dest, id, at);
            self.note_departure(dest, slot, &cause);
            self.free_later(table, id);
            return at;
        }
        let concerned = match adj.walk.as_ref().map_or(&Touch::None, |walk| &walk.touch) {
            Touch::None => false,
            Touch::All => true,
            Touch::NextHops(changed) => nh_of(path, &self.peers).is_some_and(|nh| changed.contains(&nh)),
        };
        let chosen = adj.walk.as_ref().is_some_and(|walk| walk.choose) && dest.paths.as_slice().len() > 1;
        if concerned || chosen {
            self.mark_dirty(dest, id);
        }
        if concerned {
            dest.flags.set(DestFlags::WAY_TOUCHED, true);
        }
        at
    }

    /// Goes on with choosing everything again that has a choice.
    fn touch_chosen<K: Key>(&mut self, table: &mut Table<K>, left: &mut usize) {
        let Some(from) = self.jobs.choices[K::FAMILY.index()] else { return };
        let to = table.end().min(from.saturating_add(*left as u32));
        for index in from..to {
            if let Some(dest) = table.get_mut(index).filter(|d| d.paths.as_slice().len() > 1) {
                self.mark_dirty(dest, DestId::new(K::FAMILY, index));
                // The same paths may share the load in another proportion.
                let shared = dest.paths.as_slice().iter().any(|path| path.flags.has(PathFlags::SHARES));
                dest.flags.set(DestFlags::SHARE_TOUCHED, shared || dest.flags.has(DestFlags::SHARE_TOUCHED));
            }
        }
        self.jobs.steps += u64::from(to.saturating_sub(from));
        *left -= to.saturating_sub(from) as usize;
        self.jobs.choices[K::FAMILY.index()] = (to < table.end()).then_some(to);
    }

    /// A mark is about to be set on the paths of a peer: `mark` sets it, at the cost of a number. How many paths are gone by it.
    pub fn mark<K: Key>(&mut self, table: &mut Table<K>, peer: PeerId, mark: impl FnOnce(&mut AdjRibIn)) -> usize {
        let Some(slot) = self.peers.present(peer) else { return 0 };
        self.renumber_if_worn_out(table, slot);
        let Some(adj) = self.peers.get_mut(slot).map(|p| p.family(K::FAMILY)) else { return 0 };
        let before = adj.counts();
        mark(adj);
        let (after, waiting) = (adj.counts(), !adj.over_limit.is_empty());
        if waiting && after.accepted < before.accepted {
            self.freed.insert(peer);
        }
        self.want_walk(slot, K::FAMILY);
        (before.received - after.received) as usize
    }

    /// Four billion marks, each with an announcement between, and the numbers are used up: the one walk that is not put off.
    fn renumber_if_worn_out<K: Key>(&mut self, table: &mut Table<K>, slot: Slot) {
        let Some(adj) = self.peers.get_mut(slot).map(|p| p.family(K::FAMILY)).filter(|adj| adj.is_worn_out()) else { return };
        for (place, index) in adj.list.iter().enumerate() {
            let mut paths = table.get_mut(*index).into_iter().flat_map(|dest| dest.paths.as_mut_slice());
            if let Some(path) = paths.find(|p| p.slot == slot && p.at as usize == place) {
                path.generation = adj.renumber(path);
            }
        }
        adj.renumbered();
    }

    /// These next hops of a peer's paths changed.
    pub fn touch_next_hops(&mut self, changed: &[NhId]) {
        let concerned: Vec<(Slot, Vec<NhId>)> = self
            .peers
            .iter()
            .map(|(slot, peer)| (slot, changed.iter().filter(|id| peer.next_hops.contains(*id)).copied().collect()))
            .filter(|(_, ids): &(Slot, Vec<NhId>)| !ids.is_empty())
            .collect();
        for (slot, ids) in concerned {
            for family in Family::ALL {
                self.want_touch(slot, family, Touch::NextHops(ids.iter().copied().collect()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Table as Tables, net, peer};
    use super::*;

    /// Marks between announcements: nothing is looked at, however many there are.
    #[test]
    fn a_mark_costs_a_number_whatever_the_table_holds() {
        let mut tables = Tables::with_peers(2);
        tables.announce(1, 0..5000, 1);
        tables.settle_all();
        let before = tables.rib.steps();
        for n in 0..10_000 {
            tables.rib.refresh_begins(peer(1), Family::Ipv4Unicast);
            tables.announce(1, n % 5000..n % 5000 + 1, 1);
        }
        assert_eq!(tables.rib.steps(), before);
        tables.rib.retain_stale(peer(1), Family::Ipv4Unicast, false);
        assert_eq!(tables.rib.counts(peer(1), Family::Ipv4Unicast).stale, 5000);
        assert_eq!(tables.rib.steps(), before);
        tables.rib.check_invariants();
    }

    /// A peer that asks again and again while its paths are swept has one walk, and not one for each time.
    #[test]
    fn marks_during_a_sweep_are_one_more_walk_at_most() {
        let mut tables = Tables::with_peers(2);
        tables.announce(1, 0..5000, 1);
        tables.settle_all();
        let before = tables.rib.steps();
        for n in 0..100 {
            tables.rib.refresh_begins(peer(1), Family::Ipv4Unicast);
            tables.announce(1, n..n + 1, 1);
            tables.rib.refresh_ends(peer(1), Family::Ipv4Unicast);
            tables.settle(10);
            tables.rib.check_invariants();
        }
        tables.settle_all();
        assert!((5000..=10_000).contains(&(tables.rib.steps() - before)), "{} places", tables.rib.steps() - before);
        let left = tables.rib.counts(peer(1), Family::Ipv4Unicast);
        assert_eq!(
            (left.received, tables.rib.table_counts(Family::Ipv4Unicast).prefixes),
            (1, 1),
            "what was announced in the last refresh"
        );
        assert!(tables.best(99).is_some());
    }

    /// Each settlement is short, and what others announce meanwhile does not wait for the end.
    #[test]
    fn a_lost_peer_leaves_in_steps_and_nobody_waits_for_it() {
        let mut tables = Tables::with_peers(2);
        tables.announce(1, 0..5000, 1);
        tables.settle_all();
        let before = tables.rib.steps();
        tables.rib.peer_down(peer(1));
        assert_eq!((tables.rib.steps(), tables.rib.counts(peer(1), Family::Ipv4Unicast).received), (before, 0));
        tables.announce(2, 7000..7001, 1);
        let first = tables.settle(100);
        assert!(first.iter().any(|c| c.net == net(7000)), "the other peer's route is among the first");
        let mut rounds = 1;
        while tables.rib.is_dirty() {
            let steps = tables.rib.steps();
            assert!(tables.settle(100).len() <= 100);
            assert!(tables.rib.steps() - steps <= 100);
            rounds += 1;
        }
        assert!((50..150).contains(&rounds), "{rounds} rounds");
        assert_eq!(tables.rib.table_counts(Family::Ipv4Unicast).prefixes, 1);
        assert!(tables.rib.source(peer(1)).is_none());
        tables.rib.check_invariants();
    }

    #[test]
    fn a_peer_that_is_back_before_its_old_paths_have_left_keeps_what_it_announces() {
        let mut tables = Tables::with_peers(2);
        tables.announce(1, 0..1000, 1);
        tables.settle_all();
        tables.rib.peer_down(peer(1));
        tables.settle(10);
        tables.up(1);
        tables.announce(1, 300..310, 1);
        tables.rib.check_invariants();
        assert_eq!(tables.rib.counts(peer(1), Family::Ipv4Unicast).received, 10);
        let told = tables.settle_all();
        assert!(!told.iter().any(|c| c.net == net(305)), "the same route as before, and nobody was told that it had gone");
        assert!((300..310).all(|n| tables.best(n).is_some()) && tables.best(310).is_none());
        assert_eq!(tables.rib.table_counts(Family::Ipv4Unicast).prefixes, 10);
    }

    /// RFC 4724 §4.2: "The peer MUST remove any stale routes that were previously retained" when the session fails again.
    #[test]
    fn what_is_stale_for_the_second_time_goes_and_is_no_candidate_from_then_on() {
        let mut tables = Tables::with_peers(2);
        tables.announce(1, 0..10, 1);
        tables.announce(2, 0..10, 2);
        tables.settle_all();
        tables.rib.retain_stale(peer(1), Family::Ipv4Unicast, false);
        tables.announce(1, 0..4, 1);
        assert_eq!(tables.rib.counts(peer(1), Family::Ipv4Unicast).stale, 6);
        tables.rib.retain_stale(peer(1), Family::Ipv4Unicast, false);
        let counts = tables.rib.counts(peer(1), Family::Ipv4Unicast);
        assert_eq!((counts.received, counts.stale), (4, 4));
        // Something else has this prefix chosen again before the walk comes to it.
        tables.announce(2, 9..10, 3);
        tables.settle_all();
        assert_eq!(tables.best(9).map(|b| b.peer), Some(peer(2)));
        assert_eq!(tables.best(3).map(|b| b.peer), Some(peer(1)), "stale once");
        tables.rib.check_invariants();
    }

    /// Two connections at once, of which the peer closes one: it has not failed again.
    #[test]
    fn what_is_stale_stays_so_over_a_collision_of_connections() {
        let mut tables = Tables::with_peers(1);
        tables.announce(1, 0..10, 1);
        tables.settle_all();
        tables.rib.retain_stale(peer(1), Family::Ipv4Unicast, false);
        tables.announce(1, 0..4, 1);
        tables.rib.retain_stale(peer(1), Family::Ipv4Unicast, true);
        let counts = |tables: &Tables| tables.rib.counts(peer(1), Family::Ipv4Unicast);
        assert_eq!((counts(&tables).received, counts(&tables).stale), (10, 10));
        tables.announce(1, 0..7, 1);
        assert_eq!(tables.rib.sweep_stale(peer(1), Family::Ipv4Unicast), 3, "End-of-RIB: what was not said again goes, however old");
        tables.settle_all();
        assert_eq!((counts(&tables).received, tables.best(8)), (7, None));
        tables.rib.check_invariants();
    }

    /// Numbers of generations end some day; what is stale then is stale afterwards, and nothing else.
    #[test]
    fn numbers_that_are_used_up_begin_anew() {
        let mut tables = Tables::with_peers(2);
        tables.announce(1, 0..9, 1);
        tables.rib.retain_stale(peer(1), Family::Ipv4Unicast, false);
        tables.announce(1, 0..6, 1);
        tables.rib.refresh_begins(peer(1), Family::Ipv4Unicast);
        tables.announce(1, 0..3, 1);
        let slot = tables.rib.core.peers.slot(peer(1)).unwrap();
        let adj = tables.rib.core.peers.get_mut(slot).unwrap().family(Family::Ipv4Unicast);
        adj.wear_out();
        tables.rib.refresh_begins(peer(1), Family::Ipv4Unicast);
        tables.rib.check_invariants();
        assert_eq!(tables.rib.counts(peer(1), Family::Ipv4Unicast).stale, 3);
        tables.announce(1, 1..8, 1);
        assert_eq!(tables.rib.refresh_ends(peer(1), Family::Ipv4Unicast), 2);
        tables.settle_all();
        assert_eq!(tables.rib.counts(peer(1), Family::Ipv4Unicast).stale, 0);
        tables.rib.check_invariants();
    }

    #[test]
    fn a_next_hop_that_changes_under_a_whole_table_is_looked_at_in_steps() {
        let mut tables = Tables::with_peers(2);
        tables.announce(1, 0..5000, 1);
        tables.settle_all();
        for round in 0..100 {
            tables.up = round % 2 == 1;
            let id = tables.next_hop();
            tables.rib.nexthop_changed(&[id]);
            let steps = tables.rib.steps();
            tables.settle(100);
            assert!(tables.rib.steps() - steps <= 100);
        }
        tables.up = false;
        let id = tables.next_hop();
        tables.rib.nexthop_changed(&[id]);
        let before = tables.rib.steps();
        tables.settle_all();
        assert!((0..5000).all(|n| tables.best(n).is_none()));
        assert!(tables.rib.steps() - before <= 10_000, "what is left of one walk, and one more");
        tables.rib.check_invariants();
    }

    #[test]
    fn other_rules_are_taken_up_in_steps() {
        let mut tables = Tables::with_peers(2);
        tables.announce(1, 0..3000, 1);
        tables.announce(2, 0..3000, 2);
        tables.settle_all();
        let rules = super::super::Rules { always_compare_med: true, ..super::super::Rules::default() };
        tables.rib.set_rules(rules);
        while tables.rib.is_dirty() {
            let steps = tables.rib.steps();
            tables.settle(100);
            assert!(tables.rib.steps() - steps <= 100);
        }
        tables.rib.check_invariants();
    }

    /// Who withdraws and announces for ever takes no more places than it had paths at one time.
    #[test]
    fn places_of_what_was_withdrawn_are_used_again() {
        let mut tables = Tables::with_peers(2);
        for round in 0..5 {
            tables.announce(1, round * 3000..(round + 1) * 3000, 1);
            tables.announce(1, 90_000..90_001, 1);
            tables.settle_all();
            tables.withdraw(1, round * 3000..(round + 1) * 3000);
            tables.rib.check_invariants();
        }
        let places = |tables: &Tables| tables.rib.core.peers.iter().next().unwrap().1.families[0].list.capacity();
        assert!(places(&tables) < 3001 * 2);
        tables.withdraw(1, 90_000..90_001);
        assert_eq!(places(&tables), 0);
    }
}
