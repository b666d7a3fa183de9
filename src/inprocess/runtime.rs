//! Watched runtimes and their handles.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{EnterGuard, RuntimeFlavor, RuntimeMetrics};
use tokio::task::JoinHandle;

use super::shutdown::{Begin, End, watch_shutdown};
use crate::inprocess::{WatchState, poll_examples};
use crate::probe::{self, RootThread, RuntimeProbe, WatchFutureExt};
use crate::symbols::crate_of;

/// A watched Tokio runtime; built by [`Watch::runtime`](crate::Watch::runtime).
///
/// It has the methods of [`tokio::runtime::Runtime`], and watches what they run. Dropping it shuts the runtime down as
/// Tokio does. If that waits for longer than a second, a warning names the functions that it waits for.
///
/// ```
/// let watch = holdup::Watch::builder().start()?;
/// let runtime = watch.runtime(&mut tokio::runtime::Builder::new_current_thread())?;
/// let task = runtime.spawn(async { 6 * 7 });
/// assert_eq!(runtime.block_on(task).expect("the task ends"), 42);
/// # Ok::<(), holdup::Error>(())
/// ```
#[derive(Debug)]
pub struct Runtime {
    // Dropped first, because the shutdown begins then.
    begin: Begin,
    inner: tokio::runtime::Runtime,
    handle: Handle,
    listed: Listed,
    _end: End,
}

/// A handle to a watched [`Runtime`]. Clones refer to the same runtime.
///
/// It has the methods of [`tokio::runtime::Handle`], and watches what they run.
///
/// ```
/// let watch = holdup::Watch::builder().start()?;
/// let runtime = watch.runtime(&mut tokio::runtime::Builder::new_multi_thread())?;
/// let handle = runtime.handle().clone();
/// let answer = std::thread::spawn(move || handle.block_on(async { 42 }));
/// assert_eq!(answer.join().expect("the thread ends"), 42);
/// # Ok::<(), holdup::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Handle {
    inner: tokio::runtime::Handle,
    probe: Arc<RuntimeProbe>,
    state: Arc<WatchState>,
    name: Arc<str>,
}

/// The runtime's entry in the list of watched runtimes. It is removed with the runtime.
#[derive(Debug)]
struct Listed {
    state: Arc<WatchState>,
    /// `None`: the entry lives as long as the watch.
    number: Option<u32>,
}

impl Drop for Listed {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.state.runtimes.remove(number);
        }
    }
}

impl Runtime {
    pub(crate) fn new(inner: tokio::runtime::Runtime, probe: Arc<RuntimeProbe>, state: Arc<WatchState>) -> Self {
        state.runtimes.add(&probe, inner.handle().clone());
        let listed = Listed { state: Arc::clone(&state), number: Some(probe.number()) };
        let name = probe.name();
        if probe.is_uninstrumented() {
            poll_examples::spawn(inner.handle(), &probe, &state);
        }
        let (begin, end) = watch_shutdown(&probe, &state);
        let handle = Handle { inner: inner.handle().clone(), probe, state, name };
        Self { begin, inner, handle, listed, _end: end }
    }

