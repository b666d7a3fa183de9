//! Wall-clock and stalled time of programs with known shares: shares, totals, states, slices, windows.

#[path = "../support/mod.rs"]
mod support;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use holdup::profile::{Sample, SliceKind};
use holdup::{Profile, ProfileMode, ProfileOptions, Watch, WatchFutureExt};
use support::{Events, alone, function_of};
use tokio::runtime::Builder;

#[inline(never)]
fn sleep_a_third(time: Duration) {
    std::thread::sleep(time);
    std::hint::black_box(());
}

#[inline(never)]
fn compute_a_third(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        std::hint::spin_loop();
    }
    std::hint::black_box(());
}

#[inline(never)]
fn stall_one_part() {
    std::thread::sleep(PART);
    std::hint::black_box(());
}

#[inline(never)]
fn stall_three_parts() {
    compute_a_third(PART * 3);
    std::hint::black_box(());
}

/// The time of a function by its own clocks.
#[derive(Clone, Copy, Debug, Default)]
struct Truth {
    calls: u32,
    time: Duration,
    on_cpu: Duration,
}

impl Truth {
    fn measure(&mut self, function: fn()) {
        let (began, on_cpu) = (Instant::now(), thread_cpu());
        function();
        self.calls += 1;
        self.time += began.elapsed();
        self.on_cpu += thread_cpu().saturating_sub(on_cpu);
    }
}

/// The CPU time of this thread at the kernel's last tick.
fn thread_cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("/proc is mounted");
    Duration::from_nanos(text.split(' ').next().and_then(|word| word.parse().ok()).expect("it is a number"))
}

#[inline(never)]
fn stall_outside() {
    std::thread::sleep(PART);
    std::hint::black_box(());
}

/// Well above the threshold.
const PART: Duration = Duration::from_millis(40);

/// The sum of a value over the samples that satisfy a condition.
fn sum(profile: &Profile, value: &str, condition: impl Fn(&Sample) -> bool) -> f64 {
    let value = profile.value_named(value).unwrap_or_else(|| panic!("{value} is not in {:?}", profile.values));
    profile.samples.iter().filter(|sample| condition(sample)).map(|sample| sample.values[value] as f64).sum()
}

fn passes_through(profile: &Profile, sample: &Sample, function: &str) -> bool {
    profile.frames_of(sample).any(|frame| frame.frame.function.ends_with(function))
}

fn state<'p>(profile: &'p Profile, sample: &Sample) -> &'p str {
    profile.labels_of(sample).and_then(|labels| labels.state.as_deref()).unwrap_or_default()
}

fn profile(watch: &Watch, mode: ProfileMode, seconds: f64) -> Profile {
    let options = ProfileOptions::new(mode).rate(199).duration(Duration::from_secs_f64(seconds));
    watch.profile_blocking(&options).expect("profiles")
}

