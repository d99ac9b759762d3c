//! What an operator tries first when something is wrong, against the real daemon: does what it prints help?

use std::net::{Ipv4Addr, TcpListener};
use std::process::{Command, Stdio};

use proto_tests::netlab::patiently;
use proto_tests::netlab::proc::catbird;
use proto_tests::outside::{Daemon, PATIENCE};

/// A configuration of its own: port and control socket; then peers.
fn config(port: u16, folder: &std::path::Path, peers: &str) -> String {
    format!(
        "[node]\nname = \"us\"\nasn = 65001\nrouter_id = \"10.0.0.1\"\naddresses = [\"127.0.0.1\"]\n[listen]\naddresses = [\"127.0.0.1\"]\n\
         port = {port}\n[fib]\nenabled = false\n[metrics]\nlisten = \"\"\n[control]\nsocket = \"{}\"\n{peers}",
        folder.join("sock").display()
    )
}

fn peer(name: &str, address: &str, more: &str) -> String {
    format!(
        "[[peer]]\nname = \"{name}\"\naddress = \"{address}\"\nasn = 65002\nimport = \"all\"\nexport = \"all\"\nconnect_retry = \"1s\"\n{more}\n"
    )
}

#[test]
fn a_port_that_another_program_has_is_a_warning_until_it_is_free() {
    let mut other = None;
    let daemon = Daemon::configured(Ipv4Addr::LOCALHOST, |port, folder| {
        other = Some(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("the port is free"));
        config(port, folder, "")
    });
    let warned = || daemon.ask(&["status"]).contains("Address already in use");
    assert!(patiently(PATIENCE, warned).is_some(), "{}", daemon.ask(&["status"]));
    let said = format!("cannot listen on 127.0.0.1:{}", daemon.port);
    let (status, log) = (daemon.ask(&["status"]), daemon.log());
    assert!(status.contains(&said) && status.contains("ss -ltnp"), "{status}");
    assert!(log.contains(&said) && log.contains("tried again every"), "{log}");
    drop(other);
    assert!(patiently(PATIENCE, || !warned()).is_some(), "{}", daemon.ask(&["status"]));
}

#[test]
fn metrics_that_cannot_be_served_are_a_warning_too() {
    let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has ports");
    let taken = other.local_addr().expect("bound");
    let daemon = Daemon::configured(Ipv4Addr::LOCALHOST, |port, folder| {
        config(port, folder, "").replace("listen = \"\"", &format!("listen = \"{taken}\""))
    });
    let said = format!("no metrics are served on {taken}: Address already in use");
    let warned = || daemon.ask(&["status"]).contains(&said);
    assert!(patiently(PATIENCE, warned).is_some(), "{}", daemon.ask(&["status"]));
    drop(other);
    assert!(patiently(PATIENCE, || !warned()).is_some(), "{}", daemon.ask(&["status"]));
}

#[test]
fn a_second_daemon_on_the_same_socket_says_so_and_ends() {
    let mut file = None;
    let first = Daemon::configured(Ipv4Addr::LOCALHOST, |port, folder| {
        file = Some(folder.join("catbird.toml"));
        config(port, folder, "")
    });
    let mut second = Command::new(catbird().unwrap_or_else(|e| panic!("{e}")));
    second.arg("run").arg("-c").arg(file.expect("it was configured")).stdin(Stdio::null());
    let out = second.output().expect("it runs");
    let said = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    assert!(!out.status.success() && said.contains("another catbird runs with it"), "{said}");
    assert!(first.ask(&["status"]).contains("no cluster"), "the first is well:\n{}", first.ask(&["status"]));
}

#[test]
fn why_each_peer_is_not_up_is_in_one_list() {
    let cases = [
        (peer("closed", "127.0.0.2", ""), "connection refused: nobody listens there, or a firewall rejects"),
        (peer("source", "127.0.0.3", "source = \"192.0.2.77\""), "source address: no interface here has 192.0.2.77"),
        (peer("link", "fe80::1%eth77", ""), "no interface eth77"),
        (peer("waits", "127.0.0.4", "passive = true"), "passive: waiting for the peer to connect"),
    ];
    let peers: String = cases.iter().map(|(text, _)| text.as_str()).collect();
    let daemon = Daemon::configured(Ipv4Addr::LOCALHOST, |port, folder| config(port, folder, &peers));
    let all = || cases.iter().all(|(_, why)| daemon.ask(&["peers"]).contains(why));
    assert!(patiently(PATIENCE, all).is_some(), "{}", daemon.ask(&["peers"]));
    let unknown = daemon.ask(&["peer", "clsoed"]);
    assert!(unknown.contains("no peer has the name or address \"clsoed\"") && unknown.contains("`catbird peers`"), "{unknown}");
}

#[test]
fn without_a_daemon_the_client_says_what_to_start() {
    let socket = std::env::temp_dir().join(format!("no-catbird-{}", std::process::id()));
    let mut status = Command::new(catbird().unwrap_or_else(|e| panic!("{e}")));
    let out = status.arg("--socket").arg(&socket).arg("status").stdin(Stdio::null()).output().expect("it runs");
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(3), "{said}");
    assert!(said.contains("the daemon is not running") && said.contains("catbird run"), "{said}");
}
