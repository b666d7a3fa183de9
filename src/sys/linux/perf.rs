//! CPU samples of another process's threads, taken by the kernel: perf_event_open(2) with the software clock. Every machine
//! has that clock, virtual machines included.
//!
//! Each thread has its own event and ring buffer. Once per period of the thread's CPU time the kernel writes a record into
//! the ring: time, registers and the inner end of the stack. The observed thread does nothing for it and is not stopped.

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use perf_event_open_sys::bindings as perf;

use crate::sys::{PerfRecord, Permissions, Registers, StackCopy};

/// Sizes of samples and rings: bytes of stack per sample, bytes of the ring, and the number of threads with that size for
/// unprivileged and privileged users. A ring has room for 15 samples, or 3 if there are many threads or memory is scarce.
/// Rings are locked in RAM, which is limited for unprivileged users (`perf_event_mlock_kb`, `RLIMIT_MEMLOCK`).
const SIZES: [(u32, usize, [usize; 2]); 3] =
    [(32 * 1024, 512 * 1024, [4, 64]), (32 * 1024, 128 * 1024, [16, 256]), (8 * 1024, 32 * 1024, [usize::MAX; 2])];

/// Bytes of stack in a sample of a thread whose stacks were cut. A record has less than 64 KiB, a limit of the kernel.
const DEEP_STACK: u32 = 63 * 1024;

/// The smallest ring for such samples. It has room for two.
const DEEP_RING: usize = 128 * 1024;

/// The sampled registers: rbp, rsp and the instruction pointer. Records contain them in this order (`asm/perf_regs.h`).
const REGISTERS: u64 = 1 << perf::PERF_REG_X86_BP | 1 << perf::PERF_REG_X86_SP | 1 << perf::PERF_REG_X86_IP;

/// The value before the registers of 64-bit code.
const ABI_64: u64 = perf::PERF_SAMPLE_REGS_ABI_64 as u64;

/// Opens events with the options that the kernel allows.
#[derive(Debug)]
pub(crate) struct PerfSampler {
    period: Duration,
    /// Whether time in the kernel is sampled too. Such a sample has the stack of the system call.
    with_kernel: bool,
    /// The smallest index into [`SIZES`] that the limits on memory allow.
    size: usize,
    /// Whether memory may be locked without limit.
    unlimited_memory: bool,
}

impl PerfSampler {
    /// A sampler that takes one sample per period of CPU time.
    pub(crate) fn new(period: Duration) -> Self {
        Self { period, with_kernel: true, size: 0, unlimited_memory: Permissions::own().locks_memory }
    }

    /// Whether time in the kernel is sampled. It counts as CPU time in either case.
    pub(crate) fn with_kernel(&self) -> bool {
        self.with_kernel
    }

    /// Starts to sample a thread in addition to `others`; `None` if it has ended.
    ///
    /// # Errors
    /// `PermissionDenied` when the kernel refuses it, `OutOfMemory` when no more memory may be locked; when there are too
    /// many open files.
    pub(crate) fn add_thread(&mut self, tid: i32, others: usize) -> io::Result<Option<PerfThread>> {
        loop {
            let size = SIZES
                .iter()
                .position(|(.., most)| others < most[usize::from(self.unlimited_memory)])
                .unwrap_or_default()
                .max(self.size);
            let (stack, ring, _) = SIZES[size];
            let event = match open(tid, self.period, stack, self.with_kernel) {
                Err(error) if error.raw_os_error() == Some(libc::EACCES) && self.with_kernel => {
                    self.with_kernel = false;
                    continue;
                }
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Ok(None),
                event => event?,
            };
            match Ring::map(&event, ring) {
                // The kernel reports too much locked memory in the same way as a forbidden event.
                Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
                    if size + 1 == SIZES.len() {
                        return Err(io::ErrorKind::OutOfMemory.into());
                    }
                    self.size = size + 1;
                }
                ring => return Ok(Some(PerfThread { ring: ring?, event, stack })),
            }
        }
    }

    /// Another event for a thread, with as much of its stack as the kernel gives. It takes the place of `cut`, with a ring of
    /// the same size. `None` if that one gives as much, if its ring is too small, or if the kernel refuses.
    pub(crate) fn deepen(&self, tid: i32, cut: &PerfThread) -> Option<PerfThread> {
        if cut.stack >= DEEP_STACK || cut.ring.size < DEEP_RING {
            return None;
        }
        let event = open(tid, self.period, DEEP_STACK, self.with_kernel).ok()?;
        let ring = Ring::map(&event, cut.ring.size).ok()?;
        Some(PerfThread { ring, event, stack: DEEP_STACK })
    }
}

