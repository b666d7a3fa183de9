//! Thread hooks: a thread of a watched runtime registers as a worker, and reports when it parks and unparks.

use std::sync::Arc;

use crate::probe::registry::{RuntimeProbe, number_of_pool_workers};
use crate::probe::slot::{NO_RUNTIME, Slot};
use crate::probe::thread_slot;

type Hook = Box<dyn Fn() + Send + Sync>;

/// The user's thread hooks.
#[derive(Default)]
pub(super) struct ThreadHooks {
    pub(super) start: Option<Hook>,
    pub(super) stop: Option<Hook>,
    pub(super) park: Option<Hook>,
    pub(super) unpark: Option<Hook>,
}

/// Sets holdup's thread hooks; each calls the user's afterwards.
pub(super) fn install(builder: &mut tokio::runtime::Builder, runtime: &Arc<RuntimeProbe>, hooks: ThreadHooks) {
    let ThreadHooks { start, stop, park, unpark } = hooks;
    let owner = Arc::clone(runtime);
    builder.on_thread_start(move || {
        // Tokio calls this on every thread of the runtime's pool, including those that never become workers.
        thread_slot::enter(&owner);
        let earlier = owner.pool().add_current();
        // Workers with task hooks register at their first poll.
        if owner.is_uninstrumented() {
            let workers = number_of_pool_workers();
            if earlier < workers {
                thread_slot::register_starting(&owner, workers);
            }
        }
        call(start.as_ref());
    });
    let owner = Arc::clone(runtime);
    builder.on_thread_park(move || {
        if let Some(slot) = slot_of_worker(&owner) {
            slot.park();
        }
        call(park.as_ref());
    });
    let owner = Arc::clone(runtime);
    builder.on_thread_unpark(move || {
        if let Some(slot) = slot_of_worker(&owner) {
            slot.unpark();
            owner.registry.wake_watchdog();
        }
        call(unpark.as_ref());
    });
    let owner = Arc::clone(runtime);
    builder.on_thread_stop(move || {
        owner.pool().remove_current();
        call(stop.as_ref());
    });
}

fn call(hook: Option<&Hook>) {
    if let Some(hook) = hook {
        hook();
    }
}

/// The current thread's slot as a worker of `runtime`. A thread without one becomes a worker first.
#[inline]
fn slot_of_worker(runtime: &Arc<RuntimeProbe>) -> Option<&'static Slot> {
    match thread_slot::current() {
        Some(slot) if slot.runtime() == runtime.number => Some(slot),
        other => become_worker(runtime, other),
    }
}

/// Registers the current thread. It had no slot, worked for another runtime, or lost its worker to another thread.
#[cold]
pub(super) fn become_worker(runtime: &Arc<RuntimeProbe>, current: Option<&'static Slot>) -> Option<&'static Slot> {
    let is_in_other_poll = current.is_some_and(|slot| slot.runtime() != NO_RUNTIME && slot.polls());
    if is_in_other_poll {
        return None;
    }
    let index = tokio::runtime::worker_index();
    thread_slot::register(runtime, index)
}

/// Makes the threads of one of holdup's own runtimes block the sampling signal while they wait for events, as workers of
/// watched runtimes do.
#[cfg(any(feature = "http", feature = "console"))]
pub(crate) fn hold_samples_while_parked(builder: &mut tokio::runtime::Builder) -> &mut tokio::runtime::Builder {
    use std::cell::Cell;

    use crate::sys::{self, BlockedSignals};

    thread_local! {
        static HELD: Cell<BlockedSignals> = const { Cell::new(BlockedSignals::NONE) };
    }
    builder
        .on_thread_park(|| HELD.set(sys::block_sample_signal()))
        .on_thread_unpark(|| HELD.replace(BlockedSignals::NONE).release())
}
