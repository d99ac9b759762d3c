//! catbird's codec beside others, one thread, on the same octets: `loadgen dump` of a table transfer, or any file of UPDATEs one after the other.
//!
//! In: `codecs CORPUS [rounds]`. Out: one JSON line a codec, the best of the rounds in CPU time. `cargo run --release -- /tmp/corpus.bin 5`.
//! Numbers are to be compared within one run only: machines are shared.

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use catbird::num::{FamilySet, Nlri};
use catbird::wire;
use tokio_util::codec::Decoder as _;

/// The whole corpus, and where its UPDATEs stand.
struct Corpus {
    data: Bytes,
    spans: Vec<(usize, usize)>,
    rounds: usize,
}

impl Corpus {
    fn read(path: &str, rounds: usize) -> Corpus {
        let data = Bytes::from(std::fs::read(path).expect("a corpus"));
        let (mut spans, mut at) = (Vec::new(), 0);
        while at + 19 <= data.len() {
            let len = usize::from(u16::from_be_bytes([data[at + 16], data[at + 17]]));
            // End-of-RIB markers are no work.
            if data[at + 18] == 2 && len > 23 {
                spans.push((at, at + len));
            }
            at += len.max(19);
        }
        Corpus { data, spans, rounds }
    }

    fn frames(&self) -> impl Iterator<Item = &[u8]> {
        self.spans.iter().map(|(from, to)| &self.data[*from..*to])
    }

    /// Runs `work` `rounds` times and prints its best.
    fn measure(&self, name: &str, mut work: impl FnMut() -> usize) {
        let (mut best, mut answer) = (f64::MAX, 0);
        for _ in 0..self.rounds {
            let start = cpu_seconds();
            answer = work();
            best = best.min(cpu_seconds() - start);
        }
        let (each, bytes) = (best * 1e9 / self.spans.len() as f64, self.spans.iter().map(|(a, b)| b - a).sum::<usize>());
        println!("{{\"codec\":\"{name}\",\"ns_per_update\":{each:.0},\"mb_per_s\":{:.0},\"answer\":{answer}}}", bytes as f64 / 1e6 / best);
    }
}

fn cpu_seconds() -> f64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `t` is valid for writing.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut t) };
    t.tv_sec as f64 + t.tv_nsec as f64 / 1e9
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let path = args.get(1).expect("usage: codecs CORPUS [rounds]");
    let corpus = Corpus::read(path, args.get(2).map_or(5, |r| r.parse().expect("rounds")));
    println!("{{\"updates\":{},\"bytes\":{}}}", corpus.spans.len(), corpus.data.len());
    catbird(&corpus);
    bgpkit(&corpus);
    routecore(&corpus);
    netgauze(&corpus);
    zettabgp(&corpus);
}

fn context() -> wire::Context {
    wire::Context { four_octet_as: true, families: FamilySet::ALL, ..wire::Context::INITIAL }
}

fn catbird(corpus: &Corpus) {
    corpus.measure("catbird decode, checked, owned attributes, all NLRI walked", || {
        let mut decoder = wire::Decoder::new();
        decoder.set_context(context());
        let mut nlri = 0;
        for (from, to) in &corpus.spans {
            let Ok(wire::Message::Update(update)) = decoder.decode(corpus.data.slice(*from..*to)) else { panic!("an UPDATE") };
            nlri += update.announced.iter().flat_map(|a| a.nlri.iter()).count();
            black_box(&update);
        }
        nlri
    });
    corpus.measure("catbird decode, checked, owned attributes", || {
        let mut decoder = wire::Decoder::new();
        decoder.set_context(context());
        let mut sets = 0;
        for (from, to) in &corpus.spans {
            let Ok(wire::Message::Update(update)) = decoder.decode(corpus.data.slice(*from..*to)) else { panic!("an UPDATE") };
            sets += update.announced.iter().filter(|a| a.attrs.is_some()).count();
            black_box(&update);
        }
        sets
    });
    let mut decoder = wire::Decoder::new();
    decoder.set_context(context());
    let parsed: Vec<_> = corpus
        .spans
        .iter()
        .filter_map(|(from, to)| match decoder.decode(corpus.data.slice(*from..*to)) {
            Ok(wire::Message::Update(u)) => u.announced.into_iter().next(),
            _ => None,
        })
        .filter_map(|a| Some((a.nlri.iter().collect::<Vec<Nlri>>(), a.attrs?)))
        .collect();
    let mut out = BytesMut::with_capacity(corpus.data.len() + 65_536);
    corpus.measure("catbird encode", || {
        out.clear();
        parsed.iter().for_each(|(nlri, attrs)| {
            wire::encode_reach(attrs, nlri, &context(), &mut out);
        });
        out.len()
    });
}

