//! Blocking work behind a future: it runs on a thread of its own, and ends early when the future is dropped.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::profile_sessions::Stop;
use super::state::WatchState;
use crate::model::own_thread;
use crate::threads::spawn_thread;

/// Runs `work` on its own thread and awaits it. Dropping this future sets `stop`, which ends the work's window. `None`
/// when the work panicked or no thread could be started.
pub(crate) async fn on_own_thread<T: Send + 'static>(
    state: &Arc<WatchState>,
    stop: Stop,
    work: impl FnOnce(&WatchState, &Stop) -> T + Send + 'static,
) -> Option<T> {
    let (answer, answered) = oneshot::channel();
    let _guard = StopOnDrop(stop.clone());
    let state = Arc::clone(state);
    let body = move || {
        // The receiver is gone when the future was dropped.
        let _unwanted = answer.send(work(&state, &stop));
    };
    // It ends by itself.
    drop(spawn_thread(own_thread::PROFILER, body).ok()?);
    answered.await.ok()
}

struct StopOnDrop(Stop);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}
