//! Task hooks: every poll of every task writes its begin and end into the worker's slot. They need `tokio_unstable`.

use std::sync::Arc;

use tokio::runtime::TaskMeta;

use super::thread::become_worker;
use crate::probe::registry::RuntimeProbe;
use crate::probe::slot::NO_RUNTIME;
use crate::probe::thread_slot;
use crate::tokio_internals::task_number;

type Hook = Box<dyn Fn(&TaskMeta<'_>) + Send + Sync>;

/// The user's task hooks.
#[derive(Default)]
pub(super) struct TaskHooks {
    pub(super) before_poll: Option<Hook>,
    pub(super) after_poll: Option<Hook>,
    pub(super) spawn: Option<Hook>,
    pub(super) terminate: Option<Hook>,
}

/// Sets holdup's task hooks; each calls the user's afterwards.
pub(super) fn install(builder: &mut tokio::runtime::Builder, runtime: &Arc<RuntimeProbe>, hooks: TaskHooks) {
    let TaskHooks { before_poll, after_poll, spawn, terminate } = hooks;
    install_before_poll(builder, runtime, before_poll);
    install_after_poll(builder, runtime.number, after_poll);
    install_terminate(builder, terminate);
    if let Some(hook) = spawn {
        builder.on_task_spawn(hook);
    }
}

/// Sets the user's task hooks alone.
pub(super) fn install_users(builder: &mut tokio::runtime::Builder, hooks: TaskHooks) {
    let TaskHooks { before_poll, after_poll, spawn, terminate } = hooks;
    if let Some(hook) = before_poll {
        builder.on_before_task_poll(hook);
    }
    if let Some(hook) = after_poll {
        builder.on_after_task_poll(hook);
    }
    if let Some(hook) = spawn {
        builder.on_task_spawn(hook);
    }
    if let Some(hook) = terminate {
        builder.on_task_terminate(hook);
    }
}

fn install_before_poll(builder: &mut tokio::runtime::Builder, runtime: &Arc<RuntimeProbe>, users: Option<Hook>) {
    let number = runtime.number;
    let owner = Arc::clone(runtime);
    // The hot path: two closures, so that a poll without a user's hook does not test for one.
    match users {
        None => builder.on_before_task_poll(move |task| before_poll(number, &owner, task)),
        Some(hook) => builder.on_before_task_poll(move |task| {
            before_poll(number, &owner, task);
            hook(task);
        }),
    };
}

fn install_after_poll(builder: &mut tokio::runtime::Builder, number: u32, users: Option<Hook>) {
    match users {
        None => builder.on_after_task_poll(move |_| after_poll(number)),
        Some(hook) => builder.on_after_task_poll(move |task| {
            after_poll(number);
            hook(task);
        }),
    };
}

fn install_terminate(builder: &mut tokio::runtime::Builder, users: Option<Hook>) {
    match users {
        None => builder.on_task_terminate(terminates),
        Some(hook) => builder.on_task_terminate(move |task| {
            terminates(task);
            hook(task);
        }),
    };
}

/// `number` is the runtime's: with it the fast path does not follow the pointer.
#[inline]
fn before_poll(number: u32, runtime: &Arc<RuntimeProbe>, task: &TaskMeta<'_>) {
    let slot = match thread_slot::current() {
        Some(slot) if slot.runtime() == number => Some(slot),
        other => become_worker(runtime, other),
    };
    if let Some(slot) = slot {
        slot.begin(task_number(task.id()), task.spawned_at());
        #[cfg(feature = "schedule-latency")]
        if slot.is_recording()
            && let Some(delay) = task.schedule_latency()
        {
            slot.record_delay(delay);
        }
    }
}

/// Also ends the poll of a detached slot, whose worker `block_in_place` handed to another thread. An odd sequence number
/// then always means that the thread is still in that poll.
#[inline]
fn after_poll(number: u32) {
    if let Some(slot) = thread_slot::current() {
        let owner = slot.runtime();
        if owner == number || owner == NO_RUNTIME {
            slot.end();
        }
    }
}

/// Tokio calls the hook inside the last poll of a task, also after `abort`.
fn terminates(task: &TaskMeta<'_>) {
    if let Some(slot) = thread_slot::current().filter(|slot| slot.is_recording()) {
        slot.record_last_poll(task_number(task.id()));
    }
}
