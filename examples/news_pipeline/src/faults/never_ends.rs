//! `never-ends`: a handler locks a std Mutex that it already holds. Its worker is stuck for good.
//!
//! Committed once, a second after the start, so that the service is healthy before, and the other workers go on
//! afterward. On a current-thread runtime there is no other worker. Sometimes the others do not go on: one worker polls
//! the I/O driver for all. If that worker is stuck while the others are parked, nothing wakes them.

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

// Not inlined, because the report must name it.
#[inline(never)]
fn lock_twice(archive: &Mutex<u64>) -> u64 {
    let before = archive.lock().unwrap_or_else(PoisonError::into_inner);
    let after = archive.lock().unwrap_or_else(PoisonError::into_inner);
    *after - *before
}
