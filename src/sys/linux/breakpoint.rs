//! A hardware breakpoint that counts: it reports whether a thread has passed an instruction. It is a perf event of type
//! `PERF_TYPE_BREAKPOINT` (perf_event_open(2)). No code is changed and no thread is stopped. The thread takes one exception
//! at its first pass, which disables the breakpoint.

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
const REFRESH: libc::Ioctl = 0x2402;

/// Flags: starts disabled; excludes the kernel and the hypervisor.
const DISABLED: u64 = 1;
const EXCLUDE_KERNEL: u64 = 1 << 5;
const EXCLUDE_HYPERVISOR: u64 = 1 << 6;

/// `struct perf_event_attr` of the kernel's `perf_event.h`, up to its second version (`PERF_ATTR_SIZE_VER1`).
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

/// Reports whether a thread has passed an instruction since the breakpoint was set.
#[derive(Debug)]
pub(crate) struct Breakpoint {
    event: File,
}

impl Breakpoint {
    /// Sets a breakpoint.
    ///
    /// # Errors
    /// When the kernel, the machine or a sandbox refuses it, or no breakpoint is free.
    pub(crate) fn set(tid: i32, address: u64) -> io::Result<Self> {
        let attributes = Attributes {
            kind: BREAKPOINT,
            size: ATTRIBUTES_SIZE,
            // Each pass is an overflow. The first one disables the event.
            sample_period: 1,
            flags: DISABLED | EXCLUDE_KERNEL | EXCLUDE_HYPERVISOR,
            breakpoint_type: EXECUTE,
            breakpoint_address: address,
            // The length for an instruction is the size of a `long`.
            breakpoint_length: 8,
            ..Attributes::default()
        };
        let event = open(&attributes, tid)?;
        // SAFETY: the request takes a plain number: the overflows to allow.
        if unsafe { libc::ioctl(event.as_raw_fd(), REFRESH, 1) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { event })
    }

    /// Whether the thread has passed it. Also true if the count cannot be read.
    pub(crate) fn passed(&self) -> bool {
        let mut count = [0; 8];
        (&self.event).read_exact(&mut count).is_err() || u64::from_ne_bytes(count) > 0
    }
}

/// Keeps perf events fast: while it and its thread live, a breakpoint is set within microseconds.
///
/// After a second without any thread's event on the machine, the kernel skips events at context switches. The next event
/// then waits 8 to 15 ms until all CPUs check for events again, during which a watchdog takes no samples.
#[derive(Debug)]
pub(crate) struct KeepPerfWarm {
    _event: File,
}

impl KeepPerfWarm {
    /// Opens an event that counts nothing. This may itself wait for all CPUs.
    ///
    /// # Errors
    /// When the kernel or a sandbox refuses events.
    pub(crate) fn keep() -> io::Result<Self> {
        let flags = DISABLED | EXCLUDE_KERNEL | EXCLUDE_HYPERVISOR;
        let attributes =
            Attributes { kind: SOFTWARE, size: ATTRIBUTES_SIZE, config: DUMMY, flags, ..Attributes::default() };
        Ok(Self { _event: open(&attributes, 0)? })
    }
}

/// Opens an event of a thread; 0 is the calling thread.
fn open(attributes: &Attributes, tid: i32) -> io::Result<File> {
    // SAFETY: the attributes are a live struct of the size in their `size` field; any CPU (-1), no group (-1).
    let opened =
        unsafe { libc::syscall(libc::SYS_perf_event_open, &raw const *attributes, tid, -1, -1, CLOSE_ON_EXEC) };
    let descriptor = i32::try_from(opened).ok().filter(|descriptor| *descriptor >= 0);
    let descriptor = descriptor.ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the kernel has just opened this descriptor, and no other code owns it.
    Ok(File::from(unsafe { OwnedFd::from_raw_fd(descriptor) }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::current_tid;

    #[inline(never)]
    fn pass() {
        std::hint::black_box(());
    }

    #[test]
    fn a_breakpoint_reports_a_pass() {
        let address = pass as *const () as u64;
        // Some machines refuse breakpoints; the self-check reports it, and `tests/stalls/inference.rs` needs them.
        let _warm = KeepPerfWarm::keep();
        let Ok(watch) = Breakpoint::set(current_tid(), address) else { return };
        assert!(!watch.passed());
        for _ in 0..1000 {
            pass();
        }
        assert!(watch.passed());
        let other = Breakpoint::set(current_tid(), address).expect("there is room for another");
        assert!(!other.passed(), "it counts from when it was set");
        assert!(Breakpoint::set(-7, address).is_err(), "there is no such thread");
    }
}
