//! What the kernel does not say: IPv4 routes that vanish silently with their link or address, and which of several counts.
//!
//! In: everything that the monitor receives of others' routes, links and addresses. Out: what the rooms are to receive, the `RouteGone`s that the
//! kernel owes us among it. When an interface goes down or away, loses its last IPv4 address, or an address goes that routes prefer as
//! source, Linux drops the IPv4 routes concerned without a notification (`fib_sync_down_dev`, `fib_sync_down_addr`). IPv6 tells of each.
//! With a nexthop object (`ip nexthop`) its routes go as silently, and objects go with the carrier, too
//! (`nexthop_flush_dev`). So the monitor keeps others' routes by interface. Ours are kept by `fib::Fib`.
//!
//! Linux also keeps several routes of one prefix and metric: a subnet on two links is enough, two routers that advertise themselves, or
//! `ip route append`. The first of them carries packets, the next comes into its own when that goes. The rooms know one route for a key,
//! so they are told of the first. In IPv6 the ways of a multipath route come and go one by one, and are one route all the same.

use std::net::IpAddr;

use foldhash::fast::RandomState;
use ipnet::IpNet;
use smallvec::SmallVec;

use super::message::ObjectId;
use crate::kernel::{Hop, IfIndex, KernelEvent, KernelRoute, RouteKind, in_order};

/// (prefix, table, metric): the kernel's key.
type Key = (IpNet, u32, u32);
/// The table `main`.
const MAIN: u32 = 254;
type Routes = SmallVec<[Listed; 1]>;
type Map<K, V> = hashbrown::HashMap<K, V, RandomState>;
type Set<K> = hashbrown::HashSet<K, RandomState>;

/// Of routes that routers advertise (RTPROT_RA): they are never part of a multipath route.
const BY_ADVERTISEMENT: u8 = 9;

/// Where a route came to stand among those of its prefix and metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoutePosition {
    /// It was put before those there are.
    Before,
    /// In the place of the first.
    Instead,
    /// It was put behind those there are (NLM_F_APPEND).
    Behind,
    /// The next line of a dump, which tells those of one key one after the other and in their order.
    Listed,
}

/// What happens to a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flush {
    /// It loses its last IPv4 address: nexthop objects, which are of no address, stay.
    Bare,
    /// It loses its carrier, but stays up: its nexthop objects go, also out of groups, unsaid, and all other routes stay (as unusable).
    Idle,
    /// It is set down: so do its nexthop objects, and its routes.
    Down,
    /// It is removed: a multipath route goes with any of its links.
    Gone,
}

/// A route, and the nexthop object that it goes by. Two that show the same ways by two objects are two, and none by an object is ever a
/// way of an IPv6 multipath route.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Listed {
    route: KernelRoute,
    object: ObjectId,
}

/// A route went that we do not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unknown;

/// Routes of others, several of which can stand under one prefix and metric, reduced to the one that the kernel uses.
#[derive(Debug, Default)]
pub struct KernelRouteCache {
    /// In the kernel's order.
    routes: Map<Key, Routes>,
    /// What the last line of the dump was about.
    listed: Option<Key>,
    /// Which of several routes was replaced is not known.
    doubt: bool,
    by_link: Map<IfIndex, Set<Key>>,
    by_source: Map<IpAddr, Set<Key>>,
    /// IPv4 addresses by link.
    addrs: Map<IfIndex, Vec<IpNet>>,
    /// Administratively up.
    up: Set<IfIndex>,
}

impl KernelRouteCache {
    /// A dump begins.
    pub fn clear(&mut self) {
        *self = KernelRouteCache::default();
    }

    /// What the rooms are to hear of it: nothing if another of the same key stands before it.
    pub fn on_route(&mut self, route: &KernelRoute, object: ObjectId, position: RoutePosition) -> Option<KernelEvent> {
        let key = (route.net, route.table, route.metric);
        let listed = Listed { route: route.clone(), object };
        if position == RoutePosition::Listed && self.listed.replace(key) != Some(key) {
            // News that came before this line may have known them in another order.
            self.change(&key, Routes::clear);
        }
        self.doubt |= position == RoutePosition::Instead && self.routes.get(&key).is_some_and(|list| is_doubtful(list, &listed));
        let changed = self.change(&key, |list| match route.net {
            _ if position == RoutePosition::Instead && place_by_object(list, &listed) => {}
            IpNet::V4(_) => place_v4(list, &listed, position),
            IpNet::V6(_) => place_v6(list, &listed, position),
        });
        let is_first = self.routes.get(&key).is_some_and(|list| list.first() == Some(&listed));
        // One that is known is said again all the same: a dump is what shows that it stands.
        changed.or_else(|| is_first.then(|| KernelEvent::Route(route.clone())))
    }

