//! The virtual-time lab: routers, scripted peers and a network between them, all from one seed.
//!
//! In: a story told in calls: who is linked with whom, what breaks and when. Out: what the routers know, what the scripted peers were told.
//! Nothing here reads a clock or sleeps: the lab pops the earliest event, moves its own time there and hands the event to a
//! [`Speaker`], which is the very code that runs on a node. The lab plays the shell and the kernel: it frames and decodes octets,
//! stops reading after an OPEN until `Context` comes, keeps a send buffer and a window per connection, answers netlink writes.
//!
//! The same seed gives the same octets ([`Lab::journal`]). A test that fails prints its seed. After each step
//! `Speaker::check_invariants` runs on the router that took it (see [`Lab::audit_every`]).
//!
//! | file | what |
//! |---|---|
//! | `mod` | the story's verbs |
//! | `net` | connections: latency, order, windows, loss, partitions |
//! | `node` | a router with its shell and kernel |
//! | `script` | a peer that says what the test says |

mod bfd;
mod net;
mod node;
mod script;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use catbird::api::{Answer, Command, Explanation, PeerDetail, Question, RouteFilter, RouteRow};
use catbird::fib::FibKind;
use catbird::kernel::Hops;
use catbird::num::{Asn, ConnId, Instant, Rng, RouterId};
use catbird::peer::{self, RemoteAs, State};
use catbird::policy::Chain;
use catbird::rib::Rules;
use catbird::speaker::{BlockSource, Input, NodeAddresses, Params, PeerConfig, RecoveryParams, Speaker, StopMode, StopParams};
use catbird::wire::{Message, Notification};
use ipnet::IpNet;

pub use net::WINDOW;
pub use script::{Script, keepalive, open_of, raw_update, update};

use net::{Happening, Pipes};
use node::{Body, Node};

/// See the module.
pub struct Lab {
    seed: u64,
    rng: Rng,
    now: Instant,
    nodes: Vec<Node>,
    names: BTreeMap<String, usize>,
    links: Vec<(usize, usize)>,
    queue: BinaryHeap<Reverse<(Instant, u64)>>,
    happenings: BTreeMap<u64, Happening>,
    serial: u64,
    pipes: Pipes,
    /// Pairs of nodes between which nothing gets through.
    parted: BTreeSet<(usize, usize)>,
    silenced: BTreeSet<usize>,
    latency: (Duration, Duration),
    audit_every: u64,
    steps: u64,
    dials: BTreeMap<usize, u64>,
    booted: bool,
    journal: Vec<u8>,
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the lab of seed {} stood at {:.3} s after {} steps", self.seed, self.seconds(), self.steps);
        }
    }
}

/// Building.
impl Lab {
    pub fn seeded(seed: u64) -> Lab {
        Lab {
            seed,
            rng: Rng::new(seed),
            now: Instant::ZERO + Duration::from_secs(1),
            nodes: Vec::new(),
            names: BTreeMap::new(),
            links: Vec::new(),
            queue: BinaryHeap::new(),
            happenings: BTreeMap::new(),
            serial: 0,
            pipes: Pipes::default(),
            parted: BTreeSet::new(),
            silenced: BTreeSet::new(),
            latency: (Duration::from_micros(200), Duration::from_millis(3)),
            audit_every: 1,
            steps: 0,
            dials: BTreeMap::new(),
            booted: false,
            journal: Vec::new(),
        }
    }

    /// Between two nodes a message takes this long at least, and at most.
    #[must_use]
    pub fn latency(mut self, least: Duration, most: Duration) -> Lab {
        self.latency = (least, most);
        self
    }

    /// Check a router's invariants at each n-th of all steps only.
    #[must_use]
    pub fn audit_every(mut self, n: u64) -> Lab {
        self.audit_every = n.max(1);
        self
    }

