//! The whole core under the load of the side-by-side benches, without sockets: what an UPDATE costs from its octets to the octets that
//! go out, and nothing else. For `perf record` and callgrind, and to see the difference of a change on a busy machine.
//!
//! `cargo run --release -p proto-tests --example speaker_load -- s1 100000` (prefixes), `-- s1one 100000` (one to an UPDATE), `-- s2 30 10000` (peers, prefixes each),
//! `-- s4 1000 4` (clients, blocks each), `-- s5 500 1000 20` (clients, blocks that flap, times).

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use catbird::kernel::{Hop, IfIndex, KernelEvent, KernelRoute, RouteKind, Weight};
use catbird::num::{Asn, ClusterId, ConnId, HoldTime, Instant, Nlri, RouterId};
use catbird::peer::{self, Direction, RemoteAs};
use catbird::policy::Chain;
use catbird::rib::Rules;
use catbird::speaker::{Effect, Input, NodeAddresses, Params, PeerConfig, RecoveryParams, Speaker, StopParams};
use catbird::wire::{
    Capability, Context, Decoder, Message, NextHop, Open, Origin, PathAttributes, encode_end_of_rib, encode_reach, encode_unreach,
    frame_len,
};
use ipnet::{IpNet, Ipv4Net};

const OWN_AS: Asn = Asn(65000);
const READ: usize = 64 * 1024;

fn addr(n: u32) -> Ipv4Addr {
    Ipv4Addr::new(10, 99, (1 + n / 200) as u8, (10 + n % 200) as u8)
}

fn id(addr: Ipv4Addr) -> RouterId {
    RouterId::new(addr).expect("not zero")
}

/// CPU time of this process, in seconds.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    stat.split(' ').next().and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0) / 1e9
}

fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap_or(0.0) / 1024.0
}

struct Load {
    speaker: Speaker,
    decoders: HashMap<ConnId, Decoder>,
    now: Instant,
    /// Octets and frames that went out.
    sent: u64,
    sends: u64,
}

impl Load {
    fn new(peers: u32, asn: impl Fn(u32) -> Asn) -> Load {
        let me = Ipv4Addr::new(10, 99, 0, 1);
        let config = |n| {
            let mut session = peer::Params::new(&format!("p{n}"), addr(n).into(), OWN_AS, RemoteAs::Exactly(asn(n)), id(me));
            session.passive = true;
            session.offer.graceful_restart = None;
            let mut config = PeerConfig::new(Arc::new(session));
            (config.import, config.export) = (Some(Chain::all()), Some(Chain::all()));
            config.rr_client = asn(n) == OWN_AS;
            Arc::new(config)
        };
        let fib = catbird::fib::Params { enabled: false, ..Default::default() };
        let params = Params {
            name: "load".into(),
            asn: OWN_AS,
            router_id: id(me),
            mode: "none".into(),
            cluster_id: Some(ClusterId(me)),
            client_to_client: true,
            addresses: NodeAddresses { v4: Some(me), v6: None },
            peers: (0..peers).map(config).collect(),
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
            fib,
            sources: Default::default(),
            stop: StopParams::default(),
            redistribute: catbird::speaker::RedistributeParams::default(),
            recovery: RecoveryParams {
                deadline: std::time::Duration::from_secs(1),
                end_of_rib_wait: std::time::Duration::ZERO,
                ..Default::default()
            },
            limits: Default::default(),
            shell: Default::default(),
        };
        let now = Instant::from_nanos(1);
        let mut load = Load { speaker: Speaker::new(params, now, 7), decoders: HashMap::new(), now, sent: 0, sends: 0 };
        load.kernel(me);
        load.turn();
        (0..peers).for_each(|n| load.connect(n, asn(n), me));
        load
    }

    fn kernel(&mut self, me: Ipv4Addr) {
        let (ifindex, net): (_, IpNet) = (IfIndex(2), "10.99.0.0/16".parse().expect("a prefix"));
        let hops = [Hop { gateway: None, ifindex, onlink: false, weight: Weight::ONE }].into_iter().collect();
        let route = KernelRoute { net, table: 254, metric: 0, protocol: 2, kind: RouteKind::Unicast(hops), source: Some(me.into()) };
        let address = IpNet::V4(Ipv4Net::new(me, 16).expect("a length"));
        let link = KernelEvent::Link { ifindex, name: "d0".into(), up: true };
        for event in
            [KernelEvent::DumpStart, link, KernelEvent::Address { ifindex, net: address }, KernelEvent::Route(route), KernelEvent::DumpEnd]
        {
            self.speaker.handle(self.now, Input::Kernel(event));
        }
    }

