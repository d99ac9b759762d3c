//! One update group: what it has been announced, the log that its members read, and the members.
//!
//! In and out are those of `super`; this file is what happens inside one group. How changes become a batch is `change`'s, how a group comes
//! to another key `rekey`'s, what a member is given next `poll`'s affair.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;

use foldhash::fast::FixedState;
use ipnet::IpNet;
use smallvec::SmallVec;

use super::advertised::{AdvertisedRoutes, ClassId, Outgoing};
use super::batch::{Batch, current, write_reach, write_unreach};
use super::member::{CatchUp, DumpKind, Member, Mode, Snapshot};
use super::rekey::Pending;
use super::{Bounds, ExportVerdict};
use crate::num::{Family, FamilySet, Nlri, PathId, PeerId};
use crate::rib::adj_out::{GroupKey, MemberFacts, RouteSource, Withheld, export};
use crate::rib::keyed::Keyed;
use crate::rib::pack::{Log, SEGMENT, Tag};
use crate::rib::{DestId, Rib};
use crate::wire::PathAttributes;

/// So many destinations are looked at for one piece of a walk or of catching up.
pub(super) const CHUNK: usize = 1024;

/// Octets that one prefix takes which a member is owed.
const OWED: usize = 48;

/// A member that is owed this many prefixes one by one may be given the whole table instead.
const FEW: usize = 4096;
const MANY: usize = 32_768;

/// Peers that are announced the same routes in the same octets, and what they have been announced.
#[derive(Debug)]
pub(super) struct UpdateGroup {
    /// What they have in common.
    pub(super) key: GroupKey,
    /// Their Adj-RIB-Out.
    pub(super) routes: AdvertisedRoutes,
    /// While some destinations have yet to be looked at under this key.
    pub(super) pending: Option<Box<Pending>>,
    /// What was written and not yet read by all.
    pub(super) log: Log,
    /// What is to be written next.
    pub(super) batch: Batch,
    /// Who they are, and how far each has read.
    pub(super) members: HashMap<PeerId, Member, FixedState>,
    /// Members that do not follow the log.
    pub(super) slow_members: Vec<PeerId>,
    /// The whole table as octets, for members that have just come.
    pub(super) snapshot: Option<Arc<Snapshot>>,
    /// Something was written that members have not been named for yet.
    pub(super) news: bool,
    /// End-of-RIB is not sent for now.
    pub(super) hold_end: bool,
}

impl UpdateGroup {
    /// A group that has announced nothing, and is to come to what stands in the Loc-RIB, step by step.
    pub fn new(key: GroupKey, hasher: &Keyed) -> UpdateGroup {
        UpdateGroup {
            routes: AdvertisedRoutes::new(&key, hasher),
            pending: Some(Box::default()),
            log: Log::default(),
            batch: Batch::new(&key, hasher),
            members: HashMap::default(),
            slow_members: Vec::new(),
            snapshot: None,
            news: false,
            hold_end: false,
            key,
        }
    }

    /// What the members have in common.
    pub fn key(&self) -> &GroupKey {
        &self.key
    }

    /// How many.
    pub fn members(&self) -> usize {
        self.members.len()
    }

    /// No peer is left, and the group goes.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Octets of the log that some member has yet to read.
    pub fn held(&self) -> u64 {
        self.log.held()
    }

    /// Prefixes that members which do not follow the log are owed one by one.
    pub fn owed(&self) -> usize {
        let owed = |peer: &PeerId| match &self.members.get(peer)?.mode {
            Mode::CatchesUp(owed) => Some(owed.pending()),
            Mode::Follows { .. } => None,
        };
        self.slow_members.iter().filter_map(owed).sum()
    }

    /// Octets held: what is announced, what members have yet to read, what they are owed.
    pub fn memory(&self) -> u64 {
        let former = self.pending.as_ref().and_then(|p| p.former.as_ref()).map_or(0, |(_, routes)| routes.memory());
        let snapshot = self.snapshot.as_ref().map_or(0, |s| s.octets());
        self.held() + (self.routes.memory() + former + snapshot + self.owed() * OWED) as u64
    }

    /// Prefixes announced, of all families.
    pub fn total(&self) -> u32 {
        Family::ALL.iter().map(|f| self.standing(*f)).sum()
    }

    // ---- members ----

