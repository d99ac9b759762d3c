//! One export group: what it has been told, the log that its members read, and the members.
//!
//! In and out are those of `super`; this file is what happens inside one group.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;

use foldhash::fast::FixedState;
use ipnet::IpNet;
use smallvec::SmallVec;

use super::batch::{Batch, current, write_reach, write_unreach};
use super::member::{CatchUp, Member, Mode, Snapshot, Walk, WalkKind};
use super::told::{ClassId, List, Listed, Told};
use super::{Bounds, ExportVerdict};
use crate::num::{Family, FamilySet, Nlri, PathId, PeerId};
use crate::rib::adj_out::{AddPathSend, Avoid, GroupKey, MemberFacts, RouteSource, Withheld, export};
use crate::rib::pack::{Frames, Log, SEGMENT, Tag};
use crate::rib::{BATCH, Best, BestChange, DestId, Rib};
use crate::wire::{Decoder, Message, PathAttributes, frame_len};

/// So many destinations are looked at for one piece of a walk or of catching up.
pub(super) const CHUNK: usize = 1024;

#[derive(Debug)]
pub(super) struct Group {
    pub(super) key: GroupKey,
    pub(super) told: Told,
    pub(super) log: Log,
    pub(super) batch: Batch,
    pub(super) members: HashMap<PeerId, Member, FixedState>,
    /// Members that do not follow the log.
    pub(super) lagging: Vec<PeerId>,
    pub(super) snapshot: Option<Arc<Snapshot>>,
    /// Something was said that members have not been named for yet.
    pub(super) news: bool,
    /// End-of-RIB is not sent for now.
    pub(super) hold_end: bool,
}

impl Group {
    /// A group that has been told all that stands in the Loc-RIB; its first member is owed it.
    pub fn new(key: GroupKey, rib: &Rib) -> Group {
        let mut group = Group {
            told: Told::new(&key),
            log: Log::default(),
            batch: Batch::new(&key),
            members: HashMap::default(),
            lagging: Vec::new(),
            snapshot: None,
            news: false,
            hold_end: false,
            key,
        };
        group.learn(rib);
        group
    }

    /// As of the last settlement: what is on its way through the Loc-RIB will be heard as a change.
    fn learn(&mut self, rib: &Rib) {
        let unsettled: HashMap<DestId, Option<&Best>, FixedState> = rib.unsettled().collect();
        for family in self.key.families.iter() {
            let moving = unsettled.iter().filter(|(d, old)| d.family() == family && old.is_some()).map(|(d, _)| *d);
            for dest in rib.dests(family, 0).filter(|d| !unsettled.contains_key(d)).chain(moving) {
                if let Some(net) = rib.net(dest).filter(|_| self.key.tells_paths(family)) {
                    let list = self.wanted_paths(rib, dest, &net, &List::new());
                    if !list.is_empty() {
                        self.told.put_list(dest, list);
                    }
                    continue;
                }
                let best = unsettled.get(&dest).map_or_else(|| rib.best(dest), |old| old.cloned());
                let (Some(best), Some(net)) = (best, rib.net(dest)) else { continue };
                let class = self.told.classify(&best, rib, &self.key);
                if !class.is_none() && !self.told.is_withheld(class, &net, &self.key) {
                    self.told.put(dest, class);
                }
            }
        }
        self.told.reap();
    }

    pub fn key(&self) -> &GroupKey {
        &self.key
    }

    pub fn members(&self) -> usize {
        self.members.len()
    }

    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub fn held(&self) -> u64 {
        self.log.held()
    }

    /// Prefixes told, of all families.
    pub fn total(&self) -> u32 {
        Family::ALL.iter().map(|f| self.told.count(*f)).sum()
    }

    // ---- members ----

    pub fn join(&mut self, facts: MemberFacts, rib: &Rib, bounds: &Bounds) {
        let end = self.log.head();
        let mode = if self.total() > bounds.snapshot_prefixes {
            self.lagging.push(facts.id);
            Mode::CatchesUp(Box::new(CatchUp::initial(self.key.families.iter())))
        } else {
            let snapshot = self.snapshot(rib);
            self.log.enter(snapshot.at);
            Mode::Follows { place: snapshot.at, snapshot: Some((snapshot, 0)) }
        };
        self.add(Member { facts, mode, end_at: Some(end), postponed: FamilySet::NONE, queued: false });
    }

