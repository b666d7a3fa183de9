//! The error number of the C library.

/// The `errno` of the code that a signal handler or the sampling allocator interrupts. They must not change it.
pub(crate) struct Errno(libc::c_int);

impl Errno {
    pub(crate) fn save() -> Self {
        // SAFETY: no preconditions; the pointer is to this thread's own errno.
        let location = unsafe { libc::__errno_location() };
        // SAFETY: see above; it is valid for the life of the thread.
        Self(unsafe { *location })
    }

    pub(crate) fn restore(self) {
        // SAFETY: no preconditions; the pointer is to this thread's own errno.
        let location = unsafe { libc::__errno_location() };
        // SAFETY: see above; it is valid for the life of the thread.
        unsafe { *location = self.0 };
    }
}
