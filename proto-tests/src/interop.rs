//! catbird against other people's BGP daemons: two namespaces, a wire between them, one session.
//!
//! In: which daemon, and how the session is to be. Out: what both sides say of it, in their own words.
//! What ought to come of it is said in `tests/interop/`; whole networks are `netlab::story`'s.
//!
//! We are 10.77.0.1, AS 65001, with the block 10.99.0.0/26; they are 10.77.0.2, AS 65002, with 10.88.0.0/24 and 10.88.1.0/24.

pub mod bfd;
mod daemons;
pub mod faults;
pub mod llgr;
pub mod matrix;
pub mod roles;
pub mod rpki;
pub mod scenario;
pub mod unnumbered;
mod wire;

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ipnet::IpNet;

use crate::netlab::mounts::{Scratch, fresh_run};
use crate::netlab::proc::{catbird, program};
use crate::netlab::{Ns, patiently, skip, user};

pub const US: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
pub const THEM: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
pub const OUR_ROUTE: &str = "10.99.0.0/26";
pub const THEIR_ROUTE: &str = "10.88.0.0/24";
/// Announced besides, where there are no addresses on the link.
pub const OUR_V6_ROUTE: &str = "fd99::/122";
/// A machine of ours in OUR_ROUTE, and one of theirs in THEIR_ROUTE.
pub const OUR_POD: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
pub const THEIR_POD: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 1);
/// Longer than anything here takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Somebody else's daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Other {
    Bird,
    Frr,
    Gobgp,
    OpenBgpd,
}

/// How the session is to be. Times in seconds.
#[derive(Clone, Debug)]
pub struct Setup {
    pub they_are_passive: bool,
    pub we_are_passive: bool,
    pub their_key: Option<&'static str>,
    pub our_key: Option<&'static str>,
    pub gtsm_ours: bool,
    pub gtsm_theirs: bool,
    pub their_as: u32,
    pub hold: u16,
    pub graceful: bool,
    /// What we take of them.
    pub max_prefix: Option<u32>,
    /// What they take of us. We announce two blocks more then (FRR looks before it counts).
    pub their_max_prefix: Option<u32>,
    /// A router stands between both, and `ttl_security` is theirs and ours by this many hops; they are set with `gtsm_ours`, `gtsm_theirs`.
    pub routed: Option<u8>,
    /// They come out of a listen range of a peer group; we have no entry for them.
    pub ranged: bool,
    /// The session runs between link-local addresses, and carries IPv4 all the same (RFC 8950).
    pub link_local: bool,
    /// With `link_local`: the link has no other addresses, and both families are announced. These are our node's own, on lo.
    pub unnumbered: Option<&'static [&'static str]>,
    /// With `link_local`: we know them by the interface alone.
    pub by_interface: bool,
    pub our_id: Option<&'static str>,
    /// With `graceful`: routes stay on after the restart time (RFC 9494), for the times of [`llgr`].
    pub long_lived: bool,
    /// RFC 9234, and both insist on it.
    pub roles: Option<roles::Roles>,
    /// BFD beside the session.
    pub bfd: Option<bfd::Wish>,
    /// Our ConnectRetryTimer.
    pub connect_retry: u16,
    /// A second session, from 10.77.0.3 to 10.77.0.4: their routes come by both, and say of the link what bandwidth it has, in Mbit/s.
    pub bandwidths: Option<[u32; 2]>,
    /// Both have a client of the caches of [`rpki`], and we let in what is not invalid.
    pub rpki: bool,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup {
            they_are_passive: false,
            we_are_passive: false,
            their_key: None,
            our_key: None,
            gtsm_ours: false,
            gtsm_theirs: false,
            their_as: 65002,
            hold: 9,
            graceful: false,
            max_prefix: None,
            their_max_prefix: None,
            routed: None,
            ranged: false,
            link_local: false,
            unnumbered: None,
            by_interface: false,
            our_id: None,
            long_lived: false,
            roles: None,
            bfd: None,
            connect_retry: 1,
            bandwidths: None,
            rpki: false,
        }
    }
}

/// To a daemon and what it has started.
fn signal_group(child: &Child, signal: libc::c_int) {
    // SAFETY: a child of ours that has not been waited for; its group is its own.
    unsafe { libc::kill(-(child.id() as libc::pid_t), signal) };
}

/// Two machines and their daemons.
pub struct Arena {
    other: Other,
    setup: Setup,
    // Dropped before the namespaces.
    ours: Option<Child>,
    theirs: Vec<Child>,
    us: Ns,
    them: Ns,
    _router: Option<Ns>,
    _advertiser: Option<wire::Advertiser>,
    scratch: Scratch,
}

