//! Nobody can hurt anybody else: one neighbour at a time does its worst, and two others, with a hold time of three seconds, keep their
//! sessions and get each other's routes in time.
//!
//! The daemon stands in a namespace, all neighbours behind one link in another. Each attack is bounded in octets and ends by itself; how long a
//! route took from one innocent to the other meanwhile is printed, and may be no more than [`LATE`] in the middle, unless the core stood in the
//! kernel's queue for a processor for a fourth of the time. The others say how busy the machine is, too: what is ours of it are the steps of the
//! core, of which one in [`LONG_STEPS`] may exceed [`LONG`], and besides one for each [`TURN`] in the queue.
//!
//! `CATBIRD_HOSTILE=BoRR` runs the attacks only whose name has these letters. With a `CATBIRD_BIN` of a release build (and
//! `CATBIRD_HOSTILE_LONG=20`) the bounds are those that the README promises.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::{Duration, Instant};

use catbird::daemon::atomics::STEP_BOUNDS;
use proto_tests::netlab::mounts::Scratch;
use proto_tests::netlab::ns::Ns;
use proto_tests::netlab::patiently;
use proto_tests::netlab::proc::catbird;
use proto_tests::node::Node;
use proto_tests::outside::{Caller, Heard, attribute, capabilities, keepalive, message, open, update};

const DAEMON: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const AS: u16 = 65001;
/// From one innocent to the other.
const LATE: Duration = Duration::from_millis(20);
/// What a step of the core may take: of an unoptimised build 50 ms, unless the environment says that it is none.
static LONG: LazyLock<Duration> = LazyLock::new(|| {
    let said = std::env::var("CATBIRD_HOSTILE_LONG").ok().and_then(|text| text.parse().ok());
    Duration::from_millis(said.unwrap_or(if cfg!(debug_assertions) { 50 } else { 20 }))
});
/// Of so many steps of the core one may be longer than [`LONG`].
const LONG_STEPS: u64 = 200;
/// So long a machine with others to serve lets a thread wait for its turn, at least.
const TURN: Duration = Duration::from_millis(4);
/// What the tables may hold, in MiB; a daemon without routes takes about as much again.
const BUDGET: u64 = 32;
/// Of foldhash's hashers without a secret.
const PUBLIC_MULTIPLICAND: u64 = 0xc0ac_29b7_c97c_50dd;
/// The innocents' hold time, in seconds.
const HOLD: u16 = 3;

struct Arena {
    node: Node,
    daemon: Child,
    scratch: Scratch,
}

impl Drop for Arena {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

/// Innocents at .10 and .11, enemies from .20 on; `more` is said last.
fn config(folder: &std::path::Path, more: &str) -> String {
    let socket = folder.join("sock");
    format!(
        "[node]\nasn = 65000\nrouter_id = \"10.0.0.1\"\naddresses = [\"10.0.0.1\", \"fd00::1\"]\n\
         [listen]\naddresses = [\"10.0.0.1\"]\n[fib]\nenabled = false\n[metrics]\nlisten = \"10.0.0.1:9179\"\n[control]\nsocket = \"{}\"\n\
         [[peer_group]]\nname = \"innocents\"\nasn = {AS}\nlisten = [\"10.0.0.8/29\"]\nimport = \"all\"\nexport = \"small\"\nenforce_first_as = false\n\
         allow_own_as = 9\nhold_time = {HOLD}\n\
         [[peer_group]]\nname = \"enemies\"\nasn = {AS}\nlisten = [\"10.0.0.16/28\"]\nimport = \"all\"\nexport = \"all\"\nadd_path = \"receive\"\n\
         [[peer_group]]\nname = \"refused\"\nasn = {AS}\nlisten = [\"10.0.0.32/28\"]\nimport = \"none\"\nexport = \"all\"\n\
         [policy.small]\ndefault = \"reject\"\n[[policy.small.rules]]\nprefixes = [\"203.0.113.0/24+\"]\nthen = \"accept\"\n{more}\n",
        socket.display()
    )
}

impl Arena {
    fn new(test: &str, more: impl FnOnce(&std::path::Path) -> String, stderr: Stdio) -> Option<Arena> {
        let node = Node::new(test)?;
        for n in (8..16).chain(20..48) {
            node.router.output(ip(&format!("addr add 10.0.0.{n}/24 dev eth1"))).expect("ip runs");
        }
        let scratch = Scratch::new("hostile").expect("a temporary folder");
        let path = scratch.path().join("catbird.toml");
        fs::write(&path, config(scratch.path(), &more(scratch.path()))).expect("the scratch folder is ours");
        let mut command = Command::new(catbird().unwrap_or_else(|e| panic!("{e}")));
        command.arg("run").arg("-c").arg(path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
        let daemon = node.ns.spawn(command).expect("the daemon starts");
        let arena = Arena { node, daemon, scratch };
        let up =
            patiently(Duration::from_secs(20), || arena.socket().exists() && arena.router(|| TcpStream::connect((DAEMON, 179)).is_ok()));
        assert!(up.is_some(), "the daemon does not listen");
        Some(arena)
    }

    fn socket(&self) -> PathBuf {
        self.scratch.path().join("sock")
    }

    /// On a thread of its own behind the link, so that others can go on there.
    fn router<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        aside(&self.node.router, job).join().expect("the job does not panic")
    }

