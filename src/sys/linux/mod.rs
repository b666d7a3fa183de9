//! Linux on x86_64.

/// Taking a signal, and giving it back.
mod action;

/// Signals that a thread holds back.
mod signal_mask;

/// Installing and removing the signal, and asking a thread to copy its own stack.
mod signal;

/// The signal handler.
mod stack_signal_handler;

/// Timers on threads' CPU clocks, and what they sample.
mod sampling;

/// The handler of their signal.
mod cpu_signal_handler;

/// Whether a thread was started.
mod newest_thread;

/// Threads: ids, clocks, and what `/proc/PID/task` tells.
mod thread;

/// Reading memory without trusting the address.
mod memory;

/// Whether a thread has come past an instruction.
mod breakpoint;

/// What is mapped into an address space.
mod mappings;

/// CPU time of another process, sampled by the kernel.
#[cfg(feature = "attach")]
mod perf;

/// What decides whether we may look at another process.
#[cfg(feature = "attach")]
mod permissions;

/// Stopping threads of another process for a moment.
#[cfg(feature = "attach")]
mod ptrace_stop;

/// CPU time that a hypervisor takes from this machine.
mod steal_time;

/// System call numbers, their names and what they wait for.
mod syscalls;

pub(crate) use breakpoint::{Breakpoint, KeepPerfWarm};
pub(crate) use newest_thread::NewestThread;
#[cfg(feature = "attach")]
pub(crate) use perf::{PerfSampler, PerfThread};
#[cfg(feature = "attach")]
pub(crate) use permissions::{process_ids, raise_file_limit};
#[cfg(feature = "attach")]
pub(crate) use ptrace_stop::while_stopped;
pub(crate) use sampling::{CpuSampler, ThreadNumber, hold_samples};
pub(crate) use signal::{StackSignal, hold_stack_signal};
pub(crate) use signal_mask::BlockedSignals;
pub(crate) use steal_time::StealTime;
pub(crate) use syscalls::place;
pub(crate) use thread::{ThreadProbe, current_stack, current_tid, monotonic_time, thread_cpu_time};

/// Whether stacks can be taken on this platform at all.
pub(crate) const SUPPORTED: bool = true;
