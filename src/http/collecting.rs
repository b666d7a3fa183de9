//! Work that takes too long for the endpoint's thread. It runs on a separate thread, and stops when the client
//! disconnects.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::inprocess::{Stop, WatchState};

/// Runs `work` on a new thread and waits for it. If the client disconnects, this future is dropped and `stop` is set.
/// `None` if the work panicked or no thread could be started.
pub(super) async fn on_own_thread<T: Send + 'static>(
    watch: &Arc<WatchState>,
    stop: Stop,
    work: impl FnOnce(&WatchState, &Stop) -> T + Send + 'static,
) -> Option<T> {
    let (answer, answered) = oneshot::channel();
    let guard = StopOnDrop(stop.clone());
    let watch = Arc::clone(watch);
    let body = move || {
        // The client may have disconnected.
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
