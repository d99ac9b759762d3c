//! A node for kernel tests: two links to a router, routes seen as `ip route` shows them, a stream of datagrams that counts its losses.
//!
//! In: a network namespace of this machine (root, or root in a user namespace: `unshare -Urnm`). Out: what stands in its kernel, how long
//! it took to stand there, how many datagrams got through. What is wanted there is told to a [`Keeper`] or a daemon.

use std::net::UdpSocket;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use catbird::daemon::netlink::Settings;
use catbird::fib::Params;

use crate::keeper::Keeper;
use crate::netlab::mounts::Scratch;
use crate::netlab::{Ns, patiently, skip};

/// A machine under load is slow, and no test may fail for that: what is awaited may take so many times longer than promised. What is
/// promised is shown by [`swiftly`].
const PATIENCE: u32 = 20;

/// A node with eth1 (10.0.0.1/24, fd00::1/64) and eth2 (10.0.1.1/24), and routers at the other ends.
pub struct Node {
    pub ns: Ns,
    pub router: Ns,
}

impl Node {
    /// `None`, loudly, where namespaces are not to be had.
    pub fn new(test: &str) -> Option<Node> {
        let (ns, router) = match (Ns::pod("node"), Ns::pod("router")) {
            (Ok(ns), Ok(router)) => (ns, router),
            (Err(why), _) | (_, Err(why)) => {
                skip(test, &format!("no namespaces here ({why}): be root, or use `unshare -Urnm`"));
                return None;
            }
        };
        for (name, ours, theirs) in [("eth1", "10.0.0.1/24", "10.0.0.2/24"), ("eth2", "10.0.1.1/24", "10.0.1.2/24")] {
            let far = router.net_fd();
            ns.rtnl(move |r| r.add_veth(name, None, name, far)).unwrap();
            for (ns, addr) in [(&ns, ours), (&router, theirs)] {
                ip(ns, &format!("link set {name} up"));
                ip(ns, &format!("addr add {addr} dev {name}"));
            }
        }
        for (ns, addr) in [(&ns, "fd00::1/64"), (&router, "fd00::2/64")] {
            ip(ns, &format!("addr add {addr} dev eth1 nodad"));
        }
        let node = Node { ns, router };
        // Until the carrier is seen, the kernel shows its routes with a mark.
        patiently(Duration::from_secs(20), || !(node.ip("route") + &node.ip("-6 route")).contains("linkdown"))
            .expect("both links have carrier");
        Some(node)
    }

    /// The neighbours are known, so that no datagram is lost to ARP. (A link that goes down forgets them.)
    pub fn know_routers(&self) {
        for router in ["10.0.0.2", "10.0.1.2"] {
            let dev = dev(router);
            self.ip(&format!("neigh replace {router} dev {dev} lladdr {} nud permanent", mac(&self.router, dev)));
        }
    }

    /// A keeper in it.
    pub fn keeper(&self, params: Params) -> Keeper {
        let settings = Settings::new(&params);
        Keeper::start(&self.ns, params, settings)
    }

    /// `ip WORDS` inside; its output.
    pub fn ip(&self, words: &str) -> String {
        ip(&self.ns, words)
    }

    /// So many pods with their routes and all their links' ups and downs, as a CNI plugin and the kernel make them; then none of them.
    /// Links of a batch go together: waiting for each by itself would be all that is measured.
    pub fn pods_come_and_go(&self, round: u32, pods: u32) {
        let group = 1000 + round % 1000;
        let lines: String = (0..pods)
            .map(|i| {
                let pod = std::net::Ipv4Addr::from(0x0a64_0000 + i);
                format!(
                    "link add cali{i} group {group} type veth peer name pod{i} group {group}\nlink set cali{i} up\nlink set pod{i} up\n\
                     route add {pod}/32 dev cali{i} scope link\n"
                )
            })
            .collect();
        self.batch(&lines);
        self.ip(&format!("link del group {group}"));
    }

    /// Does all these at once, as `ip -batch` would: it is.
    ///
    /// # Panics
    /// If one is refused.
    pub fn batch(&self, lines: &str) {
        let scratch = Scratch::new("batch").expect("a scratch folder");
        let file = scratch.path().join("batch");
        std::fs::write(&file, lines).expect("the scratch folder takes a file");
        self.ip(&format!("-batch {}", file.display()));
    }

    /// Our routes of both families, as `ip route` shows them.
    pub fn routes(&self) -> String {
        self.ip("route show proto bgp") + &self.ip("-6 route show proto bgp")
    }

    /// Waits until our routes are so; the time it took, which is printed too.
    ///
    /// # Panics
    /// If they are not, after many times the limit.
    pub fn until_routes(&self, limit: Duration, what: &str, is_so: impl Fn(&str) -> bool) -> Duration {
        let took = patiently(limit * PATIENCE, || is_so(&self.routes())).unwrap_or_else(|| panic!("{what}; routes:\n{}", self.routes()));
        eprintln!("{what}: after {took:?}");
        took
    }
}

