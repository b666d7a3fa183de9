//! CPU profiles of programs with known shares: shares, totals, labels, threads that start and end.
#![allow(unsafe_code, reason = "brings a stack of its own")]

#[path = "../support/mod.rs"]
mod support;

#[path = "../support/deep.rs"]
mod deep;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use holdup::profile::{ProfileError, Sample};
use holdup::{ProfileMode, ProfileOptions, Watch, WatchFutureExt};
use support::cpu_load::{LoadedThreads, cpu_in, cpu_of, one_part, passes_through, thread_cpu, two_parts, use_cpu};
use support::{Events, alone};
use tokio::runtime::Builder;

fn watch() -> Watch {
    Events::default().watch()
}

fn options(rate: u32, seconds: f64) -> ProfileOptions {
    ProfileOptions::new(ProfileMode::Cpu).rate(rate).duration(Duration::from_secs_f64(seconds))
}

/// Profiles this many threads under the load, and compares shares and total with the threads' own clocks.
fn check_shares(threads: usize, part: Duration, pause: Duration, rate: u32, seconds: f64) {
    let watch = watch();
    let loads = LoadedThreads::new(threads, part, pause, Duration::from_secs_f64(seconds - 1.5));
    let profiled = std::thread::spawn(move || watch.profile_blocking(&options(rate, seconds)));
    // The load runs inside the window.
    std::thread::sleep(Duration::from_millis(300));
    let used = loads.run();
    let profile = profiled.join().expect("no panic").expect("profiles");
    let (one, two) = (cpu_in(&profile, "one_part"), cpu_in(&profile, "two_parts"));
    let share = one / (one + two);
    let ratio = (one + two) / used.as_nanos() as f64;
    println!(
        "{threads} threads, parts of {part:?}, pauses of {pause:?}, {rate} Hz: {} samples, share {share:.3}, total {ratio:.3} of {used:?}; {:?}",
        profile.sample_count(),
        profile.quality
    );
    // Three points, or three sigma if the machine gave so little CPU time that chance alone may exceed that.
    let chance = 3.0 * (2.0 / 9.0 / profile.samples.len() as f64).sqrt();
    assert!((share - 1.0 / 3.0).abs() < chance.max(0.03), "the share of one_part is {share}, chance is {chance}");
    assert!((ratio - 1.0).abs() < 0.05, "the total is {ratio} of the threads' clocks");
    assert!(profile.quality.nameless * 200 < profile.quality.frames, "{:?}", profile.quality);
    assert!(profile.quality.truncated * 50 < profile.sample_count(), "{:?}", profile.quality);
}

#[test]
fn shares_on_one_steady_thread() {
    let _alone = alone();
    check_shares(1, Duration::from_millis(7), Duration::ZERO, 99, 9.0);
    check_shares(1, Duration::from_millis(7), Duration::ZERO, 499, 9.0);
}

#[test]
fn shares_on_many_bursty_threads() {
    let _alone = alone();
    check_shares(8, Duration::from_micros(2_300), Duration::from_millis(3), 99, 16.0);
    check_shares(8, Duration::from_micros(2_300), Duration::from_millis(3), 499, 7.0);
}

#[inline(never)]
fn recurse(depth: u32, time: Duration) -> u32 {
    if depth == 0 {
        use_cpu(time);
        return 0;
    }
    std::hint::black_box(recurse(depth - 1, time)) + 1
}

#[test]
fn recursion_is_seen_to_its_full_depth() {
    let _alone = alone();
    let watch = watch();
    let load = std::thread::spawn(|| recurse(300, Duration::from_millis(1500)));
    let profile = watch.profile_blocking(&options(99, 1.0)).expect("profiles");
    load.join().expect("the load ends");
    let depths: Vec<usize> = profile
        .samples
        .iter()
        .map(|sample| profile.frames_of(sample).filter(|frame| frame.frame.function.ends_with("recurse")).count())
        .filter(|depth| *depth > 0)
        .collect();
    assert!(depths.len() >= 20, "{} samples", depths.len());
    let whole = depths.iter().filter(|depth| **depth == 301).count();
    assert!(whole * 10 >= depths.len() * 9, "{whole} of {} samples reach through all calls", depths.len());
}

