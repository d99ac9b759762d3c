//! One batch of changes on its way from best routes to frames: what is withdrawn and what is announced, by attribute set.
//!
//! In: the class before and the class after of a destination. Out: buckets, those of prefixes where split horizon moved among them.
//! The order in which octets are written makes every interleaving right: withdrawals first, then announcements; and a destination that
//! changes twice in a batch closes the batch before its second change.

use std::collections::HashMap;

use bytes::BytesMut;
use foldhash::fast::FixedState;
use ipnet::IpNet;
use smallvec::SmallVec;

use super::super::adj_out::{GroupKey, SplitHorizon, fits_every_prefix};
use super::super::keyed::Keyed;
use super::super::pack::{Buckets, Load};
use super::advertised::{AdvertisedRoutes, ClassId, Outgoing};
use crate::num::{Family, Nlri};
use crate::wire::{Context, encode_reach, encode_unreach};

/// So many prefixes are handed to the encoder at a time, so that segments stay near their size.
const RUN: usize = 8192;

/// What is to be written for the group.
#[derive(Debug)]
pub(super) struct Batch {
    /// With each, whether nothing stood before.
    pub reach: Buckets<(Outgoing, bool)>,
    /// By who must not see it.
    pub unreach: Buckets<SplitHorizon>,
    /// Slots of `reach` by what goes there; more than one where rules look at the prefix.
    slots: HashMap<Kind, SmallVec<[u32; 2]>, FixedState>,
    last: Option<(Kind, u32)>,
    horizons: HashMap<(SplitHorizon, Family), u32, Keyed>,
    uniform: bool,
    send: Context,
    /// Withdrawn for those whom the first names and the second does not.
    pub horizon_withdrawn: Buckets<(SplitHorizon, SplitHorizon)>,
    /// Announced to those whom the avoidance names and that of the route does not.
    pub horizon_announced: Buckets<(Outgoing, SplitHorizon)>,
    moves: HashMap<(Move, Family), u32, Keyed>,
}

/// AttributeClass and family of what is announced, and whether nothing stood before.
pub(super) type Kind = (ClassId, Family, bool);

/// Where split horizon went, of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Move {
    /// Members that `after` excludes and `before` did not.
    Withdrawn { after: SplitHorizon, before: SplitHorizon },
    /// Members that `before` excluded and the new route does not.
    Announced { new: ClassId, before: SplitHorizon },
}

impl Batch {
    /// Empty.
    pub fn new(key: &GroupKey, hasher: &Keyed) -> Batch {
        Batch {
            reach: Buckets::new(),
            unreach: Buckets::new(),
            slots: HashMap::default(),
            last: None,
            horizons: HashMap::with_hasher(hasher.clone()),
            uniform: !key.chain.depends_on_prefix(),
            send: key.send.clone(),
            horizon_withdrawn: Buckets::new(),
            horizon_announced: Buckets::new(),
            moves: HashMap::with_hasher(hasher.clone()),
        }
    }

    /// There is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.reach.is_empty() && self.unreach.is_empty() && self.horizon_withdrawn.is_empty() && self.horizon_announced.is_empty()
    }

    /// The slot of a class whose rules do not look at the prefix, if this batch has one.
    pub fn known_slot(&mut self, kind: Kind) -> Option<u32> {
        if !self.uniform {
            return None;
        }
        if let Some((_, slot)) = self.last.filter(|(known, _)| *known == kind) {
            return Some(slot);
        }
        let slot = *self.slots.get(&kind)?.first()?;
        self.last = Some((kind, slot));
        Some(slot)
    }

    /// The slot for these attributes of a class.
    pub fn slot(&mut self, kind: Kind, out: &Outgoing) -> u32 {
        if let Some(slot) = self.known_slot(kind) {
            return slot;
        }
        let slots = self.slots.entry(kind).or_default();
        let reach = &mut self.reach;
        if let Some(same) = slots.iter().find(|s| reach.get(**s).is_some_and(|(known, _)| known.attrs == out.attrs)) {
            return *same;
        }
        let slot = reach.slot((out.clone(), kind.2));
        if fits_every_prefix(&out.attrs, kind.1, &self.send) {
            slots.push(slot);
        }
        slot
    }

    /// A prefix is withdrawn from all who had it.
    pub fn withdraw(&mut self, nlri: Nlri, horizon: SplitHorizon) {
        let unreach = &mut self.unreach;
        let slot = *self.horizons.entry((horizon, nlri.family())).or_insert_with(|| unreach.slot(horizon));
        unreach.push(slot, nlri);
    }

    /// Split horizon moved: those whom `after` names and `before` does not no longer hear the prefix.
    pub fn withdraw_by_horizon(&mut self, nlri: Nlri, before: SplitHorizon, after: SplitHorizon) {
        let horizon_withdrawn = &mut self.horizon_withdrawn;
        let slot = *self
            .moves
            .entry((Move::Withdrawn { after, before }, nlri.family()))
            .or_insert_with(|| horizon_withdrawn.slot((after, before)));
        horizon_withdrawn.push(slot, nlri);
    }

    /// Those whom `before` names and the route's own avoidance does not hear it from now on.
    pub fn announce_by_horizon(&mut self, nlri: Nlri, before: SplitHorizon, new: ClassId, out: &Outgoing) {
        let horizon_announced = &mut self.horizon_announced;
        // Where rules look at the prefix one class goes out in many ways.
        let slot = match self.moves.get(&(Move::Announced { new, before }, nlri.family())).filter(|_| self.uniform) {
            Some(slot) => *slot,
            None => {
                let slot = horizon_announced.slot((out.clone(), before));
                self.moves.insert((Move::Announced { new, before }, nlri.family()), slot);
                slot
            }
        };
        horizon_announced.push(slot, nlri);
    }

    /// Its content has been written; the numbers of its slots mean nothing any more.
    pub fn reset(&mut self) {
        self.last = None;
        self.slots.clear();
        self.horizons.clear();
        self.moves.clear();
    }

    /// Gives back memory that a burst took.
    pub fn shrink(&mut self) {
        self.reach.shrink();
        self.unreach.shrink();
        self.horizon_withdrawn.shrink();
        self.horizon_announced.shrink();
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

/// One prefix as the group gets it now.
pub(super) fn current(routes: &mut AdvertisedRoutes, class: ClassId, net: &IpNet, key: &GroupKey) -> Option<Outgoing> {
    if class.is_none() { None } else { routes.outgoing(class, net, key).ok() }
}
