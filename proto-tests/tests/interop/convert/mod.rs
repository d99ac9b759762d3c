//! `catbird convert`: first the daemon of somebody else runs with its own configuration, then catbird with the converted one, in the same place
//! before the same neighbour. Sessions, what the neighbour has learned, and the kernel's routes must be the same.
//!
//! The place is 10.77.0.1, 10.77.0.3 and fd77::1. The neighbour is BIRD at 10.77.0.2, 10.77.0.4 and fd77::2, AS 65002 unless a case says
//! otherwise; it announces [`FEED`] by the filter `give`.

mod cases;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ipnet::IpNet;
use proto_tests::netlab::mounts::{Scratch, fresh_run};
use proto_tests::netlab::proc::{catbird, frr_program, program};
use proto_tests::netlab::{Ns, patiently, skip, user};

const PATIENCE: Duration = Duration::from_secs(60);

/// What the neighbour has to say, with communities and paths by which a policy may choose.
const FEED: &str = "
protocol static feed4 { ipv4; route 0.0.0.0/0 blackhole; route 10.88.0.0/24 blackhole; route 10.88.1.0/24 blackhole;
  route 10.88.1.128/25 blackhole; route 10.99.9.0/24 blackhole; route 192.168.7.0/24 blackhole; }
protocol static feed6 { ipv6; route fd88::/64 blackhole; route fd88:1::/64 blackhole; }
filter give {
  if source != RTS_STATIC then reject;
  if net = 10.88.1.0/24 then { bgp_community.add((65002, 100)); bgp_large_community.add((65002, 1, 2)); }
  if net = 10.88.1.128/25 then bgp_community.add((65002, 666));
  if net = 10.99.9.0/24 then bgp_path.prepend(64666);
  if net = 192.168.7.0/24 then { bgp_path.prepend(64777); bgp_path.prepend(64778); bgp_med = 50; }
  accept;
}
";

/// One configuration.
pub struct Case {
    pub name: &'static str,
    pub from: From,
    pub config: &'static str,
    /// The neighbour's ends of the sessions, in BIRD's language; their names begin with `s`.
    pub neighbour: &'static str,
}

#[derive(Clone, Copy, PartialEq)]
pub enum From {
    Bird,
    Frr,
    Gobgp,
}

impl From {
    fn missing(self) -> Option<&'static str> {
        match self {
            From::Bird => None,
            From::Frr => ["zebra", "bgpd", "staticd"].into_iter().find(|name| frr_program(name).is_none()),
            From::Gobgp => program("gobgpd").is_none().then_some("gobgpd"),
        }
    }

    fn word(self) -> &'static str {
        match self {
            From::Bird => "bird",
            From::Frr => "frr",
            From::Gobgp => "gobgp",
        }
    }
}

/// What can be seen of a router from outside, and in its kernel.
#[derive(Debug, Default, PartialEq, Eq)]
struct View {
    sessions: BTreeSet<String>,
    /// By session and prefix, what the neighbour keeps of attributes.
    learned: BTreeMap<(String, String), BTreeMap<String, String>>,
    kernel: BTreeMap<IpNet, BTreeSet<String>>,
}

struct Bench {
    us: Ns,
    them: Ns,
    scratch: Scratch,
    running: Vec<Child>,
    neighbour: Option<Child>,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.stop();
        end(self.neighbour.take());
    }
}

fn end(children: impl IntoIterator<Item = Child>) {
    for mut child in children {
        let _ = child.kill();
        let _ = child.wait();
    }
}

