//! Next hops against facts of a kernel made from thin air.

use super::*;
use crate::kernel::{Hop, Weight};

const ETH0: IfIndex = IfIndex(2);
const ETH1: IfIndex = IfIndex(3);

fn ip(s: &str) -> IpAddr {
    s.parse().unwrap()
}

fn hop(gateway: &str, ifindex: IfIndex) -> Hop {
    Hop { gateway: (!gateway.is_empty()).then(|| ip(gateway)), ifindex, onlink: false, weight: Weight::ONE }
}

fn route(net: &str, hops: &[Hop]) -> KernelRoute {
    let kind = RouteKind::Unicast(hops.iter().copied().collect());
    KernelRoute { net: net.parse().unwrap(), table: 254, metric: 0, protocol: 4, kind, source: None }
}

/// eth0 with 192.0.2.1/24 and 2001:db8::1/64, eth1 with 198.51.100.1/24.
fn plugged() -> NexthopTable {
    let mut table = NexthopTable::new(Params::default());
    for (ifindex, name, nets) in [(ETH0, "eth0", &["192.0.2.1/24", "2001:db8::1/64"][..]), (ETH1, "eth1", &["198.51.100.1/24"][..])] {
        table.on_kernel(&KernelEvent::Link { ifindex, name: name.into(), up: true });
        for net in nets {
            let net: IpNet = net.parse().unwrap();
            table.on_kernel(&KernelEvent::Address { ifindex, net });
            table.on_kernel(&KernelEvent::Route(KernelRoute { net: net.trunc(), ..route("0.0.0.0/0", &[hop("", ifindex)]) }));
        }
    }
    table
}

fn link(ifindex: IfIndex, up: bool) -> KernelEvent {
    KernelEvent::Link { ifindex, name: "eth".into(), up }
}

#[test]
fn a_connected_address_is_its_own_gateway_at_no_cost() {
    let mut table = plugged();
    let id = table.track(ip("192.0.2.7"), None);
    let hops: Hops = [hop("192.0.2.7", ETH0)].into_iter().collect();
    assert_eq!(*table.resolution(id), Resolution::Via { hops, metric: 0, connected: true });
    assert_eq!(table.track(ip("192.0.2.7"), None), id, "the same address is the same next hop");
    table.untrack(id);
    table.untrack(id);
    assert!(table.is_empty());
    table.check_invariants();
}

#[test]
fn an_address_of_this_machine_is_no_next_hop_until_it_goes() {
    let mut table = plugged();
    let id = table.track(ip("192.0.2.1"), None);
    assert_eq!(*table.resolution(id), Resolution::Unresolved(Unresolved::OwnAddress));
    table.on_kernel(&KernelEvent::AddressGone { ifindex: ETH0, net: "192.0.2.1/24".parse().unwrap() });
    assert_eq!(table.take_changed(), [id]);
    assert!(table.resolution(id).is_usable());
}

#[test]
fn a_gateway_is_taken_over_with_all_its_equals() {
    let mut table = plugged();
    table.on_kernel(&KernelEvent::Route(route("203.0.113.0/24", &[hop("198.51.100.9", ETH1), hop("192.0.2.9", ETH0)])));
    let id = table.track(ip("203.0.113.5"), None);
    let hops: Hops = [hop("192.0.2.9", ETH0), hop("198.51.100.9", ETH1)].into_iter().collect();
    assert_eq!(table.resolution(id).hops(), Some(&hops));
    table.on_kernel(&link(ETH0, false));
    assert_eq!(table.take_changed(), [id]);
    assert_eq!(table.resolution(id).hops().unwrap()[..], [hop("198.51.100.9", ETH1)]);
    table.on_kernel(&link(ETH1, false));
    assert_eq!(*table.resolution(id), Resolution::Unresolved(Unresolved::LinkDown));
    table.check_invariants();
}

#[test]
fn changes_are_said_once_with_the_event_that_made_them() {
    let mut table = plugged();
    let far = table.track(ip("203.0.113.5"), None);
    let near = table.track(ip("192.0.2.7"), None);
    assert!(!table.resolution(far).is_usable() && table.resolution(near).is_usable());
    table.on_kernel(&KernelEvent::Route(route("0.0.0.0/0", &[hop("192.0.2.254", ETH0)])));
    assert_eq!(table.take_changed(), [far], "the default route carries what nothing else does");
    assert_eq!(table.take_changed(), []);
    table.on_kernel(&KernelEvent::RouteGone(route("0.0.0.0/0", &[hop("192.0.2.254", ETH0)])));
    assert_eq!(table.take_changed(), [far]);
    table.check_invariants();
}