    fn add(&mut self, member: Member) {
        self.members.insert(member.facts.id, member);
        self.news = true;
    }

    pub fn leave(&mut self, peer: PeerId) -> Option<Member> {
        let member = self.members.remove(&peer)?;
        if let Some(place) = member.mode.place() {
            self.log.leave(place);
        }
        self.lagging.retain(|p| *p != peer);
        Some(member)
    }

    pub fn refresh(&mut self, peer: PeerId, family: Family, enhanced: bool) {
        if !self.key.families.contains(family) {
            return;
        }
        if enhanced && let Some(member) = self.members.get_mut(&peer).filter(|m| m.end_at.is_some()) {
            member.postponed.insert(family);
            return;
        }
        self.fall_behind(peer);
        if let Some(Member { mode: Mode::CatchesUp(owed), .. }) = self.members.get_mut(&peer) {
            let kind = if enhanced { WalkKind::Enhanced } else { WalkKind::Refresh };
            owed.walks.push_back(Walk { family, next: 0, kind });
            self.news = true;
        }
    }

    /// A member of `old`, whose key this group's replaces: it is owed the prefixes that the two tell differently, and what it had not
    /// read yet.
    pub fn take_over(&mut self, peer: PeerId, old: &mut Group, rib: &Rib) {
        old.fall_behind(peer);
        let Some(mut member) = old.leave(peer) else { return };
        let Mode::CatchesUp(owed) = &mut member.mode else { return };
        for family in old.key.families.and(self.key.families).iter() {
            for index in 0..old.told.end(family).max(self.told.end(family)) {
                let dest = DestId::new(family, index as u32);
                let Some(net) = rib.net(dest) else { continue };
                let (a, b) = (old.hears(&member.facts, dest, &net), self.hears(&member.facts, dest, &net));
                let ids = a.iter().chain(&b).map(|(id, _)| *id);
                owed.dirty.extend(ids.filter(|id| find(&a, *id) != find(&b, *id)).map(|path_id| Nlri { net, path_id }));
            }
        }
        old.told.reap();
        self.told.reap();
        self.lagging.push(peer);
        self.add(member);
    }

    /// What a member hears of a destination.
    fn hears(&mut self, member: &MemberFacts, dest: DestId, net: &IpNet) -> Heard {
        let mut heard = Heard::new();
        for (path_id, class) in self.told.paths(dest) {
            if let Some(out) = current(&mut self.told, class, net, &self.key).filter(|out| out.avoid.hits(member).is_none()) {
                heard.push((path_id, out.attrs));
            }
        }
        heard
    }

    /// Gives up the member's place in the log for the set of prefixes that stand between it and the end.
    fn fall_behind(&mut self, peer: PeerId) {
        self.log.seal();
        let Some(member) = self.members.get_mut(&peer) else { return };
        let Mode::Follows { place, snapshot } = &member.mode else { return };
        let (place, unread) = (*place, snapshot.is_some());
        let mut owed = if unread { CatchUp::initial(self.key.families.iter()) } else { CatchUp::default() };
        let end = self.log.head();
        for at in place..end {
            if let Some(frames) = self.log.frames(at) {
                paths_of(frames, &self.key, |nlri| {
                    owed.dirty.insert(nlri);
                });
            }
        }
        member.mode = Mode::CatchesUp(Box::new(owed));
        self.log.leave(place);
        self.lagging.push(peer);
    }

    // ---- changes ----

    pub fn advertise(&mut self, rib: &Rib, changes: &[BestChange], bounds: &Bounds) {
        for few in changes.chunks(BATCH) {
            self.told.warm(few.iter().filter_map(|c| c.new.as_ref()));
            let families = self.key.families;
            for change in few.iter().filter(|c| families.contains(c.dest.family())) {
                if self.key.tells_paths(change.dest.family()) {
                    self.change_paths(rib, change.dest, change.net);
                } else if change.old != change.new {
                    self.change(rib, change.dest, change.net, change.new.as_ref());
                }
            }
        }
        self.flush();
        self.told.reap();
        self.batch.shrink();
        self.bound_log(bounds);
    }

