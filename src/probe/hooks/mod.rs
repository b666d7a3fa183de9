//! Hooks given to Tokio's runtime builder, combined with the user's own.
//!
//! Tokio keeps one callback per hook, and setting it again replaces it. So holdup sets each hook once, with a closure
//! that does holdup's part and then calls the user's hook.

/// Hooks on threads, in every build of Tokio.
mod thread;

/// Hooks on tasks.
#[cfg(tokio_unstable)]
mod task;

use std::fmt;
use std::sync::Arc;

#[cfg(tokio_unstable)]
use tokio::runtime::TaskMeta;

#[cfg(tokio_unstable)]
use self::task::TaskHooks;
use self::thread::ThreadHooks;
use super::registry::RuntimeProbe;

#[cfg(any(feature = "http", feature = "console"))]
pub(crate) use self::thread::hold_samples_while_parked;

/// The user's own runtime hooks, called in addition to holdup's.
///
/// Give them to [`Watch::runtime_with`](crate::Watch::runtime_with) instead of setting them on Tokio's builder.
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
    thread: ThreadHooks,
    without_task_hooks: bool,
    #[cfg(tokio_unstable)]
    task: TaskHooks,
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

    /// Leaves Tokio's task hooks free, for a library that needs them itself. holdup then instruments the polls of futures
    /// given to [`spawn`](crate::spawn), [`watched`](crate::WatchFutureExt::watched) and
    /// [`block_on`](crate::Runtime::block_on), as it does without `tokio_unstable`.
    #[must_use]
    pub fn without_task_hooks(mut self) -> Self {
        self.without_task_hooks = true;
        self
    }

    /// See [`tokio::runtime::Builder::on_thread_start`].
    #[must_use]
    pub fn on_thread_start(mut self, hook: impl Fn() + Send + Sync + 'static) -> Self {
        self.thread.start = Some(Box::new(hook));
        self
    }

    /// See [`tokio::runtime::Builder::on_thread_stop`].
    #[must_use]
    pub fn on_thread_stop(mut self, hook: impl Fn() + Send + Sync + 'static) -> Self {
        self.thread.stop = Some(Box::new(hook));
        self
    }

    /// See [`tokio::runtime::Builder::on_thread_park`].
    #[must_use]
    pub fn on_thread_park(mut self, hook: impl Fn() + Send + Sync + 'static) -> Self {
        self.thread.park = Some(Box::new(hook));
        self
    }

    /// See [`tokio::runtime::Builder::on_thread_unpark`].
    #[must_use]
    pub fn on_thread_unpark(mut self, hook: impl Fn() + Send + Sync + 'static) -> Self {
        self.thread.unpark = Some(Box::new(hook));
        self
    }
}

/// Task hooks exist only under `cfg(tokio_unstable)`, as in Tokio.
#[cfg(tokio_unstable)]
impl Hooks {
    /// See [`tokio::runtime::Builder::on_before_task_poll`].
    #[must_use]
    pub fn on_before_task_poll(mut self, hook: impl Fn(&TaskMeta<'_>) + Send + Sync + 'static) -> Self {
        self.task.before_poll = Some(Box::new(hook));
        self
    }

    /// See [`tokio::runtime::Builder::on_after_task_poll`].
    #[must_use]
    pub fn on_after_task_poll(mut self, hook: impl Fn(&TaskMeta<'_>) + Send + Sync + 'static) -> Self {
        self.task.after_poll = Some(Box::new(hook));
        self
    }

    /// See [`tokio::runtime::Builder::on_task_spawn`].
    #[must_use]
    pub fn on_task_spawn(mut self, hook: impl Fn(&TaskMeta<'_>) + Send + Sync + 'static) -> Self {
        self.task.spawn = Some(Box::new(hook));
        self
    }

    /// See [`tokio::runtime::Builder::on_task_terminate`].
    #[must_use]
    pub fn on_task_terminate(mut self, hook: impl Fn(&TaskMeta<'_>) + Send + Sync + 'static) -> Self {
        self.task.terminate = Some(Box::new(hook));
        self
    }
}

/// Sets every hook that holdup or the user needs.
pub(crate) fn install(builder: &mut tokio::runtime::Builder, runtime: &Arc<RuntimeProbe>, hooks: Hooks) {
    thread::install(builder, runtime, hooks.thread);
    if cfg!(not(tokio_unstable)) || hooks.without_task_hooks {
        runtime.set_uninstrumented();
    }
    #[cfg(tokio_unstable)]
    if hooks.without_task_hooks {
        task::install_users(builder, hooks.task);
    } else {
        task::install(builder, runtime, hooks.task);
    }
}
