//! Polls that do one thing after another: the report shows both, and blames the longer one.

#[path = "../support/mod.rs"]
mod support;

use std::sync::Mutex;
use std::time::{Duration, Instant};

use holdup::stall::{CauseClass, Phase, StallPart};
use holdup::{Stall, spawn};
use support::cpu_load::use_cpu;
use support::{DEADLINE, Events, alone, function_of};
use tokio::runtime::Builder;

const fn ms(time: u64) -> Duration {
    Duration::from_millis(time)
}

#[inline(never)]
fn compute(time: Duration) {
    use_cpu(time);
    std::hint::black_box(());
}

#[inline(never)]
fn nap(time: Duration) {
    std::thread::sleep(time);
    std::hint::black_box(());
}

#[inline(never)]
fn nap_again(time: Duration) {
    std::thread::sleep(time);
    std::hint::black_box(());
}

#[inline(never)]
fn wait_for_mutex(time: Duration) {
    static MUTEX: Mutex<()> = Mutex::new(());
    let (held, holds) = std::sync::mpsc::channel();
    let holder = std::thread::spawn(move || {
        let _guard = MUTEX.lock();
        held.send(()).expect("the test waits");
        std::thread::sleep(time);
    });
    holds.recv().expect("the thread takes the lock");
    drop(MUTEX.lock());
    holder.join().expect("the thread ends");
}

/// The ended stall of a task that does this in one poll. On a busy machine a part can be missed, so it is repeated until the
/// stall is `right`.
fn stall_of(what: &str, act: fn(), right: impl Fn(&Stall) -> bool) -> Stall {
    let _alone = alone();
    let events = Events::default();
    let watch = events.watch();
    let mut builder = Builder::new_multi_thread();
    let runtime = watch.runtime(builder.worker_threads(1).enable_all()).expect("builds");
    let is_right = |(phase, stall): &(Phase, Stall)| *phase == Phase::Ended && right(stall);
    runtime.block_on(async {
        let limit = Instant::now() + DEADLINE;
        while !events.all().iter().any(is_right) && Instant::now() < limit {
            spawn(async move { act() }).await.expect("it ends");
            tokio::time::sleep(ms(5)).await;
        }
    });
    events.wait_for(what, |phase, stall| phase == Phase::Ended && right(stall))
}

/// Whether a part is of this function and cause, and about as long. A computation shows the functions that it calls.
fn is(part: &StallPart, function: &str, class: CauseClass, time: Duration) -> bool {
    let name = part.culprit.as_ref().map_or_else(String::new, |culprit| culprit.frame.function.to_string());
    let is_named = name == format!("stalls_parts::{function}") || class == CauseClass::Computing;
    is_named
        && part.cause.class == class
        && part.duration() >= time * 3 / 4
        && part.cause.evidence.own_time() <= time * 2
}

/// Whether culprit, cause and stack come from one part, and the parts cover the stall.
fn is_of_one_moment(stall: &Stall) -> bool {
    let of_headline = |part: &&StallPart| part.cause.class == stall.cause.class;
    let headline = stall.parts.iter().filter(of_headline).find(|part| part.culprit == stall.culprit);
    let on_stack = |stack: &holdup::stall::Stack| {
        stall.culprit.as_ref().is_some_and(|culprit| stack.frames.get(culprit.depth) == Some(&culprit.frame))
    };
    let covers = stall.parts[0].from.is_zero() && stall.parts.last().is_some_and(|last| last.to == stall.duration);
    headline.is_some() && stall.stack.as_ref().is_ok_and(on_stack) && covers
}

#[test]
fn a_computation_and_then_a_lock_are_two_parts() {
    let act = || {
        compute(ms(90));
        wait_for_mutex(ms(50));
    };
    let stall = stall_of("two parts", act, |stall| {
        let [first, second] = &*stall.parts else { return false };
        is(first, "compute", CauseClass::Computing, ms(90)) && is(second, "wait_for_mutex", CauseClass::Lock, ms(50))
    });
    assert_eq!(stall.cause.class, CauseClass::Computing, "the longer one: {stall:#?}");
    assert!(is_of_one_moment(&stall), "{stall:#?}");
}

#[test]
fn the_second_part_is_the_headline_if_it_is_longer() {
    let act = || {
        wait_for_mutex(ms(30));
        nap(ms(250));
    };
    let stall = stall_of("two parts", act, |stall| {
        let [first, second] = &*stall.parts else { return false };
        is(first, "wait_for_mutex", CauseClass::Lock, ms(30)) && is(second, "nap", CauseClass::Sleeping, ms(250))
    });
    assert_eq!((&*function_of(&stall), stall.cause.class), ("stalls_parts::nap", CauseClass::Sleeping));
    assert!(is_of_one_moment(&stall), "{stall:#?}");
}

#[test]
fn two_sleeps_in_different_functions_are_two_parts() {
    let act = || {
        nap(ms(60));
        nap_again(ms(140));
    };
    let stall = stall_of("two parts", act, |stall| {
        let [first, second] = &*stall.parts else { return false };
        is(first, "nap", CauseClass::Sleeping, ms(60)) && is(second, "nap_again", CauseClass::Sleeping, ms(140))
    });
    assert_eq!(&*function_of(&stall), "stalls_parts::nap_again");
    assert!(is_of_one_moment(&stall), "{stall:#?}");
}

#[test]
fn a_poll_that_does_one_thing_has_one_part() {
    let stall = stall_of("one part", || nap(ms(200)), |stall| &*function_of(stall) == "stalls_parts::nap");
    assert_eq!((stall.parts.len(), stall.parts_joined), (1, 0), "{stall:#?}");
    assert!(is_of_one_moment(&stall), "{stall:#?}");
}