    /// A router, at 10.255.x.y on the one network that all share.
    #[must_use]
    pub fn speaker(mut self, name: &str, asn: u32) -> Lab {
        let addr = addr_of(self.nodes.len());
        let params = Params {
            name: name.to_owned(),
            asn: Asn(asn),
            router_id: RouterId::new(addr).expect("no node is 0.0.0.0"),
            mode: "none".to_owned(),
            cluster_id: None,
            client_to_client: true,
            addresses: NodeAddresses { v4: Some(addr), v6: None },
            peers: Vec::new(),
            ranges: Vec::new(),
            blocks: Vec::new(),
            held_blocks: Vec::new(),
            services: Vec::new(),
            leaving: None,
            bmp: Vec::new(),
            rpki: Vec::new(),
            provisional: false,
            origins: Default::default(),
            rules: Rules::default(),
            fib: catbird::fib::Params::default(),
            redistribute: catbird::speaker::RedistributeParams::default(),
            sources: Default::default(),
            stop: StopParams::default(),
            recovery: RecoveryParams::default(),
            limits: Default::default(),
            shell: BTreeMap::new(),
        };
        self.add(name, asn, addr, Body::Off(Box::new(params)))
    }

    /// A peer that says what the test says; see [`Script`].
    #[must_use]
    pub fn scripted(mut self, name: &str, asn: u32) -> Lab {
        let addr = addr_of(self.nodes.len());
        let script = Script::new(Asn(asn), RouterId::new(addr).expect("no node is 0.0.0.0"));
        self.add(name, asn, addr, Body::Script(Box::new(script)))
    }

    fn add(&mut self, name: &str, asn: u32, addr: Ipv4Addr, body: Body) -> Lab {
        let clash = self.names.insert(name.to_owned(), self.nodes.len());
        assert!(clash.is_none(), "two nodes with the name {name}");
        self.nodes.push(Node::new(name, asn, addr, body));
        std::mem::replace(self, Lab::seeded(0))
    }

    /// Makes two nodes neighbours of each other. External neighbours let everything through, so that a story about sessions needs no policy.
    #[must_use]
    pub fn linked(self, a: &str, b: &str) -> Lab {
        self.linked_as(a, b, |_, _| ())
    }

    /// The same, with a word about each side's configuration (of nodes that are routers).
    #[must_use]
    pub fn linked_as(mut self, a: &str, b: &str, change: impl Fn(&str, &mut PeerConfig)) -> Lab {
        let (a, b) = (self.index(a), self.index(b));
        self.links.push((a, b));
        for (me, other) in [(a, b), (b, a)] {
            let neighbour = (self.nodes[other].name.clone(), self.nodes[other].addr, self.nodes[other].asn);
            let name = self.nodes[me].name.clone();
            let Body::Off(params) = &mut self.nodes[me].body else { continue };
            let mut config = neighbour_config(params, &neighbour.0, neighbour.1, neighbour.2);
            change(&name, &mut config);
            params.peers.push(Arc::new(config));
        }
        self
    }

    /// Changes a router before it starts.
    #[must_use]
    pub fn configured(mut self, name: &str, change: impl FnOnce(&mut Params)) -> Lab {
        let n = self.index(name);
        let Body::Off(params) = &mut self.nodes[n].body else { panic!("{name} is no router that waits to be started") };
        change(params);
        self
    }

    fn index(&self, name: &str) -> usize {
        *self.names.get(name).unwrap_or_else(|| panic!("no node {name}"))
    }
}

/// Changes of one session's parameters, for [`Lab::linked_as`].
pub fn session(config: &mut PeerConfig, change: impl FnOnce(&mut peer::Params)) {
    change(Arc::make_mut(&mut config.session));
}

/// Time.
impl Lab {
    /// Lets so much time pass.
    pub fn run(&mut self, time: Duration) {
        self.boot();
        let end = self.now + time;
        while self.queue.peek().is_some_and(|Reverse((at, _))| *at <= end) {
            self.step();
        }
        self.now = end;
    }

