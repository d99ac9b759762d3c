//! Many paths of one prefix (RFC 7911): what a change costs a reflector when a thousand nodes announce it, and what ten thousand path
//! identifiers of one peer cost.
//!
//! `cargo run --release -p proto-tests --example paths_load -- 1000 10000` (nodes, identifiers).

use catbird::num::{FamilySet, Nlri, PathId, PeerId};
use catbird::rib::adj_out::{AddPathSend, GroupKey};
use catbird::rib::update_group::Bounds;
use catbird::rib::{Cause, Route, SourceKind};
use catbird::wire::Context;
use proto_tests::exporting::{World, net, reflecting, route};

/// CPU time of this process, in seconds.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    stat.split(' ').next().and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0) / 1e9
}

fn several(limit: AddPathSend) -> GroupKey {
    let key = reflecting(true);
    GroupKey { add_path: limit, send: Context { add_path: FamilySet::IPV4, ..key.send.clone() }, ..key }
}

fn world(sources: u32) -> World {
    let mut world = World::new(Bounds::default());
    world.rib.tell_all_paths(true);
    (1..=sources).for_each(|n| world.source(n, SourceKind::Internal, true));
    world
}

fn main() {
    let arg = |n: usize, or: u32| std::env::args().nth(n).and_then(|a| a.parse().ok()).unwrap_or(or);
    let (nodes, ids) = (arg(1, 1000), arg(2, 10_000));
    for limit in [AddPathSend::Best(2), AddPathSend::All] {
        let mut world = world(nodes);
        world.join(nodes + 1, several(limit));
        world.rib.rank_paths(world.groups.ranked());
        (1..=nodes).for_each(|n| world.announce(n, net("10.96.0.10/32"), &route(n).finish()));
        world.flush();
        let before = cpu();
        for n in 1..=nodes {
            world.announce(n, net("10.96.0.10/32"), &route(n).set_med(Some(n)).finish());
            world.settle();
        }
        println!("{nodes} nodes, {limit:?}: {:.1} us a change", (cpu() - before) * 1e6 / f64::from(nodes));
    }
    let mut world = world(1);
    world.join(2, several(AddPathSend::All));
    world.rib.rank_paths(world.groups.ranked());
    let before = cpu();
    for round in 0..2 {
        let attrs = world.rib.intern_new(route(1).set_med(Some(round)).finish());
        for id in 1..=ids {
            let nlri = Nlri { net: net("10.96.0.10/32"), path_id: PathId(id) };
            world.rib.announce(PeerId(1), [nlri], &Route::as_received(attrs.clone()), &Cause::Announced);
            if id % 500 == 0 {
                world.settle();
            }
        }
    }
    world.flush();
    println!("{ids} identifiers, each twice: {:.3} s", cpu() - before);
}