    fn change(&mut self, rib: &Rib, dest: DestId, net: IpNet, best: Option<&Best>) {
        let mut class = best.map_or(ClassId::NONE, |best| self.told.classify(best, rib, &self.key));
        let old = self.told.entry(dest);
        if old == class {
            return;
        }
        if !class.is_none() && self.told.is_withheld(class, &net, &self.key) {
            class = ClassId::NONE;
            if old.is_none() {
                return;
            }
        }
        if self.told.is_fresh(dest) {
            self.flush();
        }
        self.move_path(dest, Nlri::new(net), old, class);
        self.told.put(dest, class);
    }

    /// Of a destination whose paths are told each (RFC 7911): those that should stand now, against those that do.
    fn change_paths(&mut self, rib: &Rib, dest: DestId, net: IpNet) {
        let old = self.told.list(dest);
        let new = self.wanted_paths(rib, dest, &net, &old);
        if old == new {
            return;
        }
        if self.told.is_fresh(dest) {
            self.flush();
        }
        let class_of = |list: &List, id| list.iter().find(|l| l.id == id).map_or(ClassId::NONE, |l| l.class);
        for gone in old.iter().filter(|l| class_of(&new, l.id).is_none()) {
            self.move_path(dest, Nlri { net, path_id: gone.id }, gone.class, ClassId::NONE);
        }
        for listed in &new {
            let before = class_of(&old, listed.id);
            if before != listed.class {
                self.move_path(dest, Nlri { net, path_id: listed.id }, before, listed.class);
            }
        }
        self.told.put_list(dest, new);
    }

    /// The usable paths in order of preference, as many as are told; each with the identifier that it has or a free one.
    fn wanted_paths(&mut self, rib: &Rib, dest: DestId, net: &IpNet, old: &List) -> List {
        let limit = match self.key.add_path {
            AddPathSend::Off => 1,
            AddPathSend::Best(n) => usize::from(n),
            AddPathSend::All => usize::MAX,
        };
        let mut new = List::new();
        for path in rib.paths(dest).iter().filter(|p| p.usable) {
            let Some(attrs) = path.attrs.filter(|_| new.len() < limit) else { continue };
            let best = Best { peer: path.source.id, path_id: path.path_id, attrs: attrs.clone() };
            let class = self.told.classify(&best, rib, &self.key);
            if class.is_none() || self.told.is_withheld(class, net, &self.key) {
                continue;
            }
            let from = (best.peer, best.path_id);
            let taken = |id: u32| old.iter().chain(&new).any(|l| l.id == PathId(id));
            let known = old.iter().find(|l| l.from == from).map(|l| l.id);
            let id = known.unwrap_or_else(|| PathId((1..).find(|id| !taken(*id)).unwrap_or(u32::MAX)));
            new.push(Listed { id, from, class });
        }
        new
    }

    /// One path of a destination goes from one class to another.
    fn move_path(&mut self, dest: DestId, nlri: Nlri, old: ClassId, new: ClassId) {
        if !self.say(nlri, old, new) {
            return;
        }
        for peer in &self.lagging {
            if let Some(Member { mode: Mode::CatchesUp(owed), .. }) = self.members.get_mut(peer) {
                owed.touch(dest, nlri);
            }
        }
    }

    /// Puts the difference between two classes into the batch. False if there is none that anybody hears.
    fn say(&mut self, nlri: Nlri, old: ClassId, new: ClassId) -> bool {
        let (net, silent) = (&nlri.net, self.log.is_unread());
        if old.is_none() {
            if !silent && let Some(slot) = self.slot(new, net) {
                self.batch.reach.push(slot, nlri);
            }
            return true;
        }
        let Some(before) = self.told.avoid(old, net, &self.key) else { return true };
        if new.is_none() {
            if !silent {
                self.batch.withdraw(nlri, before);
            }
            return true;
        }
        let Some(after) = self.told.avoid(new, net, &self.key) else { return true };
        let same = !self.told.surely_differ(old, new, nlri.family()) && self.same(old, new, net);
        if same && before == after {
            return false;
        }
        if !silent {
            if !same && let Some(slot) = self.slot(new, net) {
                self.batch.reach.push(slot, nlri);
            }
            if before != after {
                self.follow_horizon(nlri, new, (before, after), same);
            }
        }
        true
    }