#[test]
fn wall_time_of_a_worker_that_sleeps_computes_and_parks_by_thirds() {
    let _alone = alone();
    let watch = Events::default().watch();
    let mut builder = Builder::new_multi_thread();
    let runtime = watch.runtime(builder.worker_threads(1).enable_all().name("thirds")).expect("builds");
    let third = Duration::from_millis(23);
    let task = async move {
        loop {
            sleep_a_third(third);
            // Each has its own poll, and so its own slices.
            tokio::task::yield_now().await;
            compute_a_third(third);
            tokio::time::sleep(third).await;
        }
    };
    let line = line!() + 1;
    let running = runtime.spawn(task.watched_as("thirds"));
    let profile = profile(&watch, ProfileMode::Wall, 5.0);
    running.abort();

    let of_worker = |sample: &Sample| profile.labels_of(sample).is_some_and(|labels| labels.worker == Some(0));
    let all = sum(&profile, "time", of_worker);
    let workers: HashSet<_> = profile.labels.iter().filter_map(|labels| labels.worker).collect();
    assert_eq!(workers, HashSet::from([0]));
    let window = profile.duration.as_nanos() as f64;
    assert!((all / window - 1.0).abs() < 0.05, "{all} ns of one worker in {window} ns");

    let in_function = |function: &str, expected: &str| {
        let inside = |sample: &Sample| of_worker(sample) && passes_through(&profile, sample, function);
        let time = sum(&profile, "time", inside);
        let in_state = sum(&profile, "time", |sample| inside(sample) && state(&profile, sample) == expected);
        assert!(in_state > time * 0.9, "{function}: {in_state} of {time} ns are {expected}");
        let labelled = |sample: &Sample| {
            profile.labels_of(sample).is_some_and(|labels| {
                labels.task.is_some()
                    && labels.task_name.as_deref() == Some("thirds")
                    && labels.runtime.as_deref() == Some("thirds")
                    && labels.spawned_at.as_deref() == Some(&format!("tests/profiles/wall_and_stalled.rs:{line}"))
            })
        };
        let of_task = sum(&profile, "time", |sample| inside(sample) && labelled(sample));
        // On a busy machine a poll may end after its stack was captured and before the check that it still runs.
        assert!(of_task > time * 0.6, "{function}: {of_task} of {time} ns carry the task");
        time / all
    };
    let sleeps = in_function("sleep_a_third", "off-cpu");
    let computes = in_function("compute_a_third", "on-cpu");
    let parked = sum(&profile, "time", |sample| of_worker(sample) && state(&profile, sample) == "parked") / all;
    println!("of {window} ns: sleeps {sleeps:.3}, computes {computes:.3}, parked {parked:.3}; {:?}", profile.quality);
    for share in [sleeps, computes, parked] {
        assert!((share - 1.0 / 3.0).abs() < 0.12, "sleeps {sleeps:.3}, computes {computes:.3}, parked {parked:.3}");
    }

    // One third of the slices are parks, and two thirds are stalls.
    for kind in [SliceKind::Parked, SliceKind::Stall] {
        let slices: Vec<_> = profile.slices.iter().filter(|slice| slice.kind == kind).collect();
        assert!(slices.len() > 10, "{} slices are {}", slices.len(), kind.as_str());
        assert!(slices.iter().all(|slice| slice.end >= slice.start && slice.end <= profile.duration));
        let named = slices.iter().filter(|slice| (&*slice.name == "thirds") == (kind == SliceKind::Stall)).count();
        assert!(named * 10 >= slices.len() * 9, "{named} of {} slices are named as expected", slices.len());
    }
}

