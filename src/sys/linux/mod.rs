//! Linux on x86_64.

/// Dispositions of real-time signals.
mod action;

/// Blocked signals of a thread.
mod signal_mask;

/// The error number of the C library.
mod errno;

/// The signal that makes a thread copy its own stack.
mod signal;

/// The handler of that signal.
mod stack_signal_handler;

/// Timers on threads' CPU clocks, and their samples.
mod sampling;

/// The handler of the timers' signal.
mod cpu_signal_handler;

/// Detects started threads.
mod newest_thread;

/// Threads: ids, clocks, and the files in `/proc/PID/task`.
mod thread;

/// The cost of page faults.
mod page_fault;

/// The time slices of a thread.
mod time_slice;

/// Reads memory at untrusted addresses.
mod memory;

/// Hardware breakpoints that count.
mod breakpoint;

/// The mappings of an address space.
mod mappings;

/// How much memory each mapping uses.
#[cfg(feature = "cli")]
mod memory_use;

/// CPU samples of another process, taken by the kernel.
#[cfg(feature = "attach")]
mod perf;

/// Permissions to read another process.
#[cfg(feature = "attach")]
mod permissions;

/// Stops threads of another process for a moment.
#[cfg(feature = "attach")]
mod ptrace_stop;

/// The process that listens on a port.
#[cfg(any(feature = "http", feature = "console"))]
mod port_owner;

/// CPU time taken by a hypervisor.
mod steal_time;

/// The CPU quota of a process's cgroup.
mod cpu_quota;

/// System calls: numbers, names and the kind of wait.
mod syscalls;

pub(crate) use breakpoint::{Breakpoint, KeepPerfWarm};
pub(crate) use cpu_quota::CpuQuota;
#[cfg(feature = "heap")]
pub(crate) use errno::Errno;
pub(crate) use newest_thread::NewestThread;
pub(crate) use page_fault::minor_fault_cost;
#[cfg(feature = "attach")]
pub(crate) use perf::{PerfSampler, PerfThread};
#[cfg(feature = "attach")]
pub(crate) use permissions::{process_ids, raise_file_limit};
#[cfg(feature = "attach")]
pub(crate) use ptrace_stop::while_stopped;
pub(crate) use sampling::{CpuSampler, ThreadNumber, block_sample_signal};
pub(crate) use signal::{StackSignal, block_stack_signal};
pub(crate) use signal_mask::BlockedSignals;
pub(crate) use steal_time::StealTime;
pub(crate) use syscalls::place;
pub(crate) use thread::{ThreadProbe, current_stack, current_tid, monotonic_time, thread_cpu_time};
pub(crate) use time_slice::shorten_time_slices;

/// Whether stacks can be captured on this platform.
pub(crate) const SUPPORTED: bool = true;
