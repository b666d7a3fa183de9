//! Collects weighted stacks over a window: numbers and addresses, which get names later.
//!
//! | profiler | unit | a sample is | cost | blind spots |
//! |---|---|---|---|---|
//! | `cpu` | CPU nanoseconds | one period of one thread's CPU time | a signal per tick of a busy thread; one per sample copies the stack | threads shorter than the scan interval (1 ms or more); kernel work between ticks |
//! | `cpu` by `pprof`, without timers per thread | CPU nanoseconds | one period of the process's CPU time, on the interrupted thread | a signal per sample, whose handler unwinds | tasks; exact shares between threads; code of the C library |
//! | `wall` | nanoseconds | one moment of one worker | a read per worker and sample; a signal if it runs | threads that are no workers; the stacks of very short polls |
//! | `wall` of another process | nanoseconds | one moment of one thread | a read per thread and sample; a stop if it runs | the task that a worker polls |
//! | `tasks` of another process | nanoseconds | one task at one moment | reading the memory of all tasks | native stacks; moments between two dumps |
//! | `stalled` | nanoseconds | one stall, or the part of it with one stack | nothing: the watchdog has the stacks | polls shorter than the threshold |
//!
//! `cpu` and `wall` are [`Profiler`]s, which run on their own thread for some time. The history of a watch keeps stalled
//! time, and can report it at any time.

/// The wait time of every task of another process.
#[cfg(feature = "attach")]
mod awaiting;

/// Collects samples. Equal stacks are kept once.
mod collection;

/// CPU time of every thread.
mod cpu;

/// CPU time on platforms without CPU timers per thread.
#[cfg_attr(
    not(all(
        feature = "formats",
        any(target_os = "linux", target_os = "macos", target_os = "freebsd"),
        any(target_arch = "x86_64", target_arch = "aarch64"),
        any(holdup_unsupported, not(all(target_os = "linux", target_arch = "x86_64")))
    )),
    path = "no_pprof_sampler.rs"
)]
mod pprof_sampler;

/// Tasks at one moment.
#[cfg(feature = "http")]
mod tasks_now;

/// The wall-clock time of every thread of another process.
#[cfg(feature = "attach")]
mod threads;

/// The wall-clock time of every worker.
mod wall;

#[cfg(feature = "attach")]
pub(crate) use awaiting::Awaiting;
pub(crate) use collection::Collection;
pub(crate) use cpu::Cpu;
pub(crate) use pprof_sampler::PprofSampler;
#[cfg(feature = "http")]
pub(crate) use tasks_now::TasksNow;
#[cfg(feature = "attach")]
pub(crate) use threads::Threads;
pub(crate) use wall::Wall;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Collects samples for some time.
pub(crate) trait Profiler: Send {
    /// Samples until the window ends.
    ///
    /// # Errors
    /// If the process can no longer be observed.
    fn run(&mut self, window: &Window) -> io::Result<Collection>;
}

/// A frame that the `pprof` package has symbolized.
#[derive(Debug)]
pub(crate) struct PprofFrame<'f> {
    /// The mangled symbol.
    pub(crate) mangled: &'f str,
    pub(crate) file: Option<&'f str>,
    pub(crate) line: Option<u32>,
}

/// The time in which a profiler collects samples.
#[derive(Debug)]
pub(crate) struct Window {
    started: Instant,
    limit: Duration,
    stop: Arc<AtomicBool>,
}

impl Window {
    /// A window that begins now. `stop` ends it early.
    pub(crate) fn begin(limit: Duration, stop: Arc<AtomicBool>) -> Self {
        Self { started: Instant::now(), limit, stop }
    }

    /// The time since the window began.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Sleeps, but not past the end of the window. Returns false once the window has ended.
    pub(crate) fn sleep(&self, time: Duration) -> bool {
        std::thread::sleep(time.min(self.limit.saturating_sub(self.elapsed())));
        self.elapsed() < self.limit && !self.stop.load(Ordering::Relaxed)
    }
}
