//! `[control] bird_sockets` as its readers meet it: raw sockets that read as calico-node's status reporter and its probes do, and BIRD's own client.

use std::io::{BufRead, BufReader, Write};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use proto_tests::netlab::{patiently, skip};
use proto_tests::outside::{Daemon, OUR_AS, PATIENCE, addr, update, usual_attributes};
use regex::Regex;

/// Sessions with names of Calico's; the first is called for, nobody is at the others.
fn daemon() -> Daemon {
    Daemon::configured(Ipv4Addr::LOCALHOST, |port, folder| {
        format!(
            "[node]\nname = \"us\"\nasn = {OUR_AS}\nrouter_id = \"10.0.0.1\"\naddresses = [\"127.0.0.1\", \"fd00::1\"]\n[listen]\n\
             addresses = [\"127.0.0.1\"]\nport = {port}\n[fib]\nenabled = false\n[metrics]\nlisten = \"\"\n[pods]\nblocks = [\"10.65.1.0/26\"]\n\
             [control]\nsocket = \"{folder}/sock\"\nbird_sockets = \"{folder}\"\n[[peer]]\nname = \"Global_127_16_0_1\"\naddress = \"{first}\"\nasn = 65002\n\
             passive = true\nimport = \"all\"\nexport = \"all\"\n[[peer]]\nname = \"Mesh_127_0_0_9\"\naddress = \"127.0.0.9\"\nasn = \"internal\"\n\
             [[peer]]\nname = \"Mesh_fd00__9\"\naddress = \"fd00::9\"\nasn = \"internal\"\npassive = true\n",
            folder = folder.display(),
            first = addr(1),
        )
    })
}

/// One command, as Calico's readers send it and read the reply: line by line up to one of the codes that end it.
fn ask(socket: &Path, command: &str, end: &str) -> Vec<String> {
    let mut stream = UnixStream::connect(socket).expect("it is served");
    stream.set_read_timeout(Some(Duration::from_secs(2))).expect("not zero");
    writeln!(stream, "{command}").expect("it listens");
    let mut lines = Vec::new();
    for line in BufReader::new(stream).lines() {
        let line = line.unwrap_or_else(|e| panic!("{command}: {e} after {lines:?}"));
        let over = line.starts_with(end);
        lines.push(line);
        if over {
            return lines;
        }
    }
    panic!("{command}: closed after {lines:?}")
}

/// Rows of the table of protocols, as the reporter takes them apart: name, state, since, information. A line that it would not expect fails.
fn protocols(socket: &Path) -> Vec<[String; 4]> {
    let mut rows = Vec::new();
    for line in ask(socket, "show protocols", "0000") {
        let row = match line.get(..4) {
            Some("0000" | "0001") => continue,
            Some("2002") => {
                let headings: Vec<&str> = line[5..].split_whitespace().collect();
                assert_eq!(headings, ["name", "proto", "table", "state", "since", "info"]);
                continue;
            }
            Some("1002") => &line[5..],
            _ if line.starts_with(' ') => &line[1..],
            _ => panic!("unexpected output line: {line}"),
        };
        let columns: Vec<&str> = row.split_whitespace().collect();
        if columns.len() >= 6 && columns[1] == "BGP" {
            rows.push([columns[0].into(), columns[3].into(), columns[4].into(), columns[5..].join(" ")]);
        }
    }
    rows
}

/// Routes as the reporter takes them apart: destination, gateway or kind, device, whom it is from, whether it is the one in use.
fn routes(socket: &Path) -> Vec<[String; 5]> {
    let via = Regex::new(r"(?P<dest>\S*)\s*via\s(?P<gateway>\S*)\s*on\s(?P<iface>.*)\s\[(?P<from>\S*)\s.*\].*").expect("a pattern");
    let other = Regex::new(r"(?P<dest>\S*)\s*(?P<kind>blackhole|unreachable)\s\[(?P<from>\S*)\s.*\].*").expect("a pattern");
    let (mut rows, mut last) = (Vec::new(), String::new());
    for line in ask(socket, "show route", "0000") {
        let row = match line.get(..4) {
            Some("0000" | "0001") => continue,
            Some("1007") => &line[5..],
            _ if line.starts_with(' ') => &line[1..],
            _ => panic!("unexpected output line: {line}"),
        };
        let found = via.captures(row).or_else(|| other.captures(row)).unwrap_or_else(|| panic!("cannot be parsed: {row}"));
        let part = |name: &str| found.name(name).map_or(String::new(), |m| m.as_str().to_owned());
        last = if part("dest").is_empty() { last } else { part("dest") };
        rows.push([last.clone(), part("gateway") + &part("kind"), part("iface"), part("from"), row.contains("] *").to_string()]);
    }
    rows
}

