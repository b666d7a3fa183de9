//! Any thread of our own process: where it waits, and its stack.

use std::time::Duration;

use crate::model::evidence::WaitSite;
use crate::model::stack::{CaptureMethod, RawStack};
use crate::process::sleep;
use crate::process::thread_sample;
use crate::sys::{self, Process, SignalError, StackCopy, StackSignal, ThreadProbe};
use crate::unwind::Unwinder;

/// How often the stack of a thread that wakes up in between is copied again.
const ATTEMPTS: usize = 3;

/// The limit of a thread's answer to a signal.
const SIGNAL_LIMIT: Duration = Duration::from_millis(20);

/// What a thread does, as far as it is known.
#[derive(Clone, Debug, Default)]
pub(crate) struct ThreadNow {
    /// Where it sleeps; `None` if it runs or the kernel does not say.
    pub(crate) sleeps_in: Option<WaitSite>,
    pub(crate) stack: Option<RawStack>,
}

/// Looks at a thread that may be asleep or running. A sleeping thread is not touched; a running one gets the signal.
pub(crate) fn look_at_thread(tid: i32, unwinder: &mut Unwinder, signal: Option<&StackSignal>) -> ThreadNow {
    let mut probe = ThreadProbe::open(Process::own(), tid);
    let mut copy = StackCopy::default();
    for _ in 0..ATTEMPTS {
        let sleeps_in = thread_sample::sample(Process::own(), &mut probe, None).sleeps_in;
        if sleeps_in.is_some() && sleep::copy(Process::own(), &probe, None, &mut copy) {
            let (stack, _) = sleep::walk(unwinder, &copy);
            return ThreadNow { sleeps_in, stack: Some(stack) };
        }
        if sleeps_in.is_none()
            && let Some(signal) = signal
            && copy_running(tid, signal, &mut copy)
        {
            let walk = unwinder.walk_now(&copy);
            let stack = RawStack { addresses: walk.addresses, method: CaptureMethod::Signal, complete: walk.complete };
            return ThreadNow { stack: Some(stack), ..ThreadNow::default() };
        }
    }
    ThreadNow::default()
}

/// The bounds of the thread's stack are not known before its registers are.
fn copy_running(tid: i32, signal: &StackSignal, copy: &mut StackCopy) -> bool {
    if signal.copy_stack(tid, (0, 0), SIGNAL_LIMIT, copy) != Err(SignalError::ForeignStack) {
        return false;
    }
    let pointer = copy.registers.stack_pointer;
    let Some(mapping) = sleep::mapping_of(Process::own(), pointer) else { return false };
    let low = pointer.saturating_sub(sys::MAX_STACK_BYTES as u64);
    signal.copy_stack(tid, (low, mapping.end), SIGNAL_LIMIT, copy).is_ok()
}
