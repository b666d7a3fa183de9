//! Every task of a process at one moment, and what each waits for.
//!
//! Threads lead to runtimes, runtimes to lists of tasks, tasks to their futures, and futures to the futures they await.
//! Everything is read from memory that may hold anything: what does not make sense is unknown for that task alone, and
//! the number of tasks, the depth of a path and the steps for one task are bounded.

/// From threads to runtimes.
mod runtimes;

/// From runtimes to tasks.
mod tasks;

/// Tasks of programs that describe no types.
mod task_scan;

/// Futures given to `block_on`.
mod block_on_future;

/// Tasks that no runtime has a list of.
mod heap_tasks;

/// From threads to the workers that they are.
mod workers;

/// From tasks to what they await.
mod await_path;

/// What the future at the end of a path waits for.
mod wait_reasons;

/// Who holds what others wait for.
mod lock_owners;

/// Futures that their task keeps and does not poll.
mod futurelock;

/// Futures that live in a set of their own.
mod collections;

use std::collections::HashMap;
use std::ops::Range;
use std::time::Duration;

use crate::dwarf::{Memory, Program, Values};
use crate::model::census::{Census, TaskNow, TaskState, ThreadNow};
use crate::model::stack::StackUnavailable;
use crate::model::task::TaskId;
pub(crate) use block_on_future::Roots;
pub(crate) use heap_tasks::Whose;
use lock_owners::Held;
use runtimes::{Entered, Runtimes};
pub(crate) use task_scan::{Places, Shapes, polled, shaped_census};
use tasks::{TaskLayout, TaskReader};

/// The oldest Tokio that tests read; `tests/tokio_versions.sh` holds it too.
const OLDEST_TOKIO: &str = "1.35";

/// Steps for finding a thread's runtime, or one list.
const STEPS: u32 = 100_000;

/// A thread to begin at.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    pub(crate) tid: i32,
    pub(crate) name: String,
    /// It was on a CPU or ready for one.
    pub(crate) runs: bool,
    /// Where the program's block of thread-local variables begins for it.
    pub(crate) thread_locals: Option<u64>,
    /// From where it was to the end of its stack, where that is known.
    pub(crate) stack: Option<Range<u64>>,
}

/// What a census is taken of.
#[derive(Clone, Copy)]
pub(crate) struct Subject<'a, 'd> {
    pub(crate) program: &'a Program<'d>,
    pub(crate) memory: &'a dyn Memory,
    /// What to subtract from an address in memory to get the one that the program's file uses.
    pub(crate) bias: u64,
    pub(crate) threads: &'a [Start],
    /// Where headers of tasks may lie that no runtime has a list of.
    pub(crate) unlisted: &'a [u64],
    /// Where futures given to `block_on` lie, as far as they were found.
    pub(crate) roots: Option<&'a Roots>,
    /// By the monotonic clock.
    pub(crate) now: Duration,
}

impl std::fmt::Debug for Subject<'_, '_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subject").field("threads", &self.threads.len()).finish_non_exhaustive()
    }
}

impl<'a, 'd> Subject<'a, 'd> {
    /// Without threads to begin at: the parts of a program that are the same for all.
    pub(crate) fn of(program: &'a Program<'d>, memory: &'a dyn Memory, bias: u64) -> Self {
        Self { program, memory, bias, threads: &[], unlisted: &[], roots: None, now: Duration::ZERO }
    }

    fn values(&self) -> Values<'a, 'd> {
        let values = Values::new(self.program, self.memory, self.bias);
        values.allow(STEPS);
        values
    }

    /// Reads the memory of every task once, or of the newest so many of each list, and makes nothing of it: so that a copy
    /// of memory holds it.
    pub(crate) fn touch(&self, newest: usize) {
        let values = self.values();
        let Ok(layout) = TaskLayout::of(&values) else { return };
        let runtimes = Runtimes::of(&values, self.threads);
        for runtime in &runtimes.list {
            // Where a list ends too early is told when the tasks are read.
            let _end = tasks::walk(&values, &layout, runtime.owned, newest, &mut |task| tasks::touch(&values, task));
        }
        for header in self.unlisted {
            values.allow(STEPS);
            if let Ok(task) = tasks::at(&values, &layout, *header) {
                tasks::touch(&values, task);
            }
        }
    }

