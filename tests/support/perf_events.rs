//! Checks whether this environment allows perf events. Containers often forbid `perf_event_open`.
#![allow(unsafe_code, reason = "asks the kernel for a breakpoint")]

/// `PERF_TYPE_BREAKPOINT` and `HW_BREAKPOINT_X` of `linux/perf_event.h`.
const BREAKPOINT: u64 = 5;
const EXECUTED: u64 = 4;

/// `exclude_kernel` and `exclude_hv`.
const USER_ONLY: u64 = 1 << 5 | 1 << 6;

/// The size of the first version of `struct perf_event_attr` with breakpoint lengths: nine words.
const SIZE: u64 = 72;

/// Tries to open one. If this is forbidden, prints that dependent behavior is not tested.
pub(crate) fn allowed() -> bool {
    let mut event = [0_u64; 9];
    event[0] = BREAKPOINT | SIZE << 32;
    event[5] = USER_ONLY;
    event[6] = EXECUTED << 32;
    event[7] = (allowed as fn() -> bool) as *const () as u64;
    event[8] = size_of::<usize>() as u64;
    // SAFETY: the event is live and has its declared size; the other arguments are numbers: this thread, any CPU, no group.
    let file = unsafe { libc::syscall(libc::SYS_perf_event_open, event.as_ptr(), 0, -1, -1, 0) };
    if file < 0 {
        println!("NOT TESTED: perf_event_open is refused here: {}", std::io::Error::last_os_error());
        return false;
    }
    // SAFETY: the call above opened it, and nothing else uses it.
    unsafe { libc::close(i32::try_from(file).expect("it is a descriptor")) };
    true
}
