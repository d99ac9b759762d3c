//! Adj-RIB-In: what each peer announced, with the verdict on it, refused routes included.
//!
//! In: paths (`path`) that come, change and go. Out: a list of them for each peer and family, and counts that always equal a recount. The
//! paths themselves stand in their destinations (`table`); the peers in `sources`. Which path is used is decided in `decide`, when in `loc`.
//!
//! # Generations
//! Each path remembers the generation in which it was last announced, and a mark is a number: "all paths of this peer are stale" (RFC 4724
//! §4.2), "all are to be announced again" (RFC 7313 §4) and "all that were not are gone" cost the same whatever the table holds. A path that
//! is gone is no candidate and is counted no more from that moment on; a job (`jobs`) takes it out of the table later, in small steps.

use std::collections::{BTreeSet, HashSet};

use foldhash::fast::FixedState;
use serde::Serialize;

use super::cause::{Cause, CauseId};
use super::path::{Beside, Path};
use super::{Limits, NhId};
use crate::num::PathId;

/// Counts of one peer and family. `accepted + rejected == received`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RouteCounts {
    /// Paths in Adj-RIB-In.
    pub received: u64,
    /// Of these, let in by import.
    pub accepted: u64,
    /// Of these, refused by import.
    pub rejected: u64,
    /// Of the received, those besides the first of their prefix (RFC 7911); and of the accepted.
    #[serde(skip)]
    pub repeats: u64,
    #[serde(skip)]
    pub accepted_repeats: u64,
    /// Kept over a restart of the peer and not yet announced again (RFC 4724).
    pub stale: u64,
    /// Of the attribute sets as they came, counted for each path: no less than what the peer makes us hold.
    #[serde(skip)]
    pub attribute_octets: u64,
    /// Of those of refused routes.
    #[serde(skip)]
    pub rejected_octets: u64,
}

impl RouteCounts {
    /// Prefixes with a path.
    pub fn prefixes(&self) -> u64 {
        self.received - self.repeats
    }

    /// Prefixes with an accepted path.
    pub fn accepted_prefixes(&self) -> u64 {
        self.accepted - self.accepted_repeats
    }

    /// Counts `path` as one more of its prefix, where another is `there`, and an accepted one.
    fn add_beside(&mut self, path: &Path, (there, accepted): (bool, bool)) {
        self.add(path);
        self.repeats += u64::from(there);
        self.accepted_repeats += u64::from(accepted && path.accepted());
    }

    fn subtract_beside(&mut self, path: &Path, (there, accepted): (bool, bool)) {
        self.subtract(path);
        self.repeats -= u64::from(there);
        self.accepted_repeats -= u64::from(accepted && path.accepted());
    }

    /// One more path.
    pub(super) fn add(&mut self, path: &Path) {
        self.received += 1;
        let octets = path.received.octets().len() as u64;
        self.attribute_octets += octets;
        if path.accepted() {
            self.accepted += 1;
        } else {
            self.rejected += 1;
            self.rejected_octets += octets;
        }
    }

    fn subtract(&mut self, path: &Path) {
        self.received -= 1;
        let octets = path.received.octets().len() as u64;
        self.attribute_octets -= octets;
        if path.accepted() {
            self.accepted -= 1;
        } else {
            self.rejected -= 1;
            self.rejected_octets -= octets;
        }
    }
}

/// A point in the announcements of a peer: what it announced before and not again since is old.
#[derive(Clone, Copy, Debug)]
struct Mark {
    /// Paths of earlier generations are old.
    generation: u32,
    /// Of the paths that are not.
    since: RouteCounts,
}

/// The paths of one peer and family: destinations in about the order in which they came. A path keeps its place as long as it is there, so
/// who walks over the places in steps meets every path that was there at the beginning; one that comes later may get the place of one that went.
#[derive(Debug, Default)]
pub(super) struct AdjRibIn {
    /// Destinations by place, and free places ([`AdjRibIn::is_tombstone`]).
    pub list: Vec<u32>,
    /// Places without a path, the last to become free first; the number of the next stands in each.
    free: Option<u32>,
    holes: usize,
    /// Of the paths that are not gone.
    counts: RouteCounts,
    /// That of paths announced now.
    generation: u32,
    /// A path of this generation was announced.
    used: bool,
    /// Paths of earlier generations are gone.
    gone_before: u32,
    /// Why they are.
    gone_for: Option<Cause>,
    /// Since the session ended last (RFC 4724 §4.2), while stale routes are kept.
    stale: Option<Mark>,
    /// Since BoRR (RFC 7313 §4), until EoRR.
    refresh: Option<Mark>,
    /// Paths that were not taken in, for this peer had too many of their prefix already ([`Limits::paths_of_a_prefix`](super::Limits)).
    pub refused_paths: u64,
    /// It has announced path identifiers (RFC 7911): a prefix may have several paths.
    pub several: bool,
    /// Refused routes that were announced and not kept since the peer last began to announce everything.
    pub not_kept: u64,
    /// Of these, those beyond a limit of prefixes, which room that comes back would let in.
    pub no_room: u64,
    /// It was asked to at this second.
    asked: Option<u32>,
    /// The walk over the paths that is under way.
    pub walk: Option<Walk>,
    /// What the next walk is to do besides.
    pub touch: Touch,
    /// And where there is a choice, it is made again.
    pub choose: bool,
    /// Paths refused with [`Cause::MaxPrefix`], by destination: who is to be looked at again when there is room.
    pub over_limit: BTreeSet<(u32, PathId)>,
}

