//! Which task allocates, and what the endpoint answers.

#[path = "../support/mod.rs"]
mod support;

use std::hint::black_box;
use std::time::Duration;

use holdup::heap::{Allocator, Sampling};
use holdup::{Print, Profile, ProfileMode, Watch, WatchFutureExt};
use support::heap::{now, sum, through, watch};
use support::http::get;
use support::{alone, wait_until};

#[global_allocator]
static ALLOCATOR: Allocator = Allocator::system();

#[inline(never)]
fn baskets(number: usize) -> Vec<Vec<u8>> {
    (0..number).map(|_| black_box(vec![1_u8; 1_000])).collect()
}

#[test]
fn a_sample_has_the_task_that_was_polled() {
    let _alone = alone();
    let watch = watch(Sampling::bytes(16 << 10));
    let runtime = watch
        .runtime(tokio::runtime::Builder::new_multi_thread().worker_threads(2).name("shop").enable_all())
        .expect("it builds");
    let line = line!() + 1;
    let tasks: Vec<_> = (0..8).map(|_| runtime.spawn(work().watched_as("buyer"))).collect();
    let held = runtime.block_on(async {
        let mut held = Vec::new();
        for task in tasks {
            held.extend(task.await.expect("it ends"));
        }
        held
    });
    let live = now(&watch, ProfileMode::Heap);
    let [samples, _, bytes] = through(&live, "baskets");
    assert!(samples > 200 && bytes > 6_000_000, "{samples} samples, {bytes} bytes");
    let place = format!("tasks.rs:{line}");
    let right = sum(&live, "baskets", |labels| {
        labels.runtime.as_deref() == Some("shop")
            && labels.task_name.as_deref() == Some("buyer")
            && labels.spawned_at.as_deref().is_some_and(|spawned| spawned.ends_with(&place))
    });
    assert!(right[0] * 1000 >= samples * 995, "{} of {samples} have the task; {:?}", right[0], live.labels);
    drop(held);
}

async fn work() -> Vec<Vec<u8>> {
    let mut held = Vec::new();
    for _ in 0..10 {
        held.extend(baskets(100));
        // The collector can unwind as many samples as there are.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    held
}

#[test]
fn the_endpoint_answers_as_go_does() {
    let _alone = alone();
    let builder = Watch::builder().print(Print::Never).listen("127.0.0.1:0").heap(Sampling::bytes(64 << 10));
    let watch = builder.start().expect("the watch starts");
    let address = support::address_of(&watch);
    let held = baskets(10_000);
    let heap = get(address, "/debug/pprof/heap?gc=1");
    assert_eq!((heap.status, heap.header("content-disposition")), (200, Some("attachment; filename=\"heap\"")));
    let profile = Profile::read(&heap.body).expect("it is a profile");
    let names: Vec<&str> = profile.values.iter().map(|value| &*value.name).collect();
    assert_eq!(names, ["alloc_objects", "alloc_space", "inuse_objects", "inuse_space"]);
    assert_eq!(profile.drawn_value().map(|value| &*value.name), Some("inuse_space"));
    let bytes = |profile: &Profile, value: usize| -> i64 {
        let passes = |sample: &&holdup::profile::Sample| {
            profile.frames_of(sample).next().is_some_and(|frame| frame.frame.function.ends_with("::baskets"))
        };
        profile.samples.iter().filter(passes).map(|sample| sample.values[value]).sum()
    };
    assert!(bytes(&profile, 3) > 6_000_000, "the function is innermost: {}", bytes(&profile, 3));
    assert!(bytes(&profile, 1) >= bytes(&profile, 3));

    drop(held);
    let allocs = Profile::read(&get(address, "/debug/pprof/allocs").body).expect("it is a profile");
    assert_eq!(allocs.drawn_value().map(|value| &*value.name), Some("alloc_space"));
    assert_eq!(bytes(&allocs, 3), 0, "nothing of it lives");
    assert!(bytes(&allocs, 1) > 6_000_000);

    let adds = std::thread::spawn(move || get(address, "/debug/pprof/heap?seconds=1"));
    wait_until("memory is allocated in the window", || {
        std::mem::forget(baskets(10));
        adds.is_finished()
    });
    let delta = adds.join().expect("it ends");
    assert_eq!(delta.header("content-disposition"), Some("attachment; filename=\"heap-delta\""));
    let delta = Profile::read(&delta.body).expect("it is a profile");
    assert!(bytes(&delta, 3) > 0, "the window added memory");

    let text = get(address, "/debug/pprof/heap?debug=1").text();
    assert!(text.starts_with("heap profile: total ") && text.contains("inuse_space"), "{text}");
}

#[test]
fn every_mode_is_a_file_in_every_format() {
    let _alone = alone();
    let builder = Watch::builder().print(Print::Never).listen("127.0.0.1:0").heap(Sampling::bytes(64 << 10));
    let watch = builder.start().expect("the watch starts");
    let address = support::address_of(&watch);
    let held = baskets(10_000);
    for (mode, value) in [
        ("heap", "inuse_space"),
        ("allocs", "alloc_space"),
        ("peak", "peak_space"),
        ("leaks", "leaked_space"),
        ("temporary", "temporary_space"),
    ] {
        let file = get(address, &format!("/debug/holdup/profile?mode={mode}&seconds=0.05&format=json"));
        let profile = Profile::read(&file.body).expect(mode);
        assert_eq!((&*profile.kind, profile.drawn_value().map(|value| &*value.name)), (mode, Some(value)));
        for format in ["flamegraph", "folded", "pprof", "speedscope", "firefox"] {
            let file = get(address, &format!("/debug/holdup/profile?mode={mode}&seconds=0.05&format={format}"));
            assert_eq!(file.status, 200, "{mode} {format}: {}", file.text());
        }
    }
    let folded = get(address, "/debug/holdup/profile?mode=heap&format=folded").text();
    assert!(folded.lines().any(|line| line.contains("::baskets ")), "{folded}");
    let by_size = get(address, "/debug/holdup/profile?mode=heap&format=folded&group=size").text();
    let sized = |line: &str| line.starts_with("size: up to 1 KiB;") && line.contains("::baskets ");
    assert!(by_size.lines().any(sized), "{by_size}");
    let svg = get(address, "/debug/holdup/flamegraph.svg?mode=heap").text();
    assert!(svg.contains("live memory") && svg.contains("baskets"), "{}", svg.len());
    drop(held);
}

#[test]
fn memory_freed_in_its_poll_is_temporary_however_long_the_poll_is() {
    let _alone = alone();
    let watch = watch(Sampling::bytes(64 << 10));
    let runtime = watch.runtime(&mut tokio::runtime::Builder::new_current_thread()).expect("it builds");
    runtime.block_on(async {
        let held = baskets(1_000);
        std::thread::sleep(Duration::from_millis(40));
        drop(held);
    });
    let temporary = support::heap::window(&watch, ProfileMode::Temporary, Duration::from_millis(1));
    assert_eq!(through(&temporary, "baskets"), [0; 3], "before the window");
    let during = std::thread::scope(|scope| {
        let profile =
            scope.spawn(|| support::heap::window(&watch, ProfileMode::Temporary, Duration::from_millis(1500)));
        while !profile.is_finished() {
            runtime.block_on(async {
                let held = baskets(1_000);
                std::thread::sleep(Duration::from_millis(40));
                drop(held);
            });
        }
        profile.join().expect("it ends")
    });
    assert!(through(&during, "baskets")[0] > 100, "{:?}", through(&during, "baskets"));
}
