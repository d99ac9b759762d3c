//! Looking into the tables: by prefix, by address, in pages, and with reasons. Nothing here changes anything.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use smallvec::SmallVec;

use super::adj_in::{AdjRibIn, RouteCounts};
use super::cause::CauseId;
use super::decide::{SourceFacts, select};
use super::departed::Departed;
use super::loc::{Best, best_of, candidates, in_use, known_metric, nh_of, position};
use super::path::{Path, PathFlags, Slot};
use super::table::{Dest, DestFlags, Key, Key4, Key6, Table};
use super::{Attrs, DestId, NextHops, NhId, PathView, Rib, Standing, Step, TableCounts};
use crate::num::{Family, Nlri, PathId, PeerId};

/// Run `$body` with `$table` as the table of `$family`, of either key.
macro_rules! in_table {
    ($rib:expr, $family:expr, |$table:ident| $body:expr) => {
        match $family {
            Family::Ipv4Unicast => {
                let $table = &$rib.v4;
                $body
            }
            Family::Ipv6Unicast => {
                let $table = &$rib.v6;
                $body
            }
        }
    };
}

/// By what the paths of a destination share the load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// There is one path, or some promise no bandwidth; how many do.
    Evenly { promised: usize },
    /// The next hop of each, and the bits a second that the path promises.
    ByBandwidth(SmallVec<[(NhId, u64); 4]>),
}

/// What a peer announced, as it came, and as import let it in.
pub type StalePath = (Nlri, Attrs, Option<Attrs>);

impl Rib {
    /// Who had a prefix last that nobody has any more, and why it went, as far as that is remembered.
    pub fn departed(&self, net: &IpNet) -> Option<&Departed> {
        self.core.departures.find(net)
    }

    /// The number of a prefix that has one.
    pub fn find(&self, net: &IpNet) -> Option<DestId> {
        let index = match Key4::of(net) {
            Some(key) => self.v4.find(key)?,
            None => self.v6.find(Key6::of(net)?)?,
        };
        Some(DestId::new(Family::of(net), index))
    }

    /// The prefix of a destination, as long as its number is its own.
    pub fn net(&self, dest: DestId) -> Option<IpNet> {
        in_table!(self, dest.family(), |table| table.get(dest.raw()).filter(|d| !d.flags.has(DestFlags::FREE)).map(|d| d.key.net()))
    }

    /// What is used for a destination. (Between a change and its settlement: what was, if it is still there.)
    pub fn best(&self, dest: DestId) -> Option<Best> {
        in_table!(self, dest.family(), |table| table.get(dest.raw()).and_then(|d| best_of(d, &self.core.peers)))
    }

    /// The tracked next hops of the paths that carry the load: the best and those that share it, or fresh ones where the best is stale.
    pub fn next_hops(&self, dest: DestId) -> SmallVec<[NhId; 4]> {
        in_table!(self, dest.family(), |table| {
            let Some(found) = table.get(dest.raw()) else { return SmallVec::new() };
            carriers(found).filter_map(|p| nh_of(p, &self.core.peers)).collect()
        })
    }

    /// By what the load is shared between the paths that carry it.
    pub fn sharing(&self, dest: DestId) -> Sharing {
        in_table!(self, dest.family(), |table| {
            let several =
                table.get(dest.raw()).filter(|found| found.paths.as_slice().len() > 1 && self.core.rules.multipath.link_bandwidth);
            let Some(found) = several else { return Sharing::Evenly { promised: 0 } };
            let promised = |p: &Path| Some((nh_of(p, &self.core.peers)?, p.attrs()?.link_bandwidth()?));
            let (paths, weighed) = (carriers(found).count(), carriers(found).filter_map(promised).collect::<SmallVec<[_; 4]>>());
            if paths > 1 && paths == weighed.len() { Sharing::ByBandwidth(weighed) } else { Sharing::Evenly { promised: weighed.len() } }
        })
    }

    /// All paths of a destination that are not gone, the best first.
    pub fn paths(&self, dest: DestId) -> SmallVec<[PathView<'_>; 4]> {
        in_table!(self, dest.family(), |table| match table.get(dest.raw()) {
            Some(found) => (0..found.paths.as_slice().len()).filter_map(|at| self.view(dest, found, at)).collect(),
            None => SmallVec::new(),
        })
    }