    /// A session is up: it is announced the table, from a snapshot or by a walk, and follows the log from there.
    pub fn join(&mut self, facts: MemberFacts, rib: &Rib, bounds: &Bounds) {
        let end = self.log.head();
        let mode = if self.pending.is_some() || self.total() > bounds.snapshot_prefixes {
            self.slow_members.push(facts.id);
            Mode::CatchesUp(Box::new(CatchUp::initial(self.key.families.iter())))
        } else {
            let snapshot = self.snapshot(rib, bounds.step);
            self.log.enter(snapshot.at);
            Mode::Follows { place: snapshot.at, snapshot: Some((snapshot, 0)), known: 0 }
        };
        self.add(Member { facts, mode, end_at: Some(end), postponed: FamilySet::NONE, queued: false });
    }

    fn add(&mut self, member: Member) {
        self.members.insert(member.facts.id, member);
        self.news = true;
    }

    /// Its session is over. Nobody keeps octets for it any more.
    pub fn leave(&mut self, peer: PeerId) -> Option<Member> {
        let member = self.members.remove(&peer)?;
        if let Some(place) = member.mode.place() {
            self.log.leave(place);
        }
        self.slow_members.retain(|p| *p != peer);
        Some(member)
    }

    /// Announces a family to one member again (RFC 2918); between BoRR and EoRR if both sides know them (RFC 7313 §4).
    pub fn refresh(&mut self, peer: PeerId, family: Family, enhanced: bool) {
        if !self.key.families.contains(family) {
            return;
        }
        if enhanced && let Some(member) = self.members.get_mut(&peer).filter(|m| m.end_at.is_some()) {
            member.postponed.insert(family);
            return;
        }
        self.detach_from_log(peer);
        if let Some(Member { mode: Mode::CatchesUp(owed), .. }) = self.members.get_mut(&peer) {
            owed.walk(family, if enhanced { DumpKind::Enhanced } else { DumpKind::Refresh });
            self.news = true;
        }
    }

    /// A member of another group, which has announced the same as this one or what stands as `former` here. What it has yet to read of the
    /// other's log it is owed prefix by prefix.
    pub fn migrate_member(&mut self, peer: PeerId, from: &mut UpdateGroup) {
        let head = from.log.head();
        if from.members.get(&peer).is_some_and(|m| !m.mode.is_at(head)) {
            from.detach_from_log(peer);
        }
        let Some(mut member) = from.leave(peer) else { return };
        match &mut member.mode {
            Mode::Follows { place, known, .. } => {
                (*place, *known) = (self.log.head(), 0);
                self.log.enter(*place);
                member.end_at = member.end_at.map(|_| *place);
            }
            Mode::CatchesUp(_) => self.slow_members.push(peer),
        }
        self.add(member);
    }

    /// What a member is announced of a destination.
    pub(super) fn advertised_to(&mut self, member: &MemberFacts, dest: DestId, net: &IpNet) -> Heard {
        let heard = self.announced(dest, net).into_iter().filter(|(.., out)| out.horizon.hits(member).is_none());
        heard.map(|(path_id, _, out)| (path_id, out.attrs)).collect()
    }

    /// What stands for a destination, under whichever key.
    pub(super) fn announced(&mut self, dest: DestId, net: &IpNet) -> Announced {
        let of = |routes: &mut AdvertisedRoutes, key: &GroupKey| -> Announced {
            let paths = routes.paths(dest);
            paths.into_iter().filter_map(|(id, class)| Some((id, class, current(routes, class, net, key)?))).collect()
        };
        let ours = of(&mut self.routes, &self.key);
        match self.pending.as_mut().and_then(|p| p.former.as_mut()) {
            Some((key, former)) if ours.is_empty() => of(former, key),
            _ => ours,
        }
    }

    /// What stands for one path of a destination, under whichever key.
    pub(super) fn announced_path(&mut self, dest: DestId, nlri: &Nlri) -> Option<(ClassId, Outgoing)> {
        let of = |routes: &mut AdvertisedRoutes, key: &GroupKey| {
            let class = routes.path(dest, nlri.path_id);
            Some((class, current(routes, class, &nlri.net, key)?))
        };
        let former = self.pending.as_mut().and_then(|p| p.former.as_mut());
        of(&mut self.routes, &self.key).or_else(|| former.and_then(|(key, routes)| of(routes, key)))
    }

    /// Gives up the member's place in the log for the set of prefixes that stand between it and the end.
    pub(super) fn detach_from_log(&mut self, peer: PeerId) {
        let end = self.log.head();
        let Some(member) = self.members.get_mut(&peer) else { return };
        let Mode::Follows { place, snapshot, known } = &member.mode else { return };
        let place = *place;
        let mut owed = CatchUp::unread((place..end).filter_map(|at| Some((self.log.frames(at)?.clone(), at >= *known))));
        if let Some((_, read)) = snapshot {
            // Of a table that was read in part, some prefixes are known, and nobody noted which.
            let kind = if *read == 0 { DumpKind::Initial } else { DumpKind::Refresh };
            self.key.families.iter().for_each(|family| owed.walk(family, kind));
        }
        member.mode = Mode::CatchesUp(Box::new(owed));
        self.log.leave(place);
        self.slow_members.push(peer);
    }

