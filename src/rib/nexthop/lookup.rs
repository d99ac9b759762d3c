//! How a next hop is reached, from the facts alone.
//!
//! In: an address, and the facts that the table keeps: links, addresses, others' routes, our own. Out: the answer, and on what it rests.
//! Nothing is remembered here, so an answer never depends on the order of events.
//!
//! 1. What is no router's address is no next hop: this machine's own, broadcast and network addresses of its subnets, multicast and the like.
//! 2. An IPv6 link-local address is reached over the interface it was learned on, and over no other.
//! 3. Else the longest match decides, among others' routes in the kernel and our own; at the same length, the lower metric, as in the
//!    kernel. Of others' routes: connected: the address itself is the gateway. Through a gateway: that gateway is taken over (the kernel
//!    has checked that it is on a link). Blackholes and their like, and our own blocks: unresolved.
//! 4. What is on a link of ours is connected, even if a longer route of our own holds it: so no peer can draw the next hops of others
//!    away from their link by announcing a piece of its subnet.
//! 5. Over a route of our own, its next hops are looked up in turn, as deep as that goes ([`DEEPEST`]). A route whose own next hops lead
//!    back to the address that is being looked up is passed over, as if it were not there (RFC 4271 §9.1.2.1 forbids loops): so
//!    whether the address is reachable never rests on itself.
//! 6. A default route carries next hops only if that is allowed (`Params::allow_default`).
//! 7. A node of the cluster that 1-6 reach, but not over a link of ours (or any, if so configured), is reached through the tunnel device
//!    that carries packets to it (`tunnels`). Such a next hop is never "connected". An IPv4 address that IPv6 routes name, mapped, is reached
//!    through a tunnel or not at all.
//!
//! A link that is down (administratively, or without carrier) carries nothing, whatever routes still name it.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use smallvec::SmallVec;

use super::{Candidate, Candidates, NexthopTable, Resolution, Unresolved};
use crate::kernel::{Hop, Hops, IfIndex, RouteKind, Weight};

/// A next hop's address and the interface that it is bound to.
pub(super) type Key = (IpAddr, Option<IfIndex>);

/// Routes of our own that may stand one on the other. FRR takes as many as there are, BIRD one.
const DEEPEST: usize = 16;
/// Routes of our own that are looked at for one address, at most: several next hops each, many deep, would be endless.
const MOST: usize = 256;

/// A route of our own that holds a tracked address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BgpEntry {
    /// Of the kernel route.
    pub metric: u32,
    /// The next hops that it leads to; `None`: a block of ours, which discards.
    pub by: Option<SmallVec<[Key; 1]>>,
}

/// An answer and what it rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// What was found.
    pub resolution: Resolution,
    /// The route that gave it.
    pub through: Option<IpNet>,
    /// The links that it would change with.
    pub links: SmallVec<[IfIndex; 1]>,
    /// The next hops of our own routes that were looked up for it: it may change with theirs.
    pub asked: SmallVec<[Key; 1]>,
}

impl Found {
    fn no(why: Unresolved) -> Found {
        Found { resolution: Resolution::Unresolved(why), through: None, links: SmallVec::new(), asked: SmallVec::new() }
    }

    fn is_connected(&self) -> bool {
        matches!(self.resolution, Resolution::Via { connected: true, .. })
    }
}

/// The way of one look-up through routes of our own.
#[derive(Debug, Default)]
pub(super) struct Trail {
    /// The addresses that are being looked up, each for the route that the one before found.
    under_way: SmallVec<[IpAddr; 4]>,
    looked: usize,
}

