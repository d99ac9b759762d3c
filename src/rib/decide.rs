//! Loc-RIB selection: which of several paths to a prefix is used, which may share the load with it, and at which step each of the
//! others lost.
//!
//! In: the eligible candidates of one prefix, already imported, and the [`Rules`]. Out: a [`Selection`].
//! Reachability comes from `rib::nexthop` (an unreachable path is no candidate), degree of preference from policy (it is LOCAL_PREF).
//! Nothing is remembered between calls: the path that was best before is marked in its candidate.
//!
//! The steps are those of RFC 4271 §9.1.2.2 in its order. MED is compared within each neighbouring AS over the whole set before anything
//! later is looked at, so the result never depends on the order in which paths arrived. RFC 4456 §9 adds the originator's identifier and
//! the length of CLUSTER_LIST, RFC 5004 keeps the older of external paths, RFC 5065 §5.3 has confederation peers count as internal.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::kernel::IfIndex;
use crate::num::{Asn, PathId, PeerId, RouterId};

/// Where a peer's routes stand towards us; what the tie-breaks ask of their source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceKind {
    /// We originate it ourselves.
    Local,
    /// A neighbour of our own AS.
    Internal,
    /// A neighbour in another member AS of our confederation (RFC 5065).
    Confederation,
    /// A neighbour of another AS.
    External,
}

/// What the decision process and the export ask about the peer that a path came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFacts {
    /// Its number among our peers.
    pub id: PeerId,
    /// Where it stands towards us.
    pub kind: SourceKind,
    /// What its OPEN said.
    pub asn: Asn,
    /// Its BGP Identifier (RFC 4271 §9.1.2.2 f).
    pub router_id: RouterId,
    /// Its address (RFC 4271 §9.1.2.2 g).
    pub addr: IpAddr,
    /// A client of ours, who are then a route reflector (RFC 4456).
    pub rr_client: bool,
    /// Our address on the session.
    pub local_addr: IpAddr,
    /// The link that the peer's link-local addresses belong to.
    pub interface: Option<IfIndex>,
}

impl SourceFacts {
    /// The source of the routes that we originate.
    pub fn local(asn: Asn, router_id: RouterId) -> SourceFacts {
        let addr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        SourceFacts {
            id: PeerId::LOCAL,
            kind: SourceKind::Local,
            asn,
            router_id,
            addr,
            rr_client: false,
            local_addr: addr,
            interface: None,
        }
    }
}

/// What of an attribute set the decision asks for, extracted once per set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preference {
    /// It carries LLGR_STALE: any other is preferred (RFC 9494 §4.3).
    pub long_lived: bool,
    /// The higher is preferred (RFC 4271 §9.1.1).
    pub local_pref: u32,
    /// RFC 4271 §9.1.2.2(a): an AS_SET counts as one, confederation segments as none.
    pub as_path_len: u32,
    /// IGP 0, EGP 1, INCOMPLETE 2.
    pub origin: u8,
    /// Absent is the lowest, zero (§9.1.2.2(c)).
    pub med: u32,
    /// `None` for a route that began in our own AS: those form a MED group of their own.
    pub neighbor_as: Option<Asn>,
    /// Compared in the place of the peer's identifier (RFC 4456 §9).
    pub originator: Option<RouterId>,
    /// Entries of CLUSTER_LIST; the shorter is preferred (RFC 4456 §9).
    pub cluster_len: u32,
}

impl Preference {
    /// LOCAL_PREF where none was given.
    pub const DEFAULT_LOCAL_PREF: u32 = 100;
}

/// How many paths may share the load, and which knobs are turned. The default is RFC 4271 as written, with RFC 5004.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// Compare MED between neighbouring ASes too.
    pub always_compare_med: bool,
    /// Load may be shared between paths whose AS_PATHs differ, if they are of one length.
    pub as_path_relax: bool,
    /// Keep the path in use when only the router identifier speaks against it (RFC 5004). Off: compare identifiers always.
    pub keep_older_external: bool,
    /// Share load over external paths, over internal ones, and over at most so many.
    pub multipath: Multipath,
}

impl Rules {
    /// Whether it means something to the sharing of load that a path is stale.
    pub fn parts_with_stale(&self) -> bool {
        self.multipath.width > 1 && !self.multipath.stale
    }
}

impl Default for Rules {
    fn default() -> Rules {
        Rules { always_compare_med: false, as_path_relax: false, keep_older_external: true, multipath: Multipath::default() }
    }
}

