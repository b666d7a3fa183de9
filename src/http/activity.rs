//! What a connection does: it waits for a request, or answers one.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::{Body, Bytes};
use axum::http::Response;
use hyper::body::{Frame, SizeHint};

/// What a connection does. Clones are about the same one.
#[derive(Clone, Debug)]
pub(super) struct Activity(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// When it began to wait for a request. `None` while it answers one.
    waits_since: Option<Instant>,
    /// When the client stopped to take what the endpoint writes. `None` while it takes everything.
    stuck_since: Option<Instant>,
}

impl Activity {
    /// Of a new connection.
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(State { waits_since: Some(Instant::now()), stuck_since: None })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Since when the client has neither asked nor read. `None` while the endpoint prepares its answer.
    pub(super) fn quiet_since(&self) -> Option<Instant> {
        let state = self.state();
        state.stuck_since.or(state.waits_since)
    }

    /// The client takes nothing, or again something.
    pub(super) fn set_stuck(&self, is_stuck: bool) {
        self.state().stuck_since = is_stuck.then(Instant::now);
    }

    /// A request has come.
    pub(super) fn begin(&self) -> Answering {
        self.state().waits_since = None;
        Answering(self.clone())
    }
}

/// A request that is being answered, until this is dropped.
#[derive(Debug)]
pub(super) struct Answering(Activity);

impl Answering {
    /// The response ends when its body has been taken.
    pub(super) fn until_taken(self, response: Response<Body>) -> Response<Body> {
        response.map(|body| Body::new(Taken { body, _answering: self }))
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.state().waits_since = Some(Instant::now());
    }
}

/// A body that is part of an answer.
struct Taken {
    body: Body,
    _answering: Answering,
}

impl hyper::body::Body for Taken {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use axum::body::HttpBody as _;

    use super::*;

    #[test]
    fn a_connection_waits_again_when_its_answer_is_taken() {
        let activity = Activity::new();
        let before = activity.quiet_since().expect("it waits");
        let response = activity.begin().until_taken(Response::new(Body::from("ok")));
        assert_eq!(response.body().size_hint().exact(), Some(2), "its length is still known");
        assert_eq!(activity.quiet_since(), None);
        activity.set_stuck(true);
        let stuck = activity.quiet_since().expect("the client does not read");
        activity.set_stuck(false);
        assert_eq!(activity.quiet_since(), None);
        drop(response);
        assert!(activity.quiet_since() >= Some(stuck) && stuck >= before);
    }
}
