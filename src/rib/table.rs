//! The exact-match table of one family: a slab of destinations that never moves, and a hash index over it.
//!
//! In: prefixes. Out: a dense number for each, and the [`Dest`] behind it. What the paths mean is the business of `rib` and `loc`.
//!
//! The slab grows by chunks, so a full table is never copied to grow. The index ([`super::index`]) holds 32 bits of each hash beside the
//! number, so it grows without touching the destinations, and a new prefix costs one cache miss, a known one two.
//! [`Table::prefetch`] takes those of a whole UPDATE at once.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::index::Index;
use super::keyed::{Keyed, tag};
use super::path::Paths;
use crate::num::Family;

/// A prefix as octets: address, then length. Alignment one, so that it packs.
pub(super) trait Key: Copy + Eq + Ord {
    const FAMILY: Family;
    fn of(net: &IpNet) -> Option<Self>;
    fn net(self) -> IpNet;
    fn hash(self, hasher: &Keyed) -> u32;
}

/// IPv4 prefix in five octets.
pub(super) type Key4 = [u8; 5];
/// IPv6 prefix in seventeen.
pub(super) type Key6 = [u8; 17];

impl Key for Key4 {
    const FAMILY: Family = Family::Ipv4Unicast;

    fn of(net: &IpNet) -> Option<Key4> {
        let IpNet::V4(net) = net else { return None };
        let [a, b, c, d] = net.network().octets();
        Some([a, b, c, d, net.prefix_len()])
    }

    fn net(self) -> IpNet {
        let [a, b, c, d, len] = self;
        IpNet::V4(Ipv4Net::new(Ipv4Addr::new(a, b, c, d), len).unwrap_or_default())
    }

    fn hash(self, hasher: &Keyed) -> u32 {
        let [a, b, c, d, len] = self;
        tag(hasher, u64::from_le_bytes([a, b, c, d, len, 0, 0, 0]))
    }
}

impl Key for Key6 {
    const FAMILY: Family = Family::Ipv6Unicast;

    fn of(net: &IpNet) -> Option<Key6> {
        let IpNet::V6(net) = net else { return None };
        let mut key = [net.prefix_len(); 17];
        for (to, from) in key.iter_mut().zip(net.network().octets()) {
            *to = from;
        }
        Some(key)
    }

    fn net(self) -> IpNet {
        let [addr @ .., len] = self;
        IpNet::V6(Ipv6Net::new(Ipv6Addr::from(addr), len).unwrap_or_default())
    }

    fn hash(self, hasher: &Keyed) -> u32 {
        let [addr @ .., len] = self;
        tag(hasher, (u128::from_le_bytes(addr), len))
    }
}

/// One prefix and all that is known about it.
#[derive(Debug)]
pub(super) struct Dest<K> {
    /// Of all peers.
    pub paths: Paths,
    /// The prefix.
    pub key: K,
    /// What is known of it besides.
    pub flags: DestFlags,
}

/// Bits of a destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct DestFlags(u8);

impl DestFlags {
    /// Waits in the dirty list.
    pub const DIRTY: DestFlags = DestFlags(1);
    /// The first path is the best one.
    pub const HAS_BEST: DestFlags = DestFlags(2);
    /// A path that shared load changed or went since the last settlement.
    pub const SHARE_TOUCHED: DestFlags = DestFlags(4);
    /// The way to a next hop changed since the last settlement.
    pub const WAY_TOUCHED: DestFlags = DestFlags(8);
    /// Not in use; the number waits to be given out again.
    pub const FREE: DestFlags = DestFlags(16);
    /// The last settlement put it off, for the sake of a next hop.
    pub const POSTPONED: DestFlags = DestFlags(32);
    /// All that a settlement takes back.
    pub const UNSETTLED: DestFlags =
        DestFlags(DestFlags::DIRTY.0 | DestFlags::SHARE_TOUCHED.0 | DestFlags::WAY_TOUCHED.0 | DestFlags::POSTPONED.0);

    /// Is this bit set?
    pub fn has(self, bit: DestFlags) -> bool {
        self.0 & bit.0 != 0
    }

    /// Sets or clears a bit.
    pub fn set(&mut self, bit: DestFlags, on: bool) {
        if on { self.0 |= bit.0 } else { self.0 &= !bit.0 }
    }
}