#[test]
fn wall_time_of_two_workers_with_short_polls() {
    let _alone = alone();
    // There are no stalls, so slices are polls.
    let watch = Events::default().builder().threshold(Duration::from_secs(5)).start().expect("starts");
    let mut builder = Builder::new_multi_thread();
    let runtime = watch.runtime(builder.worker_threads(2).enable_all()).expect("builds");
    let task = async {
        loop {
            sleep_a_third(Duration::from_millis(20));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let running = runtime.spawn(task.watched());
    let profile = profile(&watch, ProfileMode::Wall, 2.0);
    running.abort();
    let window = profile.duration.as_nanos() as f64;
    let of_workers = |sample: &Sample| profile.labels_of(sample).is_some_and(|labels| labels.worker.is_some());
    let all = sum(&profile, "time", of_workers);
    assert!((all / window - 2.0).abs() < 0.1, "{all} ns of two workers in {window} ns");
    let parked = sum(&profile, "time", |sample| of_workers(sample) && state(&profile, sample) == "parked");
    assert!(parked > window, "the worker without work is parked all the time: {parked} of {all} ns");
    let polls = profile.slices.iter().filter(|slice| slice.kind == SliceKind::Poll).count();
    assert!(polls > 10, "{polls} polls");
    assert_eq!(profile.slices.iter().filter(|slice| slice.kind == SliceKind::Stall).count(), 0);
}

#[test]
fn stalled_time_of_two_functions_by_cause_and_only_within_the_window() {
    let _alone = alone();
    let events = Events::default();
    let watch = Arc::new(events.watch());
    let mut builder = Builder::new_multi_thread();
    let runtime = watch.runtime(builder.worker_threads(1).enable_all().name("stalls")).expect("builds");
    let before = async { stall_outside() };
    let before = runtime.spawn(before.watched_as("before"));
    runtime.block_on(async { before.await.expect("it ends") });
    events.wait_for("it has ended", |phase, stall| {
        phase == holdup::stall::Phase::Ended && function_of(stall).ends_with("stall_outside")
    });

    let profiling = Arc::clone(&watch);
    let profiled = std::thread::spawn(move || profile(&profiling, ProfileMode::Stalled, 6.0));
    // The stalls lie within the window.
    std::thread::sleep(Duration::from_millis(300));
    let start = Instant::now();
    let task = async move {
        let (mut one, mut three) = (Truth::default(), Truth::default());
        while start.elapsed() < Duration::from_secs(4) {
            one.measure(stall_one_part);
            tokio::task::yield_now().await;
            three.measure(stall_three_parts);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        (one, three)
    };
    let line = line!() + 1;
    let running = runtime.spawn(task.watched_as("stalls"));
    let (one, three) = runtime.block_on(async { running.await.expect("it ends") });
    let profile = profiled.join().expect("no panic");

    let outside = |sample: &Sample| passes_through(&profile, sample, "stall_outside");
    assert_eq!(profile.samples.iter().filter(|sample| outside(sample)).count(), 0, "it was before the window");
    assert!(profile.duration >= Duration::from_secs(6), "{:?}", profile.duration);
    let in_function = |function: &'static str, causes: &[&str], truth: Truth| {
        let inside = |sample: &Sample| passes_through(&profile, sample, function);
        let time = sum(&profile, "stalled", inside);
        let [on_cpu, off_cpu] = ["on_cpu", "off_cpu"].map(|value| sum(&profile, value, inside));
        assert!((on_cpu + off_cpu - time).abs() <= 1.0, "{function}: {on_cpu} + {off_cpu} ns of {time} ns");
        let own_time = truth.time.as_nanos() as f64;
        assert!((0.8..1.2).contains(&(time / own_time)), "{function}: {time} ns of {truth:?}");
        let (stalls, calls) = (sum(&profile, "stalls", inside), f64::from(truth.calls));
        assert!(calls > 5.0 && (stalls - calls).abs() <= calls * 0.2, "{function}: {stalls} stalls of {truth:?}");
        let own_share = truth.on_cpu.as_nanos() as f64 / own_time;
        let share = on_cpu / time;
        println!("{function}: {:.3} of {truth:?}; on the CPU {share:.3} of {own_share:.3}", time / own_time);
        assert!((share - own_share).abs() < 0.2, "{function}: {share} is on the CPU of {truth:?}");
        let named = sum(&profile, "stalled", |sample| {
            inside(sample)
                && causes.contains(&state(&profile, sample))
                && profile.labels_of(sample).is_some_and(|labels| {
                    labels.runtime.as_deref() == Some("stalls")
                        && labels.task_name.as_deref() == Some("stalls")
                        && labels.spawned_at.as_deref() == Some(&format!("tests/profiles/wall_and_stalled.rs:{line}"))
                })
        });
        assert!(named > time * 0.5, "{function}: {named} of {time} ns are {causes:?}");
        (time, own_time)
    };
    let (one, own_one) = in_function("stall_one_part", &["sleeping"], one);
    // On a busy machine the cause may be not_scheduled. The share on CPU shows how busy it was.
    let (three, own_three) = in_function("stall_three_parts", &["computing", "not_scheduled"], three);
    let (share, own_share) = (one / (one + three), own_one / (own_one + own_three));
    println!("the share of one part: {share:.3}, by its own clock {own_share:.3}; {:?}", profile.quality);
    assert!((share - own_share).abs() < 0.1, "{share} is not {own_share}");
    let total = sum(&profile, "stalled", |_| true);
    assert!(total < profile.duration.as_nanos() as f64, "{total} ns of one worker");
}
