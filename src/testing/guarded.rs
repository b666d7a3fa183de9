//! A future whose polls are guarded, in a runtime that somebody else built.

use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::guard::{Guard, Watching};
use crate::probe::{self, Root, RootThread, RuntimeProbe};

pin_project! {
    /// A future whose polls are guarded; see [`guard`](super::guard).
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct Guarded<F> {
        #[pin]
        future: Option<Root<F>>,
        // Until the first poll, when the runtime is known.
        waiting: Option<(Guard, F)>,
        watching: Option<(Watching, RootThread)>,
        place: &'static Location<'static>,
    }
}

impl<F: Future> Guarded<F> {
    #[track_caller]
    pub(super) fn new(guard: Guard, future: F) -> Self {
        Self { future: None, waiting: Some((guard, future)), watching: None, place: Location::caller() }
    }
}

impl<F: Future> Future for Guarded<F> {
    type Output = F::Output;

    #[track_caller]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        if let Some((guard, future)) = this.waiting.take() {
            let watching = guard.start();
            let runtime = runtime_here(&watching);
            let thread = RootThread::enter(&runtime);
            this.future.set(Some(probe::root_at(future, runtime, this.place)));
            *this.watching = Some((watching, thread));
        }
        let Some(future) = this.future.as_mut().as_pin_mut() else { panic!("polled after it was done") };
        let output = std::task::ready!(future.poll(context));
        this.future.set(None);
        if let Some((watching, thread)) = this.watching.take() {
            drop(thread);
            watching.end();
        }
        Poll::Ready(output)
    }
}

/// The runtime that polls us, as far as it can be watched without hooks.
fn runtime_here(watching: &Watching) -> Arc<RuntimeProbe> {
    let handle = tokio::runtime::Handle::try_current().ok();
    let flavor = handle.as_ref().map(tokio::runtime::Handle::runtime_flavor);
    let name = handle.as_ref().and_then(tokio::runtime::Handle::name);
    watching.watch.foreign_runtime(flavor == Some(tokio::runtime::RuntimeFlavor::CurrentThread), name)
}
