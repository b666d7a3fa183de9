//! Two empty tasks at the start of a runtime. Without task hooks, holdup learns from their stacks where polls return to.

use std::sync::{Arc, Weak};

use tokio::runtime::Handle;

use super::state::WatchState;
use crate::probe::{OwnTask, RuntimeProbe};
use crate::process::PollExamples;
use crate::sys::StackSignal;

/// What an empty task needs.
struct Example {
    task: OwnTask,
    examples: Arc<PollExamples>,
    signal: Weak<StackSignal>,
    runtime: Arc<str>,
}

impl Example {
    /// The same for another task.
    fn another(&self) -> Self {
        let Self { task, examples, signal, runtime } = self;
        Self {
            task: task.all().add(),
            examples: Arc::clone(examples),
            signal: signal.clone(),
            runtime: Arc::clone(runtime),
        }
    }

    /// Called inside a poll.
    fn take(&self) {
        if let Some(signal) = self.signal.upgrade() {
            self.examples.add_this_stack(&signal, Arc::clone(&self.runtime));
        }
    }
}

/// Spawns the two tasks. A scheduler polls the first from its queue. The first spawns the second, which a multi-thread
/// worker polls at another place of its code.
pub(super) fn spawn(runtime: &Handle, probe: &RuntimeProbe, state: &WatchState) {
    let (examples, signal) = (Arc::clone(&state.poll_examples), state.signal.clone());
    let example = Example { task: probe.own_tasks().add(), examples, signal, runtime: probe.name() };
    let first = runtime.spawn(async move {
        let second = example.another();
        let second = tokio::spawn(async move { second.take() });
        example.take();
        drop(second);
    });
    drop(first);
}
