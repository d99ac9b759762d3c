//! Loc-RIB: which path of a destination is in use, and a report when that changes.
//!
//! In: destinations marked dirty by `rib`. Out: a [`BestChange`] for each whose use differs from what was last reported, however often it
//! changed in between. The choice itself is [`select`]'s; next hops are asked of [`NextHops`].

use ipnet::IpNet;
use serde::Serialize;
use smallvec::SmallVec;

use super::attrs::Attrs;
use super::decide::{Candidate, Rules, Selection, SourceKind, Step, rank, select};
use super::path::{Path, PathFlags, Slot};
use super::sources::{PeerSlot, Peers};
use super::table::{Dest, DestFlags, Key};
use super::{DestId, NextHops, NhId};
use crate::num::{Family, PathId, PeerId};

/// A path in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Best {
    /// Who announced it, or [`PeerId::LOCAL`].
    pub peer: PeerId,
    /// As that peer numbers it.
    pub path_id: PathId,
    /// After import policy.
    pub attrs: Attrs,
}

/// What else is new about a destination beside `old` and `new`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Touched {
    /// The set of paths that share the load.
    pub share: bool,
    /// The way to the next hop of a path in use.
    pub way: bool,
    /// Some path came, went or changed (ADD-PATH asks; reported with `Rib::tell_all_paths` only).
    pub paths: bool,
}

/// A destination is used otherwise than was last reported. `old` is what was reported then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BestChange {
    /// Its number in the table.
    pub dest: DestId,
    /// Its prefix.
    pub net: IpNet,
    /// What was in use; `None`: nothing.
    pub old: Option<Best>,
    /// What is in use now; `None`: nothing.
    pub new: Option<Best>,
    /// The step that chose `new`.
    pub why: Step,
    /// What else is new.
    pub touched: Touched,
}

/// A destination that waits for settlement, with what was last reported of it.
pub(super) struct Dirty {
    /// Which.
    pub dest: DestId,
    /// What others believe to be in use.
    pub old: Option<Best>,
    /// The UPDATE that touched it first ([`Rib::begin_update`](super::Rib::begin_update)).
    pub update: u32,
}

/// What is in use as of the last settlement.
pub(super) fn best_of<K>(dest: &Dest<K>, peers: &Peers) -> Option<Best> {
    let path = dest.paths.as_slice().first().filter(|_| dest.flags.has(DestFlags::HAS_BEST))?;
    in_use(path, peers)
}

/// A path as it is passed on, if import let it in.
pub(super) fn in_use(path: &Path, peers: &Peers) -> Option<Best> {
    let peer = peers.get(path.slot)?.facts.id;
    Some(Best { peer, path_id: path.path_id, attrs: path.attrs()?.clone() })
}

/// Whether the path can be used, and at what interior cost (RFC 4271 §9.1.2.1). Tracks its next hop from now on.
#[inline(always)]
fn metric(path: &Path, family: Family, peers: &mut Peers, next_hops: &mut impl NextHops) -> Option<u32> {
    let attrs = path.attrs()?;
    let peer = peers.get_mut(path.slot)?;
    if peer.families[family.index()].is_gone(path) {
        return None;
    }
    if peer.facts.kind == SourceKind::Local {
        return Some(0);
    }
    let id = attrs.nh().unwrap_or_else(|| track(attrs, peer, next_hops));
    peer.note_next_hop(id);
    next_hops.metric(id)
}

/// The next hop of a set that was not seen before, or is its peer's alone.
#[cold]
fn track(attrs: &Attrs, peer: &mut PeerSlot, next_hops: &mut impl NextHops) -> NhId {
    if let Some(addr) = attrs.link_local() {
        return peer.track_link_local(addr, next_hops);
    }
    let id = next_hops.track(attrs.next_hop().addr(), None);
    attrs.set_nh(Some(id));
    id
}

/// The tracked next hop of a path, if it has been seen by a settlement.
pub(super) fn nh_of(path: &Path, peers: &Peers) -> Option<NhId> {
    let attrs = path.attrs()?;
    attrs.nh().or_else(|| peers.get(path.slot)?.tracked_link_local(attrs.link_local()?))
}

