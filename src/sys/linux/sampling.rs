//! The CPU sampler: one timer per thread on that thread's CPU clock, which signals that thread. A thread that sleeps
//! uses no CPU time and gets no signal.
//!
//! The kernel looks at CPU clocks when it ticks (`CONFIG_HZ`, often 250 a second), so a timer that is faster expires several
//! times at one tick; the signal says how often. A timer goes in steps, of which one or more make a sample.

use std::io;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::Duration;

use super::BlockedSignals;
use super::action::Action;
use super::cpu_signal_handler::{ACTIVE, ENTRIES, FREE, FULL, LOST, ONE_STEP, STEPS, TICK, on_sample_signal, records};
use super::thread::thread_cpu_clock;
use crate::sys::{CpuSample, PollWords, StackCopy};

/// One sampler at a time: there is one set of records.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The signal that is in use, 0 for none.
static SIGNAL: AtomicI32 = AtomicI32::new(0);

/// What a tick is taken for until some were seen.
const USUAL_TICK: Duration = Duration::from_millis(4);

/// Enough for one sample a second.
const MAX_STEPS: u32 = 10_000;

/// Samples what threads do with their CPU time. Dropping it removes its timers and its signal.
pub(crate) struct CpuSampler {
    step: Duration,
    /// Timers by their position in `ENTRIES`.
    timers: Vec<Option<Timer>>,
    /// Dropped after `Drop::drop` has ended every timer.
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

/// A sampled thread's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ThreadNumber(usize);

impl CpuSampler {
    /// Takes a signal of its own, for timers that go in steps, of which so many make a sample. No thread is sampled yet.
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
            // A handler of an earlier session that is still writing will publish what nobody wants.
            let _writing = record.state.compare_exchange(FULL, FREE, Ordering::Relaxed, Ordering::Relaxed);
        }
        SIGNAL.store(action.signal(), Ordering::Release);
        ACTIVE.store(true, Ordering::Release);
        Ok(Self { step, timers: Vec::new(), action: Some(action) })
    }

    /// Starts sampling a thread: `first` is the CPU time until its first step, before which it has `passed` some.
    /// `waited`, of `u32::MAX`, says how much of the way to its first sample lies behind it. `None` when the thread is gone.
    ///
    /// # Errors
    /// What timer_create(2) says, such as `EAGAIN` beyond the limit of pending signals; `StorageFull` beyond the number
    /// of threads that can be sampled.
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
        entry.passed.store(passed, Ordering::Relaxed);
        let way = u64::from(STEPS.load(Ordering::Relaxed) * ONE_STEP);
        entry.waited.store(((way * u64::from(waited)) >> 32) as u32, Ordering::Relaxed);
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

    /// Tells the bounds of a thread's stack, as the thread told them, or as those of the mapping it lies in.
    pub(crate) fn set_stack(&mut self, thread: ThreadNumber, stack: Range<u64>, told: bool) {
        // A handler that sees one old and one new bound takes the stack for a foreign one.
        ENTRIES[thread.0].high.store(0, Ordering::Release);
        ENTRIES[thread.0].told.store(told, Ordering::Release);
        ENTRIES[thread.0].low.store(stack.start, Ordering::Release);
        ENTRIES[thread.0].high.store(stack.end, Ordering::Release);
    }

    /// Tells where a worker says what it polls; `None` for a thread that is no worker.
    pub(crate) fn set_poll(&mut self, thread: ThreadNumber, poll: Option<&'static PollWords>) {
        ENTRIES[thread.0].poll.set(poll);
    }

    /// Steps of a thread that no sample of it has told of.
    pub(crate) fn passed(&self, thread: ThreadNumber) -> u32 {
        ENTRIES[thread.0].passed.load(Ordering::Relaxed)
    }

    /// Stops sampling a thread.
    pub(crate) fn remove_thread(&mut self, thread: ThreadNumber) {
        ENTRIES[thread.0].tid.store(0, Ordering::Release);
        self.timers[thread.0] = None;
    }

    /// Hands over the samples taken since the last time.
    pub(crate) fn drain(&mut self, into: &mut StackCopy, mut take: impl FnMut(&CpuSample, &StackCopy)) {
        for record in records() {
            if record.state.load(Ordering::Acquire) != FULL {
                continue;
            }
            {
                // SAFETY: a full record belongs to the sampler, which this is the only one of.
                let content = unsafe { &*record.content.get() };
                into.registers = content.registers;
                into.bytes.clear();
                into.bytes.extend_from_slice(&content.bytes[..content.length]);
                let at = Duration::new(
                    u64::try_from(content.at.tv_sec).unwrap_or(0),
                    u32::try_from(content.at.tv_nsec).unwrap_or(0),
                );
                let sample = CpuSample {
                    tid: content.tid,
                    steps: content.steps,
                    at,
                    poll: content.poll,
                    foreign: content.foreign,
                };
                take(&sample, into);
            }
            record.state.store(FREE, Ordering::Release);
        }
    }

    /// Samples that could not be kept.
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
    // SAFETY: the timer exists, the setting is a live struct, and nobody asks for the old one.
    if unsafe { libc::timer_settime(timer.0, 0, &raw const setting, std::ptr::null_mut()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn to_timespec(time: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: libc::time_t::try_from(time.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: libc::c_long::from(time.subsec_nanos().cast_signed()),
    }
}

/// Holds the sampler's signal back on this thread; none while CPU time is not sampled. A thread does so before it waits for
/// events: a period that ends while the kernel prepares the wait would otherwise interrupt it.
#[inline]
pub(crate) fn hold_samples() -> BlockedSignals {
    BlockedSignals::hold(SIGNAL.load(Ordering::Acquire))
}
