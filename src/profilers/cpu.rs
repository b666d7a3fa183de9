//! CPU time of every thread.

use std::io;

use super::{Collection, Profiler, Window};
use crate::model::own_thread;
use crate::model::plural::plural;
use crate::model::profile::{Unit, ValueType};
use crate::process::CpuSource;

/// Samples CPU time. The notes of the profile list what it could not see.
pub(crate) struct Cpu<S> {
    source: S,
    rate: u32,
}

impl<S: CpuSource> Cpu<S> {
    /// A profiler of a source with this rate, in samples per second of CPU time.
    pub(crate) fn new(source: S, rate: u32) -> Self {
        Self { source, rate }
    }
}

impl<S: CpuSource + Send> Profiler for Cpu<S> {
    fn run(&mut self, window: &Window) -> io::Result<Collection> {
        let period = 1_000_000_000 / i64::from(self.rate.max(1));
        let values = vec![ValueType::new("samples", Unit::Count), ValueType::new("cpu", Unit::Nanoseconds)];
        let mut collection = Collection::new("cpu", Some(self.rate), values);
        let before = self.source.process_cpu_time();
        loop {
            let is_open = window.sleep(self.source.collect_interval());
            self.source.collect(&mut |sample| {
                let values = [1, i64::from(sample.steps), 0, 0];
                if sample.labels.thread.as_deref().is_some_and(own_thread::is_own) {
                    collection.add_own(sample.at, sample.labels, values);
                } else {
                    collection.add(sample.at, &sample.stack, sample.labels, values);
                }
            })?;
            if !is_open || self.source.end_reason().is_some() {
                break;
            }
        }
        let sampled = collection.weigh(&self.source.unsampled_cpu(), self.source.steps_per_period(), period);
        collection.end(window.elapsed());
        collection.lose(self.source.lost_samples());
        self.source.notes().into_iter().for_each(|note| collection.note(note));
        if let Some(ended) = self.source.end_reason() {
            collection.note(format!("{ended} after {:.1} s", window.elapsed().as_secs_f64()));
        }
        if self.source.unsampled_threads() > 0 {
            collection.note(format!("{} not sampled", plural(self.source.unsampled_threads(), "thread")));
        }
        if let (Some(before), Some(after)) = (before, self.source.process_cpu_time()) {
            let used = after.saturating_sub(before);
            collection.note(format!(
                "the process used {:.2} s of CPU time, {:.2} s of it were sampled",
                used.as_secs_f64(),
                sampled.as_secs_f64()
            ));
        }
        Ok(collection)
    }
}
