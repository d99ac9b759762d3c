//! Update groups: peers that would hear the same octets share policy, packing, encoding and one log of frozen frames.
//!
//! In: members with their [`GroupKey`]s, best routes as they change, wishes to hear everything again. Out: for each member the next octets
//! that it may be sent, and who has something to read. Why a route was or was not announced to a peer is answered from what is held.
//!
//! It leaves to others: what a route looks like for a key (`adj_out`), the frames and the log (`pack`), what stands (`advertised`), the single
//! member (`member`), and when there is room to write (the speaker).
//!
//! # How a change travels
//! [`UpdateGroups::advertise`] compares, for each group, what stands for a destination with what should. The differences are bucketed by
//! attribute set and encoded once, withdrawals first, into the log. Each run of octets knows from whom it came; a member's slices go
//! around its own (split horizon). Where the best route moves from one source to another, these two hear what the others do not: the new
//! source a withdrawal, the old one the route. Their frames say whom they are for by nature (source, originator, next hop) and not by
//! name, so the log means the same to a member that joins later and reads it from an older snapshot on.
//!
//! # What is as large as a table
//! A new group, and one whose key changes, looks at the destinations in steps ([`UpdateGroups::work`]); until its turn comes a destination
//! stands as it was announced under the former key. A member that begins, asks for everything again or fell far behind is given the table in
//! pieces as it reads. Of each family at most one such dump is under way for a member, and one waits.
//!
//! # Invariants
//! What a member has, once it took everything, equals [`export`] of each best route for it alone, in every interleaving of changes,
//! joins, leaves, refreshes and slow reading (tested against that function).

mod advertised;
mod batch;
mod change;
mod group;
mod member;
mod poll;
mod rekey;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;

use foldhash::fast::FixedState;
use ipnet::IpNet;

use super::keyed::{Keyed, keyed};
use super::pack::{Load, Slices};
use super::{BestChange, Rib};
use crate::num::{Family, PeerId};
use crate::wire::PathAttributes;

pub use super::adj_out::{AddPathSend, GroupKey, MemberFacts, NextHopMode, NextHopRule, Reflect, Withheld, export};

pub use group::Page;
use group::UpdateGroup;
pub use poll::LOOKED;

/// How much a group may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// A member with more than this of the log still before it, in octets, becomes one with a set of prefixes.
    pub log_octets: u64,
    /// Up to so many prefixes a new member is given frames that are kept for the next one; beyond, it dumps the table.
    pub snapshot_prefixes: u32,
    /// So many destinations are looked at in one step where a group comes to another key, or begins.
    pub step: usize,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds { log_octets: 8 << 20, snapshot_prefixes: 32_768, step: 1024 }
    }
}

/// The answer to "was it announced, and why (not)?".
#[derive(Clone, Debug, PartialEq)]
pub enum ExportVerdict {
    /// The session is not up, so there is nobody to tell.
    NoSession,
    /// We have no best route for this prefix.
    NoRoute,
    /// Announced with these attributes, or about to be if `queued`.
    Sent {
        /// As they are sent to it.
        attrs: PathAttributes,
        /// It has not been written to its connection yet.
        queued: bool,
    },
    /// Export, or split horizon, keeps it from this peer.
    Withheld(Withheld),
}

impl ExportVerdict {
    /// In one word, as it stays from one release to the next.
    pub fn code(&self) -> &'static str {
        match self {
            ExportVerdict::NoSession => "no_session",
            ExportVerdict::NoRoute => "no_route",
            ExportVerdict::Sent { queued: false, .. } => "announced",
            ExportVerdict::Sent { queued: true, .. } => "queued",
            ExportVerdict::Withheld(reason) => reason.code(),
        }
    }
}

