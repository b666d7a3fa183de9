//! Shared code of the programs, tests and benches: sizes, sums over profiles, and jemalloc's own profile.

/// Random sizes.
mod sizes;

/// jemalloc's own profile.
mod jemalloc;

use holdup::heap::Sampling;
use holdup::profile::Labels;
use holdup::{Print, Profile, ProfileMode, ProfileOptions, Watch};

pub use jemalloc::{dump, sample};
pub use sizes::{MIXES, Mix, Random};

/// A quiet watch that samples the heap.
///
/// # Errors
/// If the watch cannot start, or if the program has another allocator.
pub fn watch(sampling: Sampling) -> anyhow::Result<Watch> {
    let watch = Watch::builder().print(Print::Never).start()?;
    watch.sample_heap(sampling)?;
    Ok(watch)
}

/// What lives.
///
/// # Errors
/// If the heap is not sampled.
pub fn live(watch: &Watch) -> anyhow::Result<Profile> {
    Ok(watch.profile_blocking(&ProfileOptions::new(ProfileMode::Heap))?)
}

/// The sums of all values of the stacks with this function, if their labels are right too.
#[must_use]
pub fn through(profile: &Profile, function: &str, is_right: impl Fn(&Labels) -> bool) -> [i64; 4] {
    let function = format!("::{function}");
    let mut sums = [0; 4];
    for sample in &profile.samples {
        let passes = profile.frames_of(sample).any(|frame| frame.frame.function.ends_with(&function));
        if passes && profile.labels_of(sample).is_some_and(&is_right) {
            sums.iter_mut().zip(sample.values).for_each(|(sum, value)| *sum += value);
        }
    }
    sums
}
