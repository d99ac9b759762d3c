//! What the kernel does not say: IPv4 routes that vanish silently with their link or address.
//!
//! In: everything that the monitor hears. Out: the `RouteGone`s that the kernel owes us. When an interface goes down or away, loses its
//! last IPv4 address, or an address goes that routes prefer as source, Linux drops the IPv4 routes concerned without a notification
//! (`fib_sync_down_dev`, `fib_sync_down_addr`). So the monitor keeps others' IPv4 routes by interface. Ours are kept by `fib::Fib`.

use std::net::IpAddr;

use foldhash::fast::RandomState;
use ipnet::IpNet;

use crate::kernel::{Hop, IfIndex, KernelEvent, KernelRoute, RouteKind};

/// (prefix, table, metric): the kernel's key.
type Key = (IpNet, u32, u32);
type Map<K, V> = hashbrown::HashMap<K, V, RandomState>;
type Set<K> = hashbrown::HashSet<K, RandomState>;

#[derive(Debug, Default)]
pub struct Mirror {
    routes: Map<Key, KernelRoute>,
    by_link: Map<IfIndex, Set<Key>>,
    by_source: Map<IpAddr, Set<Key>>,
    /// IPv4 addresses by link.
    addrs: Map<IfIndex, Vec<IpNet>>,
    /// Administratively up.
    up: Set<IfIndex>,
}

impl Mirror {
    /// A dump begins.
    pub fn clear(&mut self) {
        *self = Mirror::default();
    }

    pub fn on_route(&mut self, route: &KernelRoute) {
        let RouteKind::Unicast(hops) = &route.kind else { return };
        if !matches!(route.net, IpNet::V4(_)) {
            return;
        }
        self.on_route_gone(route);
        let key = (route.net, route.table, route.metric);
        for hop in hops {
            self.by_link.entry(hop.ifindex).or_default().insert(key);
        }
        if let Some(source) = route.source {
            self.by_source.entry(source).or_default().insert(key);
        }
        self.routes.insert(key, route.clone());
    }

    pub fn on_route_gone(&mut self, route: &KernelRoute) {
        let key = (route.net, route.table, route.metric);
        let Some(old) = self.routes.remove(&key) else { return };
        for hop in hops(&old) {
            drop_from(&mut self.by_link, hop.ifindex, &key);
        }
        if let Some(source) = old.source {
            drop_from(&mut self.by_source, source, &key);
        }
    }

    /// A link's state; what it took along.
    pub fn on_link(&mut self, ifindex: IfIndex, admin: bool, out: &mut Vec<KernelEvent>) {
        if admin {
            self.up.insert(ifindex);
        } else if self.up.remove(&ifindex) {
            self.flush_link(ifindex, out);
        }
    }

    pub fn on_link_gone(&mut self, ifindex: IfIndex, out: &mut Vec<KernelEvent>) {
        self.up.remove(&ifindex);
        self.addrs.remove(&ifindex);
        self.flush_link(ifindex, out);
    }

    pub fn on_address(&mut self, ifindex: IfIndex, net: IpNet) {
        let list = self.addrs.entry(ifindex).or_default();
        if matches!(net, IpNet::V4(_)) && !list.contains(&net) {
            list.push(net);
        }
    }

    pub fn on_address_gone(&mut self, ifindex: IfIndex, net: IpNet, out: &mut Vec<KernelEvent>) {
        if !matches!(net, IpNet::V4(_)) {
            return;
        }
        // While a subnet changes, the same address stands twice, with two lengths: then it is still ours.
        let others = |list: &Vec<IpNet>| list.iter().any(|n| n.addr() == net.addr() && *n != net);
        if let Some(keys) = self.by_source.get(&net.addr()).filter(|_| !self.addrs.values().any(others)) {
            let keys: Vec<Key> = keys.iter().copied().collect();
            self.flush(&keys, out);
        }
        let Some(list) = self.addrs.get_mut(&ifindex) else { return };
        list.retain(|n| *n != net);
        if list.is_empty() {
            self.addrs.remove(&ifindex);
            // Without an address the whole of IPv4 ends on this link, up or not.
            let up = self.up.remove(&ifindex);
            self.flush_link(ifindex, out);
            if up {
                self.up.insert(ifindex);
            }
        }
    }

