//! How update groups share work and bound memory.

use std::fmt::Write as _;

use catbird::num::{Asn, Family, PeerId};
use catbird::rib::SourceKind;
use catbird::rib::pack::Slices;
use catbird::rib::update_group::Bounds;
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
    while world.groups.has_more(PeerId(3)) {
        world.read(3, usize::MAX);
    }
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
    world.groups.rekey(PeerId(2), key(SourceKind::External));
    world.flush();
    assert_eq!(updates(&world, 2), before, "an equal key says nothing");
    let set = PrefixSet::new([PrefixRange::exact(block(3))]);
    let rule = Rule { when: vec![Condition::Prefix(std::sync::Arc::new(set))], then: Step::Reject, ..Rule::default() };
    let chain =
        Chain::from_policies(vec![std::sync::Arc::new(Policy { name: "not-3".into(), rules: vec![rule], otherwise: Step::Accept })]);
    world.groups.rekey(PeerId(2), catbird::rib::adj_out::GroupKey { chain, ..key(SourceKind::External) });
    world.flush();
    assert_eq!(updates(&world, 2), before + 1, "one withdrawal");
    assert_eq!(world.hearers[&PeerId(2)].table.len(), 9);
    assert!(world.heard(2, "10.0.0.192/26").is_none());
}

/// As a peer that asks for everything a hundred times in one read (RFC 2918), once while it reads and once before it does.
#[test]
fn a_hundred_refreshes_are_two_tables_at_most_and_nobody_else_hears_of_them() {
    for enhanced in [false, true] {
        let mut world = World::new(Bounds::default());
        world.source(1, SourceKind::External, false);
        (2..=3).for_each(|n| world.join(n, key(SourceKind::External)));
        world.announce_all(1, (0..5000).map(block), &route(1).finish());
        world.flush();
        let ask = |world: &mut World| (0..100).for_each(|_| world.groups.refresh(PeerId(2), Family::Ipv4Unicast, enhanced));
        let before = [updates(&world, 2), updates(&world, 3)];
        ask(&mut world);
        world.flush();
        let one = updates(&world, 2) - before[0];
        assert!((5..20).contains(&one), "one table: {one} UPDATEs");
        ask(&mut world);
        world.read(2, 1);
        ask(&mut world);
        ask(&mut world);
        world.flush();
        assert_eq!(updates(&world, 2) - before[0], 3 * one, "one was under way, and one came after it");
        assert_eq!(updates(&world, 3), before[1]);
        assert_eq!(world.groups.groups().map(|(_, members, _, held)| (members, held)).collect::<Vec<_>>(), [(2, 0)]);
    }
}

/// Prefixes that came and went while somebody read nothing owe it nothing.
#[test]
fn a_slow_reader_is_owed_what_is_announced_or_was_announced_to_it() {
    let mut world = World::new(Bounds { log_octets: 5000, ..Bounds::default() });
    world.source(1, SourceKind::External, false);
    world.join(2, key(SourceKind::External));
    world.announce_all(1, (0..50).map(block), &route(1).finish());
    world.flush();
    for round in 1..100 {
        let these = || (round * 200..(round + 1) * 200).map(block);
        world.announce_all(1, these(), &route(1).prepend(Asn(1000 + round), 1).finish());
        world.settle();
        these().for_each(|net| world.withdraw(1, net));
        world.settle();
    }
    assert!(world.groups.owed() <= 200, "{} prefixes owed", world.groups.owed());
    (0..10).for_each(|n| world.withdraw(1, block(n)));
    world.announce(1, block(90_000), &route(1).finish());
    world.settle();
    let before = updates(&world, 2);
    world.flush();
    assert!(updates(&world, 2) - before < 20, "a word on what changed, and none on what came and went");
    assert_eq!(world.hearers[&PeerId(2)].table.len(), 41);
    assert_eq!((world.groups.owed(), held(&world)), (0, 0));
}