    /// The paths of a destination that can be used, the best first, as long as `more` wants another.
    pub fn each_usable(&self, dest: DestId, mut more: impl FnMut(Best) -> bool) {
        in_table!(self, dest.family(), |table| {
            let paths = table.get(dest.raw()).map_or(&[][..], |found| found.paths.as_slice());
            let usable = |path: &&Path| {
                path.flags.has(PathFlags::USABLE)
                    && self.core.peers.get(path.slot).is_some_and(|peer| !peer.families[dest.family().index()].is_gone(path))
            };
            for best in paths.iter().filter(usable).filter_map(|path| in_use(path, &self.core.peers)) {
                if !more(best) {
                    return;
                }
            }
        });
    }

    /// What a peer announces of one path.
    pub fn path_of(&self, peer: PeerId, nlri: &Nlri) -> Option<PathView<'_>> {
        let (slot, dest) = (self.core.peers.slot(peer)?, self.find(&nlri.net)?);
        in_table!(self, dest.family(), |table| {
            let found = table.get(dest.raw())?;
            self.view(dest, found, position(found.paths.as_slice(), slot, nlri.path_id)?)
        })
    }

    /// Does the destination wait for settlement?
    pub fn is_waiting(&self, dest: DestId) -> bool {
        in_table!(self, dest.family(), |table| table.get(dest.raw()).is_some_and(|d| d.flags.has(DestFlags::DIRTY)))
    }

    /// All paths of a destination with the step at which each won or lost (RFC 4271 §9.1.2.2), the best first.
    pub fn why(&self, dest: DestId, next_hops: &impl NextHops) -> Vec<(PathView<'_>, Standing)> {
        in_table!(self, dest.family(), |table| match table.get(dest.raw()) {
            Some(found) => self.stand(dest, found, next_hops),
            None => Vec::new(),
        })
    }

    fn stand<'a, K: Key>(&'a self, dest: DestId, found: &'a Dest<K>, next_hops: &impl NextHops) -> Vec<(PathView<'a>, Standing)> {
        let paths = found.paths.as_slice();
        let metrics: Vec<Option<u32>> = paths.iter().map(|p| known_metric(p, &self.core.peers, next_hops)).collect();
        let (all, places) = candidates(paths, dest.family(), found.flags.has(DestFlags::HAS_BEST), &self.core.peers, &metrics);
        let selection = select(&all, &self.core.rules);
        let standing = |at: usize, path: &Path| match places.iter().position(|p| *p == at) {
            Some(i) if selection.best == Some(i) => Standing::Best(selection.why),
            Some(i) => Standing::Lost(selection.lost.get(i).copied().flatten().unwrap_or(Step::PathId)),
            None if path.accepted() => Standing::Unreachable,
            None => Standing::Refused,
        };
        paths.iter().enumerate().filter_map(|(at, p)| Some((self.view(dest, found, at)?, standing(at, p)))).collect()
    }

    /// The longest prefix with a best path that holds this address.
    pub fn longest_match(&self, addr: IpAddr) -> Option<DestId> {
        let family = if addr.is_ipv4() { Family::Ipv4Unicast } else { Family::Ipv6Unicast };
        let net = |len| match addr {
            IpAddr::V4(a) => Ipv4Net::new(a, len).map(|n| IpNet::V4(n.trunc())),
            IpAddr::V6(a) => Ipv6Net::new(a, len).map(|n| IpNet::V6(n.trunc())),
        };
        let found = |len| net(len).ok().and_then(|n| self.find(&n)).filter(|d| self.best(*d).is_some());
        (0..=family.max_len()).rev().find_map(found)
    }

    /// Destinations with a path from number `from` on, about in the order in which they came.
    pub fn dests(&self, family: Family, from: u32) -> impl Iterator<Item = DestId> {
        let (v4, v6) = match family {
            Family::Ipv4Unicast => (Some(&self.v4), None),
            Family::Ipv6Unicast => (None, Some(&self.v6)),
        };
        let v4 = v4.into_iter().flat_map(move |t| occupied(t, from));
        let v6 = v6.into_iter().flat_map(move |t| occupied(t, from));
        v4.chain(v6).map(move |i| DestId::new(family, i))
    }

    /// One more than the highest number ever given to a destination of the family, to size a vector by.
    pub fn dest_end(&self, family: Family) -> usize {
        in_table!(self, family, |table| table.end() as usize)
    }

    /// What a peer announced, refused routes included, from place `from` on; with each path the place to go on from.
    pub fn received(&self, peer: PeerId, family: Family, from: u64) -> impl Iterator<Item = (u64, PathView<'_>)> {
        let found = self.core.peers.slot(peer).and_then(|s| Some((s, self.core.peers.get(s)?)));
        let list = found.map(|(slot, p)| (slot, &p.families[family.index()].list));
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        list.into_iter().flat_map(move |(slot, list)| {
            list.iter().enumerate().skip(from).filter(|(_, d)| !AdjRibIn::is_tombstone(**d)).filter_map(move |(place, index)| {
                let dest = DestId::new(family, *index);
                in_table!(self, family, |table| {
                    let found = table.get(*index)?;
                    let at = found.paths.as_slice().iter().position(|p| p.slot == slot && p.at as usize == place)?;
                    Some((place as u64 + 1, self.view(dest, found, at)?))
                })
            })
        })
    }

    /// Up to `most` paths of a peer, refused ones included, about in the order in which they came; and the cursor to go on with, if there may be
    /// more. Begin with cursor 0. What was there at the beginning and still is, is named once.
    pub fn received_some(&self, peer: PeerId, family: Family, cursor: u64, most: usize) -> (Vec<(Nlri, Attrs)>, Option<u64>) {
        let mut next = None;
        let path = |(place, v): (u64, PathView<'_>)| {
            next = Some(place);
            (Nlri { net: v.net, path_id: v.path_id }, v.received.clone())
        };
        let some: Vec<_> = self.received(peer, family, cursor).take(most).map(path).collect();
        let more = some.len() == most;
        (some, next.filter(|_| more))
    }

    /// The same of what is stale, with what import made of it.
    pub fn stale_some(&self, peer: PeerId, family: Family, cursor: u64, most: usize) -> (Vec<StalePath>, Option<u64>) {
        let (mut next, mut looked) = (None, 0);
        let path = |(place, v): (u64, PathView<'_>)| {
            (next, looked) = (Some(place), looked + 1);
            v.stale.then(|| (Nlri { net: v.net, path_id: v.path_id }, v.received.clone(), v.attrs.cloned()))
        };
        let some: Vec<_> = self.received(peer, family, cursor).take(most).filter_map(path).collect();
        (some, next.filter(|_| looked == most))
    }

    /// What a peer announced beyond its limit ([`Cause::MaxPrefix`](super::Cause::MaxPrefix)), all paths of so many prefixes, `most` at most, about
    /// in the order in which it came.
    pub fn over_limit(&self, peer: PeerId, family: Family, prefixes: usize, most: usize) -> Vec<(Nlri, Attrs)> {
        let Some((slot, adj)) = self.core.peers.slot(peer).and_then(|s| Some((s, &self.core.peers.get(s)?.families[family.index()])))
        else {
            return Vec::new();
        };
        let view = |&(index, path_id): &(u32, PathId)| {
            in_table!(self, family, |table| {
                let found = table.get(index)?;
                let path = found.paths.as_slice().get(position(found.paths.as_slice(), slot, path_id)?).filter(|p| !adj.is_gone(p))?;
                Some((Nlri { net: found.key.net(), path_id }, path.received.clone()))
            })
        };
        let mut seen = (None, 0);
        let within = |&&(index, _): &&(u32, PathId)| {
            seen = if seen.0 == Some(index) { seen } else { (Some(index), seen.1 + 1) };
            seen.1 <= prefixes
        };
        adj.over_limit.iter().take_while(within).filter_map(view).take(most).collect()
    }

    /// Does this peer have a path for this prefix that import let in?
    pub fn is_accepted(&self, peer: PeerId, net: &IpNet) -> bool {
        let paths = self.find(net).map(|d| self.paths(d)).unwrap_or_default();
        paths.iter().any(|p| p.source.id == peer && p.attrs.is_some())
    }

    /// The facts of a source.
    pub fn source(&self, peer: PeerId) -> Option<&SourceFacts> {
        Some(&self.core.peers.get(self.core.peers.slot(peer)?)?.facts)
    }

    /// Counts of one peer and family.
    pub fn counts(&self, peer: PeerId, family: Family) -> RouteCounts {
        let slot = self.core.peers.slot(peer).and_then(|s| self.core.peers.get(s));
        slot.map(|s| s.families[family.index()].counts()).unwrap_or_default()
    }

    /// Paths of a peer and family that were not taken in for being too many of one prefix ([`Limits::paths_of_a_prefix`](super::Limits)), since
    /// it came.
    pub fn refused_paths(&self, peer: PeerId, family: Family) -> u64 {
        let slot = self.core.peers.slot(peer).and_then(|s| self.core.peers.get(s));
        slot.map_or(0, |s| s.families[family.index()].refused_paths)
    }

    /// Refused routes of a peer and family that were announced and not kept ([`Limits::refused_paths`](super::Limits)), since the peer last began
    /// to announce everything.
    pub fn not_kept(&self, peer: PeerId, family: Family) -> u64 {
        let slot = self.core.peers.slot(peer).and_then(|s| self.core.peers.get(s));
        slot.map_or(0, |s| s.families[family.index()].not_kept)
    }

    /// Counts of one family.
    pub fn table_counts(&self, family: Family) -> TableCounts {
        self.core.counts[family.index()]
    }

    /// `None` for a path that is gone.
    fn view<'a, K: Key>(&'a self, dest: DestId, found: &'a Dest<K>, at: usize) -> Option<PathView<'a>> {
        let path = found.paths.as_slice().get(at)?;
        let peer = self.core.peers.get(path.slot)?;
        let adj = Some(&peer.families[K::FAMILY.index()]).filter(|adj| !adj.is_gone(path))?;
        Some(PathView {
            dest,
            net: found.key.net(),
            path_id: path.path_id,
            source: &peer.facts,
            received: &path.received,
            attrs: path.attrs(),
            cause: self.core.causes.get(path.cause),
            best: at == 0 && found.flags.has(DestFlags::HAS_BEST),
            shares: path.flags.has(PathFlags::SHARES),
            usable: path.flags.has(PathFlags::USABLE),
            stale: adj.is_stale(path),
            since: path.since,
        })
    }

    /// Recounts everything.
    ///
    /// # Panics
    /// If a count, a list or a holder differs from what the paths say.
    pub fn check_invariants(&self) {
        let mut held = Held::default();
        self.check_family(&self.v4, Family::Ipv4Unicast, &mut held);
        self.check_family(&self.v6, Family::Ipv6Unicast, &mut held);
        let known: HashMap<usize, u32> = self.core.attrs.held().map(|(a, n)| (a.key(), n)).collect();
        assert_eq!(known, held.attrs, "holders of attribute sets");
        assert_eq!(self.core.causes.held(), held.causes, "holders of causes");
        let peers = self.core.peers.iter();
        let known: HashMap<(Slot, IpAddr), u32> =
            peers.flat_map(|(slot, peer)| peer.link_local_paths().map(move |(addr, n)| ((slot, addr), n))).collect();
        assert_eq!(known, held.link_local, "paths by link-local next hop");
    }

    fn check_family<K: Key>(&self, table: &Table<K>, family: Family, held: &mut Held) {
        let mut counts = TableCounts::default();
        let mut per_peer: HashMap<Slot, (RouteCounts, u64)> = HashMap::new();
        let waiting: HashMap<u32, bool> =
            self.core.dirty.iter().filter(|d| d.dest.family() == family).map(|d| (d.dest.raw(), d.old.is_some())).collect();
        for (index, dest) in table.iter() {
            let paths = dest.paths.as_slice();
            dest.paths.check_invariants();
            assert_eq!(table.find(dest.key), Some(index), "{} is found where it stands", dest.key.net());
            assert_eq!(dest.flags.has(DestFlags::DIRTY), waiting.contains_key(&index), "{} is in the dirty list", dest.key.net());
            counts.prefixes += u64::from(!paths.is_empty());
            counts.paths += paths.len() as u64;
            counts.best += u64::from(waiting.get(&index).copied().unwrap_or(dest.flags.has(DestFlags::HAS_BEST)));
            for (at, path) in paths.iter().enumerate() {
                assert_eq!(position(paths, path.slot, path.path_id), Some(at), "one path for each peer and identifier");
                let adj = self.core.peers.get(path.slot).map(|p| &p.families[family.index()]);
                let (counted, gone) = per_peer.entry(path.slot).or_default();
                match adj.filter(|adj| !adj.is_gone(path)) {
                    Some(adj) => {
                        counted.add(path);
                        let before = || paths.iter().take(at).filter(|p| p.slot == path.slot && !adj.is_gone(p));
                        counted.repeats += u64::from(before().next().is_some());
                        counted.accepted_repeats += u64::from(path.accepted() && before().any(Path::accepted));
                        counted.stale += u64::from(adj.is_stale(path));
                    }
                    None => *gone += 1,
                }
                assert_eq!(adj.and_then(|a| a.list.get(path.at as usize)), Some(&index), "the peer's list has its path");
                let over = adj.is_some_and(|a| a.over_limit.contains(&(index, path.path_id)));
                assert_eq!(over, path.cause == CauseId::MAX_PREFIX, "{} is remembered as beyond the limit", dest.key.net());
                held.add(path);
            }
        }
        assert_eq!(counts, self.core.counts[family.index()], "counts of {family}");
        for (slot, peer) in self.core.peers.iter() {
            let adj = &peer.families[family.index()];
            let (counted, gone) = per_peer.remove(&slot).unwrap_or_default();
            assert_eq!(adj.counts(), counted, "counts of peer {:?}", peer.facts.id);
            assert!(gone == 0 || adj.walk.is_some(), "what is gone is on its way out");
            assert!(!peer.leaving || counted.received == 0, "a peer that leaves has nothing");
            let stands = |(dest, id): &(u32, PathId)| table.get(*dest).is_some_and(|d| position(d.paths.as_slice(), slot, *id).is_some());
            assert!(adj.over_limit.iter().all(stands), "what is remembered as beyond the limit is there");
            assert_eq!(adj.list.iter().filter(|d| !AdjRibIn::is_tombstone(**d)).count(), adj.len(), "holes in a list");
            assert_eq!(adj.len() as u64, counted.received + gone, "a list holds what was received");
        }
        assert!(per_peer.is_empty(), "every path has a peer");
    }
}

