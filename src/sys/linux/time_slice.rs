//! The time slices of the calling thread.

use std::mem::size_of;
use std::time::Duration;

/// Asks for slices of this length, as short as the kernel allows. A woken thread with a shorter slice is scheduled before
/// threads that compute. From Linux 6.12 on, every user may ask; older kernels ignore the wish. Returns whether the kernel
/// accepted the call.
pub(crate) fn shorten_time_slices(slice: Duration) -> bool {
    let bytes = size_of::<libc::sched_attr>();
    let Ok(size) = u32::try_from(bytes) else { return false };
    let mut attributes = libc::sched_attr {
        size,
        sched_policy: 0,
        sched_flags: 0,
        sched_nice: 0,
        sched_priority: 0,
        sched_runtime: 0,
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: the kernel writes at most `size` bytes into `attributes`, which lives until the call returns.
    let got = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, size, 0) };
    // A thread that its user gave another policy keeps it.
    if got != 0 || attributes.sched_policy != libc::SCHED_OTHER.cast_unsigned() {
        return false;
    }
    attributes.size = size;
    attributes.sched_flags = 0;
    attributes.sched_runtime = u64::try_from(slice.as_nanos()).unwrap_or(u64::MAX);
    // SAFETY: the kernel reads `size` bytes of `attributes`, which the call above has filled.
    let set = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    set == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_accepts_short_slices_and_the_nice_value_stays() {
        let nice = || std::fs::read_to_string("/proc/thread-self/stat").expect("/proc is mounted");
        let nice = || nice().rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(16).map(str::to_owned));
        let before = nice();
        assert!(shorten_time_slices(Duration::from_micros(100)));
        assert_eq!(nice(), before);
    }
}
