//! The wall: without the feature `daemon` the library is the core, and no runtime, socket, netlink or metrics crate is in it.

use std::process::Command;

use proto_tests::netlab::proc::workspace;

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
