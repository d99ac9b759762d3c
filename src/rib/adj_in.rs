//! Adj-RIB-In: what each peer announced, with the verdict on it, refused routes included.
//!
//! In: routes with the verdict of import. Out: paths that stand in their destination, a list of them for each peer and family, and
//! counts that always equal a recount. Which path is used is decided in `decide`, when in `loc`.
//!
//! # Generations
//! Each path remembers the generation in which it was last announced, and a mark is a number: "all paths of this peer are stale" (RFC 4724
//! §4.2), "all are to be announced again" (RFC 7313 §4) and "all that were not are gone" cost the same whatever the table holds. A path that
//! is gone is no candidate and is counted no more from that moment on; a job (`jobs`) takes it out of the table later, in small steps.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::fast::FixedState;
use serde::{Deserialize, Serialize};

use super::attrs::Attrs;
use super::decide::SourceFacts;
use super::{Limits, NextHops, NhId};
use crate::num::{Family, PathId, PeerId};

/// Why a route stands as it stands, for `catbird why` and the counters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "cause", content = "detail", rename_all = "snake_case")]
pub enum Cause {
    /// The peer said so, and import let it in.
    Announced,
    Withdrawn,
    SessionDown,
    /// The attribute of this type was malformed: treated as withdrawn (RFC 7606 §2).
    Malformed(u8),
    /// Our AS stands in AS_PATH more often than allowed (RFC 4271 §9.1.2).
    AsLoop,
    /// We are the ORIGINATOR_ID (RFC 4456 §8).
    OriginatorLoop,
    /// Our cluster stands in CLUSTER_LIST (RFC 4456 §8).
    ClusterLoop,
    /// The next hop is an address of ours, or none that may be one (RFC 4271 §5.1.3).
    NextHopRefused,
    /// The external peer's AS is not the first of AS_PATH (RFC 4271 §6.3).
    FirstAsDiffers,
    /// Multicast, loopback or the like: no unicast route leads there (RFC 4271 §6.3).
    NotUnicast,
    /// Policy, named by its rule.
    RefusedByPolicy(Arc<str>),
    /// An external peer without import policy: nothing is taken (RFC 8212 §2).
    NoPolicy,
    /// Beyond the limit of prefixes.
    MaxPrefix,
    /// Stale, and not said again in time (RFC 4724 §4.2).
    StaleExpired,
    /// Not said again between BoRR and EoRR (RFC 7313 §4).
    NotRefreshed,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Announced => f.write_str("announced"),
            Cause::Withdrawn => f.write_str("withdrawn"),
            Cause::SessionDown => f.write_str("session down"),
            Cause::Malformed(code) => write!(f, "malformed attribute {code}"),
            Cause::AsLoop => f.write_str("own AS in AS_PATH"),
            Cause::OriginatorLoop => f.write_str("own router identifier in ORIGINATOR_ID"),
            Cause::ClusterLoop => f.write_str("own cluster in CLUSTER_LIST"),
            Cause::NextHopRefused => f.write_str("next hop refused"),
            Cause::FirstAsDiffers => f.write_str("first AS is not the peer's"),
            Cause::NotUnicast => f.write_str("not a unicast prefix"),
            Cause::RefusedByPolicy(rule) => write!(f, "refused by policy {rule}"),
            Cause::NoPolicy => f.write_str("no import policy (RFC 8212)"),
            Cause::MaxPrefix => f.write_str("beyond the prefix limit"),
            Cause::StaleExpired => f.write_str("stale and not announced again"),
            Cause::NotRefreshed => f.write_str("not announced again in a refresh"),
        }
    }
}

/// A route as one peer told it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub received: Attrs,
    /// After import policy. `None`: refused, kept for show and for a later change of mind.
    pub attrs: Option<Attrs>,
}

impl Route {
    /// Taken as it came.
    pub fn as_received(received: Attrs) -> Route {
        Route { attrs: Some(received.clone()), received }
    }
}

/// Counts of one peer and family. `accepted + rejected == received`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RouteCounts {
    /// Paths in Adj-RIB-In.
    pub received: u64,
    pub accepted: u64,
    pub rejected: u64,
    /// Kept over a restart of the peer and not yet said again (RFC 4724).
    pub stale: u64,
    /// Of the attribute sets as they came, counted for each path: no less than what the peer makes us hold.
    #[serde(skip)]
    pub attribute_octets: u64,
    /// Of those of refused routes.
    #[serde(skip)]
    pub rejected_octets: u64,
}