    /// Lets time pass until something is true.
    ///
    /// # Panics
    /// If it is not within `most`.
    pub fn until(&mut self, what: &str, most: Duration, test: impl Fn(&mut Lab) -> bool) {
        self.boot();
        let end = self.now + most;
        while !test(self) {
            let next = self.queue.peek().map(|Reverse((at, _))| *at);
            assert!(next.is_some_and(|at| at <= end), "{what}: not within {} s\n{}", most.as_secs_f64(), self.state_of_things());
            self.step();
        }
    }

    /// Both have a session with each other, and no more than one connection for it.
    pub fn until_established(&mut self, a: &str, b: &str) {
        let what = format!("a session between {a} and {b}");
        self.until(&what, Duration::from_secs(120), |lab| lab.established(a, b));
    }

    /// Every link has its session.
    pub fn until_all_established(&mut self) {
        let pairs: Vec<(String, String)> =
            self.links.iter().map(|(a, b)| (self.nodes[*a].name.clone(), self.nodes[*b].name.clone())).collect();
        for (a, b) in pairs {
            self.until_established(&a, &b);
        }
    }

    pub fn seconds(&self) -> f64 {
        self.now.as_nanos() as f64 / 1e9
    }

    pub fn now(&self) -> Instant {
        self.now
    }

    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// How often a node tried to connect.
    pub fn dials(&self, name: &str) -> u64 {
        self.dials.get(&self.index(name)).copied().unwrap_or_default()
    }

    /// All octets that were sent, with their times and connections.
    pub fn journal(&self) -> &[u8] {
        &self.journal
    }

    fn boot(&mut self) {
        if std::mem::replace(&mut self.booted, true) {
            return;
        }
        for n in 0..self.nodes.len() {
            self.power_on(n);
        }
    }

    fn power_on(&mut self, n: usize) {
        let Body::Off(params) = &self.nodes[n].body else { return };
        let params = (**params).clone();
        let seed = self.rng.next_u64();
        self.nodes[n].params = Some(params.clone());
        self.nodes[n].listening = true;
        let mut speaker = Speaker::new(params, self.now, seed);
        self.nodes[n].remembered.clone().into_iter().for_each(|known| speaker.recall(known));
        self.nodes[n].body = Body::Router(Box::new(speaker));
        for event in self.nodes[n].kernel_dump() {
            self.tell(n, Input::Kernel(event));
        }
        self.cycle(n);
    }
}

/// What happens to nodes and between them.
impl Lab {
    /// Nothing gets through between two nodes; what is on the way waits, as TCP sends it again.
    pub fn part(&mut self, a: &str, b: &str) {
        let pair = self.pair(a, b);
        self.parted.insert(pair);
    }

    pub fn heal(&mut self, a: &str, b: &str) {
        let pair = self.pair(a, b);
        self.parted.remove(&pair);
        self.release_held();
    }

    fn pair(&self, a: &str, b: &str) -> (usize, usize) {
        let (a, b) = (self.index(a), self.index(b));
        (a.min(b), a.max(b))
    }

    /// Ends all connections between two nodes with a reset.
    pub fn reset(&mut self, a: &str, b: &str) {
        let pair = self.pair(a, b);
        for (end, other) in self.ends_between(pair) {
            self.pipes.drop_end(end);
            self.pipes.drop_end(other);
            for end in [end, other] {
                self.schedule(self.now, Happening::Closed { end, error: Some("connection reset by peer".to_owned()) });
            }
        }
    }

    /// All connections between two nodes die without a word: both sides think that they stand.
    pub fn freeze(&mut self, a: &str, b: &str) {
        let pair = self.pair(a, b);
        for (end, other) in self.ends_between(pair) {
            self.pipes.freeze(end);
            self.pipes.freeze(other);
        }
    }

    /// The node's programs stop reading (SIGSTOP, or a slow disk); its kernel takes a window full.
    pub fn stall(&mut self, name: &str) {
        let n = self.index(name);
        self.nodes[n].stalled = true;
    }

    pub fn resume(&mut self, name: &str) {
        let n = self.index(name);
        self.nodes[n].stalled = false;
        for end in self.pipes.ends_of(n) {
            self.schedule(self.now, Happening::Read { end });
        }
        self.cycle(n);
    }