impl Bench {
    fn new(case: &Case) -> Bench {
        let scratch = Scratch::new("convert").expect("a folder");
        let (us, them) = (Ns::node("us").expect("a namespace"), Ns::node("them").expect("a namespace"));
        us.run(fresh_run).expect("a folder /run of its own");
        them.run(fresh_run).expect("a folder /run of its own");
        let far = them.net_fd();
        us.rtnl(move |rtnl| rtnl.add_veth("eth0", None, "eth0", far)).expect("a wire");
        for (ns, addresses) in
            [(&us, ["10.77.0.1/24", "10.77.0.3/24", "fd77::1/64"]), (&them, ["10.77.0.2/24", "10.77.0.4/24", "fd77::2/64"])]
        {
            ns.sysctl("net.ipv6.conf.all.accept_dad", "0").expect("a setting");
            ns.sysctl("net.ipv6.conf.eth0.accept_dad", "0").expect("a setting");
            for address in addresses {
                ns.rtnl(move |rtnl| {
                    let index = rtnl.index("eth0")?;
                    rtnl.set_up(index)?;
                    rtnl.add_addr(index, address.parse().expect("an address"))
                })
                .expect("an address");
            }
        }
        let mut bench = Bench { us, them, scratch, running: Vec::new(), neighbour: None };
        let quick = "connect delay time 1; connect retry time 1; error wait time 1, 2;";
        let sessions = case.neighbour.replace("QUICK", quick);
        let config = bench.file(
            "neighbour.conf",
            &format!("router id 10.77.0.2;\nlog stderr all;\nprotocol device {{ scan time 1; }}\n{FEED}\n{sessions}"),
        );
        let mut bird = Command::new(program("bird").expect("looked for before"));
        bird.args(["-f", "-c"]).arg(config);
        bench.neighbour = Some(bench.spawn(false, bird, "neighbour"));
        bench
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.scratch.path().join(name);
        fs::write(&path, text).expect("the scratch folder is ours");
        path
    }

    fn spawn(&self, ours: bool, mut command: Command, log: &str) -> Child {
        let path = self.scratch.path().join(format!("{log}.log"));
        let open = || fs::File::options().create(true).append(true).open(&path).expect("the scratch folder is ours");
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").stdin(Stdio::null()).stdout(open()).stderr(open());
        let what = format!("{command:?}");
        if ours { &self.us } else { &self.them }.spawn(command).unwrap_or_else(|e| panic!("{what}: {e}"))
    }

    fn start_original(&mut self, case: &Case) {
        let start = |bench: &Bench, path: PathBuf, args: &[&str]| {
            let mut command = Command::new(path);
            command.args(args);
            bench.spawn(true, command, "original")
        };
        let running = match case.from {
            From::Bird => {
                let config = self.file("bird.conf", case.config).display().to_string();
                vec![start(self, program("bird").expect("looked for before"), &["-f", "-c", &config])]
            }
            From::Gobgp => {
                let config = self.file("gobgpd.toml", case.config).display().to_string();
                vec![start(self, program("gobgpd").expect("looked for before"), &["-f", &config])]
            }
            From::Frr => {
                let is_static = |line: &&str| line.starts_with("ip route") || line.starts_with("ipv6 route");
                let (statics, rest): (Vec<&str>, Vec<&str>) = case.config.lines().partition(is_static);
                let bgp = self.file("bgpd.conf", &(rest.join("\n") + "\n")).display().to_string();
                let statics = self.file("staticd.conf", &(statics.join("\n") + "\n")).display().to_string();
                let frr = |name: &str| frr_program(name).expect("looked for before");
                let mut running = vec![start(self, frr("zebra"), &["-A", "127.0.0.1", "--log", "stdout"])];
                std::thread::sleep(Duration::from_millis(500));
                running.push(start(self, frr("staticd"), &["-A", "127.0.0.1", "-f", &statics, "--log", "stdout"]));
                running.push(start(self, frr("bgpd"), &["-A", "127.0.0.1", "-f", &bgp, "--log", "stdout"]));
                running
            }
        };
        self.running = running;
        if case.from == From::Gobgp {
            // GoBGP's own routes come from its operator; catbird's are blocks.
            for route in GOBGP_ROUTES {
                // Its server may not listen yet, and says so in many ways: what counts is that the route is there.
                let added = patiently(PATIENCE, || {
                    self.ask(true, &["gobgp", "global", "rib", "add", route, "origin", "igp"]);
                    self.ask(true, &["gobgp", "global", "rib"]).contains(route)
                });
                assert!(added.is_some(), "gobgp takes no route");
            }
        }
    }

