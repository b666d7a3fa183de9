//! The CPU sampler of our own process: one timer per thread on that thread's CPU clock, which signals the thread. A sleeping
//! thread uses no CPU time and gets no signal.
//!
//! The kernel checks CPU clocks at its ticks (`CONFIG_HZ`, often 250 per second). A faster timer expires several times per
//! tick, and the signal carries that number. A timer runs in steps; one or more steps make a sample.

use std::io;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::Duration;

use super::BlockedSignals;
use super::action::Action;
use super::cpu_signal_handler::{
    ACTIVE, ENTRIES, FOREIGN_BYTES, FREE, FULL, LOST, ONE_STEP, STEPS, TICK, on_sample_signal, records,
};
use super::thread::thread_cpu_clock;
use crate::sys::{MAX_STACK_BYTES, PollWords, StackCopy, TimerSample};

/// Whether a sampler exists. There is one set of records, so only one may exist.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The installed signal, 0 for none.
static SIGNAL: AtomicI32 = AtomicI32::new(0);

/// The interval between two ticks that is assumed at the start.
const USUAL_TICK: Duration = Duration::from_millis(4);

/// Steps per sample at most. That suffices for one sample per second.
const MAX_STEPS: u32 = 10_000;

/// Samples the CPU time of threads. Dropping it removes its timers and its signal.
pub(crate) struct CpuSampler {
    step: Duration,
    /// Timers by their position in `ENTRIES`.
    timers: Vec<Option<Timer>>,
    /// Removed by `Drop::drop` after every timer.
    action: Option<Action>,
}

/// The kernel's timer ids belong to the process, not to a thread.
struct Timer(libc::timer_t);

// SAFETY: timer_settime and timer_delete may be called from any thread of the process.
unsafe impl Send for Timer {}

impl Drop for Timer {
    fn drop(&mut self) {
        // SAFETY: the id came from timer_create and is deleted once.
        unsafe { libc::timer_delete(self.0) };
    }
}

/// A sampled thread's index in `ENTRIES`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ThreadNumber(usize);

