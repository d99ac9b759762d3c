//! Tunnels to remote nodes: tells the shell which there should be.
//!
//! In: the nodes that paths name (`rib::nexthop`), the parameters and this node's addresses. Out: `Effect::Overlay` whenever that comes to
//! something else than was told last. How devices look is `fib::overlay`'s; that a route over one waits for it, `rib::nexthop`'s.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use super::io::{Effect, Effects};
use super::params::Params;
use crate::fib::overlay::{DesiredDevices, aside};
use crate::kernel::KernelEvent;
use crate::num::{Family, Instant};
use crate::rib::nexthop::{NamedNodes, NexthopTable};

/// What was asked for.
#[derive(Default)]
pub(super) struct Tunnels {
    named: NamedNodes,
    asked: DesiredDevices,
    /// Names of the devices that a former life has left.
    former: BTreeSet<String>,
    /// Own addresses whose devices stand.
    stand: BTreeSet<IpAddr>,
    /// Then those of them that are not wanted are gone.
    forget_at: Option<Instant>,
}

/// After our recovery, a device of before that nobody sends over is gone within this.
const REMOVED_BY: Duration = Duration::from_secs(60);

impl Tunnels {
    /// The nodes that paths name are others than before. True if tunnels are to be [asked for](Tunnels::ask) anew.
    pub fn take_nodes(&mut self, nexthops: &mut NexthopTable) -> bool {
        nexthops.take_nodes().map(|named| self.named = named).is_some()
    }

    /// Asks the shell for tunnels if they are to be others than before: after a change of the nodes or the parameters, and when the routes of
    /// a former life are gone (`recovering`: they are not yet). True if they have other names than before.
    pub fn ask(&mut self, params: &Params, recovering: bool, effects: &mut Effects) -> bool {
        let addresses = params.addresses;
        let mut wanted = match params.fib.enabled {
            true => params.fib.overlay.wanted(addresses.v4, addresses.v6, &self.named.nodes),
            false => DesiredDevices::default(),
        };
        for device in &mut wanted.devices {
            let family = Family::of(&device.local.into());
            device.over = self.named.links.iter().filter(|(f, _)| *f == family).map(|(_, ifindex)| *ifindex).collect();
        }
        // The keeper of tunnels sleeps where there never was one.
        wanted.former = if params.fib.enabled { self.former.clone() } else { BTreeSet::new() };
        wanted.recovering = recovering && !(wanted.devices.is_empty() && wanted.former.is_empty());
        let names = |devices: &DesiredDevices| devices.devices.iter().map(|d| d.name.clone()).collect::<BTreeSet<String>>();
        let renamed = names(&wanted) != names(&self.asked);
        self.replace(wanted, effects);
        renamed
    }

    /// The shell says of a device that it stands as it says it of nodes, by its own address.
    pub fn on_kernel(&mut self, event: &KernelEvent) {
        match event {
            KernelEvent::Tunnel { node, .. } if self.asked.devices.iter().any(|d| d.local == *node) => drop(self.stand.insert(*node)),
            KernelEvent::TunnelGone { node } => drop(self.stand.remove(node)),
            _ => {}
        }
    }

    /// Devices were asked for that do not stand yet: what others send over them would be lost.
    pub fn are_to_come(&self) -> bool {
        self.asked.devices.iter().any(|device| !self.stand.contains(&device.local))
    }

    /// Devices that a former life has left.
    pub fn recall(&mut self, former: BTreeSet<String>) {
        self.former = former.iter().map(|name| aside(name)).collect();
        self.former.extend(former);
    }

    /// The recovery is over: what is not wanted is not remembered for long.
    pub fn forget_former(&mut self, now: Instant) {
        self.forget_at = (!self.former.is_empty()).then(|| now + REMOVED_BY);
    }

    /// When what is remembered changes by itself.
    pub fn forget_at(&self, now: Instant) -> Option<Instant> {
        self.forget_at.filter(|at| now < *at)
    }

    /// The names of all devices that may stand.
    pub fn names(&self, now: Instant) -> BTreeSet<String> {
        let former = self.former.iter().filter(|_| self.forget_at.is_none_or(|at| now < at)).cloned();
        self.asked.devices.iter().map(|device| device.name.clone()).chain(former).collect()
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
