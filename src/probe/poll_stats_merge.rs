//! Task statistics of one window, merged from the statistics of all workers.

use std::collections::HashMap;
use std::hash::Hash;
use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::names::{self, NameId};
use super::poll_stats::{OTHER_TASKS, TaskRecord, WindowStats};
use crate::model::task::TaskId;
use crate::model::task_stats::{Delay, TaskStats, TaskUse};
use crate::model::worker::Worker;

/// The limit of unmerged entries. Merging is put off because the thread that adds an entry is a worker that is ending.
const MAX_PENDING: usize = 32;

/// Runtime, task number and spawn location. Task numbers are unique in the process, but a future that is no task has number 0.
type Key = (Arc<str>, u64, &'static Location<'static>);

/// The same with the name of the polls.
type NamedKey = (Key, NameId);

/// The statistics of one window, from workers that have ended and finally from all.
#[derive(Debug)]
pub(super) struct MergedStats {
    pending: Vec<(Arc<Worker>, WindowStats)>,
    tasks: HashMap<Key, Entry>,
    named: HashMap<NamedKey, Entry>,
    polls_of_other_tasks: u64,
    start: Instant,
}

#[derive(Debug)]
struct Entry {
    sum: TaskRecord,
    /// The start of the newest poll with a name.
    named: Option<Instant>,
    workers: Vec<usize>,
}

impl MergedStats {
    pub(super) fn new() -> Self {
        Self {
            pending: Vec::new(),
            tasks: HashMap::new(),
            named: HashMap::new(),
            polls_of_other_tasks: 0,
            start: Instant::now(),
        }
    }

    pub(super) fn add(&mut self, worker: &Arc<Worker>, stats: WindowStats) {
        self.pending.push((Arc::clone(worker), stats));
        if self.pending.len() >= MAX_PENDING {
            self.merge_pending();
        }
    }

    fn merge_pending(&mut self) {
        for (worker, stats) in self.pending.drain(..) {
            for (task, record) in stats.into_records() {
                if task == OTHER_TASKS {
                    self.polls_of_other_tasks += record.polls;
                }
                let key = (Arc::clone(&worker.runtime), task, record.spawned_at);
                add(&mut self.named, (key.clone(), record.name), &record, worker.index);
                add(&mut self.tasks, key, &record, worker.index);
            }
        }
    }

    /// The statistics of each task at the end of the window.
    pub(super) fn finish(mut self, end: Instant) -> TaskStats {
        self.merge_pending();
        TaskStats {
            window: end.saturating_duration_since(self.start),
            tasks: self.tasks.into_iter().map(|(key, entry)| entry.into_task(key, end)).collect(),
            by_name: self.named.into_iter().map(|((key, _), entry)| entry.into_use(key, end)).collect(),
            polls_not_kept_apart: self.polls_of_other_tasks,
        }
    }
}

fn add<K: Eq + Hash>(entries: &mut HashMap<K, Entry>, key: K, record: &TaskRecord, worker: Option<usize>) {
    let entry = entries.entry(key).and_modify(|entry| entry.add(record)).or_insert_with(|| Entry::new(*record));
    entry.add_worker(worker);
}

impl Entry {
    fn new(sum: TaskRecord) -> Self {
        Self { sum, named: (sum.name != NameId::NONE).then_some(sum.last_start), workers: Vec::new() }
    }

    fn add(&mut self, other: &TaskRecord) {
        let sum = &mut self.sum;
        sum.polls += other.polls;
        sum.busy = sum.busy.saturating_add(other.busy);
        sum.longest = sum.longest.max(other.longest);
        sum.delays += other.delays;
        sum.delay = sum.delay.saturating_add(other.delay);
        sum.longest_delay = sum.longest_delay.max(other.longest_delay);
        sum.last_end = sum.last_end.max(other.last_end);
        if other.last_start >= sum.last_start {
            sum.last_start = other.last_start;
            sum.ended = other.ended;
        }
        if other.name != NameId::NONE && self.named.is_none_or(|named| other.last_start >= named) {
            sum.name = other.name;
            self.named = Some(other.last_start);
        }
    }

    fn add_worker(&mut self, worker: Option<usize>) {
        if let Some(index) = worker
            && let Err(at) = self.workers.binary_search(&index)
        {
            self.workers.insert(at, index);
        }
    }

