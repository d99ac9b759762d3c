//! Interned attribute sets: one [`Attrs`] for each distinct content, over all peers and both directions of policy.
//!
//! In: decoded or edited [`PathAttributes`]. Out: a handle that is cheap to clone and is compared by pointer, with the next hop's
//! tracking beside it. The table holds each set as long as a path or another holder does, and then forgets it.
//!
//! # Invariants
//! Two live handles are the same allocation exactly if their contents are equal. With no paths and no other holders, the table is empty
//! after [`AttrTable::reap`].

use std::collections::VecDeque;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use smallvec::SmallVec;

use super::decide::Preference;
use super::keyed::{Keyed, tag};
use super::{BATCH, NhId};
use crate::wire::{Community, PathAttributes};

/// An interned attribute set; equal sets are one allocation, so equality is that of pointers.
#[derive(Clone)]
pub struct Attrs(Arc<Interned>);

struct Interned {
    set: PathAttributes,
    /// One more than the identifier of the next hop; zero while it is not tracked.
    next_hop: AtomicU32,
    /// How many paths hold it. Written by the thread that owns the table only; atomic so that handles can be sent.
    holders: AtomicU32,
    /// Stands in the list of idle sets.
    listed: AtomicBool,
    /// Its next hop is a link-local address.
    link_local: bool,
    /// It carries LLGR_STALE (RFC 9494).
    long_lived: bool,
}

impl Attrs {
    /// The number that stands for this set as long as a handle lives: its address.
    pub fn key(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }

    /// What the decision process compares (RFC 4271 §9.1.2.2, RFC 4456 §9).
    pub fn preference(&self) -> Preference {
        let set = &self.0.set;
        Preference {
            long_lived: self.0.long_lived,
            local_pref: set.local_pref().unwrap_or(Preference::DEFAULT_LOCAL_PREF),
            as_path_len: u32::try_from(set.as_path_len()).unwrap_or(u32::MAX),
            origin: set.origin() as u8,
            med: set.med().unwrap_or(0),
            neighbor_as: set.neighbor_as(),
            originator: set.originator_id(),
            cluster_len: u32::try_from(set.cluster_list_len()).unwrap_or(u32::MAX),
        }
    }

    /// It is the last choice (RFC 9494 §4.3).
    pub(super) fn is_long_lived(&self) -> bool {
        self.0.long_lived
    }

    /// The set itself, shared.
    pub fn set(&self) -> &PathAttributes {
        &self.0.set
    }

    /// The tracked next hop, once `settle` has seen a path with this set.
    pub fn nh(&self) -> Option<NhId> {
        self.0.next_hop.load(Relaxed).checked_sub(1).map(NhId)
    }

    /// The next hop if it is link-local: it has a meaning on the link of the peer only, so each peer tracks it apart.
    pub(super) fn link_local(&self) -> Option<IpAddr> {
        self.0.link_local.then(|| self.0.set.next_hop().addr())
    }

    /// Notes which tracked next hop the set names, or that it names none any more.
    pub(super) fn set_nh(&self, id: Option<NhId>) {
        self.0.next_hop.store(id.map_or(0, |NhId(n)| n.saturating_add(1)), Relaxed);
    }

    /// Octets that it takes: attributes, what stands before them, the handle, the entry in the table, and what the allocator adds.
    fn footprint(&self) -> u64 {
        const BESIDE: usize = 72 + 48 + 24 + 16;
        (self.0.set.octets().len() + BESIDE) as u64
    }

    fn holders(&self) -> u32 {
        self.0.holders.load(Relaxed)
    }
}

impl Deref for Attrs {
    type Target = PathAttributes;
    fn deref(&self) -> &PathAttributes {
        &self.0.set
    }
}

impl PartialEq for Attrs {
    fn eq(&self, other: &Attrs) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Attrs {}

impl Hash for Attrs {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl fmt::Debug for Attrs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.set.fmt(f)
    }
}

