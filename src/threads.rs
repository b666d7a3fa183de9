//! Holdup's own threads.

use std::io;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The interval between two checks whether a thread has ended.
const JOIN_CHECK: Duration = Duration::from_millis(1);

/// Starts a thread with a name, which `top -H` shows.
pub(crate) fn spawn_thread(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run)
}

/// Waits for a thread to end, until a deadline, and returns whether it has. The thread may be inside the user's callback,
/// or be the calling thread itself.
pub(crate) fn join_until(thread: JoinHandle<()>, deadline: Instant) -> bool {
    if thread.thread().id() == std::thread::current().id() {
        return false;
    }
    while !thread.is_finished() && Instant::now() < deadline {
        std::thread::sleep(JOIN_CHECK);
    }
    let ended = thread.is_finished();
    if ended && thread.join().is_err() {
        tracing::error!(target: "holdup", "a thread of holdup panicked; please report this");
    }
    ended
}
