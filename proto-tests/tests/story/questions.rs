//! The twenty questions of an operator at night, on real daemons with eight problems built in: each is answered by one command, and right.
//!
//! In: one node of ours between FRR, BIRD and another node. Out: answers, which are compared with what was built; and `docs/operations.md`,
//! whose transcripts are made by this run (`CATBIRD_MANUAL=write`), so that nothing in it was typed by hand.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use proto_tests::console::stable;
use proto_tests::netlab::mounts::{Scratch, fresh_run};
use proto_tests::netlab::proc::{catbird, frr_program, program, workspace};
use proto_tests::netlab::story::split_words;
use proto_tests::netlab::{Ns, alone, patiently, skip, user};
use regex::Regex;
use serde_json::Value;

const PATIENT: Duration = Duration::from_secs(90);
const MANUAL: &str = "docs/operations.md";
const KEYS: &str = "docs/json.md";

/// Ends with its handle.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A neighbour: a machine on the node's bridge, with its daemon.
struct Machine {
    ns: Ns,
    _daemons: Vec<Running>,
}

struct Night {
    node: Ns,
    machines: Vec<Machine>,
    scratch: Scratch,
    _catbird: Option<Running>,
    /// Command and what it printed, in the order of the questions.
    told: Vec<(String, String)>,
}

fn ip(ns: &Ns, words: &str) {
    let mut command = Command::new("ip");
    command.args(words.split_whitespace());
    let out = ns.output(command).expect("iproute2 is installed");
    assert!(out.status.success(), "ip {words}: {}", String::from_utf8_lossy(&out.stderr));
}

/// Addresses on the bridge, and who has them.
const TOR: &str = "10.0.0.2";
const LEAF: &str = "10.0.0.3";
const WRONG_AS: &str = "10.0.0.4";
const WRONG_PASSWORD: &str = "10.0.0.5";
const TOO_MANY: &str = "10.0.0.6";
const SILENT: &str = "10.0.0.7";
const NODE_B: &str = "10.0.0.8";

const PEER: &str = "import = \"all\"\nexport = \"own-blocks\"\nconnect_retry = \"1s\"\n";

impl Night {
    fn new() -> Option<Night> {
        const TEST: &str = "twenty questions";
        if !user::is_root() {
            skip(TEST, "FRR and BIRD in namespaces need root");
            return None;
        }
        if let Some(missing) = ["bird", "birdc"].into_iter().find(|name| program(name).is_none()) {
            skip(TEST, &format!("{missing} is not installed"));
            return None;
        }
        if frr_program("bgpd").is_none() {
            skip(TEST, "frr is not installed");
            return None;
        }
        let node = Ns::node("node-a").expect("a namespace");
        node.run(fresh_run).expect("an empty /run");
        ip(&node, "link add lan type bridge");
        ip(&node, "link set lan up");
        ip(&node, "addr add 10.0.0.1/24 dev lan");
        node.sysctl("net.ipv4.ip_forward", "1").expect("a sysctl");
        let scratch = Scratch::new("questions").expect("a temporary folder");
        Some(Night { node, machines: Vec::new(), scratch, _catbird: None, told: Vec::new() })
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.scratch.path().join(name);
        fs::write(&path, text).expect("the scratch folder is ours");
        path
    }

    /// A machine with this address on the bridge.
    fn machine(&mut self, address: &str) -> &Ns {
        let last = address.rsplit('.').next().expect("four numbers").to_owned();
        let ns = Ns::node(&format!("m{last}")).expect("a namespace");
        ns.run(fresh_run).expect("an empty /run");
        let (port, far) = (format!("port{last}"), ns.net_fd());
        let name = port.clone();
        self.node.rtnl(move |rtnl| rtnl.add_veth(&name, None, "eth0", far)).expect("a cable");
        ip(&self.node, &format!("link set {port} master lan"));
        ip(&self.node, &format!("link set {port} up"));
        ip(&ns, &format!("addr add {address}/24 dev eth0"));
        ip(&ns, "link set eth0 up");
        self.machines.push(Machine { ns, _daemons: Vec::new() });
        &self.machines.last().expect("just pushed").ns
    }

    fn start(&mut self, mut command: Command, log: &str) {
        let log = fs::File::create(self.scratch.path().join(log)).expect("the scratch folder is ours");
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a file")).stderr(log);
        let machine = self.machines.last_mut().expect("a machine was made");
        let child = machine.ns.spawn(command).expect("it starts");
        machine._daemons.push(Running(child));
    }

