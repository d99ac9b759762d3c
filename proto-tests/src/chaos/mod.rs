//! Chaos: a cluster in namespaces, faults at random from a list, datagrams between all pods meanwhile, and a lawful reason for each loss.
//!
//! In: a seed, a time. Out: how many rounds, faults and datagrams; losses that no fault excuses; kernels that were not as the model says
//! when all was quiet again; what the daemons' memory did. The same seed does the same faults to the same nodes in the same order; when
//! packets meet them is the machine's to decide.
//!
//! A round: one to four faults ([`faults`]) begin one after the other, last a while, are undone in another order. Then it must become
//! quiet: every session up, every kernel with exactly the routes that the blocks of the others ask for, no warning that was not there at
//! the start. What is lost meanwhile is the business of [`account`].

pub mod account;
pub mod faults;
pub mod pings;
pub mod table;
mod witness;
mod world;

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::time::{Duration, Instant};

use account::{Excuse, Whose, unexcused};
use faults::{Deed, Fault, Loses, Part, Place};
use pings::{Loss, Pings};
use witness::Witness;
pub use world::World;

use crate::dice::Dice;
use crate::netlab::cluster::{Cluster, Mode, Plan};
use crate::netlab::until;

/// A daemon has seen and mended what was done to its kernel.
const MOMENT: Duration = Duration::from_secs(1);
/// What a fault that is undone still costs: an answer of ARP, a timer of the kernel.
const AFTER: Duration = Duration::from_millis(500);
/// The same of a link's fault: a neighbour that did not answer meanwhile is asked again a second after it was asked last (RETRANS_TIMER, RFC 4861
/// §10; ARP likewise), and what is sent before that is lost.
const AFTER_LINK: Duration = Duration::from_millis(1600);
/// A round that is not quiet by then has failed.
const QUIET: Duration = Duration::from_secs(60);
/// Pairs of a finding that are told.
const SHOWN: usize = 3;
/// Deeds that are told with a finding: of its round, and of the one before.
const DEEDS: usize = 16;

/// What to do.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    pub seed: u64,
    pub nodes: usize,
    pub mode: Mode,
    pub time: Duration,
    /// Faults whose name holds this text; all if it is empty.
    pub only: &'static str,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Report {
    pub rounds: usize,
    pub actions: usize,
    pub sent: u64,
    pub lost: u64,
    /// Losses without an excuse, and kernels that were wrong, in words.
    pub faults: Vec<String>,
    /// How often each fault was done, and the longest time until it was quiet after a round with it.
    pub done: BTreeMap<&'static str, (usize, Duration)>,
    /// Resident octets of all daemons after the first round and at the end.
    pub memory: (u64, u64),
}

impl Report {
    /// The last line of a run.
    pub fn summary(&self) -> String {
        let (before, after) = self.memory;
        format!(
            "{} rounds, {} faults of {} kinds; {} datagrams, {} lost, {} findings; daemons {} -> {} MiB",
            self.rounds,
            self.actions,
            self.done.len(),
            self.sent,
            self.lost,
            self.faults.len(),
            before >> 20,
            after >> 20
        )
    }
}

/// Runs it; `say` hears of every round.
///
/// # Errors
/// The cluster did not come up.
pub fn run(order: Order, binary: &Path, say: &mut dyn FnMut(&str)) -> Result<Report, String> {
    let plan = Plan { mode: order.mode, nodes: order.nodes, pods: 1, dark: 0 };
    let cluster = Cluster::build(plan, binary).map_err(|e| format!("the network could not be built: {e}"))?;
    let mut world = World::new(cluster)?;
    let mut chaos = Chaos {
        dice: Dice::new(order.seed),
        pings: None,
        witness: None,
        report: Report::default(),
        usual: Vec::new(),
        excuses: Vec::new(),
        deeds: VecDeque::new(),
        dropped: 0,
    };
    chaos.begin(&mut world)?;
    let end = Instant::now() + order.time;
    while Instant::now() < end {
        let line = chaos.round(&mut world, order.only);
        say(&line);
        if chaos.report.faults.len() > 20 {
            say("too much is wrong: no more rounds");
            break;
        }
    }
    Ok(chaos.finish(&world))
}

