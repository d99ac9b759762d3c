//! The machines of a simulation.
//!
//! In: a few numbers ([`Shape`]), or parameters that somebody made from configurations. Out: a [`Cluster`]. What a router of some shape is configured
//! with is the configuration's matter: one file for each role is written and read as the daemon reads it, and the others of that role differ from it by
//! name, addresses and blocks.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};

use crate::config::model::Mode;
use crate::config::{Config, Environment, params};
use crate::num::RouterId;
use crate::speaker::{Params, PeerConfig};

/// The address before the first node's.
const NODES: u32 = 0xAC10_0000;

/// The address before the first reflector's, and before the first rack router's.
const REFLECTORS: u32 = 0xAC1F_0000;
const TORS: u32 = 0xAC1F_8000;

/// The first block: 10.0.0.0/26.
const BLOCKS: u32 = 0x0A00_0000;

/// Blocks that fit into 10.0.0.0/8.
const MOST_BLOCKS: u64 = 1 << 18;

/// Nodes that fit below the reflectors.
const MOST_NODES: usize = 0x000F_0000 - 1;

/// AS of the nodes, and of the first router of a rack.
const ASN: u32 = 64_512;
const TOR_ASN: u32 = 4_200_000_001;

/// What a machine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
pub enum Role {
    /// Has pods.
    Node,
    /// Reflects (RFC 4456).
    Reflector,
    /// The router of a rack.
    Tor,
}

impl Role {
    /// As in tables.
    pub fn name(self) -> &'static str {
        match self {
            Role::Node => "node",
            Role::Reflector => "reflector",
            Role::Tor => "ToR",
        }
    }
}

/// A machine and its router.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Unique.
    pub name: String,
    /// What it is.
    pub role: Role,
    /// Whose router stands between it and all others.
    pub rack: Option<usize>,
    /// Its router's.
    pub params: Params,
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    /// In the order of their numbers.
    pub machines: Vec<Machine>,
}

/// A cluster in a few numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Machines with pods.
    pub nodes: usize,
    /// Who peers with whom.
    pub mode: Mode,
    /// Machines that reflect, beside the nodes.
    pub reflectors: usize,
    /// Of each node.
    pub blocks: usize,
    /// Racks with a router each, which is told the blocks of its nodes.
    pub tors: usize,
}

/// A shape that is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// Nobody would announce anything to anybody.
    NoNodes,
    /// More than there are addresses for.
    TooManyNodes(usize),
    /// Likewise.
    TooManyBlocks(u64),
    /// Mode route-reflector without one.
    NoReflector,
    /// Reflectors in a mesh.
    IdleReflectors(usize),
    /// Racks without nodes.
    EmptyRacks(usize, usize),
    /// The configuration that was written for it is refused: a fault of this program.
    Refused(String),
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unfit::NoNodes => f.write_str("--nodes: a cluster has two nodes at least"),
            Unfit::TooManyNodes(nodes) => write!(f, "--nodes {nodes}: at most {MOST_NODES} have addresses (172.16.0.0/12)"),
            Unfit::TooManyBlocks(blocks) => {
                write!(f, "{blocks} blocks: at most {MOST_BLOCKS} of /26 fit into 10.0.0.0/8; fewer --nodes, or fewer --blocks of each")
            }
            Unfit::NoReflector => f.write_str("--mode route-reflector needs --reflectors 1 or more, or nobody peers with anybody"),
            Unfit::IdleReflectors(n) => {
                write!(f, "--reflectors {n}: in a full mesh nobody peers with a reflector; say --mode route-reflector, or leave it out")
            }
            Unfit::EmptyRacks(tors, nodes) => write!(f, "--tors {tors}: more racks than nodes ({nodes})"),
            Unfit::Refused(why) => write!(f, "the configuration that was made for this shape is refused: {why}"),
        }
    }
}

