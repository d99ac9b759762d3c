//! What the command line owes somebody at night, on the real binary: colours where they help and nowhere else, short answers, examples that can be
//! typed, and no word about a file that is not meant.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use proto_tests::netlab::mounts::Scratch;
use proto_tests::netlab::patiently;
use proto_tests::netlab::proc::{catbird, workspace};
use proto_tests::outside::{Caller, Daemon, PATIENCE, keepalive, update, usual_attributes};

fn binary() -> Command {
    let mut command = Command::new(catbird().unwrap_or_else(|e| panic!("{e}")));
    command.stdin(Stdio::null());
    command
}

fn text(out: &Output) -> String {
    String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr)
}

fn fed(args: &[&str], input: &str) -> (bool, String) {
    let mut child = binary().args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("it reads");
    let out = child.wait_with_output().expect("it ends");
    (out.status.success(), text(&out))
}

/// What this command prints on a terminal.
fn on_a_terminal(line: &str, no_colour: bool) -> String {
    let mut command = Command::new("script");
    command.args(["-qec", line, "/dev/null"]).stdin(Stdio::null()).env_remove("NO_COLOR");
    if no_colour {
        command.env("NO_COLOR", "1");
    }
    text(&command.output().expect("util-linux is installed"))
}

const GREEN: &str = "\x1b[32m";
const RED: &str = "\x1b[31m";

/// Callers that are up, each with a block of its own; the first also with 10.9.0.0/16.
fn crowd(daemon: &Daemon, count: u16) -> Vec<Caller> {
    let mut callers: Vec<Caller> = (1..=count).map(|n| daemon.call(n).established()).collect();
    for caller in &mut callers {
        let [_, _, x, y] = caller.addr.octets();
        let mut nlri = vec![32, 10, 8, x, y];
        if y == 1 {
            nlri.extend([16, 10, 9]);
        }
        let octets = update(&[], &usual_attributes(caller.addr), &nlri);
        caller.say(&octets);
        caller.say(&keepalive());
    }
    assert!(patiently(PATIENCE, || daemon.has("10.9.0.0/16")).is_some(), "{}", daemon.ask(&["routes"]));
    callers
}

#[test]
fn why_is_a_screenful_however_many_peers_were_told() {
    let daemon = Daemon::start("", "[pods]\nblocks = [\"10.244.1.0/26\"]\n");
    let _callers = crowd(&daemon, 60);
    let why = daemon.ask(&["why", "10.244.1.0/26"]);
    assert!(why.contains("and 54 more: announced") && why.lines().count() < 30, "{} lines:\n{why}", why.lines().count());
    let age = daemon.json(&["why", "10.244.1.0/26"])["paths"][0]["age_seconds"].as_f64().unwrap_or(f64::MAX);
    assert!(age < 60.0, "a route of our own is as old as it is, and not as this machine: {age} s");
    let inside = daemon.ask(&["why", "10.244.1.7/32"]);
    assert!(inside.contains("10.244.1.0/26"), "a prefix inside of one that is there:\n{inside}");
    let address = daemon.ask(&["why", "10.244.1.7"]);
    assert!(address.contains("10.244.1.0/26  (the longest prefix"), "{address}");
}

#[test]
fn the_best_path_is_never_red_and_no_color_is_heard_by_answers_and_log() {
    let daemon = Daemon::start("", "[pods]\nblocks = [\"10.244.1.0/26\"]\n");
    let program = catbird().unwrap_or_else(|e| panic!("{e}"));
    let line = format!("{} --socket {} why 10.244.1.0/26", program.display(), daemon.socket().display());
    let coloured = on_a_terminal(&line, false);
    let best = coloured.lines().find(|line| line.contains("best")).unwrap_or_default();
    assert!(best.contains(GREEN) && !best.contains(RED), "{coloured:?}");
    let plain = on_a_terminal(&line, true);
    assert!(plain.contains("best") && !plain.contains('\x1b'), "{plain:?}");

    // The log of a daemon that ends at once, for its port is taken by no address of this machine.
    let scratch = Scratch::new("night-log").expect("a temporary folder");
    let file = scratch.path().join("catbird.toml");
    std::fs::write(&file, config(scratch.path(), "")).expect("it is ours");
    let run = format!("timeout -s TERM 2 {} run -c {}", program.display(), file.display());
    let log = on_a_terminal(&run, false);
    assert!(log.contains("catbird starts") && log.contains('\x1b'), "{log:?}");
    let log = on_a_terminal(&run, true);
    assert!(log.contains("catbird starts") && !log.contains('\x1b'), "{log:?}");
}

fn config(folder: &Path, more: &str) -> String {
    format!(
        "[node]\nname = \"us\"\nasn = 65001\nrouter_id = \"10.0.0.1\"\naddresses = [\"127.0.0.1\"]\n[listen]\naddresses = [\"127.0.0.1\"]\n\
         port = {}\n[fib]\nenabled = false\n[metrics]\nlisten = \"\"\n[control]\nsocket = \"{}\"\n{more}\n",
        proto_tests::outside::free_port(),
        folder.join("sock").display()
    )
}

