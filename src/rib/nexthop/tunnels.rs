//! Next hops that are nodes of the cluster and not on a link of ours: through a tunnel device to the node itself.
//!
//! In: the rule (which addresses are nodes, and when a tunnel is used), and the kernel's word on which node a tunnel device carries
//! packets to. Out: an on-link hop over that device in the place of the way through routers, who would not know the pods behind it; and
//! the nodes that paths name, for `fib::overlay`. Devices and their entries are made there and in the shell.
//!
//! Every node that a path names gets its entries, whether or not it is on our link now, so that a node that moves, or we, need but a
//! route replaced. A path whose node's tunnel does not stand is not usable: so a route over the tunnel never comes before what it needs.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::lookup::{Found, Trail, is_link_local, is_router_address, mapped};
use super::{NexthopTable, Resolution, Unresolved};
use crate::kernel::{Hop, IfIndex, Weight};
use crate::num::Family;

/// When a node is reached through a tunnel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TunnelRule {
    /// There is no overlay.
    #[default]
    Never,
    /// When it is on no link of ours.
    Remote(Nodes),
    /// Each of these, on our link or not.
    Always(Nodes),
}

/// Addresses of nodes, as prefixes that do not overlap, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Nodes(Arc<[IpNet]>);

impl Nodes {
    /// Prefixes may overlap; they are merged.
    pub fn new(nets: impl IntoIterator<Item = IpNet>) -> Nodes {
        let mut nets = IpNet::aggregate(&nets.into_iter().collect());
        nets.sort_unstable_by_key(IpNet::network);
        Nodes(nets.into())
    }

    /// Is it a node's?
    pub fn contain(&self, addr: IpAddr) -> bool {
        let after = self.0.partition_point(|net| net.network() <= addr);
        after.checked_sub(1).and_then(|i| self.0.get(i)).is_some_and(|net| net.contains(&addr))
    }
}

impl TunnelRule {
    fn nodes(&self) -> Option<&Nodes> {
        match self {
            TunnelRule::Never => None,
            TunnelRule::Remote(nodes) | TunnelRule::Always(nodes) => Some(nodes),
        }
    }

    /// Is this the address of a node that a tunnel may carry us to?
    fn concerns(&self, addr: IpAddr) -> bool {
        let addr = addr.to_canonical();
        !is_link_local(addr) && is_router_address(addr) && self.nodes().is_some_and(|nodes| nodes.contain(addr))
    }
}

/// Which nodes tunnels carry packets to.
#[derive(Debug, Default)]
pub(super) struct Tunnels {
    to: super::HashMap<IpAddr, Hop>,
    /// The nodes behind the hops.
    nodes: super::HashMap<Hop, IpAddr>,
    /// The nodes that paths name are others than `take_nodes` last said.
    dirty: bool,
}

/// The nodes that paths name, and the links that lead to them, tunnels of ours not among them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamedNodes {
    /// Of both families.
    pub nodes: BTreeSet<IpAddr>,
    /// By the family of the nodes.
    pub links: BTreeSet<(Family, IfIndex)>,
}

impl Tunnels {
    /// Is this link a tunnel of ours?
    fn carry_over(&self, ifindex: IfIndex) -> bool {
        self.nodes.keys().any(|hop| hop.ifindex == ifindex)
    }
}

impl NexthopTable {
    /// Another rule: every next hop is looked at again.
    pub fn set_tunnels(&mut self, rule: TunnelRule) {
        if self.params.tunnels == rule {
            return;
        }
        self.params.tunnels = rule;
        self.tunnels.dirty = true;
        self.review_all();
    }

    /// The nodes that paths name, this machine not among them; `None` if they and the links to them are those of the last call.
    pub fn take_nodes(&mut self) -> Option<NamedNodes> {
        if !std::mem::take(&mut self.tunnels.dirty) {
            return None;
        }
        let mut named = NamedNodes::default();
        for (&(addr, _), id) in self.by_addr.iter().filter(|((_, ifindex), _)| ifindex.is_none()) {
            let addr = addr.to_canonical();
            if self.params.tunnels.concerns(addr) && !self.addrs.contains_key(&addr) {
                named.nodes.insert(addr);
                let links = self.entry(*id).map(|e| e.answer.links.as_slice()).unwrap_or_default();
                named.links.extend(links.iter().filter(|i| !self.tunnels.carry_over(**i)).map(|i| (Family::of(&addr.into()), *i)));
            }
        }
        Some(named)
    }

