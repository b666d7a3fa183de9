//! A safe interface to the operating system. This is the only module with `unsafe`.
//!
//! `linux` implements it for Linux on x86_64. `unsupported` has the same signatures for other platforms and reports that
//! nothing is available. `--cfg holdup_unsupported` selects it on any platform, to check that it compiles.

#![cfg_attr(
    not(all(target_os = "linux", target_arch = "x86_64", not(holdup_unsupported))),
    allow(dead_code, reason = "some values come from the code of a platform only")
)]
#![allow(unsafe_code, reason = "this is the one place for it; each block names the fact that makes it sound")]

/// The words in which a worker publishes its current poll.
mod poll_words;

/// A process, by its id.
mod process;

/// A file that this process alone writes.
#[cfg(feature = "heap")]
mod kept_file;

/// Standard error without a lock.
mod standard_error;

/// A shared cell for a `&'static T`, readable from any thread.
mod static_ref;

/// The sampling allocator.
#[cfg(feature = "heap")]
pub(crate) mod heap;

#[cfg(all(target_os = "linux", target_arch = "x86_64", not(holdup_unsupported)))]
mod linux;
#[cfg(all(target_os = "linux", target_arch = "x86_64", not(holdup_unsupported)))]
pub(crate) use linux::*;

#[cfg(not(all(target_os = "linux", target_arch = "x86_64", not(holdup_unsupported))))]
mod unsupported;
#[cfg(not(all(target_os = "linux", target_arch = "x86_64", not(holdup_unsupported))))]
pub(crate) use unsupported::*;

#[cfg(feature = "heap")]
pub(crate) use kept_file::{file_size_limit, open_kept_file};
pub(crate) use poll_words::{PollNow, PollWords};
pub(crate) use process::Process;
pub(crate) use standard_error::write_to_standard_error;
pub(crate) use static_ref::StaticRef;

use std::time::{Duration, Instant};

/// Bytes of a stack that are copied at most. A deeper stack is cut at its outer end, and the report says so.
pub(crate) const MAX_STACK_BYTES: usize = 256 * 1024;

/// The registers that unwinding starts from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Registers {
    /// The address of the next instruction.
    pub(crate) instruction: u64,
    pub(crate) stack_pointer: u64,
    /// `None` for a sleeping thread.
    pub(crate) frame_pointer: Option<u64>,
}

/// A copy of a stack, from the stack pointer towards the thread's first function.
#[derive(Debug, Default)]
pub(crate) struct StackCopy {
    pub(crate) registers: Registers,
    pub(crate) bytes: Vec<u8>,
}

impl StackCopy {
    /// The word at an address of the stack.
    pub(crate) fn word(&self, address: u64) -> Option<u64> {
        let offset = usize::try_from(address.checked_sub(self.registers.stack_pointer)?).ok()?;
        let bytes = self.bytes.get(offset..offset.checked_add(8)?)?;
        Some(u64::from_ne_bytes(bytes.try_into().ok()?))
    }

    /// Whether the copy was cut at its largest size, and an address lies in the next part of the stack.
    pub(crate) fn ends_shortly_before(&self, address: u64) -> bool {
        let end = self.registers.stack_pointer.saturating_add(self.bytes.len() as u64);
        let next = end.saturating_sub(8)..end.saturating_add(MAX_STACK_BYTES as u64);
        self.bytes.len() >= MAX_STACK_BYTES && next.contains(&address)
    }
}

/// Why a thread's stack could not be copied by signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SignalError {
    /// The thread has ended.
    Gone,
    /// The thread did not answer in time.
    NoAnswer,
    /// No signal is installed.
    NotInstalled,
    /// The stack pointer lies outside the stack that the thread was started with. The copy has the registers.
    ForeignStack,
}

/// A thread of another process after a request to stop.
#[cfg(feature = "attach")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stopped {
    pub(crate) tid: i32,
    /// Its registers, or why it did not stop.
    pub(crate) registers: Result<Registers, StopError>,
    /// The base of its thread-local variables (`fs_base`); 0 unless it stopped.
    pub(crate) thread_pointer: u64,
    /// The registers that functions keep for their callers; 0 unless it stopped.
    pub(crate) kept_registers: [u64; 6],
}

#[cfg(feature = "attach")]
impl Stopped {
    /// A thread that did not stop.
    pub(crate) fn failed(tid: i32, why: StopError) -> Self {
        Self { tid, registers: Err(why), thread_pointer: 0, kept_registers: [0; 6] }
    }
}

/// Why a thread of another process could not be stopped.
#[cfg(feature = "attach")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StopError {
    /// The thread has ended.
    Gone,
    /// The thread fell asleep before the stop and was not touched.
    Slept,
    /// The thread did not stop in time, because the kernel works for it without interruption.
    NoAnswer,
    /// The thread belongs to another user, or a debugger holds it already.
    Refused,
    /// The user of holdup does not want threads to be stopped.
    Forbidden,
}

/// Permissions of this process, and the machine's settings for all processes.
#[cfg(feature = "attach")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Permissions {
    /// The effective user.
    pub(crate) user: u32,
    /// `CAP_SYS_PTRACE`: every process can be read.
    pub(crate) traces_all: bool,
    /// `CAP_PERFMON` or `CAP_SYS_ADMIN`: every process can be sampled, the kernel's part included.
    pub(crate) samples_all: bool,
    /// `CAP_IPC_LOCK`: memory may be locked without limit.
    pub(crate) locks_memory: bool,
    /// `kernel.yama.ptrace_scope`: 0 the user's processes, 1 descendants, 2 any with `CAP_SYS_PTRACE`, 3 none.
    /// `None` on a machine without the setting, which is like 0.
    pub(crate) ptrace_scope: Option<i32>,
    /// `kernel.perf_event_paranoid`: from -1 (everything) to 2 (the user's processes, without the kernel). Some
    /// distributions add 3 and 4 (nothing).
    pub(crate) perf_paranoid: Option<i32>,
}

