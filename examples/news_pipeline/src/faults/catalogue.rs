//! Every fault: the mistake, its symptom, and the place where holdup shows it.

use std::fmt::Write;

use super::{
    Arm, allocs, big_alloc, block_on, cache_leak, cpu, feed_parser, herd, json, lock, lock_across_await, lost_waker,
    neighbour, network, never_ends, producer_flush, sleep, starved_pool, sync_read, unbounded_spawn,
};

/// The description of a mistake.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) name: &'static str,
    /// The mistake.
    mistake: &'static str,
    /// The symptom for users of the service.
    symptom: &'static str,
    /// The function in the report, or the view that shows the mistake.
    seen: &'static str,
    /// Whether the worker is stuck for good. A drain then neither waits for it nor reports an error.
    pub(crate) holds_worker_forever: bool,
    /// Prepares the mistake (a slow peer, a busy lock) and returns it, ready to be committed.
    pub(super) arm: Arm,
}

const CATALOGUE: &[Fault] = &[
    Fault {
        name: "sleep",
        mistake: "std::thread::sleep in a handler",
        symptom: "responses take 80 ms longer, others on that worker too",
        seen: "stall in sleep_in_handler",
        holds_worker_forever: false,
        arm: Arm::OnWorker(sleep::arm),
    },
    Fault {
        name: "sync-read",
        mistake: "std::fs with fsync in a handler",
        symptom: "responses take as long as the disk",
        seen: "stall in read_with_fsync_in_handler",
        holds_worker_forever: false,
        arm: Arm::OnWorker(sync_read::arm),
    },
    Fault {
        name: "cpu",
        mistake: "a quadratic comparison of all headlines",
        symptom: "slower with every article, one CPU busy",
        seen: "stall in compare_every_headline",
        holds_worker_forever: false,
        arm: Arm::OnWorker(cpu::arm),
    },
    Fault {
        name: "json",
        mistake: "a huge article parsed as JSON on a worker",
        symptom: "responses take as long as the parsing, one CPU busy",
        seen: "stall in parse_huge_article",
        holds_worker_forever: false,
        arm: Arm::OnWorker(json::arm),
    },
    Fault {
        name: "feed-parser",
        mistake: "a large feed parsed on a worker",
        symptom: "responses wait whenever that feed is parsed, one CPU busy",
        seen: "stall in parse_feed_on_worker",
        holds_worker_forever: false,
        arm: Arm::OnWorker(feed_parser::arm),
    },
    Fault {
        name: "lock",
        mistake: "a std Mutex held across slow work by another thread",
        symptom: "responses take up to 100 ms longer, no CPU busy",
        seen: "stall in wait_for_archive_lock",
        holds_worker_forever: false,
        arm: Arm::OnWorker(lock::arm),
    },
    Fault {
        name: "lock-across-await",
        mistake: "a std Mutex held across an .await by another task",
        symptom: "responses wait for another task's timer or peer, no CPU is busy",
        seen: "stall in wait_for_lock_held_across_await",
        holds_worker_forever: false,
        arm: Arm::OnWorker(lock_across_await::arm),
    },
    Fault {
        name: "block-on",
        mistake: "futures::executor::block_on inside a task",
        symptom: "responses take 80 ms longer; a deadlock if the awaited future needs that worker",
        seen: "stall in block_on_inside_task",
        holds_worker_forever: false,
        arm: Arm::OnWorker(block_on::arm),
    },
    Fault {
        name: "network",
        mistake: "a blocking std::net read from a slow peer",
        symptom: "responses take as long as the peer",
        seen: "stall in read_from_slow_peer",
        holds_worker_forever: false,
        arm: Arm::OnWorker(network::arm),
    },
    Fault {
        name: "producer-flush",
        mistake: "a Kafka producer flushed synchronously in a handler",
        symptom: "responses take as long as the broker, and far longer without it",
        seen: "stall in flush_producer_in_handler",
        holds_worker_forever: false,
        arm: Arm::OnWorker(producer_flush::arm),
    },
    Fault {
        name: "never-ends",
        mistake: "a std Mutex locked twice by the same worker",
        symptom: "one worker is stuck for good, once, about 1 s after the start; sometimes no other worker wakes up again",
        seen: "stall in lock_twice",
        holds_worker_forever: true,
        arm: Arm::OnWorker(never_ends::arm),
    },
    Fault {
        name: "herd",
        mistake: "2000 tasks woken at once, of which one finds work",
        symptom: "p99 jumps at each wake although no poll is long",
        seen: "`holdup tasks`: the row of herd.rs has thousands of polls of microseconds, and `delay` where it is measured",
        holds_worker_forever: false,
        arm: Arm::OnWorker(herd::arm),
    },
    Fault {
        name: "unbounded-spawn",
        mistake: "200 tasks spawned per request, with no limit",
        symptom: "memory and tasks grow with the load and shrink late",
        seen: "`holdup tasks`: the row of unbounded_spawn.rs has ever more tasks; /debug/pprof/goroutine?debug=1: ever more wait",
        holds_worker_forever: false,
        arm: Arm::OnWorker(unbounded_spawn::arm),
    },
    Fault {
        name: "starved-pool",
        mistake: "long jobs fill the blocking pool, and spawn_blocking waits for a free thread",
        symptom: "responses take half a second and more, no worker busy, hundreds of threads",
        seen: "no stall; `holdup tasks`: `GET /latest-news` busy for nothing and idle for long; `holdup record --mode wall`: workers parked",
        holds_worker_forever: false,
        arm: Arm::Awaited(starved_pool::arm),
    },
    Fault {
        name: "lost-waker",
        mistake: "a future that returns Pending without keeping the waker",
        symptom: "a task that never ends, once, and nothing else",
        seen: "`holdup tasks --by task`: polled once, then in no row; /debug/pprof/goroutine?debug=1: one more waits for ever",
        holds_worker_forever: false,
        arm: Arm::OnWorker(lost_waker::arm),
    },
    Fault {
        name: "cache-leak",
        mistake: "a cache of responses that drops nothing",
        symptom: "memory grows with every request (here up to 256 MiB), latency does not",
        seen: "no stall; holdup record --mode leaks shows keep_answer_forever, and its line",
        holds_worker_forever: false,
        arm: Arm::OnWorker(cache_leak::arm),
    },
    Fault {
        name: "allocs",
        mistake: "a new String for every phrase that a request counts",
        symptom: "requests cost more CPU time, memory does not grow",
        seen: "no stall; holdup record --mode temporary (or allocs) shows count_phrases_as_strings",
        holds_worker_forever: false,
        arm: Arm::OnWorker(allocs::arm),
    },
    Fault {
        name: "big-alloc",
        mistake: "an export of everything in one buffer of 64 MiB",
        symptom: "memory jumps by 64 MiB now and then, and falls again",
        seen: "no stall; holdup record --mode peak shows reserve_for_whole_export, and --mode heap while it is there",
        holds_worker_forever: false,
        arm: Arm::Awaited(big_alloc::arm),
    },
    Fault {
        name: "neighbour",
        mistake: "other processes that use every CPU several times",
        symptom: "everything is slower, and the service itself uses little CPU",
        seen: "stalls with the cause not_scheduled, most often in work_beside_neighbours",
        holds_worker_forever: false,
        arm: Arm::OnWorker(neighbour::arm),
    },
];

impl Fault {
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        CATALOGUE.iter().find(|fault| fault.name == name)
    }

    pub(crate) fn names() -> Vec<&'static str> {
        CATALOGUE.iter().map(|fault| fault.name).collect()
    }
}

/// The output of `--fault list`.
pub(crate) fn table() -> String {
    let mut table = String::new();
    for Fault { name, mistake, symptom, seen, .. } in CATALOGUE {
        // Writing to a String cannot fail.
        let _ = writeln!(table, "{name:<18} {mistake}\n{:<18} notice  {symptom}\n{:<18} holdup  {seen}", "", "");
    }
    table
}
