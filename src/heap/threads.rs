//! The names of threads, and the runtimes that they belong to.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::model::profile::Labels;
use crate::probe::{Registry, task_of};
use crate::sys::{PollNow, Process};

/// How long a name is used. The kernel gives the id of an ended thread to a new one.
const MAX_AGE: Duration = Duration::from_secs(1);

/// Threads that are kept.
const MAX_THREADS: usize = 4096;

/// Threads by their id.
#[derive(Debug, Default)]
pub(super) struct Threads {
    registries: Vec<(Weak<Registry>, u64)>,
    known: HashMap<i32, (Instant, Labels)>,
}

impl Threads {
    /// Knows the workers of one more watch.
    pub(super) fn add(&mut self, registry: &Arc<Registry>) {
        let is_known = |known: &(Weak<Registry>, u64)| known.0.ptr_eq(&Arc::downgrade(registry));
        if !self.registries.iter().any(is_known) {
            self.registries.push((Arc::downgrade(registry), u64::MAX));
        }
    }

    /// Forgets a watch that ends. Returns whether any is left.
    pub(super) fn remove(&mut self, registry: &Arc<Registry>) -> bool {
        let ended = Arc::downgrade(registry);
        self.registries.retain(|(known, _)| known.strong_count() > 0 && !known.ptr_eq(&ended));
        !self.registries.is_empty()
    }

    /// Learns which threads are workers, if that has changed.
    pub(super) fn refresh(&mut self) {
        let now = Instant::now();
        for (registry, version) in &mut self.registries {
            let Some(registry) = registry.upgrade().filter(|registry| registry.version() != *version) else { continue };
            *version = registry.version();
            for entry in registry.snapshot() {
                let labels = Labels {
                    thread: Some(Arc::clone(&entry.worker.thread.name)),
                    runtime: Some(Arc::clone(&entry.worker.runtime)),
                    ..Labels::default()
                };
                self.known.insert(entry.worker.thread.tid, (now, labels));
            }
        }
        if self.known.len() > MAX_THREADS {
            self.known.clear();
            self.registries.iter_mut().for_each(|(_, version)| *version = u64::MAX);
        }
    }

    /// The labels of a thread and of its poll. Ids of threads and tasks are no part of them: there may be millions.
    pub(super) fn labels(&mut self, tid: i32, poll: Option<PollNow>) -> Labels {
        let now = Instant::now();
        let fresh = |(seen, labels): &&(Instant, Labels)| labels.runtime.is_some() || now - *seen < MAX_AGE;
        let known = self.known.get(&tid).filter(fresh).map(|(_, labels)| labels.clone());
        let labels = known.unwrap_or_else(|| {
            let labels = Labels { thread: Process::own().thread_name(tid).map(Arc::from), ..Labels::default() };
            self.known.insert(tid, (now, labels.clone()));
            labels
        });
        let Some(task) = poll.map(task_of) else { return labels };
        Labels { spawned_at: task.place().map(Arc::from), task_name: task.name, ..labels }
    }
}
