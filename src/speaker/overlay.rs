//! Tunnels to remote nodes: tells the shell which there should be.
//!
//! In: the nodes that paths name (`rib::nexthop`), the parameters and this node's addresses. Out: `Effect::Overlay` whenever that comes to
//! something else than was told last. How devices look is `fib::overlay`'s; that a route over one waits for it, `rib::nexthop`'s.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::io::{Effect, Effects};
use super::params::Params;
use crate::fib::overlay::DesiredDevices;
use crate::rib::nexthop::NexthopTable;

/// What was asked for.
#[derive(Default)]
pub(super) struct Tunnels {
    nodes: BTreeSet<IpAddr>,
    asked: DesiredDevices,
}

impl Tunnels {
    /// The nodes that paths name are others than before. True if tunnels are to be [asked for](Tunnels::ask) anew.
    pub fn take_nodes(&mut self, nexthops: &mut NexthopTable) -> bool {
        nexthops.take_nodes().map(|nodes| self.nodes = nodes).is_some()
    }

    /// Asks the shell for tunnels if they are to be others than before: after a change of the nodes or the parameters, and when the routes of
    /// a former life are gone (`recovering`: they are not yet).
    pub fn ask(&mut self, params: &Params, recovering: bool, effects: &mut Effects) {
        let addresses = params.addresses;
        let mut wanted = match params.fib.enabled {
            true => params.fib.overlay.wanted(addresses.v4, addresses.v6, &self.nodes),
            false => DesiredDevices::default(),
        };
        wanted.recovering = !wanted.devices.is_empty() && recovering;
        self.replace(wanted, effects);
    }

    /// The last route over them is gone.
    pub fn end(&mut self, effects: &mut Effects) {
        self.replace(DesiredDevices::default(), effects);
    }

    fn replace(&mut self, wanted: DesiredDevices, effects: &mut Effects) {
        if wanted != self.asked {
            self.asked = wanted.clone();
            effects.push(Effect::Overlay(Box::new(wanted)));
        }
    }

    /// Whether paths wait for a tunnel that was asked for and of which the shell has not said yet that it stands.
    pub fn are_awaited(&self, nexthops: &NexthopTable) -> bool {
        let asked = |node: &IpAddr| self.asked.devices.iter().any(|d| d.nodes.contains(node));
        nexthops.without_tunnel().any(|node| asked(&node))
    }
}
