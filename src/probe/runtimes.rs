//! Handles of the runtimes of one watch, for Tokio's metrics. A handle does not keep a runtime running.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;

use super::own_tasks::OwnTasks;
use super::queue_drain::local_depth;
use super::registry::RuntimeProbe;
#[cfg(feature = "http")]
use crate::model::numbers::RuntimeNow;
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
    own_tasks: Arc<OwnTasks>,
    /// It has had a task of the program's, as far as was noted.
    had_tasks: bool,
    /// It had one at the last note. One that holdup's own task leaves behind for a moment is not noted.
    has_tasks: bool,
}

impl Runtimes {
    fn list(&self) -> MutexGuard<'_, Vec<Listed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add(&self, runtime: &RuntimeProbe, handle: Handle) {
        let (number, name, is_instrumented) = (runtime.number(), runtime.name(), !runtime.is_uninstrumented());
        let own_tasks = Arc::clone(runtime.own_tasks());
        self.list().push(Listed {
            number,
            name,
            is_instrumented,
            handle,
            own_tasks,
            had_tasks: false,
            has_tasks: false,
        });
    }

    pub(crate) fn remove(&self, number: u32) {
        self.list().retain(|runtime| runtime.number != number);
    }

    /// Notes which runtimes have tasks. Without `tokio_unstable` Tokio does not count the tasks that have ended, so the
    /// watchdog calls this in every sample.
    pub(crate) fn note_tasks(&self) {
        if cfg!(tokio_unstable) {
            return;
        }
        for listed in self.list().iter_mut().filter(|listed| !listed.had_tasks) {
            let has_tasks = listed.has_had_tasks();
            listed.had_tasks = has_tasks && listed.has_tasks;
            listed.has_tasks = has_tasks;
        }
    }

    /// Whether this runtime has had a task. True for one that holdup has not built. Tasks of a `LocalSet` do not count.
    pub(crate) fn have_had_tasks(&self, runtime: u32) -> bool {
        let list = self.list();
        let listed = list.iter().find(|listed| listed.number == runtime);
        listed.is_none_or(|listed| listed.had_tasks || listed.has_had_tasks())
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

    /// What Tokio counts of each runtime.
    #[cfg(feature = "http")]
    pub(crate) fn numbers(&self) -> Vec<RuntimeNow> {
        self.list().iter().map(Listed::numbers).collect()
    }

    /// The lengths of a worker's own queue and of the shared queue. The first one needs `tokio_unstable`.
    pub(crate) fn queues(&self, runtime: u32, worker: Option<usize>) -> (Option<usize>, Option<usize>) {
        let list = self.list();
        let Some(listed) = list.iter().find(|listed| listed.number == runtime) else { return (None, None) };
        let metrics = listed.handle.metrics();
        (worker.and_then(|worker| local_depth(&metrics, worker)), Some(metrics.global_queue_depth()))
    }
}

impl Listed {
    #[cfg(feature = "http")]
    fn numbers(&self) -> RuntimeNow {
        let metrics = self.handle.metrics();
        let workers = metrics.num_workers();
        RuntimeNow {
            number: self.number,
            name: Arc::clone(&self.name),
            workers,
            alive_tasks: metrics.num_alive_tasks(),
            global_queue: metrics.global_queue_depth(),
            local_queue: (0..workers).map(|worker| local_depth(&metrics, worker)).sum(),
            blocking_threads: blocking_pool(&metrics).map(|(threads, _)| threads),
            blocking_queue: blocking_pool(&metrics).map(|(_, queue)| queue),
            busy: busy(&metrics),
        }
    }

    /// Whether Tokio counts a task of the program's.
    #[cfg(tokio_unstable)]
    fn has_had_tasks(&self) -> bool {
        self.handle.metrics().spawned_tasks_count() > self.own_tasks.spawned()
    }

    /// The same, as far as that task has not ended.
    #[cfg(not(tokio_unstable))]
    fn has_had_tasks(&self) -> bool {
        self.handle.metrics().num_alive_tasks() as u64 > self.own_tasks.alive()
    }
}

/// The threads of the blocking pool, and the functions that wait for one. `None` without `tokio_unstable`.
#[cfg(all(feature = "http", tokio_unstable))]
fn blocking_pool(metrics: &tokio::runtime::RuntimeMetrics) -> Option<(usize, usize)> {
    Some((metrics.num_blocking_threads(), metrics.blocking_queue_depth()))
}

#[cfg(all(feature = "http", not(tokio_unstable)))]
fn blocking_pool(_metrics: &tokio::runtime::RuntimeMetrics) -> Option<(usize, usize)> {
    None
}

/// The time in which the workers were not parked. Tokio counts it where the processor has atomic numbers of 64 bits.
#[cfg(all(feature = "http", target_has_atomic = "64"))]
fn busy(metrics: &tokio::runtime::RuntimeMetrics) -> Option<std::time::Duration> {
    Some((0..metrics.num_workers()).map(|worker| metrics.worker_total_busy_duration(worker)).sum())
}

#[cfg(all(feature = "http", not(target_has_atomic = "64")))]
fn busy(_metrics: &tokio::runtime::RuntimeMetrics) -> Option<std::time::Duration> {
    None
}
