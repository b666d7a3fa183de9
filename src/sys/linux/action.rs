//! The disposition of a real-time signal: installed, and restored as it was.

use std::io;
use std::mem::MaybeUninit;

/// The first signal to try, counted from `SIGRTMIN`. glibc reserves the first ones, and some programs use the next few.
const FIRST_OFFSET: libc::c_int = 5;

/// A handler with access to the signal's information and the interrupted context.
pub(super) type Handler = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);

/// A handler on an unused signal. Dropping it restores the previous disposition.
pub(super) struct Action {
    signal: libc::c_int,
    handler: Handler,
    before: libc::sigaction,
}

impl Action {
    /// Installs an async-signal-safe handler on `wanted`, or on the first unused real-time signal.
    ///
    /// # Errors
    /// `AddrInUse` when the wanted signal, or every real-time signal, has a handler already; `InvalidInput` when
    /// it is not a real-time signal.
    pub(super) fn install(wanted: Option<i32>, handler: Handler) -> io::Result<Self> {
        let signal = match wanted {
            Some(signal) => checked(signal)?,
            None => first_free()?,
        };
        let before = set_action(signal, &handling(handler))?;
        Ok(Self { signal, handler, before })
    }

    pub(super) fn signal(&self) -> libc::c_int {
        self.signal
    }
}

impl Drop for Action {
    fn drop(&mut self) {
        if current_handler(self.signal) != address(self.handler) {
            return;
        }
        // A pending signal would kill the process after its disposition is the default again.
        // POSIX: setting SIG_IGN discards pending signals.
        let mut ignore = empty();
        ignore.sa_sigaction = libc::SIG_IGN;
        let discarded = set_action(self.signal, &ignore).is_ok();
        let restored = discarded && set_action(self.signal, &self.before).is_ok();
        debug_assert!(restored, "sigaction cannot fail for a valid signal");
    }
}

fn checked(signal: i32) -> io::Result<i32> {
    if !(libc::SIGRTMIN()..=libc::SIGRTMAX()).contains(&signal) {
        let message =
            format!("signal {signal} is not a real-time signal ({} to {})", libc::SIGRTMIN(), libc::SIGRTMAX());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    if current_handler(signal) != libc::SIG_DFL {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, format!("signal {signal} already has a handler")));
    }
    Ok(signal)
}

fn first_free() -> io::Result<i32> {
    (libc::SIGRTMIN() + FIRST_OFFSET..=libc::SIGRTMAX())
        .find(|signal| current_handler(*signal) == libc::SIG_DFL)
        .ok_or_else(|| io::Error::new(io::ErrorKind::AddrInUse, "every real-time signal already has a handler"))
}

fn address(handler: Handler) -> libc::sighandler_t {
    handler as *const () as libc::sighandler_t
}

fn empty() -> libc::sigaction {
    // SAFETY: sigaction is a C struct of numbers, a mask and an optional function pointer; all zero is valid.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

fn handling(handler: Handler) -> libc::sigaction {
    let mut action = empty();
    action.sa_sigaction = address(handler);
    // RESTART: the kernel restarts system calls if possible. ONSTACK: a thread on a small stack (a coroutine) gets the frame
    // on its alternate stack, if it has one.
    action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART | libc::SA_ONSTACK;
    // Two nested handlers would not fit on a small alternate stack. This one takes microseconds.
    // SAFETY: the mask is part of a live struct.
    unsafe { libc::sigfillset(&raw mut action.sa_mask) };
    action
}

fn set_action(signal: libc::c_int, action: &libc::sigaction) -> io::Result<libc::sigaction> {
    let mut before = empty();
    // SAFETY: both pointers are to live structs; the handlers installed are async-signal-safe (see `Handler`'s uses).
    if unsafe { libc::sigaction(signal, action, &raw mut before) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(before)
}

fn current_handler(signal: libc::c_int) -> libc::sighandler_t {
    let mut current = empty();
    // SAFETY: a null action only asks; the result goes into a live struct.
    if unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut current) } != 0 {
        // This signal cannot have a handler. Report it as used.
        return libc::SIG_ERR;
    }
    current.sa_sigaction
}
