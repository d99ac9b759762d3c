//! What lies between both machines: a wire, or two wires and a router; what can be wrong with it; and who keeps an eye on it.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::{Arena, OUR_POD, PATIENCE, THEIR_POD, THEM, US};
use crate::netlab::netlink::Via;
use crate::netlab::proc::program;
use crate::netlab::{Ns, patiently};

/// A veth pair, and a machine behind each end. `unnumbered`: without IPv4 addresses; ours are on lo.
pub(super) fn directly(us: &Ns, them: &Ns, unnumbered: Option<&[&str]>) -> io::Result<()> {
    let far = them.net_fd();
    for ns in [us, them] {
        // One link-local address each: the one below, and none of the kernel's making.
        ns.sysctl("net.ipv6.conf.default.addr_gen_mode", "1")?;
    }
    us.rtnl(move |rtnl| rtnl.add_veth("eth0", None, "eth0", far))?;
    for (ns, addr, pod, n) in [(us, US, OUR_POD, 1), (them, THEM, THEIR_POD, 2)] {
        if unnumbered.is_none() {
            address(ns, "eth0", Ipv4Net::new(addr, 24).expect("24 <= 32").into())?;
        }
        address(ns, "eth0", Ipv6Net::new(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, n), 64).expect("64 <= 128").into())?;
        address(ns, "lo", IpNet::from(IpAddr::V4(pod)))?;
    }
    for addr in unnumbered.unwrap_or_default() {
        address(us, "lo", IpNet::from(addr.parse::<IpAddr>().map_err(io::Error::other)?))?;
    }
    Ok(())
}

/// For a second session over the same wire.
pub(super) fn second_addresses(us: &Ns, them: &Ns) -> io::Result<()> {
    let net = |n| IpNet::from(Ipv4Net::new(Ipv4Addr::new(10, 77, 0, n), 24).expect("24 <= 32"));
    address(us, "eth0", net(4))?;
    address(them, "eth0", net(3))
}

/// One router more; both ends keep their addresses.
pub(super) fn over_a_router(us: &Ns, them: &Ns) -> io::Result<Ns> {
    let router = Ns::node("router")?;
    for (ns, own, pod, far_end, n) in [(us, US, OUR_POD, THEM, 1), (them, THEM, THEIR_POD, US, 2)] {
        let (far, far_name) = (router.net_fd(), if n == 1 { "left" } else { "right" });
        ns.rtnl(move |rtnl| rtnl.add_veth("eth0", None, far_name, far))?;
        let (near, hop) = (Ipv4Addr::new(10, 66, n, 1), Ipv4Addr::new(10, 66, n, 2));
        address(ns, "eth0", Ipv4Net::new(near, 24).expect("24 <= 32").into())?;
        address(ns, "eth0", IpNet::from(IpAddr::V4(own)))?;
        address(ns, "lo", IpNet::from(IpAddr::V4(pod)))?;
        address(&router, far_name, Ipv4Net::new(hop, 24).expect("24 <= 32").into())?;
        ns.rtnl(move |rtnl| rtnl.add_route(IpAddr::V4(far_end).into(), Via::Gateway(hop.into())))?;
        router.rtnl(move |rtnl| rtnl.add_route(IpAddr::V4(own).into(), Via::Gateway(near.into())))?;
    }
    router.sysctl("net.ipv4.ip_forward", "1")?;
    Ok(router)
}

fn address(ns: &Ns, link: &'static str, net: IpNet) -> io::Result<()> {
    ns.rtnl(move |rtnl| {
        let index = rtnl.index(link)?;
        rtnl.set_up(index)?;
        rtnl.add_addr(index, net)
    })
}

impl Arena {
    /// Nothing that belongs to BGP passes in either direction; connections stand, and nobody is told.
    pub fn cut_the_wire(&self) {
        self.nft("add rule inet fault i tcp dport 179 drop; add rule inet fault i tcp sport 179 drop; add rule inet fault o tcp dport 179 drop; add rule inet fault o tcp sport 179 drop");
    }

    /// Connections come about, and what is said over them is lost.
    pub fn swallow_words(&self) {
        self.nft("add rule inet fault i tcp flags & psh == psh drop; add rule inet fault o tcp flags & psh == psh drop");
    }

    /// The connections of BGP that stand, as the kernels see them: ours, and theirs.
    pub fn connections(&self) -> [Vec<Connection>; 2] {
        self.sockets().map(|lines| lines.iter().filter_map(|line| bgp_connection(line)).collect())
    }

    /// Each side has sent a SYN to the other, and no answer has come.
    pub fn both_dial(&self) -> bool {
        self.sockets().iter().all(|lines| lines.iter().any(|line| is_bgp_dial(line)))
    }

    /// /proc/net/tcp beside either daemon.
    fn sockets(&self) -> [Vec<String>; 2] {
        [self.ours.as_ref(), self.theirs.first()].map(|child| {
            // A socket that listens for both families accepts IPv4 as IPv6.
            let table = |name| child.and_then(|c| fs::read_to_string(format!("/proc/{}/net/{name}", c.id())).ok()).unwrap_or_default();
            ["tcp", "tcp6"].iter().flat_map(|name| table(name).lines().map(str::to_owned).collect::<Vec<_>>()).collect()
        })
    }

