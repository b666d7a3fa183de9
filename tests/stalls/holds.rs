//! What a long poll holds up: a worker, a current-thread runtime, a `LocalSet`, or only the future given to `block_on`.

#[path = "../support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use holdup::stall::{Counted, Counters, Holds, Phase};
use holdup::{Hooks, Runtime, Stall, Watch};
use serde_json::Value;
use support::{DEADLINE, Events, alone, wait_until};
use tokio::runtime::Builder;
use tokio::task::{LocalSet, yield_now};

/// Well above the threshold of 10 ms, and above four thresholds, after which the stack is captured again.
const LONG: Duration = Duration::from_millis(100);

/// How often a scene is run, and how long its report may take.
const ATTEMPTS: usize = 6;
const ATTEMPT: Duration = Duration::from_secs(10);

#[inline(never)]
fn load_config() {
    std::thread::sleep(LONG);
    std::hint::black_box(());
}

#[inline(never)]
fn serve() {
    std::thread::sleep(LONG);
    std::hint::black_box(());
}

fn multi_thread() -> Builder {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(2).enable_all();
    builder
}

fn current_thread() -> Builder {
    let mut builder = Builder::new_current_thread();
    builder.enable_all();
    builder
}

/// Runs a scene on a runtime with and without task hooks. Returns its only stall, and the counters then.
#[track_caller]
fn only_stall(builder: fn() -> Builder, culprit: &str, scene: impl Fn(&Runtime)) -> Vec<(Stall, Counters)> {
    let both = [Hooks::new, || Hooks::new().without_task_hooks()];
    // A busy machine may not run the watchdog during a poll, or the poll may end before its stack is captured.
    let outcomes = both.map(|hooks| {
        let mut attempts = std::iter::repeat_with(|| stall_in(builder, hooks(), culprit, &scene)).take(ATTEMPTS);
        attempts.find_map(|outcome| outcome).expect("the poll is noticed")
    });
    outcomes.into()
}

/// Runs a scene once. `None` if no stall by the culprit is seen.
fn stall_in(
    builder: fn() -> Builder,
    hooks: Hooks,
    culprit: &str,
    scene: &impl Fn(&Runtime),
) -> Option<(Stall, Counters)> {
    let events = Events::default();
    let watch = events.watch();
    scene(&watch.runtime_with(&mut builder(), hooks).expect("builds"));
    let counters = counters_at_end(&watch, culprit)?;
    let is_end =
        |(phase, stall): &(Phase, Stall)| *phase == Phase::Ended && support::function_of(stall).ends_with(culprit);
    let mut stalls = events.all_of(watch).into_iter().filter(is_end).map(|(_, stall)| stall);
    let stall = stalls.next().expect("it has ended");
    assert_eq!(stalls.count(), 0, "it is noticed once");
    Some((stall, counters))
}

