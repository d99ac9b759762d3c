//! Time: what happens next, and what a machine does in one cycle.
//!
//! In: machines, a plan, a seed. Out: the books, and a [`Report`](super::Report). The earliest event is taken, time moves there, and the event is handed to a machine or
//! the network; the same seed gives the same run, octet for octet.

use std::cmp::Ordering;
use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use foldhash::fast::FixedState;

use super::books::Books;
use super::cluster::{Cluster, Machine, Role, blocks_of};
use super::machine::{Count, Node, Shared};
use super::net::{End, Link, Parcel, Underlay};
use super::pieces::Pieces;
use super::plan::{Order, Plan, Reloads, Unplanned};
use super::report::Window;
use super::script::Script;
use super::size::choose;
use super::thin::Thin;
use crate::fib::FibChange;
use crate::fib::overlay::gateway;
use crate::kernel::{IfIndex, KernelEvent};
use crate::num::{Instant, Rng};
use crate::peer::DialError;
use crate::speaker::Input;

/// Where time begins.
pub(super) const BEGIN: Instant = Instant::ZERO;

/// What the processor of a machine needs: assumptions, of the order of what `proto-tests/benches` measure (`docs/simulate.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Costs {
    /// To cut, decode and take in a message.
    pub message: Duration,
    /// For each prefix of an UPDATE: tables, choice, and what follows.
    pub prefix: Duration,
    /// To write to a connection once, however much.
    pub write: Duration,
    /// To wake up for what came over connections.
    pub cycle: Duration,
}

impl Default for Costs {
    fn default() -> Costs {
        Costs {
            message: Duration::from_micros(2),
            prefix: Duration::from_nanos(1500),
            write: Duration::from_micros(8),
            cycle: Duration::from_micros(20),
        }
    }
}

/// How a simulation is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Of all that is left to chance.
    pub seed: u64,
    /// Between two machines a packet takes this long at least, and at most.
    pub latency: (Duration, Duration),
    /// See [`Costs`].
    pub costs: Costs,
    /// So many nodes are started at a time, after reflectors and routers of racks; within a batch, each at some moment of `spread`.
    pub batch: usize,
    /// From one batch to the next.
    pub pause: Duration,
    /// See `batch`.
    pub spread: Duration,
    /// So many nodes are run whole; `None`: as many as make sense.
    pub whole: Option<usize>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            seed: 1,
            latency: (Duration::from_micros(200), Duration::from_micros(600)),
            costs: Costs::default(),
            batch: usize::MAX,
            pause: Duration::from_secs(5),
            spread: Duration::from_secs(1),
            whole: None,
        }
    }
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Virtual time.
    pub seconds: f64,
    /// Where it ends.
    pub end_seconds: f64,
    /// Sent so far.
    pub messages: u64,
    /// Sessions that stand, counted at both ends.
    pub established: usize,
}

pub(super) enum What {
    Syn { from: End, to: usize, key: Option<Box<[u8]>>, tries: u32 },
    Connected { end: End, link: usize },
    Refused { end: End },
    Parcel { link: usize, to: usize, parcel: Parcel },
    Released { link: usize, side: usize },
    Cycle { node: usize },
    Fib { node: usize, life: u32, changes: Vec<(u64, FibChange)> },
    Tunnels { node: usize, life: u32, to: Vec<IpAddr> },
    Order(Box<Order>),
}

pub(super) struct Scheduled {
    at: Instant,
    serial: u64,
    what: What,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Scheduled) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Scheduled) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    /// The earliest is the greatest.
    fn cmp(&self, other: &Scheduled) -> Ordering {
        (other.at, other.serial).cmp(&(self.at, self.serial))
    }
}