    fn frr(&mut self, address: &str, asn: u32, more: &str) {
        self.machine(address);
        let text = format!(
            "frr defaults traditional\nrouter bgp {asn}\n bgp router-id {address}\n no bgp ebgp-requires-policy\n no bgp network import-check\n \
             neighbor 10.0.0.1 remote-as 64512\n neighbor 10.0.0.1 timers connect 1\n{more}"
        );
        let config = self.file(&format!("frr-{address}.conf"), &text);
        let mut command = Command::new(frr_program("bgpd").expect("looked for before"));
        command.args(["-A", "127.0.0.1", "-S", "-Z", "-f"]).arg(config).args(["--log", "stdout"]);
        self.start(command, &format!("frr-{address}.log"));
    }

    fn bird(&mut self, address: &str, asn: u32, routes: &[&str], filter: &str) {
        self.machine(address);
        let bfd = |on: &str| if address == LEAF { on.to_owned() } else { String::new() };
        let (protocol, on) = (bfd("protocol bfd { interface \"*\" { interval 100 ms; multiplier 3; }; }\n"), bfd("bfd on;"));
        let routes: String = routes.iter().map(|net| format!("route {net} blackhole; ")).collect();
        let text = format!(
            "router id {address};\nlog stderr all;\nprotocol device {{ }}\n{protocol}protocol static own {{ ipv4; {routes} }}\n\
             protocol bgp node {{ local {address} as {asn}; neighbor 10.0.0.1 as 64512; {on}\n\
             connect delay time 1; connect retry time 1; error wait time 1, 2;\n\
             ipv4 {{ import all; export filter {{ {filter} accept; }}; }}; }}\n"
        );
        let config = self.file(&format!("bird-{address}.conf"), &text);
        let mut command = Command::new(program("bird").expect("looked for before"));
        command.args(["-f", "-s", "/run/bird.ctl", "-c"]).arg(config);
        self.start(command, &format!("bird-{address}.log"));
    }

    /// Our node, and its neighbours with their problems.
    fn build(&mut self) {
        let tor = " address-family ipv4 unicast\n  network 10.50.0.0/24\n  network 192.168.0.0/16\n exit-address-family\n";
        self.frr(TOR, 65_001, tor);
        let far = "bgp_path.prepend(65002); if net = 10.60.0.0/24 then bgp_next_hop = 172.31.9.9;";
        self.bird(LEAF, 65_002, &["10.50.0.0/24", "10.60.0.0/24", "10.70.0.0/24"], far);
        self.bird(WRONG_AS, 65_099, &[], "");
        self.frr(WRONG_PASSWORD, 65_005, " neighbor 10.0.0.1 password theirs\n");
        self.bird(TOO_MANY, 65_006, &["10.81.0.0/24", "10.82.0.0/24", "10.83.0.0/24", "10.84.0.0/24"], "");
        ip(self.machine(SILENT), "route add blackhole 10.0.0.1/32");
        self.node_b();
        let secret = self.file("ours.password", "ours\n");
        fs::set_permissions(secret, fs::Permissions::from_mode(0o600)).expect("it is ours");
        let file = self.file("catbird.toml", &config(""));
        let mut command = Command::new(catbird().unwrap_or_else(|e| panic!("{e}")));
        let log = fs::File::create(self.scratch.path().join("catbird.log")).expect("the scratch folder is ours");
        command.current_dir(self.scratch.path());
        command.arg("run").arg("-c").arg(file).stdin(Stdio::null()).stdout(log.try_clone().expect("a file")).stderr(log);
        self._catbird = Some(Running(self.node.spawn(command).expect("catbird starts")));
        ip(&self.node, "route add 10.50.0.0/24 via 10.0.0.3 proto static");
    }

    /// Another node of ours, which is drained later.
    fn node_b(&mut self) {
        self.machine(NODE_B);
        let text = "[node]\nname = \"node-b\"\nasn = 64512\naddresses = [\"10.0.0.8\"]\n[pods]\nblocks = [\"10.244.8.0/26\"]\n\
                    [[peer]]\nname = \"node-a\"\naddress = \"10.0.0.1\"\nasn = 64512\nconnect_retry = \"1s\"\n";
        let file = self.file("node-b.toml", text);
        let mut command = Command::new(catbird().unwrap_or_else(|e| panic!("{e}")));
        command.arg("run").arg("-c").arg(file);
        self.start(command, "node-b.log");
    }

