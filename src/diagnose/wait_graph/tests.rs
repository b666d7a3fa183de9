//! Graphs of known truth.

use super::*;
use crate::model::census::{
    Await, Held, HeldKind, LockStage, RuntimeNow, TaskNow, TaskState, ThreadLocks, ThreadNow, UnpolledFuture, Waiter,
    WaitsFor,
};
use crate::model::stack::StackUnavailable;
use crate::model::task::TaskId;

/// A future that waits for one permit of a semaphore.
fn acquires(address: u64) -> Await {
    wants(address, 1, 1)
}

/// A future that wants some permits, and was assigned all but `missing`.
fn wants(address: u64, wanted: u64, missing: u64) -> Await {
    let (missing, free) = (Some(missing), Some(0));
    Await {
        waits_for: Some(WaitsFor::Permits { address, wanted, missing, free, holders: Vec::new() }),
        ..named("leaf")
    }
}

fn receives(channel: u64, senders: u64) -> Await {
    Await { waits_for: Some(WaitsFor::Message { channel, senders, what: String::new() }), ..named("leaf") }
}

fn joins(task: u64) -> Await {
    Await { waits_for: Some(WaitsFor::Task(TaskId(task))), ..named("leaf") }
}

fn sleeps() -> Await {
    Await { waits_for: Some(WaitsFor::Timer { in_ms: 1 }), ..named("leaf") }
}

fn named(future: &str) -> Await {
    Await { future: future.to_owned(), ..Await::default() }
}

/// A future of this name that awaits others.
fn awaits(future: &str, children: Vec<Await>) -> Await {
    Await { children, ..named(future) }
}

/// An `async fn` that holds something while it awaits.
fn holds(kind: HeldKind, address: u64, child: Await) -> Await {
    Await { holds: [Held { kind, address }].into(), ..awaits("app::holds", vec![child]) }
}

fn task(id: u64, path: Await) -> TaskNow {
    TaskNow { id: Some(TaskId(id)), state: TaskState::Idle, path: Some(path), ..TaskNow::unread(0, "app".to_owned()) }
}

fn all(tasks: Vec<TaskNow>) -> Vec<WaitCycle> {
    cycles(&Census { tasks, ..Census::default() })
}

/// The tasks of each cycle, and whether it is certain.
fn found(tasks: Vec<TaskNow>) -> Vec<(Vec<u64>, bool)> {
    all(tasks).iter().map(|cycle| (cycle.tasks().iter().map(|task| task.0).collect(), cycle.doubt.is_none())).collect()
}

use HeldKind::{Mutex, Permit, ReadLock, Receiver, Sender, WriteLock};

#[test]
fn two_tasks_that_lock_in_different_orders_are_a_cycle() {
    let tasks = vec![
        task(4, holds(Mutex, 0x10, acquires(0x20))),
        task(5, holds(Mutex, 0x20, acquires(0x10))),
        task(6, acquires(0x10)),
    ];
    let [cycle] = &*all(tasks) else { panic!("one cycle") };
    assert_eq!(cycle.tasks(), [TaskId(4), TaskId(5)]);
    let steps: Vec<_> = cycle.steps.iter().map(|step| (step.holds.as_deref(), &*step.waits_for)).collect();
    let [first, second] = ["the Mutex at 0x10", "the Mutex at 0x20"];
    assert_eq!(steps, [(Some(first), second), (Some(second), first)]);
    assert_eq!(cycle.doubt, None);
    assert_eq!(cycle.behind, 1, "task 6 waits behind");
}

#[test]
fn a_task_that_locks_twice_waits_for_itself() {
    assert_eq!(found(vec![task(7, holds(Mutex, 0x10, acquires(0x10)))]), [(vec![7], true)]);
}

#[test]
fn futures_of_one_task_that_take_turns_are_no_cycle() {
    // One of them has the permit and sleeps, and the others wait for it.
    for parent in ["join!", "futures_util::future::JoinAll", "futures_unordered::FuturesUnordered"] {
        for kind in [Mutex, Permit] {
            let turns = vec![holds(kind, 0x10, sleeps()), acquires(0x10), acquires(0x10)];
            assert_eq!(found(vec![task(1, awaits(parent, turns))]), [], "{parent}");
        }
    }
}

