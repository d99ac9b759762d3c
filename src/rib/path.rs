//! One path to a prefix, as one peer announced it and import judged it, and the paths of a destination together.
//!
//! A table holds millions of these, so they are packed: a destination with one path keeps it inline, and what import changed stands beside
//! what was received only where it differs.

use std::collections::BTreeMap;

use super::attrs::Attrs;
use super::cause::CauseId;
use crate::num::PathId;

/// A route as one peer announced it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// As the peer sent it.
    pub received: Attrs,
    /// After import policy. `None`: refused, kept for show and for a later change of mind.
    pub attrs: Option<Attrs>,
}

impl Route {
    /// Taken as it came.
    pub fn as_received(received: Attrs) -> Route {
        Route { attrs: Some(received.clone()), received }
    }
}

/// What import said. An enumeration of its own so that [`Paths`] packs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Let in, unchanged.
    AsReceived,
    /// Let in, with other attributes.
    Changed,
    /// Not let in.
    Refused,
}

/// One path in its destination.
#[derive(Debug)]
pub(super) struct Path {
    /// As the peer sent it.
    pub received: Attrs,
    /// With [`Verdict::Changed`] only: what policy made of it.
    pub changed: Option<Attrs>,
    /// As the peer numbers it.
    pub path_id: PathId,
    /// Which peer.
    pub slot: Slot,
    /// Where in the peer's list.
    pub at: u32,
    /// When it was learned, in seconds of the speaker's time line.
    pub since: u32,
    /// The generation of its peer's routes in which it was last announced.
    pub generation: u32,
    /// Why it stands as it stands.
    pub cause: CauseId,
    /// How the last settlement found it.
    pub flags: PathFlags,
    /// Of import.
    pub verdict: Verdict,
}

impl Path {
    /// Import let it in.
    pub fn accepted(&self) -> bool {
        self.verdict != Verdict::Refused
    }

    /// What the decision sees, if import let it in.
    pub fn attrs(&self) -> Option<&Attrs> {
        match self.verdict {
            Verdict::AsReceived => Some(&self.received),
            Verdict::Changed => self.changed.as_ref(),
            Verdict::Refused => None,
        }
    }
}

/// What else a peer has announced of a prefix (RFC 7911): the youngest generation of its other paths, and of those that are accepted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Beside {
    any: Option<u32>,
    accepted: Option<u32>,
}

impl Beside {
    /// None can be younger, nor younger and accepted.
    fn are_of(&self, youngest: u32) -> bool {
        self.any == Some(youngest) && self.accepted == Some(youngest)
    }

    fn with(self, path: &Path) -> Beside {
        let accepted = path.accepted().then_some(path.generation);
        Beside { any: self.any.max(Some(path.generation)), accepted: self.accepted.max(accepted) }
    }

    /// Is there another, and an accepted one, of this generation or younger?
    pub fn since(self, generation: u32) -> (bool, bool) {
        (self.any >= Some(generation), self.accepted >= Some(generation))
    }
}

/// Bits of a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PathFlags(u8);

impl PathFlags {
    /// One of those that carry the load; where none is, the best does alone.
    pub const SHARES: PathFlags = PathFlags(1);
    /// Import let it in and its next hop can be reached, as of the last settlement.
    pub const USABLE: PathFlags = PathFlags(2);

    /// Is this bit set?
    pub fn has(self, bit: PathFlags) -> bool {
        self.0 & bit.0 != 0
    }

    /// Sets or clears a bit.
    pub fn set(&mut self, bit: PathFlags, on: bool) {
        if on { self.0 |= bit.0 } else { self.0 &= !bit.0 }
    }
}

/// The paths of a destination; one stands inline.
#[derive(Debug)]
pub(super) enum Paths {
    /// No path.
    None,
    /// The usual case, without an allocation.
    One(Path),
    /// Two and more, the best first as of the last settlement.
    Many(Box<Many>),
}

impl Paths {
    /// The best first, if there is one, as of the last settlement.
    pub fn as_slice(&self) -> &[Path] {
        match self {
            Paths::None => &[],
            Paths::One(path) => std::slice::from_ref(path),
            Paths::Many(many) => &many.paths,
        }
    }

    /// Who changes the order is to say so ([`Paths::reordered`]).
    pub fn as_mut_slice(&mut self) -> &mut [Path] {
        match self {
            Paths::None => &mut [],
            Paths::One(path) => std::slice::from_mut(path),
            Paths::Many(many) => &mut many.paths,
        }
    }

    /// Behind the others.
    #[inline]
    pub fn push(&mut self, path: Path) {
        match self {
            Paths::None => *self = Paths::One(path),
            Paths::Many(many) => many.push(path),
            Paths::One(_) => self.push_second(path),
        }
    }

    #[cold]
    fn push_second(&mut self, path: Path) {
        *self = match std::mem::replace(self, Paths::None) {
            Paths::None => Paths::One(path),
            Paths::One(first) => Paths::Many(Box::new(Many { paths: vec![first, path], places: None, searched: 0, by_peer: None })),
            Paths::Many(mut many) => {
                many.push(path);
                Paths::Many(many)
            }
        };
    }

    /// Takes one out; the last takes its place.
    pub fn swap_remove(&mut self, at: usize) -> Option<Path> {
        match std::mem::replace(self, Paths::None) {
            Paths::One(path) if at == 0 => Some(path),
            Paths::Many(mut many) if at < many.paths.len() => {
                let gone = many.swap_remove(at);
                *self = if many.paths.len() > 1 { Paths::Many(many) } else { many.paths.pop().map_or(Paths::None, Paths::One) };
                Some(gone)
            }
            same => {
                *self = same;
                None
            }
        }
    }

