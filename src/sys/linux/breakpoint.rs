//! Whether a thread has come past an instruction: a hardware breakpoint that counts, as perf_event_open(2) describes
//! (`PERF_TYPE_BREAKPOINT`). No code is changed, nothing is stopped. The thread takes one exception, at its first
//! passage, and the breakpoint is gone.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// `PERF_TYPE_SOFTWARE`, `PERF_COUNT_SW_DUMMY`, `PERF_TYPE_BREAKPOINT`, `HW_BREAKPOINT_X`, `PERF_FLAG_FD_CLOEXEC` and
/// `PERF_EVENT_IOC_REFRESH` of the kernel's `perf_event.h` and `hw_breakpoint.h`.
const SOFTWARE: u32 = 1;
const DUMMY: u64 = 9;
const BREAKPOINT: u32 = 5;
const EXECUTE: u32 = 4;
const CLOSE_ON_EXEC: libc::c_ulong = 8;
const REFRESH: libc::c_ulong = 0x2402;

/// Begins disabled; not in the kernel, not in a hypervisor.
const DISABLED: u64 = 1;
const EXCLUDE_KERNEL: u64 = 1 << 5;
const EXCLUDE_HYPERVISOR: u64 = 1 << 6;

/// `struct perf_event_attr` of the kernel's `perf_event.h`, as far as its second version (`PERF_ATTR_SIZE_VER1`).
#[repr(C)]
#[derive(Debug, Default)]
struct Attributes {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_events: u32,
    breakpoint_type: u32,
    breakpoint_address: u64,
    breakpoint_length: u64,
}

const ATTRIBUTES_SIZE: u32 = 72;
const _: () = assert!(size_of::<Attributes>() == ATTRIBUTES_SIZE as usize);

/// Tells whether a thread of this process has come past an instruction since this was made.
#[derive(Debug)]
pub(crate) struct Breakpoint {
    event: File,
}

impl Breakpoint {
    /// Watches from now on.
    ///
    /// # Errors
    /// Where the kernel, the machine or a sandbox does not allow it, and where other breakpoints leave none free.
    pub(crate) fn set(tid: i32, address: u64) -> io::Result<Self> {
        let attributes = Attributes {
            kind: BREAKPOINT,
            size: ATTRIBUTES_SIZE,
            // Each passage is an overflow, and the first one disables the event.
            sample_period: 1,
            flags: DISABLED | EXCLUDE_KERNEL | EXCLUDE_HYPERVISOR,
            breakpoint_type: EXECUTE,
            breakpoint_address: address,
            // Of an instruction: the size of a `long`.
            breakpoint_length: 8,
            ..Attributes::default()
        };
        let event = open(&attributes, tid)?;
        // SAFETY: the request takes a plain number, how many overflows to allow.
        if unsafe { libc::ioctl(event.as_raw_fd(), REFRESH, 1) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { event })
    }

    /// Whether the thread has come past it. Also true where the kernel does not tell any more.
    pub(crate) fn passed(&self) -> bool {
        let mut count = [0; 8];
        (&self.event).read_exact(&mut count).is_err() || u64::from_ne_bytes(count) > 0
    }
}

/// As long as it lives, and the thread that made it, breakpoints are set within microseconds. Where a machine has had no event of any
/// thread for a second, the kernel stops looking for them whenever it changes threads, and the next one waits until all CPUs look
/// again: 8 to 15 ms, in which a watchdog is blind.
#[derive(Debug)]
pub(crate) struct KeepPerfWarm {
    _event: File,
}

impl KeepPerfWarm {
    /// Of an event that counts nothing. Takes as long itself.
    ///
    /// # Errors
    /// Where the kernel or a sandbox allows no events.
    pub(crate) fn keep() -> io::Result<Self> {
        let flags = DISABLED | EXCLUDE_KERNEL | EXCLUDE_HYPERVISOR;
        let attributes =
            Attributes { kind: SOFTWARE, size: ATTRIBUTES_SIZE, config: DUMMY, flags, ..Attributes::default() };
        Ok(Self { _event: open(&attributes, 0)? })
    }
}

/// Opens an event of a thread, or of the calling one where that is 0.
fn open(attributes: &Attributes, tid: i32) -> io::Result<File> {
    // SAFETY: the attributes are a live struct of the size that they tell; any CPU (-1), no group (-1).
    let opened =
        unsafe { libc::syscall(libc::SYS_perf_event_open, &raw const *attributes, tid, -1, -1, CLOSE_ON_EXEC) };
    let descriptor = i32::try_from(opened).ok().filter(|descriptor| *descriptor >= 0);
    let descriptor = descriptor.ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the kernel has just opened it for us, and nobody else knows it.
    Ok(File::from(unsafe { OwnedFd::from_raw_fd(descriptor) }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::current_tid;

    #[inline(never)]
    fn passage() {
        std::hint::black_box(());
    }

    #[test]
    fn a_passage_is_seen_once_it_happens() {
        let address = passage as *const () as u64;
        // Not everywhere is it allowed; the self-check says so, and `tests/inference.rs` needs it.
        let _at_hand = KeepPerfWarm::keep();
        let Ok(watch) = Breakpoint::set(current_tid(), address) else { return };
        assert!(!watch.passed());
        for _ in 0..1000 {
            passage();
        }
        assert!(watch.passed());
        let other = Breakpoint::set(current_tid(), address).expect("there is room for another");
        assert!(!other.passed(), "it counts from its beginning");
        assert!(Breakpoint::set(-7, address).is_err(), "there is no such thread");
    }
}
