//! Hooks given to Tokio's runtime builder, composed with the user's own.
//!
//! Tokio keeps one callback per hook and setting it again replaces it. So holdup sets each hook once, with a
//! closure that does holdup's part and then calls the user's. The variant without a user's hook is a closure of its
//! own, so that nobody pays for a check on every poll.

use std::fmt;
use std::sync::Arc;

#[cfg(tokio_unstable)]
use tokio::runtime::TaskMeta;

use super::registry::RuntimeProbe;
use super::slot::Slot;
use super::thread_slot;

type ThreadHook = Box<dyn Fn() + Send + Sync>;
#[cfg(tokio_unstable)]
type TaskHook = Box<dyn Fn(&TaskMeta<'_>) + Send + Sync>;

/// The user's own runtime hooks, to be called beside holdup's.
///
/// Give them to [`Watch::runtime_with`](crate::Watch::runtime_with) instead of setting them on Tokio's builder:
/// Tokio keeps only one callback per hook, and holdup needs most of them. Each is called right after holdup's part.
///
/// ```
/// let watch = holdup::Watch::builder().start()?;
/// let hooks = holdup::Hooks::new().on_thread_start(|| println!("a worker starts"));
/// let runtime = watch.runtime_with(tokio::runtime::Builder::new_multi_thread().enable_all(), hooks)?;
/// # Ok::<(), holdup::Error>(())
/// ```
#[derive(Default)]
pub struct Hooks {
    thread_start: Option<ThreadHook>,
    thread_stop: Option<ThreadHook>,
    thread_park: Option<ThreadHook>,
    thread_unpark: Option<ThreadHook>,
    without_task_hooks: bool,
    #[cfg(tokio_unstable)]
    before_task_poll: Option<TaskHook>,
    #[cfg(tokio_unstable)]
    after_task_poll: Option<TaskHook>,
    #[cfg(tokio_unstable)]
    task_spawn: Option<TaskHook>,
    #[cfg(tokio_unstable)]
    task_terminate: Option<TaskHook>,
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks").finish_non_exhaustive()
    }
}

impl Hooks {
    /// No hooks.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Leaves Tokio's task hooks alone where they exist, for a library that needs them itself. Then holdup sees the
    /// polls of futures given to [`spawn`](crate::spawn), [`watched`](crate::WatchFutureExt::watched) and
    /// [`block_on`](crate::Runtime::block_on), as it does without `tokio_unstable`.
    #[must_use]
    pub fn without_task_hooks(mut self) -> Self {
        self.without_task_hooks = true;
        self
    }

    /// See [`tokio::runtime::Builder::on_thread_start`].
    #[must_use]
    pub fn on_thread_start(mut self, hook: impl Fn() + Send + Sync + 'static) -> Self {
        self.thread_start = Some(Box::new(hook));
        self
    }

    /// See [`tokio::runtime::Builder::on_thread_stop`].
    #[must_use]
    pub fn on_thread_stop(mut self, hook: impl Fn() + Send + Sync + 'static) -> Self {
        self.thread_stop = Some(Box::new(hook));
        self
    }

    /// See [`tokio::runtime::Builder::on_thread_park`].
    #[must_use]
    pub fn on_thread_park(mut self, hook: impl Fn() + Send + Sync + 'static) -> Self {
        self.thread_park = Some(Box::new(hook));
        self
    }

    /// See [`tokio::runtime::Builder::on_thread_unpark`].
    #[must_use]
    pub fn on_thread_unpark(mut self, hook: impl Fn() + Send + Sync + 'static) -> Self {
        self.thread_unpark = Some(Box::new(hook));
        self
    }
}

