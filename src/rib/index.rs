//! An open-addressing index from 32 bits of hash to a slab number, eight octets an entry, in one array.
//!
//! In: tags (hashes) and numbers, with a question whether a number is the one that is looked for. Out: that number.
//! A look-up touches one cache line as a rule: entries stand in the order of their tags, probed in a line (hashbrown would touch two, one
//! for its control octets and one for the entry; at a million prefixes each costs as much as all the rest). Removal shifts back, so
//! there are no tombstones. Growing walks both arrays in order.
//!
//! A large index is cut into [`PARTS`] by the first bits of the tag, each of which grows and shrinks for itself and at a fill of its own: so
//! a table of a million prefixes grows by some ten thousand at a time, here and there, and never all at once.

/// One entry; `index == NONE` is an empty place.
#[derive(Clone, Copy)]
struct Entry {
    tag: u32,
    index: u32,
}

const NONE: u32 = u32::MAX;
const EMPTY: Entry = Entry { tag: 0, index: NONE };
const MIN_BITS: u32 = 6;

/// Bits of the tag that name the part, once it is cut.
const PART_BITS: u32 = 6;
const PARTS: usize = 1 << PART_BITS;

/// With so many entries it is cut into parts.
const LARGE: usize = 8192;

/// See the module.
pub(super) struct Index {
    /// One, or [`PARTS`].
    parts: Box<[Part]>,
    /// Zero, or [`PART_BITS`].
    bits: u32,
    len: usize,
}

impl Index {
    /// Empty.
    pub fn new() -> Index {
        Index { parts: Box::new([Part::new(0, PARTS - 1)]), bits: 0, len: 0 }
    }

    /// How many it holds.
    pub fn len(&self) -> usize {
        self.len
    }

    #[inline]
    fn part_of(&self, tag: u32) -> usize {
        (u64::from(tag) >> (32 - self.bits)) as usize
    }

    /// The number with this tag of which `same` is true.
    #[inline]
    pub fn find(&self, tag: u32, same: impl Fn(u32) -> bool) -> Option<u32> {
        self.probe(tag, same).ok()
    }

    /// The same; or the place for a number that is not there, for [`Index::fill`].
    ///
    /// # Errors
    /// It is not there.
    #[inline]
    pub fn probe(&self, tag: u32, same: impl Fn(u32) -> bool) -> Result<u32, Vacant> {
        let part = self.part_of(tag);
        self.parts[part].probe(tag, same).map_err(|place| Vacant { part, place })
    }

    /// Adds a number at a place that was just found for its tag.
    #[inline]
    pub fn fill(&mut self, Vacant { part, place }: Vacant, tag: u32, index: u32) {
        match self.parts.get_mut(part) {
            Some(part) if part.len < part.room => {
                part.places[place] = Entry { tag, index };
                part.len += 1;
                self.len += 1;
            }
            _ => self.insert(tag, index),
        }
    }

    /// Some number with about this tag: what a look-up would read first.
    #[inline]
    pub fn peek(&self, tag: u32) -> Option<u32> {
        self.parts[self.part_of(tag)].peek(tag)
    }

    /// Adds a number that is not in it.
    #[inline(never)]
    pub fn insert(&mut self, tag: u32, index: u32) {
        if self.len == LARGE && self.bits == 0 {
            self.cut();
        }
        let part = self.part_of(tag);
        self.parts[part].insert(tag, index);
        self.len += 1;
    }

    fn cut(&mut self) {
        let mut parts: Box<[Part]> = (0..PARTS).map(|n| Part::new(PART_BITS, n)).collect();
        parts.iter_mut().for_each(|part| part.resize((2 * LARGE / PARTS).ilog2()));
        let whole = std::mem::replace(self, Index { parts, bits: PART_BITS, len: 0 });
        for entry in whole.parts.iter().flat_map(|part| &part.places).filter(|e| e.index != NONE) {
            self.insert(entry.tag, entry.index);
        }
    }

    /// Takes a number out; false if it is not in it.
    pub fn remove(&mut self, tag: u32, index: u32) -> bool {
        let part = self.part_of(tag);
        let removed = self.parts[part].remove(tag, index);
        self.len -= usize::from(removed);
        removed
    }

    /// The most places that a look-up has to pass.
    #[cfg(test)]
    pub fn longest_probe(&self) -> usize {
        let distance = |part: &Part, (place, e): (usize, &Entry)| place.wrapping_sub(part.home(e.tag)) & (part.places.len() - 1);
        let probes = |part: &Part| part.places.iter().enumerate().filter(|(_, e)| e.index != NONE).map(|e| distance(part, e)).max();
        self.parts.iter().filter_map(probes).max().unwrap_or(0)
    }
}

