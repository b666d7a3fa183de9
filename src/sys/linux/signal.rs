//! Holdup's real-time signal, which makes a running thread copy its own stack.
//!
//! Several watches share one installation. The first installs the signal, the last restores the previous disposition.

use std::io;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::BlockedSignals;
use super::action::Action;
use super::stack_signal_handler;
use crate::sys::{Registers, SignalError, StackCopy};

/// How long a handler may copy before the requester stops waiting for it.
const COPY_LIMIT: Duration = Duration::from_secs(1);

static INSTALLED: Mutex<Option<Installed>> = Mutex::new(None);

/// The installed signal, 0 for none, for readers without the lock.
static SIGNAL: AtomicI32 = AtomicI32::new(0);

struct Installed {
    action: Action,
    users: usize,
}

fn installed() -> MutexGuard<'static, Option<Installed>> {
    INSTALLED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A share in the installed signal. Dropping the last one restores the previous disposition.
#[derive(Debug)]
pub(crate) struct StackSignal {
    signal: libc::c_int,
}

impl StackSignal {
    /// Installs the handler on `wanted`, or on the first unused real-time signal.
    ///
    /// # Errors
    /// `AddrInUse` when the wanted signal, or every real-time signal, has a handler already; `InvalidInput` when
    /// it is not a real-time signal.
    pub(crate) fn install(wanted: Option<i32>) -> io::Result<Self> {
        let mut slot = installed();
        if let Some(shared) = slot.as_mut() {
            let signal = shared.action.signal();
            if wanted.is_some_and(|wanted| wanted != signal) {
                return Err(io::Error::new(
                    io::ErrorKind::AddrInUse,
                    format!("another watch in this process already uses signal {signal}"),
                ));
            }
            shared.users += 1;
            return Ok(Self { signal });
        }
        let action = Action::install(wanted, stack_signal_handler::on_stack_signal)?;
        let signal = action.signal();
        SIGNAL.store(signal, Ordering::Release);
        *slot = Some(Installed { action, users: 1 });
        Ok(Self { signal })
    }

    /// The signal's number.
    pub(crate) fn number(&self) -> i32 {
        self.signal
    }

    /// Makes thread `tid` copy its registers and its stack with the bounds `stack`, and waits for the copy.
    ///
    /// # Errors
    /// See [`SignalError`]. After `ForeignStack`, `into.registers` are set and `into.bytes` is empty.
    pub(crate) fn copy_stack(
        &self,
        tid: i32,
        stack: (u64, u64),
        limit: Duration,
        into: &mut StackCopy,
    ) -> Result<(), SignalError> {
        // The lock makes this the only requester of the handler's protocol.
        let slot = installed();
        if slot.is_none() {
            return Err(SignalError::NotInstalled);
        }
        if stack_signal_handler::STATE.load(Ordering::Acquire) == stack_signal_handler::COPYING {
            // An earlier request gave up on a handler that is still copying.
            return Err(SignalError::NoAnswer);
        }
        stack_signal_handler::STATE.store(stack_signal_handler::FREE, Ordering::Relaxed);
        stack_signal_handler::LOW.store(stack.0, Ordering::Relaxed);
        stack_signal_handler::HIGH.store(stack.1, Ordering::Relaxed);
        stack_signal_handler::THREAD.store(tid, Ordering::Relaxed);
        stack_signal_handler::STATE.store(stack_signal_handler::ASKED, Ordering::Release);
        if !send(tid, self.signal) {
            stack_signal_handler::STATE.store(stack_signal_handler::FREE, Ordering::Relaxed);
            return Err(SignalError::Gone);
        }
        wait_for_copy(limit)?;
        let result = take_copy(into);
        stack_signal_handler::STATE.store(stack_signal_handler::FREE, Ordering::Release);
        result
    }
}

impl Drop for StackSignal {
    fn drop(&mut self) {
        let mut slot = installed();
        let Some(shared) = slot.as_mut() else { return };
        shared.users -= 1;
        if shared.users == 0 {
            SIGNAL.store(0, Ordering::Release);
            *slot = None;
        }
    }
}

/// Blocks the stack signal on this thread, if it is installed.
pub(crate) fn block_stack_signal() -> BlockedSignals {
    BlockedSignals::block(SIGNAL.load(Ordering::Acquire))
}

/// The longest interval between two checks for an answer.
const LONGEST_PAUSE: Duration = Duration::from_millis(1);

/// Waits until the handler has copied the stack. It spins briefly, because a scheduled thread answers within microseconds.
/// Then it sleeps for growing intervals: the thread waits for a CPU, and each wakeup would take CPU time from it.
fn wait_for_copy(limit: Duration) -> Result<(), SignalError> {
    let start = Instant::now();
    let mut spins = 0_u32;
    let mut pause = Duration::from_micros(50);
    loop {
        match stack_signal_handler::STATE.load(Ordering::Acquire) {
            stack_signal_handler::COPIED => return Ok(()),
            stack_signal_handler::ASKED if start.elapsed() > limit => {
                let gave_up = stack_signal_handler::STATE.compare_exchange(
                    stack_signal_handler::ASKED,
                    stack_signal_handler::FREE,
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                );
                if gave_up.is_ok() {
                    return Err(SignalError::NoAnswer);
                }
            }
            stack_signal_handler::COPYING if start.elapsed() > limit + COPY_LIMIT => return Err(SignalError::NoAnswer),
            _ => {}
        }
        spins += 1;
        if spins < 2_000 {
            std::hint::spin_loop();
        } else {
            std::thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

fn take_copy(into: &mut StackCopy) -> Result<(), SignalError> {
    into.registers = Registers {
        instruction: stack_signal_handler::INSTRUCTION.load(Ordering::Relaxed),
        stack_pointer: stack_signal_handler::STACK_POINTER.load(Ordering::Relaxed),
        frame_pointer: Some(stack_signal_handler::FRAME_POINTER.load(Ordering::Relaxed)),
    };
    into.bytes.clear();
    let length = stack_signal_handler::LENGTH.load(Ordering::Relaxed);
    if length == 0 {
        return Err(SignalError::ForeignStack);
    }
    // SAFETY: in state `COPIED` the bytes belong to the requester, which is this thread, and the handler has written
    // `length` of them.
    let bytes = unsafe { std::slice::from_raw_parts(stack_signal_handler::BYTES.as_mut_ptr(), length) };
    into.bytes.extend_from_slice(bytes);
    Ok(())
}

fn send(tid: i32, signal: libc::c_int) -> bool {
    // SAFETY: getpid has no preconditions.
    let process = unsafe { libc::getpid() };
    // SAFETY: tgkill takes plain numbers; the kernel refuses an id that is no thread of this process with ESRCH.
    unsafe { libc::syscall(libc::SYS_tgkill, process, tid, signal) == 0 }
}
