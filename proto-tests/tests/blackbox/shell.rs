//! What operators, files, pipes and callers can do to the process around the router: nothing that others would notice.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use proto_tests::netlab::mounts::Scratch;
use proto_tests::netlab::patiently;
use proto_tests::netlab::proc::catbird;
use proto_tests::outside::{Caller, Daemon, Heard, OUR_AS, PATIENCE, THEIR_AS, addr, free_port, keepalive, open, usual_open};

/// A daemon whose folder and command are the test's own.
struct Process {
    child: Child,
    folder: PathBuf,
    port: u16,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The binary, or the shell around it.
fn binary() -> PathBuf {
    catbird().unwrap_or_else(|e| panic!("{e}"))
}

/// The smallest configuration, with sessions from 127.16.0.0/12.
fn config(port: u16, folder: &Path, more: &str) -> String {
    format!(
        "[node]\nname = \"us\"\nasn = {OUR_AS}\nrouter_id = \"10.0.0.1\"\naddresses = [\"127.0.0.1\"]\n[listen]\naddresses = [\"127.0.0.1\"]\n\
         port = {port}\n[fib]\nenabled = false\n[metrics]\nlisten = \"\"\n[control]\nsocket = \"{}\"\n[[peer_group]]\nname = \"callers\"\n\
         asn = {THEIR_AS}\nlisten = [\"127.16.0.0/12\"]\nimport = \"all\"\nexport = \"all\"\n{more}\n",
        folder.join("sock").display()
    )
}

impl Process {
    /// `sh -c SHELL`, in which "$@" is the daemon.
    fn start(scratch: &Scratch, shell: &str, more: &str) -> Process {
        let (folder, port) = (scratch.path().to_owned(), free_port());
        fs::write(folder.join("catbird.toml"), config(port, &folder, more)).expect("written");
        Process::run(folder, port, shell)
    }

    fn run(folder: PathBuf, port: u16, shell: &str) -> Process {
        let log = OpenOptions::new().create(true).append(true).open(folder.join("log")).expect("a file");
        let mut command = Command::new("sh");
        command.args(["-c", shell, "sh"]).arg(binary()).args(["run", "-c"]).arg(folder.join("catbird.toml")).current_dir(&folder);
        let child = command.stdin(Stdio::null()).stdout(log.try_clone().expect("a file")).stderr(log).spawn().expect("a shell");
        Process { child, folder, port }
    }

    fn listens(&self) -> bool {
        let up = || TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok() && self.folder.join("sock").exists();
        patiently(PATIENCE, up).is_some()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    fn ask(&self, args: &[&str]) -> String {
        let out = Command::new(binary()).arg("--socket").arg(self.folder.join("sock")).args(args).stdin(Stdio::null()).output();
        let out = out.expect("the binary runs");
        String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr)
    }

    /// The exit status after TERM.
    fn term(&mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").arg(pid).status().expect("kill runs").success());
        let mut status = None;
        patiently(PATIENCE, || {
            status = self.child.try_wait().expect("our child");
            status.is_some()
        });
        status.expect("TERM ends it").code()
    }

    fn establishes(&self, n: u16) -> bool {
        Caller::from(addr(n), self.port).is_ok_and(|mut caller| {
            caller.say(&usual_open(caller.addr));
            caller.hear_type(1).is_some() && caller.hear_type(4).is_some()
        })
    }
}

fn fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().expect("mkfifo runs").success());
}

#[test]
fn a_log_that_nobody_reads_stops_nothing() {
    let scratch = Scratch::new("stalled-log").expect("a folder");
    let pipe = scratch.path().join("pipe");
    fifo(&pipe);
    let mut reader = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(&pipe).expect("both ends");
    // Full before the first line: today's first word would have blocked.
    while reader.write(&[b'x'; 4096]).is_ok() {}
    let mut daemon = Process::start(&scratch, "exec \"$@\" 2>pipe", "[log]\nlevel = \"debug\"\n");
    assert!(daemon.listens());
    assert!(daemon.establishes(1));
    assert!(daemon.ask(&["status"]).contains("us"));
    assert_eq!(daemon.term(), Some(0));
    let mut octets = [0; 1];
    assert_eq!(reader.read(&mut octets).ok(), Some(1), "it was full all the time");
}