impl fmt::Display for ExportVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExportVerdict::NoSession => f.write_str("no session"),
            ExportVerdict::NoRoute => f.write_str("no best route"),
            ExportVerdict::Sent { queued: false, .. } => f.write_str("announced"),
            ExportVerdict::Sent { queued: true, .. } => f.write_str("announced (waiting to be written)"),
            ExportVerdict::Withheld(reason) => write!(f, "not announced: {reason}"),
        }
    }
}

/// All groups, and which peer is in which.
#[derive(Debug)]
pub struct UpdateGroups {
    bounds: Bounds,
    hasher: Keyed,
    groups: Vec<Option<UpdateGroup>>,
    by_key: HashMap<GroupKey, usize, FixedState>,
    home: HashMap<PeerId, usize, FixedState>,
    ready: VecDeque<PeerId>,
    hold_end: bool,
    /// Keys that hold for members as soon as [`UpdateGroups::work`] comes to them.
    wishes: BTreeMap<PeerId, GroupKey>,
    /// The group whose turn it is.
    turn: usize,
    /// Groups before this one have taken in the changes at hand.
    advertised: usize,
    /// Octets held when it was summed last, and whether that may have grown since.
    weight: u64,
    grown: bool,
}

impl UpdateGroups {
    /// `seed` is the secret of the hash tables ([`keyed`](super::keyed)); results do not depend on it.
    pub fn new(bounds: Bounds, seed: u64) -> UpdateGroups {
        UpdateGroups {
            bounds,
            hasher: keyed(seed),
            groups: Vec::new(),
            by_key: HashMap::default(),
            home: HashMap::default(),
            ready: VecDeque::new(),
            hold_end: false,
            wishes: BTreeMap::new(),
            turn: 0,
            advertised: 0,
            weight: 0,
            grown: false,
        }
    }

    /// A session is up: the peer is owed the table and End-of-RIB, and all changes from now on. If it was a member, it begins anew.
    pub fn join(&mut self, member: MemberFacts, key: GroupKey, rib: &Rib) {
        self.leave(member.id);
        self.grown = true;
        let index = self.group_of(key);
        self.home.insert(member.id, index);
        if let Some(group) = self.groups.get_mut(index).and_then(Option::as_mut) {
            group.join(member, rib, &self.bounds);
            group.announce_ready(&mut self.ready);
        }
    }

    /// The session is gone. The last member takes the group along.
    pub fn leave(&mut self, peer: PeerId) {
        self.wishes.remove(&peer);
        let Some(index) = self.home.remove(&peer) else { return };
        if let Some(group) = self.groups.get_mut(index).and_then(Option::as_mut) {
            group.leave(peer);
            self.forget_if_empty(index);
        }
    }

    /// Other rules hold for a member whose session goes on: it gets the differences and nothing else, as [`UpdateGroups::work`] comes to
    /// them. Costs a note, whatever the table holds; members of a group that come to the same key do so together.
    pub fn rekey(&mut self, peer: PeerId, key: GroupKey) {
        if self.home.contains_key(&peer) {
            self.wishes.insert(peer, key);
        }
    }

    /// Is there more for [`UpdateGroups::work`]: groups that have yet to come to their key, or members to theirs?
    pub fn has_work(&self) -> bool {
        !self.wishes.is_empty() || self.groups.iter().flatten().any(|g| g.pending.is_some())
    }

    /// Brings groups to their keys: begins what [`UpdateGroups::rekey`] wished for, and looks at some destinations. To be called again while
    /// [`UpdateGroups::has_work`]; [`UpdateGroups::advertise`] calls it, too.
    pub fn work(&mut self, rib: &Rib) {
        self.grown = true;
        self.begin_rekeys();
        let (mut left, count) = (self.bounds.step, self.groups.len());
        for _ in 0..count {
            self.turn = (self.turn + 1) % count;
            let Some(group) = self.groups.get_mut(self.turn).and_then(Option::as_mut).filter(|g| g.pending.is_some()) else { continue };
            left -= group.catch_up(rib, left, &self.bounds);
            group.announce_ready(&mut self.ready);
            if group.pending.is_none() {
                let key = group.key().clone();
                self.merge(&key);
            }
            if left == 0 {
                return;
            }
        }
    }

