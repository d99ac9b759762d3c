//! The codecs that are compared, each behind one function, and realistic UPDATEs to compare them on.
//!
//! In: a [`Corpus`] of whole messages. Out: something that depends on every message, so that nothing is left out by the compiler.
//! `main.rs` measures CPU time on a table that was dumped; `benches/codecs.rs` has criterion measure on generated streams; `bin/counts.rs` counts
//! instructions, which are the same on a busy machine.

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use catbird::num::{Asn, FamilySet, Nlri};
use catbird::wire;

#[cfg(feature = "others")]
mod others;
pub mod skeleton;

#[cfg(feature = "others")]
pub use others::*;

/// A stream of messages, and where its UPDATEs stand.
pub struct Corpus {
    pub data: Bytes,
    spans: Vec<(usize, usize)>,
}

/// Prefixes that share their attributes.
pub type Route = (Vec<Nlri>, wire::PathAttributes);

impl Corpus {
    /// Finds the messages in a stream; End-of-RIB markers are no work and left out.
    pub fn new(data: Bytes) -> Corpus {
        let (mut spans, mut at) = (Vec::new(), 0);
        while at + 19 <= data.len() {
            let len = usize::from(u16::from_be_bytes([data[at + 16], data[at + 17]]));
            if data[at + 18] == 2 && len > 23 {
                spans.push((at, at + len));
            }
            at += len.max(19);
        }
        Corpus { data, spans }
    }

    /// How many UPDATEs.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// All their octets.
    pub fn octets(&self) -> usize {
        self.spans.iter().map(|(a, b)| b - a).sum()
    }

    fn slices(&self) -> impl Iterator<Item = Bytes> {
        self.spans.iter().map(|(from, to)| self.data.slice(*from..*to))
    }

    fn frames(&self) -> impl Iterator<Item = &[u8]> {
        self.spans.iter().map(|(from, to)| &self.data[*from..*to])
    }

    /// Like a full table: 2,000 sets of attributes, a path of 3 to 6, communities on most, 1 to 9 prefixes each.
    pub fn table_transfer() -> Corpus {
        Corpus::generated(2000, |random, n| {
            let mut e = wire::PathAttributes::builder(wire::Origin::Igp, wire::NextHop::V4([192, 0, 2, 1].into()));
            let path: Vec<Asn> = (0..3 + random.below(4)).map(|_| Asn(1 + random.below(400_000))).collect();
            e.replace_as_path([(wire::SegmentKind::Sequence, &path[..])]);
            (0..random.below(4)).for_each(|c| drop(e.add_community(wire::Community(path[0].0 << 16 | c)).finish()));
            let nlri = (0..1 + random.below(9)).map(|i| v4(n << 12 | i << 8, 24)).collect();
            (nlri, e.finish())
        })
    }

    /// One prefix an UPDATE, the same attributes again and again: a node's /32s.
    pub fn one_prefix_each() -> Corpus {
        let mut e = wire::PathAttributes::builder(wire::Origin::Igp, wire::NextHop::V4([10, 0, 0, 7].into()));
        let set = e.set_local_pref(Some(100)).finish();
        Corpus::generated(2000, |_, n| (vec![v4(0x0af4_0000 | n, 32)], set.clone()))
    }

    /// IPv6 in MP_REACH_NLRI, 1 to 9 prefixes.
    pub fn ipv6() -> Corpus {
        Corpus::generated(2000, |random, n| {
            let hop: std::net::IpAddr = "2001:db8::1".parse().expect("an address");
            let mut e = wire::PathAttributes::builder(wire::Origin::Igp, hop.into());
            let path: Vec<Asn> = (0..3 + random.below(4)).map(|_| Asn(1 + random.below(400_000))).collect();
            e.replace_as_path([(wire::SegmentKind::Sequence, &path[..])]);
            let nlri = (0..1 + random.below(9)).map(|i| {
                let addr = std::net::Ipv6Addr::from((0x2a00u128 << 112) | u128::from(n) << 84 | u128::from(i) << 80);
                Nlri::new(ipnet::Ipv6Net::new(addr, 48).expect("48 bits").into())
            });
            (nlri.collect(), e.finish())
        })
    }

    /// 60 communities and 20 large ones.
    pub fn long_communities() -> Corpus {
        Corpus::generated(500, |random, n| {
            let mut e = wire::PathAttributes::builder(wire::Origin::Igp, wire::NextHop::V4([192, 0, 2, 1].into()));
            e.replace_as_path([(wire::SegmentKind::Sequence, &[Asn(64512), Asn(1 + random.below(400_000))][..])]);
            (0..60).for_each(|c| drop(e.add_community(wire::Community(64512 << 16 | c)).finish()));
            (0..20).for_each(|c| drop(e.add_large_community(wire::LargeCommunity::new(64512, n, c)).finish()));
            (vec![v4(n << 8, 24)], e.finish())
        })
    }

    fn generated(updates: u32, mut route: impl FnMut(&mut Random, u32) -> Route) -> Corpus {
        let (mut random, mut out) = (Random(7), BytesMut::new());
        for n in 0..updates {
            let (nlri, attrs) = route(&mut random, n);
            wire::encode_reach(&attrs, &nlri, &context(), &mut out);
        }
        Corpus::new(out.freeze())
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32 % n
    }
}

fn v4(addr: u32, len: u8) -> Nlri {
    Nlri::new(ipnet::Ipv4Net::new(addr.into(), len).expect("a length").into())
}

/// A session within an AS, for LOCAL_PREF stands in the streams; both sides know four octets of AS and all families.
pub fn context() -> wire::Context {
    wire::Context { four_octet_as: true, families: FamilySet::ALL, external: false, ..wire::Context::INITIAL }
}

/// Checked as RFC 7606 says, to a set of attributes that the RIB can intern and prefixes that are known to be well formed.
pub fn catbird_decode(corpus: &Corpus) -> usize {
    let mut decoder = wire::Decoder::new();
    decoder.set_context(context());
    let mut sets = 0;
    for frame in corpus.slices() {
        let Ok(wire::Message::Update(update)) = decoder.decode(frame) else { panic!("an UPDATE") };
        sets += update.announced.iter().filter(|a| a.attrs.is_some()).count();
        black_box(&update);
    }
    sets
}

/// The same, and each prefix looked at.
pub fn catbird_decode_walk(corpus: &Corpus) -> usize {
    let mut decoder = wire::Decoder::new();
    decoder.set_context(context());
    let mut nlri = 0;
    for frame in corpus.slices() {
        let Ok(wire::Message::Update(update)) = decoder.decode(frame) else { panic!("an UPDATE") };
        nlri += update.announced.iter().flat_map(|a| a.nlri.iter()).map(|n| black_box(n).net.prefix_len() as usize).filter(|l| *l > 0).count();
        black_box(&update);
    }
    nlri
}

/// What [`catbird_encode`] writes.
pub fn catbird_routes(corpus: &Corpus) -> Vec<Route> {
    let mut decoder = wire::Decoder::new();
    decoder.set_context(context());
    let first = |frame| match decoder.decode(frame) {
        Ok(wire::Message::Update(update)) => update.announced.into_iter().next(),
        _ => None,
    };
    corpus.slices().filter_map(first).filter_map(|a| Some((a.nlri.iter().collect(), a.attrs?))).collect()
}

pub fn catbird_encode(routes: &[Route], out: &mut BytesMut) -> usize {
    out.clear();
    routes.iter().for_each(|(nlri, attrs)| {
        wire::encode_reach(attrs, nlri, &context(), out);
    });
    out.len()
}
