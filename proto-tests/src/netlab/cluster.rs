//! A cluster of our own daemons, of any size: nodes on one switch, pods behind each, a configuration for each.
//!
//! For: the demo, and tests that need thirty nodes and not a file about them.
//! In: a [`Plan`]. Out: the running cluster; what its kernels and daemons say.
//! Leaves to others: when daemons start and what ought to come of it.
//!
//! Everything is made by our own netlink, so neither `ip` nor root is needed.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::clock::{patiently, until};
use super::mounts::{Scratch, fresh_run};
use super::neighbours::crowded;
use super::netlink::{KRoute, Via};
use super::ns::{Ns, finish};
use super::ping::ping;
use super::router::{Place, Router};
use super::story::{METRICS, http_get, tail};

/// The address of every pod's gateway: nobody has it, a permanent neighbour entry answers for it.
const GATEWAY4: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
const GATEWAY6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
/// The MAC of a node's end of each pod's cable.
const GATEWAY_MAC: [u8; 6] = [0xee; 6];
const UNDERLAY: &str = "eth1";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    FullMesh,
    /// Two nodes without pods reflect for all the others.
    RouteReflector,
}

/// What to build.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub mode: Mode,
    /// Nodes with pods.
    pub nodes: usize,
    pub pods: usize,
    /// Nodes that are in everybody's list and do not exist.
    pub dark: usize,
}

/// A cluster in namespaces.
#[derive(Debug)]
pub struct Cluster {
    pub plan: Plan,
    pub members: Vec<Member>,
    switch: Ns,
    scratch: Scratch,
    binary: PathBuf,
    router: Router,
}

/// A node.
#[derive(Debug)]
pub struct Member {
    pub name: String,
    pub number: u8,
    pub reflector: bool,
    pub pods: Vec<Pod>,
    /// Nothing runs: empty.
    daemons: Vec<Child>,
    pub ns: Ns,
    log: PathBuf,
}

#[derive(Debug)]
pub struct Pod {
    pub name: String,
    pub v4: Ipv4Addr,
    pub v6: Ipv6Addr,
    pub ns: Ns,
}

impl Member {
    pub fn v4(&self) -> Ipv4Addr {
        v4_of(self.number)
    }

    pub fn v6(&self) -> Ipv6Addr {
        v6_of(self.number)
    }

    /// What its daemons said so far.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Its pod blocks; a reflector has none.
    pub fn blocks(&self) -> Vec<IpNet> {
        if self.reflector { Vec::new() } else { vec![block4(self.number).into(), block6(self.number).into()] }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        kill_all(&mut self.daemons);
    }
}

fn kill_all(children: &mut Vec<Child>) {
    for mut child in children.drain(..) {
        let _ = child.kill();
        let _ = child.wait();
    }
}

fn v4_of(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 12, 22, number)
}

fn v6_of(number: u8) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0x12, 0x22, 0, 0, 0, 0, u16::from(number))
}

/// Of a node's end of its cable.
fn mac_of(number: u8) -> [u8; 6] {
    [0x02, 0, 10, 12, 22, number]
}

fn block4(number: u8) -> Ipv4Net {
    Ipv4Net::new(Ipv4Addr::new(10, 244, number, 0), 26).expect("26 <= 32")
}

fn block6(number: u8) -> Ipv6Net {
    Ipv6Net::new(Ipv6Addr::new(0xfd00, 0x10, 0x244, u16::from(number), 0, 0, 0, 0), 122).expect("122 <= 128")
}

impl Cluster {
    /// Builds the network; no daemon runs yet.
    ///
    /// # Errors
    /// What the kernel answered, and where.
    pub fn build(plan: Plan, binary: &Path) -> io::Result<Self> {
        Self::build_of(Router::Catbird, plan, binary)
    }

