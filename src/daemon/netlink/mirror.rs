//! What the kernel does not say: IPv4 routes that vanish silently with their link or address, and which of several counts.
//!
//! In: everything that the monitor hears. Out: the `RouteGone`s that the kernel owes us. When an interface goes down or away, loses its
//! last IPv4 address, or an address goes that routes prefer as source, Linux drops the IPv4 routes concerned without a notification
//! (`fib_sync_down_dev`, `fib_sync_down_addr`). So the monitor keeps others' IPv4 routes by interface. Ours are kept by `fib::Fib`.
//!
//! Linux also keeps several IPv4 routes of one prefix and metric: a subnet on two links is enough, or `ip route append`. The first of them
//! carries packets, the next comes into its own when that goes. The rooms know one route for a key, so they are told of the first.

use std::net::IpAddr;

use foldhash::fast::RandomState;
use ipnet::IpNet;
use smallvec::SmallVec;

use crate::kernel::{Hop, IfIndex, KernelEvent, KernelRoute, RouteKind};

/// (prefix, table, metric): the kernel's key.
type Key = (IpNet, u32, u32);
type Routes = SmallVec<[KernelRoute; 1]>;
type Map<K, V> = hashbrown::HashMap<K, V, RandomState>;
type Set<K> = hashbrown::HashSet<K, RandomState>;

/// Where a route came to stand among those of its prefix and metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placed {
    Before,
    /// In the place of the first.
    Instead,
    Behind,
    /// The next line of a dump, which tells those of one key one after the other and in their order.
    Listed,
}

/// A route went that we do not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unknown;

#[derive(Debug, Default)]
pub struct Mirror {
    /// In the kernel's order.
    routes: Map<Key, Routes>,
    /// What the last line of the dump was about.
    listed: Option<Key>,
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

    /// Whether the rooms are to hear of it: not if another of the same key stands before it.
    pub fn on_route(&mut self, route: &KernelRoute, placed: Placed) -> bool {
        if !matches!(route.net, IpNet::V4(_)) {
            return true;
        }
        let key = (route.net, route.table, route.metric);
        if placed == Placed::Listed && self.listed.replace(key) != Some(key) {
            // News that came before this line may have known them in another order.
            self.take(&key, |_| true);
        }
        if self.routes.get(&key).is_some_and(|list| list.first() == Some(route)) {
            return true;
        }
        if placed == Placed::Instead
            && let Some(first) = self.routes.get(&key).and_then(|list| list.first().cloned())
        {
            self.take(&key, |r| *r == first);
        }
        let list = self.routes.entry(key).or_default();
        match placed {
            Placed::Behind | Placed::Listed if list.contains(route) => return false,
            Placed::Behind | Placed::Listed => list.push(route.clone()),
            Placed::Before | Placed::Instead => {
                list.retain(|r| r != route);
                list.insert(0, route.clone());
            }
        }
        let is_first = list.first() == Some(route);
        for hop in hops(route) {
            self.by_link.entry(hop.ifindex).or_default().insert(key);
        }
        if let Some(source) = route.source {
            self.by_source.entry(source).or_default().insert(key);
        }
        is_first
    }

    /// What the rooms are to hear of it. `Err`: it is none of those that we know under this key, so the kernel is to be asked.
    pub fn on_route_gone(&mut self, route: &KernelRoute) -> Result<Option<KernelEvent>, Unknown> {
        let key = (route.net, route.table, route.metric);
        match self.routes.get(&key) {
            None => Ok(Some(KernelEvent::RouteGone(route.clone()))),
            Some(list) if !list.contains(route) => Err(Unknown),
            Some(_) => Ok(self.take(&key, |r| r == route)),
        }
    }