/// See the module.
pub struct Simulation {
    pub(super) options: Options,
    pub(super) rng: Rng,
    pub(super) now: Instant,
    pub(super) end: Instant,
    pub(super) queue: BinaryHeap<Scheduled>,
    pub(super) serial: u64,
    pub(super) nodes: Vec<Node>,
    pub(super) by_addr: HashMap<IpAddr, usize, FixedState>,
    pub(super) shared: Shared,
    pub(super) links: Vec<Option<Box<Link>>>,
    pub(super) net: Underlay,
    pub(super) books: Books,
    pub(super) pieces: Pieces,
    pub(super) whole: Vec<bool>,
    pub(super) started: Vec<bool>,
    pub(super) established: usize,
    pub(super) lost: BTreeSet<(usize, usize)>,
    pub(super) total: Count,
    pub(super) before: Count,
    pub(super) digest: u64,
    pub(super) windows: Vec<Window>,
    pub(super) notes: Vec<String>,
    pub(super) complete: bool,
    /// Time, sender, connection and octets of all that was sent, for tests that compare.
    #[cfg(test)]
    pub(super) log: Vec<(u64, usize, u64, u64)>,
}

/// Building.
impl Simulation {
    /// Nothing has happened yet.
    ///
    /// # Errors
    /// The script names what is not in the cluster.
    pub fn new(cluster: Cluster, script: &Script, reloads: &Reloads, options: Options) -> Result<Simulation, Unplanned> {
        let plan = script.plan(&cluster, reloads, options.seed)?;
        let whole = choose(&cluster, options.whole.or_else(|| (!reloads.is_empty()).then_some(usize::MAX)));
        let blocks = blocks(&cluster, reloads);
        let has_pods = |machine: &Machine| machine.role == Role::Node || blocks_of(&machine.params).next().is_some();
        let counted = cluster.machines.iter().map(has_pods).collect();
        let thin = cluster.machines.iter().zip(&whole).map(|(machine, whole)| (!whole).then(|| Thin::new(machine, blocks.len()))).collect();
        let tors: Vec<usize> = (0..cluster.machines.len()).filter(|n| cluster.machines[*n].role == Role::Tor).collect();
        let net = Underlay::new(cluster.machines.iter().map(|machine| machine.rack).collect(), &tors);
        let notes = super::cluster::not_simulated(&cluster);
        let nodes: Vec<Node> = cluster.machines.into_iter().map(Node::new).collect();
        let mut simulation = Simulation {
            rng: Rng::new(options.seed),
            now: BEGIN,
            end: BEGIN,
            queue: BinaryHeap::new(),
            serial: nodes.len() as u64,
            by_addr: HashMap::default(),
            shared: Shared::of(nodes.iter().flat_map(|node| &node.addresses)),
            links: Vec::new(),
            net,
            books: Books::new(blocks, counted, thin),
            pieces: Pieces::default(),
            started: vec![false; nodes.len()],
            whole,
            established: 0,
            lost: BTreeSet::new(),
            total: Count::default(),
            before: Count::default(),
            digest: 0xcbf2_9ce4_8422_2325,
            windows: vec![window("start", 0.0)],
            notes,
            complete: false,
            #[cfg(test)]
            log: Vec::new(),
            nodes,
            options,
        };
        simulation.prepare(plan);
        Ok(simulation)
    }

    fn prepare(&mut self, plan: Plan) {
        for (n, node) in self.nodes.iter().enumerate() {
            for addr in &node.addresses {
                self.by_addr.insert(*addr, n);
                self.by_addr.entry(gateway(*addr)).or_insert(n);
            }
        }
        let (mut turn, mut last) = (0_u32, BEGIN);
        let mut left = self.options.batch;
        for n in 0..self.nodes.len() {
            let mut at = BEGIN;
            if self.nodes[n].role == Role::Node {
                if left == 0 {
                    (turn, left) = (turn + 1, self.options.batch);
                }
                left -= 1;
                at = at + self.options.pause * turn + self.within(self.options.spread);
            }
            last = last.max(at);
            self.schedule(at, What::Order(Box::new(Order::Start(n))));
        }
        self.end = (BEGIN + plan.end).max(last + Duration::from_secs(1));
        for (at, order) in plan.orders {
            self.schedule(BEGIN + at, What::Order(Box::new(order)));
        }
    }
}