impl RouteCounts {
    pub(super) fn add(&mut self, path: &Path) {
        self.received += 1;
        let octets = path.received.octets().len() as u64;
        self.attribute_octets += octets;
        if path.accepted() {
            self.accepted += 1;
        } else {
            self.rejected += 1;
            self.rejected_octets += octets;
        }
    }

    fn subtract(&mut self, path: &Path) {
        self.received -= 1;
        let octets = path.received.octets().len() as u64;
        self.attribute_octets -= octets;
        if path.accepted() {
            self.accepted -= 1;
        } else {
            self.rejected -= 1;
            self.rejected_octets -= octets;
        }
    }
}

/// What import said. An enumeration of its own so that [`Paths`] packs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    AsReceived,
    Changed,
    Refused,
}

/// One path in its destination.
#[derive(Debug)]
pub(super) struct Path {
    pub received: Attrs,
    /// With [`Verdict::Changed`] only: what policy made of it.
    pub changed: Option<Attrs>,
    pub path_id: PathId,
    /// Which peer.
    pub slot: Slot,
    /// Where in the peer's list.
    pub at: u32,
    /// When it was learned, in seconds of the speaker's time line.
    pub since: u32,
    /// The generation of its peer's routes in which it was last announced.
    pub generation: u32,
    pub cause: CauseId,
    pub flags: PathFlags,
    pub verdict: Verdict,
}

impl Path {
    pub fn accepted(&self) -> bool {
        self.verdict != Verdict::Refused
    }

    /// What the decision sees, if import let it in.
    pub fn attrs(&self) -> Option<&Attrs> {
        match self.verdict {
            Verdict::AsReceived => Some(&self.received),
            Verdict::Changed => self.changed.as_ref(),
            Verdict::Refused => None,
        }
    }
}

/// Bits of a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PathFlags(u8);

impl PathFlags {
    /// Shares load with the best path.
    pub const SHARES: PathFlags = PathFlags(1);
    /// Import let it in and its next hop can be reached, as of the last settlement.
    pub const USABLE: PathFlags = PathFlags(2);

    pub fn has(self, bit: PathFlags) -> bool {
        self.0 & bit.0 != 0
    }

    pub fn set(&mut self, bit: PathFlags, on: bool) {
        if on { self.0 |= bit.0 } else { self.0 &= !bit.0 }
    }
}

/// The paths of a destination; one stands inline.
#[derive(Debug)]
pub(super) enum Paths {
    None,
    One(Path),
    Many(Box<Many>),
}

impl Paths {
    pub fn as_slice(&self) -> &[Path] {
        match self {
            Paths::None => &[],
            Paths::One(path) => std::slice::from_ref(path),
            Paths::Many(many) => &many.paths,
        }
    }

    /// Who changes the order is to say so ([`Paths::reordered`]).
    pub fn as_mut_slice(&mut self) -> &mut [Path] {
        match self {
            Paths::None => &mut [],
            Paths::One(path) => std::slice::from_mut(path),
            Paths::Many(many) => &mut many.paths,
        }
    }

    pub fn push(&mut self, path: Path) {
        *self = match std::mem::replace(self, Paths::None) {
            Paths::None => Paths::One(path),
            Paths::One(first) => Paths::Many(Box::new(Many { paths: vec![first, path], places: None, searched: 0 })),
            Paths::Many(mut many) => {
                many.push(path);
                Paths::Many(many)
            }
        };
    }

    /// Takes one out; the last takes its place.
    pub fn swap_remove(&mut self, at: usize) -> Option<Path> {
        match std::mem::replace(self, Paths::None) {
            Paths::One(path) if at == 0 => Some(path),
            Paths::Many(mut many) if at < many.paths.len() => {
                let gone = many.swap_remove(at);
                *self = if many.paths.len() > 1 { Paths::Many(many) } else { many.paths.pop().map_or(Paths::None, Paths::One) };
                Some(gone)
            }
            same => {
                *self = same;
                None
            }
        }
    }

    /// The place of a peer's path.
    pub fn find(&mut self, slot: Slot, path_id: PathId) -> Option<usize> {
        match self {
            Paths::Many(many) if many.paths.len() > Many::FEW => many.find(slot, path_id),
            few => few.as_slice().iter().position(|p| p.slot == slot && p.path_id == path_id),
        }
    }

