//! What a member is given next: from the snapshot, from the log, or table entries as they stand.
//!
//! In: a member and about how many octets there is room for. Out: slices of shared frames, or frames made for this member.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::FixedState;
use smallvec::SmallVec;

use super::advertised::{ClassId, Outgoing};
use super::batch::{write_reach, write_unreach};
use super::group::{CHUNK, UpdateGroup, stands};
use super::member::{DumpKind, Member, Mode, Piece, Snapshot, TableDump};
use crate::num::{Family, Nlri, PeerId};
use crate::rib::adj_out::MemberFacts;
use crate::rib::pack::{Buckets, FrameBuf, Frames, Load, Slices, Tag};
use crate::rib::{DestId, Rib};
use crate::wire::{Message, RefreshSubtype, RouteRefresh, encode_end_of_rib};

/// So many pieces are handed out for one poll.
const PIECES: usize = 16;

/// With so many destinations looked at it ends.
pub const LOOKED: usize = 2048;

impl UpdateGroup {
    /// The next octets for a member, and whether it follows the log and has read all of it. One that is owed more although there is room for it, because what was looked at had nothing to say, is
    /// to be polled again.
    pub fn poll(&mut self, rib: &Rib, peer: PeerId, credit: usize, out: &mut Slices) -> (Load, bool) {
        let mut load = Load::default();
        for _ in 0..PIECES {
            let Some(member) = self.members.get_mut(&peer) else { break };
            let done = matches!(&member.mode, Mode::CatchesUp(owed) if owed.is_done());
            // Who has caught up follows the log at once: changes that come meanwhile are not to be owed one by one.
            if !done && (load.octets >= credit || load.looked >= LOOKED) {
                break;
            }
            match &mut member.mode {
                Mode::Follows { .. } => match self.poll_follower(rib, peer, out) {
                    Some(more) => load += more,
                    None => return (load, true),
                },
                Mode::CatchesUp(_) if done => self.rejoin(peer),
                Mode::CatchesUp(_) => load += self.poll_catch_up(rib, peer, out),
            }
        }
        (load, false)
    }

    /// One step of a member that follows the log. `None` if it has read everything.
    fn poll_follower(&mut self, rib: &Rib, peer: PeerId, out: &mut Slices) -> Option<Load> {
        self.log.seal();
        let held = self.holds_end();
        let member = self.members.get_mut(&peer)?;
        let Mode::Follows { place, snapshot, .. } = &mut member.mode else { return None };
        if let Some((table, next)) = snapshot {
            let (table, index) = (table.clone(), *next);
            *next += 1;
            if *next >= table.pieces.len() {
                *snapshot = None;
            }
            return Some(table.pieces.get(index).map_or_else(Load::default, |piece| self.show_piece(rib, piece, peer, out)));
        }
        if !held && member.end_at.is_some_and(|end| *place >= end) {
            member.end_at = None;
            let mut buf = FrameBuf::default();
            for family in self.key.families.iter() {
                buf.append(&Tag::Only(peer), Load::default(), |octets| encode_end_of_rib(family, octets));
            }
            let load = buf.freeze().show(&member.facts, out);
            let postponed = std::mem::take(&mut member.postponed);
            postponed.iter().for_each(|family| self.refresh(peer, family, true));
            return Some(load);
        }
        let load = self.log.frames(*place)?.show(&member.facts, out);
        self.log.pass(*place);
        *place += 1;
        Some(load)
    }

    /// A piece of the snapshot, made now if nobody came to it before.
    fn show_piece(&mut self, rib: &Rib, piece: &Piece, peer: PeerId, out: &mut Slices) -> Load {
        let looked = if piece.frames.get().is_none() { piece.dests.len() } else { 0 };
        let (frames, head) = piece.frames.get_or_init(|| self.write_piece(rib, piece));
        let Some(member) = self.members.get_mut(&peer) else { return Load::default() };
        if let Mode::Follows { known, .. } = &mut member.mode {
            *known = (*known).max(*head);
        }
        Load { looked, ..frames.show(&member.facts, out) }
    }