    /// The same with another daemon; a mesh is all that those are set up for here.
    ///
    /// # Errors
    /// What the kernel answered, and where.
    pub fn build_of(router: Router, plan: Plan, binary: &Path) -> io::Result<Self> {
        let scratch = Scratch::new("cluster")?;
        let switch = Ns::pod("switch")?;
        switch.rtnl(|rtnl| {
            rtnl.add_bridge("br0")?;
            let bridge = rtnl.index("br0")?;
            rtnl.set_up(bridge)
        })?;
        let mut cluster = Self { plan, members: Vec::new(), switch, scratch, binary: binary.to_path_buf(), router };
        for (name, number, reflector) in cluster.roster() {
            let member = cluster.build_member(name, number, reflector)?;
            cluster.members.push(member);
        }
        for member in &cluster.members {
            fs::write(cluster.config_path(&member.name), cluster.config(member))?;
        }
        Ok(cluster)
    }

    /// Name, number and role of every node that exists: reflectors first.
    fn roster(&self) -> Vec<(String, u8, bool)> {
        let reflectors = if self.plan.mode == Mode::RouteReflector { 2 } else { 0 };
        let rr = (0..reflectors).map(|i: u8| (format!("rr{}", i + 1), 200 + i, true));
        rr.chain((1..=self.plan.nodes as u8).map(|i| (format!("node{i}"), i, false))).collect()
    }