    /// Resident memory in MiB.
    fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.daemon.id())).unwrap_or_default();
        let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0) / 1024
    }

    /// The core's steps since its start, as `/metrics` counts them.
    fn steps(&self) -> Steps {
        let text = self.router(|| {
            let mut probe = TcpStream::connect((DAEMON, 9179)).ok()?;
            probe.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
            probe.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok()?;
            let mut text = String::new();
            probe.read_to_string(&mut text).ok()?;
            Some(text)
        });
        let text = text.expect("/metrics is answered");
        let number = |series: &str| {
            let line = text.lines().find(|line| line.starts_with(series)).unwrap_or_else(|| panic!("no {series}: {text}"));
            line.rsplit(' ').next().and_then(|n| n.parse::<f64>().ok()).expect("a number")
        };
        let all = number("catbird_core_step_seconds_count") as u64;
        let within = |bound: f64| number(&format!("catbird_core_step_seconds_bucket{{le=\"{bound}\"}}")) as u64;
        let within = STEP_BOUNDS.map(within);
        // The core is the first thread. Time on a processor, time in the queue, turns.
        let process = self.daemon.id();
        let turns = fs::read_to_string(format!("/proc/{process}/task/{process}/schedstat")).expect("the daemon runs");
        let queued = turns.split(' ').nth(1).and_then(|nanos| nanos.parse().ok()).map_or(Duration::ZERO, Duration::from_nanos);
        Steps { all, within, queued }
    }

    /// Lets somebody do something while the innocents go on, and says how they fared.
    fn under(&self, what: &str, attack: impl FnOnce() + Send + 'static) {
        if std::env::var("CATBIRD_HOSTILE").is_ok_and(|wanted| !what.contains(&wanted)) {
            return;
        }
        let innocents = Innocents::start(&self.node.router);
        thread::sleep(Duration::from_secs(1));
        let (began, before) = (Instant::now(), self.steps());
        self.router(attack);
        let took = began.elapsed();
        // Longer than the hold time, so that a session that was starved has ended.
        let mut latencies = innocents.stop_after(Duration::from_secs(u64::from(HOLD) + 1)).unwrap_or_else(|why| panic!("{what}: {why}"));
        latencies.sort();
        let [p50, p99, worst] = [latencies.len() / 2, latencies.len() * 99 / 100, latencies.len() - 1].map(|n| latencies[n]);
        let steps = self.steps().since(before);
        println!(
            "{what}: {took:.1?}; {} routes, half within {p50:.1?}, 99 % within {p99:.1?}, worst {worst:.1?}; {} of {} steps over {:?}, all within {:?} s, {:.1?} in the queue; {} MiB",
            latencies.len(),
            steps.long(),
            steps.all,
            *LONG,
            steps.longest(),
            steps.queued,
            self.resident()
        );
        assert!(p50 <= LATE || 4 * steps.queued > began.elapsed(), "{what}: half of the routes took longer than {p50:?}");
        let most = 1 + steps.all / LONG_STEPS + (steps.queued.as_nanos() / TURN.as_nanos()) as u64;
        assert!(steps.all > 0 && steps.long() <= most, "{what}: {steps:?}");
        assert!(self.resident() <= 3 * BUDGET, "{what}: {} MiB resident with a budget of {BUDGET} MiB", self.resident());
    }
}

/// Steps of the core, those of them within each of [`STEP_BOUNDS`], and how long the core stood in the queue for a processor.
#[derive(Clone, Copy, Debug)]
struct Steps {
    all: u64,
    within: [u64; STEP_BOUNDS.len()],
    queued: Duration,
}

