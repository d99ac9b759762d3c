//! From routes to frozen octets: bucketing by attribute set, frames that know who must not see them, and the log that all members of a
//! group read.
//!
//! In: prefixes, each with a slot (its attribute set); encoded messages with a [`Tag`]. Out: shared [`Bytes`], cut around what a member
//! must not see. Which routes go into a frame is `group`'s affair, their octets are `wire`'s.
//!
//! A [`Log`] is a row of segments of about 64 KiB. Each member reads it from a place of its own, and a segment goes when the last of them
//! has passed. So what is announced to a thousand peers exists once, and costs a peer one reference a segment.

use std::collections::VecDeque;
use std::ops::AddAssign;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

use super::adj_out::{MemberFacts, SplitHorizon};
use crate::num::{Nlri, PeerId};

/// Octets for one member, in order; parts of shared segments.
pub type Slices = SmallVec<[Bytes; 4]>;

/// The type of ROUTE-REFRESH in a header (RFC 2918 §3); all else in frames is UPDATEs.
const ROUTE_REFRESH: u8 = 5;

/// Where a segment ends and the next begins.
pub const SEGMENT: usize = 64 * 1024;

/// Prefixes sorted into slots: slots in the order of their first prefix, prefixes in the order in which they came.
#[derive(Debug)]
pub(super) struct Buckets<T> {
    slots: Vec<(T, u32)>,
    nlri: Vec<Nlri>,
    slot_of: Vec<u32>,
    /// The prefixes came slot by slot, as they do when the sender packed them well.
    ordered: bool,
}

impl<T> Buckets<T> {
    /// Empty.
    pub fn new() -> Buckets<T> {
        Buckets { slots: Vec::new(), nlri: Vec::new(), slot_of: Vec::new(), ordered: true }
    }

    /// There is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.nlri.is_empty()
    }

    /// A new slot; its number goes to [`Buckets::push`].
    pub fn slot(&mut self, what: T) -> u32 {
        self.slots.push((what, 0));
        (self.slots.len() - 1) as u32
    }

    /// What was given to [`Buckets::slot`].
    pub fn get(&self, slot: u32) -> Option<&T> {
        self.slots.get(slot as usize).map(|(what, _)| what)
    }

    /// Adds a prefix to a slot.
    pub fn push(&mut self, slot: u32, nlri: Nlri) {
        self.ordered &= self.slot_of.last().is_none_or(|last| *last <= slot);
        self.slots[slot as usize].1 += 1;
        self.slot_of.push(slot);
        self.nlri.push(nlri);
    }

    /// Hands out each slot with its prefixes, and is empty afterwards.
    pub fn drain(&mut self, mut each: impl FnMut(T, &[Nlri])) {
        if !self.ordered {
            self.sort();
        }
        let mut rest = &self.nlri[..];
        for (what, count) in self.slots.drain(..) {
            let (these, others) = rest.split_at(count as usize);
            rest = others;
            if !these.is_empty() {
                each(what, these);
            }
        }
        self.nlri.clear();
        self.slot_of.clear();
        self.ordered = true;
    }

    /// A counting sort: stable, and linear in the prefixes.
    fn sort(&mut self) {
        let mut next: Vec<u32> = Vec::with_capacity(self.slots.len());
        let mut sum = 0;
        for (_, count) in &self.slots {
            next.push(sum);
            sum += count;
        }
        let mut sorted = self.nlri.clone();
        for (slot, nlri) in self.slot_of.iter().zip(&self.nlri) {
            let place = &mut next[*slot as usize];
            sorted[*place as usize] = *nlri;
            *place += 1;
        }
        self.nlri = sorted;
    }

    /// Gives back memory that a burst took.
    pub fn shrink(&mut self) {
        const KEPT: usize = 4096;
        if self.nlri.capacity() > KEPT {
            self.nlri.shrink_to(KEPT);
            self.slot_of.shrink_to(KEPT);
            self.slots.shrink_to(KEPT);
        }
    }
}

/// Who may see a run of octets. Says whom by nature and not by name, so that it holds for members yet to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tag {
    /// All members but those.
    Except(SplitHorizon),
    /// The same, and nothing stood for these prefixes before, so a member that has not read this knows nothing of them.
    First(SplitHorizon),
    /// Split horizon moved: those whom the first names and the second does not.
    Moved(Box<(SplitHorizon, SplitHorizon)>),
    /// One member alone.
    Only(PeerId),
}

