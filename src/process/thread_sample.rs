//! Samples of a thread from the kernel's files, in our own process and in others.

use std::time::Duration;

use crate::model::evidence::WaitSite;
use crate::sys::{self, KernelState, Process, StealTime, ThreadProbe};

/// A passive sample of a thread: running totals and its current state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ThreadSample {
    /// CPU time since the thread started.
    pub(crate) cpu: Option<Duration>,
    /// Time ready but not run, since the thread started.
    pub(crate) run_queue: Option<Duration>,
    /// How often the thread was put on a CPU.
    pub(crate) slices: Option<u64>,
    pub(crate) minor_faults: Option<u64>,
    /// The CPU time of one of them on this machine.
    pub(crate) minor_fault_cost: Option<Duration>,
    /// The CPU time when the faults were counted: up to a few milliseconds before the sample.
    pub(crate) counted_cpu: Option<Duration>,
    pub(crate) major_faults: Option<u64>,
    /// CPU time outside of the kernel and in it, both in steps of 10 ms.
    pub(crate) modes: Option<(Duration, Duration)>,
    pub(crate) state: Option<char>,
    /// The thread's CPU, and the time that a hypervisor has taken from that CPU; `None` without a hypervisor.
    pub(crate) stolen: Option<(u32, Duration)>,
    /// The system call or page fault in which the thread sleeps; `None` if it runs or the kernel does not say.
    pub(crate) sleeps_in: Option<WaitSite>,
}

impl ThreadSample {
    /// Whether the thread is on a CPU, in the queue for one, or stopped (SIGSTOP, a debugger) while it was.
    pub(crate) fn runs(&self) -> bool {
        self.state.is_some_and(|state| state == 'R' || is_stopped(state))
            && self.sleeps_in.is_none()
            && self.cpu.is_some()
    }
}

/// Whether a scheduler state means that the thread waits for nothing but may not run.
fn is_stopped(state: char) -> bool {
    matches!(state, 'T' | 't')
}

/// The wanted time slice: as short as Linux allows. A look at the workers takes less.
const SLICE: Duration = Duration::from_micros(100);

/// Asks the kernel to run this thread soon after it wakes, also beside threads that compute. Where the kernel has no such
/// wish, the thread runs as every other.
pub(crate) fn run_soon_after_waking() {
    let _accepted = sys::shorten_time_slices(SLICE);
}

/// CPU time of the calling thread: what sampling has cost so far.
pub(crate) fn cpu_of_this_thread() -> Option<Duration> {
    sys::thread_cpu_time(sys::current_tid())
}

/// Samples a thread.
pub(super) fn sample(process: Process, probe: &mut ThreadProbe, steal: Option<&mut StealTime>) -> ThreadSample {
    let kernel = probe.kernel_state();
    let stat = probe.recent_stat(kernel.map(|state| state != KernelState::Running));
    // A stopped thread does not wait in the system call that it had entered. Outside of a system call, the kernel shows it
    // as in a page fault until it runs again.
    let state = stat.map(|stat| stat.state);
    let kernel = kernel.filter(|kernel| {
        let fault = matches!(kernel, KernelState::Fault { .. });
        !state.is_some_and(|state| is_stopped(state) || (fault && state == 'R'))
    });
    let schedstat = probe.schedstat();
    let sample = ThreadSample {
        cpu: probe.cpu_time(),
        run_queue: schedstat.map(|stat| stat.run_queue),
        slices: schedstat.map(|stat| stat.slices),
        minor_faults: stat.map(|stat| stat.minor_faults),
        minor_fault_cost: sys::minor_fault_cost(),
        counted_cpu: stat.and_then(|stat| stat.on_cpu),
        major_faults: stat.map(|stat| stat.major_faults),
        modes: stat.map(|stat| (stat.in_user, stat.in_kernel)),
        state,
        stolen: None,
        sleeps_in: match kernel {
            Some(KernelState::Syscall { number, arguments, .. }) => Some(sys::place(process, number, &arguments)),
            Some(KernelState::Fault { .. }) => Some(WaitSite::Fault),
            Some(KernelState::Running) | None => None,
        },
    };
    let processor = stat.map(|stat| stat.processor);
    let stolen = processor.and_then(|processor| Some((processor, steal?.of_processor(processor)?)));
    ThreadSample { stolen, ..sample }
}