    /// SIGKILL: the kernel resets the connections and keeps the routes.
    pub fn kill(&mut self, name: &str) {
        let n = self.index(name);
        for end in self.pipes.ends_of(n) {
            self.hang_up(end, Some("connection reset by peer"));
        }
        self.switch_off(n);
    }

    /// The machine is gone from one moment to the next: nobody is told.
    pub fn unplug(&mut self, name: &str) {
        let n = self.index(name);
        for end in self.pipes.ends_of(n) {
            if let Some(other) = self.pipes.drop_end(end) {
                self.pipes.orphan(other);
            }
        }
        self.switch_off(n);
        self.nodes[n].plugged = false;
        self.nodes[n].kernel.clear();
        self.nodes[n].remembered = None;
    }

    /// What a router that is off has written down is lost, as in an upgrade from a release that wrote nothing.
    pub fn forget(&mut self, name: &str) {
        let n = self.index(name);
        self.nodes[n].remembered = None;
    }

    fn switch_off(&mut self, n: usize) {
        let node = &mut self.nodes[n];
        node.life += 1;
        node.listening = false;
        node.stalled = false;
        node.conns.clear();
        node.dialling.clear();
        node.taken.clear();
        node.armed = None;
        node.bfd = None;
        let params = node.params.clone().unwrap_or_else(|| panic!("{} is no router", node.name));
        node.body = Body::Off(Box::new(params));
    }

    /// Starts a router that was killed or unplugged.
    pub fn start(&mut self, name: &str) {
        let n = self.index(name);
        self.nodes[n].plugged = true;
        self.power_on(n);
    }

    /// From now on nobody can connect to this node (or again).
    pub fn listen(&mut self, name: &str, listening: bool) {
        self.boot();
        let n = self.index(name);
        self.nodes[n].listening = listening;
    }

    /// What an operator orders on a router.
    pub fn order(&mut self, name: &str, command: Command) -> Answer {
        self.boot();
        let n = self.index(name);
        self.nodes[n].answer = None;
        self.tell(n, Input::Command { id: 1, command });
        self.cycle(n);
        self.nodes[n].answer.take().expect("an order is answered")
    }

    /// TERM.
    pub fn stop(&mut self, name: &str, mode: StopMode) {
        self.boot();
        let n = self.index(name);
        self.tell(n, Input::Stop(mode));
        self.cycle(n);
    }

    pub fn stopped(&self, name: &str) -> bool {
        self.nodes[self.index(name)].stopped
    }

    /// Tells a router something that no other call tells it.
    pub fn give_input(&mut self, name: &str, input: Input) {
        self.boot();
        let n = self.index(name);
        self.tell(n, input);
        self.cycle(n);
    }

    /// A reload with changed parameters.
    pub fn reload(&mut self, name: &str, change: impl FnOnce(&mut Params)) {
        self.boot();
        let n = self.index(name);
        let mut params = self.nodes[n].params.clone().unwrap_or_else(|| panic!("{name} is no router"));
        change(&mut params);
        self.nodes[n].params = Some(params.clone());
        self.tell(n, Input::Reload { id: 0, params: Box::new(params) });
        self.cycle(n);
    }

    /// The node's blocks, all of them.
    pub fn blocks(&mut self, name: &str, blocks: &[&str]) {
        self.boot();
        let n = self.index(name);
        let blocks = blocks.iter().map(|b| net(b)).collect();
        self.tell(n, Input::Blocks { source: BlockSource::File, blocks });
        self.cycle(n);
    }

    /// Many blocks at once.
    pub fn many_blocks(&mut self, name: &str, blocks: Vec<IpNet>) {
        self.boot();
        let n = self.index(name);
        self.tell(n, Input::Blocks { source: BlockSource::File, blocks });
        self.cycle(n);
    }
}

