//! A table to try things on: peers by number, prefixes by number, attribute sets by number, one next hop for all.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;

use ipnet::{IpNet, Ipv4Net};

use super::{Best, BestChange, Cause, NextHops, NhId, Rib, Route, Rules, SourceFacts, SourceKind};
use crate::kernel::IfIndex;
use crate::num::{Asn, Nlri, PathId, PeerId, RouterId};
use crate::wire::{NextHop, Origin, PathAttributes};

pub fn peer(n: u32) -> PeerId {
    PeerId(n)
}

pub fn net(n: u32) -> IpNet {
    IpNet::V4(Ipv4Net::new(Ipv4Addr::from(0x0a00_0000 + (n << 8)), 24).unwrap())
}

pub fn facts(n: u32) -> SourceFacts {
    let addr = IpAddr::V4(Ipv4Addr::from(0xc000_0200 + n));
    let router_id = RouterId::new(Ipv4Addr::from(n)).unwrap();
    let (id, kind, asn) = (peer(n), SourceKind::External, Asn(65000 + n));
    SourceFacts { id, kind, asn, router_id, addr, rr_client: false, local_addr: addr, interface: None }
}

/// A higher number has a longer AS_PATH, and loses.
pub fn set(n: u32) -> PathAttributes {
    let mut editor = PathAttributes::builder(Origin::Igp, NextHop::V4(Ipv4Addr::new(192, 0, 2, 1)));
    editor.prepend(Asn(64999), n as usize);
    editor.finish()
}

struct OneWay(bool);

impl NextHops for OneWay {
    fn track(&mut self, _: IpAddr, _: Option<IfIndex>) -> NhId {
        NhId(1)
    }
    fn untrack(&mut self, _: NhId) {}
    fn metric(&self, _: NhId) -> Option<u32> {
        self.0.then_some(0)
    }
}

pub struct Table {
    pub rib: Rib,
    /// The one next hop can be reached.
    pub up: bool,
}

impl Table {
    /// Peers 1 to `n`.
    pub fn with_peers(n: u32) -> Table {
        let mut table = Table { rib: Rib::new(Rules::default(), 1), up: true };
        (1..=n).for_each(|n| table.up(n));
        table
    }

    pub fn up(&mut self, n: u32) {
        self.rib.peer_up(facts(n));
    }

    pub fn announce(&mut self, n: u32, nets: Range<u32>, attrs: u32) {
        let route = Route::as_received(self.rib.intern_new(set(attrs)));
        self.rib.announce(peer(n), nets.map(|n| Nlri::new(net(n))), &route, &Cause::Announced);
    }

    pub fn withdraw(&mut self, n: u32, nets: Range<u32>) {
        self.rib.withdraw(peer(n), nets.map(|n| Nlri::new(net(n))));
    }

    /// One more path of one prefix.
    pub fn announce_path(&mut self, n: u32, prefix: u32, id: u32, attrs: u32) {
        let route = Route::as_received(self.rib.intern_new(set(attrs)));
        self.rib.announce(peer(n), [Nlri { net: net(prefix), path_id: PathId(id) }], &route, &Cause::Announced);
    }

    pub fn settle(&mut self, budget: usize) -> Vec<BestChange> {
        let mut out = Vec::new();
        self.rib.settle(budget, &mut OneWay(self.up), &mut out);
        out
    }

    pub fn settle_all(&mut self) -> Vec<BestChange> {
        let mut out = Vec::new();
        while self.rib.settle(1000, &mut OneWay(self.up), &mut out) {}
        out
    }

    pub fn best(&self, n: u32) -> Option<Best> {
        self.rib.find(&net(n)).and_then(|dest| self.rib.best(dest))
    }

    pub fn next_hop(&self) -> NhId {
        NhId(1)
    }
}