#[test]
fn a_fifo_or_an_endless_file_in_the_place_of_files_freezes_nobody_and_is_said() {
    let scratch = Scratch::new("odd-files").expect("a folder");
    fifo(&scratch.path().join("blocks"));
    std::os::unix::fs::symlink("/dev/zero", scratch.path().join("password")).expect("a link");
    let folder = scratch.path().display();
    let more = format!(
        "[pods]\nfile = \"{folder}/blocks\"\n[[peer]]\naddress = \"127.32.0.9\"\nasn = {THEIR_AS}\npassword_file = \"{folder}/password\"\n\
         import = \"all\"\nexport = \"all\"\n"
    );
    let mut daemon = Process::start(&scratch, "exec \"$@\"", &more);
    assert!(daemon.listens(), "{}", daemon.log());
    assert!(daemon.establishes(1));
    let said = |what: &[&str]| {
        let status = || daemon.ask(&["status"]);
        assert!(patiently(PATIENCE, || what.iter().all(|text| status().contains(text))).is_some(), "{what:?}: {}", status());
    };
    said(&["a FIFO where a regular file belongs", "a device where a regular file belongs"]);
    // Replaced by what belongs there.
    let new = scratch.path().join("new");
    fs::write(&new, "10.244.1.0/26\n").and_then(|()| fs::rename(&new, scratch.path().join("blocks"))).expect("renamed");
    assert!(patiently(PATIENCE, || daemon.ask(&["blocks"]).contains("10.244.1.0/26")).is_some(), "{}", daemon.log());
    assert!(!daemon.ask(&["status"]).contains("FIFO"), "that is over");
    // And as configuration, at a reload.
    fs::remove_file(scratch.path().join("catbird.toml")).expect("there");
    fifo(&scratch.path().join("catbird.toml"));
    assert!(daemon.ask(&["reload"]).contains("a FIFO where a regular file belongs"));
    assert_eq!(daemon.term(), Some(0));
}

#[test]
fn of_copies_started_in_the_same_instant_one_runs_and_the_others_say_so() {
    for _ in 0..3 {
        let scratch = Scratch::new("copies").expect("a folder");
        let (folder, port) = (scratch.path().to_owned(), free_port());
        fs::write(folder.join("catbird.toml"), config(port, &folder, "")).expect("written");
        let mut copies: Vec<Process> = (0..3).map(|_| Process::run(folder.clone(), port, "exec \"$@\"")).collect();
        let mut ended = || copies.iter_mut().filter_map(|copy| copy.child.try_wait().expect("our child")).collect::<Vec<_>>();
        assert!(patiently(PATIENCE, || ended().len() == 2).is_some(), "two of three end");
        assert!(ended().iter().all(|status| status.code() == Some(1)));
        let log = copies[0].log();
        assert_eq!(log.matches("another catbird runs with it").count(), 2, "{log}");
        assert!(copies.iter().any(Process::listens), "the third serves");
    }
}

