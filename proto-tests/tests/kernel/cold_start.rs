//! A cold start: all peers come at one time. A session is a promise also while everybody's table is written to everybody else.

use std::fs;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use proto_tests::netlab::mounts::Scratch;
use proto_tests::netlab::patiently;
use proto_tests::netlab::proc::catbird;
use proto_tests::node::Node;
use proto_tests::outside::{Caller, Heard, keepalive, open, update, usual_attributes, usual_capabilities};

const DAEMON: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const THEIR_AS: u16 = 65002;

/// A peer's address behind the link.
fn addr(n: u16) -> Ipv4Addr {
    Ipv4Addr::from(0x0a00_0000 + 20 + u32::from(n))
}

/// `count` peers, each with an export policy that no other has.
fn peers_with_policies(count: u16) -> String {
    let peer = |n: u16| {
        format!(
            "[[peer]]\nname = \"peer-{n}\"\naddress = \"{}\"\nasn = {THEIR_AS}\npassive = true\nimport = \"all\"\nexport = \"policy-{n}\"\n\
             [policy.policy-{n}]\ndefault = \"accept\"\n[[policy.policy-{n}.rules]]\nadd_communities = [\"65001:{n}\"]\nthen = \"next\"\n",
            addr(n)
        )
    };
    (1..=count).map(peer).collect()
}

/// IPv4 prefixes that an UPDATE announces.
fn announced(body: &[u8]) -> usize {
    let length = |at: usize| usize::from(u16::from_be_bytes([body[at], body[at + 1]]));
    let attributes = 2 + length(0);
    let mut nlri = &body[attributes + 2 + length(attributes)..];
    let mut count = 0;
    while let Some((bits, _)) = nlri.split_first() {
        nlri = &nlri[1 + usize::from(bits.div_ceil(8))..];
        count += 1;
    }
    count
}

/// What the peers of a cold start have in common.
struct ColdStart {
    peers: u16,
    routes: u16,
    /// In seconds.
    hold: u16,
    begin: Barrier,
    /// Peers that have heard everything, or will not.
    done: AtomicUsize,
}

impl ColdStart {
    /// One peer: announces its routes, reads the others', says KEEPALIVE all the time. The longest time without a word from the daemon.
    fn meet(&self, mut caller: Caller, n: u16) -> Result<Duration, String> {
        self.begin.wait();
        let begun = Instant::now();
        caller.say(&[open(4, THEIR_AS, self.hold, caller.addr.octets(), &usual_capabilities()), keepalive()].concat());
        let nlri: Vec<u8> = (0..self.routes).flat_map(|i| [&[32, 20, n as u8][..], &i.to_be_bytes()].concat()).collect();
        caller.say(&nlri.chunks(1000).flat_map(|some| update(&[], &usual_attributes(caller.addr), some)).collect::<Vec<u8>>());
        let expected = usize::from(self.peers - 1) * usize::from(self.routes);
        let (mut heard, mut last, mut longest, mut said, mut all_since) = (0, Instant::now(), Duration::ZERO, Instant::now(), None);
        loop {
            if said.elapsed() > Duration::from_millis(u64::from(self.hold) * 300) {
                said = Instant::now();
                caller.say(&keepalive());
            }
            match caller.hear(Duration::from_millis(300)) {
                Heard::Message(3, body) => return Err(format!("peer {n}: NOTIFICATION {body:?} after {heard} routes")),
                Heard::Message(kind, body) => {
                    longest = longest.max(last.elapsed());
                    last = Instant::now();
                    let before = heard;
                    heard += if kind == 2 { announced(&body) } else { 0 };
                    self.done.fetch_add(usize::from(before < expected && heard >= expected), Relaxed);
                }
                Heard::Silence => {}
                Heard::End => return Err(format!("peer {n}: the daemon hung up after {heard} routes")),
            }
            if begun.elapsed() > Duration::from_secs(400) {
                return Err(format!("peer {n}: {heard} of {expected} routes"));
            }
            // Once all have everything, who was starved meanwhile has a hold time to be missed.
            if self.done.load(Relaxed) == usize::from(self.peers) {
                let since = *all_since.get_or_insert_with(Instant::now);
                if since.elapsed() > Duration::from_secs(u64::from(self.hold) + 1) {
                    return Ok(longest);
                }
            }
        }
    }
}

fn config(peers: u16, folder: &std::path::Path) -> String {
    format!(
        "[node]\nasn = 65001\nrouter_id = \"10.0.0.1\"\naddresses = [\"10.0.0.1\"]\n[listen]\naddresses = [\"10.0.0.1\"]\n[fib]\nenabled = false\n\
         [metrics]\nlisten = \"\"\n[control]\nsocket = \"{}\"\n{}",
        folder.join("sock").display(),
        peers_with_policies(peers)
    )
}

/// R59: all peers of a cold start come at one time, each with a policy of its own, so that the whole table is exported once for each.
fn cold_start(test: &str, peers: u16, routes: u16, hold: u16) {
    let Some(node) = Node::new(test) else { return };
    for n in 1..=peers {
        let mut command = Command::new("ip");
        command.args(["addr", "add", &format!("{}/24", addr(n)), "dev", "eth1"]);
        node.router.output(command).expect("ip runs");
    }
    let scratch = Scratch::new("cold-start").expect("a temporary folder");
    let path = scratch.path().join("catbird.toml");
    fs::write(&path, config(peers, scratch.path())).expect("the scratch folder is ours");
    let mut command = Command::new(catbird().unwrap_or_else(|e| panic!("{e}")));
    command.arg("run").arg("-c").arg(path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut daemon = node.ns.spawn(command).expect("the daemon starts");
    let listens = || node.router.run(|| Caller::between(addr(1), DAEMON, 179)).is_ok();
    assert!(patiently(Duration::from_secs(30), listens).is_some(), "the daemon does not listen");
    let start = ColdStart { peers, routes, hold, begin: Barrier::new(usize::from(peers)), done: AtomicUsize::new(0) };
    let begun = Instant::now();
    let outcomes: Vec<Result<Duration, String>> = std::thread::scope(|scope| {
        let call = |n| node.router.run(move || Caller::between(addr(n), DAEMON, 179)).expect("the daemon listens");
        let callers: Vec<Caller> = (1..=peers).map(call).collect();
        let start = &start;
        let meet = |(caller, n)| {
            scope.spawn(move || {
                let outcome = start.meet(caller, n);
                start.done.fetch_add(usize::from(outcome.is_err()), Relaxed);
                outcome
            })
        };
        let threads: Vec<_> = callers.into_iter().zip(1..).map(meet).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    daemon.kill().and_then(|()| daemon.wait()).expect("our child");
    let fallen: Vec<&String> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
    let longest = outcomes.iter().filter_map(|outcome| outcome.as_ref().ok()).max();
    println!(
        "{peers} peers x {routes} routes to each other, hold time {hold} s: {:.1?}; at most {longest:.1?} without a word",
        begun.elapsed()
    );
    assert!(fallen.is_empty(), "{} sessions fell: {fallen:?}", fallen.len());
}

#[test]
fn a_cold_start_of_many_peers_with_policies_of_their_own_costs_no_session() {
    cold_start("a_cold_start_of_many_peers_with_policies_of_their_own_costs_no_session", 60, 200, 9);
}

#[test]
#[ignore = "big: 200 peers, 8,000,000 routes to write; with a CATBIRD_BIN of a release build"]
fn a_cold_start_of_two_hundred_peers_with_policies_of_their_own_costs_no_session() {
    cold_start("a_cold_start_of_two_hundred_peers_with_policies_of_their_own_costs_no_session", 200, 200, 3);
}
