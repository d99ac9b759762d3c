//! What one station has yet to hear, in order and bounded.
//!
//! In: what happened to sessions and prefixes. Out: [`Entry`]s, the oldest first. What an entry says of a prefix is looked up by who takes it out.
//!
//! A prefix stands in it once for each table, however often it changes. A session is known by the connection that it runs over, so that an entry
//! of one that is over says nothing of the next one with the same peer.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;

use crate::num::{ConnId, Family, Nlri, PeerId};

/// A session: the peer, and the connection that carries it.
pub type Of = (PeerId, ConnId);

/// The Loc-RIB, which has no session.
pub const LOC_RIB: Of = (PeerId::LOCAL, ConnId(0));

/// The most entries. Beyond it the station has to begin from the beginning, which is no more than these would have been.
pub const MOST_ENTRIES: usize = 200_000;

/// The most octets of what peers were sent.
pub const MOST_OCTETS: usize = 8 << 20;

/// One thing to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A session stands; the Loc-RIB is there.
    Up(Of),
    /// A session is over: the reason and what belongs to it.
    Down(Of, Bytes),
    /// This prefix is announced otherwise by the peer, or used otherwise.
    Changed(Of, Nlri),
    /// The peer was sent this.
    Sent(Of, Bytes),
    /// The part of a table from this cursor on.
    Dump(Of, Dump, Family, u64),
    /// Numbers are due.
    Statistics(Of),
}

/// Which table is told from the beginning to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dump {
    /// What the peer announced.
    In,
    /// What the peer is told.
    Out,
    /// What is used.
    Loc,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Queue {
    entries: VecDeque<Entry>,
    changed: BTreeSet<(Of, Nlri)>,
    octets: usize,
    dumps: usize,
}

impl Queue {
    /// Behind the others.
    pub fn push(&mut self, entry: Entry) {
        match &entry {
            Entry::Changed(of, nlri) if !self.changed.insert((*of, *nlri)) => return,
            Entry::Sent(_, octets) | Entry::Down(_, octets) => self.octets += octets.len(),
            Entry::Dump(..) => self.dumps += 1,
            Entry::Changed(..) | Entry::Up(_) | Entry::Statistics(_) => {}
        }
        self.entries.push_back(entry);
    }

    /// The oldest.
    pub fn pop(&mut self) -> Option<Entry> {
        let entry = self.entries.pop_front()?;
        match &entry {
            Entry::Changed(of, nlri) => drop(self.changed.remove(&(*of, *nlri))),
            Entry::Sent(_, octets) | Entry::Down(_, octets) => self.octets -= octets.len(),
            Entry::Dump(..) => self.dumps -= 1,
            Entry::Up(_) | Entry::Statistics(_) => {}
        }
        Some(entry)
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// None.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Tables are still being told from the beginning.
    pub fn is_dumping(&self) -> bool {
        self.dumps > 0
    }

    /// There is more than a station may have us keep.
    pub fn is_over_full(&self) -> bool {
        self.entries.len() > MOST_ENTRIES || self.octets > MOST_OCTETS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::PathId;

    fn nlri(n: u32) -> Nlri {
        let net = ipnet::Ipv4Net::new(n.into(), 32).expect("a length");
        Nlri { net: net.into(), path_id: PathId(0) }
    }

    const A: Of = (PeerId(1), ConnId(7));

    #[test]
    fn a_prefix_waits_once_however_often_it_changes() {
        let mut queue = Queue::default();
        (0..1_000).for_each(|_| queue.push(Entry::Changed(A, nlri(1))));
        queue.push(Entry::Changed((PeerId(1), ConnId(8)), nlri(1)));
        assert_eq!(queue.len(), 2, "and once more for the next session of the peer");
        assert_eq!(queue.pop(), Some(Entry::Changed(A, nlri(1))));
        queue.push(Entry::Changed(A, nlri(1)));
        assert_eq!(queue.len(), 2, "what was taken out and changes again comes again");
    }

    #[test]
    fn what_happened_stays_in_order() {
        let mut queue = Queue::default();
        let all =
            [Entry::Up(A), Entry::Dump(A, Dump::In, Family::Ipv4Unicast, 0), Entry::Changed(A, nlri(1)), Entry::Down(A, Bytes::new())];
        all.iter().for_each(|entry| queue.push(entry.clone()));
        assert!(queue.is_dumping());
        let out: Vec<Entry> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(out, all);
        assert!(queue.is_empty() && !queue.is_dumping());
    }

    #[test]
    fn a_queue_has_bounds_in_entries_and_in_octets() {
        let mut queue = Queue::default();
        (0..=MOST_ENTRIES as u32).for_each(|n| queue.push(Entry::Changed(A, nlri(n))));
        assert!(queue.is_over_full());
        queue.pop();
        assert!(!queue.is_over_full());
        let mut queue = Queue::default();
        let frame = Bytes::from(vec![0; MOST_OCTETS / 2]);
        (0..3).for_each(|_| queue.push(Entry::Sent(A, frame.clone())));
        assert!(queue.is_over_full());
        queue.pop();
        assert!(!queue.is_over_full());
    }
}