/// Samples of a thread on a stack of this depth: those that reach through all calls, all others, and the truncated ones of the
/// profile.
fn samples_at_depth(bytes: usize) -> [usize; 3] {
    let _alone = alone();
    let watch = watch();
    let ends = Arc::new(AtomicBool::new(false));
    let ended = Arc::clone(&ends);
    let mut computes = move || {
        while !ended.load(Ordering::Relaxed) {
            use_cpu(Duration::from_millis(1));
        }
    };
    let load = std::thread::spawn(move || deep::at_depth(bytes, &mut computes));
    let profile = watch.profile_blocking(&options(99, 5.0)).expect("profiles");
    ends.store(true, Ordering::Relaxed);
    load.join().expect("the load ends");
    let frames = |sample| profile.frames_of(sample).map(|frame| &frame.frame);
    let seen: Vec<usize> =
        profile.samples.iter().map(|sample| deep::calls_in(frames(sample))).filter(|calls| *calls > 0).collect();
    let whole = seen.iter().filter(|seen| **seen == deep::calls(bytes)).count();
    println!("{bytes} bytes: {seen:?} calls of {}", deep::calls(bytes));
    [whole, seen.len() - whole, usize::try_from(profile.quality.truncated).expect("is small")]
}

#[test]
fn deep_stacks_are_seen_to_their_ends_up_to_256_kib() {
    // A thread's first sample may come before the bounds of its stack are known.
    let [whole, others, truncated] = samples_at_depth(200 << 10);
    assert!(whole >= 2 && others <= 2 && truncated < whole, "{whole}, {others}, {truncated}");
}

#[test]
fn deeper_stacks_are_counted_as_truncated() {
    let [whole, cut, truncated] = samples_at_depth(400 << 10);
    assert!(whole == 0 && cut >= 2 && truncated >= cut, "{whole}, {cut}, {truncated}");
}

/// The second stack of a thread, as coroutines have it.
mod second_stack {
    use super::*;

    pub(super) const DEPTH: usize = 160 << 10;

    pub(super) static ENDS: AtomicBool = AtomicBool::new(false);

    extern "C" fn compute_deeply() {
        deep::at_depth(DEPTH, &mut || {
            while !ENDS.load(Ordering::Relaxed) {
                use_cpu(Duration::from_millis(1));
            }
        });
    }

    /// Computes on a stack of its own until it is told to end.
    pub(super) fn run() {
        let mut stack = vec![0_u8; 1 << 20];
        // SAFETY: a context is a C struct of numbers and pointers; all zero is valid.
        let mut contexts: [libc::ucontext_t; 2] = unsafe { std::mem::zeroed() };
        let [own, other] = &mut contexts;
        // SAFETY: it fills a live struct.
        assert_eq!(unsafe { libc::getcontext(other) }, 0);
        (other.uc_stack.ss_sp, other.uc_stack.ss_size) = (stack.as_mut_ptr().cast(), stack.len());
        other.uc_link = own;
        // SAFETY: the context has a stack, which lives until this function returns, and the function takes no arguments.
        unsafe { libc::makecontext(other, compute_deeply, 0) };
        // SAFETY: both contexts live. The function returns here through the link.
        assert_eq!(unsafe { libc::swapcontext(own, other) }, 0);
    }
}

#[test]
fn a_deep_stack_that_a_thread_brings_itself_is_seen_to_its_end() {
    let _alone = alone();
    let watch = watch();
    let load = std::thread::spawn(|| {
        // The sampler learns the bounds of the thread's first stack.
        std::thread::sleep(Duration::from_millis(300));
        use_cpu(Duration::from_millis(100));
        second_stack::run();
    });
    let profile = watch.profile_blocking(&options(99, 5.0)).expect("profiles");
    second_stack::ENDS.store(true, Ordering::Relaxed);
    load.join().expect("the load ends");
    let calls = |sample| deep::calls_in(profile.frames_of(sample).map(|frame| &frame.frame));
    let seen: Vec<usize> = profile.samples.iter().map(calls).filter(|calls| *calls > 0).collect();
    let whole = seen.iter().filter(|seen| **seen == deep::calls(second_stack::DEPTH)).count();
    assert!(whole >= 2 && seen.len() - whole <= 3, "{seen:?} calls of {}", deep::calls(second_stack::DEPTH));
}

/// Runs threads one after another, each with one part and two parts of CPU time. Returns the sampled share of their time,
/// the share of one part, and its tolerance by chance.
fn short_threads(part: Duration) -> (f64, f64, f64) {
    let watch = watch();
    let profiled = std::thread::spawn(move || watch.profile_blocking(&options(499, 6.0)).expect("profiles"));
    let (start, mut used) = (Instant::now(), Duration::ZERO);
    std::thread::sleep(Duration::from_millis(200));
    while start.elapsed() < Duration::from_millis(5_000) {
        let short = std::thread::spawn(move || {
            one_part(part);
            two_parts(part);
            thread_cpu()
        });
        used += short.join().expect("it ends");
    }
    let profile = profiled.join().expect("no panic");
    let (one, two) = (cpu_in(&profile, "one_part"), cpu_in(&profile, "two_parts"));
    let (seen, share) = ((one + two) / used.as_nanos() as f64, one / (one + two));
    println!("threads of {:?}: {used:?} used, {seen:.3} of it sampled, share {share:.3}", part * 3);
    let tids: std::collections::HashSet<_> =
        profile.samples.iter().filter_map(|sample| profile.labels_of(sample)?.tid).collect();
    assert!(tids.len() > 8, "of {} threads", tids.len());
    (seen, share, 3.0 * (2.0 / 9.0 / profile.samples.len() as f64).sqrt())
}

