//! The census of a program with descriptions of types.

use super::block_on_future;
use super::heap_tasks;
use super::lock_owners::{self, LockOwner};
use super::runtimes::{Entered, Runtimes};
use super::semaphore_queue::Queues;
use super::subject::{STEPS, Subject};
use super::task_layout::TaskLayout;
use super::task_list;
use super::task_reader::{KnownTypes, TaskReader};
use super::threads::{threads, unplaced};
use crate::model::census::Census;
use crate::tokio_internals::debug_info::OLDEST_VERSION;

impl Subject<'_, '_> {
    /// Reads the memory of the newest tasks of each list without using it, so that a copy of memory contains it.
    pub(crate) fn touch(&self, newest: usize) {
        let values = self.values();
        let Ok(layout) = TaskLayout::of(&values) else { return };
        let runtimes = Runtimes::of(&values, self.threads);
        for runtime in &runtimes.list {
            // A damaged list is reported when the tasks are read.
            let _damaged = task_list::walk(&values, &layout, runtime.owned, newest, &mut |task| task.touch(&values));
        }
        for header in self.heap_headers {
            values.set_budget(STEPS);
            if let Ok(task) = layout.task_at(&values, *header) {
                task.touch(&values);
            }
        }
    }

    /// Takes the census. The caller fills in the process, the program, the stacks and most of the quality.
    pub(crate) fn census(&self) -> Census {
        let values = self.values();
        let runtimes = Runtimes::of(&values, self.threads);
        let layout = match TaskLayout::of(&values) {
            Ok(layout) => layout,
            Err(unknown) => {
                let mut census = self.threads_only();
                census.quality.missing.push(unreadable("tasks", &unknown.to_string()));
                return census;
            }
        };
        let mut census = Census::default();
        let first_unknown = runtimes.threads.iter().find_map(|thread| thread.unknown.as_deref());
        if let (true, Some(unknown)) = (runtimes.list.is_empty(), first_unknown) {
            census.quality.missing.push(unreadable("runtimes", unknown));
        }
        let (mut owners, queues, types) = (Vec::new(), Queues::default(), KnownTypes::default());
        let reader =
            TaskReader { values: &values, layout: &layout, queues: &queues, types: &types, runtime: 0, now: self.now };
        add_listed_tasks(&reader, &runtimes, &mut census, &mut owners);
        heap_tasks::add_tasks(&reader, self.heap_headers, &mut census, &mut owners);
        census.quality.missing.extend(queues.missing());
        lock_owners::add_owners(&mut census.tasks, &owners);
        census.threads = threads(self.threads, &runtimes.threads, &mut census.tasks);
        census.unplaced = unplaced(&census);
        for thread in census.threads.iter_mut().filter(|thread| thread.block_on) {
            let future = self.block_on_futures.and_then(|futures| futures.get(&thread.tid));
            thread.block_on_future =
                future.and_then(|future| block_on_future::path(&values, &layout, self.now, *future));
        }
        // An ordinary stable sort would copy half of the tasks.
        census.tasks.sort_by_cached_key(|task| (task.runtime, task.id));
        census
    }

    /// The threads alone, if no task can be read.
    fn threads_only(&self) -> Census {
        let entered = vec![Entered::default(); self.threads.len()];
        Census { threads: threads(self.threads, &entered, &mut []), ..Census::default() }
    }
}

/// Adds the tasks in the lists of runtimes.
fn add_listed_tasks(
    reader: &TaskReader<'_, '_, '_>,
    runtimes: &Runtimes,
    census: &mut Census,
    owners: &mut Vec<LockOwner>,
) {
    for (index, list) in runtimes.list.iter().enumerate() {
        let reader = TaskReader { runtime: index, ..*reader };
        let end = task_list::walk(reader.values, reader.layout, list.owned, usize::MAX, &mut |task| {
            let (task, held) = reader.read(task);
            if let Some(id) = task.id {
                owners.extend(lock_owners::owned_by(id, held));
            }
            census.tasks.push(task);
        });
        let mut runtime = list.runtime.clone();
        runtime.unknown = runtime.unknown.or(end.err().map(|unknown| unknown.to_string()));
        census.runtimes.push(runtime);
    }
}

/// Reports what could not be read, with the usual reason.
fn unreadable(what: &str, why: &str) -> String {
    format!("{what} cannot be read: {why}; holdup supports Tokio {OLDEST_VERSION} and newer")
}