    fn write_piece(&mut self, rib: &Rib, piece: &Piece) -> (Frames, u64) {
        let mut own = OwnBatch::default();
        for index in piece.dests.clone() {
            self.collect_dest(rib, &mut own, DestId::new(piece.family, index as u32), None);
        }
        let mut buf = FrameBuf::default();
        own.reach.drain(|out, nlri| {
            let tag = Tag::Except(out.horizon);
            write_reach(&out, nlri, &self.key.send, |load, write| buf.append(&tag, load, |octets| write(octets)));
        });
        self.reap();
        (buf.freeze(), self.log.head())
    }

    /// It is owed nothing of its own any more: on with the log.
    fn rejoin(&mut self, peer: PeerId) {
        let place = self.log.head();
        let Some(member) = self.members.get_mut(&peer) else { return };
        member.mode = Mode::Follows { place, snapshot: None, known: 0 };
        member.end_at = member.end_at.map(|_| place);
        self.log.enter(place);
        self.slow_members.retain(|p| *p != peer);
    }

    /// One piece of a walk, or some of the prefixes that changed.
    fn poll_catch_up(&mut self, rib: &Rib, peer: PeerId, out: &mut Slices) -> Load {
        let Some(member) = self.members.get_mut(&peer) else { return Load::default() };
        let facts = member.facts;
        let Mode::CatchesUp(owed) = &mut member.mode else { return Load::default() };
        // What is looked at for the walk is not owed besides.
        if let Some(walk) = owed.next_walk() {
            self.look_up_to(rib, walk.family, walk.next + CHUNK);
        }
        let Some(Member { mode: Mode::CatchesUp(owed), .. }) = self.members.get_mut(&peer) else { return Load::default() };
        let UpdateGroup { routes, pending, key, .. } = self;
        let former = pending.as_ref().and_then(|p| p.former.as_ref()).map(|(_, routes)| routes);
        if owed.digest(key, CHUNK / 2, |nlri| stands(routes, former, rib, nlri)) {
            return Load { looked: CHUNK / 2, ..Load::default() };
        }
        let ends = Family::ALL.map(|f| if pending.is_some() { rib.dest_end(f) } else { routes.end(f) });
        let mut buf = FrameBuf::default();
        let looked = match owed.step_walk(CHUNK, |family| ends[family.index()]) {
            Some((piece, last)) => {
                self.write_walk(rib, &facts, piece, last, &mut buf);
                ends[piece.family.index()].saturating_sub(piece.next).min(CHUNK)
            }
            None => {
                let changed = owed.take(CHUNK);
                self.write_changed(rib, &facts, &changed, &mut buf);
                changed.len()
            }
        };
        self.reap();
        Load { looked, ..buf.freeze().show(&facts, out) }
    }

    fn write_walk(&mut self, rib: &Rib, to: &MemberFacts, walk: TableDump, last: bool, buf: &mut FrameBuf) {
        if walk.kind == DumpKind::Enhanced && walk.next == 0 {
            self.write_refresh(to, walk.family, RefreshSubtype::BoRR, buf);
        }
        let mut own = OwnBatch::default();
        for index in walk.next..(walk.next + CHUNK).min(self.end(walk.family)) {
            self.collect_dest(rib, &mut own, DestId::new(walk.family, index as u32), Some(to));
        }
        let mut owed = self.members.get_mut(&to.id).and_then(|m| m.mode.owed());
        own.reach.drain(|out, nlri| {
            owed.iter_mut().for_each(|owed| owed.is_told(nlri));
            write_reach(&out, nlri, &self.key.send, |load, write| buf.append(&Tag::Only(to.id), load, |octets| write(octets)));
        });
        if walk.kind == DumpKind::Enhanced && last {
            self.write_refresh(to, walk.family, RefreshSubtype::EoRR, buf);
        }
    }

