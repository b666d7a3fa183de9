//! A clock that one thread sleeps by, and that others put off without waking it: a timer descriptor, as described in
//! timerfd_create(2).

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd};
use std::time::Duration;

/// Rings once, a while after it was set last.
#[derive(Debug)]
pub(crate) struct Alarm(File);

impl Alarm {
    /// `None` where no descriptor can be had.
    pub(crate) fn new() -> Option<Self> {
        // SAFETY: takes two numbers, and answers with a descriptor or -1.
        let descriptor = unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_CLOEXEC) };
        if descriptor < 0 {
            return None;
        }
        // SAFETY: the descriptor was made by the call above, and nobody else has it.
        Some(Self(unsafe { File::from_raw_fd(descriptor) }))
    }

    /// Rings so long from now, and not when it would have before. By any thread. False where the kernel refuses.
    pub(crate) fn set(&self, after: Duration) -> bool {
        // Zero would mean never.
        let after = after.max(Duration::from_nanos(1));
        let (Ok(seconds), nanoseconds) = (after.as_secs().try_into(), after.subsec_nanos().into()) else {
            return false;
        };
        let never = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let once =
            libc::itimerspec { it_interval: never, it_value: libc::timespec { tv_sec: seconds, tv_nsec: nanoseconds } };
        // SAFETY: the kernel reads `once`, which outlives the call, and writes nothing to a null pointer.
        unsafe { libc::timerfd_settime(self.0.as_raw_fd(), 0, &raw const once, std::ptr::null_mut()) == 0 }
    }

    /// Sleeps until it rings. By the one thread that sleeps by it.
    pub(crate) fn wait(&self) {
        // An error would be one of a descriptor that is no timer: nobody has this one but we.
        let _rings = (&self.0).read_exact(&mut [0; 8]);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    const SHORT: Duration = Duration::from_millis(20);

    #[test]
    fn rings_when_it_was_set_to_last() {
        let alarm = Alarm::new().expect("a descriptor");
        let begun = Instant::now();
        assert!(alarm.set(SHORT));
        assert!(alarm.set(SHORT * 4), "put off");
        alarm.wait();
        assert!(begun.elapsed() >= SHORT * 4);
        assert!(alarm.set(Duration::ZERO), "at once");
        alarm.wait();
    }
}