    fn convert(&self, case: &Case) -> String {
        let original = self.file("original", case.config);
        let mut command = Command::new(catbird().unwrap_or_else(|e| panic!("{e}")));
        command.args(["convert", "--from", case.from.word(), "--secrets"]).arg(self.scratch.path()).arg(original);
        let out = command.output().expect("catbird runs");
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.success(), "{}: {said}", case.name);
        assert!(said.contains(" 0 lines left out"), "{}: {said}", case.name);
        String::from_utf8(out.stdout).expect("TOML is text")
    }

    fn start_ours(&mut self, case: &Case) -> String {
        let mut toml = self.convert(case);
        if case.from == From::Gobgp {
            toml += &format!("\n[pods]\nblocks = {GOBGP_ROUTES:?}\n");
        }
        let config = self.file("catbird.toml", &toml);
        let mut command = Command::new(catbird().unwrap_or_else(|e| panic!("{e}")));
        command.arg("run").arg("-c").arg(config);
        self.running = vec![self.spawn(true, command, "catbird")];
        toml
    }

    fn stop(&mut self) {
        end(self.running.drain(..).rev());
    }

    fn ask(&self, ours: bool, words: &[&str]) -> String {
        let Some(path) = program(words[0]) else { panic!("{words:?}: no such program") };
        let mut command = Command::new(path);
        command.args(&words[1..]).stdin(Stdio::null());
        match if ours { &self.us } else { &self.them }.output(command) {
            Ok(out) => String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr),
            Err(e) => format!("Error {e}"),
        }
    }

    fn view(&self, with_kernel: bool) -> View {
        let mut view = View::default();
        for line in self.ask(false, &["birdc", "show", "protocols"]).lines().filter(|line| line.contains(" BGP ")) {
            let name = line.split_whitespace().next().unwrap_or_default().to_owned();
            if line.contains("Established") {
                view.learned.extend(self.learned(&name));
                view.sessions.insert(name);
            }
        }
        if with_kernel {
            let routes = self.us.rtnl(|rtnl| rtnl.routes()).unwrap_or_default();
            for route in routes.iter().filter(|route| [12, 186].contains(&route.protocol)) {
                // FRR prefers the link-local one of two next hops (RFC 2545 section 3); there is one neighbour only.
                let name = |addr: IpAddr| if addr.to_string().starts_with("fe80:") { "fd77::2".to_owned() } else { addr.to_string() };
                let ways: BTreeSet<String> = route.hops.iter().filter_map(|hop| hop.via).map(name).collect();
                if !ways.is_empty() {
                    view.kernel.insert(route.net, ways);
                }
            }
        }
        view
    }

    /// What the neighbour keeps of a session.
    fn learned(&self, session: &str) -> BTreeMap<(String, String), BTreeMap<String, String>> {
        let (mut found, mut net) = (BTreeMap::new(), String::new());
        for line in self.ask(false, &["birdc", "show", "route", "all", "protocol", session]).lines() {
            let first = line.split_whitespace().next().unwrap_or_default();
            if !line.starts_with([' ', '\t']) && first.parse::<IpNet>().is_ok() {
                net = first.to_owned();
                found.insert((session.to_owned(), net.clone()), BTreeMap::new());
            }
            let Some((key, value)) = line.trim().strip_prefix("BGP.").and_then(|rest| rest.split_once(": ")) else { continue };
            let value = if key == "next_hop" { value.split_whitespace().next().unwrap_or_default() } else { value };
            // No MED and one of zero are the same (RFC 4271 section 9.1.2.2 c), and so is a community list in another order.
            if (key, value) == ("med", "0") {
                continue;
            }
            let mut words: Vec<&str> = value.split(") ").map(|word| word.trim_end_matches(')')).collect();
            if key.contains("community") {
                words.sort_unstable();
            }
            if let Some(attributes) = found.get_mut(&(session.to_owned(), net.clone())) {
                attributes.insert(key.to_owned(), words.join(" "));
            }
        }
        found
    }

    /// When nothing has changed for some seconds, and all sessions are up that are to be.
    fn settled(&self, sessions: usize, with_kernel: bool, calm_for: Duration) -> View {
        let mut last = View::default();
        let mut since = std::time::Instant::now();
        let calm = patiently(PATIENCE, || {
            let now = self.view(with_kernel);
            if now != last {
                since = std::time::Instant::now();
                last = now;
            }
            std::thread::sleep(Duration::from_millis(300));
            last.sessions.len() >= sessions && since.elapsed() > calm_for
        });
        assert!(calm.is_some(), "no calm: {last:#?}\n{}", self.logs());
        last
    }

    fn logs(&self) -> String {
        let tail = |name: &str| {
            let text = fs::read_to_string(self.scratch.path().join(format!("{name}.log"))).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            format!("--- {name}\n{}\n", lines[lines.len().saturating_sub(15)..].join("\n"))
        };
        ["neighbour", "original", "catbird"].map(tail).concat()
    }
}