/// The kernel checks a CPU timer at its ticks, here every 4 ms. So CPU time after a thread's last tick is in no sample, and
/// neither is time before the sampler has found the thread. Of a thread of 30 ms 28 ms are sampled, with a smaller first third.
/// With threads of 120 ms the bounds of other threads hold.
#[test]
fn short_lived_threads_are_in_the_profile() {
    let _alone = alone();
    // On a busy machine the sampler may find threads too late, so one of three tries must succeed. A bias would fail all of them.
    let right = |(seen, share, chance): (f64, f64, f64)| {
        (seen - 1.0).abs() < 0.05 && (share - 1.0 / 3.0).abs() < chance.max(0.03)
    };
    let roughly = |(seen, share, _): (f64, f64, f64)| (0.6..1.15).contains(&seen) && (0.15..0.4).contains(&share);
    let tries = |part: u64| std::iter::repeat_with(move || short_threads(Duration::from_millis(part))).take(3);
    assert!(tries(40).any(right), "the sampled share of CPU time, and the share of one_part, are printed above");
    assert!(tries(10).any(roughly), "likewise");
}

static BUSY_POLLS: AtomicU64 = AtomicU64::new(0);

#[inline(never)]
fn busy_poll() {
    use_cpu(Duration::from_millis(3));
    BUSY_POLLS.fetch_add(1, Ordering::Relaxed);
}

#[test]
fn one_busy_task_among_fifty_sleeping_ones_has_all_the_cpu_time() {
    let _alone = alone();
    let watch = watch();
    let runtime =
        watch.runtime(Builder::new_multi_thread().worker_threads(2).enable_all().name("many")).expect("builds");
    for _ in 0..50 {
        runtime.spawn(std::future::pending::<()>());
    }
    let task = async {
        loop {
            busy_poll();
            tokio::task::yield_now().await;
        }
    };
    let line = line!() + 1;
    let busy = runtime.spawn(task.watched_as("busy"));
    let before = BUSY_POLLS.load(Ordering::Relaxed);
    let profile = watch.profile_blocking(&options(199, 3.0)).expect("profiles");
    let used = (BUSY_POLLS.load(Ordering::Relaxed) - before) * 3_000_000;
    busy.abort();
    let total = cpu_in(&profile, "busy_poll");
    assert!(total > used as f64 * 0.5, "{total} of about {used} ns in busy_poll");
    let labelled = cpu_of(&profile, |sample| {
        passes_through(&profile, sample, "busy_poll")
            && profile.labels_of(sample).is_some_and(|labels| {
                labels.runtime.as_deref() == Some("many")
                    && labels.worker.is_some()
                    && labels.task.is_some()
                    && labels.task_name.as_deref() == Some("busy")
                    && labels
                        .spawned_at
                        .as_deref()
                        .is_some_and(|place| place.ends_with(&format!("profiles/cpu.rs:{line}")))
            })
    });
    assert!(labelled > total * 0.98, "{labelled} of {total} ns carry the task");
    let of_runtime =
        |sample: &Sample| profile.labels_of(sample).is_some_and(|labels| labels.runtime.as_deref() == Some("many"));
    assert!(total > cpu_of(&profile, of_runtime) * 0.9, "tasks that sleep use no CPU time");
}

#[test]
fn a_second_cpu_profile_is_refused_and_bad_options_are_explained() {
    let _alone = alone();
    let watch = Arc::new(watch());
    let other = Arc::clone(&watch);
    // The first one wins. The long one tries again.
    let running = std::thread::spawn(move || {
        loop {
            match other.profile_blocking(&options(99, 1.0)) {
                Err(ProfileError::Busy { .. }) => {}
                other => return other.map(|profile| profile.duration),
            }
        }
    });
    let limit = Instant::now() + support::DEADLINE;
    let busy = loop {
        match watch.profile_blocking(&options(99, 0.001)) {
            Err(error) => break error,
            Ok(_) => assert!(Instant::now() < limit && !running.is_finished(), "never refused"),
        }
    };
    assert!(matches!(busy, ProfileError::Busy { .. }), "{busy}");
    assert!(running.join().expect("no panic").expect("the first goes on") >= Duration::from_secs(1));
    let error = |options: ProfileOptions| watch.profile_blocking(&options).expect_err("refused").to_string();
    assert!(error(options(0, 1.0)).contains("1 to 1000"));
    assert!(error(options(99, 0.0)).contains("more than 0"));
    assert!(error(options(99, 1e6)).contains("300 s"));
}
