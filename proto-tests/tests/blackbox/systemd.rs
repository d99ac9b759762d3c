//! What a service manager is told over the socket that it names (sd_notify).

use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::{Duration, Instant};

use proto_tests::netlab::mounts::Scratch;
use proto_tests::netlab::proc::catbird;
use proto_tests::outside::{Daemon, PATIENCE};

/// The next datagram.
fn heard(socket: &UnixDatagram) -> String {
    let mut octets = [0; 4096];
    let len = socket.recv(&mut octets).expect("a datagram before patience ends");
    String::from_utf8_lossy(&octets[..len]).into_owned()
}

#[test]
fn a_service_manager_hears_that_we_are_ready_alive_and_going() {
    let scratch = Scratch::new("notify").expect("a temporary folder");
    let path = scratch.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("a time");
    let mut command = Command::new(catbird().unwrap_or_else(|e| panic!("{e}")));
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "1000000");
    let daemon = Daemon::start_as("", "", command);

    assert!(heard(&socket).starts_with("READY=1\n"));
    assert!(daemon.ask(&["status"]).contains("AS"), "ready is who can be asked");
    let begun = Instant::now();
    for _ in 0..4 {
        assert_eq!(heard(&socket).trim(), "WATCHDOG=1");
    }
    assert!(begun.elapsed() < PATIENCE / 2, "{:?} for three halves of a second", begun.elapsed());

    // A daemon that hangs says nothing, and one that goes on says it again.
    let signal = |word: &str| Command::new("kill").args([word, &daemon.pid().to_string()]).status().expect("kill runs");
    signal("-STOP");
    socket.set_read_timeout(Some(Duration::from_secs(2))).expect("a time");
    let mut octets = [0; 64];
    while socket.recv(&mut octets).is_ok_and(|_| begun.elapsed() < PATIENCE) {}
    signal("-CONT");
    socket.set_read_timeout(Some(PATIENCE)).expect("a time");
    assert_eq!(heard(&socket).trim(), "WATCHDOG=1");
    signal("-TERM");
    assert!((0..100).any(|_| heard(&socket).trim() == "STOPPING=1"), "the end is said");
}
