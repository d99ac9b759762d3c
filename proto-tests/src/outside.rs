//! The daemon as strangers meet it: a real process on loopback, and callers that say octets to it over TCP.
//!
//! In: a configuration, octets. Out: what comes back, and what the daemon's own commands say. No root, no namespaces: every caller has an
//! address of its own out of 127.16.0.0/12, which the daemon takes in by a listen range.
//! What ought to come back is said in `tests/blackbox/`.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::netlab::mounts::Scratch;
use crate::netlab::patiently;
use crate::netlab::proc::catbird;

/// The daemon's AS number and identifier, and the callers' AS number.
pub const OUR_AS: u16 = 65001;
pub const OUR_ID: [u8; 4] = [10, 0, 0, 1];
pub const THEIR_AS: u16 = 65002;
/// Longer than an answer on loopback takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A running daemon.
pub struct Daemon {
    child: Child,
    scratch: Scratch,
    pub port: u16,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = fs::read_to_string(self.scratch.path().join("log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("--- the daemon's log\n{}", lines[lines.len().saturating_sub(40)..].join("\n"));
        }
    }
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|l| l.local_addr()).expect("loopback has ports").port()
}

impl Daemon {
    /// With the settings of the group that all callers belong to, and whatever else the configuration shall say.
    pub fn start(group: &str, more: &str) -> Daemon {
        Daemon::start_as(group, more, Command::new(catbird().unwrap_or_else(|e| panic!("{e}"))))
    }

    /// The same by a command that ends in running what its arguments say.
    pub fn start_as(group: &str, more: &str, command: Command) -> Daemon {
        Daemon::with(Ipv4Addr::LOCALHOST, command, |port, folder| config(group, more, port, folder))
    }

    /// With a configuration of the caller's own, made from the port to listen on and the folder of the control socket (`sock`).
    pub fn configured(addr: Ipv4Addr, text: impl FnOnce(u16, &Path) -> String) -> Daemon {
        Daemon::with(addr, Command::new(catbird().unwrap_or_else(|e| panic!("{e}"))), text)
    }

    /// The same at a port that others know already.
    pub fn at(addr: Ipv4Addr, port: u16, text: impl FnOnce(&Path) -> String) -> Daemon {
        let command = Command::new(catbird().unwrap_or_else(|e| panic!("{e}")));
        Daemon::on(addr, port, command, |_, folder| text(folder))
    }

    fn with(addr: Ipv4Addr, command: Command, text: impl FnOnce(u16, &Path) -> String) -> Daemon {
        Daemon::on(addr, free_port(), command, text)
    }

    fn on(addr: Ipv4Addr, port: u16, mut command: Command, text: impl FnOnce(u16, &Path) -> String) -> Daemon {
        let scratch = Scratch::new("outside").expect("a temporary folder");
        let path = scratch.path().join("catbird.toml");
        fs::write(&path, text(port, scratch.path())).expect("the scratch folder is ours");
        let log = fs::File::create(scratch.path().join("log")).expect("the scratch folder is ours");
        command.arg("run").arg("-c").arg(path);
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a file")).stderr(log);
        let child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let daemon = Daemon { child, scratch, port };
        let listening = patiently(PATIENCE, || TcpStream::connect((addr, port)).is_ok() && daemon.socket().exists());
        assert!(listening.is_some(), "the daemon does not listen: {}", daemon.log());
        daemon
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn socket(&self) -> PathBuf {
        self.scratch.path().join("sock")
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.scratch.path().join("log")).unwrap_or_default()
    }

    /// CPU time used so far, in clock ticks.
    pub fn ticks(&self) -> u64 {
        ticks_of(self.pid())
    }

    /// `catbird ARGS`.
    pub fn ask(&self, args: &[&str]) -> String {
        let mut command = Command::new(catbird().unwrap_or_else(|e| panic!("{e}")));
        let out = command.arg("--socket").arg(self.socket()).args(args).stdin(Stdio::null()).output().expect("the binary runs");
        String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr)
    }

    /// The answer's data.
    pub fn json(&self, args: &[&str]) -> serde_json::Value {
        let text = self.ask(&[args, &["--json"]].concat());
        let value: serde_json::Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{args:?}: {e}: {text}"));
        value.get("data").cloned().unwrap_or(value)
    }

    /// Is there a route to this prefix in Adj-RIB-In, and not refused? (Next hops on loopback are no router's, so none is in use.)
    pub fn has(&self, net: &str) -> bool {
        let rows = self.json(&["routes", net]);
        let kept = |row: &serde_json::Value| row["net"] == net && row["refused"].is_null();
        rows.as_array().is_some_and(|rows| rows.iter().any(kept))
    }

    /// Descriptors that the process has open.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid())).map_or(0, Iterator::count)
    }

    /// Resident memory in KiB.
    pub fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(0)
    }

    /// Somebody calls from 127.16.x.y, where `n` is x * 256 + y.
    pub fn call(&self, n: u16) -> Caller {
        Caller::from(addr(n), self.port).unwrap_or_else(|e| panic!("caller {n}: {e}"))
    }
}