    /// The tracked nodes whose tunnel does not stand.
    pub fn without_tunnel(&self) -> impl Iterator<Item = IpAddr> {
        let waits = |e: &super::Entry| e.answer.resolution == Resolution::Unresolved(Unresolved::NoTunnel);
        self.entries.iter().flatten().filter(move |e| waits(e)).map(|e| e.addr.to_canonical())
    }

    /// Does this hop lead over a tunnel of ours?
    pub fn is_tunnel(&self, hop: &Hop) -> bool {
        self.tunnels.nodes.contains_key(&hop.way())
    }

    /// Would a route to `net` over this hop take along what carries it? The outer packets of a tunnel go to the node itself: where that
    /// address is in `net`, and no longer route leads to it, they would enter the tunnel again, for ever (RFC 2003 §3.2).
    pub fn routes_own_underlay(&self, net: &IpNet, hop: &Hop) -> bool {
        let carried = |node: IpAddr| self.by_route(node, &mut Trail::default()).through.is_some_and(|t| t.prefix_len() > net.prefix_len());
        self.tunnels.nodes.get(&hop.way()).is_some_and(|node| net.contains(node) && !carried(*node))
    }

    /// Paths began or ceased to name this address, or it became or ceased to be ours.
    pub(super) fn note_node(&mut self, addr: IpAddr) {
        self.tunnels.dirty |= self.params.tunnels.concerns(addr);
    }

    /// A tunnel carries packets to the node, by this gateway on this device, or none does any more.
    pub(super) fn on_tunnel(&mut self, node: IpAddr, way: Option<(IpAddr, IfIndex)>) {
        // An address of another scope than the link's is taken to be on it because we say so.
        let hop =
            way.map(|(gateway, ifindex)| Hop { gateway: Some(gateway), ifindex, onlink: !is_link_local(gateway), weight: Weight::ONE });
        let was = match hop {
            Some(hop) => self.tunnels.to.insert(node, hop),
            None => self.tunnels.to.remove(&node),
        };
        if was == hop {
            return;
        }
        if let Some(old) = was {
            self.tunnels.nodes.remove(&old);
        }
        self.tunnels.nodes.extend(hop.map(|hop| (hop, node)));
        self.review_addr(node);
    }