#[test]
fn a_configuration_behind_a_link_is_taken_over_when_it_is_replaced() {
    let scratch = Scratch::new("configmap").expect("a folder");
    let (folder, port) = (scratch.path().to_owned(), free_port());
    let peer = |n: u8| format!("[[peer]]\nname = \"node-{n}\"\naddress = \"127.32.0.{n}\"\nasn = {OUR_AS}\n");
    let mount = |name: &str, more: &str| {
        fs::create_dir(folder.join(name)).expect("made");
        fs::write(folder.join(name).join("catbird.toml"), config(port, &folder, more)).expect("written");
        std::os::unix::fs::symlink(name, folder.join("..new")).expect("a link");
        fs::rename(folder.join("..new"), folder.join("..data")).expect("swapped");
    };
    mount("..1", &peer(1));
    std::os::unix::fs::symlink("..data/catbird.toml", folder.join("catbird.toml")).expect("a link");
    let daemon = Process::run(folder.clone(), port, "exec \"$@\"");
    assert!(daemon.listens(), "{}", daemon.log());
    assert!(!daemon.ask(&["peers"]).contains("node-2"));
    mount("..2", &(peer(1) + &peer(2)));
    assert!(patiently(PATIENCE, || daemon.ask(&["peers"]).contains("node-2")).is_some(), "{}", daemon.log());
    // One that is not usable changes nothing and is said; the next good one is taken again.
    mount("..3", "nonsense = true\n");
    assert!(patiently(PATIENCE, || daemon.ask(&["status"]).contains("the last reload failed")).is_some(), "{}", daemon.log());
    mount("..4", &peer(3));
    assert!(patiently(PATIENCE, || daemon.ask(&["peers"]).contains("node-3")).is_some(), "{}", daemon.log());
    // Switched off, it is only said.
    let with_control = |text: String| text + "\n[reload]\nwatch = false\n";
    let off = |name: &str, n: u8| {
        mount(name, &peer(n));
        let path = folder.join(name).join("catbird.toml");
        fs::write(&path, with_control(fs::read_to_string(&path).expect("there"))).expect("written");
    };
    off("..5", 3);
    daemon.ask(&["reload"]);
    off("..6", 4);
    assert!(patiently(PATIENCE, || daemon.ask(&["status"]).contains("has changed since it was read")).is_some(), "{}", daemon.log());
    assert!(!daemon.ask(&["peers"]).contains("node-4"));
}

#[test]
fn a_configuration_that_was_edited_in_place_is_said_and_waits() {
    let scratch = Scratch::new("edited").expect("a folder");
    let daemon = Process::start(&scratch, "exec \"$@\"", "");
    assert!(daemon.listens(), "{}", daemon.log());
    let path = scratch.path().join("catbird.toml");
    let noticed = || {
        let text = fs::read_to_string(&path).expect("there") + "\n# edited\n";
        fs::write(&path, text).expect("written");
        daemon.ask(&["status"]).contains("has changed since it was read")
    };
    assert!(patiently(PATIENCE, noticed).is_some(), "{}", daemon.ask(&["status"]));
    daemon.ask(&["reload"]);
    assert!(!daemon.ask(&["status"]).contains("has changed since it was read"));
}

#[test]
fn an_edited_configuration_is_taken_over_when_it_is_watched_and_a_broken_one_is_said() {
    let scratch = Scratch::new("watched").expect("a folder");
    let daemon = Process::start(&scratch, "exec \"$@\"", "\n[reload]\nwatch = true\n");
    assert!(daemon.listens(), "{}", daemon.log());
    let path = scratch.path().join("catbird.toml");
    let good = fs::read_to_string(&path).expect("there");
    let peer = |n: u8| format!("\n[[peer]]\nname = \"node-{n}\"\naddress = \"127.0.9.{n}\"\nasn = 65001\n");
    fs::write(&path, good.clone() + &peer(1)).expect("written");
    assert!(patiently(PATIENCE, || daemon.ask(&["peers"]).contains("node-1")).is_some(), "{}", daemon.log());
    assert!(daemon.log().contains("node-1"), "what it changed is in the log: {}", daemon.log());
    fs::write(&path, good.clone() + &peer(1) + "nonsense = true\n").expect("written");
    assert!(patiently(PATIENCE, || daemon.ask(&["status"]).contains("the last reload failed")).is_some(), "{}", daemon.log());
    assert!(daemon.ask(&["peers"]).contains("node-1"), "the last good one stays");
    // An editor's way: another file in its place.
    fs::write(path.with_extension("new"), good + &peer(2)).expect("written");
    fs::rename(path.with_extension("new"), &path).expect("moved");
    let turned = || daemon.ask(&["peers"]).contains("node-2") && !daemon.ask(&["peers"]).contains("node-1");
    assert!(patiently(PATIENCE, turned).is_some(), "{}", daemon.log());
}