#[test]
fn what_a_future_beside_holds_is_not_released_by_waiting_for_it() {
    // The first part waits for the second one's end, as part of `join!`; the second for the first one's lock.
    let stuck = vec![holds(Mutex, 0x10, acquires(0x20)), holds(Mutex, 0x20, acquires(0x10))];
    assert_eq!(found(vec![task(1, awaits("join!", stuck))]), [(vec![1], true)]);
}

#[test]
fn waiting_for_one_of_several_events_is_no_cycle() {
    for alternative in ["select!", "tokio::time::timeout::Timeout"] {
        let either = awaits(alternative, vec![acquires(0x10), sleeps()]);
        assert_eq!(found(vec![task(1, holds(Mutex, 0x10, either))]), [], "{alternative}");
    }
    let both = awaits("join!", vec![acquires(0x10), sleeps()]);
    assert_eq!(found(vec![task(1, holds(Mutex, 0x10, both))]), [(vec![1], true)]);
}

#[test]
fn a_reader_that_reads_again_behind_a_writer_is_a_cycle() {
    const READERS: u64 = 1 << 29;
    let tasks = |held: u64| {
        vec![
            task(1, holds(ReadLock, 0x10, acquires(0x10))),
            // It was assigned all permits but those of the readers.
            task(2, wants(0x10, READERS, held)),
            task(3, acquires(0x10)),
        ]
    };
    assert_eq!(found(tasks(1)), [(vec![1], true)]);
    assert_eq!(found(tasks(2)), [], "a reader that is not seen may end");
}

#[test]
fn a_writer_that_writes_again_is_a_cycle() {
    assert_eq!(found(vec![task(1, holds(WriteLock, 0x10, acquires(0x10)))]), [(vec![1], true)]);
}

#[test]
fn actors_with_full_inboxes_that_send_to_each_other_are_a_cycle() {
    let tasks = vec![task(1, holds(Receiver, 0x10, acquires(0x20))), task(2, holds(Receiver, 0x20, acquires(0x10)))];
    assert_eq!(found(tasks), [(vec![1, 2], true)]);
    let tasks = vec![task(1, holds(Receiver, 0x10, sleeps())), task(2, holds(Receiver, 0x20, acquires(0x10)))];
    assert_eq!(found(tasks), [], "the first one receives again");
}

#[test]
fn a_message_comes_if_a_sender_is_not_seen_or_continues() {
    // Task 1 holds the lock that the only sender needs, and waits for its message.
    let tasks = |senders, before: fn(u64) -> Await| {
        vec![task(1, holds(Mutex, 0x10, receives(0x99, senders))), task(2, holds(Sender, 0x99, before(0x10)))]
    };
    assert_eq!(found(tasks(1, acquires)), [(vec![1, 2], false)]);
    assert_eq!(found(tasks(2, acquires)), [], "one sender is not seen");
    assert_eq!(found(tasks(1, |_| sleeps())), []);
}

#[test]
fn idle_actors_are_no_cycle() {
    let tasks = vec![task(1, holds(Sender, 0x10, receives(0x20, 1))), task(2, holds(Sender, 0x20, receives(0x10, 1)))];
    assert_eq!(found(tasks), []);
}

#[test]
fn handles_of_tasks_are_followed() {
    let tasks = vec![task(1, holds(Mutex, 0x10, joins(2))), task(2, acquires(0x10))];
    assert_eq!(found(tasks), [(vec![1, 2], true)]);
    assert_eq!(found(vec![task(1, joins(9))]), [], "a task that is not in the dump may end");
    assert_eq!(found(vec![task(1, joins(2)), task(2, joins(1))]), [(vec![1, 2], true)]);
}

/// Functions on the blocking pool: the thread of each that runs, and the ids of those that wait.
fn pool(threads: &[i32], queued: &[u64]) -> Vec<TaskNow> {
    let runtime = 1;
    let running = threads.iter().map(|thread| TaskNow {
        runtime,
        state: TaskState::Running,
        thread: Some(*thread),
        path: None,
        ..task(1000 + thread.unsigned_abs() as u64, Await::default())
    });
    let queued = queued.iter().map(|id| TaskNow {
        runtime,
        state: TaskState::Scheduled,
        path: None,
        ..task(*id, Await::default())
    });
    running.chain(queued).collect()
}

