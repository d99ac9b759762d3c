//! A path that carries less than its ends believe, and says nothing: what the operator is told, and what helps.

use std::fs;
use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use proto_tests::netlab::mounts::Scratch;
use proto_tests::netlab::proc::{catbird, program};
use proto_tests::netlab::{patiently, until};
use proto_tests::node::Node;
use proto_tests::outside::{Caller, Heard, keepalive, open, usual_capabilities};

const PATIENT: Duration = Duration::from_secs(60);
const BLOCKS: u32 = 3_000;
const PEER_AS: u16 = 65002;

struct Daemon<'a> {
    node: &'a Node,
    child: Child,
    scratch: Scratch,
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Daemon<'_> {
    /// With many blocks to announce to the router at 10.0.0.2.
    fn start<'a>(node: &'a Node, setting: &str) -> Daemon<'a> {
        let scratch = Scratch::new("mtu").expect("a temporary folder");
        let blocks: Vec<String> = (0..BLOCKS).map(|n| format!("\"{}/26\"", Ipv4Addr::from(0x0ac8_0000 + n * 64))).collect();
        let text = format!(
            "[node]\nasn = 65001\nrouter_id = \"10.0.0.1\"\naddresses = [\"10.0.0.1\"]\n[listen]\naddresses = [\"10.0.0.1\"]\n[fib]\nenabled = false\n\
             [metrics]\nlisten = \"\"\n[control]\nsocket = \"{}\"\n[pods]\nblocks = [{}]\n[[peer]]\nname = \"tor\"\naddress = \"10.0.0.2\"\n\
             asn = {PEER_AS}\npassive = true\nimport = \"all\"\nexport = \"all\"\n{setting}\n",
            scratch.path().join("sock").display(),
            blocks.join(", ")
        );
        fs::write(scratch.path().join("catbird.toml"), text).expect("the scratch folder is ours");
        let mut command = Command::new(catbird().unwrap_or_else(|e| panic!("{e}")));
        command
            .arg("run")
            .arg("-c")
            .arg(scratch.path().join("catbird.toml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Daemon { node, child: node.ns.spawn(command).expect("the daemon starts"), scratch }
    }

    fn ask(&self, args: &[&str]) -> String {
        let mut command = Command::new(catbird().unwrap_or_else(|e| panic!("{e}")));
        command.arg("--socket").arg(self.scratch.path().join("sock")).args(args).stdin(Stdio::null());
        let out = self.node.ns.output(command).expect("the binary runs");
        String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr)
    }
}

fn run(ns: &proto_tests::netlab::Ns, words: &str) {
    let mut words = words.splitn(2, ' ');
    let path = words.next().and_then(program).unwrap_or_else(|| panic!("no such program"));
    let mut command = Command::new(path);
    match words.next() {
        Some(rules) if rules.starts_with("add table") => command.arg(rules),
        rest => command.args(rest.unwrap_or_default().split(' ')),
    };
    let out = ns.output(command).expect("it runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

/// The router's session; how many octets of UPDATEs come in until End-of-RIB, or until `enough` says that it has waited long enough.
fn meet(node: &Node, enough: &dyn Fn() -> bool) -> (usize, bool) {
    let dial = || node.router.run(|| Caller::between(Ipv4Addr::new(10, 0, 0, 2), Ipv4Addr::new(10, 0, 0, 1), 179));
    let (mut caller, _) = until(PATIENT, dial).expect("it listens");
    caller.say(&[open(4, PEER_AS, 90, [10, 0, 0, 2], &usual_capabilities()), keepalive()].concat());
    let mut octets = 0;
    loop {
        match caller.hear(Duration::from_millis(500)) {
            // IPv4's End-of-RIB.
            Heard::Message(2, body) if body == [0, 0, 0, 0] => return (octets, true),
            Heard::Message(2, body) => octets += body.len(),
            Heard::Message(3, body) => panic!("NOTIFICATION {body:?}"),
            Heard::Message(..) => {}
            Heard::Silence => caller.say(&keepalive()),
            Heard::End => panic!("the session ended"),
        }
        if enough() {
            return (octets, false);
        }
    }
}

#[test]
fn a_path_that_swallows_long_packets_is_hinted_at_and_a_shorter_segment_size_helps() {
    let test = "a_path_that_swallows_long_packets_is_hinted_at_and_a_shorter_segment_size_helps";
    if program("nft").is_none() {
        return proto_tests::netlab::skip(test, "nft is not installed");
    }
    let Some(node) = Node::new(test) else { return };
    for ns in [&node.ns, &node.router] {
        run(ns, "ip link set eth1 mtu 9000");
        // Nothing hands whole messages over as one packet, as cables between namespaces do.
        run(ns, "ip link set eth1 gso_max_segs 1");
    }
    run(
        &node.router,
        "nft add table inet fault; add chain inet fault i { type filter hook input priority 0; }; add rule inet fault i meta length > 1500 drop",
    );
    let begins = |daemon: &Daemon| patiently(PATIENT, || daemon.ask(&["status"]).contains("running")).is_some();

    let daemon = Daemon::start(&node, "");
    assert!(begins(&daemon), "{}", daemon.ask(&["status"]));
    // The session ends when it is no more looked at, and its hint with it.
    let seen = std::cell::RefCell::new(String::new());
    let hinted = || {
        let view = daemon.ask(&["peer", "tor"]);
        let all = ["unacknowledged for", "sent again", "`tcp_mss`", "ping -M do -s 8972"].iter().all(|words| view.contains(words));
        seen.replace(view);
        all
    };
    let begun = std::time::Instant::now();
    let (octets, complete) = meet(&node, &|| hinted() || begun.elapsed() > PATIENT);
    let view = seen.take();
    println!("{octets} octets came; {}", view.lines().find(|line| line.starts_with("tcp")).unwrap_or_default());
    assert!(view.contains("ping -M do -s 8972") && !complete, "{view}");
    drop(daemon);

    let daemon = Daemon::start(&node, "tcp_mss = 1400");
    assert!(begins(&daemon), "{}", daemon.ask(&["status"]));
    let begun = std::time::Instant::now();
    let (octets, complete) = meet(&node, &|| begun.elapsed() > PATIENT);
    assert!(complete && octets > 4 * BLOCKS as usize, "{octets} octets; {}", daemon.ask(&["peer", "tor"]));
    assert!(!daemon.ask(&["peer", "tor"]).contains("ping -M do"));
}