#[test]
fn hosts_of_a_range_whose_sessions_fail_at_once_wait_and_others_do_not() {
    let daemon = Daemon::start("", "");
    let (mut served, mut turned_away) = (0, 0);
    let begun = Instant::now();
    while turned_away < 200 {
        let mut caller = daemon.call(1);
        caller.say(&open(4, THEIR_AS + 1, 90, caller.addr.octets(), &[]));
        match caller.hear(PATIENCE) {
            Heard::Message(1, _) => {
                served += 1;
                caller.last_words();
            }
            Heard::End => turned_away += 1,
            other => panic!("{other:?}"),
        }
    }
    // Four at once, then one after 1, 2, 4 ... s.
    let at_most = 6 + begun.elapsed().as_secs().checked_ilog2().unwrap_or(0);
    assert!(served >= 3 && served <= at_most, "{served} in {:?}", begun.elapsed());
    assert!(daemon.call(2).established().is_established(), "another host is not concerned");
    assert!(daemon.log().lines().count() < 200, "the log does not grow with the attempts");
}

#[test]
fn a_listening_address_is_changed_without_a_gap() {
    let scratch = Scratch::new("handover").expect("a folder");
    // No port that the kernel gives to callers of other tests: one of those would be in the way of the wildcard.
    let port = (20_000..32_000).find(|port| std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, *port)).is_ok()).expect("a port");
    fs::write(scratch.path().join("catbird.toml"), config(port, scratch.path(), "")).expect("written");
    let daemon = Process::run(scratch.path().to_owned(), port, "exec \"$@\"");
    assert!(daemon.listens(), "{}", daemon.log());
    let path = scratch.path().join("catbird.toml");
    let one = fs::read_to_string(&path).expect("there");
    let all = one.replace("addresses = [\"127.0.0.1\"]\nport", "addresses = [\"0.0.0.0\"]\nport");
    assert_ne!(one, all);
    let mut caller = Caller::from(addr(1), daemon.port).expect("connected").established();
    for text in [&all, &one, &all, &one] {
        fs::write(&path, text).expect("written");
        let told = daemon.ask(&["reload"]);
        if let Err(error) = TcpStream::connect((Ipv4Addr::LOCALHOST, daemon.port)) {
            panic!("{error}: {told}\n{}", daemon.log());
        }
        assert!(!daemon.ask(&["status"]).contains("cannot listen"), "{}", daemon.log());
    }
    assert!(!daemon.log().contains("another BGP daemon"), "{}", daemon.log());
    caller.say(&keepalive());
    assert!(caller.is_established(), "sessions do not notice");
    let elsewhere = TcpStream::connect((Ipv4Addr::new(127, 0, 0, 2), daemon.port));
    assert!(elsewhere.is_err(), "the wildcard is gone");
}

/// Every command that writes something.
const COMMANDS: [&[&str]; 16] = [
    &["status"],
    &["peers"],
    &["peer", "tor"],
    &["peer", "tor", "clear"],
    &["routes"],
    &["why", "10.244.1.0/26"],
    &["blocks"],
    &["diff"],
    &["reload"],
    &["log", "set", "info"],
    &["check", "catbird.toml"],
    &["decode", "--hex", "hex"],
    &["completions", "bash"],
    &["--help"],
    &["status", "--help"],
    &["--version"],
];

#[test]
fn output_that_cannot_be_written_is_an_error_unless_the_reader_has_seen_enough() {
    let scratch = Scratch::new("full").expect("a folder");
    let peer = "[[peer]]\nname = \"tor\"\naddress = \"127.32.0.9\"\nasn = 65009\nimport = \"all\"\nexport = \"all\"\n";
    let daemon = Process::start(&scratch, "exec \"$@\"", &format!("[pods]\nblocks = [\"10.244.1.0/26\"]\n{peer}"));
    assert!(daemon.listens(), "{}", daemon.log());
    fs::write(scratch.path().join("hex"), "ffffffffffffffffffffffffffffffff001304\n").expect("written");
    let run = |args: &[&str], stdout: Stdio| {
        let mut command = Command::new(binary());
        command.arg("--socket").arg(scratch.path().join("sock")).args(args).current_dir(scratch.path()).stdout(stdout);
        command.output().expect("the binary runs")
    };
    for args in COMMANDS {
        for args in [args.to_vec(), [args, &["--json"]].concat()] {
            if args.contains(&"--json") && (args[0].starts_with("--") || args.contains(&"--help")) {
                continue;
            }
            let full = run(&args, File::create("/dev/full").expect("a device").into());
            assert!(!full.status.success(), "{args:?}: {full:?}");
            let (reader, writer) = std::io::pipe().expect("a pipe");
            drop(reader);
            let head = run(&args, OwnedFd::from(writer).into());
            assert!(head.status.success() && head.stderr.is_empty(), "{args:?}: {head:?}");
            let fine = run(&args, Stdio::piped());
            assert!(fine.status.success() && !fine.stdout.is_empty(), "{args:?}: {fine:?}");
        }
    }
}

