//! How our routes look and which of them may be written.
//!
//! In: the operator's meaning, checked. Out: the metric of a route, and whether a prefix may be written at all. Of tunnels see [`overlay`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{FibKind, FibRoute, Owner, overlay};
use crate::kernel::KernelRoute;

/// What we write and what we leave alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Params {
    /// A reflector that carries no traffic writes nothing.
    pub enabled: bool,
    /// 254 is `main`.
    pub table: u32,
    /// RTA protocol of our routes: 186 (`bgp`), or 12 (`bird`) in the place of Calico's BIRD. Never 2 (`kernel`).
    pub protocol: u8,
    /// Under which names an earlier run wrote, or the router in whose place we are: what stands there at the start is taken for ours,
    /// replaced as it is learned again, and removed if it is not.
    pub former: Vec<Owner>,
    /// At which metrics an earlier run wrote besides, under the present name.
    pub former_metrics: Vec<Metric>,
    /// Of learned routes.
    pub metric: Metric,
    /// Of the blackholes for our own blocks. (BIRD in a Calico node: none.)
    pub block_metric: u32,
    /// RTA_PREFSRC of unicast routes.
    pub source_v4: Option<Ipv4Addr>,
    /// RTA_PREFSRC of IPv6 routes.
    pub source_v6: Option<Ipv6Addr>,
    /// May a default route be written? A node whose ToR announces one may not want it to take the host's traffic.
    pub allow_default: bool,
    /// Only prefixes inside one of these are written; empty means all. Blackholes for our own blocks are not asked.
    pub pools: Vec<IpNet>,
    /// No learned prefix inside one of these is written: another program routes them.
    pub exclude: Vec<IpNet>,
    /// No learned route whose next hop is one of these is written: another program routes to who is there.
    pub exclude_next_hops: BTreeSet<IpAddr>,
    /// Routes that stand whatever is learned, each by its gateway.
    pub via: BTreeMap<IpNet, IpAddr>,
    /// Who wins where another's route has our key.
    pub conflict: Conflict,
    /// Most changes that wait for the kernel's answer at one time. What changes again meanwhile is written once.
    pub window: usize,
    /// Tunnels to nodes that are on no link of ours.
    pub overlay: overlay::Params,
}

impl Default for Params {
    fn default() -> Params {
        Params {
            enabled: true,
            table: 254,
            protocol: 186,
            former: Vec::new(),
            former_metrics: Vec::new(),
            metric: Metric::Fixed(DEFAULT_METRIC),
            block_metric: DEFAULT_METRIC,
            source_v4: None,
            source_v6: None,
            allow_default: false,
            pools: Vec::new(),
            exclude: Vec::new(),
            exclude_next_hops: BTreeSet::new(),
            via: BTreeMap::new(),
            conflict: Conflict::Heal,
            window: 2048,
            overlay: overlay::Params::default(),
        }
    }
}

/// As Calico's since v3.32: with it a connected subnet, a bridge of a CNI plugin or a static route for the same prefix wins by the
/// kernel's own rule, whoever came first. It is what IPv6 makes of none, too.
pub const DEFAULT_METRIC: u32 = 1024;

/// Which RTA_PRIORITY a learned route gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// The same for all.
    Fixed(u32),
    /// 2^31-1 - LOCAL_PREF, as Calico's BIRD from v3.32 on: a preferred path gets the lower metric, and LOCAL_PREF 100 loses to the
    /// host's own routes.
    FromLocalPref,
}

impl Metric {
    /// RFC 4271 §9.1.1 leaves the default LOCAL_PREF to us: 100, as everybody.
    pub fn of(self, local_pref: Option<u32>) -> u32 {
        match self {
            Metric::Fixed(metric) => metric,
            Metric::FromLocalPref => 0x7fff_ffff_u32.saturating_sub(local_pref.unwrap_or(100)),
        }
    }
}

/// What happens where another's route stands under the key (prefix, table, metric) of one of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Conflict {
    /// It stays, even where it took the place of ours.
    Yield,
    /// It stays if it was there first. What took the place of ours is put right again, at a pace if it comes back.
    Heal,
    /// Ours takes its place, at a pace if it comes back.
    Take,
}

/// Why a route is wanted by the decision but not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Refused {
    /// Nothing is written at all.
    Disabled,
    /// `allow_default` is off.
    DefaultRoute,
    /// It lies inside none of `pools`.
    OutsidePools,
    /// Inside a prefix that is left to another program.
    Excluded,
    /// By a next hop whose routes are left to another program.
    ExcludedNextHop,
    /// A blackhole for a single address would swallow the pod behind it.
    HostBlackhole,
    /// A unicast route without a way out.
    NoHops,
    /// Its tunnel would carry the tunnel's own packets, for ever (RFC 2003 §3.2).
    Swallows,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refused::Disabled => "the FIB is switched off",
            Refused::DefaultRoute => "default routes are not allowed",
            Refused::OutsidePools => "outside the pools",
            Refused::Excluded => "left to another program by `exclude`",
            Refused::ExcludedNextHop => "its next hop is one that another program routes to",
            Refused::HostBlackhole => "a blackhole for a single address would swallow its pod",
            Refused::NoHops => "no way out",
            Refused::Swallows => "it holds the address that its tunnel leads to, whose packets would enter the tunnel again",
        })
    }
}

