//! The decision process of RFC 4271 §9.1.2.2: each step decides alone, in its order, over the whole set.

use std::net::{IpAddr, Ipv4Addr};

use catbird::num::{Asn, PathId, PeerId, RouterId};
use catbird::rib::{Candidate, Multipath, Preference, Rules, SourceFacts, SourceKind, Step, select};
use proptest::prelude::*;

fn id(n: u32) -> RouterId {
    RouterId::new(Ipv4Addr::from(n)).expect("not zero")
}

fn source(n: u32, kind: SourceKind) -> SourceFacts {
    let addr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, n as u8));
    SourceFacts { id: PeerId(n), kind, asn: Asn(65000 + n), router_id: id(n), addr, rr_client: false, local_addr: addr, interface: None }
}

fn pref() -> Preference {
    let local_pref = Preference::DEFAULT_LOCAL_PREF;
    Preference {
        long_lived: false,
        local_pref,
        as_path_len: 2,
        origin: 1,
        med: 50,
        neighbor_as: Some(Asn(65001)),
        originator: None,
        cluster_len: 0,
    }
}

fn path(source: &SourceFacts, pref: Preference) -> Candidate<'_> {
    Candidate { pref, source, as_path: &[], path_id: PathId(0), metric: 10, current: false, stale: false }
}

/// The second candidate wins over the first at `step`, whichever comes first.
fn second_wins(a: Candidate<'_>, b: Candidate<'_>, rules: &Rules, step: Step) {
    let (there, back) = (select(&[a, b], rules), select(&[b, a], rules));
    assert_eq!((there.best, there.why, there.lost.as_slice()), (Some(1), step, [Some(step), None].as_slice()));
    assert_eq!((back.best, back.why, back.lost.as_slice()), (Some(0), step, [None, Some(step)].as_slice()));
}

#[test]
fn no_candidate_gives_no_route_and_one_gives_itself() {
    let peer = source(1, SourceKind::External);
    assert_eq!(select(&[], &Rules::default()).best, None);
    let one = select(&[path(&peer, pref())], &Rules::default());
    assert_eq!((one.best, one.why, one.multipath.as_slice()), (Some(0), Step::Only, [0].as_slice()));
}

#[test]
fn higher_degree_of_preference_wins_over_everything_later() {
    let (a, b) = (source(1, SourceKind::External), source(2, SourceKind::Internal));
    let worse = Preference { local_pref: 101, as_path_len: 9, origin: 2, ..pref() };
    second_wins(path(&a, pref()), path(&b, worse), &Rules::default(), Step::LocalPref);
}

#[test]
fn our_own_route_wins_over_any_learned_one() {
    let (a, b) = (source(1, SourceKind::External), SourceFacts::local(Asn(65000), id(9)));
    second_wins(path(&a, Preference { local_pref: 1000, as_path_len: 0, ..pref() }), path(&b, pref()), &Rules::default(), Step::Local);
}

#[test]
fn shorter_as_path_wins_at_step_a() {
    let (a, b) = (source(1, SourceKind::External), source(2, SourceKind::External));
    second_wins(path(&a, pref()), path(&b, Preference { as_path_len: 1, origin: 2, ..pref() }), &Rules::default(), Step::AsPathLength);
}

#[test]
fn lower_origin_wins_at_step_b() {
    let (a, b) = (source(1, SourceKind::External), source(2, SourceKind::External));
    second_wins(path(&a, pref()), path(&b, Preference { origin: 0, med: 99, ..pref() }), &Rules::default(), Step::Origin);
}

#[test]
fn lower_med_wins_at_step_c_within_one_neighbouring_as() {
    let (a, b) = (source(1, SourceKind::External), source(2, SourceKind::Internal));
    second_wins(path(&a, pref()), path(&b, Preference { med: 49, ..pref() }), &Rules::default(), Step::Med);
}

#[test]
fn med_of_different_neighbouring_ases_is_not_compared_unless_asked() {
    let (a, b) = (source(1, SourceKind::External), source(2, SourceKind::External));
    let better = Preference { med: 1, neighbor_as: Some(Asn(65002)), ..pref() };
    let asked = Rules { always_compare_med: true, ..Rules::default() };
    second_wins(path(&b, better), path(&a, pref()), &Rules::default(), Step::RouterId);
    second_wins(path(&a, pref()), path(&b, better), &asked, Step::Med);
}

