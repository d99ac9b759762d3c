//! The FIB without the router: next hops, planner and netlink of the daemon, told by a test what is wanted.
//!
//! In: prefixes with the next hops that BGP would name. Out: the kernel's table, and what the planner thinks of it. It does what the
//! router does with a best path: track the next hops, resolve, want. So the kernel tests need no session, and the benchmark of the FIB
//! measures nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::Duration;

use catbird::daemon::netlink::{Events, Netlink, Settings};
use catbird::fib::{Counts, Fib, FibKind, FibRoute, Params, Row, Totals};
use catbird::kernel::KernelEvent;
use catbird::num::{Family, Instant};
use catbird::rib::nexthop::{self, NexthopTable, NhId, Resolution};
use ipnet::IpNet;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::netlab::Ns;

/// What the test asks of the keeper.
enum Order {
    Want(Vec<(IpNet, Vec<IpAddr>)>),
    WantWeighed(IpNet, Vec<(IpAddr, u64)>),
    Unwant(Vec<IpNet>),
    Reap,
    Look(mpsc::Sender<View>),
    Row(IpNet, mpsc::Sender<Option<Row>>),
    Resolution(IpAddr, mpsc::Sender<Option<Resolution>>),
    Audit,
}

/// The planner's view, both families together.
#[derive(Clone, Debug)]
pub struct View {
    pub counts: Counts,
    pub totals: Totals,
    pub settled: bool,
    pub overruns: u64,
    pub dumps: u64,
    pub messages: u64,
    pub sends: u64,
}

impl View {
    /// The kernel's first word was heard, and all that is wanted stands.
    pub fn is_true(&self) -> bool {
        self.settled && self.totals.reconciles > 0 && self.counts.wanted == self.counts.installed
    }
}

/// A running one, in a thread with a runtime of its own.
pub struct Keeper {
    orders: UnboundedSender<Order>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Keeper {
    /// In the network namespace of the calling thread.
    pub fn start_here(params: Params, settings: Settings) -> Keeper {
        let (orders, inbox) = unbounded_channel();
        let thread = std::thread::Builder::new().name("keeper".into()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let (netlink, events) = Netlink::start(settings).expect("netlink sockets");
                Loop::new(params, netlink).run(inbox, events).await;
            });
        });
        Keeper { orders, thread: Some(thread.expect("a thread")) }
    }

    /// In a namespace of the lab.
    pub fn start(ns: &Ns, params: Params, settings: Settings) -> Keeper {
        ns.run(move || Keeper::start_here(params, settings))
    }

    /// A route to `net` by these BGP next hops; without any, a blackhole.
    pub fn want(&self, net: &str, via: &[&str]) {
        let via = via.iter().map(|a| a.parse().expect("an address")).collect();
        self.want_all(vec![(net.parse().expect("a prefix"), via)]);
    }

    /// A route by next hops whose paths promise so much (bits a second).
    pub fn want_weighed(&self, net: &str, via: &[(&str, u64)]) {
        let via = via.iter().map(|(a, bandwidth)| (a.parse().expect("an address"), *bandwidth)).collect();
        self.tell(Order::WantWeighed(net.parse().expect("a prefix"), via));
    }

    pub fn want_all(&self, routes: Vec<(IpNet, Vec<IpAddr>)>) {
        self.tell(Order::Want(routes));
    }

    pub fn unwant(&self, nets: Vec<IpNet>) {
        self.tell(Order::Unwant(nets));
    }

    pub fn reap(&self) {
        self.tell(Order::Reap);
    }

    pub fn audit(&self) {
        self.tell(Order::Audit);
    }

    pub fn look(&self) -> View {
        self.ask(Order::Look)
    }

    pub fn row(&self, net: &str) -> Option<Row> {
        let net = net.parse().expect("a prefix");
        self.ask(|answer| Order::Row(net, answer))
    }

    pub fn resolution(&self, addr: &str) -> Option<Resolution> {
        let addr = addr.parse().expect("an address");
        self.ask(|answer| Order::Resolution(addr, answer))
    }

    fn ask<T>(&self, order: impl FnOnce(mpsc::Sender<T>) -> Order) -> T {
        let (answer, answers) = mpsc::channel();
        self.tell(order(answer));
        answers.recv().expect("the keeper answers while it lives")
    }

    fn tell(&self, order: Order) {
        assert!(self.orders.send(order).is_ok(), "the keeper lives");
    }
}

impl Drop for Keeper {
    /// Like SIGKILL: whatever stands in the kernel stays.
    fn drop(&mut self) {
        let (gone, _) = unbounded_channel();
        self.orders = gone;
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the keeper panicked");
        }
    }
}

struct Loop {
    fib: Fib,
    nexthops: NexthopTable,
    netlink: Netlink,
    paths: BTreeMap<IpNet, Vec<NhId>>,
    bandwidths: BTreeMap<IpNet, Vec<u64>>,
    users: BTreeMap<NhId, BTreeSet<IpNet>>,
    born: std::time::Instant,
    params: Params,
}

