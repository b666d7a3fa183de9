//! Stacks from inside polls of empty tasks. They show where polls of a runtime or of a `LocalSet` return to before the first stall.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::sys::{self, StackCopy, StackSignal};

/// The limit on kept stacks. A runtime gives two, a `LocalSet` too, and the watchdog takes them within milliseconds.
const MAX_EXAMPLES: usize = 32;

/// How long a thread may take to answer its own signal. It answers before the call returns.
const SIGNAL_LIMIT: Duration = Duration::from_millis(20);

/// Which scheduler polls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PolledBy {
    /// The runtime of this name.
    Runtime(Arc<str>),
    /// A `LocalSet`. All of them share their code.
    LocalSet,
}

/// A stack from inside a poll.
#[derive(Debug)]
pub(super) struct PollExample {
    pub(super) of: PolledBy,
    pub(super) stack: StackCopy,
}

/// Stacks that workers took and the watchdog has not read yet.
#[derive(Debug, Default)]
pub(crate) struct PollExamples {
    waiting: Mutex<VecDeque<PollExample>>,
    any: AtomicBool,
}

impl PollExamples {
    fn waiting(&self) -> MutexGuard<'_, VecDeque<PollExample>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Copies the calling thread's stack, which is inside a poll by this scheduler.
    pub(crate) fn add_this_stack(&self, signal: &StackSignal, of: PolledBy) {
        let Some(bounds) = sys::current_stack() else { return };
        let mut stack = StackCopy::default();
        let copied = signal.copy_stack(sys::current_tid(), (bounds.start, bounds.end), SIGNAL_LIMIT, &mut stack);
        if copied.is_err() {
            // Without an example, the first stall teaches the address.
            return;
        }
        let mut waiting = self.waiting();
        if waiting.len() == MAX_EXAMPLES {
            waiting.pop_front();
        }
        waiting.push_back(PollExample { of, stack });
        self.any.store(true, Ordering::Release);
    }

    /// The stacks of `LocalSet`s, and of runtimes with a worker. The others wait until their worker is known.
    pub(super) fn take(&self, has_worker: impl Fn(&str) -> bool) -> Vec<PollExample> {
        if !self.any.load(Ordering::Acquire) {
            return Vec::new();
        }
        let mut waiting = self.waiting();
        let is_wanted = |example: &PollExample| match &example.of {
            PolledBy::Runtime(name) => has_worker(name),
            PolledBy::LocalSet => true,
        };
        let (taken, kept): (VecDeque<_>, VecDeque<_>) = waiting.drain(..).partition(is_wanted);
        self.any.store(!kept.is_empty(), Ordering::Release);
        *waiting = kept;
        taken.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(runtime: &str) -> PollExample {
        PollExample { of: PolledBy::Runtime(runtime.into()), stack: StackCopy::default() }
    }

    #[test]
    fn an_example_waits_until_its_runtime_has_a_worker() {
        let examples = PollExamples::default();
        examples.waiting().extend([example("a"), example("b")]);
        examples.any.store(true, Ordering::Release);
        let taken = |taken: Vec<PollExample>| taken.into_iter().map(|one| one.of).collect::<Vec<_>>();
        let of = |name: &str| PolledBy::Runtime(name.into());
        assert_eq!(taken(examples.take(|name| name == "b")), [of("b")]);
        examples.waiting().push_back(PollExample { of: PolledBy::LocalSet, stack: StackCopy::default() });
        assert_eq!(taken(examples.take(|name| name == "b")), [PolledBy::LocalSet], "it needs no worker");
        assert_eq!(taken(examples.take(|_| true)), [of("a")]);
        assert!(!examples.any.load(Ordering::Acquire));
    }
}
