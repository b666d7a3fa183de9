//! What the live page shows: the last minutes of workers and runtimes, and what is held up now.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::json::CountersJson;
use super::stall_text::{StallView, task};
use super::{to_ms, unix_ms_exact};
use crate::model::counters::Counters;
use crate::model::lanes::{BIN, Lane, LaneBin, Lanes};
use crate::model::numbers::{RuntimeSecond, Second};
use crate::model::stall::Stall;
use crate::model::worker::WorkerNow;

/// The answer of `/debug/holdup/timeline`, and an event of `/debug/holdup/live`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct TimelineAnswer {
    /// The version of holdup.
    pub version: String,
    /// The name of the program.
    pub program: String,
    /// Its process id.
    pub pid: u32,
    /// The width of a bin.
    pub interval_ms: f64,
    /// When bin 0 began, with fractions. Bin `i` begins `i * interval_ms` later.
    pub origin_unix_ms: f64,
    /// The first bin of this answer.
    pub first: u64,
    /// The bin after the last one.
    pub next: u64,
    /// A longer poll is a stall.
    pub threshold_ms: f64,
    /// The tasks of the bins, by number: their names, or where they were spawned.
    pub tasks: Vec<String>,
    /// The workers.
    pub lanes: Vec<LaneJson>,
    /// Workers that found no room.
    pub lanes_left_out: u64,
    /// The time between two elements of `numbers`.
    pub numbers_interval_ms: f64,
    /// Numbers, second by second.
    pub numbers: NumbersJson,
}

/// The bins of one worker, in percent. In the rest of a bin the worker was parked.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct LaneJson {
    /// The number of the worker, unique in its process.
    pub key: u64,
    /// The runtime's name.
    pub runtime: String,
    /// Tokio's worker index; null for the thread in `block_on` of a multi-thread runtime.
    pub worker: Option<usize>,
    /// The thread's name.
    pub thread: String,
    /// The kernel's thread id.
    pub tid: i32,
    /// The bin of the first element of each list.
    pub first: u64,
    /// The time in polls.
    pub polling: Vec<u8>,
    /// The time between two polls.
    pub between: Vec<u8>,
    /// The time in polls that had crossed the threshold; a part of `polling`.
    pub stalled: Vec<u8>,
    /// The number of a task that was polled, as a sample; -1 for none.
    pub task: Vec<i16>,
}

/// Numbers of the process and its runtimes. All lists of the process have one element for each time.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct NumbersJson {
    /// When the numbers were read.
    pub unix_ms: Vec<f64>,
    /// Physical memory.
    pub memory_bytes: Vec<Option<u64>>,
    /// CPU time of the process, in percent of one core.
    pub cpu_percent: Vec<Option<f64>>,
    /// CPU time of holdup's threads, in percent of one core.
    pub holdup_cpu_percent: Vec<Option<f64>>,
    /// The runtimes.
    pub runtimes: Vec<RuntimeNumbersJson>,
}

/// Numbers of one runtime.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct RuntimeNumbersJson {
    /// The runtime's name.
    pub runtime: String,
    /// The number of its workers.
    pub workers: usize,
    /// The time of the first element of each list, as an index of `unix_ms`.
    pub first: usize,
    /// Tasks that have not ended.
    pub alive_tasks: Vec<usize>,
    /// Tasks in the shared queue.
    pub global_queue: Vec<usize>,
    /// Tasks in the workers' own queues; null without `tokio_unstable`.
    pub local_queue: Option<Vec<usize>>,
    /// Threads of the blocking pool; null without `tokio_unstable`.
    pub blocking_threads: Option<Vec<usize>>,
    /// Blocking functions that wait for a thread; null without `tokio_unstable`.
    pub blocking_queue: Option<Vec<usize>>,
    /// The time in which the workers were not parked, in percent of all their time.
    pub busy_percent: Vec<Option<f64>>,
    /// The longest poll seen in that second, so far.
    pub longest_poll_ms: Vec<u32>,
}

/// What is held up now: an event of `/debug/holdup/live`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct HeldEvent {
    /// The present time of the service.
    pub unix_ms: f64,
    /// It changes when the answer of `/debug/holdup/stalls` changes.
    pub stalls_version: u64,
    /// Counts since the start of the watch.
    pub counters: CountersJson,
    /// Polls that are too long and still run, the longest first.
    pub held: Vec<HeldJson>,
    /// Further ones.
    pub held_left_out: usize,
    /// What holds up the delivery of reports, and what was not delivered, as sentences.
    pub notes: Vec<String>,
}

/// A poll that holds something up now.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct HeldJson {
    /// The number of the stall; 0 while it is not explained.
    pub id: u64,
    /// The runtime's name.
    pub runtime: String,
    /// Tokio's worker index; null for the thread in `block_on` of a multi-thread runtime.
    pub worker: Option<usize>,
    /// The thread's name.
    pub thread: String,
    /// The kernel's thread id.
    pub tid: i32,
    /// The duration so far.
    pub held_ms: f64,
    /// What the poll holds up; see [`Holds`](crate::stall::Holds).
    pub holds: String,
    /// The user's function; null if it is unknown.
    pub culprit: Option<String>,
    /// `file:line` of it.
    pub location: Option<String>,
    /// The cause in words.
    pub cause: String,
    /// The cause in one word.
    pub class: String,
    /// The polled task.
    pub task: String,
    /// Who waits; empty if that is unknown.
    pub waiting: String,
    /// What to do.
    pub advice: String,
}

