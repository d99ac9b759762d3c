//! The same octets, read by catbird and by bgpkit-parser, who knows nothing of catbird: both must see the same. Generated messages, one seed.

use std::net::IpAddr;

use bgpkit_parser::models::{AsPathSegment, AsnLength, AttributeValue, Attributes, BgpMessage, MetaCommunity, Nlri as TheirNlri};
use bgpkit_parser::parser::bgp::messages::parse_bgp_message;
use bytes::BytesMut;
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
        let hop: IpAddr = if v6 { std::net::Ipv6Addr::from((0x2001_0db8 << 96) | host).into() } else { [10, 1, self.below(250) as u8, 1].into() };
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
            format!("{}/{}", std::net::Ipv6Addr::from(addr), self.below(129))
        } else {
            format!("{}/{}", std::net::Ipv4Addr::from(self.next()), self.below(33))
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
    let word = |c: Community| format!("{}:{}", c.0 >> 16, c.0 & 0xffff);
    assert_eq!(attrs.communities().map(word).collect::<Vec<_>>(), plain);
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
    let attrs = ours.announced[0].attrs.as_deref().expect("a route");
    assert_eq!(attrs, &set);
    compare(attrs, &theirs.attributes, narrow);
    let wanted: Vec<String> = ours.announced[0].nlri.iter().map(|n| n.net.to_string()).collect();
    if v6 {
        let reach = theirs.attributes.get_reachable_nlri();
        assert_eq!(their_prefixes(reach), wanted);
        let hop = reach.and_then(|r| r.next_hop.as_ref()).map(|h| match h {
            bgpkit_parser::models::NextHopAddress::Ipv4(a) => IpAddr::from(*a),
            bgpkit_parser::models::NextHopAddress::Ipv6(a) | bgpkit_parser::models::NextHopAddress::Ipv6LinkLocal(a, _) => IpAddr::from(*a),
            other => panic!("{other:?}"),
        });
        assert_eq!(hop, Some(attrs.next_hop().addr()));
    } else {
        assert_eq!(theirs.announced_prefixes.iter().map(|p| p.prefix.to_string()).collect::<Vec<_>>(), wanted);
        let hop = theirs.attributes.iter().find_map(|a| if let AttributeValue::NextHop(hop) = a { Some(*hop) } else { None });
        assert_eq!(hop, Some(attrs.next_hop().addr()));
    }
}

#[test]
fn what_we_write_and_read_is_what_bgpkit_reads() {
    let mut random = Random(7);
    for _ in 0..4000 {
        for (v6, narrow) in [(false, false), (true, false), (false, true), (true, true)] {
            round(&mut random, v6, narrow);
        }
    }
}
