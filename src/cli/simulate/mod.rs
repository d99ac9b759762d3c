//! `catbird simulate`: a cluster in virtual time, on this machine alone.
//!
//! In: a few numbers, or configurations, and a file of events. Out: tables, JSON, or a page with pictures. What happens in the cluster is
//! [`simulate`](crate::simulate)'s matter; here are files, threads (one for each seed), a bar of progress, and Ctrl-C, which ends it with what is known.

mod clusters;
mod page;
mod rollout;
mod show;

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::{Args as ClapArgs, ValueEnum};
use schemars::JsonSchema;
use serde::Serialize;

use super::Exit;
use super::client::ClientError;
use super::output::{Output, octets};
use crate::config::model::Mode;
use crate::simulate::{Cluster, Costs, Estimate, Options, Progress, Report, Script, Shape, Simulation};

/// Events between two looks at the clock.
const EVENTS: usize = 20_000;

/// `catbird simulate`
#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Examples:\n  catbird simulate --nodes 300\n  catbird simulate --nodes 5000 --mode route-reflector --reflectors 3 --blocks 4\n  catbird simulate --nodes 200 --reflectors 2 --events night.toml --html night.html\n  catbird simulate --config ./nodes --events night.toml --seed 1,2,3 --json\n  catbird simulate --reload ./nodes ./nodes-new"
)]
pub struct SimulateArgs {
    /// Machines with pods
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub nodes: usize,
    /// Who peers with whom (default: route-reflector with --reflectors, else full-mesh)
    #[arg(long, value_enum, value_name = "MODE")]
    pub mode: Option<ModeWord>,
    /// Machines that reflect, beside the nodes
    #[arg(long, value_name = "N", default_value_t)]
    pub reflectors: usize,
    /// Blocks of each node
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub blocks: usize,
    /// Racks, each with a router that its machines announce their blocks to, and behind which they are
    #[arg(long, value_name = "N", default_value_t)]
    pub tors: usize,
    /// Instead of these numbers: a folder with a configuration for each node, or one file whose [cluster] lists them (each gets --blocks)
    #[arg(long, value_name = "PATH", conflicts_with_all = ["nodes", "mode", "reflectors", "tors"])]
    pub config: Option<PathBuf>,
    /// What happens to the cluster, in TOML
    #[arg(long, value_name = "FILE")]
    pub events: Option<PathBuf>,
    /// What a reload from the one to the other does to all of it, in which order to roll it out (paths as --config has them)
    #[arg(long, num_args = 2, value_names = ["OLD", "NEW"], conflicts_with_all = ["nodes", "mode", "reflectors", "tors", "config", "events"])]
    pub reload: Vec<PathBuf>,
    /// From one machine to another: a time, or the least and the most, such as 200us-2ms
    #[arg(long, value_name = "TIME", value_parser = latency, default_value = "200us-600us")]
    pub latency: (Duration, Duration),
    /// Of all that is left to chance; several, with commas between, are run beside each other
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1")]
    pub seed: Vec<u64>,
    /// Nodes that are started at a time (default: all)
    #[arg(long, value_name = "N")]
    pub batch: Option<usize>,
    /// From one batch to the next
    #[arg(long, value_name = "TIME", value_parser = span, default_value = "5s")]
    pub pause: Duration,
    /// Without events: how long to look on after the start
    #[arg(long = "for", value_name = "TIME", value_parser = span, default_value = "2m")]
    pub time: Duration,
    /// Processors that need so many times as long as the one that was measured
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = factor)]
    pub cpu: f64,
    /// Run so many nodes with all their tables (default: all, while that is cheap)
    #[arg(long, value_name = "N")]
    pub whole: Option<usize>,
    /// Begin although it is said to need more memory than there is
    #[arg(long)]
    pub force: bool,
    /// Write a page with pictures
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

/// As in `[cluster]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ModeWord {
    FullMesh,
    RouteReflector,
}

fn factor(text: &str) -> Result<f64, String> {
    text.parse::<f64>().ok().filter(|f| (0.0..=1000.0).contains(f)).ok_or_else(|| "a number from 0 to 1000, such as 2.5".to_owned())
}

/// As in the configuration, and microseconds.
fn span(text: &str) -> Result<Duration, String> {
    match text.strip_suffix("us").map(str::parse) {
        Some(Ok(us)) => Ok(Duration::from_micros(us)),
        Some(Err(_)) => Err("a whole number before us".to_owned()),
        None => super::args::time(text),
    }
}

fn latency(text: &str) -> Result<(Duration, Duration), String> {
    let (least, most) = text.split_once('-').unwrap_or((text, text));
    let (least, most) = (span(least)?, span(most)?);
    match least <= most && most <= Duration::from_secs(60) {
        true => Ok((least, most)),
        false => Err("the least before the most, and no more than 1m".to_owned()),
    }
}

