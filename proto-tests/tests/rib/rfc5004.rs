//! RFC 5004: the external path in use is kept when only the router identifier speaks for another.

use std::net::{IpAddr, Ipv4Addr};

use catbird::num::{Asn, PathId, PeerId, RouterId};
use catbird::rib::{Candidate, Preference, Rules, SourceFacts, SourceKind, Step, select};

fn source(n: u32, kind: SourceKind) -> SourceFacts {
    let addr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, n as u8));
    let router_id = RouterId::new(Ipv4Addr::from(n)).expect("not zero");
    SourceFacts { id: PeerId(n), kind, asn: Asn(65000 + n), router_id, addr, rr_client: false, local_addr: addr, interface: None }
}

fn path(source: &SourceFacts, current: bool) -> Candidate<'_> {
    let (local_pref, neighbor_as) = (Preference::DEFAULT_LOCAL_PREF, Some(source.asn));
    let pref =
        Preference { long_lived: false, local_pref, as_path_len: 1, origin: 0, med: 0, neighbor_as, originator: None, cluster_len: 0 };
    Candidate { pref, source, as_path: &[], path_id: PathId(0), metric: 0, current, stale: false }
}

#[test]
fn the_external_path_in_use_stays_against_a_lower_identifier() {
    let (low, high) = (source(1, SourceKind::External), source(2, SourceKind::External));
    let selection = select(&[path(&low, false), path(&high, true)], &Rules::default());
    assert_eq!((selection.best, selection.why), (Some(1), Step::OlderExternal));
    let fresh = select(&[path(&low, false), path(&high, false)], &Rules::default());
    assert_eq!((fresh.best, fresh.why), (Some(0), Step::RouterId), "without one in use the identifier decides");
}

#[test]
fn the_external_path_in_use_gives_way_to_one_that_is_better_earlier() {
    let (low, high) = (source(1, SourceKind::External), source(2, SourceKind::External));
    let mut better = path(&low, false);
    better.pref.as_path_len = 0;
    assert_eq!(select(&[better, path(&high, true)], &Rules::default()).why, Step::AsPathLength);
}

#[test]
fn internal_paths_are_chosen_by_identifier_even_if_another_is_in_use() {
    let (low, high) = (source(1, SourceKind::Internal), source(2, SourceKind::Internal));
    let selection = select(&[path(&low, false), path(&high, true)], &Rules::default());
    assert_eq!((selection.best, selection.why), (Some(0), Step::RouterId));
}

#[test]
fn two_sessions_with_the_same_router_are_decided_by_address() {
    let (low, mut high) = (source(1, SourceKind::External), source(2, SourceKind::External));
    high.router_id = low.router_id;
    let selection = select(&[path(&low, false), path(&high, true)], &Rules::default());
    assert_eq!((selection.best, selection.why), (Some(0), Step::PeerAddress));
}

#[test]
fn the_rule_can_be_switched_off() {
    let (low, high) = (source(1, SourceKind::External), source(2, SourceKind::External));
    let rules = Rules { keep_older_external: false, ..Rules::default() };
    assert_eq!(select(&[path(&low, false), path(&high, true)], &rules).best, Some(0));
}
