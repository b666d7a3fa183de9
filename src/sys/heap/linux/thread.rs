//! What each thread counts: bytes until its next sample, and its part of the totals.
//!
//! The state has no destructor, so it can be used as long as the thread exists.

use std::cell::Cell;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::sys::heap::facts::HeapTotals;
use crate::sys::{PollWords, current_tid, monotonic_time};

/// The number of the present setting, 0 while sampling is off. Threads that find another number begin anew.
pub(super) static GENERATION: AtomicU32 = AtomicU32::new(0);
/// The mean distance between two samples in bytes, 0 to sample every allocation.
pub(super) static MEAN: AtomicU64 = AtomicU64::new(0);

static ALLOCATED_BYTES: AtomicU64 = AtomicU64::new(0);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static FREED_BYTES: AtomicU64 = AtomicU64::new(0);
static FREES: AtomicU64 = AtomicU64::new(0);

/// The key whose destructor adds a thread's last part to the totals.
static AT_END: AtomicU32 = AtomicU32::new(NO_KEY);

const NO_KEY: u32 = u32::MAX;

/// glibc stores the values of keys below it in the thread's control block. It would allocate memory for others.
const KEYS_WITHOUT_MEMORY: u32 = 32;

/// A thread that only frees adds its part to the totals after this many bytes.
const FREED_AT_ONCE: u64 = 1 << 20;

pub(super) struct ThreadState {
    generation: Cell<u32>,
    /// Bytes until the next sample.
    left: Cell<i64>,
    /// `left` when the allocated bytes were last added to the totals.
    left_before: Cell<i64>,
    allocations: Cell<u64>,
    freed_bytes: Cell<u64>,
    frees: Cell<u64>,
    /// Inside the sampler, or in code that is not sampled.
    inside: Cell<bool>,
    random: Cell<u64>,
    tid: Cell<i32>,
    words: Cell<Option<&'static PollWords>>,
    /// The bounds of the stack, both 0 if unknown.
    stack: Cell<(usize, usize)>,
}

thread_local! {
    static STATE: ThreadState = const { ThreadState::new() };
}

/// The thread is inside the sampler until this is dropped.
pub(super) struct Inside;

impl Drop for Inside {
    fn drop(&mut self) {
        STATE.with(|state| {
            state.discard();
            state.inside.set(false);
        });
    }
}

/// Whether an allocation of this size is to be sampled. It is counted here, unless it is: then [`count_due`] follows.
#[inline]
pub(crate) fn is_due(size: usize) -> bool {
    let generation = GENERATION.load(Ordering::Relaxed);
    if generation == 0 {
        return false;
    }
    STATE.with(|state| state.counts(size, generation))
}

/// Counts a sampled allocation, once it has succeeded.
pub(super) fn count_due(size: usize) {
    STATE.with(|state| {
        state.left_before.set(state.left_before.get().wrapping_add_unsigned(size as u64));
        state.allocations.set(state.allocations.get().wrapping_add(1));
        state.add_to_totals();
    });
}

/// Takes an allocation that was not due out of the count again, because it failed.
#[cold]
pub(crate) fn count_failed(size: usize) {
    let generation = GENERATION.load(Ordering::Relaxed);
    STATE.with(|state| {
        if generation != 0 && state.generation.get() == generation {
            state.take_back(size);
        }
    });
}

/// Counts a free.
#[inline]
pub(crate) fn count_free(size: usize) {
    if GENERATION.load(Ordering::Relaxed) == 0 {
        return;
    }
    STATE.with(|state| {
        let freed = state.freed_bytes.get() + size as u64;
        state.freed_bytes.set(freed);
        state.frees.set(state.frees.get() + 1);
        if freed >= FREED_AT_ONCE {
            state.add_to_totals();
        }
    });
}

impl ThreadState {
    const fn new() -> Self {
        Self {
            generation: Cell::new(0),
            left: Cell::new(0),
            left_before: Cell::new(0),
            allocations: Cell::new(0),
            freed_bytes: Cell::new(0),
            frees: Cell::new(0),
            inside: Cell::new(false),
            random: Cell::new(0),
            tid: Cell::new(0),
            words: Cell::new(None),
            stack: Cell::new((0, 0)),
        }
    }

    /// Counts an allocation, and returns whether it is to be sampled.
    #[inline]
    fn counts(&self, size: usize, generation: u32) -> bool {
        let left = self.left.get().wrapping_sub_unsigned(size as u64);
        self.left.set(left);
        self.allocations.set(self.allocations.get().wrapping_add(1));
        let decides = left < 0 || self.generation.get() != generation;
        decides && self.decide(size, generation)
    }

    #[cold]
    #[inline(never)]
    fn decide(&self, size: usize, generation: u32) -> bool {
        if self.generation.get() != generation {
            self.begin(size, generation);
            if self.left.get() >= 0 {
                return false;
            }
        }
        self.take_back(size);
        self.add_to_totals();
        self.left.set(self.distance());
        self.left_before.set(self.left.get());
        !self.inside.get()
    }

    /// Takes an allocation out of what was counted. The distance to the next sample stays: it has no memory.
    fn take_back(&self, size: usize) {
        self.left_before.set(self.left_before.get().wrapping_sub_unsigned(size as u64));
        self.allocations.set(self.allocations.get().wrapping_sub(1));
    }

    /// Begins to count under a new setting, with this allocation.
    fn begin(&self, size: usize, generation: u32) {
        self.generation.set(generation);
        call_at_end();
        if self.random.get() == 0 {
            let time = monotonic_time().as_nanos() as u64;
            self.random.set(mixed(time ^ (std::ptr::from_ref(self).addr() as u64).rotate_left(32)) | 1);
        }
        let left = self.distance();
        self.left_before.set(left);
        self.left.set(left.wrapping_sub_unsigned(size as u64));
        self.allocations.set(1);
        self.freed_bytes.set(0);
        self.frees.set(0);
    }