/// Pairwise in order of arrival this set has no stable winner: B beats A (nearer), C beats B (MED), A beats C (nearer).
#[test]
fn med_leaves_the_same_winner_in_every_order() {
    let (a, b, c) = (source(1, SourceKind::Internal), source(2, SourceKind::Internal), source(3, SourceKind::Internal));
    let other = Preference { neighbor_as: Some(Asn(65009)), med: 0, ..pref() };
    let all = [
        Candidate { metric: 20, ..path(&a, other) },
        Candidate { metric: 10, ..path(&b, Preference { med: 10, ..pref() }) },
        Candidate { metric: 30, ..path(&c, Preference { med: 5, ..pref() }) },
    ];
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let set = order.map(|i: usize| all[i]);
        let selection = select(&set, &Rules::default());
        assert_eq!(selection.best.map(|i| set[i].source.id), Some(PeerId(1)), "B goes by C's MED before it is compared with A");
        let lost: Vec<_> = (1..=3).map(|n| selection.lost[set.iter().position(|c| c.source.id == PeerId(n)).unwrap()]).collect();
        assert_eq!(lost, [None, Some(Step::Med), Some(Step::NextHopMetric)]);
    }
}

#[test]
fn external_wins_over_internal_at_step_d_and_confederation_counts_as_internal() {
    let (a, b, c) = (source(1, SourceKind::Internal), source(2, SourceKind::External), source(1, SourceKind::Confederation));
    let far = |s| Candidate { metric: 99, ..path(s, pref()) };
    second_wins(path(&a, pref()), far(&b), &Rules::default(), Step::ExternalOverInternal);
    second_wins(path(&c, pref()), far(&b), &Rules::default(), Step::ExternalOverInternal);
}

#[test]
fn nearer_next_hop_wins_at_step_e() {
    let (a, b) = (source(1, SourceKind::Internal), source(2, SourceKind::Internal));
    second_wins(path(&a, pref()), Candidate { metric: 9, ..path(&b, pref()) }, &Rules::default(), Step::NextHopMetric);
}

#[test]
fn lower_identifier_wins_at_step_f() {
    let (a, b) = (source(3, SourceKind::Internal), source(2, SourceKind::Internal));
    second_wins(path(&a, pref()), path(&b, pref()), &Rules::default(), Step::RouterId);
}

#[test]
fn lower_peer_address_wins_at_step_g_between_sessions_of_one_router() {
    let (a, mut b) = (source(3, SourceKind::External), source(2, SourceKind::External));
    b.router_id = a.router_id;
    second_wins(path(&a, pref()), path(&b, pref()), &Rules::default(), Step::PeerAddress);
}

#[test]
fn lower_path_identifier_wins_between_paths_of_one_peer() {
    let a = source(3, SourceKind::External);
    let with = |n| Candidate { path_id: PathId(n), ..path(&a, pref()) };
    second_wins(with(7), with(3), &Rules::default(), Step::PathId);
}

fn sharing(ebgp: bool, ibgp: bool, width: u16) -> Rules {
    Rules { multipath: Multipath { ebgp, ibgp, width, ..Multipath::default() }, ..Rules::default() }
}

#[test]
fn paths_equal_up_to_the_interior_cost_share_the_load_up_to_the_width() {
    let peers: Vec<_> = (1..=5).map(|n| source(n, SourceKind::External)).collect();
    let all: Vec<_> = peers.iter().map(|p| path(p, pref())).collect();
    assert_eq!(select(&all, &sharing(true, false, 8)).multipath.as_slice(), [0, 1, 2, 3, 4]);
    assert_eq!(select(&all, &sharing(true, false, 3)).multipath.as_slice(), [0, 1, 2]);
    assert_eq!(select(&all, &sharing(false, true, 8)).multipath.as_slice(), [0], "external paths share only if that is on");
    assert_eq!(select(&all, &sharing(true, true, 1)).multipath.as_slice(), [0]);
}

#[test]
fn a_farther_or_longer_path_never_shares_and_another_as_path_only_if_relaxed() {
    let peers: Vec<_> = (1..=4).map(|n| source(n, SourceKind::Internal)).collect();
    let all = [
        path(&peers[0], pref()),
        Candidate { metric: 11, ..path(&peers[1], pref()) },
        path(&peers[2], Preference { as_path_len: 3, ..pref() }),
        Candidate { as_path: &[2, 1, 0, 0, 0xfd, 0xea], ..path(&peers[3], Preference { neighbor_as: Some(Asn(65002)), ..pref() }) },
    ];
    let strict = sharing(false, true, 8);
    assert_eq!(select(&all, &strict).multipath.as_slice(), [0]);
    assert_eq!(select(&all, &Rules { as_path_relax: true, ..strict }).multipath.as_slice(), [0, 3]);
}

prop_compose! {
    fn any_pref()(local_pref in 99u32..102, as_path_len in 0u32..3, origin in 0u8..3, med in 0u32..3, neighbor in 0u32..3,
                  originator in 0u32..3, cluster_len in 0u32..2) -> Preference {
        let neighbor_as = (neighbor > 0).then_some(Asn(neighbor));
        Preference { long_lived: false, local_pref, as_path_len, origin, med, neighbor_as, originator: RouterId::new(originator.into()), cluster_len }
    }
}