/// What routers know.
impl Lab {
    /// Asks a router.
    pub fn ask(&mut self, name: &str, question: Question) -> Answer {
        self.boot();
        let n = self.index(name);
        self.nodes[n].answer = None;
        self.tell(n, Input::Query { id: 0, question });
        self.cycle(n);
        self.nodes[n].answer.take().expect("a question is answered")
    }

    /// Everything `name` knows of its neighbour `of`.
    pub fn peer(&mut self, name: &str, of: &str) -> PeerDetail {
        match self.ask(name, Question::Peer { peer: of.to_owned() }) {
            Answer::Peer(detail) => *detail,
            other => panic!("{name} was asked for its peer {of}: {other:?}"),
        }
    }

    /// Is there a session on both sides? A scripted side has one when it has seen KEEPALIVE.
    pub fn established(&mut self, a: &str, b: &str) -> bool {
        self.half_established(a, b) && self.half_established(b, a)
    }

    fn half_established(&mut self, a: &str, b: &str) -> bool {
        let n = self.index(a);
        match &self.nodes[n].body {
            Body::Off(_) => false,
            Body::Script(script) => script.is_up(),
            Body::Router(_) => self.state(a, b) == State::Established.name().to_lowercase(),
        }
    }

    /// The state of `a`'s session with `b`, in small letters.
    pub fn state(&mut self, a: &str, b: &str) -> String {
        self.peer(a, b).row.state.to_lowercase()
    }

    /// Why there is no session, in words.
    pub fn why_down(&mut self, a: &str, b: &str) -> String {
        self.peer(a, b).row.why_down.unwrap_or_default()
    }

    /// The best path of a prefix.
    pub fn best(&mut self, name: &str, prefix: &str) -> Option<RouteRow> {
        self.paths(name, prefix).into_iter().find(|row| row.best)
    }

    /// All paths of a prefix.
    pub fn paths(&mut self, name: &str, prefix: &str) -> Vec<RouteRow> {
        let filter = RouteFilter { net: Some(net(prefix)), ..RouteFilter::default() };
        match self.ask(name, Question::Routes { filter, cursor: 0 }) {
            Answer::Routes(page) => page.rows,
            Answer::Refused(_) => Vec::new(),
            other => panic!("{name} was asked for {prefix}: {other:?}"),
        }
    }

    /// How many prefixes have a path, over all families.
    pub fn prefixes(&mut self, name: &str) -> usize {
        match self.ask(name, Question::Status) {
            Answer::Status(status) => status.tables.iter().map(|t| t.prefixes).sum(),
            other => panic!("{name} was asked for its status: {other:?}"),
        }
    }

    /// The story of a prefix.
    pub fn explain(&mut self, name: &str, prefix: &str) -> Option<Explanation> {
        match self.ask(name, Question::Why { net: net(prefix), longest: false }) {
            Answer::Why(explanation) => Some(*explanation),
            _ => None,
        }
    }

    /// Is there a kernel route for this prefix?
    pub fn in_kernel(&self, name: &str, prefix: &str) -> bool {
        self.nodes[self.index(name)].kernel.keys().any(|(n, _)| *n == net(prefix))
    }

    /// By how many ways a route leads out of the kernel.
    pub fn ways(&self, name: &str, prefix: &str) -> usize {
        self.hops(name, prefix).len()
    }

    /// The gateway of its first way.
    pub fn way(&self, name: &str, prefix: &str) -> Option<IpAddr> {
        self.hops(name, prefix).first().and_then(|hop| hop.gateway)
    }

    fn hops(&self, name: &str, prefix: &str) -> Hops {
        let net = net(prefix);
        let route = self.nodes[self.index(name)].kernel.values().find(|route| route.net == net);
        match route.map(|route| &route.kind) {
            Some(FibKind::Unicast(hops)) => hops.clone(),
            _ => Hops::new(),
        }
    }

    /// How often kernel routes were taken away.
    pub fn kernel_removals(&self, name: &str) -> u64 {
        self.nodes[self.index(name)].removals
    }