impl Arena {
    /// CPU time of our daemon, in clock ticks.
    pub fn our_ticks(&self) -> u64 {
        self.ours.as_ref().map_or(0, |child| crate::outside::ticks_of(child.id()))
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- them\n{}\n--- us\n{}", tail(&self.log("them")), tail(&self.log("us")));
        }
        self.kill_us();
        self.kill_them();
    }
}

impl Arena {
    /// Both daemons run. `None`, said loudly, where that cannot be.
    pub fn new(test: &str, other: Other, setup: Setup) -> Option<Arena> {
        let mut arena = Arena::prepared(test, other, setup)?;
        arena.start_them();
        arena.start_us();
        Some(arena)
    }

    /// Two machines, and no daemon yet.
    pub fn prepared(test: &str, other: Other, setup: Setup) -> Option<Arena> {
        if !user::is_root() {
            skip(test, "daemons in namespaces need root");
            return None;
        }
        if let Some(missing) = other.missing() {
            skip(test, &format!("{missing} is not installed"));
            return None;
        }
        Some(Arena::build(other, setup).unwrap_or_else(|e| panic!("{test}: {e}")))
    }

    fn build(other: Other, setup: Setup) -> io::Result<Arena> {
        let scratch = Scratch::new("interop")?;
        let (us, them) = (Ns::node("us")?, Ns::node("them")?);
        us.run(fresh_run)?;
        them.run(fresh_run)?;
        // OpenBGPD locks itself up there.
        them.run(|| fs::create_dir_all("/run/openbgpd"))?;
        let router = if setup.routed.is_some() { Some(wire::over_a_router(&us, &them)?) } else { None };
        if router.is_none() {
            wire::directly(&us, &them, setup.unnumbered)?;
        }
        if setup.bandwidths.is_some() {
            wire::second_addresses(&us, &them)?;
        }
        // FRR's interface peer is whoever says by router advertisements that it is there.
        let advertiser =
            if setup.link_local && !setup.by_interface && other == Other::Frr { Some(wire::Advertiser::start(&us)?) } else { None };
        Ok(Arena { other, setup, ours: None, theirs: Vec::new(), us, them, _router: router, _advertiser: advertiser, scratch })
    }

    pub fn start_us(&mut self) {
        let config = self.file("catbird.toml", &our_config(&self.setup, self.scratch.path()));
        let binary = catbird().unwrap_or_else(|e| panic!("{e}"));
        let mut command = Command::new(binary);
        command.arg("run").arg("-c").arg(config);
        self.ours = Some(self.spawn(&self.us, command, "us"));
    }

    pub fn start_them(&mut self) {
        let commands = self.other.commands(&self.setup, self);
        for mut command in commands {
            command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
            self.theirs.push(self.spawn(&self.them, command, "them"));
            std::thread::sleep(Duration::from_millis(300));
        }
        if self.other == Other::Gobgp {
            for route in [THEIR_ROUTE, "10.88.1.0/24"] {
                patiently(PATIENCE, || !self.ask_them(&["gobgp", "global", "rib", "add", route]).contains("rror"));
            }
        }
    }

