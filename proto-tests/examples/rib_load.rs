//! A full table through `Rib::announce` and `Rib::settle`, and out again: time, and memory for each route.
//!
//! `cargo run --release -p proto-tests --example rib_load -- 1000000 140000 0` (prefixes, distinct attribute sets, octets of attributes more).
//! What the tables say that they hold stands beside what the process took.
//! For instruction counts: `valgrind --tool=callgrind --toggle-collect='*::load' ... 100000 14000`.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use catbird::kernel::IfIndex;
use catbird::num::{Asn, Family, Nlri, PeerId, RouterId};
use catbird::rib::{BestChange, Cause, NextHops, NhId, Rib, Route, Rules, SourceFacts, SourceKind};
use catbird::wire::{AttrCode, NextHop, Origin, PathAttributes};
use ipnet::{IpNet, Ipv4Net};

struct AllUp;

impl NextHops for AllUp {
    fn track(&mut self, _: IpAddr, _: Option<IfIndex>) -> NhId {
        NhId(1)
    }
    fn untrack(&mut self, _: NhId) {}
    fn metric(&self, _: NhId) -> Option<u32> {
        Some(0)
    }
}

fn set(n: u32, octets: usize) -> PathAttributes {
    let mut editor = PathAttributes::builder(Origin::Igp, NextHop::V4(Ipv4Addr::new(10, 99, 1, 10)));
    editor.prepend(Asn(4_000_000 + n), 1);
    editor.prepend(Asn(65001), 1);
    if octets > 0 {
        editor.set_unknown(AttrCode(99), &vec![7; octets]);
    }
    editor.finish()
}

/// Scattered like a real table: neighbours in the stream are not neighbours in the hash.
fn nlri(n: u32) -> Nlri {
    let addr = Ipv4Addr::from(n.wrapping_mul(2_654_435_761) & 0xffff_ff00);
    Nlri::new(IpNet::V4(Ipv4Net::new(addr, 24 - (n % 3) as u8).expect("a length").trunc()))
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().unwrap_or(0)
}

/// CPU time of this process, in seconds.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    stat.split(' ').next().and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0) / 1e9
}

#[inline(never)]
fn load(rib: &mut Rib, sets: u32, update: impl Fn(u32) -> (PathAttributes, Vec<Nlri>), changes: &mut usize) {
    let mut out: Vec<BestChange> = Vec::new();
    for from in (0..sets).step_by(512) {
        let batch: Vec<_> = (from..(from + 512).min(sets)).map(&update).collect();
        for (attrs, nlri) in batch {
            let route = Route::as_received(rib.intern(&attrs));
            rib.announce(PeerId(1), nlri.iter().copied(), &route, &Cause::Announced);
        }
        while rib.settle(4096, &mut AllUp, &mut out) {}
        *changes += out.len();
        out.clear();
    }
}

fn main() {
    let arg = |n: usize, or: u32| std::env::args().nth(n).and_then(|a| a.parse().ok()).unwrap_or(or);
    let (prefixes, sets, octets) = (arg(1, 1_000_000), arg(2, 140_000), arg(3, 0) as usize);
    let each = prefixes.div_ceil(sets);
    let made = |s: u32| (set(s, octets), (s * each..((s + 1) * each).min(prefixes)).map(nlri).collect::<Vec<_>>());
    let addr = IpAddr::V4(Ipv4Addr::new(10, 99, 1, 10));
    let router_id = RouterId::new(Ipv4Addr::new(10, 99, 1, 10)).expect("not zero");
    let facts = SourceFacts {
        id: PeerId(1),
        kind: SourceKind::External,
        asn: Asn(65001),
        router_id,
        addr,
        rr_client: false,
        local_addr: addr,
        interface: None,
    };
    let mut rib = Rib::new(Rules::default(), 1);
    rib.peer_up(facts);

    let (before, c0, t0, mut changes) = (resident(), cpu(), Instant::now(), 0);
    load(&mut rib, sets, made, &mut changes);
    let (c1, wall) = (cpu(), t0.elapsed());
    let routes = rib.table_counts(Family::Ipv4Unicast).prefixes;
    println!("in:    {changes} changes, {routes} prefixes, {} sets, cpu {:.3} s, wall {wall:.3?}", rib.attribute_sets(), c1 - c0);
    println!(
        "       {:.1} octets a route, {:.0} ns a route",
        (resident() - before) as f64 * 1024.0 / routes as f64,
        (c1 - c0) * 1e9 / routes as f64
    );

    let (said, took) = (rib.memory(), (resident() - before) * 1024);
    println!(
        "       the tables say {} + {} octets, the process took {took}: {:.2}",
        said.routes,
        said.attributes,
        said.total() as f64 / took as f64
    );

    let (c0, mut changes) = (cpu(), 0);
    load(&mut rib, sets, made, &mut changes);
    println!("again: {changes} changes, cpu {:.3} s", cpu() - c0);

    let (c0, mut out, mut longest) = (cpu(), Vec::new(), 0.0f64);
    rib.peer_down(PeerId(1));
    let mut more = true;
    while more {
        out.clear();
        let step = cpu();
        more = rib.settle(4096, &mut AllUp, &mut out);
        longest = longest.max(cpu() - step);
    }
    println!("down:  {} prefixes left, cpu {:.3} s", rib.table_counts(Family::Ipv4Unicast).prefixes, cpu() - c0);
    println!("       the longest step {:.2} ms; {} octets held, {} kB resident", longest * 1e3, rib.memory().total(), resident());
}
