//! A look at a thread, the same for our own and for others'.

use std::time::Duration;

use super::{ThreadSample, is_stopped};
use crate::model::evidence::WaitSite;
use crate::sys::{self, KernelState, Process, StealTime, ThreadProbe};

/// What looking has cost so far: CPU time of the thread that asks.
pub(crate) fn cpu_of_this_thread() -> Option<Duration> {
    sys::thread_cpu_time(sys::current_tid())
}

/// What the kernel tells of the thread now.
pub(super) fn sample(process: Process, probe: &mut ThreadProbe, steal: Option<&mut StealTime>) -> ThreadSample {
    let kernel = probe.kernel_state();
    let stat = probe.stat_lately(kernel.map(|state| state != KernelState::Running));
    // A thread that is stopped does not wait in the call that it was in; and where it was in none, it looks as in a fault until
    // it runs again.
    let state = stat.map(|stat| stat.state);
    let kernel = kernel.filter(|kernel| {
        let fault = matches!(kernel, KernelState::Fault { .. });
        !state.is_some_and(|state| is_stopped(state) || (fault && state == 'R'))
    });
    let look = ThreadSample {
        cpu: probe.cpu_time(),
        run_queue: probe.schedstat().map(|stat| stat.run_queue),
        minor_faults: stat.map(|stat| stat.minor_faults),
        major_faults: stat.map(|stat| stat.major_faults),
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
    ThreadSample { stolen, ..look }
}