impl Tag {
    fn shows_to(&self, member: &MemberFacts) -> bool {
        match self {
            Tag::Except(horizon) | Tag::First(horizon) => horizon.hits(member).is_none(),
            Tag::Moved(pair) => pair.0.hits(member).is_some() && pair.1.hits(member).is_none(),
            Tag::Only(id) => *id == member.id,
        }
    }
}

/// How much is in some frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Of whole messages.
    pub octets: usize,
    /// UPDATE messages.
    pub updates: u32,
    /// ROUTE-REFRESH messages: marks around what is announced again (RFC 7313 §4).
    pub refreshes: u32,
    /// Prefixes in them.
    pub announced: u32,
    /// Prefixes in them.
    pub withdrawn: u32,
    /// Destinations that were looked at to make it, where it was not made before for others, too.
    pub looked: usize,
}

impl Load {
    /// Prefixes announced, or withdrawn; octets and messages are counted when they are written.
    pub fn of(prefixes: usize, announced: bool) -> Load {
        let n = prefixes as u32;
        let (announced, withdrawn) = if announced { (n, 0) } else { (0, n) };
        Load { announced, withdrawn, ..Load::default() }
    }

    /// Whole messages in these octets, by their headers (RFC 4271 §4.1).
    fn count_messages(&mut self, mut octets: &[u8]) {
        while let Some(&[high, low, kind]) = octets.get(16..19) {
            *if kind == ROUTE_REFRESH { &mut self.refreshes } else { &mut self.updates } += 1;
            octets = octets.get(usize::from(u16::from_be_bytes([high, low])).max(1)..).unwrap_or_default();
        }
    }
}

impl AddAssign for Load {
    fn add_assign(&mut self, more: Load) {
        self.octets += more.octets;
        self.updates = self.updates.saturating_add(more.updates);
        self.refreshes = self.refreshes.saturating_add(more.refreshes);
        self.announced = self.announced.saturating_add(more.announced);
        self.withdrawn = self.withdrawn.saturating_add(more.withdrawn);
        self.looked += more.looked;
    }
}

#[derive(Clone, Debug)]
struct Mark {
    /// The run ends here; it began where the one before ended.
    end: u32,
    tag: Tag,
    load: Load,
}

/// Whole messages, frozen, with their tags.
#[derive(Debug)]
pub(super) struct Frames {
    data: Bytes,
    marks: Box<[Mark]>,
}

impl Frames {
    /// Octets.
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// How many runs of octets with one tag there are.
    pub fn runs(&self) -> usize {
        self.marks.len()
    }

    /// One of them, whoever it is for, and whether it speaks of prefixes for which nothing stood before.
    pub fn run(&self, index: usize) -> Option<(Bytes, bool)> {
        let mark = self.marks.get(index)?;
        let from = index.checked_sub(1).and_then(|before| self.marks.get(before)).map_or(0, |m| m.end);
        Some((self.data.slice(from as usize..mark.end as usize), matches!(mark.tag, Tag::First(_))))
    }

    /// Appends what `member` may see, in as few slices as that takes. Returns how much it is.
    pub fn show(&self, member: &MemberFacts, out: &mut Slices) -> Load {
        let (mut load, mut from, mut at) = (Load::default(), 0, 0);
        let mut cut = |from: usize, to: usize| {
            if from < to {
                out.push(self.data.slice(from..to));
            }
        };
        for mark in &self.marks {
            if !mark.tag.shows_to(member) {
                cut(from, at);
                from = mark.end as usize;
            } else {
                load += mark.load;
            }
            at = mark.end as usize;
        }
        cut(from, at);
        load
    }
}

/// Frames in the making.
#[derive(Debug, Default)]
pub(super) struct FrameBuf {
    data: BytesMut,
    marks: Vec<Mark>,
}

impl FrameBuf {
    /// Nothing was written.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// A segment's worth was written.
    pub fn is_full(&self) -> bool {
        self.data.len() >= SEGMENT
    }

    /// Has `write` append whole messages, which carry `tag` and speak of as many prefixes as `load` says.
    pub fn append<R>(&mut self, tag: &Tag, mut load: Load, write: impl FnOnce(&mut BytesMut) -> R) -> R {
        if self.data.is_empty() && self.data.capacity() < 4096 {
            self.data.reserve(SEGMENT);
        }
        let before = self.data.len();
        let result = write(&mut self.data);
        let end = self.data.len() as u32;
        load.octets = self.data.len() - before;
        load.count_messages(self.data.get(before..).unwrap_or_default());
        match self.marks.last_mut() {
            _ if load.octets == 0 => {}
            Some(last) if last.tag == *tag => {
                last.end = end;
                last.load += load;
            }
            _ => self.marks.push(Mark { end, tag: tag.clone(), load }),
        }
        result
    }

