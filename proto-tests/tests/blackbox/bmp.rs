//! Monitoring stations (RFC 7854, 8671, 9069): what one is told over TCP, and what one that stalls, talks or goes can do to us.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use proto_tests::netlab::patiently;
use proto_tests::outside::{Caller, Daemon, OUR_AS, PATIENCE, capabilities, free_port, keepalive, message, open, update, usual_attributes};

/// Beside the external callers of `outside`.
const INTERNAL: &str = "[[peer_group]]\nname = \"friends\"\nasn = 65001\nlisten = [\"127.32.0.0/12\"]\n";

const ROUTE_MONITORING: u8 = 0;
const STATISTICS: u8 = 1;
const PEER_DOWN: u8 = 2;
const PEER_UP: u8 = 3;
const INITIATION: u8 = 4;
const TERMINATION: u8 = 5;

/// Types and flags of peers: as it came, after policy, as it is told, Loc-RIB.
const IN_PRE: [u8; 2] = [0, 0];
const IN_POST: [u8; 2] = [0, 0x40];
const OUT_POST: [u8; 2] = [0, 0x50];
const LOC: [u8; 2] = [3, 0];

/// One connection that the daemon made to us.
struct Station {
    socket: TcpStream,
    octets: Vec<u8>,
}

/// A message without its common header.
#[derive(Clone, Debug, PartialEq)]
struct Said {
    kind: u8,
    body: Vec<u8>,
}

impl Said {
    fn view(&self) -> [u8; 2] {
        [self.body[0], self.body[1]]
    }

    fn peer(&self) -> Ipv4Addr {
        Ipv4Addr::new(self.body[22], self.body[23], self.body[24], self.body[25])
    }

    /// Behind the peer header.
    fn rest(&self) -> &[u8] {
        &self.body[42..]
    }

    /// An UPDATE that ends like this.
    fn announces(&self, view: [u8; 2], nlri: &[u8]) -> bool {
        self.kind == ROUTE_MONITORING && self.view() == view && self.rest().ends_with(nlri) && self.rest()[19..21] == [0, 0]
    }

    /// An UPDATE that withdraws this and says nothing else.
    fn withdraws(&self, view: [u8; 2], nlri: &[u8]) -> bool {
        let body = [&(nlri.len() as u16).to_be_bytes()[..], nlri, &[0, 0]].concat();
        self.kind == ROUTE_MONITORING && self.view() == view && self.rest()[19..] == body
    }

    fn ends_table(&self, view: [u8; 2]) -> bool {
        self.kind == ROUTE_MONITORING && self.view() == view && self.rest()[19..] == [0, 0, 0, 0]
    }
}

impl Station {
    fn accept(listener: &TcpListener) -> Station {
        let (socket, _) = listener.accept().expect("the daemon connects");
        socket.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout can be set");
        Station { socket, octets: Vec::new() }
    }

    fn cut(&mut self) -> Option<Said> {
        let length = u32::from_be_bytes(self.octets.get(1..5)?.try_into().expect("four octets")) as usize;
        if self.octets.len() < length {
            return None;
        }
        assert_eq!(self.octets[0], 3, "the version");
        let message: Vec<u8> = self.octets.drain(..length).collect();
        Some(Said { kind: message[5], body: message[6..].to_vec() })
    }

    /// The next message; `None`: the connection is over, or nothing comes.
    fn next(&mut self) -> Option<Said> {
        let until = Instant::now() + PATIENCE;
        let mut scratch = vec![0; 256 * 1024];
        loop {
            if let Some(said) = self.cut() {
                return Some(said);
            }
            match self.socket.read(&mut scratch) {
                Ok(0) => return None,
                Ok(n) => self.octets.extend(&scratch[..n]),
                Err(_) if Instant::now() < until => {}
                Err(_) => return None,
            }
        }
    }

    /// Messages until one is as wanted, that one last.
    fn until(&mut self, what: &str, wanted: impl Fn(&Said) -> bool) -> Vec<Said> {
        let mut all = Vec::new();
        loop {
            let Some(said) = self.next() else { panic!("{what} never came: {all:?}") };
            let found = wanted(&said);
            all.push(said);
            if found {
                return all;
            }
        }
    }
}