/// Where a number would stand that is not in the index.
pub(super) struct Vacant {
    part: usize,
    place: usize,
}

/// # Invariants
/// At most three quarters of the places are taken, so every probe ends at an empty one.
struct Part {
    places: Vec<Entry>,
    bits: u32,
    len: u32,
    /// With so many entries it grows, or the index is cut.
    room: u32,
    /// It grows when so many of 256 places are taken.
    most: u32,
    /// So many bits of the tag named the part.
    named: u32,
}

impl Part {
    fn new(named: u32, number: usize) -> Part {
        Part { places: Vec::new(), bits: 0, len: 0, room: 0, most: 128 + number as u32, named }
    }

    #[inline]
    fn home(&self, tag: u32) -> usize {
        (u64::from(tag << self.named) >> (32 - self.bits)) as usize
    }

    fn next(&self, place: usize) -> usize {
        (place + 1) & (self.places.len() - 1)
    }

    #[inline]
    fn probe(&self, tag: u32, same: impl Fn(u32) -> bool) -> Result<u32, usize> {
        let mut place = self.home(tag);
        loop {
            let Some(entry) = self.places.get(place).filter(|e| e.index != NONE) else { return Err(place) };
            if entry.tag == tag && same(entry.index) {
                return Ok(entry.index);
            }
            place = self.next(place);
        }
    }

    #[inline]
    fn peek(&self, tag: u32) -> Option<u32> {
        self.places.get(self.home(tag)).filter(|e| e.tag == tag && e.index != NONE).map(|e| e.index)
    }

    fn insert(&mut self, tag: u32, index: u32) {
        if self.len >= self.room {
            self.resize((self.bits + 1).max(MIN_BITS));
        }
        self.put(Entry { tag, index });
        self.len += 1;
    }

    fn put(&mut self, entry: Entry) {
        let mut place = self.home(entry.tag);
        while self.places[place].index != NONE {
            place = self.next(place);
        }
        self.places[place] = entry;
    }

    fn remove(&mut self, tag: u32, index: u32) -> bool {
        let mut hole = self.home(tag);
        loop {
            match self.places.get(hole) {
                Some(e) if e.index == index => break,
                Some(e) if e.index != NONE => hole = self.next(hole),
                _ => return false,
            }
        }
        self.shift_back(hole);
        self.len -= 1;
        if self.bits > MIN_BITS && self.len as usize * 8 < self.places.len() {
            self.resize(self.bits - 1);
        }
        true
    }

    /// Fills a hole with what would be looked for there, and so on until an empty place.
    fn shift_back(&mut self, mut hole: usize) {
        let mask = self.places.len() - 1;
        let mut place = self.next(hole);
        while self.places[place].index != NONE {
            let home = self.home(self.places[place].tag);
            // It may move if its home is not after the hole (around the end of the array).
            if (place.wrapping_sub(home) & mask) >= (place.wrapping_sub(hole) & mask) {
                self.places[hole] = self.places[place];
                hole = place;
            }
            place = self.next(place);
        }
        self.places[hole] = EMPTY;
    }

    fn resize(&mut self, bits: u32) {
        let old = std::mem::replace(&mut self.places, vec![EMPTY; 1 << bits]);
        self.bits = bits;
        self.room = (self.places.len() * self.most as usize / 256) as u32;
        if self.named == 0 {
            self.room = self.room.min(LARGE as u32);
        }
        old.into_iter().filter(|e| e.index != NONE).for_each(|e| self.put(e));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Tags from a small space collide all the time; whatever is in the index is found, nothing else is.
    #[test]
    fn the_index_equals_a_map_under_churn_with_colliding_tags() {
        let (mut index, mut model, mut seed) = (Index::new(), BTreeMap::new(), 1u64);
        for round in 0..60_000u32 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let n = (seed >> 40) as u32 % 3000;
            // The last tags wrap around the end of the array.
            let tag = if n.is_multiple_of(3) { u32::MAX - n % 7 } else { (n % 500).wrapping_mul(2_654_435_761) };
            let grow = (round / 10_000) % 2 == 0;
            if model.contains_key(&n) && (!grow || seed >> 63 == 1) {
                assert!(index.remove(tag, n));
                model.remove(&n);
            } else if !model.contains_key(&n) && grow {
                assert!(!index.remove(tag, n));
                index.insert(tag, n);
                model.insert(n, tag);
            }
            assert_eq!(index.len(), model.len());
            assert_eq!(index.find(tag, |i| i == n).is_some(), model.contains_key(&n));
        }
        assert!(model.iter().all(|(n, tag)| index.find(*tag, |i| i == *n) == Some(*n)));
        assert!(index.parts.iter().all(|p| p.len as usize * 4 <= p.places.len() * 3));
    }
}
