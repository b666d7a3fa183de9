//! The observed process: our own ([`local`]) or another one ([`remote`]). Modules above this one use the traits only.

/// A runtime's workers: progress, samples and stacks.
mod worker_source;

/// Samples of CPU time.
mod cpu_source;

/// Samples of a thread from the kernel's files.
mod thread_sample;

/// Sleeping threads and their stacks.
mod sleep;

/// Breakpoints at the return addresses of uninstrumented polls.
mod return_breakpoints;

/// Our own process.
mod local;

/// Another process.
#[cfg(feature = "attach")]
mod remote;

pub(crate) use cpu_source::{CpuSource, UnsampledCpu};
pub(crate) use local::{
    LocalCpu, LocalWorkers, LocalWorkersConfig, PollExamples, PollStarts, PolledBy, ThreadNow, look_at_thread,
};
#[cfg(feature = "attach")]
pub(crate) use remote::{
    Descriptors, FrozenProcess, FrozenThread, HeapMatches, LiveMemory, MomentStack, RemoteCpu, RemoteProcess,
    RemoteStacks, Snapshot, Stops, ThreadLocals, TypedWorkers, UntypedSnapshot, UntypedWorker, UntypedWorkers,
    WorkerFinder,
};
pub(crate) use sleep::Sleep;
pub(crate) use thread_sample::{ThreadSample, cpu_of_this_thread, run_soon_after_waking};
pub(crate) use worker_source::{BreakpointError, PollInStack, WorkerSample, WorkerSource};