    /// What the rule makes of a way over links and routers.
    pub(super) fn over_tunnel(&self, addr: IpAddr, underlay: Found) -> Found {
        let Resolution::Via { metric, connected, .. } = underlay.resolution else { return underlay };
        let no = |why| Resolution::Unresolved(why);
        let only_tunnel = mapped(addr).is_some();
        let direct = connected && !only_tunnel && !matches!(self.params.tunnels, TunnelRule::Always(_));
        if direct || !self.params.tunnels.concerns(addr) {
            return if only_tunnel { Found { resolution: no(Unresolved::NoRoute), ..underlay } } else { underlay };
        }
        let mut links = underlay.links;
        let resolution = match self.tunnels.to.get(&addr) {
            None => no(Unresolved::NoTunnel),
            Some(&hop) => {
                links.push(hop.ifindex);
                let way = Resolution::Via { hops: [hop].into_iter().collect(), metric, connected: false };
                if self.is_up(hop.ifindex) { way } else { no(Unresolved::LinkDown) }
            }
        };
        Found { resolution, links, ..underlay }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{NexthopTable, NhId, Params};
    use super::*;
    use crate::kernel::{KernelEvent, KernelRoute, RouteKind};

    const ETH0: IfIndex = IfIndex(2);
    const TUNNEL: IfIndex = IfIndex(9);

    fn ip(s: &str) -> IpAddr {
        s.parse().unwrap()
    }

    fn nodes() -> Nodes {
        Nodes::new(["10.0.0.0/16", "2001:db8::/32"].map(|n| n.parse().unwrap()))
    }

    fn route(net: &str, gateway: Option<&str>) -> KernelRoute {
        let hop = Hop { gateway: gateway.map(ip), ifindex: ETH0, onlink: false, weight: Weight::ONE };
        let kind = RouteKind::Unicast([hop].into_iter().collect());
        KernelRoute { net: net.parse().unwrap(), table: 254, metric: 0, protocol: 2, kind, source: None }
    }

    /// eth0 with 10.0.1.1/24, a default route by 10.0.1.254, and a tunnel device.
    fn plugged(tunnels: TunnelRule) -> NexthopTable {
        let mut table = NexthopTable::new(Params { tunnels, ..Params::default() });
        for (ifindex, name) in [(ETH0, "eth0"), (TUNNEL, "catbird")] {
            table.on_kernel(&KernelEvent::Link { ifindex, name: name.into(), up: true });
        }
        table.on_kernel(&KernelEvent::Address { ifindex: ETH0, net: "10.0.1.1/24".parse().unwrap() });
        table.on_kernel(&KernelEvent::Route(route("10.0.1.0/24", None)));
        table.on_kernel(&KernelEvent::Route(route("0.0.0.0/0", Some("10.0.1.254"))));
        table
    }

    fn over(table: &NexthopTable, id: NhId) -> Option<(Option<IpAddr>, IfIndex)> {
        table.check_invariants();
        table.resolution(id).hops().and_then(|h| h.first()).map(|h| (h.gateway, h.ifindex))
    }

    #[test]
    fn only_nodes_off_our_links_go_through_the_tunnel() {
        let mut table = plugged(TunnelRule::Remote(nodes()));
        let [near, far, outside] = ["10.0.1.2", "10.0.2.2", "192.0.2.1"].map(|a| table.track(ip(a), None));
        let named = NamedNodes { nodes: [ip("10.0.1.2"), ip("10.0.2.2")].into(), links: [(Family::Ipv4Unicast, ETH0)].into() };
        assert_eq!(table.take_nodes(), Some(named));
        assert_eq!(table.take_nodes(), None);
        assert_eq!(*table.resolution(far), Resolution::Unresolved(Unresolved::NoTunnel), "nothing is sent before the tunnel stands");
        for node in ["10.0.1.2", "10.0.2.2"] {
            table.on_kernel(&KernelEvent::Tunnel { node: ip(node), gateway: ip(node), ifindex: TUNNEL });
        }
        assert_eq!(table.take_changed(), [far]);
        assert_eq!(over(&table, near), Some((Some(ip("10.0.1.2")), ETH0)));
        assert_eq!(over(&table, far), Some((Some(ip("10.0.2.2")), TUNNEL)));
        assert_eq!(over(&table, outside), Some((Some(ip("10.0.1.254")), ETH0)), "a ToR is no node");
        table.set_tunnels(TunnelRule::Always(nodes()));
        assert_eq!(table.take_changed(), [near]);
        assert_eq!(over(&table, near), Some((Some(ip("10.0.1.2")), TUNNEL)));
        table.set_tunnels(TunnelRule::Never);
        assert_eq!(over(&table, far), Some((Some(ip("10.0.1.254")), ETH0)));
        assert_eq!(table.take_nodes(), Some(NamedNodes::default()));
    }

    #[test]
    fn a_second_uplink_is_told_when_it_leads_to_a_node() {
        let mut table = plugged(TunnelRule::Remote(nodes()));
        let far = ip("10.0.2.2");
        table.track(far, None);
        table.on_kernel(&KernelEvent::Tunnel { node: far, gateway: far, ifindex: TUNNEL });
        let links = |table: &mut NexthopTable| table.take_nodes().map(|named| named.links.into_iter().map(|(_, i)| i).collect::<Vec<_>>());
        assert_eq!(links(&mut table), Some(vec![ETH0]), "and not the tunnel");
        let second = IfIndex(3);
        table.on_kernel(&KernelEvent::Link { ifindex: second, name: "eth1".into(), up: true });
        table.on_kernel(&KernelEvent::Address { ifindex: second, net: "10.9.1.1/24".parse().unwrap() });
        assert_eq!(links(&mut table), None, "nothing leads over it yet");
        let hop = |gateway: &str, ifindex| Hop { gateway: Some(ip(gateway)), ifindex, onlink: false, weight: Weight::ONE };
        let both = RouteKind::Unicast([hop("10.0.1.254", ETH0), hop("10.9.1.254", second)].into_iter().collect());
        table.on_kernel(&KernelEvent::Route(KernelRoute { kind: both, ..route("0.0.0.0/0", None) }));
        assert_eq!(links(&mut table), Some(vec![ETH0, second]));
        table.on_kernel(&KernelEvent::Route(route("0.0.0.0/0", Some("10.0.1.254"))));
        assert_eq!(links(&mut table), Some(vec![ETH0]));
    }

    #[test]
    fn a_route_that_would_carry_its_own_tunnel_is_known() {
        let mut table = plugged(TunnelRule::Remote(nodes()));
        let far = table.track(ip("10.0.2.2"), None);
        table.on_kernel(&KernelEvent::Tunnel { node: ip("10.0.2.2"), gateway: ip("10.0.2.2"), ifindex: TUNNEL });
        let hop = table.resolution(far).hops().unwrap()[0];
        let swallowed = |table: &NexthopTable| {
            ["10.244.2.0/26", "0.0.0.0/0", "10.0.0.0/16", "10.0.2.0/24", "10.0.2.2/32"]
                .map(|n| table.routes_own_underlay(&n.parse().unwrap(), &hop))
        };
        assert_eq!(swallowed(&table), [false, true, true, true, true], "only the default route leads to the node");
        table.take_changed();
        table.on_kernel(&KernelEvent::Route(route("10.0.2.0/24", Some("10.0.1.254"))));
        assert_eq!(swallowed(&table), [false, false, false, true, true]);
        assert_eq!(table.take_changed(), [far], "the way is the same, but what may go it is not");
        table.on_kernel(&KernelEvent::RouteGone(route("10.0.2.0/24", Some("10.0.1.254"))));
        assert_eq!((swallowed(&table)[2], table.take_changed()), (true, vec![far]));
        let direct = Hop { gateway: Some(ip("10.0.1.2")), ifindex: ETH0, onlink: false, weight: Weight::ONE };
        assert!(!table.routes_own_underlay(&"10.0.0.0/16".parse().unwrap(), &direct), "a link needs no way to itself");
    }

    #[test]
    fn a_change_of_our_own_subnet_moves_exactly_those_concerned() {
        let mut table = plugged(TunnelRule::Remote(nodes()));
        let [near, far] = ["10.0.1.2", "10.0.2.2"].map(|a| table.track(ip(a), None));
        for node in ["10.0.1.2", "10.0.2.2"] {
            table.on_kernel(&KernelEvent::Tunnel { node: ip(node), gateway: ip(node), ifindex: TUNNEL });
        }
        table.take_changed();
        table.on_kernel(&KernelEvent::Route(route("10.0.0.0/16", None)));
        assert_eq!(table.take_changed(), [far]);
        assert_eq!(over(&table, far), Some((Some(ip("10.0.2.2")), ETH0)));
        table.on_kernel(&KernelEvent::RouteGone(route("10.0.0.0/16", None)));
        assert_eq!(table.take_changed(), [far]);
        assert_eq!(over(&table, far), Some((Some(ip("10.0.2.2")), TUNNEL)));
        assert_eq!(over(&table, near), Some((Some(ip("10.0.1.2")), ETH0)));
        table.on_kernel(&KernelEvent::LinkGone { ifindex: TUNNEL });
        assert_eq!(table.take_changed(), [far]);
        assert_eq!(*table.resolution(far), Resolution::Unresolved(Unresolved::LinkDown));
        let again = IfIndex(10);
        table.on_kernel(&KernelEvent::Tunnel { node: ip("10.0.2.2"), gateway: ip("10.0.2.2"), ifindex: again });
        table.on_kernel(&KernelEvent::Link { ifindex: again, name: "catbird".into(), up: true });
        assert_eq!(over(&table, far), Some((Some(ip("10.0.2.2")), again)));
    }

    #[test]
    fn an_ipv6_node_is_reached_by_the_link_local_address_of_its_device() {
        let mut table = plugged(TunnelRule::Remote(nodes()));
        table.on_kernel(&KernelEvent::Route(route("::/0", Some("fe80::1"))));
        let far = table.track(ip("2001:db8:1::2"), None);
        table.on_kernel(&KernelEvent::Tunnel { node: ip("2001:db8:1::2"), gateway: ip("fe80::2"), ifindex: TUNNEL });
        let hop = Hop { gateway: Some(ip("fe80::2")), ifindex: TUNNEL, onlink: false, weight: Weight::ONE };
        assert_eq!(table.resolution(far).hops().unwrap()[..], [hop]);
        assert!(table.is_tunnel(&hop) && table.routes_own_underlay(&"2001:db8:1::/48".parse().unwrap(), &hop));
        assert!(!table.routes_own_underlay(&"2001:db8:2::/48".parse().unwrap(), &hop));
        table.on_kernel(&KernelEvent::TunnelGone { node: ip("2001:db8:1::2") });
        assert!(!table.is_tunnel(&hop) && !table.resolution(far).is_usable());
        table.check_invariants();
    }

    /// RFC 4798 §2: an IPv4 address, mapped, is the next hop of IPv6 routes of a node that has no other.
    #[test]
    fn a_mapped_address_is_reached_through_a_tunnel_or_not_at_all() {
        let mut table = plugged(TunnelRule::Remote(nodes()));
        let [far, near, outside] = ["::ffff:10.0.2.2", "::ffff:10.0.1.2", "::ffff:192.0.2.1"].map(|a| table.track(ip(a), None));
        assert_eq!(table.take_nodes().unwrap().nodes, [ip("10.0.1.2"), ip("10.0.2.2")].into());
        for node in ["10.0.1.2", "10.0.2.2"] {
            table.on_kernel(&KernelEvent::Tunnel { node: ip(node), gateway: ip(node), ifindex: TUNNEL });
        }
        assert!([far, near].iter().all(|id| *table.resolution(*id) == Resolution::Unresolved(Unresolved::NoTunnel)));
        for (node, gateway) in [("::ffff:10.0.1.2", "fe80::12"), ("::ffff:10.0.2.2", "fe80::22")] {
            table.on_kernel(&KernelEvent::Tunnel { node: ip(node), gateway: ip(gateway), ifindex: TUNNEL });
        }
        assert_eq!(over(&table, far), Some((Some(ip("fe80::22")), TUNNEL)));
        assert_eq!(over(&table, near), Some((Some(ip("fe80::12")), TUNNEL)), "its link carries no IPv6");
        assert_eq!(*table.resolution(outside), Resolution::Unresolved(Unresolved::NoRoute));
        table.on_kernel(&KernelEvent::RouteGone(route("0.0.0.0/0", Some("10.0.1.254"))));
        assert_eq!((over(&table, far), over(&table, near).is_some()), (None, true), "routes of IPv4 lead to it");
        table.set_tunnels(TunnelRule::Never);
        assert_eq!(over(&table, near), None);
    }

    #[test]
    fn this_machine_and_link_local_addresses_are_no_remote_nodes() {
        let mut table = plugged(TunnelRule::Always(Nodes::new(["0.0.0.0/0", "::/0"].map(|n| n.parse().unwrap()))));
        for addr in ["10.0.1.1", "fe80::1", "0.0.0.0", "2001:db8::5"] {
            table.track(ip(addr), None);
        }
        let named = NamedNodes { nodes: [ip("2001:db8::5")].into(), ..NamedNodes::default() };
        assert_eq!(table.take_nodes(), Some(named));
        table.on_kernel(&KernelEvent::Address { ifindex: ETH0, net: "2001:db8::5/64".parse().unwrap() });
        assert_eq!(table.take_nodes(), Some(NamedNodes::default()));
    }

    #[test]
    fn nodes_are_found_among_many() {
        let many = Nodes::new((0..5000_u32).map(|i| IpNet::from(IpAddr::from(std::net::Ipv4Addr::from(0x0a00_0000 + 3 * i)))));
        assert!((0..5000_u32).all(|i| many.contain(IpAddr::from(std::net::Ipv4Addr::from(0x0a00_0000 + 3 * i)))));
        assert!((0..5000_u32).all(|i| !many.contain(IpAddr::from(std::net::Ipv4Addr::from(0x0a00_0001 + 3 * i)))));
        assert!(!many.contain(ip("::1")) && !many.contain(ip("9.0.0.0")) && !Nodes::default().contain(ip("10.0.0.1")));
    }
}
