//! Faults of FAILURES.md section 2 that come from callers, against the real daemon over TCP.
//!
//! Expected in each: what a real peer has with the daemon is not touched, and memory and descriptors return to where they were. The large
//! ones run with `./proto-tests/run --big`.

use std::net::Ipv4Addr;
use std::process::Command;
use std::time::{Duration, Instant};

use proto_tests::netlab::patiently;
use proto_tests::netlab::proc::catbird;
use proto_tests::outside::{
    Caller, Daemon, Heard, OUR_AS, PATIENCE, THEIR_AS, addr, keepalive, message, open, update, usual_attributes, usual_capabilities,
    usual_open,
};

/// A polite peer with a hold time of three seconds, in a thread of its own: it answers each KEEPALIVE with one until `stop` says so, and then tells
/// the longest time between two messages of the daemon.
struct Polite {
    thread: std::thread::JoinHandle<Result<Duration, String>>,
    stop: std::sync::Arc<std::sync::atomic::AtomicBool>,
}

impl Polite {
    fn begin(daemon: &Daemon, n: u16, hold: u16) -> Polite {
        let mut caller = daemon.call(n);
        caller.say(&[open(4, THEIR_AS, hold, caller.addr.octets(), &[]), keepalive()].concat());
        assert!(caller.hear_type(4).is_some(), "no session to begin with");
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
            while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
                match caller.hear(Duration::from_millis(200)) {
                    Heard::Message(3, body) => return Err(format!("NOTIFICATION {body:?}")),
                    Heard::Message(..) => {
                        longest = longest.max(last.elapsed());
                        last = Instant::now();
                        caller.say(&keepalive());
                    }
                    Heard::Silence => {}
                    Heard::End => return Err("the daemon hung up".to_owned()),
                }
            }
            Ok(longest.max(last.elapsed()))
        });
        Polite { thread, stop }
    }

    fn end(self) -> Result<Duration, String> {
        self.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        self.thread.join().expect("no panic")
    }
}

/// Connections that say nothing, rubbish, or half an OPEN; some from addresses that are peers, some from strangers.
fn bogus(daemon: &Daemon, n: u32) -> Option<Caller> {
    let stranger = n.is_multiple_of(4);
    let addr = if stranger { Ipv4Addr::from(0x7f60_0000 + n) } else { Ipv4Addr::from(0x7f11_0000 + n / 8) };
    let mut caller = Caller::from(addr, daemon.port).ok()?;
    match n % 3 {
        0 => {}
        1 => caller.say(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        _ => caller.say(&usual_open(addr)[..20]),
    }
    Some(caller)
}

fn crowd_of_bogus_connections(count: u32) {
    // Each of ours takes a descriptor here too.
    let limit = libc::rlimit { rlim_cur: 30_000, rlim_max: 30_000 };
    // SAFETY: `limit` is a valid rlimit for the time of the call; where it is not allowed, fewer connections stand at a time.
    let _ = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    let daemon = Daemon::start("open_timeout = \"5s\"", "");
    let polite = Polite::begin(&daemon, 1, 9);
    let (descriptors, memory) = (daemon.descriptors(), daemon.resident());
    let mut crowd = Vec::new();
    let mut most = 0;
    for n in 0..count {
        crowd.extend(bogus(&daemon, n));
        if n % 500 == 0 {
            most = most.max(daemon.descriptors());
        }
    }
    let grown = daemon.resident().saturating_sub(memory);
    let served = daemon.call(2).established().is_established();
    let back = patiently(Duration::from_secs(90), || daemon.descriptors() <= descriptors + 4);
    println!("{} of {count} stood; descriptors {descriptors}, at most {most}; {grown} KiB more", crowd.len());
    assert!(back.is_some(), "{} descriptors, {descriptors} before; the callers have not even hung up", daemon.descriptors());
    assert!(served, "a peer that comes meanwhile is served");
    assert!(grown < 100 * 1024, "{grown} KiB for {count} connections");
    let longest = polite.end().expect("the real peer's session stands");
    assert!(longest < Duration::from_secs(9), "{longest:?} without a word");
}

#[test]
fn a_crowd_of_bogus_connections_costs_nobody_else() {
    crowd_of_bogus_connections(1000);
}

#[test]
#[ignore = "big: 10,000 connections"]
fn ten_thousand_bogus_connections_cost_nobody_else() {
    crowd_of_bogus_connections(10_000);
}

/// RLIMIT_NOFILE of 40: the daemon has none left for newcomers, does not spin over it, keeps what it has, and recovers.
#[test]
fn without_descriptors_the_daemon_keeps_what_it_has_and_recovers() {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 40; exec \"$0\" \"$@\""]).arg(catbird().unwrap_or_else(|e| panic!("{e}")));
    let daemon = Daemon::start_as("", "", command);
    let polite = Polite::begin(&daemon, 1, 9);
    let crowd: Vec<Caller> = (0..100).map(|n| daemon.call(100 + n)).collect();
    let said = || daemon.ask(&["status"]).contains("file descriptors allow");
    assert!(patiently(PATIENCE, said).is_some(), "{}", daemon.ask(&["status"]));
    let before = daemon.ticks();
    std::thread::sleep(Duration::from_secs(4));
    let used = daemon.ticks() - before;
    assert!(used < 200, "{used} ticks of CPU in four seconds");
    drop(crowd);
    // Turned away until the daemon has seen that the crowd has gone.
    let serves = |mut caller: Caller| {
        caller.say(&usual_open(caller.addr));
        caller.hear_type(1).is_some() && caller.hear_type(4).is_some()
    };
    let served = patiently(PATIENCE, || Caller::from(Ipv4Addr::new(127, 16, 9, 9), daemon.port).is_ok_and(serves));
    assert!(served.is_some(), "nobody is served though the crowd has gone");
    let longest = polite.end().expect("the session that stood before stands");
    assert!(longest < Duration::from_secs(9), "{longest:?} without a word");
}