    /// How many a peer has.
    pub fn count(&self, slot: Slot) -> usize {
        self.as_slice().iter().filter(|p| p.slot == slot).count()
    }

    /// The paths stand in another order.
    pub fn reordered(&mut self) {
        if let Paths::Many(many) = self {
            (many.places, many.searched) = (None, 0);
        }
    }
}

/// Two paths and more. Of very many (RFC 7911: a prefix that each node of a cluster announces, seen by a reflector) it is soon noted where
/// each stands.
#[derive(Debug)]
pub(super) struct Many {
    paths: Vec<Path>,
    places: Option<BTreeMap<(Slot, PathId), u32>>,
    /// Searches since the order changed.
    searched: u32,
}

impl Many {
    /// So many are searched as quickly as they are noted.
    const FEW: usize = 64;
    /// So often they are searched before it pays to note where they stand.
    const OFTEN: u32 = 8;

    fn find(&mut self, slot: Slot, path_id: PathId) -> Option<usize> {
        if self.places.is_none() && self.searched < Many::OFTEN {
            self.searched += 1;
            return self.paths.iter().position(|p| p.slot == slot && p.path_id == path_id);
        }
        let note = || self.paths.iter().zip(0..).map(|(p, at)| ((p.slot, p.path_id), at)).collect();
        self.places.get_or_insert_with(note).get(&(slot, path_id)).map(|at| *at as usize)
    }

    fn push(&mut self, path: Path) {
        if let Some(places) = &mut self.places {
            places.insert((path.slot, path.path_id), self.paths.len() as u32);
        }
        self.paths.push(path);
    }

    fn swap_remove(&mut self, at: usize) -> Path {
        let gone = self.paths.swap_remove(at);
        if self.paths.len() <= Many::FEW {
            self.places = None;
        }
        if let Some(places) = &mut self.places {
            places.remove(&(gone.slot, gone.path_id));
            if let Some(moved) = self.paths.get(at) {
                places.insert((moved.slot, moved.path_id), at as u32);
            }
        }
        if self.paths.capacity() > 4 * self.paths.len() + 64 {
            self.paths.shrink_to(2 * self.paths.len());
        }
        gone
    }
}

/// A peer's place in [`Peers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Slot(pub u32);

/// A point in the announcements of a peer: what it announced before and not again since is old.
#[derive(Clone, Copy, Debug)]
struct Mark {
    /// Paths of earlier generations are old.
    generation: u32,
    /// Of the paths that are not.
    since: RouteCounts,
}

/// The paths of one peer and family: destinations in about the order in which they came. A path keeps its place as long as it is there, so
/// who walks over the places in steps meets every path that was there at the beginning; one that comes later may get the place of one that went.
#[derive(Debug, Default)]
pub(super) struct AdjRibIn {
    pub list: Vec<u32>,
    /// Places without a path, the last to become free first; the number of the next stands in each.
    free: Option<u32>,
    holes: usize,
    /// Of the paths that are not gone.
    counts: RouteCounts,
    /// That of paths announced now.
    generation: u32,
    /// A path of this generation was announced.
    used: bool,
    /// Paths of earlier generations are gone.
    gone_before: u32,
    /// Why they are.
    gone_for: Option<Cause>,
    /// Since the session ended last (RFC 4724 §4.2), while stale routes are kept.
    stale: Option<Mark>,
    /// Since BoRR (RFC 7313 §4), until EoRR.
    refresh: Option<Mark>,
    /// Paths that were not taken in, for this peer had too many of their prefix already ([`Limits::paths_of_a_prefix`](super::Limits)).
    pub refused_paths: u64,
    /// Refused routes that were announced and not kept since the peer last began to announce everything.
    pub not_kept: u64,
    /// Of these, those beyond a limit of prefixes, which room that comes back would let in.
    pub no_room: u64,
    /// It was asked to at this second.
    asked: Option<u32>,
    /// The walk over the paths that is under way.
    pub walk: Option<Walk>,
    /// What the next walk is to do besides.
    pub touch: Touch,
    /// Paths refused with [`Cause::MaxPrefix`], by destination: who is to be looked at again when there is room.
    pub over_limit: BTreeSet<(u32, PathId)>,
}

/// One walk over a peer's paths.
#[derive(Debug)]
pub(super) struct Walk {
    /// The next place.
    pub at: usize,
    pub touch: Touch,
}