fn listening() -> (TcpListener, u16) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has ports");
    let port = listener.local_addr().expect("bound").port();
    (listener, port)
}

fn station(port: u16, more: &str) -> String {
    format!("[[bmp]]\naddress = \"127.0.0.1\"\nport = {port}\nretry = \"200ms\"\n{more}\n")
}

const ALL: &str = "tables = [\"adj-in-pre\", \"adj-in-post\", \"adj-out\", \"loc-rib\"]\nstatistics = \"1s\"";

fn announce(caller: &mut Caller, nlri: &[u8]) {
    let attributes = usual_attributes(caller.addr);
    caller.say(&update(&[], &attributes, nlri));
}

/// A session that is told what the others announce.
fn internal(daemon: &Daemon) -> Caller {
    let mut caller = Caller::from(Ipv4Addr::new(127, 32, 0, 1), daemon.port).expect("the daemon listens");
    let offered = capabilities(&[(1, &[0, 1, 0, 1]), (65, &u32::from(OUR_AS).to_be_bytes())]);
    caller.say(&open(4, OUR_AS, 90, [127, 32, 0, 1], &offered));
    caller.say(&keepalive());
    assert!(caller.hear_type(1).is_some() && caller.hear_type(4).is_some(), "no session");
    caller
}

#[test]
fn a_station_is_told_of_sessions_and_of_every_table() {
    let (listener, port) = listening();
    let daemon = Daemon::start(INTERNAL, &station(port, ALL));
    let mut station = Station::accept(&listener);
    let hello = station.next().expect("a word");
    assert_eq!(hello.kind, INITIATION);
    assert!(String::from_utf8_lossy(&hello.body).contains("catbird"), "{hello:?}");
    let up = station.next().expect("the Loc-RIB");
    assert_eq!((up.kind, up.view()), (PEER_UP, LOC));
    assert!(up.body.ends_with(b"global"));

    let mut one = daemon.call(1).established();
    let ups = station.until("Peer Up", |said| said.kind == PEER_UP);
    let up = ups.last().expect("it came");
    assert_eq!((up.view(), up.peer()), (IN_PRE, one.addr));
    let opens = &up.rest()[20..];
    let first = usize::from(u16::from_be_bytes([opens[16], opens[17]]));
    assert_eq!((opens[18], opens[first + 18], opens[first + 16] as usize * 256 + opens[first + 17] as usize), (1, 1, opens.len() - first));
    let two = internal(&daemon);
    station.until("the second Peer Up", |said| said.kind == PEER_UP && said.peer() == two.addr);

    // What is announced from loopback has a next hop that nobody can reach, and what is a block of ours is used.
    let (theirs, ours) = ([24, 198, 51, 100], [26, 10, 99, 0, 0]);
    announce(&mut one, &theirs);
    let added = daemon.ask(&["block", "add", "10.99.0.0/26"]);
    let mut missing = vec![
        ("pre", IN_PRE, one.addr, &theirs[..]),
        ("post", IN_POST, one.addr, &theirs),
        ("loc", LOC, Ipv4Addr::UNSPECIFIED, &ours),
        ("out", OUT_POST, two.addr, &ours),
    ];
    while !missing.is_empty() {
        let said = station.next().unwrap_or_else(|| panic!("never came: {missing:?}; {added}"));
        missing.retain(|(_, view, peer, nlri)| !(said.announces(*view, nlri) && said.peer() == *peer));
    }
    one.say(&update(&theirs, &[], &[]));
    station.until("the withdrawal", |said| said.withdraws(IN_POST, &theirs) && said.peer() == one.addr);
    daemon.ask(&["block", "remove", "10.99.0.0/26"]);
    let mut missing = vec![(LOC, Ipv4Addr::UNSPECIFIED), (OUT_POST, two.addr)];
    while !missing.is_empty() {
        let said = station.next().unwrap_or_else(|| panic!("not withdrawn: {missing:?}"));
        missing.retain(|(view, peer)| !(said.withdraws(*view, &ours) && said.peer() == *peer));
    }
    let numbers = station.until("numbers", |said| said.kind == STATISTICS && said.peer() == two.addr);
    assert!(numbers.last().is_some_and(|said| said.rest()[..4] == [0, 0, 0, 5]), "{numbers:?}");

    drop(two);
    let down = station.until("Peer Down", |said| said.kind == PEER_DOWN);
    assert_eq!(down.last().map(|said| said.rest().to_vec()), Some(vec![4]), "closed without a word");
    one.say(&message(3, &[6, 2]));
    let down = station.until("the second", |said| said.kind == PEER_DOWN);
    assert_eq!(down.last().map(|said| (said.rest()[0], said.rest()[20..].to_vec())), Some((3, vec![6, 2])), "its NOTIFICATION");
    let row = daemon.json(&["bmp"])[0].clone();
    assert_eq!((row["state"].as_str(), row["connections"].as_u64()), (Some("following"), Some(1)), "{row}");
    drop(daemon);
}

