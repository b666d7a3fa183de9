//! The throughput of one member of a consumer group. An iteration is 100 000 articles received, parsed and stored for commit.
//! The `load` command of the reference service measures them from the first article on.
//!
//! - `embedded`: librdkafka's development broker, inside the process.
//! - `tansu`: a real broker (`scripts/install_broker.sh`), or the one in `KAFKA_BOOTSTRAP_SERVERS`.

mod support;

use std::time::Duration;

use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use support::brokers;
use support::load::load;

const MESSAGES: u32 = 100_000;

fn consume(criterion: &mut Criterion) {
    let messages = MESSAGES.to_string();
    let mut group = criterion.benchmark_group("consume");
    group.sampling_mode(SamplingMode::Flat);
    group.throughput(Throughput::Elements(u64::from(MESSAGES)));
    for broker in brokers::all() {
        let arguments = [vec!["consumer", "--messages", &messages], broker.arguments()].concat();
        group.bench_function(broker.name, |bencher| {
            bencher.iter_custom(|iterations| {
                // The first measurement is the producer's, which must run before.
                (0..iterations)
                    .map(|_| Duration::from_secs_f64(f64::from(MESSAGES) / load(&arguments)[1].per_second))
                    .sum()
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = support::by_runs();
    targets = consume
}
criterion_main!(benches);