    fn same(&mut self, a: ClassId, b: ClassId, net: &IpNet) -> bool {
        let a = current(&mut self.told, a, net, &self.key);
        let b = current(&mut self.told, b, net, &self.key);
        matches!((a, b), (Some(a), Some(b)) if a.attrs == b.attrs)
    }

    fn slot(&mut self, class: ClassId, net: &IpNet) -> Option<u32> {
        let family = Family::of(net);
        if let Some(slot) = self.batch.known_slot(class, family) {
            return Some(slot);
        }
        let out = current(&mut self.told, class, net, &self.key)?;
        Some(self.batch.slot(class, family, &out))
    }

    /// Split horizon moves with the source: who may no longer hear the prefix gets a withdrawal, and who may hear it now gets it, if the
    /// others, for whom nothing changed, do not.
    fn follow_horizon(&mut self, nlri: Nlri, new: ClassId, (before, after): (Avoid, Avoid), same: bool) {
        self.batch.lose(nlri, before, after);
        if same && let Some(out) = current(&mut self.told, new, &nlri.net, &self.key) {
            self.batch.gain(nlri, before, new, &out);
        }
    }

    /// Writes the batch to the log: withdrawals, then announcements, then what few hear because split horizon moved.
    fn flush(&mut self) {
        if !self.batch.is_empty() {
            self.write();
            self.news = true;
        }
        self.news |= !self.lagging.is_empty();
        self.told.batch_is_written();
        self.batch.reset();
    }

    fn write(&mut self) {
        let Group { batch, log, key, .. } = self;
        batch.unreach.drain(|avoid, nlri| {
            let tag = Tag::Except(avoid);
            write_unreach(nlri, &key.send, |load, write| log.append(&tag, load, |buf| write(buf)));
        });
        batch.reach.drain(|out, nlri| {
            let tag = Tag::Except(out.avoid);
            write_reach(&out, nlri, &key.send, |load, write| log.append(&tag, load, |buf| write(buf)));
        });
        batch.lost.drain(|(after, before), nlri| {
            let tag = Tag::Moved(Box::new((after, before)));
            write_unreach(nlri, &key.send, |load, write| log.append(&tag, load, |buf| write(buf)));
        });
        batch.gained.drain(|(out, before), nlri| {
            let tag = Tag::Moved(Box::new((before, out.avoid)));
            write_reach(&out, nlri, &key.send, |load, write| log.append(&tag, load, |buf| write(buf)));
        });
    }

    /// Drops a snapshot that the log has outgrown (so building them costs no more than writing the log did), and has members give up their place that are too far behind.
    fn bound_log(&mut self, bounds: &Bounds) {
        if let Some(snapshot) = &self.snapshot
            && (self.log.behind(snapshot.at) > snapshot.octets.max(SEGMENT) as u64 || self.total() == 0)
        {
            self.drop_snapshot();
        }
        if self.log.held() > bounds.log_octets {
            let late = |m: &&Member| m.mode.place().is_some_and(|place| self.log.behind(place) > bounds.log_octets);
            let late: Vec<PeerId> = self.members.values().filter(late).map(|m| m.facts.id).collect();
            late.into_iter().for_each(|peer| self.fall_behind(peer));
        }
    }

    pub(super) fn drop_snapshot(&mut self) {
        if let Some(snapshot) = self.snapshot.take() {
            self.log.leave(snapshot.at);
        }
    }

    // ---- questions ----

    pub fn has_more(&self, peer: PeerId) -> bool {
        self.members.get(&peer).is_some_and(|m| m.is_owed(&self.log, self.hold_end))
    }

    /// Holds End-of-RIB back, or lets it go: after everything that stands in the log now.
    pub fn hold_end(&mut self, hold: bool) {
        if self.hold_end && !hold {
            self.log.seal();
            let head = self.log.head();
            self.members.values_mut().for_each(|m| m.end_at = m.end_at.map(|_| head));
        }
        self.hold_end = hold;
        self.news = true;
    }

