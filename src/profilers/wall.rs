//! The wall-clock time of every worker, on CPU and off CPU.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::{Collection, Profiler, Window};
use crate::model::profile::{Labels, SliceKind, Unit, ValueType};
use crate::model::worker::{Activity, Progress, Worker};
use crate::process::{WorkerSample, WorkerSource};

/// Samples every worker, and captures the stacks of workers in a poll. A sleeping thread is not touched; a running one gets a
/// signal. The weight of a sample is the time since the previous one.
pub(crate) struct Wall<S> {
    source: S,
    rate: u32,
    checks_per_sample: u32,
    threshold: Duration,
}

/// A slice of a worker's time that has not ended.
struct OpenSlice {
    progress: Progress,
    start: Duration,
    labels: Labels,
    name: Arc<str>,
}

impl<S: WorkerSource> Wall<S> {
    /// A profiler with this rate, in samples per second. Polls longer than `threshold` are stalls.
    pub(crate) fn new(source: S, rate: u32, threshold: Duration) -> Self {
        Self { source, rate, checks_per_sample: 1, threshold }
    }

    /// Sets how often slices are checked per sample. A check costs less than a sample.
    #[cfg(feature = "http")]
    pub(crate) fn checks_per_sample(self, checks: u32) -> Self {
        Self { checks_per_sample: checks.max(1), ..self }
    }

    /// A sample of a worker without its stack.
    fn check(&self, worker: usize) -> WorkerSample {
        let progress = self.source.progress(worker);
        WorkerSample { progress, task: self.source.task(worker, progress), asleep: false, stack: None }
    }

    fn end_slice(&self, collection: &mut Collection, slice: OpenSlice, now: Duration) {
        let lasted = now.saturating_sub(slice.start);
        let kind = match slice.progress.activity {
            Activity::Parked => SliceKind::Parked,
            Activity::Polling if lasted >= self.threshold => SliceKind::Stall,
            Activity::Polling => SliceKind::Poll,
            Activity::Between => return,
        };
        collection.add_slice(slice.labels, slice.start, now, kind, slice.name);
    }
}

impl<S: WorkerSource + Send> Profiler for Wall<S> {
    fn run(&mut self, window: &Window) -> io::Result<Collection> {
        let interval = Duration::from_secs(1) / self.rate.max(1) / self.checks_per_sample;
        let values = vec![ValueType::new("samples", Unit::Count), ValueType::new("time", Unit::Nanoseconds)];
        let mut collection = Collection::new("wall", Some(self.rate), values);
        let mut open_slices: HashMap<u64, OpenSlice> = HashMap::new();
        let mut previous = window.elapsed();
        let mut checks = 0_u32;
        while window.sleep(interval) {
            self.source.refresh();
            let now = window.elapsed();
            checks = checks.wrapping_add(1);
            let is_sample = checks.is_multiple_of(self.checks_per_sample);
            for index in 0..self.source.workers().len() {
                let sample = if is_sample { self.source.sample_worker(index) } else { self.check(index) };
                let worker = Arc::clone(&self.source.workers()[index]);
                let labels = labels_of(&worker, &sample);
                let is_unchanged = open_slices.get(&worker.key).is_some_and(|slice| slice.progress == sample.progress);
                if !is_unchanged {
                    let (progress, name) = (sample.progress, name_of(&sample));
                    let slice = OpenSlice { progress, start: now, labels: labels.clone(), name };
                    if let Some(before) = open_slices.insert(worker.key, slice) {
                        self.end_slice(&mut collection, before, now);
                    }
                }
                if is_sample {
                    let weight = i64::try_from(now.saturating_sub(previous).as_nanos()).unwrap_or(i64::MAX);
                    add(&mut collection, now, sample, labels, [1, weight, 0, 0]);
                }
            }
            if is_sample {
                previous = now;
            }
        }
        let end = window.elapsed();
        for (_, slice) in open_slices {
            self.end_slice(&mut collection, slice, end);
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
        // The thread inside `block_on` of a multi-thread runtime does not report its parks.
        (_, None) if labels.worker.is_none() => "(waiting in block_on)",
        (_, None) => "(between polls)",
    };
    collection.add_note(now, note, labels, values);
}

/// The labels of a worker's sample.
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
        size: None,
    }
}

/// The name of a slice: that of the task, or where it was spawned.
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