#[test]
fn with_few_descriptors_status_answers_and_a_cleared_session_comes_back() {
    let scratch = Scratch::new("few").expect("a folder");
    let daemon = Process::start(&scratch, "ulimit -n 64; exec \"$@\"", "");
    assert!(daemon.listens(), "{}", daemon.log());
    let call = |n| Caller::from(addr(n), daemon.port).expect("the kernel accepts");
    let mut first = call(0).established();
    // One after the other: strangers that are still silent have a bound of their own.
    let mut others = Vec::new();
    for n in 1..60 {
        let mut other = call(n);
        other.say(&[usual_open(other.addr), keepalive()].concat());
        let answered = matches!(other.hear(Duration::from_secs(2)), Heard::Message(1, _));
        others.push(other);
        if !answered {
            break;
        }
    }
    let said = || daemon.ask(&["status"]).contains("file descriptors allow");
    let more = || drop(Caller::from(addr(99), daemon.port));
    let full = || {
        more();
        said()
    };
    assert!(patiently(PATIENCE, full).is_some(), "{}\n{}", daemon.ask(&["status"]), daemon.log());
    let cleared = daemon.ask(&["peer", "127.16.0.0", "clear"]);
    assert!(first.last_words().is_some(), "{cleared}");
    drop(others);
    assert!(patiently(PATIENCE, || daemon.establishes(200)).is_some(), "{}", daemon.log());
}

#[test]
fn a_command_does_not_wait_for_ever_for_a_daemon_that_is_stopped() {
    let scratch = Scratch::new("stopped").expect("a folder");
    let path = scratch.path().join("sock");
    let _listener = std::os::unix::net::UnixListener::bind(&path).expect("bound");
    let begun = Instant::now();
    let out = Command::new(binary()).arg("--socket").arg(&path).arg("status").output().expect("the binary runs");
    let text = String::from_utf8_lossy(&out.stderr);
    assert!(!out.status.success() && text.contains("has not answered for"), "{text}");
    assert!(begun.elapsed() < Duration::from_secs(60));
}

/// A daemon of the cluster that lists `nodes`, on the addresses 127.0.0.N.
fn member(n: u8, port: u16, folder: &Path, nodes: &[u8]) -> String {
    let node = |n: &u8| format!("  {{ name = \"node-{n}\", addresses = [\"127.0.0.{n}\"], port = {port} }},\n");
    format!(
        "[node]\nname = \"node-{n}\"\n[cluster]\nasn = {OUR_AS}\nconnect_retry = \"1s\"\nnodes = [\n{}]\n[listen]\naddresses = [\"127.0.0.{n}\"]\nport = {port}\n\
         [fib]\nenabled = false\n[pods]\nblocks = [\"10.244.{n}.0/26\"]\n[metrics]\nlisten = \"127.0.0.{n}:{}\"\n[control]\nsocket = \"{}\"\n",
        nodes.iter().map(node).collect::<String>(),
        port + 1,
        folder.join("sock").display()
    )
}

/// Replaces `..data` by a link to a new folder with this configuration, as kubelet does.
fn mount(folder: &Path, version: u8, text: &str) {
    let name = format!("..{version}");
    fs::create_dir(folder.join(&name)).expect("made");
    fs::write(folder.join(&name).join("catbird.toml"), text).expect("written");
    std::os::unix::fs::symlink(name, folder.join("..new")).expect("a link");
    fs::rename(folder.join("..new"), folder.join("..data")).expect("swapped");
}

/// What `/readyz` says.
fn readyz(n: u8, port: u16) -> String {
    let Ok(mut socket) = TcpStream::connect((Ipv4Addr::new(127, 0, 0, n), port + 1)) else { return String::new() };
    let mut answer = String::new();
    let asked = socket.write_all(b"GET /readyz HTTP/1.0\r\n\r\n").and_then(|()| socket.read_to_string(&mut answer));
    asked.map(|_| answer).unwrap_or_default()
}

