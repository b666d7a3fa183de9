//! The future wrapper. It instruments polls without `tokio_unstable`, and names them in every build.

use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tokio::task::JoinHandle;

use super::names::{self, NameId};
use super::registry::RuntimeProbe;
use super::slot::{NO_RUNTIME, Slot};
use super::thread_slot;
use crate::tokio_internals::task_number;

/// Spawns a task with instrumented polls, even without `tokio_unstable`. Otherwise like [`tokio::spawn`].
///
/// ```
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().expect("it builds");
/// # runtime.block_on(async {
/// let answer = holdup::spawn(async { 42 }).await.expect("the task ends");
/// # assert_eq!(answer, 42);
/// # });
/// ```
///
/// # Panics
/// Outside a runtime, as `tokio::spawn` does.
#[track_caller]
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(future.watched())
}

/// Like [`spawn`], and names the task in reports.
///
/// Up to 4096 distinct names of up to 128 bytes are kept until the process ends. So name a kind of work, not a single request.
///
/// ```
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().expect("it builds");
/// # runtime.block_on(async {
/// let task = holdup::spawn_named("flush", async { /* write the buffer */ });
/// # task.await.expect("the task ends");
/// # });
/// ```
///
/// # Panics
/// Outside a runtime, as `tokio::spawn` does.
#[track_caller]
pub fn spawn_named<F>(name: &str, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    spawn_as(name, future.watched_as(name))
}

/// Gives the name to Tokio as well, so that tokio-console shows it.
#[cfg(all(tokio_unstable, feature = "console"))]
#[track_caller]
fn spawn_as<F>(name: &str, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::task::Builder::new().name(name).spawn(future).expect("only blocking tasks can fail to spawn")
}

#[cfg(not(all(tokio_unstable, feature = "console")))]
#[track_caller]
fn spawn_as<F>(_name: &str, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(future)
}

/// Instruments the polls of any future, and names them.
///
/// ```
/// use holdup::WatchFutureExt;
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().expect("it builds");
/// # runtime.block_on(async {
/// let rows = async { vec![1, 2, 3] }.watched_as("query").await;
/// # assert_eq!(rows.len(), 3);
/// # });
/// ```
pub trait WatchFutureExt: Future + Sized {
    /// Instruments the polls of this future.
    ///
    /// On a runtime built by a [`Watch`](crate::Watch) with `tokio_unstable`, every task is instrumented and this has no effect.
    #[track_caller]
    fn watched(self) -> Watched<Self> {
        Watched::new(self, None, Location::caller())
    }

    /// Instruments the polls of this future, and names it in reports, for example after the route of a request. Names are
    /// bounded as for [`spawn_named`].
    #[track_caller]
    fn watched_as(self, name: &str) -> Watched<Self> {
        Watched::new(self, Some(names::intern(name)), Location::caller())
    }
}

impl<F: Future> WatchFutureExt for F {}

/// The task number before the first poll. The number of a future that is no task is 0; Tokio uses neither of them.
const UNKNOWN_TASK: u64 = u64::MAX;

pin_project! {
    /// A future with instrumented polls; made by [`WatchFutureExt`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct Watched<F> {
        #[pin]
        future: F,
        name: NameId,
        // Read once, because that costs more than the rest of the instrumentation.
        task: u64,
        given_at: &'static Location<'static>,
    }
}

impl<F> Watched<F> {
    pub(crate) fn new(future: F, name: Option<NameId>, given_at: &'static Location<'static>) -> Self {
        Self { future, name: name.unwrap_or(NameId::NONE), task: UNKNOWN_TASK, given_at }
    }
}

impl<F: Future> Future for Watched<F> {
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        if *this.task == UNKNOWN_TASK {
            *this.task = tokio::task::try_id().map_or(0, task_number);
        }
        let slot = match thread_slot::current() {
            Some(slot) if slot.runtime() != NO_RUNTIME => Some(slot),
            other => become_worker(other),
        };
        match slot {
            Some(slot) if !slot.polls() => {
                slot.name(*this.name);
                slot.begin(*this.task, this.given_at);
                let _end = EndOfPoll(slot);
                let outcome = this.future.poll(context);
                if outcome.is_ready() && slot.is_recording() {
                    slot.record_last_poll(*this.task);
                }
                outcome
            }
            // Inside another instrumented poll, which stays the one that counts. Only the name changes.
            Some(slot) if *this.name != NameId::NONE => {
                let _end = EndOfName { slot, outer: slot.rename(*this.name) };
                this.future.poll(context)
            }
            _ => this.future.poll(context),
        }
    }
}

/// Runs a part of the present poll under a name. Outside a poll it only runs it.
#[cfg(feature = "tower")]
pub(crate) fn run_named<T>(name: Option<NameId>, run: impl FnOnce() -> T) -> T {
    let slot = thread_slot::current().filter(|slot| slot.polls());
    let _end = slot.zip(name).map(|(slot, name)| EndOfName { slot, outer: slot.rename(name) });
    run()
}

/// Ends the poll, also when it panics.
struct EndOfPoll(&'static Slot);

impl Drop for EndOfPoll {
    #[inline]
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Restores the name of the outer poll, also when the inner one panics.
struct EndOfName {
    slot: &'static Slot,
    outer: NameId,
}

impl Drop for EndOfName {
    #[inline]
    fn drop(&mut self) {
        self.slot.rename(self.outer);
    }
}

/// Registers the current thread if it belongs to a watched runtime. It has no slot, or lost its worker to another thread.
/// During the poll that called `block_in_place` it stays unregistered.
#[cold]
fn become_worker(current: Option<&'static Slot>) -> Option<&'static Slot> {
    if current.is_some_and(Slot::polls) {
        return None;
    }
    let runtime = thread_slot::runtime()?;
    // A thread of the blocking pool has no index, and stalls no worker.
    let index = tokio::runtime::worker_index()?;
    thread_slot::register(&runtime, Some(index))
}

/// Wraps the future given to `block_on`. Its polls are instrumented, and wake the watchdog.
#[track_caller]
pub(crate) fn root<F: Future>(future: F, runtime: Arc<RuntimeProbe>) -> Root<F> {
    root_at(future, runtime, Location::caller())
}

/// The same for a future that was given to holdup at another location.
pub(crate) fn root_at<F: Future>(
    future: F,
    runtime: Arc<RuntimeProbe>,
    given_at: &'static Location<'static>,
) -> Root<F> {
    Watched { given_at, ..WakesWatchdog { future, runtime }.watched() }
}

/// The root future of a runtime.
pub(crate) type Root<F> = Watched<WakesWatchdog<F>>;

pin_project! {
    /// A future that wakes the watchdog when it is polled. The thread inside `block_on` of a multi-thread runtime does not
    /// report its parks, so only its polls can wake the watchdog.
    #[derive(Debug)]
    pub(crate) struct WakesWatchdog<F> {
        #[pin]
        future: F,
        runtime: Arc<RuntimeProbe>,
    }
}

impl<F: Future> Future for WakesWatchdog<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        // Pairs with the fence in `Registry::sleep_until_active`: the sequence number of this poll is stored.
        fence(Ordering::SeqCst);
        this.runtime.registry.wake_watchdog();
        this.future.poll(context)
    }
}