    fn nft(&self, rules: &str) {
        let table = "add table inet fault; add chain inet fault i { type filter hook input priority 0; }; \
                     add chain inet fault o { type filter hook output priority 0; }";
        self.run_nft(&format!("{table}; {rules}"));
    }

    pub fn mend_the_wire(&self) {
        self.run_nft("delete table inet fault");
    }

    fn run_nft(&self, rules: &str) {
        let mut nft = Command::new(program("nft").expect("nftables is installed with the daemons"));
        nft.arg(rules).stdin(Stdio::null());
        let out = self.us.output(nft).unwrap_or_else(|e| panic!("nft: {e}"));
        assert!(out.status.success(), "nft: {}", String::from_utf8_lossy(&out.stderr));
    }

    /// From us to a machine in their route, through our kernel's route, again and again.
    pub fn ping_theirs(&self) -> Pings {
        self.ping(&self.us, THEIR_POD)
    }

    /// The other way round.
    pub fn ping_ours(&self) -> Pings {
        self.ping(&self.them, OUR_POD)
    }

    fn ping(&self, ns: &Ns, to: Ipv4Addr) -> Pings {
        let log = self.scratch.path().join(format!("ping-{to}"));
        let mut ping = Command::new(program("ping").expect("ping is installed with the daemons"));
        ping.args(["-n", "-i", "0.05"]).arg(to.to_string()).stdin(Stdio::null()).stderr(Stdio::null());
        ping.stdout(fs::File::create(&log).expect("the scratch folder is ours"));
        Pings { child: ns.spawn(ping).unwrap_or_else(|e| panic!("ping: {e}")), log }
    }
}

/// Echo requests every twentieth of a second, until they are ended.
pub struct Pings {
    child: Child,
    log: PathBuf,
}

impl Pings {
    /// How many were answered, of how many: both counted up to the last answer, for what was asked after it may yet be on its way. At least
    /// twenty are, three of them from now on.
    ///
    /// # Panics
    /// When no answer comes any more.
    pub fn end(mut self) -> (usize, usize) {
        let until = self.answered().len().saturating_add(3).max(20);
        let enough = patiently(PATIENCE, || self.answered().len() >= until);
        let answered = self.answered();
        // It is a child of ours, and waited for here.
        self.child.kill().and_then(|()| self.child.wait()).expect("ping runs until it is ended");
        assert!(enough.is_some(), "{} answers, and no more came: {:?}", answered.len(), answered.last());
        (answered.len(), answered.last().copied().unwrap_or(0))
    }

    /// The numbers that came back, in order: "64 bytes from 10.1.0.1: icmp_seq=7 ttl=64 time=0.041 ms".
    fn answered(&self) -> BTreeSet<usize> {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let numbers = text.lines().filter(|line| line.contains(" bytes from ")).filter_map(|line| line.split_once("icmp_seq="));
        numbers.filter_map(|(_, rest)| rest.split(' ').next()?.parse().ok()).collect()
    }
}

/// An established connection with port 179 at one end.
pub struct Connection {
    /// Port 179 is at the other end.
    pub dialled: bool,
    /// Octets that the other kernel has not acknowledged.
    pub unacknowledged: u32,
    /// Octets that the daemon has not read.
    pub unread: u32,
}

/// Says on a link, once a second, that a router is here (RFC 4861 §4.2), for neighbours that wait for it.
pub(super) struct Advertiser {
    stop: Sender<()>,
    thread: Option<JoinHandle<()>>,
}

impl Advertiser {
    pub fn start(ns: &Ns) -> io::Result<Advertiser> {
        // The socket stays in the namespace in which it was made.
        let socket = ns.run(|| {
            let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
            socket.bind_device(Some(b"eth0"))?;
            socket.set_multicast_hops_v6(255)?;
            io::Result::Ok(socket)
        })?;
        let (stop, stopped) = mpsc::channel();
        // Hop limit 64, a lifetime of 1800 seconds, nothing else; the kernel makes the checksum.
        let advertisement = [134, 0, 0, 0, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0];
        let all_nodes = SockAddr::from(SocketAddr::from((Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1), 0)));
        let thread = thread::spawn(move || {
            while stopped.recv_timeout(Duration::from_secs(1)) == Err(RecvTimeoutError::Timeout) {
                let _ = socket.send_to(&advertisement, &all_nodes);
            }
        });
        Ok(Advertiser { stop, thread: Some(thread) })
    }
}

impl Drop for Advertiser {
    fn drop(&mut self) {
        let _ = self.stop.send(());
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// SYN_SENT in a line of /proc/net/tcp.
fn is_bgp_dial(line: &str) -> bool {
    let fields: Vec<&str> = line.split_whitespace().collect();
    matches!(fields[..], [_, _, remote, "02", ..] if remote.ends_with(":00B3"))
}

/// ESTABLISHED in a line of /proc/net/tcp.
fn bgp_connection(line: &str) -> Option<Connection> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [_, local, remote, "01", queues, ..] = fields[..] else { return None };
    let (unacknowledged, unread) = queues.split_once(':')?;
    let hex = |digits| u32::from_str_radix(digits, 16).ok();
    let (dialled, accepted) = (remote.ends_with(":00B3"), local.ends_with(":00B3"));
    (dialled || accepted).then_some(Connection { dialled, unacknowledged: hex(unacknowledged)?, unread: hex(unread)? })
}
