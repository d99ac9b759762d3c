//! Times of each step: `cargo bench` here; criterion remembers the last run and tells the difference.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use rooms::{Shape, Step, Way};

fn steps(c: &mut Criterion) {
    for shape in Shape::ALL {
        let mut group = c.benchmark_group(shape.name());
        group.throughput(Throughput::Elements(shape.prefixes().into())).sample_size(20);
        for step in Step::ALL {
            group.bench_function(step.name(), |b| {
                b.iter_batched_ref(|| Way::up_to(shape, step), |way| way.take(step), BatchSize::LargeInput);
            });
        }
    }
}

criterion_group!(benches, steps);
criterion_main!(benches);