impl Steps {
    fn since(self, before: Steps) -> Steps {
        let within = std::array::from_fn(|n| self.within[n] - before.within[n]);
        Steps { all: self.all - before.all, within, queued: self.queued - before.queued }
    }

    /// Those over [`LONG`].
    fn long(&self) -> u64 {
        let at = STEP_BOUNDS.iter().position(|bound| Duration::from_secs_f64(*bound) == *LONG).expect("a bound of the histogram");
        self.all - self.within[at]
    }

    /// All were within so many seconds.
    fn longest(&self) -> f64 {
        STEP_BOUNDS.iter().zip(self.within).find(|(_, within)| *within == self.all).map_or(f64::INFINITY, |(bound, _)| *bound)
    }
}

/// A thread in a namespace: it lives where the thread does that begins it.
fn aside<T: Send + 'static>(ns: &Ns, job: impl FnOnce() -> T + Send + 'static) -> thread::JoinHandle<T> {
    ns.run(move || thread::spawn(job))
}

fn ip(words: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(words.split_whitespace());
    command
}

/// Two sessions, and a route that goes from one to the other again and again.
struct Innocents {
    done: Arc<AtomicBool>,
    outcome: thread::JoinHandle<Result<Vec<Duration>, String>>,
}

impl Innocents {
    fn start(ns: &Ns) -> Innocents {
        let done = Arc::new(AtomicBool::new(false));
        let flag = done.clone();
        Innocents { done, outcome: aside(ns, move || Innocents::work(&flag)) }
    }

    fn stop_after(self, time: Duration) -> Result<Vec<Duration>, String> {
        thread::sleep(time);
        self.done.store(true, Ordering::Relaxed);
        self.outcome.join().map_err(|_| "the innocents panicked".to_owned())?
    }

    fn work(done: &AtomicBool) -> Result<Vec<Duration>, String> {
        let (mut source, mut sink) = (session(10, HOLD), session(11, HOLD));
        let mut latencies = Vec::new();
        let mut beat = Instant::now();
        for n in 0u32.. {
            if done.load(Ordering::Relaxed) {
                return Ok(latencies);
            }
            if beat.elapsed() > Duration::from_millis(700) {
                beat = Instant::now();
                source.say(&keepalive());
                sink.say(&keepalive());
                drain(&mut source)?;
            }
            let prefix = [32, 203, 0, 113, (n / 2 % 250) as u8];
            let sent = Instant::now();
            match n % 2 {
                0 => source.say(&update(&[], &attributes(10, &[]), &prefix)),
                _ => source.say(&update(&prefix, &[], &[])),
            }
            until_heard(&mut sink, &prefix)?;
            latencies.push(sent.elapsed());
            thread::sleep(Duration::from_millis(40).saturating_sub(sent.elapsed()));
        }
        unreachable!("the loop has no end")
    }
}

/// Reads what has come, and nothing is waited for.
fn drain(caller: &mut Caller) -> Result<(), String> {
    loop {
        match caller.hear(Duration::from_micros(100)) {
            Heard::Message(3, body) => return Err(format!("an innocent was sent a NOTIFICATION {body:?}")),
            Heard::Message(..) => {}
            Heard::Silence => return Ok(()),
            Heard::End => return Err("an innocent's session was closed".to_owned()),
        }
    }
}

fn until_heard(sink: &mut Caller, prefix: &[u8]) -> Result<(), String> {
    loop {
        match sink.hear(Duration::from_secs(5)) {
            Heard::Message(2, body) if body.windows(prefix.len()).any(|w| w == prefix) => return Ok(()),
            Heard::Message(3, body) => return Err(format!("the sink was sent a NOTIFICATION {body:?}")),
            Heard::Message(..) => {}
            Heard::Silence => return Err("a route did not come in five seconds".to_owned()),
            Heard::End => return Err("the sink's session was closed".to_owned()),
        }
    }
}

/// Somebody at 10.0.0.N with IPv4 and IPv6, refresh both ways, ADD-PATH to send.
fn session(n: u8, hold: u16) -> Caller {
    let mut caller = Caller::between(Ipv4Addr::new(10, 0, 0, n), DAEMON, 179).expect("the daemon listens");
    let asn = u32::from(AS).to_be_bytes();
    let mut list: Vec<(u8, &[u8])> = vec![(1, &[0, 1, 0, 1]), (1, &[0, 2, 0, 1]), (2, &[]), (70, &[]), (65, &asn)];
    if n == 21 {
        list.push((69, &[0, 1, 1, 2]));
    }
    caller.say(&open(4, AS, hold, [10, 0, 0, n], &capabilities(&list)));
    caller.say(&keepalive());
    assert!(caller.hear_type(4).is_some(), "10.0.0.{n} gets no session");
    caller
}