    /// Wishes of members whose group is between two keys wait until it is not. A group is made at most, for it takes a copy of what was announced;
    /// what would take another waits.
    fn begin_rekeys(&mut self) {
        let mut by_group: BTreeMap<usize, Vec<(PeerId, GroupKey)>> = BTreeMap::new();
        for (peer, key) in std::mem::take(&mut self.wishes) {
            let Some(index) = self.home.get(&peer).copied() else { continue };
            match self.group(index) {
                Some(group) if group.is_between_keys() => drop(self.wishes.insert(peer, key)),
                Some(group) if *group.key() != key => by_group.entry(index).or_default().push((peer, key)),
                Some(_) | None => {}
            }
        }
        let mut made = false;
        for (index, mut wishes) in by_group {
            while !made && let Some((_, key)) = wishes.first().cloned() {
                let (these, others): (Vec<_>, Vec<_>) = wishes.into_iter().partition(|(_, k)| *k == key);
                wishes = others;
                made = self.begin_rekey(index, &key, these.into_iter().map(|(peer, _)| peer).collect());
            }
            self.wishes.extend(wishes);
        }
    }

    /// Some members of a group, or all, come to another key. True if that made a group.
    fn begin_rekey(&mut self, index: usize, key: &GroupKey, peers: Vec<PeerId>) -> bool {
        let Some(mut group) = self.take(index) else { return false };
        if peers.len() == group.members() {
            self.release_key(group.key(), index);
            group.rekey(key.clone(), &self.hasher);
            self.by_key.entry(key.clone()).or_insert(index);
            self.groups[index] = Some(group);
            return false;
        }
        let mut fork = group.fork(key.clone(), &self.hasher);
        self.groups[index] = Some(group);
        let place = self.place();
        for peer in peers {
            self.home.insert(peer, place);
            if let Some(from) = self.groups[index].as_mut() {
                fork.migrate_member(peer, from);
            }
        }
        self.by_key.entry(key.clone()).or_insert(place);
        self.groups[place] = Some(fork);
        true
    }

    /// Groups that have come to one key announce the same: one of them serves. Where paths have numbers (RFC 7911) each has its own.
    fn merge(&mut self, key: &GroupKey) {
        let Some(into) = self.by_key.get(key).copied().filter(|_| !Family::ALL.into_iter().any(|family| key.tells_paths(family))) else {
            return;
        };
        let come = |group: &Option<UpdateGroup>| group.as_ref().is_some_and(|g| g.pending.is_none() && g.key() == key);
        let equal: Vec<usize> = (0..self.groups.len()).filter(|i| self.groups.get(*i).is_some_and(come)).collect();
        if !equal.contains(&into) {
            return;
        }
        for from in equal.into_iter().filter(|from| *from != into) {
            let (Some(mut group), Some(target)) = (self.take(from), self.groups.get_mut(into).and_then(Option::as_mut)) else { return };
            for (peer, home) in self.home.iter_mut().filter(|(_, home)| **home == from) {
                target.migrate_member(*peer, &mut group);
                *home = into;
            }
            target.announce_ready(&mut self.ready);
        }
    }

    fn forget_if_empty(&mut self, index: usize) {
        let Some(slot) = self.groups.get_mut(index).filter(|slot| slot.as_ref().is_some_and(UpdateGroup::is_empty)) else { return };
        if let Some(group) = slot.take() {
            self.release_key(group.key(), index);
        }
    }

    /// A group that is taken out has this key no longer; another with the same may serve in its place.
    fn release_key(&mut self, key: &GroupKey, index: usize) {
        if self.by_key.get(key) == Some(&index) {
            self.by_key.remove(key);
            let other = self.groups.iter().position(|g| g.as_ref().is_some_and(|g| g.key() == key));
            self.by_key.extend(other.map(|other| (key.clone(), other)));
        }
    }

