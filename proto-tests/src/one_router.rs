//! One router whose every peer answers: for asking what a reload does to sessions and routes, thousands of times.
//!
//! In: parameters. Out: a [`Speaker`] in virtual time with a session for each peer that can have one, and a client in each listen range. What
//! is dialled answers, what is passive is connected to, each OPEN is answered by its mirror, and each peer announces two prefixes. The kernel
//! takes every route.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use catbird::api::{Answer, Question, RouteRow};
use catbird::kernel::{IfIndex, KernelEvent};
use catbird::num::{Asn, ConnId, Family, Instant, Role, RouterId};
use catbird::peer::{Direction, Remote, RemoteAs};
use catbird::speaker::reload_plan::Change;
use catbird::speaker::{Effect, Input, Params, PeerConfig, Speaker};
use catbird::wire::{Capability, Context, Decoder, Message};

/// One connection, as its other end knows it.
struct Conn {
    remote: Remote,
    context: Option<Context>,
    decoder: Decoder,
}

/// See the module.
pub struct OneRouter {
    speaker: Speaker,
    now: Instant,
    conns: BTreeMap<ConnId, Conn>,
    accepted: u64,
    /// Peers whose connection was closed since [`OneRouter::mark`].
    closed: BTreeSet<String>,
    /// Messages that are no KEEPALIVE, sent since then.
    sent: usize,
    /// Kernel changes since then.
    written: usize,
    answer: Option<Answer>,
}

impl OneRouter {
    /// Started, with all its sessions up.
    pub fn new(params: Params) -> OneRouter {
        let now = Instant::ZERO + Duration::from_secs(1);
        let speaker = Speaker::new(params, now, 7);
        let mut router =
            OneRouter { speaker, now, conns: BTreeMap::new(), accepted: 0, closed: BTreeSet::new(), sent: 0, written: 0, answer: None };
        router.kernel();
        router.run(Duration::from_millis(10));
        router.connect_the_passive();
        router.run(Duration::from_millis(2500));
        for conn in router.conns.keys().copied().collect::<Vec<_>>() {
            router.announce(conn);
        }
        router.run(Duration::from_millis(100));
        router
    }

    fn kernel(&mut self) {
        let net = |text: &str| text.parse().expect("a prefix");
        let eth0 = IfIndex(2);
        for event in [
            KernelEvent::DumpStart,
            KernelEvent::Link { ifindex: eth0, name: "eth0".to_owned(), up: true },
            KernelEvent::Address { ifindex: eth0, net: net("10.99.0.1/16") },
            KernelEvent::Address { ifindex: eth0, net: net("fd00:99::1/64") },
            KernelEvent::DumpEnd,
        ] {
            self.speaker.handle(self.now, Input::Kernel(event));
        }
    }

    /// Whoever waits is connected to; and somebody comes into each range.
    fn connect_the_passive(&mut self) {
        let params = self.speaker.params();
        let passive = params.peers.iter().filter(|p| p.session.passive && p.session.enabled).map(|p| p.session.remote.addr);
        let ranged = params.ranges.iter().filter_map(|r| r.net.hosts().nth(1));
        for addr in passive.chain(ranged).collect::<Vec<_>>() {
            self.accepted += 1;
            let conn = ConnId(1 << 40 | self.accepted);
            let (local, remote) = (ours(addr), SocketAddr::new(addr, 40_000));
            self.conns.insert(conn, Conn { remote: Remote { addr, zone: None }, context: None, decoder: Decoder::new() });
            self.speaker.handle(self.now, Input::Connected { conn, local, remote, direction: Direction::Accepted });
        }
    }

