//! What every thread of another process does over time, on the CPU and off it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::{Collection, Profiler, Window};
use crate::model::profile::{Labels, Unit, ValueType};
use crate::model::stack::{CaptureMethod, StackUnavailable};
use crate::process::RemoteStacks;

/// Looks at every thread at a rate: a sleeping one is not touched, a running one is made to stand still for as long as it
/// takes to copy its stack. The time since the last look is what a sample weighs.
pub(crate) struct Threads {
    process: RemoteStacks,
    rate: u32,
}

impl Threads {
    /// At that many looks per second.
    pub(crate) fn new(process: RemoteStacks, rate: u32) -> Self {
        Self { process, rate }
    }
}

impl Profiler for Threads {
    fn run(&mut self, window: &Window) -> io::Result<Collection> {
        let interval = Duration::from_secs(1) / self.rate.max(1);
        let values = vec![ValueType::new("samples", Unit::Count), ValueType::new("time", Unit::Nanoseconds)];
        let mut collection = Collection::new("wall", Some(self.rate), values);
        let mut last = window.elapsed();
        while window.sleep(interval) {
            let threads = match self.process.threads() {
                Ok(threads) => threads,
                Err(ended) => {
                    collection.note(format!("{ended} after {:.1} s", window.elapsed().as_secs_f64()));
                    break;
                }
            };
            let now = window.elapsed();
            let weight = i64::try_from(now.saturating_sub(last).as_nanos()).unwrap_or(i64::MAX);
            last = now;
            for thread in threads {
                let taken = self.process.capture_stack(thread.tid);
                let state = match &taken {
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
                match taken {
                    Ok(stack) => collection.add(now, &stack, labels, [1, weight, 0, 0]),
                    Err(_) => collection.add_note(now, "(running, stack not taken)", labels, [1, weight, 0, 0]),
                }
            }
        }
        collection.end(window.elapsed());
        let longest = self.process.longest_stop();
        if !longest.is_zero() {
            let longest = longest.as_secs_f64() * 1e3;
            collection.note(format!("running threads were made to stand still, each for {longest:.2} ms at most"));
        }
        Ok(collection)
    }
}