const CHUNK_BITS: u32 = 10;
const CHUNK: usize = 1 << CHUNK_BITS;

/// All destinations of one family.
pub(super) struct Table<K> {
    index: Index,
    chunks: Vec<Vec<Dest<K>>>,
    free: Vec<u32>,
    hasher: Keyed,
}

impl<K: Key> Table<K> {
    /// Empty. The hasher is keyed, for peers choose the prefixes.
    pub fn new(hasher: Keyed) -> Table<K> {
        Table { index: Index::new(), chunks: Vec::new(), free: Vec::new(), hasher }
    }

    /// Destinations in use.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// One more than the highest number ever given out.
    pub fn end(&self) -> u32 {
        let full = self.chunks.len().saturating_sub(1) * CHUNK;
        (full + self.chunks.last().map_or(0, Vec::len)) as u32
    }

    /// The number of an exact prefix.
    pub fn find(&self, key: K) -> Option<u32> {
        let tag = key.hash(&self.hasher);
        self.index.find(tag, |i| peek(&self.chunks, i).is_some_and(|d| d.key == key))
    }

    /// The number of the prefix, given out now if it had none.
    pub fn find_or_insert(&mut self, key: K) -> u32 {
        let tag = key.hash(&self.hasher);
        match self.index.probe(tag, |i| peek(&self.chunks, i).is_some_and(|d| d.key == key)) {
            Ok(index) => index,
            Err(vacant) => {
                let index = place(&mut self.chunks, &mut self.free, Dest { paths: Paths::None, key, flags: DestFlags::default() });
                self.index.fill(vacant, tag, index);
                index
            }
        }
    }

    /// Brings what look-ups of these prefixes will read into the cache, all misses at once instead of one after the other.
    pub fn prefetch(&self, keys: impl Iterator<Item = K>) {
        let found = keys.fold(0usize, |found, key| {
            let seen = self.index.peek(key.hash(&self.hasher)).and_then(|i| peek(&self.chunks, i));
            found + usize::from(seen.is_some_and(|d| d.flags.has(DestFlags::DIRTY)))
        });
        std::hint::black_box(found);
    }

    /// By number.
    pub fn get(&self, index: u32) -> Option<&Dest<K>> {
        peek(&self.chunks, index)
    }

    /// By number, to change it.
    pub fn get_mut(&mut self, index: u32) -> Option<&mut Dest<K>> {
        self.chunks.get_mut((index >> CHUNK_BITS) as usize)?.get_mut(index as usize & (CHUNK - 1))
    }

    /// Forgets a prefix; its number may be given to another from now on.
    pub fn remove(&mut self, index: u32) {
        let Some(dest) = self.get_mut(index) else { return };
        let key = dest.key;
        dest.paths = Paths::None;
        dest.flags = DestFlags::FREE;
        let tag = key.hash(&self.hasher);
        if self.index.remove(tag, index) {
            self.free.push(index);
        }
        if self.index.len() == 0 {
            *self = Table::new(self.hasher.clone());
        }
    }

    /// Those in use, in the order of their numbers, which is about that in which they came.
    pub fn iter_from(&self, from: u32) -> impl Iterator<Item = (u32, &Dest<K>)> {
        (from..self.end()).filter_map(|i| self.get(i).map(|d| (i, d))).filter(|(_, d)| !d.flags.has(DestFlags::FREE))
    }

    /// In the order of the numbers.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Dest<K>)> {
        self.iter_from(0)
    }
}

fn peek<K>(chunks: &[Vec<Dest<K>>], index: u32) -> Option<&Dest<K>> {
    chunks.get((index >> CHUNK_BITS) as usize)?.get(index as usize & (CHUNK - 1))
}