#[test]
fn a_station_that_comes_late_is_told_everything_and_goodbye() {
    let port = free_port();
    let daemon = Daemon::start(INTERNAL, &station(port, ALL));
    let mut caller = daemon.call(1).established();
    let nlri = [24, 198, 51, 100];
    announce(&mut caller, &nlri);
    daemon.ask(&["block", "add", "10.99.0.0/26"]);
    let refused = || daemon.ask(&["bmp"]).contains("refused");
    assert!(patiently(PATIENCE, refused).is_some(), "{}", daemon.ask(&["bmp"]));
    assert_eq!(daemon.log().matches("not connected").count(), 1, "said once:\n{}", daemon.log());
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("the port is free");
    for _ in 0..2 {
        let mut station = Station::accept(&listener);
        let told = station.until("the end of a table", |said| said.ends_table(IN_POST) && said.peer() == caller.addr);
        let at = |wanted: &dyn Fn(&Said) -> bool| told.iter().position(wanted);
        let (up, route) = (at(&|said| said.kind == PEER_UP && said.view() == IN_PRE), at(&|said| said.announces(IN_PRE, &nlri)));
        assert!(up.is_some() && up < route, "{told:?}");
        assert!(at(&|said| said.announces(LOC, &[26, 10, 99, 0, 0])).is_some(), "{told:?}");
        // It vanishes; the next one is told all again.
    }
    let mut station = Station::accept(&listener);
    station.until("the table", |said| said.ends_table(LOC));
    let stop = std::process::Command::new("kill").arg(daemon.pid().to_string()).status();
    assert!(stop.is_ok_and(|status| status.success()));
    station.until("a goodbye", |said| said.kind == TERMINATION);
    assert_eq!(station.next(), None);
}

/// More than waits for a station at most.
const MANY: u32 = 280_000;

fn announce_many(caller: &mut Caller) {
    let all: Vec<u32> = (0..MANY).map(|n| 0x0b00_0000 + n).collect();
    for some in all.chunks(700) {
        let nlri: Vec<u8> = some.iter().flat_map(|n| [&[32][..], &n.to_be_bytes()].concat()).collect();
        announce(caller, &nlri);
    }
}

/// How many prefixes a station is told in one table until that ends; `None`: the connection did before.
fn told(station: &mut Station, view: [u8; 2]) -> Option<usize> {
    let mut seen = BTreeSet::new();
    loop {
        let said = station.next()?;
        if said.ends_table(view) {
            return Some(seen.len());
        }
        if said.kind == ROUTE_MONITORING && said.view() == view {
            let rest = said.rest();
            let attributes = usize::from(u16::from_be_bytes([rest[21], rest[22]]));
            seen.extend(rest[23 + attributes..].chunks_exact(5).map(<[u8]>::to_vec));
        }
    }
}