/// Two keyed daemons and a third peer: the key of the two is replaced on both, and only their session is interrupted.
#[test]
fn a_rotated_password_reconnects_only_its_own_session() {
    let key = std::env::temp_dir().join(format!("catbird-key-{}", std::process::id()));
    let rotate = |text: &str| {
        let new = key.with_extension("new");
        std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, &key)).expect("a temporary file");
    };
    rotate("first\n");
    let (a_addr, b_addr) = (Ipv4Addr::new(127, 0, 1, 1), Ipv4Addr::new(127, 0, 1, 2));
    let text = |me: Ipv4Addr, port: u16, folder: &std::path::Path, peer: Ipv4Addr, more: &str| {
        format!(
            "[node]\nasn = {OUR_AS}\nrouter_id = \"{me}\"\naddresses = [\"{me}\"]\n[listen]\naddresses = [\"{me}\"]\nport = {port}\n\
             [fib]\nenabled = false\n[metrics]\nlisten = \"\"\n[control]\nsocket = \"{}\"\n[[peer]]\nname = \"keyed\"\naddress = \"{peer}\"\n\
             asn = {OUR_AS}\nsource = \"{me}\"\nhold_time = \"9s\"\nconnect_retry = \"1s\"\nidle_hold_max = \"2s\"\npassword_file = \"{}\"\n{more}",
            folder.join("sock").display(),
            key.display()
        )
    };
    let range =
        format!("[[peer_group]]\nname = \"callers\"\nasn = {THEIR_AS}\nlisten = [\"127.16.0.0/12\"]\nimport = \"all\"\nexport = \"all\"\n");
    let a = Daemon::configured(a_addr, |port, folder| text(a_addr, port, folder, b_addr, &format!("passive = true\n{range}")));
    if a.log().contains("TCP-MD5 key") {
        return eprintln!("SKIPPED rotation: this kernel, or this user, sets no TCP-MD5 key");
    }
    let b = Daemon::configured(b_addr, |port, folder| text(b_addr, port, folder, a_addr, &format!("port = {}\n", a.port)));
    let mut plain = Caller::between(Ipv4Addr::new(127, 16, 0, 2), a_addr, a.port).expect("loopback").established();
    let up = |daemon: &Daemon| daemon.json(&["peer", "keyed"])["state"].as_str().is_some_and(|s| s.eq_ignore_ascii_case("established"));
    let flaps = |daemon: &Daemon| daemon.json(&["peer", "keyed"])["flaps"].as_u64();
    assert!(patiently(PATIENCE, || up(&a) && up(&b)).is_some(), "{}\n{}", a.ask(&["peer", "keyed"]), b.ask(&["peer", "keyed"]));
    rotate("second\n");
    assert!(patiently(PATIENCE, || flaps(&a) >= Some(1) && flaps(&b) >= Some(1)).is_some(), "the key is not taken over: {}", a.log());
    assert!(patiently(PATIENCE, || up(&a) && up(&b)).is_some(), "{}\n{}", a.ask(&["peer", "keyed"]), b.ask(&["peer", "keyed"]));
    assert!(!a.log().contains("second") && !b.log().contains("second"), "a key in a log");
    assert!(plain.is_established(), "the peer without a key heard nothing of it");
    let _ = std::fs::remove_file(&key);
}

