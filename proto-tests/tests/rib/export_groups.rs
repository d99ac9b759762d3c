//! How export groups share work and bound memory.

use std::fmt::Write as _;

use catbird::num::{Asn, Family, PeerId};
use catbird::rib::SourceKind;
use catbird::rib::group::Bounds;
use catbird::rib::pack::Slices;
use catbird::wire::{Message, RefreshSubtype};
use ipnet::IpNet;
use proto_tests::exporting::{World, key, net, reflecting, route};

fn block(n: u32) -> IpNet {
    IpNet::new(std::net::IpAddr::V4(std::net::Ipv4Addr::from(0x0a00_0000 + n * 64)), 26).expect("26 bits")
}

/// Octets held for those who have yet to read them.
fn held(world: &World) -> u64 {
    world.groups.groups().map(|(_, _, _, held)| held).sum()
}

fn updates(world: &World, n: u32) -> usize {
    world.hearers[&PeerId(n)].messages.iter().filter(|m| matches!(m, Message::Update(u) if u.end_of_rib.is_none())).count()
}

#[test]
fn slow_reader_holds_prefixes_not_updates() {
    let bounds = Bounds { log_octets: 20_000, ..Bounds::default() };
    let mut world = World::new(bounds);
    world.source(1, SourceKind::External, false);
    world.join(2, key(SourceKind::External));
    world.join(3, key(SourceKind::External));
    world.flush();
    let mut most = 0;
    for round in 0..200 {
        let attrs = route(1).prepend(Asn(1000 + round), 1).finish();
        (0..100).for_each(|n| world.announce(1, block(n), &attrs));
        world.settle();
        while world.groups.has_more(PeerId(2)) {
            world.read(2, 1 << 16);
        }
        most = most.max(held(&world));
    }
    assert!(most <= 20_000 + 65_536, "the log is bounded: {most}");
    assert_eq!(held(&world), 0, "nothing waits in the log for the slow one");
    world.read(3, usize::MAX);
    let last = world.heard(3, "10.0.0.0/26").expect("the last word").as_path().asns().nth(1);
    assert_eq!(last, Some(Asn(1199)));
    assert_eq!(world.hearers[&PeerId(3)].table, world.hearers[&PeerId(2)].table);
    assert!(updates(&world, 3) < 10 && updates(&world, 2) >= 200, "each prefix as it stands, not each of its updates");
}

#[test]
fn prefixes_of_one_attribute_set_share_updates_filled_to_the_limit() {
    let mut world = World::new(Bounds::default());
    world.source(1, SourceKind::External, false);
    world.join(2, key(SourceKind::External));
    let (a, b) = (route(1).prepend(Asn(1), 1).finish(), route(1).prepend(Asn(2), 1).finish());
    (0..1000).for_each(|n| world.announce(1, block(n), if n % 2 == 0 { &a } else { &b }));
    world.flush();
    assert_eq!(world.hearers[&PeerId(2)].table.len(), 1000);
    assert_eq!(updates(&world, 2), 2, "500 prefixes of 5 octets fit into one message of 4,096");
}

#[test]
fn members_share_the_octets_themselves() {
    let mut world = World::new(Bounds::default());
    world.source(1, SourceKind::External, false);
    (1..=3).for_each(|n| world.join(n, key(SourceKind::External)));
    world.flush();
    (0..100).for_each(|n| world.announce(1, block(n), &route(1).finish()));
    world.settle();
    let mut read = |n| {
        let mut slices = Slices::new();
        world.groups.poll_member(&world.rib, PeerId(n), usize::MAX, &mut slices);
        slices
    };
    let (source, two, three) = (read(1), read(2), read(3));
    assert!(source.is_empty(), "split horizon: nothing of its own comes back");
    assert_eq!(two.len(), 1);
    assert_eq!(two[0].as_ptr(), three[0].as_ptr(), "one buffer for both");
}

#[test]
fn what_comes_back_to_what_was_told_is_not_said_again() {
    let mut world = World::new(Bounds::default());
    world.source(1, SourceKind::External, false);
    world.join(2, key(SourceKind::External));
    world.announce(1, block(0), &route(1).finish());
    world.flush();
    let before = updates(&world, 2);
    // MED of a neighbour is not told outside, so for peer 2 nothing changes.
    world.announce(1, block(0), &route(1).set_med(Some(7)).finish());
    world.flush();
    assert_eq!(updates(&world, 2), before);
    world.announce(1, block(0), &route(1).prepend(Asn(7), 1).finish());
    world.flush();
    assert_eq!(updates(&world, 2), before + 1);
}

#[test]
fn when_the_best_moves_between_members_only_those_two_hear_of_it() {
    let mut world = World::new(Bounds::default());
    for n in 1..=3 {
        world.source(n, SourceKind::External, false);
        world.join(n, key(SourceKind::External));
    }
    let path = |n, asns| route(n).prepend(Asn(65000), asns).finish();
    world.announce(1, block(0), &path(1, 1));
    world.flush();
    assert!(world.heard(1, "10.0.0.0/26").is_none() && world.heard(2, "10.0.0.0/26").is_some());
    let before = updates(&world, 3);
    world.announce(1, block(0), &path(1, 2));
    world.announce(2, block(0), &path(2, 1));
    world.flush();
    assert!(world.heard(1, "10.0.0.0/26").is_some(), "the old source hears the new best");
    assert!(world.heard(2, "10.0.0.0/26").is_none(), "the new source is told that ours is gone");
    assert_eq!(updates(&world, 3), before, "for the others it is the same route");
}

