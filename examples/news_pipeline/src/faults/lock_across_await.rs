//! `lock-across-await`: a task keeps a std Mutex locked across an `.await`, and a handler waits for it.
//!
//! The compiler rejects such a task on the multi-thread runtime, because the guard is not `Send`. It accepts the task on
//! a current-thread runtime, as here, in a `LocalSet`, and with a lock that has a `Send` guard.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use super::Commit;

/// Duration of the await with the lock, and of the await without it.
const LOCKED: Duration = Duration::from_millis(100);
const RESTING: Duration = Duration::from_millis(20);

pub(super) fn arm() -> io::Result<Commit> {
    let archive = Arc::new(Mutex::new(0));
    let for_task = Arc::clone(&archive);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    thread::Builder::new().name("archive-task".to_owned()).spawn(move || {
        runtime.block_on(async {
            loop {
                hold_lock_across_await(&for_task).await;
                tokio::time::sleep(RESTING).await;
            }
        });
    })?;
    Ok(Box::new(move |_| {
        wait_for_lock_held_across_await(&archive);
        Ok(())
    }))
}

/// The timer simulates a slow peer. The mistake is to await it with the lock held.
#[expect(clippy::await_holding_lock, reason = "that is the fault")]
async fn hold_lock_across_await(archive: &Mutex<u64>) {
    let mut articles = archive.lock().unwrap_or_else(PoisonError::into_inner);
    tokio::time::sleep(LOCKED).await;
    *articles += 1;
}

// Not inlined, because the report must name it.
#[inline(never)]
fn wait_for_lock_held_across_await(archive: &Mutex<u64>) -> u64 {
    *archive.lock().unwrap_or_else(PoisonError::into_inner)
}
