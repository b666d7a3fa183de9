//! Stalls with a known cause: each must be reported with its function, line and cause.

#[path = "../support/mod.rs"]
mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use holdup::WatchFutureExt;
use holdup::stall::{CaptureMethod, CauseClass, Phase};
use support::http::slow_peer;
use support::{DEADLINE, Events, alone, function_of, wait_until};
use tokio::runtime::Builder;

const LONG: Duration = Duration::from_millis(60);

/// The line of the blocking call, set by the function that makes it.
static LINE: AtomicU32 = AtomicU32::new(0);

#[inline(never)]
fn nap() {
    LINE.store(line!() + 1, Ordering::Relaxed);
    std::thread::sleep(LONG);
}

#[inline(never)]
fn compute() {
    let start = Instant::now();
    let mut sum = 0_u64;
    while start.elapsed() < LONG * 3 {
        sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(7));
    }
}

#[inline(never)]
fn wait_for_mutex(mutex: &Mutex<()>) {
    LINE.store(line!() + 1, Ordering::Relaxed);
    let _guard = mutex.lock();
}

#[inline(never)]
fn wait_for_channel() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let slow = std::thread::spawn(move || {
        std::thread::sleep(LONG);
        sender.send(()).expect("the receiver waits");
    });
    LINE.store(line!() + 1, Ordering::Relaxed);
    receiver.recv().expect("the sender sends");
    slow.join().expect("the thread ends");
}

#[inline(never)]
fn read_from_peer(peer: SocketAddr) {
    let mut stream = TcpStream::connect(peer).expect("the peer listens");
    LINE.store(line!() + 1, Ordering::Relaxed);
    stream.read_exact(&mut [0]).expect("the peer answers");
}

#[inline(never)]
fn sync_to_disk() {
    let path = std::env::temp_dir().join(format!("holdup-test-{}", std::process::id()));
    let start = Instant::now();
    let mut file = std::fs::File::create(&path).expect("the temporary folder is writable");
    while start.elapsed() < LONG {
        file.write_all(&[7; 64 * 1024]).expect("there is room");
        file.sync_all().expect("syncs");
    }
    drop(file);
    std::fs::remove_file(&path).expect("it was there");
}

#[inline(never)]
fn wait_for_child() {
    let child = std::process::Command::new("sleep").arg("0.06").spawn();
    LINE.store(line!() + 1, Ordering::Relaxed);
    child.expect("`sleep` is there").wait().expect("it ends");
}

