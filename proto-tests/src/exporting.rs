//! Sessions and routes to try the export on, and a small world of peers around a table and its update groups.
//!
//! In: who the peers are and what they say. Out: what each of them hears, octets decoded as a peer would.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::{Bytes, BytesMut};
use catbird::kernel::IfIndex;
use catbird::num::{Asn, ClusterId, Family, FamilySet, Nlri, PeerId, RouterId};
use catbird::policy::{Chain, LocalKind, Source};
use catbird::rib::adj_out::{AddPathSend, GroupKey, MemberFacts, NextHopMode, NextHopRule, Reflect, RouteSource};
use catbird::rib::pack::Slices;
use catbird::rib::update_group::{Bounds, UpdateGroups};
use catbird::rib::{BestChange, Cause, NextHops, NhId, Rib, Route, RouteChange, Rules, SourceFacts, SourceKind};
use catbird::wire::{Context, Decoder, Editor, Message, NextHop, Origin, PathAttributes, frame_len};
use ipnet::IpNet;

/// Our own AS and identifier.
pub const LOCAL_AS: Asn = Asn(64512);
pub const LOCAL_ID: Ipv4Addr = Ipv4Addr::new(10, 255, 0, 1);
/// Our address on every session.
pub const LOCAL_ADDR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 254);

/// What a route of our own carries before a session adds its part: the next hop, ours, is filled in for each on the way out.
pub fn own_attributes(family: Family) -> PathAttributes {
    let next_hop = match family {
        Family::Ipv4Unicast => NextHop::V4(Ipv4Addr::UNSPECIFIED),
        Family::Ipv6Unicast => NextHop::V6 { global: Ipv6Addr::UNSPECIFIED, link_local: None },
    };
    PathAttributes::builder(Origin::Igp, next_hop).finish()
}

/// # Panics
/// If it is none.
pub fn net(s: &str) -> IpNet {
    s.parse().expect("a prefix")
}

/// The address of peer `n`.
pub fn addr(n: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 0, 0)) + n)
}

pub fn router_id(n: u32) -> RouterId {
    RouterId::new(addr(n)).expect("198.18.0.0 and up is not zero")
}

/// A session as it is by default, to be changed by struct update.
pub fn key(kind: SourceKind) -> GroupKey {
    let external = kind == SourceKind::External;
    GroupKey {
        external,
        local_as: LOCAL_AS,
        next_hop: NextHopRule {
            mode: NextHopMode::Auto,
            v4: Some(LOCAL_ADDR),
            v6: Some("2001:db8::254".parse().expect("an address")),
            link_local: None,
        },
        reflect: None,
        chain: Chain::all(),
        send: Context { four_octet_as: true, families: FamilySet::ALL, refresh_subtypes: true, external, ..Context::INITIAL },
        families: FamilySet::ALL,
        add_path: AddPathSend::Off,
        remove_private: None,
        as_override: None,
        role: None,
        long_lived: false,
        graceful_shutdown: false,
        withhold: false,
        local_pref: 100,
        peer: None,
    }
}

/// The same as a route reflector.
pub fn reflecting(client: bool) -> GroupKey {
    GroupKey { reflect: Some(Reflect { cluster: ClusterId(LOCAL_ID), client, between_clients: true }), ..key(SourceKind::Internal) }
}

/// A route of peer `n`, which says so in its next hop.
pub fn route(n: u32) -> Editor {
    PathAttributes::builder(Origin::Igp, NextHop::V4(addr(n)))
}

/// Where a route of peer `n` came from.
pub fn from(n: u32, source: Source) -> RouteSource {
    RouteSource { peer: PeerId(n), source, router_id: router_id(n), client: false }
}

/// Every next hop is reachable at no cost.
pub struct Reachable;

impl NextHops for Reachable {
    fn track(&mut self, _: IpAddr, _: Option<IfIndex>) -> NhId {
        NhId(0)
    }
    fn untrack(&mut self, _: NhId) {}
    fn metric(&self, _: NhId) -> Option<u32> {
        Some(0)
    }
}

/// What a peer makes of octets.
pub struct Hearer {
    decoder: Decoder,
    rest: BytesMut,
    pub table: BTreeMap<Nlri, PathAttributes>,
    pub ends: Vec<Family>,
    /// All messages, in order.
    pub messages: Vec<Message>,
}

impl Hearer {
    pub fn new(ctx: &Context) -> Hearer {
        let mut decoder = Decoder::new();
        decoder.set_context(ctx.clone());
        Hearer { decoder, rest: BytesMut::new(), table: BTreeMap::new(), ends: Vec::new(), messages: Vec::new() }
    }

    /// # Panics
    /// If these are not whole, good messages.
    pub fn hear(&mut self, slices: &[Bytes]) {
        slices.iter().for_each(|s| self.rest.extend_from_slice(s));
        let max_len = self.decoder.context().max_len;
        while let Some(len) = frame_len(&self.rest, max_len).expect("a good header") {
            assert!(self.rest.len() >= len, "whole messages only");
            let message = self.decoder.decode(self.rest.split_to(len).freeze()).expect("a good message");
            if let Message::Update(update) = &message {
                assert!(update.errors.is_none(), "{:?}", update.errors);
                update.withdrawn.iter().flat_map(|set| set.iter()).for_each(|nlri| drop(self.table.remove(&nlri)));
                for announced in &update.announced {
                    let attrs = announced.attrs.as_ref().expect("nothing is treated as withdrawn");
                    self.table.extend(announced.nlri.iter().map(|nlri| (nlri, attrs.clone())));
                }
                self.ends.extend(update.end_of_rib);
            }
            self.messages.push(message);
        }
        assert!(self.rest.is_empty(), "whole messages only");
    }

