//! A future whose polls are guarded, inside an existing runtime.

use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::self_test::start_session;
use super::session::{Session, Settings};
use crate::probe::{self, Root, RootThread, RuntimeProbe};

pin_project! {
    /// A future whose polls are guarded; see [`guard`](super::guard).
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct Guarded<F> {
        #[pin]
        future: Option<Root<F>>,
        // Taken by the first poll, which knows the runtime.
        unpolled: Option<(Settings, F)>,
        session: Option<(Session, RootThread)>,
        location: &'static Location<'static>,
    }
}

impl<F: Future> Guarded<F> {
    #[track_caller]
    pub(super) fn new(settings: Settings, future: F) -> Self {
        Self { future: None, unpolled: Some((settings, future)), session: None, location: Location::caller() }
    }
}

impl<F: Future> Future for Guarded<F> {
    type Output = F::Output;

    #[track_caller]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        if let Some((settings, future)) = this.unpolled.take() {
            let session = start_session(settings);
            let runtime = current_runtime(&session);
            let thread = RootThread::enter(&runtime);
            // A runtime that holdup has not built does not list its threads.
            #[cfg(feature = "heap")]
            let session = session.recording_memory(Vec::new);
            this.future.set(Some(probe::root_at(future, runtime, this.location)));
            *this.session = Some((session, thread));
        }
        let Some(future) = this.future.as_mut().as_pin_mut() else { panic!("polled after completion") };
        let output = std::task::ready!(future.poll(context));
        this.future.set(None);
        #[cfg(feature = "heap")]
        this.session.iter().for_each(|(session, _)| session.end_recording());
        if let Some((session, thread)) = this.session.take() {
            drop(thread);
            session.end();
        }
        Poll::Ready(output)
    }
}

/// A probe for the current runtime, which has no hooks.
fn current_runtime(session: &Session) -> Arc<RuntimeProbe> {
    let handle = tokio::runtime::Handle::try_current().ok();
    let flavor = handle.as_ref().map(tokio::runtime::Handle::runtime_flavor);
    let name = handle.as_ref().and_then(tokio::runtime::Handle::name);
    session.watch.foreign_runtime(flavor == Some(tokio::runtime::RuntimeFlavor::CurrentThread), name)
}