/// The paths that carry the load, once settled.
fn carriers<K>(dest: &Dest<K>) -> impl Iterator<Item = &Path> {
    let paths = if dest.flags.has(DestFlags::HAS_BEST) { dest.paths.as_slice() } else { &[] };
    let alone = !paths.iter().any(|p| p.flags.has(PathFlags::SHARES));
    paths.iter().enumerate().filter(move |(at, p)| if alone { *at == 0 } else { p.flags.has(PathFlags::SHARES) }).map(|(_, p)| p)
}

/// What paths hold, recounted.
#[derive(Default)]
struct Held {
    attrs: HashMap<usize, u32>,
    causes: u32,
    link_local: HashMap<(Slot, IpAddr), u32>,
}

impl Held {
    fn add(&mut self, path: &Path) {
        if let Some(addr) = path.attrs().and_then(Attrs::link_local) {
            *self.link_local.entry((path.slot, addr)).or_default() += 1;
        }
        for attrs in [Some(&path.received), path.changed.as_ref()].into_iter().flatten() {
            *self.attrs.entry(attrs.key()).or_default() += 1;
        }
        self.causes += u32::from(path.cause != CauseId::ANNOUNCED);
    }
}

fn occupied<K: Key>(table: &Table<K>, from: u32) -> impl Iterator<Item = u32> {
    table.iter_from(from).filter(|(_, d)| !d.paths.as_slice().is_empty()).map(|(i, _)| i)
}
