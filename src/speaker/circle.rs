//! Next hops that lead to each other, named one by one: what no look-up can resolve.
//!
//! In: a next hop that cannot be reached. Out: the circle, if the routes that would carry it lead back to it or to one another. The look-up
//! itself ([`crate::rib::nexthop`]) does not see it: routes that cannot be used are not there for it, so that "no route covers it" is all
//! that it can say. RFC 4271 §9.1.2.1 forbids that routes rest on each other.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::num::Family;
use crate::rib::nexthop::{NexthopTable, Resolution, Unresolved};
use crate::rib::{DestId, Rib, Standing};

/// Next hops that are followed for one answer, at most.
const MOST: usize = 64;

/// Each next hop and the route that would carry it, in the order in which they were followed; the last leads to one of them again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Circle {
    hops: Vec<(IpAddr, IpNet)>,
    again: IpAddr,
}

impl Circle {
    /// The addresses, the last one for the second time.
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.hops.iter().map(|(addr, _)| *addr).chain([self.again]).collect()
    }
}

impl fmt::Display for Circle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("our routes to it lead in a circle: ")?;
        self.hops.iter().try_for_each(|(addr, net)| write!(f, "{addr} ({net}) -> "))?;
        write!(f, "{}", self.again)
    }
}

/// The circle that keeps a next hop from being reached, if one does.
pub(super) fn find(rib: &Rib, nexthops: &NexthopTable, addr: IpAddr, resolution: &Resolution) -> Option<Circle> {
    // Where a route of somebody else's holds the address, it is to blame.
    let uncovered = matches!(resolution, Resolution::Unresolved(Unresolved::NoRoute | Unresolved::OnlyDefault | Unresolved::Circle));
    uncovered.then(|| Walk { rib, nexthops, hops: Vec::new(), left: MOST }.follow(addr)).flatten()
}

struct Walk<'a> {
    rib: &'a Rib,
    nexthops: &'a NexthopTable,
    hops: Vec<(IpAddr, IpNet)>,
    left: usize,
}

impl Walk<'_> {
    fn follow(&mut self, addr: IpAddr) -> Option<Circle> {
        if self.hops.iter().any(|(seen, _)| *seen == addr) {
            return Some(Circle { hops: self.hops.clone(), again: addr });
        }
        self.left = self.left.checked_sub(1)?;
        let (net, leads_to) = self.would_carry(addr)?;
        self.hops.push((addr, net));
        let circle = leads_to.into_iter().find_map(|next| self.follow(next));
        self.hops.pop();
        circle
    }

    /// The longest prefix that holds the address, and where its routes lead; none if one of them can be used.
    fn would_carry(&self, addr: IpAddr) -> Option<(IpNet, Vec<IpAddr>)> {
        let longest = Family::of(&addr.into()).max_len();
        let dest = |len| self.rib.find(&IpNet::new(addr, len).ok()?.trunc());
        let (net, paths) = (0..=longest).rev().filter_map(dest).find_map(|dest: DestId| {
            let paths = self.rib.why(dest, self.nexthops);
            let known = paths.iter().any(|(_, standing)| *standing != Standing::Refused);
            known.then_some((self.rib.net(dest)?, paths))
        })?;
        let unusable = |standing: &Standing| matches!(standing, Standing::Unreachable | Standing::Refused);
        if !paths.iter().all(|(_, standing)| unusable(standing)) {
            return None;
        }
        let next_hop = |(view, standing): &(crate::rib::PathView<'_>, Standing)| {
            (*standing == Standing::Unreachable).then(|| view.attrs.map(|attrs| attrs.next_hop().addr())).flatten()
        };
        Some((net, paths.iter().filter_map(next_hop).collect()))
    }
}
