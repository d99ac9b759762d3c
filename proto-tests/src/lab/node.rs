//! A router with what surrounds it: the shell's part (framing, decoding, the pause after OPEN) and a kernel that takes every route.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use catbird::api::Answer;
use catbird::bfd::Bfd;
use catbird::bmp;
use catbird::driver::Driver;
use catbird::fib::overlay::gateway;
use catbird::fib::{FibChange, FibKind, FibRoute};
use catbird::kernel::{Hop, IfIndex, KernelEvent, KernelRoute, RouteKind, Weight};
use catbird::num::{ConnId, Instant};
use catbird::speaker::{Effect, Input, Params, Remembered, Speaker};
use catbird::stats::Notice;
use catbird::wire::{Batch, Context};
use ipnet::{IpNet, Ipv4Net};

use super::Lab;
use super::net::{End, Happening};
use super::script::Script;

/// From the wish for tunnels until they stand.
const TUNNELS_TAKE: Duration = Duration::from_millis(100);

/// What the keeper of tunnels says: the device is up and carries packets to these. In the lab nothing goes through it.
pub(super) fn tunnel_events(to: &[IpAddr]) -> Vec<KernelEvent> {
    let ifindex = IfIndex(9);
    let device = KernelEvent::Link { ifindex, name: "tunnel".to_owned(), up: true };
    std::iter::once(device).chain(to.iter().map(|node| KernelEvent::Tunnel { node: *node, gateway: gateway(*node), ifindex })).collect()
}

/// What a node is.
pub(super) enum Body {
    /// A router that is not running.
    Off(Box<Params>),
    Router(Box<Speaker>),
    Script(Box<Script>),
}

/// One machine.
pub(super) struct Node {
    pub name: String,
    pub asn: u32,
    pub addr: Ipv4Addr,
    pub body: Body,
    pub params: Option<Params>,
    pub listening: bool,
    pub stalled: bool,
    pub plugged: bool,
    pub stopped: bool,
    /// How many lives it had.
    pub life: u32,
    pub accepted: u64,
    pub dialling: BTreeSet<ConnId>,
    pub conns: BTreeMap<ConnId, Driver>,
    /// Octets that the kernel took, to be told to the router.
    pub taken: Vec<(ConnId, usize)>,
    pub armed: Option<Instant>,
    pub answer: Option<Answer>,
    /// Routes of ours in the kernel, by prefix and metric.
    pub kernel: BTreeMap<(IpNet, u32), FibRoute>,
    pub removals: u64,
    /// From the first BFD session on that is wanted.
    pub bfd: Option<Box<Bfd>>,
    /// What it wrote down, for its next life.
    pub remembered: Option<Remembered>,
    /// Written in this round, to be acknowledged together.
    pub written: Vec<u64>,
    pub notices: Vec<(Instant, Notice)>,
    /// What whoever has the sockets of monitoring stations was asked for.
    pub stations: Vec<bmp::Order>,
}

impl Node {
    pub fn new(name: &str, asn: u32, addr: Ipv4Addr, body: Body) -> Node {
        Node {
            name: name.to_owned(),
            asn,
            addr,
            listening: matches!(body, Body::Script(_)),
            body,
            params: None,
            stalled: false,
            plugged: true,
            stopped: false,
            life: 0,
            accepted: 0,
            dialling: BTreeSet::new(),
            conns: BTreeMap::new(),
            taken: Vec::new(),
            armed: None,
            answer: None,
            kernel: BTreeMap::new(),
            removals: 0,
            bfd: None,
            remembered: None,
            written: Vec::new(),
            notices: Vec::new(),
            stations: Vec::new(),
        }
    }

    /// SYNs to it get no answer at all.
    pub fn is_off_the_net(&self) -> bool {
        !self.plugged
    }

    pub fn open(&mut self, conn: ConnId) {
        self.conns.insert(conn, Driver::default());
    }

    /// The key with which segments from `addr` must be signed.
    pub fn md5_for(&self, addr: Ipv4Addr) -> Option<Vec<u8>> {
        match &self.body {
            Body::Script(script) => script.md5.clone(),
            Body::Off(params) => key(params, addr),
            Body::Router(speaker) => key(speaker.params(), addr),
        }
    }

