//! The handler of the stack signal, and the one slot that it writes to.
//!
//! The handler saves `errno`, claims the slot if the request is for its thread, and stores three registers. Then it copies
//! the used part of its thread's stack into the slot, publishes the slot and restores `errno`.
//!
//! It calls only `gettid` (a bare system call, async-signal-safe) and `memcpy`. It takes no lock, allocates nothing and
//! unwinds nothing. It needs a few hundred bytes of stack, so it fits on the small alternate stack of Rust's threads.
//!
//! # The slot's protocol
//!
//! There is one requester at a time (`signal::StackSignal` holds a lock) and any number of handlers, most of them stale.
//!
//! | state | written by | means |
//! |---|---|---|
//! | `FREE` | requester | only the requester may touch the slot |
//! | `ASKED` | requester | `THREAD`, `LOW`, `HIGH` are set; the handler of that thread may claim it |
//! | `COPYING` | handler, by compare-exchange from `ASKED` | the handler alone writes the slot |
//! | `COPIED` | handler | complete; the requester alone reads it, then sets `FREE` |
//!
//! A requester that gives up sets `ASKED` back to `FREE` by compare-exchange. If that fails, a handler is copying and the
//! requester waits for `COPIED`. A late signal finds another state or another thread and returns.

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use super::errno::Errno;
use crate::sys::MAX_STACK_BYTES;

pub(super) const FREE: u32 = 0;
pub(super) const ASKED: u32 = 1;
pub(super) const COPYING: u32 = 2;
pub(super) const COPIED: u32 = 3;

pub(super) static STATE: AtomicU32 = AtomicU32::new(FREE);
/// The thread that is asked.
pub(super) static THREAD: AtomicI32 = AtomicI32::new(0);
/// The bounds of that thread's stack. Only bytes between them are copied.
pub(super) static LOW: AtomicU64 = AtomicU64::new(0);
pub(super) static HIGH: AtomicU64 = AtomicU64::new(0);
pub(super) static INSTRUCTION: AtomicU64 = AtomicU64::new(0);
pub(super) static STACK_POINTER: AtomicU64 = AtomicU64::new(0);
pub(super) static FRAME_POINTER: AtomicU64 = AtomicU64::new(0);
/// The number of copied bytes; 0 if the stack pointer lies outside `LOW..HIGH`.
pub(super) static LENGTH: AtomicUsize = AtomicUsize::new(0);
pub(super) static BYTES: StackBytes = StackBytes(UnsafeCell::new([0; MAX_STACK_BYTES]));

/// The copied bytes. They lie in zeroed memory of the program, so pages that no stack has reached are never touched.
pub(super) struct StackBytes(UnsafeCell<[u8; MAX_STACK_BYTES]>);

// SAFETY: the protocol above gives the bytes to one thread at a time: the claiming handler between `COPYING` and
// `COPIED`, the requester between `COPIED` and `FREE`.
unsafe impl Sync for StackBytes {}

impl StackBytes {
    pub(super) fn as_mut_ptr(&self) -> *mut u8 {
        self.0.get().cast()
    }
}

pub(super) extern "C" fn on_stack_signal(
    _signal: libc::c_int,
    _info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    let errno = Errno::save();
    copy_own_stack(context.cast());
    errno.restore();
}

fn copy_own_stack(context: *const libc::ucontext_t) {
    // SAFETY: gettid has no preconditions.
    let thread = unsafe { libc::gettid() };
    if THREAD.load(Ordering::Acquire) != thread {
        return;
    }
    if STATE.compare_exchange(ASKED, COPYING, Ordering::Acquire, Ordering::Relaxed).is_err() {
        return;
    }
    // SAFETY: the kernel passed `context` to the handler that is executing, and keeps it until that returns.
    let registers = unsafe { &(*context).uc_mcontext.gregs };
    let stack_pointer = registers[libc::REG_RSP as usize] as u64;
    INSTRUCTION.store(registers[libc::REG_RIP as usize] as u64, Ordering::Relaxed);
    STACK_POINTER.store(stack_pointer, Ordering::Relaxed);
    FRAME_POINTER.store(registers[libc::REG_RBP as usize] as u64, Ordering::Relaxed);
    let high = HIGH.load(Ordering::Relaxed);
    let inside = stack_pointer >= LOW.load(Ordering::Relaxed) && stack_pointer < high;
    let length = if inside { ((high - stack_pointer) as usize).min(MAX_STACK_BYTES) } else { 0 };
    let stack: *const u8 = std::ptr::with_exposed_provenance(stack_pointer as usize);
    // SAFETY: `length` bytes from the stack pointer belong to this thread's own mapped stack. It cannot shrink while
    // this thread is here. The protocol gives the target bytes to this handler.
    unsafe { std::ptr::copy_nonoverlapping(stack, BYTES.as_mut_ptr(), length) };
    LENGTH.store(length, Ordering::Relaxed);
    STATE.store(COPIED, Ordering::Release);
}
