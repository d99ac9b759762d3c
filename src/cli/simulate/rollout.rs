//! `catbird simulate --reload OLD NEW`: what a reload does to all nodes, and in which order to roll it out.
//!
//! In: two sets of configurations. Out: what each reload changes, by the plan that the daemon itself would make; and, for each order, a
//! run of the whole cluster through it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::super::Exit;
use super::super::client::ClientError;
use super::super::output::{Columns, Listing, Output, Style, cell, styled};
use super::{SimulateArgs, clusters, refused, run_all, show};
use crate::simulate::{Cluster, Event, Kind, Role, Script, Window};
use crate::speaker::reload_plan::{self, Grade, NotRunning};

/// The order of machines in a rollout.
const ORDERS: [(&str, &str, usize); 3] = [
    ("at-once", "all at once", usize::MAX),
    ("nodes-first", "nodes first, one by one", 1),
    ("reflectors-first", "reflectors first, one by one", 1),
];

/// What changes for machines that change alike.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Changed {
    machines: usize,
    such_as: String,
    what: String,
    grade: &'static str,
}

#[derive(Serialize)]
struct Answer {
    changes: Vec<Changed>,
    unchanged: usize,
    orders: Vec<Rolled>,
    recommended: Option<&'static str>,
}

/// One order, run.
#[derive(Serialize)]
struct Rolled {
    order: &'static str,
    #[serde(flatten)]
    window: Window,
}

/// All of it.
pub fn run(out: &mut Output, args: &SimulateArgs, old_path: &Path, new_path: &Path) -> Result<Exit, ClientError> {
    let read = |path: &Path| clusters::read(path, args.blocks);
    let (old, new) = match (read(old_path), read(new_path)) {
        (Ok(old), Ok(new)) => (old, new),
        (Err(exit), _) | (_, Err(exit)) => return Ok(exit),
    };
    if let Some(exit) = same_machines(&old, &new, new_path) {
        return Ok(exit);
    }
    let (changes, moved) = changes(&old, &new);
    let mut orders = Vec::new();
    for (order, _, batch) in ORDERS {
        let names = in_order(&old, &moved, order);
        if names.is_empty() || order == "reflectors-first" && names == in_order(&old, &moved, "nodes-first") {
            continue;
        }
        match rolled(args, &old, &new, new_path, names, batch) {
            Ok(window) => orders.push(Rolled { order, window }),
            Err(exit) => return Ok(exit),
        }
    }
    let cost = |rolled: &&Rolled| {
        let w = &rolled.window;
        let left = (w.no_route_at_end + w.wrong_at_end) as f64;
        (
            left,
            w.black_hole_prefix_seconds + w.wrong_route_prefix_seconds,
            w.sessions_lost as f64,
            w.convergence.map_or(0.0, |c| c.last_seconds),
        )
    };
    let best = orders.iter().min_by(|a, b| cost(a).partial_cmp(&cost(b)).unwrap_or(std::cmp::Ordering::Equal));
    let recommended = best.map(|rolled| rolled.order);
    let answer = Answer { unchanged: old.machines.len() - moved.len(), changes, orders, recommended };
    if out.json {
        out.object(&answer)?
    } else {
        text(out, &answer)?
    }
    Ok(Exit::Fine)
}

fn same_machines(old: &Cluster, new: &Cluster, path: &Path) -> Option<Exit> {
    let missing = old.machines.iter().find(|machine| new.find(&machine.name).is_none());
    missing.map(|machine| refused(&format!("{} has no configuration of {}: both are to have the same nodes", path.display(), machine.name)))
}

/// What reloads change, by what they have in common; and whom they change.
fn changes(old: &Cluster, new: &Cluster) -> (Vec<Changed>, Vec<usize>) {
    let mut by_what: BTreeMap<(String, &'static str), Vec<&str>> = BTreeMap::new();
    let mut moved = Vec::new();
    for (n, machine) in old.machines.iter().enumerate() {
        let Some(after) = new.find(&machine.name).map(|found| &new.machines[found].params) else { continue };
        let plan = reload_plan::diff(&machine.params, after, &NotRunning).into_changes();
        if !plan.is_empty() {
            moved.push(n);
        }
        for change in plan {
            let grade = match change.grade {
                Grade::Live => "live",
                Grade::Refresh => "refresh",
                Grade::Restart => "restart",
            };
            by_what.entry((change.what.clone(), grade)).or_default().push(&machine.name);
        }
    }
    let changed = by_what.into_iter().map(|((what, grade), machines)| {
        let mut names = machines.clone();
        names.dedup();
        Changed { machines: names.len(), such_as: names.first().map(|name| (*name).to_owned()).unwrap_or_default(), what, grade }
    });
    (changed.collect(), moved)
}

fn in_order(cluster: &Cluster, moved: &[usize], order: &str) -> Vec<String> {
    let mut all = moved.to_vec();
    let late = if order == "reflectors-first" { Role::Node } else { Role::Reflector };
    all.sort_by_key(|n| (cluster.machines[*n].role == late, *n));
    all.into_iter().map(|n| cluster.machines[n].name.clone()).collect()
}

fn rolled(args: &SimulateArgs, old: &Cluster, new: &Cluster, path: &Path, names: Vec<String>, batch: usize) -> Result<Window, Exit> {
    let nodes = names.into_iter().map(|name| (name, 0..0)).collect();
    let event = Event { nodes, batch, to: Some(path.to_owned()), ..Event::new(Kind::Reload, Duration::from_secs(60)) };
    let mut script = Script::quiet(Duration::from_secs(300));
    script.events.push(event);
    let reloads = BTreeMap::from([(path.to_owned(), new.clone())]);
    let seed = args.seed.first().copied().unwrap_or(1);
    let runs = run_all(args, old, &script, &reloads, &[seed])?;
    runs.into_iter().next().and_then(|mut run| run.windows.pop()).ok_or(Exit::Refused)
}

fn text(out: &mut Output, answer: &Answer) -> std::io::Result<()> {
    if answer.changes.is_empty() {
        return out.line("nothing changes: no session flaps, no route moves");
    }
    const CHANGES: Columns = Columns { titles: &["GRADE", "MACHINES", "SUCH AS", "WHAT"], legend: "" };
    let mut listing = Listing::new(CHANGES);
    listing.page(out, &answer.changes, |row| {
        let style = if row.grade == "restart" { Style::Warn } else { Style::Plain };
        vec![styled(row.grade, style), cell(row.machines), cell(&row.such_as), cell(&row.what)]
    })?;
    listing.end(out, "nothing")?;
    if answer.unchanged > 0 {
        out.line(format!("{} machines stay as they are", answer.unchanged))?;
    }
    out.line("")?;
    let words = |order: &str| ORDERS.iter().find(|(known, ..)| *known == order).map_or("", |(_, words, _)| words);
    let windows: Vec<Window> =
        answer.orders.iter().map(|rolled| Window { what: words(rolled.order).to_owned(), ..rolled.window.clone() }).collect();
    show::windows(out, &windows)?;
    match answer.recommended {
        Some(order) => out.line(out.paint(&styled(format!("roll it out: {}", words(order)), Style::Bold))),
        None => Ok(()),
    }
}