/// What is printed in JSON.
#[derive(Serialize, JsonSchema)]
pub struct Answer {
    /// Which cluster it is, in words.
    cluster: String,
    /// One for each seed.
    runs: Vec<Report>,
}

/// All of it.
pub fn run(out: &mut Output, args: &SimulateArgs) -> Result<Exit, ClientError> {
    if let [old, new] = args.reload.as_slice() {
        return rollout::run(out, args, old, new);
    }
    let (cluster, title) = match cluster(args) {
        Ok(found) => found,
        Err(exit) => return Ok(exit),
    };
    let (script, reloads) = match script(args) {
        Ok(found) => found,
        Err(exit) => return Ok(exit),
    };
    let began = Instant::now();
    let runs = match run_all(args, &cluster, &script, &reloads, &args.seed) {
        Ok(runs) => runs,
        Err(exit) => return Ok(exit),
    };
    if let Some(path) = &args.html
        && let Err(error) = std::fs::write(path, page::page(&title, &runs))
    {
        return Ok(unreadable(&format!("cannot write {}: {error}", path.display())));
    }
    if out.json {
        out.object(&Answer { cluster: title, runs: runs.clone() })?;
    } else {
        show::all(out, &title, &runs, began.elapsed())?;
    }
    Ok(if runs.iter().all(|run| run.complete) { Exit::Fine } else { Exit::Refused })
}

fn unreadable(why: &str) -> Exit {
    eprintln!("catbird: {why}");
    Exit::Unreadable
}

fn refused(why: &str) -> Exit {
    eprintln!("catbird: {why}");
    Exit::Refused
}

fn cluster(args: &SimulateArgs) -> Result<(Cluster, String), Exit> {
    if let Some(path) = &args.config {
        let cluster = clusters::read(path, args.blocks)?;
        return Ok((cluster, format!("the configurations of {}", path.display())));
    }
    let mode = match args.mode {
        Some(ModeWord::FullMesh) => Mode::FullMesh,
        Some(ModeWord::RouteReflector) => Mode::RouteReflector,
        None if args.reflectors > 0 => Mode::RouteReflector,
        None => Mode::FullMesh,
    };
    let shape = Shape { nodes: args.nodes, mode, reflectors: args.reflectors, blocks: args.blocks, tors: args.tors };
    // Before anything is made: a mesh is configured in its square.
    let ends = match mode {
        Mode::FullMesh => args.nodes.saturating_mul(args.nodes),
        Mode::RouteReflector => args.nodes.saturating_mul(args.reflectors).saturating_mul(2),
    };
    enough(args, ends as u64 * 13_000, "this many sessions", 1)?;
    let cluster = shape.build().map_err(|why| refused(&why.to_string()))?;
    let reflectors = if args.reflectors > 0 { format!(", reflectors: {}", args.reflectors) } else { String::new() };
    let tors = if args.tors > 0 { format!(", racks: {}", args.tors) } else { String::new() };
    let blocks = if args.blocks == 1 { "a block".to_owned() } else { format!("{} blocks", args.blocks) };
    Ok((cluster, format!("{mode}: {} nodes with {blocks} each{reflectors}{tors}", args.nodes)))
}

type Reloads = BTreeMap<PathBuf, Cluster>;

fn script(args: &SimulateArgs) -> Result<(Script, Reloads), Exit> {
    let Some(path) = &args.events else { return Ok((Script::quiet(args.time), Reloads::new())) };
    let text = crate::config::read_text(path, 1 << 20).map_err(|error| unreadable(&format!("cannot read {}: {error}", path.display())))?;
    let script = Script::parse(&path.display().to_string(), &text).map_err(|report| {
        super::config_commands::show(&report);
        Exit::Refused
    })?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut reloads = Reloads::new();
    for to in script.events.iter().filter_map(|event| event.to.as_ref()) {
        reloads.insert(to.clone(), clusters::read(&folder.join(to), args.blocks)?);
    }
    Ok((script, reloads))
}

fn options(args: &SimulateArgs, seed: u64) -> Options {
    let costs = Costs::default();
    let scaled = |time: Duration| time.mul_f64(args.cpu);
    let costs =
        Costs { message: scaled(costs.message), prefix: scaled(costs.prefix), write: scaled(costs.write), cycle: scaled(costs.cycle) };
    let batch = args.batch.map_or(usize::MAX, |batch| batch.max(1));
    Options { seed, latency: args.latency, costs, batch, pause: args.pause, whole: args.whole, ..Options::default() }
}

