//! The same octets, read by catbird and by bgpkit-parser, which knows nothing of catbird: both must see the same.
//!
//! Generated messages, one seed; and every UPDATE of the capture of FRR, BIRD and GoBGP in `corpus/mesh.pcap`.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

use bgpkit_parser::models::{
    AsPathSegment, AsnLength, AttributeValue, Attributes, BgpMessage, BgpUpdateMessage, MetaCommunity, NextHopAddress, Nlri as TheirNlri,
};
use bgpkit_parser::parser::bgp::messages::parse_bgp_message;
use bytes::{Bytes, BytesMut};
use catbird::num::{Asn, ClusterId, FamilySet, Nlri, RouterId};
use catbird::wire::*;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 32) as u32
    }

    fn below(&mut self, n: u32) -> u32 {
        self.next() % n
    }

    fn maybe(&mut self) -> Option<u32> {
        (self.below(2) == 0).then(|| self.next())
    }

    fn asn(&mut self, wide: bool) -> Asn {
        Asn(1 + if wide { self.next() >> 1 } else { self.below(60_000) })
    }

    fn set(&mut self, v6: bool, wide: bool) -> PathAttributes {
        let host = u128::from(self.next());
        let hop: IpAddr =
            if v6 { std::net::Ipv6Addr::from((0x2001_0db8 << 96) | host).into() } else { [10, 1, self.below(250) as u8, 1].into() };
        let origin = [Origin::Igp, Origin::Egp, Origin::Incomplete][self.below(3) as usize];
        let mut e = PathAttributes::builder(origin, hop.into());
        let sequence: Vec<Asn> = (0..self.below(300)).map(|_| self.asn(wide)).collect();
        let members: Vec<Asn> = (0..self.below(4)).map(|_| self.asn(wide)).collect();
        e.replace_as_path([(SegmentKind::Sequence, &sequence[..]), (SegmentKind::Set, &members[..])]);
        e.set_med(self.maybe()).set_local_pref(self.maybe()).set_atomic_aggregate(self.below(2) == 0);
        e.set_originator_id(self.maybe().and_then(|id| RouterId::new(id.into())));
        (0..self.below(4)).for_each(|_| drop(e.prepend_cluster(ClusterId(self.next().into())).finish()));
        (0..self.below(90)).for_each(|_| drop(e.add_community(Community(self.next())).finish()));
        (0..self.below(9)).for_each(|_| drop(e.add_large_community(LargeCommunity::new(self.next(), self.next(), self.next())).finish()));
        let aggregator = self.asn(wide);
        e.set_aggregator(self.maybe().map(|addr| Aggregator { asn: aggregator, addr: addr.into() }));
        e.finish()
    }

    fn nlri(&mut self, v6: bool) -> Nlri {
        let net = if v6 {
            let addr = (u128::from(self.next()) << 96) | (u128::from(self.next()) << 64);
            format!("{}/{}", std::net::Ipv6Addr::from(addr), 1 + self.below(128))
        } else {
            // No default route: bgpkit takes an octet of zero for the begin of a path identifier.
            format!("{}/{}", std::net::Ipv4Addr::from(self.next()), 1 + self.below(32))
        };
        Nlri::new(net.parse::<ipnet::IpNet>().unwrap().trunc())
    }
}

/// What they see of the path, as we show it.
fn their_path(attributes: &Attributes) -> String {
    let words = |asns: &[bgpkit_parser::models::Asn]| asns.iter().map(|a| a.to_u32().to_string()).collect::<Vec<_>>().join(" ");
    let path = attributes.as_path().expect("AS_PATH");
    let segments = path.iter_segments().map(|s| match s {
        AsPathSegment::AsSequence(asns) => words(asns),
        AsPathSegment::AsSet(asns) => format!("{{{}}}", words(asns)),
        other => panic!("{other:?}"),
    });
    segments.collect::<Vec<_>>().join(" ")
}

fn their_communities(attributes: &Attributes) -> (Vec<String>, Vec<String>) {
    let (mut plain, mut large) = (Vec::new(), Vec::new());
    for community in attributes.iter_communities() {
        match community {
            MetaCommunity::Plain(c) => plain.push(c.to_string()),
            MetaCommunity::Large(c) => large.push(format!("{}:{}:{}", c.global_admin, c.local_data[0], c.local_data[1])),
            _ => {}
        }
    }
    (plain, large)
}

