//! Two nodes on a switch with a router on it, a pod behind each: in one subnet or in two, whichever prefix length their operators choose.
//!
//! For: the overlay, and whatever else depends on what is on a link. In: the part of the configuration that a test is about. Out: the
//! running nodes, what their kernels say, and how many packets between the pods were lost meanwhile.
//!
//! Node N has 10.0.N.1 and fd00:N::1, its pod 10.244.N.2 and fd00:10:244:N::2. The router has the last address of each subnet, and knows
//! nothing of pods.

use std::fs::{self, File};
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::clock::patiently;
use super::echo::Echo;
use super::mounts::{Scratch, fresh_run};
use super::ns::Ns;
use super::proc::catbird;

/// The two nodes and what is between them.
pub struct Sites {
    pub nodes: [Site; 2],
    pub router: Ns,
    scratch: Scratch,
    /// What runs on each.
    binaries: [PathBuf; 2],
}

/// A node with its pod.
pub struct Site {
    pub number: u8,
    pub ns: Ns,
    pub pod: Ns,
    daemon: Option<Child>,
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(child) = &mut self.daemon {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// `ip WORDS` in a namespace.
///
/// # Panics
/// If it fails.
pub fn ip(ns: &Ns, words: &str) -> String {
    let mut command = Command::new("ip");
    command.args(words.split_whitespace());
    let out = ns.output(command).expect("iproute2 is installed");
    assert!(out.status.success(), "ip {words}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// The same for several lines.
fn ips(ns: &Ns, lines: &str) {
    lines.lines().map(str::trim).filter(|l| !l.is_empty()).for_each(|line| drop(ip(ns, line)));
}

impl Sites {
    /// No daemon runs yet; each node's prefixes have this length (24: two subnets; 16: one), IPv6 ones 32 or 16.
    ///
    /// # Errors
    /// Namespaces or the daemon's binary are not to be had.
    pub fn build(prefix_len: u8) -> io::Result<Sites> {
        let router = Ns::pod("router")?;
        for key in ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"] {
            router.sysctl(key, "1")?;
        }
        // One wire for both subnets: it would rather not be asked.
        router.sysctl("net.ipv4.conf.all.send_redirects", "0")?;
        router.sysctl("net.ipv4.conf.default.send_redirects", "0")?;
        router.rtnl(|r| {
            r.add_bridge("br0")?;
            let bridge = r.index("br0")?;
            r.set_up(bridge)
        })?;
        for n in 1..=2 {
            ip(&router, &format!("addr add 10.0.{n}.254/24 dev br0"));
            ip(&router, &format!("addr add fd00:{n}::fe/32 dev br0 nodad"));
        }
        let binary = catbird().map_err(io::Error::other)?;
        let nodes = [site(1, prefix_len, &router)?, site(2, prefix_len, &router)?];
        Ok(Sites { nodes, router, scratch: Scratch::new("sites")?, binaries: [binary.clone(), binary] })
    }

    /// (Re)writes the configuration of every node: the usual and `more`.
    ///
    /// # Errors
    /// What the file system said.
    pub fn configure(&self, more: &str) -> io::Result<()> {
        (0..2).try_for_each(|i| self.configure_one(i, more))
    }

    /// The same for one node.
    ///
    /// # Errors
    /// What the file system said.
    pub fn configure_one(&self, index: usize, more: &str) -> io::Result<()> {
        let number = self.nodes[index].number;
        let list: String = (1..=2).map(|n| format!("{{ name = \"n{n}\", addresses = [\"10.0.{n}.1\", \"fd00:{n}::1\"] }}, ")).collect();
        let text = format!(
            "[node]\nname = \"n{number}\"\nasn = 64512\n[cluster]\nconnect_retry = \"1s\"\nidle_hold = \"500ms\"\nnodes = [{list}]\n\
             [pods]\nblocks = [\"10.244.{number}.0/26\", \"fd00:10:244:{number}::/122\"]\n{more}\n"
        );
        fs::write(self.config(index), text)
    }

    /// The configuration of a node.
    ///
    /// # Panics
    /// If there is none yet.
    pub fn config_text(&self, index: usize) -> String {
        fs::read_to_string(self.config(index)).expect("it was written before")
    }

    /// # Errors
    /// What the file system said.
    pub fn set_config_text(&self, index: usize, text: &str) -> io::Result<()> {
        fs::write(self.config(index), text)
    }

    fn config(&self, index: usize) -> PathBuf {
        self.path(&format!("n{}.toml", index + 1))
    }

    /// A file in the folder that the nodes share.
    pub fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// What the daemon of a node logged.
    pub fn log(&self, index: usize) -> String {
        fs::read_to_string(self.scratch.path().join(format!("n{}.log", index + 1))).unwrap_or_default()
    }

    /// Starts the daemon of one node.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&mut self, index: usize) -> io::Result<()> {
        let log = File::options().create(true).append(true).open(self.scratch.path().join(format!("n{}.log", index + 1)))?;
        let mut command = Command::new(&self.binaries[index]);
        command.arg("run").arg("-c").arg(self.config(index)).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.nodes[index].daemon = Some(self.nodes[index].ns.spawn(command)?);
        Ok(())
    }

    /// Another release runs on a node from its next start on; the one that was until then.
    pub fn release(&mut self, index: usize, binary: PathBuf) -> PathBuf {
        std::mem::replace(&mut self.binaries[index], binary)
    }

    /// Both.
    ///
    /// # Errors
    /// When one cannot be started.
    pub fn start_all(&mut self) -> io::Result<()> {
        (0..2).try_for_each(|i| self.start(i))
    }

    /// Ends the daemon of one node with this signal, and waits for that.
    pub fn end(&mut self, index: usize, signal: i32) {
        let Some(mut child) = self.nodes[index].daemon.take() else { return };
        let pid = i32::try_from(child.id()).expect("a pid fits");
        // SAFETY: a signal to a child of ours that was not waited for.
        unsafe { libc::kill(pid, signal) };
        let _ = child.wait();
    }

    /// `catbird WORDS` on a node: what it printed, whether or not that was good news.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn catbird(&self, index: usize, words: &str) -> String {
        let mut command = Command::new(&self.binaries[index]);
        command.args(words.split_whitespace()).stdin(Stdio::null());
        let out = self.nodes[index].ns.output(command).expect("the binary was built");
        String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr)
    }

