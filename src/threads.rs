//! Holdup's own threads.

use std::io;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The interval between two checks whether a thread has ended.
const JOIN_CHECK: Duration = Duration::from_millis(1);

/// Whether a thread has ended in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[must_use = "a thread that panicked is reported"]
pub(crate) enum Ended {
    Yes,
    /// Not yet.
    No,
    Panicked,
}

impl Ended {
    /// The worse one of two.
    pub(crate) fn and(self, other: Self) -> Self {
        self.max(other)
    }
}

/// Starts a thread with a name, which `top -H` shows.
pub(crate) fn spawn_thread(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    // What these threads allocate would hide what the program does.
    #[cfg(feature = "heap")]
    let run = {
        let is_own = crate::model::own_thread::is_own(name);
        move || if is_own { crate::sys::heap::without_sampling(run) } else { run() }
    };
    std::thread::Builder::new().name(name.to_owned()).spawn(run)
}

/// Waits for a thread to end, until a deadline. The thread may be inside the program's code, or be the calling thread itself.
pub(crate) fn join_until(thread: JoinHandle<()>, deadline: Instant) -> Ended {
    if thread.thread().id() == std::thread::current().id() {
        return Ended::No;
    }
    while !thread.is_finished() && Instant::now() < deadline {
        std::thread::sleep(JOIN_CHECK);
    }
    match thread.is_finished() {
        false => Ended::No,
        true if thread.join().is_err() => Ended::Panicked,
        true => Ended::Yes,
    }
}