    fn build_member(&self, name: String, number: u8, reflector: bool) -> io::Result<Member> {
        let ns = Ns::node(&name)?;
        ns.run(fresh_run)?;
        for key in ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"] {
            ns.sysctl(key, "1")?;
        }
        let (port, far_end) = (format!("port{number}"), self.switch.net_fd());
        ns.rtnl(move |rtnl| rtnl.add_veth(UNDERLAY, Some(mac_of(number)), &port, far_end))?;
        let port = format!("port{number}");
        self.switch.rtnl(move |rtnl| {
            let (port, bridge) = (rtnl.index(&port)?, rtnl.index("br0")?);
            rtnl.set_master(port, bridge)?;
            rtnl.set_up(port)
        })?;
        let (v4, v6) = (v4_of(number), v6_of(number));
        let others: Vec<u8> = self.roster().into_iter().map(|(_, other, _)| other).filter(|other| *other != number).collect();
        ns.rtnl(move |rtnl| {
            let eth = rtnl.index(UNDERLAY)?;
            rtnl.set_up(eth)?;
            rtnl.add_addr(eth, Ipv4Net::new(v4, 24).expect("24 <= 32").into())?;
            rtnl.add_addr(eth, Ipv6Net::new(v6, 64).expect("64 <= 128").into())?;
            // The table of neighbours is one for the whole machine, and permanent entries are not counted in it: a mesh of thirty nodes
            // would fill it with those that are learned.
            others.iter().try_for_each(|other| {
                rtnl.add_neighbour(eth, v4_of(*other).into(), mac_of(*other))?;
                rtnl.add_neighbour(eth, v6_of(*other).into(), mac_of(*other))
            })
        })?;
        let settle = format!("port{number}");
        self.switch.rtnl(move |rtnl| rtnl.index(&settle).and_then(|port| rtnl.settle(port)))?;
        let pods = if reflector { 0 } else { self.plan.pods };
        let pods = (0..pods).map(|i| build_pod(&ns, number, i)).collect::<io::Result<Vec<_>>>()?;
        let log = self.scratch.path().join(format!("{name}.log"));
        Ok(Member { name, number, reflector, pods, daemons: Vec::new(), ns, log })
    }

    /// Where the configuration of a node lies.
    pub fn config_path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(format!("{name}.toml"))
    }

    /// What this node's operator would write.
    pub fn config(&self, member: &Member) -> String {
        let mode = if self.plan.mode == Mode::FullMesh { "full-mesh" } else { "route-reflector" };
        let mut text =
            format!("[node]\nname = \"{}\"\nasn = 64512\n\n[cluster]\nmode = \"{mode}\"\nconnect_retry = \"1s\"\nnodes = [\n", member.name);
        let dark = (1..=self.plan.dark as u8).map(|i| (format!("dark{i}"), 100 + i, false));
        for (name, number, reflector) in self.roster().into_iter().chain(dark) {
            let cluster_id = if reflector { ", cluster_id = \"10.12.22.200\"" } else { "" };
            let _ = writeln!(text, "  {{ name = \"{name}\", addresses = [\"{}\", \"{}\"]{cluster_id} }},", v4_of(number), v6_of(number));
        }
        text.push_str("]\n");
        if !member.reflector {
            let _ = write!(text, "\n[pods]\nblocks = [\"{}\", \"{}\"]\n", block4(member.number), block6(member.number));
        }
        text
    }

    /// Gives a node another configuration, which its daemon reads at its next start or reload.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn configure(&self, index: usize, text: &str) -> io::Result<()> {
        fs::write(self.config_path(&self.members[index].name), text)
    }

    /// A machine on the same switch that is none of the cluster's: a router of the data centre.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn attach(&self, name: &str, number: u8) -> io::Result<Member> {
        self.build_member(name.to_owned(), number, true)
    }

    /// Starts the daemon of one node.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&mut self, index: usize) -> io::Result<()> {
        let commands = match self.router {
            Router::Catbird => {
                let mut command = Command::new(&self.binary);
                command.arg("run").arg("-c").arg(self.config_path(&self.members[index].name));
                vec![command]
            }
            other => self.commands_of(other, index)?,
        };
        let member = &mut self.members[index];
        for mut command in commands {
            let log = File::options().create(true).append(true).open(&member.log)?;
            command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
            member.daemons.push(member.ns.spawn(command)?);
        }
        Ok(())
    }

    fn commands_of(&self, router: Router, index: usize) -> io::Result<Vec<Command>> {
        let addresses = |m: &Member| [IpAddr::V4(m.v4()), m.v6().into()];
        let member = &self.members[index];
        let others: Vec<_> = self.members.iter().filter(|m| m.number != member.number).map(addresses).collect();
        let place = Place { name: &member.name, addresses: addresses(member), blocks: &member.blocks(), others: &others };
        router.commands(&place, self.scratch.path())
    }

    /// Starts every daemon.
    ///
    /// # Errors
    /// When one cannot be started.
    pub fn start_all(&mut self) -> io::Result<()> {
        (0..self.members.len()).try_for_each(|index| self.start(index))
    }

    /// Kills the daemon of one node without a word.
    pub fn kill(&mut self, index: usize) {
        kill_all(&mut self.members[index].daemons);
    }

    /// Sends a signal to the daemon of one node.
    ///
    /// # Errors
    /// When it does not run.
    pub fn signal(&self, index: usize, signal: i32) -> io::Result<()> {
        let daemons = &self.members[index].daemons;
        if daemons.is_empty() {
            return Err(io::Error::other("no daemon runs"));
        }
        daemons.iter().filter_map(|child| i32::try_from(child.id()).ok()).try_for_each(|pid| {
            // SAFETY: no preconditions; the child is ours and not yet waited for.
            match unsafe { libc::kill(pid, signal) } {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            }
        })
    }

    /// `catbird ARGS` on a node.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn catbird(&self, index: usize, args: &[&str]) -> io::Result<Output> {
        let mut command = Command::new(&self.binary);
        command.args(args).stdin(Stdio::null());
        self.members[index].ns.output(command)
    }

    /// The process of a node's daemon, as seen from outside.
    pub fn pid(&self, index: usize) -> Option<u32> {
        self.members[index].daemons.first().map(Child::id)
    }

    /// TERM for the daemon of one node, and its end.
    ///
    /// # Errors
    /// It does not run, or has not ended within `limit`.
    pub fn end(&mut self, index: usize, limit: Duration) -> Result<(), String> {
        self.signal(index, libc::SIGTERM).map_err(|e| e.to_string())?;
        let mut children = std::mem::take(&mut self.members[index].daemons);
        let ended = patiently(limit, || children.iter_mut().all(|child| !matches!(child.try_wait(), Ok(None))));
        kill_all(&mut children);
        ended.map(|_| ()).ok_or_else(|| format!("{} has not ended {} s after TERM", self.members[index].name, limit.as_secs()))
    }

    /// The namespace with the bridge that joins the nodes: node N hangs at `portN`.
    pub fn switch(&self) -> &Ns {
        &self.switch
    }

    pub fn router(&self) -> Router {
        self.router
    }

    pub fn binary(&self) -> &Path {
        &self.binary
    }

    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// The routes in a node's kernel.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn routes(&self, index: usize) -> io::Result<Vec<KRoute>> {
        self.members[index].ns.rtnl(|rtnl| rtnl.routes())
    }

    /// # Errors
    /// When the node does not serve metrics.
    pub fn metrics(&self, index: usize) -> io::Result<String> {
        self.members[index].ns.run(|| http_get(METRICS.into(), "/metrics"))
    }

    /// How many sessions there should be, counted at both ends.
    pub fn session_ends(&self) -> usize {
        let (nodes, reflectors) = (self.plan.nodes, self.members.len() - self.plan.nodes);
        match self.plan.mode {
            Mode::FullMesh => nodes * (nodes - 1),
            Mode::RouteReflector => 2 * nodes * reflectors + reflectors * (reflectors - 1),
        }
    }

    /// How many session ends the daemons say are established.
    ///
    /// # Errors
    /// A daemon that does not answer, in words.
    pub fn established_ends(&self) -> Result<usize, String> {
        let mut ends = 0;
        for (index, member) in self.members.iter().enumerate() {
            let said = self.catbird(index, &["status", "--json"]).map_err(|e| e.to_string())?;
            let status: serde_json::Value = serde_json::from_slice(&said.stdout)
                .map_err(|_| format!("{}: {}", member.name, String::from_utf8_lossy(&said.stderr).trim()))?;
            ends += status["peers_established"].as_u64().ok_or("status without peers_established")? as usize;
        }
        Ok(ends)
    }

    /// The blocks that node `index` should have when all are up, each via its own node.
    pub fn wanted(&self, index: usize) -> Vec<(IpNet, IpAddr)> {
        let all: Vec<usize> = (0..self.members.len()).collect();
        self.wanted_of(index, &all)
    }

    /// The same while only the nodes in `alive` announce.
    fn wanted_of(&self, index: usize, alive: &[usize]) -> Vec<(IpNet, IpAddr)> {
        let others = alive.iter().filter(|&&other| other != index).map(|&other| &self.members[other]);
        let hop = |member: &Member, net: &IpNet| if net.addr().is_ipv4() { member.v4().into() } else { member.v6().into() };
        others.flat_map(|member| member.blocks().into_iter().map(move |net| (net, hop(member, &net)))).collect()
    }

    /// How many routes to other nodes' blocks all kernels together should have.
    pub fn wanted_routes(&self) -> usize {
        (0..self.members.len()).map(|index| self.wanted(index).len()).sum()
    }

    /// What is not yet as it should be when the nodes in `alive` are the ones that announce.
    ///
    /// # Errors
    /// The first few differences of each kernel.
    pub fn agree(&self, alive: &[usize]) -> Result<(), String> {
        for index in 0..self.members.len() {
            self.node_agrees(index, alive)?;
        }
        Ok(())
    }

    /// [`Self::agree`] for one kernel.
    ///
    /// # Errors
    /// Its first difference.
    pub fn node_agrees(&self, index: usize, alive: &[usize]) -> Result<(), String> {
        let name = &self.members[index].name;
        let routes = self.routes(index).map_err(|e| format!("{name}: {e}"))?;
        for (net, hop) in self.wanted_of(index, alive) {
            if !routes.iter().any(|route| route.net == net && route.hops.iter().any(|h| h.via == Some(hop))) {
                return Err(format!("{name} has no route to {net} via {hop}"));
            }
        }
        let gone = (0..self.members.len()).filter(|other| *other != index && !alive.contains(other));
        for net in gone.flat_map(|other| self.members[other].blocks()) {
            if let Some(route) = routes.iter().find(|route| route.net == net) {
                return Err(format!("{name} still has {route}"));
            }
        }
        Ok(())
    }

    /// Waits for [`Self::agree`]; the time that it took. A kernel that agreed once is not asked again.
    ///
    /// # Errors
    /// What was wrong at the deadline, and the last words of that daemon.
    pub fn converge(&self, alive: &[usize], limit: Duration) -> Result<Duration, String> {
        let start = Instant::now();
        for (index, member) in self.members.iter().enumerate() {
            let left = limit.saturating_sub(start.elapsed());
            until(left, || self.node_agrees(index, alive))
                .map_err(|why| format!("{why}\n{}last words of {}:\n{}", crowd_note(), member.name, tail(&member.log)))?;
        }
        Ok(start.elapsed())
    }

    /// Each pod of the nodes in `alive` pings every pod of the others; how many answered, and who did not.
    pub fn ping_all(&self, alive: &[usize], limit: Duration) -> (usize, Vec<String>) {
        let pods: Vec<(usize, &Pod)> = alive.iter().flat_map(|&i| self.members[i].pods.iter().map(move |pod| (i, pod))).collect();
        let mut asked = Vec::new();
        for (from_node, from) in &pods {
            for (_, to) in pods.iter().filter(|(to_node, _)| to_node != from_node) {
                for addr in [IpAddr::V4(to.v4), IpAddr::V6(to.v6)] {
                    asked.push((format!("{} -> {addr}", from.name), from.ns.start(move || ping(addr, limit))));
                }
            }
        }
        let failed: Vec<String> = asked.iter().filter_map(|(what, answer)| finish(answer).err().map(|e| format!("{what}: {e}"))).collect();
        (asked.len() - failed.len(), failed)
    }
}