fn compare(attrs: &PathAttributes, theirs: &Attributes, narrow: bool) {
    let origin = theirs.origin().to_string().to_lowercase();
    assert_eq!(attrs.origin().to_string(), origin);
    assert_eq!((attrs.med(), attrs.local_pref()), (theirs.multi_exit_discriminator(), theirs.local_preference()));
    assert_eq!(attrs.atomic_aggregate(), theirs.atomic_aggregate());
    assert_eq!(attrs.originator_id().map(|id| id.addr()), theirs.origin_id());
    let clusters: Vec<u32> = attrs.cluster_list().map(|c| c.0.into()).collect();
    assert_eq!(clusters, theirs.clusters().unwrap_or_default());
    let (plain, large) = their_communities(theirs);
    assert_eq!(attrs.communities().map(|c| c.to_string()).collect::<Vec<_>>(), plain);
    assert_eq!(attrs.large_communities().map(|c| c.to_string()).collect::<Vec<_>>(), large);
    if !narrow {
        assert_eq!(attrs.as_path().to_string(), their_path(theirs));
        assert_eq!(attrs.aggregator().map(|a| (a.asn.0, a.addr)), theirs.aggregator().map(|(asn, id)| (asn.to_u32(), id)));
    }
}

fn their_prefixes(nlri: Option<&TheirNlri>) -> Vec<String> {
    nlri.map(|n| n.prefixes.iter().map(|p| p.prefix.to_string()).collect()).unwrap_or_default()
}

fn round(random: &mut Random, v6: bool, narrow: bool) {
    let ctx = Context { four_octet_as: !narrow, families: FamilySet::ALL, external: false, ..Context::INITIAL };
    let set = random.set(v6, !narrow);
    let nlri: Vec<Nlri> = (0..1 + random.below(40)).map(|_| random.nlri(v6)).collect();
    let mut out = BytesMut::new();
    if encode_reach(&set, &nlri, &ctx, &mut out) != 1 {
        return;
    }
    let frame = out.freeze();
    let width = if narrow { AsnLength::Bits16 } else { AsnLength::Bits32 };
    let Ok(BgpMessage::Update(theirs)) = parse_bgp_message(&mut frame.clone(), false, &width) else { panic!("they refuse what we wrote") };
    let mut decoder = Decoder::new();
    decoder.set_context(ctx);
    let Ok(Message::Update(ours)) = decoder.decode(frame) else { panic!("we refuse what we wrote") };
    let attrs = ours.announced[0].attrs.as_ref().expect("a route");
    assert_eq!(attrs, &set);
    compare(attrs, &theirs.attributes, narrow);
    compare_routes(&ours.announced[0], attrs, &theirs);
}

/// Prefixes and next hop, which stand in MP_REACH_NLRI (IPv4 too may) or in the body.
fn compare_routes(ours: &Announced, attrs: &PathAttributes, theirs: &BgpUpdateMessage) {
    let wanted: Vec<String> = ours.nlri.iter().map(|n| n.net.to_string()).collect();
    let (prefixes, hop) = match theirs.attributes.get_reachable_nlri() {
        Some(reach) => {
            let hop = reach.next_hop.as_ref().map(|hop| match hop {
                NextHopAddress::Ipv4(a) => IpAddr::from(*a),
                NextHopAddress::Ipv6(a) | NextHopAddress::Ipv6LinkLocal(a, _) => IpAddr::from(*a),
                other => panic!("{other:?}"),
            });
            (their_prefixes(Some(reach)), hop)
        }
        None => {
            let hop = theirs.attributes.iter().find_map(|a| if let AttributeValue::NextHop(hop) = a { Some(*hop) } else { None });
            (theirs.announced_prefixes.iter().map(|p| p.prefix.to_string()).collect(), hop)
        }
    };
    assert_eq!((prefixes, hop), (wanted, Some(attrs.next_hop().addr())));
}

