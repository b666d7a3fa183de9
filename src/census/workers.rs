//! From threads to workers: the addresses at which a worker's progress can be read. They are looked up once; a watcher of
//! the worker reads them at each sample.

use super::runtimes::{Runtimes, context, entered};
use super::subject::{STEPS, Subject, ThreadStart};
use super::task_layout::TaskLayout;
use super::task_list;
use super::task_reader::id_and_name;
use crate::dwarf::{Shape, Unknown, Value, Values, last_segment};
use crate::model::holds::Holds;
use crate::model::task::TaskId;
use crate::model::worker::{CorePlace, OptionPlace, WorkerPlace};
use crate::tokio_internals::debug_info::ENTER_RUNTIME;

impl Subject<'_, '_> {
    /// The threads that are workers now. For each thread that cannot be read, the reason.
    pub(crate) fn workers(&self) -> (Vec<WorkerPlace>, Vec<String>) {
        let values = self.values();
        let (mut workers, mut unknown) = (Vec::new(), Vec::new());
        for start in self.threads {
            values.set_budget(STEPS);
            match worker(&values, start) {
                Ok(found) => workers.extend(found),
                Err(why) => unknown.push(why.to_string()),
            }
        }
        (workers, unknown)
    }

    /// Whether the runtime at this address has had a task. `None` if it is not found, or does not count them.
    pub(crate) fn has_had_tasks(&self, runtime: u64) -> Option<bool> {
        let values = self.values();
        let runtimes = Runtimes::of(&values, self.threads);
        let known = runtimes.list.iter().find(|known| known.runtime.address == runtime)?;
        values.set_budget(STEPS);
        Some(task_list::added(&values, known.owned).ok()? > 0)
    }

    /// For each thread, the address of the pointer to its scheduler's context. The pointer is null if the thread is not a
    /// worker.
    pub(crate) fn scheduler_pointers(&self) -> Vec<u64> {
        let values = self.values();
        let pointer = |start: &ThreadStart| {
            values.set_budget(STEPS);
            let context = context(&values, start.thread_locals?).ok()?;
            Some(scheduler_pointer(&values, context).ok()?.address)
        };
        self.threads.iter().filter_map(pointer).collect()
    }

    /// The name of a task's future. The lists of all runtimes and the heap tasks are searched for the task.
    pub(crate) fn future_of(&self, id: TaskId) -> Option<String> {
        let values = self.values();
        let layout = TaskLayout::of(&values).ok()?;
        let mut heap_tasks = self.heap_headers.iter().filter_map(|header| {
            values.set_budget(STEPS);
            id_and_name(&values, &layout, layout.task_at(&values, *header).ok()?).ok()
        });
        if let Some((_, name)) = heap_tasks.find(|(other, _)| *other == id) {
            return Some(name);
        }
        let mut found = None;
        for runtime in &Runtimes::of(&values, self.threads).list {
            // A list may change while it is read. If it ends too early, the name stays unknown.
            let _damaged = task_list::walk(&values, &layout, runtime.owned, usize::MAX, &mut |task| {
                if let Ok((other, name)) = id_and_name(&values, &layout, task)
                    && other == id
                {
                    found = Some(name);
                }
            });
        }
        found
    }
}

/// The addresses that all kinds of workers have.
#[derive(Clone, Copy)]
struct ThreadContext {
    /// Tokio's `Context`.
    context: Value,
    /// The pointer to the scheduler's context in it.
    scheduler: Value,
}

