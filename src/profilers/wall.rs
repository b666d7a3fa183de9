//! What every worker does over time, on the CPU and off it.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::{Collection, Profiler, Window};
use crate::model::profile::{Labels, SliceKind, Unit, ValueType};
use crate::model::worker::{Activity, Progress, Worker};
use crate::process::{WorkerSample, WorkerSource};

/// Looks at every worker at a rate, and takes the stack of those that are inside a poll: without touching them where
/// they sleep, by signal where they run. The time since the last look is what a sample weighs.
pub(crate) struct Wall<T> {
    target: T,
    rate: u32,
    looks_per_sample: u32,
    threshold: Duration,
}

/// What a worker has been doing since a look.
struct Ongoing {
    progress: Progress,
    since: Duration,
    labels: Labels,
    name: Arc<str>,
}

impl<T: WorkerSource> Wall<T> {
    /// Polls longer than `threshold` are stalls.
    pub(crate) fn new(target: T, rate: u32, threshold: Duration) -> Self {
        Self { target, rate, looks_per_sample: 1, threshold }
    }

    /// Looks for slices so many times as often as it takes samples, which cost more.
    #[cfg(feature = "http")]
    pub(crate) fn looks_per_sample(self, looks: u32) -> Self {
        Self { looks_per_sample: looks.max(1), ..self }
    }

    /// What a worker does, without its stack.
    fn look(&self, worker: usize) -> WorkerSample {
        let progress = self.target.progress(worker);
        WorkerSample { progress, task: self.target.task(worker, progress), asleep: false, stack: None }
    }

    fn end(&self, collection: &mut Collection, ongoing: Ongoing, now: Duration) {
        let lasted = now.saturating_sub(ongoing.since);
        let kind = match ongoing.progress.activity {
            Activity::Parked => SliceKind::Parked,
            Activity::Polling if lasted >= self.threshold => SliceKind::Stall,
            Activity::Polling => SliceKind::Poll,
            Activity::Between => return,
        };
        collection.add_slice(ongoing.labels, ongoing.since, now, kind, ongoing.name);
    }
}

impl<T: WorkerSource + Send> Profiler for Wall<T> {
    fn run(&mut self, window: &Window) -> io::Result<Collection> {
        let interval = Duration::from_secs(1) / self.rate.max(1) / self.looks_per_sample;
        let values = vec![ValueType::new("samples", Unit::Count), ValueType::new("time", Unit::Nanoseconds)];
        let mut collection = Collection::new("wall", Some(self.rate), values);
        let mut ongoing: HashMap<u64, Ongoing> = HashMap::new();
        let mut last = window.elapsed();
        let mut looks = 0_u32;
        while window.sleep(interval) {
            self.target.refresh();
            let now = window.elapsed();
            looks = looks.wrapping_add(1);
            let samples = looks.is_multiple_of(self.looks_per_sample);
            for index in 0..self.target.workers().len() {
                let sampled = if samples { self.target.sample_worker(index) } else { self.look(index) };
                let worker = Arc::clone(&self.target.workers()[index]);
                let labels = labels_of(&worker, &sampled);
                let unmoved = ongoing.get(&worker.key).is_some_and(|known| known.progress == sampled.progress);
                if !unmoved {
                    let (progress, name) = (sampled.progress, name_of(&sampled));
                    let begun = Ongoing { progress, since: now, labels: labels.clone(), name };
                    if let Some(before) = ongoing.insert(worker.key, begun) {
                        self.end(&mut collection, before, now);
                    }
                }
                if samples {
                    let weight = i64::try_from(now.saturating_sub(last).as_nanos()).unwrap_or(i64::MAX);
                    add(&mut collection, now, sampled, labels, [1, weight, 0, 0]);
                }
            }
            if samples {
                last = now;
            }
        }
        let end = window.elapsed();
        for (_, unfinished) in ongoing {
            self.end(&mut collection, unfinished, end);
        }
        collection.end(end);
        Ok(collection)
    }
}

fn add(collection: &mut Collection, now: Duration, sampled: WorkerSample, labels: Labels, values: [i64; 4]) {
    let note = match (sampled.progress.activity, sampled.stack) {
        (_, Some(Ok(stack))) => return collection.add(now, &stack, labels, values),
        (_, Some(Err(_))) => "(in a poll, stack not taken)",
        (Activity::Parked, None) => "(parked)",
        // The thread inside `block_on` of a multi-thread runtime does not say that it parks.
        (_, None) if labels.worker.is_none() => "(waiting in block_on)",
        (_, None) => "(between polls)",
    };
    collection.add_note(now, note, labels, values);
}

/// Who a sample of a worker is of.
pub(super) fn labels_of(worker: &Worker, sampled: &WorkerSample) -> Labels {
    let task = sampled.task.clone().unwrap_or_default();
    let state = match (sampled.progress.activity, &sampled.stack) {
        (_, Some(Ok(_))) if sampled.asleep => "off-cpu",
        (_, Some(Ok(_))) => "on-cpu",
        (Activity::Parked, _) => "parked",
        _ => "unknown",
    };
    Labels {
        thread: Some(Arc::clone(&worker.thread.name)),
        tid: Some(worker.thread.tid),
        runtime: Some(Arc::clone(&worker.runtime)),
        worker: worker.index.and_then(|index| u32::try_from(index).ok()),
        task: task.id,
        spawned_at: task.place().map(Arc::from),
        task_name: task.name,
        state: Some(state.into()),
    }
}

/// What a slice shows: the name of the task, or where it was spawned.
fn name_of(sampled: &WorkerSample) -> Arc<str> {
    let task = sampled.task.as_ref();
    match (sampled.progress.activity, task) {
        (Activity::Polling, Some(task)) => match (&task.name, task.place()) {
            (Some(name), _) => Arc::clone(name),
            (None, Some(place)) => place.into(),
            (None, None) => "poll".into(),
        },
        (activity, _) => activity.as_str().into(),
    }
}