/// The messages that stand whole in a packet of a classic capture of Ethernet, with who sent them to whom.
fn captured() -> Vec<((Ipv4Addr, Ipv4Addr), Bytes)> {
    let file = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/corpus/mesh.pcap")).expect("the capture");
    assert_eq!((&file[..4], file[20]), (&[0xd4, 0xc3, 0xb2, 0xa1][..], 1), "little endian, microseconds, Ethernet");
    let (mut rest, mut found) = (Bytes::from(file).slice(24..), Vec::new());
    while rest.len() >= 16 {
        let len = u32::from_le_bytes(rest[8..12].try_into().expect("four octets")) as usize;
        let packet = rest.slice(16..16 + len);
        rest = rest.slice(16 + len..);
        let Some(start) = packet.windows(16).position(|w| w == [0xff; 16]) else { continue };
        let addr = |at: usize| Ipv4Addr::from(<[u8; 4]>::try_from(&packet[at..at + 4]).expect("four octets"));
        let mut messages = packet.slice(start..);
        while let Ok(Some(len)) = frame_len(&messages, MAX_LEN) {
            found.push(((addr(26), addr(30)), messages.split_to(len)));
        }
    }
    found
}

/// Who sends to whom, in which AFI.
type Way = (Ipv4Addr, Ipv4Addr, u16);

/// Who said in an OPEN that it can send, or receive, several paths for a prefix (RFC 7911 §4).
fn add_path_modes(messages: &[((Ipv4Addr, Ipv4Addr), Bytes)]) -> HashMap<Way, AddPathMode> {
    let mut modes = HashMap::new();
    for ((from, to), frame) in messages {
        let Ok(Message::Open(open)) = Decoder::new().decode(frame.clone()) else { continue };
        for capability in &open.capabilities {
            let Capability::AddPath(families) = capability else { continue };
            modes.extend(families.iter().filter(|(_, safi, _)| *safi == 1).map(|(afi, _, mode)| ((*from, *to, *afi), *mode)));
        }
    }
    modes
}

#[test]
fn what_others_wrote_is_read_alike() {
    let messages = captured();
    let modes = add_path_modes(&messages);
    let (mut routes, mut withdrawn, mut with_path_ids) = (0, 0, 0);
    for ((from, to), frame) in messages.iter().filter(|(_, frame)| frame[18] == 2) {
        let agreed = |afi| {
            let theirs = modes.get(&(*to, *from, afi)).is_some_and(|m| m.receives());
            theirs && modes.get(&(*from, *to, afi)).is_some_and(|m| m.sends())
        };
        let families = match (agreed(1), agreed(2)) {
            (true, true) => FamilySet::ALL,
            (false, false) => FamilySet::NONE,
            other => panic!("bgpkit-parser knows ADD-PATH for all families or none: {other:?}"),
        };
        let add_path = families == FamilySet::ALL;
        let mut decoder = Decoder::new();
        let ctx = Context { four_octet_as: true, families: FamilySet::ALL, add_path: families, external: false, ..Context::INITIAL };
        decoder.set_context(ctx);
        let Ok(Message::Update(ours)) = decoder.decode(frame.clone()) else { panic!("we refuse {frame:02x?}") };
        let Ok(BgpMessage::Update(theirs)) = parse_bgp_message(&mut frame.clone(), add_path, &AsnLength::Bits32) else {
            panic!("they refuse {frame:02x?}")
        };
        with_path_ids += usize::from(add_path);
        assert_eq!(ours.errors, None);
        for announced in &ours.announced {
            let attrs = announced.attrs.as_ref().expect("a route");
            compare(attrs, &theirs.attributes, false);
            compare_routes(announced, attrs, &theirs);
            routes += 1;
        }
        let gone: Vec<String> = ours.withdrawn.iter().flatten().map(|n| n.net.to_string()).collect();
        let mut their_gone: Vec<String> = theirs.withdrawn_prefixes.iter().map(|p| p.prefix.to_string()).collect();
        their_gone.extend(their_prefixes(theirs.attributes.get_unreachable_nlri()));
        assert_eq!(gone, their_gone);
        withdrawn += gone.len();
    }
    assert!(routes > 10 && withdrawn > 0 && with_path_ids > 0, "{routes} announcements, {withdrawn} withdrawn, {with_path_ids} with ids");
}

#[test]
fn what_we_write_and_read_is_what_bgpkit_reads() {
    let mut random = Random(7);
    for _ in 0..1000 {
        for (v6, narrow) in [(false, false), (true, false), (false, true), (true, true)] {
            round(&mut random, v6, narrow);
        }
    }
}
