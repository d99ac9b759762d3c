//! Two peers, no speaker: sessions must come up whatever the order in which connections, OPENs and closes arrive (RFC 4271 §6.8, §8).
//!
//! A small network with a latency of its own for each message, FIFO within a direction of a connection; everything from one seed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use catbird::num::Rng;
use catbird::num::{Asn, ConnId, Instant, PeerId, RouterId};
use catbird::peer::{Action, ConnIds, DialError, Direction, Event, Params, Peer, RemoteAs, State, StopKind};
use catbird::wire::{Context, Decoder, Message};

/// One end of a connection: which host, and its number there.
type End = (usize, ConnId);

enum Happening {
    Connect { from: End },
    Connected { end: End },
    Refused { end: End },
    Octets { end: End, octets: Bytes },
    Closed { end: End },
    Deadline { host: usize },
}

struct Host {
    peer: Peer,
    conns: ConnIds,
    accepted: u64,
    /// What was told to the peer and is not yet closed.
    open: BTreeSet<ConnId>,
    up: bool,
    sessions: u32,
    listening: bool,
}

struct Net {
    now: Instant,
    rng: Rng,
    hosts: [Host; 2],
    queue: BinaryHeap<Reverse<(Instant, u64)>>,
    happenings: BTreeMap<u64, Happening>,
    serial: u64,
    /// The other end, while both stand.
    joined: BTreeMap<End, End>,
    /// When the last thing arrives in this direction.
    last: BTreeMap<End, Instant>,
    latency_ms: u64,
    steps: u64,
}

impl Net {
    fn new(seed: u64, latency_ms: u64, change: impl Fn(usize, &mut Params)) -> Net {
        let mut rng = Rng::new(seed);
        let hosts = [0, 1].map(|n| {
            let ip = |n: usize| Ipv4Addr::new(192, 0, 2, 1 + n as u8);
            let id = RouterId::new(ip(n)).unwrap();
            let mut params = Params::new("peer", ip(1 - n).into(), Asn(64512), RemoteAs::Internal, id);
            change(n, &mut params);
            let peer = Peer::new(PeerId(1), Arc::new(params), rng.next_u64());
            Host { peer, conns: ConnIds::default(), accepted: 0, open: BTreeSet::new(), up: false, sessions: 0, listening: true }
        });
        Net {
            now: Instant::ZERO,
            rng,
            hosts,
            queue: BinaryHeap::new(),
            happenings: BTreeMap::new(),
            serial: 0,
            joined: BTreeMap::new(),
            last: BTreeMap::new(),
            latency_ms,
            steps: 0,
        }
    }

    fn at(&mut self, at: Instant, what: Happening) {
        self.serial += 1;
        self.queue.push(Reverse((at, self.serial)));
        self.happenings.insert(self.serial, what);
    }

    fn later(&mut self) -> Instant {
        self.now + Duration::from_micros(self.rng.next_u64() % (self.latency_ms * 1000 + 1))
    }

    /// Towards `end`, behind everything that is already on the way to it.
    fn towards(&mut self, end: End, what: Happening) {
        let at = self.later().max(self.last.get(&end).copied().unwrap_or_default());
        self.last.insert(end, at);
        self.at(at, what);
    }

    fn tell(&mut self, host: usize, event: Event) {
        let h = &mut self.hosts[host];
        h.peer.handle(self.now, event, &mut h.conns);
        self.act(host);
    }

