//! Twenty faults, one by one, to catbird, FRR and BIRD: how long until the kernel is right, and what it costs.
//!
//! In: the binary. Out: a row for each fault. Four nodes in a mesh with a pod each, set up as [`router`](crate::netlab::router) says; the
//! same commands are done to the first node for each daemon, and 1,500 datagrams a second go between all pods meanwhile.
//! The time is counted from the last command of the fault until each kernel has exactly the routes that it should have.

use std::path::Path;
use std::time::{Duration, Instant};

use super::faults::{self, Deed, Fault};
use super::pings::Pings;
use super::world::World;
use crate::netlab::cluster::{Cluster, Mode, Plan};
use crate::netlab::router::Router;
use crate::netlab::until;

/// Whoever is not right by then is given up.
const LIMIT: Duration = Duration::from_secs(60);
/// FRR and BIRD come up slowly in a mesh.
const START: Duration = Duration::from_secs(120);
/// A fault that is undone lasts at least so long.
const LASTS: Duration = Duration::from_secs(1);

/// The faults of the table, by name.
const CHOSEN: &[&str] = &[
    "a route of ours is deleted",
    "an IPv6 route of ours is deleted",
    "all routes of ours are flushed",
    "all IPv6 routes of ours are flushed",
    "a route of ours is bent, under another protocol",
    "an IPv6 route of ours is bent",
    "an IPv6 route gets a sibling that leads nowhere",
    "a route that is twenty times deleted",
    "the link is set down",
    "the cable is pulled",
    "the cable is pulled for longer than the hold time",
    "our subnet on a second link",
    "a bridge takes an address of our own block",
    "our address goes and comes",
    "our IPv6 address goes and comes",
    "IPv6 is switched off on the link",
    "BGP is dropped for longer than the hold time",
    "BGP is answered with a reset",
    "killed, and back at once",
    "ended, and back when it is undone",
    "stopped for longer than the hold time",
    "every node is killed and comes back",
];

/// What a fault did to one daemon.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// None: not within a minute.
    pub right_after: Option<Duration>,
    pub lost: usize,
}

/// Prints the table, a line as soon as it is known for all.
///
/// # Errors
/// A cluster that does not come up, or a daemon that is not installed.
pub fn print(only: Option<&str>, fault: &str, binary: &Path, say: &mut dyn FnMut(&str)) -> Result<(), String> {
    let all = [Router::Catbird, Router::Frr, Router::Bird];
    let routers: Vec<Router> = all.into_iter().filter(|router| only.is_none_or(|only| router.name() == only)).collect();
    let mut columns = Vec::new();
    for &router in &routers {
        if let Some(missing) = router.missing() {
            return Err(format!("{missing} is not installed"));
        }
        columns.push(column(router, fault, binary, say)?);
    }
    say(&format!("| fault | {} |", routers.iter().map(|router| router.name()).collect::<Vec<_>>().join(" | ")));
    say(&format!("|---|{}", "---|".repeat(routers.len())));
    for (i, name) in CHOSEN.iter().filter(|name| name.contains(fault)).enumerate() {
        let cells: Vec<String> = columns.iter().map(|column| cell(column[i])).collect();
        say(&format!("| {name} | {} |", cells.join(" | ")));
    }
    Ok(())
}

fn cell(outcome: Outcome) -> String {
    let time = outcome.right_after.map_or("not in 60 s".to_owned(), |time| format!("{:.2} s", time.as_secs_f64()));
    format!("{time}, {} lost", outcome.lost)
}

fn column(router: Router, fault: &str, binary: &Path, say: &mut dyn FnMut(&str)) -> Result<Vec<Outcome>, String> {
    let mut world: Option<World> = None;
    let mut column = Vec::new();
    for name in CHOSEN.iter().filter(|name| name.contains(fault)) {
        let known = faults::all().find(|fault| fault.name == *name).ok_or_else(|| format!("no fault is called {name}"))?;
        let mut now = match world.take() {
            Some(world) => world,
            None => fresh(router, binary, say)?,
        };
        let (outcome, why) = outcome(&mut now, known)?;
        say(&format!("{}: {name}: {}{}", router.name(), cell(outcome), why.map_or_else(String::new, |why| format!(": {why}"))));
        // Who did not come right is no ground for the next fault.
        world = outcome.right_after.map(|_| now);
        column.push(outcome);
    }
    Ok(column)
}

/// A cluster that has come up. Who does not in two minutes gets two more tries, which is said.
fn fresh(router: Router, binary: &Path, say: &mut dyn FnMut(&str)) -> Result<World, String> {
    let mut tries = (0..3).map(|_| come_up(router, binary).inspect_err(|why| say(&format!("{}: does not come up: {why}", router.name()))));
    tries.find_map(Result::ok).ok_or_else(|| format!("{} does not come up", router.name()))
}

fn come_up(router: Router, binary: &Path) -> Result<World, String> {
    let plan = Plan { mode: Mode::FullMesh, nodes: 4, pods: 1, dark: 0 };
    let world = World::new(Cluster::build_of(router, plan, binary).map_err(|e| e.to_string())?)?;
    until(START, || world.quiet(None)).map_err(|why| format!("{}: {why}", router.name()))?;
    let (_, silent) = world.cluster.ping_all(&[0, 1, 2, 3], START);
    if silent.is_empty() { Ok(world) } else { Err(format!("{}: {}", router.name(), silent.join(", "))) }
}

/// And why it was not right at the end, if so.
fn outcome(world: &mut World, fault: &Fault) -> Result<(Outcome, Option<String>), String> {
    let place = world.place_at(0, 1);
    let pings = Pings::start(&world.cluster).map_err(|e| e.to_string())?;
    world.begin(fault, &place)?;
    let mut since = Instant::now();
    if undone(fault) {
        std::thread::sleep(LASTS.max(Duration::from_millis(fault.lasts)));
        since = Instant::now();
        world.end(fault, &place)?;
    }
    let right = until(LIMIT, || world.kernels_are_right());
    let right_after = right.as_ref().ok().map(|_| since.elapsed());
    let (_, losses) = pings.stop();
    if right_after.is_some() {
        // The next fault begins with all sessions up.
        until(START, || world.quiet(None))?;
    }
    Ok((Outcome { right_after, lost: losses.len() }, right.err()))
}

/// Is there anything to undo?
fn undone(fault: &Fault) -> bool {
    match fault.deed {
        Deed::Shell(_, end) | Deed::Switch(_, end) | Deed::Catbird(_, end) => !end.is_empty(),
        Deed::Reload(_) | Deed::Reborn(_) => true,
        Deed::Own(..) => !fault.name.ends_with("at once") && !fault.name.starts_with("every node"),
    }
}