    /// A member that is owed a great part of the table one by one gets the table instead, and one by one what is gone: what is kept for it
    /// stays small.
    pub(super) fn shorten_debt(&mut self, peer: PeerId) {
        let limit = (self.total() as usize / 8).clamp(FEW, MANY);
        let Some(Member { mode: Mode::CatchesUp(owed), .. }) = self.members.get_mut(&peer) else { return };
        if owed.pending() - owed.promised() > limit {
            owed.announce_all(self.key.families);
        }
    }

    // ---- changes ----

    /// Writes the batch to the log: withdrawals, then announcements, then what few hear because split horizon moved.
    pub(super) fn flush(&mut self) {
        if !self.batch.is_empty() {
            self.write();
            self.news = true;
        }
        self.news |= !self.slow_members.is_empty();
        self.routes.batch_is_written();
        if let Some((_, former)) = self.pending.as_mut().and_then(|p| p.former.as_mut()) {
            former.batch_is_written();
        }
        self.batch.reset();
    }

    fn write(&mut self) {
        let UpdateGroup { batch, log, key, .. } = self;
        batch.unreach.drain(|horizon, nlri| {
            let tag = Tag::Except(horizon);
            write_unreach(nlri, &key.send, |load, write| log.append(&tag, load, |buf| write(buf)));
        });
        batch.reach.drain(|(out, first), nlri| {
            let tag = if first { Tag::First(out.horizon) } else { Tag::Except(out.horizon) };
            write_reach(&out, nlri, &key.send, |load, write| log.append(&tag, load, |buf| write(buf)));
        });
        batch.horizon_withdrawn.drain(|(after, before), nlri| {
            let tag = Tag::Moved(Box::new((after, before)));
            write_unreach(nlri, &key.send, |load, write| log.append(&tag, load, |buf| write(buf)));
        });
        batch.horizon_announced.drain(|(out, before), nlri| {
            let tag = Tag::Moved(Box::new((before, out.horizon)));
            write_reach(&out, nlri, &key.send, |load, write| log.append(&tag, load, |buf| write(buf)));
        });
    }

    /// Drops a snapshot that the log has outgrown (so building them costs no more than writing the log did), and has members give up their place that are too far behind.
    pub(super) fn bound_log(&mut self, bounds: &Bounds) {
        if let Some(snapshot) = &self.snapshot
            && (self.log.behind(snapshot.at) > snapshot.octets().max(SEGMENT) as u64 || self.total() == 0)
        {
            self.drop_snapshot();
        }
        if self.log.held() > bounds.log_octets {
            let late = |m: &&Member| m.mode.place().is_some_and(|place| self.log.behind(place) > bounds.log_octets);
            let late: Vec<PeerId> = self.members.values().filter(late).map(|m| m.facts.id).collect();
            late.into_iter().for_each(|peer| self.detach_from_log(peer));
        }
        for at in 0..self.slow_members.len() {
            self.shorten_debt(self.slow_members[at]);
        }
    }

    /// Nobody reads it any more, or it is too old to be read.
    pub(super) fn drop_snapshot(&mut self) {
        if let Some(snapshot) = self.snapshot.take() {
            self.log.leave(snapshot.at);
        }
    }

    // ---- questions ----

    /// Is there anything that the member has yet to be given?
    pub fn has_more(&self, peer: PeerId) -> bool {
        self.members.get(&peer).is_some_and(|m| m.is_owed(&self.log, self.holds_end()))
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
        let held = self.holds_end();
        for member in self.members.values_mut() {
            if !member.queued && member.is_owed(&self.log, held) {
                member.queued = true;
                ready.push_back(member.facts.id);
            }
        }
    }

    /// The member has something to hear and does not stand in the queue: it does from now on.
    pub fn queue(&mut self, peer: PeerId) -> bool {
        let held = self.holds_end();
        let UpdateGroup { members, log, .. } = self;
        let member = members.get_mut(&peer).filter(|m| !m.queued && m.is_owed(log, held));
        member.is_some_and(|member| !std::mem::replace(&mut member.queued, true))
    }

    /// The member was named. False if it was not in the queue (it left and came back since).
    pub fn unqueue(&mut self, peer: PeerId) -> bool {
        self.members.get_mut(&peer).is_some_and(|m| std::mem::take(&mut m.queued))
    }

