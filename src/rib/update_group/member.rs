//! One member of a group: how far it has read, and what it is still owed.
//!
//! In: the group's log, its snapshot, what the group has been announced. Out: octets for this member, never more than asked for by much.
//! When it may be written to is the speaker's affair.
//!
//! A member reads the log from its place. One that is new reads a [`Snapshot`] first, or dumps the table when that is large. One that
//! fell behind gives up its place and keeps the set of prefixes that changed since ([`CatchUp`]): its memory grows by prefixes, not by
//! updates, and a prefix that it was never announced and that is gone again owes it nothing. It gets each of them as it stands when there is
//! room, and then follows the log again.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use super::super::DestId;
use super::super::adj_out::{GroupKey, MemberFacts};
use super::super::pack::{Frames, Log};
use crate::num::{Family, FamilySet, Nlri};
use crate::wire::{Decoder, Message, frame_len};

/// The whole table as frames. A piece is made when the first member comes to it, and is the same for all that follow; what has changed between
/// `at` and then the log says once more.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// In the order in which they are sent.
    pub pieces: Box<[Piece]>,
    /// The log goes on from here.
    pub at: u64,
    /// When it was begun, in seconds of the RIB's clock.
    pub made: u32,
}

/// Some destinations as frames.
#[derive(Debug)]
pub(super) struct Piece {
    /// Of these destinations.
    pub family: Family,
    /// Their numbers.
    pub dests: Range<usize>,
    /// With the end of the log at that time.
    pub frames: OnceLock<(Frames, u64)>,
}

impl Snapshot {
    /// Of `ends` destinations of each family, `step` in a piece.
    pub fn begin(ends: impl Iterator<Item = (Family, usize)>, step: usize, at: u64, made: u32) -> Snapshot {
        let pieces = ends.flat_map(|(family, end)| {
            (0..end).step_by(step.max(1)).map(move |from| Piece { family, dests: from..(from + step).min(end), frames: OnceLock::new() })
        });
        Snapshot { pieces: pieces.collect(), at, made }
    }

    /// Octets held.
    pub fn octets(&self) -> usize {
        self.pieces.iter().filter_map(|piece| piece.frames.get()).map(|(frames, _)| frames.len()).sum()
    }
}

/// A peer of a group.
#[derive(Debug)]
pub(super) struct Member {
    /// What split horizon asks.
    pub facts: MemberFacts,
    /// How it is brought to what the group has been announced.
    pub mode: Mode,
    /// End-of-RIB is due when the log has been read up to here (RFC 4724 §2).
    pub end_at: Option<u64>,
    /// It asked for these again between BoRR and EoRR, which must not come before End-of-RIB (RFC 7313 §4).
    pub postponed: FamilySet,
    /// Stands in the queue of those who have something to hear.
    pub queued: bool,
}

impl Member {
    /// Is there anything that it has yet to be given?
    ///
    /// `hold_end`: End-of-RIB is held back for now, so it is not owed.
    pub fn is_owed(&self, log: &Log, hold_end: bool) -> bool {
        let end = self.end_at.is_some() && !hold_end;
        match &self.mode {
            Mode::Follows { place, snapshot, .. } => snapshot.is_some() || end || log.has_more(*place),
            Mode::CatchesUp(owed) => end || !owed.is_done(),
        }
    }
}

/// How a member gets its octets.
#[derive(Debug)]
pub(super) enum Mode {
    /// Reads the log from `place`; before that the rest of the snapshot, if there is one. Before `known` the log may speak of what the snapshot
    /// knew already.
    Follows {
        /// Octets of the log, since the group was made.
        place: u64,
        /// With it, the frame that is next.
        snapshot: Option<(Arc<Snapshot>, usize)>,
        known: u64,
    },
    /// It reads prefixes as they stand, not the log.
    CatchesUp(Box<CatchUp>),
}

impl Mode {
    /// The place in the log where it is counted as a reader.
    pub fn place(&self) -> Option<u64> {
        match self {
            Mode::Follows { place, .. } => Some(*place),
            Mode::CatchesUp(_) => None,
        }
    }

    /// What it is owed, if it does not follow the log.
    pub fn owed(&mut self) -> Option<&mut CatchUp> {
        match self {
            Mode::Follows { .. } => None,
            Mode::CatchesUp(owed) => Some(owed),
        }
    }

    /// It has read the log up to here.
    pub fn is_at(&self, head: u64) -> bool {
        matches!(self, Mode::Follows { place, snapshot: None, .. } if *place == head)
    }
}

/// What a member is owed that does not follow the log.
#[derive(Debug, Default)]
pub(super) struct CatchUp {
    /// What it had yet to read of the log when it left it, oldest first. What these frames speak of becomes part of `dirty`, in steps.
    unread: VecDeque<Unread>,
    /// Whole families, in slab order, first. For each at most one that has begun and one that has not.
    dumps: VecDeque<TableDump>,
    /// Then these, as they stand: what has changed since; with each, whether it may have been announced to the member before. In order, and
    /// safe from a peer who would choose prefixes that collide.
    dirty: BTreeMap<Nlri, bool>,
    /// So many of these there were when the whole table was promised.
    promised: usize,
}

/// A segment of the log, of which the runs from `runs` on and the octets before `from` in the run before that have been looked at.
#[derive(Debug)]
struct Unread {
    frames: Arc<Frames>,
    /// The member knows nothing of prefixes for which nothing stood before.
    first: bool,
    runs: usize,
    from: usize,
}

/// A family that is announced from the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TableDump {
    /// Which.
    pub family: Family,
    /// The next destination.
    pub next: usize,
    /// What it is for.
    pub kind: DumpKind,
}