/// Idle sets looked at by one [`AttrTable::reap`].
pub const REAP: usize = 1024;

/// From so many sets on it pays to look ahead: fewer are in the cache anyway.
const WARM: usize = 4096;

/// Tables that the sets are spread over, so that each grows for itself: growing a table of a million at once would take too long.
const PARTS: usize = 64;

/// Room that each is given at first.
const FIRST: usize = 14;

/// All distinct sets that are in use.
pub struct AttrTable {
    hasher: Keyed,
    /// With the tag, so that a table grows without looking at the sets.
    sets: Box<[HashTable<(u32, Attrs)>; PARTS]>,
    len: usize,
    /// That the sets take, with all that is kept of each.
    octets: u64,
    /// What was interned last: messages of one source often repeat it.
    last: Option<Attrs>,
    /// Sets that no path holds, or that were made since the last reaping.
    idle: VecDeque<Attrs>,
    /// Of these, those that somebody else holds: changes on their way, adverts not yet written.
    busy: VecDeque<Attrs>,
}

impl AttrTable {
    /// Empty. The hasher is keyed, for peers choose what is hashed.
    pub fn new(hasher: Keyed) -> AttrTable {
        let sets = Box::new(std::array::from_fn(|_| HashTable::new()));
        AttrTable { hasher, sets, len: 0, octets: 0, last: None, idle: VecDeque::new(), busy: VecDeque::new() }
    }

    /// Distinct sets known.
    pub fn len(&self) -> usize {
        self.len
    }

    /// No set is in use.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Octets that the sets take.
    pub fn octets(&self) -> u64 {
        self.octets
    }

    /// Is there something for [`AttrTable::reap`] that can go at once?
    pub fn has_idle(&self) -> bool {
        !self.idle.is_empty()
    }

    /// The one handle for this content. Costs a comparison of pointers when it is the set of the last call.
    pub fn intern(&mut self, set: &PathAttributes) -> Attrs {
        if let Some(last) = self.last.as_ref().filter(|l| l.0.set.is_same(set)) {
            return last.clone();
        }
        let tag = tag(&self.hasher, set);
        let part = part_mut(&mut self.sets, tag);
        if part.capacity() == 0 {
            part.reserve(FIRST, |(t, _)| spread(*t));
        }
        let found = match part.entry(spread(tag), |(t, a)| *t == tag && a.0.set == *set, |(t, _)| spread(*t)) {
            Entry::Occupied(found) => found.get().1.clone(),
            Entry::Vacant(vacant) => {
                let (next_hop, holders) = (AtomicU32::new(0), AtomicU32::new(0));
                let link_local = matches!(set.next_hop().addr(), IpAddr::V6(a) if a.is_unicast_link_local());
                let (listed, long_lived) = (AtomicBool::new(true), set.has_community(Community::LLGR_STALE));
                let made = Attrs(Arc::new(Interned { set: set.clone(), next_hop, holders, listed, link_local, long_lived }));
                vacant.insert((tag, made.clone()));
                self.len += 1;
                self.octets += made.footprint();
                self.idle.push_back(made.clone());
                made
            }
        };
        self.last = Some(found.clone());
        found
    }