    /// Takes the census. `pid`, program and quality are for the caller to fill in.
    pub(crate) fn take(&self) -> Census {
        let values = self.values();
        let runtimes = Runtimes::of(&values, self.threads);
        let layout = match TaskLayout::of(&values) {
            Ok(layout) => layout,
            Err(unknown) => {
                let mut census = threads_only(self.threads);
                census.quality.missing.push(unreadable("tasks", &unknown.to_string()));
                return census;
            }
        };
        let mut census = Census::default();
        let first_unknown = runtimes.threads.iter().find_map(|thread| thread.unknown.as_deref());
        if let (true, Some(unknown)) = (runtimes.list.is_empty(), first_unknown) {
            census.quality.missing.push(unreadable("runtimes", unknown));
        }
        let mut held = Vec::new();
        for (index, runtime) in runtimes.list.iter().enumerate() {
            let reader = TaskReader { values: &values, layout: &layout, runtime: index, now: self.now };
            let end = tasks::walk(&values, &layout, runtime.owned, usize::MAX, &mut |task| {
                let (task, holds) = reader.read(task);
                held.extend(holds.into_iter().filter_map(|holds| Some(Held { holds, task: task.id? })));
                census.tasks.push(task);
            });
            let mut told = runtime.told.clone();
            told.unknown = told.unknown.or(end.err().map(|unknown| unknown.to_string()));
            census.runtimes.push(told);
        }
        let reader = TaskReader { values: &values, layout: &layout, runtime: 0, now: self.now };
        let listed = census.tasks.iter().filter_map(|task| task.id).collect();
        let (unlisted, owners) = self.unlisted_tasks(&reader, census.runtimes.len(), &listed, &mut held);
        census.tasks.extend(unlisted);
        census.runtimes.extend(owners);
        lock_owners::tell(&mut census.tasks, &held);
        census.threads = threads(self.threads, &runtimes.threads, &mut census.tasks);
        for thread in census.threads.iter_mut().filter(|thread| thread.block_on) {
            let future = self.roots.and_then(|roots| roots.get(&thread.tid));
            thread.root = future.and_then(|future| block_on_future::path(&values, &layout, self.now, *future));
        }
        census.tasks.sort_by_key(|task| (task.runtime, task.id));
        census
    }
}

/// What of a program could not be read at all, and what that mostly means.
fn unreadable(what: &str, why: &str) -> String {
    format!("{what} cannot be read: {why}; holdup reads those of Tokio {OLDEST_TOKIO} and newer")
}

/// The threads alone, where nothing tells what their tasks are.
fn threads_only(starts: &[Start]) -> Census {
    let entered = vec![Entered::default(); starts.len()];
    Census { threads: threads(starts, &entered, &mut []), ..Census::default() }
}

/// The threads, and which of them polls which task.
fn threads(starts: &[Start], entered: &[Entered], tasks: &mut [TaskNow]) -> Vec<ThreadNow> {
    let mut by_id: HashMap<TaskId, &mut TaskNow> = tasks.iter_mut().filter_map(|task| Some((task.id?, task))).collect();
    let mut list = Vec::new();
    for (start, entered) in starts.iter().zip(entered) {
        let mut thread = ThreadNow {
            tid: start.tid,
            name: start.name.clone(),
            runs: start.runs,
            runtime: entered.runtime,
            task: None,
            block_on: entered.block_on,
            root: None,
            stack: Err(StackUnavailable::Unavailable),
            unknown: entered.unknown.clone(),
        };
        // Between polls a worker's own number stands there, which is that of no task in a list.
        if let Some(id) = entered.task
            && let Some(task) = by_id.get_mut(&id).filter(|task| task.state == TaskState::Running)
        {
            thread.task = Some(id);
            task.thread = Some(start.tid);
        }
        list.push(thread);
    }
    list
}