#[test]
fn a_default_route_carries_nothing_where_that_is_not_allowed() {
    let mut table = NexthopTable { params: Params { allow_default: false, ..Params::default() }, ..plugged() };
    table.on_kernel(&KernelEvent::Route(route("0.0.0.0/0", &[hop("192.0.2.254", ETH0)])));
    let id = table.track(ip("203.0.113.5"), None);
    assert_eq!(*table.resolution(id), Resolution::Unresolved(Unresolved::OnlyDefault));
}

#[test]
fn a_blackhole_resolves_nothing() {
    let mut table = plugged();
    table.on_kernel(&KernelEvent::Route(KernelRoute { kind: RouteKind::Blackhole, ..route("203.0.113.0/24", &[]) }));
    let id = table.track(ip("203.0.113.5"), None);
    assert_eq!(*table.resolution(id), Resolution::Unresolved(Unresolved::Discarded));
}

#[test]
fn link_local_needs_its_interface_and_no_route() {
    let mut table = plugged();
    let nowhere = table.track(ip("fe80::1"), None);
    let here = table.track(ip("fe80::1"), Some(ETH1));
    assert_eq!(*table.resolution(nowhere), Resolution::Unresolved(Unresolved::NoInterface));
    assert_eq!(table.resolution(here).hops().unwrap()[..], [hop("fe80::1", ETH1)]);
    table.on_kernel(&KernelEvent::Address { ifindex: ETH0, net: "fe80::1/64".parse().unwrap() });
    assert!(table.resolution(here).is_usable(), "the same link-local address on another link is another router's");
    table.on_kernel(&KernelEvent::Address { ifindex: ETH1, net: "fe80::1/64".parse().unwrap() });
    assert_eq!(*table.resolution(here), Resolution::Unresolved(Unresolved::OwnAddress));
}

#[test]
fn a_global_address_bound_to_an_interface_is_taken_to_be_on_its_link() {
    let mut table = plugged();
    let id = table.track(ip("203.0.113.5"), Some(ETH1));
    assert_eq!(table.resolution(id).hops().unwrap()[..], [Hop { onlink: true, ..hop("203.0.113.5", ETH1) }]);
    let id = table.track(ip("198.51.100.5"), Some(ETH1));
    assert_eq!(table.resolution(id).hops().unwrap()[..], [hop("198.51.100.5", ETH1)]);
}

/// A route of our own over these next hops.
fn own(table: &mut NexthopTable, net: &str, next_hops: &[NhId]) {
    table.on_bgp_route(net.parse().unwrap(), Some(BgpRoute::Leads { next_hops, metric: 1024 }));
    table.check_invariants();
}

#[test]
fn our_routes_carry_next_hops_as_chosen_and_not_as_the_kernel_shows_them() {
    let mut table = plugged();
    let ours = KernelRoute { protocol: 186, ..route("203.0.113.0/24", &[hop("192.0.2.9", ETH0)]) };
    let [id, neighbour] = ["203.0.113.5", "192.0.2.9"].map(|a| table.track(ip(a), None));
    table.on_kernel(&KernelEvent::Route(ours));
    assert!(!table.resolution(id).is_usable(), "or a route could hold itself up for ever");
    own(&mut table, "203.0.113.0/24", &[neighbour]);
    assert_eq!(table.resolution(id).hops().unwrap()[..], [hop("192.0.2.9", ETH0)]);
    own(&mut table, "192.0.2.9/32", &[neighbour]);
    assert!(
        matches!(table.resolution(neighbour), Resolution::Via { connected: true, .. }),
        "a peer's own /32 cannot capture the way to it"
    );
    table.on_bgp_route("203.0.113.0/24".parse().unwrap(), None);
    assert!(!table.resolution(id).is_usable());
    table.check_invariants();
}

#[test]
fn routes_stand_one_on_the_other_as_deep_as_that_goes() {
    let mut table = plugged();
    let mut below = table.track(ip("192.0.2.9"), None);
    for level in 1..=10 {
        let id = table.track(ip(&format!("10.{level}.0.1")), None);
        assert_eq!(*table.resolution(id), Resolution::Unresolved(Unresolved::NoRoute));
        own(&mut table, &format!("10.{level}.0.0/24"), &[below]);
        assert_eq!(table.resolution(id).hops().unwrap()[..], [hop("192.0.2.9", ETH0)], "level {level}");
        below = id;
    }
    table.take_changed();
    table.on_kernel(&link(ETH0, false));
    assert_eq!(table.take_changed().len(), 11, "all of them stand on the lowest");
    assert_eq!(*table.resolution(below), Resolution::Unresolved(Unresolved::LinkDown));
    table.check_invariants();
    table.on_kernel(&link(ETH0, true));
    assert!(table.resolution(below).is_usable());
    table.on_bgp_route("10.3.0.0/24".parse().unwrap(), None);
    assert!(!table.resolution(below).is_usable(), "a piece is missing in the middle");
    table.check_invariants();
}