/// Who is owed a great part of the table gets the table.
#[test]
fn a_debt_as_long_as_the_table_is_the_table() {
    let mut world = World::new(Bounds { log_octets: 5000, ..Bounds::default() });
    world.source(1, SourceKind::External, false);
    world.join(2, key(SourceKind::External));
    world.announce_all(1, (0..9000).map(block), &route(1).finish());
    world.flush();
    for round in 0..3 {
        world.announce_all(1, (100..9000).map(block), &route(1).prepend(Asn(1000 + round), 1).finish());
        (0..100).for_each(|n| world.withdraw(1, block(n)));
        world.settle();
    }
    assert!(world.groups.owed() < 6000, "{} prefixes owed", world.groups.owed());
    world.flush();
    let table = &world.hearers[&PeerId(2)].table;
    assert_eq!(table.len(), 8900);
    assert!(table.values().all(|attrs| attrs.as_path().asns().nth(1) == Some(Asn(1002))));
}

fn marking(world: &World, nth: u32) -> catbird::rib::adj_out::GroupKey {
    assert!(nth < 10 && !world.hearers.is_empty());
    catbird::rib::adj_out::GroupKey { local_pref: 100 + nth, ..reflecting(true) }
}

/// A new policy of fifty members: they stay one group, and what differs is written once for all of them, in steps.
#[test]
fn a_key_that_changes_for_all_members_is_one_change_of_their_group() {
    let mut world = World::new(Bounds { step: 100, ..Bounds::default() });
    world.source(1, SourceKind::Internal, true);
    (2..=51).for_each(|n| world.join(n, reflecting(true)));
    world.announce_all(1, (0..2000).map(block), &route(1).finish());
    world.flush();
    let other = marking(&world, 7);
    (2..=51).for_each(|n| world.groups.rekey(PeerId(n), other.clone()));
    let mut steps = 0;
    while world.groups.has_work() {
        world.groups.work(&world.rib);
        steps += 1;
    }
    assert!((20..30).contains(&steps), "{steps} steps of 100 destinations");
    assert_eq!(world.groups.groups().map(|(_, members, prefixes, _)| (members, prefixes)).collect::<Vec<_>>(), [(50, 2000)]);
    let mut read = |n| {
        let mut slices = Slices::new();
        world.groups.poll_member(&world.rib, PeerId(n), usize::MAX, &mut slices);
        slices
    };
    let (two, three) = (read(2), read(3));
    assert!(!two.is_empty() && two.iter().zip(&three).all(|(a, b)| a.as_ptr() == b.as_ptr()), "the same buffers for all");
    let octets: usize = two.iter().map(bytes::Bytes::len).sum();
    assert!(octets < 2000 * 5 + 40 * 100, "each prefix once: {octets}");
    // Those two took theirs; the others hear it now.
    (4..=51).for_each(|n| while world.read(n, 1 << 20) > 0 {});
    assert!(world.hearers[&PeerId(50)].table.values().all(|attrs| attrs.local_pref() == Some(107)) && held(&world) == 0);
}

/// One after the other, and in two parts: in the end those with one key are one group again.
#[test]
fn members_that_come_to_one_key_by_different_ways_are_one_group_in_the_end() {
    let mut world = World::new(Bounds { step: 50, ..Bounds::default() });
    world.source(1, SourceKind::Internal, true);
    (2..=9).for_each(|n| world.join(n, reflecting(true)));
    world.announce_all(1, (0..300).map(block), &route(1).finish());
    world.flush();
    let groups = |world: &World| world.groups.groups().map(|(key, members, ..)| (key.local_pref, members)).collect::<Vec<_>>();
    let other = marking(&world, 3);
    for n in 2..=4 {
        world.groups.rekey(PeerId(n), other.clone());
        world.flush();
    }
    assert_eq!(groups(&world), [(100, 5), (103, 3)]);
    (5..=9).for_each(|n| world.groups.rekey(PeerId(n), other.clone()));
    world.groups.work(&world.rib);
    // Another change while the last is under way.
    world.announce_all(1, (100..120).map(block), &route(1).prepend(Asn(5), 1).finish());
    world.withdraw(1, block(299));
    world.flush();
    assert_eq!(groups(&world).iter().map(|(key, members)| (*key, *members)).collect::<Vec<_>>(), [(103, 8)]);
    let tables: Vec<_> = (2..=9).map(|n| &world.hearers[&PeerId(n)].table).collect();
    assert!(tables.iter().all(|t| t.len() == 299 && *t == tables[0]));
    assert!(tables[0].values().all(|attrs| attrs.local_pref() == Some(103)));
}

