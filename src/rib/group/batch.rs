//! One batch of changes on its way from best routes to frames: what is withdrawn and what is announced, by attribute set.
//!
//! In: the class before and the class after of a destination. Out: buckets, and frames for single members where split horizon moved.
//! The order in which octets are written makes every interleaving right: withdrawals first, then announcements; and a destination that
//! changes twice in a batch closes the batch before its second change.

use std::collections::HashMap;

use bytes::BytesMut;
use foldhash::fast::FixedState;
use ipnet::IpNet;

use super::super::adj_out::{Avoid, GroupKey};
use super::super::pack::{Buckets, Load};
use super::told::{ClassId, Outgoing, Told};
use crate::num::{Family, Nlri, PeerId};
use crate::wire::{Context, encode_reach, encode_unreach};

/// So many prefixes are handed to the encoder at a time, so that segments stay near their size.
const RUN: usize = 8192;

/// What is to be said to the group.
#[derive(Debug)]
pub(super) struct Batch {
    pub reach: Buckets<Outgoing>,
    pub unreach: Buckets<Avoid>,
    /// Slots of `reach` by class and family; more than one where rules look at the prefix.
    slots: HashMap<(ClassId, Family), Vec<u32>, FixedState>,
    last: Option<(ClassId, Family, u32)>,
    avoids: HashMap<(Avoid, Family), u32, FixedState>,
    uniform: bool,
    /// For single members: what they alone hear.
    pub directed: Vec<Directed>,
}

/// A prefix for one member. `None` withdraws.
#[derive(Debug)]
pub(super) struct Directed {
    pub member: PeerId,
    pub nlri: Nlri,
    pub out: Option<Outgoing>,
}

impl Batch {
    pub fn new(key: &GroupKey) -> Batch {
        Batch {
            reach: Buckets::new(),
            unreach: Buckets::new(),
            slots: HashMap::default(),
            last: None,
            avoids: HashMap::default(),
            uniform: !key.chain.depends_on_prefix(),
            directed: Vec::new(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.reach.is_empty() && self.unreach.is_empty() && self.directed.is_empty()
    }

    /// The slot of a class whose rules do not look at the prefix, if this batch has one.
    pub fn known_slot(&mut self, class: ClassId, family: Family) -> Option<u32> {
        if !self.uniform {
            return None;
        }
        if let Some((_, _, slot)) = self.last.filter(|(c, f, _)| (*c, *f) == (class, family)) {
            return Some(slot);
        }
        let slot = *self.slots.get(&(class, family))?.first()?;
        self.last = Some((class, family, slot));
        Some(slot)
    }

    /// The slot for these attributes of a class.
    pub fn slot(&mut self, class: ClassId, family: Family, out: &Outgoing) -> u32 {
        if let Some(slot) = self.known_slot(class, family) {
            return slot;
        }
        let slots = self.slots.entry((class, family)).or_default();
        let reach = &mut self.reach;
        if let Some(same) = slots.iter().find(|s| reach.get(**s).is_some_and(|known| known.attrs == out.attrs)) {
            return *same;
        }
        let slot = reach.slot(out.clone());
        slots.push(slot);
        slot
    }

    pub fn withdraw(&mut self, nlri: Nlri, avoid: Avoid) {
        let unreach = &mut self.unreach;
        let slot = *self.avoids.entry((avoid, nlri.family())).or_insert_with(|| unreach.slot(avoid));
        unreach.push(slot, nlri);
    }

    /// Its content has been written; the numbers of its slots mean nothing any more.
    pub fn reset(&mut self) {
        self.last = None;
        self.slots.clear();
        self.avoids.clear();
    }

    /// Gives back memory that a burst took.
    pub fn shrink(&mut self) {
        self.reach.shrink();
        self.unreach.shrink();
        if self.slots.capacity() > 4096 {
            self.slots = HashMap::default();
        }
    }
}

/// Announces all of `nlri`, of one family.
pub(super) fn write_reach(out: &Outgoing, nlri: &[Nlri], ctx: &Context, mut to: impl FnMut(Load, &mut dyn FnMut(&mut BytesMut))) {
    for run in nlri.chunks(RUN) {
        to(Load::of(run.len(), true), &mut |buf| {
            encode_reach(&out.attrs, run, ctx, buf);
        });
    }
}

/// Withdraws all of `nlri`, of one family.
pub(super) fn write_unreach(nlri: &[Nlri], ctx: &Context, mut to: impl FnMut(Load, &mut dyn FnMut(&mut BytesMut))) {
    for run in nlri.chunks(RUN) {
        to(Load::of(run.len(), false), &mut |buf| {
            encode_unreach(run, ctx, buf);
        });
    }
}

/// One prefix as the group hears it now.
pub(super) fn current(told: &mut Told, class: ClassId, net: &IpNet, key: &GroupKey) -> Option<Outgoing> {
    if class.is_none() { None } else { told.outgoing(class, net, key).ok() }
}