    /// What the monitor says after its start: one link, one address, and the routes that stand.
    pub fn kernel_dump(&self) -> Vec<KernelEvent> {
        let eth0 = IfIndex(2);
        let net = |addr, len| IpNet::V4(Ipv4Net::new(addr, len).expect("a length of at most 32"));
        let route =
            |net, protocol, metric, kind, source| KernelEvent::Route(KernelRoute { net, table: 254, metric, protocol, kind, source });
        let connected =
            RouteKind::Unicast([Hop { gateway: None, ifindex: eth0, onlink: false, weight: Weight::ONE }].into_iter().collect());
        let mut all = vec![
            KernelEvent::DumpStart,
            KernelEvent::Link { ifindex: eth0, name: "eth0".to_owned(), up: true },
            KernelEvent::Address { ifindex: eth0, net: net(self.addr, 16) },
            route(net(self.addr, 16).trunc(), 2, 0, connected, Some(IpAddr::V4(self.addr))),
        ];
        let protocol = self.params.as_ref().map_or(186, |p| p.fib.protocol);
        for ((net, metric), r) in &self.kernel {
            let kind = match &r.kind {
                FibKind::Blackhole => RouteKind::Blackhole,
                FibKind::Unicast(hops) => RouteKind::Unicast(hops.clone()),
            };
            all.push(route(*net, protocol, *metric, kind, r.source));
        }
        all.push(KernelEvent::DumpEnd);
        all
    }

    fn install(&mut self, change: &FibChange) {
        let route = change.route();
        let key = (route.net, route.metric);
        match change {
            FibChange::Add(r) | FibChange::Replace(r) => {
                self.kernel.insert(key, r.clone());
            }
            FibChange::Remove(_) => {
                self.kernel.remove(&key);
                self.removals += 1;
            }
        }
    }
}

fn key(params: &Params, addr: Ipv4Addr) -> Option<Vec<u8>> {
    let peer = params.peers.iter().find(|p| p.session.remote.addr == IpAddr::V4(addr));
    peer.and_then(|p| p.session.md5.as_ref()).map(|k| k.expose().to_vec())
}

/// A scripted peer reads all that is there; what it read may change how it reads on.
fn converse(script: &mut Script, reader: &mut Driver, conn: ConnId) -> Vec<u8> {
    let mut answers = Vec::new();
    loop {
        reader.set_context(script.reads());
        let Some(Batch { messages, error, .. }) = reader.next_batch() else { return answers };
        assert!(error.is_none(), "a router sent what nobody can read: {error:?}");
        messages.into_iter().for_each(|message| answers.extend(script.on_message(conn, message)));
    }
}

impl Lab {
    /// Hands an input to a router; [`Lab::cycle`] does the rest.
    pub(super) fn tell(&mut self, n: usize, input: Input) {
        let now = self.now;
        if let Body::Router(speaker) = &mut self.nodes[n].body {
            speaker.handle(now, input);
        }
    }

    /// What the shell does in one round: settle until there is no more to do, perform the effects, sleep until the next deadline.
    pub(super) fn cycle(&mut self, n: usize) {
        let now = self.now;
        for (conn, written) in std::mem::take(&mut self.nodes[n].taken) {
            self.tell(n, Input::Writable { conn, written });
        }
        self.run_bfd(n);
        let size = self.nodes[n].kernel.len() as u64;
        let Body::Router(speaker) = &mut self.nodes[n].body else { return };
        let mut rounds = 0;
        while speaker.settle(now) {
            rounds += 1;
            assert!(rounds < 100_000, "settle does not end");
        }
        let mut effects = Vec::new();
        while let Some(effect) = speaker.poll() {
            effects.push(effect);
        }
        // What an audit costs grows with the tables; its share of a story shall not.
        if self.steps.is_multiple_of(self.audit_every * (1 + size / 64)) {
            speaker.check_invariants();
        }
        for effect in effects {
            self.perform(n, effect);
        }
        self.run_bfd(n);
        let seqs = std::mem::take(&mut self.nodes[n].written);
        if !seqs.is_empty() {
            let (at, life) = (now + Duration::from_micros(50), self.nodes[n].life);
            self.schedule(at, Happening::Fib { node: n, seqs, life });
        }
        self.arm(n);
    }

    fn arm(&mut self, n: usize) {
        let Body::Router(speaker) = &self.nodes[n].body else { return };
        let at = if speaker.wants_settle() { Some(self.now) } else { speaker.next_deadline().map(|at| at.max(self.now)) };
        let bfd = self.nodes[n].bfd.as_ref().and_then(|bfd| bfd.next_deadline()).map(|at| at.max(self.now));
        let Some(at) = at.into_iter().chain(bfd).min() else { return };
        if self.nodes[n].armed.is_none_or(|armed| at < armed) {
            self.nodes[n].armed = Some(at);
            self.schedule(at, Happening::Wake { node: n });
        }
    }