    /// Lets so much time pass.
    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            while self.speaker.settle(self.now) {}
            if self.perform() {
                continue;
            }
            match self.speaker.next_deadline() {
                Some(at) if at <= end => self.now = self.now.max(at),
                _ => break,
            }
        }
        self.now = end;
    }

    /// Performs what the router wants; false if that was nothing.
    fn perform(&mut self) -> bool {
        let mut any = false;
        while let Some(effect) = self.speaker.poll() {
            any = true;
            match effect {
                Effect::Dial { conn, transport } => {
                    let (remote, local) = (transport.remote, ours(transport.remote.ip()));
                    let zone = transport.interface.filter(|_| false);
                    self.conns.insert(conn, Conn { remote: Remote { addr: remote.ip(), zone }, context: None, decoder: Decoder::new() });
                    self.speaker.handle(self.now, Input::Connected { conn, local, remote, direction: Direction::Dialled });
                }
                Effect::Context { conn, context } => {
                    if let Some(c) = self.conns.get_mut(&conn) {
                        c.context = Some(context);
                    }
                    self.speaker.handle(self.now, Input::Received { conn, batch: vec![Message::KeepAlive].into() });
                }
                Effect::Send { conn, frames } => frames.into_iter().for_each(|frame| self.on_octets(conn, &frame)),
                Effect::Close { conn } => {
                    let up = self.conns.remove(&conn).filter(|c| c.context.is_some());
                    self.closed.extend(up.map(|c| c.remote.to_string()));
                }
                Effect::Fib { seq, .. } => {
                    self.written += 1;
                    self.speaker.handle(self.now, Input::FibDone { seq, result: Ok(()) });
                }
                Effect::Answer { answer, .. } => self.answer = Some(answer),
                Effect::Overlay(_)
                | Effect::Bfd { .. }
                | Effect::EndBfd
                | Effect::Neighbour { .. }
                | Effect::Bmp(_)
                | Effect::Rpki(_)
                | Effect::Remember(_)
                | Effect::ReadKernel
                | Effect::Notice(_)
                | Effect::Stopped => {}
            }
        }
        any
    }

    /// An OPEN is answered; the rest is counted.
    fn on_octets(&mut self, conn: ConnId, octets: &Bytes) {
        self.speaker.handle(self.now, Input::Writable { conn, written: octets.len() });
        let mut rest = octets.clone();
        while rest.len() >= 19 {
            let len = usize::from(u16::from_be_bytes([rest[16], rest[17]]));
            let message = rest.split_to(len);
            self.sent += usize::from(message[18] != 4);
            if message[18] == 1 {
                self.answer_open(conn, message);
            }
        }
    }

    fn answer_open(&mut self, conn: ConnId, octets: Bytes) {
        let Some(c) = self.conns.get_mut(&conn) else { return };
        let Ok(Message::Open(mut open)) = c.decoder.decode(octets) else { return };
        let Some(config) = config_of(self.speaker.params(), &c.remote) else { return };
        let asn = as_of(&config);
        open.asn = asn;
        open.router_id = RouterId::new(router_id_of(c.remote.addr).into()).expect("no peer is 0.0.0.0");
        for capability in &mut open.capabilities {
            match capability {
                Capability::FourOctetAs(theirs) => *theirs = asn,
                Capability::Role(code) => *code = Role::from_code(*code).map_or(*code, |role| role.counterpart().code()),
                _ => {}
            }
        }
        self.speaker.handle(self.now, Input::Received { conn, batch: vec![Message::Open(open)].into() });
    }

    /// Two prefixes of its own, if IPv4 was agreed.
    fn announce(&mut self, conn: ConnId) {
        let Some(Conn { remote: Remote { addr: IpAddr::V4(addr), .. }, context: Some(context), .. }) = self.conns.get(&conn) else {
            return;
        };
        if !context.families.contains(Family::Ipv4Unicast) {
            return;
        }
        let Some(config) = config_of(self.speaker.params(), &Remote { addr: IpAddr::V4(*addr), zone: None }) else { return };
        let [_, _, c, d] = addr.octets();
        let mut attrs = vec![0x40, 1, 1, 0, 0x40, 2];
        match context.external {
            true => attrs.extend_from_slice(&[6, 2, 1]),
            false => attrs.push(0),
        }
        if context.external {
            attrs.extend_from_slice(&as_of(&config).0.to_be_bytes());
        }
        attrs.extend_from_slice(&[0x40, 3, 4]);
        attrs.extend_from_slice(&addr.octets());
        if !context.external {
            attrs.extend_from_slice(&[0x40, 5, 4, 0, 0, 0, 100]);
        }
        let mut octets = vec![0xff; 16];
        let mut body = vec![0, 0];
        body.extend_from_slice(&(attrs.len() as u16).to_be_bytes());
        body.extend(attrs);
        for n in 0..2 {
            if context.add_path.contains(Family::Ipv4Unicast) {
                body.extend_from_slice(&[0, 0, 0, 1]);
            }
            body.extend_from_slice(&[24, 20 + n, c, d]);
        }
        octets.extend_from_slice(&(19 + body.len() as u16).to_be_bytes());
        octets.push(2);
        octets.extend(body);
        let mut decoder = Decoder::new();
        decoder.set_context(context.clone());
        let update = decoder.decode(octets.into()).expect("an UPDATE");
        self.speaker.handle(self.now, Input::Received { conn, batch: vec![update].into() });
    }

    /// What happens is counted from here on.
    pub fn mark(&mut self) {
        self.closed.clear();
        (self.sent, self.written) = (0, 0);
    }

    /// Messages that were no KEEPALIVE, and kernel changes, since [`OneRouter::mark`].
    pub fn spoken(&self) -> (usize, usize) {
        (self.sent, self.written)
    }

    /// Peers, by address, whose session was closed since [`OneRouter::mark`].
    pub fn flapped(&self) -> &BTreeSet<String> {
        &self.closed
    }

    /// Peers, by address, with a session.
    pub fn established(&mut self) -> BTreeSet<String> {
        let Answer::Peers(page) = self.ask(Question::Peers { cursor: 0 }) else { panic!("peers") };
        page.rows.into_iter().filter(|row| row.state == "Established").map(|row| row.address).collect()
    }

    /// What each peer announces and how that was judged.
    pub fn received(&mut self, peer: &str) -> Vec<RouteRow> {
        let (mut rows, mut cursor) = (Vec::new(), Some(0));
        while let Some(from) = cursor.take()
            && let Answer::Received(page) = self.ask(Question::Received { peer: peer.to_owned(), rejected: false, cursor: from })
        {
            rows.extend(page.rows);
            cursor = page.next;
        }
        rows
    }

    fn ask(&mut self, question: Question) -> Answer {
        self.speaker.handle(self.now, Input::Query { id: 0, question });
        self.run(Duration::ZERO);
        self.answer.take().expect("a question is answered")
    }

    /// Hands in one read of a peer, in as many calls as the router takes for it; `meanwhile` is called between two of them. How many messages were
    /// left after each call.
    pub fn take_in(&mut self, peer: IpAddr, messages: Vec<Message>, mut meanwhile: impl FnMut(&mut OneRouter)) -> Vec<usize> {
        let conn = *self.conns.iter().find(|(_, c)| c.remote.addr == peer).expect("it is connected").0;
        let (mut left, mut input) = (Vec::new(), Input::Received { conn, batch: messages.into() });
        while let Some(rest) = self.speaker.handle_some(self.now, input) {
            let Input::Received { batch, .. } = &rest else { panic!("the rest of a read is one, too") };
            left.push(batch.messages.len());
            meanwhile(self);
            input = rest;
        }
        left
    }

    /// Takes over other parameters; what the plan said.
    pub fn reload(&mut self, params: Params) -> Vec<Change> {
        self.plan_with(|params| Input::Reload { id: 0, params }, params)
    }

    /// What taking over these would change.
    pub fn plan(&mut self, params: Params) -> Vec<Change> {
        self.plan_with(|params| Input::Plan { id: 0, params }, params)
    }

    fn plan_with(&mut self, input: impl Fn(Box<Params>) -> Input, params: Params) -> Vec<Change> {
        self.speaker.handle(self.now, input(Box::new(params)));
        self.run(Duration::ZERO);
        match self.answer.take() {
            Some(Answer::Plan(changes)) => changes,
            other => panic!("a reload is answered with its plan: {other:?}"),
        }
    }
}

/// Our end of a connection with this address.
fn ours(remote: IpAddr) -> SocketAddr {
    let addr = if remote.is_ipv4() { "10.99.0.1" } else { "fd00:99::1" };
    SocketAddr::new(addr.parse().expect("an address"), 179)
}

fn router_id_of(addr: IpAddr) -> [u8; 4] {
    match addr {
        IpAddr::V4(addr) => addr.octets(),
        IpAddr::V6(addr) => [9, 9, 9, addr.octets()[15]],
    }
}

fn config_of(params: &Params, remote: &Remote) -> Option<PeerConfig> {
    let listed = params.peers.iter().find(|p| p.session.remote.addr == remote.addr).map(|p| PeerConfig::clone(p));
    listed.or_else(|| params.range_peer(remote.addr, None).map(|(p, _)| PeerConfig::clone(&p)))
}

/// The AS number that the peer is to have.
fn as_of(config: &PeerConfig) -> Asn {
    match config.session.remote_as {
        RemoteAs::Exactly(asn) => asn,
        RemoteAs::Internal => config.session.local_as,
        RemoteAs::External | RemoteAs::Any => Asn(65_099),
    }
}
