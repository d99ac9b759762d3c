//! From changes of the Loc-RIB to the batch of a group: what stands for a destination against what should.
//!
//! In: best paths that changed, in order, and destinations that are looked at again. Out: prefixes in the batch, and in the debts of those
//! members that do not follow the log. When the batch is written is `group`'s affair.

use ipnet::IpNet;
use smallvec::SmallVec;

use super::Bounds;
use super::advertised::{AdvertisedPath, AdvertisedPaths, ClassId, Outgoing};
use super::batch::current;
use super::group::UpdateGroup;
use super::member::{Member, Mode};
use crate::num::{Family, Nlri, PathId};
use crate::rib::adj_out::{AddPathSend, SplitHorizon};
use crate::rib::{BATCH, Best, BestChange, DestId, Rib};

impl UpdateGroup {
    pub fn advertise(&mut self, rib: &Rib, changes: &[BestChange], bounds: &Bounds) {
        for few in changes.chunks(BATCH) {
            self.routes.prefetch(few.iter().filter_map(|c| c.new.as_ref()));
            let families = self.key.families;
            for change in few.iter().filter(|c| families.contains(c.dest.family())) {
                // What the source of a route is to us decides, too, who hears it (`touched.way`).
                if change.old != change.new || change.touched.way || self.key.tells_paths(change.dest.family()) {
                    self.change(rib, change.dest, change.net, change.new.as_ref());
                }
            }
        }
        self.finish_batch(rib, bounds);
    }

    /// Writes what was changed, and keeps what is held within its bounds.
    pub(super) fn finish_batch(&mut self, rib: &Rib, bounds: &Bounds) {
        self.flush();
        self.reap();
        self.batch.shrink();
        self.bound_log(rib, bounds);
    }

    /// Forgets what no prefix has any more.
    pub(super) fn reap(&mut self) {
        self.routes.reap();
        if let Some((_, former)) = self.pending.as_mut().and_then(|p| p.former.as_mut()) {
            former.reap();
        }
    }

    /// Has what is announced for a destination be what it should be.
    pub(super) fn change(&mut self, rib: &Rib, dest: DestId, net: IpNet, best: Option<&Best>) {
        if self.pending.as_ref().and_then(|p| p.former.as_ref()).is_some_and(|(_, former)| !former.paths(dest).is_empty()) {
            self.change_key(rib, dest, net, best);
        } else if self.key.tells_paths(dest.family()) {
            self.change_paths(rib, dest, net);
        } else {
            self.change_best(rib, dest, net, best);
        }
    }

    fn change_best(&mut self, rib: &Rib, dest: DestId, net: IpNet, best: Option<&Best>) {
        let mut class = best.map_or(ClassId::NONE, |best| self.routes.classify(best, rib, &self.key));
        let old = self.routes.entry(dest);
        if old == class {
            return;
        }
        if !class.is_none() && self.routes.is_withheld(class, &net, &self.key) {
            class = ClassId::NONE;
            if old.is_none() {
                return;
            }
        }
        if self.routes.is_fresh(dest) {
            self.flush();
        }
        self.move_path(dest, Nlri::new(net), old, class);
        self.routes.put(dest, class);
    }

    /// Of a destination whose paths are told each (RFC 7911): those that should stand now, against those that do.
    fn change_paths(&mut self, rib: &Rib, dest: DestId, net: IpNet) {
        let old = self.routes.list(dest);
        let new = self.wanted_paths(rib, dest, &net, &old);
        if old == new {
            return;
        }
        if self.routes.is_fresh(dest) {
            self.flush();
        }
        let (before, after) = (by_id(&old), by_id(&new));
        for (id, class) in before.iter().filter(|(id, _)| class_of(&after, *id).is_none()) {
            self.move_path(dest, Nlri { net, path_id: *id }, *class, ClassId::NONE);
        }
        for listed in &new {
            let class = class_of(&before, listed.id);
            if class != listed.class {
                self.move_path(dest, Nlri { net, path_id: listed.id }, class, listed.class);
            }
        }
        self.routes.put_list(dest, new);
    }