    /// The routes all of whose ways lead over links that are down.
    fn flush_link(&mut self, ifindex: IfIndex, out: &mut Vec<KernelEvent>) {
        let Some(keys) = self.by_link.get(&ifindex) else { return };
        let dead = |k: &&Key| self.routes.get(*k).is_some_and(|r| hops(r).all(|h| !self.up.contains(&h.ifindex)));
        let keys: Vec<Key> = keys.iter().filter(dead).copied().collect();
        self.flush(&keys, out);
    }

    fn flush(&mut self, keys: &[Key], out: &mut Vec<KernelEvent>) {
        for key in keys {
            if let Some(route) = self.routes.get(key).cloned() {
                self.on_route_gone(&route);
                out.push(KernelEvent::RouteGone(route));
            }
        }
    }
}

fn hops(route: &KernelRoute) -> impl Iterator<Item = &Hop> {
    let hops = if let RouteKind::Unicast(hops) = &route.kind { hops.as_slice() } else { &[] };
    hops.iter()
}

fn drop_from<K: std::hash::Hash + Eq>(map: &mut Map<K, Set<Key>>, at: K, key: &Key) {
    if let Some(set) = map.get_mut(&at) {
        set.remove(key);
        if set.is_empty() {
            map.remove(&at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(net: &str, ifindexes: &[u32]) -> KernelRoute {
        let hop = |i: &u32| Hop { gateway: None, ifindex: IfIndex(*i), onlink: false };
        let kind = RouteKind::Unicast(ifindexes.iter().map(hop).collect());
        KernelRoute { net: net.parse().unwrap(), table: 254, metric: 0, protocol: 3, kind, source: None }
    }

    #[test]
    fn a_link_takes_along_what_has_no_other_way() {
        let mut mirror = Mirror::default();
        let mut gone = Vec::new();
        mirror.on_link(IfIndex(2), true, &mut gone);
        mirror.on_link(IfIndex(3), true, &mut gone);
        let (one, both) = (route("10.1.0.0/16", &[2]), route("10.2.0.0/16", &[2, 3]));
        mirror.on_route(&one);
        mirror.on_route(&both);
        mirror.on_link(IfIndex(2), false, &mut gone);
        assert_eq!(gone, [KernelEvent::RouteGone(one)]);
        mirror.on_link_gone(IfIndex(3), &mut gone);
        assert_eq!(gone.last(), Some(&KernelEvent::RouteGone(both)));
        assert!(mirror.routes.is_empty() && mirror.by_link.is_empty());
    }

    #[test]
    fn the_last_address_and_a_preferred_source_take_routes_along() {
        let mut mirror = Mirror::default();
        let mut gone = Vec::new();
        let (a, b): (IpNet, IpNet) = ("192.0.2.1/24".parse().unwrap(), "198.51.100.1/24".parse().unwrap());
        mirror.on_link(IfIndex(2), true, &mut gone);
        mirror.on_address(IfIndex(2), a);
        mirror.on_address(IfIndex(2), b);
        let (plain, sourced) = (route("10.1.0.0/16", &[2]), KernelRoute { source: Some(b.addr()), ..route("10.2.0.0/16", &[2]) });
        mirror.on_route(&plain);
        mirror.on_route(&sourced);
        mirror.on_address_gone(IfIndex(2), b, &mut gone);
        assert_eq!(gone, [KernelEvent::RouteGone(sourced)]);
        // Another length of the same address, and then the former goes: nothing goes with it.
        mirror.on_address(IfIndex(2), "192.0.2.1/16".parse().unwrap());
        mirror.on_route(&KernelRoute { source: Some(a.addr()), ..route("10.3.0.0/16", &[2]) });
        mirror.on_address_gone(IfIndex(2), a, &mut gone);
        assert_eq!(gone.len(), 1);
        mirror.on_address_gone(IfIndex(2), "192.0.2.1/16".parse().unwrap(), &mut gone);
        gone.retain(|e| !matches!(e, KernelEvent::RouteGone(r) if r.source.is_some()));
        assert_eq!(gone.last(), Some(&KernelEvent::RouteGone(plain)));
    }
}
