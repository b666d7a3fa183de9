//! Variants of something short, compared by their fastest rounds.

use std::time::Duration;

use criterion::BenchmarkGroup;
use criterion::measurement::WallTime;

/// Other load can only slow a round down, so some of these are undisturbed.
const ROUNDS: usize = 60;

/// Makes one round of a variant.
pub(crate) type Way<'a> = &'a dyn Fn() -> Duration;

/// The fastest of several rounds of each variant. Rounds alternate, so that a drift of the machine's speed affects both.
fn fastest<const N: usize>(ways: [Way<'_>; N]) -> [Duration; N] {
    let mut fastest = [Duration::MAX; N];
    for _ in 0..ROUNDS {
        for (best, way) in fastest.iter_mut().zip(ways) {
            *best = (*best).min(way());
        }
    }
    fastest
}

/// Measures a way alone. `per_round` is the number of iterations in one of its rounds.
pub(crate) fn bench_alone(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, per_round: u32, way: Way<'_>) {
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|iterations| {
            let [alone] = fastest([way]);
            scaled(alone, iterations, per_round)
        });
    });
}

/// Measures what a way takes longer than another one.
pub(crate) fn bench_added(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    per_round: u32,
    bare: Way<'_>,
    way: Way<'_>,
) {
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|iterations| {
            let [bare, way] = fastest([bare, way]);
            scaled(way.saturating_sub(bare), iterations, per_round)
        });
    });
}

fn scaled(round: Duration, iterations: u64, per_round: u32) -> Duration {
    // Criterion needs a time above zero.
    round.mul_f64(iterations as f64 / f64::from(per_round)).max(Duration::from_nanos(1))
}