    /// The peer asked to hear a family again (RFC 2918; `enhanced`: between BoRR and EoRR, RFC 7313).
    pub fn refresh(&mut self, peer: PeerId, family: Family, enhanced: bool) {
        if let Some(group) = self.home.get(&peer).and_then(|i| self.groups.get_mut(*i)).and_then(Option::as_mut) {
            group.refresh(peer, family, enhanced);
            group.announce_ready(&mut self.ready);
        }
    }

    /// Holds End-of-RIB back for all members, now and to come, or sends what was held back (RFC 4724 §4.1).
    pub fn defer_end_of_rib(&mut self, defer: bool) {
        self.hold_end = defer;
        for group in self.groups.iter_mut().flatten() {
            group.hold_end(defer);
            group.announce_ready(&mut self.ready);
        }
    }

    /// Is anybody announced several paths of a prefix (RFC 7911)?
    pub fn tell_paths(&self) -> bool {
        self.groups.iter().flatten().any(|g| Family::ALL.into_iter().any(|family| g.key().tells_paths(family)))
    }

    /// How many paths of a prefix have to stand in order of preference: as many as the best that somebody is sent. Where all are, none but the
    /// first.
    pub fn ranked(&self) -> usize {
        let best = |key: &GroupKey| match key.add_path {
            AddPathSend::Best(n) if Family::ALL.into_iter().any(|family| key.tells_paths(family)) => usize::from(n),
            _ => 1,
        };
        self.groups.iter().flatten().map(UpdateGroup::key).chain(self.wishes.values()).map(best).max().unwrap_or(1)
    }