    /// Something was said that may be meant in two ways: the kernel is to be asked.
    pub fn take_doubt(&mut self) -> bool {
        std::mem::take(&mut self.doubt)
    }

    /// What the rooms are to hear of it. `Err`: it is none of those that we know under this key, so the kernel is to be asked.
    pub fn on_route_gone(&mut self, route: &KernelRoute, object: ObjectId) -> Result<Option<KernelEvent>, Unknown> {
        let key = (route.net, route.table, route.metric);
        let Some(list) = self.routes.get(&key) else { return Ok(Some(KernelEvent::RouteGone(route.clone()))) };
        let gone = Listed { route: route.clone(), object };
        if list.contains(&gone) {
            return Ok(self.change(&key, |list| list.retain(|r| *r != gone)));
        }
        let at = list.iter().position(|r| is_v6_multipath(r) && object.is_none() && way_of(route, &r.route)).ok_or(Unknown)?;
        // What the route shows besides its ways is the first one's (protocol, source), and which that was nobody has said.
        self.doubt = true;
        Ok(self.change(&key, |list| {
            if let Some(Listed { route: KernelRoute { kind: RouteKind::Unicast(left), .. }, .. }) = list.get_mut(at) {
                left.retain(|h| !hops(route).iter().any(|gone| gone.way() == h.way()));
                in_order(left);
                if left.is_empty() {
                    list.remove(at);
                }
            }
        }))
    }

    /// Changes the routes of a key. What the rooms are to hear: that the first has gone, or which is the first now.
    fn change(&mut self, key: &Key, change: impl FnOnce(&mut Routes)) -> Option<KernelEvent> {
        let before = self.routes.remove(key).unwrap_or_default();
        let mut after = before.clone();
        change(&mut after);
        for hop in before.iter().flat_map(hops_of).filter(|h| !after.iter().flat_map(hops_of).any(|o| o.ifindex == h.ifindex)) {
            drop_from(&mut self.by_link, hop.ifindex, key);
        }
        for hop in after.iter().flat_map(hops_of) {
            self.by_link.entry(hop.ifindex).or_default().insert(*key);
        }
        for source in before.iter().filter_map(|r| r.route.source).filter(|s| !after.iter().any(|r| r.route.source == Some(*s))) {
            drop_from(&mut self.by_source, source, key);
        }
        for source in after.iter().filter_map(|r| r.route.source) {
            self.by_source.entry(source).or_default().insert(*key);
        }
        let event = match (before.first(), after.first()) {
            (Some(old), None) => Some(KernelEvent::RouteGone(old.route.clone())),
            (old, Some(new)) if old.map(|old| &old.route) != Some(&new.route) => Some(KernelEvent::Route(new.route.clone())),
            _ => None,
        };
        if !after.is_empty() {
            self.routes.insert(*key, after);
        }
        event
    }

    fn take(&mut self, key: &Key, goes: impl Fn(&Listed) -> bool) -> Option<KernelEvent> {
        self.change(key, |list| list.retain(|r| !goes(r)))
    }

    /// A link's state, set up and with a carrier; what it took along.
    pub fn on_link(&mut self, ifindex: IfIndex, admin: bool, running: bool, out: &mut Vec<KernelEvent>) {
        if admin {
            self.up.insert(ifindex);
            if !running {
                self.flush_link(ifindex, Flush::Idle, out);
            }
        } else if self.up.remove(&ifindex) {
            self.flush_link(ifindex, Flush::Down, out);
        }
    }

    /// Its routes are gone, and the kernel does not say so for each.
    pub fn on_link_gone(&mut self, ifindex: IfIndex, out: &mut Vec<KernelEvent>) {
        self.up.remove(&ifindex);
        self.addrs.remove(&ifindex);
        self.flush_link(ifindex, Flush::Gone, out);
    }