impl Loop {
    fn new(params: Params, netlink: Netlink) -> Loop {
        let nexthops = NexthopTable::new(nexthop::Params { own: vec![(params.table, params.protocol)], ..nexthop::Params::default() });
        let (paths, users, born) = (BTreeMap::new(), BTreeMap::new(), std::time::Instant::now());
        Loop { fib: Fib::new(params.clone()), nexthops, netlink, paths, bandwidths: BTreeMap::new(), users, born, params }
    }

    fn now(&self) -> Instant {
        Instant::from_nanos(u64::try_from(self.born.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    async fn run(mut self, mut inbox: UnboundedReceiver<Order>, mut events: Events) {
        loop {
            let deadline = self.fib.next_deadline().map(|at| at.since(self.now()));
            tokio::select! {
                order = inbox.recv() => match order {
                    Some(order) => self.on_order(order),
                    None => return,
                },
                Some(batch) = events.kernel.recv() => self.on_kernel(&batch),
                Some(done) = events.done.recv() => {
                    let now = self.now();
                    done.into_iter().for_each(|(seq, result)| self.fib.on_done(now, seq, result));
                }
                () = tokio::time::sleep(deadline.unwrap_or(Duration::from_secs(3600))) => {
                    let now = self.now();
                    self.fib.on_deadline(now);
                }
            }
            let changes: Vec<_> = std::iter::from_fn(|| self.fib.poll()).collect();
            if !changes.is_empty() {
                assert_eq!(self.netlink.apply(changes), Ok(()), "the writer's thread lives, and the planner keeps to its window");
            }
        }
    }

    fn on_kernel(&mut self, batch: &[KernelEvent]) {
        let now = self.now();
        for event in batch {
            self.nexthops.on_kernel(event);
            for id in self.nexthops.take_changed() {
                for net in self.users.get(&id).cloned().unwrap_or_default() {
                    self.resolve(net);
                }
            }
            self.fib.on_kernel(now, event);
        }
    }

    fn on_order(&mut self, order: Order) {
        match order {
            Order::Want(routes) => routes.into_iter().for_each(|(net, via)| self.want(net, &via)),
            Order::WantWeighed(net, via) => {
                self.bandwidths.insert(net, via.iter().map(|(_, bandwidth)| *bandwidth).collect());
                self.want(net, &via.iter().map(|(addr, _)| *addr).collect::<Vec<_>>());
            }
            Order::Unwant(nets) => nets.into_iter().for_each(|net| self.unwant(net)),
            Order::Reap => drop(self.fib.reap()),
            Order::Audit => self.netlink.audit(),
            // Who does not wait for the answer any more does not want it.
            Order::Look(answer) => drop(answer.send(self.view())),
            Order::Row(net, answer) => drop(answer.send(self.fib.row(&net))),
            Order::Resolution(addr, answer) => {
                let row = self.nexthops.rows(None).find(|r| r.addr == addr);
                drop(answer.send(row.map(|r| r.resolution)));
            }
        }
    }

    fn want(&mut self, net: IpNet, via: &[IpAddr]) {
        let ids: Vec<NhId> = via.iter().map(|a| self.nexthops.track(*a, None)).collect();
        self.unlink(net);
        for id in &ids {
            self.users.entry(*id).or_default().insert(net);
        }
        self.paths.insert(net, ids);
        self.resolve(net);
    }

    fn unwant(&mut self, net: IpNet) {
        self.unlink(net);
        self.fib.set_desired(net, None);
    }

    fn unlink(&mut self, net: IpNet) {
        for id in self.paths.remove(&net).unwrap_or_default() {
            self.nexthops.untrack(id);
            if let Some(users) = self.users.get_mut(&id) {
                users.remove(&net);
            }
        }
    }

    fn resolve(&mut self, net: IpNet) {
        let ids = &self.paths[&net];
        let resolutions = ids.iter().map(|id| self.nexthops.resolution(*id));
        let hops = match self.bandwidths.get(&net) {
            Some(bandwidths) => nexthop::combine_weighted(resolutions.zip(bandwidths.iter().copied()), 16),
            None => nexthop::combine(resolutions, 16),
        };
        let route = match (ids.is_empty(), hops.is_empty()) {
            (true, _) => Some((FibKind::Blackhole, self.params.block_metric)),
            (false, true) => None,
            (false, false) => Some((FibKind::Unicast(hops), self.params.metric.of(None))),
        };
        let source = self.params.source_for(&net);
        self.fib.set_desired(net, route.map(|(kind, metric)| FibRoute { net, metric, kind, source, former: None }));
    }

    fn view(&self) -> View {
        let [a, b] = [self.fib.counts(Family::Ipv4Unicast), self.fib.counts(Family::Ipv6Unicast)];
        let counts = Counts {
            wanted: a.wanted + b.wanted,
            installed: a.installed + b.installed,
            failed: a.failed + b.failed,
            foreign: a.foreign + b.foreign,
            blocked: a.blocked + b.blocked,
            shadowed: a.shadowed + b.shadowed,
            stale: a.stale + b.stale,
            parked: a.parked + b.parked,
        };
        let c = self.netlink.counters();
        let [overruns, dumps, messages, sends] = [&c.overruns, &c.dumps, &c.messages, &c.sends].map(|n| n.load(Ordering::Relaxed));
        View { counts, totals: self.fib.totals(), settled: self.fib.is_settled(), overruns, dumps, messages, sends }
    }
}