/// `ip WORDS` inside; its output.
///
/// # Panics
/// If it refuses.
pub fn ip(ns: &Ns, words: &str) -> String {
    let mut command = Command::new("ip");
    command.args(words.split_whitespace());
    let out = ns.output(command).expect("iproute2 is installed");
    assert!(out.status.success(), "ip {words}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// Installs the usual: a block of ours, a peer's block, one by two ways, one of IPv6.
pub fn furnish(keeper: &Keeper) {
    keeper.want("10.244.1.0/26", &[]);
    keeper.want("10.244.2.0/26", &["10.0.0.2"]);
    keeper.want("10.244.3.0/26", &["10.0.1.2", "10.0.0.2"]);
    keeper.want("fd10::2:0/122", &["fd00::2"]);
    keeper.want("fd10::1:0/122", &[]);
    until_true(keeper);
}

/// Waits until all that is wanted stands; the time it took.
///
/// # Panics
/// If it never does.
pub fn until_true(keeper: &Keeper) -> Duration {
    patiently(Duration::from_secs(30), || keeper.look().is_true()).unwrap_or_else(|| panic!("not settled: {:?}", keeper.look()))
}

/// The i-th /26 from 20.0.0.0 on.
pub fn net(i: u32) -> ipnet::IpNet {
    let addr = std::net::Ipv4Addr::from(0x1400_0000 + i * 64);
    ipnet::IpNet::new(addr.into(), 26).unwrap()
}

/// Sends a datagram every 50 us or so to addresses behind the router in turn, until told to stop.
pub struct Stream {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: std::thread::JoinHandle<u64>,
}

impl Stream {
    /// Starts to send to an address that the router answers for.
    pub fn start(node: &Node, to: &'static str) -> Stream {
        Stream::to_all(node, vec![to.to_owned()])
    }

    /// Many addresses are many flows, which several ways share.
    ///
    /// # Panics
    /// If no socket is to be had.
    pub fn to_all(node: &Node, to: Vec<String>) -> Stream {
        node.know_routers();
        let (stop, sent) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (flag, told) = (stop.clone(), sent.clone());
        let thread = node.ns.run(move || {
            std::thread::spawn(move || {
                let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
                let mut refused = 0;
                for to in to.iter().cycle() {
                    if flag.load(Ordering::Relaxed) {
                        break;
                    }
                    match socket.send_to(b"still there?", (to.as_str(), 9)) {
                        // The way was chosen, and its link went down before the datagram was on it: sent, and lost.
                        Err(why) if why.raw_os_error() != Some(libc::ENETDOWN) => refused += 1,
                        _ => drop(told.fetch_add(1, Ordering::Relaxed)),
                    }
                    std::thread::sleep(Duration::from_micros(50));
                }
                refused
            })
        });
        Stream { stop, sent, thread }
    }

    /// How many were sent until now.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Waits until this many more were sent: however fast or slow the machine is, that much was tried.
    ///
    /// # Panics
    /// If hardly any is sent for long.
    pub fn await_more(&self, more: u64) {
        let until = self.sent() + more;
        patiently(Duration::from_secs(120), || self.sent() >= until).unwrap_or_else(|| panic!("{more} more were to be sent"));
    }

    /// How many were sent, and how many the kernel refused for want of a route.
    ///
    /// # Panics
    /// If the sender panicked.
    pub fn stop(self) -> (u64, u64) {
        self.stop.store(true, Ordering::Relaxed);
        let refused = self.thread.join().expect("the sender only sends");
        (self.sent.load(Ordering::Relaxed), refused)
    }
}

fn dev(router: &str) -> &'static str {
    if router == "10.0.0.2" { "eth1" } else { "eth2" }
}

fn mac(ns: &Ns, dev: &str) -> String {
    ip(ns, &format!("link show dev {dev}")).split("link/ether ").nth(1).and_then(|t| t.split(' ').next()).unwrap().to_owned()
}

/// Datagrams that arrived in a namespace for a port, whether or not somebody had time to read them.
pub fn arrived(ns: &Ns) -> u64 {
    let snmp = ns.run(|| std::fs::read_to_string("/proc/thread-self/net/snmp").unwrap());
    let mut lines = snmp.lines().filter(|l| l.starts_with("Udp:"));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let value = |name: &str| names.split(' ').zip(values.split(' ')).find(|(n, _)| *n == name).unwrap().1.parse::<u64>().unwrap();
    value("InDatagrams") + value("RcvbufErrors") + value("NoPorts")
}

/// The deed says how long it took. Done until it took less than the limit, at most ten times: who is that fast once does not wait for a
/// timer, and who never is was hindered by more than a busy machine.
///
/// # Panics
/// If it was too slow each time.
pub fn swiftly(limit: Duration, what: &str, mut deed: impl FnMut() -> Duration) {
    let mut times = Vec::new();
    while times.len() < 10 {
        let took = deed();
        eprintln!("{what}: {took:?}");
        if took < limit {
            return;
        }
        times.push(took);
    }
    panic!("{what} took {times:?}, promised were {limit:?}");
}
