//! A deadline for conditions, and one test of a file at a time.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Upper bound for every wait. It is long because shared machines can be slow.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Runs one test of a file at a time. With several, threads wait for a CPU, which a watchdog may take for computing.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until a condition holds.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let limit = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < limit, "not in {DEADLINE:?}: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