    /// Brings what [`AttrTable::intern`] of these sets will read into the cache, step by step for all of them, so that the misses of one
    /// step are under way at once: the entry, the handle, the set.
    pub(super) fn prefetch<'s>(&self, sets: impl Iterator<Item = &'s PathAttributes>) {
        if self.len < WARM {
            return;
        }
        let part = |tag: u32| &self.sets[tag as usize % PARTS];
        let tags = sets.map(|set| tag(&self.hasher, set));
        let handles = tags.filter_map(|tag| part(tag).find(spread(tag), |(t, _)| *t == tag).map(|(_, attrs)| attrs));
        let handles: SmallVec<[&Attrs; BATCH]> = handles.collect();
        let octets: SmallVec<[&[u8]; BATCH]> = handles.iter().map(|attrs| attrs.0.set.octets()).collect();
        std::hint::black_box(octets.iter().filter(|o| o.first() == Some(&0)).count());
    }

    /// Interns a set that was just made, as policy does.
    pub fn intern_new(&mut self, set: PathAttributes) -> Attrs {
        self.intern(&set)
    }

    /// One more path holds `attrs`.
    pub(super) fn hold(attrs: &Attrs) {
        attrs.0.holders.store(attrs.holders().saturating_add(1), Relaxed);
    }

    /// A path lets go of `attrs`.
    pub(super) fn release(&mut self, attrs: Attrs) {
        let left = attrs.holders().saturating_sub(1);
        attrs.0.holders.store(left, Relaxed);
        if left == 0 && !attrs.0.listed.swap(true, Relaxed) {
            self.idle.push_back(attrs);
        }
    }

    /// Forgets sets that neither a path nor anybody else holds; tells the next hops that they no longer ask for. Those that others still hold
    /// are looked at again in turn. One call looks at [`REAP`] of both kinds at most.
    pub fn reap(&mut self, mut untrack: impl FnMut(NhId)) {
        self.last = None;
        let waited = self.busy.len().min(REAP);
        for _ in 0..waited {
            let Some(attrs) = self.busy.pop_front() else { break };
            self.reap_one(attrs, &mut untrack);
        }
        for _ in 0..self.idle.len().min(REAP) {
            let Some(attrs) = self.idle.pop_front() else { break };
            self.reap_one(attrs, &mut untrack);
        }
        if self.idle.is_empty() && self.idle.capacity() > REAP {
            self.idle = VecDeque::new();
        }
    }

    fn reap_one(&mut self, attrs: Attrs, untrack: &mut impl FnMut(NhId)) {
        if attrs.holders() > 0 {
            attrs.0.listed.store(false, Relaxed);
        } else if Arc::strong_count(&attrs.0) > 2 {
            self.busy.push_back(attrs);
        } else {
            let tag = tag(&self.hasher, attrs.set());
            let part = part_mut(&mut self.sets, tag);
            if let Ok(found) = part.find_entry(spread(tag), |(_, a)| *a == attrs) {
                found.remove();
                self.len -= 1;
                self.octets -= attrs.footprint();
                attrs.nh().into_iter().for_each(untrack);
            }
            if part.is_empty() {
                *part = HashTable::new();
            } else if part.capacity() > 8 * part.len().max(16) {
                part.shrink_to(2 * part.len(), |(t, _)| spread(*t));
            }
        }
    }

    /// Sets of which a path holds a handle, by count of holders; for invariants.
    pub(super) fn held(&self) -> impl Iterator<Item = (&Attrs, u32)> {
        self.sets.iter().flatten().map(|(_, a)| (a, a.holders())).filter(|(_, n)| *n > 0)
    }
}

fn part_mut(sets: &mut [HashTable<(u32, Attrs)>; PARTS], tag: u32) -> &mut HashTable<(u32, Attrs)> {
    &mut sets[tag as usize % PARTS]
}

