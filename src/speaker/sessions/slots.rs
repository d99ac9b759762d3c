//! A place for each neighbour under its number, found by one look and no hash.
//!
//! In: neighbours that come and go. Out: a [`PeerId`] for each, and the neighbour of a number. Who they are is `peers`' business.
//!
//! # Invariants
//! Number 0 is ourselves and stays empty. A number that became free rests until [`RESTING`] others have become free after it, so that a late
//! word about its last owner finds nobody. There are never more places than the most neighbours at one time and [`RESTING`] more: clients of a
//! listen range may come and go for ever.

use std::collections::VecDeque;

use crate::num::PeerId;

/// Free numbers that are not given out yet.
const RESTING: usize = 1024;

/// Neighbours by number.
pub(super) struct Slots<T> {
    places: Vec<Option<Box<T>>>,
    /// In the order in which they became free.
    free: VecDeque<PeerId>,
    given: u64,
}

impl<T> Slots<T> {
    /// Empty.
    pub fn new() -> Slots<T> {
        Slots { places: vec![None], free: VecDeque::new(), given: 0 }
    }

    /// Whose number it is.
    pub fn get(&self, id: PeerId) -> Option<&T> {
        self.places.get(id.0 as usize)?.as_deref()
    }

    /// Likewise, to change it.
    pub fn get_mut(&mut self, id: PeerId) -> Option<&mut T> {
        self.places.get_mut(id.0 as usize)?.as_deref_mut()
    }

    /// By number.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.places.iter().filter_map(Option::as_deref)
    }

    /// From this number on.
    pub fn from(&self, number: usize) -> impl Iterator<Item = &T> {
        self.places.iter().skip(number).filter_map(Option::as_deref)
    }

    /// A place for what `make` makes of its number, and of how many were made so far with it.
    pub fn insert(&mut self, make: impl FnOnce(PeerId, u64) -> T) -> PeerId {
        self.given = self.given.saturating_add(1);
        let id = self.rested().unwrap_or_else(|| {
            self.places.push(None);
            PeerId(u32::try_from(self.places.len().saturating_sub(1)).unwrap_or(u32::MAX))
        });
        let made = Box::new(make(id, self.given));
        if let Some(place) = self.places.get_mut(id.0 as usize) {
            *place = Some(made);
        }
        id
    }

    fn rested(&mut self) -> Option<PeerId> {
        if self.free.len() > RESTING { self.free.pop_front() } else { None }
    }

    /// Takes the owner out; the number rests.
    pub fn take(&mut self, id: PeerId) -> Option<Box<T>> {
        let gone = self.places.get_mut(id.0 as usize)?.take()?;
        self.free.push_back(id);
        Some(gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn come(slots: &mut Slots<u64>) -> PeerId {
        slots.insert(|_, nth| nth)
    }

    #[test]
    fn for_ever_coming_and_going_takes_a_bounded_number_of_places() {
        let mut slots = Slots::new();
        let stays = come(&mut slots);
        for nth in 2..=100_000 {
            let (a, b) = (come(&mut slots), come(&mut slots));
            assert!(a != b && a != stays && b != stays && a != PeerId::LOCAL && b != PeerId::LOCAL);
            assert_eq!(slots.take(a).map(|n| *n), Some(2 * nth - 2));
            assert!(slots.take(b).is_some() && slots.take(b).is_none());
        }
        assert!(slots.places.len() <= 1 + 3 + RESTING + 1, "{} places", slots.places.len());
        assert_eq!(slots.free.len() + 2, slots.places.len());
        assert_eq!(slots.iter().collect::<Vec<_>>(), [&1]);
    }

    #[test]
    fn a_number_rests_before_it_is_given_out_again() {
        let mut slots = Slots::new();
        let first = come(&mut slots);
        slots.take(first);
        for _ in 0..RESTING {
            let next = come(&mut slots);
            assert_ne!(next, first);
            assert!(slots.get(first).is_none());
            slots.take(next);
        }
        assert_eq!(come(&mut slots), first);
    }

    #[test]
    fn pages_begin_where_the_last_one_ended() {
        let mut slots = Slots::new();
        let ids = [(); 4].map(|()| come(&mut slots));
        slots.take(ids[1]);
        assert_eq!(slots.from(ids[2].0 as usize).collect::<Vec<_>>(), [&3, &4]);
        assert_eq!(slots.from(0).collect::<Vec<_>>(), [&1, &3, &4]);
        assert_eq!(slots.from(usize::MAX).count(), 0);
        if let Some(last) = slots.get_mut(ids[3]) {
            *last = 9;
        }
        assert_eq!(slots.get(ids[3]), Some(&9));
    }
}