fn place<K>(chunks: &mut Vec<Vec<Dest<K>>>, free: &mut Vec<u32>, dest: Dest<K>) -> u32 {
    if let Some(index) = free.pop() {
        if let Some(spot) = chunks.get_mut((index >> CHUNK_BITS) as usize).and_then(|c| c.get_mut(index as usize & (CHUNK - 1))) {
            *spot = dest;
        }
        return index;
    }
    if chunks.last().is_none_or(|c| c.len() == CHUNK) {
        // Small tables stay small: only the first chunk grows by doubling.
        chunks.push(if chunks.is_empty() { Vec::new() } else { Vec::with_capacity(CHUNK) });
    }
    let full = (chunks.len() - 1) * CHUNK;
    let last = chunks.last_mut().expect("pushed above if there was none");
    last.push(dest);
    (full + last.len() - 1) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn key(n: u32) -> Key4 {
        let [a, b, c, d] = n.to_be_bytes();
        [a, b, c, d, 32]
    }

    #[test]
    fn a_destination_of_ipv4_takes_48_octets() {
        assert_eq!(size_of::<Dest<Key4>>(), 48);
        assert_eq!(size_of::<Dest<Key6>>(), 64);
    }

    #[test]
    fn numbers_stay_while_others_come_and_go() {
        let mut table: Table<Key4> = Table::new(super::super::keyed::keyed(1));
        let mut model = BTreeMap::new();
        for round in 0..6u32 {
            for n in 0..5000u32 {
                let k = key(n.wrapping_mul(2_654_435_761));
                if n % 7 == round {
                    if let Some(i) = model.remove(&k) {
                        table.remove(i);
                    }
                } else {
                    let i = table.find_or_insert(k);
                    assert_eq!(*model.entry(k).or_insert(i), i);
                }
            }
            assert_eq!(table.len(), model.len());
            assert!(model.iter().all(|(k, i)| table.find(*k) == Some(*i) && table.get(*i).is_some_and(|d| d.key == *k)));
            assert_eq!(table.iter().count(), model.len());
            assert!(table.end() <= 5000);
        }
        for i in model.into_values() {
            table.remove(i);
        }
        assert_eq!((table.len(), table.end()), (0, 0), "an empty table holds no memory");
    }

    #[test]
    fn keys_say_the_prefix_they_were_made_from() {
        for text in ["10.1.0.0/16", "0.0.0.0/0", "203.0.113.7/32"] {
            let net: IpNet = text.parse().unwrap();
            assert_eq!(Key4::of(&net).map(Key::net), Some(net));
            assert_eq!(Key6::of(&net), None);
        }
        let net: IpNet = "2001:db8::/122".parse().unwrap();
        assert_eq!(Key6::of(&net).map(Key::net), Some(net));
    }

    /// Addresses whose last octets cancel the public multiplicand of foldhash have one hash with `FixedState`, whatever its seed.
    #[test]
    fn prefixes_that_cancel_a_public_constant_are_found_as_quickly_as_any() {
        use std::collections::BTreeSet;
        use std::hash::BuildHasher;
        let key = |n: u64, low: u64| {
            let mut key = [128u8; 17];
            key[..8].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
            key[8..16].copy_from_slice(&low.to_le_bytes());
            key
        };
        let chosen = || (0..20_000).map(|n| key(n, 0xc0ac_29b7_c97c_50dd));
        let fixed = foldhash::fast::FixedState::with_seed(77);
        let hash = |k: Key6| fixed.hash_one((u128::from_le_bytes(k[..16].try_into().unwrap()), k[16]));
        assert_eq!(chosen().map(hash).collect::<BTreeSet<_>>().len(), 1, "what a peer may choose");
        let longest = |keys: &mut dyn Iterator<Item = Key6>| {
            let mut table: Table<Key6> = Table::new(super::super::keyed::keyed(77));
            keys.for_each(|k| {
                table.find_or_insert(k);
            });
            assert_eq!(table.len(), 20_000);
            table.index.longest_probe()
        };
        let (any, worst) = (longest(&mut (0..20_000).map(|n| key(n, n))), longest(&mut chosen()));
        assert!(worst < 100 && worst < 4 * any, "{worst} places, {any} for any keys");
    }

    #[test]
    fn two_seeds_are_two_orders() {
        let [one, other] = [1, 2].map(super::super::keyed::keyed);
        let same = (0..10_000).filter(|n| key(*n).hash(&one) >> 20 == key(*n).hash(&other) >> 20).count();
        assert!(same < 20, "{same} of 10,000 in the same of 4,096 places");
        let again = super::super::keyed::keyed(1);
        assert!((0..100).all(|n| key(n).hash(&one) == key(n).hash(&again)), "a laboratory repeats itself");
    }
}
