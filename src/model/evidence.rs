//! Evidence: what the kernel reports about a stuck thread between two moments, as uninterpreted numbers.

use std::fmt;
use std::time::Duration;

/// What a stuck worker's thread did while it was observed.
///
/// All durations lie within [`window`](Self::window), which starts about two milliseconds into the poll. A value of
/// `None` was not available from the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Evidence {
    /// How long the thread was observed.
    pub window: Duration,
    /// The number of samples in the window.
    pub samples: u32,
    /// CPU time that the thread used in the window (its CPU clock).
    pub on_cpu: Option<Duration>,
    /// Time in which the thread was ready and the kernel did not run it (`/proc/…/schedstat`).
    pub run_queue: Option<Duration>,
    /// Time that a hypervisor took from the thread's CPU, in steps of 10 ms. The kernel may have counted it as CPU time
    /// first. `None` on machines without stolen time.
    pub stolen: Option<Duration>,
    /// Further time in which the thread was runnable but its CPU clock stood still: it is still queued, or a
    /// hypervisor took the CPU.
    pub starved: Duration,
    /// The waits of the thread, the longest first.
    pub waits: Vec<WaitTime>,
    /// Page faults served without reading from disk.
    pub minor_faults: Option<u64>,
    /// Page faults that read from disk.
    pub major_faults: Option<u64>,
    /// The thread's scheduler state at the last sample: `R` running, `S` asleep, `D` in uninterruptible sleep,
    /// `T` stopped.
    pub state: Option<char>,
    /// The delay of holdup's own watchdog in the window. A large value means that the machine ran neither thread.
    pub watchdog_late: Duration,
}

/// A wait site, and the time that a thread spent there.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WaitTime {
    /// The site.
    pub site: WaitSite,
    /// The time between samples that found the thread there.
    pub time: Duration,
}

impl WaitTime {
    /// Time spent at a site.
    #[must_use]
    pub fn new(site: WaitSite, time: Duration) -> Self {
        Self { site, time }
    }
}

/// Where in the kernel a thread waits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WaitSite {
    /// In a system call.
    Syscall {
        /// Its name, such as `futex`; `syscall 451` if holdup has no name for it.
        name: String,
        /// What the call waits for.
        kind: SyscallKind,
        /// The file behind the descriptor in its arguments: `socket`, or a path.
        file: Option<String>,
    },
    /// In the handler of a page fault or of another exception.
    Fault,
}

impl fmt::Display for WaitSite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
    /// Time.
    Sleep,
    /// A futex (locks, channels, condition variables, thread joins) or a file lock.
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
