//! `never-ends`: a handler locks a std Mutex that it already holds. Its worker is lost for good.
//!
//! Committed once, a second after the start, so that the service is seen healthy before and the other
//! workers can be seen going on after. On a current-thread runtime there is no other worker. At times they do not go
//! on: the worker that waits for sockets and timers on behalf of all is one of the workers, and when it is the one that
//! is lost, while the others are parked, nobody wakes them again.

use std::{
    io,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use super::Commit;

const HEALTHY_FIRST: Duration = Duration::from_secs(1);

pub(super) fn arm() -> io::Result<Commit> {
    let armed_at = Instant::now();
    let committed = AtomicBool::new(false);
    let archive = Mutex::new(0);
    Ok(Box::new(move |_| {
        if armed_at.elapsed() >= HEALTHY_FIRST && !committed.swap(true, Relaxed) {
            lock_twice(&archive);
        }
        Ok(())
    }))
}

// Not inlined: the report must name it.
#[inline(never)]
fn lock_twice(archive: &Mutex<u64>) -> u64 {
    let before = archive.lock().unwrap_or_else(PoisonError::into_inner);
    let after = archive.lock().unwrap_or_else(PoisonError::into_inner);
    *after - *before
}