    /// Takes routes of a key away. What the rooms are to hear: that the first has gone, or which comes into its own.
    fn take(&mut self, key: &Key, goes: impl Fn(&KernelRoute) -> bool) -> Option<KernelEvent> {
        let list = self.routes.get_mut(key)?;
        let first = list.first().cloned()?;
        let (gone, left): (Routes, Routes) = std::mem::take(list).into_iter().partition(|r| goes(r));
        let event = match left.first() {
            None => Some(KernelEvent::RouteGone(first)),
            Some(next) if *next != first => Some(KernelEvent::Route(next.clone())),
            Some(_) => None,
        };
        for old in &gone {
            for hop in hops(old).filter(|h| !left.iter().any(|r| hops(r).any(|o| o.ifindex == h.ifindex))) {
                drop_from(&mut self.by_link, hop.ifindex, key);
            }
            if let Some(source) = old.source.filter(|s| !left.iter().any(|r| r.source == Some(*s))) {
                drop_from(&mut self.by_source, source, key);
            }
        }
        if left.is_empty() {
            self.routes.remove(key);
        } else {
            self.routes.insert(*key, left);
        }
        event
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
            out.extend(keys.iter().filter_map(|key| self.take(key, |r| r.source == Some(net.addr()))));
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
        let keys: Vec<Key> = keys.iter().copied().collect();
        let up = std::mem::take(&mut self.up);
        let dead = |r: &KernelRoute| hops(r).next().is_some() && hops(r).all(|h| !up.contains(&h.ifindex));
        out.extend(keys.iter().filter_map(|key| self.take(key, dead)));
        self.up = up;
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
        assert!(mirror.on_route(&one, Placed::Behind) && mirror.on_route(&both, Placed::Behind));
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
        assert!(mirror.on_route(&plain, Placed::Behind) && mirror.on_route(&sourced, Placed::Behind));
        mirror.on_address_gone(IfIndex(2), b, &mut gone);
        assert_eq!(gone, [KernelEvent::RouteGone(sourced)]);
        // Another length of the same address, and then the former goes: nothing goes with it.
        mirror.on_address(IfIndex(2), "192.0.2.1/16".parse().unwrap());
        mirror.on_route(&KernelRoute { source: Some(a.addr()), ..route("10.3.0.0/16", &[2]) }, Placed::Before);
        mirror.on_address_gone(IfIndex(2), a, &mut gone);
        assert_eq!(gone.len(), 1);
        mirror.on_address_gone(IfIndex(2), "192.0.2.1/16".parse().unwrap(), &mut gone);
        gone.retain(|e| !matches!(e, KernelEvent::RouteGone(r) if r.source.is_some()));
        assert_eq!(gone.last(), Some(&KernelEvent::RouteGone(plain)));
    }

    #[test]
    fn of_several_routes_under_one_key_the_first_is_told_and_the_next_when_that_goes() {
        let mut mirror = Mirror::default();
        let mut out = Vec::new();
        for link in [2, 3, 4] {
            mirror.on_link(IfIndex(link), true, &mut out);
        }
        let [a, b, c, d] = [2, 3, 4, 5].map(|link| route("10.0.0.0/24", &[link]));
        assert!(mirror.on_route(&a, Placed::Behind));
        assert!(!mirror.on_route(&b, Placed::Behind), "a subnet on a second link");
        assert!(!mirror.on_route(&b, Placed::Behind), "and again in a dump");
        assert_eq!(mirror.on_route_gone(&b), Ok(None));
        assert_eq!(mirror.on_route_gone(&b), Err(Unknown), "its address had taken it along before");
        assert!(mirror.on_route(&a, Placed::Behind) && !mirror.on_route(&b, Placed::Behind) && mirror.on_route(&c, Placed::Before));
        assert_eq!(mirror.on_route_gone(&d), Err(Unknown));
        assert_eq!(mirror.on_route_gone(&c), Ok(Some(KernelEvent::Route(a.clone()))));
        assert!(mirror.on_route(&c, Placed::Instead), "of a");
        mirror.on_link(IfIndex(4), false, &mut out);
        assert_eq!(out, [KernelEvent::Route(b.clone())], "the link of the first took it along");
        mirror.on_link(IfIndex(3), false, &mut out);
        assert_eq!(out.last(), Some(&KernelEvent::RouteGone(b)));
        assert!(mirror.routes.is_empty() && mirror.by_link.is_empty());
    }

    #[test]
    fn a_dump_knows_the_order_better_than_news_that_came_before_its_line() {
        let mut mirror = Mirror::default();
        let [a, b] = [2, 3].map(|link| route("10.0.0.0/24", &[link]));
        assert!(mirror.on_route(&b, Placed::Behind), "behind a, which nobody has told yet");
        assert!(mirror.on_route(&a, Placed::Listed) && !mirror.on_route(&b, Placed::Listed));
        assert_eq!(mirror.on_route_gone(&a), Ok(Some(KernelEvent::Route(b.clone()))));
        // Another dump of the same.
        assert!(mirror.on_route(&route("10.1.0.0/24", &[2]), Placed::Listed) && mirror.on_route(&b, Placed::Listed));
        assert_eq!(mirror.on_route_gone(&b), Ok(Some(KernelEvent::RouteGone(b))));
    }
}