impl CpuSampler {
    /// Installs a signal for timers with these steps; `steps` of them make a sample. No thread is sampled yet.
    ///
    /// # Errors
    /// `ResourceBusy` when this process is being sampled already; `AddrInUse` when every real-time signal has a
    /// handler.
    pub(crate) fn start(step: Duration, steps: u32) -> io::Result<Self> {
        if TAKEN.swap(true, Ordering::Acquire) {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        let action = Action::install(None, on_sample_signal).inspect_err(|_| TAKEN.store(false, Ordering::Release))?;
        LOST.store(0, Ordering::Relaxed);
        STEPS.store(steps.clamp(1, MAX_STEPS), Ordering::Relaxed);
        let tick = USUAL_TICK.as_nanos() * u128::from(ONE_STEP) / step.as_nanos().max(1);
        TICK.store(u32::try_from(tick).unwrap_or(u32::MAX).clamp(ONE_STEP, ONE_STEP * 1000), Ordering::Relaxed);
        for record in records() {
            // A handler of an earlier session may still write. Its record is not used.
            let _writing = record.state.compare_exchange(FULL, FREE, Ordering::Relaxed, Ordering::Relaxed);
        }
        SIGNAL.store(action.signal(), Ordering::Release);
        ACTIVE.store(true, Ordering::Release);
        Ok(Self { step, timers: Vec::new(), action: Some(action) })
    }

    /// Starts to sample a thread. `first` is the CPU time until its next step, and `passed` are the steps before it.
    /// `waited` is the elapsed part of its first sampling period, as a fraction of `u32::MAX`. `None` if the thread has
    /// ended.
    ///
    /// # Errors
    /// Those of timer_create(2), such as `EAGAIN` beyond the limit of pending signals; `StorageFull` when too many threads
    /// are sampled.
    pub(crate) fn add_thread(
        &mut self,
        tid: i32,
        first: Duration,
        passed: u32,
        waited: u32,
    ) -> io::Result<Option<ThreadNumber>> {
        let number = self.timers.iter().position(Option::is_none).unwrap_or(self.timers.len());
        let entry = ENTRIES.get(number).ok_or(io::ErrorKind::StorageFull)?;
        if number == self.timers.len() {
            self.timers.push(None);
        }
        entry.poll.set(None);
        entry.foreign_bytes.store(FOREIGN_BYTES, Ordering::Relaxed);
        entry.passed.store(passed, Ordering::Relaxed);
        let period = u64::from(STEPS.load(Ordering::Relaxed) * ONE_STEP);
        entry.waited.store(((period * u64::from(waited)) >> 32) as u32, Ordering::Relaxed);
        self.set_stack(ThreadNumber(number), 0..0, false);
        entry.tid.store(tid, Ordering::Release);
        let timer = create_timer(tid, SIGNAL.load(Ordering::Relaxed), number).and_then(|timer| {
            start_timer(&timer, first, self.step)?;
            Ok(timer)
        });
        match timer {
            Ok(timer) => {
                self.timers[number] = Some(timer);
                Ok(Some(ThreadNumber(number)))
            }
            Err(error) => {
                entry.tid.store(0, Ordering::Release);
                if error.raw_os_error() == Some(libc::EINVAL) { Ok(None) } else { Err(error) }
            }
        }
    }

    /// Sets the bounds of a thread's stack. They are `verified` if they come from the thread itself and not from a mapping.
    pub(crate) fn set_stack(&mut self, thread: ThreadNumber, stack: Range<u64>, verified: bool) {
        // A handler that reads one old and one new bound treats the stack as foreign.
        ENTRIES[thread.0].high.store(0, Ordering::Release);
        ENTRIES[thread.0].verified.store(verified, Ordering::Release);
        ENTRIES[thread.0].low.store(stack.start, Ordering::Release);
        ENTRIES[thread.0].high.store(stack.end, Ordering::Release);
    }

    /// Copies more of a thread's stacks outside of the known bounds from now on, because one of them was cut.
    pub(crate) fn deepen(&mut self, thread: ThreadNumber) {
        ENTRIES[thread.0].foreign_bytes.store(MAX_STACK_BYTES, Ordering::Relaxed);
    }

    /// Sets the words in which a worker publishes its current poll; `None` for other threads.
    pub(crate) fn set_poll(&mut self, thread: ThreadNumber, poll: Option<&'static PollWords>) {
        ENTRIES[thread.0].poll.set(poll);
    }

    /// Steps of a thread since its last sample.
    pub(crate) fn passed(&self, thread: ThreadNumber) -> u32 {
        ENTRIES[thread.0].passed.load(Ordering::Relaxed)
    }

    /// Stops sampling a thread.
    pub(crate) fn remove_thread(&mut self, thread: ThreadNumber) {
        ENTRIES[thread.0].tid.store(0, Ordering::Release);
        self.timers[thread.0] = None;
    }

    /// Passes on the samples since the previous call.
    pub(crate) fn drain(&mut self, into: &mut StackCopy, mut take: impl FnMut(&TimerSample, &StackCopy)) {
        for record in records() {
            if record.state.load(Ordering::Acquire) != FULL {
                continue;
            }
            {
                // SAFETY: a full record belongs to the sampler, and this is the only sampler.
                let content = unsafe { &*record.content.get() };
                into.registers = content.registers;
                into.bytes.clear();
                into.bytes.extend_from_slice(&content.bytes[..content.length]);
                let at = Duration::new(
                    u64::try_from(content.at.tv_sec).unwrap_or(0),
                    u32::try_from(content.at.tv_nsec).unwrap_or(0),
                );
                let sample = TimerSample {
                    tid: content.tid,
                    steps: content.steps,
                    at,
                    poll: content.poll,
                    foreign: content.foreign,
                    cut: content.foreign && content.length >= FOREIGN_BYTES,
                };
                take(&sample, into);
            }
            record.state.store(FREE, Ordering::Release);
        }
    }

    /// Samples that found no free record.
    pub(crate) fn lost(&self) -> u64 {
        LOST.load(Ordering::Relaxed)
    }
}

impl Drop for CpuSampler {
    fn drop(&mut self) {
        ACTIVE.store(false, Ordering::Release);
        SIGNAL.store(0, Ordering::Release);
        for entry in &ENTRIES[..self.timers.len()] {
            entry.tid.store(0, Ordering::Release);
        }
        self.timers.clear();
        self.action = None;
        TAKEN.store(false, Ordering::Release);
    }
}

fn create_timer(tid: i32, signal: libc::c_int, number: usize) -> io::Result<Timer> {
    // SAFETY: sigevent is a C struct of numbers and a union of numbers and pointers; all zero is valid.
    let mut event: libc::sigevent = unsafe { MaybeUninit::zeroed().assume_init() };
    event.sigev_notify = libc::SIGEV_THREAD_ID;
    event.sigev_signo = signal;
    event.sigev_notify_thread_id = tid;
    event.sigev_value = libc::sigval { sival_ptr: std::ptr::without_provenance_mut(number) };
    let mut timer = std::ptr::null_mut();
    // SAFETY: both pointers are to live structs; a clock or thread that does not exist is refused.
    if unsafe { libc::timer_create(thread_cpu_clock(tid), &raw mut event, &raw mut timer) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Timer(timer))
}

fn start_timer(timer: &Timer, first: Duration, interval: Duration) -> io::Result<()> {
    let setting = libc::itimerspec {
        it_value: to_timespec(first.max(Duration::from_nanos(1))),
        it_interval: to_timespec(interval),
    };
    // SAFETY: the timer exists, the setting is a live struct, and a null pointer discards the old one.
    if unsafe { libc::timer_settime(timer.0, 0, &raw const setting, std::ptr::null_mut()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn to_timespec(time: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: libc::c_long::from(time.subsec_nanos().cast_signed()),
    }
}

/// Blocks the sampler's signal on this thread, if a sampler exists. A thread does so before it waits for events. Otherwise a
/// period that ends while the kernel prepares the wait would interrupt it.
#[inline]
pub(crate) fn block_sample_signal() -> BlockedSignals {
    BlockedSignals::block(SIGNAL.load(Ordering::Acquire))
}
