//! How a group comes to what it should announce when that is all of a table: at its beginning, and when its key changes.
//!
//! In: a key, and what was announced under the former one. Out: the differences, once for all members, in steps of a bounded number of
//! destinations. Until its turn comes a destination stands as it was announced under the former key; so policy is asked once for the group
//! and not once for each member, and what is kept meanwhile is twice what the group announces, however many members it has.
//!
//! # Invariants
//! A destination stands under one of both keys at most.

use std::collections::VecDeque;

use super::Bounds;
use super::advertised::AdvertisedRoutes;
use super::batch::Batch;
use super::group::UpdateGroup;
use crate::num::Family;
use crate::rib::adj_out::GroupKey;
use crate::rib::keyed::Keyed;
use crate::rib::{DestId, Rib};

/// What a group has yet to look at under its key.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// What was announced under another key and still stands.
    pub former: Option<(GroupKey, AdvertisedRoutes)>,
    /// By family, the next destination.
    next: [usize; 2],
    /// Destinations that were on their way through the Loc-RIB when their turn came.
    late: VecDeque<DestId>,
}

impl UpdateGroup {
    /// End-of-RIB is not sent for now: it is held back, or some routes of the first table are on their way through the Loc-RIB.
    pub fn holds_end(&self) -> bool {
        self.hold_end || self.pending.as_ref().is_some_and(|p| !p.late.is_empty())
    }

    /// Is there a former key, so that no other may come yet?
    pub fn is_between_keys(&self) -> bool {
        self.pending.as_ref().is_some_and(|p| p.former.is_some())
    }

    /// Another key holds for all members. They hear the differences.
    pub fn rekey(&mut self, key: GroupKey, hasher: &Keyed) {
        self.flush();
        self.batch = Batch::new(&key, hasher);
        let routes = std::mem::replace(&mut self.routes, AdvertisedRoutes::new(&key, hasher));
        let former = Some((std::mem::replace(&mut self.key, key), routes));
        self.pending = Some(Box::new(Pending { former, ..Pending::default() }));
    }

    /// A group with another key, to take over some members of this one.
    pub fn fork(&mut self, key: GroupKey, hasher: &Keyed) -> UpdateGroup {
        self.flush();
        let former = Some((self.key.clone(), self.routes.clone()));
        let pending = Some(Box::new(Pending { former, ..Pending::default() }));
        UpdateGroup { pending, hold_end: self.hold_end, ..UpdateGroup::new(key, hasher) }
    }

    /// Looks at up to `most` destinations that have yet to come to this key. How many it looked at.
    pub fn catch_up(&mut self, rib: &Rib, most: usize, bounds: &Bounds) -> usize {
        let mut looked = self.look_at_late(rib, most);
        for family in self.key.families.iter() {
            looked += self.look_on(rib, family, most - looked);
        }
        if looked > 0 {
            self.finish_batch(bounds);
        }
        let done = |p: &Pending| p.late.is_empty() && self.key.families.iter().all(|f| p.next[f.index()] >= rib.dest_end(f));
        if self.pending.as_deref().is_some_and(done) {
            self.pending = None;
        }
        looked
    }

    /// Destinations that were on their way when their turn came. With the last of them End-of-RIB may follow.
    fn look_at_late(&mut self, rib: &Rib, most: usize) -> usize {
        let late = self.pending.as_ref().map_or(0, |p| p.late.len().min(most));
        for _ in 0..late {
            let Some(dest) = self.pending.as_mut().and_then(|p| p.late.pop_front()) else { break };
            self.look_at(rib, dest);
        }
        if late > 0 && self.pending.as_ref().is_some_and(|p| p.late.is_empty()) {
            self.flush();
            let head = self.log.head();
            self.members.values_mut().filter(|m| m.end_at.is_some()).for_each(|m| m.end_at = Some(head));
            self.news = true;
        }
        late
    }

    /// The next destinations of one family.
    pub(super) fn look_on(&mut self, rib: &Rib, family: Family, most: usize) -> usize {
        for looked in 0..most {
            let Some(next) = self.pending.as_mut().map(|p| &mut p.next[family.index()]) else { return looked };
            if *next >= rib.dest_end(family) {
                return looked;
            }
            *next += 1;
            let dest = DestId::new(family, (*next - 1) as u32);
            self.look_at(rib, dest);
        }
        most
    }

    /// Has all destinations below `end` be looked at: a member is about to be announced them.
    pub(super) fn look_up_to(&mut self, rib: &Rib, family: Family, end: usize) {
        let next = self.pending.as_ref().map_or(end, |p| p.next[family.index()]);
        if self.look_on(rib, family, end.saturating_sub(next)) > 0 {
            self.flush();
        }
    }

    fn look_at(&mut self, rib: &Rib, dest: DestId) {
        if rib.is_waiting(dest) {
            self.pending.iter_mut().for_each(|p| p.late.push_back(dest));
        } else if let Some(net) = rib.net(dest) {
            self.change(rib, dest, net, rib.best(dest).as_ref());
        }
    }
}