    pub fn has(&self, prefix: &str) -> Option<&PathAttributes> {
        self.table.get(&Nlri::new(net(prefix)))
    }
}

/// A table, its update groups, and peers that hear.
pub struct World {
    pub rib: Rib,
    pub groups: UpdateGroups,
    pub hearers: BTreeMap<PeerId, Hearer>,
    changes: Vec<BestChange>,
}

impl World {
    pub fn new(bounds: Bounds) -> World {
        let mut rib = Rib::new(Rules::default(), 1);
        rib.peer_up(SourceFacts::local(LOCAL_AS, RouterId::new(LOCAL_ID).expect("not zero")));
        World { rib, groups: UpdateGroups::new(bounds, 1), hearers: BTreeMap::new(), changes: Vec::new() }
    }

    /// Peer `n` is a source of routes from now on.
    pub fn source(&mut self, n: u32, kind: SourceKind, rr_client: bool) {
        let asn = if kind == SourceKind::External { Asn(65000 + n) } else { LOCAL_AS };
        let local_addr = IpAddr::V4(LOCAL_ADDR);
        let facts = SourceFacts {
            id: PeerId(n),
            kind,
            asn,
            router_id: router_id(n),
            addr: IpAddr::V4(addr(n)),
            rr_client,
            local_addr,
            interface: None,
        };
        self.rib.peer_up(facts);
    }

    /// Peer `n` hears from now on.
    pub fn join(&mut self, n: u32, key: GroupKey) {
        self.hearers.insert(PeerId(n), Hearer::new(&key.send));
        self.groups.join(MemberFacts { id: PeerId(n), router_id: router_id(n), addr: IpAddr::V4(addr(n)) }, key, &self.rib);
    }

    pub fn announce(&mut self, n: u32, prefix: IpNet, attrs: &PathAttributes) {
        let attrs = self.rib.intern_new(attrs.clone());
        let route = Some(Route::as_received(attrs));
        self.rib.apply(RouteChange { peer: PeerId(n), nlri: Nlri::new(prefix), route, cause: Cause::Announced });
    }

    /// One attribute set for many prefixes, as an UPDATE has it.
    pub fn announce_all(&mut self, n: u32, prefixes: impl Iterator<Item = IpNet>, attrs: &PathAttributes) {
        let route = Route::as_received(self.rib.intern_new(attrs.clone()));
        self.rib.announce(PeerId(n), prefixes.map(Nlri::new), &route, &Cause::Announced);
    }

    pub fn withdraw(&mut self, n: u32, prefix: IpNet) {
        self.rib.apply(RouteChange { peer: PeerId(n), nlri: Nlri::new(prefix), route: None, cause: Cause::Withdrawn });
    }

    /// We originate it, as a block.
    pub fn own(&mut self, prefix: IpNet) {
        let route = Some(Route::as_received(self.rib.intern(&own_attributes(Family::of(&prefix)))));
        let nlri = Nlri { net: prefix, path_id: LocalKind::Block.path_id() };
        self.rib.apply(RouteChange { peer: PeerId::LOCAL, nlri, route, cause: Cause::Announced });
    }

    /// The best paths are chosen; [`World::tell`] has yet to come.
    pub fn take_in(&mut self) -> bool {
        self.rib.settle(4096, &mut Reachable, &mut self.changes)
    }

    /// What was taken in is told to the groups.
    pub fn tell(&mut self) {
        self.groups.advertise(&self.rib, &self.changes);
        self.changes.clear();
    }

    /// All changes are taken in and told, and every group has come to its key.
    pub fn settle(&mut self) {
        loop {
            let more = self.take_in();
            self.tell();
            if !more && !self.groups.has_work() {
                return;
            }
        }
    }

    /// Peer `n` reads up to about so many octets. Tells how many it got.
    pub fn read(&mut self, n: u32, credit: usize) -> usize {
        let mut slices = Slices::new();
        let octets = self.groups.poll_member(&self.rib, PeerId(n), credit, &mut slices).octets;
        self.hearers.get_mut(&PeerId(n)).expect("it joined").hear(&slices);
        octets
    }

    /// Everybody hears everything.
    pub fn flush(&mut self) {
        self.settle();
        while let Some(PeerId(n)) = self.groups.take_ready() {
            while self.groups.has_more(PeerId(n)) {
                self.read(n, 1 << 16);
            }
        }
        // The check recounts everything; a crowd calls it when it likes.
        if self.hearers.len() < 50 {
            self.groups.check_invariants();
        }
    }

    /// What peer `n` has for a prefix.
    pub fn heard(&self, n: u32, prefix: &str) -> Option<&PathAttributes> {
        self.hearers.get(&PeerId(n)).and_then(|h| h.has(prefix))
    }
}