    fn conn(n: u32) -> ConnId {
        ConnId(ConnId::FIRST_ACCEPTED + u64::from(n))
    }

    fn connect(&mut self, n: u32, asn: Asn, me: Ipv4Addr) {
        let (conn, remote) = (Load::conn(n), SocketAddr::new(addr(n).into(), 40000));
        let local = SocketAddr::new(IpAddr::V4(me), 179);
        self.decoders.insert(conn, Decoder::new());
        self.speaker.handle(self.now, Input::Connected { conn, local, remote, direction: Direction::Accepted });
        self.turn();
        let capabilities = vec![Capability::Multiprotocol { afi: 1, safi: 1 }, Capability::RouteRefresh, Capability::FourOctetAs(asn)];
        let open = Open::new(asn, HoldTime::new(90).expect("legal"), id(addr(n)), capabilities);
        self.hear(n, Message::Open(Box::new(open)).to_bytes(&Context::INITIAL));
        self.hear(n, Message::KeepAlive.to_bytes(&Context::INITIAL));
    }

    /// Octets arrive from a peer; everything that follows is done.
    fn hear(&mut self, n: u32, mut octets: Bytes) {
        let conn = Load::conn(n);
        while !octets.is_empty() {
            let mut messages = Vec::new();
            let mut read = 0;
            while read < READ
                && let Some(len) = frame_len(&octets, 4096).expect("our own octets")
            {
                read += len;
                messages.push(self.decoders.get_mut(&conn).expect("connected").decode(octets.split_to(len)).expect("our own octets"));
            }
            self.speaker.handle(self.now, Input::Received { conn, batch: messages.into() });
            self.turn();
        }
    }

    /// Settles and performs, the kernel taking everything at once.
    fn turn(&mut self) {
        loop {
            let more = self.speaker.settle(self.now);
            let mut any = false;
            while let Some(effect) = self.speaker.poll() {
                any = true;
                match effect {
                    Effect::Context { conn, context } => self.decoders.get_mut(&conn).expect("connected").set_context(context),
                    Effect::Send { conn, frames } => {
                        let written = frames.iter().map(Bytes::len).sum();
                        self.sent += written as u64;
                        self.sends += 1;
                        self.speaker.handle(self.now, Input::Writable { conn, written });
                    }
                    _ => {}
                }
            }
            if !more && !any && !self.speaker.wants_settle() {
                return;
            }
        }
    }

    fn report(&mut self, what: &str, since: f64) {
        println!("{what}: cpu {:.3} s, {} octets in {} sends, {:.1} MB resident", cpu() - since, self.sent, self.sends, resident());
        (self.sent, self.sends) = (0, 0);
    }
}

/// What one peer says, as it says it.
fn says(context: &Context, runs: impl Iterator<Item = (PathAttributes, Vec<Nlri>)>) -> Bytes {
    let mut out = BytesMut::new();
    for (attrs, nlri) in runs {
        encode_reach(&attrs, &nlri, context, &mut out);
    }
    encode_end_of_rib(catbird::num::Family::Ipv4Unicast, &mut out);
    out.freeze()
}

fn context(external: bool) -> Context {
    Context { four_octet_as: true, external, ..Context::INITIAL }
}

/// About seven prefixes to a set, with a path and communities as in a public table.
fn table(prefixes: u32) -> impl Iterator<Item = (PathAttributes, Vec<Nlri>)> {
    let set = |n: u32| {
        let mut editor = PathAttributes::builder(Origin::Igp, NextHop::V4(addr(0)));
        for asn in [400_000 + n, 4000 + n % 900, 3356 + n % 12, 65001] {
            editor.prepend(Asn(asn), 1);
        }
        (0..n % 5).for_each(|c| drop(editor.add_community(catbird::wire::Community((3356 << 16) | ((n + c) % 600))).to_owned()));
        editor.finish()
    };
    let net = |n: u32| {
        let a = 0x0100_0000 + (n.wrapping_mul(2_654_435_761) % 0xd000_0000);
        // 127.0.0.0/8 is no place for a route.
        let a = Ipv4Addr::from(if a >> 24 == 127 { a + 0x5200_0000 } else { a });
        Nlri::new(IpNet::V4(Ipv4Net::new(a, 24 - (n % 3) as u8).expect("a length").trunc()))
    };
    (0..prefixes.div_ceil(7)).map(move |s| (set(s), (s * 7..(s * 7 + 7).min(prefixes)).map(net).collect()))
}