#[test]
fn clients_that_come_one_after_the_other_share_the_table_as_it_grows() {
    let mut world = World::new(Bounds::default());
    for n in 1..=300 {
        world.source(n, SourceKind::Internal, true);
        world.join(n, reflecting(true));
        let attrs = route(n).finish();
        (0..4).for_each(|i| world.announce(n, block(n * 4 + i), &attrs));
        world.flush();
    }
    world.groups.check_invariants();
    let full = |n| world.hearers[&PeerId(n)].table.len();
    assert_eq!((full(1), full(150), full(300)), (1196, 1196, 1196));
    assert_eq!(world.groups.groups().count(), 1);
    let peers = world.groups.groups().map(|(_, members, prefixes, _)| (members, prefixes)).collect::<Vec<_>>();
    assert_eq!(peers, [(300, 1200)]);
    assert!(held(&world) < 1 << 20, "what the snapshot and the log since hold: {}", held(&world));
}

#[test]
fn end_of_rib_follows_the_first_table_of_each_family() {
    for snapshot_prefixes in [0, 1000] {
        let mut world = World::new(Bounds { snapshot_prefixes, ..Bounds::default() });
        world.source(1, SourceKind::External, false);
        world.announce(1, block(0), &route(1).finish());
        world.announce(
            1,
            net("2001:db8::/48"),
            &route(1).set_next_hop(catbird::wire::NextHop::V6 { global: "2001:db8::1".parse().unwrap(), link_local: None }).finish(),
        );
        world.settle();
        world.join(2, key(SourceKind::External));
        world.flush();
        let order = world.hearers[&PeerId(2)].messages.iter().fold(String::new(), |mut s, m| {
            let Message::Update(update) = m else { panic!("updates only") };
            let _ = write!(s, "{}", if update.end_of_rib.is_some() { 'E' } else { 'u' });
            s
        });
        assert_eq!(order, "uuEE");
        assert_eq!(world.hearers[&PeerId(2)].ends, Family::ALL);
        world.announce(1, block(1), &route(1).finish());
        world.flush();
        assert_eq!(world.hearers[&PeerId(2)].ends.len(), 2, "once");
        assert!(world.heard(2, "10.0.0.64/26").is_some());
    }
}

#[test]
fn a_refresh_says_everything_again_between_borr_and_eorr() {
    let mut world = World::new(Bounds::default());
    world.source(1, SourceKind::External, false);
    world.join(2, key(SourceKind::External));
    (0..10).for_each(|n| world.announce(1, block(n), &route(1).finish()));
    world.flush();
    for enhanced in [false, true] {
        let hearer = world.hearers.get_mut(&PeerId(2)).expect("it joined");
        hearer.messages.clear();
        hearer.table.clear();
        world.groups.refresh(PeerId(2), Family::Ipv4Unicast, enhanced);
        world.flush();
        let hearer = &world.hearers[&PeerId(2)];
        assert_eq!(hearer.table.len(), 10);
        let marks: Vec<_> =
            hearer.messages.iter().filter_map(|m| if let Message::RouteRefresh(r) = m { Some(r.subtype) } else { None }).collect();
        assert_eq!(marks, if enhanced { vec![RefreshSubtype::BoRR, RefreshSubtype::EoRR] } else { vec![] });
        if enhanced {
            assert!(
                matches!(hearer.messages.first(), Some(Message::RouteRefresh(_)))
                    && matches!(hearer.messages.last(), Some(Message::RouteRefresh(_)))
            );
        }
    }
}

#[test]
fn a_softly_changed_policy_says_the_differences_only() {
    use catbird::policy::{Chain, Condition, Policy, PrefixRange, PrefixSet, Rule, Step};
    let mut world = World::new(Bounds::default());
    world.source(1, SourceKind::External, false);
    world.join(2, key(SourceKind::External));
    (0..10).for_each(|n| world.announce(1, block(n), &route(1).finish()));
    world.flush();
    let before = updates(&world, 2);
    world.groups.rekey(PeerId(2), key(SourceKind::External), &world.rib);
    world.flush();
    assert_eq!(updates(&world, 2), before, "an equal key says nothing");
    let set = PrefixSet::new([PrefixRange::exact(block(3))]);
    let rule = Rule { when: vec![Condition::Prefix(std::sync::Arc::new(set))], then: Step::Reject, ..Rule::default() };
    let chain =
        Chain::from_policies(vec![std::sync::Arc::new(Policy { name: "not-3".into(), rules: vec![rule], otherwise: Step::Accept })]);
    world.groups.rekey(PeerId(2), catbird::rib::adj_out::GroupKey { chain, ..key(SourceKind::External) }, &world.rib);
    world.flush();
    assert_eq!(updates(&world, 2), before + 1, "one withdrawal");
    assert_eq!(world.hearers[&PeerId(2)].table.len(), 9);
    assert!(world.heard(2, "10.0.0.192/26").is_none());
}
