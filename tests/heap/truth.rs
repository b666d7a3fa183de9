//! Allocations of known size at known places: what holdup says about them.

#[path = "../support/mod.rs"]
mod support;

#[path = "../support/deep.rs"]
mod deep;

use std::collections::VecDeque;
use std::hint::black_box;
use std::sync::mpsc;
use std::time::Duration;

use holdup::heap::{Allocator, Sampling};
use holdup::profile::Sample;
use holdup::{Profile, ProfileMode, Watch};
use support::heap::{counted, now, sum, through, top, watch, window};
use support::{alone, wait_until};

#[global_allocator]
static ALLOCATOR: Allocator = Allocator::system();

const RARELY: Sampling = Sampling::bytes(64 << 10);

#[inline(never)]
fn carts(number: usize, bytes: usize) -> Vec<Vec<u8>> {
    let mut carts = Vec::with_capacity(number);
    carts.extend((0..number).map(|_| black_box(vec![1_u8; bytes])));
    carts
}

#[inline(never)]
fn orders(number: usize, bytes: usize) -> Vec<Vec<u8>> {
    let mut orders = Vec::with_capacity(number);
    orders.extend((0..number).map(|_| black_box(vec![1_u8; bytes])));
    orders
}

#[test]
fn every_allocation_is_counted_and_every_free_is_seen() {
    let _alone = alone();
    let watch = watch(Sampling::EVERY_ALLOCATION);
    // One allocation for the list itself.
    let held = carts(99, 1000);
    let list = i64::try_from(99 * size_of::<Vec<u8>>()).expect("it is small");
    let live = now(&watch, ProfileMode::Heap);
    assert_eq!(through(&live, "carts"), [100, 100, 99_000 + list], "{:?}", live.quality);
    assert_eq!(live.quality.lost, 0);
    // Large ones are in the table.
    let large = orders(10, 100_000);
    assert_eq!(through(&now(&watch, ProfileMode::Heap), "orders")[0], 11);

    let (sender, receiver) = mpsc::channel::<Vec<Vec<u8>>>();
    let frees = std::thread::spawn(move || receiver.into_iter().for_each(drop));
    sender.send(held).expect("it listens");
    sender.send(large).expect("it listens");
    drop(sender);
    frees.join().expect("it ends");
    let live = now(&watch, ProfileMode::Heap);
    assert_eq!((through(&live, "carts"), through(&live, "orders")), ([0; 3], [0; 3]));
    let peak = now(&watch, ProfileMode::Peak);
    assert!(through(&peak, "orders")[2] >= 1_000_000, "the peak had both");
}

/// Calls in the deepest stack through a function, and the truncated stacks of the profile.
fn deepest(profile: &Profile, function: &str) -> (usize, u64) {
    let is_through = |sample: &&Sample| profile.frames_of(sample).any(|frame| frame.frame.function.ends_with(function));
    let calls = |sample| deep::calls_in(profile.frames_of(sample).map(|frame| &frame.frame));
    (profile.samples.iter().filter(is_through).map(calls).max().unwrap_or_default(), profile.quality.truncated)
}

#[test]
fn deep_stacks_are_seen_to_their_ends_up_to_256_kib() {
    let _alone = alone();
    let watch = watch(Sampling::EVERY_ALLOCATION);
    let mut held = Vec::new();
    // A worker knows the bounds of its stack.
    let runtime = watch.runtime(tokio::runtime::Builder::new_multi_thread().worker_threads(1)).expect("builds");
    let on_worker = async { deep_carts(160 << 10) };
    held.push(runtime.block_on(async { tokio::spawn(on_worker).await }).expect("it ends"));
    assert_eq!(deepest(&now(&watch, ProfileMode::Heap), "::carts"), (deep::calls(160 << 10), 0));
    drop(held.drain(..));
    // Of other threads, the first deep stack is cut.
    let is_whole = || {
        let (sender, receiver) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            let carts = deep_carts(160 << 10);
            sender.send(()).expect("it listens");
            let _released = released.recv();
            drop(carts);
        });
        receiver.recv().expect("it allocates");
        let (seen, truncated) = deepest(&now(&watch, ProfileMode::Heap), "::carts");
        drop(release);
        thread.join().expect("it ends");
        assert!(seen == deep::calls(160 << 10) || (seen < 10 && truncated > 0), "{seen} calls, {truncated} truncated");
        seen == deep::calls(160 << 10)
    };
    support::wait_until("the second one is whole", is_whole);
    // What does not fit is counted.
    held.push(deep_carts(400 << 10));
    let (seen, truncated) = deepest(&now(&watch, ProfileMode::Heap), "::carts");
    assert!((20..deep::calls(400 << 10)).contains(&seen) && truncated > 0, "{seen} calls, {truncated} truncated");
}

#[inline(never)]
fn deep_carts(depth: usize) -> Vec<Vec<u8>> {
    let mut held = Vec::new();
    deep::at_depth(depth, &mut || held = carts(1, 1000));
    held
}

