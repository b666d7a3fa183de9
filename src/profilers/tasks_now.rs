//! The tasks at one moment: the task that each worker polls, and the number of waiting ones.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::Collection;
use super::wall::labels_of;
use crate::model::profile::{Labels, Unit, ValueType};
use crate::model::worker::{Activity, Worker};
use crate::process::WorkerSample;

/// One sample for each task that is being polled, as in Go's goroutine profile.
pub(crate) struct TasksNow {
    collection: Collection,
    /// The number of polled tasks, by runtime.
    polled: HashMap<Arc<str>, usize>,
}

impl Default for TasksNow {
    fn default() -> Self {
        let values = vec![ValueType::new("goroutine", Unit::Count)];
        Self { collection: Collection::new("tasks", None, values), polled: HashMap::new() }
    }
}

impl TasksNow {
    /// Adds the sample of a worker.
    pub(crate) fn add(&mut self, worker: &Worker, sampled: WorkerSample) {
        if sampled.progress.activity != Activity::Polling {
            return;
        }
        let labels = labels_of(worker, &sampled);
        // An unknown task is counted: the worker has begun another poll meanwhile, but it polled one task all the time. The future
        // given to `block_on` is no task.
        if sampled.task.as_ref().is_none_or(|task| task.id.is_some()) {
            *self.polled.entry(Arc::clone(&worker.runtime)).or_default() += 1;
        }
        match sampled.stack {
            Some(Ok(stack)) => self.collection.add(Duration::ZERO, &stack, labels, [1, 0, 0, 0]),
            _ => self.collection.add_note(Duration::ZERO, "(in a poll, stack not taken)", labels, [1, 0, 0, 0]),
        }
    }

    /// Adds the waiting tasks of each runtime: all that exist and are not being polled.
    pub(crate) fn finish(mut self, alive: &[(Arc<str>, usize)]) -> Collection {
        for (runtime, alive) in alive {
            let waiting = alive.saturating_sub(self.polled.get(runtime).copied().unwrap_or_default());
            let labels = Labels { runtime: Some(Arc::clone(runtime)), ..Labels::default() };
            if let Ok(waiting @ 1..) = i64::try_from(waiting) {
                self.collection.add_note(Duration::ZERO, "(tasks that wait)", labels, [waiting, 0, 0, 0]);
            }
        }
        self.collection
    }
}
