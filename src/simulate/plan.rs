//! Events as orders to single machines, with their times.
//!
//! In: a [`Script`] and the cluster that it is about. Out: a [`Plan`]; names that no machine has are findings with their places.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::cluster::{Cluster, Role};
use super::script::{Event, Kind, Script};
use crate::config::report::{Problem, Span};
use crate::config::values::Keyword;
use crate::num::Rng;
use crate::speaker::{Params, StopMode};

/// What happens to machines.
#[derive(Clone, Debug)]
pub(super) enum Order {
    /// Gone without a word, with its kernel.
    Lose(usize),
    /// On again, and the program is started.
    Return(usize),
    Cut(usize, usize),
    Mend(usize, usize),
    /// These on one side.
    Part(Vec<usize>),
    /// The program is asked to end.
    Stop(usize, StopMode),
    /// The program dies.
    Kill(usize),
    /// The program is started, if the machine is on.
    Start(usize),
    Drain(usize),
    Undrain(usize),
    Reload(usize, Box<Params>),
    /// From here on what happens is counted as this.
    Window(String),
}

/// All of them, by time since the first start.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    pub orders: Vec<(Duration, Order)>,
    pub end: Duration,
}

/// The script does not fit the cluster, in words and with a picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unplanned(pub String);

impl fmt::Display for Unplanned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// New parameters of machines by name, for each path that the script names.
pub(super) type Reloads = BTreeMap<PathBuf, Cluster>;

struct Planner<'a> {
    cluster: &'a Cluster,
    reloads: &'a Reloads,
    rng: Rng,
    orders: Vec<(Duration, Order)>,
    findings: Vec<(Span, Problem)>,
    end: Duration,
}

impl Script {
    /// The orders of all events.
    pub(super) fn plan(&self, cluster: &Cluster, reloads: &Reloads, seed: u64) -> Result<Plan, Unplanned> {
        let mut planner =
            Planner { cluster, reloads, rng: Rng::new(seed ^ 0x5eed), orders: Vec::new(), findings: Vec::new(), end: Duration::ZERO };
        self.events.iter().for_each(|event| planner.event(event));
        if !planner.findings.is_empty() {
            return Err(Unplanned(self.picture(planner.findings)));
        }
        let end = planner.end + self.tail;
        planner.orders.sort_by_key(|(at, _)| *at);
        Ok(Plan { orders: planner.orders, end })
    }
}