    fn log(&self) -> String {
        fs::read_to_string(self.scratch.path().join("catbird.log")).unwrap_or_default()
    }

    fn on(&self, ns: &Ns, line: &str) -> (bool, String) {
        let mut command = Command::new(catbird().unwrap_or_else(|e| panic!("{e}")));
        command.args(split_words(line)).stdin(Stdio::null()).current_dir(self.scratch.path());
        let out = ns.output(command).expect("the binary runs");
        let said = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
        // A folder of this run is nobody else's.
        (out.status.success(), said.replace(&*self.scratch.path().to_string_lossy(), "/etc/catbird"))
    }

    fn ask(&self, line: &str) -> String {
        self.on(&self.node, line).1
    }

    /// Asks until the answer is so, and keeps it for the manual.
    fn answer(&mut self, line: &str, is_right: impl Fn(&str) -> bool) -> String {
        let right = patiently(PATIENT, || is_right(&self.ask(line)));
        let said = self.ask(line);
        assert!(right.is_some(), "catbird {line}:\n{said}\n--- log\n{}", self.log());
        self.told.push((line.to_owned(), said.clone()));
        said
    }

    /// Does something once; what it says is kept too.
    fn order(&mut self, line: &str, says: &str) {
        let (done, said) = self.on(&self.node, line);
        assert!(done && said.contains(says), "catbird {line}:\n{said}");
        self.told.push((line.to_owned(), said));
    }

    fn flaps(&self, peer: &str) -> u64 {
        let said = self.ask(&format!("peer {peer} --json"));
        let value: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}"));
        value["flaps"].as_u64().expect("a number")
    }

    fn is_up(&self, peer: &str) -> bool {
        self.ask(&format!("peer {peer} --json")).contains("\"state\": \"Established\"")
    }
}

fn config(more: &str) -> String {
    let peer = |name: &str, address: &str, asn: u32, more: &str| {
        format!("[[peer]]\nname = \"{name}\"\naddress = \"{address}\"\nasn = {asn}\n{PEER}{more}\n")
    };
    let peers = [
        peer("tor", TOR, 65_001, "").replace("\"all\"", "\"from-tor\""),
        peer("leaf", LEAF, 65_002, "bfd = \"fast\""),
        peer("wrong-as", WRONG_AS, 65_022, ""),
        peer("wrong-password", WRONG_PASSWORD, 65_005, "password_file = \"./ours.password\""),
        peer("too-many", TOO_MANY, 65_006, "max_prefix_ipv4 = 3"),
        peer("silent", SILENT, 65_007, ""),
    ]
    .concat();
    format!(
        "[node]\nname = \"node-a\"\nasn = 64512\naddresses = [\"10.0.0.1\"]\n[pods]\nblocks = [\"10.244.1.0/26\"]\n{more}\n{peers}\
         [[peer]]\nname = \"node-b\"\naddress = \"{NODE_B}\"\nasn = 64512\nconnect_retry = \"1s\"\n\
         bfd = \"fast\"\n[bfd.fast]\nmin_tx = \"100ms\"\nmin_rx = \"100ms\"\nwithout_realtime = \"keep\"\n\
         [policy.from-tor]\ndefault = \"accept\"\n[[policy.from-tor.rules]]\nname = \"no-lab-networks\"\nprefixes = [\"192.168.0.0/16 ge 16\"]\nthen = \"reject\"\n"
    )
}

fn has(all: &'static [&'static str]) -> impl Fn(&str) -> bool {
    move |said| all.iter().all(|part| said.contains(part))
}

/// The line of a table that begins with this word.
fn row<'a>(table: &'a str, first: &str) -> &'a str {
    table.lines().find(|line| line.split_whitespace().next() == Some(first)).unwrap_or_default()
}

#[test]
fn the_twenty_questions_of_the_night_are_answered_by_one_command_each() {
    let Some(mut night) = Night::new() else { return };
    let _alone = alone();
    night.build();
    who_is_up(&mut night);
    routes(&mut night);
    kernel(&mut night);
    orders(&mut night);
    bfd(&mut night);
    now(&mut night);
    configuration(&mut night);
    drain(&mut night);
    log_is_complete_and_short(&night);
    manual(&night.told);
    keys(&night);
    link_goes(&night);
}

