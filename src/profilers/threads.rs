//! The wall-clock time of every thread of another process, on CPU and off CPU.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::{Collection, Profiler, Window};
use crate::model::profile::{Labels, Unit, ValueType};
use crate::model::stack::{CaptureMethod, StackUnavailable};
use crate::process::RemoteStacks;

/// Samples every thread. A sleeping thread is not touched; a running one is stopped while its stack is copied. The weight of a
/// sample is the time since the previous one.
pub(crate) struct Threads {
    process: RemoteStacks,
    rate: u32,
}

impl Threads {
    /// A profiler with this rate, in samples per second.
    pub(crate) fn new(process: RemoteStacks, rate: u32) -> Self {
        Self { process, rate }
    }
}

impl Profiler for Threads {
    fn run(&mut self, window: &Window) -> io::Result<Collection> {
        let interval = Duration::from_secs(1) / self.rate.max(1);
        let values = vec![ValueType::new("samples", Unit::Count), ValueType::new("time", Unit::Nanoseconds)];
        let mut collection = Collection::new("wall", Some(self.rate), values);
        let mut previous = window.elapsed();
        while window.sleep(interval) {
            let threads = match self.process.threads() {
                Ok(threads) => threads,
                Err(ended) => {
                    collection.note(format!("{ended} after {:.1} s", window.elapsed().as_secs_f64()));
                    break;
                }
            };
            let now = window.elapsed();
            let weight = i64::try_from(now.saturating_sub(previous).as_nanos()).unwrap_or(i64::MAX);
            previous = now;
            for thread in threads {
                let captured = self.process.capture_stack(thread.tid);
                let state = match &captured {
                    Ok(stack) if stack.method == CaptureMethod::Passive => "off-cpu",
                    Err(StackUnavailable::Gone) => continue,
                    _ => "on-cpu",
                };
                let labels = Labels {
                    thread: Some(Arc::clone(&thread.name)),
                    tid: Some(thread.tid),
                    state: Some(state.into()),
                    ..Labels::default()
                };
                match captured {
                    Ok(stack) => collection.add(now, &stack, labels, [1, weight, 0, 0]),
                    Err(_) => collection.add_note(now, "(running, stack not taken)", labels, [1, weight, 0, 0]),
                }
            }
        }
        collection.end(window.elapsed());
        collection.note(self.process.stops().sentence());
        Ok(collection)
    }
}
