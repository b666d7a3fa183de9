//! So many requests at once, and so long for each; what is beyond is refused and counted.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tokio::time::timeout;

use super::{Shared, problem::Problem};

/// Lets a request through when it is within the limits. The body of a stream is not limited in time.
pub(super) async fn keep(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
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