/// A line for who looks for the reason, if the machine may be it.
fn crowd_note() -> String {
    crowded().map_or_else(String::new, |note| format!("{note}\n"))
}

/// A network namespace with one address of each family, on a cable to its node, as a CNI plugin makes it.
fn build_pod(node: &Ns, number: u8, index: usize) -> io::Result<Pod> {
    let letter = char::from(b'a' + index as u8);
    let (name, cable) = (format!("pod{number}{letter}"), format!("cali{number}{letter}"));
    let host = 2 + index as u8;
    let v4 = Ipv4Addr::from(u32::from(block4(number).network()) + u32::from(host));
    let v6 = Ipv6Addr::from(u128::from(block6(number).network()) + u128::from(host));
    let ns = Ns::pod(&name)?;
    let far = ns.net_fd();
    let near = cable.clone();
    node.rtnl(move |rtnl| {
        rtnl.add_veth(&near, Some(GATEWAY_MAC), "eth0", far)?;
        let cable = rtnl.index(&near)?;
        rtnl.set_up(cable)
    })?;
    ns.rtnl(move |rtnl| {
        let eth = rtnl.index("eth0")?;
        rtnl.set_up(eth)?;
        for (addr, gateway) in [(IpAddr::V4(v4), IpAddr::V4(GATEWAY4)), (v6.into(), GATEWAY6.into())] {
            rtnl.add_addr(eth, addr.into())?;
            rtnl.add_neighbour(eth, gateway, GATEWAY_MAC)?;
            let everywhere = if addr.is_ipv4() { Ipv4Net::default().into() } else { Ipv6Net::default().into() };
            rtnl.add_route(everywhere, Via::OnLink(gateway, eth))?;
        }
        Ok(())
    })?;
    node.rtnl(move |rtnl| {
        let link = rtnl.index(&cable)?;
        rtnl.settle(link)?;
        rtnl.add_route(IpAddr::from(v4).into(), Via::Link(link))?;
        rtnl.add_route(IpAddr::from(v6).into(), Via::Link(link))
    })?;
    Ok(Pod { name, v4, v6, ns })
}