#[test]
fn a_station_that_takes_nothing_holds_up_nobody_and_begins_anew() {
    let (slow, stalled) = (listening(), listening());
    let tables = "tables = [\"adj-in-pre\", \"loc-rib\"]\nstatistics = 0\n";
    let stations = station(slow.1, &format!("{tables}timeout = \"10m\"")) + &station(stalled.1, &format!("{tables}timeout = \"2s\""));
    let daemon = Daemon::start(INTERNAL, &stations);
    // Neither reads; one is given up for what waits, the other for the time that passed.
    let never_read = [Station::accept(&slow.0), Station::accept(&stalled.0)];
    let mut caller = daemon.call(1).established();
    announce_many(&mut caller);
    assert!(patiently(PATIENCE, || daemon.has("11.4.69.191/32")).is_some(), "the last route is in the table");
    let row = |port: u16| {
        let rows = daemon.json(&["bmp"]);
        let of = |row: &&serde_json::Value| row["station"] == format!("127.0.0.1:{port}");
        rows.as_array().and_then(|rows| rows.iter().find(of)).cloned().unwrap_or_default()
    };
    let anew = || row(slow.1)["overruns"] == 1 && row(slow.1)["last_error"].as_str().is_some_and(|why| why.contains("too slow"));
    assert!(patiently(PATIENCE, anew).is_some(), "{}", daemon.ask(&["bmp"]));
    let given_up = || row(stalled.1)["last_error"].as_str().is_some_and(|why| why.contains("taken nothing") || why.contains("too slow"));
    assert!(patiently(PATIENCE, given_up).is_some(), "{}", daemon.ask(&["bmp"]));
    assert!(daemon.ask(&["peers"]).contains("Established"), "{}", daemon.ask(&["peers"]));
    drop(never_read);
    for listener in [&slow.0, &stalled.0] {
        // Connections that nobody read meanwhile may have been given up as well.
        let whole = (0..100).find_map(|_| told(&mut Station::accept(listener), IN_PRE));
        assert_eq!(whole, Some(MANY as usize));
    }
    assert!(daemon.ask(&["peers"]).contains("Established"), "{}", daemon.ask(&["peers"]));
}

#[test]
fn a_station_that_talks_is_let_go() {
    let (listener, port) = listening();
    let daemon = Daemon::start(INTERNAL, &station(port, ""));
    let mut talker = Station::accept(&listener);
    let rubbish = [0xa5; 4096];
    (0..64).for_each(|_| drop(talker.socket.write_all(&rubbish)));
    let said = || daemon.ask(&["bmp"]).contains("it talks to us");
    assert!(patiently(PATIENCE, said).is_some(), "{}", daemon.ask(&["bmp"]));
    let mut next = Station::accept(&listener);
    assert_eq!(next.next().map(|said| said.kind), Some(INITIATION));
}

#[test]
fn stations_come_and_go_with_the_configuration() {
    let (one, other) = (listening(), listening());
    let mut file = None;
    let text = |port: u16, folder: &std::path::Path, station: &str| {
        format!(
            "[node]\nasn = 65001\nrouter_id = \"10.0.0.1\"\naddresses = [\"127.0.0.1\"]\n[listen]\naddresses = [\"127.0.0.1\"]\nport = {port}\n\
             [fib]\nenabled = false\n[metrics]\nlisten = \"\"\n[control]\nsocket = \"{}\"\n{station}",
            folder.join("sock").display()
        )
    };
    let daemon = Daemon::configured(Ipv4Addr::LOCALHOST, |port, folder| {
        file = Some((folder.join("catbird.toml"), text(port, folder, &station(other.1, ""))));
        text(port, folder, &station(one.1, ""))
    });
    let mut first = Station::accept(&one.0);
    first.until("the table", |said| said.ends_table(LOC));
    let (path, next) = file.expect("it was configured");
    std::fs::write(path, next).expect("it can be written");
    let plan = daemon.ask(&["reload"]);
    assert!(plan.contains(&format!("[[bmp]] 127.0.0.1:{} (adj-in-pre, loc-rib) ends", one.1)) && plan.contains("begins"), "{plan}");
    first.until("a goodbye", |said| said.kind == TERMINATION);
    let mut second = Station::accept(&other.0);
    assert_eq!(second.next().map(|said| said.kind), Some(INITIATION));
    assert!(!daemon.ask(&["bmp"]).contains(&one.1.to_string()), "{}", daemon.ask(&["bmp"]));
}
