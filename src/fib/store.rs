//! Where the planner keeps its prefixes: small entries in a slab, shapes of routes told once.
//!
//! A million routes have a few hundred next hops between them. So an entry holds numbers of shapes (`ShapeId`: all of a route but its
//! prefix), and is 36 octets; the index by prefix is cut into shards, so that growing it never holds up the router for long.

use std::hash::BuildHasher;
use std::net::IpAddr;

use foldhash::fast::{FixedState, RandomState};
use hashbrown::HashTable;
use ipnet::IpNet;

use super::{FibKind, FibRoute, Owner};
use crate::kernel::IfIndex;

/// An entry's place, stable while the entry lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Slot(pub u32);

/// A shape's number; `NONE` is no route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ShapeId(u32);

impl ShapeId {
    /// No route.
    pub const NONE: ShapeId = ShapeId(u32::MAX);

    /// Is there a route?
    pub fn is_some(self) -> bool {
        self != ShapeId::NONE
    }

    /// Is there none?
    pub fn is_none(self) -> bool {
        self == ShapeId::NONE
    }
}

/// A route without its prefix.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Shape {
    /// RTA_PRIORITY.
    pub metric: u32,
    /// What becomes of a packet.
    pub kind: FibKind,
    /// RTA_PREFSRC.
    pub source: Option<IpAddr>,
    /// Under whose name, if not under ours.
    pub former: Option<Owner>,
}

impl Shape {
    /// The route of this shape for a prefix.
    pub fn with(&self, net: IpNet) -> FibRoute {
        FibRoute { net, metric: self.metric, kind: self.kind.clone(), source: self.source, former: self.former }
    }

    /// The interfaces that it leaves by.
    pub fn links(&self) -> impl Iterator<Item = IfIndex> {
        let hops = if let FibKind::Unicast(hops) = &self.kind { hops.as_slice() } else { &[] };
        hops.iter().map(|h| h.ifindex)
    }

    /// Does it leave by this interface?
    pub fn uses(&self, ifindex: IfIndex) -> bool {
        self.links().any(|i| i == ifindex)
    }
}

impl From<FibRoute> for Shape {
    fn from(route: FibRoute) -> Shape {
        Shape { metric: route.metric, kind: route.kind, source: route.source, former: route.former }
    }
}

/// Every shape in use, each once, counted.
#[derive(Debug, Default)]
pub(super) struct Shapes {
    list: Vec<Option<(Shape, u32)>>,
    free: Vec<u32>,
    index: HashTable<u32>,
    /// With a secret: gateways and metrics are what peers make them.
    hasher: RandomState,
    /// How many shapes leave by an interface: tells at once whether a link's fate concerns us.
    links: hashbrown::HashMap<IfIndex, u32, FixedState>,
}

impl Shapes {
    /// One holder more.
    pub fn hold(&mut self, shape: Shape) -> ShapeId {
        let hash = self.hasher.hash_one(&shape);
        let same = |&i: &u32| self.list.get(i as usize).and_then(Option::as_ref).is_some_and(|(s, _)| *s == shape);
        if let Some(&i) = self.index.find(hash, same) {
            if let Some((_, holders)) = &mut self.list[i as usize] {
                *holders += 1;
            }
            return ShapeId(i);
        }
        shape.links().for_each(|l| *self.links.entry(l).or_insert(0) += 1);
        let i = self.free.pop().unwrap_or_else(|| {
            self.list.push(None);
            u32::try_from(self.list.len() - 1).expect("fewer than 2^32 shapes fit in memory")
        });
        self.list[i as usize] = Some((shape, 1));
        let (list, hasher) = (&self.list, &self.hasher);
        self.index.insert_unique(hash, i, |&j| list[j as usize].as_ref().map_or(0, |(s, _)| hasher.hash_one(s)));
        ShapeId(i)
    }

    /// One holder more of a known shape.
    pub fn hold_again(&mut self, id: ShapeId) -> ShapeId {
        if let Some(Some((_, holders))) = self.list.get_mut(id.0 as usize) {
            *holders += 1;
        }
        id
    }

    /// One holder fewer.
    pub fn release(&mut self, id: ShapeId) {
        let Some(place) = self.list.get_mut(id.0 as usize) else { return };
        let Some((shape, holders)) = place else { return };
        *holders -= 1;
        if *holders > 0 {
            return;
        }
        for link in shape.links() {
            if let Some(n) = self.links.get_mut(&link) {
                *n -= 1;
                if *n == 0 {
                    self.links.remove(&link);
                }
            }
        }
        let hash = self.hasher.hash_one(&*shape);
        *place = None;
        if let Ok(found) = self.index.find_entry(hash, |&i| i == id.0) {
            found.remove();
        }
        self.free.push(id.0);
    }

    /// By number.
    pub fn get(&self, id: ShapeId) -> Option<&Shape> {
        self.list.get(id.0 as usize)?.as_ref().map(|(s, _)| s)
    }

    /// Does any route leave by this interface?
    pub fn use_link(&self, ifindex: IfIndex) -> bool {
        self.links.contains_key(&ifindex)
    }

