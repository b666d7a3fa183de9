//! From threads to the workers that they are: where each keeps what tells how far it has come. Only addresses are looked
//! up here, once; whoever watches a worker reads them again and again.

use super::runtimes::{Runtimes, context, entered};
use super::{STEPS, Start, Subject, tasks};
use crate::dwarf::{Shape, Unknown, Value, Values, last_segment};
use crate::model::task::TaskId;
use crate::model::worker::{CorePlace, OptionPlace, WorkerPlace};

impl Subject<'_, '_> {
    /// The threads that are workers now; beside them, why it cannot be told of how many.
    pub(crate) fn workers(&self) -> (Vec<WorkerPlace>, Vec<String>) {
        let values = self.values();
        let (mut workers, mut unknown) = (Vec::new(), Vec::new());
        for start in self.threads {
            values.allow(STEPS);
            match worker(&values, start) {
                Ok(found) => workers.extend(found),
                Err(why) => unknown.push(why.to_string()),
            }
        }
        (workers, unknown)
    }

    /// Where each thread keeps the address of its scheduler's context, 0 for one that is no worker.
    pub(crate) fn scheduler_pointers(&self) -> Vec<u64> {
        let values = self.values();
        let pointer = |start: &Start| {
            values.allow(STEPS);
            let thread = context(&values, start.thread_locals?).ok()?;
            Some(scheduler_pointer(&values, thread).ok()?.address)
        };
        self.threads.iter().filter_map(pointer).collect()
    }

    /// The name of the future of a task, searched for in the lists of all runtimes, and among those that are in none.
    pub(crate) fn future_of(&self, id: TaskId) -> Option<String> {
        let values = self.values();
        let layout = tasks::TaskLayout::of(&values).ok()?;
        let mut unlisted = self.unlisted.iter().filter_map(|header| {
            values.allow(STEPS);
            tasks::named(&values, &layout, tasks::at(&values, &layout, *header).ok()?).ok()
        });
        if let Some((_, name)) = unlisted.find(|(number, _)| *number == id) {
            return Some(name);
        }
        let mut found = None;
        for runtime in &Runtimes::of(&values, self.threads).list {
            // A list that changes while it is read may end too early, and then there is no name.
            let _end = tasks::walk(&values, &layout, runtime.owned, usize::MAX, &mut |task| {
                if let Ok((number, name)) = tasks::named(&values, &layout, task)
                    && number == id
                {
                    found = Some(name);
                }
            });
        }
        found
    }
}

/// The worker that a thread is, or the future given to `block_on` that it polls; `None` for other threads.
fn worker(values: &Values<'_, '_>, start: &Start) -> Result<Option<WorkerPlace>, Unknown> {
    let block = start.thread_locals.ok_or_else(|| Unknown::new("where its variables are is not known"))?;
    let thread = context(values, block)?;
    let pointer = scheduler_pointer(values, thread)?;
    let scheduler = values.pointee(pointer)?;
    if scheduler.address == 0 {
        // A thread that has nothing to do with Tokio has variables that were never set.
        return Ok(in_block_on(values, start.tid, block, (thread, pointer)).ok().flatten());
    }
    let Some((_, handle, _)) = entered(values, block)? else { return Ok(None) };
    let place = place(values, start.tid, handle, (thread, pointer), scheduler.address)?;
    let flavor = values.active(scheduler)?;
    let context = values.member(flavor.content, "__0")?;
    let index = match values.member(context, "worker") {
        Ok(shared) => {
            let worker = values.member(values.behind(shared)?, "data")?;
            let index = values.scalar(values.member(worker, "index")?)?;
            usize::try_from(index).map_err(|_| Unknown::new("a worker's number that is none"))?
        }
        // A current-thread runtime has one.
        Err(_) => 0,
    };
    let core = values.member(context, "core")?;
    let (core, content) = option(values, core, "core::option::Option<alloc::boxed::Box<")?;
    let inner = values.behind(content)?;
    let tick = values.member(inner, "tick")?;
    let core = CorePlace { option: core, tick_offset: tick.address.wrapping_sub(inner.address) };
    Ok(Some(WorkerPlace { index: Some(index), core: Some(core), ..place }))
}

/// A thread that polls, or waits to poll, the future given to `block_on` of a multi-thread runtime. Threads of `spawn_blocking`
/// have a runtime too, but are not in it.
fn in_block_on(
    values: &Values<'_, '_>,
    tid: i32,
    block: u64,
    (thread, pointer): (Value, Value),
) -> Result<Option<WorkerPlace>, Unknown> {
    let Some((flavor, handle, _)) = entered(values, block)? else { return Ok(None) };
    let state = values.member(thread, "runtime")?;
    let state = values.find_named(state, 4, "tokio::runtime::context::runtime::EnterRuntime")?;
    if !flavor.starts_with("multi_thread") || values.active(state)?.name != "Entered" {
        return Ok(None);
    }
    place(values, tid, handle, (thread, pointer), 0).map(Some)
}

/// What is the same for both.
fn place(
    values: &Values<'_, '_>,
    tid: i32,
    handle: Value,
    (thread, pointer): (Value, Value),
    context: u64,
) -> Result<WorkerPlace, Unknown> {
    let marker = |member: &str| -> Result<OptionPlace, Unknown> {
        Ok(option(values, values.member(thread, member)?, "core::option::Option<")?.0)
    };
    Ok(WorkerPlace {
        tid,
        runtime: handle.address,
        index: None,
        pointer: pointer.address,
        context,
        task: marker("current_task_id")?,
        budget: marker("budget")?,
        core: None,
    })
}

/// Where a thread keeps the address of its scheduler's context.
fn scheduler_pointer(values: &Values<'_, '_>, thread: Value) -> Result<Value, Unknown> {
    let pointer = values.member(thread, "scheduler")?;
    let pointer = values.find(pointer, 8, &|ty| matches!(ty.shape, Shape::Pointer(_)));
    pointer.ok_or_else(|| Unknown::new("no pointer to the scheduler's context"))
}

/// How to tell what the `Option` in a value is, given by the begin of its name, and what is in it.
fn option(values: &Values<'_, '_>, value: Value, name: &str) -> Result<(OptionPlace, Value), Unknown> {
    let value = values.find_named(value, 8, name)?;
    let ty = values.ty(value)?;
    let unknown = || Unknown::new(format!("{} is not laid out as an Option", ty.name));
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
