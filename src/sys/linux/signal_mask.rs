//! Signals that a thread blocks while it waits for events.

use std::mem::MaybeUninit;

/// Signals that a thread has blocked, as bits. They stay blocked until the same thread calls `release`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use = "a blocked signal has to be unblocked again"]
pub(crate) struct BlockedSignals(u64);

impl BlockedSignals {
    /// No signal.
    pub(crate) const NONE: Self = Self(0);

    /// The signals as a number, for an atomic.
    pub(crate) fn bits(self) -> u64 {
        self.0
    }

    /// The signals in the result of `bits`.
    pub(crate) fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The signals of both values.
    pub(crate) fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Blocks a signal on this thread; none if the number is 0.
    #[inline]
    pub(super) fn block(signal: libc::c_int) -> Self {
        if signal == 0 {
            return Self::NONE;
        }
        let blocked = Self(1 << (signal - 1));
        blocked.change_mask(libc::SIG_BLOCK);
        blocked
    }

    /// Unblocks the signals.
    #[inline]
    pub(crate) fn release(self) {
        if self != Self::NONE {
            self.change_mask(libc::SIG_UNBLOCK);
        }
    }

    #[cold]
    fn change_mask(self, how: libc::c_int) {
        // SAFETY: a signal set is an array of numbers; all zero is valid.
        let mut set: libc::sigset_t = unsafe { MaybeUninit::zeroed().assume_init() };
        for signal in (1..=64).filter(|signal| self.0 >> (signal - 1) & 1 == 1) {
            // SAFETY: the set is live; libc refuses a number that is no signal.
            unsafe { libc::sigaddset(&raw mut set, signal) };
        }
        // SAFETY: the set is live, and a null pointer discards the old mask.
        unsafe { libc::pthread_sigmask(how, &raw const set, std::ptr::null_mut()) };
    }
}