    fn act(&mut self, host: usize) {
        while let Some(action) = self.hosts[host].peer.poll() {
            match action {
                Action::Dial { conn, .. } => {
                    self.hosts[host].open.insert(conn);
                    let at = self.later();
                    self.at(at, Happening::Connect { from: (host, conn) });
                }
                Action::Send { conn, octets } => {
                    assert!(self.hosts[host].open.contains(&conn), "octets for a connection that is closed");
                    if let Some(other) = self.joined.get(&(host, conn)).copied() {
                        self.towards(other, Happening::Octets { end: other, octets });
                    }
                }
                Action::Close { conn } => {
                    self.hosts[host].open.remove(&conn);
                    if let Some(other) = self.joined.remove(&(host, conn)) {
                        self.towards(other, Happening::Closed { end: other });
                    }
                }
                Action::Established(_) => {
                    assert!(!self.hosts[host].up, "a second session before the first went down");
                    self.hosts[host].up = true;
                    self.hosts[host].sessions += 1;
                }
                Action::Down(_) => {
                    assert!(self.hosts[host].up, "down without a session");
                    self.hosts[host].up = false;
                }
                Action::Context { .. } | Action::SweepStale(_) | Action::LongLived(_) | Action::Refresh { .. } | Action::Notice(_) => {}
            }
        }
        let peer = &self.hosts[host].peer;
        assert_eq!(self.hosts[host].up, peer.state() == State::Established);
        if let Some(at) = peer.next_deadline() {
            self.at(at.max(self.now), Happening::Deadline { host });
        }
    }

    fn step(&mut self) {
        let Some(Reverse((at, serial))) = self.queue.pop() else { return };
        let what = self.happenings.remove(&serial).unwrap();
        self.now = at;
        self.steps += 1;
        let addr = |host: usize, port| SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1 + host as u8), port));
        match what {
            Happening::Connect { from } => {
                let other = 1 - from.0;
                if !self.hosts[from.0].open.contains(&from.1) {
                    return;
                }
                if !self.hosts[other].listening {
                    let at = self.later();
                    return self.at(at, Happening::Refused { end: from });
                }
                self.hosts[other].accepted += 1;
                let to = (other, ConnId(ConnId::FIRST_ACCEPTED + self.hosts[other].accepted));
                self.joined.insert(from, to);
                self.joined.insert(to, from);
                self.hosts[other].open.insert(to.1);
                self.towards(from, Happening::Connected { end: from });
                let (local, remote) = (addr(other, 179), addr(from.0, 40000));
                self.tell(other, Event::Connected { conn: to.1, local, remote, direction: Direction::Accepted });
            }
            Happening::Connected { end: (host, conn) } => {
                let (local, remote) = (addr(host, 40000), addr(1 - host, 179));
                self.tell(host, Event::Connected { conn, local, remote, direction: Direction::Dialled });
            }
            Happening::Refused { end: (host, conn) } => {
                self.hosts[host].open.remove(&conn);
                self.tell(host, Event::DialFailed { conn, error: DialError::Refused });
            }
            Happening::Octets { end: (host, conn), octets } => {
                if self.hosts[host].open.contains(&conn) {
                    let message = decode(octets);
                    self.tell(host, Event::Message { conn, message });
                }
            }
            Happening::Closed { end } => {
                self.joined.remove(&end);
                self.hosts[end.0].open.remove(&end.1);
                self.tell(end.0, Event::Closed { conn: end.1, error: None });
            }
            Happening::Deadline { host } => {
                let h = &mut self.hosts[host];
                if h.peer.next_deadline().is_some_and(|at| at <= self.now) {
                    h.peer.on_deadline(self.now, self.now, &mut h.conns);
                    self.act(host);
                }
            }
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.queue.peek().is_some_and(|Reverse((at, _))| *at <= end) {
            self.step();
        }
        self.now = end;
    }

    /// A connection dies without a word: both sides think it stands.
    fn cut(&mut self) {
        let ends: Vec<End> = self.joined.keys().copied().collect();
        if ends.is_empty() {
            return;
        }
        let end = ends[self.rng.next_u64() as usize % ends.len()];
        let other = self.joined.remove(&end).unwrap();
        self.joined.remove(&other);
    }

    fn assert_one_session(&self, seed: u64) {
        let of = |n: usize| {
            self.hosts[n].peer.session().unwrap_or_else(|| panic!("seed {seed}: no session: {:?}", self.hosts[n].peer.why_down()))
        };
        let (a, b) = (of(0), of(1));
        assert_eq!(self.joined.get(&(0, a.conn)), Some(&(1, b.conn)), "seed {seed}: two halves of different connections");
        for (n, host) in self.hosts.iter().enumerate() {
            assert_eq!(host.open.len(), 1, "seed {seed}: host {n} holds {:?}", host.open);
        }
    }
}

