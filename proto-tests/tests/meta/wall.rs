//! The wall: without the feature `daemon` the library is the core, and no runtime, socket, netlink or metrics crate is in it.

use std::process::Command;

use proto_tests::netlab::proc::workspace;
use regex::Regex;

use crate::sources::sources;

/// Crates that belong behind the wall.
const OUTSIDE: &[&str] = &[
    "tokio",
    "tokio-util",
    "mio",
    "socket2",
    "libc",
    "rtnetlink",
    "netlink-proto",
    "netlink-sys",
    "netlink-packet-core",
    "netlink-packet-route",
    "prometheus",
    "procfs",
    "hyper",
    "hyper-util",
    "http",
    "clap",
    "tracing",
    "tracing-subscriber",
    "futures-util",
];

/// The names of the crates that the library is built from.
fn crates(features: &[&str]) -> Vec<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let tree = Command::new(cargo)
        .args(["tree", "--package", "catbird", "--edges", "normal", "--prefix", "none", "--format", "{p}", "--locked"])
        .args(features)
        .current_dir(workspace())
        .output()
        .unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let text = String::from_utf8(tree.stdout).unwrap();
    let mut names: Vec<String> = text.lines().filter_map(|line| line.split(' ').next()).map(str::to_string).collect();
    names.sort();
    names.dedup();
    names
}

#[test]
fn the_core_has_no_runtime_socket_netlink_or_metrics_crate() {
    let core = crates(&["--no-default-features"]);
    assert!(core.iter().any(|name| name == "bytes"), "cargo tree says something: {core:?}");
    let strangers: Vec<&String> = core.iter().filter(|name| OUTSIDE.contains(&name.as_str())).collect();
    assert!(strangers.is_empty(), "in the core: {strangers:?}");
}

#[test]
fn the_daemon_does_have_them() {
    let daemon = crates(&[]);
    for name in ["tokio", "rtnetlink", "prometheus", "socket2"] {
        assert!(daemon.iter().any(|found| found == name), "{name} is not in the daemon, so the other test proves nothing: {daemon:?}");
    }
}

#[test]
fn unsafe_code_stands_in_one_file_of_the_shell() {
    let word = Regex::new(r"\bunsafe\b").expect("a pattern");
    let lifted = Regex::new(r"(allow|expect|warn)\([^)]*\bunsafe_code\b").expect("a pattern");
    let all = sources();
    let of = |pattern: &Regex| -> Vec<String> {
        all.iter().filter(|source| pattern.is_match(&source.code)).map(|source| source.path.display().to_string()).collect()
    };
    let with = of(&word);
    assert_eq!(with.len(), 1, "unsafe code: {with:?}");
    assert!(with[0].starts_with("daemon/"), "{with:?}");
    assert_eq!(of(&lifted), with, "nobody else lifts the lint");
    assert!(all.iter().any(|source| source.module.is_empty() && source.code.contains("#![deny(unsafe_code)]")), "src/lib.rs denies it");
}
