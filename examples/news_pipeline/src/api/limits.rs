//! Limits on concurrent requests, their size and their time. Requests beyond a limit are rejected and counted.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use axum::{
    extract::{Request, State},
    http::header,
    middleware::Next,
    response::{IntoResponse, Response},
};
use tokio::time::timeout;

use super::{Shared, problem::Problem};

/// Passes a request on if it is within the limits. The body of a stream has no time limit.
pub(super) async fn keep(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    if declared_bytes(&request).is_some_and(|bytes| bytes > shared.api.limits.body) {
        shared.refused.fetch_add(1, Relaxed);
        return Problem::too_large("The body is larger than --body-limit allows.").into_response();
    }
    let refused = match shared.requests.try_acquire() {
        Ok(_turn) => match timeout(shared.api.limits.request_time, next.run(request)).await {
            Ok(response) => return response,
            Err(_) => Problem::unavailable("The answer took too long; --request-timeout sets the limit."),
        },
        Err(_) => Problem::unavailable("Too many requests at once; --requests sets the limit."),
    };
    shared.refused.fetch_add(1, Relaxed);
    refused.into_response()
}

/// The announced size of the body. A body without an announced size is limited where it is read.
fn declared_bytes(request: &Request) -> Option<usize> {
    request.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