/// Octets that may be had: what the machine has free, or the rest of our cgroup.
fn available() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let free = line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()?.saturating_mul(1024);
    let read = |name: &str| std::fs::read_to_string(format!("/sys/fs/cgroup/{name}")).ok()?.trim().parse::<u64>().ok();
    let rest = read("memory.max").map(|most| most.saturating_sub(read("memory.current").unwrap_or(0)));
    Some(rest.map_or(free, |rest| rest.min(free)))
}

fn enough(args: &SimulateArgs, needed: u64, what: &str, beside: usize) -> Result<(), Exit> {
    let needed = needed.saturating_mul(beside as u64);
    match available() {
        Some(free) if needed > free && !args.force => {
            let seeds = if beside > 1 { format!(" for {beside} seeds beside each other") } else { String::new() };
            let why = format!(
                "{what} would need about {}{seeds}, and there is {}: fewer nodes, blocks or seeds, `--mode route-reflector` instead of a mesh, \
                 a smaller `--whole`, or `--force`",
                octets(needed),
                octets(free)
            );
            Err(refused(&why))
        }
        _ => Ok(()),
    }
}

/// One run for each seed, as many at a time as there are processors. What was interrupted is as far as it came.
fn run_all(args: &SimulateArgs, cluster: &Cluster, script: &Script, reloads: &Reloads, seeds: &[u64]) -> Result<Vec<Report>, Exit> {
    let beside = std::thread::available_parallelism().map_or(1, usize::from).min(seeds.len().max(1));
    let estimate = Estimate::of(cluster, args.whole);
    enough(args, estimate.memory, &format!("{} machines and {} sessions", estimate.machines, estimate.session_ends / 2), beside)?;
    let bar = Bar::new(seeds.len());
    let stop = interrupted();
    let (next, done) = (Mutex::new(seeds.iter().copied().enumerate()), Mutex::new(Vec::new()));
    let work = || {
        loop {
            let Some((n, seed)) = next.lock().unwrap_or_else(PoisonError::into_inner).next() else { return };
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let run = one(cluster, script, reloads, options(args, seed), |progress| {
                bar.show(n, progress);
                !stop.load(Ordering::Relaxed)
            });
            done.lock().unwrap_or_else(PoisonError::into_inner).push((n, run));
        }
    };
    std::thread::scope(|scope| {
        (1..beside).for_each(|_| drop(scope.spawn(work)));
        work();
    });
    bar.clear();
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(n, _)| *n);
    done.into_iter().map(|(_, run)| run).collect()
}

fn one(
    cluster: &Cluster,
    script: &Script,
    reloads: &Reloads,
    options: Options,
    mut goes_on: impl FnMut(&Progress) -> bool,
) -> Result<Report, Exit> {
    let mut simulation = Simulation::new(cluster.clone(), script, reloads, options).map_err(|why| refused(&why.to_string()))?;
    while simulation.advance(EVENTS) {
        if !goes_on(&simulation.progress()) {
            break;
        }
    }
    Ok(simulation.finish())
}

/// Set with Ctrl-C; the second one ends the program.
fn interrupted() -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    let told = stop.clone();
    std::thread::spawn(move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        runtime.block_on(async {
            while tokio::signal::ctrl_c().await.is_ok() {
                if told.swap(true, Ordering::Relaxed) {
                    std::process::exit(130);
                }
            }
        });
    });
    stop
}

/// On a terminal, how far all runs are.
struct Bar {
    on: bool,
    runs: Mutex<(Vec<f64>, Instant)>,
}

impl Bar {
    fn new(runs: usize) -> Bar {
        Bar { on: std::io::stderr().is_terminal(), runs: Mutex::new((vec![0.0; runs], Instant::now())) }
    }

    fn show(&self, n: usize, progress: &Progress) {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(done) = runs.0.get_mut(n) {
            *done = progress.seconds / progress.end_seconds.max(1e-9);
        }
        if !self.on || runs.1.elapsed() < Duration::from_millis(200) {
            return;
        }
        runs.1 = Instant::now();
        let share = runs.0.iter().sum::<f64>() / runs.0.len().max(1) as f64;
        let full = "#".repeat((share * 30.0) as usize);
        let messages = progress.messages as f64 / 1e6;
        let (at, end, up) = (progress.seconds, progress.end_seconds, progress.established / 2);
        eprint!("\r[{full:<30}] {:3.0} %  {at:.1} of {end:.0} s, {up} sessions up, {messages:.1} million messages\x1b[K", share * 100.0);
        let _unseen = std::io::stderr().flush();
    }

    fn clear(&self) {
        if self.on {
            eprint!("\r\x1b[K");
        }
    }
}
