//! Making threads of another process stand still for a moment, with ptrace(2).
//!
//! `PTRACE_SEIZE` changes nothing in the thread, and without options the kernel lets every thread go on when whoever seized
//! it ends, also in mid-stop. That is used here twice: a tool that is killed leaves its target running, and so does the
//! thread that stops are made from, which lives for one stop only. So no thread can be left behind standing, not even
//! one that stops too late because the kernel was busy for it.

use std::io;
use std::time::{Duration, Instant};

use crate::sys::{Registers, StopError, Stopped};

/// `event << 16` of the status of a thread that stopped because it was asked to, and not because a signal came.
const ASKED: i32 = libc::PTRACE_EVENT_STOP;

/// So long a stop is waited for without sleeping in between: a running thread stops within microseconds.
const EAGER: Duration = Duration::from_micros(200);

/// Between two looks after that.
const PAUSE: Duration = Duration::from_micros(50);

/// Stops threads, does the work while they stand, and lets them go on; also tells how long the first of them stood. Threads
/// that cannot be stopped are there with the reason. `limit` is for all of them to stop; the work takes what it takes.
///
/// A thread that is parked must not be among them: its `epoll_wait` would return early. `still` is asked about each once more,
/// just before the thread is interrupted.
///
/// # Errors
/// When no thread can be started for it.
pub(crate) fn while_stopped<T: Send>(
    tids: &[i32],
    limit: Duration,
    still: impl Fn(i32) -> bool + Send,
    work: impl FnOnce(&[Stopped]) -> T + Send,
) -> io::Result<(T, Duration)> {
    let stop = move || {
        let limit = Instant::now() + limit;
        let seized: Vec<_> = tids.iter().map(|tid| (*tid, seize(*tid))).collect();
        let interrupt = |(tid, seized): (i32, Result<(), StopError>)| {
            let asked = seized.and_then(|()| if still(tid) { interrupt(tid) } else { Err(StopError::Slept) });
            (tid, asked)
        };
        let asked: Vec<_> = seized.into_iter().map(interrupt).collect();
        let stopped: Vec<_> = asked.into_iter().map(|(tid, asked)| Stop::wait(tid, asked, limit)).collect();
        let first = stopped.iter().filter_map(|stop| stop.since).min();
        let seen: Vec<Stopped> = stopped.iter().map(Stop::seen).collect();
        let outcome = work(&seen);
        stopped.iter().for_each(Stop::release);
        // What was seized and did not stop is let go when this thread ends.
        (outcome, first.map_or(Duration::ZERO, |first| first.elapsed()))
    };
    std::thread::scope(|scope| {
        let stopper = std::thread::Builder::new().name("holdup-stop".to_owned()).spawn_scoped(scope, stop)?;
        stopper.join().map_err(|_| io::Error::other("the thread that stops others panicked"))
    })
}

/// A thread that was asked to stop.
struct Stop {
    tid: i32,
    outcome: Result<Registers, StopError>,
    thread_pointer: u64,
    /// A signal that came for the thread at the same time, to be given to it when it goes on.
    signal: Option<i32>,
    /// It stands, at least since then.
    since: Option<Instant>,
}

impl Stop {
    fn wait(tid: i32, asked: Result<(), StopError>, limit: Instant) -> Self {
        let mut stop = Self { tid, outcome: Err(StopError::NoAnswer), thread_pointer: 0, signal: None, since: None };
        match asked.and_then(|()| wait(tid, limit)) {
            Err(error) => stop.outcome = Err(error),
            Ok(signal) => {
                (stop.since, stop.signal) = (Some(Instant::now()), signal);
                match registers(tid) {
                    Some(found) => {
                        stop.thread_pointer = found.fs_base;
                        stop.outcome = Ok(Registers {
                            instruction: found.rip,
                            stack_pointer: found.rsp,
                            frame_pointer: Some(found.rbp),
                        });
                    }
                    None => stop.outcome = Err(StopError::Gone),
                }
            }
        }
        stop
    }

    fn seen(&self) -> Stopped {
        Stopped { tid: self.tid, registers: self.outcome, thread_pointer: self.thread_pointer }
    }

    fn release(&self) {
        if self.since.is_some() {
            // One that was killed meanwhile is gone anyway.
            let _gone = request(libc::PTRACE_DETACH, self.tid, self.signal.unwrap_or(0));
        }
    }
}

fn seize(tid: i32) -> Result<(), StopError> {
    request(libc::PTRACE_SEIZE, tid, 0).map_err(refusal)
}

fn interrupt(tid: i32) -> Result<(), StopError> {
    request(libc::PTRACE_INTERRUPT, tid, 0).map_err(refusal)
}

/// ptrace(2): EPERM for a thread of somebody else, one that may not be looked at, or one that a debugger holds already.
fn refusal(error: i32) -> StopError {
    if error == libc::EPERM { StopError::Refused } else { StopError::Gone }
}

/// Waits until the thread stands; returns the signal that stopped it instead of our asking, if one did.
fn wait(tid: i32, limit: Instant) -> Result<Option<i32>, StopError> {
    let start = Instant::now();
    loop {
        let mut status = 0;
        // SAFETY: the status goes into a live variable; a thread that is not ours is refused with ECHILD.
        let answer = unsafe { libc::waitpid(tid, &raw mut status, libc::__WALL | libc::WNOHANG) };
        match answer {
            0 if Instant::now() >= limit => return Err(StopError::NoAnswer),
            0 if start.elapsed() < EAGER => std::thread::yield_now(),
            0 => std::thread::sleep(PAUSE),
            _ if answer == tid && libc::WIFSTOPPED(status) => {
                return Ok((status >> 16 != ASKED).then(|| libc::WSTOPSIG(status)));
            }
            _ => return Err(StopError::Gone),
        }
    }
}

fn registers(tid: i32) -> Option<libc::user_regs_struct> {
    let mut found = std::mem::MaybeUninit::<libc::user_regs_struct>::uninit();
    let nothing = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: PTRACE_GETREGS writes one `user_regs_struct`, for which there is room, or fails.
    let answer = unsafe { libc::ptrace(libc::PTRACE_GETREGS, tid, nothing, found.as_mut_ptr()) };
    if answer != 0 {
        return None;
    }
    // SAFETY: the call above succeeded, so the kernel filled it in.
    Some(unsafe { found.assume_init() })
}

/// A request without an address, with a number as its data; the error is errno.
fn request(request: libc::c_uint, tid: i32, data: i32) -> Result<(), i32> {
    let nothing = std::ptr::null_mut::<libc::c_void>();
    let data = std::ptr::without_provenance_mut::<libc::c_void>(data as usize);
    // SAFETY: the requests this is called with take no address, and a number for data; the kernel refuses a thread that
    // is not ours.
    let answer = unsafe { libc::ptrace(request, tid, nothing, data) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error().raw_os_error().unwrap_or(libc::ESRCH)) }
}