    /// Does anybody have something to hear, or a group something to look at?
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty() || self.has_work()
    }

    /// Takes in what changed in the Loc-RIB, in order, for all groups.
    pub fn advertise(&mut self, rib: &Rib, changes: &[BestChange]) {
        while !self.advertise_some(rib, changes, usize::MAX) {}
    }

    /// The same in steps: for as many groups as make about `budget` changes, at least one. Until it says that it is done, the next call is to be
    /// with the same changes; none may be chosen meanwhile.
    pub fn advertise_some(&mut self, rib: &Rib, changes: &[BestChange], budget: usize) -> bool {
        self.grown |= !changes.is_empty();
        let mut left = budget;
        while let Some(place) = self.groups.get_mut(self.advertised).filter(|_| !changes.is_empty()) {
            if left == 0 {
                return false;
            }
            self.advertised += 1;
            if let Some(group) = place {
                group.advertise(rib, changes, &self.bounds);
                group.announce_ready(&mut self.ready);
                left = left.saturating_sub(changes.len());
            }
        }
        self.advertised = 0;
        // Not before: a group that looks at a destination is announced what is chosen now. Were it to merge with one that has yet to hear of the
        // change, who comes from there would never hear of it.
        if self.has_work() {
            self.work(rib);
        }
        true
    }

    /// The next member with something to hear. It is named once, and again only after it was polled or when there is more to hear.
    pub fn take_ready(&mut self) -> Option<PeerId> {
        loop {
            let peer = self.ready.pop_front()?;
            let group = self.home.get(&peer).and_then(|i| self.groups.get_mut(*i)).and_then(Option::as_mut);
            if group.is_some_and(|g| g.unqueue(peer)) {
                return Some(peer);
            }
        }
    }

    /// Is there more for this member? Ask after a poll that `credit` cut short.
    pub fn has_more(&self, peer: PeerId) -> bool {
        self.home.get(&peer).and_then(|i| self.group(*i)).is_some_and(|g| g.has_more(peer))
    }

    /// Appends the next octets for a member until they are about `credit`; returns how many they are. The last piece may go beyond by a
    /// segment.
    pub fn poll_member(&mut self, rib: &Rib, peer: PeerId, credit: usize, out: &mut Slices) -> Load {
        let Some(group) = self.home.get(&peer).and_then(|i| self.groups.get_mut(*i)).and_then(Option::as_mut) else {
            return Load::default();
        };
        let (load, all) = group.poll(rib, peer, credit, out);
        if !all && load.octets < credit && group.queue(peer) {
            self.ready.push_back(peer);
        }
        load
    }

    /// Octets held: what is announced to each group, what their members have yet to read, what slow ones are owed.
    pub fn memory(&self) -> u64 {
        self.groups.iter().flatten().map(UpdateGroup::memory).sum()
    }

    /// The same, if it is more than `bound`. It is summed anew only if it may have grown, or was too much when it was summed last.
    pub fn memory_beyond(&mut self, bound: u64) -> Option<u64> {
        if std::mem::take(&mut self.grown) || self.weight > bound {
            self.weight = self.memory();
        }
        Some(self.weight).filter(|weight| *weight > bound)
    }

    /// Prefixes that slow members are owed one by one, over all groups.
    pub fn owed(&self) -> usize {
        self.groups.iter().flatten().map(UpdateGroup::owed).sum()
    }

    /// Why a prefix was or was not announced to a peer.
    pub fn why(&mut self, rib: &Rib, peer: PeerId, net: &IpNet) -> ExportVerdict {
        let group = self.home.get(&peer).and_then(|i| self.groups.get_mut(*i)).and_then(Option::as_mut);
        group.map_or(ExportVerdict::NoSession, |g| g.why(rib, peer, net))
    }

    /// Up to `limit` of what a member has been announced (or is about to be) of a family, from a cursor; and the cursor to go on with.
    pub fn advertised(&mut self, rib: &Rib, peer: PeerId, family: Family, cursor: usize, limit: usize) -> Page {
        let group = self.home.get(&peer).and_then(|i| self.groups.get_mut(*i)).and_then(Option::as_mut);
        group.map_or((Vec::new(), None), |g| g.advertised(rib, peer, family, cursor, limit))
    }

    /// Prefixes announced to a member: those of its group without those that it announced itself.
    pub fn count(&self, peer: PeerId, family: Family) -> u32 {
        self.home.get(&peer).and_then(|i| self.group(*i)).map_or(0, |g| g.count(peer, family))
    }

    /// Groups, for show: members, prefixes of all families, octets held for those who have yet to read them.
    pub fn groups(&self) -> impl Iterator<Item = (&GroupKey, usize, u32, u64)> {
        self.groups.iter().flatten().map(|g| (g.key(), g.members(), g.total(), g.held()))
    }

    /// # Panics
    /// If a table of ours contradicts another.
    pub fn check_invariants(&self) {
        let mut members = 0;
        for (index, group) in self.groups.iter().enumerate() {
            let Some(group) = group else { continue };
            let found = self.by_key.get(group.key()).and_then(|i| self.group(*i));
            assert_eq!(found.map(UpdateGroup::key), Some(group.key()), "group {index} or its equal is found by its key");
            assert!(!group.is_empty(), "a group has members");
            group.check();
            members += group.members();
        }
        assert_eq!(members, self.home.len(), "each member has one home");
    }

    fn group(&self, index: usize) -> Option<&UpdateGroup> {
        self.groups.get(index)?.as_ref()
    }

    fn take(&mut self, index: usize) -> Option<UpdateGroup> {
        self.groups.get_mut(index)?.take()
    }

    fn group_of(&mut self, key: GroupKey) -> usize {
        if let Some(index) = self.by_key.get(&key) {
            return *index;
        }
        let mut group = UpdateGroup::new(key.clone(), &self.hasher);
        group.hold_end(self.hold_end);
        let index = self.place();
        self.groups[index] = Some(group);
        self.by_key.insert(key, index);
        index
    }

    /// A place for one more group.
    fn place(&mut self) -> usize {
        self.groups.iter().position(Option::is_none).unwrap_or_else(|| {
            self.groups.push(None);
            self.groups.len() - 1
        })
    }
}