    /// An address of a link: routes with it as their source depend on it.
    pub fn on_address(&mut self, ifindex: IfIndex, net: IpNet) {
        let list = self.addrs.entry(ifindex).or_default();
        if matches!(net, IpNet::V4(_)) && !list.contains(&net) {
            list.push(net);
        }
    }

    /// Routes that depended on it are gone without a word of the kernel.
    pub fn on_address_gone(&mut self, ifindex: IfIndex, net: IpNet, out: &mut Vec<KernelEvent>) {
        if !matches!(net, IpNet::V4(_)) {
            // IPv6 routes stay and lose it as their source, unsaid, unless another link has it (`fib6_remove_prefsrc`): the kernel knows.
            self.doubt |= self.by_source.contains_key(&net.addr());
            return;
        }
        // While a subnet changes, the same address stands twice, with two lengths, and it may stand on another link: then it is still ours.
        let other = |link: &IfIndex, n: &IpNet| n.addr() == net.addr() && (*link, *n) != (ifindex, net);
        let stays = self.addrs.iter().any(|(link, list)| list.iter().any(|n| other(link, n)));
        if let Some(keys) = self.by_source.get(&net.addr()).filter(|_| !stays) {
            // The kernel looks at the main table only, and for a link in a VRF at the table of that (`fib_sync_down_addr`).
            let keys: Vec<Key> = keys.iter().copied().collect();
            let lost = |r: &Listed| r.route.source == Some(net.addr());
            self.doubt |=
                keys.iter().any(|key| self.routes.get(key).is_some_and(|all| all.iter().any(|r| lost(r) && r.route.table != MAIN)));
            out.extend(keys.iter().filter_map(|key| self.take(key, |r| lost(r) && r.route.table == MAIN)));
        }
        let Some(list) = self.addrs.get_mut(&ifindex) else { return };
        list.retain(|n| *n != net);
        if list.is_empty() {
            self.addrs.remove(&ifindex);
            // Without an address the whole of IPv4 ends on this link, up or not.
            let up = self.up.remove(&ifindex);
            self.flush_link(ifindex, Flush::Bare, out);
            if up {
                self.up.insert(ifindex);
            }
        }
    }

    /// The routes all of whose ways lead over links that are down, and what else goes with the link.
    fn flush_link(&mut self, ifindex: IfIndex, flush: Flush, out: &mut Vec<KernelEvent>) {
        let Some(keys) = self.by_link.get(&ifindex) else { return };
        let keys: Vec<Key> = keys.iter().copied().collect();
        let up = std::mem::take(&mut self.up);
        let in_group = |r: &Listed| r.object.is_some() && hops_of(r).len() > 1 && hops_of(r).iter().any(|h| h.ifindex == ifindex);
        self.doubt |= flush != Flush::Bare && keys.iter().any(|key| self.routes.get(key).is_some_and(|list| list.iter().any(in_group)));
        let all_down = |r: &Listed| !hops_of(r).is_empty() && hops_of(r).iter().all(|h| !up.contains(&h.ifindex));
        let dead = |r: &Listed| match (r.object, flush) {
            (None, Flush::Gone) => hops_of(r).iter().any(|h| h.ifindex == ifindex),
            (Some(_), Flush::Bare) | (None, Flush::Idle) => false,
            (Some(_), Flush::Idle) => !hops_of(r).is_empty() && hops_of(r).iter().all(|h| h.ifindex == ifindex),
            _ => all_down(r),
        };
        out.extend(keys.iter().filter(|(net, ..)| matches!(net, IpNet::V4(_))).filter_map(|key| self.take(key, dead)));
        self.up = up;
    }
}

/// Who changes a nexthop object has the kernel say of each route by it that it was replaced (`fib_info_notify_update`): by itself, where it stands.
/// A true replacement by a route that is in the list already is refused.
fn place_by_object(list: &mut Routes, route: &Listed) -> bool {
    let is_it =
        |r: &&mut Listed| r.object == route.object && r.route.protocol == route.route.protocol && r.route.source == route.route.source;
    match list.iter_mut().find(is_it).filter(|r| r.object.is_some()) {
        Some(old) => *old = route.clone(),
        None => return false,
    }
    true
}