/// The same with one prefix to an UPDATE, and no two neighbours of one set.
fn one_by_one(prefixes: u32) -> impl Iterator<Item = (PathAttributes, Vec<Nlri>)> {
    let mut sets: Vec<(PathAttributes, Vec<Nlri>)> = table(prefixes).collect();
    (0..7).flat_map(move |_| sets.iter_mut().filter_map(|(set, nlri)| Some((set.clone(), vec![nlri.pop()?]))).collect::<Vec<_>>())
}

fn blocks(from: u32, count: u32) -> Vec<Nlri> {
    (from..from + count).map(|n| Nlri::new(IpNet::V4(Ipv4Net::new(Ipv4Addr::from(0x1400_0000 + n * 64), 26).expect("a length")))).collect()
}

fn plain(n: u32, asn: Asn) -> PathAttributes {
    let mut editor = PathAttributes::builder(Origin::Igp, NextHop::V4(addr(n)));
    if asn == OWN_AS {
        editor.set_local_pref(Some(100));
    } else {
        editor.prepend(asn, 1);
    }
    editor.finish()
}

fn all_to_all(peers: u32, each: u32, asn: impl Fn(u32) -> Asn + Copy) -> Load {
    let c0 = cpu();
    let mut load = Load::new(peers, asn);
    load.report("set-up", c0);
    let said: Vec<Bytes> =
        (0..peers).map(|n| says(&context(asn(n) != OWN_AS), [(plain(n, asn(n)), blocks(n * each, each))].into_iter())).collect();
    let c0 = cpu();
    said.into_iter().zip(0..).for_each(|(octets, n)| load.hear(n, octets));
    load.report("all to all", c0);
    load
}

fn flap(load: &mut Load, peers: u32, count: u32, times: u32) {
    let nlri = blocks(peers + 1000, count);
    let (mut up, mut down) = (BytesMut::new(), BytesMut::new());
    encode_reach(&plain(0, OWN_AS), &nlri, &context(false), &mut up);
    encode_unreach(&nlri, &context(false), &mut down);
    let (up, down) = (up.freeze(), down.freeze());
    let c0 = cpu();
    for _ in 0..times {
        load.hear(0, up.clone());
        load.hear(0, down.clone());
    }
    load.report("flap", c0);
}

fn main() {
    let arg = |n: usize, or: u32| std::env::args().nth(n).and_then(|a| a.parse().ok()).unwrap_or(or);
    match std::env::args().nth(1).as_deref() {
        Some("s1") => {
            let mut load = Load::new(2, |n| Asn(65001 + n));
            let octets = says(&context(true), table(arg(2, 1_000_000)));
            let before = resident();
            let c0 = cpu();
            load.hear(0, octets);
            load.report("full table", c0);
            println!("{:.1} MB more than before", resident() - before);
        }
        Some("s1one") => {
            let mut load = Load::new(2, |n| Asn(65001 + n));
            let octets = says(&context(true), one_by_one(arg(2, 1_000_000)));
            let c0 = cpu();
            load.hear(0, octets);
            load.report("full table, prefix by prefix", c0);
        }
        Some("s2") => drop(all_to_all(arg(2, 30), arg(3, 10_000), |n| Asn(65001 + n))),
        Some("s4") => drop(all_to_all(arg(2, 1000), arg(3, 4), |_| OWN_AS)),
        Some("s5") => {
            let peers = arg(2, 500);
            let mut load = all_to_all(peers, 1, |_| OWN_AS);
            flap(&mut load, peers, arg(3, 1000), arg(4, 20));
        }
        _ => eprintln!("usage: speaker_load s1|s1one|s2|s4|s5 numbers"),
    }
}