fn attributes(n: u8, more: &[u8]) -> Vec<u8> {
    let path = [&[2, 1][..], &u32::from(AS).to_be_bytes()].concat();
    [attribute(0x40, 1, &[0]), attribute(0x40, 2, &path), attribute(0x40, 3, &[10, 0, 0, n]), more.to_vec()].concat()
}

/// A table of `count` /32, as many in an UPDATE as fit.
fn table(n: u8, first: u32, count: u32) -> Vec<u8> {
    let nlri: Vec<Vec<u8>> = (first..first + count).map(|i| [&[32][..], &(0x5000_0000 + i).to_be_bytes()].concat()).collect();
    nlri.chunks(700).flat_map(|some| update(&[], &attributes(n, &[]), &some.concat())).collect()
}

/// Says it all, reading on meanwhile what the daemon says; how it ends is of no concern.
fn say_all(mut caller: Caller, octets: &[u8]) {
    let mut reader = caller.socket.try_clone().expect("a descriptor");
    reader.set_read_timeout(Some(Duration::from_secs(30))).expect("not zero");
    let reading = thread::spawn(move || {
        let mut sink = [0; 65536];
        while matches!(reader.read(&mut sink), Ok(1..)) {}
    });
    for some in octets.chunks(1 << 16) {
        if caller.socket.write_all(some).is_err() {
            break;
        }
    }
    // The daemon sees the end behind all of it, and closes.
    let _ = caller.socket.shutdown(std::net::Shutdown::Write);
    reading.join().expect("the reader does not panic");
}

