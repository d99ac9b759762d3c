//! One batch of routes on its way through the table, room by room, for those who count: `apply` into Adj-RIB-In, `settle` in the
//! Loc-RIB, `advertise` to the update groups.
//!
//! In: a [`Shape`]. Out: a [`Way`], whose steps are taken one after the other. How a step is measured is the measurer's affair:
//! `cargo bench` tells times (criterion), `cargo run --release --bin counts` tells instructions (callgrind), which do not depend on
//! what else the machine does.

use catbird::num::Asn;
use catbird::rib::SourceKind;
use catbird::rib::update_group::Bounds;
use catbird::wire::PathAttributes;
use ipnet::{IpNet, Ipv4Net};
use proto_tests::exporting::{World, key, reflecting, route};

/// What comes, and who hears it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// 28,000 prefixes of one external peer for another, seven to an attribute set, one UPDATE a set.
    Table,
    /// The same, one UPDATE a prefix, and no two neighbours of one set.
    OneByOne,
    /// 1,000 blocks of one client for 499 others.
    Reflector,
}

impl Shape {
    pub const ALL: [Shape; 3] = [Shape::Table, Shape::OneByOne, Shape::Reflector];

    pub fn name(self) -> &'static str {
        match self {
            Shape::Table => "table",
            Shape::OneByOne => "one-by-one",
            Shape::Reflector => "reflector",
        }
    }

    /// Prefixes in one batch.
    pub fn prefixes(self) -> u32 {
        match self {
            Shape::Table | Shape::OneByOne => 28_000,
            Shape::Reflector => 1000,
        }
    }
}

/// A step on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Apply,
    Settle,
    Advertise,
}

impl Step {
    pub const ALL: [Step; 3] = [Step::Apply, Step::Settle, Step::Advertise];

    pub fn name(self) -> &'static str {
        match self {
            Step::Apply => "apply",
            Step::Settle => "settle",
            Step::Advertise => "advertise",
        }
    }
}

/// A world in which everything is ready for one step.
pub struct Way {
    world: World,
    says: Vec<(PathAttributes, Vec<IpNet>)>,
}

impl Way {
    /// All is quiet; the steps before `to` have been taken.
    pub fn up_to(shape: Shape, to: Step) -> Way {
        let mut way = match shape {
            Shape::Table => Way::table(),
            Shape::OneByOne => Way::one_by_one(),
            Shape::Reflector => Way::reflector(),
        };
        Step::ALL.into_iter().take_while(|step| *step != to).for_each(|step| way.take(step));
        way
    }

    pub fn take(&mut self, step: Step) {
        match step {
            Step::Apply => self.says.iter().for_each(|(attrs, nets)| self.world.announce_all(1, nets.iter().copied(), attrs)),
            Step::Settle => while self.world.take_in() {},
            Step::Advertise => self.world.tell(),
        }
    }

    fn table() -> Way {
        let mut world = World::new(Bounds::default());
        world.source(1, SourceKind::External, false);
        world.join(2, key(SourceKind::External));
        world.flush();
        let set = |s: u32| {
            let mut editor = route(1);
            editor.prepend(Asn(400_000 + s), 1).prepend(Asn(3356 + s % 12), 1).prepend(Asn(65001), 1);
            (editor.finish(), (s * 7..s * 7 + 7).map(scattered).collect())
        };
        Way { world, says: (0..Shape::Table.prefixes() / 7).map(set).collect() }
    }

    fn one_by_one() -> Way {
        let Way { world, says } = Way::table();
        let turn = |n: usize| says.iter().filter_map(move |(set, nets)| Some((set.clone(), vec![*nets.get(n)?])));
        let says = (0..7).flat_map(turn).collect();
        Way { world, says }
    }

    fn reflector() -> Way {
        let mut world = World::new(Bounds::default());
        for n in 1..=500 {
            world.source(n, SourceKind::Internal, true);
            world.join(n, reflecting(true));
        }
        world.flush();
        Way { world, says: vec![(route(1).finish(), (0..Shape::Reflector.prefixes()).map(scattered).collect())] }
    }
}

/// Prefixes that are no neighbours in the table, as in the Internet's.
fn scattered(n: u32) -> IpNet {
    let addr = 0x0100_0000 + (n.wrapping_mul(2_654_435_761) % 0xd000_0000);
    IpNet::V4(Ipv4Net::new_assert(addr.into(), 24).trunc())
}