/// RFC 4456 §6: what is reflected to whom depends on whether its source is a client, and that may change while the session stands.
#[test]
fn routes_of_a_peer_that_becomes_a_client_reach_everybody_and_leave_again() {
    let mut world = World::new(Bounds::default());
    world.source(1, SourceKind::Internal, false);
    world.join(2, reflecting(false));
    world.join(3, reflecting(true));
    world.announce_all(1, (0..10).map(block), &route(1).finish());
    world.flush();
    let heard = |world: &World| [2, 3].map(|n| world.hearers[&PeerId(n)].table.len());
    assert_eq!(heard(&world), [0, 10], "from a non-client to clients only");
    for round in 0..3 {
        world.source(1, SourceKind::Internal, round % 2 == 0);
        world.flush();
        assert_eq!(heard(&world), [if round % 2 == 0 { 10 } else { 0 }, 10]);
    }
}

/// A table of any size begins for a new member at the cost of a note.
#[test]
fn the_first_table_of_a_group_is_looked_at_in_steps() {
    let mut world = World::new(Bounds { step: 100, ..Bounds::default() });
    world.source(1, SourceKind::External, false);
    world.announce_all(1, (0..3000).map(block), &route(1).finish());
    world.settle();
    world.join(2, key(SourceKind::External));
    assert_eq!(world.groups.groups().map(|(_, _, prefixes, _)| prefixes).sum::<u32>(), 0);
    world.groups.work(&world.rib);
    assert_eq!(world.groups.groups().map(|(_, _, prefixes, _)| prefixes).sum::<u32>(), 100);
    world.flush();
    assert_eq!(world.hearers[&PeerId(2)].table.len(), 3000);
    assert_eq!(world.hearers[&PeerId(2)].ends, Family::ALL);
}

/// Of three external peers the first announces 5,000 blocks, which the others have read.
fn told(bounds: Bounds) -> World {
    let mut world = World::new(bounds);
    (1..=3).for_each(|n| world.source(n, SourceKind::External, false));
    (2..=3).for_each(|n| world.join(n, key(SourceKind::External)));
    again(&mut world, 1000);
    world.flush();
    assert!(world.heard(2, "10.0.0.0/26").is_some());
    world
}

/// The first announces all of it once more, otherwise.
fn again(world: &mut World, asn: u32) {
    let attrs = route(1).prepend(Asn(asn), 3).finish();
    world.announce_all(1, (0..5000).map(block), &attrs);
}

/// Who becomes the source of a route that it was told is told that it is gone, even while the table is on its way to it.
#[test]
fn who_takes_over_a_route_during_a_refresh_does_not_keep_the_old_one() {
    let mut world = told(Bounds::default());
    world.groups.refresh(PeerId(2), Family::Ipv4Unicast, false);
    world.announce(2, block(0), &route(2).prepend(Asn(65002), 1).finish());
    world.flush();
    assert!(world.heard(2, "10.0.0.0/26").is_none() && world.heard(3, "10.0.0.0/26").is_some());
}

#[test]
fn who_takes_over_a_route_while_it_does_not_read_does_not_keep_the_old_one() {
    let mut world = told(Bounds { log_octets: 20_000, ..Bounds::default() });
    for round in 0..3 {
        again(&mut world, 2000 + round);
        if round == 2 {
            world.announce(2, block(0), &route(2).prepend(Asn(65002), 1).finish());
        }
        world.settle();
    }
    assert!(world.groups.owed() > 4096, "each prefix, and then the table");
    world.flush();
    assert!(world.heard(2, "10.0.0.0/26").is_none() && world.heard(3, "10.0.0.0/26").is_some());
    assert_eq!((world.groups.owed(), world.hearers[&PeerId(2)].table.len()), (0, 4999));
}