fn with_pool(threads: Vec<ThreadNow>, tasks: Vec<TaskNow>) -> Vec<WaitCycle> {
    let runtime =
        |index, flavor: &str| RuntimeNow { index, flavor: flavor.to_owned(), address: 0, threads: 1, unknown: None };
    let runtimes = vec![runtime(0, "multi_thread"), runtime(1, RuntimeNow::BLOCKING_POOL)];
    cycles(&Census { runtimes, threads, tasks, ..Census::default() })
}

/// A thread that sleeps inside `block_on`.
fn blocks_on(tid: i32, future: Option<Await>) -> ThreadNow {
    ThreadNow {
        tid,
        name: String::new(),
        runs: false,
        runtime: Some(0),
        task: None,
        block_on: true,
        block_on_future: future,
        stack: Err(StackUnavailable::Unavailable),
        locks: ThreadLocks::default(),
        unknown: None,
    }
}

#[test]
fn a_blocking_pool_whose_functions_wait_for_it_is_a_cycle() {
    let threads = || vec![blocks_on(51, Some(joins(7))), blocks_on(52, Some(joins(8)))];
    let [cycle] = &*with_pool(threads(), pool(&[51, 52], &[7, 8, 9])) else { panic!("one cycle") };
    assert_eq!(cycle.steps.len(), 2);
    let steps: Vec<_> =
        cycle.steps.iter().map(|step| (step.waiting, step.holds.as_deref(), &*step.waits_for)).collect();
    let thread = "a thread of the blocking pool";
    let first = (Waiter::Task(TaskId(7)), None, thread);
    assert_eq!(steps, [first, (Waiter::BlockOn(51), Some(thread), "the end of task 7")]);
    assert_eq!(cycle.doubt, None);
    assert_eq!(cycle.behind, 2, "tasks 8 and 9");
    assert_eq!(with_pool(threads(), pool(&[51, 52, 53], &[7, 8])), [], "thread 53 may become free");
    assert_eq!(
        with_pool(vec![blocks_on(51, Some(sleeps())), blocks_on(52, Some(joins(8)))], pool(&[51, 52], &[7, 8])),
        []
    );
}

#[test]
fn what_an_unpolled_future_holds_may_be_released() {
    let unpolled = UnpolledFuture {
        future: "app::locks".to_owned(),
        future_place: None,
        function: "app::selects".to_owned(),
        place: None,
        semaphore: 0x10,
        stage: LockStage::Granted,
    };
    let task = TaskNow { unpolled: vec![unpolled], ..task(1, holds(Mutex, 0x10, acquires(0x10))) };
    assert_eq!(found(vec![task]), [], "that is a futurelock");
}

#[test]
fn permits_may_be_held_where_nobody_sees_them() {
    assert_eq!(found(vec![task(1, holds(Permit, 0x10, acquires(0x10)))]), [(vec![1], false)]);
}

#[test]
fn what_is_granted_or_held_twice_moves() {
    let granted = vec![task(1, holds(Mutex, 0x10, acquires(0x10))), task(2, wants(0x10, 1, 0))];
    assert_eq!(found(granted), [], "the lock was handed to task 2, so task 1 has only the memory of a guard");
    let twice = vec![task(1, holds(Mutex, 0x10, acquires(0x10))), task(2, holds(Mutex, 0x10, joins(1)))];
    assert_eq!(found(twice), [], "one of the two guards is no guard any more");
}

#[test]
fn tasks_that_run_or_are_ready_continue() {
    for state in [TaskState::Running, TaskState::Scheduled, TaskState::Complete] {
        let tasks = vec![TaskNow { state, ..task(1, holds(Mutex, 0x10, acquires(0x10))) }];
        assert_eq!(found(tasks), [], "{state:?}");
    }
}

#[test]
fn a_long_chain_does_not_overflow_the_stack() {
    let chain = (1..100_000).map(|id| task(id, joins(id + 1)));
    assert_eq!(found(chain.collect()), []);
    let ring = (1..=100_000).map(|id| task(id, joins(id % 100_000 + 1)));
    assert_eq!(found(ring.collect::<Vec<_>>()).len(), 1);
}
