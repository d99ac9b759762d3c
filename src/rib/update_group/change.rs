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
use crate::num::{Family, Nlri, PathId, PeerId};
use crate::rib::adj_out::{AddPathSend, SplitHorizon};
use crate::rib::{BATCH, Best, BestChange, DestId, Rib};

impl UpdateGroup {
    /// What has changed in the Loc-RIB becomes frames of the group's log, written once for all of its members.
    ///
    /// Nothing is sent here: `poll` hands each member what it has yet to read, as far as its connection has room. A group that is new, or
    /// whose key has changed, is brought up in steps of [`Bounds::step`] destinations instead.
    pub fn advertise(&mut self, rib: &Rib, changes: &[BestChange], bounds: &Bounds) {
        let (families, plain) = (self.key.families, self.pending.is_none());
        let several = Family::ALL.map(|family| self.key.tells_paths(family));
        for few in changes.chunks(BATCH) {
            self.routes.prefetch(few.iter().filter_map(|c| c.new.as_ref()));
            for change in few.iter().filter(|c| families.contains(c.dest.family())) {
                // What the source of a route is to us decides, too, who gets it (`touched.way`).
                let several = several[change.dest.family().index()];
                if !several && change.old == change.new && !change.touched.way {
                    continue;
                }
                if plain && !several {
                    self.change_best(rib, change.dest, change.net, change.new.as_ref());
                } else {
                    self.change(rib, change.dest, change.net, change.new.as_ref());
                }
            }
        }
        self.finish_batch(bounds);
    }

    /// Writes what was changed, and keeps what is held within its bounds.
    pub(super) fn finish_batch(&mut self, bounds: &Bounds) {
        self.flush();
        self.reap();
        self.batch.shrink();
        self.bound_log(bounds);
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

    #[inline]
    fn change_best(&mut self, rib: &Rib, dest: DestId, net: IpNet, best: Option<&Best>) {
        let mut class = best.map_or(ClassId::NONE, |best| self.routes.classify(best, rib, &self.key));
        let (old, fresh) = self.routes.standing(dest);
        if old == class {
            return;
        }
        if !class.is_none() && self.routes.is_withheld(class, &net, &self.key) {
            class = ClassId::NONE;
            if old.is_none() {
                return;
            }
        }
        if fresh {
            self.flush();
        }
        self.move_path(dest, Nlri::new(net), old, class);
        self.routes.put(dest, class);
    }

    /// Of a destination whose paths are announced each (RFC 7911): those that should stand now, against those that do.
    fn change_paths(&mut self, rib: &Rib, dest: DestId, net: IpNet) {
        let old = self.routes.list(dest);
        let new = self.wanted_paths(rib, dest, &net, &old);
        if old == new {
            return;
        }
        if self.routes.is_fresh(dest) {
            self.flush();
        }
        if old.len() == new.len() && old.iter().zip(&new).all(|(old, new)| old.id == new.id) {
            for (old, new) in old.iter().zip(&new).filter(|(old, new)| old.class != new.class) {
                self.move_path(dest, Nlri { net, path_id: new.id }, old.class, new.class);
            }
        } else {
            self.move_paths(dest, net, &old, &new);
        }
        self.routes.put_list(dest, new);
    }

    /// From one list of paths to another in which some came, went or stand elsewhere.
    fn move_paths(&mut self, dest: DestId, net: IpNet, old: &AdvertisedPaths, new: &AdvertisedPaths) {
        let (before, after) = (by_id(old), by_id(new));
        for (id, class) in before.iter().filter(|(id, _)| class_of(&after, *id).is_none()) {
            self.move_path(dest, Nlri { net, path_id: *id }, *class, ClassId::NONE);
        }
        for listed in new {
            let class = class_of(&before, listed.id);
            if class != listed.class {
                self.move_path(dest, Nlri { net, path_id: listed.id }, class, listed.class);
            }
        }
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
            self.touch(dest, nlri, true, ClassId::NONE);
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
            self.touch(dest, nlri, true, new);
        }
    }

    /// The usable paths in order of preference, as many as are announced; each with the identifier that it has or a free one.
    fn wanted_paths(&mut self, rib: &Rib, dest: DestId, net: &IpNet, old: &AdvertisedPaths) -> AdvertisedPaths {
        let limit = match self.key.add_path {
            AddPathSend::Off => 1,
            AddPathSend::Best(n) => usize::from(n),
            AddPathSend::All => usize::MAX,
        };
        let mut known = Numbers::new(old);
        let mut new = AdvertisedPaths::new();
        rib.each_usable(dest, |best| {
            let class = self.routes.classify(&best, rib, &self.key);
            if !class.is_none() && !self.routes.is_withheld(class, net, &self.key) {
                let from = (best.peer, best.path_id);
                let id = known.of(from, new.len());
                new.push(AdvertisedPath { id, from, class });
            }
            new.len() < limit
        });
        new
    }

    /// One path of a destination goes from one class to another.
    fn move_path(&mut self, dest: DestId, nlri: Nlri, old: ClassId, new: ClassId) {
        if self.say(nlri, old, new) && !self.slow_members.is_empty() {
            self.touch(dest, nlri, !old.is_none(), new);
        }
    }

    /// Members that do not follow the log are owed it: the route if they hear it, or else that it is gone.
    fn touch(&mut self, dest: DestId, nlri: Nlri, was: bool, new: ClassId) {
        let horizon = if new.is_none() { None } else { self.routes.horizon(new, &nlri.net, &self.key) };
        for peer in &self.slow_members {
            if let Some(Member { mode: Mode::CatchesUp(owed), facts, .. }) = self.members.get_mut(peer) {
                let is = horizon.is_some_and(|horizon| horizon.hits(facts).is_none());
                owed.touch(dest, nlri, was, is);
            }
        }
    }

    /// Puts the difference between two classes into the batch. False if there is none that reaches anybody.
    #[inline]
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
struct Numbers<'a> {
    list: &'a AdvertisedPaths,
    /// Made when a path stands elsewhere than it stood, or is new: most changes change one path among many.
    sorted: Option<Sorted>,
    next: u32,
}

struct Sorted {
    by_source: SmallVec<[((PeerId, PathId), PathId); 2]>,
    taken: SmallVec<[PathId; 2]>,
}

impl<'a> Numbers<'a> {
    fn new(list: &'a AdvertisedPaths) -> Numbers<'a> {
        Numbers { list, sorted: None, next: 1 }
    }

    /// That of a path, which may stand in this place; a free one if it is new.
    fn of(&mut self, from: (PeerId, PathId), place: usize) -> PathId {
        if let Some(same) = self.list.get(place).filter(|l| l.from == from) {
            return same.id;
        }
        let Sorted { by_source, taken } = self.sorted.get_or_insert_with(|| Sorted::of(self.list));
        let known = by_source.binary_search_by_key(&from, |(from, _)| *from).ok().and_then(|at| by_source.get(at));
        if let Some((_, id)) = known {
            return *id;
        }
        while taken.binary_search(&PathId(self.next)).is_ok() {
            self.next += 1;
        }
        self.next += 1;
        PathId(self.next - 1)
    }
}

impl Sorted {
    fn of(list: &AdvertisedPaths) -> Sorted {
        let mut by_source: SmallVec<[_; 2]> = list.iter().map(|l| (l.from, l.id)).collect();
        let mut taken: SmallVec<[PathId; 2]> = list.iter().map(|l| l.id).collect();
        by_source.sort_unstable();
        taken.sort_unstable();
        Sorted { by_source, taken }
    }
}