#[test]
fn a_configuration_is_checked_from_standard_input_or_where_it_stands_by_default() {
    let good = "[node]\nname = \"us\"\nasn = 65001\nrouter_id = \"10.0.0.1\"\naddresses = [\"10.0.0.1\"]\n";
    let (fine, said) = fed(&["check", "-"], good);
    assert!(fine && said.contains("fine"), "{said}");
    let (fine, said) = fed(&["check", "-"], &good.replace("asn", "asm"));
    assert!(!fine && said.contains("asm") && said.contains("asn") && said.contains(":3:"), "{said}");
    if !Path::new("/etc/catbird/catbird.toml").exists() {
        let out = binary().arg("check").output().expect("it runs");
        assert!(!out.status.success() && text(&out).contains("/etc/catbird/catbird.toml"), "{}", text(&out));
    }
}

/// `build.rs` by itself, as cargo runs it for a release.
#[test]
fn a_release_says_its_commit_and_its_date() {
    let out = binary().arg("--version").output().expect("it runs");
    assert!(text(&out).starts_with(concat!("catbird ", env!("CARGO_PKG_VERSION"))), "{}", text(&out));
    let scratch = Scratch::new("night-version").expect("a temporary folder");
    let script = scratch.path().join("build");
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let built = Command::new(rustc).args(["--edition", "2024", "-o"]).arg(&script).arg(workspace().join("build.rs")).status();
    assert!(built.is_ok_and(|status| status.success()), "build.rs");
    let says = |commit: &str| {
        let mut run = Command::new(&script);
        run.current_dir(workspace()).env("PROFILE", "release").env("CARGO_PKG_VERSION", "1.2.3").env("CATBIRD_COMMIT", commit);
        text(&run.output().expect("it runs"))
    };
    assert!(says("abcdef, 2026-11-30").contains("CATBIRD_VERSION=1.2.3 (abcdef, 2026-11-30)"), "{}", says("abcdef, 2026-11-30"));
    let mut git = Command::new("git");
    git.args(["rev-parse", "HEAD"]).current_dir(workspace());
    if git.output().is_ok_and(|out| out.status.success()) {
        let said = says("");
        let commit = said.split_once("CATBIRD_VERSION=1.2.3 (").map_or("", |(_, rest)| rest);
        assert!(commit.len() > 12 && commit[..12].bytes().all(|b| b.is_ascii_hexdigit()) && commit.contains(", 20"), "{said}");
    }
}

#[test]
fn messages_are_decoded_as_they_come_and_not_when_the_pipe_ends() {
    let mut child = binary().args(["decode", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it runs");
    let (lines, heard) = std::sync::mpsc::channel();
    let said = BufReader::new(child.stdout.take().expect("piped")).lines();
    let reader = std::thread::spawn(move || said.map_while(Result::ok).for_each(|line| drop(lines.send(line))));
    let mut pipe = child.stdin.take().expect("piped");
    for _ in 0..3 {
        pipe.write_all(b"ffffffffffffffffffffffffffffffff001304\n").expect("it reads");
        pipe.flush().expect("it reads");
        let line = heard.recv_timeout(Duration::from_secs(20)).expect("a line while the pipe is open");
        assert!(line.contains("KEEPALIVE"), "{line}");
    }
    drop(pipe);
    assert!(child.wait().expect("it ends").success());
    reader.join().expect("it only reads");
}

#[test]
fn a_filter_for_another_runner_is_told_how_to_be_had() {
    if Command::new("cargo").args(["nextest", "--version"]).output().is_ok_and(|out| out.status.success()) {
        return;
    }
    let run = Command::new(workspace().join("proto-tests/run")).args(["-E", "test(x)"]).stdin(Stdio::null()).output();
    let said = text(&run.expect("bash is there"));
    assert!(said.contains("cargo install cargo-nextest") && said.ends_with("0 passed, 1 failed\n"), "{said}");
}

#[test]
fn a_reload_and_its_preview_say_grade_alike() {
    let scratch = Scratch::new("night-grade").expect("a temporary folder");
    let mut file = None;
    let daemon = Daemon::configured(Ipv4Addr::LOCALHOST, |port, folder| {
        file = Some(folder.join("catbird.toml"));
        config(folder, "").replace("port = ", &format!("port = {port} #"))
    });
    let file = file.expect("it was configured");
    let now = std::fs::read_to_string(&file).expect("it is ours");
    std::fs::write(&file, now + "[pods]\nblocks = [\"10.244.1.0/26\"]\n").expect("it is ours");
    let grades = |value: &serde_json::Value| -> Vec<String> {
        let changes = value["changes"].as_array().unwrap_or_else(|| panic!("{value:#}"));
        changes.iter().map(|change| format!("{} {}", change["grade"], change["what"])).collect()
    };
    let preview = grades(&daemon.json(&["diff", &file.to_string_lossy()]));
    assert!(!preview.is_empty() && preview.iter().all(|line| !line.contains("null")), "{preview:?}");
    assert_eq!(grades(&daemon.json(&["reload"])), preview);
    assert!(grades(&daemon.json(&["diff", &file.to_string_lossy()])).is_empty(), "what runs is what is written");
    drop(scratch);
}
