//! One member of a group: how far it has read, and what it is still owed.
//!
//! In: the group's log, its snapshot, what the group has been told. Out: octets for this member, never more than asked for by much.
//! When it may be written to is the speaker's affair.
//!
//! A member reads the log from its place. One that is new reads a [`Snapshot`] first, or walks the table when that is large. One that
//! fell behind gives up its place and keeps the set of prefixes that changed since ([`CatchUp`]): its memory grows by prefixes, not by
//! updates. It gets each of them as it stands when there is room, and then follows the log again.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::super::DestId;
use super::super::adj_out::MemberFacts;
use super::super::pack::{Frames, Log};
use crate::num::{Family, FamilySet, Nlri};

/// The whole table as frames, as it was at a place of the log.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub frames: Vec<Frames>,
    pub octets: usize,
    /// The log goes on from here.
    pub at: u64,
    /// When, in seconds of the RIB's clock.
    pub made: u32,
}

#[derive(Debug)]
pub(super) struct Member {
    pub facts: MemberFacts,
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
            Mode::Follows { place, snapshot } => snapshot.is_some() || end || log.has_more(*place),
            Mode::CatchesUp(owed) => end || !owed.is_done(),
        }
    }
}

#[derive(Debug)]
pub(super) enum Mode {
    /// Reads the log from `place`; before that the rest of the snapshot, if there is one.
    Follows {
        place: u64,
        snapshot: Option<(Arc<Snapshot>, usize)>,
    },
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
}

/// What a member is owed that does not follow the log.
#[derive(Debug, Default)]
pub(super) struct CatchUp {
    /// Whole families, in slab order, first.
    pub walks: VecDeque<Walk>,
    /// Then these, as they stand: what has changed since. In order, and safe from a peer who would choose prefixes that collide.
    pub dirty: BTreeSet<Nlri>,
}

/// A family that is said from the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Walk {
    pub family: Family,
    pub next: usize,
    pub kind: WalkKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WalkKind {
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
        let walks = families.map(|family| Walk { family, next: 0, kind: WalkKind::Initial }).collect();
        CatchUp { walks, ..CatchUp::default() }
    }

    /// A destination changed. What a first walk has yet to reach will be told by it.
    pub fn touch(&mut self, dest: DestId, nlri: Nlri) {
        let ahead = |w: &Walk| w.kind == WalkKind::Initial && w.family == dest.family() && w.next <= dest.index();
        if !self.walks.iter().any(ahead) {
            self.dirty.insert(nlri);
        }
    }

    pub fn is_done(&self) -> bool {
        self.walks.is_empty() && self.dirty.is_empty()
    }

    /// Up to `n` prefixes to be told as they stand.
    pub fn take(&mut self, n: usize) -> Vec<Nlri> {
        std::iter::from_fn(|| self.dirty.pop_first()).take(n).collect()
    }
}