    /// `ip WORDS` on a node.
    pub fn ip(&self, index: usize, words: &str) -> String {
        ip(&self.nodes[index].ns, words)
    }

    /// Waits until a node's `ip WORDS` says something; the time it took.
    ///
    /// # Panics
    /// With what it said instead, and the daemon's log.
    pub fn until_ip(&self, index: usize, limit: Duration, words: &str, is_so: impl Fn(&str) -> bool) -> Duration {
        patiently(limit, || is_so(&self.ip(index, words))).unwrap_or_else(|| {
            panic!("ip {words}:\n{}\nlog:\n{}\n{}", self.ip(index, words), self.log(index), self.catbird(index, "nexthops"))
        })
    }

    /// Begins to send numbered datagrams from the pod of node 1 to the pod of node 2, which sends each back.
    ///
    /// # Errors
    /// Sockets are not to be had.
    pub fn ping(&self, v6: bool) -> io::Result<Echo> {
        let address = |n: u8| -> IpAddr {
            let text = if v6 { format!("fd00:10:244:{n}::2") } else { format!("10.244.{n}.2") };
            text.parse().expect("an address")
        };
        let [near, far] = &self.nodes;
        Echo::start((&near.pod, address(1)), (&far.pod, address(2)))
    }
}

/// Builds a node with its pod, and plugs it into the router's switch.
fn site(number: u8, prefix_len: u8, router: &Ns) -> io::Result<Site> {
    let (ns, pod) = (Ns::node(&format!("n{number}"))?, Ns::pod(&format!("pod{number}"))?);
    ns.run(fresh_run)?;
    for key in ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"] {
        ns.sysctl(key, "1")?;
    }
    let (port, far) = (format!("port{number}"), ns.net_fd());
    router.rtnl(move |r| {
        r.add_veth(&port, None, "eth0", far)?;
        let (port, bridge) = (r.index(&port)?, r.index("br0")?);
        r.set_master(port, bridge)?;
        r.set_up(port)
    })?;
    let far = pod.net_fd();
    ns.rtnl(move |r| r.add_veth("cali1", None, "eth0", far))?;
    let v6_len = if prefix_len >= 24 { 32 } else { 16 };
    ips(
        &ns,
        &format!(
            "link set eth0 up
             addr add 10.0.{number}.1/{prefix_len} dev eth0
             addr add fd00:{number}::1/{v6_len} dev eth0 nodad
             route add default via 10.0.{number}.254 dev eth0 onlink
             -6 route add default via fd00:{number}::fe dev eth0 onlink
             link set cali1 up
             addr add fe80::1/64 dev cali1 nodad
             route add 10.244.{number}.2 dev cali1
             -6 route add fd00:10:244:{number}::2 dev cali1"
        ),
    );
    ns.sysctl("net.ipv4.conf.cali1.proxy_arp", "1")?;
    ips(
        &pod,
        &format!(
            "link set lo up
             link set eth0 up
             addr add 10.244.{number}.2/32 dev eth0
             addr add fd00:10:244:{number}::2/128 dev eth0 nodad
             route add 169.254.1.1 dev eth0
             route add default via 169.254.1.1
             -6 route add default via fe80::1 dev eth0"
        ),
    );
    Ok(Site { number, ns, pod, daemon: None })
}