impl Cluster {
    /// The number of a machine.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.machines.iter().position(|machine| machine.name == name)
    }

    /// Sessions that are configured, each counted at both of its ends.
    pub fn session_ends(&self) -> usize {
        self.machines.iter().map(|machine| machine.params.peers.len()).sum()
    }

    /// Blocks of all machines.
    pub fn blocks(&self) -> usize {
        self.machines.iter().map(|machine| blocks_of(&machine.params).count()).sum()
    }

    /// Each machine but routers of racks has so many blocks, by its place in the list, and no others; they lie where no machine has its address.
    #[must_use]
    pub fn with_blocks(mut self, blocks: usize) -> Cluster {
        let most = self.machines.len().saturating_mul(blocks);
        let all: Vec<IpAddr> = self.machines.iter().flat_map(|machine| addresses_of(&machine.params)).collect();
        let end = |base: u32| base.saturating_add(u32::try_from(most).unwrap_or(u32::MAX).saturating_mul(64));
        let is_free = |base: &u32| all.iter().all(|addr| !matches!(addr, IpAddr::V4(v4) if (*base..end(*base)).contains(&v4.to_bits())));
        let base = [BLOCKS, 0x0A80_0000, 0x6440_0000].into_iter().find(is_free).unwrap_or(BLOCKS);
        for (n, machine) in self.machines.iter_mut().enumerate().filter(|(_, machine)| machine.role != Role::Tor) {
            machine.params.blocks = (0..blocks).map(|k| block(base, n * blocks + k)).collect();
            machine.params.held_blocks.clear();
        }
        self
    }

    /// Routers with these parameters, each on a machine of its own; who has a cluster identifier reflects.
    pub fn of(params: Vec<Params>) -> Cluster {
        let role = |params: &Params| match params.cluster_id {
            Some(_) => Role::Reflector,
            None if blocks_of(params).next().is_none() && params.peers.iter().any(|peer| is_external(peer)) => Role::Tor,
            None => Role::Node,
        };
        let machine = |params: Params| Machine { name: params.name.clone(), role: role(&params), rack: None, params };
        Cluster { machines: params.into_iter().map(machine).collect() }
    }
}

/// Blocks that a machine announces as its own.
pub(super) fn blocks_of(params: &Params) -> impl Iterator<Item = IpNet> + '_ {
    params.blocks.iter().chain(&params.held_blocks).copied()
}

/// The addresses by which others know a machine.
pub(super) fn addresses_of(params: &Params) -> impl Iterator<Item = IpAddr> + '_ {
    let own = params.addresses.v4.map(IpAddr::V4).into_iter().chain(params.addresses.v6.map(IpAddr::V6));
    own.chain(params.peers.iter().filter_map(|peer| peer.session.local_addr))
}

fn is_external(peer: &PeerConfig) -> bool {
    !peer.session.remote_as.is_internal(peer.session.local_as)
}

/// What these configurations ask for and a simulation does not do, in words.
pub(super) fn not_simulated(cluster: &Cluster) -> Vec<String> {
    let known: std::collections::BTreeSet<IpAddr> = cluster.machines.iter().flat_map(|machine| addresses_of(&machine.params)).collect();
    let peers = || cluster.machines.iter().flat_map(|machine| &machine.params.peers);
    let count = |what: &dyn Fn(&Arc<PeerConfig>) -> bool| peers().filter(|peer| what(peer)).count();
    let all = [
        (count(&|peer| peer.bfd.is_some()), "sessions ask for BFD, which is not run: what is dead is found by hold timers alone"),
        (count(&|peer| !known.contains(&peer.session.remote.addr)), "sessions are with machines that are not here: nobody answers"),
        (
            cluster.machines.iter().filter(|machine| !machine.params.rpki.is_empty()).count(),
            "machines ask RPKI caches, which are not here: no origin is known",
        ),
    ];
    all.into_iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect()
}

/// Name and address.
#[derive(Clone, Debug)]
struct Id {
    name: String,
    addr: Ipv4Addr,
}