#[test]
fn an_object_that_grows_is_one_object() {
    let _alone = alone();
    let watch = watch(Sampling::EVERY_ALLOCATION);
    let mut grown = grow(3);
    for bytes in [100, 9_000, 200_000, 3_000_000] {
        grow_to(&mut grown, bytes);
        let live = now(&watch, ProfileMode::Heap);
        let [samples, objects, live_bytes] = through(&live, "grow_to");
        assert_eq!((samples, objects), (1, 1), "{bytes}");
        assert_eq!(live_bytes, i64::try_from(grown.capacity()).expect("it is small"));
        assert!(grown.iter().all(|byte| *byte == 7), "the content moved with it");
    }
    shrink_to(&mut grown, 50);
    let live = now(&watch, ProfileMode::Heap);
    assert_eq!((through(&live, "grow_to"), through(&live, "shrink_to")), ([0; 3], [1, 1, 50]));
    assert_eq!(grown, [7; 50]);
    drop(grown);
    assert_eq!(through(&now(&watch, ProfileMode::Heap), "shrink_to"), [0; 3]);
}

#[inline(never)]
fn grow(bytes: usize) -> Vec<u8> {
    vec![7; bytes]
}

#[inline(never)]
fn grow_to(grown: &mut Vec<u8>, bytes: usize) {
    grown.reserve_exact(bytes - grown.len());
    grown.resize(bytes, 7);
}

#[inline(never)]
fn shrink_to(grown: &mut Vec<u8>, bytes: usize) {
    grown.truncate(bytes);
    grown.shrink_to_fit();
}

#[test]
fn zeroed_memory_is_zero_after_another_object_used_it() {
    let _alone = alone();
    let watch = watch(Sampling::EVERY_ALLOCATION);
    for _ in 0..200 {
        drop(black_box(vec![0xff_u8; 300]));
        assert!(black_box(vec![0_u8; 300]).iter().all(|byte| *byte == 0));
    }
    let _collected = now(&watch, ProfileMode::Heap);
    assert!(black_box(vec![0_u8; 300]).iter().all(|byte| *byte == 0));
}

#[test]
fn sampled_totals_are_near_the_truth() {
    let _alone = alone();
    let watch = watch(Sampling::SMALLEST);
    let live = || now(&watch, ProfileMode::Heap);
    // 64 MiB in each of three sizes: 16384 samples of each kind, so one standard error is 0.8 %.
    for bytes in [64, 5_000, 300_000] {
        let number = (64 << 20) / bytes;
        let before = live();
        let held = carts(number, bytes);
        let after = live();
        let gained = |value| (after.total(value) - before.total(value)) as f64;
        let truth = (number * bytes + number * size_of::<Vec<u8>>()) as f64;
        let error = gained(2) / truth - 1.0;
        println!("{bytes} B: {} samples, {:.2} % off", gained(0), error * 100.0);
        assert!(error.abs() < 0.06, "{bytes} B: {} of {truth}, lost {}", gained(2), after.quality.lost);
        assert!((gained(1) / number as f64 - 1.0).abs() < 0.15, "{} of {number} objects", gained(1));
        // The counters miss what came after this thread's last sample.
        let exact = (counted(&after) - counted(&before)) as f64;
        assert!((truth - 200_000.0..truth * 1.01).contains(&exact), "{exact} of {truth} bytes are counted");
        drop(held);
        let left = (live().total(2) - before.total(2)) as f64;
        assert!(left.abs() < truth * 0.01, "{left} bytes live of what was freed");
    }
}

/// Allocates now and then until a profile is collected, about as many samples as a thread can unwind in a debug build.
fn while_profiling(watch: &Watch, mode: ProfileMode, time: Duration, mut allocate: impl FnMut()) -> Profile {
    std::thread::scope(|scope| {
        let profile = scope.spawn(|| window(watch, mode, time));
        while !profile.is_finished() {
            allocate();
            std::thread::sleep(Duration::from_millis(10));
        }
        profile.join().expect("it is collected")
    })
}

#[test]
fn temporary_memory_is_not_that_which_stays() {
    let _alone = alone();
    let watch = watch(RARELY);
    let mut kept = Vec::new();
    let profile = while_profiling(&watch, ProfileMode::Temporary, Duration::from_secs(1), || {
        drop(carts(3, 100_000));
        kept.push(orders(1, 100_000));
    });
    assert!(through(&profile, "carts")[0] > 20, "{:?}", through(&profile, "carts"));
    assert_eq!(through(&profile, "orders"), [0; 3]);
}

#[inline(never)]
fn leaks(into: &mut Vec<Vec<u8>>) {
    into.push(black_box(vec![1_u8; 100_000]));
}

