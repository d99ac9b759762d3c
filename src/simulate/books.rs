//! Which packets arrive: for each machine and each block of another, over the kernels of all machines on the way.
//!
//! In: kernel routes as they change, machines and links that come and go. Out: how many pairs of machine and block have no route or a wrong one now, what that
//! comes to over time, and whom it touched.

use std::collections::HashMap;
use std::time::Duration;

use foldhash::fast::FixedState;
use ipnet::IpNet;

use super::net::Underlay;
use super::report::Point;
use super::thin::{Bits, Changes, Thin};
use crate::num::Instant;

/// A packet that came over so many machines goes in a circle.
const HOPS: usize = 8;

/// A curve with more points than this loses every other one.
const POINTS: usize = 512;

/// What a machine's kernel does with packets to a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Way {
    /// No route.
    #[default]
    None,
    /// To this machine.
    To(u32),
    /// To one of several: a number of `Books::groups`.
    Shared(u32),
    /// Somewhere outside.
    Away,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Fine,
    NoRoute,
    Wrong,
}

/// A machine's routes.
enum Routes {
    Whole(Vec<Way>),
    Thin(Thin),
}

/// See the module.
pub(super) struct Books {
    blocks: Vec<IpNet>,
    index: HashMap<IpNet, u32, FixedState>,
    /// Whose a block is.
    origin: Vec<u32>,
    /// Its pods are there.
    active: Vec<bool>,
    routes: Vec<Routes>,
    /// Whose packets are counted: machines with pods.
    counted: Vec<bool>,
    groups: Vec<Vec<u32>>,
    /// Machines that others send packets to which are not for them.
    transit: Vec<bool>,
    no_route: u64,
    wrong: u64,
    at: Instant,
    /// Since the window began: prefixes times nanoseconds.
    no_route_sum: u128,
    wrong_sum: u128,
    touched: Bits,
    touched_blocks: Bits,
    /// When each machine's routes changed last in this window.
    changed: Vec<Option<Instant>>,
    began: Instant,
    curve: Vec<Point>,
    spacing: Duration,
}

impl Books {
    /// Of these blocks with their nodes; whose packets are counted; which machines are thin.
    pub fn new(blocks: Vec<(IpNet, u32)>, counted: Vec<bool>, thin: Vec<Option<Thin>>) -> Books {
        let machines = counted.len();
        let index = blocks.iter().zip(0..).map(|((net, _), n)| (*net, n)).collect();
        let whole = || Routes::Whole(vec![Way::None; blocks.len()]);
        let routes = thin.into_iter().map(|thin| thin.map_or_else(whole, Routes::Thin)).collect();
        Books {
            index,
            origin: blocks.iter().map(|(_, origin)| *origin).collect(),
            active: vec![false; blocks.len()],
            touched_blocks: Bits::new(blocks.len()),
            blocks: blocks.into_iter().map(|(net, _)| net).collect(),
            routes,
            counted,
            groups: Vec::new(),
            transit: vec![false; machines],
            no_route: 0,
            wrong: 0,
            at: Instant::ZERO,
            no_route_sum: 0,
            wrong_sum: 0,
            touched: Bits::new(machines),
            changed: vec![None; machines],
            began: Instant::ZERO,
            curve: Vec::new(),
            spacing: Duration::from_millis(1),
        }
    }

    /// The kernel of a machine that is off has nothing.
    pub fn forget(&mut self, n: usize) {
        match &mut self.routes[n] {
            Routes::Whole(ways) => ways.fill(Way::None),
            Routes::Thin(thin) => thin.ended(false, &mut Changes::new()),
        }
    }

    /// The blocks of a machine.
    pub fn blocks_of(&self, origin: usize) -> Vec<usize> {
        (0..self.blocks.len()).filter(|block| self.origin[*block] as usize == origin).collect()
    }

    pub fn thin_mut(&mut self, n: usize) -> Option<&mut Thin> {
        match &mut self.routes[n] {
            Routes::Thin(thin) => Some(thin),
            Routes::Whole(_) => None,
        }
    }

    pub fn find(&self, net: &IpNet) -> Option<usize> {
        self.index.get(net).map(|n| *n as usize)
    }

    /// The look-up alone, for who has the rest in hand.
    pub fn split(&mut self, n: usize) -> (Option<&mut Thin>, &HashMap<IpNet, u32, FixedState>, &[u32]) {
        let thin = match &mut self.routes[n] {
            Routes::Thin(thin) => Some(thin),
            Routes::Whole(_) => None,
        };
        (thin, &self.index, &self.origin)
    }