/// Which paths' destinations are to be chosen again.
#[derive(Debug, Default)]
pub(super) enum Touch {
    #[default]
    None,
    /// Those with these next hops.
    NextHops(NhSet),
    All,
}

impl Touch {
    pub fn is_none(&self) -> bool {
        matches!(self, Touch::None)
    }

    pub fn merge(&mut self, more: Touch) {
        match (&mut *self, more) {
            (Touch::All, _) | (_, Touch::None) => {}
            (Touch::NextHops(known), Touch::NextHops(more)) => known.extend(more),
            (_, more) => *self = more,
        }
    }
}

impl AdjRibIn {
    /// In the list: not a destination, but the number of the next free place, or all ones.
    const TOMBSTONE: u32 = 1 << 31;

    pub fn is_tombstone(entry: u32) -> bool {
        entry & AdjRibIn::TOMBSTONE != 0
    }

    /// Paths that stand in the table.
    pub fn len(&self) -> usize {
        self.list.len() - self.holes
    }

    /// Of the paths that are not gone.
    pub fn counts(&self) -> RouteCounts {
        let stale = self.stale.map_or(0, |mark| self.counts.received - mark.since.received);
        RouteCounts { stale, ..self.counts }
    }

    /// The generation of what is announced now.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Removed, although a job has yet to take it out of the table.
    pub fn is_gone(&self, path: &Path) -> bool {
        path.generation < self.gone_before
    }

    /// Why what is gone was removed last.
    pub fn gone_for(&self) -> Cause {
        self.gone_for.clone().unwrap_or(Cause::SessionDown)
    }

    /// Kept over a restart of the peer and not announced again since.
    pub fn is_stale(&self, path: &Path) -> bool {
        self.stale.is_some_and(|mark| path.generation < mark.generation)
    }

    /// Paths that are gone and yet stand in the table.
    fn gone(&self) -> u64 {
        self.len() as u64 - self.counts.received
    }

    /// A path came, or is another now.
    pub fn count(&mut self, dest: u32, path: &Path) {
        self.counts.add(path);
        self.used |= path.generation == self.generation;
        if self.is_marked() {
            self.marks(path).for_each(|mark| mark.since.add(path));
        }
        if path.cause == CauseId::MAX_PREFIX {
            self.over_limit.insert((dest, path.path_id));
        }
    }

    /// A path goes, or is about to change. True if an accepted one goes while others are refused for want of room.
    #[must_use]
    pub fn discount(&mut self, dest: u32, path: &Path) -> bool {
        if path.cause == CauseId::MAX_PREFIX {
            self.over_limit.remove(&(dest, path.path_id));
        }
        if self.is_gone(path) {
            return false;
        }
        self.counts.subtract(path);
        if self.is_marked() {
            self.marks(path).for_each(|mark| mark.since.subtract(path));
        }
        path.accepted() && (!self.over_limit.is_empty() || self.no_room > 0)
    }

    #[inline]
    fn is_marked(&self) -> bool {
        self.stale.is_some() || self.refresh.is_some()
    }

    /// Those since which the path was announced.
    fn marks(&mut self, path: &Path) -> impl Iterator<Item = &mut Mark> {
        let generation = path.generation;
        [&mut self.stale, &mut self.refresh].into_iter().flatten().filter(move |mark| mark.generation <= generation)
    }

    /// All paths are of earlier generations from now on.
    fn begin(&mut self) -> Mark {
        self.generation += u32::from(self.used);
        self.used = false;
        Mark { generation: self.generation, since: RouteCounts::default() }
    }

    /// The numbers are used up: [`AdjRibIn::renumber`] is to be called for each path, and [`AdjRibIn::renumbered`], before another mark.
    pub fn is_worn_out(&self) -> bool {
        self.generation == u32::MAX
    }

    /// The least number that says the same of a path.
    pub fn renumber(&self, path: &Path) -> u32 {
        let since = |mark: &Option<Mark>| mark.is_none_or(|m| m.generation <= path.generation);
        match (self.is_gone(path), since(&self.stale), since(&self.refresh)) {
            (true, ..) => 0,
            (_, false, _) => 1,
            (_, _, false) => 2,
            _ => 3,
        }
    }

    pub fn renumbered(&mut self) {
        (self.gone_before, self.generation, self.used) = (1, 3, true);
        self.stale.iter_mut().for_each(|mark| mark.generation = 2);
        self.refresh.iter_mut().for_each(|mark| mark.generation = 3);
    }

