//! Kernel routes that stand whatever is learned: the ways to neighbours that `reachableBy` of a BGPPeer names, so that no learned route takes their place.
//!
//! In: prefixes with their gateways, and what the table of next hops knows of these. Out: a route for each prefix whose gateway can be reached.
//! They are written and kept like any other of ours (`fib`), and announced to nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use crate::fib::{self, FibKind, FibRoute};
use crate::rib::NhId;
use crate::rib::nexthop::NexthopTable;

/// By prefix, the gateway as it is tracked.
#[derive(Debug, Default)]
pub(super) struct Pinned(BTreeMap<IpNet, (IpAddr, NhId)>);

impl Pinned {
    /// Other prefixes are pinned from now on; the old ones and the new.
    pub fn set(&mut self, wanted: &BTreeMap<IpNet, IpAddr>, nexthops: &mut NexthopTable) -> Vec<IpNet> {
        let before = std::mem::take(&mut self.0);
        for (net, via) in wanted {
            self.0.insert(*net, (*via, nexthops.track(*via, None)));
        }
        before.values().for_each(|(_, id)| nexthops.untrack(*id));
        let touched: BTreeSet<IpNet> = before.into_keys().chain(wanted.keys().copied()).collect();
        touched.into_iter().collect()
    }

    /// The gateway to this prefix.
    pub fn gateway(&self, net: &IpNet) -> Option<NhId> {
        self.0.get(net).map(|(_, id)| *id)
    }

    /// Prefixes whose gateway is one of these.
    pub fn by(&self, changed: &[NhId]) -> Vec<IpNet> {
        self.0.iter().filter(|(_, (_, id))| changed.contains(id)).map(|(net, _)| *net).collect()
    }

    /// The route to this prefix, if its gateway can be reached.
    pub fn route(&self, net: &IpNet, fib: &fib::Params, nexthops: &NexthopTable) -> Option<FibRoute> {
        let hops = nexthops.resolution(self.gateway(net)?).hops()?.clone();
        Some(FibRoute { net: *net, metric: fib.block_metric, kind: FibKind::Unicast(hops), source: fib.source_for(net), former: None })
    }
}