    pub fn len(&self) -> usize {
        self.blocks.len()
    }

    fn way(&self, n: usize, block: usize) -> Way {
        match &self.routes[n] {
            Routes::Whole(ways) => ways[block],
            Routes::Thin(thin) if thin.has(block) => Way::To(self.origin[block]),
            Routes::Thin(_) => Way::None,
        }
    }

    /// The blocks to which a machine has a route.
    #[cfg(test)]
    pub fn has(&self, n: usize) -> Vec<bool> {
        (0..self.blocks.len()).map(|block| self.origin[block] as usize != n && self.way(n, block) != Way::None).collect()
    }

    /// One of several ways, or the only one.
    pub fn way_of(&mut self, mut to: Vec<u32>) -> Way {
        to.sort_unstable();
        to.dedup();
        match to[..] {
            [] => Way::Away,
            [only] => Way::To(only),
            _ => {
                let known = self.groups.iter().position(|group| *group == to);
                let n = known.unwrap_or_else(|| {
                    self.groups.push(to);
                    self.groups.len() - 1
                });
                Way::Shared(n as u32)
            }
        }
    }

    fn arrives(&self, from: usize, to: u32, block: usize, hops: usize, net: &Underlay) -> bool {
        let at = to as usize;
        if !net.reaches(from, at) {
            return false;
        }
        to == self.origin[block] || hops > 0 && self.leads_there(at, block, hops - 1, net)
    }

    /// Each of the ways out of this machine leads to the block.
    fn leads_there(&self, n: usize, block: usize, hops: usize, net: &Underlay) -> bool {
        match self.way(n, block) {
            Way::None => false,
            Way::Away => true,
            Way::To(to) => self.arrives(n, to, block, hops, net),
            Way::Shared(group) => self.groups[group as usize].iter().all(|to| self.arrives(n, *to, block, hops, net)),
        }
    }

    fn fate(&self, n: usize, block: usize, net: &Underlay) -> Fate {
        let origin = self.origin[block] as usize;
        if n == origin || !self.counted[n] || !net.on[n] {
            return Fate::Fine;
        }
        match self.way(n, block) {
            Way::None if self.active[block] && net.reaches(n, origin) => Fate::NoRoute,
            Way::None => Fate::Fine,
            _ if self.leads_there(n, block, HOPS, net) => Fate::Fine,
            _ => Fate::Wrong,
        }
    }

    fn count(&mut self, n: usize, block: usize, net: &Underlay) {
        let sum = match self.fate(n, block, net) {
            Fate::Fine => return,
            Fate::NoRoute => &mut self.no_route,
            Fate::Wrong => &mut self.wrong,
        };
        *sum += 1;
        self.touched.set(n);
        self.touched_blocks.set(block);
    }

    fn discount(&mut self, n: usize, block: usize, net: &Underlay) {
        match self.fate(n, block, net) {
            Fate::Fine => {}
            Fate::NoRoute => self.no_route -= 1,
            Fate::Wrong => self.wrong -= 1,
        }
    }

    /// Time passes.
    pub fn advance(&mut self, now: Instant) {
        let passed = now.since(self.at).as_nanos();
        if passed == 0 {
            return;
        }
        self.note();
        self.no_route_sum += u128::from(self.no_route) * passed;
        self.wrong_sum += u128::from(self.wrong) * passed;
        self.at = now;
    }

    /// A point of the curve, unless it is too near the one before.
    fn note(&mut self) {
        let point = Point { seconds: self.at.since(self.began).as_secs_f64(), no_route: self.no_route, wrong: self.wrong };
        match self.curve.last_mut() {
            Some(last) if (last.no_route, last.wrong) == (point.no_route, point.wrong) => return,
            Some(last) if point.seconds - last.seconds < self.spacing.as_secs_f64() => *last = Point { seconds: last.seconds, ..point },
            _ => self.curve.push(point),
        }
        if self.curve.len() > POINTS {
            let mut keep = false;
            self.curve.retain(|_| {
                keep = !keep;
                keep
            });
            self.spacing *= 2;
        }
    }