    /// The place of a peer's path.
    #[inline]
    pub fn find(&mut self, slot: Slot, path_id: PathId) -> Option<usize> {
        match self {
            Paths::None => None,
            Paths::One(path) => (path.slot == slot && path.path_id == path_id).then_some(0),
            Paths::Many(many) => many.find(slot, path_id),
        }
    }

    /// What a peer has besides the path at this place, and how many paths were passed to learn it. None is of a generation after `youngest`.
    pub fn beside(&self, slot: Slot, at: Option<usize>, youngest: u32) -> (Beside, usize) {
        let (mut known, paths) = (Beside::default(), self.as_slice());
        for (place, path) in paths.iter().enumerate().filter(|(place, path)| path.slot == slot && Some(*place) != at) {
            known = known.with(path);
            if known.are_of(youngest) {
                return (known, place);
            }
        }
        (known, paths.len())
    }

    /// How many a peer has. Of very many it is soon known.
    pub fn count(&mut self, slot: Slot) -> usize {
        match self {
            Paths::Many(many) => many.count(slot),
            Paths::None | Paths::One(_) => self.as_slice().iter().filter(|p| p.slot == slot).count(),
        }
    }

    /// The best path took the place of this one, and this one that of the best.
    pub fn swapped_with_best(&mut self, at: usize) {
        if let Paths::Many(many) = self {
            many.note(0);
            many.note(at);
        }
    }

    /// What is noted of very many is true.
    ///
    /// # Panics
    /// If it is not.
    pub fn check_invariants(&self) {
        let Paths::Many(many) = self else { return };
        for (place, path) in many.paths.iter().enumerate() {
            let noted = many.places.as_ref().map(|places| places.get(&(path.slot, path.path_id)).copied());
            assert!(noted.is_none_or(|at| at == Some(place as u32)), "{path:?} stands at {place} and not at {noted:?}");
        }
        assert!(many.places.as_ref().is_none_or(|places| places.len() == many.paths.len()), "no more is noted than there is");
        for (slot, count) in many.by_peer.iter().flatten() {
            assert_eq!(many.paths.iter().filter(|path| path.slot == *slot).count(), *count as usize, "paths of {slot:?}");
        }
    }

    /// The paths stand in another order.
    pub fn reordered(&mut self) {
        if let Paths::Many(many) = self {
            (many.places, many.searched) = (None, 0);
        }
    }
}

/// Two paths and more. Of very many (RFC 7911: a prefix that each node of a cluster announces, seen by a reflector) it is soon noted where
/// each stands.
#[derive(Debug)]
pub(super) struct Many {
    paths: Vec<Path>,
    places: Option<BTreeMap<(Slot, PathId), u32>>,
    /// Searches since the order changed.
    searched: u32,
    /// How many each peer has, once somebody has asked.
    by_peer: Option<BTreeMap<Slot, u32>>,
}

impl Many {
    /// So many are searched as quickly as they are noted.
    const FEW: usize = 64;
    /// So often they are searched before it pays to note where they stand.
    const OFTEN: u32 = 8;

    fn find(&mut self, slot: Slot, path_id: PathId) -> Option<usize> {
        if self.paths.len() <= Many::FEW || self.places.is_none() && self.searched < Many::OFTEN {
            self.searched += u32::from(self.paths.len() > Many::FEW);
            return self.paths.iter().position(|p| p.slot == slot && p.path_id == path_id);
        }
        let note = || self.paths.iter().zip(0..).map(|(p, at)| ((p.slot, p.path_id), at)).collect();
        self.places.get_or_insert_with(note).get(&(slot, path_id)).map(|at| *at as usize)
    }

    fn push(&mut self, path: Path) {
        if let Some(places) = &mut self.places {
            places.insert((path.slot, path.path_id), self.paths.len() as u32);
        }
        if let Some(counts) = &mut self.by_peer {
            *counts.entry(path.slot).or_default() += 1;
        }
        self.paths.push(path);
    }

    fn count(&mut self, slot: Slot) -> usize {
        let counts = self.by_peer.get_or_insert_with(|| {
            let mut counts = BTreeMap::new();
            self.paths.iter().for_each(|path| *counts.entry(path.slot).or_default() += 1);
            counts
        });
        counts.get(&slot).map_or(0, |count| *count as usize)
    }

    /// Where this one stands is another place now.
    fn note(&mut self, at: usize) {
        if let (Some(places), Some(path)) = (&mut self.places, self.paths.get(at)) {
            places.insert((path.slot, path.path_id), at as u32);
        }
    }

    fn swap_remove(&mut self, at: usize) -> Path {
        let gone = self.paths.swap_remove(at);
        if self.paths.len() <= Many::FEW {
            (self.places, self.by_peer) = (None, None);
        }
        if let Some(places) = &mut self.places {
            places.remove(&(gone.slot, gone.path_id));
        }
        if let Some(count) = self.by_peer.as_mut().and_then(|counts| counts.get_mut(&gone.slot)) {
            *count -= 1;
        }
        self.note(at);
        if self.paths.capacity() > 4 * self.paths.len() + 64 {
            self.paths.shrink_to(2 * self.paths.len());
        }
        gone
    }
}

/// A peer's place in [`Peers`](super::sources::Peers).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Slot(pub u32);