#[test]
fn a_node_that_is_not_in_the_list_waits_for_it_and_the_others_meet_it_when_it_comes() {
    let (old, new) = (Scratch::new("old-node").expect("a folder"), Scratch::new("new-node").expect("a folder"));
    let port = (20_000..32_000).step_by(2).find(|port| {
        [11, 12].iter().all(|n| [0, 1].iter().all(|more| std::net::TcpListener::bind((Ipv4Addr::new(127, 0, 0, *n), port + more)).is_ok()))
    });
    let port = port.expect("two ports");
    let mut daemons = Vec::new();
    for (n, scratch) in [(11, &old), (12, &new)] {
        mount(scratch.path(), 1, &member(n, port, scratch.path(), &[11, 13]));
        std::os::unix::fs::symlink("..data/catbird.toml", scratch.path().join("catbird.toml")).expect("a link");
        daemons.push(Process::run(scratch.path().to_owned(), port, "exec \"$@\""));
    }
    let [first, second] = &daemons[..] else { panic!("two daemons") };
    let says = |daemon: &Process, args: &[&str], text: &str| {
        assert!(patiently(PATIENCE, || daemon.ask(args).contains(text)).is_some(), "{text}: {}\n{}", daemon.ask(args), daemon.log());
    };
    says(second, &["status"], "this node, `node-12`, is not in the cluster's list");
    assert!(readyz(12, port).contains("503") && readyz(12, port).contains("is not in the cluster's list"), "{}", readyz(12, port));
    says(first, &["peers"], "node-13");
    // One more file without it, another that cannot be used, and then the list with it, at both.
    mount(new.path(), 2, &member(12, port, new.path(), &[11]));
    mount(new.path(), 3, "nonsense = true\n");
    says(second, &["status"], "the last reload failed");
    for (n, scratch) in [(11, &old), (12, &new)] {
        mount(scratch.path(), 4, &member(n, port, scratch.path(), &[11, 12]));
    }
    for daemon in &daemons {
        let up = || daemon.ask(&["peers"]).to_lowercase().contains("established");
        assert!(patiently(PATIENCE, up).is_some(), "{}\n{}", daemon.ask(&["peers"]), daemon.log());
    }
    says(first, &["routes"], "10.244.12.0/26");
    says(second, &["routes"], "10.244.11.0/26");
    assert!(!second.ask(&["status"]).contains("not in the cluster's list") && readyz(12, port).contains("200"), "{}", readyz(12, port));
    // Taken out again by mistake, it keeps what it has and says so.
    mount(new.path(), 5, &member(12, port, new.path(), &[11, 13]));
    says(second, &["status"], "the last reload failed");
    assert!(second.ask(&["peers"]).to_lowercase().contains("established"), "{}", second.ask(&["peers"]));
}

