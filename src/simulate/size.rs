//! What a simulation needs, before it starts.
//!
//! In: a cluster. Out: which of its nodes can be thin, how many are run whole, and octets of memory. The constants are what single
//! runs needed (`proto-tests/benches/simulate`), rounded up.

use super::cluster::{Cluster, Role, blocks_of};
use super::thin::Thin;

/// Octets of one end of a session: configuration, state machine, history, connection.
const SESSION: u64 = 13_000;

/// Octets of one path in the tables of a router that is run whole, with its kernel route and its part of Adj-RIB-Out.
const PATH: u64 = 420;

/// Octets of a machine by itself.
const MACHINE: u64 = 60_000;

/// Nodes are run whole as long as their tables have fewer paths than this together.
const WHOLE_PATHS: u64 = 3_000_000;

/// Nodes that are run whole where not all are.
const SAMPLE: usize = 8;

/// What there will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Estimate {
    /// Routers that are run with all their tables.
    pub whole: usize,
    /// All routers.
    pub machines: usize,
    /// Paths in the tables of these.
    pub paths: u64,
    /// Sessions, counted at both ends.
    pub session_ends: u64,
    /// Octets.
    pub memory: u64,
}

impl Estimate {
    /// With so many nodes run whole, or as many as make sense.
    pub fn of(cluster: &Cluster, whole: Option<usize>) -> Estimate {
        let chosen = choose(cluster, whole);
        let blocks = cluster.blocks() as u64;
        let (mut paths, mut bits) = (0, 0);
        for (machine, whole) in cluster.machines.iter().zip(&chosen) {
            match whole {
                true => paths += paths_of(cluster, machine.role, machine.params.peers.len(), blocks),
                false => bits += (machine.params.peers.len() as u64 + 2) * blocks / 8,
            }
        }
        let session_ends = cluster.session_ends() as u64;
        let machines = cluster.machines.len();
        let memory = session_ends * SESSION + paths * PATH + bits + machines as u64 * MACHINE + blocks * machines as u64;
        Estimate { whole: chosen.iter().filter(|whole| **whole).count(), machines, paths, session_ends, memory }
    }
}

/// Each session of a node with a reflector brings all blocks; in a mesh, those of one node.
fn paths_of(cluster: &Cluster, role: Role, peers: usize, blocks: u64) -> u64 {
    let reflected = cluster.machines.iter().any(|machine| machine.role == Role::Reflector);
    match role {
        Role::Node if reflected => peers as u64 * blocks,
        Role::Reflector => blocks * cluster.machines.iter().filter(|machine| machine.role == Role::Reflector).count() as u64,
        Role::Node | Role::Tor => blocks,
    }
}

/// Which machines are run whole.
pub(super) fn choose(cluster: &Cluster, whole: Option<usize>) -> Vec<bool> {
    let blocks = cluster.blocks() as u64;
    let of = |n: usize| paths_of(cluster, cluster.machines[n].role, cluster.machines[n].params.peers.len(), blocks);
    let needed: u64 = (0..cluster.machines.len()).map(of).sum();
    let mut left = whole.unwrap_or(if needed <= WHOLE_PATHS { usize::MAX } else { SAMPLE });
    let mut chosen = Vec::with_capacity(cluster.machines.len());
    for machine in &cluster.machines {
        let thin = machine.role == Role::Node && blocks_of(&machine.params).all(|net| net.addr().is_ipv4()) && Thin::may_be(machine);
        let runs_whole = !thin || left > 0;
        left = left.saturating_sub(usize::from(thin));
        chosen.push(runs_whole);
    }
    chosen
}
