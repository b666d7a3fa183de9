//! `starved-pool`: long jobs fill the blocking pool, and a short job waits for them.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::task::spawn_blocking;

use super::CommitAwaited;

/// The default limit of threads in Tokio's blocking pool.
const POOL: usize = 512;

/// Jobs per request. Starting threads takes time too, and more of them would be a stall.
const AT_ONCE: usize = 64;

/// How long a job occupies its thread.
const LONG: Duration = Duration::from_secs(1);

pub(super) fn arm() -> io::Result<CommitAwaited> {
    let running = Arc::new(AtomicUsize::new(0));
    Ok(Box::new(move || {
        fill_pool_with_long_jobs(&running);
        Box::pin(wait_for_place_in_pool())
    }))
}

// Timers, connections and queues belong in tasks; long jobs belong on dedicated threads.
#[inline(never)]
fn fill_pool_with_long_jobs(running: &Arc<AtomicUsize>) {
    for _ in 0..AT_ONCE {
        if running.fetch_add(1, Relaxed) >= POOL {
            running.fetch_sub(1, Relaxed);
            return;
        }
        let running = Arc::clone(running);
        // Its result is not needed.
        drop(spawn_blocking(move || {
            thread::sleep(LONG);
            running.fetch_sub(1, Relaxed);
        }));
    }
}

async fn wait_for_place_in_pool() -> io::Result<()> {
    let started = Instant::now();
    let waited = spawn_blocking(move || started.elapsed()).await?;
    tracing::debug!("a job of the blocking pool waited {waited:.1?} for a thread");
    Ok(())
}