/// Width 1 is no multipath.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Multipath {
    /// Between external paths.
    pub ebgp: bool,
    /// Between internal paths.
    pub ibgp: bool,
    /// Paths that share at most.
    pub width: u16,
    /// Paths that are kept over a restart of their peer share the load with fresh ones. Off: only among themselves, for the peer may be dead.
    pub stale: bool,
    /// Share by the bandwidth that each of them promises, if all do. Off, or if one does not: evenly.
    pub link_bandwidth: bool,
}

impl Default for Multipath {
    fn default() -> Multipath {
        Multipath { ebgp: false, ibgp: false, width: 1, stale: false, link_bandwidth: true }
    }
}

/// One path in the running.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// What its attributes say.
    pub pref: Preference,
    /// Who announced it.
    pub source: &'a SourceFacts,
    /// The octets of its AS_PATH.
    pub as_path: &'a [u8],
    /// The last word between two paths of one peer (RFC 7911).
    pub path_id: PathId,
    /// Interior cost of the next hop.
    pub metric: u32,
    /// It was the best at the last selection (RFC 5004).
    pub current: bool,
    /// Kept over a restart of its peer and not announced again since (RFC 4724 §4.2).
    pub stale: bool,
}

impl Candidate<'_> {
    /// RFC 4456 §9: ORIGINATOR_ID stands for the router identifier of the peer.
    fn router_id(&self) -> RouterId {
        self.pref.originator.unwrap_or(self.source.router_id)
    }

    fn external(&self) -> bool {
        self.source.kind == SourceKind::External
    }

    fn med_group(&self, rules: &Rules) -> Option<Asn> {
        if rules.always_compare_med { None } else { self.pref.neighbor_as }
    }
}

/// The step that decided, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// There was no choice: one path, or none.
    Only,
    /// Our own routes come before all others.
    Local,
    /// Not kept long after its session has ended (RFC 9494 §4.4).
    LongLived,
    /// A higher LOCAL_PREF (RFC 4271 §9.1.1).
    LocalPref,
    /// A shorter AS_PATH (§9.1.2.2 a).
    AsPathLength,
    /// A lower ORIGIN (§9.1.2.2 b).
    Origin,
    /// A lower MULTI_EXIT_DISC within one neighbouring AS (§9.1.2.2 c).
    Med,
    /// Learned from an external peer (§9.1.2.2 d).
    ExternalOverInternal,
    /// A nearer next hop (§9.1.2.2 e).
    NextHopMetric,
    /// RFC 5004.
    OlderExternal,
    /// A lower BGP Identifier, or ORIGINATOR_ID (§9.1.2.2 f, RFC 4456 §9).
    RouterId,
    /// A shorter CLUSTER_LIST (RFC 4456 §9).
    ClusterListLength,
    /// A lower address of the peer (§9.1.2.2 g).
    PeerAddress,
    /// Two paths of one peer (RFC 7911): the lower identifier.
    PathId,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Step::Only => "only path",
            Step::Local => "locally originated",
            Step::LongLived => "not long-lived stale",
            Step::LocalPref => "higher LOCAL_PREF",
            Step::AsPathLength => "shorter AS_PATH",
            Step::Origin => "lower ORIGIN",
            Step::Med => "lower MED",
            Step::ExternalOverInternal => "external over internal",
            Step::NextHopMetric => "nearer next hop",
            Step::OlderExternal => "older external path",
            Step::RouterId => "lower router identifier",
            Step::ClusterListLength => "shorter CLUSTER_LIST",
            Step::PeerAddress => "lower peer address",
            Step::PathId => "lower path identifier",
        })
    }
}

/// The outcome for one prefix. Indices are into the candidates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// `None` if there was no candidate.
    pub best: Option<usize>,
    /// The latest step that was needed.
    pub why: Step,
    /// For each candidate the step at which it lost; `None` for the best.
    pub lost: SmallVec<[Option<Step>; 4]>,
    /// The best and those that share the load with it, best first; without the best where it is stale and fresh ones can carry the load.
    pub multipath: SmallVec<[usize; 4]>,
}