    /// SIGKILL.
    pub fn kill_us(&mut self) {
        if let Some(mut child) = self.ours.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// TERM, and waits for the end.
    pub fn end_us(&mut self) {
        if let Some(mut child) = self.ours.take() {
            signal_group(&child, libc::SIGTERM);
            let _ = child.wait();
        }
    }

    pub fn kill_them(&mut self) {
        for mut child in self.theirs.drain(..).rev() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// SIGSTOP: connections stand, and nobody is at home.
    pub fn freeze_them(&self) {
        self.signal_them(libc::SIGSTOP);
    }

    pub fn thaw_them(&self) {
        self.signal_them(libc::SIGCONT);
    }

    fn signal_them(&self, signal: libc::c_int) {
        self.theirs.iter().for_each(|child| signal_group(child, signal));
    }

    pub fn freeze_us(&self) {
        self.ours.iter().for_each(|child| signal_group(child, libc::SIGSTOP));
    }

    pub fn thaw_us(&self) {
        self.ours.iter().for_each(|child| signal_group(child, libc::SIGCONT));
    }

    fn spawn(&self, ns: &Ns, mut command: Command, log: &str) -> Child {
        let open = || fs::File::options().create(true).append(true).open(self.log(log)).expect("the scratch folder is ours");
        command.stdin(Stdio::null()).stdout(open()).stderr(open());
        let what = format!("{command:?}");
        ns.spawn(command).unwrap_or_else(|e| panic!("{what}: {e}"))
    }

    fn log(&self, who: &str) -> PathBuf {
        self.scratch.path().join(format!("{who}.log"))
    }

    /// A file of this run, written anew.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.scratch.path().join(name);
        fs::write(&path, text).expect("the scratch folder is ours");
        path
    }

    /// What they have said so far.
    pub fn their_log(&self) -> String {
        fs::read_to_string(self.log("them")).unwrap_or_default()
    }

    /// What we have said so far.
    pub fn our_log(&self) -> String {
        fs::read_to_string(self.log("us")).unwrap_or_default()
    }

    /// Our configuration again, with another wish for BFD, and a reload.
    pub fn reload_us(&mut self, wish: Option<bfd::Wish>) -> String {
        self.setup.bfd = wish;
        self.file("catbird.toml", &our_config(&self.setup, self.scratch.path()));
        self.ask_us(&["reload"])
    }

    /// Our namespace, for who puts something into it.
    pub fn our_machine(&self) -> &Ns {
        &self.us
    }

    /// Theirs.
    pub fn their_machine(&self) -> &Ns {
        &self.them
    }

    /// Runs a client program beside their daemon.
    pub fn ask_them(&self, words: &[&str]) -> String {
        let Some(path) = words.first().and_then(|name| program(name)) else { panic!("{words:?}: no such program") };
        let mut command = Command::new(path);
        command.args(&words[1..]).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").stdin(Stdio::null());
        said(&self.them, command)
    }

    /// Runs a program beside our daemon.
    pub fn ask_our_machine(&self, words: &[&str]) -> String {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).stdin(Stdio::null());
        said(&self.us, command)
    }

    /// `catbird ARGS` beside our daemon.
    pub fn ask_us(&self, args: &[&str]) -> String {
        let mut command = Command::new(catbird().unwrap_or_else(|e| panic!("{e}")));
        command.args(args).stdin(Stdio::null());
        said(&self.us, command)
    }

    /// What they say of the session.
    pub fn their_view(&self) -> String {
        let words: &[&str] = match (self.other, self.setup.link_local) {
            (Other::Bird, _) => &["birdc", "show", "protocols", "all", "catbird"],
            (Other::Frr, false) => &["vtysh", "-c", "show bgp neighbors 10.77.0.1"],
            (Other::Frr, true) => &["vtysh", "-c", "show bgp neighbors eth0"],
            (Other::Gobgp, false) => &["gobgp", "neighbor", "10.77.0.1"],
            (Other::Gobgp, true) => &["gobgp", "neighbor", "fe80::1%eth0"],
            (Other::OpenBgpd, _) => &["bgpctl", "show", "neighbor", "us"],
        };
        self.ask_them(words)
    }

    /// Both sides say that the session is up.
    pub fn is_up(&self) -> bool {
        self.our_state() == "established" && self.their_view().to_lowercase().replace("bgp state:", "").contains("established")
    }

    /// The state that we are in.
    pub fn our_state(&self) -> String {
        self.our_detail()["state"].as_str().unwrap_or("unknown").to_lowercase()
    }

    /// What we call them.
    fn their_name(&self) -> &'static str {
        if self.setup.ranged { "10.77.0.2" } else { "them" }
    }

    /// `catbird peer them`, to be read by a program.
    pub fn our_detail(&self) -> serde_json::Value {
        let detail: serde_json::Value = serde_json::from_str(&self.ask_us(&["peer", self.their_name(), "--json"])).unwrap_or_default();
        detail.get("data").cloned().unwrap_or(detail)
    }

    /// Our view of the session, with the event ring.
    pub fn our_view(&self) -> String {
        self.ask_us(&["peer", self.their_name()])
    }

    /// Waits for a session that both sides call established.
    pub fn until_up(&self) {
        let up = patiently(PATIENCE, || self.is_up());
        assert!(up.is_some(), "no session:\n{}\n{}", self.our_view(), self.their_view());
    }

    /// Waits for something.
    pub fn until(&self, what: &str, test: impl Fn(&Arena) -> bool) {
        let so = patiently(PATIENCE, || test(self));
        assert!(so.is_some(), "{what}: never\n{}\n{}", self.our_view(), self.their_view());
    }

    /// Is there a route in our kernel?
    pub fn in_our_kernel(&self, net: &str) -> bool {
        in_kernel(&self.us, net)
    }

    /// Is there a route in theirs?
    pub fn in_their_kernel(&self, net: &str) -> bool {
        in_kernel(&self.them, net)
    }

    /// Have they learned our route?
    pub fn they_know(&self, net: &str) -> bool {
        let line = match self.other {
            Other::Bird => self.ask_them(&["birdc", "show", "route", "for", net.split('/').next().unwrap_or(net)]),
            Other::Frr => self.ask_them(&["vtysh", "-c", &format!("show bgp ipv4 unicast {net}")]),
            Other::Gobgp => self.ask_them(&["gobgp", "global", "rib", net]),
            Other::OpenBgpd => self.ask_them(&["bgpctl", "show", "rib", net]),
        };
        ["10.77.0.1", "fe80::1"].iter().any(|next_hop| line.contains(next_hop))
    }
}