prop_compose! {
    fn any_source()(kind in 0usize..5, router in 1u32..4, addr in 0u8..3) -> SourceFacts {
        let kinds = [SourceKind::External, SourceKind::Internal, SourceKind::Confederation, SourceKind::External, SourceKind::Local];
        let base = source(1, kinds[kind]);
        SourceFacts { router_id: id(router), addr: IpAddr::V4(Ipv4Addr::new(10, 0, 0, addr)), ..base }
    }
}

fn any_rules() -> impl Strategy<Value = Rules> {
    (any::<[bool; 5]>(), 1u16..5).prop_map(|([always_compare_med, as_path_relax, keep_older_external, ebgp, ibgp], width)| Rules {
        always_compare_med,
        as_path_relax,
        keep_older_external,
        multipath: Multipath { ebgp, ibgp, width, ..Multipath::default() },
    })
}

/// Steps a to g written as RFC 4271 has them: removal of each route that loses to another at that step.
fn by_the_book(all: &[Candidate<'_>], rules: &Rules) -> Option<usize> {
    let mut left: Vec<usize> = (0..all.len()).collect();
    let rid = |c: &Candidate<'_>| c.pref.originator.unwrap_or(c.source.router_id);
    type Beats<'a> = &'a dyn Fn(&Candidate<'_>, &Candidate<'_>) -> bool;
    let beats: [Beats<'_>; 7] = [
        &|n, m| n.source.kind == SourceKind::Local && m.source.kind != SourceKind::Local,
        &|n, m| n.pref.local_pref > m.pref.local_pref,
        &|n, m| n.pref.as_path_len < m.pref.as_path_len,
        &|n, m| n.pref.origin < m.pref.origin,
        &|n, m| (rules.always_compare_med || n.pref.neighbor_as == m.pref.neighbor_as) && n.pref.med < m.pref.med,
        &|n, m| n.source.kind == SourceKind::External && m.source.kind != SourceKind::External,
        &|n, m| n.metric < m.metric,
    ];
    for step in beats {
        let before = left.clone();
        left.retain(|m| !before.iter().any(|n| step(&all[*n], &all[*m])));
    }
    if let Some(current) = left.iter().map(|i| &all[*i]).find(|c| c.current && c.source.kind == SourceKind::External)
        && rules.keep_older_external
    {
        let keep = rid(current);
        left.retain(|i| rid(&all[*i]) == keep);
    }
    left.into_iter().min_by_key(|i| (rid(&all[*i]), all[*i].pref.cluster_len, all[*i].source.addr, all[*i].path_id, all[*i].source.id))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn selection_is_that_of_the_book_whatever_the_order(
        raw in prop::collection::vec((any_pref(), any_source(), 0u32..2, 0u32..3, any::<bool>()), 1..7),
        rules in any_rules(),
        current in prop::option::of(0usize..7),
        order in any::<prop::sample::Index>(),
    ) {
        let sources: Vec<SourceFacts> = raw.iter().enumerate().map(|(i, r)| SourceFacts { id: PeerId(i as u32), ..r.1.clone() }).collect();
        let all: Vec<Candidate<'_>> = raw.iter().zip(&sources).enumerate().map(|(i, (r, source))| Candidate {
            pref: r.0, source, as_path: if r.4 { &[2, 1, 0, 0, 0xfd, 0xea] } else { &[] }, path_id: PathId(r.3), metric: r.2, current: current == Some(i), stale: i % 3 == 1,
        }).collect();
        let selection = select(&all, &rules);
        prop_assert_eq!(selection.best, by_the_book(&all, &rules));
        // Exactly the best has not lost, and it leads those that share.
        for (i, lost) in selection.lost.iter().enumerate() {
            prop_assert_eq!(lost.is_none(), Some(i) == selection.best);
        }
        let stale = |i: &usize| all[*i].stale;
        prop_assert!(selection.multipath.first().copied() == selection.best || selection.best.is_some_and(|i| stale(&i)));
        prop_assert!(selection.multipath.iter().all(stale) || !selection.multipath.iter().any(stale), "stale ones share among themselves");
        prop_assert!(selection.multipath.len() <= usize::from(rules.multipath.width));
        // Rotated, the same peers win, lose and share.
        let by = order.index(all.len());
        let turned: Vec<Candidate<'_>> = all.iter().cycle().skip(by).take(all.len()).copied().collect();
        let again = select(&turned, &rules);
        let who = |set: &[Candidate<'_>], at: &[usize]| at.iter().map(|i| set[*i].source.id).collect::<Vec<_>>();
        prop_assert_eq!(who(&all, &selection.multipath), who(&turned, &again.multipath));
        for (i, c) in turned.iter().enumerate() {
            prop_assert_eq!(again.lost[i], selection.lost[c.source.id.0 as usize]);
        }
    }
}
