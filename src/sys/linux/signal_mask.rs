//! Signals that a thread holds back while it waits for events.

use std::mem::MaybeUninit;

/// Which signals a thread holds back, as bits. They stay held back until `release`, by the same thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use = "a signal that is held back has to be let through again"]
pub(crate) struct BlockedSignals(u64);

impl BlockedSignals {
    pub(crate) const NONE: Self = Self(0);

    /// As a number, to be kept in an atomic.
    pub(crate) fn bits(self) -> u64 {
        self.0
    }

    /// What `bits` told.
    pub(crate) fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Both.
    pub(crate) fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Holds a signal back on this thread; none where the number is 0.
    #[inline]
    pub(super) fn hold(signal: libc::c_int) -> Self {
        if signal == 0 {
            return Self::NONE;
        }
        let held = Self(1 << (signal - 1));
        held.change_mask(libc::SIG_BLOCK);
        held
    }

    /// Lets them through again.
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
            // SAFETY: the set is live; a number that is no signal is refused.
            unsafe { libc::sigaddset(&raw mut set, signal) };
        }
        // SAFETY: the set is live, and nobody asks for the old mask.
        unsafe { libc::pthread_sigmask(how, &raw const set, std::ptr::null_mut()) };
    }
}
