//! Stalls on a CPU that another thread uses too, and under a CPU quota: the cause stays the code's, and the machine's part is
//! beside it.

#[path = "../support/mod.rs"]
mod support;

use std::sync::Mutex;
use std::time::Duration;

use holdup::stall::{CauseClass, Counted, Phase};
use holdup::{Stall, spawn};
use support::cpu_load::use_cpu;
use support::one_cpu::{Hog, last_cpu, pin, poll_beside_a_hog};
use support::quota::Quota;
use support::{Events, alone, wait_until};
use tokio::runtime::Builder;

/// Three times the threshold.
const LONG: Duration = Duration::from_millis(30);

/// Stalls of each kind.
const REPEATS: usize = 20;

#[inline(never)]
fn compute() {
    use_cpu(LONG);
    std::hint::black_box(());
}

#[inline(never)]
fn nap() {
    std::thread::sleep(LONG);
    std::hint::black_box(());
}

#[inline(never)]
fn wait_for_mutex() {
    static MUTEX: Mutex<()> = Mutex::new(());
    let (held, holds) = std::sync::mpsc::channel();
    let holder = std::thread::spawn(move || {
        let _guard = MUTEX.lock();
        held.send(()).expect("the test waits");
        std::thread::sleep(LONG);
    });
    holds.recv().expect("the thread takes the lock");
    drop(MUTEX.lock());
    holder.join().expect("the thread ends");
}

/// The ended stalls of a function that runs on one CPU with a hog.
fn beside_a_hog(function: &str, act: fn()) -> Vec<Stall> {
    let hog = Hog::on(last_cpu());
    let stalls = on_one_cpu(function, act);
    drop(hog);
    stalls
}

/// The ended stalls of a function that runs on the last CPU.
fn on_one_cpu(function: &str, act: fn()) -> Vec<Stall> {
    let events = Events::default();
    let watch = events.watch();
    let name = format!("stalls_loaded::{function}");
    let is_named = |stall: &Stall| {
        stall.stack.as_ref().is_ok_and(|stack| stack.frames.iter().any(|frame| *frame.function == *name))
    };
    let ended = |all: &[(Phase, Stall)]| -> Vec<Stall> {
        let all = all.iter().cloned();
        all.filter(|(phase, stall)| *phase == Phase::Ended && is_named(stall)).map(|(_, stall)| stall).collect()
    };
    let cpu = last_cpu();
    let worker = std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            pin(cpu);
            let mut builder = Builder::new_current_thread();
            let runtime = watch.runtime(builder.enable_all()).expect("builds");
            runtime.block_on(async {
                for _ in 0..REPEATS {
                    spawn(async move { act() }).await.expect("it ends");
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            });
        });
        worker.join()
    });
    worker.expect("the runtime ends");
    // Further load on the machine may keep the watchdog from running during some of them.
    let stalls = ended(&events.all_of(watch));
    assert!(stalls.len() >= REPEATS / 3, "{} of {REPEATS} are reported", stalls.len());
    stalls
}

/// The parts of the evidence of a stall.
fn parts(stall: &Stall) -> Duration {
    let evidence = &stall.cause.evidence;
    let waits: Duration = evidence.waits.iter().map(|wait| wait.time).sum();
    let optional = [evidence.on_cpu, evidence.run_queue, evidence.throttled, evidence.stolen];
    optional.into_iter().flatten().sum::<Duration>() + waits + evidence.starved
}

fn most_have_the_cause(stalls: &[Stall], class: CauseClass) {
    let right = stalls.iter().filter(|stall| stall.cause.class == class).count();
    assert!(right * 5 >= stalls.len() * 4, "{right} of {} are {class}: {stalls:#?}", stalls.len());
    for stall in stalls {
        assert!(parts(stall) <= stall.cause.evidence.window, "the parts exceed the window: {stall:#?}");
        assert!(stall.cause.evidence.window <= stall.duration, "the window exceeds the poll: {stall:#?}");
    }
}

#[test]
fn a_computation_beside_a_hog_is_computing() {
    let _alone = alone();
    let stalls = beside_a_hog("compute", compute);
    most_have_the_cause(&stalls, CauseClass::Computing);
    let waited: Duration = stalls.iter().map(|stall| stall.cause.evidence.machine_time()).sum();
    let all: Duration = stalls.iter().map(|stall| stall.duration).sum();
    assert!(waited >= all / 4, "the machine's part is beside it: {waited:?} of {all:?}");
}

#[test]
fn a_sleep_beside_a_hog_is_sleeping() {
    let _alone = alone();
    most_have_the_cause(&beside_a_hog("nap", nap), CauseClass::Sleeping);
}

/// Two thirds of the threshold on the CPU. Beside a hog, that takes longer than the threshold.
#[inline(never)]
fn compute_briefly() {
    use_cpu(LONG * 2 / 3);
    std::hint::black_box(());
}

#[test]
fn polls_that_only_the_machine_makes_long_are_counted_apart() {
    let _alone = alone();
    let events = Events::default();
    let watch = events.builder().threshold(LONG).start().expect("starts");
    poll_beside_a_hog(&watch, 5, compute_briefly);
    let all_ended = || watch.stalls().entries.iter().all(|entry| entry.stall.ended);
    wait_until("the counters are complete", || {
        let counters = watch.counters();
        let known = counters.stalls + counters.block_on + counters.start_up + counters.not_scheduled;
        all_ended() && counters.noticed == known + counters.dismissed
    });
    let groups = watch.stalls().groups();
    let of = |counted| groups.iter().filter(|group| group.counted_as == counted).map(|group| group.count).sum::<u64>();
    let counters = watch.counters();
    assert_eq!(
        (of(Counted::NotScheduled), of(Counted::Stall)),
        (counters.not_scheduled, counters.stalls),
        "{counters:?}"
    );
    assert!(groups.windows(2).all(|pair| pair[0].counted_as <= pair[1].counted_as), "the machine's come last");
}

#[test]
fn a_lock_beside_a_hog_is_a_lock() {
    let _alone = alone();
    most_have_the_cause(&beside_a_hog("wait_for_mutex", wait_for_mutex), CauseClass::Lock);
}

#[test]
fn a_computation_under_a_quota_is_computing_and_the_quota_is_named() {
    let _alone = alone();
    let Some(quota) = Quota::of_one_cpu(0.2) else {
        eprintln!("skipped: this user cannot make a group of processes with a quota");
        return;
    };
    let stalls = on_one_cpu("compute", compute);
    drop(quota);
    most_have_the_cause(&stalls, CauseClass::Computing);
    // A computation of 30 ms uses up a quota of 20 ms at least once. Other load on the machine holds it back too.
    let held_back = |stall: &&Stall| {
        let evidence = &stall.cause.evidence;
        evidence.throttled > Some(Duration::ZERO) && evidence.throttles >= Some(1)
    };
    let named = stalls.iter().filter(held_back).count();
    assert!(named * 5 >= stalls.len() * 4, "{named} of {}: {stalls:#?}", stalls.len());
}