    /// The distance to the next sample. Distances are exponential, so that every byte is equally likely to be sampled.
    fn distance(&self) -> i64 {
        let mean = MEAN.load(Ordering::Relaxed);
        if mean == 0 {
            return 0;
        }
        // The xorshift generator of Marsaglia.
        let mut random = self.random.get();
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        self.random.set(random);
        // Between 0 and 1, without 0.
        let uniform = ((random >> 11) + 1) as f64 / (1_u64 << 53) as f64;
        (-uniform.ln() * mean as f64) as i64
    }

    /// Adds what was counted since the last time to the totals, unless the thread is inside.
    fn add_to_totals(&self) {
        if self.inside.get() {
            return self.discard();
        }
        let allocated = self.left_before.get().wrapping_sub(self.left.get());
        self.left_before.set(self.left.get());
        ALLOCATED_BYTES.fetch_add(allocated.cast_unsigned(), Ordering::Relaxed);
        ALLOCATIONS.fetch_add(self.allocations.take(), Ordering::Relaxed);
        FREED_BYTES.fetch_add(self.freed_bytes.take(), Ordering::Relaxed);
        FREES.fetch_add(self.frees.take(), Ordering::Relaxed);
    }

    /// Forgets what was counted: nothing of it can be sampled.
    fn discard(&self) {
        self.left_before.set(self.left.get());
        self.allocations.set(0);
        self.freed_bytes.set(0);
        self.frees.set(0);
    }
}

/// The finalizer of splitmix64.
fn mixed(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

extern "C" fn on_thread_end(_value: *mut libc::c_void) {
    STATE.with(ThreadState::add_to_totals);
    // Destructors of other keys may allocate after this one. The C library calls all again, a few times at most.
    call_at_end();
}

/// Makes the key. Called before sampling begins.
pub(super) fn make_key() {
    let mut key = 0;
    // SAFETY: the key is a live variable, and the destructor only adds numbers.
    let made = unsafe { libc::pthread_key_create(&raw mut key, Some(on_thread_end)) };
    if made == 0 && key < KEYS_WITHOUT_MEMORY {
        AT_END.store(key, Ordering::Release);
    }
}

/// Adds the calling thread's last part to the totals when it ends. Without a key, that part is missing.
fn call_at_end() {
    let key = AT_END.load(Ordering::Acquire);
    if key != NO_KEY {
        // The value must not be null.
        let value = std::ptr::without_provenance(1);
        // SAFETY: the key exists for good; its value is never followed.
        let _refused = unsafe { libc::pthread_setspecific(key, value) };
    }
}

/// Enters the sampler, unless the thread is inside already.
pub(super) fn enter() -> Option<Inside> {
    STATE.with(|state| {
        if state.inside.get() {
            return None;
        }
        state.add_to_totals();
        state.inside.set(true);
        Some(Inside)
    })
}

/// The kernel's id of the calling thread.
pub(super) fn tid() -> i32 {
    STATE.with(|state| {
        if state.tid.get() == 0 {
            state.tid.set(current_tid());
        }
        state.tid.get()
    })
}

/// The words of the worker that the calling thread is.
pub(super) fn words() -> Option<&'static PollWords> {
    STATE.with(|state| state.words.get())
}

/// The known bounds of the calling thread's stack; empty if they are unknown.
pub(super) fn stack() -> Range<usize> {
    let (low, high) = STATE.with(|state| state.stack.get());
    low..high
}

/// The number of the setting under which the calling thread last allocated.
pub(super) fn generation() -> u32 {
    STATE.with(|state| state.generation.get())
}

/// Runs code whose allocations are not sampled.
pub(crate) fn without_sampling<T>(run: impl FnOnce() -> T) -> T {
    let _inside = enter();
    run()
}

/// Makes the calling thread a worker: samples have its current poll, and its stack has known bounds.
pub(crate) fn enter_worker(words: &'static PollWords, stack: Option<Range<u64>>) {
    STATE.with(|state| {
        state.words.set(Some(words));
        if let Some(stack) = stack {
            state.stack.set((stack.start as usize, stack.end as usize));
        }
    });
}

/// Ends the calling thread's work as a worker.
pub(crate) fn leave_worker() {
    STATE.with(|state| state.words.set(None));
}

/// What threads have added to the totals.
pub(crate) fn totals() -> HeapTotals {
    HeapTotals {
        allocated_bytes: ALLOCATED_BYTES.load(Ordering::Relaxed),
        allocations: ALLOCATIONS.load(Ordering::Relaxed),
        freed_bytes: FREED_BYTES.load(Ordering::Relaxed),
        frees: FREES.load(Ordering::Relaxed),
    }
}

/// Decides for sizes as a thread with this seed does, at a mean distance of [`SEEDED_MEAN`].
#[cfg(test)]
pub(crate) fn seeded(seed: u64) -> impl FnMut(usize) -> bool {
    MEAN.store(SEEDED_MEAN, Ordering::Relaxed);
    let state = ThreadState::new();
    state.random.set(mixed(seed) | 1);
    state.generation.set(1);
    state.left.set(state.distance());
    move |size| state.counts(size, 1)
}

#[cfg(test)]
pub(crate) const SEEDED_MEAN: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_have_their_mean() {
        let state = STATE.with(|state| {
            state.random.set(0x1234_5678_9abc_def1);
            MEAN.store(SEEDED_MEAN, Ordering::Relaxed);
            (0..100_000).map(|_| state.distance() as f64).sum::<f64>() / 100_000.0
        });
        // One standard error is 13.
        assert!((state - 4096.0).abs() < 80.0, "{state}");
    }
}
