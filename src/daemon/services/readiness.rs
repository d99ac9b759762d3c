//! Is this node ready? And if not, which peers are missing, and why.
//!
//! In: the peers as they are, and the share of them that must be up. Out: yes or no, with the missing ones by name. One dead peer among
//! hundreds makes no node unready; a node without peers is ready.

use serde::Serialize;

use crate::api::{FibCounts, FibTableRow, PeerRow, WaitingRow};

/// The answer of `/readyz`.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Readiness {
    /// What `/readyz` says.
    pub ready: bool,
    /// In words, if not.
    pub reason: Option<String>,
    /// Of the enabled ones.
    pub peers_up: usize,
    /// Those that an operator has not switched off.
    pub peers_expected: usize,
    /// So many must be up.
    pub peers_needed: usize,
    /// The enabled ones that are not up.
    pub missing: Vec<Missing>,
}

/// A peer that is not up.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Missing {
    /// Its name.
    pub peer: String,
    /// Its address.
    pub address: String,
    /// Its state.
    pub state: String,
    /// In words.
    pub why: String,
}

/// Missing peers that are named; a monitor that asks every second does not need a thousand.
pub const NAMED: usize = 50;

/// Judges.
pub fn readiness<'a>(peers: impl Iterator<Item = &'a PeerRow>, share: f64, draining: bool) -> Readiness {
    let mut readiness = Readiness { ready: false, reason: None, peers_up: 0, peers_expected: 0, peers_needed: 0, missing: Vec::new() };
    for peer in peers.filter(|peer| peer.admin_up) {
        readiness.peers_expected += 1;
        if peer.state.eq_ignore_ascii_case("established") {
            readiness.peers_up += 1;
        } else if readiness.missing.len() < NAMED {
            let why = peer.why_down.clone().unwrap_or_else(|| "no attempt has been made yet".to_owned());
            let (name, address) = (peer.name.clone(), peer.address.clone());
            readiness.missing.push(Missing { peer: name, address, state: peer.state.clone(), why });
        }
    }
    readiness.peers_needed = needed(readiness.peers_expected, share);
    readiness.ready = readiness.peers_up >= readiness.peers_needed && !draining;
    readiness.reason = match (readiness.ready, draining) {
        (true, _) => None,
        (false, true) => Some("this node is being drained".to_owned()),
        (false, false) => {
            Some(format!("{} of {} peers are up, {} are needed", readiness.peers_up, readiness.peers_expected, readiness.peers_needed))
        }
    };
    readiness
}

impl Readiness {
    /// What this node has to announce is not known yet, and the wait for it is not over.
    pub fn with_sources(mut self, waiting: Option<&WaitingRow>) -> Readiness {
        if let Some(waiting) = waiting.filter(|_| self.ready) {
            self.ready = false;
            self.reason = Some(waiting.to_string());
        }
        self
    }

    /// Something of this machine keeps packets from going.
    pub fn with_obstacles(mut self, obstacles: &[String]) -> Readiness {
        if self.ready && !obstacles.is_empty() {
            self.ready = false;
            self.reason = Some(obstacles.join("; "));
        }
        self
    }

    /// Packets go nowhere if the kernel has none of the routes that this node wants: then it is not ready, whoever is up.
    pub fn with_kernel(mut self, tables: &[FibTableRow]) -> Readiness {
        let sum = |of: fn(&FibCounts) -> usize| tables.iter().map(|table| of(&table.counts)).sum::<usize>();
        let (wanted, refused, occupied) = (sum(|c| c.wanted), sum(|c| c.failed), sum(|c| c.foreign));
        if self.ready && wanted > 0 && sum(|c| c.installed) == 0 && refused + occupied >= wanted {
            self.ready = false;
            self.reason = Some(format!(
                "none of {wanted} routes is in the kernel: {refused} refused (has the daemon CAP_NET_ADMIN?), {occupied} in whose place are \
                 routes of others ([fib] conflict, adopt); `catbird fib` tells which"
            ));
        }
        self
    }
}

impl Readiness {
    /// Not ready, for this reason if for none before it.
    pub fn without(mut self, reason: String) -> Readiness {
        self.ready = false;
        self.reason.get_or_insert(reason);
        self
    }
}

/// A share above zero needs at least one peer.
fn needed(expected: usize, share: f64) -> usize {
    // within range: the share is checked to be between zero and one
    (expected as f64 * share).ceil() as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::Asn;

    fn peer(n: usize, state: &str) -> PeerRow {
        PeerRow {
            name: format!("node-{n}"),
            address: format!("10.0.0.{n}"),
            kind: "mesh".into(),
            local_as: Asn(64512),
            remote_as: None,
            state: state.into(),
            admin_up: true,
            state_seconds: 1.0,
            flaps: 0,
            bfd: None,
            families: Vec::new(),
            why_down: (state != "Established").then(|| "connection refused".to_owned()),
            failures: Vec::new(),
            warnings: Vec::new(),
        }
    }

    #[test]
    fn one_dead_peer_among_many_makes_no_node_unready_and_is_named() {
        let mut peers: Vec<PeerRow> = (0..9).map(|n| peer(n, "Established")).collect();
        peers.push(peer(9, "Active"));
        let ready = readiness(peers.iter(), 0.5, false);
        assert!(ready.ready && ready.reason.is_none());
        assert_eq!((ready.peers_up, ready.peers_expected, ready.peers_needed), (9, 10, 5));
        assert_eq!(ready.missing.len(), 1);
        assert_eq!((ready.missing[0].peer.as_str(), ready.missing[0].why.as_str()), ("node-9", "connection refused"));
        assert!(!readiness(peers.iter(), 1.0, false).ready);
    }

    #[test]
    fn a_lone_node_is_ready_and_one_that_hears_nobody_is_not() {
        assert!(readiness(std::iter::empty(), 1.0, false).ready);
        let alone = readiness([peer(1, "Connect")].iter(), 0.01, false);
        assert_eq!(alone.reason.as_deref(), Some("0 of 1 peers are up, 1 are needed"));
        assert!(readiness([peer(1, "Connect")].iter(), 0.0, false).ready, "a share of zero asks for nobody");
    }

    #[test]
    fn a_node_none_of_whose_routes_is_in_the_kernel_is_not_ready() {
        let with = |counts: FibCounts| {
            let table = FibTableRow { family: crate::num::Family::Ipv4Unicast, table: 254, counts };
            readiness(std::iter::empty(), 1.0, false).with_kernel(&[table])
        };
        assert!(with(FibCounts::default()).ready, "nothing is wanted");
        assert!(with(FibCounts { wanted: 6, ..FibCounts::default() }).ready, "still to be written");
        assert!(with(FibCounts { wanted: 6, installed: 1, failed: 5, ..FibCounts::default() }).ready);
        let reason = with(FibCounts { wanted: 6, failed: 4, foreign: 2, ..FibCounts::default() }).reason.unwrap();
        assert!(reason.contains("none of 6 routes") && reason.contains("4 refused (has the daemon CAP_NET_ADMIN?), 2 in"), "{reason}");
    }

    #[test]
    fn a_drained_node_is_not_ready_and_switched_off_peers_do_not_count() {
        assert!(!readiness([peer(1, "Established")].iter(), 0.5, true).ready);
        let off = PeerRow { admin_up: false, ..peer(2, "Idle") };
        assert!(readiness([peer(1, "Established"), off].iter(), 1.0, false).ready);
    }
}
