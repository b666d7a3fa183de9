//! Profiles of the heap, summed by function.

use std::time::Duration;

use holdup::heap::Sampling;
use holdup::profile::Labels;
use holdup::{Print, Profile, ProfileMode, ProfileOptions, Watch};

/// A quiet watch that samples the heap.
pub(crate) fn watch(sampling: Sampling) -> Watch {
    let watch = Watch::builder().print(Print::Never).start().expect("the watch starts");
    watch.sample_heap(sampling).expect("the allocator is holdup's");
    watch
}

/// A profile that is answered at once.
pub(crate) fn now(watch: &Watch, mode: ProfileMode) -> Profile {
    watch.profile_blocking(&ProfileOptions::new(mode)).expect("it is collected")
}

/// A profile of a window.
pub(crate) fn window(watch: &Watch, mode: ProfileMode, window: Duration) -> Profile {
    watch.profile_blocking(&ProfileOptions::new(mode).duration(window)).expect("it is collected")
}

/// Samples, objects and bytes of the stacks with this function.
pub(crate) fn through(profile: &Profile, function: &str) -> [i64; 3] {
    sum(profile, function, |_| true)
}

/// The same of samples with certain labels.
pub(crate) fn sum(profile: &Profile, function: &str, of: impl Fn(&Labels) -> bool) -> [i64; 3] {
    let function = format!("::{function}");
    let mut sums = [0; 3];
    for sample in &profile.samples {
        let passes = profile.frames_of(sample).any(|frame| frame.frame.function.ends_with(&function));
        if passes && profile.labels_of(sample).is_some_and(&of) {
            sums.iter_mut().zip(sample.values).for_each(|(sum, value)| *sum += value);
        }
    }
    sums
}

/// The innermost function of the stack with most bytes.
pub(crate) fn top(profile: &Profile) -> Option<String> {
    let most = profile.samples.iter().max_by_key(|sample| sample.values[2])?;
    Some(profile.frames_of(most).next()?.frame.function.to_string())
}

/// The bytes that were counted as allocated.
pub(crate) fn counted(profile: &Profile) -> u64 {
    let note = profile.quality.notes.iter().find(|note| note.starts_with("counted, not sampled"));
    note.and_then(|note| note.split(' ').nth(3)?.parse().ok()).expect("the note has a number")
}