#[test]
fn a_block_of_the_file_that_cannot_be_one_is_left_out_and_said_also_when_a_peer_comes_later() {
    let scratch = Scratch::new("odd-blocks").expect("a folder");
    let blocks = scratch.path().join("blocks");
    let list = |text: &str| {
        let new = scratch.path().join("new");
        fs::write(&new, text).and_then(|()| fs::rename(&new, &blocks)).expect("renamed");
    };
    list("10.244.1.0/26\n127.32.0.0/12\n127.0.0.0/26\n0.0.0.0/0\n10.77.0.0/24\n");
    let more = format!("[pods]\nfile = \"{}\"\n", blocks.display());
    let daemon = Process::start(&scratch, "exec \"$@\"", &more);
    assert!(daemon.listens(), "{}", daemon.log());
    let until = |args: &[&str], wanted: &[&str], unwanted: &[&str]| {
        let so = || {
            let answer = daemon.ask(args);
            wanted.iter().all(|text| answer.contains(text)) && !unwanted.iter().any(|text| answer.contains(text))
        };
        assert!(patiently(PATIENCE, so).is_some(), "{wanted:?}, not {unwanted:?}: {}\n{}", daemon.ask(args), daemon.log());
    };
    until(&["blocks", "--json"], &["\"10.244.1.0/26\"", "\"10.77.0.0/24\""], &["\"127.", "\"0.0.0.0/0\""]);
    let refused = ["127.32.0.0/12", "127.0.0.0/26", "0.0.0.0/0"].map(|net| format!("{net} in {} cannot be a block", blocks.display()));
    until(&["status"], &refused.each_ref().map(String::as_str), &[]);
    // A neighbour inside a block that was good so far.
    let path = scratch.path().join("catbird.toml");
    let peer = "[[peer]]\nname = \"tor\"\naddress = \"10.77.0.1\"\nasn = 65009\nimport = \"all\"\nexport = \"all\"\n";
    fs::write(&path, fs::read_to_string(&path).expect("there") + peer).expect("written");
    daemon.ask(&["reload"]);
    until(&["blocks", "--json"], &["\"10.244.1.0/26\""], &["\"10.77.0.0/24\""]);
    until(&["status"], &["it covers tor 10.77.0.1"], &[]);
    // A file that cannot be read is said besides, and nothing else changes; a good one ends it all.
    list("10.244.1.0/26\nrubbish\n");
    until(&["status"], &["rubbish", "it covers tor 10.77.0.1"], &[]);
    until(&["blocks"], &["10.244.1.0/26", "rubbish", "it covers tor 10.77.0.1"], &[]);
    list("10.244.2.0/26\n");
    until(&["blocks"], &["10.244.2.0/26"], &["10.244.1.0/26"]);
    until(&["status"], &[], &["rubbish", "cannot be a block"]);
}

/// As for those of the file, only that nobody would ever look at these again.
#[test]
fn a_block_that_was_added_by_hand_is_withdrawn_by_a_reload_that_puts_a_neighbour_into_it() {
    let scratch = Scratch::new("added-block").expect("a folder");
    let daemon = Process::start(&scratch, "exec \"$@\"", "");
    assert!(daemon.listens(), "{}", daemon.log());
    for net in ["10.77.0.0/24", "10.244.7.0/26"] {
        assert!(daemon.ask(&["block", "add", net]).contains("added"), "{net}");
    }
    let path = scratch.path().join("catbird.toml");
    let peer = "[[peer]]\nname = \"tor\"\naddress = \"10.77.0.1\"\nasn = 65009\nimport = \"all\"\nexport = \"all\"\n";
    fs::write(&path, fs::read_to_string(&path).expect("there") + peer).expect("written");
    let why = "10.77.0.0/24, which `catbird block add` added, cannot be a block any more and is withdrawn: it covers tor 10.77.0.1";
    for args in [["diff"], ["reload"]] {
        let before = daemon.ask(&["blocks", "--json"]);
        assert!(before.contains("\"10.77.0.0/24\"") && before.contains("\"10.244.7.0/26\""), "{args:?}: {before}");
        let said = daemon.ask(&args);
        assert!(said.contains(why), "{args:?}: {said}");
    }
    let blocks = daemon.ask(&["blocks", "--json"]);
    assert!(!blocks.contains("\"10.77.0.0/24\"") && blocks.contains("\"10.244.7.0/26\""), "{blocks}");
    assert!(daemon.log().contains(why), "{}", daemon.log());
    assert!(!daemon.ask(&["reload"]).contains("cannot be a block"), "said once");
}

#[test]
fn a_second_term_does_not_wait_for_what_the_first_has_begun() {
    let scratch = Scratch::new("two-terms").expect("a folder");
    let (folder, port) = (scratch.path().to_owned(), free_port());
    let text = config(port, &folder, "[pods]\nblocks = [\"10.244.1.0/26\"]\n");
    let text = text.replacen("[listen]", "on_term = \"withdraw\"\ndrain_wait = \"10m\"\n[listen]", 1);
    fs::write(folder.join("catbird.toml"), text).expect("written");
    let mut daemon = Process::run(folder, port, "exec \"$@\"");
    assert!(daemon.listens(), "{}", daemon.log());
    let _caller = Caller::from(addr(1), daemon.port).expect("connected").established();
    let pid = daemon.child.id().to_string();
    assert!(Command::new("kill").arg(pid).status().expect("kill runs").success());
    assert!(patiently(PATIENCE, || daemon.log().contains("mode=Configured")).is_some(), "{}", daemon.log());
    assert!(patiently(PATIENCE, || ["draining", "stopping"].iter().any(|phase| daemon.ask(&["status"]).contains(phase))).is_some());
    assert!(daemon.child.try_wait().expect("our child").is_none(), "it gives the others their time");
    assert_eq!(daemon.term(), Some(0), "{}", daemon.log());
}

