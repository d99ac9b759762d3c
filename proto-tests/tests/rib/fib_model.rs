//! The FIB planner beside a model of the kernel: random wants, refusals, strangers who delete, replace and add, links that flap,
//! overruns that lose the news, restarts. Whatever happened, once it is quiet the kernel has what is wanted, and strangers have what
//! was theirs first.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use catbird::fib::{Errno, Fib, FibChange, FibKind, FibRoute, Metric, Params, State};
use catbird::kernel::{Hop, IfIndex, KernelEvent, KernelRoute, RouteKind, Weight};
use catbird::num::{Family, Instant};
use ipnet::IpNet;
use proptest::prelude::*;

const OURS: u8 = 186;

/// Splitmix64: the run is the seed's.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }

    fn chance(&mut self, of_hundred: u64) -> bool {
        self.roll(100) < of_hundred
    }
}

/// The kernel: one route for a key, and news for whoever listens; what the writer does is no news.
#[derive(Default)]
struct Kernel {
    routes: BTreeMap<(IpNet, u32), KernelRoute>,
    news: VecDeque<KernelEvent>,
    /// Keys whose route we wrote, or found at a start.
    mine: BTreeSet<(IpNet, u32)>,
    /// Keys that were ours at any time since the start. To overwrite a stranger on any other is a crime once the news of it were heard.
    ever: BTreeSet<(IpNet, u32)>,
}

impl Kernel {
    fn carry_out(&mut self, change: &FibChange) -> Result<(), Errno> {
        let route = change.route();
        let key = (route.net, route.metric);
        match change {
            FibChange::Add(_) if self.routes.contains_key(&key) => return Err(Errno::EEXIST),
            FibChange::Add(_) | FibChange::Replace(_) => {
                self.routes.insert(key, as_kernel(route, OURS));
                self.mine.insert(key);
                self.ever.insert(key);
            }
            FibChange::Remove(_) if self.routes.get(&key).is_some_and(|r| r.protocol == OURS) => {
                self.routes.remove(&key);
                self.mine.remove(&key);
            }
            FibChange::Remove(_) => return Err(Errno::ESRCH),
        }
        Ok(())
    }

    fn stranger_puts(&mut self, route: KernelRoute) {
        let key = (route.net, route.metric);
        self.routes.insert(key, route.clone());
        self.mine.remove(&key);
        if route.protocol == OURS {
            self.ever.insert(key);
        }
        self.news.push_back(KernelEvent::Route(route));
    }

    fn stranger_deletes(&mut self, key: (IpNet, u32)) {
        if let Some(route) = self.routes.remove(&key) {
            self.mine.remove(&key);
            self.news.push_back(KernelEvent::RouteGone(route));
        }
    }

    fn dump(&mut self) {
        self.news.push_back(KernelEvent::DumpStart);
        self.news.extend([2, 3].map(|i| KernelEvent::Link { ifindex: IfIndex(i), name: format!("eth{i}"), up: true }));
        self.news.extend(self.routes.values().cloned().map(KernelEvent::Route));
        self.news.push_back(KernelEvent::DumpEnd);
    }
}

fn as_kernel(route: &FibRoute, protocol: u8) -> KernelRoute {
    let kind = match &route.kind {
        FibKind::Blackhole => RouteKind::Blackhole,
        FibKind::Unicast(hops) => RouteKind::Unicast(hops.clone()),
    };
    KernelRoute { net: route.net, table: 254, metric: route.metric, protocol, kind, source: route.source }
}

struct World {
    dice: Dice,
    kernel: Kernel,
    fib: Fib,
    params: Params,
    wanted: BTreeMap<IpNet, FibRoute>,
    flying: Vec<(u64, Result<(), Errno>)>,
    now: Instant,
    refusals: u64,
}

impl World {
    fn new(seed: u64) -> World {
        let params = Params { metric: Metric::FromLocalPref, window: 1 + (seed % 7) as usize, ..Params::default() };
        let fib = Fib::new(params.clone());
        let now = Instant::ZERO + Duration::from_secs(1000);
        let (dice, kernel) = (Dice(seed), Kernel::default());
        let mut world = World { dice, kernel, fib, params, wanted: BTreeMap::new(), flying: Vec::new(), now, refusals: 10 };
        world.kernel.dump();
        world
    }

    /// `FIB_MODEL_TRACE=10.0.2.0 FIB_MODEL_RUN=SEED/STEPS` tells the story of one prefix.
    fn trace(&self, what: impl Fn() -> String) {
        if let Ok(about) = std::env::var("FIB_MODEL_TRACE") {
            let what = what();
            if !what.contains(" 10.") && !what.contains(" fd") || what.contains(&about) {
                eprintln!("{what}");
            }
        }
    }