/// All blocks that a machine has now, or after a reload.
fn blocks(cluster: &Cluster, reloads: &Reloads) -> Vec<(ipnet::IpNet, u32)> {
    let mut seen = BTreeSet::new();
    let own = cluster.machines.iter().zip(0_u32..).flat_map(|(machine, n)| blocks_of(&machine.params).map(move |net| (net, n)));
    let later = reloads.values().flat_map(|new| &new.machines).filter_map(|machine| Some((cluster.find(&machine.name)? as u32, machine)));
    let later = later.flat_map(|(n, machine)| blocks_of(&machine.params).map(move |net| (net, n)));
    own.chain(later).filter(|(net, _)| seen.insert(*net)).collect()
}

pub(super) fn window(what: &str, at_seconds: f64) -> Window {
    Window {
        what: what.to_owned(),
        at_seconds,
        seconds: 0.0,
        sessions_lost: 0,
        messages: 0,
        updates: 0,
        octets: 0,
        black_hole_prefix_seconds: 0.0,
        wrong_route_prefix_seconds: 0.0,
        nodes_touched: 0,
        blocks_touched: 0,
        no_route_at_end: 0,
        wrong_at_end: 0,
        convergence: None,
        curve: Vec::new(),
    }
}

/// Time.
impl Simulation {
    /// So many events at most. False: it is at its end.
    pub fn advance(&mut self, events: usize) -> bool {
        for _ in 0..events {
            match self.queue.peek() {
                Some(next) if next.at <= self.end => self.step(),
                _ => {
                    self.now = self.end;
                    self.complete = true;
                    return false;
                }
            }
        }
        true
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        Progress {
            seconds: self.now.since(BEGIN).as_secs_f64(),
            end_seconds: self.end.since(BEGIN).as_secs_f64(),
            messages: self.total.messages,
            established: self.established,
        }
    }

    pub(super) fn schedule(&mut self, at: Instant, what: What) {
        // Machines that wake up at the same time do so by their numbers, before all else: not in the order in which they were set to.
        let serial = match &what {
            What::Cycle { node } => *node as u64,
            _ => {
                self.serial += 1;
                self.serial
            }
        };
        self.queue.push(Scheduled { at, serial, what });
    }

    pub(super) fn within(&mut self, time: Duration) -> Duration {
        Duration::from_nanos(self.rng.next_u64() % (time.as_nanos() as u64 + 1))
    }

    pub(super) fn latency(&mut self) -> Duration {
        let (least, most) = self.options.latency;
        least + self.within(most.saturating_sub(least))
    }

    fn step(&mut self) {
        let Some(Scheduled { at, what, .. }) = self.queue.pop() else { return };
        self.now = at;
        self.books.advance(at);
        match what {
            What::Cycle { node } => {
                if self.nodes[node].due.take_if(|due| *due <= at).is_some() {
                    self.cycle(node);
                }
            }
            What::Parcel { link, to, parcel } => self.on_parcel(link, to, parcel),
            What::Syn { from, to, key, tries } => self.on_syn(from, to, key, tries),
            What::Connected { end, link } => self.on_connected(end, link),
            What::Refused { end } => {
                if self.is_alive(end) && self.nodes[end.node].dialling.remove(&end.conn) {
                    self.tell(end.node, Input::DialFailed { conn: end.conn, error: DialError::Refused });
                }
            }
            What::Released { link, side } => self.release(link, side),
            What::Fib { node, life, changes } => self.on_kernel(node, life, changes),
            What::Tunnels { node, life, to } => {
                if self.nodes[node].life == life {
                    tunnel_events(&to).into_iter().for_each(|event| self.tell(node, Input::Kernel(event)));
                }
            }
            What::Order(order) => self.order(*order),
        }
    }
}

/// What the keeper of tunnels says: the device is up and carries packets to these.
fn tunnel_events(to: &[IpAddr]) -> Vec<KernelEvent> {
    let ifindex = IfIndex(9);
    let device = KernelEvent::Link { ifindex, name: "tunnel".to_owned(), up: true };
    std::iter::once(device).chain(to.iter().map(|node| KernelEvent::Tunnel { node: *node, gateway: gateway(*node), ifindex })).collect()
}