impl Params {
    /// # Errors
    /// The rule that keeps this prefix out of the kernel.
    pub fn permits(&self, net: &IpNet, kind: &FibKind) -> Result<(), Refused> {
        if !self.enabled {
            return Err(Refused::Disabled);
        }
        match kind {
            FibKind::Blackhole if net.prefix_len() == net.max_prefix_len() => Err(Refused::HostBlackhole),
            FibKind::Blackhole => Ok(()),
            FibKind::Unicast(hops) if hops.is_empty() => Err(Refused::NoHops),
            FibKind::Unicast(_) if net.prefix_len() == 0 && !self.allow_default => Err(Refused::DefaultRoute),
            FibKind::Unicast(_) if self.exclude.iter().any(|p| p.contains(net)) => Err(Refused::Excluded),
            FibKind::Unicast(_) if self.pools.is_empty() || self.pools.iter().any(|p| p.contains(net)) => Ok(()),
            FibKind::Unicast(_) => Err(Refused::OutsidePools),
        }
    }

    /// RTA_PREFSRC for a route of this family.
    pub fn source_for(&self, net: &IpNet) -> Option<IpAddr> {
        match net {
            IpNet::V4(_) => self.source_v4.map(IpAddr::V4),
            IpNet::V6(_) => self.source_v6.map(IpAddr::V6),
        }
    }

    /// The name of our routes.
    pub fn owner(&self) -> Owner {
        Owner { table: self.table, protocol: self.protocol }
    }

    /// Where a route of this metric stands in our table.
    pub(super) fn key(&self, metric: u32) -> (u32, u32) {
        (self.table, metric)
    }

    /// Bears this route our name, or one in whose place we are?
    pub fn is_ours(&self, route: &KernelRoute) -> bool {
        let owner = Owner::of(route);
        owner == self.owner() || self.former.contains(&owner)
    }

    /// As one of ours; `None` if it bears another's name, or is of a shape that we never write.
    pub fn as_ours(&self, route: &KernelRoute) -> Option<FibRoute> {
        let former = Some(Owner::of(route)).filter(|owner| *owner != self.owner());
        let ours = FibRoute::from_kernel(route).filter(|_| self.is_ours(route))?;
        Some(FibRoute { former, ..ours })
    }

    /// Could we have written it? Asked at the start, of routes that an earlier run may have left. Metric 0 was our first release's.
    pub fn could_be_ours(&self, route: &FibRoute) -> bool {
        let zero = if matches!(route.net, IpNet::V6(_)) { DEFAULT_METRIC } else { 0 };
        let like = |metric: u32| route.metric == if metric == 0 { zero } else { metric };
        let written = [self.metric, Metric::Fixed(self.block_metric), Metric::Fixed(0)];
        route.former.is_some()
            || written.iter().chain(&self.former_metrics).any(|metric| match metric {
                Metric::Fixed(metric) => like(*metric),
                Metric::FromLocalPref => true,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calicos_metric_turns_local_pref_around() {
        assert_eq!(Metric::FromLocalPref.of(Some(2_147_482_623)), 1024);
        assert_eq!(Metric::FromLocalPref.of(None), 2_147_483_547);
        assert_eq!(Metric::FromLocalPref.of(Some(u32::MAX)), 0);
        assert_eq!(Metric::Fixed(7).of(Some(100)), 7);
    }

    #[test]
    fn blackholes_are_for_blocks_and_never_for_single_addresses() {
        let params = Params { pools: vec!["10.0.0.0/8".parse().unwrap()], ..Params::default() };
        let net = |s: &str| s.parse::<IpNet>().unwrap();
        assert_eq!(params.permits(&net("10.244.1.0/26"), &FibKind::Blackhole), Ok(()));
        assert_eq!(params.permits(&net("10.244.1.7/32"), &FibKind::Blackhole), Err(Refused::HostBlackhole));
        assert_eq!(params.permits(&net("fd00::7/128"), &FibKind::Blackhole), Err(Refused::HostBlackhole));
        let hop =
            crate::kernel::Hop { gateway: None, ifindex: crate::kernel::IfIndex(2), onlink: false, weight: crate::kernel::Weight::ONE };
        let unicast = FibKind::Unicast([hop].into_iter().collect());
        assert_eq!(params.permits(&net("192.0.2.0/24"), &unicast), Err(Refused::OutsidePools));
        assert_eq!(params.permits(&net("10.1.0.0/16"), &unicast), Ok(()));
        assert_eq!(params.permits(&net("0.0.0.0/0"), &unicast), Err(Refused::DefaultRoute));
    }
}
