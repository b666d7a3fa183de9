//! Gives every request a name that a report can show, such as `GET /latest-news`.
//!
//! axum spawns its connection tasks itself, so `holdup::spawn_named` cannot name them; the future of
//! the request can carry the name instead. This also makes requests visible on stable Tokio.

use axum::{
    extract::{MatchedPath, Request},
    middleware::Next,
    response::Response,
};
use holdup::WatchFutureExt;

pub(crate) async fn watch(request: Request, next: Next) -> Response {
    // The route, not the path: a report with one name per article would help nobody.
    let route = match request.extensions().get::<MatchedPath>() {
        Some(route) => route.as_str(),
        None => "(no such route)",
    };
    let name = format!("{} {route}", request.method());
    next.run(request).watched_as(&name).await
}
