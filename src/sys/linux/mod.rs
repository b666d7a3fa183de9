//! Linux on x86_64.

/// Taking a signal, and giving it back.
mod action;

/// Installing and removing the signal, and asking a thread to copy its own stack.
mod signal;

/// The signal handler.
mod handler;

/// Timers on threads' CPU clocks, and what they sample.
mod sampling;

/// The handler of their signal.
mod sample_handler;

/// Threads: ids, clocks, and what `/proc/self/task` tells.
mod thread;

/// Reading our own memory without trusting the address.
mod memory;

/// Whether a thread has come past an instruction.
mod returns;

/// What is mapped into our address space.
mod mappings;

/// CPU time that a hypervisor takes from this machine.
mod steal;

/// System call numbers, their names and what they wait for.
mod syscalls;

pub(crate) use mappings::mappings;
pub(crate) use memory::{copy_sleeping_stack, read_memory, read_word};
pub(crate) use returns::ReturnWatch;
pub(crate) use sampling::{CpuSampler, ThreadNumber, hold_samples, release_samples};
pub(crate) use signal::StackSignal;
pub(crate) use steal::Steal;
pub(crate) use syscalls::place;
pub(crate) use thread::{
    ThreadProbe, current_stack, current_tid, monotonic_time, process_cpu_time, thread_cpu_time, thread_ids, thread_name,
};

/// Whether stacks can be taken on this platform at all.
pub(crate) const SUPPORTED: bool = true;
