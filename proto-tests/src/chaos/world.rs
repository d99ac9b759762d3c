//! The cluster that chaos is done to: how a fault is done, and when all is as it should be again.

use std::collections::HashMap;
use std::fs;
use std::io::Write as _;
use std::net::{IpAddr, Ipv6Addr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::faults::{Change, Deed, Fault, Place};
use crate::dice::Dice;
use crate::netlab::cluster::Cluster;
use crate::netlab::ns::Ns;
use crate::netlab::router::Router;
use crate::netlab::{KRoute, patiently};

/// A daemon ends within this, or it hangs.
const ENDS: Duration = Duration::from_secs(30);
/// What a fault has our daemon write under for a while.
const OTHER: u8 = 99;

/// A cluster, and what is being done to it.
pub struct World {
    pub cluster: Cluster,
    /// The configuration of each node as it is when nothing is done to it.
    usual: Vec<String>,
    /// Connections that a fault holds open, by node.
    open: HashMap<usize, Vec<TcpStream>>,
}

type Done = Result<(), String>;

impl World {
    /// Starts the daemons.
    ///
    /// # Errors
    /// One cannot be started.
    pub fn new(cluster: Cluster) -> Result<Self, String> {
        let mut world = Self { usual: cluster.members.iter().map(|m| cluster.config(m)).collect(), cluster, open: HashMap::new() };
        for index in 0..world.cluster.members.len() {
            let node = &world.cluster.members[index].ns;
            // An address that is set by hand stays when a link goes down and comes again, as network managers see to.
            node.sysctl("net.ipv6.conf.all.keep_addr_on_down", "1").map_err(|e| e.to_string())?;
            world.configure(index, Change::default())?;
            world.cluster.start(index).map_err(|e| e.to_string())?;
        }
        Ok(world)
    }

    /// A node for this fault, and another one; none where the fault wants what nobody has.
    pub fn place(&self, fault: &Fault, dice: &mut Dice) -> Option<Place> {
        let members = &self.cluster.members;
        let with_pods: Vec<usize> = (0..members.len()).filter(|i| !members[*i].reflector).collect();
        let all: Vec<usize> = (0..members.len()).collect();
        let node = dice.of(if fault.wants_pods() { &with_pods } else { &all });
        let others: Vec<usize> = with_pods.into_iter().filter(|other| *other != node).collect();
        if others.is_empty() {
            return None;
        }
        Some(self.place_at(node, dice.of(&others)))
    }

    pub(super) fn place_at(&self, node: usize, other: usize) -> Place {
        Place { node, other, words: self.words(node, other) }
    }

    fn words(&self, node: usize, other: usize) -> Vec<(&'static str, String)> {
        let (me, them) = (&self.cluster.members[node], &self.cluster.members[other]);
        let (_, protocol, metric) = self.cluster.router().signs();
        let mut words = vec![
            ("{proto}", protocol.to_owned()),
            ("{metric}", metric.to_string()),
            ("{n}", me.number.to_string()),
            // An address of the underlay that nobody else has.
            ("{n6}", (usize::from(me.number) % 200 + 40).to_string()),
            ("{me4}", me.v4().to_string()),
            ("{me6}", me.v6().to_string()),
            ("{o4}", them.v4().to_string()),
            ("{o6}", them.v6().to_string()),
            ("{omac}", format!("02:00:0a:0c:16:{:02x}", them.number)),
            ("{ob4}", them.blocks()[0].to_string()),
            ("{ob6}", them.blocks()[1].to_string()),
            ("{op4}", them.pods[0].v4.to_string()),
            ("{op6}", them.pods[0].v6.to_string()),
            ("{peer}", self.peer_of(node, other)),
            (
                "{drop179}",
                "table inet chaos { chain c { type filter hook input priority 0; tcp dport 179 drop; tcp sport 179 drop; }; }".to_owned(),
            ),
        ];
        if let (Some(pod), [b4, b6, ..]) = (me.pods.first(), me.blocks().as_slice()) {
            // The last address of each block is the bridge's.
            let gateway = |block: &ipnet::IpNet| block.hosts().last().expect("blocks have hosts").to_string();
            words.extend([("{mb4}", b4.to_string()), ("{mb6}", b6.to_string()), ("{mg4}", gateway(b4)), ("{mg6}", gateway(b6))]);
            words.extend([("{mp4}", pod.v4.to_string()), ("{mp6}", pod.v6.to_string()), ("{cable}", format!("cali{}a", me.number))]);
        }
        words
    }

    /// A peer of `node`: the other one, or a reflector where it has no session with that.
    fn peer_of(&self, node: usize, other: usize) -> String {
        let members = &self.cluster.members;
        let reflected = members.iter().any(|m| m.reflector) && !members[node].reflector;
        let peer = if reflected { members.iter().position(|m| m.reflector).unwrap_or(other) } else { other };
        members[peer].name.clone()
    }

    /// Does a fault.
    ///
    /// # Errors
    /// What could not be done, in words: a finding, for the list holds only what can be done.
    pub fn begin(&mut self, fault: &Fault, place: &Place) -> Done {
        let done = match fault.deed {
            Deed::Shell(start, _) => self.shell(place.node, &place.fill(start)),
            Deed::Switch(start, _) => sh(self.cluster.switch(), &place.fill(start)),
            Deed::Catbird(start, _) => self.commands(place.node, &place.fill(start)),
            Deed::Reload(change) => self.reload(place, change),
            Deed::Reborn(change) => self.reborn(place, change),
            Deed::Own(start, _) => start(self, place),
        };
        done.map_err(|why| format!("{} could not be done: {why}", fault.name))
    }

    /// Undoes it.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub fn end(&mut self, fault: &Fault, place: &Place) -> Done {
        let done = match fault.deed {
            Deed::Shell(_, end) => self.shell(place.node, &place.fill(end)),
            Deed::Switch(_, end) => sh(self.cluster.switch(), &place.fill(end)),
            Deed::Catbird(_, end) => self.commands(place.node, &place.fill(end)),
            Deed::Reload(_) => self.reload(place, Change::default()),
            Deed::Reborn(_) => self.reborn(place, Change::default()),
            Deed::Own(_, end) => end(self, place),
        };
        done.map_err(|why| format!("{} could not be undone: {why}", fault.name))
    }

    fn shell(&self, node: usize, lines: &str) -> Done {
        sh(&self.cluster.members[node].ns, lines)
    }

    fn commands(&self, node: usize, lines: &str) -> Done {
        lines.lines().filter(|line| !line.is_empty()).try_for_each(|line| self.catbird(node, line))
    }

    fn catbird(&self, node: usize, words: &str) -> Done {
        let words: Vec<&str> = words.split(' ').collect();
        // A daemon that was started a moment ago has no socket yet.
        let mut said = String::new();
        let answered = patiently(Duration::from_secs(20), || match self.cluster.catbird(node, &words) {
            Ok(out) if out.status.code() == Some(3) => {
                said = String::from_utf8_lossy(&out.stderr).into_owned();
                false
            }
            Ok(out) => {
                said = if out.status.success() { String::new() } else { String::from_utf8_lossy(&out.stderr).into_owned() };
                true
            }
            Err(e) => {
                said = e.to_string();
                false
            }
        });
        if answered.is_some() && said.is_empty() { Ok(()) } else { Err(format!("catbird {}: {}", words.join(" "), said.trim())) }
    }

    /// Writes the configuration of a node: the usual one, and a change.
    fn configure(&self, index: usize, change: Change) -> Done {
        let (cluster, blocks) = (change.cluster, change.blocks);
        let mut text =
            self.usual[index].replace("connect_retry = \"1s\"\n", &format!("connect_retry = \"1s\"\nhold_time = \"9s\"\n{cluster}\n"));
        if !blocks.is_empty() {
            text = text.replace("\nblocks = [", &format!("\nblocks = [{blocks}, "));
        }
        let path = self.cluster.config_path(&self.cluster.members[index].name);
        // Renamed into place, as those do who know that somebody may read it at any moment.
        let draft = path.with_extension("draft");
        fs::write(&draft, format!("{text}\n{}", change.tables)).and_then(|()| fs::rename(&draft, &path)).map_err(|e| e.to_string())
    }

    fn changed(&self, place: &Place, change: Change) -> Done {
        // The texts of a change are constants; only blocks name the node.
        let blocks: &'static str = Box::leak(place.fill(change.blocks).into_boxed_str());
        self.configure(place.node, Change { blocks, ..change })
    }

    fn reload(&mut self, place: &Place, change: Change) -> Done {
        self.changed(place, change)?;
        self.catbird(place.node, "reload")
    }

    fn reborn(&mut self, place: &Place, change: Change) -> Done {
        self.changed(place, change)?;
        self.kill_and_start(place)
    }

    pub(super) fn nothing(&mut self, _: &Place) -> Done {
        Ok(())
    }

    pub(super) fn kill(&mut self, place: &Place) -> Done {
        self.cluster.kill(place.node);
        Ok(())
    }

    pub(super) fn start(&mut self, place: &Place) -> Done {
        self.cluster.start(place.node).map_err(|e| e.to_string())
    }

    pub(super) fn kill_and_start(&mut self, place: &Place) -> Done {
        self.cluster.kill(place.node);
        self.start(place)
    }

    pub(super) fn kill_all(&mut self, _: &Place) -> Done {
        let all = 0..self.cluster.members.len();
        all.clone().for_each(|index| self.cluster.kill(index));
        all.into_iter().try_for_each(|index| self.cluster.start(index)).map_err(|e| e.to_string())
    }

    /// TERM, and it ends by itself.
    pub(super) fn terminate(&mut self, place: &Place) -> Done {
        self.cluster.end(place.node, ENDS)
    }

    pub(super) fn stop(&mut self, place: &Place) -> Done {
        self.cluster.signal(place.node, libc::SIGSTOP).map_err(|e| e.to_string())
    }

    pub(super) fn go_on(&mut self, place: &Place) -> Done {
        self.cluster.signal(place.node, libc::SIGCONT).map_err(|e| e.to_string())
    }

    pub(super) fn stop_under_routes(&mut self, place: &Place) -> Done {
        self.stop(place)?;
        let batch = "for i in $(seq 0 19999); do echo route add 172.$((16+i/16384)).$(((i/64)%256)).$((i%64)) via {o4} proto 50; done \
                     | ip -force -batch - 2>/dev/null; ip route flush proto 50";
        self.shell(place.node, &place.fill(batch))
    }

    pub(super) fn hup(&mut self, place: &Place) -> Done {
        (0..10).try_for_each(|_| self.cluster.signal(place.node, libc::SIGHUP)).map_err(|e| e.to_string())
    }

    pub(super) fn break_configuration(&mut self, place: &Place) -> Done {
        let path = self.cluster.config_path(&self.cluster.members[place.node].name);
        let text = fs::read_to_string(&path).map_err(|e| e.to_string())?;
        fs::write(&path, text.replace("[cluster]", "[clutter]")).map_err(|e| e.to_string())?;
        match self.catbird(place.node, "reload") {
            Ok(()) => Err("a table [clutter] was taken".to_owned()),
            Err(_) => Ok(()),
        }
    }

    pub(super) fn mend_configuration(&mut self, place: &Place) -> Done {
        self.reload(place, Change::default())
    }

    pub(super) fn unconfirmed(&mut self, place: &Place) -> Done {
        self.configure(place.node, Change { tables: "[fib]\nmetric = 900\n", ..Change::default() })?;
        self.catbird(place.node, "reload --confirm 1s")
    }

    pub(super) fn drain_and_kill(&mut self, place: &Place) -> Done {
        self.catbird(place.node, "drain")?;
        self.kill(place)
    }

    pub(super) fn start_undrained(&mut self, place: &Place) -> Done {
        self.start(place)?;
        self.catbird(place.node, "undrain")
    }

    pub(super) fn many_clients(&mut self, place: &Place) -> Done {
        let node = &self.cluster.members[place.node].ns;
        let start = |words: &str| {
            let mut command = Command::new(self.cluster.binary());
            command.args(words.split(' ')).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            node.spawn(command)
        };
        let clients = (0..40).map(|i| start(["status", "peers", "routes", "fib"][i % 4])).collect::<Result<Vec<_>, _>>();
        for mut client in clients.map_err(|e| e.to_string())? {
            client.wait().map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    pub(super) fn deaf_clients(&mut self, place: &Place) -> Done {
        self.connections(place, 140, 9179, "127.0.0.1", b"GET /v1/routes HTTP/1.1\r\nHost: x\r\n\r\n")
    }

    pub(super) fn strangers(&mut self, place: &Place) -> Done {
        let me = self.cluster.members[place.node].v4().to_string();
        self.connections(place, 200, 179, &me, b"what is this?")
    }

    fn connections(&mut self, place: &Place, count: usize, port: u16, to: &str, says: &'static [u8]) -> Done {
        let to = format!("{to}:{port}");
        let made = self.cluster.members[place.node].ns.run(move || {
            let address = to.parse().expect("an address of ours");
            let open = || {
                let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()?;
                let _ = stream.write_all(says);
                Some(stream)
            };
            (0..count).filter_map(|_| open()).collect::<Vec<_>>()
        });
        self.open.entry(place.node).or_default().extend(made);
        Ok(())
    }

    pub(super) fn hang_up(&mut self, place: &Place) -> Done {
        self.open.remove(&place.node);
        Ok(())
    }

    pub(super) fn reborn_without_room(&mut self, place: &Place) -> Done {
        self.shell(place.node, "mount -o remount,size=256k /run; head -c 1M /dev/zero > /run/full 2>/dev/null; true")?;
        self.kill_and_start(place)
    }

    pub(super) fn room_again(&mut self, place: &Place) -> Done {
        self.shell(place.node, "rm -f /run/full; mount -o remount,size=64m /run")
    }

    /// All sessions are up, all kernels as they should be, and no daemon warns of what it did not warn of before.
    ///
    /// # Errors
    /// The first thing that is not so.
    pub fn quiet(&self, usual: Option<&[Vec<String>]>) -> Done {
        self.kernels_are_right()?;
        if self.cluster.router() != Router::Catbird {
            return Ok(());
        }
        match self.cluster.established_ends() {
            Ok(n) if n == self.cluster.session_ends() => {}
            Ok(n) => return Err(format!("{n} of {} session ends are up", self.cluster.session_ends())),
            Err(why) => return Err(why),
        }
        let Some(usual) = usual else { return Ok(()) };
        for (index, usual) in usual.iter().enumerate() {
            if let Some(new) = self.warnings(index)?.iter().find(|warning| !usual.contains(warning)) {
                return Err(format!("{} warns: {new}", self.cluster.members[index].name));
            }
        }
        Ok(())
    }

    /// The kernels' part of [`Self::quiet`], which is asked of whatever daemon.
    ///
    /// # Errors
    /// The first thing that is not so.
    pub fn kernels_are_right(&self) -> Done {
        (0..self.cluster.members.len()).try_for_each(|index| self.kernel_is_right(index))
    }

    /// Exactly the routes that the others' blocks and its own ask for, and no other of our protocol.
    fn kernel_is_right(&self, index: usize) -> Done {
        let member = &self.cluster.members[index];
        let (protocol, ..) = self.cluster.router().signs();
        let all = self.cluster.routes(index).map_err(|e| e.to_string())?;
        let mut have: Vec<KRoute> = all.into_iter().filter(|r| [protocol, OTHER].contains(&r.protocol)).collect();
        for (net, hop) in self.cluster.wanted(index) {
            let via = |at: IpAddr| at == hop || self.cluster.router() != Router::Catbird && self.is_link_local_of(hop, at);
            let right = |r: &KRoute| {
                r.net == net && r.kind == "unicast" && r.protocol == protocol && r.hops.len() == 1 && r.hops[0].via.is_some_and(via)
            };
            let at = have
                .iter()
                .position(right)
                .ok_or_else(|| format!("{} has no route to {net} via {hop}{}", member.name, instead(&have, net)))?;
            have.remove(at);
        }
        // FRR writes a blackhole only for a static route; that is not what is compared.
        for net in member.blocks().into_iter().filter(|_| self.cluster.router() != Router::Frr) {
            let at = have.iter().position(|r| r.net == net && r.kind == "blackhole" && r.protocol == protocol);
            have.remove(at.ok_or_else(|| format!("{} has no blackhole for {net}", member.name))?);
        }
        have.first().map_or(Ok(()), |route| Err(format!("{} has a route that nobody asked for: {route}", member.name)))
    }

    /// FRR goes by a neighbour's link-local address where it has one.
    fn is_link_local_of(&self, node: IpAddr, at: IpAddr) -> bool {
        let members = &self.cluster.members;
        let number = members.iter().find(|m| IpAddr::from(m.v6()) == node).map(|m| u16::from(m.number));
        // From the MAC address 02:00:0a:0c:16:NN (RFC 4291, appendix A).
        number.is_some_and(|n| at == IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0x0aff, 0xfe0c, 0x1600 | n)))
    }

    /// What the daemon of a node warns of.
    ///
    /// # Errors
    /// It does not answer.
    pub fn warnings(&self, index: usize) -> Result<Vec<String>, String> {
        let out = self.cluster.catbird(index, &["status", "--json"]).map_err(|e| e.to_string())?;
        let status: serde_json::Value = serde_json::from_slice(&out.stdout).map_err(|e| format!("status: {e}"))?;
        let warnings = status["warnings"].as_array().ok_or("status without warnings")?;
        Ok(warnings.iter().map(|warning| warning.as_str().map_or_else(|| warning.to_string(), str::to_owned)).collect())
    }

    /// Resident octets of all daemons together.
    pub fn memory(&self) -> u64 {
        let resident = |index| {
            let pid = self.cluster.pid(index)?;
            let status = fs::read_to_string(PathBuf::from(format!("/proc/{pid}/status"))).ok()?;
            let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
            line.split_whitespace().nth(1)?.parse::<u64>().ok()
        };
        (0..self.cluster.members.len()).filter_map(resident).sum::<u64>() * 1024
    }
}

fn instead(have: &[KRoute], net: ipnet::IpNet) -> String {
    have.iter().find(|route| route.net == net).map_or_else(String::new, |route| format!(", but {route}"))
}

/// Lines for a shell, in a namespace.
fn sh(ns: &Ns, lines: &str) -> Done {
    if lines.is_empty() {
        return Ok(());
    }
    let mut command = Command::new("sh");
    command.arg("-c").arg(lines).stdin(Stdio::null());
    let out = ns.output(command).map_err(|e| e.to_string())?;
    let said = String::from_utf8_lossy(&out.stderr);
    if out.status.success() { Ok(()) } else { Err(format!("{lines}: {}", said.trim())) }
}
