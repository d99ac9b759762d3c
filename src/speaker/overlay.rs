//! Tunnels to remote nodes: tells the shell which there should be.
//!
//! In: the nodes that paths name (`rib::nexthop`), the parameters and this node's addresses. Out: `Effect::Overlay` whenever that comes to
//! something else than was told last. How devices look is `fib::overlay`'s; that a route over one waits for it, `rib::nexthop`'s.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::{Effect, OnTerm, Speaker};
use crate::fib::overlay::Wanted;

/// What was told.
#[derive(Default)]
pub(super) struct Tunnels {
    nodes: BTreeSet<IpAddr>,
    told: Wanted,
}

impl Speaker {
    /// Tells the shell of tunnels if they are to be others than before.
    pub(super) fn want_tunnels(&mut self) {
        let renewed = self.nexthops.take_nodes().map(|nodes| self.tunnels.nodes = nodes).is_some();
        if renewed {
            self.tell_tunnels();
        }
    }

    /// The same after a change of the parameters, and when the routes of a former life are gone.
    pub(super) fn tell_tunnels(&mut self) {
        // Going away and leaving the routes: what they lead over stays, too.
        if self.stopping == Some(OnTerm::Keep) {
            return;
        }
        let addresses = self.params.addresses;
        let mut wanted = match self.params.fib.enabled {
            true => self.params.fib.overlay.wanted(addresses.v4, addresses.v6, &self.tunnels.nodes),
            false => Wanted::default(),
        };
        wanted.recovering = !wanted.devices.is_empty() && self.recovery.is_on();
        if wanted != self.tunnels.told {
            self.tunnels.told = wanted.clone();
            self.effects.push_back(Effect::Overlay(Box::new(wanted)));
        }
    }

    /// Whether paths wait for a tunnel that was asked for and of which the shell has not said yet that it stands.
    pub(super) fn awaits_tunnels(&self) -> bool {
        let asked = |node: &IpAddr| self.tunnels.told.devices.iter().any(|d| d.nodes.contains(node));
        self.nexthops.without_tunnel().any(|node| asked(&node))
    }

    /// The last route over them is gone.
    pub(super) fn end_tunnels(&mut self) {
        if self.tunnels.told != Wanted::default() {
            self.tunnels.told = Wanted::default();
            self.effects.push_back(Effect::Overlay(Box::default()));
        }
    }
}