#[test]
fn a_leak_is_on_top_beside_memory_that_comes_and_goes() {
    let _alone = alone();
    let watch = watch(RARELY);
    let mut kept = carts(100, 100_000);
    let profile = while_profiling(&watch, ProfileMode::Leaks, Duration::from_secs(2), || {
        leaks(&mut kept);
        drop(orders(3, 100_000));
    });
    assert!(top(&profile).is_some_and(|top| top.ends_with("::leaks")), "{:?}", top(&profile));
    assert_eq!((through(&profile, "carts"), through(&profile, "orders")), ([0; 3], [0; 3]));
    assert!(profile.quality.notes.iter().any(|note| note.contains("more than at the start")), "{:?}", profile.quality);
}

/// Replaces its oldest entry.
#[inline(never)]
fn caches(into: &mut VecDeque<Vec<u8>>) {
    into.pop_front();
    into.push_back(black_box(vec![1_u8; 50_000]));
}

/// The words and the bytes per minute of the samples with this function.
fn growth(profile: &Profile, function: &str) -> (Vec<String>, i64) {
    let function = format!("::{function}");
    let is_in = |sample: &&Sample| profile.frames_of(sample).any(|frame| frame.frame.function.ends_with(&function));
    let samples: Vec<_> = profile.samples.iter().filter(is_in).collect();
    let word = |sample: &&Sample| profile.labels_of(sample)?.state.as_deref().map(str::to_owned);
    (samples.iter().filter_map(word).collect(), samples.iter().map(|sample| sample.values[3]).sum())
}

#[test]
fn a_leak_grows_steadily_and_a_cache_does_not() {
    let _alone = alone();
    let watch = watch(Sampling::EVERY_ALLOCATION);
    let (mut kept, mut cache): (Vec<Vec<u8>>, VecDeque<_>) = (Vec::with_capacity(100_000), VecDeque::new());
    cache.extend(orders(130, 50_000));
    // A machine that stops the thread in one window makes its growth unsteady.
    wait_until("a window in which the leak grows steadily", || {
        let profile = while_profiling(&watch, ProfileMode::Leaks, Duration::from_secs(2), || {
            leaks(&mut kept);
            caches(&mut cache);
        });
        assert_eq!(profile.value_named("growth_per_minute"), Some(3));
        let (leak, per_minute) = growth(&profile, "leaks");
        let (cached, of_cache) = growth(&profile, "caches");
        println!("leak {leak:?} {per_minute}, cache {cached:?} {of_cache}: {:?}", profile.quality.notes);
        assert!(profile.quality.notes.iter().any(|note| note.contains("bytes per minute")), "{:?}", profile.quality);
        // In the first window the cache replaces what it was filled with.
        let is_flat = !cached.is_empty() && cached.iter().all(|word| word == "flat");
        leak == ["steady"] && per_minute > 0 && is_flat && of_cache.abs() < per_minute / 4
    });
    let short = window(&watch, ProfileMode::Leaks, Duration::from_millis(10));
    assert!(short.quality.notes.iter().any(|note| note.contains("too short")), "{:?}", short.quality.notes);
}

#[test]
fn allocations_have_size_classes() {
    let _alone = alone();
    let watch = watch(Sampling::EVERY_ALLOCATION);
    let held = [carts(3, 64), carts(4, 65), carts(5, 100_000)];
    let live = now(&watch, ProfileMode::Heap);
    let of_class = |class: &str| sum(&live, "carts", |labels| labels.size.as_deref() == Some(class));
    assert_eq!(of_class("64 B"), [3, 3, 192]);
    // The three lists have 72, 96 and 120 bytes.
    assert_eq!(of_class("128 B"), [7, 7, 4 * 65 + 72 + 96 + 120]);
    assert_eq!(of_class("128 KiB"), [5, 5, 500_000]);
    drop(held);
}

#[test]
fn a_peak_stays_known_after_it_is_gone() {
    let _alone = alone();
    let watch = watch(Sampling::default());
    // 200 MB, of which 170 objects are sampled, so one standard error is 3 %.
    let held = orders(200, 1_000_000);
    let peak = || through(&now(&watch, ProfileMode::Peak), "orders")[2];
    assert!((170_000_000..230_000_000).contains(&peak()), "{}", peak());
    drop(held);
    assert_eq!(through(&now(&watch, ProfileMode::Heap), "orders"), [0; 3]);
    assert!((170_000_000..230_000_000).contains(&peak()), "{}", peak());
}

#[test]
fn nothing_is_sampled_while_it_is_off_and_old_objects_still_end() {
    let _alone = alone();
    let watch = watch(Sampling::EVERY_ALLOCATION);
    let before = orders(10, 100);
    watch.stop_sampling_heap();
    let unseen = carts(10, 100);
    drop(before);
    // The request for a profile begins to sample again.
    let live = now(&watch, ProfileMode::Heap);
    assert_eq!((through(&live, "carts"), through(&live, "orders")), ([0; 3], [0; 3]));
    drop(unseen);
}