    pub(super) fn arm_now(&mut self, n: usize) {
        if matches!(self.nodes[n].body, Body::Router(_)) && self.nodes[n].armed != Some(self.now) {
            self.nodes[n].armed = Some(self.now);
            self.schedule(self.now, Happening::Wake { node: n });
        }
    }

    fn perform(&mut self, n: usize, effect: Effect) {
        match effect {
            Effect::Dial { conn, transport } => {
                let IpAddr::V4(addr) = transport.remote.ip() else { return };
                let to = self.nodes.iter().position(|node| node.addr == addr);
                let md5 = transport.md5.map(|k| k.expose().to_vec());
                if let Some(to) = to {
                    self.dial(n, conn, to, md5);
                }
            }
            Effect::Context { conn, context } => self.on_context((n, conn), context),
            Effect::Send { conn, frames } => frames.iter().for_each(|octets| self.write((n, conn), octets)),
            Effect::Close { conn } => self.close((n, conn)),
            Effect::Fib { seq, change } => {
                self.nodes[n].install(&change);
                self.nodes[n].written.push(seq);
            }
            Effect::Overlay(wanted) => {
                let to = wanted.devices.into_iter().flat_map(|device| device.nodes.into_iter().chain([device.local])).collect();
                let (at, life) = (self.now + TUNNELS_TAKE, self.nodes[n].life);
                self.schedule(at, Happening::Tunnels { node: n, to, life });
            }
            Effect::Bfd { peer, session } => {
                let now = self.now;
                match session {
                    Some(session) => self.bfd(n).want(peer, session, now),
                    None => self.bfd(n).unwant(peer, now),
                }
            }
            Effect::EndBfd => {
                let now = self.now;
                self.bfd(n).end_all(now);
            }
            Effect::Bmp(order) => self.nodes[n].stations.push(order),
            Effect::Neighbour { .. } | Effect::Rpki(_) => {}
            // The lab's kernels have no other routes than were told.
            Effect::ReadKernel => {}
            Effect::Remember(known) => self.nodes[n].remembered = Some(*known),
            Effect::Answer { answer, .. } => self.nodes[n].answer = Some(answer),
            Effect::Notice(notice) => {
                let _printed = notice.to_string();
                let now = self.now;
                self.nodes[n].notices.push((now, notice));
            }
            Effect::Stopped => self.nodes[n].stopped = true,
        }
    }

    fn on_context(&mut self, end: End, context: Context) {
        if let Some(reader) = self.nodes[end.0].conns.get_mut(&end.1) {
            reader.set_context(context);
            self.take_in(end, &[]);
        }
    }

    /// Octets for the program of a node.
    pub(super) fn take_in(&mut self, end: End, octets: &[u8]) {
        let Node { body, conns, .. } = &mut self.nodes[end.0];
        let Some(reader) = conns.get_mut(&end.1) else { return };
        reader.push(octets);
        match body {
            Body::Router(_) => {
                while let Some(batch) = self.nodes[end.0].conns.get_mut(&end.1).and_then(Driver::next_batch) {
                    self.tell(end.0, Input::Received { conn: end.1, batch });
                    self.cycle(end.0);
                }
            }
            Body::Script(script) => {
                let answers = converse(script, reader, end.1);
                let beat = script.wants_beat();
                self.write(end, &answers);
                if let Some(every) = beat {
                    self.schedule(self.now + every, Happening::Beat { end });
                }
            }
            Body::Off(_) => {}
        }
    }

    pub(super) fn on_beat(&mut self, end: End) {
        if !self.nodes[end.0].conns.contains_key(&end.1) {
            return;
        }
        let Body::Script(script) = &mut self.nodes[end.0].body else { return };
        let (octets, every) = script.beat();
        self.write(end, &octets);
        self.schedule(self.now + every, Happening::Beat { end });
    }

    /// What was asked for monitoring stations since the last time.
    pub fn station_orders(&mut self, name: &str) -> Vec<bmp::Order> {
        let n = self.names[name];
        std::mem::take(&mut self.nodes[n].stations)
    }

    /// What a router had to say of itself since the story began.
    pub fn notices(&self, name: &str) -> Vec<String> {
        let node = &self.nodes[self.names[name]];
        node.notices.iter().map(|(at, n)| format!("{:.3} {n}", at.as_nanos() as f64 / 1e9)).collect()
    }
}