    /// A kernel route of a machine that is run whole.
    pub fn set(&mut self, n: usize, block: usize, way: Way, net: &Underlay) {
        let before = self.way(n, block);
        if before == way || self.origin[block] as usize == n {
            return;
        }
        let behind: Vec<usize> =
            if self.transit[n] { (0..self.routes.len()).filter(|m| *m != n && self.goes_over(*m, n, block)).collect() } else { Vec::new() };
        behind.iter().for_each(|m| self.discount(*m, block, net));
        self.discount(n, block, net);
        if let Routes::Whole(ways) = &mut self.routes[n] {
            ways[block] = way;
        }
        self.count(n, block, net);
        behind.iter().for_each(|m| self.count(*m, block, net));
        self.changed[n] = Some(self.at);
        let origin = self.origin[block];
        let over: &[u32] = match &way {
            Way::To(to) => &[*to],
            Way::Shared(group) => &self.groups[*group as usize],
            Way::None | Way::Away => &[],
        };
        over.iter().filter(|to| **to != origin).for_each(|to| self.transit[*to as usize] = true);
    }

    fn goes_over(&self, n: usize, over: usize, block: usize) -> bool {
        match self.way(n, block) {
            Way::To(to) => to as usize == over,
            Way::Shared(group) => self.groups[group as usize].contains(&(over as u32)),
            Way::None | Way::Away => false,
        }
    }

    /// A thin node's routes have changed so.
    pub fn thin_changed(&mut self, n: usize, changes: &[(usize, bool)], net: &Underlay) {
        for (block, came) in changes {
            let origin = self.origin[*block] as usize;
            if !self.counted[n] || !net.on[n] || origin == n {
                continue;
            }
            let reached = net.reaches(n, origin);
            let missing = u64::from(self.active[*block] && reached);
            match came {
                true => {
                    self.no_route -= missing;
                    self.wrong += u64::from(!reached);
                }
                false => {
                    self.no_route += missing;
                    self.wrong -= u64::from(!reached);
                }
            }
            if *came && !reached || !came && missing > 0 {
                self.touched.set(n);
                self.touched_blocks.set(*block);
            }
        }
        if !changes.is_empty() {
            self.changed[n] = Some(self.at);
        }
    }

    /// Blocks whose pods came or went with their node's program.
    pub fn activate(&mut self, blocks: &[usize], active: bool, net: &Underlay) {
        for block in blocks.iter().copied() {
            if self.active[block] == active {
                continue;
            }
            (0..self.routes.len()).for_each(|n| self.discount(n, block, net));
            self.active[block] = active;
            (0..self.routes.len()).for_each(|n| self.count(n, block, net));
        }
    }

    /// Whose a block is has changed with a configuration.
    pub fn moved(&mut self, block: usize, origin: usize, net: &Underlay) {
        (0..self.routes.len()).for_each(|n| self.discount(n, block, net));
        (self.origin[block], self.active[block]) = (origin as u32, true);
        (0..self.routes.len()).for_each(|n| self.count(n, block, net));
    }

    /// Who reaches whom has changed.
    pub fn recount(&mut self, net: &Underlay) {
        (self.no_route, self.wrong) = (0, 0);
        for n in (0..self.routes.len()).filter(|n| self.counted[*n] && net.on[*n]).collect::<Vec<_>>() {
            (0..self.blocks.len()).for_each(|block| self.count(n, block, net));
        }
    }

    /// What is counted is counted for another event from now on.
    pub fn begin(&mut self, now: Instant) {
        self.advance(now);
        (self.no_route_sum, self.wrong_sum, self.began) = (0, 0, now);
        (self.touched, self.touched_blocks) = (Bits::new(self.routes.len()), Bits::new(self.blocks.len()));
        self.changed.fill(None);
        self.curve.clear();
        self.spacing = Duration::from_millis(1);
    }

    /// When each machine that changed at all changed last, since the window began.
    pub fn last_changes(&self) -> Vec<Duration> {
        let counted = self.changed.iter().zip(&self.counted).filter(|(_, counted)| **counted);
        let mut all: Vec<Duration> = counted.filter_map(|(at, _)| at.map(|at| at.since(self.began))).collect();
        all.sort_unstable();
        all
    }

    /// Prefixes times seconds without a route, and with a wrong one.
    pub fn sums(&self) -> (f64, f64) {
        (self.no_route_sum as f64 / 1e9, self.wrong_sum as f64 / 1e9)
    }

    pub fn now(&self) -> (u64, u64) {
        (self.no_route, self.wrong)
    }

    /// Machines and blocks that had no route or a wrong one.
    pub fn touched(&self) -> (usize, usize) {
        (self.touched.count(), self.touched_blocks.count())
    }

    pub fn curve(&mut self) -> Vec<Point> {
        self.note();
        std::mem::take(&mut self.curve)
    }
}
