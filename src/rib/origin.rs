//! The routes that this node originates: its blocks, addresses borrowed from others' blocks, services, networks of the operator.
//!
//! In: for each kind the whole list as it is meant to be. Out: changes to the table, for the differences only. Where the list comes from
//! (configuration, datastore) is others' affair; each own route's blackhole in the kernel is `fib`'s.
//!
//! RFC 4271 §5.1: ORIGIN is IGP, AS_PATH empty; the next hop is ours, which is filled in for each session on the way out, so here it is
//! the unspecified address.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::{Cause, Rib, Route, RouteChange};
use crate::num::{Family, Nlri, PeerId};
use crate::policy::LocalKind;
use crate::wire::{self, NextHop, PathAttributes};

/// What we originate, kind by kind.
#[derive(Debug, Default)]
pub struct Originated {
    nets: BTreeSet<(LocalKind, IpNet)>,
}

impl Originated {
    /// From now on exactly these are originated as `kind`. Tells how many came and went. The rib must know the source
    /// [`PeerId::LOCAL`].
    pub fn replace(&mut self, kind: LocalKind, nets: impl IntoIterator<Item = IpNet>, rib: &mut Rib) -> (usize, usize) {
        let wanted: BTreeSet<_> = nets.into_iter().map(|net| (kind, net.trunc())).collect();
        let gone: Vec<_> = self.of(kind).filter(|net| !wanted.contains(&(kind, *net))).collect();
        let new: Vec<_> = wanted.into_iter().filter(|entry| !self.nets.contains(entry)).collect();
        for net in &gone {
            self.nets.remove(&(kind, *net));
            rib.apply(RouteChange { peer: PeerId::LOCAL, nlri: nlri(kind, *net), route: None, cause: Cause::Withdrawn });
        }
        for (kind, net) in &new {
            self.nets.insert((*kind, *net));
            let attrs = rib.intern(&attributes(Family::of(net)));
            let route = Some(Route::as_received(attrs));
            rib.apply(RouteChange { peer: PeerId::LOCAL, nlri: nlri(*kind, *net), route, cause: Cause::Announced });
        }
        (new.len(), gone.len())
    }

    /// In order.
    pub fn of(&self, kind: LocalKind) -> impl Iterator<Item = IpNet> {
        self.nets.iter().filter(move |(k, _)| *k == kind).map(|(_, net)| *net)
    }

    /// Is exactly this prefix originated, as anything?
    pub fn contains(&self, net: &IpNet) -> bool {
        LocalKind::ALL.iter().any(|kind| self.nets.contains(&(*kind, *net)))
    }

    pub fn len(&self) -> usize {
        self.nets.len()
    }

    pub fn is_empty(&self) -> bool {
        self.nets.is_empty()
    }
}

fn nlri(kind: LocalKind, net: IpNet) -> Nlri {
    Nlri { net, path_id: kind.path_id() }
}

/// What a route of our own carries before a session adds its part.
pub fn attributes(family: Family) -> PathAttributes {
    let next_hop = match family {
        Family::Ipv4Unicast => NextHop::V4(Ipv4Addr::UNSPECIFIED),
        Family::Ipv6Unicast => NextHop::V6 { global: Ipv6Addr::UNSPECIFIED, link_local: None },
    };
    PathAttributes::builder(wire::Origin::Igp, next_hop).finish()
}