#[test]
fn the_longest_match_counts_among_others_routes_and_our_own() {
    let mut table = plugged();
    let [a, b, id] = ["192.0.2.9", "198.51.100.9", "10.50.0.9"].map(|a| table.track(ip(a), None));
    table.on_kernel(&KernelEvent::Route(route("0.0.0.0/0", &[hop("192.0.2.1", ETH0)])));
    own(&mut table, "10.50.0.0/16", &[b]);
    assert_eq!(table.resolution(id).hops().unwrap()[..], [hop("198.51.100.9", ETH1)]);
    let far = table.track(ip("10.60.0.1"), None);
    own(&mut table, "10.60.0.0/24", &[a]);
    own(&mut table, "10.50.0.0/24", &[far]);
    assert_eq!(table.resolution(id).hops().unwrap()[..], [hop("192.0.2.9", ETH0)], "although it is not connected itself");
    table.on_kernel(&KernelEvent::Route(route("10.50.0.0/25", &[hop("198.51.100.7", ETH1)])));
    assert_eq!(table.resolution(id).hops().unwrap()[..], [hop("198.51.100.7", ETH1)]);
    own(&mut table, "10.50.0.0/25", &[a]);
    assert_eq!(
        table.resolution(id).hops().unwrap()[..],
        [hop("198.51.100.7", ETH1)],
        "of the same length the lower metric, as in the kernel"
    );
    table.on_kernel(&KernelEvent::Route(route("10.50.0.0/17", &[hop("", ETH1)])));
    assert_eq!(table.resolution(id).hops().unwrap()[..], [hop("198.51.100.7", ETH1)], "shorter than another's");
    table.on_kernel(&KernelEvent::RouteGone(route("10.50.0.0/25", &[hop("198.51.100.7", ETH1)])));
    assert_eq!(table.resolution(id).hops().unwrap()[..], [hop("10.50.0.9", ETH1)], "what is on a link is connected");
    table.check_invariants();
}

#[test]
fn routes_that_lead_in_a_circle_carry_nothing_and_are_passed_over() {
    let mut table = plugged();
    let [a, b] = ["10.1.0.1", "10.2.0.1"].map(|a| table.track(ip(a), None));
    own(&mut table, "10.2.0.0/16", &[a]);
    own(&mut table, "10.1.0.0/16", &[b]);
    for id in [a, b] {
        assert_eq!(*table.resolution(id), Resolution::Unresolved(Unresolved::Circle));
    }
    let default = route("0.0.0.0/0", &[hop("192.0.2.1", ETH0)]);
    table.on_kernel(&KernelEvent::Route(default.clone()));
    for id in [a, b] {
        assert_eq!(table.resolution(id).hops().unwrap()[..], [hop("192.0.2.1", ETH0)]);
    }
    table.check_invariants();
    table.on_kernel(&KernelEvent::RouteGone(default));
    assert!([a, b].iter().all(|id| !table.resolution(*id).is_usable()), "neither holds the other up");
    table.check_invariants();
}

#[test]
fn a_next_hop_in_a_block_of_ours_is_none_unless_its_pod_is_there() {
    let mut table = plugged();
    let id = table.track(ip("10.244.1.5"), None);
    table.on_kernel(&KernelEvent::Route(route("0.0.0.0/0", &[hop("192.0.2.1", ETH0)])));
    table.on_bgp_route("10.244.1.0/26".parse().unwrap(), Some(BgpRoute::Discards));
    assert_eq!(*table.resolution(id), Resolution::Unresolved(Unresolved::Discarded));
    table.on_kernel(&KernelEvent::Route(route("10.244.1.5/32", &[hop("", ETH1)])));
    assert_eq!(table.resolution(id).hops().unwrap()[..], [hop("10.244.1.5", ETH1)]);
    table.check_invariants();
}