    fn net(&mut self) -> IpNet {
        let i = self.dice.roll(8);
        if self.dice.chance(30) { format!("fd00:{i}::/64").parse().unwrap() } else { format!("10.0.{i}.0/24").parse().unwrap() }
    }

    fn route(&mut self, net: IpNet) -> FibRoute {
        let hop = |i: u64| Hop {
            gateway: Some(if net.addr().is_ipv4() { format!("192.0.2.{i}") } else { format!("2001:db8::{i}") }.parse().unwrap()),
            ifindex: IfIndex(2 + (i % 2) as u32),
            onlink: false,
            weight: Weight::new(1 + i % 3),
        };
        let kind = match self.dice.roll(6) {
            0 => FibKind::Blackhole,
            1 => FibKind::Unicast([hop(1 + self.dice.roll(3)), hop(5)].into_iter().collect()),
            _ => FibKind::Unicast([hop(1 + self.dice.roll(4))].into_iter().collect()),
        };
        let metric = [0, 0, 0, 50, 100][self.dice.roll(5) as usize];
        FibRoute { net, metric, kind, source: None, former: None }.normal()
    }

    fn step(&mut self) {
        match self.dice.roll(100) {
            0..40 => {
                let net = self.net();
                let route = (!self.dice.chance(30)).then(|| self.route(net));
                self.want(net, route);
            }
            40..50 => {
                let net = self.net();
                let protocol = [3, 80, OURS][self.dice.roll(3) as usize];
                let route = as_kernel(&self.route(net), protocol);
                self.kernel.stranger_puts(route);
            }
            50..62 => self.stranger_deletes(),
            62..64 => {
                // The monitor's buffer overflowed: the news are lost, a dump follows.
                self.kernel.news.clear();
                self.kernel.dump();
            }
            64..66 => self.flap(),
            66..67 => self.restart(),
            67..68 => drop(self.fib.reap()),
            68..75 => {
                self.now = self.now + Duration::from_millis(self.dice.roll(2000));
                self.fib.on_deadline(self.now);
            }
            _ => {}
        }
        for _ in 0..self.dice.roll(4) {
            self.hear();
            self.write();
            self.answer();
        }
        self.fib.check_invariants();
    }

    fn want(&mut self, net: IpNet, route: Option<FibRoute>) {
        self.trace(|| format!("wants {net} {route:?}"));
        match &route {
            Some(r) => drop(self.wanted.insert(net, r.clone())),
            None => drop(self.wanted.remove(&net)),
        }
        self.fib.set_desired(net, route);
    }

    fn stranger_deletes(&mut self) {
        let n = self.kernel.routes.len() as u64;
        if n > 0 {
            let i = self.dice.roll(n) as usize;
            let key = *self.kernel.routes.keys().nth(i).unwrap();
            self.kernel.stranger_deletes(key);
        }
    }

    /// A link goes down and up: IPv4 routes all of whose ways use it vanish without a word.
    fn flap(&mut self) {
        let ifindex = IfIndex(2 + self.dice.roll(2) as u32);
        let dead = |r: &KernelRoute| matches!(&r.kind, RouteKind::Unicast(h) if h.iter().all(|h| h.ifindex == ifindex));
        let gone: Vec<(IpNet, u32)> = self.kernel.routes.iter().filter(|(_, r)| dead(r)).map(|(k, _)| *k).collect();
        for up in [false, true] {
            self.kernel.news.push_back(KernelEvent::Link { ifindex, name: format!("eth{}", ifindex.0), up });
        }
        for key in gone {
            let route = self.kernel.routes.remove(&key).unwrap();
            self.kernel.mine.remove(&key);
            if route.protocol != OURS || key.0.addr().is_ipv6() {
                self.kernel.news.push_back(KernelEvent::RouteGone(route));
            }
        }
    }

    /// SIGKILL and back: the new one knows nothing but what it finds, and what it is told again.
    fn restart(&mut self) {
        self.trace(|| "restarts".into());
        self.fib = Fib::new(self.params.clone());
        self.flying.clear();
        self.kernel.news.clear();
        self.kernel.dump();
        let ours: Vec<(IpNet, u32)> = self.kernel.routes.iter().filter(|(_, r)| r.protocol == OURS).map(|(k, _)| *k).collect();
        self.kernel.mine = ours.iter().copied().collect();
        self.kernel.ever = self.kernel.mine.clone();
        for (net, route) in self.wanted.clone() {
            self.fib.set_desired(net, Some(route));
        }
    }

