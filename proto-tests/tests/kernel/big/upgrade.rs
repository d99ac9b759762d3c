//! From the first release to this one in a running lab: node after node, both families, with the overlay and without, and packets are counted.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use proto_tests::netlab::echo::Echo;
use proto_tests::netlab::may_run;
use proto_tests::netlab::sites::Sites;

/// What was released first.
const FIRST: &str = "f1d5611";
const PATIENT: Duration = Duration::from_secs(60);

fn run(command: &mut Command, what: &str) -> bool {
    let good = command.status().is_ok_and(|status| status.success());
    if !good {
        eprintln!("{what} failed");
    }
    good
}

/// The daemon of the first release: `CATBIRD_FIRST_RELEASE` names it, or it is built from this repository's history, once.
fn first_release() -> Option<PathBuf> {
    if let Some(binary) = std::env::var_os("CATBIRD_FIRST_RELEASE") {
        return Some(binary.into());
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?;
    let folder = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from).join("first-release");
    let (source, binary) = (folder.join("source"), folder.join("target/release/catbird"));
    if binary.exists() {
        return Some(binary);
    }
    std::fs::create_dir_all(&source).ok()?;
    let unpack = format!("git -C \"$1\" archive {FIRST} | tar -x -C \"$2\"");
    run(Command::new("bash").args(["-o", "pipefail", "-c", &unpack, "-"]).arg(root).arg(&source), "unpacking the first release")
        .then_some(())?;
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--release", "--locked", "--bin", "catbird"]).current_dir(&source).env("CARGO_TARGET_DIR", folder.join("target"));
    run(&mut cargo, "building the first release").then_some(binary)
}

fn talk(sites: &Sites) -> Vec<Echo> {
    for to in ["10.244.2.2", "fd00:10:244:2::2"] {
        let answer = sites.nodes[0].pod.run(move || proto_tests::netlab::ping::ping(to.parse().unwrap(), PATIENT));
        answer.unwrap_or_else(|why| panic!("{to}: {why}\n{}", sites.log(0)));
    }
    [false, true].map(|v6| sites.ping(v6).unwrap()).into()
}

#[test]
fn an_upgrade_from_the_first_release_loses_no_packet() {
    let test = "an_upgrade_from_the_first_release_loses_no_packet";
    if !may_run(test) {
        return;
    }
    let Some(first) = first_release() else {
        eprintln!("SKIPPED {test}: it needs commit {FIRST} in the history of this repository, or CATBIRD_FIRST_RELEASE=its binary");
        return;
    };
    for (prefix_len, overlay, old) in [
        (16, "", "10.244.2.0/26 via 10.0.2.1 dev eth0 \n"),
        (24, "[fib.overlay]\nmode = \"cross-subnet\"", "10.244.2.0/26 via 10.0.2.1 dev catbird onlink"),
        (16, "[fib.overlay]\nmode = \"always\"", "10.244.2.0/26 via 10.0.2.1 dev catbird onlink"),
    ] {
        let mut sites = Sites::build(prefix_len).unwrap();
        sites.configure(overlay).unwrap();
        let new = sites.release(0, first.clone());
        sites.release(1, first.clone());
        sites.start_all().unwrap();
        sites.until_ip(0, PATIENT, "route show proto bgp", |s| s.contains(old.trim_end()) && !s.contains("metric"));
        if overlay.contains("always") {
            // Its IPv6 routes over a tunnel beside a shared link were refused: see R43.
            continue_in_one_family(&mut sites, &new, overlay);
            continue;
        }
        let talk = talk(&sites);
        upgrade(&mut sites, &new, &talk);
        for (index, other) in [(0, 2), (1, 1)] {
            sites.until_ip(index, PATIENT, "-6 route show proto bgp", |s| s.contains(&format!("fd00:10:244:{other}::/122 via")));
        }
        talk.iter().for_each(|echo| echo.await_more(100));
        none_lost(talk, overlay);
    }
}

fn continue_in_one_family(sites: &mut Sites, new: &Path, overlay: &str) {
    sites.nodes[0].pod.run(|| proto_tests::netlab::ping::ping("10.244.2.2".parse().unwrap(), PATIENT)).unwrap();
    let talk = vec![sites.ping(false).unwrap()];
    upgrade(sites, new, &talk);
    none_lost(talk, overlay);
    sites.until_ip(0, PATIENT, "-6 route show proto bgp", |s| s.contains("fd00:10:244:2::/122 via fe80:"));
}

/// One node after the other: stopped, and started as what it is now.
fn upgrade(sites: &mut Sites, new: &Path, talk: &[Echo]) {
    let go_on = || talk.iter().for_each(|echo| echo.await_more(100));
    go_on();
    for (index, other) in [(0, 2), (1, 1)] {
        sites.end(index, libc::SIGTERM);
        sites.release(index, new.to_path_buf());
        sites.start(index).unwrap();
        let block = format!("10.244.{other}.0/26 via 10.0.{other}.1");
        sites.until_ip(index, PATIENT, "route show proto bgp", |s| {
            s.lines().count() == 2 && s.lines().all(|l| l.contains("metric 1024")) && s.contains(&block)
        });
        go_on();
    }
}

fn none_lost(talk: Vec<Echo>, overlay: &str) {
    let counted: Vec<(u64, u64)> = talk.into_iter().map(Echo::stop).collect();
    println!("from {FIRST} to this release, {:?}: sent and lost: {counted:?}", overlay.replace('\n', " "));
    assert!(counted.iter().all(|(_, lost)| *lost == 0), "{counted:?}");
}