/// The counters, once a stall by the culprit has ended and every poll is counted.
fn counters_at_end(watch: &Watch, culprit: &str) -> Option<Counters> {
    let is_ended = |stall: &Stall| stall.ended && support::function_of(stall).ends_with(culprit);
    let limit = Instant::now() + ATTEMPT;
    while Instant::now() < limit {
        let counters = watch.counters();
        let Counters { noticed, stalls, block_on, start_up, not_scheduled, .. } = counters;
        let is_counted = stalls + block_on + start_up + not_scheduled == noticed;
        if is_counted && watch.stalls().entries.iter().any(|entry| is_ended(&entry.stall)) {
            return Some(counters);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    None
}

/// Checks what every outcome holds, and that it is counted as that alone.
#[track_caller]
fn all_hold(outcomes: Vec<(Stall, Counters)>, holds: Holds) {
    for (stall, counters) in outcomes {
        assert_eq!(stall.holds, holds, "{stall:#?}");
        let of = |counted| u64::from(stall.counted_as() == counted);
        // What the machine did beside it does not count here.
        assert!(counters.noticed >= 1, "{counters:?}");
        assert_eq!(
            (counters.block_on, counters.start_up),
            (of(Counted::BlockOn), of(Counted::StartUp)),
            "{counters:?}"
        );
        assert_eq!(counters.stalls > 0, stall.counted_as() == Counted::Stall, "{counters:?}");
    }
}

#[test]
fn start_up_work_before_the_first_task_holds_nothing() {
    let _alone = alone();
    for builder in [multi_thread, current_thread] {
        let main = |runtime: &Runtime| {
            runtime.block_on(async {
                load_config();
                tokio::spawn(async {}).await.expect("it ends");
            });
        };
        all_hold(only_stall(builder, "load_config", main), Holds::StartUp);
    }
}

#[test]
fn the_future_of_block_on_holds_no_worker_of_a_multi_thread_runtime() {
    let _alone = alone();
    let main = |runtime: &Runtime| {
        runtime.block_on(async {
            tokio::spawn(std::future::pending::<()>());
            load_config();
        });
    };
    all_hold(only_stall(multi_thread, "load_config", main), Holds::BlockOn);
    let beside = |runtime: &Runtime| {
        tokio::task::spawn(std::future::pending::<()>());
        runtime.handle().block_on(async { load_config() });
    };
    let entered = |runtime: &Runtime| {
        let _entered = runtime.enter();
        beside(runtime);
    };
    all_hold(only_stall(current_thread, "load_config", entered), Holds::BlockOn);
}

#[test]
fn the_future_of_block_on_holds_all_of_a_current_thread_runtime() {
    let _alone = alone();
    let main = |runtime: &Runtime| {
        runtime.block_on(async {
            // The task waits for the end of the poll that spawns it.
            tokio::spawn(async {});
            load_config();
        });
    };
    all_hold(only_stall(current_thread, "load_config", main), Holds::CurrentThread);
    let task = |runtime: &Runtime| {
        runtime.block_on(async { holdup::spawn(async { serve() }).await.expect("it ends") });
    };
    all_hold(only_stall(current_thread, "serve", task), Holds::CurrentThread);
}

#[test]
fn start_up_work_that_goes_on_while_a_task_waits_is_a_stall() {
    let _alone = alone();
    let main = |runtime: &Runtime| {
        runtime.block_on(async {
            load_config();
            let task = tokio::spawn(async {});
            // Until 16 thresholds have passed, when the stack is captured again.
            load_config();
            load_config();
            load_config();
            task.await.expect("it ends");
        });
    };
    all_hold(only_stall(current_thread, "load_config", main), Holds::CurrentThread);
}

#[test]
fn a_task_holds_its_worker() {
    let _alone = alone();
    let main = |runtime: &Runtime| {
        runtime.block_on(async { holdup::spawn(async { serve() }).await.expect("it ends") });
    };
    let outcomes = only_stall(multi_thread, "serve", main);
    assert!(outcomes.iter().all(|(stall, _)| stall.worker.is_some()), "{outcomes:#?}");
    all_hold(outcomes, Holds::Worker);
}

/// The runtime does not count the tasks of a `LocalSet` as its own. The stack shows them.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[test]
fn a_task_of_a_local_set_holds_the_set() {
    let _alone = alone();
    let main = |runtime: &Runtime| {
        let set = LocalSet::new();
        set.spawn_local(async { serve() });
        runtime.block_on(set);
    };
    all_hold(only_stall(multi_thread, "serve", main), Holds::LocalSet);
    all_hold(only_stall(current_thread, "serve", main), Holds::CurrentThread);
}

#[test]
fn the_json_tells_them_apart() {
    let _alone = alone();
    let events = Events::default();
    let watch = events.builder().listen("127.0.0.1:0").start().expect("starts");
    let runtime = watch.runtime(multi_thread().name("api")).expect("builds");
    runtime.block_on(async {
        load_config();
        let waits = holdup::spawn(async { serve() });
        waits.await.expect("it ends");
        yield_now().await;
        load_config();
    });
    let ended = |holds: Holds| {
        let entries = watch.stalls().entries;
        entries.iter().any(|entry| entry.stall.holds == holds && entry.stall.ended)
    };
    wait_until("all have ended", || [Holds::StartUp, Holds::Worker, Holds::BlockOn].into_iter().all(ended));
    let address = support::address_of(&watch);
    let answer: Value =
        serde_json::from_str(&support::http::get(address, "/debug/holdup/stalls").text()).expect("it is JSON");
    let words = |list: &str, field: &str| {
        let mut words: Vec<_> =
            answer[list].as_array().expect("a list").iter().map(|entry| entry[field].to_string()).collect();
        words.dedup();
        words
    };
    assert_eq!(words("stalls", "holds"), ["\"worker\"", "\"block_on\"", "\"start_up\""], "{answer:#}");
    assert_eq!(words("groups", "counted_as"), ["\"stall\"", "\"block_on\"", "\"start_up\""], "{answer:#}");
    let counters = &answer["counters"];
    assert_eq!((&counters["block_on"], &counters["start_up"]), (&1.into(), &1.into()), "{answer:#}");
    watch.shutdown_timeout(DEADLINE).expect("everything is reported");
}
