//! Empty tasks. holdup learns from their stacks where polls that are not instrumented return to.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Waker};

use tokio::runtime::Handle;
use tokio::task::LocalSet;

use super::state::WatchState;
use crate::model::own_thread;
use crate::probe::{OwnTask, RuntimeProbe};
use crate::process::{PollExamples, PolledBy};
use crate::sys::StackSignal;
use crate::threads::spawn_thread;

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
            self.examples.add_this_stack(&signal, PolledBy::Runtime(Arc::clone(&self.runtime)));
        }
    }
}

/// Spawns two tasks on a runtime without task hooks. A scheduler polls the first from its queue. The first spawns the second,
/// which a multi-thread worker polls at another place of its code.
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

/// Runs two tasks of a `LocalSet` on a thread of its own. `LocalSet`s have no task hooks in any build of Tokio.
pub(crate) fn run_local_set(state: &WatchState) {
    let (examples, signal) = (Arc::clone(&state.poll_examples), state.signal.clone());
    let run = move || {
        let take = move || {
            if let Some(signal) = signal.upgrade() {
                examples.add_this_stack(&signal, PolledBy::LocalSet);
            }
        };
        let (first, second) = (take.clone(), take);
        let set = LocalSet::new();
        // Tasks of different types: only what calls their polls is common to both stacks.
        let tasks = (
            set.spawn_local(async move { first() }),
            set.spawn_local(async move {
                second();
                Vec::<u64>::new()
            }),
        );
        // The first poll runs both to their ends.
        let _ended = pin!(set).poll(&mut Context::from_waker(Waker::noop()));
        drop(tasks);
    };
    // Without the thread, the polls of a `LocalSet` are not told apart.
    let _thread = spawn_thread(own_thread::SYMBOLS, run);
}