/// RFC 9687: one says KEEPALIVE in time, wants to hear everything again and again, and reads nothing of it.
#[test]
fn a_peer_that_reads_nothing_is_let_go_and_costs_nobody_else() {
    let blocks: Vec<String> = (0..20_000).map(|n| format!("\"fd00:88:0:{:x}::{:x}:0/112\"", n / 4096, n % 4096)).collect();
    let more = format!(
        "[pods]\nblocks = [{}]\n[[peer]]\nname = \"deaf\"\naddress = \"{}\"\nasn = {THEIR_AS}\npassive = true\nsend_hold = \"5s\"\n\
         import = \"all\"\nexport = \"all\"\n",
        blocks.join(", "),
        addr(9)
    );
    let daemon = Daemon::start("", &more);
    let (descriptors, memory) = (daemon.descriptors(), daemon.resident());
    let polite = Polite::begin(&daemon, 1, 9);
    let mut deaf = daemon.call(9);
    deaf.say(&[open(4, THEIR_AS, 3, addr(9).octets(), &usual_capabilities()), keepalive()].concat());
    let state = || daemon.json(&["peer", "deaf"])["state"].as_str().unwrap_or_default().to_lowercase();
    assert!(patiently(PATIENCE, || state() == "established").is_some(), "{}", daemon.ask(&["peer", "deaf"]));

    let begun = Instant::now();
    let again = [message(5, &[0, 2, 0, 1]), keepalive()].concat();
    let gone = patiently(Duration::from_secs(90), || {
        deaf.say(&again);
        std::thread::sleep(Duration::from_millis(100));
        daemon.ask(&["peer", "deaf"]).contains("sent NOTIFICATION Send Hold Timer Expired (8/0)")
    });
    let (took, view) = (begun.elapsed(), daemon.ask(&["peer", "deaf"]));
    assert!(gone.is_some(), "{view}");
    assert!(took >= Duration::from_secs(5), "{took:?} is less than was configured");
    assert!(view.contains("send hold timer expired: the peer takes nothing from us") && state() != "established", "{view}");
    assert!(daemon.call(2).established().is_established(), "a newcomer is served");
    let longest = polite.end().expect("whoever reads keeps its session");
    assert!(longest < Duration::from_secs(9), "{longest:?} without a word");
    let grown = daemon.resident().saturating_sub(memory);
    println!("let go after {took:?}; {grown} KiB more");
    assert!(grown < 64 * 1024, "{grown} KiB for one that reads nothing");
    drop(deaf);
    let back = patiently(PATIENCE, || daemon.descriptors() <= descriptors);
    assert!(back.is_some(), "{} descriptors, {descriptors} before", daemon.descriptors());
}

/// FAILURES.md promise 6: a flood from one peer costs no other its session.
fn keepalives_under_a_flood(routes: u32) {
    let daemon = Daemon::start("", "");
    let polite = Polite::begin(&daemon, 1, 3);
    let mut flood = daemon.call(2).established();
    let attributes = usual_attributes(flood.addr);
    let mut sent = 0;
    while sent < routes {
        let nlri: Vec<u8> = (sent..sent + 500).flat_map(|n| [24, 16 + (n >> 16) as u8, (n >> 8) as u8, n as u8]).collect();
        flood.say(&update(&[], &attributes, &nlri));
        sent += 500;
    }
    flood.say(&message(5, &[0, 1, 0, 1]));
    while !matches!(flood.hear(Duration::from_secs(120)), Heard::Message(5, _)) {}
    let longest = polite.end().expect("a hold time of three seconds is kept");
    println!("{sent} routes; {longest:?} between two messages at most");
    assert!(longest < Duration::from_secs(3), "{longest:?} without a word");
    memory_adds_up(&daemon, routes);
    drop(flood);
}

/// `status --memory`: the parts make up the whole, within a tenth where tables are what it is made of.
fn memory_adds_up(daemon: &Daemon, routes: u32) {
    let status = daemon.json(&["status"]);
    let octets = |path: &str| status.pointer(path).and_then(serde_json::Value::as_u64).unwrap_or_default();
    let of_tables = ["routes", "attributes", "export", "fib"].map(|part| octets(&format!("/memory/{part}_bytes")));
    let (program, free, resident) = (octets("/process/program_bytes"), octets("/process/free_bytes"), octets("/process/resident_bytes"));
    let sum = of_tables.iter().sum::<u64>() + program + free;
    println!("{resident} octets resident; routes, attributes, export, kernel {of_tables:?}, program {program}, free {free}: {sum}");
    let bound = if routes >= 1_000_000 { resident / 10 } else { 16 << 20 };
    assert!(resident.abs_diff(sum) <= bound, "{sum} of {resident} octets are accounted for");
    assert!(of_tables[0] > u64::from(routes) * 50, "{of_tables:?}");
    let said = daemon.ask(&["status", "--memory"]);
    assert!(said.contains("resident, of which") && said.contains("everything else"), "{said}");
}

#[test]
fn keepalives_are_in_time_while_another_peer_floods() {
    keepalives_under_a_flood(50_000);
}

#[test]
#[ignore = "big: a million routes"]
fn keepalives_are_in_time_while_another_peer_sends_a_million_routes() {
    keepalives_under_a_flood(1_000_000);
}
