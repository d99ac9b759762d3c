//! A table of more attribute sets than an update group holds as they go out (1,024): what was let go is made again when it is needed, and
//! the peer hears the same as if nothing had been.

use catbird::num::Asn;
use catbird::rib::SourceKind;
use catbird::rib::adj_out::export;
use catbird::rib::update_group::Bounds;
use catbird::wire::PathAttributes;
use ipnet::IpNet;
use proto_tests::exporting::{World, from, key, net, route};

/// Beyond what is held.
const SETS: u32 = 1500;

fn prefix(n: u32) -> IpNet {
    net(&format!("10.{}.{}.0/24", n / 250, n % 250))
}

fn attrs(n: u32, med: u32) -> PathAttributes {
    route(1).prepend(Asn(100_000 + n), 1).prepend(Asn(65001), 1).set_med(Some(med)).finish()
}

/// A source, and peer 2 that has heard one prefix for each set.
fn world() -> World {
    let mut world = World::new(Bounds::default());
    world.source(1, SourceKind::External, false);
    world.join(2, key(SourceKind::External));
    (0..SETS).for_each(|n| world.announce(1, prefix(n), &attrs(n, 0)));
    world.flush();
    world
}

fn hears_all(world: &World, peer: u32, but: impl Fn(u32) -> bool) {
    for n in 0..SETS {
        let out = export(&prefix(n), &attrs(n, 0), &from(1, catbird::policy::Source::External), &key(SourceKind::External));
        let wanted = out.ok().filter(|_| !but(n));
        assert_eq!(world.heard(peer, &prefix(n).to_string()).cloned(), wanted, "{}", prefix(n));
    }
}

#[test]
fn every_set_is_heard_as_it_goes_out_alone() {
    let mut world = world();
    hears_all(&world, 2, |_| false);
    assert_eq!(world.rib.attribute_sets() as u32, SETS, "each prefix has a set of its own");
    world.join(3, key(SourceKind::External));
    world.flush();
    hears_all(&world, 3, |_| false);
}

#[test]
fn what_changes_without_effect_outside_is_not_said_again() {
    let mut world = world();
    let before = world.hearers[&catbird::num::PeerId(2)].messages.len();
    // MED does not leave the AS, so these go out as they did; the group must find that out from what it let go.
    (0..SETS).for_each(|n| world.announce(1, prefix(n), &attrs(n, 7)));
    world.flush();
    assert_eq!(world.hearers[&catbird::num::PeerId(2)].messages.len(), before);
    hears_all(&world, 2, |_| false);
}

#[test]
fn withdrawals_and_returns_are_told_and_the_tables_end_empty() {
    let mut world = world();
    (0..SETS).filter(|n| n % 3 == 0).for_each(|n| world.withdraw(1, prefix(n)));
    world.flush();
    hears_all(&world, 2, |n| n % 3 == 0);
    (0..SETS).filter(|n| n % 3 == 0).for_each(|n| world.announce(1, prefix(n), &attrs(n, 0)));
    world.flush();
    hears_all(&world, 2, |_| false);
    (0..SETS).for_each(|n| world.withdraw(1, prefix(n)));
    world.flush();
    hears_all(&world, 2, |_| true);
    world.flush();
    assert_eq!(world.rib.attribute_sets(), 0, "the last route takes the last set along");
}