    /// Runs a future to completion on this thread, and watches its polls. It blocks the thread.
    ///
    /// # Panics
    /// Inside another runtime, as [`tokio::runtime::Runtime::block_on`] does.
    #[track_caller]
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.handle.learn_user_crate(std::any::type_name::<F>());
        let watched = probe::root(future, Arc::clone(&self.handle.probe));
        let _thread = RootThread::enter(&self.handle.probe);
        self.inner.block_on(watched)
    }

    /// Spawns a task on this runtime, and watches its polls; see [`tokio::runtime::Runtime::spawn`].
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.handle.spawn(future)
    }

    /// Runs a blocking function on the runtime's blocking pool; see [`tokio::runtime::Runtime::spawn_blocking`]. Threads
    /// of that pool hold no worker, so they are not watched.
    #[track_caller]
    pub fn spawn_blocking<F, R>(&self, function: F) -> JoinHandle<R>
    where
        F: FnOnce() -> R + Send + 'static,
        R: Send + 'static,
    {
        self.handle.spawn_blocking(function)
    }

    /// Makes this runtime the current one, for instance for `tokio::spawn`, until the guard is dropped; see
    /// [`tokio::runtime::Runtime::enter`].
    #[must_use = "the runtime is left when the guard is dropped"]
    pub fn enter(&self) -> EnterGuard<'_> {
        self.handle.enter()
    }

    /// The ids of the threads of its pool, at each call.
    #[cfg(all(feature = "heap", feature = "testing"))]
    pub(crate) fn pool_threads(&self) -> impl Fn() -> Vec<i32> + Send + use<> {
        let probe = Arc::clone(&self.handle.probe);
        move || probe.pool().ids()
    }

    /// A handle to this runtime, which can be cloned and sent to other threads.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Tokio's metrics of this runtime.
    #[must_use]
    pub fn metrics(&self) -> RuntimeMetrics {
        self.handle.metrics()
    }

    /// Shuts the runtime down, and waits for blocking functions up to a limit. It blocks the thread; see
    /// [`tokio::runtime::Runtime::shutdown_timeout`].
    pub fn shutdown_timeout(self, limit: Duration) {
        drop(self.begin);
        self.inner.shutdown_timeout(limit);
    }

    /// Shuts the runtime down without waiting; see [`tokio::runtime::Runtime::shutdown_background`].
    pub fn shutdown_background(self) {
        self.begin.cancel();
        self.inner.shutdown_background();
    }

    /// Tokio's own runtime. Its tasks stay watched under `tokio_unstable`; futures given to its `block_on` are not.
    #[must_use]
    pub fn into_tokio(mut self) -> tokio::runtime::Runtime {
        self.listed.number = None;
        self.begin.cancel();
        self.inner
    }
}

impl Handle {
    /// Runs a future to completion on this thread, and watches its polls. It blocks the thread.
    ///
    /// As with Tokio's handle, a `current_thread` runtime runs its tasks, I/O and timers in [`Runtime::block_on`] only.
    ///
    /// # Panics
    /// Inside another runtime, or after the runtime's shutdown, as [`tokio::runtime::Handle::block_on`] does.
    #[track_caller]
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.learn_user_crate(std::any::type_name::<F>());
        let watched = probe::root(future, Arc::clone(&self.probe));
        let _thread = RootThread::enter_beside_workers(&self.probe);
        self.inner.block_on(watched)
    }

    /// Spawns a task on the runtime, and watches its polls; see [`tokio::runtime::Handle::spawn`].
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.inner.spawn(future.watched())
    }

    /// Runs a blocking function on the runtime's blocking pool; see [`tokio::runtime::Handle::spawn_blocking`].
    #[track_caller]
    pub fn spawn_blocking<F, R>(&self, function: F) -> JoinHandle<R>
    where
        F: FnOnce() -> R + Send + 'static,
        R: Send + 'static,
    {
        self.inner.spawn_blocking(function)
    }

    /// Makes the runtime the current one until the guard is dropped; see [`tokio::runtime::Handle::enter`].
    #[must_use = "the runtime is left when the guard is dropped"]
    pub fn enter(&self) -> EnterGuard<'_> {
        self.inner.enter()
    }

    /// Tokio's metrics of the runtime.
    #[must_use]
    pub fn metrics(&self) -> RuntimeMetrics {
        self.inner.metrics()
    }

    /// The runtime's flavor.
    #[must_use]
    pub fn runtime_flavor(&self) -> RuntimeFlavor {
        self.inner.runtime_flavor()
    }

    /// The runtime's name in reports: that of its builder, otherwise `runtime-1`, `runtime-2` and so on.
    ///
    /// ```
    /// let watch = holdup::Watch::builder().start()?;
    /// let runtime = watch.runtime(tokio::runtime::Builder::new_current_thread().name("api"))?;
    /// assert_eq!(runtime.handle().name(), "api");
    /// # Ok::<(), holdup::Error>(())
    /// ```
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Tokio's own handle, for libraries that ask for one.
    ///
    /// Tasks spawned with it are watched under `tokio_unstable`, and inferred otherwise. Futures given to its `block_on`
    /// are not watched.
    #[must_use]
    pub fn tokio(&self) -> &tokio::runtime::Handle {
        &self.inner
    }

    /// Records the crate of the user's future. It may be that of a dependency, so it is only presumed to be the user's.
    fn learn_user_crate(&self, future: &str) {
        let Some(name) = crate_of(future) else { return };
        if !["core", "alloc", "std", "tokio", "futures_util"].contains(&name) {
            self.state.log.presume_user_crate(name);
        }
    }
}