/// Held-up workers in an event. A page with more shows how many more there are.
const MAX_HELD: usize = 256;

/// Where the data comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Program<'a> {
    pub(crate) name: &'a str,
    pub(crate) threshold: Duration,
}

impl TimelineAnswer {
    pub(crate) fn new(program: Program<'_>, lanes: &Lanes, numbers: &[Second], numbers_interval_ms: f64) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            program: program.name.to_owned(),
            pid: std::process::id(),
            interval_ms: to_ms(BIN),
            origin_unix_ms: unix_ms_exact(lanes.origin),
            first: lanes.first,
            next: lanes.next,
            threshold_ms: to_ms(program.threshold),
            tasks: lanes.tasks.iter().map(ToString::to_string).collect(),
            lanes: lanes.lanes.iter().map(LaneJson::from).collect(),
            lanes_left_out: lanes.left_out,
            numbers_interval_ms,
            numbers: numbers.into(),
        }
    }
}

impl From<&Lane> for LaneJson {
    fn from(lane: &Lane) -> Self {
        let list = |value: fn(&LaneBin) -> u8| lane.bins.iter().map(value).collect();
        Self {
            key: lane.worker.key,
            runtime: lane.worker.runtime.to_string(),
            worker: lane.worker.index,
            thread: lane.worker.thread.name.to_string(),
            tid: lane.worker.thread.tid,
            first: lane.first,
            polling: list(|bin| bin.polling),
            between: list(|bin| bin.between),
            stalled: list(|bin| bin.stalled),
            task: lane.bins.iter().map(|bin| bin.task.map_or(-1, i16::from)).collect(),
        }
    }
}

impl From<&[Second]> for NumbersJson {
    fn from(seconds: &[Second]) -> Self {
        let mut runtimes: Vec<(u32, RuntimeNumbersJson)> = Vec::new();
        for (index, second) in seconds.iter().enumerate() {
            for runtime in &second.runtimes {
                let number = runtime.now.number;
                // A runtime that is gone never comes back, so its lists have no gaps.
                let position = runtimes.iter().position(|(known, _)| *known == number).unwrap_or_else(|| {
                    runtimes.push((number, RuntimeNumbersJson::starting(index, runtime)));
                    runtimes.len() - 1
                });
                runtimes[position].1.add(runtime);
            }
        }
        Self {
            unix_ms: seconds.iter().map(|second| unix_ms_exact(second.at)).collect(),
            memory_bytes: seconds.iter().map(|second| second.memory_bytes).collect(),
            cpu_percent: seconds.iter().map(|second| second.cpu_percent).collect(),
            holdup_cpu_percent: seconds.iter().map(|second| second.holdup_cpu_percent).collect(),
            runtimes: runtimes.into_iter().map(|(_, runtime)| runtime).collect(),
        }
    }
}

impl RuntimeNumbersJson {
    fn starting(first: usize, runtime: &RuntimeSecond) -> Self {
        Self {
            runtime: runtime.now.name.to_string(),
            workers: runtime.now.workers,
            first,
            alive_tasks: Vec::new(),
            global_queue: Vec::new(),
            local_queue: runtime.now.local_queue.map(|_| Vec::new()),
            blocking_threads: runtime.now.blocking_threads.map(|_| Vec::new()),
            blocking_queue: runtime.now.blocking_queue.map(|_| Vec::new()),
            busy_percent: Vec::new(),
            longest_poll_ms: Vec::new(),
        }
    }

    fn add(&mut self, second: &RuntimeSecond) {
        let now = &second.now;
        let add = |list: &mut Option<Vec<usize>>, value: Option<usize>| {
            if let Some(list) = list {
                list.push(value.unwrap_or_default());
            }
        };
        self.alive_tasks.push(now.alive_tasks);
        self.global_queue.push(now.global_queue);
        add(&mut self.local_queue, now.local_queue);
        add(&mut self.blocking_threads, now.blocking_threads);
        add(&mut self.blocking_queue, now.blocking_queue);
        self.busy_percent.push(second.busy_percent);
        self.longest_poll_ms.push(second.longest_poll_ms);
    }
}

impl HeldEvent {
    /// `stalls` are running.
    pub(crate) fn new(mut stalls: Vec<Stall>, version: u64, counters: Counters, notes: Vec<String>) -> Self {
        stalls.sort_by_key(|stall| std::cmp::Reverse(stall.duration));
        Self {
            unix_ms: unix_ms_exact(SystemTime::now()),
            stalls_version: version,
            counters: counters.into(),
            held: stalls.iter().take(MAX_HELD).map(HeldJson::from).collect(),
            held_left_out: stalls.len().saturating_sub(MAX_HELD),
            notes: notes.into_iter().chain(counters.undelivered()).collect(),
        }
    }
}

