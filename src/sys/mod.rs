//! Talks to the operating system, behind a safe API. The only module with `unsafe`.
//!
//! `linux` implements it for Linux on x86_64; `unsupported` has the same signatures elsewhere, and answers that
//! there is nothing to be seen. `--cfg holdup_unsupported` chooses the latter anywhere, to check that it compiles.
#![allow(unsafe_code, reason = "this is the one place for it; each block names the fact that makes it sound")]

/// The words by which a worker tells what it polls.
mod poll_words;

/// A process, by its number.
mod process;

/// A shared cell for a `&'static T`, readable from any thread.
mod static_ref;

#[cfg(all(target_os = "linux", target_arch = "x86_64", not(holdup_unsupported)))]
mod linux;
#[cfg(all(target_os = "linux", target_arch = "x86_64", not(holdup_unsupported)))]
pub(crate) use linux::*;

#[cfg(not(all(target_os = "linux", target_arch = "x86_64", not(holdup_unsupported))))]
mod unsupported;
#[cfg(not(all(target_os = "linux", target_arch = "x86_64", not(holdup_unsupported))))]
pub(crate) use unsupported::*;

pub(crate) use poll_words::{PollNow, PollWords};
pub(crate) use process::Process;
pub(crate) use static_ref::StaticRef;

use std::time::Duration;

/// The largest part of a stack that is copied. A deeper stack is cut at its outer end, and the report says so.
pub(crate) const MAX_STACK_BYTES: usize = 256 * 1024;

/// The registers that unwinding starts from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Registers {
    /// The instruction to be executed next.
    pub(crate) instruction: u64,
    pub(crate) stack_pointer: u64,
    /// Unknown for a thread that was not touched.
    pub(crate) frame_pointer: Option<u64>,
}

/// Bytes of a stack, from the stack pointer towards the thread's first function.
#[derive(Debug, Default)]
pub(crate) struct StackCopy {
    pub(crate) registers: Registers,
    pub(crate) bytes: Vec<u8>,
}

impl StackCopy {
    /// The word at an address of the copied stack.
    pub(crate) fn word(&self, address: u64) -> Option<u64> {
        let offset = usize::try_from(address.checked_sub(self.registers.stack_pointer)?).ok()?;
        let bytes = self.bytes.get(offset..offset.checked_add(8)?)?;
        Some(u64::from_ne_bytes(bytes.try_into().ok()?))
    }
}

/// Why a thread's stack could not be copied by signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SignalError {
    /// The thread does not exist any more.
    Gone,
    /// It did not answer in time.
    NoAnswer,
    /// No signal is installed.
    NotInstalled,
    /// Its stack pointer lies outside the stack it was started with; the registers are in the copy.
    ForeignStack,
}

/// A thread of another process that was asked to stand still.
#[cfg(feature = "attach")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stopped {
    pub(crate) tid: i32,
    /// Where it stands, or why it does not.
    pub(crate) registers: Result<Registers, StopError>,
    /// What its thread-local variables are found by (`fs_base`); 0 unless it stands.
    pub(crate) thread_pointer: u64,
}

/// Why a thread of another process could not be stopped.
#[cfg(feature = "attach")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StopError {
    /// The thread does not exist any more.
    Gone,
    /// It went to sleep before it was stopped, and was left alone.
    Slept,
    /// It did not stop in time; the kernel does something for it that cannot be interrupted.
    NoAnswer,
    /// It belongs to somebody else, or a debugger holds it already.
    Refused,
}

