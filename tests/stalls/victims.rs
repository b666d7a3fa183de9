//! The victims of a stall and their waits, compared with the tasks that each test made ready, and when.
#![cfg(tokio_unstable)]

#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use holdup::stall::{Phase, Victims, VictimsUnknown};
use holdup::{Runtime, Stall, Watch};
use support::{DEADLINE, Events, alone, function_of, wait_until};
use tokio::runtime::Builder;
use tokio::task::JoinHandle;

const HELD: Duration = Duration::from_millis(300);

/// Stalls its thread until this many long polls are noticed, and for `time` after that. On a busy machine the watchdog
/// samples late, and knows no queue lengths from before.
#[inline(never)]
fn hold_up(watch: &Watch, noticed: u64, time: Duration) {
    let limit = Instant::now() + DEADLINE;
    while watch.counters().noticed < noticed {
        assert!(Instant::now() < limit, "{noticed} long polls are noticed");
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(time);
}

fn one_worker(watch: &Watch) -> Runtime {
    watch.runtime(Builder::new_multi_thread().worker_threads(1).enable_all()).expect("builds")
}

fn two_workers(watch: &Watch) -> Runtime {
    watch.runtime(Builder::new_multi_thread().worker_threads(2).enable_all()).expect("builds")
}

fn current_thread(watch: &Watch) -> Runtime {
    watch.runtime(Builder::new_current_thread().enable_all()).expect("builds")
}

/// Tasks with this name that do nothing.
fn some(count: usize, name: &str) -> Vec<JoinHandle<()>> {
    (0..count).map(|_| holdup::spawn_named(name, async {})).collect()
}

async fn all(tasks: Vec<JoinHandle<()>>) {
    for task in tasks {
        task.await.expect("it ends");
    }
}

fn ids(tasks: &[JoinHandle<()>]) -> BTreeSet<String> {
    tasks.iter().map(|task| task.id().to_string()).collect()
}

/// The ended stall of `hold_up`.
fn ended(events: &Events) -> Stall {
    events.wait_for("the end of the stall", |phase, stall| {
        phase == Phase::Ended && function_of(stall) == "stalls_victims::hold_up"
    })
}

fn victims(stall: &Stall) -> &Victims {
    stall.waiting.victims.as_ref().expect("they are known")
}

fn victim_ids(victims: &Victims) -> BTreeSet<String> {
    victims.tasks.iter().filter_map(|victim| victim.task.id).map(|id| id.to_string()).collect()
}

fn names(victims: &Victims) -> Vec<&str> {
    victims.tasks.iter().map(|victim| victim.task.name.as_deref().unwrap_or("unnamed")).collect()
}

#[test]
fn tasks_ready_behind_a_stall_are_its_victims_and_no_others() {
    let _alone = alone();
    let events = Events::default();
    let watch = Arc::new(events.watch());
    let held = Arc::clone(&watch);
    let (behind, _after) = current_thread(&watch).block_on(async {
        let holds = holdup::spawn(async move {
            let behind = some(5, "behind");
            hold_up(&held, 1, HELD);
            // Ready right before the stall ends, and after it.
            let after = some(3, "after");
            tokio::task::yield_now().await;
            all(some(3, "later")).await;
            (behind, after)
        });
        let (behind, after) = holds.await.expect("it ends");
        let ids = (ids(&behind), ids(&after));
        all(behind).await;
        all(after).await;
        ids
    });
    let stall = ended(&events);
    let victims = victims(&stall);
    // A sample right before the end may see the last tasks too. They waited for almost no time.
    let (waiting, came_last): (Vec<_>, Vec<_>) =
        victims.tasks.iter().partition(|victim| victim.waited.at_most >= HELD / 2);
    assert!(came_last.iter().all(|victim| victim.task.name.as_deref() == Some("after")), "{victims:#?}");
    let ids: BTreeSet<String> = waiting.iter().filter_map(|victim| victim.task.id).map(|id| id.to_string()).collect();
    assert_eq!((ids, victims.more), (behind, 0), "{victims:#?}");
    for victim in waiting {
        let waited = victim.waited;
        assert!(victim.is_certain() && waited.at_most >= HELD / 2 && waited.at_least <= waited.at_most, "{victim:?}");
        assert!(waited.at_most < stall.duration * 3 + HELD, "{victim:?} of {:?}", stall.duration);
    }
    assert_eq!(victims.longest.at_most, victims.tasks[0].waited.at_most);
    assert!(victims.total.at_most >= victims.longest.at_most * 4, "{victims:#?}");
    let sentence = victims.sentence();
    let count = victims.tasks.len();
    assert!(sentence.starts_with(&format!("{count} tasks, the longest ")), "{sentence}");
    assert!(sentence.contains(": 5 × \"behind\""), "{sentence}");
}

#[test]
fn a_running_stall_has_no_known_victims() {
    let _alone = alone();
    let events = Events::default();
    let watch = events.watch();
    current_thread(&watch).block_on(async { hold_up(&watch, 1, HELD) });
    let stall = events.wait_for("the stall", |phase, stall| {
        phase == Phase::Noticed && function_of(stall) == "stalls_victims::hold_up"
    });
    assert_eq!(stall.waiting.victims, Err(VictimsUnknown::Running));
    assert_eq!(victims(&ended(&events)).count(), 0, "no task waited");
}

/// Another thread wakes the tasks in the middle of the stall. They are in the shared queue.
#[test]
fn tasks_woken_by_another_thread_wait_from_their_wake_on() {
    let _alone = alone();
    for build in [one_worker, current_thread] {
        let events = Events::default();
        let watch = Arc::new(events.watch());
        let held = Arc::clone(&watch);
        let woken = build(&watch).block_on(async {
            let (wake, _) = tokio::sync::watch::channel(());
            let sleepers: Vec<_> = (0..4)
                .map(|_| {
                    let mut woken = wake.subscribe();
                    holdup::spawn_named("sleeper", async move { woken.changed().await.expect("the sender exists") })
                })
                .collect();
            // By then all of them wait.
            tokio::time::sleep(Duration::from_millis(50)).await;
            let ids = ids(&sleepers);
            let holds = holdup::spawn_named("holds", async move {
                let (woke, woken) = std::sync::mpsc::channel();
                std::thread::spawn(move || {
                    std::thread::sleep(HELD / 2);
                    let _sent = wake.send(());
                    let _sent = woke.send(wake);
                });
                hold_up(&held, 1, HELD / 2);
                // Even if the other thread runs late, they wait for half of the time after their wake.
                let wake = woken.recv().expect("the other thread wakes them");
                hold_up(&held, 1, HELD / 2);
                wake
            });
            // Dropping the sender would wake them again.
            let _wake = holds.await.expect("it ends");
            all(sleepers).await;
            ids
        });
        // Any of the three stalls can be the longest.
        let stall = events.wait_for("the end of the stall", |phase, stall| {
            phase == Phase::Ended && stall.task.name.as_deref() == Some("holds")
        });
        let victims = victims(&stall);
        assert_eq!((victim_ids(victims), victims.more), (woken, 0), "{victims:#?}");
        assert!(victims.longest.at_most >= HELD / 4 && victims.longest.at_most < stall.duration, "{victims:#?}");
        assert!(names(victims).iter().all(|name| *name == "sleeper"), "{victims:#?}");
    }
}

/// The task that was spawned last waits in the LIFO slot. The start of its wait is not known.
#[test]
fn the_task_in_the_lifo_slot_is_an_uncertain_victim() {
    let _alone = alone();
    let events = Events::default();
    let watch = Arc::new(events.watch());
    let held = Arc::clone(&watch);
    let behind = one_worker(&watch).block_on(async {
        let behind = holdup::spawn(async move {
            let behind = some(4, "behind");
            hold_up(&held, 1, HELD);
            behind
        });
        let behind = behind.await.expect("it ends");
        let ids = ids(&behind);
        all(behind).await;
        ids
    });
    let stall = ended(&events);
    let victims = victims(&stall);
    assert_eq!((victim_ids(victims), victims.more), (behind, 0), "{victims:#?}");
    assert_eq!(victims.tasks.iter().filter(|victim| !victim.is_certain()).count(), 1, "{victims:#?}");
}

#[test]
fn tasks_that_an_idle_worker_takes_do_not_wait() {
    let _alone = alone();
    let events = Events::default();
    let watch = Arc::new(events.watch());
    let runtime = two_workers(&watch);
    let held = Arc::clone(&watch);
    runtime.block_on(async {
        holdup::spawn(async move {
            // The other worker takes all tasks but the last one, which stays in the LIFO slot.
            let behind = some(8, "behind");
            let taken = || behind.iter().filter(|task| task.is_finished()).count() >= behind.len() - 1;
            wait_until("the other worker takes them", taken);
            hold_up(&held, 1, HELD);
            all(behind).await;
        })
        .await
        .expect("it ends");
    });
    let stall = ended(&events);
    assert!(victims(&stall).tasks.iter().filter(|victim| victim.is_certain()).count() == 0, "{stall:#?}");
    assert!(victims(&stall).count() <= 1, "{stall:#?}");
}

/// Every worker is stuck, so tasks in the shared queue wait.
#[test]
fn tasks_in_the_shared_queue_wait_when_all_workers_are_stuck() {
    let _alone = alone();
    let events = Events::default();
    let watch = Arc::new(events.watch());
    let runtime = two_workers(&watch);
    let both = Arc::new(Barrier::new(2));
    let spawned = runtime.block_on(async {
        let handle = tokio::runtime::Handle::current();
        let stuck: Vec<_> = (0..2)
            .map(|_| {
                let (both, held) = (Arc::clone(&both), Arc::clone(&watch));
                holdup::spawn(async move {
                    both.wait();
                    hold_up(&held, 2, HELD * 2);
                })
            })
            .collect();
        let spawned = std::thread::spawn(move || {
            std::thread::sleep(HELD);
            (0..6).map(|_| handle.spawn(async {})).collect::<Vec<_>>()
        });
        all(stuck).await;
        let spawned = spawned.join().expect("it ends");
        let ids = ids(&spawned);
        all(spawned).await;
        ids
    });
    let both = || events.all().iter().filter(|(phase, stall)| *phase == Phase::Ended && stall.worker.is_some()).count();
    wait_until("the end of both", || both() >= 2);
    let mut all = BTreeSet::new();
    for (_, stall) in events.all().iter().filter(|(phase, stall)| *phase == Phase::Ended && stall.worker.is_some()) {
        let victims = stall.waiting.victims.as_ref().expect("they are known");
        assert!(victims.longest.at_most < stall.duration, "{stall:#?}");
        all.extend(victim_ids(victims));
    }
    assert!(all.is_subset(&spawned), "{all:?} of {spawned:?}");
    assert!(all.len() >= 4, "the victims that one of them polled are known: {all:?} of {spawned:?}");
}

#[test]
fn a_poll_in_block_in_place_has_no_victims() {
    let _alone = alone();
    let events = Events::default();
    let watch = events.watch();
    one_worker(&watch).block_on(async {
        holdup::spawn(async {
            let behind = some(5, "behind");
            tokio::task::block_in_place(|| {
                let free = || behind.iter().all(JoinHandle::is_finished);
                wait_until("they are polled meanwhile", free);
                std::thread::sleep(HELD);
            });
        })
        .await
        .expect("it ends");
    });
    for (_, stall) in events.all() {
        let victims = stall.waiting.victims.as_ref().map_or(0, Victims::count);
        assert_eq!(victims, 0, "{stall:#?}");
    }
}

#[test]
fn victims_beyond_the_limit_are_counted() {
    let _alone = alone();
    let events = Events::default();
    let watch = Arc::new(events.watch());
    let held = Arc::clone(&watch);
    current_thread(&watch).block_on(async {
        holdup::spawn(async move {
            let behind = some(1500, "behind");
            hold_up(&held, 1, HELD);
            all(behind).await;
        })
        .await
        .expect("it ends");
    });
    let stall = ended(&events);
    let victims = victims(&stall);
    assert_eq!((victims.tasks.len(), victims.count()), (64, 1500), "{}", victims.sentence());
    assert!(victims.total.at_most >= HELD / 2 * 1024, "the waits of many are known: {:?}", victims.total);
    assert!(victims.sentence().starts_with("1500 tasks, "), "{}", victims.sentence());
}

/// A victim that stalls itself: the first stall ends with the victims known so far, and the second has its own victims.
#[test]
fn a_victim_that_stalls_has_victims_of_its_own() {
    let _alone = alone();
    let events = Events::default();
    let watch = Arc::new(events.watch());
    let held = Arc::clone(&watch);
    current_thread(&watch).block_on(async {
        holdup::spawn(async move {
            let first = Arc::clone(&held);
            let second = holdup::spawn_named("second", async move { hold_up(&held, 2, HELD) });
            let third = some(1, "third");
            hold_up(&first, 1, HELD);
            second.await.expect("it ends");
            all(third).await;
        })
        .await
        .expect("it ends");
    });
    let stalls: Vec<_> = {
        events.wait_for("the end of the second", |phase, stall| {
            phase == Phase::Ended && stall.task.name.as_deref() == Some("second")
        });
        events.all().into_iter().filter(|(phase, _)| *phase == Phase::Ended).map(|(_, stall)| stall).collect()
    };
    let [first, second] = &stalls[..] else { panic!("two stalls: {stalls:#?}") };
    assert_eq!((names(victims(first)), victims(first).more), (vec!["second"], 1), "{first:#?}");
    assert_eq!(names(victims(second)), ["third"], "{second:#?}");
}

#[test]
fn without_task_hooks_the_victims_are_unknown() {
    let _alone = alone();
    let events = Events::default();
    let watch = Arc::new(events.watch());
    let hooks = holdup::Hooks::new().without_task_hooks();
    let runtime = watch.runtime_with(Builder::new_current_thread().enable_all(), hooks).expect("builds");
    let ran = Arc::new(AtomicBool::new(false));
    let (runs, held) = (Arc::clone(&ran), Arc::clone(&watch));
    runtime.block_on(async move {
        holdup::spawn(async move {
            let behind = tokio::spawn(async move { runs.store(true, Ordering::Relaxed) });
            hold_up(&held, 1, HELD);
            behind.await.expect("it ends");
        })
        .await
        .expect("it ends");
    });
    assert!(ran.load(Ordering::Relaxed));
    let stall = ended(&events);
    assert_eq!(stall.waiting.victims, Err(VictimsUnknown::NotInstrumented));
}

/// The recorder costs the hot path nothing: it only reads a flag that it reads anyway.
#[test]
fn polls_are_recorded_only_until_the_victims_are_known() {
    let _alone = alone();
    let events = Events::default();
    let watch = Arc::new(events.watch());
    let start = Instant::now();
    let held = Arc::clone(&watch);
    current_thread(&watch).block_on(async {
        holdup::spawn(async move { hold_up(&held, 1, HELD) }).await.expect("it ends");
        // The worker is never idle from here on.
        while events.all().iter().all(|(phase, _)| *phase != Phase::Ended) {
            assert!(start.elapsed() < DEADLINE, "the end is reported");
            tokio::task::yield_now().await;
        }
    });
    assert_eq!(victims(&ended(&events)).count(), 0);
}

/// Tokio measures the schedule latency of each task, including the one in the LIFO slot.
#[cfg(feature = "schedule-latency")]
#[test]
fn waits_are_exact_with_schedule_latency() {
    let _alone = alone();
    let events = Events::default();
    let watch = Arc::new(events.watch());
    let mut builder = Builder::new_multi_thread();
    let runtime = watch.runtime(builder.worker_threads(1).enable_all().track_task_schedule_latency()).expect("builds");
    let held = Arc::clone(&watch);
    let (early, late) = runtime.block_on(async {
        let holds = holdup::spawn(async move {
            let early = some(3, "early");
            hold_up(&held, 1, HELD);
            let late = some(1, "late");
            hold_up(&held, 1, HELD / 3);
            (early, late)
        });
        let (early, late) = holds.await.expect("it ends");
        let ids = (ids(&early), ids(&late));
        all(early).await;
        all(late).await;
        ids
    });
    let stall = ended(&events);
    let victims = victims(&stall);
    assert_eq!(victim_ids(victims), &early | &late, "{victims:#?}");
    for waited in victims.tasks.iter().map(|victim| victim.waited) {
        assert_eq!(waited.at_least, waited.at_most, "{victims:#?}");
    }
    // The late ones became ready later by `HELD`. Tokio decides the order of polls, and each takes almost no time.
    let wait = |task: &holdup::stall::Victim| (task.task.name.as_deref() == Some("late"), task.waited.at_most);
    let waits: Vec<_> = victims.tasks.iter().map(wait).collect();
    let late = waits.iter().find(|(late, _)| *late).map(|(_, wait)| *wait).expect("it is known");
    assert!(waits.iter().all(|(is_late, wait)| *is_late || *wait + HELD / 10 >= late + HELD), "{victims:#?}");
}