/// Facts about a process that every user may read.
#[cfg(feature = "attach")]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProcessStatus {
    /// At most 15 bytes, a limit of the kernel.
    pub(crate) name: String,
    pub(crate) state: char,
    /// The effective user.
    pub(crate) user: u32,
    /// Whether the real, effective and saved users are equal.
    pub(crate) one_user: bool,
    pub(crate) threads: usize,
    /// The id of the process that traces it, 0 for none.
    pub(crate) tracer: u32,
    /// The effective capabilities.
    pub(crate) capabilities: u64,
    /// Whether it is a kernel thread or has ended.
    pub(crate) of_kernel: bool,
}

/// A record that the kernel writes about a sampled thread of another process.
#[cfg(feature = "attach")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PerfRecord {
    /// A sample. Its registers and stack are passed separately; they are empty if the kernel has none.
    Sample {
        /// By the monotonic clock.
        at: Duration,
    },
    /// The number of samples that found no room.
    Lost(u64),
    /// The process runs another program from now on.
    Replaced,
}

/// A sample of a thread of our own process, taken by its timer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimerSample {
    pub(crate) tid: i32,
    /// Steps of its timer since the thread's previous sample.
    pub(crate) steps: u32,
    /// By the monotonic clock.
    pub(crate) at: Duration,
    /// The current poll, on a worker inside a poll.
    pub(crate) poll: Option<PollNow>,
    /// The stack was not the thread's own, or its bounds were unknown.
    pub(crate) foreign: bool,
    /// Of such a stack, there may be more than was copied.
    pub(crate) cut: bool,
}

/// A thread's state in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KernelState {
    /// On a CPU or ready for one.
    Running,
    /// Asleep in a system call.
    Syscall { number: i64, arguments: [u64; 6], stack_pointer: u64, instruction: u64 },
    /// Asleep, but not in a system call: a page fault or another exception.
    Fault { stack_pointer: u64, instruction: u64 },
}

impl KernelState {
    /// The stack pointer and instruction of a sleeping thread; `None` while it runs.
    pub(crate) fn asleep_at(self) -> Option<(u64, u64)> {
        match self {
            Self::Running => None,
            Self::Syscall { stack_pointer, instruction, .. } | Self::Fault { stack_pointer, instruction } => {
                Some((stack_pointer, instruction))
            }
        }
    }

    /// The address of the futex that a thread waits for.
    #[cfg(all(feature = "attach", target_os = "linux"))]
    pub(crate) fn futex(self) -> Option<u64> {
        match self {
            Self::Syscall { number: libc::SYS_futex, arguments: [address, ..], .. } => Some(address),
            _ => None,
        }
    }
}

/// The process that listens on a port.
#[cfg(any(feature = "http", feature = "console"))]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PortOwner {
    pub(crate) pid: u32,
    /// At most 15 bytes, a limit of the kernel. Empty if it is unknown.
    pub(crate) name: String,
}

/// Whether a scheduler state of proc(5) means that the process or thread has ended.
#[cfg(feature = "attach")]
pub(crate) fn has_ended(state: char) -> bool {
    matches!(state, 'Z' | 'X')
}

/// The content of `/proc/…/schedstat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SchedStat {
    /// Time the thread was on a CPU.
    pub(crate) on_cpu: Duration,
    /// Time the thread was ready but not run.
    pub(crate) run_queue: Duration,
    /// How often it was put on a CPU.
    pub(crate) slices: u64,
}

/// Parts of `/proc/…/stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ThreadStat {
    /// When it was read.
    pub(crate) at: Instant,
    /// The thread's CPU time then.
    pub(crate) on_cpu: Option<Duration>,
    pub(crate) state: char,
    pub(crate) minor_faults: u64,
    pub(crate) major_faults: u64,
    /// CPU time outside of the kernel and in it, both in steps of 10 ms.
    pub(crate) in_user: Duration,
    pub(crate) in_kernel: Duration,
    /// The CPU on which it runs or last ran.
    pub(crate) processor: u32,
}

/// A mapping in a process's address space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mapping {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) executable: bool,
    /// The offset of its start in the file.
    pub(crate) offset: u64,
    /// Device and inode of the mapped file.
    pub(crate) file: (u64, u64),
    /// The path, or a name in brackets such as `[stack]`.
    pub(crate) path: String,
}

/// A mapping with the memory that it uses.
#[cfg(feature = "cli")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MappingUse {
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// It may be read, written or executed.
    pub(crate) accessible: bool,
    /// Other processes see what is written.
    pub(crate) shared: bool,
    /// The kernel reserves no memory for it (`MAP_NORESERVE`).
    pub(crate) reserved_only: bool,
    /// The path, or a name in brackets such as `[stack]`. Empty for anonymous memory.
    pub(crate) path: String,
    pub(crate) of: crate::model::memory::MemoryUse,
}

impl Mapping {
    /// The mapping that contains an address.
    pub(crate) fn of(mappings: &[Self], address: u64) -> Option<&Self> {
        mappings.iter().find(|mapping| (mapping.start..mapping.end).contains(&address))
    }
}