fn both_flavors() -> [(&'static str, Builder); 2] {
    let mut multi = Builder::new_multi_thread();
    multi.worker_threads(2).enable_all();
    let mut current = Builder::new_current_thread();
    current.enable_all();
    [("multi-thread", multi), ("current-thread", current)]
}

/// Runs `act` in a task repeatedly until a stall with this culprit and cause is reported.
fn caught(function: &str, class: CauseClass, act: impl Fn() + Clone + Send + 'static) {
    let _alone = alone();
    for (flavor, mut builder) in both_flavors() {
        let events = Events::default();
        let watch = events.watch();
        let runtime = watch.runtime(&mut builder).expect("builds");
        let name = format!("stalls_causes::{function}");
        let act = act.clone();
        let repeats = Arc::new(AtomicU32::new(0));
        let done = Arc::clone(&repeats);
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let running = std::thread::spawn(move || {
            runtime.block_on(async {
                let acting = holdup::spawn_named("acting", async move {
                    loop {
                        act();
                        done.fetch_add(1, Ordering::Relaxed);
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                });
                let _told = stopped.await;
                acting.abort();
            });
        });
        let what = format!("{name}, {class}, {flavor}");
        let stall = events.wait_for(&what, |phase, stall| {
            phase == Phase::Ended && function_of(stall) == name && stall.cause.class == class
        });
        stop.send(()).expect("the runtime waits for it");
        running.join().expect("the runtime ends");

        assert_eq!(stall.task.name.as_deref(), Some("acting"), "{what}");
        assert!(stall.task.id.is_some(), "{what}");
        let spawned_at = stall.task.spawned_at.expect("a spawn location");
        assert!(spawned_at.file().ends_with("tests/stalls/causes.rs"), "{what}: {spawned_at}");
        assert!(stall.worker.is_some(), "{what}");
        assert!(stall.duration >= Duration::from_millis(10), "{what}: {:?}", stall.duration);
        let culprit = stall.culprit.expect("it is known");
        assert_eq!(culprit.frame.file.as_deref(), Some("tests/stalls/causes.rs"), "{what}");
        let stack = stall.stack.expect("it is known");
        assert!(stack.complete, "{what}: {stack:#?}");
        if class != CauseClass::Computing && class != CauseClass::File {
            assert_eq!(culprit.frame.line, Some(LINE.load(Ordering::Relaxed)), "{what}");
            assert_eq!(stack.method, CaptureMethod::Passive, "{what}: a sleeping thread is not touched");
        }
    }
}

#[test]
fn a_sleep_has_the_cause_sleeping() {
    caught("nap", CauseClass::Sleeping, nap);
}

#[test]
fn a_computation_has_the_cause_computing() {
    caught("compute", CauseClass::Computing, compute);
}

#[test]
fn a_mutex_has_the_cause_lock() {
    let mutex: &'static Mutex<()> = Box::leak(Box::new(Mutex::new(())));
    caught("wait_for_mutex", CauseClass::Lock, move || {
        let (held, holds) = std::sync::mpsc::channel();
        let holder = std::thread::spawn(move || {
            let _guard = mutex.lock();
            held.send(()).expect("the test waits");
            std::thread::sleep(LONG);
        });
        holds.recv().expect("the thread takes the lock");
        wait_for_mutex(mutex);
        holder.join().expect("the thread ends");
    });
}

#[test]
fn a_channel_has_the_cause_lock() {
    caught("wait_for_channel", CauseClass::Lock, wait_for_channel);
}

#[test]
fn a_slow_peer_has_the_cause_network() {
    let peer = slow_peer(LONG);
    caught("read_from_peer", CauseClass::Network, move || read_from_peer(peer));
}

#[test]
fn a_sync_to_disk_has_the_cause_file() {
    caught("sync_to_disk", CauseClass::File, sync_to_disk);
}

#[test]
fn a_child_process_has_the_cause_child_process() {
    caught("wait_for_child", CauseClass::ChildProcess, wait_for_child);
}

/// A gate at which a worker waits until the test opens it.
#[derive(Default)]
struct Gate(Mutex<bool>, Condvar);

impl Gate {
    #[inline(never)]
    fn wait(&self) {
        let mut open = self.0.lock().expect("no thread panics");
        while !*open {
            open = self.1.wait(open).expect("no thread panics");
        }
    }

    fn open(&self) {
        *self.0.lock().expect("no thread panics") = true;
        self.1.notify_all();
    }
}

#[test]
fn an_endless_stall_is_noticed_and_updated_while_it_lasts() {
    let _alone = alone();
    for (flavor, mut builder) in both_flavors() {
        let events = Events::default();
        let watch = events.watch();
        let runtime = watch.runtime(&mut builder).expect("builds");
        let gate = Arc::new(Gate::default());
        let at_gate = Arc::clone(&gate);
        let running = std::thread::spawn(move || {
            runtime.block_on(async {
                let stuck = holdup::spawn(async move { at_gate.wait() });
                stuck.await.expect("the gate opens");
            });
        });
        let is_gate = |stall: &holdup::Stall| function_of(stall) == "stalls_causes::Gate::wait";
        let noticed = events.wait_for(flavor, |phase, stall| phase == Phase::Noticed && is_gate(stall));
        assert!(!noticed.ended && noticed.cause.class == CauseClass::Lock, "{flavor}: {noticed:#?}");
        events.wait_for("the stack captured again at 4 thresholds", |phase, stall| {
            phase == Phase::Updated && stall.id == noticed.id && stall.duration >= stall.threshold * 4
        });
        events.wait_for("the stack captured again at 16 thresholds", |phase, stall| {
            phase == Phase::Updated && stall.id == noticed.id && stall.duration >= stall.threshold * 16
        });
        let now = watch.stalls();
        let entry = now.entries.iter().find(|entry| entry.stall.id == noticed.id).expect("it is in the history");
        assert!(!entry.stall.ended, "{flavor}: it lasts");
        assert!(entry.stall.duration >= noticed.duration, "{flavor}: it grows");
        let workers = watch.workers();
        assert!(workers.iter().any(|now| now.polling_for >= Some(noticed.threshold)), "{flavor}: {workers:#?}");
        gate.open();
        running.join().expect("the runtime ends");
        let ended = events.wait_for("ended", |phase, stall| phase == Phase::Ended && stall.id == noticed.id);
        assert!(ended.ended && ended.duration >= ended.threshold * 16, "{flavor}: {:?}", ended.duration);
    }
}

#[test]
fn the_future_given_to_block_on_is_instrumented_too() {
    let _alone = alone();
    for (flavor, mut builder) in both_flavors() {
        let events = Events::default();
        let watch = events.watch();
        let runtime = watch.runtime(&mut builder).expect("builds");
        runtime.block_on(async {
            for _ in 0..5 {
                nap();
                tokio::task::yield_now().await;
            }
        });
        let stall = events.wait_for(flavor, |_, stall| function_of(stall) == "stalls_causes::nap");
        assert_eq!(stall.task.id, None, "{flavor}: it is no task");
        assert_eq!(stall.worker, (flavor == "current-thread").then_some(0), "{flavor}");
    }
}

#[test]
fn block_in_place_and_spawn_blocking_stall_no_worker() {
    let _alone = alone();
    let events = Events::default();
    let watch = events.watch();
    let mut builder = Builder::new_multi_thread();
    let runtime = watch.runtime(builder.worker_threads(2).enable_all()).expect("builds");
    runtime.block_on(async {
        let mut tasks = Vec::new();
        for _ in 0..6 {
            tasks.push(holdup::spawn(async {
                tokio::task::block_in_place(|| {
                    nap();
                    compute();
                });
                tokio::task::spawn_blocking(nap).await.expect("it ends");
                tokio::task::spawn_blocking(compute).await.expect("it ends");
            }));
        }
        for task in tasks {
            task.await.expect("it ends");
        }
        // Once this stall is seen, earlier ones would have been seen too. It is repeated if a busy machine did not run the watchdog.
        let limit = Instant::now() + DEADLINE;
        while !events.any_ended("last") {
            assert!(Instant::now() < limit, "no stall of the task after them in {DEADLINE:?}");
            holdup::spawn_named("last", async { wait_for_channel() }).await.expect("it ends");
        }
    });
    for (phase, stall) in events.all_of(watch) {
        let handed_on = ["stalls_causes::nap", "stalls_causes::compute"].contains(&function_of(&stall).as_str());
        assert!(!handed_on, "{phase:?} {} {}", function_of(&stall), stall.cause.class);
    }
}

#[test]
fn many_short_polls_are_not_a_stall() {
    let _alone = alone();
    let events = Events::default();
    let watch = events.builder().threshold(Duration::from_millis(20)).start().expect("starts");
    for (_, mut builder) in both_flavors() {
        let runtime = watch.runtime(&mut builder).expect("builds");
        runtime.block_on(async {
            let busy = holdup::spawn(async {
                for _ in 0..200 {
                    let start = Instant::now();
                    while start.elapsed() < Duration::from_millis(1) {
                        std::hint::spin_loop();
                    }
                    tokio::task::yield_now().await;
                }
            });
            busy.await.expect("it ends");
        });
    }
    // The machine may delay a single short poll. All of them together would be a computation of 200 ms.
    for (phase, stall) in events.all_of(watch).iter().filter(|(_, stall)| stall.cause.class != CauseClass::NotScheduled)
    {
        assert!(stall.duration < Duration::from_millis(150), "{phase:?} {:?} {:?}", stall.duration, stall.cause);
    }
}

#[test]
fn equal_stalls_are_one_entry_with_a_count() {
    let _alone = alone();
    let events = Events::default();
    let watch = events.watch();
    let mut builder = Builder::new_multi_thread();
    let runtime = watch.runtime(builder.worker_threads(1).enable_all()).expect("builds");
    let counted = || watch.stalls().entries.iter().filter(|entry| entry.stall.ended).map(|entry| entry.count).max();
    // A busy machine may change the cause of one of them. The others are equal.
    runtime.block_on(async {
        for _ in 0..40 {
            holdup::spawn(async { nap() }).await.expect("it ends");
            if counted() >= Some(8) {
                return;
            }
        }
    });
    wait_until("eight equal stalls", || counted() >= Some(8));
    let stalls = watch.stalls();
    let entry = stalls.entries.iter().max_by_key(|entry| entry.count).expect("it is known");
    assert!(entry.count >= 8 && stalls.counters.stalls >= entry.count);
    // The others may have further causes, and each of these is reported.
    assert!(
        (entry.count / 2..stalls.counters.stalls).contains(&stalls.counters.suppressed),
        "equal stalls are reported rarely: {:?}",
        stalls.counters
    );
    // The start and the end of a stall are known within about a millisecond.
    assert!(entry.total >= LONG * 7 && entry.longest >= LONG * 9 / 10, "{entry:#?}");
}

#[test]
fn stalls_carry_the_name_of_their_runtime() {
    let _alone = alone();
    let events = Events::default();
    let watch = events.watch();
    let mut one = Builder::new_multi_thread();
    let one = watch.runtime(one.name("one").worker_threads(1).enable_all()).expect("builds");
    let mut two = Builder::new_multi_thread();
    let two = watch.runtime(two.worker_threads(1).enable_all()).expect("builds");
    for runtime in [&one, &two] {
        runtime.block_on(async { holdup::spawn(async { nap() }).await.expect("it ends") });
    }
    for name in ["one", "runtime-2"] {
        events
            .wait_for(name, |phase, stall| phase == Phase::Ended && &*stall.runtime == name && stall.worker == Some(0));
    }
}

#[test]
fn a_named_part_of_a_task_is_reported_with_its_name() {
    let _alone = alone();
    let events = Events::default();
    let watch = events.watch();
    let mut builder = Builder::new_multi_thread();
    let runtime = watch.runtime(builder.worker_threads(1).enable_all()).expect("builds");
    runtime.block_on(async {
        let task = holdup::spawn_named("connection", async {
            async { nap() }.watched_as("GET /latest-news").await;
            tokio::task::yield_now().await;
            compute();
        });
        task.await.expect("it ends");
    });
    let inner = events.wait_for("the inner part", |_, stall| function_of(stall) == "stalls_causes::nap");
    assert_eq!(inner.task.name.as_deref(), Some("GET /latest-news"));
    let outer = events.wait_for("the rest", |_, stall| function_of(stall) == "stalls_causes::compute");
    assert_eq!(outer.task.name.as_deref(), Some("connection"));
}

#[test]
fn a_runtime_inside_a_task_and_the_outer_one_are_both_watched() {
    let _alone = alone();
    let events = Events::default();
    let watch = Arc::new(events.watch());
    let mut builder = Builder::new_multi_thread();
    let runtime = watch.runtime(builder.name("outer").worker_threads(1).enable_all()).expect("builds");
    let inner_watch = Arc::clone(&watch);
    runtime.block_on(async {
        let nested = holdup::spawn(async move {
            tokio::task::block_in_place(|| {
                let mut builder = Builder::new_current_thread();
                let inner = inner_watch.runtime(builder.name("inner").enable_all()).expect("builds");
                // Time for another thread to take the outer worker.
                inner.block_on(async {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    nap();
                });
            });
        });
        nested.await.expect("it ends");
        for _ in 0..3 {
            holdup::spawn(async { wait_for_channel() }).await.expect("it ends");
        }
    });
    let inner = events.wait_for("inside", |_, stall| function_of(stall) == "stalls_causes::nap");
    assert_eq!((&*inner.runtime, inner.worker), ("inner", Some(0)));
    let outer = events.wait_for("outside", |_, stall| function_of(stall) == "stalls_causes::wait_for_channel");
    assert_eq!((&*outer.runtime, outer.worker), ("outer", Some(0)));
}
