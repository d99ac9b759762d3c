//! Connections: octets arrive in order after a random latency; a window holds back what the other side does not read.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use catbird::num::{ConnId, Instant};
use catbird::peer::{DialError, Direction};
use catbird::speaker::Input;

use super::Lab;
use super::node::{Body, tunnel_events};

/// Octets that may be on the way, or unread at the other end, before the sender's kernel takes no more.
pub const WINDOW: usize = 64 * 1024;

/// One end of a connection.
pub(super) type End = (usize, ConnId);

/// What arrives somewhere.
pub(super) enum Happening {
    /// A SYN; `life` is the dialler's, so that a restart forgets it.
    Arrive {
        from: End,
        to: usize,
        life: u32,
        md5: Option<Vec<u8>>,
    },
    Connected {
        end: End,
        life: u32,
    },
    Refused {
        end: End,
        life: u32,
    },
    Octets {
        end: End,
        octets: Bytes,
    },
    /// The node looks at what its kernel has for it.
    Read {
        end: End,
    },
    Ack {
        end: End,
        octets: usize,
    },
    Closed {
        end: End,
        error: Option<String>,
    },
    Wake {
        node: usize,
    },
    Fib {
        node: usize,
        seqs: Vec<u64>,
        life: u32,
    },
    /// The keeper of tunnels has made what was wanted.
    Tunnels {
        node: usize,
        to: Vec<IpAddr>,
        life: u32,
    },
    Beat {
        end: End,
    },
    /// Of BFD.
    Datagram {
        from: usize,
        to: usize,
        path: catbird::bfd::Path,
        octets: Vec<u8>,
    },
}

/// One direction seen from its sending end.
#[derive(Default)]
struct Pipe {
    other: Option<End>,
    /// Not yet taken by the kernel.
    outbox: VecDeque<Bytes>,
    /// Taken, and not read at the other end.
    unacked: usize,
    /// Octets that came for this end and were not read.
    inbox: VecDeque<Bytes>,
    /// When the last thing arrives at this end.
    last: Instant,
    /// Close after the outbox.
    closing: bool,
    /// Nothing of it arrives any more.
    frozen: bool,
    /// What waits for a partition to heal.
    held: VecDeque<Happening>,
}

#[derive(Default)]
pub(super) struct Pipes(BTreeMap<End, Pipe>);

impl Pipes {
    fn join(&mut self, a: End, b: End) {
        self.0.insert(a, Pipe { other: Some(b), ..Pipe::default() });
        self.0.insert(b, Pipe { other: Some(a), ..Pipe::default() });
    }

    pub fn drop_end(&mut self, end: End) -> Option<End> {
        self.0.remove(&end)?.other
    }

    /// The other end is gone without a word; what is sent here gets nowhere.
    pub fn orphan(&mut self, end: End) {
        if let Some(pipe) = self.0.get_mut(&end) {
            pipe.frozen = true;
        }
    }

    pub fn freeze(&mut self, end: End) {
        self.orphan(end);
    }

    pub fn ends_of(&self, node: usize) -> Vec<End> {
        self.0.keys().filter(|(n, _)| *n == node).copied().collect()
    }

    fn other(&self, end: End) -> Option<End> {
        self.0.get(&end)?.other
    }
}

impl Lab {
    pub(super) fn schedule(&mut self, at: Instant, what: Happening) {
        self.serial += 1;
        self.queue.push(Reverse((at, self.serial)));
        self.happenings.insert(self.serial, what);
    }

    fn latency_now(&mut self) -> Duration {
        let (least, most) = self.latency;
        let room = most.saturating_sub(least).as_micros() as u64;
        least + Duration::from_micros(self.rng.next_u64() % (room + 1))
    }

    pub(super) fn later(&mut self) -> Instant {
        let wait = self.latency_now();
        self.now + wait
    }

    /// Towards `end`, behind all that is on the way to it.
    fn towards(&mut self, end: End, what: Happening) {
        let at = self.later();
        let Some(pipe) = self.pipes.0.get_mut(&end) else { return self.schedule(at, what) };
        let at = at.max(pipe.last);
        pipe.last = at;
        self.schedule(at, what);
    }

    pub(super) fn is_parted(&self, a: usize, b: usize) -> bool {
        self.parted.contains(&(a.min(b), a.max(b)))
    }

    pub(super) fn ends_between(&self, (a, b): (usize, usize)) -> Vec<(End, End)> {
        let between = |(end, pipe): (&End, &Pipe)| Some((*end, pipe.other?)).filter(|(e, o)| e.0 == a && o.0 == b);
        self.pipes.0.iter().filter_map(between).collect()
    }