/// Questions 1 and 2, and six of the problems.
fn who_is_up(night: &mut Night) {
    let all_told = |said: &str| {
        ["tor", "leaf", "node-b"].iter().all(|peer| row(said, peer).contains("Established"))
            && row(said, "wrong-as").contains("AS mismatch: the peer says AS 65099, configured is 65022")
            && row(said, "wrong-password").contains("MD5 keys of both ends differ")
            && row(said, "too-many").contains("more than 3 prefixes of ipv4-unicast")
            && row(said, "silent").contains("no answer")
    };
    let peers = night.answer("peers", all_told);
    let columns: Vec<usize> = peers.lines().take(8).filter_map(|line| line.find("Established").or(line.find("STATE"))).collect();
    assert!(columns.windows(2).all(|pair| pair[0] == pair[1]), "aligned in a pipe:\n{peers}");
    let down = night.answer("peers --down", |said| row(said, "wrong-as").contains("times in"));
    assert!(row(&down, "tor").is_empty(), "{down}");
    night.answer("peer wrong-as", |said| {
        let why = said.lines().find(|line| line.starts_with("why down")).unwrap_or_default();
        why.contains("AS mismatch: the peer says AS 65099, configured is 65022") && said.contains(" times, first ")
    });
}

/// Questions 3 to 6, 8 and 9.
fn routes(night: &mut Night) {
    night.answer("routes 10.50.0.0/24", |said| row(said, "*>").contains("tor") && row(said, "*").contains("leaf"));
    night.answer("why 192.168.0.0/16", has(&["from tor", "refused by policy from-tor, rule no-lab-networks"]));
    night.answer("why 10.60.0.0/24", has(&["ineligible: its next hop cannot be reached", "next hop 172.31.9.9: no route covers it"]));
    night.answer("peer tor received", has(&["10.50.0.0/24", "192.168.0.0/16"]));
    night.answer("peer tor advertised", has(&["10.244.1.0/26"]));
    let rejected = night.answer("peer tor received --rejected", has(&["192.168.0.0/16", "policy from-tor, rule no-lab-networks"]));
    assert!(!rejected.contains("10.50.0.0/24"), "{rejected}");
    night.answer("status", has(&["3/7 established", "wrong-as for ", "AS mismatch", "prefixes", "tables ", "resident"]));
    night
        .answer("status --memory", has(&["resident, of which", "Adj-RIB-In, Loc-RIB", "the program and its libraries", "everything else"]));
    let best = night.ask("routes --best --count");
    assert!(best.contains("prefixes"), "{best}");
}

/// Questions 7 and 18: another's route stands before ours, and packets follow it.
fn kernel(night: &mut Night) {
    night.answer("why 10.50.0.7", |said| {
        has(&["10.50.0.0/24  (the longest prefix in use that holds 10.50.0.7)", "best: shorter AS_PATH (length 1)"])(said)
            && has(&["lost: the best has: shorter AS_PATH (length 1; here length 2)", "shadowed"])(said)
            && has(&["packets to 10.50.0.7: 10.50.0.0/24 via 10.0.0.3 dev lan proto static", "ip route del 10.50.0.0/24 proto static"])(
                said,
            )
    });
    night.answer("fib 10.50.0.0/24", has(&["shadowed", "via 10.0.0.2 dev lan"]));
    night.answer("nexthops", has(&["172.31.9.9", "unresolved", "10.0.0.2"]));
}

/// Questions 10, 11 and 19.
fn orders(night: &mut Night) {
    let before = night.flaps("tor");
    night.order("peer tor refresh in", "");
    assert!(night.is_up("tor") && night.flaps("tor") == before, "no flap");
    night.order("peer leaf down -m 'new optics'", "");
    let theirs = |night: &Night| {
        let mut birdc = Command::new(program("birdc").expect("looked for before"));
        birdc.args(["-s", "/run/bird.ctl", "show", "protocols", "all", "node"]);
        String::from_utf8_lossy(&night.machines[1].ns.output(birdc).expect("it runs").stdout).into_owned()
    };
    let shown = patiently(PATIENT, || theirs(night).contains("dministrative shutdown") || theirs(night).contains("new optics"));
    assert!(shown.is_some() || !night.is_up("leaf"), "{}", theirs(night));
    night.order("peer leaf up", "");
    assert!(patiently(PATIENT, || night.is_up("leaf")).is_some(), "{}", night.ask("peers"));
    night.order("log set debug", "the log's level is debug");
    night.order("log set info", "the log's level is info");
}