/// Task hooks exist only under `cfg(tokio_unstable)`, as in Tokio.
#[cfg(tokio_unstable)]
impl Hooks {
    /// See [`tokio::runtime::Builder::on_before_task_poll`].
    #[must_use]
    pub fn on_before_task_poll(mut self, hook: impl Fn(&TaskMeta<'_>) + Send + Sync + 'static) -> Self {
        self.before_task_poll = Some(Box::new(hook));
        self
    }

    /// See [`tokio::runtime::Builder::on_after_task_poll`].
    #[must_use]
    pub fn on_after_task_poll(mut self, hook: impl Fn(&TaskMeta<'_>) + Send + Sync + 'static) -> Self {
        self.after_task_poll = Some(Box::new(hook));
        self
    }

    /// See [`tokio::runtime::Builder::on_task_spawn`].
    #[must_use]
    pub fn on_task_spawn(mut self, hook: impl Fn(&TaskMeta<'_>) + Send + Sync + 'static) -> Self {
        self.task_spawn = Some(Box::new(hook));
        self
    }

    /// See [`tokio::runtime::Builder::on_task_terminate`].
    #[must_use]
    pub fn on_task_terminate(mut self, hook: impl Fn(&TaskMeta<'_>) + Send + Sync + 'static) -> Self {
        self.task_terminate = Some(Box::new(hook));
        self
    }
}

/// The thread hooks that are set on a builder, by the names of the methods that set them. Holdup would replace them.
///
/// Tokio offers no way to ask, except that the builder's `Debug` output lists them. Should that output change, this
/// finds nothing. Task hooks are not in it.
pub(crate) fn already_set(builder: &tokio::runtime::Builder) -> Vec<&'static str> {
    let shown = format!("{builder:?}");
    let set = |field: &str| shown.contains(&format!("{field}: Some("));
    [("after_start", "on_thread_start"), ("before_park", "on_thread_park"), ("after_unpark", "on_thread_unpark")]
        .into_iter()
        .filter(|(field, _)| set(field))
        .map(|(_, method)| method)
        .collect()
}

/// Makes the threads of a runtime of holdup's own hold the sampling signal back while they wait for events, as workers of
/// watched runtimes do.
#[cfg(any(feature = "http", feature = "console"))]
pub(crate) fn hold_samples_while_parked(builder: &mut tokio::runtime::Builder) -> &mut tokio::runtime::Builder {
    use std::cell::Cell;

    use crate::sys::{self, BlockedSignals};

    thread_local! {
        static HELD: Cell<BlockedSignals> = const { Cell::new(BlockedSignals::NONE) };
    }
    builder
        .on_thread_park(|| HELD.set(sys::hold_samples()))
        .on_thread_unpark(|| HELD.replace(BlockedSignals::NONE).release())
}

/// Sets every hook that holdup or the user needs.
pub(crate) fn install(builder: &mut tokio::runtime::Builder, runtime: &Arc<RuntimeProbe>, hooks: Hooks) {
    if cfg!(not(tokio_unstable)) || hooks.without_task_hooks {
        runtime.polls_silently();
    }
    let owner = Arc::clone(runtime);
    let after = hooks.thread_start;
    builder.on_thread_start(move || {
        // Every thread of the runtime's pool, also those that never become workers.
        thread_slot::enter(&owner);
        call(after.as_ref());
    });
    let owner = Arc::clone(runtime);
    let after = hooks.thread_park;
    builder.on_thread_park(move || {
        if let Some(slot) = slot_of(&owner) {
            slot.park();
        }
        call(after.as_ref());
    });
    let owner = Arc::clone(runtime);
    let after = hooks.thread_unpark;
    builder.on_thread_unpark(move || {
        if let Some(slot) = slot_of(&owner) {
            slot.unpark();
            owner.registry.wake_watchdog();
        }
        call(after.as_ref());
    });
    if let Some(hook) = hooks.thread_stop {
        builder.on_thread_stop(hook);
    }
    #[cfg(tokio_unstable)]
    {
        if !hooks.without_task_hooks {
            install_poll_hooks(builder, runtime, hooks.before_task_poll, hooks.after_task_poll);
            install_end_hook(builder, hooks.task_terminate);
        } else {
            if let Some(hook) = hooks.before_task_poll {
                builder.on_before_task_poll(hook);
            }
            if let Some(hook) = hooks.after_task_poll {
                builder.on_after_task_poll(hook);
            }
            if let Some(hook) = hooks.task_terminate {
                builder.on_task_terminate(hook);
            }
        }
        if let Some(hook) = hooks.task_spawn {
            builder.on_task_spawn(hook);
        }
    }
}

fn call(hook: Option<&ThreadHook>) {
    if let Some(hook) = hook {
        hook();
    }
}

/// On the path of every poll: the user's hook is called from a closure of its own, so that a poll without one
/// does not even ask.
#[cfg(tokio_unstable)]
fn install_poll_hooks(
    builder: &mut tokio::runtime::Builder,
    runtime: &Arc<RuntimeProbe>,
    before: Option<TaskHook>,
    after: Option<TaskHook>,
) {
    let number = runtime.number;
    let owner = Arc::clone(runtime);
    match before {
        None => builder.on_before_task_poll(move |task| before_poll(number, &owner, task)),
        Some(hook) => builder.on_before_task_poll(move |task| {
            before_poll(number, &owner, task);
            hook(task);
        }),
    };
    match after {
        None => builder.on_after_task_poll(move |_| after_poll(number)),
        Some(hook) => builder.on_after_task_poll(move |task| {
            after_poll(number);
            hook(task);
        }),
    };
}

/// `number` is the runtime's, at hand so that the fast path need not follow the pointer.
#[cfg(tokio_unstable)]
#[inline]
fn before_poll(number: u32, runtime: &Arc<RuntimeProbe>, task: &TaskMeta<'_>) {
    let slot = match thread_slot::current() {
        Some(slot) if slot.runtime() == number => Some(slot),
        other => become_worker(runtime, other),
    };
    if let Some(slot) = slot {
        slot.begin(task_number(task.id()), task.spawned_at());
        #[cfg(feature = "schedule-latency")]
        if slot.noted()
            && let Some(delay) = task.schedule_latency()
        {
            slot.note_delay(delay);
        }
    }
}

/// Tokio says that a task is at its end inside its last poll, also when it was aborted.
#[cfg(tokio_unstable)]
fn install_end_hook(builder: &mut tokio::runtime::Builder, after: Option<TaskHook>) {
    let ends = |task: &TaskMeta<'_>| {
        if let Some(slot) = thread_slot::current().filter(|slot| slot.noted()) {
            slot.note_last(task_number(task.id()));
        }
    };
    match after {
        None => builder.on_task_terminate(ends),
        Some(hook) => builder.on_task_terminate(move |task| {
            ends(task);
            hook(task);
        }),
    };
}

/// A detached slot (`block_in_place` handed the worker on) is ended too, so that an odd number always means that
/// its thread is still inside that poll.
#[cfg(tokio_unstable)]
#[inline]
fn after_poll(number: u32) {
    if let Some(slot) = thread_slot::current() {
        let owner = slot.runtime();
        if owner == number || owner == super::slot::NO_RUNTIME {
            slot.end();
        }
    }
}

/// The current worker's slot. On the cold path the thread becomes a worker first: it was none, was another
/// runtime's, or lost its worker to another thread.
#[inline]
fn slot_of(runtime: &Arc<RuntimeProbe>) -> Option<&'static Slot> {
    match thread_slot::current() {
        Some(slot) if slot.runtime() == runtime.number => Some(slot),
        other => become_worker(runtime, other),
    }
}

#[cold]
fn become_worker(runtime: &Arc<RuntimeProbe>, held: Option<&'static Slot>) -> Option<&'static Slot> {
    let inside_other_poll = held.is_some_and(|slot| slot.runtime() != super::slot::NO_RUNTIME && slot.polls());
    if inside_other_poll {
        return None;
    }
    let index = tokio::runtime::worker_index();
    thread_slot::register(runtime, index)
}

/// Tokio's number of a task. `Id` shows it only as text; its `Hash` hands it over as the one `u64` that it is,
/// which costs nothing.
pub(super) fn task_number(id: tokio::task::Id) -> u64 {
    use std::hash::{Hash, Hasher};

    struct Catch(u64);

    impl Hasher for Catch {
        fn write(&mut self, _bytes: &[u8]) {}

        fn write_u64(&mut self, number: u64) {
            self.0 = number;
        }

        fn finish(&self) -> u64 {
            self.0
        }
    }

    let mut catch = Catch(0);
    id.hash(&mut catch);
    catch.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn task_numbers_are_the_ones_that_tokio_prints() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let number = tokio::spawn(async { (task_number(tokio::task::id()), tokio::task::id().to_string()) }).await;
            let (number, printed) = number.expect("the task ends");
            assert_eq!(number.to_string(), printed);
        });
    }

    #[test]
    fn a_hook_that_is_already_set_is_seen() {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        assert_eq!(already_set(&builder), Vec::<&str>::new());
        builder.on_thread_park(|| {}).on_thread_stop(|| {});
        assert_eq!(already_set(&builder), ["on_thread_park"], "holdup leaves on_thread_stop alone");
    }
}
