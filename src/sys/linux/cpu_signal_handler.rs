//! The handler of the CPU sampler's signal, and the records that it fills.
//!
//! The handler saves `errno`, finds its thread's entry by the number in the timer, and decides whether this tick is sampled.
//! If so, it claims a free record and stores three registers, the time and the worker's current poll. Then it copies the
//! used part of its thread's stack, publishes the record and restores `errno`.
//!
//! It calls `gettid` and `clock_gettime` (async-signal-safe) and `memcpy`. On a stack with unverified bounds it calls
//! `process_vm_readv`, a bare system call that reports a bad address as an error. It takes no lock, allocates nothing and
//! unwinds nothing.
//!
//! # A record's life
//!
//! | state | written by | means |
//! |---|---|---|
//! | `FREE` | sampler | any handler may claim it |
//! | `WRITING` | handler, by compare-exchange from `FREE` | that handler alone writes the record |
//! | `FULL` | that handler | complete; the sampler alone reads it, then sets `FREE` |
//!
//! Handlers take the first free record. So only as many records touch memory as are full at a time, each as deep as the
//! deepest stack that it held.
//!
//! A handler without a free record counts a lost sample and leaves its CPU time to the thread's next sample. An entry belongs
//! to the thread with its `tid`. A late or foreign signal finds another thread's id in the entry and returns.

use std::cell::UnsafeCell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use super::errno::Errno;
use crate::sys::{MAX_STACK_BYTES, PollNow, PollWords, Process, Registers, StaticRef};

/// Threads that are sampled at the same time.
const MAX_SAMPLED_THREADS: usize = 4096;

/// Bytes that are copied of a stack with unknown bounds, until one was deeper. The kernel copies them page by page, and goes
/// on behind a stack's end.
pub(super) const FOREIGN_BYTES: usize = 32 * 1024;

/// Records per CPU. The sampler empties them every few milliseconds, which is a few kernel ticks.
const RECORDS_PER_CPU: usize = 16;

pub(super) const FREE: u32 = 0;
pub(super) const WRITING: u32 = 1;
pub(super) const FULL: u32 = 2;

/// Whether samples are wanted.
pub(super) static ACTIVE: AtomicBool = AtomicBool::new(false);
/// Samples that found no free record.
pub(super) static LOST: AtomicU64 = AtomicU64::new(0);
/// Steps of a thread's timer for one sample.
pub(super) static STEPS: AtomicU32 = AtomicU32::new(1);
/// Steps between two ticks, as an average over all threads, in fractions of [`ONE_STEP`].
pub(super) static TICK: AtomicU32 = AtomicU32::new(ONE_STEP);
/// One step as a fixed-point number.
pub(super) const ONE_STEP: u32 = 256;
/// A tick has one part in this many of the average.
const TICKS_AVERAGED: i64 = 32;
/// The sampled threads.
pub(super) static ENTRIES: [Entry; MAX_SAMPLED_THREADS] = [const { Entry::new() }; MAX_SAMPLED_THREADS];
static RECORDS: OnceLock<Box<[Record]>> = OnceLock::new();

/// A sampled thread.
pub(super) struct Entry {
    /// The thread's id, 0 for a free entry.
    pub(super) tid: AtomicI32,
    /// The bounds of its stack, both 0 if unknown.
    pub(super) low: AtomicU64,
    pub(super) high: AtomicU64,
    /// Whether the bounds come from the thread itself. Otherwise they are those of a mapping, which may contain more than
    /// the stack and may shrink at any time.
    pub(super) verified: AtomicBool,
    /// Bytes that are copied of another stack than that between the bounds.
    pub(super) foreign_bytes: AtomicUsize,
    /// The current poll, on a worker.
    pub(super) poll: StaticRef<PollWords>,
    /// Steps since its last sample or its start.
    pub(super) passed: AtomicU32,
    /// Ticks since its last sample, each counted as [`TICK`].
    pub(super) waited: AtomicU32,
}

impl Entry {
    const fn new() -> Self {
        Self {
            tid: AtomicI32::new(0),
            low: AtomicU64::new(0),
            high: AtomicU64::new(0),
            verified: AtomicBool::new(false),
            foreign_bytes: AtomicUsize::new(FOREIGN_BYTES),
            poll: StaticRef::empty(),
            passed: AtomicU32::new(0),
            waited: AtomicU32::new(0),
        }
    }
}

/// One sample on its way from the handler to the sampler.
pub(super) struct Record {
    pub(super) state: AtomicU32,
    pub(super) content: UnsafeCell<Content>,
}

/// The content of a record.
pub(super) struct Content {
    pub(super) tid: i32,
    /// Steps of CPU time since the thread's previous sample.
    pub(super) steps: u32,
    /// `CLOCK_MONOTONIC`.
    pub(super) at: libc::timespec,
    pub(super) registers: Registers,
    pub(super) poll: Option<PollNow>,
    /// The stack pointer lay outside the thread's own stack.
    pub(super) foreign: bool,
    pub(super) length: usize,
    pub(super) bytes: Box<[u8]>,
}

// SAFETY: the protocol above gives the content to one thread at a time.
unsafe impl Sync for Record {}

/// The records, allocated once and kept. Pages that no stack has reached are never touched.
pub(super) fn records() -> &'static [Record] {
    RECORDS.get_or_init(|| {
        let cpus = std::thread::available_parallelism().map_or(4, usize::from);
        (0..(cpus * RECORDS_PER_CPU).clamp(64, 1024)).map(|_| Record::empty()).collect()
    })
}

