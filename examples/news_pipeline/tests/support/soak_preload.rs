//! A library that `tests/soak.rs` preloads into a service. It counts the results of `epoll_wait`, and loads and unloads
//! libraries all the time, as plugins do.
//!
//! `HOLDUP_SOAK_COUNTS` names a file of at least 40 bytes for the counts, five numbers of 64 bits: waits, interrupted
//! waits, loaded libraries, failed loads, and allocated bytes.
//!
//! It blocks `SIGCHLD` in all threads. That signal is ignored by default, except while the thread that started the child
//! has its signals blocked, for example inside `posix_spawn` and `pthread_create`. Then the kernel wakes another thread,
//! and its wait for events returns `EINTR` without a signal. That is unrelated to holdup.
#![allow(unsafe_code, reason = "stands in for libc's epoll_wait, and loads libraries")]

use std::fs::OpenOptions;
use std::os::fd::AsRawFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The layout of the file.
struct Counts {
    waited: AtomicU64,
    interrupted: AtomicU64,
    loaded: AtomicU64,
    not_loaded: AtomicU64,
    allocated: AtomicU64,
}

/// Runs before the program, while there is one thread. The others inherit its mask.
#[used]
#[unsafe(link_section = ".init_array")]
static START: extern "C" fn() = block_child_signal;

extern "C" fn block_child_signal() {
    // SAFETY: a signal set is an array of numbers; all zero is valid.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is live and the signal exists.
    unsafe { libc::sigaddset(&raw mut set, libc::SIGCHLD) };
    // SAFETY: the set is live, and the old mask is not requested.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
}

static COUNTS: OnceLock<Option<&'static Counts>> = OnceLock::new();

/// A library that every glibc contains and hardly any program uses.
const LIBRARY: &std::ffi::CStr = c"libanl.so.1";

const PAUSE: Duration = Duration::from_millis(20);

/// Loads between two queries of the allocator. A query stops every thread that allocates meanwhile.
const ASKED_AFTER: u64 = 50;

fn counts() -> Option<&'static Counts> {
    *COUNTS.get_or_init(|| {
        let file = OpenOptions::new().read(true).write(true).open(std::env::var_os("HOLDUP_SOAK_COUNTS")?).ok()?;
        let length = size_of::<Counts>();
        if file.metadata().ok()?.len() < length as u64 {
            return None;
        }
        let (access, shared) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        // SAFETY: a new mapping of an open file, at an address of the kernel's choice.
        let mapped = unsafe { libc::mmap(std::ptr::null_mut(), length, access, shared, file.as_raw_fd(), 0) };
        if mapped == libc::MAP_FAILED {
            return None;
        }
        // SAFETY: the mapping is as long as the counts, aligned to a page, never unmapped, and any bytes are atomics.
        let counts: &'static Counts = unsafe { &*mapped.cast::<Counts>() };
        let _without = std::thread::Builder::new().name("plugins".to_owned()).spawn(|| load_and_unload(counts));
        Some(counts)
    })
}

fn load_and_unload(counts: &Counts) {
    for round in 0_u64.. {
        if round.is_multiple_of(ASKED_AFTER) {
            // SAFETY: mallinfo2 has no preconditions.
            let now = unsafe { libc::mallinfo2() };
            counts.allocated.store((now.uordblks + now.hblkhd) as u64, Ordering::Relaxed);
        }
        // SAFETY: the name is a C string; glibc's library runs no code when it is loaded.
        let library = unsafe { libc::dlopen(LIBRARY.as_ptr(), libc::RTLD_NOW) };
        if library.is_null() {
            counts.not_loaded.fetch_add(1, Ordering::Relaxed);
        } else {
            counts.loaded.fetch_add(1, Ordering::Relaxed);
            // SAFETY: the handle came from dlopen, and nothing of the library is in use.
            unsafe { libc::dlclose(library) };
        }
        std::thread::sleep(PAUSE);
    }
}

/// Replaces libc's function.
///
/// # Safety
/// As for epoll_wait(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn epoll_wait(epfd: i32, events: *mut libc::epoll_event, most: i32, timeout: i32) -> i32 {
    // Before the call, because it may change errno the first time.
    let counts = counts();
    // SAFETY: the arguments are those of the caller, for the same system call.
    let result = unsafe { libc::syscall(libc::SYS_epoll_wait, epfd, events, most, timeout) };
    if let Some(counts) = counts {
        counts.waited.fetch_add(u64::from(timeout != 0), Ordering::Relaxed);
        if result == -1 && std::io::Error::last_os_error().kind() == std::io::ErrorKind::Interrupted {
            counts.interrupted.fetch_add(1, Ordering::Relaxed);
            let thread = std::fs::read_to_string("/proc/thread-self/comm").unwrap_or_default();
            // SAFETY: gettid has no preconditions.
            let tid = unsafe { libc::gettid() };
            eprintln!("soak: a wait of {} ({tid}) was interrupted, timeout {timeout} ms", thread.trim());
            // SAFETY: returns the address of this thread's own errno.
            let errno = unsafe { libc::__errno_location() };
            // SAFETY: it belongs to this thread, and no other code writes it.
            unsafe { *errno = libc::EINTR };
        }
    }
    i32::try_from(result).unwrap_or(-1)
}
