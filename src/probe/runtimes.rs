//! Handles of the runtimes of one watch, for Tokio's metrics. A handle does not keep a runtime running.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;

use super::queue_drain::local_depth;

/// The watched runtimes.
#[derive(Debug, Default)]
pub(crate) struct Runtimes(Mutex<Vec<Listed>>);

#[derive(Debug)]
struct Listed {
    number: u32,
    #[cfg_attr(not(feature = "http"), expect(dead_code, reason = "only the endpoint shows it"))]
    name: Arc<str>,
    handle: Handle,
}

impl Runtimes {
    fn list(&self) -> MutexGuard<'_, Vec<Listed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add(&self, number: u32, name: Arc<str>, handle: Handle) {
        self.list().push(Listed { number, name, handle });
    }

    pub(crate) fn remove(&self, number: u32) {
        self.list().retain(|runtime| runtime.number != number);
    }

    /// The number of tasks of each runtime.
    #[cfg(feature = "http")]
    pub(crate) fn alive_tasks(&self) -> Vec<(Arc<str>, usize)> {
        let count = |runtime: &Listed| (Arc::clone(&runtime.name), runtime.handle.metrics().num_alive_tasks());
        self.list().iter().map(count).collect()
    }

    /// The lengths of a worker's own queue and of the shared queue. The first one needs `tokio_unstable`.
    pub(crate) fn queues(&self, runtime: u32, worker: Option<usize>) -> (Option<usize>, Option<usize>) {
        let list = self.list();
        let Some(listed) = list.iter().find(|listed| listed.number == runtime) else { return (None, None) };
        let metrics = listed.handle.metrics();
        (worker.and_then(|worker| local_depth(&metrics, worker)), Some(metrics.global_queue_depth()))
    }
}