struct Chaos {
    dice: Dice,
    pings: Option<Pings>,
    witness: Option<Witness>,
    report: Report,
    /// Warnings of each node when nothing was done yet: of the machine, not of a fault.
    usual: Vec<Vec<String>>,
    excuses: Vec<Excuse>,
    /// The last ones, with their times.
    deeds: VecDeque<String>,
    /// By the machine itself, until the end of the last round.
    dropped: u64,
}

impl Chaos {
    fn begin(&mut self, world: &mut World) -> Result<(), String> {
        until(QUIET, || world.quiet(None)).map_err(|why| format!("the cluster does not come up: {why}"))?;
        let all: Vec<usize> = (0..world.cluster.members.len()).collect();
        let (_, silent) = world.cluster.ping_all(&all, QUIET);
        if !silent.is_empty() {
            return Err(format!("pods do not answer: {}", silent.join(", ")));
        }
        self.usual = all.iter().map(|&index| world.warnings(index)).collect::<Result<_, _>>()?;
        self.witness = Some(Witness::start(&world.cluster).map_err(|e| format!("no witness: {e}"))?);
        self.dropped = witness::dropped(&world.cluster);
        self.pings = Some(Pings::start(&world.cluster).map_err(|e| format!("no datagrams: {e}"))?);
        Ok(())
    }

    fn round(&mut self, world: &mut World, only: &str) -> String {
        let chosen = self.choose(world, only);
        let names: Vec<String> =
            chosen.iter().map(|(fault, place)| format!("{}: {}", world.cluster.members[place.node].name, fault.name)).collect();
        let first = self.excuses.len();
        let mut failed = Vec::new();
        for (fault, place) in &chosen {
            self.excuses.extend(excuse(fault, place, !chosen.iter().any(|(other, at)| takes_the_daemon(other, at, place))));
            self.note(world, fault, place, "begins");
            failed.extend(world.begin(fault, place).err().filter(|why| !is_away(why)));
            if fault.loses == Loses::AtOnce {
                self.close(of(fault, place), Duration::ZERO);
            }
            self.rest(400);
        }
        let lasts = chosen.iter().map(|(fault, _)| fault.lasts).max().unwrap_or(0);
        self.rest(1_500);
        std::thread::sleep(Duration::from_millis(lasts));
        let mut left = chosen.clone();
        while !left.is_empty() {
            let (fault, place) = left.remove(self.dice.below(left.len()));
            self.note(world, fault, &place, "is undone");
            failed.extend(world.end(fault, &place).err().filter(|why| !is_away(why)));
            self.undone(fault, &place);
            self.rest(200);
        }
        let settled = self.settle(world, &chosen, first);
        self.report.rounds += 1;
        let line = format!("round {}: {}: {settled}", self.report.rounds, names.join("; "));
        for why in failed {
            self.report.faults.push(format!("round {}: {why}", self.report.rounds));
        }
        let wrong = self.judge(&world.cluster);
        if !wrong.is_empty() {
            self.report.faults.push(format!("{line}: {}", wrong.join("\n  ")));
        }
        if wrong.is_empty() { line } else { format!("{line}\n  WRONG: {}", wrong.join("\n  WRONG: ")) }
    }

    fn note(&mut self, world: &World, fault: &Fault, place: &Place, what: &str) {
        let name = |node: usize| &world.cluster.members[node].name;
        self.deeds.truncate(DEEDS - 1);
        self.deeds.push_front(format!("{} {what}: {} at {}, about {}", witness::now(), fault.name, name(place.node), name(place.other)));
    }

