//! `/sources`: the state of each feed.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Shared, problem::Problem};
use crate::fetcher::SourceReport;

#[derive(Serialize, ToSchema)]
pub(super) struct SourceList {
    sources: Vec<SourceReport>,
}

/// The state of each feed
#[utoipa::path(get, path = "/sources", responses(
    (status = 200, body = SourceList),
    (status = 503, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn sources(State(shared): State<Arc<Shared>>) -> Json<SourceList> {
    Json(SourceList { sources: shared.api.sources.iter().map(|source| source.report()).collect() })
}
