//! The throughput of a producer that waits for the broker's answer to each message, and of one that does not.
//!
//! An iteration is 100 000 numbered articles through the reference service's producer. Its `load` command measures from the
//! first article to the confirmation of the last by all replicas, without the start of the program. One by one, fewer
//! articles are sent and the time is scaled, because each answer takes equally long.
//!
//! - `embedded`: librdkafka's development broker, inside the process.
//! - `tansu`: a real broker (`scripts/install_broker.sh`), or the one in `KAFKA_BOOTSTRAP_SERVERS`.

mod support;

use std::time::Duration;

use criterion::{
    BenchmarkGroup, Criterion, SamplingMode, Throughput, criterion_group, criterion_main, measurement::WallTime,
};
use support::brokers::{self, Broker};
use support::load::load;
use support::rounds::median;

const MESSAGES: u32 = 100_000;

/// Messages per sample, one by one: half a second on the embedded broker, two on a broker with a disk.
const ONE_BY_ONE: u32 = 5_000;

/// Messages per second, for each sample.
fn rates(group: &mut BenchmarkGroup<'_, WallTime>, broker: &Broker, how: &str, messages: u32) -> Vec<f64> {
    let messages = messages.to_string();
    let arguments = [vec!["producer", "--publish", how, "--messages", &messages], broker.arguments()].concat();
    let mut rates = Vec::new();
    group.bench_function(format!("{} {how}", broker.name), |bencher| {
        bencher.iter_custom(|iterations| {
            let total: f64 = (0..iterations)
                .map(|_| {
                    let rate = load(&arguments)[0].per_second;
                    rates.push(rate);
                    f64::from(MESSAGES) / rate
                })
                .sum();
            Duration::from_secs_f64(total)
        });
    });
    rates
}

fn produce(criterion: &mut Criterion) {
    for broker in brokers::all() {
        let mut group = criterion.benchmark_group("produce");
        group.sampling_mode(SamplingMode::Flat);
        group.throughput(Throughput::Elements(u64::from(MESSAGES)));
        let one_by_one = rates(&mut group, &broker, "one-by-one", ONE_BY_ONE);
        let pipelined = rates(&mut group, &broker, "pipelined", MESSAGES);
        group.finish();
        if !one_by_one.is_empty() && !pipelined.is_empty() {
            let (slow, fast) = (median(&one_by_one), median(&pipelined));
            println!(
                "produce/{}: one by one {slow:.0}/s, pipelined {fast:.0}/s: {:.1} times",
                broker.name,
                fast / slow
            );
        }
    }
}

criterion_group! {
    name = benches;
    // A sample is a run of the program.
    config = Criterion::default().sample_size(10).warm_up_time(Duration::from_millis(1)).without_plots();
    targets = produce
}
criterion_main!(benches);