impl HeldEvent {
    /// Adds the workers whose long poll was noticed and is not explained yet.
    pub(crate) fn add_unexplained(&mut self, workers: &[WorkerNow], threshold: Duration) {
        for worker in workers {
            let Some(held) = worker.polling_for.filter(|held| *held >= threshold) else { continue };
            if self.held.len() < MAX_HELD && !self.held.iter().any(|known| known.tid == worker.tid) {
                self.held.push(HeldJson::unexplained(worker, held));
            }
        }
    }
}

impl HeldJson {
    fn unexplained(worker: &WorkerNow, held: Duration) -> Self {
        Self {
            id: 0,
            runtime: worker.runtime.to_string(),
            worker: worker.worker,
            thread: worker.thread.to_string(),
            tid: worker.tid,
            held_ms: to_ms(held),
            holds: String::new(),
            culprit: None,
            location: None,
            cause: "its cause is being looked up".to_owned(),
            class: "unknown".to_owned(),
            task: worker.task.as_ref().map_or_else(String::new, task),
            waiting: String::new(),
            advice: String::new(),
        }
    }
}

impl From<&Stall> for HeldJson {
    fn from(stall: &Stall) -> Self {
        let view = StallView::from(stall);
        let culprit = view.culprit.as_ref();
        Self {
            id: view.id,
            runtime: view.runtime.to_owned(),
            worker: view.worker,
            thread: view.thread.to_owned(),
            tid: view.tid,
            held_ms: to_ms(view.duration),
            holds: stall.holds.as_str().to_owned(),
            culprit: culprit.map(|culprit| culprit.function.to_owned()),
            location: culprit.and_then(|culprit| culprit.location.clone()),
            cause: view.cause.clone().into_owned(),
            class: view.class.to_owned(),
            task: view.task.clone(),
            waiting: view.waiting.clone(),
            advice: view.advice.clone().into_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::cause::CauseClass;
    use crate::model::numbers::RuntimeNow;
    use crate::model::worker::Activity;

    fn second(at: u64, runtimes: &[(u32, usize)]) -> Second {
        let runtime = |(number, alive_tasks): &(u32, usize)| RuntimeSecond {
            now: RuntimeNow {
                number: *number,
                name: Arc::from("main"),
                workers: 2,
                alive_tasks: *alive_tasks,
                global_queue: 0,
                local_queue: Some(3),
                blocking_threads: None,
                blocking_queue: None,
                busy: None,
            },
            busy_percent: Some(50.0),
            longest_poll_ms: 7,
        };
        Second {
            at: SystemTime::UNIX_EPOCH + Duration::from_secs(at),
            memory_bytes: Some(at),
            cpu_percent: None,
            holdup_cpu_percent: None,
            runtimes: runtimes.iter().map(runtime).collect(),
        }
    }

    #[test]
    fn a_runtime_begins_where_it_was_first_seen() {
        let seconds = [second(1, &[(1, 10)]), second(2, &[(1, 11), (2, 20)]), second(3, &[(2, 21)])];
        let numbers = NumbersJson::from(seconds.as_slice());
        assert_eq!(numbers.unix_ms, [1000.0, 2000.0, 3000.0]);
        let runtimes: Vec<_> =
            numbers.runtimes.iter().map(|runtime| (runtime.first, runtime.alive_tasks.clone())).collect();
        assert_eq!(runtimes, [(0, vec![10, 11]), (1, vec![20, 21])]);
        assert_eq!(numbers.runtimes[0].local_queue, Some(vec![3, 3]));
        assert_eq!(numbers.runtimes[0].blocking_threads, None);
    }

    #[test]
    fn a_worker_that_is_not_explained_yet_is_shown_once() {
        let worker = |tid, ms| WorkerNow {
            runtime: "main".into(),
            worker: Some(0),
            thread: "worker".into(),
            tid,
            activity: Activity::Polling,
            task: None,
            polling_for: Some(Duration::from_millis(ms)),
            polls: 1,
        };
        let explained = Stall::example("api::load", Duration::from_millis(30), CauseClass::Lock);
        let mut event = HeldEvent::new(vec![explained], 1, Counters::default(), Vec::new());
        event.add_unexplained(&[worker(1, 30), worker(2, 40), worker(3, 5)], Duration::from_millis(10));
        let shown: Vec<_> = event.held.iter().map(|held| (held.tid, held.culprit.is_some())).collect();
        assert_eq!(shown, [(1, true), (2, false)]);
    }

    #[test]
    fn the_longest_stall_comes_first_and_the_rest_is_counted() {
        let stall = |ms| Stall::example("api::load", Duration::from_millis(ms), CauseClass::Lock);
        let event = HeldEvent::new((0..300).map(stall).collect(), 7, Counters::default(), Vec::new());
        assert_eq!((event.held.len(), event.held_left_out), (MAX_HELD, 300 - MAX_HELD));
        let first = &event.held[0];
        assert_eq!((first.held_ms, first.culprit.as_deref(), first.class.as_str()), (299.0, Some("api::load"), "lock"));
    }
}