/// A hash for hashbrown, which wants its highest and its lowest bits.
fn spread(tag: u32) -> u64 {
    u64::from(tag) << 32 | u64::from(tag / PARTS as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::Asn;
    use crate::wire::{NextHop, Origin};
    use std::net::Ipv4Addr;

    fn set(n: u32) -> PathAttributes {
        let mut editor = PathAttributes::builder(Origin::Igp, NextHop::V4(Ipv4Addr::new(192, 0, 2, 1)));
        editor.prepend(Asn(n), 2);
        editor.finish()
    }

    #[test]
    fn equal_contents_are_one_handle_and_different_ones_are_two() {
        let mut table = AttrTable::new(super::super::keyed::keyed(1));
        let (a, again, b) = (table.intern_new(set(1)), table.intern_new(set(1)), table.intern_new(set(2)));
        assert_eq!(a, again);
        assert_ne!(a, b);
        assert_eq!(table.len(), 2);
    }

    #[test]
    fn sets_leave_when_the_last_holder_has_left_and_not_before() {
        let mut table = AttrTable::new(super::super::keyed::keyed(1));
        let on_its_way = table.intern_new(set(1));
        let path = table.intern_new(set(1));
        AttrTable::hold(&path);
        table.reap(|_| ());
        assert_eq!(table.len(), 1, "a path holds it");
        table.release(path);
        table.reap(|_| ());
        assert_eq!(table.len(), 1, "an advert on its way holds it");
        drop(on_its_way);
        let mut untracked = Vec::new();
        table.reap(|id| untracked.push(id));
        assert!(table.is_empty() && untracked.is_empty(), "its next hop was never tracked");
    }

    #[test]
    fn a_set_that_flaps_neither_leaks_nor_piles_up() {
        let mut table = AttrTable::new(super::super::keyed::keyed(1));
        for _ in 0..1000 {
            let path = table.intern_new(set(1));
            path.set_nh(Some(NhId(7)));
            AttrTable::hold(&path);
            table.release(path);
        }
        assert_eq!((table.len(), table.idle.len()), (1, 1));
        let mut untracked = Vec::new();
        table.reap(|id| untracked.push(id));
        assert_eq!((table.len(), table.idle.len(), untracked), (0, 0, vec![NhId(7)]));
    }

    /// Sets that differ in an attribute of which nothing is known, chosen so that a hash with public multiplicands is one for all of them.
    #[test]
    fn sets_that_cancel_a_public_constant_have_hashes_of_their_own() {
        use std::collections::BTreeSet;
        use std::hash::BuildHasher;
        const PUBLIC: u64 = 0xc0ac_29b7_c97c_50dd;
        let octets = |n: u32, place: usize| {
            let mut octets: Vec<u8> = PUBLIC.to_le_bytes().into_iter().cycle().take(256).collect();
            octets[place..place + 4].copy_from_slice(&n.to_be_bytes());
            octets
        };
        let fixed = foldhash::fast::FixedState::with_seed(0x6361_7462_6972_6421);
        let hash = |octets: &[u8]| {
            let mut hasher = fixed.build_hasher();
            hasher.write(octets);
            hasher.finish()
        };
        let place = (0..250).find(|place| hash(&octets(1, *place)) == hash(&octets(2, *place))).expect("a place that is cancelled");
        let count = |hash: &dyn Fn(&[u8]) -> u64| (0..5000).map(|n| hash(&octets(n, place))).collect::<BTreeSet<_>>().len();
        assert_eq!(count(&hash), 1);
        let keyed = super::super::keyed::keyed(1);
        assert!(count(&|octets| u64::from(tag(&keyed, octets))) > 4990);
    }

    /// A million sets come and go: what the tables took is given back, and no step of it is long.
    #[test]
    fn memory_is_given_back_in_steps() {
        let mut table = AttrTable::new(super::super::keyed::keyed(1));
        let paths: Vec<Attrs> = (0..100_000).map(|n| table.intern_new(set(n))).collect();
        paths.iter().for_each(AttrTable::hold);
        while table.has_idle() {
            table.reap(|_| ());
        }
        assert_eq!((table.len(), table.idle.capacity()), (100_000, 0));
        let most = |table: &AttrTable| table.sets.iter().map(HashTable::capacity).max().unwrap_or(0);
        assert!(most(&table) < 100_000 / 16, "a part grows by itself: {}", most(&table));
        paths.into_iter().for_each(|attrs| table.release(attrs));
        let mut steps = 0;
        while table.has_idle() {
            let before = table.len();
            table.reap(|_| ());
            assert!(before - table.len() <= REAP);
            steps += 1;
        }
        assert!(steps >= 100_000 / REAP);
        assert_eq!((table.len(), table.idle.capacity(), most(&table)), (0, 0, 0));
    }
}
