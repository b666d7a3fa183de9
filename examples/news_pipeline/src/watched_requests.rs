//! Gives every request a name for reports, such as `GET /latest-news`.
//!
//! axum spawns its connection tasks itself, so `holdup::spawn_named` cannot name them. Instead, the future of
//! the request has the name. This also makes requests visible without `tokio_unstable`.

use axum::{
    extract::{MatchedPath, Request},
    middleware::Next,
    response::Response,
};
use holdup::WatchFutureExt;

pub(crate) async fn watch(request: Request, next: Next) -> Response {
    // The route instead of the path, because one name per article would be too many.
    let route = match request.extensions().get::<MatchedPath>() {
        Some(route) => route.as_str(),
        None => "(no such route)",
    };
    let name = format!("{} {route}", request.method());
    next.run(request).watched_as(&name).await
}