#[test]
fn no_neighbour_stops_the_others() {
    let stalled = Stdio::piped();
    let fifo = |folder: &std::path::Path| {
        let path = folder.join("blocks");
        assert!(Command::new("mkfifo").arg(&path).status().expect("mkfifo runs").success());
        format!("[limits]\nmemory = \"{BUDGET}MiB\"\n[pods]\nfile = \"{}\"\n", path.display())
    };
    // Its log goes to a pipe that nobody reads, and its blocks are in a FIFO that nobody writes.
    let Some(mut arena) = Arena::new("no_neighbour_stops_the_others", fifo, stalled) else { return };
    let _log = arena.daemon.stderr.take();
    let arena = &arena;
    arena.under("nobody does anything", || thread::sleep(Duration::from_secs(1)));
    let mark = |subtype: u8| message(5, &[0, 1, subtype, 1]);
    arena.under("BoRR 12,000 times over 100,000 refused routes", move || {
        let mut octets = table(33, 0, 100_000);
        octets.extend((0..12_000).flat_map(|_| mark(1)));
        say_all(session(33, 90), &octets);
    });
    arena.under("ROUTE-REFRESH 3,000 times over 50,000 routes", move || {
        let mut octets = table(20, 0, 50_000);
        octets.extend((0..3_000).flat_map(|_| mark(0)));
        say_all(session(20, 90), &octets);
    });
    arena.under("5,000 paths of one prefix, each twice", || {
        let path = |id: u32, med: u8| {
            let nlri = [&id.to_be_bytes()[..], &[24, 10, 223, 0]].concat();
            update(&[], &attributes(21, &attribute(0x80, 4, &[0, 0, 0, med])), &nlri)
        };
        let octets: Vec<u8> = (0..2).flat_map(|med| (1..=5_000).flat_map(move |id| path(id, med))).collect();
        say_all(session(21, 90), &octets);
    });
    arena.under("one IPv6 prefix by 30,000 link-local next hops", || {
        let reach = |i: u32| {
            let hop = [&[0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1][..], &i.to_be_bytes()].concat();
            [&[0, 2, 1, 16][..], &hop, &[0, 48, 0x20, 1, 0x0d, 0xb8, 0, 1]].concat()
        };
        let path = [&[2, 1][..], &u32::from(AS).to_be_bytes()].concat();
        let one = |i| update(&[], &[attribute(0x40, 1, &[0]), attribute(0x40, 2, &path), attribute(0x80, 14, &reach(i))].concat(), &[]);
        let octets: Vec<u8> = (1..=30_000).flat_map(one).collect();
        say_all(session(22, 90), &octets);
    });
    arena.under("20,000 routes with 3,600 octets of attributes each", || {
        let fat = |i: u32| {
            let communities: Vec<u8> = (0..900u32).flat_map(|c| (i ^ c << 16).to_be_bytes()).collect();
            let more = [&[0xd0, 8][..], &(communities.len() as u16).to_be_bytes(), &communities].concat();
            update(&[], &attributes(23, &more), &[&[32][..], &(0x6000_0000 + i).to_be_bytes()].concat())
        };
        let octets: Vec<u8> = (0..20_000).flat_map(fat).collect();
        say_all(session(23, 90), &octets);
    });
    // With a hasher whose multiplicand is foldhash's public one all of these would have one hash, and each cost what all before it do.
    arena.under("60,000 IPv6 prefixes that cancel a public hasher", || {
        let path = [&[2, 1][..], &u32::from(AS).to_be_bytes()].concat();
        let hop = [&[0, 2, 1, 16, 0xfd, 0][..], &[0; 13], &[22, 0]].concat();
        let prefix = |n: u32| [&[128, 0x20, 0x01, 0x0d, 0xb8][..], &n.to_be_bytes(), &PUBLIC_MULTIPLICAND.to_le_bytes()].concat();
        let all: Vec<Vec<u8>> = (0..60_000).map(prefix).collect();
        let say = |some: &[Vec<u8>]| {
            let reach = [hop.clone(), some.concat()].concat();
            let reach = [&[0x90, 14][..], &(reach.len() as u16).to_be_bytes(), &reach].concat();
            update(&[], &[attribute(0x40, 1, &[0]), attribute(0x40, 2, &path), reach].concat(), &[])
        };
        say_all(session(22, 90), &all.chunks(200).flat_map(say).collect::<Vec<u8>>());
    });
    arena.under("40,000 attribute sets that cancel a public hasher", || {
        let one = |n: u32| {
            let value = [n.to_be_bytes().to_vec(), PUBLIC_MULTIPLICAND.to_le_bytes().repeat(28)].concat();
            let nlri = [&[32][..], &(0x6100_0000 + n % 1_000).to_be_bytes()].concat();
            update(&[], &attributes(23, &attribute(0xc0, 230, &value)), &nlri)
        };
        say_all(session(23, 90), &(0..40_000).flat_map(one).collect::<Vec<u8>>());
    });
    arena.under("60,000 prefixes that come and go, and one who reads nothing", || {
        let mut deaf = session(24, 90);
        let prefixes: Vec<Vec<u8>> = (0..60_000u32).map(|i| [&[32][..], &(0x7000_0000 + i).to_be_bytes()].concat()).collect();
        let octets: Vec<u8> = prefixes
            .chunks(700)
            .flat_map(|p| [update(&[], &attributes(20, &[]), &p.concat()), update(&p.concat(), &[], &[])].concat())
            .collect();
        say_all(session(20, 90), &octets);
        deaf.say(&keepalive());
    });
    arena.under("2,000 connections with a wrong AS number", || {
        let mut answers = BTreeMap::new();
        for n in 0..2_000u32 {
            let Ok(mut caller) = Caller::between(Ipv4Addr::new(10, 0, 0, 25 + (n % 4) as u8), DAEMON, 179) else { continue };
            caller.say(&open(4, 64_999, 90, [10, 9, 9, 9], &[]));
            *answers.entry(matches!(caller.hear(Duration::from_millis(50)), Heard::Message(..))).or_insert(0) += 1;
        }
        println!("answered with a message, or not: {answers:?}");
    });
    arena.under("140 HTTP clients that read nothing", || {
        let clients: Vec<TcpStream> = (0..140).filter_map(|_| TcpStream::connect((DAEMON, 9179)).ok()).collect();
        for mut client in clients.iter() {
            let _ = client.write_all(b"GET /v1/routes HTTP/1.1\r\nHost: x\r\n\r\n");
        }
        thread::sleep(Duration::from_millis(500));
        let answer = || {
            let mut probe = TcpStream::connect((DAEMON, 9179)).ok()?;
            probe.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
            probe.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok()?;
            let mut text = String::new();
            probe.read_to_string(&mut text).ok()?;
            Some(text)
        };
        let text = patiently(Duration::from_secs(20), || answer().is_some_and(|text| text.starts_with("HTTP/1.1 200")));
        assert!(text.is_some(), "/livez has no place left");
    });
    println!("in the end: {} MiB", arena.resident());
}
