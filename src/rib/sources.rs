//! The peers that routes come from: facts that the decision weighs, their Adj-RIB-Ins, and the next hops that are followed for them.
//!
//! A peer keeps its [`Slot`] until its last path has left the table, so that a path can name its peer in four octets.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;

use foldhash::fast::FixedState;

use super::adj_in::{AdjRibIn, NhSet};
use super::attrs::Attrs;
use super::decide::SourceFacts;
use super::path::Slot;
use super::{NextHops, NhId};
use crate::num::{Family, PeerId};

/// One source of routes.
#[derive(Debug)]
pub(super) struct PeerSlot {
    /// What the decision weighs.
    pub facts: SourceFacts,
    /// It is gone, and the place with it as soon as its paths are.
    pub leaving: bool,
    /// So many refused routes of a family are kept, if not as many as of others.
    pub keep_refused: Option<u64>,
    /// By [`Family::index`].
    pub families: [AdjRibIn; 2],
    /// Next hops that its accepted paths were seen to have; perhaps more than they still have.
    pub next_hops: NhSet,
    last_next_hop: Option<NhId>,
    /// Link-local next hops of its accepted paths, tracked on this peer's link.
    link_local: BTreeMap<IpAddr, LinkLocal>,
}

/// A link-local next hop of one peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct LinkLocal {
    /// `None` until a settlement asks for it.
    id: Option<NhId>,
    /// How many accepted paths name it.
    paths: u32,
}

impl PeerSlot {
    /// Its Adj-RIB-In of this family.
    pub fn family(&mut self, family: Family) -> &mut AdjRibIn {
        &mut self.families[family.index()]
    }

    /// Follows a link-local next hop of one of its paths on its link.
    pub fn track_link_local(&mut self, addr: IpAddr, next_hops: &mut impl NextHops) -> NhId {
        let interface = self.facts.interface;
        *self.link_local.entry(addr).or_default().id.get_or_insert_with(|| next_hops.track(addr, interface))
    }

    /// If it is followed already.
    pub fn tracked_link_local(&self, addr: IpAddr) -> Option<NhId> {
        self.link_local.get(&addr)?.id
    }

    /// One accepted path more has this set.
    #[inline]
    pub fn hold_link_local(&mut self, attrs: &Attrs) {
        if let Some(addr) = attrs.link_local() {
            self.hold_link_local_addr(addr);
        }
    }

    #[cold]
    fn hold_link_local_addr(&mut self, addr: IpAddr) {
        self.link_local.entry(addr).or_default().paths += 1;
    }

    /// One fewer; the last one with this next hop gives back its tracking.
    #[inline]
    #[must_use]
    pub fn release_link_local(&mut self, attrs: &Attrs) -> Option<NhId> {
        attrs.link_local().and_then(|addr| self.release_link_local_addr(addr))
    }

    #[cold]
    fn release_link_local_addr(&mut self, addr: IpAddr) -> Option<NhId> {
        let hop = self.link_local.get_mut(&addr)?;
        hop.paths = hop.paths.saturating_sub(1);
        if hop.paths > 0 {
            return None;
        }
        self.link_local.remove(&addr)?.id
    }

    /// Its link is another, or it has left: what was tracked, to be given back.
    pub fn forget_link_local(&mut self) -> impl Iterator<Item = NhId> {
        self.link_local.values_mut().filter_map(|hop| hop.id.take())
    }

    /// How many accepted paths name each link-local next hop.
    pub fn link_local_paths(&self) -> impl Iterator<Item = (IpAddr, u32)> {
        self.link_local.iter().map(|(addr, hop)| (*addr, hop.paths))
    }

    /// Its paths are gone, and what it had next hops of.
    pub fn forget_next_hops(&mut self) {
        (self.next_hops, self.last_next_hop) = (NhSet::default(), None);
    }

    /// An accepted path has this next hop.
    pub fn note_next_hop(&mut self, id: NhId) {
        if self.last_next_hop.replace(id) != Some(id) {
            self.next_hops.insert(id);
        }
    }
}

/// All sources of routes that have, or may have, paths.
#[derive(Default)]
pub(super) struct Peers {
    slots: Vec<Option<Box<PeerSlot>>>,
    by_id: HashMap<PeerId, Slot, FixedState>,
    free: Vec<Slot>,
}

impl Peers {
    /// Where it stands, if it has, or may have, paths.
    pub fn slot(&self, id: PeerId) -> Option<Slot> {
        self.by_id.get(&id).copied()
    }

    /// The peer of a path.
    pub fn get(&self, slot: Slot) -> Option<&PeerSlot> {
        self.slots.get(slot.0 as usize)?.as_deref()
    }

    /// Likewise, to change it.
    pub fn get_mut(&mut self, slot: Slot) -> Option<&mut PeerSlot> {
        self.slots.get_mut(slot.0 as usize)?.as_deref_mut()
    }

    /// A source that has not left.
    pub fn present(&self, id: PeerId) -> Option<Slot> {
        self.slot(id).filter(|slot| self.get(*slot).is_some_and(|peer| !peer.leaving))
    }

    /// Adds a source, or puts new facts in the place of the old. True if paths that stay must be judged anew.
    pub fn up(&mut self, facts: SourceFacts) -> bool {
        if let Some(known) = self.slot(facts.id).and_then(|s| self.get_mut(s)) {
            let differs = known.facts != facts;
            known.facts = facts;
            known.leaving = false;
            return differs;
        }
        let id = facts.id;
        let made = Some(Box::new(PeerSlot {
            facts,
            leaving: false,
            keep_refused: None,
            families: Default::default(),
            next_hops: HashSet::default(),
            last_next_hop: None,
            link_local: BTreeMap::new(),
        }));
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            Slot((self.slots.len() - 1) as u32)
        });
        if let Some(place) = self.slots.get_mut(slot.0 as usize) {
            *place = made;
        }
        self.by_id.insert(id, slot);
        false
    }

    /// Its last path is gone: its slot is free for another.
    pub fn remove(&mut self, id: PeerId) {
        if let Some(slot) = self.by_id.remove(&id) {
            if let Some(place) = self.slots.get_mut(slot.0 as usize) {
                *place = None;
            }
            self.free.push(slot);
        }
    }

    /// In the order of the slots.
    pub fn iter(&self) -> impl Iterator<Item = (Slot, &PeerSlot)> {
        self.slots.iter().enumerate().filter_map(|(i, s)| s.as_deref().map(|s| (Slot(i as u32), s)))
    }
}