fn open(tid: i32, period: Duration, stack: u32, with_kernel: bool) -> io::Result<OwnedFd> {
    let mut attributes = perf::perf_event_attr {
        type_: perf::PERF_TYPE_SOFTWARE,
        size: u32::try_from(size_of::<perf::perf_event_attr>()).map_err(io::Error::other)?,
        config: perf::PERF_COUNT_SW_CPU_CLOCK.into(),
        sample_type: (perf::PERF_SAMPLE_TID
            | perf::PERF_SAMPLE_TIME
            | perf::PERF_SAMPLE_REGS_USER
            | perf::PERF_SAMPLE_STACK_USER)
            .into(),
        sample_regs_user: REGISTERS,
        sample_stack_user: stack,
        clockid: libc::CLOCK_MONOTONIC,
        ..Default::default()
    };
    attributes.__bindgen_anon_1.sample_period = u64::try_from(period.as_nanos()).map_err(io::Error::other)?;
    attributes.set_use_clockid(1);
    attributes.set_exclude_hv(1);
    attributes.set_exclude_kernel(u64::from(!with_kernel));
    // A record reports that the process runs another program.
    attributes.set_comm(1);
    attributes.set_comm_exec(1);
    let close = perf::PERF_FLAG_FD_CLOEXEC.into();
    // SAFETY: the attributes are a live struct with its size; the kernel checks all of them.
    let event = unsafe { perf_event_open_sys::perf_event_open(&raw mut attributes, tid, -1, -1, close) };
    if event < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just opened this descriptor, and no other code owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(event) })
}

/// A sampled thread.
#[derive(Debug)]
pub(crate) struct PerfThread {
    // The ring comes before the event, because it must be unmapped first.
    ring: Ring,
    event: OwnedFd,
    /// Bytes of its stack in a sample.
    stack: u32,
}

impl PerfThread {
    /// CPU time since the thread was added, including time taken by a hypervisor. Also known after the thread has ended.
    pub(crate) fn cpu_time(&self) -> Option<Duration> {
        let mut count = 0_u64;
        // SAFETY: the count goes into a live variable of the size that is named.
        let read = unsafe { libc::read(self.event.as_raw_fd(), (&raw mut count).cast(), size_of_val(&count)) };
        (usize::try_from(read) == Ok(size_of_val(&count))).then(|| Duration::from_nanos(count))
    }

    /// Bytes of its stack in a sample. A deeper stack is cut at its outer end.
    pub(crate) fn stack_bytes(&self) -> usize {
        self.stack as usize
    }

    /// Passes on the records since the previous call. The stack belongs to a sample.
    pub(crate) fn drain(&mut self, into: &mut StackCopy, mut take: impl FnMut(PerfRecord, &StackCopy)) {
        let (mut tail, head) = (self.ring.tail(), self.ring.head());
        // Each record has a header of 8 bytes: type, flags and total length.
        while head.wrapping_sub(tail) >= 8 {
            let header = self.ring.word(tail);
            let (kind, flags, length) = (header & 0xffff_ffff, (header >> 32) & 0xffff, header >> 48);
            if length < 8 {
                break;
            }
            if let Some(record) = self.record(tail + 8, kind, flags, into) {
                take(record, into);
            }
            tail = tail.wrapping_add(length);
        }
        self.ring.release(head);
    }

