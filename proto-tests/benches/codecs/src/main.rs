//! catbird's codec beside others, one thread, on the same octets: `loadgen dump` of a table transfer, or any file of UPDATEs one after the other.
//!
//! In: `codecs CORPUS [rounds]`. Out: one JSON line a codec, the best of the rounds in CPU time. `cargo run --release -- /tmp/corpus.bin 5`.
//! Numbers are to be compared within one run only: machines are shared.

use bytes::{Bytes, BytesMut};
use codecs::Corpus;

fn cpu_seconds() -> f64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `t` is valid for writing.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut t) };
    t.tv_sec as f64 + t.tv_nsec as f64 / 1e9
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let path = args.get(1).expect("usage: codecs CORPUS [rounds]");
    let rounds: usize = args.get(2).map_or(5, |r| r.parse().expect("rounds"));
    let corpus = Corpus::new(Bytes::from(std::fs::read(path).expect("a corpus")));
    println!("{{\"updates\":{},\"bytes\":{}}}", corpus.len(), corpus.data.len());
    let measure = |name: &str, work: &mut dyn FnMut() -> usize| {
        let (mut best, mut answer) = (f64::MAX, 0);
        for _ in 0..rounds {
            let start = cpu_seconds();
            answer = work();
            best = best.min(cpu_seconds() - start);
        }
        let (each, mb) = (best * 1e9 / corpus.len() as f64, corpus.octets() as f64 / 1e6 / best);
        println!("{{\"codec\":\"{name}\",\"ns_per_update\":{each:.0},\"mb_per_s\":{mb:.0},\"answer\":{answer}}}");
    };
    measure("catbird decode, checked, owned attributes, checked NLRI", &mut || codecs::catbird_decode(&corpus));
    measure("catbird decode, checked, owned attributes, all NLRI walked", &mut || codecs::catbird_decode_walk(&corpus));
    measure("bgpkit-parser decode", &mut || codecs::bgpkit_decode(&corpus));
    measure("routecore decode, all attributes owned, all NLRI walked", &mut || codecs::routecore_decode(&corpus));
    measure("netgauze-bgp-pkt decode", &mut || codecs::netgauze_decode(&corpus));
    measure("zettabgp decode (lenient)", &mut || codecs::zetta_decode(&corpus));
    let (routes, mut out) = (codecs::catbird_routes(&corpus), BytesMut::with_capacity(corpus.data.len() + 65_536));
    measure("catbird encode", &mut || codecs::catbird_encode(&routes, &mut out));
    let routes = codecs::bgpkit_routes(&corpus);
    measure("bgpkit-parser encode", &mut || codecs::bgpkit_encode(&routes));
    let (routes, mut buffer) = (codecs::zetta_routes(&corpus), vec![0; 65_536]);
    measure("zettabgp encode", &mut || codecs::zetta_encode(&routes, &mut buffer));
}
