//! The runtimes of one watch, to ask Tokio about their tasks. A handle does not keep a runtime running.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Runtimes(Mutex<Vec<Listed>>);

#[derive(Debug)]
struct Listed {
    number: u32,
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

    /// Tasks in a worker's own queue, which only `tokio_unstable` tells, and in that of its runtime. Unknown where several
    /// runtimes have this name.
    pub(crate) fn queues(&self, runtime: &str, worker: Option<usize>) -> (Option<usize>, Option<usize>) {
        let list = self.list();
        let mut named = list.iter().filter(|listed| &*listed.name == runtime);
        let (Some(listed), None) = (named.next(), named.next()) else { return (None, None) };
        let metrics = listed.handle.metrics();
        (worker.and_then(|worker| local_queue(&metrics, worker)), Some(metrics.global_queue_depth()))
    }
}

#[cfg(tokio_unstable)]
fn local_queue(metrics: &tokio::runtime::RuntimeMetrics, worker: usize) -> Option<usize> {
    (worker < metrics.num_workers()).then(|| metrics.worker_local_queue_depth(worker))
}

#[cfg(not(tokio_unstable))]
fn local_queue(_metrics: &tokio::runtime::RuntimeMetrics, _worker: usize) -> Option<usize> {
    None
}