/// Some next hops.
pub(super) type NhSet = HashSet<NhId, FixedState>;

/// One walk over a peer's paths.
#[derive(Debug)]
pub(super) struct Walk {
    /// The next place.
    pub at: usize,
    pub touch: Touch,
    pub choose: bool,
}

/// Which paths' destinations are to be chosen again.
#[derive(Debug, Default)]
pub(super) enum Touch {
    /// No destination is chosen again for this walk.
    #[default]
    None,
    /// Those with these next hops.
    NextHops(NhSet),
    /// Every one that the walk passes.
    All,
}

impl Touch {
    /// There is nothing to do but to take out what is gone.
    pub fn is_none(&self) -> bool {
        matches!(self, Touch::None)
    }

    /// What either asks for.
    pub fn merge(&mut self, more: Touch) {
        match (&mut *self, more) {
            (Touch::All, _) | (_, Touch::None) => {}
            (Touch::NextHops(known), Touch::NextHops(more)) => known.extend(more),
            (_, more) => *self = more,
        }
    }
}

impl AdjRibIn {
    /// In the list: not a destination, but the number of the next free place, or all ones.
    const TOMBSTONE: u32 = 1 << 31;

    /// A place whose path is gone.
    pub fn is_tombstone(entry: u32) -> bool {
        entry & AdjRibIn::TOMBSTONE != 0
    }

    /// Paths that stand in the table.
    pub fn len(&self) -> usize {
        self.list.len() - self.holes
    }

    /// Of the paths that are not gone.
    pub fn counts(&self) -> RouteCounts {
        let stale = self.stale.map_or(0, |mark| self.counts.received - mark.since.received);
        RouteCounts { stale, ..self.counts }
    }

    /// The generation of what is announced now.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Removed, although a job has yet to take it out of the table.
    pub fn is_gone(&self, path: &Path) -> bool {
        path.generation < self.gone_before
    }

    /// Why what is gone was removed last.
    pub fn gone_for(&self) -> Cause {
        self.gone_for.clone().unwrap_or(Cause::SessionDown)
    }

    /// Kept over a restart of the peer and not announced again since.
    pub fn is_stale(&self, path: &Path) -> bool {
        self.stale.is_some_and(|mark| path.generation < mark.generation)
    }

    /// Paths that are gone and yet stand in the table.
    fn gone(&self) -> u64 {
        self.len() as u64 - self.counts.received
    }

    /// A path came, or is another now.
    pub fn count(&mut self, dest: u32, path: &Path, beside: Beside) {
        self.counts.add_beside(path, beside.since(self.gone_before));
        self.used |= path.generation == self.generation;
        if self.is_marked() {
            let gone_before = self.gone_before;
            self.marks(path).for_each(|mark| mark.since.add_beside(path, beside.since(mark.generation.max(gone_before))));
        }
        if path.cause == CauseId::MAX_PREFIX {
            self.over_limit.insert((dest, path.path_id));
        }
    }

    /// A path goes, or is about to change. True if an accepted one goes while others are refused for want of room.
    #[must_use]
    pub fn discount(&mut self, dest: u32, path: &Path, beside: Beside) -> bool {
        if path.cause == CauseId::MAX_PREFIX {
            self.over_limit.remove(&(dest, path.path_id));
        }
        if self.is_gone(path) {
            return false;
        }
        self.counts.subtract_beside(path, beside.since(self.gone_before));
        if self.is_marked() {
            let gone_before = self.gone_before;
            self.marks(path).for_each(|mark| mark.since.subtract_beside(path, beside.since(mark.generation.max(gone_before))));
        }
        path.accepted() && (!self.over_limit.is_empty() || self.no_room > 0)
    }

    #[inline]
    fn is_marked(&self) -> bool {
        self.stale.is_some() || self.refresh.is_some()
    }

    /// Those since which the path was announced.
    fn marks(&mut self, path: &Path) -> impl Iterator<Item = &mut Mark> {
        let generation = path.generation;
        [&mut self.stale, &mut self.refresh].into_iter().flatten().filter(move |mark| mark.generation <= generation)
    }

    /// All paths are of earlier generations from now on.
    fn begin(&mut self) -> Mark {
        self.generation += u32::from(self.used);
        self.used = false;
        Mark { generation: self.generation, since: RouteCounts::default() }
    }

