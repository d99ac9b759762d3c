//! One export group: what it has been told, the log that its members read, and the members.
//!
//! In and out are those of `super`; this file is what happens inside one group.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;

use foldhash::fast::FixedState;
use ipnet::IpNet;
use smallvec::SmallVec;

use super::batch::{Batch, Directed, current, write_reach, write_unreach};
use super::member::{CatchUp, Member, Mode, Snapshot, Walk, WalkKind};
use super::told::{ClassId, Told};
use super::{Bounds, ExportVerdict};
use crate::num::{Family, Nlri, PathId, PeerId, RouterId};
use crate::rib::adj_out::{Avoid, GroupKey, MemberFacts, RouteSource, Withheld, export};
use crate::rib::pack::{Frames, Log, SEGMENT, Tag};
use crate::rib::{Best, BestChange, DestId, Rib};
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
    pub(super) by_router_id: HashMap<RouterId, SmallVec<[PeerId; 1]>, FixedState>,
    pub(super) by_addr: HashMap<std::net::IpAddr, SmallVec<[PeerId; 1]>, FixedState>,
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
            by_router_id: HashMap::default(),
            by_addr: HashMap::default(),
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
        self.add(Member { facts, mode, end_at: Some(end), queued: false });
    }

    fn add(&mut self, member: Member) {
        let facts = member.facts;
        self.by_router_id.entry(facts.router_id).or_default().push(facts.id);
        self.by_addr.entry(facts.addr).or_default().push(facts.id);
        self.members.insert(facts.id, member);
        self.news = true;
    }

    pub fn leave(&mut self, peer: PeerId) -> Option<Member> {
        let member = self.members.remove(&peer)?;
        if let Some(place) = member.mode.place() {
            self.log.leave(place);
        }
        self.lagging.retain(|p| *p != peer);
        forget(&mut self.by_router_id, member.facts.router_id, peer);
        forget(&mut self.by_addr, member.facts.addr, peer);
        Some(member)
    }

    pub fn refresh(&mut self, peer: PeerId, family: Family, enhanced: bool) {
        if !self.key.families.contains(family) {
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
        for change in changes {
            if change.old == change.new || !self.key.families.contains(change.dest.family()) {
                continue;
            }
            self.change(rib, change.dest, change.net, change.new.as_ref());
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
                self.direct(nlri, new, (before, after), same);
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
    fn direct(&mut self, nlri: Nlri, new: ClassId, (before, after): (Avoid, Avoid), same: bool) {
        for member in self.concerned(&after) {
            if before.hits(&member).is_none() {
                self.batch.directed.push(Directed { member: member.id, nlri, out: None });
            }
        }
        if !same {
            return;
        }
        for member in self.concerned(&before) {
            if after.hits(&member).is_none() {
                let out = current(&mut self.told, new, &nlri.net, &self.key);
                self.batch.directed.push(Directed { member: member.id, nlri, out });
            }
        }
    }

    /// The members that must not hear it.
    fn concerned(&self, avoid: &Avoid) -> SmallVec<[MemberFacts; 2]> {
        let originator = avoid.originator.and_then(|id| self.by_router_id.get(&id));
        let next_hop = self.by_addr.get(&avoid.next_hop);
        let ids = std::iter::once(&avoid.source).chain(originator.into_iter().flatten()).chain(next_hop.into_iter().flatten());
        let mut found: SmallVec<[MemberFacts; 2]> = SmallVec::new();
        for member in ids.filter_map(|id| self.members.get(id)) {
            if !found.contains(&member.facts) {
                found.push(member.facts);
            }
        }
        found
    }

    /// Writes the batch to the log: withdrawals, then announcements, then what concerns single members.
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
            write_unreach(nlri, &key.send, |load, write| log.append(Tag::Except(avoid), load, |buf| write(buf)));
        });
        batch.reach.drain(|out, nlri| {
            write_reach(&out, nlri, &key.send, |load, write| log.append(Tag::Except(out.avoid), load, |buf| write(buf)));
        });
        batch.directed.sort_by_key(|d| (d.member, d.out.is_some()));
        let mut rest = &batch.directed[..];
        while let Some(first) = rest.first() {
            let same = |d: &Directed| d.member == first.member && attrs_of(d) == attrs_of(first) && d.nlri.family() == first.nlri.family();
            let (run, others) = rest.split_at(rest.iter().take_while(|d| same(d)).count());
            rest = others;
            let nlri: Vec<Nlri> = run.iter().map(|d| d.nlri).collect();
            let only = Tag::Only(first.member);
            match &first.out {
                None => write_unreach(&nlri, &key.send, |load, write| log.append(only, load, |buf| write(buf))),
                Some(out) => write_reach(out, &nlri, &key.send, |load, write| log.append(only, load, |buf| write(buf))),
            }
        }
        batch.directed.clear();
    }

    /// Drops a snapshot that the log has outgrown (so building them costs no more than writing the log did), and has members give up their place that are too far behind.
    fn bound_log(&mut self, bounds: &Bounds) {
        if let Some(snapshot) = &self.snapshot
            && (self.log.behind(snapshot.at) > snapshot.octets.max(SEGMENT) as u64 || self.total() == 0)
        {
            self.log.leave(snapshot.at);
            self.snapshot = None;
        }
        if self.log.held() > bounds.log_octets {
            let late = |m: &&Member| m.mode.place().is_some_and(|place| self.log.behind(place) > bounds.log_octets);
            let late: Vec<PeerId> = self.members.values().filter(late).map(|m| m.facts.id).collect();
            late.into_iter().for_each(|peer| self.fall_behind(peer));
        }
    }

    // ---- questions ----

    pub fn has_more(&self, peer: PeerId) -> bool {
        self.members.get(&peer).is_some_and(|m| m.is_owed(&self.log, self.hold_end))
    }

    /// Puts members that have something to hear into the queue, unless they stand there.
    /// Holds End-of-RIB back, or lets it go.
    pub fn hold_end(&mut self, hold: bool) {
        self.hold_end = hold;
        self.news = true;
    }

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
        let class = self.told.entry(dest);
        if let Some(out) = current(&mut self.told, class, net, &self.key) {
            return match out.avoid.hits(&facts) {
                Some(reason) => ExportVerdict::Withheld(reason),
                None => ExportVerdict::Sent { attrs: out.attrs, queued },
            };
        }
        let Some(source) = rib.source(best.peer).map(|s| RouteSource::new(s, best.path_id)) else { return ExportVerdict::NoRoute };
        match export(net, &best.attrs, &source, &self.key) {
            Err(_) if source.peer == peer => ExportVerdict::Withheld(Withheld::ItsOwn),
            Err(reason) => ExportVerdict::Withheld(reason),
            Ok(attrs) => ExportVerdict::Sent { attrs: Arc::new(attrs), queued: true },
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
pub type Page = (Vec<(Nlri, Arc<PathAttributes>)>, Option<usize>);

fn attrs_of(directed: &Directed) -> Option<*const PathAttributes> {
    directed.out.as_ref().map(|out| Arc::as_ptr(&out.attrs))
}

fn forget<K: std::hash::Hash + Eq>(map: &mut HashMap<K, SmallVec<[PeerId; 1]>, FixedState>, key: K, peer: PeerId) {
    if let Some(ids) = map.get_mut(&key) {
        ids.retain(|id| *id != peer);
        if ids.is_empty() {
            map.remove(&key);
        }
    }
}

/// Paths by identifier, as one member hears them.
type Heard = SmallVec<[(PathId, Arc<PathAttributes>); 1]>;

fn find(heard: &Heard, id: PathId) -> Option<&Arc<PathAttributes>> {
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
