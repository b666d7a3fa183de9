//! Runtimes that are watched.

use std::future::Future;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use crate::inprocess::WatchState;
use crate::probe::{self, RootThread, RuntimeProbe};
use crate::symbols::crate_of;

/// A Tokio runtime that is watched. It dereferences to [`tokio::runtime::Runtime`].
///
/// Use its own [`block_on`](Self::block_on): Tokio calls no hook for the future given to `block_on`, so that the
/// runtime's own would leave that future unwatched.
#[derive(Debug)]
pub struct Runtime {
    inner: tokio::runtime::Runtime,
    probe: Arc<RuntimeProbe>,
    state: Arc<WatchState>,
    listed: Listed,
}

/// The runtime's place in the list of those whose tasks are counted, given back when the runtime is gone.
#[derive(Debug)]
struct Listed {
    state: Arc<WatchState>,
    /// `None`: it stays in the list as long as the watch.
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
        state.runtimes.add(probe.number(), probe.name(), inner.handle().clone());
        let listed = Listed { state: Arc::clone(&state), number: Some(probe.number()) };
        Self { inner, probe, state, listed }
    }

    /// Runs a future to its end on this thread, and watches it like a task.
    ///
    /// # Panics
    /// Inside another runtime, as [`tokio::runtime::Runtime::block_on`] does.
    #[track_caller]
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.learn_user_crate(std::any::type_name::<F>());
        let watched = probe::root(future, Arc::clone(&self.probe));
        let _thread = RootThread::enter(&self.probe);
        self.inner.block_on(watched)
    }

    /// See [`tokio::runtime::Runtime::shutdown_timeout`].
    pub fn shutdown_timeout(self, timeout: Duration) {
        self.inner.shutdown_timeout(timeout);
    }

    /// See [`tokio::runtime::Runtime::shutdown_background`].
    pub fn shutdown_background(self) {
        self.inner.shutdown_background();
    }

    /// The bare runtime. Its tasks stay watched; what is given to its `block_on` is not.
    #[must_use]
    pub fn into_inner(mut self) -> tokio::runtime::Runtime {
        self.listed.number = None;
        self.inner
    }

    /// Where there are no line tables, the type of the future is the best hint at which crate is the user's.
    fn learn_user_crate(&self, future: &str) {
        let Some(name) = crate_of(future) else { return };
        if !["core", "alloc", "std", "tokio", "futures_util"].contains(&name) {
            self.state.log.add_user_crate(name);
        }
    }
}

impl Deref for Runtime {
    type Target = tokio::runtime::Runtime;

    fn deref(&self) -> &tokio::runtime::Runtime {
        &self.inner
    }
}
