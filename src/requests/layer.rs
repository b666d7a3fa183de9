//! The tower layer, and the service that it makes.

use std::panic::Location;
use std::task::{Context, Poll};

use http_types::Request;
use http_types::request::Parts;
use tower_layer::Layer;
use tower_service::Service;

use super::names;
use crate::probe::{self, Watched};

/// A tower layer that names requests by method and route; see [the module](super).
#[derive(Clone, Copy, Debug)]
pub struct NameRequests<R> {
    route: R,
    /// The place where the layer was made. Without task hooks, it stands for the spawn location of requests.
    given_at: &'static Location<'static>,
}

impl<R> NameRequests<R>
where
    R: Fn(&Parts) -> Option<&str>,
{
    /// Names requests by method, and by the route that the function returns: a pattern, not a path with ids. `None` shows
    /// as `(no route)`.
    ///
    /// ```
    /// use holdup::requests::NameRequests;
    ///
    /// // The path of a gRPC request is service and method, such as `/news.Articles/Get`.
    /// let layer = NameRequests::by(|request| Some(request.uri.path()));
    /// # let _ = tower_layer::Layer::layer(&layer, ());
    /// ```
    #[track_caller]
    pub fn by(route: R) -> Self {
        Self { route, given_at: Location::caller() }
    }
}

#[cfg(feature = "axum")]
impl NameRequests<fn(&Parts) -> Option<&str>> {
    /// Names requests by method, and by the route that axum 0.8 matched. Give it to `Router::layer` after the routes.
    ///
    /// For requests of another version of axum, it finds no route. Use [`NameRequests::by`] with that version's
    /// `MatchedPath`.
    ///
    /// ```
    /// use axum::{Router, routing::get};
    /// use holdup::requests::NameRequests;
    ///
    /// let routes: Router =
    ///     Router::new().route("/", get(|| async { "hello" })).layer(NameRequests::by_matched_path());
    /// ```
    #[track_caller]
    #[must_use]
    pub fn by_matched_path() -> Self {
        Self::by(matched_path)
    }
}

#[cfg(feature = "axum")]
fn matched_path(request: &Parts) -> Option<&str> {
    request.extensions.get().map(axum::extract::MatchedPath::as_str)
}

impl<S, R: Clone> Layer<S> for NameRequests<R> {
    type Service = NamedRequests<S, R>;

    fn layer(&self, inner: S) -> Self::Service {
        NamedRequests { inner, names: self.clone() }
    }
}

/// A service whose requests have names; made by [`NameRequests`].
#[derive(Clone, Copy, Debug)]
pub struct NamedRequests<S, R> {
    inner: S,
    names: NameRequests<R>,
}

impl<S, R, B> Service<Request<B>> for NamedRequests<S, R>
where
    S: Service<Request<B>>,
    R: Fn(&Parts) -> Option<&str>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Watched<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (parts, body) = request.into_parts();
        let name = names::of_process().name(&parts.method, (self.names.route)(&parts));
        let request = Request::from_parts(parts, body);
        // A service may work before it returns its future.
        let future = probe::run_named(name, || self.inner.call(request));
        Watched::new(future, name, self.names.given_at)
    }
}