impl Id {
    fn new(prefix: &str, n: usize, base: u32) -> Id {
        let n = u32::try_from(n).unwrap_or(u32::MAX).saturating_add(1);
        Id { name: format!("{prefix}-{n}"), addr: Ipv4Addr::from_bits(base.saturating_add(n)) }
    }
}

impl Shape {
    /// The machines.
    ///
    /// # Errors
    /// There is no such cluster; the text says which number to change.
    pub fn build(&self) -> Result<Cluster, Unfit> {
        self.check()?;
        let nodes: Vec<Id> = (0..self.nodes).map(|n| Id::new("node", n, NODES)).collect();
        let reflectors: Vec<Id> = (0..self.reflectors).map(|n| Id::new("rr", n, REFLECTORS)).collect();
        let tors: Vec<Id> = (0..self.tors).map(|n| Id::new("tor", n, TORS)).collect();
        let mut machines = match self.mode {
            Mode::FullMesh => mesh(&nodes)?,
            Mode::RouteReflector => reflected(&nodes, &reflectors)?,
        };
        let racked = machines.len();
        for (n, machine) in machines.iter_mut().take(nodes.len()).enumerate() {
            machine.params.blocks = (0..self.blocks).map(|k| block(BLOCKS, n * self.blocks + k)).collect();
        }
        if self.tors > 0 {
            (0..racked).for_each(|n| machines[n].rack = Some(n % self.tors));
            add_tors(&mut machines, &tors)?;
        }
        Ok(Cluster { machines })
    }

    fn check(&self) -> Result<(), Unfit> {
        let blocks = (self.nodes as u64).saturating_mul(self.blocks as u64);
        match self {
            Shape { nodes: 0 | 1, .. } => Err(Unfit::NoNodes),
            Shape { nodes, .. } if *nodes > MOST_NODES => Err(Unfit::TooManyNodes(*nodes)),
            _ if blocks > MOST_BLOCKS => Err(Unfit::TooManyBlocks(blocks)),
            Shape { mode: Mode::RouteReflector, reflectors: 0, .. } => Err(Unfit::NoReflector),
            Shape { mode: Mode::FullMesh, reflectors: 1.., .. } => Err(Unfit::IdleReflectors(self.reflectors)),
            Shape { tors, nodes, .. } if tors > nodes => Err(Unfit::EmptyRacks(*tors, *nodes)),
            _ => Ok(()),
        }
    }
}

fn block(base: u32, n: usize) -> IpNet {
    let n = u32::try_from(n).unwrap_or(u32::MAX);
    Ipv4Net::new(Ipv4Addr::from_bits(base.saturating_add(n.saturating_mul(64))), 26).map_or_else(|_| IpNet::default(), IpNet::V4)
}

/// The router of a configuration as the daemon would make it.
fn parsed(text: &str) -> Result<Params, Unfit> {
    let read = |_: &std::path::Path| Err("there are no files here".to_owned());
    let checked = Config::parse("the shape", text, &Environment { hostname: None, read: &read, memory_limit: None });
    match checked.config {
        Some(config) => Ok(params::speaker(&config)),
        None => Err(Unfit::Refused(checked.report.render(false))),
    }
}

fn own(id: &Id, asn: u32) -> String {
    format!("[node]\nname = \"{}\"\nasn = {asn}\nrouter_id = \"{}\"\n", id.name, id.addr)
}

fn member(id: &Id, cluster: &str) -> String {
    format!("{{ name = \"{}\", addresses = [\"{}\"]{cluster} }},\n", id.name, id.addr)
}

fn listed(me: &Id, mode: &str, members: &str) -> Result<Params, Unfit> {
    parsed(&format!("{}[cluster]\nmode = \"{mode}\"\nnodes = [\n{members}]\n", own(me, ASN)))
}

/// The same router under another name, without peers.
fn renamed(params: &Params, id: &Id) -> Params {
    let mut params = params.clone();
    params.name.clone_from(&id.name);
    params.router_id = RouterId::new(id.addr).unwrap_or(params.router_id);
    params.addresses.v4 = Some(id.addr);
    params
}