/// Of a GoBGP before its operator has said anything there is nothing to compare.
const GOBGP_ROUTES: [&str; 2] = ["10.55.0.0/24", "10.55.1.0/24"];

fn same_sessions_and_routes(case: &Case) {
    let mut bench = Bench::new(case);
    let sessions = case.neighbour.matches("protocol bgp s").count();
    let with_kernel = case.from != From::Gobgp;
    bench.start_original(case);
    // FRR's zebra is asked about each network of its own before that is announced; on a busy machine that takes its time.
    let calm = Duration::from_secs(if case.from == From::Frr { 12 } else { 6 });
    let original = bench.settled(sessions, with_kernel, calm);
    bench.stop();
    // What it left in the kernel is not what we write.
    let left = bench.us.rtnl(|rtnl| rtnl.routes()).unwrap_or_default();
    for route in left.into_iter().filter(|route| [11, 12, 186, 196].contains(&route.protocol)) {
        let _ = bench.us.rtnl(move |rtnl| rtnl.del_route(route.net));
    }
    let gone = patiently(PATIENCE, || bench.view(false).sessions.is_empty());
    assert!(gone.is_some(), "{}: the original's sessions do not end", case.name);
    let toml = bench.start_ours(case);
    let ours = bench.settled(sessions, with_kernel, Duration::from_secs(6));
    assert_eq!(ours.sessions.len(), sessions, "{}", case.name);
    assert!(ours == original, "{}:\n{}\n{toml}\n{}", case.name, difference(&original, &ours), bench.logs());
    println!("{}: {} sessions, {} routes announced, {} in the kernel", case.name, sessions, ours.learned.len(), ours.kernel.len());
}

fn difference(original: &View, ours: &View) -> String {
    let mut text = String::new();
    for key in original.learned.keys().chain(ours.learned.keys()).collect::<BTreeSet<_>>() {
        let (a, b) = (original.learned.get(key), ours.learned.get(key));
        if a != b {
            text += &format!("{key:?}: {a:?} became {b:?}\n");
        }
    }
    text + &format!("kernel: {:?}\n became {:?}\n", original.kernel, ours.kernel)
}

fn all_of(from: From) {
    if !user::is_root() {
        return skip("converted configurations", "daemons in namespaces need root");
    }
    if let Some(missing) = program("bird").is_none().then_some("bird").or_else(|| from.missing()) {
        return skip("converted configurations", &format!("{missing} is not installed"));
    }
    let only = std::env::var("CONVERT_CASE").unwrap_or_default();
    let cases: Vec<&Case> = cases::ALL.iter().filter(|case| case.from == from && case.name.contains(&only)).collect();
    // Each in namespaces of its own; a few at a time.
    for some in cases.chunks(3) {
        std::thread::scope(|scope| {
            let running: Vec<_> = some.iter().map(|case| scope.spawn(|| same_sessions_and_routes(case))).collect();
            let failed = running.into_iter().filter_map(|one| one.join().err()).count();
            assert_eq!(failed, 0, "of these: {:?}", some.iter().map(|case| case.name).collect::<Vec<_>>());
        });
    }
}

#[test]
fn twenty_configurations_are_tried() {
    assert!(cases::ALL.len() >= 20, "{}", cases::ALL.len());
}

#[test]
fn configurations_of_bird_do_the_same_here() {
    all_of(From::Bird);
}

#[test]
fn configurations_of_frr_do_the_same_here() {
    all_of(From::Frr);
}

#[test]
fn configurations_of_gobgp_do_the_same_here() {
    all_of(From::Gobgp);
}
