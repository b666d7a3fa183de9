//! The tables of all workers, put together into what each task did.

use std::collections::HashMap;
use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::names::{self, NameId};
use super::poll_stats::{NOT_KEPT_APART, Record, Table};
use crate::model::task::TaskId;
use crate::model::task_stats::{Delay, TaskStats, TaskUse};
use crate::model::worker::Worker;

/// Tables that wait to be put together. Their workers are gone, and bring the next one in no time: what is done here
/// happens while one of them waits.
const MAX_TABLES: usize = 32;

/// Tasks of different runtimes never share a number, but futures that are no tasks all have none.
type Key = (Arc<str>, u64, &'static Location<'static>);

/// The polls of a window, from workers that are gone and, in the end, from all.
#[derive(Debug)]
pub(super) struct Tally {
    tables: Vec<(Arc<Worker>, Table)>,
    tasks: HashMap<Key, Entry>,
    polls_not_kept_apart: u64,
    start: Instant,
}

#[derive(Debug)]
struct Entry {
    sum: Record,
    workers: Vec<usize>,
}

impl Tally {
    pub(super) fn new() -> Self {
        Self { tables: Vec::new(), tasks: HashMap::new(), polls_not_kept_apart: 0, start: Instant::now() }
    }

    pub(super) fn add(&mut self, worker: &Arc<Worker>, table: Table) {
        self.tables.push((Arc::clone(worker), table));
        if self.tables.len() >= MAX_TABLES {
            self.put_together();
        }
    }

    fn put_together(&mut self) {
        for (worker, table) in self.tables.drain(..) {
            for (task, record) in table.into_records() {
                if task == NOT_KEPT_APART {
                    self.polls_not_kept_apart += record.polls;
                }
                self.tasks
                    .entry((Arc::clone(&worker.runtime), task, record.spawned_at))
                    .and_modify(|entry| entry.add(&record))
                    .or_insert_with(|| Entry { sum: record, workers: Vec::new() })
                    .polled_by(worker.index);
            }
        }
    }

    /// What each task did until the end of the window.
    pub(super) fn finish(mut self, end: Instant) -> TaskStats {
        self.put_together();
        TaskStats {
            window: end.saturating_duration_since(self.start),
            tasks: self.tasks.into_iter().map(|(key, entry)| entry.into_use(key, end)).collect(),
            polls_not_kept_apart: self.polls_not_kept_apart,
        }
    }
}

impl Entry {
    fn add(&mut self, other: &Record) {
        let sum = &mut self.sum;
        sum.polls += other.polls;
        sum.busy = sum.busy.saturating_add(other.busy);
        sum.longest = sum.longest.max(other.longest);
        sum.delays += other.delays;
        sum.delay = sum.delay.saturating_add(other.delay);
        sum.longest_delay = sum.longest_delay.max(other.longest_delay);
        sum.last_ended = sum.last_ended.max(other.last_ended);
        let newer = other.last_began >= sum.last_began;
        if newer {
            sum.last_began = other.last_began;
            sum.ended = other.ended;
        }
        if sum.name == NameId::NONE || (newer && other.name != NameId::NONE) {
            sum.name = other.name;
        }
    }

    fn polled_by(&mut self, worker: Option<usize>) {
        if let Some(index) = worker
            && let Err(at) = self.workers.binary_search(&index)
        {
            self.workers.insert(at, index);
        }
    }

    fn into_use(self, (runtime, task, spawned_at): Key, end: Instant) -> TaskUse {
        let Self { sum, workers } = self;
        let apart = task != NOT_KEPT_APART;
        TaskUse {
            runtime,
            id: (apart && task != 0).then_some(TaskId(task)),
            name: if apart { names::get(sum.name) } else { None },
            spawned_at,
            tasks: u64::from(apart),
            ended: u64::from(apart && sum.ended),
            polls: sum.polls,
            busy: Duration::from_nanos(sum.busy),
            longest: Duration::from_nanos(sum.longest),
            idle: end.saturating_duration_since(sum.last_ended),
            delay: Delay::new(sum.delays, Duration::from_nanos(sum.delay), Duration::from_nanos(sum.longest_delay)),
            workers,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::poll_stats::{Ledger, Polled};
    use super::*;
    use crate::model::worker::Thread;

    fn worker(index: usize) -> Arc<Worker> {
        let thread = Thread { tid: 1, name: "worker".into(), stack: None };
        Arc::new(Worker {
            key: index as u64,
            runtime: "test".into(),
            index: Some(index),
            thread,
            uninstrumented: false,
        })
    }

    #[test]
    fn the_poll_that_began_last_tells_how_a_task_stands() {
        let polled = Polled { task: 7, spawned_at: Location::caller(), name: NameId::NONE };
        for order in [[0, 1], [1, 0]] {
            let mut tally = Tally::new();
            let mut ledgers = [Ledger::default(), Ledger::default()];
            ledgers.iter_mut().for_each(|ledger| ledger.start(1));
            let [first, second] = &mut ledgers;
            first.begin(1, NameId::NONE);
            std::thread::sleep(Duration::from_millis(1));
            second.begin(1, NameId::NONE);
            second.ended(1, polled);
            second.end(1, polled);
            // It is told last that the first poll is over.
            std::thread::sleep(Duration::from_millis(1));
            first.end(1, polled);
            let end = Instant::now();
            for index in order {
                tally.add(&worker(index), ledgers[index].stop(1, None).expect("it runs"));
            }
            let stats = tally.finish(end);
            let task = &stats.tasks[0];
            assert_eq!((stats.tasks.len(), task.polls, task.ended), (1, 2, 1), "{order:?}");
            assert_eq!(task.workers, [0, 1]);
            assert!(task.idle < Duration::from_secs(1) && task.idle <= stats.window, "{task:#?}");
        }
    }
}
