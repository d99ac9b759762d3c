//! RFC 4456: what a route reflector tells to whom, and what it adds.

use std::net::Ipv4Addr;

use catbird::num::{Asn, ClusterId, PeerId};
use catbird::policy::Source;
use catbird::rib::SourceKind;
use catbird::rib::adj_out::{RouteSource, Withheld, export};
use catbird::rib::update_group::{Bounds, ExportVerdict};
use proto_tests::exporting::{LOCAL_ID, World, from, key, net, reflecting, route, router_id};

fn client(n: u32) -> RouteSource {
    RouteSource { client: true, ..from(n, Source::Internal) }
}

fn non_client(n: u32) -> RouteSource {
    from(n, Source::Internal)
}

#[test]
fn a_speaker_that_does_not_reflect_passes_no_internal_route_to_internal_peers() {
    let to = |source, key| export(&net("10.1.0.0/24"), &route(1).finish(), &source, &key);
    assert_eq!(to(non_client(1), key(SourceKind::Internal)), Err(Withheld::IbgpToIbgp));
    assert!(to(from(1, Source::External), key(SourceKind::Internal)).is_ok(), "external routes are told inside");
    assert!(to(non_client(1), key(SourceKind::External)).is_ok(), "internal routes are told outside");
}

#[test]
fn clients_hear_all_and_non_clients_hear_clients() {
    let told = |source, to_client| export(&net("10.1.0.0/24"), &route(1).finish(), &source, &reflecting(to_client)).is_ok();
    assert!(told(client(1), true) && told(client(1), false));
    assert!(told(non_client(1), true) && !told(non_client(1), false));
}

#[test]
fn originator_id_is_set_once_and_the_cluster_goes_in_front() {
    let out = export(&net("10.1.0.0/24"), &route(1).finish(), &client(1), &reflecting(true)).expect("reflected");
    assert_eq!(out.originator_id(), Some(router_id(1)));
    assert_eq!(out.cluster_list().collect::<Vec<_>>(), [ClusterId(LOCAL_ID)]);
    let other = ClusterId(Ipv4Addr::new(10, 255, 0, 2));
    let attrs = route(1).set_originator_id(Some(router_id(9))).prepend_cluster(other).finish();
    let out = export(&net("10.1.0.0/24"), &attrs, &non_client(2), &reflecting(true)).expect("reflected");
    assert_eq!(out.originator_id(), Some(router_id(9)), "who began it stays");
    assert_eq!(out.cluster_list().collect::<Vec<_>>(), [ClusterId(LOCAL_ID), other]);
}

#[test]
fn reflection_changes_nothing_else() {
    let attrs = route(1).prepend(Asn(65001), 1).set_med(Some(9)).set_local_pref(Some(300)).finish();
    let out = export(&net("10.1.0.0/24"), &attrs, &client(1), &reflecting(false)).expect("reflected");
    assert_eq!((out.next_hop(), out.med(), out.local_pref()), (attrs.next_hop(), Some(9), Some(300)));
    assert_eq!(out.as_path().asns().collect::<Vec<_>>(), [Asn(65001)]);
}

#[test]
fn external_and_own_routes_are_not_reflected_but_told() {
    let out = export(&net("10.1.0.0/24"), &route(1).finish(), &from(1, Source::External), &reflecting(true)).expect("told");
    assert_eq!((out.originator_id(), out.cluster_list().count()), (None, 0));
}

#[test]
fn reflection_attributes_do_not_leave_the_as() {
    let attrs = route(1).set_originator_id(Some(router_id(9))).prepend_cluster(ClusterId(LOCAL_ID)).finish();
    let out = export(&net("10.1.0.0/24"), &attrs, &client(1), &key(SourceKind::External)).expect("told");
    assert_eq!((out.originator_id(), out.cluster_list().count()), (None, 0));
}

#[test]
fn a_route_goes_neither_to_its_source_nor_to_its_originator() {
    let mut world = World::new(Bounds::default());
    for n in 1..=3 {
        world.source(n, SourceKind::Internal, true);
        world.join(n, reflecting(true));
    }
    // Peer 2 tells what peer 3 began: another reflector's word.
    let attrs = route(9).set_originator_id(Some(router_id(3))).finish();
    world.announce(2, net("10.1.0.0/24"), &attrs);
    world.flush();
    assert!(world.heard(1, "10.1.0.0/24").is_some());
    assert!(world.heard(2, "10.1.0.0/24").is_none() && world.heard(3, "10.1.0.0/24").is_none());
    let mut why = |n| world.groups.why(&world.rib, PeerId(n), &net("10.1.0.0/24"));
    assert!(matches!(why(1), ExportVerdict::Sent { queued: false, .. }));
    assert_eq!(why(2), ExportVerdict::Withheld(Withheld::ItsOwn));
    assert_eq!(why(3), ExportVerdict::Withheld(Withheld::Originator));
    assert_eq!(world.groups.why(&world.rib, PeerId(7), &net("10.1.0.0/24")), ExportVerdict::NoSession);
    assert_eq!(world.groups.why(&world.rib, PeerId(1), &net("10.2.0.0/24")), ExportVerdict::NoRoute);
}