    fn write_refresh(&self, to: &MemberFacts, family: Family, subtype: RefreshSubtype, buf: &mut FrameBuf) {
        let message = Message::RouteRefresh(RouteRefresh::new(family, subtype));
        buf.append(&Tag::Only(to.id), Load::default(), |octets| message.encode(&self.key.send, octets));
    }

    /// These prefixes as they stand: announced, or withdrawn if this member does not hear them.
    fn write_changed(&mut self, rib: &Rib, to: &MemberFacts, changed: &[Nlri], buf: &mut FrameBuf) {
        let mut own = OwnBatch::default();
        let mut gone: [Vec<Nlri>; 2] = Default::default();
        for nlri in changed {
            let path = rib.find(&nlri.net).and_then(|dest| self.announced_path(dest, nlri));
            if !path.is_some_and(|(class, out)| own.collect(class, out, *nlri, Some(to))) {
                gone[nlri.family().index()].push(*nlri);
            }
        }
        for nlri in gone.iter().filter(|n| !n.is_empty()) {
            write_unreach(nlri, &self.key.send, |load, write| buf.append(&Tag::Only(to.id), load, |octets| write(octets)));
        }
        own.reach.drain(|out, nlri| {
            write_reach(&out, nlri, &self.key.send, |load, write| buf.append(&Tag::Only(to.id), load, |octets| write(octets)));
        });
    }

    fn collect_dest(&mut self, rib: &Rib, own: &mut OwnBatch, dest: DestId, to: Option<&MemberFacts>) {
        let Some(net) = rib.net(dest) else { return };
        for (path_id, class, out) in self.announced(dest, &net) {
            own.collect(class, out, Nlri { net, path_id }, to);
        }
    }

    /// The whole table in frames, kept for those who come next. If it does not hold any more, those who come in the same second get it all the
    /// same, and the log after it, for many come at once; who comes later is not to hear of routes that have long been gone.
    pub(super) fn snapshot(&mut self, rib: &Rib, step: usize) -> Arc<Snapshot> {
        if let Some(snapshot) = &self.snapshot
            && (self.log.behind(snapshot.at) == 0 || snapshot.made == rib.seconds())
        {
            return snapshot.clone();
        }
        self.drop_snapshot();
        let ends = self.key.families.iter().map(|family| (family, self.routes.end(family)));
        let snapshot = Arc::new(Snapshot::begin(ends, step, self.log.head(), rib.seconds()));
        self.log.enter(snapshot.at);
        self.snapshot = Some(snapshot.clone());
        snapshot
    }
}

/// Prefixes on their way to one member or into a snapshot, by attribute set.
struct OwnBatch {
    reach: Buckets<Outgoing>,
    slots: HashMap<(ClassId, Family), SmallVec<[u32; 2]>, FixedState>,
}

impl Default for OwnBatch {
    fn default() -> OwnBatch {
        OwnBatch { reach: Buckets::new(), slots: HashMap::default() }
    }
}

impl OwnBatch {
    /// False if the path is not announced to that member, if one is named.
    fn collect(&mut self, class: ClassId, out: Outgoing, nlri: Nlri, to: Option<&MemberFacts>) -> bool {
        let heard = to.is_none_or(|to| out.horizon.hits(to).is_none());
        if heard {
            self.push(class, out, nlri);
        }
        heard
    }

    fn push(&mut self, class: ClassId, out: Outgoing, nlri: Nlri) {
        let slots = self.slots.entry((class, nlri.family())).or_default();
        let reach = &mut self.reach;
        let slot = match slots.iter().find(|s| reach.get(**s).is_some_and(|known| known.attrs == out.attrs)) {
            Some(slot) => *slot,
            None => {
                let slot = reach.slot(out);
                slots.push(slot);
                slot
            }
        };
        reach.push(slot, nlri);
    }
}