/// The interior cost without tracking anything anew, for show.
pub(super) fn known_metric(path: &Path, peers: &Peers, next_hops: &impl NextHops) -> Option<u32> {
    path.attrs()?;
    if peers.get(path.slot)?.facts.kind == SourceKind::Local {
        return Some(0);
    }
    next_hops.metric(nh_of(path, peers)?)
}

/// Candidates of a destination, with their places among its paths.
pub(super) fn candidates<'a>(
    paths: &'a [Path],
    family: Family,
    has_best: bool,
    peers: &'a Peers,
    metrics: &[Option<u32>],
) -> (SmallVec<[Candidate<'a>; 4]>, SmallVec<[usize; 4]>) {
    let (mut all, mut places) = (SmallVec::new(), SmallVec::new());
    for (at, (path, metric)) in paths.iter().zip(metrics).enumerate() {
        let (Some(metric), Some(attrs), Some(peer)) = (*metric, path.attrs(), peers.get(path.slot)) else { continue };
        let (current, stale) = (has_best && at == 0, peer.families[family.index()].is_stale(path));
        let (pref, as_path) = (attrs.preference(), attrs.set().as_path().octets());
        all.push(Candidate { pref, source: &peer.facts, as_path, path_id: path.path_id, metric, current, stale });
        places.push(at);
    }
    (all, places)
}

/// Chooses anew for one destination. Leaves the best path first, behind it as many in order of preference as make `ranked`, and the bits of all
/// paths true.
///
/// `None`, with nothing changed: the next hop of a path was not tracked before, and our own routes may lead there. Who chooses without them
/// tells everybody that the destination is gone, and then that it is back. It is put off once in a row, for the others are not to wait for
/// somebody who names ever more next hops.
pub(super) fn choose<K: Key>(
    dest: &mut Dest<K>,
    peers: &mut Peers,
    rules: &Rules,
    next_hops: &mut impl NextHops,
    ranked: usize,
) -> Option<(Option<Best>, Step, Touched)> {
    let mut touched = Touched { share: dest.flags.has(DestFlags::SHARE_TOUCHED), way: dest.flags.has(DestFlags::WAY_TOUCHED), paths: true };
    let (mut moved, mut best_from) = (false, None);
    let step = match dest.paths.as_mut_slice() {
        [] => None,
        [path] => {
            let metric = metric(path, K::FAMILY, peers, next_hops);
            if is_early(std::slice::from_ref(path), &mut dest.flags, peers, next_hops) {
                return None;
            }
            mark_usable(path, metric).map(|_| {
                touched.share |= path.flags.has(PathFlags::SHARES);
                path.flags.set(PathFlags::SHARES, false);
                Step::Only
            })
        }
        paths => {
            let mut metrics: SmallVec<[Option<u32>; 8]> = paths.iter().map(|p| metric(p, K::FAMILY, peers, next_hops)).collect();
            if is_early(paths, &mut dest.flags, peers, next_hops) {
                return None;
            }
            for (path, metric) in paths.iter_mut().zip(&metrics) {
                mark_usable(path, *metric);
            }
            let has_best = dest.flags.has(DestFlags::HAS_BEST);
            let (all, places) = candidates(paths, K::FAMILY, has_best, peers, &metrics);
            let selection = select(&all, rules);
            drop(all);
            if let Some(at) = arrange(paths, &selection, &places, &mut touched) {
                metrics.swap(0, at);
                best_from = Some(at);
            }
            if ranked > 1 {
                moved = true;
                order((paths, K::FAMILY), &mut metrics, peers, rules, ranked);
            }
            selection.best.map(|_| selection.why)
        }
    };
    match best_from {
        _ if moved => dest.paths.reordered(),
        Some(at) => dest.paths.swapped_with_best(at),
        None => {}
    }
    dest.flags.set(DestFlags::UNSETTLED, false);
    dest.flags.set(DestFlags::HAS_BEST, step.is_some());
    touched.way &= step.is_some();
    Some((best_of(dest, peers), step.unwrap_or(Step::Only), touched))
}

/// Whether a choice among these is better put off, which is noted.
fn is_early(paths: &[Path], flags: &mut DestFlags, peers: &Peers, next_hops: &impl NextHops) -> bool {
    let early = next_hops.has_newly_tracked()
        && !flags.has(DestFlags::POSTPONED)
        && paths.iter().any(|path| nh_of(path, peers).is_some_and(|id| next_hops.awaits_recursive(id)));
    flags.set(DestFlags::POSTPONED, early);
    early
}

fn mark_usable(path: &mut Path, metric: Option<u32>) -> Option<u32> {
    path.flags.set(PathFlags::USABLE, metric.is_some());
    metric
}

/// So many places are filled as quickly by one choice after the other as by putting all in order.
const FEW: usize = 8;

/// Puts the paths behind the best one in the order in which they would be chosen if those before were gone (RFC 7911: the best N).
fn order((paths, family): (&mut [Path], Family), metrics: &mut [Option<u32>], peers: &Peers, rules: &Rules, ranked: usize) {
    if ranked <= FEW {
        return order_few((paths, family), metrics, peers, rules, ranked);
    }
    let (Some(rest), Some(costs)) = (paths.get_mut(1..), metrics.get(1..)) else { return };
    let (all, places) = candidates(rest, family, false, peers, costs);
    let ranked = rank(&all, rules);
    drop(all);
    let mut wanted: SmallVec<[u32; 8]> = SmallVec::from_elem(u32::MAX, rest.len());
    for (rank, place) in ranked.iter().filter_map(|i| places.get(*i)).enumerate() {
        if let Some(wanted) = wanted.get_mut(*place) {
            *wanted = rank as u32;
        }
    }
    // Each swap brings one path to its place; those that cannot be used come last, as they stand.
    let unusable = wanted.iter_mut().filter(|rank| **rank == u32::MAX);
    unusable.zip(ranked.len() as u32..).for_each(|(rank, last)| *rank = last);
    for at in 0..rest.len() {
        while let Some(to) = wanted.get(at).map(|to| *to as usize).filter(|to| *to != at) {
            rest.swap(at, to);
            wanted.swap(at, to);
        }
    }
}

/// The same for the first few only, one choice after the other.
fn order_few((paths, family): (&mut [Path], Family), metrics: &mut [Option<u32>], peers: &Peers, rules: &Rules, ranked: usize) {
    for from in 1..ranked.min(paths.len()) {
        let (Some(rest), Some(costs)) = (paths.get(from..), metrics.get(from..)) else { return };
        let (all, places) = candidates(rest, family, false, peers, costs);
        let next = select(&all, rules).best.and_then(|i| places.get(i)).map(|at| from + at);
        drop(all);
        let Some(next) = next else { return };
        paths.swap(from, next);
        metrics.swap(from, next);
    }
}

/// Puts the best path first, which tells where it stood, and marks those that share the load.
fn arrange(paths: &mut [Path], selection: &Selection, places: &[usize], touched: &mut Touched) -> Option<usize> {
    let best_alone = selection.multipath.len() == 1 && selection.multipath.first() == selection.best.as_ref();
    for (at, path) in paths.iter_mut().enumerate() {
        let shares = !best_alone && selection.multipath.iter().any(|i| places.get(*i) == Some(&at));
        touched.share |= shares != path.flags.has(PathFlags::SHARES);
        path.flags.set(PathFlags::SHARES, shares);
    }
    let at = selection.best.and_then(|i| places.get(i)).copied().filter(|at| *at != 0 && *at < paths.len())?;
    paths.swap(0, at);
    Some(at)
}

/// The place of a path among those of a destination.
pub(super) fn position(paths: &[Path], slot: Slot, path_id: PathId) -> Option<usize> {
    paths.iter().position(|p| p.slot == slot && p.path_id == path_id)
}