    fn record(&self, at: u64, kind: u64, flags: u64, into: &mut StackCopy) -> Option<PerfRecord> {
        let word = |position: u64| self.ring.word(at + position * 8);
        match u32::try_from(kind).ok()? {
            // u32 pid, tid; u64 time, abi; three registers; u64 size; the bytes; u64 bytes used by the stack.
            perf::PERF_RECORD_SAMPLE => {
                let time = Duration::from_nanos(word(1));
                into.bytes.clear();
                into.registers = Registers::default();
                if word(2) == ABI_64 {
                    into.registers =
                        Registers { frame_pointer: Some(word(3)), stack_pointer: word(4), instruction: word(5) };
                    let size = word(6);
                    let used = if size == 0 { 0 } else { self.ring.word(at + 56 + size).min(size) };
                    self.ring.copy(at + 56, used, &mut into.bytes);
                }
                Some(PerfRecord::Sample { at: time })
            }
            // u64 id, number of samples.
            perf::PERF_RECORD_LOST => Some(PerfRecord::Lost(word(1))),
            perf::PERF_RECORD_COMM if flags & u64::from(perf::PERF_RECORD_MISC_COMM_EXEC) != 0 => {
                Some(PerfRecord::Replaced)
            }
            _ => None,
        }
    }
}

/// Memory shared with the kernel: a page with both positions, and a ring of bytes.
#[derive(Debug)]
struct Ring {
    start: *mut u8,
    page: usize,
    /// A power of two.
    size: usize,
}

// SAFETY: the mapping belongs to this value alone, and any thread may read it.
unsafe impl Send for Ring {}

impl Ring {
    fn map(event: &OwnedFd, size: usize) -> io::Result<Self> {
        // SAFETY: sysconf has no preconditions.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        let page = usize::try_from(page).ok().and_then(NonZeroUsize::new).ok_or(io::ErrorKind::Unsupported)?.get();
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        // SAFETY: a new mapping, at an address chosen by the kernel, of a live descriptor.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), page + size, protection, flags, event.as_raw_fd(), 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { start: start.cast(), page, size })
    }

    /// One of the two positions in the first page.
    fn position(&self, offset: usize) -> &AtomicU64 {
        // SAFETY: both offsets lie in the first page of the mapping, which lives as long as `self`.
        let word = unsafe { self.start.add(offset) };
        // SAFETY: the word is aligned, and all accesses to it are atomic.
        unsafe { AtomicU64::from_ptr(word.cast()) }
    }

    /// The position up to which the kernel has written.
    fn head(&self) -> u64 {
        self.position(std::mem::offset_of!(perf::perf_event_mmap_page, data_head)).load(Ordering::Acquire)
    }

    /// The position up to which the ring was read.
    fn tail(&self) -> u64 {
        self.position(std::mem::offset_of!(perf::perf_event_mmap_page, data_tail)).load(Ordering::Relaxed)
    }

    /// Returns the read part to the kernel.
    fn release(&self, tail: u64) {
        self.position(std::mem::offset_of!(perf::perf_event_mmap_page, data_tail)).store(tail, Ordering::Release);
    }

    /// The word at a position. Records have multiples of 8 bytes, so no word wraps around.
    fn word(&self, position: u64) -> u64 {
        // SAFETY: the offset is a multiple of 8 below the ring's size, after the first page of the mapping.
        let word = unsafe { self.start.add(self.page + self.offset(position & !7)) };
        // SAFETY: the word is aligned and lies between tail and head, where the kernel does not write.
        unsafe { word.cast::<u64>().read_volatile() }
    }

    #[expect(clippy::cast_possible_truncation, reason = "the ring is smaller than the address space")]
    fn offset(&self, position: u64) -> usize {
        (position % self.size as u64) as usize
    }

    /// Copies bytes from a position on, across the end of the ring; at most the ring's size.
    fn copy(&self, position: u64, length: u64, into: &mut Vec<u8>) {
        let (from, length) = (self.offset(position), usize::try_from(length).unwrap_or(usize::MAX).min(self.size));
        let until_end = length.min(self.size - from);
        for (from, length) in [(from, until_end), (0, length - until_end)] {
            // SAFETY: `from + length` is at most the ring's size, after the first page of the mapping.
            let start = unsafe { self.start.add(self.page + from) };
            // SAFETY: the bytes lie between tail and head, where the kernel does not write until they are released.
            into.extend_from_slice(unsafe { std::slice::from_raw_parts(start, length) });
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: the mapping belongs to this value, and no borrow of it is left.
        unsafe { libc::munmap(self.start.cast(), self.page + self.size) };
    }
}
