//! Variants of something short, compared by their fastest rounds.

use std::time::Duration;

/// Other load can only slow a round down, so some of these are undisturbed.
const ROUNDS: usize = 60;

/// Makes one round of a variant.
pub(crate) type Way<'a> = &'a dyn Fn() -> Duration;

/// The fastest of several rounds of each variant. Rounds alternate, so that a drift of the machine's speed affects both.
pub(crate) fn fastest<const N: usize>(ways: [Way<'_>; N]) -> [Duration; N] {
    let mut fastest = [Duration::MAX; N];
    for _ in 0..ROUNDS {
        for (best, way) in fastest.iter_mut().zip(ways) {
            *best = (*best).min(way());
        }
    }
    fastest
}
