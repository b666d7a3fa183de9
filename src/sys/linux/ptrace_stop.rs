//! Stops threads of another process for a moment, with ptrace(2).
//!
//! `PTRACE_SEIZE` changes nothing in the thread. Without options, the kernel resumes every seized thread when its tracer ends,
//! also during a stop. So a killed tool leaves its target running. The tracer here is a thread that lives for one stop only.
//! So no thread stays stopped, not even one that stops too late because the kernel was busy for it.

use std::io;
use std::time::{Duration, Instant};

use crate::model::own_thread;
use crate::sys::{Registers, StopError, Stopped};

/// The upper half of the status of a thread that stopped on request and not because of a signal.
const ASKED: i32 = libc::PTRACE_EVENT_STOP;

/// Time to wait for a stop without sleeping. A running thread stops within microseconds.
const BUSY_WAIT: Duration = Duration::from_micros(200);

/// The interval between two checks after that.
const PAUSE: Duration = Duration::from_micros(50);

/// Stops threads, does the work while they are stopped, and resumes them. The second value is how long the first of them was
/// stopped. The work gets every thread, with the reason if it could not be stopped. `limit` is the time for all of them to
/// stop.
///
/// No thread may be parked, because its `epoll_wait` would return early. `still` is asked about each thread once more, right
/// before the thread is interrupted.
///
/// # Errors
/// When no tracer thread can be started.
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
        let threads: Vec<Stopped> = stopped.iter().map(Stop::outcome).collect();
        let outcome = work(&threads);
        stopped.iter().for_each(Stop::release);
        // Threads that were seized and did not stop are released at the end of this thread.
        (outcome, first.map_or(Duration::ZERO, |first| first.elapsed()))
    };
    std::thread::scope(|scope| {
        let stopper = std::thread::Builder::new().name(own_thread::STOPPER.to_owned()).spawn_scoped(scope, stop)?;
        stopper.join().map_err(|_| io::Error::other("the thread that stops others panicked"))
    })
}

/// A request to a thread to stop, and its outcome.
struct Stop {
    tid: i32,
    outcome: Result<Registers, StopError>,
    thread_pointer: u64,
    kept_registers: [u64; 6],
    /// A signal that stopped the thread instead. The thread gets it when it is resumed.
    signal: Option<i32>,
    /// The time since which the thread is known to be stopped.
    since: Option<Instant>,
}

impl Stop {
    fn wait(tid: i32, asked: Result<(), StopError>, limit: Instant) -> Self {
        let mut stop = Self {
            tid,
            outcome: Err(StopError::NoAnswer),
            thread_pointer: 0,
            kept_registers: [0; 6],
            signal: None,
            since: None,
        };
        match asked.and_then(|()| wait(tid, limit)) {
            Err(error) => stop.outcome = Err(error),
            Ok(signal) => {
                (stop.since, stop.signal) = (Some(Instant::now()), signal);
                match registers(tid) {
                    Some(found) => {
                        stop.thread_pointer = found.fs_base;
                        stop.kept_registers = [found.rbx, found.rbp, found.r12, found.r13, found.r14, found.r15];
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

    fn outcome(&self) -> Stopped {
        Stopped {
            tid: self.tid,
            registers: self.outcome,
            thread_pointer: self.thread_pointer,
            kept_registers: self.kept_registers,
        }
    }

    fn release(&self) {
        if self.since.is_some() {
            // A thread that was killed meanwhile needs no release.
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

/// The reason for an error of ptrace(2). EPERM means that the thread may not be traced or a debugger holds it already.
fn refusal(error: i32) -> StopError {
    if error == libc::EPERM { StopError::Refused } else { StopError::Gone }
}

/// Waits until the thread is stopped; returns the signal that stopped it instead of the request, if any.
fn wait(tid: i32, limit: Instant) -> Result<Option<i32>, StopError> {
    let start = Instant::now();
    loop {
        let mut status = 0;
        // SAFETY: the status goes into a live variable; a thread that is not ours is refused with ECHILD.
        let answer = unsafe { libc::waitpid(tid, &raw mut status, libc::__WALL | libc::WNOHANG) };
        match answer {
            0 if Instant::now() >= limit => return Err(StopError::NoAnswer),
            0 if start.elapsed() < BUSY_WAIT => std::thread::yield_now(),
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

/// A request in the type of ptrace's first parameter.
#[cfg(target_env = "musl")]
type Request = libc::c_int;
#[cfg(not(target_env = "musl"))]
type Request = libc::c_uint;

/// Makes a ptrace request without an address and with a number as data. The error is errno.
fn request(request: Request, tid: i32, data: i32) -> Result<(), i32> {
    let nothing = std::ptr::null_mut::<libc::c_void>();
    let data = std::ptr::without_provenance_mut::<libc::c_void>(data as usize);
    // SAFETY: every request made here takes no address and a number as data; the kernel refuses a thread that is not
    // seized.
    let answer = unsafe { libc::ptrace(request, tid, nothing, data) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error().raw_os_error().unwrap_or(libc::ESRCH)) }
}