    /// Puts members that have something to hear into the queue, unless they stand there.
    pub fn announce_ready(&mut self, ready: &mut VecDeque<PeerId>) {
        if !std::mem::take(&mut self.news) {
            return;
        }
        for member in self.members.values_mut() {
            if !member.queued && member.is_owed(&self.log, self.hold_end) {
                member.queued = true;
                ready.push_back(member.facts.id);
            }
        }
    }

    /// The member was named. False if it was not in the queue (it left and came back since).
    pub fn unqueue(&mut self, peer: PeerId) -> bool {
        self.members.get_mut(&peer).is_some_and(|m| std::mem::take(&mut m.queued))
    }

    pub fn why(&mut self, rib: &Rib, peer: PeerId, net: &IpNet) -> ExportVerdict {
        let Some(member) = self.members.get(&peer) else { return ExportVerdict::NoSession };
        let (facts, queued) = (member.facts, member.is_owed(&self.log, self.hold_end));
        let Some((dest, best)) = rib.find(net).and_then(|dest| Some((dest, rib.best(dest)?))) else { return ExportVerdict::NoRoute };
        if let Some((_, attrs)) = self.hears(&facts, dest, net).into_iter().next() {
            return ExportVerdict::Sent { attrs, queued };
        }
        if let Some((_, class)) = self.told.paths(dest).first().copied()
            && let Some(reason) = self.told.avoid(class, net, &self.key).and_then(|avoid| avoid.hits(&facts))
        {
            return ExportVerdict::Withheld(reason);
        }
        let Some(source) = rib.source(best.peer).map(|s| RouteSource::new(s, best.path_id)) else { return ExportVerdict::NoRoute };
        match export(net, &best.attrs, &source, &self.key) {
            Err(_) if source.peer == peer => ExportVerdict::Withheld(Withheld::ItsOwn),
            Err(reason) => ExportVerdict::Withheld(reason),
            Ok(attrs) => ExportVerdict::Sent { attrs, queued: true },
        }
    }

    pub fn advertised(&mut self, rib: &Rib, peer: PeerId, family: Family, cursor: usize, limit: usize) -> Page {
        let mut rows = Vec::new();
        let Some(facts) = self.members.get(&peer).map(|m| m.facts) else { return (rows, None) };
        for index in cursor..self.told.end(family) {
            if rows.len() >= limit {
                return (rows, Some(index));
            }
            let dest = DestId::new(family, index as u32);
            if let Some(net) = rib.net(dest) {
                rows.extend(self.hears(&facts, dest, &net).into_iter().map(|(path_id, attrs)| (Nlri { net, path_id }, attrs)));
            }
        }
        (rows, None)
    }

    pub fn count(&self, peer: PeerId, family: Family) -> u32 {
        self.told.count(family) - self.told.count_from(peer)[family.index()]
    }

    pub fn check(&self) {
        self.told.check();
        let mut places: Vec<u64> = self.members.values().filter_map(|m| m.mode.place()).collect();
        places.extend(self.snapshot.as_ref().map(|s| s.at));
        self.log.check(&places);
        let lagging = self.members.values().filter(|m| m.mode.place().is_none()).count();
        assert_eq!(lagging, self.lagging.len(), "members that do not follow the log");
    }
}

/// Paths with their attributes, and the cursor to go on with.
pub type Page = (Vec<(Nlri, PathAttributes)>, Option<usize>);

/// Paths by identifier, as one member hears them.
type Heard = SmallVec<[(PathId, PathAttributes); 1]>;

fn find(heard: &Heard, id: PathId) -> Option<&PathAttributes> {
    heard.iter().find(|(i, _)| *i == id).map(|(_, attrs)| attrs)
}

/// All that these frames of ours speak of.
fn paths_of(frames: &Frames, key: &GroupKey, mut each: impl FnMut(Nlri)) {
    let mut decoder = Decoder::new();
    decoder.set_context(key.send.clone());
    let mut rest = frames.data().clone();
    while let Ok(Some(len)) = frame_len(&rest, key.send.max_len) {
        let Ok(Message::Update(update)) = decoder.decode(rest.split_to(len)) else { continue };
        let sets = update.withdrawn.iter().chain(update.announced.iter().map(|a| &a.nlri));
        sets.flat_map(|set| set.iter()).for_each(&mut each);
    }
}
