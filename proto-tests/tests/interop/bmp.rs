//! What pmacct's station (`pmbmpd`) and tshark's dissector make of what we tell a monitoring station (RFC 7854, 8671, 9069).

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use proto_tests::netlab::mounts::Scratch;
use proto_tests::netlab::proc::program;
use proto_tests::netlab::{patiently, skip};
use proto_tests::outside::{Caller, Daemon, PATIENCE, free_port, message, update, usual_attributes};

/// Ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn run(path: &Path, args: &[&str]) -> Running {
    let mut command = Command::new(path);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Running(command.spawn().expect("it starts"))
}

/// Lines of the station's log that hold all of these.
fn lines(log: &Path, words: &[&str]) -> usize {
    let text = fs::read_to_string(log).unwrap_or_default();
    text.lines().filter(|line| words.iter().all(|word| line.contains(word))).count()
}

fn announce(caller: &mut Caller, nlri: &[u8]) {
    let attributes = usual_attributes(caller.addr);
    caller.say(&update(&[], &attributes, nlri));
}

#[test]
fn pmbmpd_understands_everything_we_say() {
    let Some(pmbmpd) = program("pmbmpd") else {
        return skip("BMP with pmbmpd", "pmacct is not installed");
    };
    let folder = Scratch::new("pmbmpd").expect("a temporary folder");
    let (port, log) = (free_port(), folder.path().join("msglog"));
    let settings = format!(
        "daemonize: false\nbmp_daemon_ip: 127.0.0.1\nbmp_daemon_port: {port}\nbmp_daemon_msglog_file: {}\nlogfile: {}\n",
        log.display(),
        folder.path().join("log").display()
    );
    fs::write(folder.path().join("conf"), settings).expect("it can be written");
    let capture = folder.path().join("capture");
    let filter = format!("tcp port {port}");
    let tshark = program("tshark");
    let watching = tshark.as_ref().map(|path| run(path, &["-q", "-i", "lo", "-f", &filter, "-w", &capture.to_string_lossy()]));
    patiently(Duration::from_secs(10), || watching.is_none() || fs::metadata(&capture).is_ok());
    let station = run(&pmbmpd, &["-f", &folder.path().join("conf").to_string_lossy()]);
    let tables = "tables = [\"adj-in-pre\", \"adj-in-post\", \"adj-out\", \"loc-rib\"]\nstatistics = \"1s\"\nretry = \"500ms\"\n";
    let daemon = Daemon::start("", &format!("[[bmp]]\naddress = \"127.0.0.1\"\nport = {port}\n{tables}"));
    let heard = |what: &str, words: &[&str]| {
        let came = patiently(PATIENCE, || lines(&log, words) > 0);
        assert!(came.is_some(), "{what} {words:?}\n{}\n{}", fs::read_to_string(&log).unwrap_or_default(), daemon.ask(&["bmp"]));
    };
    heard("hello", &["\"bmp_msg_type\": \"init\"", "catbird"]);
    heard("the Loc-RIB", &["\"peer_up\"", "\"peer_type\": 3"]);
    let mut caller = daemon.call(1).established();
    heard("a session", &["\"peer_up\"", "127.16.0.1", "\"peer_asn\": 65002"]);
    announce(&mut caller, &[24, 198, 51, 100]);
    heard("as it came", &["\"update\"", "198.51.100.0/24", "\"is_post\": 0", "\"is_in\": 1"]);
    heard("after policy", &["\"update\"", "198.51.100.0/24", "\"is_post\": 1", "\"is_in\": 1"]);
    daemon.ask(&["block", "add", "10.99.0.0/26"]);
    heard("what is used", &["\"update\"", "10.99.0.0/26", "\"is_loc\": 1"]);
    heard("what is told", &["\"update\"", "10.99.0.0/26", "\"is_out\": 1", "\"as_path\": \"65001\""]);
    heard("numbers", &["\"stats\"", "\"counter_type\": 15"]);
    caller.say(&update(&[24, 198, 51, 100], &[], &[]));
    heard("a withdrawal", &["\"withdraw\"", "198.51.100.0/24", "\"is_post\": 0"]);
    caller.say(&message(3, &[6, 2]));
    heard("the end of the session", &["\"peer_down\"", "127.16.0.1", "\"reason_type\": 3"]);
    drop((daemon, station));
    let (Some(tshark), Some(watching)) = (tshark, watching) else {
        return skip("BMP with tshark", "it is not installed");
    };
    // The capture is written some time after the packets.
    std::thread::sleep(Duration::from_secs(2));
    drop(watching);
    let as_bmp = format!("tcp.port=={port},bmp");
    let read = |filter: &str| {
        let out = Command::new(&tshark).args(["-r", &capture.to_string_lossy(), "-d", &as_bmp, "-Y", filter]).output().expect("it runs");
        String::from_utf8_lossy(&out.stdout).into_owned()
    };
    assert!(read("bmp.type == 0").lines().count() >= 5, "{}", read(""));
    // tshark 4.0 takes what follows the OPENs of a Peer Up for another message of BGP; that of the Loc-RIB has the name of its table there (RFC 9069).
    let named = "(bmp.type == 3 && bmp.peer.type == 3)";
    assert_eq!(read(&format!("bmp && (_ws.malformed || _ws.expert.severity == error) && !{named}")), "");
}