impl Planner<'_> {
    fn push(&mut self, at: Duration, order: Order) {
        self.end = self.end.max(at);
        self.orders.push((at, order));
    }

    fn event(&mut self, event: &Event) {
        let chosen = self.chosen(event);
        if chosen.is_empty() && self.findings.is_empty() {
            let what = format!("\"{}\" happens to nobody: this cluster has no such machine", event.kind.keyword());
            self.findings.push((event.span.clone(), Problem::Conflict { what, help: "take the event out".to_owned() }));
        }
        self.push(event.at, Order::Window(self.title(event, &chosen)));
        let undone = event.lasts.map(|lasts| event.at + lasts);
        match event.kind {
            Kind::NodeLost | Kind::ReflectorLost | Kind::TorLost => {
                self.all(event.at, &chosen, Order::Lose);
                undone.into_iter().for_each(|at| self.all(at, &chosen, Order::Return));
            }
            Kind::LinkCut => {
                if let [a, b] = chosen[..] {
                    self.push(event.at, Order::Cut(a, b));
                    undone.into_iter().for_each(|at| self.push(at, Order::Mend(a, b)));
                }
            }
            Kind::Partition => {
                self.push(event.at, Order::Part(chosen));
                undone.into_iter().for_each(|at| self.push(at, Order::Part(Vec::new())));
            }
            Kind::RollingRestart => self.restart(event, &chosen),
            Kind::Crash => {
                self.all(event.at, &chosen, Order::Kill);
                self.all(event.at + event.takes, &chosen, Order::Start);
            }
            Kind::Drain => {
                self.all(event.at, &chosen, Order::Drain);
                undone.into_iter().for_each(|at| self.all(at, &chosen, Order::Undrain));
            }
            Kind::Undrain => self.all(event.at, &chosen, Order::Undrain),
            Kind::Reload => self.reload(event, &chosen),
            Kind::MassStart => {
                self.all(event.at, &chosen, Order::Lose);
                self.all(event.at + event.takes, &chosen, Order::Return);
            }
        }
    }

    fn all(&mut self, at: Duration, chosen: &[usize], order: impl Fn(usize) -> Order) {
        chosen.iter().for_each(|n| self.push(at, order(*n)));
    }

    fn batches<'c>(event: &Event, chosen: &'c [usize]) -> impl Iterator<Item = (Duration, &'c [usize])> {
        let (at, pause) = (event.at, event.pause);
        chosen.chunks(event.batch.max(1)).zip(0_u32..).map(move |(few, turn)| (at + pause * turn, few))
    }

    fn restart(&mut self, event: &Event, chosen: &[usize]) {
        let mode = if event.graceful { StopMode::Keep } else { StopMode::Withdraw };
        for (at, few) in Planner::batches(event, chosen) {
            self.all(at, few, |n| Order::Stop(n, mode));
            self.all(at + event.takes, few, Order::Start);
        }
    }

    fn reload(&mut self, event: &Event, chosen: &[usize]) {
        let (Some(path), cluster) = (&event.to, self.cluster) else { return };
        let Some(new) = self.reloads.get(path) else { return };
        for (at, few) in Planner::batches(event, chosen) {
            for n in few {
                let name = &cluster.machines[*n].name;
                match new.find(name) {
                    Some(found) => self.push(at, Order::Reload(*n, Box::new(new.machines[found].params.clone()))),
                    None => {
                        let what = format!("{} has no configuration of `{name}`", path.display());
                        let help = "add one, or name in `nodes` whose configurations change".to_owned();
                        self.findings.push((event.span.clone(), Problem::Conflict { what, help }));
                    }
                }
            }
        }
    }

    /// Whom it happens to.
    fn chosen(&mut self, event: &Event) -> Vec<usize> {
        if !event.nodes.is_empty() {
            let known = || self.cluster.machines.iter().map(|machine| machine.name.clone()).collect::<Vec<_>>();
            let found = event.nodes.iter().map(|(name, span)| self.cluster.find(name).ok_or((name, span)));
            let (found, unknown): (Vec<_>, Vec<_>) = found.partition(Result::is_ok);
            let unknown = unknown.into_iter().filter_map(Result::err);
            let unknown: Vec<(Span, Problem)> = unknown
                .map(|(name, span)| (span.clone(), Problem::Unresolved { kind: "machine", name: name.clone(), known: known() }))
                .collect();
            self.findings.extend(unknown);
            return found.into_iter().filter_map(Result::ok).collect();
        }
        let all = self.candidates(event.kind);
        let nodes = all.len();
        match (event.kind, event.count) {
            (Kind::Partition, _) => self.some(all, (nodes * usize::from(event.percent) / 100).max(1)),
            (Kind::RollingRestart | Kind::Reload | Kind::MassStart, _) => all,
            (_, count) => self.some(all, count.unwrap_or(1) as usize),
        }
    }

    fn candidates(&self, kind: Kind) -> Vec<usize> {
        let fits = |role: Role| match kind {
            Kind::ReflectorLost => role == Role::Reflector,
            Kind::TorLost => role == Role::Tor,
            Kind::NodeLost | Kind::Crash | Kind::Drain | Kind::Undrain => role == Role::Node,
            Kind::RollingRestart | Kind::Reload => role != Role::Tor,
            _ => true,
        };
        self.cluster.machines.iter().enumerate().filter(|(_, machine)| fits(machine.role)).map(|(n, _)| n).collect()
    }

    /// Some of them, as the seed has it, in their order.
    fn some(&mut self, mut all: Vec<usize>, count: usize) -> Vec<usize> {
        while all.len() > count {
            let out = (self.rng.next_u64() % all.len() as u64) as usize;
            all.remove(out);
        }
        all
    }

    fn title(&self, event: &Event, chosen: &[usize]) -> String {
        let names: Vec<&str> = chosen.iter().take(3).map(|n| self.cluster.machines[*n].name.as_str()).collect();
        let more = chosen.len().saturating_sub(names.len());
        let whom = match more {
            0 => names.join(", "),
            _ if chosen.len() == self.cluster.machines.len() => "all".to_owned(),
            _ => format!("{} and {more} more", names.join(", ")),
        };
        let how = match event.kind {
            Kind::RollingRestart if event.graceful => ", graceful",
            Kind::RollingRestart => ", withdrawing",
            _ => "",
        };
        format!("{}{how}: {whom}", event.kind.keyword())
    }
}