    /// As after four billion marks.
    #[cfg(test)]
    pub fn wear_out(&mut self) {
        (self.generation, self.used) = (u32::MAX, false);
    }

    /// Everything is stale from now on; what was stale before is gone (RFC 4724 §4.2).
    pub fn retain(&mut self) {
        self.sweep_stale();
        self.refresh = None;
        self.stale = Some(self.begin());
    }

    /// What is stale is gone.
    pub fn sweep_stale(&mut self) {
        let mark = self.stale.take();
        self.gone_for = Some(Cause::StaleExpired);
        self.remove_before(mark);
    }

    /// Everything is to be announced again (RFC 7313 §4).
    pub fn refresh_begins(&mut self) {
        self.refresh = Some(self.begin());
        (self.not_kept, self.no_room) = (0, 0);
    }

    /// Whether the peer is to be asked for what was not kept: all of it, or what room would let in, at most once in so many seconds.
    pub fn ask_again(&mut self, now: u32, room_seconds: Option<u32>) -> bool {
        let early = |seconds| self.asked.is_some_and(|asked| now.saturating_sub(asked) < seconds);
        let wanted = match room_seconds {
            Some(seconds) => self.no_room > 0 && !early(seconds),
            None => self.not_kept > 0,
        };
        if wanted {
            (self.not_kept, self.no_room, self.asked) = (0, 0, Some(now));
        }
        wanted
    }

    /// Whether another refused route finds room.
    pub fn keeps_refused(&self, most: Option<u64>, limits: &Limits, octets: u64) -> bool {
        let (paths, room) = most.map_or((limits.refused_paths, limits.refused_octets), |most| (most, u64::MAX));
        self.counts.rejected < paths && self.counts.rejected_octets + octets <= room
    }

    /// What was not announced again is gone.
    pub fn refresh_ends(&mut self) {
        let mark = self.refresh.take();
        self.gone_for = Some(Cause::NotRefreshed);
        self.remove_before(mark);
    }

    /// Everything is gone.
    pub fn clear(&mut self) {
        let all = self.begin();
        if self.counts.received > 0 {
            self.gone_for = Some(Cause::SessionDown);
        }
        self.remove_before(Some(all));
        (self.stale, self.refresh, self.not_kept, self.no_room) = (None, None, 0, 0);
    }

    fn remove_before(&mut self, mark: Option<Mark>) {
        let Some(Mark { generation, since }) = mark else { return };
        self.gone_before = self.gone_before.max(generation);
        self.counts = since;
        for other in [&mut self.stale, &mut self.refresh].into_iter().flatten().filter(|other| other.generation <= generation) {
            other.since = since;
        }
    }

    /// Whether a walk has something to do.
    pub fn wants_walk(&self) -> bool {
        self.has_gone() || !self.touch.is_none()
    }

    /// Something that is gone stands in the table yet.
    pub fn has_gone(&self) -> bool {
        self.gone() > 0
    }

    /// A place for a path of this destination.
    pub fn push(&mut self, dest: u32) -> u32 {
        let Some(place) = self.free else {
            self.list.push(dest);
            return (self.list.len() - 1) as u32;
        };
        if let Some(spot) = self.list.get_mut(place as usize) {
            let next = *spot & !AdjRibIn::TOMBSTONE;
            self.free = (next != !AdjRibIn::TOMBSTONE).then_some(next);
            *spot = dest;
            self.holes -= 1;
        }
        place
    }

    /// The path of this place went. With the last one the list gives back its memory.
    pub fn tombstone(&mut self, at: u32) {
        if let Some(place) = self.list.get_mut(at as usize) {
            *place = AdjRibIn::TOMBSTONE | self.free.unwrap_or(!AdjRibIn::TOMBSTONE);
            self.free = Some(at);
            self.holes += 1;
        }
        if self.holes == self.list.len() {
            (self.list, self.free, self.holes) = (Vec::new(), None, 0);
        }
    }
}

/// Some next hops.
pub(super) type NhSet = HashSet<NhId, FixedState>;

/// One source of routes.
#[derive(Debug)]
pub(super) struct PeerSlot {
    pub facts: SourceFacts,
    /// It is gone, and the place with it as soon as its paths are.
    pub leaving: bool,
    /// So many refused routes of a family are kept, if not as many as of others.
    pub keep_refused: Option<u64>,
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
    pub fn family(&mut self, family: Family) -> &mut AdjRibIn {
        &mut self.families[family.index()]
    }