fn bgpkit(corpus: &Corpus) {
    use bgpkit_parser::models::{AsnLength, BgpMessage};
    use bgpkit_parser::parser::bgp::messages::parse_bgp_message;
    let parse = |from: usize, to: usize| parse_bgp_message(&mut corpus.data.slice(from..to), false, &AsnLength::Bits32);
    corpus.measure("bgpkit-parser decode", || {
        let mut nlri = 0;
        for (from, to) in &corpus.spans {
            if let Ok(BgpMessage::Update(update)) = parse(*from, *to) {
                nlri += update.announced_prefixes.len();
                black_box(&update);
            }
        }
        nlri
    });
    let parsed: Vec<_> = corpus.spans.iter().filter_map(|(from, to)| parse(*from, *to).ok()).collect();
    corpus.measure("bgpkit-parser encode", || parsed.iter().map(|m| m.encode(AsnLength::Bits32).map_or(0, |b| b.len())).sum());
}

fn routecore(corpus: &Corpus) {
    use routecore::bgp::message::update::{SessionConfig, UpdateMessage};
    let session = SessionConfig::modern();
    corpus.measure("routecore decode, all attributes owned, all NLRI walked", || {
        let mut nlri = 0;
        for frame in corpus.frames() {
            let Ok(update) = UpdateMessage::from_octets(frame, &session) else { continue };
            for attribute in update.path_attributes().into_iter().flatten().flatten() {
                black_box(attribute.to_owned().ok());
            }
            nlri += update.announcements().into_iter().flatten().filter(|n| n.is_ok()).count();
        }
        nlri
    });
}

fn netgauze(corpus: &Corpus) {
    use netgauze_bgp_pkt::BgpMessage;
    use netgauze_bgp_pkt::codec::BgpCodec;
    corpus.measure("netgauze-bgp-pkt decode", || {
        let (mut codec, mut octets, mut nlri) = (BgpCodec::new(true), BytesMut::from(&corpus.data[..]), 0);
        while let Ok(Some((message, _))) = codec.decode(&mut octets) {
            if let BgpMessage::Update(update) = &message {
                nlri += update.nlri().len();
            }
            black_box(&message);
        }
        nlri
    });
}

fn zettabgp(corpus: &Corpus) {
    use zettabgp::prelude::*;
    let capabilities = vec![BgpCapability::SafiIPv4u, BgpCapability::CapASN32(65000)];
    let peer = std::net::Ipv4Addr::new(1, 1, 1, 1);
    let params = BgpSessionParams::new(65000, 90, BgpTransportMode::IPv4, peer, capabilities.into_iter().collect());
    let parse = |frame: &[u8]| {
        let mut update = BgpUpdateMessage::new();
        update.decode_from(&params, &frame[19..]).ok().map(|()| update)
    };
    corpus.measure("zettabgp decode (lenient)", || {
        let mut nlri = 0;
        for update in corpus.frames().filter_map(parse) {
            if let BgpAddrs::IPV4U(prefixes) = &update.updates {
                nlri += prefixes.len();
            }
            black_box(&update);
        }
        nlri
    });
    let parsed: Vec<_> = corpus.frames().filter_map(parse).collect();
    let mut buffer = vec![0; 8192];
    corpus.measure("zettabgp encode", || parsed.iter().map(|u| u.encode_to(&params, &mut buffer).unwrap_or(0)).sum());
}