/// Question 12: one session is up, and the other has nobody who speaks BFD.
fn bfd(night: &mut Night) {
    night.answer("bfd", |said| {
        row(said, "leaf").contains("single-hop")
            && row(said, "leaf").contains("  up  ")
            && row(said, "node-b").contains("nothing that counts was heard")
    });
    night.answer("bfd leaf", has(&["peer says   up", "silence is noticed after 300ms", "discriminator 0x"]));
    let peers = night.ask("peers");
    assert!(row(&peers, "node-b").contains("BFD has not come up"), "{peers}");
    assert!(row(&peers, "leaf").contains("  up"), "{peers}");
}

/// Question 13: a route goes while somebody watches.
fn now(night: &mut Night) {
    let mut command = Command::new(catbird().unwrap_or_else(|e| panic!("{e}")));
    command.args(["monitor", "routes"]).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut watch = Running(night.node.spawn(command).expect("it starts"));
    let (lines, heard) = std::sync::mpsc::channel();
    let said = BufReader::new(watch.0.stdout.take().expect("piped")).lines();
    let reader = std::thread::spawn(move || said.map_while(Result::ok).for_each(|line| drop(lines.send(line))));
    // The monitor is there as soon as something is heard of what is done again and again.
    let mut told = Vec::new();
    let mut on = false;
    let gone_and_back = patiently(PATIENT, || {
        night.ask(if on { "peer leaf up" } else { "peer leaf down" });
        on = !on;
        patiently(Duration::from_secs(3), || {
            told.extend(heard.try_iter());
            told.iter().any(|line: &String| line.contains("10.70.0.0/24: gone, last from leaf: session down"))
        });
        told.iter().any(|line| line.contains("10.70.0.0/24: gone")) && told.iter().any(|line| line.contains("10.70.0.0/24: best from leaf"))
    });
    assert!(gone_and_back.is_some(), "{told:#?}");
    night.ask("peer leaf up");
    drop(watch);
    reader.join().expect("it only reads");
    let stamped = told.iter().all(|line| line.get(..4).is_some_and(|year| year.parse::<u32>().is_ok()) && line.contains("Z "));
    assert!(stamped, "each with its time: {told:#?}");
    told.truncate(6);
    night.told.push(("monitor routes".to_owned(), told.join("\n") + "\n"));
    assert!(patiently(PATIENT, || night.is_up("leaf")).is_some());
}

/// Questions 15, 16 and 17.
fn configuration(night: &mut Night) {
    let bad = config("").replace("asn = 65022", "asn = 65022\nhold_tme = \"30s\"");
    night.file("new.toml", &bad);
    night.answer("check new.toml", has(&["new.toml:", "hold_tme", "hold_time"]));
    let good = config("").replace("asn = 65022", "asn = 65099");
    night.file("new.toml", &good);
    night.answer("check new.toml", has(&["new.toml: fine"]));
    night.answer("diff new.toml", has(&["restart", "wrong-as", "65099"]));
    night.file("catbird.toml", &good);
    night.order("reload --confirm 4s", "back to the former configuration in 4s, unless `catbird confirm` comes");
    assert!(patiently(PATIENT, || night.is_up("wrong-as")).is_some(), "{}", night.ask("peers"));
    assert!(night.ask("status").contains("waits for `catbird confirm`"), "{}", night.ask("status"));
    night.answer("status", has(&["was not confirmed: the one before it is in force"]));
    assert!(patiently(PATIENT, || !night.is_up("wrong-as")).is_some(), "{}", night.ask("peers"));
    night.file("catbird.toml", &config(""));
}

/// A link that vanishes under established sessions is said at once, by the log and where the peers are listed.
fn link_goes(night: &Night) {
    assert!(night.is_up("tor") && night.is_up("leaf"));
    ip(&night.node, "link set lan down");
    let said = || night.log().lines().any(|line| line.contains("lan is down or gone") && line.contains("tor"));
    // Who has BFD is not waited for by the hold timer.
    assert!(patiently(PATIENT, || !night.is_up("leaf")).is_some(), "{}", night.ask("peers"));
    assert!(patiently(Duration::from_secs(20), said).is_some(), "{}", night.log());
    let peers = night.ask("peers");
    assert!(row(&peers, "tor").contains("Established") && row(&peers, "tor").contains("no way leads to it any more"), "{peers}");
}

