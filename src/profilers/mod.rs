//! Collects weighted stacks over a window: numbers and addresses, to be named afterwards.
//!
//! | profiler | unit | what a sample is | what it costs | what it does not see |
//! |---|---|---|---|---|
//! | `cpu` | CPU nanoseconds | one period of one thread's CPU time | a signal per tick of a busy thread; one per sample copies the stack | threads that live for less than a scan (1 ms or more); what the kernel does between ticks |
//! | `cpu` by `pprof`, where threads have no timers | CPU nanoseconds | one period of the process's CPU time, of whichever thread was interrupted | a signal per sample, whose handler unwinds | tasks; true shares between threads; code of the C library |
//! | `wall` | nanoseconds | one moment of one worker | a look per worker and sample; a signal if it runs | threads that are no workers; the stacks of polls shorter than a look |
//! | `wall` of another process | nanoseconds | one moment of one thread | a look per thread and sample; a stop if it runs | which task a worker polls |
//! | `tasks` of another process | nanoseconds | one task at one moment | reading the memory of all tasks | native stacks; moments between two looks |
//! | `stalled` | nanoseconds | one stall, or the part of it that one stack stands for | nothing: the watchdog has it | polls shorter than the threshold |
//!
//! `cpu` and `wall` are [`Profiler`]s, which run for a while on a thread of their own; stalled time is kept by the
//! history of a watch, which can tell it at any time.

/// What every task of another process waits for over time.
#[cfg(feature = "attach")]
mod awaiting;

/// Samples as they come in, with equal stacks kept once.
mod collection;

/// CPU time of every thread.
mod cpu;

/// CPU time where threads have no timers of their own.
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

/// What every thread of another process does over time.
#[cfg(feature = "attach")]
mod threads;

/// What every worker does over time.
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

/// Collects samples for a while.
pub(crate) trait Profiler: Send {
    /// Samples until the window is over.
    ///
    /// # Errors
    /// When the target cannot be observed any more.
    fn run(&mut self, window: &Window) -> io::Result<Collection>;
}

/// A function on a stack that was named by somebody else.
#[derive(Debug)]
pub(crate) struct Found<'f> {
    /// Its symbol.
    pub(crate) mangled: &'f str,
    pub(crate) file: Option<&'f str>,
    pub(crate) line: Option<u32>,
}

/// How long to collect.
#[derive(Debug)]
pub(crate) struct Window {
    started: Instant,
    limit: Duration,
    stop: Arc<AtomicBool>,
}

impl Window {
    /// Begins now. `stop` ends it early.
    pub(crate) fn begin(limit: Duration, stop: Arc<AtomicBool>) -> Self {
        Self { started: Instant::now(), limit, stop }
    }

    /// Since its beginning.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Sleeps for a part of it, not past its end; false once it is over.
    pub(crate) fn sleep(&self, time: Duration) -> bool {
        std::thread::sleep(time.min(self.limit.saturating_sub(self.elapsed())));
        self.elapsed() < self.limit && !self.stop.load(Ordering::Relaxed)
    }
}
