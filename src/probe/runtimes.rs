//! Handles of the runtimes of one watch, for Tokio's metrics. A handle does not keep a runtime running.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;

use super::queue_drain::local_depth;
use super::registry::RuntimeProbe;
#[cfg(feature = "http")]
use crate::model::task_stats::RuntimeTasks;

/// The watched runtimes.
#[derive(Debug, Default)]
pub(crate) struct Runtimes(Mutex<Vec<Listed>>);

#[derive(Debug)]
struct Listed {
    number: u32,
    #[cfg_attr(not(feature = "http"), expect(dead_code, reason = "only the endpoint shows it"))]
    name: Arc<str>,
    #[cfg_attr(not(feature = "http"), expect(dead_code, reason = "only the endpoint shows it"))]
    is_instrumented: bool,
    handle: Handle,
}

impl Runtimes {
    fn list(&self) -> MutexGuard<'_, Vec<Listed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add(&self, runtime: &RuntimeProbe, handle: Handle) {
        let (number, name, is_instrumented) = (runtime.number(), runtime.name(), !runtime.is_uninstrumented());
        self.list().push(Listed { number, name, is_instrumented, handle });
    }

    pub(crate) fn remove(&self, number: u32) {
        self.list().retain(|runtime| runtime.number != number);
    }

    /// Each runtime with the number of its tasks.
    #[cfg(feature = "http")]
    pub(crate) fn tasks(&self) -> Vec<RuntimeTasks> {
        let tasks = |runtime: &Listed| RuntimeTasks {
            name: Arc::clone(&runtime.name),
            alive: runtime.handle.metrics().num_alive_tasks(),
            is_instrumented: runtime.is_instrumented,
        };
        self.list().iter().map(tasks).collect()
    }

    /// The lengths of a worker's own queue and of the shared queue. The first one needs `tokio_unstable`.
    pub(crate) fn queues(&self, runtime: u32, worker: Option<usize>) -> (Option<usize>, Option<usize>) {
        let list = self.list();
        let Some(listed) = list.iter().find(|listed| listed.number == runtime) else { return (None, None) };
        let metrics = listed.handle.metrics();
        (worker.and_then(|worker| local_depth(&metrics, worker)), Some(metrics.global_queue_depth()))
    }
}