/// Selects over the whole set (RFC 4271 §9.1.2.2).
///
/// The result does not depend on the order of `candidates`, as long as (peer, path identifier) is unique among them.
pub fn select(candidates: &[Candidate<'_>], rules: &Rules) -> Selection {
    let mut field = Field {
        all: candidates,
        alive: (0..candidates.len()).collect(),
        lost: SmallVec::from_elem(None, candidates.len()),
        why: Step::Only,
    };
    field.highest(Step::Local, |c| c.source.kind == SourceKind::Local);
    field.lowest(Step::LongLived, |c| c.pref.long_lived);
    field.highest(Step::LocalPref, |c| c.pref.local_pref);
    field.lowest(Step::AsPathLength, |c| c.pref.as_path_len);
    field.lowest(Step::Origin, |c| c.pref.origin);
    field.lowest_med(rules);
    field.highest(Step::ExternalOverInternal, Candidate::external);
    field.lowest(Step::NextHopMetric, |c| c.metric);
    let equal = if rules.multipath.width > 1 { field.alive.clone() } else { SmallVec::new() };
    field.older_external(rules);
    field.lowest(Step::RouterId, |c| c.router_id());
    field.lowest(Step::ClusterListLength, |c| c.pref.cluster_len);
    field.lowest(Step::PeerAddress, |c| c.source.addr);
    field.lowest(Step::PathId, |c| (c.path_id, c.source.id));
    let best = field.alive.first().copied();
    Selection { best, why: field.why, multipath: share(candidates, best, equal, rules), lost: field.lost }
}

/// All candidates in the order in which they would be chosen if those before were gone (RFC 7911: the best N). None is preferred for its age.
///
/// Up to ORIGIN one value decides after the other, so there are classes, the better before the worse. Within a class each neighbouring AS
/// has its paths in order of MED, and of the first of each the best by the later steps is next.
pub fn rank(candidates: &[Candidate<'_>], rules: &Rules) -> SmallVec<[usize; 8]> {
    let class = |c: &Candidate<'_>| {
        let local = c.source.kind != SourceKind::Local;
        (local, c.pref.long_lived, Reverse(c.pref.local_pref), c.pref.as_path_len, c.pref.origin)
    };
    let late = |c: &Candidate<'_>| (!c.external(), c.metric, c.router_id(), c.pref.cluster_len, c.source.addr, c.path_id, c.source.id);
    let key = |c: &Candidate<'_>| (class(c), c.med_group(rules), c.pref.med, late(c));
    let mut sorted: SmallVec<[usize; 8]> = (0..candidates.len()).collect();
    sorted.sort_by_cached_key(|i| candidates.get(*i).map(key));
    let at = |place: usize| sorted.get(place).and_then(|i| candidates.get(*i));
    let mut ranked = SmallVec::with_capacity(sorted.len());
    // The first path of each neighbouring AS of the class at hand.
    let mut heads = BinaryHeap::new();
    let mut next_class = 0;
    loop {
        let Some(Reverse((_, place))) = heads.pop() else {
            let Some(first) = at(next_class) else { return ranked };
            let same = |place: &usize| at(*place).is_some_and(|c| class(c) == class(first));
            for place in (next_class..sorted.len()).take_while(same) {
                let begins = place == next_class || at(place - 1).map(|c| c.med_group(rules)) != at(place).map(|c| c.med_group(rules));
                heads.extend(at(place).filter(|_| begins).map(|c| Reverse((late(c), place))));
            }
            next_class += (next_class..sorted.len()).take_while(same).count();
            continue;
        };
        ranked.extend(sorted.get(place).copied());
        let follows = |c: &&Candidate<'_>| at(place).is_some_and(|p| class(p) == class(c) && p.med_group(rules) == c.med_group(rules));
        heads.extend(at(place + 1).filter(follows).map(|c| Reverse((late(c), place + 1))));
    }
}

/// Those that tied with the best up to the interior cost and may carry load with it, in order of identifier and address.
fn share(all: &[Candidate<'_>], best: Option<usize>, mut equal: SmallVec<[usize; 8]>, rules: &Rules) -> SmallVec<[usize; 4]> {
    let Some((index, top)) = best.and_then(|i| all.get(i).map(|c| (i, c))) else { return SmallVec::new() };
    let mut set = SmallVec::from_slice(&[index]);
    let wanted = match top.source.kind {
        SourceKind::External => rules.multipath.ebgp,
        SourceKind::Internal | SourceKind::Confederation => rules.multipath.ibgp,
        SourceKind::Local => false,
    };
    if !wanted || rules.multipath.width <= 1 {
        return set;
    }
    // Candidates of different MED groups survive side by side, so relaxed sharing may cross groups; strict sharing wants one AS_PATH.
    equal.retain(|i| *i != index && all.get(*i).is_some_and(|c| rules.as_path_relax || c.as_path == top.as_path));
    equal.sort_by_key(|i| all.get(*i).map(|c| (c.router_id(), c.pref.cluster_len, c.source.addr, c.path_id, c.source.id)));
    let fresh = |i: &usize| all.get(*i).is_some_and(|c| !c.stale);
    if !rules.multipath.stale && (fresh(&index) || equal.iter().any(&fresh)) {
        set.retain(|i| fresh(i));
        equal.retain(|i| fresh(i));
    }
    let room = usize::from(rules.multipath.width) - set.len();
    set.extend(equal.into_iter().take(room));
    set
}

/// The candidates still in the running.
struct Field<'a, 'b> {
    all: &'b [Candidate<'a>],
    alive: SmallVec<[usize; 8]>,
    lost: SmallVec<[Option<Step>; 4]>,
    why: Step,
}

impl<'a, 'b> Field<'a, 'b> {
    fn lowest<K: Ord>(&mut self, step: Step, key: impl Fn(&Candidate<'a>) -> K) {
        if self.alive.len() > 1 {
            let all = self.all;
            let best = self.alive.iter().filter_map(|i| all.get(*i)).map(&key).min();
            self.keep(step, |c| best.as_ref() == Some(&key(c)));
        }
    }

    fn highest<K: Ord>(&mut self, step: Step, key: impl Fn(&Candidate<'a>) -> K) {
        self.lowest(step, |c| Reverse(key(c)));
    }

    /// §9.1.2.2(c): a route leaves when another of the same neighbouring AS has a lower MED. The least MED of each group stays.
    fn lowest_med(&mut self, rules: &Rules) {
        if self.alive.len() < 2 {
            return;
        }
        let mut least: SmallVec<[(Option<Asn>, u32); 8]> = SmallVec::new();
        least.extend(self.alive.iter().filter_map(|i| self.all.get(*i)).map(|c| (c.med_group(rules), c.pref.med)));
        least.sort_unstable();
        least.dedup_by_key(|(group, _)| *group);
        self.keep(Step::Med, |c| least.binary_search(&(c.med_group(rules), c.pref.med)).is_ok());
    }

    /// RFC 5004 §3: among external paths the one in use stays, but not against another session with the same router.
    fn older_external(&mut self, rules: &Rules) {
        if self.alive.len() < 2 || !rules.keep_older_external {
            return;
        }
        let current = self.alive.iter().filter_map(|i| self.all.get(*i)).find(|c| c.current && c.external());
        if let Some(id) = current.map(Candidate::router_id) {
            self.keep(Step::OlderExternal, |c| c.router_id() == id);
        }
    }

    fn keep(&mut self, step: Step, stays: impl Fn(&Candidate<'a>) -> bool) {
        let (all, lost, why) = (self.all, &mut self.lost, &mut self.why);
        self.alive.retain(|i| {
            let stay = all.get(*i).is_some_and(&stays);
            if !stay {
                *why = step;
                if let Some(slot) = lost.get_mut(*i) {
                    *slot = Some(step);
                }
            }
            stay
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::facts;
    use super::*;

    /// The order of all is that in which they would be chosen one after the other, MED within each neighbouring AS and all.
    #[test]
    fn the_rank_is_selection_after_selection() {
        let sources: Vec<SourceFacts> = (1..6u32)
            .map(|n| SourceFacts { kind: if n % 2 == 0 { SourceKind::Internal } else { SourceKind::External }, ..facts(n) })
            .collect();
        let mut seed = 1u64;
        let mut draw = |below: u32| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 40) as u32 % below
        };
        for round in 0..2000 {
            let all: Vec<Candidate<'_>> = (0..draw(14))
                .map(|n| Candidate {
                    pref: Preference {
                        long_lived: draw(4) == 0,
                        local_pref: 100 + draw(2),
                        as_path_len: draw(2),
                        origin: 0,
                        med: draw(3),
                        neighbor_as: (draw(4) > 0).then(|| Asn(draw(3))),
                        originator: None,
                        cluster_len: 0,
                    },
                    source: &sources[draw(5) as usize],
                    as_path: &[],
                    path_id: PathId(n),
                    metric: draw(2),
                    current: false,
                    stale: false,
                })
                .collect();
            let rules = Rules { always_compare_med: round % 3 == 0, ..Rules::default() };
            let mut left: Vec<usize> = (0..all.len()).collect();
            let mut wanted = Vec::new();
            while let Some(best) = select(&left.iter().map(|i| all[*i]).collect::<Vec<_>>(), &rules).best {
                wanted.push(left.remove(best));
            }
            assert_eq!(rank(&all, &rules).to_vec(), wanted);
        }
    }
}
