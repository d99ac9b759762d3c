//! RFC 4456 §9 in the tables: what a reflected route is compared by. What a reflector adds to a route is tested with the export, how one
//! that came round is recognised (§8) on routers that run (`session::rfc4456`).

use std::net::{IpAddr, Ipv4Addr};

use catbird::kernel::IfIndex;
use catbird::num::{Asn, ClusterId, Nlri, PeerId, RouterId};
use catbird::rib::{Cause, NextHops, NhId, Rib, Route, RouteChange, Rules, SourceFacts, SourceKind, Standing, Step};
use catbird::wire::{NextHop, Origin, PathAttributes};

struct AllUp;

impl NextHops for AllUp {
    fn track(&mut self, _: IpAddr, _: Option<IfIndex>) -> NhId {
        NhId(0)
    }
    fn untrack(&mut self, _: NhId) {}
    fn metric(&self, _: NhId) -> Option<u32> {
        Some(0)
    }
}

fn id(n: u8) -> RouterId {
    RouterId::new(Ipv4Addr::new(0, 0, 0, n)).expect("not zero")
}

fn cluster(n: u8) -> ClusterId {
    ClusterId(Ipv4Addr::new(10, 0, 0, n))
}

fn reflector(n: u8) -> SourceFacts {
    let addr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, n));
    let kind = SourceKind::Internal;
    SourceFacts { id: PeerId(n.into()), kind, asn: Asn(65000), router_id: id(n), addr, rr_client: false, local_addr: addr, interface: None }
}

/// A route of the client with `originator`, through these clusters; `None`: told by the client itself.
fn route(originator: Option<u8>, clusters: &[u8]) -> PathAttributes {
    let mut editor = PathAttributes::builder(Origin::Igp, NextHop::V4(Ipv4Addr::new(192, 0, 2, 99)));
    editor.set_local_pref(Some(100)).set_originator_id(originator.map(id));
    clusters.iter().rev().for_each(|n| drop(editor.prepend_cluster(cluster(*n)).clone()));
    editor.finish()
}

/// Peers 1, 2, ... each say their route for one prefix; who is chosen, and at which step.
fn chosen(routes: &[PathAttributes]) -> (PeerId, Step) {
    let mut rib = Rib::new(Rules::default(), 1);
    let net = "10.244.1.0/26".parse().expect("a prefix");
    for (n, set) in (1..).zip(routes) {
        rib.peer_up(reflector(n));
        let route = Route::as_received(rib.intern_new(set.clone()));
        rib.apply(RouteChange { peer: PeerId(n.into()), nlri: Nlri::new(net), route: Some(route), cause: Cause::Announced });
    }
    let mut changes = Vec::new();
    rib.settle(10, &mut AllUp, &mut changes);
    assert_eq!(changes.len(), 1);
    let why = rib.why(changes[0].dest, &AllUp);
    assert_eq!(why.len(), routes.len());
    assert_eq!(why[0].1, Standing::Best(changes[0].why), "the explanation is that of the choice");
    assert!(why[1..].iter().all(|(path, standing)| !path.best && matches!(standing, Standing::Lost(_))));
    (changes[0].new.as_ref().expect("one is chosen").peer, changes[0].why)
}

#[test]
fn originator_id_stands_for_the_identifier_of_the_reflector() {
    assert_eq!(chosen(&[route(Some(9), &[1]), route(Some(8), &[2])]), (PeerId(2), Step::RouterId));
    assert_eq!(chosen(&[route(None, &[]), route(Some(1), &[2])]), (PeerId(1), Step::ClusterListLength), "peer 1 is router 1");
}

#[test]
fn the_shorter_cluster_list_wins_between_copies_of_one_route() {
    assert_eq!(chosen(&[route(Some(9), &[1, 3]), route(Some(9), &[2])]), (PeerId(2), Step::ClusterListLength));
    assert_eq!(chosen(&[route(Some(9), &[1]), route(Some(9), &[2])]), (PeerId(1), Step::PeerAddress), "equal length: the lower address");
}