fn config(group: &str, more: &str, port: u16, folder: &Path) -> String {
    let socket = folder.join("sock");
    format!(
        "[node]\nname = \"us\"\nasn = {OUR_AS}\nrouter_id = \"10.0.0.1\"\naddresses = [\"127.0.0.1\", \"fd00::1\"]\n\
         [listen]\naddresses = [\"127.0.0.1\"]\nport = {port}\n[fib]\nenabled = false\n[metrics]\nlisten = \"\"\n\
         [control]\nsocket = \"{}\"\n[[peer_group]]\nname = \"callers\"\nasn = {THEIR_AS}\nlisten = [\"127.16.0.0/12\"]\n\
         listen_limit = 20000\nimport = \"all\"\nexport = \"all\"\n{group}\n{more}\n",
        socket.display()
    )
}

/// The address of a caller.
pub fn addr(n: u16) -> Ipv4Addr {
    Ipv4Addr::from(0x7f10_0000 | u32::from(n))
}

/// What a caller hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Type and body.
    Message(u8, Vec<u8>),
    /// The daemon has closed.
    End,
    /// Nothing in that time.
    Silence,
}

/// One connection to the daemon.
pub struct Caller {
    pub socket: TcpStream,
    pub addr: Ipv4Addr,
    octets: Vec<u8>,
}

impl Caller {
    /// # Errors
    /// The kernel's.
    pub fn from(addr: Ipv4Addr, port: u16) -> io::Result<Caller> {
        Caller::between(addr, Ipv4Addr::LOCALHOST, port)
    }

    /// To a daemon that listens elsewhere on loopback.
    ///
    /// # Errors
    /// The kernel's.
    pub fn between(addr: Ipv4Addr, to: Ipv4Addr, port: u16) -> io::Result<Caller> {
        let socket = connect(addr, (to, port).into())?;
        socket.set_nodelay(true)?;
        Ok(Caller { socket, addr, octets: Vec::new() })
    }

    /// A connection that the daemon has made.
    pub fn of(socket: TcpStream, addr: Ipv4Addr) -> Caller {
        Caller { socket, addr, octets: Vec::new() }
    }

    pub fn say(&mut self, octets: &[u8]) {
        // Whoever has hung up does not hear; what it said before is still to be read.
        let _ = self.socket.write_all(octets);
    }

    /// The next message, at most so long waited for.
    pub fn hear(&mut self, patience: Duration) -> Heard {
        let until = Instant::now() + patience;
        loop {
            if let Some(message) = self.cut() {
                return message;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Heard::Silence;
            }
            self.socket.set_read_timeout(Some(left)).expect("not zero");
            let mut more = [0; 65536];
            match self.socket.read(&mut more) {
                Ok(0) => return Heard::End,
                Ok(n) => self.octets.extend_from_slice(&more[..n]),
                Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => return Heard::Silence,
                Err(_) => return Heard::End,
            }
        }
    }

    fn cut(&mut self) -> Option<Heard> {
        let len = usize::from(u16::from_be_bytes([*self.octets.get(16)?, *self.octets.get(17)?]));
        assert!(self.octets[..16] == [0xff; 16] && len >= 19, "the daemon said what is no message: {:02x?}", self.octets);
        if self.octets.len() < len {
            return None;
        }
        let message: Vec<u8> = self.octets.drain(..len).collect();
        Some(Heard::Message(message[18], message[19..].to_vec()))
    }

    /// The next message of this type; others are passed over. `None`: the end, or silence.
    pub fn hear_type(&mut self, kind: u8) -> Option<Vec<u8>> {
        loop {
            match self.hear(PATIENCE) {
                Heard::Message(k, body) if k == kind => return Some(body),
                Heard::Message(..) => {}
                Heard::End | Heard::Silence => return None,
            }
        }
    }

    /// The NOTIFICATION that the daemon ends with: code, subcode, data. `None` if it ends without.
    pub fn last_words(&mut self) -> Option<(u8, u8, Vec<u8>)> {
        let mut told = None;
        loop {
            match self.hear(PATIENCE) {
                Heard::Message(3, body) => told = Some((body[0], body[1], body[2..].to_vec())),
                Heard::Message(..) => {}
                Heard::End => return told,
                Heard::Silence => panic!("{}: the connection is still open; so far {told:?}", self.addr),
            }
        }
    }