#[test]
fn broadcast_and_network_addresses_of_our_subnets_are_no_next_hops() {
    let mut table = plugged();
    let ids = ["192.0.2.255", "192.0.2.0", "192.0.2.127"].map(|a| table.track(ip(a), None));
    let seen = |table: &NexthopTable| ids.map(|id| *table.resolution(id) == Resolution::Unresolved(Unresolved::Broadcast));
    assert_eq!(seen(&table), [true, true, false]);
    let half = "192.0.2.2/25".parse().unwrap();
    table.on_kernel(&KernelEvent::Address { ifindex: ETH1, net: half });
    assert_eq!((seen(&table), table.take_changed()), ([true, true, true], vec![ids[2]]));
    table.on_kernel(&KernelEvent::AddressGone { ifindex: ETH0, net: "192.0.2.1/24".parse().unwrap() });
    assert_eq!(seen(&table), [false, true, true], "the smaller subnet begins at the same address");
    table.on_kernel(&KernelEvent::AddressGone { ifindex: ETH1, net: half });
    assert_eq!(seen(&table), [false, false, false]);
    table.check_invariants();
    for net in ["203.0.113.6/31", "203.0.113.9/32", "2001:db8:9::/64"] {
        table.on_kernel(&KernelEvent::Address { ifindex: ETH0, net: net.parse().unwrap() });
    }
    table.on_kernel(&KernelEvent::Route(route("203.0.113.6/31", &[hop("", ETH0)])));
    let other = table.track(ip("203.0.113.7"), None);
    assert!(table.resolution(other).is_usable(), "a /31 has neither (RFC 3021)");
    for addr in ["0.0.0.0", "0.0.0.7", "127.0.0.2", "224.0.0.5", "240.0.0.1", "255.255.255.255", "::", "::1", "ff02::1"] {
        let id = table.track(ip(addr), Some(ETH0));
        assert_eq!(*table.resolution(id), Resolution::Unresolved(Unresolved::NotUnicast), "{addr}");
    }
}

#[test]
fn our_routes_are_kept_only_where_they_hold_a_tracked_address() {
    let mut table = plugged();
    let gateway = table.track(ip("192.0.2.9"), None);
    table.take_newly_tracked();
    let (pods, carrier) = ("10.244.0.0/26", "203.0.113.0/24");
    let kept = |table: &NexthopTable, net: &str| table.own(net.parse().unwrap()).is_some();
    own(&mut table, pods, &[gateway]);
    own(&mut table, carrier, &[gateway]);
    assert!(!kept(&table, pods) && !kept(&table, carrier));
    let [one, two] = ["203.0.113.5", "203.0.113.6"].map(|a| table.track(ip(a), None));
    assert_eq!(table.take_newly_tracked(), [ip("203.0.113.5"), ip("203.0.113.6")]);
    assert!(table.take_newly_tracked().is_empty() && !table.resolution(one).is_usable(), "told again, it is known");
    own(&mut table, carrier, &[gateway]);
    assert_eq!(table.take_changed(), [one, two]);
    assert_eq!(table.resolution(one).hops().unwrap()[..], [hop("192.0.2.9", ETH0)]);
    table.untrack(one);
    assert!(kept(&table, carrier) && table.resolution(two).is_usable());
    table.check_invariants();
    table.untrack(two);
    assert!(!kept(&table, carrier), "nobody asks any more");
    table.check_invariants();
}

#[test]
fn a_multipath_route_loses_one_way_and_keeps_the_others() {
    let mut table = plugged();
    let both = [hop("2001:db8::8", ETH0), hop("2001:db8::9", ETH0)];
    table.on_kernel(&KernelEvent::Route(route("2001:db8:5::/48", &both)));
    let id = table.track(ip("2001:db8:5::1"), None);
    table.on_kernel(&KernelEvent::Route(route("2001:db8:5::/48", &both[1..])));
    assert_eq!(table.resolution(id).hops().unwrap()[..], both[1..]);
    table.on_kernel(&KernelEvent::RouteGone(route("2001:db8:5::/48", &both[1..])));
    assert_eq!(*table.resolution(id), Resolution::Unresolved(Unresolved::NoRoute));
}

#[test]
fn a_dump_takes_away_what_it_does_not_mention() {
    let mut table = plugged();
    let near = table.track(ip("192.0.2.7"), None);
    let other = table.track(ip("198.51.100.7"), None);
    table.on_kernel(&KernelEvent::DumpStart);
    table.on_kernel(&link(ETH0, true));
    table.on_kernel(&link(ETH1, true));
    table.on_kernel(&KernelEvent::Route(route("192.0.2.0/24", &[hop("", ETH0)])));
    assert_eq!(table.take_changed(), [], "nothing is gone before the dump ends");
    table.on_kernel(&KernelEvent::DumpEnd);
    assert_eq!(table.take_changed(), [other]);
    assert!(table.resolution(near).is_usable() && !table.is_own_address(ip("192.0.2.1")));
    table.check_invariants();
}

#[test]
fn pods_coming_and_going_touch_no_next_hop() {
    let mut table = plugged();
    let id = table.track(ip("192.0.2.7"), None);
    for i in 0..1000 {
        let pod = IfIndex(100 + i);
        table.on_kernel(&link(pod, true));
        table.on_kernel(&KernelEvent::Route(route("10.244.1.9/32", &[hop("", pod)])));
        table.on_kernel(&KernelEvent::RouteGone(route("10.244.1.9/32", &[hop("", pod)])));
        table.on_kernel(&KernelEvent::LinkGone { ifindex: pod });
    }
    assert_eq!(table.take_changed(), []);
    assert!(table.resolution(id).is_usable());
    assert_eq!((table.links.len(), table.v4.len()), (2, 2), "nothing of them is kept");
}