    /// The numbers are used up: [`AdjRibIn::renumber`] is to be called for each path, and [`AdjRibIn::renumbered`], before another mark.
    pub fn is_worn_out(&self) -> bool {
        self.generation == u32::MAX
    }

    /// The least number that says the same of a path.
    pub fn renumber(&self, path: &Path) -> u32 {
        let since = |mark: &Option<Mark>| mark.is_none_or(|m| m.generation <= path.generation);
        match (self.is_gone(path), since(&self.stale), since(&self.refresh)) {
            (true, ..) => 0,
            (_, false, _) => 1,
            (_, _, false) => 2,
            _ => 3,
        }
    }

    /// Every path has its new number: marks and counters follow.
    pub fn renumbered(&mut self) {
        (self.gone_before, self.generation, self.used) = (1, 3, true);
        self.stale.iter_mut().for_each(|mark| mark.generation = 2);
        self.refresh.iter_mut().for_each(|mark| mark.generation = 3);
    }

    /// As after four billion marks.
    #[cfg(test)]
    pub fn wear_out(&mut self) {
        (self.generation, self.used) = (u32::MAX, false);
    }

    /// Everything is stale from now on; what was stale before is gone (RFC 4724 §4.2).
    pub fn retain(&mut self) {
        self.sweep_stale();
        self.refresh = None;
        self.stale = Some(self.begin());
    }

    /// Everything is stale from now on, and so is still what was stale before.
    pub fn retain_on(&mut self) {
        self.refresh = None;
        self.stale = Some(self.begin());
    }

    /// What is stale is gone.
    pub fn sweep_stale(&mut self) {
        let mark = self.stale.take();
        self.gone_for = Some(Cause::StaleExpired);
        self.remove_before(mark);
    }

    /// Everything is to be announced again (RFC 7313 §4).
    pub fn refresh_begins(&mut self) {
        self.refresh = Some(self.begin());
        (self.not_kept, self.no_room) = (0, 0);
    }

    /// Whether the peer is to be asked for what was not kept: all of it, or what room would let in, at most once in so many seconds.
    pub fn ask_again(&mut self, now: u32, room_seconds: Option<u32>) -> bool {
        let early = |seconds| self.asked.is_some_and(|asked| now.saturating_sub(asked) < seconds);
        let wanted = match room_seconds {
            Some(seconds) => self.no_room > 0 && !early(seconds),
            None => self.not_kept > 0,
        };
        if wanted {
            (self.not_kept, self.no_room, self.asked) = (0, 0, Some(now));
        }
        wanted
    }

    /// Whether another refused route finds room.
    pub fn keeps_refused(&self, most: Option<u64>, limits: &Limits, octets: u64) -> bool {
        let (paths, room) = most.map_or((limits.refused_paths, limits.refused_octets), |most| (most, u64::MAX));
        self.counts.rejected < paths && self.counts.rejected_octets + octets <= room
    }

    /// What was not announced again is gone.
    pub fn refresh_ends(&mut self) {
        let mark = self.refresh.take();
        self.gone_for = Some(Cause::NotRefreshed);
        self.remove_before(mark);
    }

    /// Everything is gone.
    pub fn clear(&mut self) {
        let all = self.begin();
        if self.counts.received > 0 {
            self.gone_for = Some(Cause::SessionDown);
        }
        self.remove_before(Some(all));
        (self.stale, self.refresh, self.not_kept, self.no_room) = (None, None, 0, 0);
    }

    fn remove_before(&mut self, mark: Option<Mark>) {
        let Some(Mark { generation, since }) = mark else { return };
        self.gone_before = self.gone_before.max(generation);
        self.counts = since;
        for other in [&mut self.stale, &mut self.refresh].into_iter().flatten().filter(|other| other.generation <= generation) {
            other.since = since;
        }
    }

    /// Whether a walk has something to do.
    pub fn wants_walk(&self) -> bool {
        self.has_gone() || !self.touch.is_none() || self.choose
    }

    /// Something that is gone stands in the table yet.
    pub fn has_gone(&self) -> bool {
        self.gone() > 0
    }

    /// A place for a path of this destination.
    pub fn push(&mut self, dest: u32) -> u32 {
        let Some(place) = self.free else {
            self.list.push(dest);
            return (self.list.len() - 1) as u32;
        };
        if let Some(spot) = self.list.get_mut(place as usize) {
            let next = *spot & !AdjRibIn::TOMBSTONE;
            self.free = (next != !AdjRibIn::TOMBSTONE).then_some(next);
            *spot = dest;
            self.holes -= 1;
        }
        place
    }

    /// The path of this place went. With the last one the list gives back its memory.
    pub fn tombstone(&mut self, at: u32) {
        if let Some(place) = self.list.get_mut(at as usize) {
            *place = AdjRibIn::TOMBSTONE | self.free.unwrap_or(!AdjRibIn::TOMBSTONE);
            self.free = Some(at);
            self.holes += 1;
        }
        if self.holes == self.list.len() {
            (self.list, self.free, self.holes) = (Vec::new(), None, 0);
        }
    }
}
