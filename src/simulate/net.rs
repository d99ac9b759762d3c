//! Connections between machines, and who reaches whom.
//!
//! In: octets for one end. Out: what is on its way to the other, in order, as far as the window goes. When it arrives is the world's matter.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use crate::num::{ConnId, Instant};

/// Octets that may be on the way, or unread at the other end, before the sender's kernel takes no more.
pub(super) const WINDOW: usize = 1 << 20;

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub node: usize,
    pub conn: ConnId,
    /// Which of the node's programs has it: a restarted one does not.
    pub life: u32,
}

/// What goes over a connection.
#[derive(Debug)]
pub(super) enum Parcel {
    Octets(Vec<Bytes>),
    /// Nothing follows.
    End(Option<&'static str>),
}

/// One direction, seen from its sending end.
#[derive(Debug, Default)]
pub(super) struct Direction {
    /// Not yet taken by the kernel.
    pub outbox: VecDeque<Bytes>,
    /// Taken, and not read at the other end.
    pub unread: usize,
    /// When the last thing sent arrives.
    pub last: Instant,
    /// Close after the outbox.
    pub closing: bool,
    /// What is sent again until it gets through, and since when.
    pub held: VecDeque<Parcel>,
    pub held_since: Instant,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Link {
    pub ends: [End; 2],
    /// By the sending end.
    pub ways: [Direction; 2],
}

impl Link {
    pub fn new(a: End, b: End) -> Link {
        Link { ends: [a, b], ways: [Direction::default(), Direction::default()] }
    }
}

/// When TCP tries again: the first moment from `open` on of those 0.2, 0.6, 1.4, 3, 6.2 s and so on after `lost`.
pub(super) fn tried_again(lost: Instant, open: Instant) -> Instant {
    let (mut wait, mut at) = (Duration::from_millis(200), lost + Duration::from_millis(200));
    while at < open {
        wait = (wait * 2).min(Duration::from_secs(120));
        at = at + wait;
    }
    at
}

/// Who reaches whom: the network under the routers.
#[derive(Debug)]
pub(super) struct Underlay {
    /// Machines that are on.
    pub on: Vec<bool>,
    racks: Vec<Option<usize>>,
    /// The router of each rack.
    tors: Vec<Option<usize>>,
    cuts: BTreeSet<(usize, usize)>,
    /// Where a machine is during a partition.
    sides: Vec<u8>,
}

impl Underlay {
    pub fn new(racks: Vec<Option<usize>>, tors: &[usize]) -> Underlay {
        let count = racks.iter().flatten().max().map_or(0, |most| most + 1);
        let router = |rack| tors.iter().copied().find(|tor| racks[*tor] == Some(rack));
        let tors = (0..count).map(router).collect();
        Underlay { on: vec![true; racks.len()], sides: vec![0; racks.len()], cuts: BTreeSet::new(), tors, racks }
    }

    /// The router of its rack is on, if it has one.
    fn is_wired(&self, n: usize) -> bool {
        self.racks[n].and_then(|rack| self.tors[rack]).is_none_or(|tor| self.on[tor])
    }

    /// A packet from one arrives at the other.
    pub fn reaches(&self, a: usize, b: usize) -> bool {
        self.on[a]
            && self.on[b]
            && self.sides[a] == self.sides[b]
            && self.is_wired(a)
            && self.is_wired(b)
            && (self.cuts.is_empty() || !self.cuts.contains(&(a.min(b), a.max(b))))
    }

    pub fn cut(&mut self, a: usize, b: usize) {
        self.cuts.insert((a.min(b), a.max(b)));
    }

    pub fn mend(&mut self, a: usize, b: usize) {
        self.cuts.remove(&(a.min(b), a.max(b)));
    }

    /// These on one side, all others on the other; none: together again.
    pub fn part(&mut self, some: &[usize]) {
        self.sides.fill(0);
        some.iter().for_each(|n| self.sides[*n] = 1);
    }
}