/// The worker on a thread, or the thread inside `block_on`. `None` for other threads.
fn worker(values: &Values<'_, '_>, start: &ThreadStart) -> Result<Option<WorkerPlace>, Unknown> {
    let block = start.thread_locals;
    let block = block.ok_or_else(|| Unknown::new("the address of its thread-local variables is unknown"))?;
    let context = context(values, block)?;
    let thread = ThreadContext { context, scheduler: scheduler_pointer(values, context)? };
    let scheduler = values.pointee(thread.scheduler)?;
    if scheduler.address == 0 {
        // On a thread that does not use Tokio, the variables are not initialized.
        return Ok(in_block_on(values, start.tid, block, thread).ok().flatten());
    }
    let Some((_, handle, _)) = entered(values, block)? else { return Ok(None) };
    let place = place(values, start.tid, handle, thread, scheduler.address)?;
    let flavor = values.active_variant(scheduler)?;
    let scheduler = values.member(flavor.content, "__0")?;
    let (index, holds) = match values.member(scheduler, "worker") {
        Ok(shared) => {
            let worker = values.member(values.dereference(shared)?, "data")?;
            let index = values.scalar(values.member(worker, "index")?)?;
            (usize::try_from(index).map_err(|_| Unknown::new("an invalid worker index"))?, Holds::Worker)
        }
        // A current-thread runtime has one worker.
        Err(_) => (0, Holds::CurrentThread),
    };
    let core = values.member(scheduler, "core")?;
    let (core, content) = option(values, core, "core::option::Option<alloc::boxed::Box<")?;
    let inner = values.dereference(content)?;
    let tick = values.member(inner, "tick")?;
    let core = CorePlace { option: core, tick_offset: tick.address.wrapping_sub(inner.address) };
    Ok(Some(WorkerPlace { index: Some(index), holds, core: Some(core), ..place }))
}

/// A thread inside `block_on` of a multi-thread runtime. Threads of the blocking pool have a runtime but did not enter it.
fn in_block_on(
    values: &Values<'_, '_>,
    tid: i32,
    thread_locals: u64,
    thread: ThreadContext,
) -> Result<Option<WorkerPlace>, Unknown> {
    let Some((flavor, handle, _)) = entered(values, thread_locals)? else { return Ok(None) };
    let state = values.member(thread.context, "runtime")?;
    let state = values.find_named(state, 4, ENTER_RUNTIME)?;
    if !flavor.starts_with("multi_thread") || &*values.active_variant(state)?.name != "Entered" {
        return Ok(None);
    }
    place(values, tid, handle, thread, 0).map(Some)
}

/// The addresses that a worker and a thread inside `block_on` have in common.
fn place(
    values: &Values<'_, '_>,
    tid: i32,
    handle: Value,
    thread: ThreadContext,
    scheduler_context: u64,
) -> Result<WorkerPlace, Unknown> {
    let member = |name: &str| -> Result<OptionPlace, Unknown> {
        Ok(option(values, values.member(thread.context, name)?, "core::option::Option<")?.0)
    };
    Ok(WorkerPlace {
        tid,
        runtime: handle.address,
        index: None,
        holds: Holds::BlockOn,
        pointer: thread.scheduler.address,
        context: scheduler_context,
        task: member("current_task_id")?,
        budget: member("budget")?,
        core: None,
    })
}

/// The pointer to the scheduler's context in a thread's context.
fn scheduler_pointer(values: &Values<'_, '_>, context: Value) -> Result<Value, Unknown> {
    let pointer = values.member(context, "scheduler")?;
    let pointer = values.find_pointer(pointer, 8);
    pointer.ok_or_else(|| Unknown::new("no pointer to the scheduler's context"))
}

/// The addresses of the first `Option` in a value with this prefix in its name, and its content.
fn option(values: &Values<'_, '_>, value: Value, prefix: &'static str) -> Result<(OptionPlace, Value), Unknown> {
    let value = values.find_named(value, 8, prefix)?;
    let ty = values.ty(value)?;
    let unknown = || Unknown::new(format!("{} does not have the layout of an Option", ty.name));
    let Shape::Variants { discriminant: Some((offset, size @ 1..=8)), variants } = &ty.shape else {
        return Err(unknown());
    };
    let named = |name: &str| {
        let found = variants.iter().find(|part| last_segment(&values.program.name(part.content.ty)) == name);
        found.ok_or_else(unknown)
    };
    let (some, none) = (named("Some")?, named("None")?);
    let (value_is_some, marker) = match (some.discriminant, none.discriminant) {
        (_, Some(marker)) => (false, marker),
        (Some(marker), None) => (true, marker),
        (None, None) => return Err(unknown()),
    };
    let content = Value { ty: some.content.ty, address: value.address.wrapping_add(some.content.offset) };
    let content = values.member(content, "__0")?;
    let place = OptionPlace {
        marker: value.address.wrapping_add(*offset),
        mask: u64::MAX >> (64 - 8 * size),
        value: u64::try_from(marker).map_err(|_| unknown())?,
        value_is_some,
        content: content.address,
    };
    Ok((place, content))
}