/// IPv4: what is replaced is the first, whatever it is.
fn place_v4(list: &mut Routes, route: &Listed, position: RoutePosition) {
    let known = list.contains(route);
    match position {
        _ if list.first() == Some(route) => {}
        RoutePosition::Behind | RoutePosition::Listed if known => {}
        RoutePosition::Behind | RoutePosition::Listed => list.push(route.clone()),
        RoutePosition::Before | RoutePosition::Instead => {
            if position == RoutePosition::Instead && !list.is_empty() {
                list.remove(0);
            }
            list.retain(|r| r != route);
            list.insert(0, route.clone());
        }
    }
}

/// IPv6: what is new stands behind; another way of a multipath route is told with those that it has joined, which keeps its protocol and
/// source; what is replaced is the first that could be multipath as this could, or else the first (`fib6_add_rt2node`).
fn place_v6(list: &mut Routes, route: &Listed, position: RoutePosition) {
    if list.contains(route) {
        return;
    }
    let alike = |r: &Listed| is_v6_multipath(r) == is_v6_multipath(route);
    let at = match position {
        RoutePosition::Instead => list.iter().position(alike).or((!list.is_empty()).then_some(0)),
        RoutePosition::Listed => None,
        RoutePosition::Before | RoutePosition::Behind => {
            list.iter().position(|r| is_v6_multipath(route) && may_be_multipath(r) && way_of(&r.route, &route.route))
        }
    };
    match at.and_then(|at| list.get_mut(at)) {
        Some(old) if position != RoutePosition::Instead => old.route.kind = route.route.kind.clone(),
        Some(old) => *old = route.clone(),
        None => list.push(route.clone()),
    }
}

/// May it have several ways (`rt6_qualify_for_ecmp`)? Of what bears the protocol of router advertisements, those that the kernel itself has
/// learned may not, those that a program has written may, and nothing shows which is which until there are several ways.
fn is_v6_multipath(Listed { route, object }: &Listed) -> bool {
    let alone = route.protocol == BY_ADVERTISEMENT && hops(route).len() < 2;
    let gateways = object.is_none() && !alone && !hops(route).is_empty() && hops(route).iter().all(|h| h.gateway.is_some());
    gateways && matches!(route.net, IpNet::V6(_))
}

fn may_be_multipath(Listed { route, object }: &Listed) -> bool {
    object.is_none() && !hops(route).is_empty() && hops(route).iter().all(|h| h.gateway.is_some())
}

/// Of several routes of one key, is it unclear which one this one has replaced?
fn is_doubtful(list: &[Listed], new: &Listed) -> bool {
    let unclear = |r: &Listed| matches!(r.route.net, IpNet::V6(_)) && may_be_multipath(r) != is_v6_multipath(r);
    list.len() > 1 && (unclear(new) || list.iter().any(unclear))
}

/// Are the ways of one all ways of the other? Of a single one the kernel does not tell the weight that it had beside others.
fn way_of(one: &KernelRoute, other: &KernelRoute) -> bool {
    !hops(one).is_empty() && hops(one).iter().all(|h| hops(other).iter().any(|o| o.way() == h.way()))
}

fn hops_of(listed: &Listed) -> &[Hop] {
    hops(&listed.route)
}