    /// What the member was announced for a prefix, or what kept it from being announced.
    pub fn why(&mut self, rib: &Rib, peer: PeerId, net: &IpNet) -> ExportVerdict {
        let Some(member) = self.members.get(&peer) else { return ExportVerdict::NoSession };
        let (facts, queued) = (member.facts, member.is_owed(&self.log, self.holds_end()));
        let Some((dest, best)) = rib.find(net).and_then(|dest| Some((dest, rib.best(dest)?))) else { return ExportVerdict::NoRoute };
        if let Some((_, attrs)) = self.advertised_to(&facts, dest, net).into_iter().next() {
            return ExportVerdict::Sent { attrs, queued };
        }
        if let Some(reason) = self.announced(dest, net).first().and_then(|(.., out)| out.horizon.hits(&facts)) {
            return ExportVerdict::Withheld(reason);
        }
        let Some(source) = rib.source(best.peer).map(|s| RouteSource::new(s, best.path_id)) else { return ExportVerdict::NoRoute };
        match export(net, &best.attrs, &source, &self.key) {
            Err(_) if source.peer == peer => ExportVerdict::Withheld(Withheld::ItsOwn),
            Err(reason) => ExportVerdict::Withheld(reason),
            Ok(attrs) => ExportVerdict::Sent { attrs, queued: true },
        }
    }

    /// Some rows of the member's Adj-RIB-Out, from `cursor` on.
    pub fn advertised(&mut self, rib: &Rib, peer: PeerId, family: Family, cursor: usize, limit: usize) -> Page {
        let mut rows = Vec::new();
        let Some(facts) = self.members.get(&peer).map(|m| m.facts) else { return (rows, None) };
        for index in cursor..self.end(family) {
            if rows.len() >= limit {
                return (rows, Some(index));
            }
            let dest = DestId::new(family, index as u32);
            if let Some(net) = rib.net(dest) {
                rows.extend(self.advertised_to(&facts, dest, &net).into_iter().map(|(path_id, attrs)| (Nlri { net, path_id }, attrs)));
            }
        }
        (rows, None)
    }

    /// Prefixes announced to the member.
    pub fn count(&self, peer: PeerId, family: Family) -> u32 {
        let Some(member) = self.members.get(&peer).map(|m| &m.facts) else { return 0 };
        let former = self.pending.as_ref().and_then(|p| p.former.as_ref());
        let former = former.map_or(0, |(key, routes)| routes.count_unheard(member, family, key));
        self.standing(family) - self.routes.count_unheard(member, family, &self.key) - former
    }

    /// Prefixes that stand, of one family.
    fn standing(&self, family: Family) -> u32 {
        let former = self.pending.as_ref().and_then(|p| p.former.as_ref()).map_or(0, |(_, routes)| routes.count(family));
        self.routes.count(family) + former
    }

    /// One more than the highest destination that may be announced.
    pub(super) fn end(&self, family: Family) -> usize {
        let former = self.pending.as_ref().and_then(|p| p.former.as_ref()).map_or(0, |(_, routes)| routes.end(family));
        self.routes.end(family).max(former)
    }

    /// Recounts everything.
    ///
    /// # Panics
    /// If a count is wrong; called by tests.
    pub fn check(&self) {
        self.routes.check();
        self.pending.iter().filter_map(|p| p.former.as_ref()).for_each(|(_, former)| former.check());
        let mut places: Vec<u64> = self.members.values().filter_map(|m| m.mode.place()).collect();
        places.extend(self.snapshot.as_ref().map(|s| s.at));
        self.log.check(&places);
        let slow_members = self.members.values().filter(|m| m.mode.place().is_none()).count();
        assert_eq!(slow_members, self.slow_members.len(), "members that do not follow the log");
    }
}

/// Paths with their attributes, and the cursor to go on with.
pub type Page = (Vec<(Nlri, PathAttributes)>, Option<usize>);

/// Paths by identifier, as one member gets them.
type Heard = SmallVec<[(PathId, PathAttributes); 1]>;

/// Paths by identifier, as the group gets them.
pub(super) type Announced = SmallVec<[(PathId, ClassId, Outgoing); 1]>;

/// Whether something stands for a path, by what was announced under the key of today or the former one.
pub(super) fn stands(routes: &AdvertisedRoutes, former: Option<&AdvertisedRoutes>, rib: &Rib, nlri: &Nlri) -> bool {
    let Some(dest) = rib.find(&nlri.net) else { return false };
    !routes.path(dest, nlri.path_id).is_none() || former.is_some_and(|routes| !routes.path(dest, nlri.path_id).is_none())
}