    /// By number: does the shape satisfy this?
    pub fn table(&self, test: impl Fn(&Shape) -> bool) -> ShapeSet {
        ShapeSet(self.list.iter().map(|s| s.as_ref().is_some_and(|(s, _)| test(s))).collect())
    }

    /// Octets held.
    pub fn memory(&self) -> usize {
        self.list.capacity() * size_of::<Option<(Shape, u32)>>() + self.index.capacity() * INDEXED
    }

    /// How many entries name one, in all.
    pub fn holders(&self) -> usize {
        self.list.iter().flatten().map(|(_, n)| *n as usize).sum()
    }
}

/// The shapes that satisfied a test.
#[derive(Debug, Default)]
pub(super) struct ShapeSet(Vec<bool>);

impl ShapeSet {
    /// Those of the other, too.
    pub fn merge(&mut self, other: &ShapeSet) {
        self.0.resize(self.0.len().max(other.0.len()), false);
        self.0.iter_mut().zip(&other.0).for_each(|(mine, theirs)| *mine |= theirs);
    }

    /// Did this one satisfy the test?
    pub fn contains(&self, id: ShapeId) -> bool {
        self.0.get(id.0 as usize).copied().unwrap_or(false)
    }
}

/// What is known of an entry, a bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flags(u16);

impl Flags {
    /// `installed` is what stands; without it, what probably stands.
    pub const SURE: Flags = Flags(1);
    /// Adopted from an earlier run and not wanted (yet).
    pub const STALE: Flags = Flags(1 << 1);
    /// In the queue.
    pub const QUEUED: Flags = Flags(1 << 2);
    /// A change is on its way to the kernel.
    pub const FLYING: Flags = Flags(1 << 3);
    /// The kernel spoke of this prefix while a change was on its way: the answer will not tell what came last.
    pub const DOUBT: Flags = Flags(1 << 4);
    /// Another's route took the place of ours.
    pub const TAKEN: Flags = Flags(1 << 5);
    /// Another's route stands where ours should.
    pub const BLOCKED: Flags = Flags(1 << 6);
    /// Every link of the wanted route is down.
    pub const PARKED: Flags = Flags(1 << 7);
    /// The kernel refused.
    pub const FAILED: Flags = Flags(1 << 8);
    /// Waits for its timer.
    pub const WAITING: Flags = Flags(1 << 9);
    /// What is written next puts right what others did.
    pub const REPAIRING: Flags = Flags(1 << 10);
    /// Something stands there that we do not know: replace it.
    pub const OVERWRITE: Flags = Flags(1 << 11);
    /// Routes of ours stand at other metrics of this prefix.
    pub const SUPERSEDED: Flags = Flags(1 << 12);
    /// Others have routes for this prefix.
    pub const FOREIGN: Flags = Flags(1 << 13);
    /// One of them has a better metric.
    pub const SHADOWED: Flags = Flags(1 << 14);
    /// The kernel said that `installed` is gone. That may be old news, so it is kept: if nobody wants it, it is removed all the same.
    pub const GONE: Flags = Flags(1 << 15);

    /// Is this bit set?
    pub fn has(self, flag: Flags) -> bool {
        self.0 & flag.0 != 0
    }

    /// Sets or clears a bit.
    pub fn set(&mut self, flag: Flags, on: bool) {
        if on { self.0 |= flag.0 } else { self.0 &= !flag.0 }
    }
}

/// One prefix.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Its prefix.
    pub net: IpNet,
    /// The dump that last mentioned it; the dump during which we last wrote it.
    pub seen: u8,
    /// Under [`Entry::seen`].
    pub touched: u8,
    /// How often it was put right lately, and when last or when next (in hundredths of a second, wrapping).
    pub repairs: u8,
    /// Under [`Entry::repairs`].
    pub repaired_at: u16,
    /// What is known besides.
    pub flags: Flags,
    /// What should stand.
    pub wanted: ShapeId,
    /// What stands, or probably stands ([`Flags::SURE`]).
    pub installed: ShapeId,
}

/// An entry of an index that is as full as it may be, with its control octet: hashbrown fills seven places of eight.
const INDEXED: usize = 6;

const CHUNK: usize = 4096;
const SHARDS: usize = 256;

/// The entries.
#[derive(Debug)]
pub(super) struct Entries {
    chunks: Vec<Vec<Option<Entry>>>,
    free: Vec<Slot>,
    shards: Vec<HashTable<u32>>,
    hasher: RandomState,
    len: usize,
}

impl Entries {
    /// Empty.
    pub fn new() -> Entries {
        let shards = (0..SHARDS).map(|_| HashTable::new()).collect();
        Entries { chunks: Vec::new(), free: Vec::new(), shards, hasher: RandomState::default(), len: 0 }
    }

    /// How many prefixes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Octets held.
    pub fn memory(&self) -> usize {
        let index: usize = self.shards.iter().map(HashTable::capacity).sum();
        self.chunks.len() * CHUNK * size_of::<Option<Entry>>() + index * INDEXED + self.free.capacity() * size_of::<Slot>()
    }