impl Record {
    fn empty() -> Self {
        let content = Content {
            tid: 0,
            steps: 0,
            at: libc::timespec { tv_sec: 0, tv_nsec: 0 },
            registers: Registers::default(),
            poll: None,
            foreign: false,
            length: 0,
            bytes: vec![0; MAX_STACK_BYTES].into_boxed_slice(),
        };
        Self { state: AtomicU32::new(FREE), content: UnsafeCell::new(content) }
    }
}

pub(super) extern "C" fn on_sample_signal(
    _signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    let errno = Errno::save();
    take_sample(info, context.cast());
    errno.restore();
}

fn take_sample(info: *const libc::siginfo_t, context: *const libc::ucontext_t) {
    if !ACTIVE.load(Ordering::Acquire) {
        return;
    }
    let Some((number, overrun)) = timer_of(info) else { return };
    let Some(entry) = ENTRIES.get(number as usize) else { return };
    // SAFETY: gettid has no preconditions.
    let tid = unsafe { libc::gettid() };
    if entry.tid.load(Ordering::Acquire) != tid {
        return;
    }
    let steps = 1 + overrun;
    entry.passed.fetch_add(steps, Ordering::Relaxed);
    if !is_due(entry, steps) {
        return;
    }
    let Some(record) = claim() else {
        LOST.fetch_add(1, Ordering::Relaxed);
        return;
    };
    // SAFETY: `claim` made this handler the one owner of the content until it publishes it.
    let content = unsafe { &mut *record.content.get() };
    content.tid = tid;
    content.steps = entry.passed.swap(0, Ordering::Relaxed);
    // SAFETY: the result goes into a live struct; clock_gettime is async-signal-safe.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut content.at) };
    // SAFETY: the kernel passed `context` to the handler that is executing, and keeps it until that returns.
    let registers = unsafe { &(*context).uc_mcontext.gregs };
    content.registers = Registers {
        instruction: registers[libc::REG_RIP as usize] as u64,
        stack_pointer: registers[libc::REG_RSP as usize] as u64,
        frame_pointer: Some(registers[libc::REG_RBP as usize] as u64),
    };
    content.poll = entry.poll.get().and_then(PollWords::now);
    copy_stack(entry, content);
    record.state.store(FULL, Ordering::Release);
}

/// Whether this tick is sampled. A tick comes at an unbiased moment. But the first tick after a given amount of CPU time is
/// biased towards ticks with much CPU time before them. So ticks are chosen by their number, and each counts as an average
/// tick.
fn is_due(entry: &Entry, steps: u32) -> bool {
    let enough = STEPS.load(Ordering::Relaxed) * ONE_STEP;
    if enough == ONE_STEP {
        return true;
    }
    // Two threads at once may lose one update of the average, which is harmless.
    let tick = i64::from(TICK.load(Ordering::Relaxed));
    let tick = tick + (i64::from(steps.min(1000) * ONE_STEP) - tick) / TICKS_AVERAGED;
    let tick = u32::try_from(tick).unwrap_or(ONE_STEP);
    TICK.store(tick, Ordering::Relaxed);
    let waited = entry.waited.load(Ordering::Relaxed) + tick;
    let due = waited >= enough;
    entry.waited.store(if due { (waited - enough).min(enough - 1) } else { waited }, Ordering::Relaxed);
    due
}

/// The number in the timer, and the periods that it missed since its last signal. `None` if no timer sent the signal.
fn timer_of(info: *const libc::siginfo_t) -> Option<(u32, u32)> {
    // SAFETY: the kernel passed `info` to the handler that is executing.
    let info = unsafe { &*info };
    if info.si_code != libc::SI_TIMER {
        return None;
    }
    // SAFETY: a timer's siginfo has a value where `si_value` reads.
    let value = unsafe { info.si_value() };
    // SAFETY: a timer's siginfo has its overrun, a plain int, where `si_uid` reads (the second word of the union).
    let overrun = unsafe { info.si_uid() };
    Some((u32::try_from(value.sival_ptr.addr()).ok()?, overrun.min(100_000)))
}

fn claim() -> Option<&'static Record> {
    let claims = |record: &&Record| {
        // A load leaves the others' cache lines alone.
        record.state.load(Ordering::Relaxed) == FREE
            && record.state.compare_exchange(FREE, WRITING, Ordering::Acquire, Ordering::Relaxed).is_ok()
    };
    RECORDS.get()?.iter().find(claims)
}

fn copy_stack(entry: &Entry, content: &mut Content) {
    let stack_pointer = content.registers.stack_pointer;
    let high = entry.high.load(Ordering::Relaxed);
    content.foreign = !(entry.low.load(Ordering::Relaxed)..high).contains(&stack_pointer);
    if content.foreign {
        let most = entry.foreign_bytes.load(Ordering::Relaxed).min(MAX_STACK_BYTES);
        content.length = Process::own().read_memory(stack_pointer, &mut content.bytes[..most]);
        return;
    }
    content.length = ((high - stack_pointer) as usize).min(MAX_STACK_BYTES);
    if !entry.verified.load(Ordering::Relaxed) {
        content.length = Process::own().read_memory(stack_pointer, &mut content.bytes[..content.length]);
        return;
    }
    let stack: *const u8 = std::ptr::with_exposed_provenance(stack_pointer as usize);
    // SAFETY: `length` bytes from the stack pointer belong to this thread's own mapped stack. It cannot shrink while
    // this thread is here. The record is this handler's.
    unsafe { std::ptr::copy_nonoverlapping(stack, content.bytes.as_mut_ptr(), content.length) };
}