#[test]
fn as_the_first_process_of_a_container_it_buries_orphans() {
    if !proto_tests::netlab::user::is_root() {
        return proto_tests::netlab::skip("orphans", "a process namespace needs root");
    }
    let scratch = Scratch::new("first").expect("a folder");
    // One that has ended when the daemon starts, and one that ends later.
    let shell = "exec unshare --pid --fork --kill-child sh -c '(true &); (sleep 3 &); exec \"$@\"' sh \"$@\"";
    let daemon = Process::start(&scratch, shell, "");
    assert!(daemon.listens(), "{}", daemon.log());
    let children = |parent: u32| {
        let all = fs::read_dir("/proc").expect("there").flatten();
        let stats = all.filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
        let of = |stat: &String| {
            let (head, rest) = stat.rsplit_once(") ")?;
            let mut rest = rest.split(' ');
            let (state, parent) = (rest.next()?.to_owned(), rest.next()?.parse::<u32>().ok()?);
            Some((head.split(' ').next()?.parse::<u32>().ok()?, state, parent))
        };
        stats.filter_map(|stat| of(&stat)).filter(|(.., of)| *of == parent).map(|(pid, state, _)| (pid, state)).collect::<Vec<_>>()
    };
    let first = children(daemon.child.id()).first().map(|(pid, _)| *pid).expect("unshare has one child");
    let none = patiently(PATIENCE, || children(first).is_empty());
    assert!(none.is_some(), "{:?} of {first}\n{}", children(first), daemon.log());
    assert!(daemon.ask(&["status"]).contains("us"));
}

#[test]
fn a_file_of_another_user_is_refused_at_the_start_as_at_a_reload_and_whose_it_is_is_said() {
    if !proto_tests::netlab::user::is_root() {
        return proto_tests::netlab::skip("another's file", "only root gives files away");
    }
    let scratch = Scratch::new("anothers").expect("a folder");
    let path = scratch.path().join("catbird.toml");
    let give = |user: u32, mode: u32| {
        std::os::unix::fs::chown(&path, Some(user), None).expect("root may");
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode)).expect("root may");
    };
    let daemon = Process::start(&scratch, "exec \"$@\"", "");
    assert!(daemon.listens(), "{}", daemon.log());
    give(65534, 0o600);
    let why = "it belongs to user 65534 and has mode 0600, and catbird is user 0";
    let reloaded = daemon.ask(&["reload"]);
    assert!(reloaded.contains(why) && reloaded.contains("chown"), "{reloaded}");
    let out = Command::new(binary()).args(["run", "-c"]).arg(&path).output().expect("the binary runs");
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.code() == Some(2) && said.contains(why), "{said}");
    give(65534, 0o644);
    assert!(!daemon.ask(&["reload"]).contains("belongs to"), "what all may read is read");
}

#[test]
fn a_kernel_that_gives_sockets_no_room_is_said_with_the_sysctl_that_does() {
    let scratch = Scratch::new("optmem").expect("a folder");
    let Ok(ns) = proto_tests::netlab::Ns::pod("optmem") else {
        return proto_tests::netlab::skip("optmem", "a network namespace needs root");
    };
    if ns.sysctl("net.core.optmem_max", "64").is_err() {
        return proto_tests::netlab::skip("optmem", "this kernel has one net.core.optmem_max for all");
    }
    let path = scratch.path().join("catbird.toml");
    fs::write(&path, config(free_port(), scratch.path(), "").replace("[fib]\nenabled = false\n", "")).expect("written");
    let mut command = Command::new(binary());
    command.args(["run", "-c"]).arg(&path);
    let out = ns.output(command).expect("the binary runs");
    let said = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    assert!(out.status.code() == Some(1) && said.contains("net.core.optmem_max") && said.contains("20480"), "{said}");
}
