//! The runtimes of one watch, to ask Tokio about their tasks. A handle does not keep a runtime running.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;

use super::queue_drain::local_depth;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Runtimes(Mutex<Vec<Listed>>);

#[derive(Debug)]
struct Listed {
    number: u32,
    #[cfg_attr(not(feature = "http"), expect(dead_code, reason = "the endpoint tells it"))]
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

    /// How many tasks each runtime has.
    #[cfg(feature = "http")]
    pub(crate) fn alive_tasks(&self) -> Vec<(Arc<str>, usize)> {
        let count = |runtime: &Listed| (Arc::clone(&runtime.name), runtime.handle.metrics().num_alive_tasks());
        self.list().iter().map(count).collect()
    }

    /// Tasks in a worker's own queue, which only `tokio_unstable` tells, and in that of its runtime.
    pub(crate) fn queues(&self, runtime: u32, worker: Option<usize>) -> (Option<usize>, Option<usize>) {
        let list = self.list();
        let Some(listed) = list.iter().find(|listed| listed.number == runtime) else { return (None, None) };
        let metrics = listed.handle.metrics();
        (worker.and_then(|worker| local_depth(&metrics, worker)), Some(metrics.global_queue_depth()))
    }
}
