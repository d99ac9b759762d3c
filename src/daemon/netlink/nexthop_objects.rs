//! Nexthop objects (`ip nexthop`), which other daemons' routes may name in place of a gateway.
//!
//! In: objects and their ends. Out: the ways behind a number. Only needed where the kernel is told to leave the ways out of its route
//! messages (`net.ipv4.nexthop_compat_mode=0`); and to know that routes changed with their object, which IPv4 does not say.

use hashbrown::{HashMap, HashSet};

use super::message::NexthopObject;
use crate::kernel::{Hop, Hops, RouteKind, in_order};

/// The nexthop objects of the kernel (`ip nexthop`), and which of them routes use.
#[derive(Debug, Default)]
pub struct NexthopObjects {
    nexthop_objects: HashMap<u32, NexthopObject, foldhash::fast::RandomState>,
    /// Named by a route since the last dump.
    used: HashSet<u32, foldhash::fast::RandomState>,
}

impl NexthopObjects {
    /// A dump begins: everything is reported again.
    pub fn clear(&mut self) {
        self.nexthop_objects.clear();
        self.used.clear();
    }

    /// A route that we follow goes by it: when it changes, that route has.
    pub fn mark_used(&mut self, id: u32) {
        self.used.insert(id);
    }

    /// True if routes may have changed with it.
    pub fn set(&mut self, id: u32, object: NexthopObject) -> bool {
        let changed = self.nexthop_objects.insert(id, object.clone()).is_some_and(|old| old != object);
        changed && self.concerns_routes(id)
    }

    /// True if routes may have gone with it.
    pub fn remove(&mut self, id: u32) -> bool {
        let concerned = self.concerns_routes(id);
        self.nexthop_objects.remove(&id);
        concerned
    }

    fn concerns_routes(&self, id: u32) -> bool {
        let inside = |g: &u32| matches!(self.nexthop_objects.get(g), Some(NexthopObject::Group(ids)) if ids.iter().any(|(i, _)| *i == id));
        self.used.contains(&id) || self.used.iter().any(inside)
    }

    /// The ways behind an object, as if the route had told them itself.
    pub fn kind(&self, id: u32) -> RouteKind {
        match self.nexthop_objects.get(&id) {
            Some(NexthopObject::Blackhole) => RouteKind::Blackhole,
            Some(NexthopObject::One(hop)) => RouteKind::Unicast([*hop].into_iter().collect()),
            Some(NexthopObject::Group(ids)) => {
                let mut hops: Hops = ids.iter().filter_map(|(i, weight)| Some(Hop { weight: *weight, ..self.one(*i)? })).collect();
                in_order(&mut hops);
                RouteKind::Unicast(hops)
            }
            None => RouteKind::Unicast(Hops::new()),
        }
    }

    fn one(&self, id: u32) -> Option<Hop> {
        match self.nexthop_objects.get(&id) {
            Some(NexthopObject::One(hop)) => Some(*hop),
            _ => None,
        }
    }
}