    fn hear(&mut self) {
        if let Some(event) = self.kernel.news.pop_front() {
            self.trace(|| format!("hears {event:?}"));
            self.fib.on_kernel(self.now, &event);
        }
    }

    fn write(&mut self) {
        let Some((seq, change)) = self.fib.poll() else { return };
        self.trace(|| format!("writes {seq} {change:?}"));
        let key = (change.route().net, change.route().metric);
        let heard = self.kernel.news.is_empty();
        if heard && !matches!(change, FibChange::Remove(_)) && self.kernel.routes.get(&key).is_some_and(|r| r.protocol != OURS) {
            assert!(self.kernel.ever.contains(&key) || matches!(change, FibChange::Add(_)), "overwrites a stranger's route: {change:?}");
        }
        let refused = self.dice.chance(self.refusals);
        let result =
            if refused { Err([Errno::ENETUNREACH, Errno::ENOBUFS][self.dice.roll(2) as usize]) } else { self.kernel.carry_out(&change) };
        self.flying.push((seq, result));
    }

    fn answer(&mut self) {
        if !self.flying.is_empty() {
            let i = self.dice.roll(self.flying.len() as u64) as usize;
            let (seq, result) = self.flying.swap_remove(i);
            self.trace(|| format!("is answered {seq} {result:?}"));
            self.fib.on_done(self.now, seq, result);
        }
    }

    /// Nobody disturbs any more; time passes.
    fn calm_down(&mut self) {
        self.refusals = 0;
        self.fib.reap();
        for _ in 0..500 {
            while !self.kernel.news.is_empty() {
                self.hear();
            }
            for _ in 0..64 {
                self.write();
                self.answer();
            }
            self.fib.check_invariants();
            match self.fib.next_deadline() {
                _ if !self.flying.is_empty() => {}
                Some(at) => {
                    self.now = self.now.max(at);
                    self.fib.on_deadline(self.now);
                }
                None => return,
            }
        }
        let restless: Vec<_> = self.fib.rows(0).map(|(_, r)| r).filter(|r| r.state != State::Installed).collect();
        panic!("never quiet: {:?} {:?} {restless:?}", self.fib.backlog(), self.fib.next_deadline());
    }

    fn judge(&self) {
        let mut installed = [0; 2];
        for (net, route) in &self.wanted {
            let there = &self.kernel.routes.get(&(*net, route.metric));
            match there {
                Some(r) if r.protocol != OURS => {
                    let blocked = self.fib.row(net).map(|r| r.state.name());
                    assert_eq!(blocked, Some("foreign"), "{net}: a stranger stands there");
                }
                Some(r) => {
                    assert_eq!(**r, as_kernel(route, OURS));
                    installed[Family::of(net).index()] += 1;
                }
                None => panic!("{net} is wanted and not there: {:?}", self.fib.row(net)),
            }
        }
        let counts = Family::ALL.map(|f| self.fib.counts(f).installed);
        assert_eq!(counts, installed);
        assert_eq!(Family::ALL.map(|f| self.fib.counts(f).stale), [0, 0]);
        // Whatever else stands under our protocol was put there by a stranger.
        let extra = self.kernel.routes.iter().filter(|((n, m), r)| r.protocol == OURS && self.wanted.get(n).is_none_or(|w| w.metric != *m));
        for (key, route) in extra {
            assert!(!self.kernel.mine.contains(key), "left behind: {route:?}");
        }
    }
}

proptest! {


    #[test]
    fn in_the_end_the_kernel_has_what_is_wanted(seed: u64, steps in 1_usize..400) {
        run(seed, steps);
    }
}

fn run(seed: u64, steps: usize) {
    let mut world = World::new(seed);
    for _ in 0..steps {
        world.step();
    }
    world.calm_down();
    // Lost news are found by the next audit at the latest.
    world.kernel.dump();
    world.calm_down();
    world.judge();
}

#[test]
fn a_chosen_run() {
    if let Some((seed, steps)) = std::env::var("FIB_MODEL_RUN").ok().as_deref().and_then(|s| s.split_once('/')) {
        run(seed.parse().expect("a seed"), steps.parse().expect("a number of steps"));
    }
    run(7, 400);
    // Another metric was wanted while a route was being put back at the old one, and who stood at the new one had come first.
    run(3_119_100_036_625_809_900, 110);
}
