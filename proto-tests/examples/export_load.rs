//! What telling costs: CPU time of the update groups alone, with no sockets and no decoding, for the shapes of scenarios S1, S4 and S5.
//!
//! `cargo run --release -p proto-tests --example export_load [table|reflector|flap|one|rekey]...` prints one line for each.

use std::net::{IpAddr, Ipv4Addr};

use catbird::num::Asn;
use catbird::rib::SourceKind;
use catbird::rib::pack::Slices;
use catbird::rib::update_group::Bounds;
use ipnet::IpNet;
use proto_tests::exporting::{World, key, reflecting, route};

fn cpu() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec of our own.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn prefix(n: u32) -> IpNet {
    IpNet::new(IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + (n << 6))), 26).expect("26 bits")
}

/// Everybody reads everything and forgets it. Tells octets and pieces.
fn drain(world: &mut World) -> (usize, usize) {
    let (mut octets, mut pieces) = (0, 0);
    let mut slices = Slices::new();
    while let Some(peer) = world.groups.take_ready() {
        octets += world.groups.poll_member(&world.rib, peer, usize::MAX, &mut slices).octets;
        pieces += slices.len();
        slices.clear();
    }
    (octets, pieces)
}

/// Half a million prefixes in messages of eight, from one peer to another; the table's part and the groups' part.
fn table() {
    let mut world = World::new(Bounds::default());
    world.source(1, SourceKind::External, false);
    world.join(2, key(SourceKind::External));
    let (mut apply, mut tell, mut octets) = (0.0, 0.0, 0);
    let total = 500_000;
    for batch in 0..total / 4000 {
        let start = cpu();
        for message in 0..500 {
            let attrs = route(1).prepend(Asn(100_000 + batch * 500 + message), 1).prepend(Asn(65001), 1).finish();
            let first = batch * 4000 + message * 8;
            world.announce_all(1, (first..first + 8).map(prefix), &attrs);
        }
        world.take_in();
        let middle = cpu();
        world.tell();
        octets += drain(&mut world).0;
        apply += middle - start;
        tell += cpu() - middle;
    }
    let per = |t: f64| t / f64::from(total) * 1e9;
    println!("table: rib {:.0} ns a prefix, export {:.0} ns a prefix, {octets} octets", per(apply), per(tell));
}

/// A thousand clients join one after the other and announce four blocks each.
fn reflector() {
    let mut world = World::new(Bounds::default());
    let start = cpu();
    let (mut octets, mut pieces) = (0, 0);
    for n in 1..=1000 {
        world.source(n, SourceKind::Internal, true);
        world.join(n, reflecting(true));
        let attrs = route(n).finish();
        world.announce_all(n, (n * 4..n * 4 + 4).map(prefix), &attrs);
        world.take_in();
        world.tell();
        let (o, p) = drain(&mut world);
        octets += o;
        pieces += p;
    }
    println!("reflector: {:.3} s in all, {octets} octets in {pieces} pieces", cpu() - start);
}

/// One of 500 clients announces and withdraws 1,000 blocks, 20 times.
fn flap() {
    let mut world = World::new(Bounds::default());
    for n in 1..=500 {
        world.source(n, SourceKind::Internal, true);
        world.join(n, reflecting(true));
    }
    drain(&mut world);
    let start = cpu();
    let (mut octets, mut pieces) = (0, 0);
    for _ in 0..20 {
        for on in [true, false] {
            let attrs = route(1).finish();
            if on {
                world.announce_all(1, (0..1000).map(prefix), &attrs)
            } else {
                (0..1000).for_each(|n| world.withdraw(1, prefix(n)))
            }
            world.take_in();
            world.tell();
            let (o, p) = drain(&mut world);
            octets += o;
            pieces += p;
        }
    }
    println!("flap: {:.3} s, {octets} octets in {pieces} pieces", cpu() - start);
}

/// One block of one of 500 clients comes and goes 2,000 times.
fn one() {
    let mut world = World::new(Bounds::default());
    for n in 1..=500 {
        world.source(n, SourceKind::Internal, true);
        world.join(n, reflecting(true));
    }
    drain(&mut world);
    let (mut tell, mut poll) = (0.0, 0.0);
    let rounds = 2000;
    for n in 0..rounds {
        let attrs = route(1).finish();
        if n % 2 == 0 {
            world.announce(1, prefix(0), &attrs)
        } else {
            world.withdraw(1, prefix(0))
        }
        world.take_in();
        let start = cpu();
        world.tell();
        let middle = cpu();
        drain(&mut world);
        tell += middle - start;
        poll += cpu() - middle;
    }
    let per = |t: f64| t / f64::from(rounds) * 1e9;
    println!("one: telling {:.0} ns, polling 500 members {:.0} ns a change", per(tell), per(poll));
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().unwrap_or(0)
}

/// Fifty members of one group come to another key over 200,000 prefixes, as by a drain: once they read, once they do not.
fn rekey() {
    for reads in [true, false] {
        let mut world = World::new(Bounds::default());
        world.source(1, SourceKind::Internal, true);
        (2..=51).for_each(|n| world.join(n, reflecting(true)));
        for set in 0..2000 {
            world.announce_all(1, (set * 100..set * 100 + 100).map(prefix), &route(1).prepend(Asn(100_000 + set), 1).finish());
            world.settle();
            drain(&mut world);
        }
        let (before, start) = (resident(), cpu());
        let (mut octets, mut longest) = (0, 0.0f64);
        (2..=51).for_each(|n| {
            world.groups.rekey(catbird::num::PeerId(n), catbird::rib::adj_out::GroupKey { graceful_shutdown: true, ..reflecting(true) })
        });
        while world.groups.has_work() {
            let step = cpu();
            world.groups.work(&world.rib);
            longest = longest.max(cpu() - step);
            octets += if reads { drain(&mut world).0 } else { 0 };
        }
        let taken = cpu() - start;
        println!(
            "rekey: {taken:.3} s, the longest step {:.2} ms, {octets} octets, {before} -> {} kB, {} groups, {} prefixes owed",
            longest * 1e3,
            resident(),
            world.groups.groups().count(),
            world.groups.owed()
        );
    }
}

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let all: [(&str, fn()); 5] = [("table", table), ("reflector", reflector), ("flap", flap), ("one", one), ("rekey", rekey)];
    for (_, run) in all.iter().filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|w| w == name)) {
        run();
    }
}