    /// What was written so far, shared from here on without a copy.
    pub fn freeze(&mut self) -> Frames {
        Frames { data: self.data.split().freeze(), marks: std::mem::take(&mut self.marks).into_boxed_slice() }
    }
}

#[derive(Debug)]
struct Segment {
    frames: Arc<Frames>,
    /// Readers that have yet to pass it.
    waiting: u32,
    /// Octets ever written before it.
    before: u64,
}

/// What all members of a group are announced, once.
///
/// # Invariants
/// `waiting` of a segment is the number of readers whose place is at or before it; the first segment has at least one.
#[derive(Debug, Default)]
pub(super) struct Log {
    /// Number of the first segment still held; segments are numbered from zero and never renumbered.
    first: u64,
    segments: VecDeque<Segment>,
    open: FrameBuf,
    /// Octets ever written into closed segments.
    written: u64,
    readers: u32,
}

impl Log {
    /// Nobody reads, so nothing need be written.
    pub fn is_unread(&self) -> bool {
        self.readers == 0
    }

    /// Appends messages; see [`FrameBuf::append`].
    pub fn append<R>(&mut self, tag: &Tag, load: Load, write: impl FnOnce(&mut BytesMut) -> R) -> R {
        let result = self.open.append(tag, load, write);
        if self.open.is_full() {
            self.seal();
        }
        result
    }

    /// Closes the open segment, so that everything written can be read.
    pub fn seal(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let frames = Arc::new(self.open.freeze());
        let before = self.written;
        self.written += frames.len() as u64;
        self.segments.push_back(Segment { frames, waiting: self.readers, before });
        self.trim();
    }

    /// The place after all that was written. Closes the open segment.
    pub fn head(&mut self) -> u64 {
        self.seal();
        self.first + self.segments.len() as u64
    }

    /// Is there anything to be read at this place?
    pub fn has_more(&self, place: u64) -> bool {
        place < self.first + self.segments.len() as u64 || !self.open.is_empty()
    }

    /// Octets from this place to the end of the log, whoever they are for.
    pub fn behind(&self, place: u64) -> u64 {
        let open = self.open.data.len() as u64;
        self.segment(place).map_or(0, |s| self.written - s.before) + open
    }

    /// Octets held.
    pub fn held(&self) -> u64 {
        self.behind(self.first)
    }

    /// The frames at a closed place.
    pub fn frames(&self, place: u64) -> Option<&Arc<Frames>> {
        self.segment(place).map(|s| &s.frames)
    }

    /// One more reader, from a place that is still held.
    pub fn enter(&mut self, place: u64) {
        self.readers += 1;
        let skip = place.saturating_sub(self.first) as usize;
        self.segments.iter_mut().skip(skip).for_each(|s| s.waiting += 1);
    }

    /// A reader passes the segment at its place and goes on to the next.
    pub fn pass(&mut self, place: u64) {
        let index = place.saturating_sub(self.first) as usize;
        if let Some(segment) = self.segments.get_mut(index) {
            segment.waiting -= 1;
        }
        self.trim();
    }

    /// A reader reads no more.
    pub fn leave(&mut self, place: u64) {
        self.readers -= 1;
        let skip = place.saturating_sub(self.first) as usize;
        self.segments.iter_mut().skip(skip).for_each(|s| s.waiting -= 1);
        if self.readers == 0 {
            self.open = FrameBuf::default();
        }
        self.trim();
    }

    fn segment(&self, place: u64) -> Option<&Segment> {
        self.segments.get(usize::try_from(place.checked_sub(self.first)?).ok()?)
    }

    fn trim(&mut self) {
        while self.segments.front().is_some_and(|s| s.waiting == 0) {
            self.segments.pop_front();
            self.first += 1;
        }
    }

    /// # Panics
    /// If an invariant does not hold, or the readers do not stand where `places` says.
    pub fn check(&self, places: &[u64]) {
        assert_eq!(self.readers as usize, places.len(), "readers of the log");
        for (index, segment) in self.segments.iter().enumerate() {
            let here = self.first + index as u64;
            let waiting = places.iter().filter(|p| **p <= here).count();
            assert_eq!(segment.waiting as usize, waiting, "readers before segment {here}");
        }
        assert!(self.segments.front().is_none_or(|s| s.waiting > 0), "a segment that nobody waits for");
    }
}