    /// Further tasks are summed, so that none of their names is that of all.
    fn into_task(self, key: Key, end: Instant) -> TaskUse {
        let is_sum = key.1 == OTHER_TASKS;
        let task = self.into_use(key, end);
        TaskUse { name: task.name.clone().filter(|_| !is_sum), ..task }
    }

    fn into_use(self, (runtime, task, spawned_at): Key, end: Instant) -> TaskUse {
        let Self { sum, workers, .. } = self;
        let has_own_record = task != OTHER_TASKS;
        TaskUse {
            runtime,
            id: (has_own_record && task != 0).then_some(TaskId(task)),
            name: names::get(sum.name),
            spawned_at,
            tasks: u64::from(has_own_record),
            ended: u64::from(has_own_record && sum.ended),
            polls: sum.polls,
            busy: Duration::from_nanos(sum.busy),
            longest: Duration::from_nanos(sum.longest),
            idle: end.saturating_duration_since(sum.last_end),
            delay: Delay::new(sum.delays, Duration::from_nanos(sum.delay), Duration::from_nanos(sum.longest_delay)),
            workers,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::poll_stats::{PollStats, Polled};
    use super::*;
    use crate::model::worker::Thread;

    fn worker(index: usize) -> Arc<Worker> {
        let thread = Thread { tid: 1, name: "worker".into(), stack: None };
        Arc::new(Worker {
            holds: Default::default(),
            key: index as u64,
            runtime: "test".into(),
            index: Some(index),
            thread,
            uninstrumented: false,
        })
    }

    #[test]
    fn a_task_has_one_entry_and_one_for_each_name_of_its_polls() {
        let (first, second) = (names::intern("GET /a"), names::intern("GET /b"));
        let polled = Polled { task: 7, spawned_at: Location::caller(), name: NameId::NONE };
        let mut stats = PollStats::default();
        stats.open_window(1);
        for (sequence, name) in [(1, first), (3, NameId::NONE), (5, second), (7, first), (9, NameId::NONE)] {
            stats.begin_poll(sequence, name);
            stats.end_poll(sequence, polled);
        }
        let mut merged = MergedStats::new();
        merged.add(&worker(0), stats.close_window(1, None).expect("it is open"));
        let stats = merged.finish(Instant::now());
        let names = |tasks: &[TaskUse]| {
            let mut names: Vec<_> =
                tasks.iter().map(|task| (task.name.as_deref().map(str::to_owned), task.polls)).collect();
            names.sort();
            names
        };
        assert_eq!(names(&stats.tasks), [(Some("GET /a".to_owned()), 5)], "the newest name");
        let by_name = [(None, 2), (Some("GET /a".to_owned()), 2), (Some("GET /b".to_owned()), 1)];
        assert_eq!(names(&stats.by_name), by_name);
    }

    #[test]
    fn the_poll_that_began_last_decides_whether_a_task_has_ended() {
        let polled = Polled { task: 7, spawned_at: Location::caller(), name: NameId::NONE };
        for order in [[0, 1], [1, 0]] {
            let mut merged = MergedStats::new();
            let mut workers = [PollStats::default(), PollStats::default()];
            workers.iter_mut().for_each(|stats| stats.open_window(1));
            let [first, second] = &mut workers;
            first.begin_poll(1, NameId::NONE);
            std::thread::sleep(Duration::from_millis(1));
            second.begin_poll(1, NameId::NONE);
            second.mark_last_poll(1, polled);
            second.end_poll(1, polled);
            // The first worker reports the end of its earlier poll later.
            std::thread::sleep(Duration::from_millis(1));
            first.end_poll(1, polled);
            let end = Instant::now();
            for index in order {
                merged.add(&worker(index), workers[index].close_window(1, None).expect("it is open"));
            }
            let stats = merged.finish(end);
            let task = &stats.tasks[0];
            assert_eq!((stats.tasks.len(), task.polls, task.ended), (1, 2, 1), "{order:?}");
            assert_eq!(task.workers, [0, 1]);
            assert!(task.idle < Duration::from_secs(1) && task.idle <= stats.window, "{task:#?}");
        }
    }
}
