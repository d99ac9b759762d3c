//! `cargo bench`: decode and encode of four streams, beside the other codecs. Time is an UPDATE's.

use std::time::Instant;

use bytes::BytesMut;
use codecs::Corpus;
use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main, measurement::WallTime};

/// Divides the time of the stream by its UPDATEs.
fn each(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, updates: usize, mut work: impl FnMut() -> usize) {
    group.bench_function(name, |b| {
        b.iter_custom(|rounds| {
            let start = Instant::now();
            (0..rounds).for_each(|_| {
                std::hint::black_box(work());
            });
            start.elapsed() / updates as u32
        });
    });
}

fn stream(c: &mut Criterion, name: &str, corpus: &Corpus) {
    let updates = corpus.len();
    let mut group = c.benchmark_group(format!("decode/{name}"));
    each(&mut group, "catbird", updates, || codecs::catbird_decode(corpus));
    each(&mut group, "catbird, prefixes walked", updates, || codecs::catbird_decode_walk(corpus));
    each(&mut group, "bgpkit-parser", updates, || codecs::bgpkit_decode(corpus));
    each(&mut group, "routecore", updates, || codecs::routecore_decode(corpus));
    each(&mut group, "netgauze-bgp-pkt", updates, || codecs::netgauze_decode(corpus));
    each(&mut group, "zettabgp", updates, || codecs::zetta_decode(corpus));
    group.finish();
    let mut group = c.benchmark_group(format!("encode/{name}"));
    let (routes, mut out) = (codecs::catbird_routes(corpus), BytesMut::with_capacity(corpus.data.len() + 65_536));
    each(&mut group, "catbird", updates, || codecs::catbird_encode(&routes, &mut out));
    let routes = codecs::bgpkit_routes(corpus);
    each(&mut group, "bgpkit-parser", updates, || codecs::bgpkit_encode(&routes));
    let (routes, mut buffer) = (codecs::zetta_routes(corpus), vec![0; 65_536]);
    each(&mut group, "zettabgp", updates, || codecs::zetta_encode(&routes, &mut buffer));
    group.finish();
}

fn all(c: &mut Criterion) {
    stream(c, "table transfer", &Corpus::table_transfer());
    stream(c, "one prefix each", &Corpus::one_prefix_each());
    stream(c, "IPv6", &Corpus::ipv6());
    stream(c, "long communities", &Corpus::long_communities());
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).warm_up_time(std::time::Duration::from_millis(300)).measurement_time(std::time::Duration::from_secs(1)).without_plots();
    targets = all
}
criterion_main!(benches);