    /// Through OpenConfirm into Established; everything that the daemon says up to its first KEEPALIVE is read.
    #[must_use]
    pub fn established(mut self) -> Caller {
        self.say(&usual_open(self.addr));
        self.say(&keepalive());
        assert!(self.hear_type(1).is_some(), "no OPEN");
        assert!(self.hear_type(4).is_some(), "no KEEPALIVE");
        self
    }

    /// The session lives: what only Established answers in this way ends it.
    pub fn is_established(&mut self) -> bool {
        self.say(&usual_open(self.addr));
        self.last_words() == Some((5, 3, vec![1]))
    }
}

/// From an address of loopback that is not the kernel's choice.
fn connect(from: Ipv4Addr, to: SocketAddr) -> io::Result<TcpStream> {
    let sockaddr = |addr: Ipv4Addr, port: u16| libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(addr).to_be() },
        sin_zero: [0; 8],
    };
    let SocketAddr::V4(to) = to else { return Err(io::ErrorKind::Unsupported.into()) };
    // SAFETY: takes numbers only.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a fresh descriptor that nobody else has.
    let owned = unsafe { OwnedFd::from_raw_fd(fd) };
    let len = size_of::<libc::sockaddr_in>() as libc::socklen_t;
    let (local, remote) = (sockaddr(from, 0), sockaddr(*to.ip(), to.port()));
    // SAFETY: the descriptor is open, and both addresses are `len` octets that live across the calls.
    let done = unsafe { libc::bind(fd, (&raw const local).cast(), len) == 0 && libc::connect(fd, (&raw const remote).cast(), len) == 0 };
    if done { Ok(TcpStream::from(owned)) } else { Err(io::Error::last_os_error()) }
}

/// Marker, length, type, body.
pub fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let len = 19 + body.len() as u16;
    [&[0xff; 16][..], &len.to_be_bytes(), &[kind], body].concat()
}

pub fn keepalive() -> Vec<u8> {
    message(4, &[])
}

/// An OPEN; `parameters` are the octets behind Opt Parm Len.
pub fn open(version: u8, asn: u16, hold: u16, id: [u8; 4], parameters: &[u8]) -> Vec<u8> {
    let fixed = [&[version][..], &asn.to_be_bytes(), &hold.to_be_bytes(), &id, &[parameters.len() as u8]].concat();
    message(1, &[&fixed[..], parameters].concat())
}

/// One Capabilities parameter.
pub fn capabilities(list: &[(u8, &[u8])]) -> Vec<u8> {
    let octets: Vec<u8> = list.iter().flat_map(|(code, value)| [&[*code, value.len() as u8][..], value].concat()).collect();
    [&[2, octets.len() as u8][..], &octets].concat()
}

/// IPv4 and IPv6 unicast, route refresh both ways, four-octet AS numbers.
pub fn usual_capabilities() -> Vec<u8> {
    let asn = u32::from(THEIR_AS).to_be_bytes();
    capabilities(&[(1, &[0, 1, 0, 1]), (1, &[0, 2, 0, 1]), (2, &[]), (70, &[]), (65, &asn)])
}

/// An OPEN that is accepted, with the caller's address for an identifier.
pub fn usual_open(from: Ipv4Addr) -> Vec<u8> {
    open(4, THEIR_AS, 90, from.octets(), &usual_capabilities())
}

/// An UPDATE of three fields.
pub fn update(withdrawn: &[u8], attributes: &[u8], nlri: &[u8]) -> Vec<u8> {
    let (w, a) = ((withdrawn.len() as u16).to_be_bytes(), (attributes.len() as u16).to_be_bytes());
    message(2, &[&w[..], withdrawn, &a, attributes, nlri].concat())
}

/// One attribute with a length of one octet.
pub fn attribute(flags: u8, code: u8, value: &[u8]) -> Vec<u8> {
    [&[flags, code, value.len() as u8][..], value].concat()
}

/// ORIGIN, AS_PATH, NEXT_HOP as a caller would say them.
pub fn usual_attributes(from: Ipv4Addr) -> Vec<u8> {
    let path = [&[2, 1][..], &u32::from(THEIR_AS).to_be_bytes()].concat();
    [attribute(0x40, 1, &[0]), attribute(0x40, 2, &path), attribute(0x40, 3, &from.octets())].concat()
}

/// CPU time that a process has used, in clock ticks.
pub fn ticks_of(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit_once(") ").map_or("", |(_, rest)| rest).split_whitespace();
    fields.skip(11).take(2).filter_map(|n| n.parse::<u64>().ok()).sum()
}
