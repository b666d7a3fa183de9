//! Requests that need a thread. Their number is limited, also of those whose client has gone and whose work still ends.

use std::fmt;
use std::sync::Arc;

use axum::http::StatusCode;
use tokio::sync::Semaphore;

use crate::inprocess::{Stop, WatchState, on_own_thread};

/// Threads at a time, of all endpoints of the process. Profiles have a lower limit of their own.
const LIMIT: usize = 16;

static PLACES: Semaphore = Semaphore::const_new(LIMIT);

/// Why there is no result.
#[derive(Clone, Copy, Debug)]
pub(super) enum NotDone {
    Busy,
    Failed,
}

impl NotDone {
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::Failed => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl fmt::Display for NotDone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => write!(f, "the endpoint answers {LIMIT} such requests at a time; ask again in a moment"),
            Self::Failed => f.write_str(
                "the thread that answers the request panicked or could not start; see the log of the service",
            ),
        }
    }
}

/// Does the work of a request on a thread, and ends it early if the client goes.
pub(super) async fn on_a_thread<T: Send + 'static>(
    watch: &Arc<WatchState>,
    stop: Stop,
    work: impl FnOnce(&WatchState, &Stop) -> T + Send + 'static,
) -> Result<T, NotDone> {
    let place = PLACES.try_acquire().map_err(|_| NotDone::Busy)?;
    let in_place = move |watch: &WatchState, stop: &Stop| {
        let done = work(watch, stop);
        drop(place);
        done
    };
    on_own_thread(watch, stop, in_place).await.ok_or(NotDone::Failed)
}
