//! `/healthz`, `/counters` and `/readyz`.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use axum::{Json, extract::State};
use futures_util::FutureExt;
use serde::Serialize;
use utoipa::ToSchema;

use super::{Shared, problem::Problem};
use crate::{broker_counters::BrokerCounts, faults::FaultCount};

#[derive(Serialize, ToSchema)]
pub(super) struct Health {
    status: &'static str,
    /// New articles found in feeds.
    fetched: u64,
    /// Articles confirmed by the broker.
    produced: u64,
    /// Articles read back from the topic.
    consumed: u64,
    /// Articles in the cache.
    cached: usize,
    /// Feeds, deliveries and messages that failed.
    errors: u64,
    /// Items that were posted.
    items: u64,
    /// Items that were replaced because there were too many.
    items_gone: u64,
    /// Requests that were rejected or timed out.
    refused: u64,
}

/// Counts since the start
#[utoipa::path(get, path = "/healthz", responses(
    (status = 200, body = Health),
    (status = 503, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn healthz(State(shared): State<Arc<Shared>>) -> Json<Health> {
    let counters = &shared.api.counters;
    let (items, items_gone) = shared.items.posted_and_gone();
    Json(Health {
        status: "ok",
        fetched: counters.fetched.load(Relaxed),
        produced: counters.produced.load(Relaxed),
        consumed: counters.consumed.load(Relaxed),
        cached: shared.api.cache.len(),
        errors: counters.errors.load(Relaxed),
        items,
        items_gone,
        refused: shared.refused.load(Relaxed),
    })
}

#[derive(Serialize, ToSchema)]
pub(super) struct Counts {
    #[serde(flatten)]
    broker: BrokerCounts,
    /// The faults that are switched on.
    faults: Vec<FaultCount>,
}

/// Counts of messages to and from Kafka, sent and queued, and of committed faults
#[utoipa::path(get, path = "/counters", responses(
    (status = 200, body = Counts),
    (status = 503, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn counters(State(shared): State<Arc<Shared>>) -> Json<Counts> {
    Json(Counts { broker: shared.api.counters.broker.now(), faults: shared.api.faults.counts() })
}

#[derive(Serialize, ToSchema)]
pub(super) struct Readiness {
    status: &'static str,
}

/// Whether there are articles to serve and the service is not stopping
#[utoipa::path(get, path = "/readyz", responses(
    (status = 200, body = Readiness),
    (status = 503, description = "Not yet, or no longer", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn readyz(State(shared): State<Arc<Shared>>) -> Result<Json<Readiness>, Problem> {
    if shared.drain.clone().requested().now_or_never().is_some() {
        return Err(Problem::unavailable("The service is stopping."));
    }
    if shared.api.cache.len() == 0 {
        return Err(Problem::unavailable("No news has come through the broker yet; /sources says how the feeds are."));
    }
    Ok(Json(Readiness { status: "ready" }))
}