fn decode(octets: Bytes) -> Message {
    let mut decoder = Decoder::new();
    decoder.set_context(Context::INITIAL);
    decoder.decode(octets).expect("peers understand each other")
}

#[test]
fn peers_that_dial_each_other_at_once_end_up_with_one_session() {
    let mut bounced = 0;
    for seed in 0..2000 {
        let mut net = Net::new(seed, 1 + seed % 50, |_, _| ());
        net.tell(0, Event::Start);
        let wait = Duration::from_micros(net.rng.next_u64() % 60_000);
        net.run(wait);
        net.tell(1, Event::Start);
        net.run(Duration::from_secs(30));
        net.assert_one_session(seed);
        bounced += u64::from(net.hosts[0].sessions > 1);
        assert!(net.hosts[0].sessions <= 2, "seed {seed}: {} sessions to get one", net.hosts[0].sessions);
    }
    assert!(bounced < 20, "{bounced} of 2,000 collisions cost a session");
}

#[test]
fn connections_that_die_silently_are_replaced() {
    for seed in 0..300 {
        let mut net = Net::new(seed, 20, |_, _| ());
        net.tell(0, Event::Start);
        net.tell(1, Event::Start);
        for _ in 0..8 {
            let wait = Duration::from_millis(net.rng.next_u64() % 40_000);
            net.run(wait);
            net.cut();
        }
        net.run(Duration::from_secs(400));
        net.assert_one_session(seed);
    }
}

#[test]
fn lock_step_resets_of_both_sides_end_in_one_session() {
    for seed in 0..300 {
        let mut net = Net::new(seed, 5, |_, _| ());
        net.tell(0, Event::Start);
        net.tell(1, Event::Start);
        for _ in 0..10 {
            let wait = Duration::from_millis(net.rng.next_u64() % 3000);
            net.run(wait);
            for host in [0, 1] {
                net.tell(host, Event::Stop { kind: StopKind::Reset, text: None });
            }
        }
        net.run(Duration::from_secs(60));
        net.assert_one_session(seed);
    }
}

#[test]
fn a_side_that_cannot_be_reached_still_reaches_the_other() {
    for seed in 0..50 {
        let mut net = Net::new(seed, 20, |_, _| ());
        net.hosts[1].listening = false;
        net.tell(0, Event::Start);
        net.run(Duration::from_secs(100));
        assert_eq!(net.hosts[0].sessions, 0);
        net.tell(1, Event::Start);
        net.run(Duration::from_secs(20));
        net.assert_one_session(seed);
    }
}

#[test]
fn peers_that_reject_each_other_do_not_spin() {
    let mut net = Net::new(7, 1, |n, p| p.remote_as = RemoteAs::Exactly(Asn(64600 + n as u32)));
    net.tell(0, Event::Start);
    net.tell(1, Event::Start);
    net.run(Duration::from_secs(600));
    let dialled: u64 = net.hosts.iter().map(|h| h.peer.counters().dialled).sum();
    assert!((15..80).contains(&dialled), "{dialled} attempts in ten minutes");
    assert!(net.steps < 5000, "{} steps", net.steps);
}

#[test]
fn the_same_seed_runs_the_same_way() {
    let run = |seed| {
        let mut net = Net::new(seed, 30, |_, _| ());
        net.tell(0, Event::Start);
        net.tell(1, Event::Start);
        for _ in 0..5 {
            net.run(Duration::from_secs(7));
            net.cut();
        }
        net.run(Duration::from_secs(300));
        net.hosts.iter().map(|h| format!("{:?}", h.peer.events().iter().collect::<Vec<_>>())).collect::<String>()
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}