/// The same neighbour, of another router and under another name.
fn neighbour(config: &Arc<PeerConfig>, me: &Id, other: &Id) -> Arc<PeerConfig> {
    let mut session = (*config.session).clone();
    session.name.clone_from(&other.name);
    session.remote.addr = other.addr.into();
    session.local_addr = session.local_addr.map(|_| me.addr.into());
    session.router_id = RouterId::new(me.addr).unwrap_or(session.router_id);
    Arc::new(PeerConfig { session: Arc::new(session), ..(**config).clone() })
}

fn machine(role: Role, params: Params) -> Machine {
    Machine { name: params.name.clone(), role, rack: None, params }
}

fn mesh(nodes: &[Id]) -> Result<Vec<Machine>, Unfit> {
    let [a, b, ..] = nodes else { return Err(Unfit::NoNodes) };
    let template = listed(a, "full-mesh", &(member(a, "") + &member(b, "")))?;
    let Some(peer) = template.peers.first().cloned() else { return Err(Unfit::NoNodes) };
    let one = |me: &Id| {
        let mut params = renamed(&template, me);
        params.peers = nodes.iter().filter(|other| other.addr != me.addr).map(|other| neighbour(&peer, me, other)).collect();
        machine(Role::Node, params)
    };
    Ok(nodes.iter().map(one).collect())
}

fn reflected(nodes: &[Id], reflectors: &[Id]) -> Result<Vec<Machine>, Unfit> {
    let [a, ..] = nodes else { return Err(Unfit::NoNodes) };
    let cluster = format!(", cluster_id = \"{}\"", Ipv4Addr::from_bits(REFLECTORS));
    let members: String = reflectors.iter().map(|id| member(id, &cluster)).chain([member(a, "")]).collect();
    let template = listed(a, "route-reflector", &members)?;
    let client = |me: &Id| {
        let mut params = renamed(&template, me);
        params.peers = template.peers.iter().zip(reflectors).map(|(peer, other)| neighbour(peer, me, other)).collect();
        machine(Role::Node, params)
    };
    let mut machines: Vec<Machine> = nodes.iter().map(client).collect();
    for me in reflectors {
        let mut params = listed(me, "route-reflector", &members)?;
        let Some(of_a_client) = params.peers.pop() else { return Err(Unfit::NoReflector) };
        params.peers.extend(nodes.iter().map(|other| neighbour(&of_a_client, me, other)));
        machines.push(machine(Role::Reflector, params));
    }
    Ok(machines)
}

/// Each rack's router peers with its machines, is told their blocks, and tells them nothing.
fn add_tors(machines: &mut Vec<Machine>, tors: &[Id]) -> Result<(), Unfit> {
    let racked = machines.len();
    for (rack, (tor, asn)) in tors.iter().zip(TOR_ASN..).enumerate() {
        let peer = |id: &Id, asn: u32, import: &str, export: &str| {
            format!(
                "[[peer]]\nname = \"{}\"\naddress = \"{}\"\nasn = {asn}\nimport = \"{import}\"\nexport = \"{export}\"\n",
                id.name, id.addr
            )
        };
        let mut text = own(tor, asn) + &format!("addresses = [\"{}\"]\n", tor.addr);
        for member in machines.iter_mut().take(racked).filter(|machine| machine.rack == Some(rack)) {
            let Some(addr) = member.params.addresses.v4 else { continue };
            let id = Id { name: member.name.clone(), addr };
            text += &peer(&id, ASN, "all", "none");
            let own = own(&id, ASN) + &format!("addresses = [\"{addr}\"]\n");
            member.params.peers.extend(parsed(&(own + &peer(tor, asn, "none", "own-blocks")))?.peers);
        }
        machines.push(Machine { rack: Some(rack), ..machine(Role::Tor, parsed(&text)?) });
    }
    Ok(())
}