/// Why a family is announced from the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DumpKind {
    /// The member knows nothing beyond `next` yet.
    Initial,
    /// The member asked to hear everything again (RFC 2918).
    Refresh,
    /// The same between BoRR and EoRR (RFC 7313 §4).
    Enhanced,
}

impl CatchUp {
    /// The first table, walked.
    pub fn initial(families: impl Iterator<Item = Family>) -> CatchUp {
        let dumps = families.map(|family| TableDump { family, next: 0, kind: DumpKind::Initial }).collect();
        CatchUp { dumps, ..CatchUp::default() }
    }

    /// All that a member has yet to read; with each, whether it knows nothing of what is announced there for the first time.
    pub fn unread(frames: impl Iterator<Item = (Arc<Frames>, bool)>) -> CatchUp {
        let unread = frames.map(|(frames, first)| Unread { runs: frames.runs(), from: 0, frames, first }).collect();
        CatchUp { unread, ..CatchUp::default() }
    }

    /// Another walk. One of the family that has not begun serves for both: however often a member asks, one table is under way and one waits.
    pub fn walk(&mut self, family: Family, kind: DumpKind) {
        match self.dumps.iter_mut().find(|w| w.family == family && w.next == 0) {
            Some(walk) if walk.kind == DumpKind::Refresh => walk.kind = kind,
            Some(_) => {}
            None => self.dumps.push_back(TableDump { family, next: 0, kind }),
        }
    }

    /// The walk that goes on next.
    pub fn next_walk(&self) -> Option<TableDump> {
        self.dumps.front().copied().filter(|_| self.unread.is_empty())
    }

    /// A walk has announced these as they stand.
    pub fn is_told(&mut self, nlri: &[Nlri]) {
        if !self.dirty.is_empty() {
            nlri.iter().for_each(|nlri| {
                self.dirty.remove(nlri);
            });
        }
    }

    /// The next piece of a walk, `most` destinations of the `end` that its family has, and whether it is the last.
    pub fn step_walk(&mut self, most: usize, end: impl Fn(Family) -> usize) -> Option<(TableDump, bool)> {
        let walk = self.dumps.front_mut()?;
        let piece = *walk;
        walk.next += most;
        let last = walk.next >= end(walk.family);
        if last {
            self.dumps.pop_front();
        }
        Some((piece, last))
    }

    /// A destination changed, for which a route stood before (`was`) or stands now (`is`). What a walk has yet to reach will be announced by
    /// it.
    pub fn touch(&mut self, dest: DestId, nlri: Nlri, was: bool, is: bool) {
        let knows_nothing = |w: &TableDump| w.kind == DumpKind::Initial && self.unread.is_empty();
        let ahead = |w: &TableDump| w.family == dest.family() && w.next <= dest.index() && (is || knows_nothing(w));
        if self.dumps.iter().any(ahead) {
            return;
        }
        match self.dirty.get(&nlri) {
            Some(false) if !is => drop(self.dirty.remove(&nlri)),
            Some(_) => {}
            None => drop(self.dirty.insert(nlri, was)),
        }
    }

    /// Looks at up to about `most` prefixes of what was not read, the newest first: what the oldest word on a prefix says of it decides whether
    /// the member knew it. `stands`: whether a route stands for it now. False if there is nothing left to look at.
    pub fn digest(&mut self, key: &GroupKey, most: usize, mut stands: impl FnMut(&Nlri) -> bool) -> bool {
        let mut looked = 0;
        while looked < most {
            let Some(unread) = self.unread.back_mut() else { return false };
            let run = unread.runs.checked_sub(1).and_then(|index| unread.frames.run(index));
            let Some((octets, first)) = run else {
                self.unread.pop_back();
                continue;
            };
            let Ok(Some(len)) = frame_len(octets.get(unread.from..).unwrap_or_default(), key.send.max_len) else {
                (unread.runs, unread.from) = (unread.runs - 1, 0);
                continue;
            };
            let message = octets.slice(unread.from..unread.from + len);
            unread.from += len;
            let mut decoder = Decoder::new();
            decoder.set_context(key.send.clone());
            let Ok(Message::Update(update)) = decoder.decode(message) else { continue };
            let first = first && unread.first;
            let sets = update.withdrawn.iter().chain(update.announced.iter().map(|a| &a.nlri));
            for nlri in sets.flat_map(|set| set.iter()) {
                looked += 1;
                if first && !stands(&nlri) {
                    self.dirty.remove(&nlri);
                } else {
                    self.dirty.insert(nlri, !first);
                }
            }
        }
        !self.unread.is_empty()
    }

    /// Nothing is owed: it can follow the log.
    pub fn is_done(&self) -> bool {
        self.dumps.is_empty() && self.dirty.is_empty() && self.unread.is_empty()
    }

    /// Prefixes that are owed one by one.
    pub fn pending(&self) -> usize {
        self.dirty.len()
    }

    /// Of these, so many there were when the whole table was promised last.
    pub fn promised(&self) -> usize {
        self.promised.min(self.dirty.len())
    }

    /// The table from the beginning. What it announces is owed no more; what is gone, or not for this member, is.
    pub fn announce_all(&mut self, families: FamilySet) {
        self.promised = self.dirty.len();
        let waits = |dumps: &VecDeque<TableDump>, family| dumps.iter().any(|w| w.family == family && w.next == 0);
        for family in families.iter().filter(|f| !waits(&self.dumps, *f)).collect::<Vec<_>>() {
            self.walk(family, DumpKind::Refresh);
        }
    }

    /// Up to `n` prefixes to be announced as they stand.
    pub fn take(&mut self, n: usize) -> Vec<Nlri> {
        std::iter::from_fn(|| self.dirty.pop_first()).map(|(nlri, _)| nlri).take(n).collect()
    }
}
