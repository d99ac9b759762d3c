//! What waits to be written: one generation after the other, and in no order within a long one.
//!
//! In: entries that need work. Out: the one whose turn it is. Nobody waits longer than for the rest of the generation that is being
//! written and for his own, whatever else comes.
//!
//! Why in no order: Linux keeps IPv4 routes in a trie whose nodes grow and shrink with what they hold. Prefixes that go in the order of
//! their addresses empty one node after the other and make it shrink many times over; in no order nearly all nodes stay full enough until
//! near the end. Removing 100,000 routes takes the kernel 0.21 s of CPU time so and 0.6 s in order, a million 2.1-2.5 s and 7 s; adding
//! them, 0.45 s and 0.6 s (Linux 6.18, same machine, same hour, messages and batches alike).

use super::store::Slot;

/// A generation up to this length keeps its order: short stories are easier to read, and the trie does not notice.
const IN_ORDER: usize = 512;

/// Entries that have something to be written, each once.
#[derive(Debug)]
pub(super) struct Queue {
    /// The generation that is being written; in order, it is reversed.
    now: Vec<Slot>,
    next: Vec<Slot>,
    in_order: bool,
    /// Of a generator that owes nobody a surprise: the same story is told in the same order each time.
    dice: u64,
}

impl Queue {
    /// Empty.
    pub fn new() -> Queue {
        Queue { now: Vec::new(), next: Vec::new(), in_order: true, dice: 1 }
    }

    /// Whether it is in the queue already is the entry's flag to say.
    pub fn push(&mut self, slot: Slot) {
        self.next.push(slot);
    }

    /// The entry whose turn it is.
    pub fn pop(&mut self) -> Option<Slot> {
        if self.now.is_empty() {
            std::mem::swap(&mut self.now, &mut self.next);
            self.next.shrink_to(IN_ORDER);
            self.in_order = self.now.len() <= IN_ORDER;
            if self.in_order {
                self.now.reverse();
            }
        }
        if self.in_order || self.now.len() < 2 {
            return self.now.pop();
        }
        let i = self.roll() % self.now.len();
        Some(self.now.swap_remove(i))
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.now.len() + self.next.len()
    }

    /// None.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A linear congruential generator (Knuth's MMIX); its upper half is random enough to scatter.
    fn roll(&mut self) -> usize {
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.dice >> 33) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(slots: std::ops::Range<u32>) -> Queue {
        let mut queue = Queue::new();
        slots.for_each(|i| queue.push(Slot(i)));
        queue
    }

    fn popped(queue: &mut Queue, n: usize) -> Vec<u32> {
        (0..n).map(|_| queue.pop().unwrap().0).collect()
    }

    #[test]
    fn a_short_generation_keeps_its_order() {
        let mut queue = queue(0..512);
        assert_eq!(popped(&mut queue, 512), (0..512).collect::<Vec<_>>());
        assert_eq!((queue.pop(), queue.len()), (None, 0));
    }

    #[test]
    fn a_long_generation_is_scattered_and_complete() {
        let mut queue = queue(0..10_000);
        let mut all = popped(&mut queue, 10_000);
        let steps = all.windows(2).filter(|w| w[1].abs_diff(w[0]) < 16).count();
        assert!(steps < 200, "{steps} of 9,999 steps went to a neighbour");
        all.sort_unstable();
        assert_eq!(all, (0..10_000).collect::<Vec<_>>());
        assert!(queue.is_empty());
    }

    #[test]
    fn nobody_is_overtaken_by_a_later_generation() {
        let mut queue = queue(0..1000);
        let first = queue.pop().unwrap();
        (1000..50_000).for_each(|i| queue.push(Slot(i)));
        assert!(first.0 < 1000 && popped(&mut queue, 999).into_iter().all(|i| i < 1000));
        assert!(queue.pop().unwrap().0 >= 1000);
    }
}
