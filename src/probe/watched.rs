//! The future wrapper: polls are seen without `tokio_unstable`, and named with or without it.

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

/// Spawns a task whose polls are watched, also without `tokio_unstable`. Otherwise like [`tokio::spawn`].
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

/// Like [`spawn`], and reports call the task by this name.
///
/// Names are kept for the life of the process, up to 4096 different ones of up to 128 bytes: give kinds of work a
/// name, not single requests.
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

/// Tells the name to Tokio too, which traces it for tokio-console.
#[cfg(all(tokio_unstable, feature = "console"))]
#[track_caller]
fn spawn_as<F>(name: &str, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::task::Builder::new().name(name).spawn(future).expect("only threads for blocking tasks can be short")
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

/// Makes the polls of any future visible and gives them a name.
pub trait WatchFutureExt: Future + Sized {
    /// Watches the polls of this future.
    ///
    /// On a runtime built by a [`Watch`](crate::Watch) with `tokio_unstable` every task is watched anyway, and
    /// this adds nothing.
    #[track_caller]
    fn watched(self) -> Watched<Self> {
        Watched { future: self, name: NameId::NONE, task: UNASKED, given_at: Location::caller() }
    }

    /// Watches the polls of this future, and reports call it by this name, for instance that of the route which a
    /// request took. Names are bounded as for [`spawn_named`].
    #[track_caller]
    fn watched_as(self, name: &str) -> Watched<Self> {
        Watched { future: self, name: names::intern(name), task: UNASKED, given_at: Location::caller() }
    }
}

impl<F: Future> WatchFutureExt for F {}

/// Tokio numbers its tasks from 1, and 0 stands for a future that is no task.
const UNASKED: u64 = u64::MAX;

pin_project! {
    /// A future whose polls are watched; see [`WatchFutureExt`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct Watched<F> {
        #[pin]
        future: F,
        name: NameId,
        // Asked for once: looking it up costs more than all the rest.
        task: u64,
        given_at: &'static Location<'static>,
    }
}

impl<F: Future> Future for Watched<F> {
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        if *this.task == UNASKED {
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
            // Inside another watched poll, which stays the one that counts; only the name is ours.
            Some(slot) if *this.name != NameId::NONE => {
                let _end = EndOfName { slot, outer: slot.rename(*this.name) };
                this.future.poll(context)
            }
            _ => this.future.poll(context),
        }
    }
}

/// Ends the poll, also when it panics.
struct EndOfPoll(&'static Slot);

impl Drop for EndOfPoll {
    #[inline]
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Gives the outer poll its name back, also when the inner one panics.
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

/// A wrapped future is polled on a thread that has no slot, or lost its worker. It becomes a worker if it belongs
/// to a watched runtime, unless `block_in_place` handed its worker on and it is still inside that poll.
#[cold]
fn become_worker(held: Option<&'static Slot>) -> Option<&'static Slot> {
    if held.is_some_and(Slot::polls) {
        return None;
    }
    let runtime = thread_slot::runtime()?;
    // No index: a thread of the blocking pool, which holds up nobody.
    let index = tokio::runtime::worker_index()?;
    thread_slot::register(&runtime, Some(index))
}

/// Wraps the future given to `block_on`: its polls are watched, and wake the watchdog.
#[track_caller]
pub(crate) fn root<F: Future>(future: F, runtime: Arc<RuntimeProbe>) -> Root<F> {
    root_at(future, runtime, Location::caller())
}

/// The same, given to holdup at some other place.
pub(crate) fn root_at<F: Future>(
    future: F,
    runtime: Arc<RuntimeProbe>,
    given_at: &'static Location<'static>,
) -> Root<F> {
    Watched { given_at, ..Ringing { future, runtime }.watched() }
}

/// The outermost future of a runtime.
pub(crate) type Root<F> = Watched<Ringing<F>>;

pin_project! {
    /// A future that wakes the watchdog when it is polled. The thread inside `block_on` of a multi-thread runtime
    /// parks and unparks without telling, so its polls have to tell.
    #[derive(Debug)]
    pub(crate) struct Ringing<F> {
        #[pin]
        future: F,
        runtime: Arc<RuntimeProbe>,
    }
}

impl<F: Future> Future for Ringing<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        // The poll around this one has begun; see `Registry::sleep_until_active`.
        fence(Ordering::SeqCst);
        this.runtime.registry.wake_watchdog();
        this.future.poll(context)
    }
}