    /// One past the last slot ever used.
    pub fn end(&self) -> u32 {
        let full = self.chunks.len().saturating_sub(1) * CHUNK;
        u32::try_from(full + self.chunks.last().map_or(0, Vec::len)).unwrap_or(u32::MAX)
    }

    /// The place of a prefix.
    pub fn find(&self, net: &IpNet) -> Option<Slot> {
        let hash = self.hasher.hash_one(net);
        self.shards[shard(hash)].find(hash, |&i| self.get(Slot(i)).is_some_and(|e| e.net == *net)).map(|&i| Slot(i))
    }

    /// The entry of this prefix, made if there is none.
    pub fn find_or_insert(&mut self, net: IpNet) -> Slot {
        if let Some(slot) = self.find(&net) {
            return slot;
        }
        let entry = Entry {
            net,
            seen: 0,
            touched: 0,
            repairs: 0,
            repaired_at: 0,
            flags: Flags::SURE,
            wanted: ShapeId::NONE,
            installed: ShapeId::NONE,
        };
        let slot = self.free.pop().unwrap_or_else(|| self.grow());
        self.chunks[slot.0 as usize / CHUNK][slot.0 as usize % CHUNK] = Some(entry);
        self.len += 1;
        let hash = self.hasher.hash_one(net);
        let (chunks, hasher) = (&self.chunks, &self.hasher);
        let rehash = |&i: &u32| chunks[i as usize / CHUNK][i as usize % CHUNK].as_ref().map_or(0, |e| hasher.hash_one(e.net));
        self.shards[shard(hash)].insert_unique(hash, slot.0, rehash);
        slot
    }

    fn grow(&mut self) -> Slot {
        if self.chunks.last().is_none_or(|c| c.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let slot = Slot(self.end());
        self.chunks.last_mut().expect("pushed above if there was none").push(None);
        slot
    }

    /// The place is free for another prefix.
    pub fn remove(&mut self, slot: Slot) {
        let Some(entry) = self.place(slot).and_then(Option::take) else { return };
        let hash = self.hasher.hash_one(entry.net);
        if let Ok(found) = self.shards[shard(hash)].find_entry(hash, |&i| i == slot.0) {
            found.remove();
        }
        self.len -= 1;
        self.free.push(slot);
    }

    /// By place.
    pub fn get(&self, slot: Slot) -> Option<&Entry> {
        self.chunks.get(slot.0 as usize / CHUNK)?.get(slot.0 as usize % CHUNK)?.as_ref()
    }

    /// By place, to change it.
    pub fn get_mut(&mut self, slot: Slot) -> Option<&mut Entry> {
        self.place(slot)?.as_mut()
    }

    fn place(&mut self, slot: Slot) -> Option<&mut Option<Entry>> {
        self.chunks.get_mut(slot.0 as usize / CHUNK)?.get_mut(slot.0 as usize % CHUNK)
    }

    /// From this slot on.
    pub fn iter_from(&self, from: u32) -> impl Iterator<Item = (Slot, &Entry)> {
        (from..self.end()).filter_map(|i| self.get(Slot(i)).map(|e| (Slot(i), e)))
    }
}

/// The upper bits: hashbrown lives on the lower ones and the uppermost seven.
fn shard(hash: u64) -> usize {
    (hash >> 40) as usize % SHARDS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_small() {
        assert!(size_of::<Option<Entry>>() <= 36, "{}", size_of::<Option<Entry>>());
    }

    #[test]
    fn shapes_are_told_once_and_forgotten_with_their_last_holder() {
        let mut shapes = Shapes::default();
        let hop = crate::kernel::Hop { gateway: None, ifindex: IfIndex(2), onlink: false, weight: crate::kernel::Weight::ONE };
        let shape = |metric| Shape { metric, kind: FibKind::Unicast([hop].into_iter().collect()), source: None, former: None };
        let a = shapes.hold(shape(1));
        let b = shapes.hold(shape(2));
        assert_eq!(shapes.hold(shape(1)), a);
        assert!(a != b && shapes.use_link(IfIndex(2)));
        [a, a, b].into_iter().for_each(|id| shapes.release(id));
        assert!(!shapes.use_link(IfIndex(2)) && shapes.get(a).is_none());
        assert_eq!((shapes.holders(), shapes.index.len()), (0, 0));
    }

    #[test]
    fn slots_are_found_again_and_reused() {
        let mut entries = Entries::new();
        let net = |i: u32| IpNet::new(std::net::Ipv4Addr::from(i << 8).into(), 24).unwrap();
        let slots: Vec<Slot> = (0..10_000).map(|i| entries.find_or_insert(net(i))).collect();
        assert!((0..10_000).all(|i| entries.find(&net(i)) == Some(slots[i as usize])));
        (0..10_000).step_by(2).for_each(|i| entries.remove(slots[i as usize]));
        assert_eq!((entries.len(), entries.find(&net(2)), entries.find(&net(3))), (5000, None, Some(slots[3])));
        for i in 20_000..25_000 {
            entries.find_or_insert(net(i));
        }
        assert_eq!(entries.end(), 10_000, "freed places are taken first");
        assert_eq!(entries.iter_from(0).count(), 10_000);
    }
}