    /// Follows a link-local next hop of one of its paths on its link.
    pub fn track_link_local(&mut self, addr: IpAddr, next_hops: &mut impl NextHops) -> NhId {
        let interface = self.facts.interface;
        *self.link_local.entry(addr).or_default().id.get_or_insert_with(|| next_hops.track(addr, interface))
    }

    pub fn tracked_link_local(&self, addr: IpAddr) -> Option<NhId> {
        self.link_local.get(&addr)?.id
    }

    /// One accepted path more has this set.
    pub fn hold_link_local(&mut self, attrs: &Attrs) {
        if let Some(addr) = attrs.link_local() {
            self.link_local.entry(addr).or_default().paths += 1;
        }
    }

    /// One fewer; the last one with this next hop gives back its tracking.
    #[must_use]
    pub fn release_link_local(&mut self, attrs: &Attrs) -> Option<NhId> {
        let addr = attrs.link_local()?;
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
    pub fn slot(&self, id: PeerId) -> Option<Slot> {
        self.by_id.get(&id).copied()
    }

    pub fn get(&self, slot: Slot) -> Option<&PeerSlot> {
        self.slots.get(slot.0 as usize)?.as_deref()
    }

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

    pub fn remove(&mut self, id: PeerId) {
        if let Some(slot) = self.by_id.remove(&id) {
            if let Some(place) = self.slots.get_mut(slot.0 as usize) {
                *place = None;
            }
            self.free.push(slot);
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (Slot, &PeerSlot)> {
        self.slots.iter().enumerate().filter_map(|(i, s)| s.as_deref().map(|s| (Slot(i as u32), s)))
    }
}

/// A refused path's cause, in two octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CauseId(pub u16);

impl CauseId {
    /// [`Cause::Announced`], which every accepted path has and nobody counts.
    pub const ANNOUNCED: CauseId = CauseId(0);
    /// [`Cause::MaxPrefix`], whose paths are looked for.
    pub const MAX_PREFIX: CauseId = CauseId(1);
}

/// The few distinct causes in use, counted, so that reloads do not pile up names of rules.
pub(super) struct Causes {
    all: Vec<(Cause, u32)>,
    by_cause: HashMap<Cause, u16, FixedState>,
    free: Vec<u16>,
}

impl Causes {
    pub fn new() -> Causes {
        let mut by_cause: HashMap<_, _, FixedState> = HashMap::default();
        by_cause.insert(Cause::MaxPrefix, CauseId::MAX_PREFIX.0);
        Causes { all: vec![(Cause::Announced, 0), (Cause::MaxPrefix, 0)], by_cause, free: Vec::new() }
    }

    /// One more path has it.
    pub fn hold(&mut self, cause: &Cause) -> CauseId {
        if *cause == Cause::Announced {
            return CauseId::ANNOUNCED;
        }
        let id = self.by_cause.get(cause).copied().or_else(|| self.add(cause)).unwrap_or(0);
        if let Some((_, n)) = self.all.get_mut(usize::from(id)).filter(|_| id != 0) {
            *n += 1;
        }
        CauseId(id)
    }

    /// `None` if more than 65,535 causes are in use at once; the path is then shown without one.
    fn add(&mut self, cause: &Cause) -> Option<u16> {
        let id = match self.free.pop() {
            Some(id) => id,
            None => {
                let id = u16::try_from(self.all.len()).ok()?;
                self.all.push((Cause::Announced, 0));
                id
            }
        };
        *self.all.get_mut(usize::from(id))? = (cause.clone(), 0);
        self.by_cause.insert(cause.clone(), id);
        Some(id)
    }

    pub fn release(&mut self, id: CauseId) {
        let Some((cause, n)) = self.all.get_mut(usize::from(id.0)).filter(|_| id != CauseId::ANNOUNCED) else { return };
        *n = n.saturating_sub(1);
        if *n == 0 && id != CauseId::MAX_PREFIX {
            self.by_cause.remove(cause);
            self.free.push(id.0);
        }
    }

    pub fn get(&self, id: CauseId) -> &Cause {
        self.all.get(usize::from(id.0)).map_or(&Cause::Announced, |(c, _)| c)
    }

    /// Causes in use, by how many paths.
    pub fn held(&self) -> u32 {
        self.all.iter().map(|(_, n)| n).sum()
    }
}