    /// One event.
    pub(super) fn step(&mut self) {
        let Some(Reverse((at, serial))) = self.queue.pop() else { return };
        let Some(what) = self.happenings.remove(&serial) else { return };
        self.now = at;
        self.steps += 1;
        self.happen(what);
    }

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::Arrive { from, to, life, md5 } => self.on_syn(from, to, life, md5),
            Happening::Connected { end, life } => self.on_connected(end, life),
            Happening::Refused { end, life } => {
                if self.nodes[end.0].life == life {
                    self.tell(end.0, Input::DialFailed { conn: end.1, error: DialError::Refused });
                    self.cycle(end.0);
                }
            }
            Happening::Octets { .. } | Happening::Closed { .. } => self.on_arrival(what),
            Happening::Read { end } => self.read(end),
            Happening::Ack { end, octets } => {
                if let Some(pipe) = self.pipes.0.get_mut(&end) {
                    pipe.unacked = pipe.unacked.saturating_sub(octets);
                    self.flush(end);
                }
            }
            Happening::Wake { node } => {
                // One that was set for another moment has been overtaken.
                if self.nodes[node].armed.take_if(|at| *at <= self.now).is_some() && !self.nodes[node].stalled {
                    self.cycle(node);
                }
            }
            Happening::Fib { node, seqs, life } => {
                if self.nodes[node].life == life {
                    seqs.into_iter().for_each(|seq| self.tell(node, Input::FibDone { seq, result: Ok(()) }));
                    self.cycle(node);
                }
            }
            Happening::Tunnels { node, to, life } => {
                if self.nodes[node].life == life {
                    tunnel_events(&to).into_iter().for_each(|event| self.tell(node, Input::Kernel(event)));
                    self.cycle(node);
                }
            }
            Happening::Beat { end } => self.on_beat(end),
            Happening::Datagram { from, to, path, octets } => self.on_datagram((from, to), path, &octets),
        }
    }

    /// A node dials.
    pub(super) fn dial(&mut self, n: usize, conn: ConnId, to: usize, md5: Option<Vec<u8>>) {
        let (at, life) = (self.later(), self.nodes[n].life);
        self.nodes[n].dialling.insert(conn);
        *self.dials.entry(n).or_default() += 1;
        self.schedule(at, Happening::Arrive { from: (n, conn), to, life, md5 });
    }

    fn on_syn(&mut self, from: End, to: usize, life: u32, md5: Option<Vec<u8>>) {
        let gone = self.nodes[from.0].life != life || !self.nodes[from.0].dialling.contains(&from.1);
        if gone || self.is_parted(from.0, to) || self.nodes[to].is_off_the_net() {
            return;
        }
        if self.nodes[to].md5_for(self.nodes[from.0].addr) != md5 {
            return;
        }
        if !self.nodes[to].listening {
            let at = self.later();
            return self.schedule(at, Happening::Refused { end: from, life });
        }
        self.nodes[to].accepted += 1;
        let end = (to, ConnId(ConnId::FIRST_ACCEPTED + self.nodes[to].accepted));
        self.pipes.join(from, end);
        self.towards(from, Happening::Connected { end: from, life });
        self.introduce(end, from.0, Direction::Accepted);
    }

    fn on_connected(&mut self, end: End, life: u32) {
        if self.nodes[end.0].life != life || !self.nodes[end.0].dialling.remove(&end.1) {
            return;
        }
        if let Some(other) = self.pipes.other(end) {
            self.introduce(end, other.0, Direction::Dialled);
        }
    }

    /// Tells a node of its new connection.
    fn introduce(&mut self, end: End, with: usize, direction: Direction) {
        let (mine, theirs) = (self.nodes[end.0].addr, self.nodes[with].addr);
        let (local, remote) = match direction {
            Direction::Dialled => (SocketAddr::from((mine, 40_000)), SocketAddr::from((theirs, 179))),
            Direction::Accepted => (SocketAddr::from((mine, 179)), SocketAddr::from((theirs, 40_000))),
        };
        self.nodes[end.0].open(end.1);
        match &mut self.nodes[end.0].body {
            Body::Router(_) => {
                self.tell(end.0, Input::Connected { conn: end.1, local, remote, direction });
                self.cycle(end.0);
            }
            Body::Script(script) => {
                let words = script.on_connected(end.1);
                self.write(end, &words);
            }
            Body::Off(_) => {}
        }
    }

    /// Octets into a connection's send buffer.
    pub(super) fn write(&mut self, end: End, octets: &[u8]) {
        if octets.is_empty() {
            return;
        }
        self.record(end, octets);
        if let Some(pipe) = self.pipes.0.get_mut(&end) {
            pipe.outbox.push_back(Bytes::copy_from_slice(octets));
            self.flush(end);
        }
    }

    fn record(&mut self, end: End, octets: &[u8]) {
        self.journal.extend_from_slice(&self.now.as_nanos().to_be_bytes());
        self.journal.extend_from_slice(&(end.0 as u32).to_be_bytes());
        self.journal.extend_from_slice(&end.1.0.to_be_bytes());
        self.journal.extend_from_slice(octets);
    }

    /// Moves what the window allows onto the wire.
    fn flush(&mut self, end: End) {
        let mut taken = 0;
        while let Some(pipe) = self.pipes.0.get_mut(&end) {
            let Some(other) = pipe.other else { break };
            let room = WINDOW.saturating_sub(pipe.unacked);
            if room == 0 {
                break;
            }
            let Some(mut octets) = pipe.outbox.pop_front() else { break };
            if octets.len() > room {
                pipe.outbox.push_front(octets.split_off(room));
            }
            pipe.unacked += octets.len();
            taken += octets.len();
            if !pipe.frozen {
                self.towards(other, Happening::Octets { end: other, octets });
            }
        }
        if taken > 0 {
            self.nodes[end.0].taken.push((end.1, taken));
            self.arm_now(end.0);
        }
        let done = self.pipes.0.get(&end).is_some_and(|p| p.closing && p.outbox.is_empty());
        if done {
            self.hang_up(end, None);
        }
    }

    /// Closes behind what waits to be sent; after a while even if it cannot be sent.
    pub(super) fn close(&mut self, end: End) {
        self.nodes[end.0].dialling.remove(&end.1);
        self.nodes[end.0].conns.remove(&end.1);
        match self.pipes.0.get_mut(&end) {
            Some(pipe) if !pipe.outbox.is_empty() && !pipe.frozen => pipe.closing = true,
            _ => self.hang_up(end, None),
        }
    }

    /// The end of a connection, told to the other side unless it is frozen.
    pub(super) fn hang_up(&mut self, end: End, error: Option<&str>) {
        let frozen = self.pipes.0.get(&end).is_some_and(|p| p.frozen);
        if let Some(other) = self.pipes.drop_end(end)
            && !frozen
        {
            self.towards(other, Happening::Closed { end: other, error: error.map(str::to_owned) });
        }
    }

    fn on_arrival(&mut self, what: Happening) {
        let end = match &what {
            Happening::Octets { end, .. } | Happening::Closed { end, .. } => *end,
            _ => return,
        };
        let Some(pipe) = self.pipes.0.get(&end) else {
            // Closed by hand: both ends are told, and neither has a pipe any more.
            if let Happening::Closed { error, .. } = what {
                self.tell_closed(end, error);
            }
            return;
        };
        let from = pipe.other.map_or(end.0, |o| o.0);
        if pipe.frozen {
            return;
        }
        if self.is_parted(from, end.0) || !pipe.held.is_empty() {
            if let Some(pipe) = self.pipes.0.get_mut(&end) {
                pipe.held.push_back(what);
            }
            return;
        }
        match what {
            Happening::Octets { octets, .. } => {
                if let Some(pipe) = self.pipes.0.get_mut(&end) {
                    pipe.inbox.push_back(octets);
                }
                self.read(end);
            }
            Happening::Closed { error, .. } => {
                self.pipes.drop_end(end);
                self.tell_closed(end, error);
            }
            _ => {}
        }
    }

    fn tell_closed(&mut self, end: End, error: Option<String>) {
        self.nodes[end.0].conns.remove(&end.1);
        match &mut self.nodes[end.0].body {
            Body::Router(_) => {
                self.tell(end.0, Input::Closed { conn: end.1, error });
                self.cycle(end.0);
            }
            Body::Script(script) => script.on_closed(end.1),
            Body::Off(_) => {}
        }
    }

    /// A partition healed: what waited arrives in its order.
    pub(super) fn release_held(&mut self) {
        let ends: Vec<End> = self.pipes.0.keys().copied().collect();
        for end in ends {
            let Some(pipe) = self.pipes.0.get_mut(&end) else { continue };
            let Some(other) = pipe.other else { continue };
            let held = std::mem::take(&mut pipe.held);
            if self.is_parted(other.0, end.0) {
                if let Some(pipe) = self.pipes.0.get_mut(&end) {
                    pipe.held = held;
                }
                continue;
            }
            for what in held {
                self.towards(end, what);
            }
        }
    }

    /// The program reads all that its kernel holds, unless it stands still; then the sender may go on.
    fn read(&mut self, end: End) {
        if self.nodes[end.0].stalled {
            return;
        }
        let mut all = Vec::new();
        while let Some(octets) = self.pipes.0.get_mut(&end).and_then(|p| p.inbox.pop_front()) {
            all.extend_from_slice(&octets);
        }
        if all.is_empty() {
            return;
        }
        if let Some(other) = self.pipes.other(end) {
            let at = self.later();
            self.schedule(at, Happening::Ack { end: other, octets: all.len() });
        }
        self.take_in(end, &all);
    }
}