    /// Distinct attribute sets that a router holds.
    pub fn attribute_sets(&mut self, name: &str) -> usize {
        match self.ask(name, Question::Status) {
            Answer::Status(status) => status.attribute_sets,
            other => panic!("{name} was asked for its status: {other:?}"),
        }
    }

    fn state_of_things(&mut self) -> String {
        let mut out = String::new();
        for (a, b) in self.links.clone().into_iter().take(8) {
            for (me, other) in [(a, b), (b, a)] {
                let (me, other) = (self.nodes[me].name.clone(), self.nodes[other].name.clone());
                let n = self.index(&me);
                if let Body::Router(_) = self.nodes[n].body {
                    let detail = self.peer(&me, &other);
                    out += &format!("{me} with {other}: {} {:?}\n", detail.row.state, detail.row.why_down);
                    detail.events.iter().for_each(|e| out += &format!("    {:8.3} s ago {}\n", e.ago_seconds, e.what));
                }
            }
        }
        out
    }
}

/// Scripted peers.
impl Lab {
    /// The script of a scripted node, to change how it behaves.
    pub fn script(&mut self, name: &str) -> &mut Script {
        let n = self.index(name);
        match &mut self.nodes[n].body {
            Body::Script(script) => script,
            Body::Off(_) | Body::Router(_) => panic!("{name} is not scripted"),
        }
    }

    /// A scripted peer connects.
    pub fn connect(&mut self, from: &str, to: &str) -> ConnId {
        self.boot();
        let (n, to) = (self.index(from), self.index(to));
        let conn = self.script(from).next_conn();
        self.dial(n, conn, to, None);
        conn
    }

    /// Says something over the newest connection of a scripted peer.
    pub fn say(&mut self, name: &str, message: &Message) {
        let octets = self.script(name).encode(message);
        self.raw(name, &octets);
    }

    /// Any octets over the newest connection of a scripted peer.
    pub fn raw(&mut self, name: &str, octets: &[u8]) {
        let conn = self.script(name).current().unwrap_or_else(|| panic!("{name} has no connection"));
        self.raw_on(name, conn, octets);
    }

    /// Any octets over one connection of a scripted peer.
    pub fn raw_on(&mut self, name: &str, conn: ConnId, octets: &[u8]) {
        let n = self.index(name);
        self.write((n, conn), octets);
    }

    /// A scripted peer closes its newest connection.
    pub fn hang_up_script(&mut self, name: &str) {
        let n = self.index(name);
        if let Some(conn) = self.script(name).current() {
            self.script(name).on_closed(conn);
            self.hang_up((n, conn), None);
        }
    }

    /// What a scripted peer was told since it was last asked.
    pub fn heard(&mut self, name: &str) -> Vec<Message> {
        self.script(name).take_heard()
    }

    /// The last NOTIFICATION that a scripted peer got.
    pub fn told(&mut self, name: &str) -> Option<Notification> {
        self.script(name).told.clone()
    }

    /// Code and subcode of it, after waiting for the connection to be closed.
    pub fn until_told(&mut self, name: &str) -> (u8, u8) {
        let what = format!("a NOTIFICATION for {name}");
        self.until(&what, Duration::from_secs(600), |lab| lab.script(name).told.is_some());
        self.script(name).told.take().map(|n| (n.code, n.subcode)).unwrap_or_default()
    }
}

fn neighbour_config(params: &Params, name: &str, addr: Ipv4Addr, asn: u32) -> PeerConfig {
    let mut session = peer::Params::new(name, addr.into(), params.asn, RemoteAs::Exactly(Asn(asn)), params.router_id);
    session.offer.hostname = Some(params.name.clone());
    let external = params.asn != Asn(asn);
    let mut config = PeerConfig::new(Arc::new(session));
    if external {
        config.import = Some(Chain::all());
        config.export = Some(Chain::all());
    }
    config
}

fn addr_of(n: usize) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0aff_0000 + 1 + n as u32)
}

/// A prefix in a story.
pub fn net(text: &str) -> IpNet {
    text.parse().unwrap_or_else(|_| panic!("{text} is no prefix"))
}