fn in_kernel(ns: &Ns, net: &str) -> bool {
    let net: IpNet = net.parse().expect("a prefix");
    ns.rtnl(|rtnl| rtnl.routes()).unwrap_or_default().iter().any(|route| route.net == net)
}

fn said(ns: &Ns, command: Command) -> String {
    let what = format!("{command:?}");
    match ns.output(command) {
        Ok(out) => String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr),
        Err(e) => format!("{what}: Error {e}"),
    }
}

fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

fn our_config(setup: &Setup, scratch: &Path) -> String {
    let id = setup.our_id.map(|id| format!("router_id = \"{id}\"\n")).unwrap_or_default();
    let who = match (setup.ranged, setup.link_local) {
        (true, _) => "[[peer_group]]\nname = \"racks\"\nlisten = [\"10.77.0.0/24\"]\n".to_owned(),
        (false, true) if setup.by_interface => "[[peer]]\nname = \"them\"\ninterface = \"eth0\"\n".to_owned(),
        (false, true) => "[[peer]]\nname = \"them\"\naddress = \"fe80::2%eth0\"\nsource = \"fe80::1\"\n".to_owned(),
        (false, false) => format!("[[peer]]\nname = \"them\"\naddress = \"{THEM}\"\nsource = \"{US}\"\n"),
    };
    let mut more = setup.their_max_prefix.or(setup.rpki.then_some(0)).map_or("", |_| ", \"10.99.0.64/26\", \"10.99.0.128/26\"").to_owned();
    let mut addresses = vec![US.to_string()];
    if let Some(own) = setup.unnumbered {
        addresses = own.iter().map(|addr| (*addr).to_owned()).collect();
        let _ = write!(more, ", \"{OUR_V6_ROUTE}\"");
    }
    let restart = if setup.long_lived { format!("\nrestart_time = {}", llgr::RESTART) } else { String::new() };
    let asn = if setup.by_interface { "\"external\"".to_owned() } else { setup.their_as.to_string() };
    let mut text = format!(
        "[node]\nname = \"us\"\nasn = 65001\naddresses = {addresses:?}\n{id}[pods]\nblocks = [\"{OUR_ROUTE}\"{more}]\n[log]\nlevel = \"debug\"\n\
         [graceful_restart]\nenabled = {}{restart}\n{who}asn = {}\nhold_time = \"{}s\"\n\
         connect_retry = \"{}s\"\nopen_timeout = \"20s\"\nidle_hold_max = \"4s\"\npassive = {}\nimport = \"{}\"\nexport = \"own-blocks\"\n",
        setup.graceful,
        asn,
        setup.hold,
        setup.connect_retry,
        setup.we_are_passive,
        if setup.rpki { "no-invalid" } else { "all" }
    );
    if let Some(key) = setup.our_key {
        let path = scratch.join("password");
        fs::write(&path, key).expect("the scratch folder is ours");
        let _ = writeln!(text, "password_file = \"{}\"", path.display());
    }
    if setup.gtsm_ours {
        let _ = writeln!(text, "ttl_security = {}", setup.routed.unwrap_or(1));
    } else if setup.routed.is_some() {
        text.push_str("multihop = 255\n");
    }
    if let Some(limit) = setup.max_prefix {
        let _ = writeln!(text, "max_prefix_ipv4 = {limit}");
    }
    if setup.long_lived {
        let _ = writeln!(text, "long_lived_ipv4 = {0}\nlong_lived_ipv6 = {0}", llgr::LONG);
    }
    text += &setup.roles.map(roles::Roles::ours).unwrap_or_default();
    if let Some(wish) = &setup.bfd {
        text += &wish.ours(scratch);
    }
    if setup.bandwidths.is_some() {
        let (asn, ends) = (setup.their_as, "address = \"10.77.0.3\"\nsource = \"10.77.0.4\"");
        let _ = writeln!(
            text,
            "[[peer]]\nname = \"them-2\"\n{ends}\nasn = {asn}\nconnect_retry = \"1s\"\nimport = \"all\"\nexport = \"own-blocks\""
        );
    }
    if setup.rpki {
        text += &rpki::ours();
    }
    text
}