/// A route that covers an address.
enum Cover<'a> {
    /// Of somebody else, or of the kernel itself.
    Kernel(IpNet, &'a Candidate),
    /// Of ours.
    BgpEntry(IpNet, &'a BgpEntry),
}

impl NexthopTable {
    /// From the facts alone.
    pub(super) fn resolve(&self, key: Key) -> Found {
        if let Some(v4) = mapped(key.0) {
            // A node that has IPv4 alone, as the next hop of IPv6 routes: only a tunnel can carry these.
            return self.over_tunnel(key.0, self.by_route(v4, &mut Trail::default()));
        }
        self.look_up(key, &mut Trail::default())
    }

    fn look_up(&self, (addr, ifindex): Key, trail: &mut Trail) -> Found {
        if !is_router_address(addr) {
            return Found::no(Unresolved::NotUnicast);
        }
        if self.addrs.get(&addr).is_some_and(|on| !is_link_local(addr) || ifindex.is_none_or(|i| on.iter().any(|(o, ..)| *o == i))) {
            return Found::no(Unresolved::OwnAddress);
        }
        if self.edges.contains_key(&addr) {
            return Found::no(Unresolved::Broadcast);
        }
        match (ifindex, is_link_local(addr)) {
            (Some(i), true) => self.on_interface(addr, i, false),
            (None, true) => Found::no(Unresolved::NoInterface),
            (Some(i), false) => {
                let found = self.by_route(addr, trail);
                let direct = found.is_connected() && found.resolution.hops().is_some_and(|hops| hops.iter().all(|h| h.ifindex == i));
                if direct { found } else { self.on_interface(addr, i, true) }
            }
            (None, false) => self.over_tunnel(addr, self.by_route(addr, trail)),
        }
    }

    fn on_interface(&self, addr: IpAddr, ifindex: IfIndex, onlink: bool) -> Found {
        let hops: Hops = [Hop { gateway: Some(addr), ifindex, onlink, weight: Weight::ONE }].into_iter().collect();
        let resolution = match self.is_up(ifindex) {
            true => Resolution::Via { hops, metric: 0, connected: true },
            false => Resolution::Unresolved(Unresolved::LinkDown),
        };
        Found { resolution, links: [ifindex].into_iter().collect(), ..Found::no(Unresolved::NoRoute) }
    }

    /// The longest route that covers the address and does not lead back to it.
    pub(super) fn by_route(&self, addr: IpAddr, trail: &mut Trail) -> Found {
        let kernel = self.longest(addr);
        if let Some((net, candidate)) = kernel {
            let found = self.through(addr, net, candidate);
            if found.is_connected() {
                return found;
            }
        }
        let longer = |net: &IpNet, own: &BgpEntry| {
            kernel.is_none_or(|(f, c)| (net.prefix_len(), std::cmp::Reverse(own.metric)) > (f.prefix_len(), std::cmp::Reverse(c.metric)))
        };
        let own = self.bgp_covers(addr).into_iter().rev().filter(|(net, own)| longer(net, own)).map(|(net, own)| Cover::BgpEntry(net, own));
        let covers = own.chain(kernel.map(|(net, candidate)| Cover::Kernel(net, candidate)));
        let (mut asked, mut failed) = (SmallVec::new(), None);
        for cover in covers {
            let found = match cover {
                Cover::Kernel(net, candidate) => Ok(self.through(addr, net, candidate)),
                Cover::BgpEntry(net, own) => self.over_bgp(addr, net, own, trail, &mut asked),
            };
            match found {
                Ok(found) => return Found { asked, ..found },
                Err(why) => failed = failed.or(Some(why)),
            }
        }
        Found { asked, ..Found::no(failed.unwrap_or(Unresolved::NoRoute)) }
    }

    /// The way over a route of our own; an error if all that it leads to leads back, or nowhere.
    fn over_bgp(
        &self,
        addr: IpAddr,
        net: IpNet,
        own: &BgpEntry,
        trail: &mut Trail,
        asked: &mut SmallVec<[Key; 1]>,
    ) -> Result<Found, Unresolved> {
        let Some(by) = &own.by else { return Ok(Found { through: Some(net), ..Found::no(Unresolved::Discarded) }) };
        let (mut hops, mut links, mut failed) = (Hops::new(), SmallVec::new(), Unresolved::Circle);
        trail.under_way.push(addr);
        for &key in by {
            trail.looked += 1;
            if trail.under_way.contains(&key.0) || trail.under_way.len() > DEEPEST || trail.looked > MOST {
                continue;
            }
            let found = self.look_up(key, trail);
            asked.push(key);
            asked.extend(found.asked);
            links.extend(found.links);
            match found.resolution {
                Resolution::Via { hops: more, .. } => hops.extend(more),
                Resolution::Unresolved(why) => failed = why,
            }
        }
        trail.under_way.pop();
        if hops.is_empty() {
            return Err(failed);
        }
        hops.sort_unstable();
        hops.dedup();
        let resolution = Resolution::Via { hops, metric: own.metric, connected: false };
        Ok(Found { resolution, through: Some(net), links, asked: SmallVec::new() })
    }

    /// Our own routes that hold the address, the longest last.
    fn bgp_covers(&self, addr: IpAddr) -> SmallVec<[(IpNet, &BgpEntry); 2]> {
        match addr {
            IpAddr::V4(a) => self.bgp_v4.cover(&Ipv4Net::from(a)).map(|(n, own)| (n.into(), own)).collect(),
            IpAddr::V6(a) => self.bgp_v6.cover(&Ipv6Net::from(a)).map(|(n, own)| (n.into(), own)).collect(),
        }
    }

    /// The longest prefix with a route of another's, and there the lowest metric.
    fn longest(&self, addr: IpAddr) -> Option<(IpNet, &Candidate)> {
        let best =
            |l: &'_ Candidates| l.iter().enumerate().filter(|(_, c)| !self.is_ignored(c)).min_by_key(|(_, c)| c.metric).map(|(i, _)| i);
        let pick = |net: IpNet, l: &'_ Candidates| best(l).map(|i| (net, i));
        let (net, i) = match addr {
            IpAddr::V4(a) => self.v4.cover(&Ipv4Net::from(a)).filter_map(|(n, l)| pick(n.into(), l)).last(),
            IpAddr::V6(a) => self.v6.cover(&Ipv6Net::from(a)).filter_map(|(n, l)| pick(n.into(), l)).last(),
        }?;
        Some((net, self.candidates(net)?.get(i)?))
    }

    fn through(&self, addr: IpAddr, net: IpNet, candidate: &Candidate) -> Found {
        let no = |why| Found { through: Some(net), ..Found::no(why) };
        let RouteKind::Unicast(hops) = &candidate.kind else { return no(Unresolved::Discarded) };
        if net.prefix_len() == 0 && !self.params.allow_default {
            return no(Unresolved::OnlyDefault);
        }
        let links: SmallVec<[IfIndex; 1]> = hops.iter().map(|h| h.ifindex).collect();
        let connected = hops.iter().any(|h| h.gateway.is_none());
        let onward = |h: &Hop| Hop { gateway: h.gateway.or(Some(addr)), ..h.way() };
        let mut hops: Hops = hops.iter().filter(|h| self.is_up(h.ifindex)).map(onward).collect();
        hops.sort_unstable();
        let resolution = match hops.is_empty() {
            true => Resolution::Unresolved(Unresolved::LinkDown),
            false => Resolution::Via { hops, metric: if connected { 0 } else { candidate.metric }, connected },
        };
        Found { resolution, through: Some(net), links, asked: SmallVec::new() }
    }

    /// Every way of it leads over an interface that is to be ignored.
    fn is_ignored(&self, candidate: &Candidate) -> bool {
        let RouteKind::Unicast(hops) = &candidate.kind else { return false };
        !self.params.ignore.is_empty() && hops.iter().all(|h| self.links.get(&h.ifindex).is_some_and(|l| l.ignored))
    }
}

/// The network and the broadcast address of an IPv4 subnet, which no router on it can have (RFC 1122 §3.2.1.3; RFC 3021: a /31 has none).
pub(super) fn edges(net: &IpNet) -> impl Iterator<Item = IpAddr> {
    let edges = match net {
        IpNet::V4(n) if n.prefix_len() < 31 => Some([n.network(), n.broadcast()]),
        _ => None,
    };
    edges.into_iter().flatten().map(IpAddr::V4)
}

/// fe80::/10 (RFC 4291 §2.5.6).
pub(super) fn is_link_local(addr: IpAddr) -> bool {
    matches!(addr, IpAddr::V6(a) if a.is_unicast_link_local())
}

/// The IPv4 address in an IPv6 one (RFC 4291 §2.5.5.2): so IPv6 routes name a next hop that has no other (RFC 4798 §2).
pub(super) fn mapped(addr: IpAddr) -> Option<IpAddr> {
    Some(addr.to_canonical()).filter(|canonical| *canonical != addr)
}

/// Addresses that the kernel takes as a gateway, if they are on a link.
pub(super) fn is_router_address(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(a) => !matches!(a.octets()[0], 0 | 127 | 224..),
        IpAddr::V6(a) => !(a == Ipv6Addr::UNSPECIFIED || a.is_loopback() || a.is_multicast()),
    }
}