#[test]
fn calico_s_readers_find_status_peers_and_routes_of_each_family() {
    let daemon = daemon();
    let folder = daemon.socket().parent().expect("a folder").to_owned();
    let (v4, v6) = (folder.join("bird.ctl"), folder.join("bird6.ctl"));
    assert!(patiently(PATIENCE, || v4.exists() && v6.exists()).is_some(), "{}", daemon.log());
    let mut caller = daemon.call(1).established();
    // 203.0.113.0/24
    caller.say(&update(&[], &usual_attributes(caller.addr), &[24, 203, 0, 113]));
    assert!(patiently(PATIENCE, || daemon.has("203.0.113.0/24")).is_some(), "{}", daemon.log());

    let status = ask(&v4, "show status", "0013");
    let has = |start: &str| status.iter().any(|line| line.starts_with(start));
    assert!(status[0].contains("BIRD") && status[0].contains("ready") && has("1000-BIRD v"), "{status:?}");
    assert!(has("1011-Router ID is 10.0.0.1") && has(" Last reboot on 2") && has(" Last reconfiguration on 2"), "{status:?}");

    let rows = protocols(&v4);
    let named = |name: &str| rows.iter().find(|row| row[0] == name).unwrap_or_else(|| panic!("{rows:?}"));
    assert_eq!(rows.len(), 2, "each socket its family: {rows:?}");
    assert_eq!((named("Global_127_16_0_1")[1].as_str(), named("Global_127_16_0_1")[3].as_str()), ("up", "Established"));
    assert_eq!(named("Mesh_127_0_0_9")[1], "start");
    assert_eq!(protocols(&v6).iter().map(|row| row[0].as_str()).collect::<Vec<_>>(), ["Mesh_fd00__9"]);

    let detail = ask(&v4, "show protocols all Global_127_16_0_1", "0000").join("\n");
    let value = |key: &str| detail.lines().find_map(|line| line.split_once(key)).map(|(_, value)| value.trim().to_owned());
    assert_eq!(value("BGP state:").as_deref(), Some("Established"), "{detail}");
    assert_eq!(value("Neighbor address:"), Some(addr(1).to_string()), "{detail}");
    assert_eq!(value("Neighbor AS:").as_deref(), Some("65002"), "{detail}");

    let rows = routes(&v4);
    let of = |dest: &str| rows.iter().find(|row| row[0] == dest).unwrap_or_else(|| panic!("{rows:?}"));
    assert_eq!(of("10.65.1.0/26")[1..], ["blackhole".to_owned(), String::new(), "static1".into(), "true".into()]);
    assert_eq!(of("203.0.113.0/24")[3], "Global_127_16_0_1");
    assert_eq!(routes(&v6), [[""; 5]; 0]);
    let exported = ask(&v4, "show route export Global_127_16_0_1", "0000").join("\n");
    assert!(exported.contains("10.65.1.0/26"), "{exported}");
    assert!(ask(&v4, "show route for 192.0.2.1", "8001").len() == 2, "the greeting, and that there is none");
}

#[test]
fn bird_s_own_client_shows_what_it_would_of_bird() {
    let Ok(client) = which("birdcl") else { return skip("bird_s_own_client_shows_what_it_would_of_bird", "no birdcl here") };
    let daemon = daemon();
    let socket = daemon.socket().parent().expect("a folder").join("bird.ctl");
    assert!(patiently(PATIENCE, || socket.exists()).is_some(), "{}", daemon.log());
    let shown = |args: &[&str]| {
        let out = Command::new(&client).arg("-s").arg(&socket).args(args).output().expect("it runs");
        String::from_utf8_lossy(&out.stdout).into_owned()
    };
    assert!(shown(&["show", "status"]).contains("Daemon is up and running"), "{}", shown(&["show", "status"]));
    let table = shown(&["show", "protocols"]);
    assert!(table.lines().any(|line| line.starts_with("Mesh_127_0_0_9 ")) && table.contains("name     proto"), "{table}");
    assert!(shown(&["show", "route"]).contains("10.65.1.0/26"), "{}", shown(&["show", "route"]));
    assert!(shown(&["configure"]).contains("Access denied"), "{}", shown(&["configure"]));
}

fn which(program: &str) -> Result<std::path::PathBuf, String> {
    ["/usr/sbin", "/usr/bin", "/sbin", "/bin"]
        .iter()
        .map(|folder| Path::new(folder).join(program))
        .find(|path| path.exists())
        .ok_or_else(|| program.to_owned())
}

#[test]
fn who_asks_for_ever_and_reads_nothing_costs_itself() {
    let daemon = daemon();
    let socket = daemon.socket().parent().expect("a folder").join("bird.ctl");
    assert!(patiently(PATIENCE, || socket.exists()).is_some(), "{}", daemon.log());
    // Places for eight; each of twenty fills what the kernel buffers and never reads.
    let mut hold = Vec::new();
    for _ in 0..20 {
        let mut stream = UnixStream::connect(&socket).expect("it listens");
        stream.set_nonblocking(true).expect("a socket");
        while stream.write(b"show protocols all\n").is_ok_and(|n| n > 0) {}
        hold.push(stream);
    }
    let served = || {
        let mut stream = UnixStream::connect(&socket).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(2))).expect("not zero");
        let _closed = writeln!(stream, "show status");
        BufReader::new(stream).lines().map_while(Result::ok).any(|line| line.starts_with("0013"))
    };
    assert!(patiently(PATIENCE, served).is_some(), "whoever reads gets a place of one who does not: {}", daemon.log());
    assert!(daemon.resident() < 200_000, "{} KiB", daemon.resident());
}