fn hops(route: &KernelRoute) -> &[Hop] {
    if let RouteKind::Unicast(hops) = &route.kind { hops } else { &[] }
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
    use crate::kernel::Weight;

    fn route(net: &str, ifindexes: &[u32]) -> KernelRoute {
        let hop = |i: &u32| Hop { gateway: None, ifindex: IfIndex(*i), onlink: false, weight: Weight::ONE };
        let kind = RouteKind::Unicast(ifindexes.iter().map(hop).collect());
        KernelRoute { net: net.parse().unwrap(), table: 254, metric: 0, protocol: 3, kind, source: None }
    }

    fn told(route_cache: &mut KernelRouteCache, route: &KernelRoute, position: RoutePosition) -> bool {
        match route_cache.on_route(route, None, position) {
            None => false,
            Some(event) => event == KernelEvent::Route(route.clone()),
        }
    }

    #[test]
    fn a_link_takes_along_what_has_no_other_way() {
        let mut route_cache = KernelRouteCache::default();
        let mut gone = Vec::new();
        route_cache.on_link(IfIndex(2), true, true, &mut gone);
        route_cache.on_link(IfIndex(3), true, true, &mut gone);
        let (one, both) = (route("10.1.0.0/16", &[2]), route("10.2.0.0/16", &[2, 3]));
        assert!(told(&mut route_cache, &one, RoutePosition::Behind) && told(&mut route_cache, &both, RoutePosition::Behind));
        route_cache.on_link(IfIndex(2), false, false, &mut gone);
        assert_eq!(gone, [KernelEvent::RouteGone(one)]);
        let other = route("10.3.0.0/16", &[3, 4]);
        route_cache.on_link(IfIndex(4), true, true, &mut gone);
        assert!(told(&mut route_cache, &other, RoutePosition::Behind));
        route_cache.on_link_gone(IfIndex(3), &mut gone);
        assert!(
            [both, other].iter().all(|r| gone.contains(&KernelEvent::RouteGone(r.clone()))),
            "a link that is removed takes all of it along"
        );
        assert!(route_cache.routes.is_empty() && route_cache.by_link.is_empty());
    }

    #[test]
    fn the_last_address_and_a_preferred_source_take_routes_along() {
        let mut route_cache = KernelRouteCache::default();
        let mut gone = Vec::new();
        let (a, b): (IpNet, IpNet) = ("192.0.2.1/24".parse().unwrap(), "198.51.100.1/24".parse().unwrap());
        route_cache.on_link(IfIndex(2), true, true, &mut gone);
        route_cache.on_address(IfIndex(2), a);
        route_cache.on_address(IfIndex(2), b);
        let (plain, sourced) = (route("10.1.0.0/16", &[2]), KernelRoute { source: Some(b.addr()), ..route("10.2.0.0/16", &[2]) });
        assert!(told(&mut route_cache, &plain, RoutePosition::Behind) && told(&mut route_cache, &sourced, RoutePosition::Behind));
        route_cache.on_address_gone(IfIndex(2), b, &mut gone);
        assert_eq!(gone, [KernelEvent::RouteGone(sourced)]);
        // Another length of the same address, and then the former goes: nothing goes with it.
        route_cache.on_address(IfIndex(2), "192.0.2.1/16".parse().unwrap());
        told(&mut route_cache, &KernelRoute { source: Some(a.addr()), ..route("10.3.0.0/16", &[2]) }, RoutePosition::Before);
        route_cache.on_address_gone(IfIndex(2), a, &mut gone);
        assert_eq!(gone.len(), 1);
        route_cache.on_address_gone(IfIndex(2), "192.0.2.1/16".parse().unwrap(), &mut gone);
        gone.retain(|e| !matches!(e, KernelEvent::RouteGone(r) if r.source.is_some()));
        assert_eq!(gone.last(), Some(&KernelEvent::RouteGone(plain)));
    }

    /// `ip nexthop replace id 3 blackhole` under a route that stands behind another one.
    #[test]
    fn a_route_whose_nexthop_object_changes_stays_where_it_stands() {
        let mut route_cache = KernelRouteCache::default();
        let mut out = Vec::new();
        route_cache.on_link(IfIndex(2), true, true, &mut out);
        for net in ["10.60.0.1/32", "fd60::1/128"] {
            let first = KernelRoute { kind: RouteKind::Unreachable, ..route(net, &[]) };
            let behind = route(net, &[2]);
            let changed = KernelRoute { kind: RouteKind::Blackhole, ..behind.clone() };
            assert!(told(&mut route_cache, &first, RoutePosition::Behind));
            assert!(route_cache.on_route(&behind, Some(3), RoutePosition::Behind).is_none());
            assert!(route_cache.on_route(&changed, Some(3), RoutePosition::Instead).is_none(), "the first is the first");
            assert_eq!(route_cache.on_route_gone(&first, None), Ok(Some(KernelEvent::Route(changed))));
        }
    }

    /// `ip route add 10.50.0.0/16 dev vc0 src 10.1.0.1 table 100`, and 10.1.0.1 goes with its bridge: the kernel keeps the route.
    #[test]
    fn a_preferred_source_that_goes_takes_no_route_of_another_table_along() {
        let mut route_cache = KernelRouteCache::default();
        let mut gone = Vec::new();
        let net: IpNet = "10.1.0.1/24".parse().unwrap();
        route_cache.on_link(IfIndex(2), true, true, &mut gone);
        route_cache.on_address(IfIndex(3), net);
        route_cache.on_address(IfIndex(3), "10.1.0.2/24".parse().unwrap());
        let elsewhere = KernelRoute { table: 100, source: Some(net.addr()), ..route("10.50.0.0/16", &[2]) };
        assert!(told(&mut route_cache, &elsewhere, RoutePosition::Behind));
        route_cache.on_address_gone(IfIndex(3), net, &mut gone);
        assert!(gone.is_empty(), "{gone:?}");
        assert!(route_cache.doubt, "in a VRF it would have gone: the kernel is asked");
    }

    #[test]
    fn of_several_routes_under_one_key_the_first_is_told_and_the_next_when_that_goes() {
        let mut route_cache = KernelRouteCache::default();
        let mut out = Vec::new();
        for link in [2, 3, 4] {
            route_cache.on_link(IfIndex(link), true, true, &mut out);
        }
        let [a, b, c, d] = [2, 3, 4, 5].map(|link| route("10.0.0.0/24", &[link]));
        assert!(told(&mut route_cache, &a, RoutePosition::Behind));
        assert!(!told(&mut route_cache, &b, RoutePosition::Behind), "a subnet on a second link");
        assert!(!told(&mut route_cache, &b, RoutePosition::Behind), "and again in a dump");
        assert_eq!(route_cache.on_route_gone(&b, None), Ok(None));
        assert_eq!(route_cache.on_route_gone(&b, None), Err(Unknown), "its address had taken it along before");
        assert!(
            told(&mut route_cache, &a, RoutePosition::Behind)
                && !told(&mut route_cache, &b, RoutePosition::Behind)
                && told(&mut route_cache, &c, RoutePosition::Before)
        );
        assert_eq!(route_cache.on_route_gone(&d, None), Err(Unknown));
        assert_eq!(route_cache.on_route_gone(&c, None), Ok(Some(KernelEvent::Route(a.clone()))));
        assert!(told(&mut route_cache, &c, RoutePosition::Instead), "of a");
        route_cache.on_link(IfIndex(4), false, false, &mut out);
        assert_eq!(out, [KernelEvent::Route(b.clone())], "the link of the first took it along");
        route_cache.on_link(IfIndex(3), false, false, &mut out);
        assert_eq!(out.last(), Some(&KernelEvent::RouteGone(b)));
        assert!(route_cache.routes.is_empty() && route_cache.by_link.is_empty());
    }

    #[test]
    fn a_dump_knows_the_order_better_than_news_that_came_before_its_line() {
        let mut route_cache = KernelRouteCache::default();
        let [a, b] = [2, 3].map(|link| route("10.0.0.0/24", &[link]));
        assert!(told(&mut route_cache, &b, RoutePosition::Behind), "behind a, which nobody has told yet");
        assert!(told(&mut route_cache, &a, RoutePosition::Listed) && !told(&mut route_cache, &b, RoutePosition::Listed));
        assert_eq!(route_cache.on_route_gone(&a, None), Ok(Some(KernelEvent::Route(b.clone()))));
        // Another dump of the same.
        assert!(
            told(&mut route_cache, &route("10.1.0.0/24", &[2]), RoutePosition::Listed) && told(&mut route_cache, &b, RoutePosition::Listed)
        );
        assert_eq!(route_cache.on_route_gone(&b, None), Ok(Some(KernelEvent::RouteGone(b))));
    }

    #[test]
    fn nexthop_objects_stay_without_an_address_and_groups_of_them_lose_a_link_unsaid() {
        let mut route_cache = KernelRouteCache::default();
        let mut gone = Vec::new();
        for link in [2, 3] {
            route_cache.on_link(IfIndex(link), true, true, &mut gone);
        }
        let addr: IpNet = "192.0.2.1/24".parse().unwrap();
        route_cache.on_address(IfIndex(2), addr);
        let (one, group) = (route("10.1.0.0/16", &[2]), route("10.2.0.0/16", &[2, 3]));
        route_cache.on_route(&one, Some(5), RoutePosition::Before);
        route_cache.on_route(&group, Some(6), RoutePosition::Before);
        route_cache.on_address_gone(IfIndex(2), addr, &mut gone);
        assert!(gone.is_empty() && !route_cache.take_doubt());
        route_cache.on_link(IfIndex(2), false, false, &mut gone);
        assert_eq!(gone, [KernelEvent::RouteGone(one)]);
        assert!(route_cache.take_doubt(), "the group has another way now");
    }

    #[test]
    fn nexthop_objects_go_with_the_carrier_and_other_routes_stay() {
        let mut route_cache = KernelRouteCache::default();
        let mut gone = Vec::new();
        route_cache.on_link(IfIndex(2), true, true, &mut gone);
        let (by_object, other) = (route("10.1.0.0/16", &[2]), route("10.2.0.0/16", &[2]));
        route_cache.on_route(&by_object, Some(5), RoutePosition::Before);
        route_cache.on_route(&other, None, RoutePosition::Before);
        route_cache.on_link(IfIndex(2), true, false, &mut gone);
        assert_eq!(gone, [KernelEvent::RouteGone(by_object)]);
        assert!(!route_cache.take_doubt());
    }

    #[test]
    fn an_ipv6_route_may_have_lost_its_source() {
        let mut route_cache = KernelRouteCache::default();
        let route = KernelRoute { source: Some("fd01::1".parse().unwrap()), ..route("fd50::/48", &[2]) };
        route_cache.on_route(&route, None, RoutePosition::Before);
        route_cache.on_address_gone(IfIndex(2), "fd01::2/64".parse().unwrap(), &mut Vec::new());
        assert!(!route_cache.take_doubt());
        route_cache.on_address_gone(IfIndex(2), "fd01::1/64".parse().unwrap(), &mut Vec::new());
        assert!(route_cache.take_doubt());
    }

    fn by(net: &str, gateways: &[&str], protocol: u8) -> KernelRoute {
        let hop = |g: &&str| Hop { gateway: Some(g.parse().unwrap()), ifindex: IfIndex(2), onlink: false, weight: Weight::ONE };
        let kind = RouteKind::Unicast(gateways.iter().map(hop).collect());
        KernelRoute { net: net.parse().unwrap(), table: 254, metric: 1024, protocol, kind, source: None }
    }

    #[test]
    fn an_ipv6_subnet_on_a_second_link_comes_and_goes_unheard() {
        let mut route_cache = KernelRouteCache::default();
        let [a, b] = [2, 3].map(|link| KernelRoute { metric: 256, protocol: 2, ..route("2001:db8::/64", &[link]) });
        assert!(told(&mut route_cache, &a, RoutePosition::Before));
        assert_eq!(route_cache.on_route(&b, None, RoutePosition::Before), None, "the kernel puts it behind");
        assert_eq!(route_cache.on_route_gone(&b, None), Ok(None));
        assert_eq!(route_cache.on_route(&b, None, RoutePosition::Before), None);
        assert_eq!(route_cache.on_route_gone(&a, None), Ok(Some(KernelEvent::Route(b.clone()))));
        assert_eq!(route_cache.on_route_gone(&b, None), Ok(Some(KernelEvent::RouteGone(b))));
        assert!(route_cache.routes.is_empty() && route_cache.by_link.is_empty());
    }

    #[test]
    fn of_two_advertised_routers_one_may_go() {
        let mut route_cache = KernelRouteCache::default();
        let [a, b] = ["fe80::1", "fe80::2"].map(|g| by("::/0", &[g], BY_ADVERTISEMENT));
        assert!(told(&mut route_cache, &a, RoutePosition::Before) && !told(&mut route_cache, &b, RoutePosition::Before));
        assert_eq!(route_cache.on_route_gone(&a, None), Ok(Some(KernelEvent::Route(b.clone()))));
        assert!(told(&mut route_cache, &b, RoutePosition::Before), "advertised again");
        assert_eq!(route_cache.on_route(&a, None, RoutePosition::Before), None);
    }

    #[test]
    fn the_ways_of_an_ipv6_multipath_route_come_and_go_one_by_one() {
        let mut route_cache = KernelRouteCache::default();
        let of = |gateways: &[&str]| by("2001:db8:5::/48", gateways, 4);
        let (one, both, all) = (of(&["fe80::1"]), of(&["fe80::1", "fe80::2"]), of(&["fe80::1", "fe80::2", "fe80::3"]));
        assert!(told(&mut route_cache, &one, RoutePosition::Before));
        assert!(told(&mut route_cache, &both, RoutePosition::Behind), "told with the way that it has joined");
        assert!(told(&mut route_cache, &all, RoutePosition::Behind) && !route_cache.take_doubt());
        assert_eq!(route_cache.on_route_gone(&of(&["fe80::3"]), None), Ok(Some(KernelEvent::Route(both.clone()))));
        assert_eq!(route_cache.on_route_gone(&of(&["fe80::2"]), None), Ok(Some(KernelEvent::Route(one))));
        assert!(route_cache.take_doubt(), "nothing says whose protocol it shows now");
        assert_eq!(route_cache.on_route_gone(&of(&["fe80::9"]), None), Err(Unknown));
        let other = KernelRoute { protocol: 12, ..of(&["fe80::1", "fe80::2"]) };
        let joined = route_cache.on_route(&other, None, RoutePosition::Behind);
        assert_eq!(joined, Some(KernelEvent::Route(both.clone())), "what it joins keeps its protocol");
        assert_eq!(route_cache.on_route(&both, None, RoutePosition::Instead), Some(KernelEvent::Route(both.clone())));
        assert_eq!(route_cache.on_route_gone(&both, None), Ok(Some(KernelEvent::RouteGone(both))));
        assert!(route_cache.routes.is_empty() && route_cache.by_link.is_empty());
    }

    #[test]
    fn routes_by_nexthop_objects_are_ways_of_no_other_and_are_told_apart_by_them() {
        let mut route_cache = KernelRouteCache::default();
        let net = "2001:db8:7::/48";
        let (a, b) = (by(net, &["fe80::1"], 4), by(net, &["fe80::2"], 4));
        assert_eq!(route_cache.on_route(&a, Some(1), RoutePosition::Before), Some(KernelEvent::Route(a.clone())));
        assert_eq!(route_cache.on_route(&b, None, RoutePosition::Behind), None);
        let other = by(net, &["fe80::3"], 4);
        assert_eq!(route_cache.on_route(&other, None, RoutePosition::Instead), None, "of b, which is as it is");
        assert!(!route_cache.take_doubt());
        assert_eq!(route_cache.on_route_gone(&a, Some(2)), Err(Unknown), "the same way by another object is another route");
        assert_eq!(route_cache.on_route_gone(&a, Some(1)), Ok(Some(KernelEvent::Route(other))));
        let blackhole = KernelRoute { kind: RouteKind::Blackhole, ..by(net, &[], BY_ADVERTISEMENT) };
        let said = KernelRoute { metric: 7, ..by(net, &["fe80::4"], BY_ADVERTISEMENT) };
        route_cache.on_route(&KernelRoute { metric: 7, ..blackhole }, None, RoutePosition::Before);
        route_cache.on_route(&said, None, RoutePosition::Behind);
        route_cache.on_route(&KernelRoute { metric: 7, ..b }, None, RoutePosition::Instead);
        assert!(route_cache.take_doubt(), "of the blackhole, or of what may be a router's");
    }

    #[test]
    fn an_ipv6_route_takes_the_place_of_one_of_its_kind() {
        let mut route_cache = KernelRouteCache::default();
        let link = |i| KernelRoute { metric: 1024, ..route("2001:db8:6::/48", &[i]) };
        let (direct, via) = (link(2), by("2001:db8:6::/48", &["fe80::1"], 4));
        assert!(told(&mut route_cache, &direct, RoutePosition::Before) && !told(&mut route_cache, &via, RoutePosition::Before));
        let other = by("2001:db8:6::/48", &["fe80::2"], 4);
        assert_eq!(route_cache.on_route(&other, None, RoutePosition::Instead), None, "of the one with a gateway, which is not the first");
        assert_eq!(route_cache.on_route_gone(&direct, None), Ok(Some(KernelEvent::Route(other))));
    }
}