/// What we may look at, and what the machine allows everybody.
#[cfg(feature = "attach")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Permissions {
    /// The user that we are.
    pub(crate) user: u32,
    /// `CAP_SYS_PTRACE`: every process can be looked at.
    pub(crate) traces_all: bool,
    /// `CAP_PERFMON` or `CAP_SYS_ADMIN`: every process can be sampled, the kernel's part included.
    pub(crate) samples_all: bool,
    /// `CAP_IPC_LOCK`: memory may be locked without limit.
    pub(crate) locks_memory: bool,
    /// `kernel.yama.ptrace_scope`: 0 one's own processes, 1 one's descendants, 2 those with `CAP_SYS_PTRACE`, 3 none.
    /// `None` where the machine has no such setting, which is as 0.
    pub(crate) ptrace_scope: Option<i32>,
    /// `kernel.perf_event_paranoid`: from -1 (everything) to 2 (one's own processes, without the kernel). Some
    /// distributions add 3 and 4: nothing.
    pub(crate) perf_paranoid: Option<i32>,
}

/// What everybody may know of a process.
#[cfg(feature = "attach")]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProcessStatus {
    /// At most 15 bytes, as the kernel keeps it.
    pub(crate) name: String,
    pub(crate) state: char,
    /// The effective user.
    pub(crate) user: u32,
    /// The real and the saved user are the same.
    pub(crate) one_user: bool,
    pub(crate) threads: usize,
    /// The process that traces it, 0 for none.
    pub(crate) tracer: u32,
    /// The effective set.
    pub(crate) capabilities: u64,
    /// It is a thread of the kernel, or has ended.
    pub(crate) of_kernel: bool,
}

/// What the kernel tells of a thread of another process that is sampled.
#[cfg(feature = "attach")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PerfRecord {
    /// A sample; its registers and stack come beside it, empty where the kernel could not tell them.
    Sample {
        /// By the monotonic clock.
        at: Duration,
    },
    /// So many samples found no room.
    Lost(u64),
    /// The process runs another program from here on.
    Replaced,
}

/// A sample of what a thread does with its CPU time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CpuSample {
    pub(crate) tid: i32,
    /// Steps of its timer since the thread's last sample.
    pub(crate) steps: u32,
    /// By the monotonic clock.
    pub(crate) at: Duration,
    /// What the thread polled, on a worker inside a poll.
    pub(crate) poll: Option<PollNow>,
    /// The stack was not the thread's own, or its bounds were unknown: only a part was copied.
    pub(crate) foreign: bool,
}

/// What a thread is doing for the kernel at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KernelState {
    /// On a CPU, or ready to be put on one.
    Running,
    /// Asleep in a system call.
    Syscall { number: i64, arguments: [u64; 6], stack_pointer: u64, instruction: u64 },
    /// Asleep, but not in a system call: a page fault or another exception.
    Fault { stack_pointer: u64, instruction: u64 },
}

impl KernelState {
    /// Where the thread sleeps, as its stack pointer and its instruction; `None` while it runs.
    pub(crate) fn asleep_at(self) -> Option<(u64, u64)> {
        match self {
            Self::Running => None,
            Self::Syscall { stack_pointer, instruction, .. } | Self::Fault { stack_pointer, instruction } => {
                Some((stack_pointer, instruction))
            }
        }
    }
}

/// Whether a scheduler state of proc(5) is that of something that has ended: a zombie, or dead.
#[cfg(feature = "attach")]
pub(crate) fn has_ended(state: char) -> bool {
    matches!(state, 'Z' | 'X')
}

/// `/proc/…/schedstat`.
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
    pub(crate) state: char,
    pub(crate) minor_faults: u64,
    pub(crate) major_faults: u64,
    /// The CPU it runs on, or ran on last.
    pub(crate) processor: u32,
}

/// A part of a process's address space that holds a file's code or data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mapping {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) executable: bool,
    /// Where in the file it begins.
    pub(crate) offset: u64,
    /// Device and inode, which tell whether the file on disk is still the one that was loaded.
    pub(crate) file: (u64, u64),
    /// The path, or a name in brackets such as `[stack]`.
    pub(crate) path: String,
}

impl Mapping {
    /// The mapping that an address lies in.
    pub(crate) fn of(mappings: &[Self], address: u64) -> Option<&Self> {
        mappings.iter().find(|mapping| (mapping.start..mapping.end).contains(&address))
    }
}
