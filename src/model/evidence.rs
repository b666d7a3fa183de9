//! What the kernel tells about a stuck thread between two moments: numbers, before anybody interprets them.

use std::time::Duration;

/// What a stuck worker's thread did while it was looked at.
///
/// All durations lie within [`window`](Self::window), which starts about two milliseconds into the poll.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Evidence {
    /// How long the thread was looked at.
    pub window: Duration,
    /// How often it was looked at.
    pub samples: u32,
    /// CPU time that the thread used in the window (its CPU clock).
    pub on_cpu: Option<Duration>,
    /// Time it was ready and the kernel did not run it (`/proc/…/schedstat`).
    pub run_queue: Option<Duration>,
    /// Time that a hypervisor took from the CPU it ran on, in steps of 10 ms; the kernel may have counted it as CPU
    /// time before it learned of it. `None` on machines that no hypervisor takes time from.
    pub stolen: Option<Duration>,
    /// Further time it was runnable while its CPU clock stood still: it is still in the queue, or a hypervisor took
    /// the CPU away.
    pub starved: Duration,
    /// What it was waiting in, by the time it was seen there; the longest first.
    pub waits: Vec<WaitTime>,
    /// Page faults served without reading from disk.
    pub minor_faults: Option<u64>,
    /// Page faults that had to read from disk.
    pub major_faults: Option<u64>,
    /// The thread's scheduler state at the last look: `R` running, `S` asleep, `D` asleep in the kernel
    /// and not to be woken, `T` stopped.
    pub state: Option<char>,
    /// By how much holdup's own watchdog was late in the window: then the machine ran neither of the two.
    pub watchdog_late: Duration,
}

/// Something a thread waited in, and for how long it was seen there.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WaitTime {
    /// What it was.
    pub site: WaitSite,
    /// The time between looks that found it there.
    pub time: Duration,
}

/// Where in the kernel a thread sleeps.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WaitSite {
    /// In a system call.
    Syscall {
        /// Its name, such as `futex`; `syscall 451` where this version of holdup has no name for it.
        name: String,
        /// What kind of wait this is.
        kind: SyscallKind,
        /// What the file descriptor in its arguments stands for, such as `socket` or a path.
        file: Option<String>,
    },
    /// Not in a system call: the kernel serves a page fault or another exception.
    Fault,
}

impl std::fmt::Display for WaitSite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Syscall { name, file: Some(file), .. } => write!(f, "{name} on {file}"),
            Self::Syscall { name, file: None, .. } => f.write_str(name),
            Self::Fault => f.write_str("a page fault"),
        }
    }
}

/// What a system call waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SyscallKind {
    /// Time to pass.
    Sleep,
    /// A lock, a channel, a condition or a thread: everything that is built on futexes, and file locks.
    Lock,
    /// A file or directory.
    File,
    /// A socket.
    Network,
    /// A pipe.
    Pipe,
    /// A child process.
    Child,
    /// The process's memory map.
    Memory,
    /// Anything else.
    Other,
}
