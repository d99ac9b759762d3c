//! How long a cluster takes in virtual time, and how much memory: the figures of `docs/simulate.md`.
//!
//! In: `simulate NODES REFLECTORS BLOCKS [WHOLE]`. Out: a line with seconds and MiB, and what the run found. Without arguments, the two clusters of the goals:
//! 5,000 nodes with three reflectors and 20,000 blocks, and a mesh of a thousand.

use std::time::{Duration, Instant};

use catbird::config::model::Mode;
use catbird::simulate::{Estimate, Options, Script, Shape, Simulation};

fn peak() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap_or_default() / 1024
}

fn one(nodes: usize, reflectors: usize, blocks: usize, whole: Option<usize>) {
    let mode = if reflectors > 0 { Mode::RouteReflector } else { Mode::FullMesh };
    let began = Instant::now();
    let cluster = Shape { nodes, mode, reflectors, blocks, tors: 0 }.build().unwrap_or_else(|why| panic!("{why}"));
    let estimate = Estimate::of(&cluster, whole).memory / 1024 / 1024;
    let built = began.elapsed().as_secs_f64();
    let options = Options { whole, ..Options::default() };
    let script = Script::quiet(Duration::from_secs(60));
    let mut simulation = Simulation::new(cluster, &script, &Default::default(), options).unwrap_or_else(|why| panic!("{why}"));
    let mut told = Instant::now();
    while simulation.advance(20_000) {
        if told.elapsed() > Duration::from_secs(5) {
            told = Instant::now();
            eprintln!("{:6.1} s {:?} {} MiB", began.elapsed().as_secs_f64(), simulation.progress(), peak());
        }
    }
    let report = simulation.finish();
    let (took, peak) = (began.elapsed().as_secs_f64(), peak());
    println!(
        "{nodes} nodes, {reflectors} reflectors, {} blocks: {took:.1} s ({built:.1} to build), {peak} MiB (estimated {estimate})",
        report.blocks
    );
    println!("  {} whole, {} of {} sessions up, digest {}", report.whole, report.established, report.sessions, report.digest);
    let start = &report.windows[0];
    println!(
        "  {} messages, {} UPDATEs, {:.1} MB; left {}; {:?}",
        start.messages,
        start.updates,
        start.octets as f64 / 1e6,
        start.no_route_at_end,
        start.convergence
    );
    report.roles.iter().for_each(|role| println!("  {role:?}"));
}

fn main() {
    let numbers: Vec<usize> = std::env::args().skip(1).filter_map(|word| word.parse().ok()).collect();
    match numbers[..] {
        [nodes, reflectors, blocks] => one(nodes, reflectors, blocks, None),
        [nodes, reflectors, blocks, whole] => one(nodes, reflectors, blocks, Some(whole)),
        _ => {
            one(5_000, 3, 4, None);
            one(1_000, 0, 4, None);
        }
    }
}