/// Every key that an answer in JSON has stands in the list of them, with its type: what is not there is no promise.
fn keys(night: &Night) {
    const ANSWERS: [&str; 13] = [
        "bfd",
        "status",
        "peers",
        "peer wrong-as",
        "peer tor",
        "peer tor received",
        "peer tor advertised",
        "routes",
        "why 10.50.0.7",
        "why 10.244.8.0/26",
        "fib",
        "nexthops",
        "blocks",
    ];
    let mut found: BTreeMap<String, BTreeSet<&'static str>> = BTreeMap::new();
    for line in ANSWERS {
        let said = night.ask(&format!("{line} --json"));
        let value: Value = serde_json::from_str(&said).unwrap_or_else(|e| panic!("catbird {line} --json: {e}\n{said}"));
        let words: Vec<&str> = line.split(' ').collect();
        // What a peer received and is advertised are answers of their own.
        let name = words.get(2).or(words.first()).copied().unwrap_or_default();
        shape(&value, name, &mut found);
    }
    let text = fs::read_to_string(workspace().join(KEYS)).unwrap_or_default();
    let rows = text.lines().filter_map(|row| row.strip_prefix("| `")?.split_once("` | "));
    let mut listed: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (key, rest) in rows {
        listed.entry(key).or_default().extend(rest.split(" | ").next().unwrap_or_default().split(" or "));
    }
    let known = |key: &str, types: &BTreeSet<&str>| listed.get(key).is_some_and(|all| types.is_subset(all));
    let strange: Vec<_> = found.iter().filter(|(key, types)| !known(key, types)).collect();
    assert!(strange.is_empty(), "{KEYS}, which is made from the types, does not have {strange:?}");
}

/// Each place in a value, and what may stand there.
fn shape(value: &Value, at: &str, found: &mut BTreeMap<String, BTreeSet<&'static str>>) {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(all) => {
            all.iter().for_each(|one| shape(one, &format!("{at}[]"), found));
            "array"
        }
        // Counts by reason: the reasons are no keys.
        Value::Object(_) if at.ends_with(".dropped") => "object",
        Value::Object(fields) => {
            fields.iter().for_each(|(key, one)| shape(one, &format!("{at}.{key}"), found));
            "object"
        }
    };
    found.entry(at.to_owned()).or_default().insert(kind);
}

/// Question 20, and what the others see of it.
fn drain(night: &mut Night) {
    let ns = &night.machines.last().expect("node-b was the last").ns;
    let (done, said) = night.on(ns, "drain");
    assert!(done && said.contains("drained: everything is withdrawn"), "{said}");
    let (_, status) = night.on(ns, "status");
    assert!(status.contains("drained"), "{status}");
    night.told.push(("drain".to_owned(), said));
    let gone = night.answer("why 10.244.8.0/26", has(&["nobody announces it", "last from node-b", "withdrawn"]));
    assert!(gone.contains("packets to 10.244.8.1: no route leads there"), "{gone}");
    assert!(night.is_up("node-b"), "a drained node learns on");
}

/// Each peer that does not come up is in the log with its reason, and none of them fills it.
fn log_is_complete_and_short(night: &Night) {
    let log = night.log();
    let of = |words: &[&str]| log.lines().filter(|line| words.iter().all(|word| line.contains(word))).count();
    for reason in [
        ["wrong-as: not up", "AS mismatch: the peer says AS 65099, configured is 65022"],
        ["wrong-password: not up", "MD5"],
        ["silent: not up", "no answer"],
        ["too-many: down", "more than 3 prefixes"],
        ["10.50.0.0/24", "protocol 4"],
    ] {
        assert!((1..=4).contains(&of(&reason)), "{reason:?} is said {} times:\n{log}", of(&reason));
    }
    let warnings = log.lines().filter(|line| line.contains("WARN")).count();
    assert!(warnings < 60, "{warnings} warnings:\n{log}");
}