    /// A destination that was announced under the former key is announced under this one from now on.
    fn change_key(&mut self, rib: &Rib, dest: DestId, net: IpNet, best: Option<&Best>) {
        if self.routes.is_fresh(dest) {
            self.flush();
        }
        let before = self.announced(dest, &net);
        let Some((_, former)) = self.pending.as_mut().and_then(|p| p.former.as_mut()) else { return };
        let known = former.list(dest);
        former.take(dest);
        if self.key.tells_paths(dest.family()) {
            let new = self.wanted_paths(rib, dest, &net, &known);
            self.routes.put_list(dest, new);
        } else {
            let class = best.map_or(ClassId::NONE, |best| self.routes.classify(best, rib, &self.key));
            let heard = !class.is_none() && !self.routes.is_withheld(class, &net, &self.key);
            self.routes.put(dest, if heard { class } else { ClassId::NONE });
        }
        let after = self.routes.paths(dest);
        for (path_id, _, out) in before.iter().filter(|(id, ..)| !after.iter().any(|(other, _)| other == id)) {
            let nlri = Nlri { net, path_id: *path_id };
            if !self.log.is_unread() {
                self.batch.withdraw(nlri, out.horizon);
            }
            self.touch(dest, nlri, true, false);
        }
        for (path_id, class) in after {
            let old = before.iter().find(|(id, ..)| *id == path_id).map(|(.., out)| out);
            self.replace(dest, Nlri { net, path_id }, old, class);
        }
    }

    /// One path goes from what stood under the former key to a class of this one.
    fn replace(&mut self, dest: DestId, nlri: Nlri, old: Option<&Outgoing>, new: ClassId) {
        let Some(old) = old else {
            self.move_path(dest, nlri, ClassId::NONE, new);
            return;
        };
        let Some(out) = current(&mut self.routes, new, &nlri.net, &self.key) else { return };
        let same = old.attrs == out.attrs;
        if !same || old.horizon != out.horizon {
            self.say_difference(nlri, new, (old.horizon, out.horizon), same);
            self.touch(dest, nlri, true, true);
        }
    }

    /// The usable paths in order of preference, as many as are told; each with the identifier that it has or a free one.
    fn wanted_paths(&mut self, rib: &Rib, dest: DestId, net: &IpNet, old: &AdvertisedPaths) -> AdvertisedPaths {
        let limit = match self.key.add_path {
            AddPathSend::Off => 1,
            AddPathSend::Best(n) => usize::from(n),
            AddPathSend::All => usize::MAX,
        };
        let known = Numbers::of(old);
        let mut free = known.free();
        let mut new = AdvertisedPaths::new();
        rib.each_usable(dest, |best| {
            let class = self.routes.classify(&best, rib, &self.key);
            if !class.is_none() && !self.routes.is_withheld(class, net, &self.key) {
                let from = (best.peer, best.path_id);
                let id = known.get(from).unwrap_or_else(|| free.next().unwrap_or(PathId(u32::MAX)));
                new.push(AdvertisedPath { id, from, class });
            }
            new.len() < limit
        });
        new
    }

    /// One path of a destination goes from one class to another.
    fn move_path(&mut self, dest: DestId, nlri: Nlri, old: ClassId, new: ClassId) {
        if self.say(nlri, old, new) {
            self.touch(dest, nlri, !old.is_none(), !new.is_none());
        }
    }

    /// Members that do not follow the log are owed it.
    fn touch(&mut self, dest: DestId, nlri: Nlri, was: bool, is: bool) {
        for peer in &self.slow_members {
            if let Some(Member { mode: Mode::CatchesUp(owed), .. }) = self.members.get_mut(peer) {
                owed.touch(dest, nlri, was, is);
            }
        }
    }

