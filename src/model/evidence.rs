//! Evidence: what the kernel reports about a stuck thread between two moments, as uninterpreted numbers.

use std::fmt;
use std::time::Duration;

/// What a stuck worker's thread did while it was observed.
///
/// All durations lie within [`window`](Self::window), which starts about two milliseconds into the poll. CPU time, waits and
/// the machine's part do not overlap, so their sum is at most the window. A value of `None` was not available from the
/// kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Evidence {
    /// How long the thread was observed.
    pub window: Duration,
    /// The number of samples in the window.
    pub samples: u32,
    /// CPU time that the thread used in the window (its CPU clock).
    pub on_cpu: Option<Duration>,
    /// Time in which the thread waited for a CPU that other threads used (`/proc/…/schedstat`). A wait for a disk includes up to
    /// 1 ms of each wake-up, which does not count here.
    pub run_queue: Option<Duration>,
    /// Time in which the CPU quota of the process's cgroup held the thread back (`cpu.stat`), at most. The kernel counts it
    /// for the group, not for the thread. `None` without a quota.
    pub throttled: Option<Duration>,
    /// How often the quota held back the process's cgroup in the window. `None` without a quota.
    pub throttles: Option<u64>,
    /// Time that a hypervisor took from the thread's CPU, in steps of 10 ms. `None` on machines without stolen time.
    pub stolen: Option<Duration>,
    /// Further time in which the thread was runnable but its CPU clock stood still: it is still queued, or a
    /// hypervisor took the CPU.
    pub starved: Duration,
    /// The waits of the thread, the longest first.
    pub waits: Vec<WaitTime>,
    /// The part of the CPU time that the thread spent in the kernel, by its ticks. `None` if there were too few.
    pub in_kernel: Option<Duration>,
    /// Page faults served without reading from disk. The kernel is asked every few milliseconds, and the count is extended
    /// to the CPU time of the window.
    pub minor_faults: Option<u64>,
    /// The least CPU time of these faults: their number times what one costs on this machine, measured on pages in its caches.
    pub fault_time: Option<Duration>,
    /// Page faults that read from disk.
    pub major_faults: Option<u64>,
    /// The thread's scheduler state at the last sample: `R` running, `S` asleep, `D` in uninterruptible sleep,
    /// `T` stopped.
    pub state: Option<char>,
    /// How long the thread had slept without being run, at the last sample. Zero if it ran, or if the kernel does not tell
    /// one sleep from the next.
    pub asleep: Duration,
    /// The delay of holdup's own watchdog in the window. A large value means that the machine ran neither thread.
    pub watchdog_late: Duration,
}

impl Evidence {
    /// The time that the thread spent by its own act: on a CPU, or waiting for something else than a CPU.
    #[must_use]
    pub fn own_time(&self) -> Duration {
        self.window.saturating_sub(self.machine_time())
    }

    /// The time in which the thread could have run and the machine did not run it: other threads, a quota or a hypervisor.
    ///
    /// ```
    /// use std::time::Duration;
    /// use holdup::stall::Evidence;
    ///
    /// let ms = Duration::from_millis;
    /// let mut evidence = Evidence::default();
    /// (evidence.window, evidence.on_cpu, evidence.run_queue) = (ms(75), Some(ms(37)), Some(ms(38)));
    /// assert_eq!((evidence.own_time(), evidence.machine_time()), (ms(37), ms(38)));
    /// ```
    #[must_use]
    pub fn machine_time(&self) -> Duration {
        let parts = [self.run_queue, self.throttled, self.stolen, Some(self.starved)];
        parts.into_iter().flatten().sum::<Duration>().max(self.neither_run())
    }

    /// The time in which the machine ran neither the watchdog nor the thread. Time on a CPU or asleep does not count.
    fn neither_run(&self) -> Duration {
        let slept: Duration = self.waits.iter().map(|wait| wait.time).sum();
        let unexplained = self.window.saturating_sub(self.on_cpu.unwrap_or(self.window)).saturating_sub(slept);
        self.watchdog_late.min(unexplained)
    }
}

/// How much a CPU quota has held back a process's cgroup and those above it, so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Throttling {
    /// Summed over CPUs. The kernel adds it when the group runs again.
    pub(crate) time: Duration,
    /// Periods in which the quota was used up.
    pub(crate) periods: u64,
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
        /// The standard stream that the descriptor is; `None` for another descriptor.
        stream: Option<StandardStream>,
    },
    /// In the handler of a page fault or of another exception.
    Fault,
}

impl fmt::Display for WaitSite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syscall { name, file: Some(file), stream: Some(stream), .. } => {
                write!(f, "{name} on {file} ({stream})")
            }
            Self::Syscall { name, file: Some(file), stream: None, .. } => write!(f, "{name} on {file}"),
            Self::Syscall { name, file: None, .. } => f.write_str(name),
            Self::Fault => f.write_str("a page fault"),
        }
    }
}

/// The descriptors that every program starts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StandardStream {
    /// Descriptor 0.
    Input,
    /// Descriptor 1.
    Output,
    /// Descriptor 2.
    Error,
}

impl fmt::Display for StandardStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Input => "standard input",
            Self::Output => "standard output",
            Self::Error => "standard error",
        })
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