/// Puts what was printed into the manual, or sees that the manual has each command.
fn manual(told: &[(String, String)]) {
    let path = workspace().join(MANUAL);
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{MANUAL}: {e}"));
    let write = std::env::var("CATBIRD_MANUAL").is_ok_and(|what| what == "write");
    let mut shown = text.clone();
    let (mut seen, mut wrong): (Vec<&str>, Vec<String>) = (Vec::new(), Vec::new());
    for (line, said) in told {
        let head = format!("```console\n$ catbird {line}\n");
        let nth = seen.iter().filter(|before| *before == line).count();
        seen.push(line);
        let Some((at, _)) = shown.match_indices(&head).nth(nth).or(shown.match_indices(&head).next()) else {
            panic!("{MANUAL} does not show `catbird {line}`");
        };
        let body = at + head.len();
        let end = body + shown[body..].find("```").unwrap_or_else(|| panic!("{MANUAL}: the end of `catbird {line}`"));
        if write {
            shown.replace_range(body..end, &(said.trim_end().to_owned() + "\n"));
        } else if let Some(why) = unlike(&shown[body..end], said) {
            wrong.push(format!("`catbird {line}`: {why}"));
        }
    }
    if write {
        fs::write(&path, shown).unwrap_or_else(|e| panic!("{MANUAL}: {e}"));
    }
    assert!(wrong.is_empty(), "{MANUAL}: CATBIRD_MANUAL=write makes it\n{}", wrong.join("\n"));
}

/// What of a transcript is not as it is shown. Sessions that come and go all night are counted and timed, and their states and events follow each
/// other as they do: in such lines the words count, and a line that is missing on either side may be one of those.
fn unlike(shown: &str, said: &str) -> Option<String> {
    let words = |text: &str| text.lines().map(calm).filter(|line| !line.is_empty()).collect::<Vec<_>>();
    let (shown, said) = (words(shown), words(said));
    let missing = |these: &[String], those: &[String]| -> Vec<String> {
        these.iter().filter(|line| !those.contains(line) && !line.contains(" ago ") && !line.starts_with("<time>")).cloned().collect()
    };
    let (gone, new) = (missing(&shown, &said), missing(&said, &shown));
    (gone.len() + new.len() > 0).then(|| format!("shown, not printed: {gone:#?}\nprinted, not shown: {new:#?}"))
}

/// Without what is of the moment.
fn calm(line: &str) -> String {
    static PATTERNS: OnceLock<Vec<(Regex, &str)>> = OnceLock::new();
    let patterns = PATTERNS.get_or_init(|| {
        [
            (r"\b(Idle|Connect|Active|OpenSent)\b", "<away>"),
            // What the kernel has counted so far, if it has.
            (r"; the kernel dropped, of all peers together,.*? ago\)", ""),
            // Settings that are not named.
            (r"\band \d+ more$", "and <n> more"),
            (r"\b\d+ times\b", "<n> times"),
            (r"\b\d+ TCP segments?\b", "<n> TCP segments"),
            (r"\(\d+ times?\b", "(<n> times"),
            (r"\b\d+ (received|sent|packets?)\b", "<n> $1"),
            (r"\b(open|update|notification|keepalive) \d+/\d+", "$1 <n>"),
            (r"\bwent down \d+", "went down <n>"),
            (r"^(dropped|timers|last down|failed) .*", ""),
            (r"^(\S+) for <for> : .*", "$1 is away"),
            (r"^peers \d+/(\d+) established", "peers, of $1"),
            (r" \(<n> times in <for> , last <for> ago\)", ""),
            (r"^(\S+ \S+ single-hop (up|down)( <for>)+) \d+", "$1 <n>"),
        ]
        .map(|(pattern, word)| (Regex::new(pattern).expect("a pattern"), word))
        .into()
    });
    let line = patterns.iter().fold(stable(line), |line, (pattern, word)| pattern.replace_all(&line, *word).into_owned());
    // What is counted beside a time is of the moment, too.
    let is_timed = line.contains("<for>");
    let count = |word: &str| is_timed && !word.is_empty() && word.chars().all(|c| c.is_ascii_digit());
    line.split(' ').map(|word| if count(word) { "<n>" } else { word }).collect::<Vec<_>>().join(" ")
}

/// The addresses of the lab are addresses.
#[test]
fn the_night_is_laid_out_on_one_subnet() {
    let all = [TOR, LEAF, WRONG_AS, WRONG_PASSWORD, TOO_MANY, SILENT, NODE_B];
    assert!(all.iter().all(|text| text.parse::<IpAddr>().is_ok_and(|addr| addr.to_string().starts_with("10.0.0."))));
}
