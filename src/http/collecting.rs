//! Work that takes longer than a request should hold the endpoint's thread: on a thread of its own, and ended when the
//! client goes away.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::inprocess::{Stop, WatchState};

/// Runs `work` on a thread of its own and waits for it. A client that disconnects drops this future, which ends the
/// window that `stop` stands for. `None` when the work panicked, or no thread could be started.
pub(super) async fn on_own_thread<T: Send + 'static>(
    watch: &Arc<WatchState>,
    stop: Stop,
    work: impl FnOnce(&WatchState, &Stop) -> T + Send + 'static,
) -> Option<T> {
    let (answer, answered) = oneshot::channel();
    let guard = StopOnDrop(stop.clone());
    let watch = Arc::clone(watch);
    let body = move || {
        // The client may be gone.
        let _unwanted = answer.send(work(&watch, &stop));
    };
    std::thread::Builder::new().name("holdup-profiler".into()).spawn(body).ok()?;
    let answer = answered.await.ok();
    drop(guard);
    answer
}

struct StopOnDrop(Stop);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}