    /// One to four faults that do not hold the same part of the same node.
    fn choose(&mut self, world: &World, only: &str) -> Vec<(&'static Fault, Place)> {
        let all: Vec<&'static Fault> = faults::all().filter(|fault| fault.name.contains(only)).collect();
        let mut chosen: Vec<(&'static Fault, Place)> = Vec::new();
        for _ in 0..=self.dice.below(4) {
            let fault = self.dice.of(&all);
            let Some(place) = world.place(fault, &mut self.dice) else { continue };
            // What concerns all nodes' daemons goes with no other fault of a daemon.
            // A client of two reflectors has two sessions: whoever ends both ends its routes.
            let both = |f: &Fault| world.cluster.plan.mode == Mode::RouteReflector && ends_a_session(f) && ends_a_session(fault);
            // Nor is anything done to both reflectors: one of them is to have every route. And who has a session with one of them only is
            // to hear every route from that.
            let reflects = |node: usize| world.cluster.members[node].reflector;
            let alone = |f: &Fault, with: &Place| ends_a_session(f) && reflects(with.node);
            let clash = |(f, p): &(&Fault, Place)| {
                f.part == fault.part && (p.node == place.node || concerns_all(f) || concerns_all(fault))
                    || meddles(f, p, fault, &place)
                    || both(f)
                    || (p.node != place.node && reflects(p.node) && reflects(place.node))
                    || alone(f, &place)
                    || alone(fault, p)
            };
            if !chosen.iter().any(clash) {
                chosen.push((fault, place));
            }
        }
        chosen
    }

    fn rest(&mut self, most_ms: usize) {
        std::thread::sleep(Duration::from_millis(self.dice.below(most_ms) as u64));
    }

    /// The fault is over, and what it may still cost ends soon; or only when it is quiet.
    fn undone(&mut self, fault: &Fault, place: &Place) {
        if matches!(fault.loses, Loses::WhileDone(_) | Loses::Pair) {
            self.close(of(fault, place), AFTER);
        }
    }

    fn close(&mut self, which: impl Fn(&Excuse) -> bool, after: Duration) {
        let until = Instant::now() + after;
        self.excuses.iter_mut().filter(|e| e.until.is_none() && which(e)).for_each(|e| e.until = Some(until));
    }

    fn settle(&mut self, world: &mut World, chosen: &[(&'static Fault, Place)], first: usize) -> String {
        let quiet = until(QUIET, || world.quiet(Some(&self.usual)));
        let link = chosen.iter().any(|(fault, _)| fault.part == Part::Link);
        self.close(|_| true, if link { AFTER_LINK } else { AFTER });
        debug_assert!(self.excuses[first..].iter().all(|e| e.until.is_some()));
        let took = quiet.as_ref().map_or(QUIET, |((), took)| *took);
        for (fault, _) in chosen {
            let row = self.report.done.entry(fault.name).or_default();
            *row = (row.0 + 1, row.1.max(took));
            self.report.actions += 1;
        }
        if self.report.rounds == 0 {
            self.report.memory.0 = world.memory();
        }
        match quiet {
            Ok(_) => format!("quiet after {:.2} s", took.as_secs_f64()),
            Err(why) => {
                self.report.faults.push(format!("round {}: not quiet after {} s: {why}", self.report.rounds + 1, QUIET.as_secs()));
                format!("NOT QUIET: {why}")
            }
        }
    }

    /// What is known to be lost and has no excuse, in words.
    fn judge(&mut self, cluster: &Cluster) -> Vec<String> {
        let Some(pings) = &self.pings else { return Vec::new() };
        let losses = pings.take_losses();
        self.report.lost += losses.len() as u64;
        let unexcused = unexcused(&losses, &self.excuses);
        let mut wrong = told(&unexcused);
        let dropped = witness::dropped(cluster);
        if let (Some(first), Some(witness)) = (unexcused.first(), &self.witness) {
            wrong.push(format!("the machine itself has dropped {} packets in this round", dropped - self.dropped));
            wrong.extend(witness.around(first));
            wrong.extend(self.deeds.iter().rev().cloned());
        }
        self.dropped = dropped;
        // A datagram is counted as lost some seconds after it was sent: excuses are kept a little longer than that.
        let old = Instant::now().checked_sub(3 * Pings::patience());
        self.excuses.retain(|e| e.until.is_none_or(|until| old.is_none_or(|old| until > old)));
        wrong
    }

    fn finish(mut self, world: &World) -> Report {
        let Some(pings) = self.pings.take() else { return self.report };
        let (sent, losses) = pings.stop();
        self.report.sent = sent;
        self.report.lost += losses.len() as u64;
        self.report.faults.extend(told(&unexcused(&losses, &self.excuses)));
        self.report.memory.1 = world.memory();
        self.report
    }
}

/// Two faults that would undo each other: what is done to routes or neighbours of a node counts on its link, and on the other node.
fn meddles(a: &Fault, at: &Place, b: &Fault, place: &Place) -> bool {
    // A daemon that is not there does not see that another took the place of its route: who stands there at its start was first, and stays.
    let unseen = |bent: &Fault, bent_at: &Place, ends: &Fault, ends_at: &Place| {
        // Nor is there a route to be bent while its origin does not announce it: then the other's is no replacement, but was first.
        let origin = ends.part == Part::Process && ends_at.node == bent_at.other;
        bent.name.ends_with("under another protocol") && (origin || takes_the_daemon(ends, ends_at, bent_at))
    };
    if unseen(a, at, b, place) || unseen(b, place, a, at) {
        return true;
    }
    let kernel = |fault: &Fault| !matches!(fault.part, Part::Process | Part::Firewall);
    kernel(a) && kernel(b) && at.node == place.node
}

/// What the daemon of this node would mend in a moment waits for it: it starts, or is stopped.
fn takes_the_daemon(fault: &Fault, at: &Place, place: &Place) -> bool {
    fault.part == Part::Process && (at.node == place.node || concerns_all(fault))
}

/// The session that the fault was about is down by another one.
fn is_away(why: &str) -> bool {
    why.contains("the session is not up")
}

fn ends_a_session(fault: &Fault) -> bool {
    matches!(fault.name, "a session is closed and opened" | "a session is cleared, hard")
}

fn concerns_all(fault: &Fault) -> bool {
    fault.name.starts_with("every node")
}

/// The excuse of this fault, and not that of another which costs the same node packets.
fn of(fault: &Fault, place: &Place) -> impl Fn(&Excuse) -> bool + use<> {
    let (name, whose) = (fault.name, whose(fault.loses, place));
    move |excuse| excuse.fault == name && Some(excuse.whose) == whose
}

fn excuse(fault: &Fault, place: &Place, mended: bool) -> Option<Excuse> {
    let now = Instant::now();
    let until = (matches!(fault.loses, Loses::Moment(_)) && mended).then(|| now + MOMENT);
    whose(fault.loses, place).map(|whose| Excuse { fault: fault.name, whose, from: now, until })
}

fn whose(loses: Loses, place: &Place) -> Option<Whose> {
    match loses {
        Loses::Nothing => None,
        Loses::AtOnce => Some(Whose::Node { node: place.node, v4: true, v6: true }),
        Loses::Moment(f) | Loses::WhileDone(f) | Loses::UntilQuiet(f) => Some(Whose::Node { node: place.node, v4: f.v4, v6: f.v6 }),
        Loses::Pair | Loses::PairUntilQuiet => Some(Whose::Pair(place.node, place.other)),
    }
}

/// A line for each pair of nodes that lost something.
fn told(losses: &[Loss]) -> Vec<String> {
    let mut pairs: BTreeMap<(usize, usize, bool), Vec<&Loss>> = BTreeMap::new();
    losses.iter().for_each(|loss| pairs.entry((loss.from, loss.to, loss.v6)).or_default().push(loss));
    let now = Instant::now();
    let more = pairs.len().saturating_sub(SHOWN);
    let rest = (more > 0).then(|| format!("and so between {more} more pairs"));
    pairs
        .iter()
        .take(SHOWN)
        .map(|((from, to, v6), lost)| {
            let ago = |loss: &Loss| now.duration_since(loss.at).as_secs_f64();
            let (first, last) = (lost.first().map_or(0.0, |l| ago(l)), lost.last().map_or(0.0, |l| ago(l)));
            let refused = lost.iter().filter(|loss| loss.refused).count();
            let family = if *v6 { "IPv6" } else { "IPv4" };
            format!(
                "member {from} -> {to}, {family}: {} lost without an excuse ({refused} refused), sent {first:.1} to {last:.1} s ago",
                lost.len()
            )
        })
        .chain(rest)
        .collect()
}

/// The deed of a fault, for who looks at the list.
pub fn text(deed: &Deed) -> String {
    match deed {
        Deed::Shell(start, _) | Deed::Switch(start, _) => (*start).to_owned(),
        Deed::Catbird(start, _) => format!("catbird {start}"),
        Deed::Reload(_) => "another configuration, catbird reload".to_owned(),
        Deed::Reborn(_) => "another configuration, kill -9, start".to_owned(),
        Deed::Own(..) => String::new(),
    }
}