    /// Puts the difference between two classes into the batch. False if there is none that anybody hears.
    fn say(&mut self, nlri: Nlri, old: ClassId, new: ClassId) -> bool {
        let (net, silent) = (&nlri.net, self.log.is_unread());
        if old.is_none() {
            if !silent && let Some(slot) = self.slot(new, net, true) {
                self.batch.reach.push(slot, nlri);
            }
            return true;
        }
        let Some(before) = self.routes.horizon(old, net, &self.key) else { return true };
        if new.is_none() {
            if !silent {
                self.batch.withdraw(nlri, before);
            }
            return true;
        }
        let Some(after) = self.routes.horizon(new, net, &self.key) else { return true };
        let same = !self.routes.surely_differ(old, new, nlri.family()) && self.same(old, new, net);
        if same && before == after {
            return false;
        }
        self.say_difference(nlri, new, (before, after), same);
        true
    }

    /// A route takes the place of another; `same`: with the same attributes, but for others.
    fn say_difference(&mut self, nlri: Nlri, new: ClassId, (before, after): (SplitHorizon, SplitHorizon), same: bool) {
        if self.log.is_unread() {
            return;
        }
        if !same && let Some(slot) = self.slot(new, &nlri.net, false) {
            self.batch.reach.push(slot, nlri);
        }
        if before != after {
            self.follow_horizon(nlri, new, (before, after), same);
        }
    }

    fn same(&mut self, a: ClassId, b: ClassId, net: &IpNet) -> bool {
        let a = current(&mut self.routes, a, net, &self.key);
        let b = current(&mut self.routes, b, net, &self.key);
        matches!((a, b), (Some(a), Some(b)) if a.attrs == b.attrs)
    }

    fn slot(&mut self, class: ClassId, net: &IpNet, first: bool) -> Option<u32> {
        let kind = (class, Family::of(net), first);
        if let Some(slot) = self.batch.known_slot(kind) {
            return Some(slot);
        }
        let out = current(&mut self.routes, class, net, &self.key)?;
        Some(self.batch.slot(kind, &out))
    }

    /// Split horizon moves with the source: who may no longer hear the prefix gets a withdrawal, and who may hear it now gets it, if the
    /// others, for whom nothing changed, do not.
    fn follow_horizon(&mut self, nlri: Nlri, new: ClassId, (before, after): (SplitHorizon, SplitHorizon), same: bool) {
        self.batch.withdraw_by_horizon(nlri, before, after);
        if same && let Some(out) = current(&mut self.routes, new, &nlri.net, &self.key) {
            self.batch.announce_by_horizon(nlri, before, new, &out);
        }
    }
}

/// Classes by identifier, in order.
fn by_id(list: &AdvertisedPaths) -> SmallVec<[(PathId, ClassId); 2]> {
    let mut classes: SmallVec<[(PathId, ClassId); 2]> = list.iter().map(|l| (l.id, l.class)).collect();
    classes.sort_unstable_by_key(|(id, _)| *id);
    classes
}

fn class_of(classes: &[(PathId, ClassId)], id: PathId) -> ClassId {
    classes.binary_search_by_key(&id, |(id, _)| *id).ok().and_then(|at| classes.get(at)).map_or(ClassId::NONE, |(_, class)| *class)
}

/// The identifiers that the paths of a destination have, by whose path it is.
struct Numbers {
    by_source: SmallVec<[((crate::num::PeerId, PathId), PathId); 2]>,
    taken: SmallVec<[PathId; 2]>,
}

impl Numbers {
    fn of(list: &AdvertisedPaths) -> Numbers {
        let mut by_source: SmallVec<[_; 2]> = list.iter().map(|l| (l.from, l.id)).collect();
        let mut taken: SmallVec<[PathId; 2]> = list.iter().map(|l| l.id).collect();
        by_source.sort_unstable();
        taken.sort_unstable();
        Numbers { by_source, taken }
    }

    fn get(&self, from: (crate::num::PeerId, PathId)) -> Option<PathId> {
        let at = self.by_source.binary_search_by_key(&from, |(from, _)| *from).ok()?;
        self.by_source.get(at).map(|(_, id)| *id)
    }

    /// Those that none has, from 1 on.
    fn free(&self) -> impl Iterator<Item = PathId> + '_ {
        let mut taken = self.taken.iter().peekable();
        (1..u32::MAX).map(PathId).filter(move |id| {
            while taken.next_if(|t| *t < id).is_some() {}
            taken.peek() != Some(&id)
        })
    }
}
