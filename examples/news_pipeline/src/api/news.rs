//! `/latest-news`.

use std::sync::Arc;

use axum::{
    extract::{Query, State, rejection::QueryRejection},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{
    Shared,
    answers::{LatestNews, Selection},
    problem::Problem,
};

/// Upper bound of the cache size.
const LARGEST_LIMIT: usize = 100_000;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    /// Limit of articles; the default is the whole cache.
    #[param(minimum = 0, maximum = 100_000)]
    limit: Option<usize>,
    /// Only articles of the source with this name, as `/sources` lists it.
    source: Option<String>,
}

/// The newest articles, newest first
#[utoipa::path(get, path = "/latest-news", params(Page), responses(
    (status = 200, body = LatestNews, headers(("etag" = String, description = "Changes when the articles do"))),
    (status = 304, description = "The client has these articles, as its `If-None-Match` says"),
    (status = 400, body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn latest_news(
    State(shared): State<Arc<Shared>>,
    page: Result<Query<Page>, QueryRejection>,
    request: HeaderMap,
) -> Result<Response, Problem> {
    let Query(page) = page?;
    let limit = page.limit.unwrap_or(LARGEST_LIMIT);
    if limit > LARGEST_LIMIT {
        return Err(Problem::bad_request(format!("`limit` is at most {LARGEST_LIMIT}.")));
    }
    let selection = Selection { limit, source: page.source };
    let cache = &shared.api.cache;
    if shared.api.faults.are_armed() {
        let (_, news) = cache.newest(selection.limit, selection.source.as_deref());
        shared.api.faults.commit_next(&news).await;
    }
    let answer = shared.answers.of(cache, selection).map_err(|error| Problem::internal(format!("{error:#}")))?;
    if answer.is_known(&request) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, answer.etag)]).into_response());
    }
    let head = [(header::ETAG, answer.etag), (header::CONTENT_TYPE, mime_json())];
    Ok((head, answer.body).into_response())
}

fn mime_json() -> header::HeaderValue {
    header::HeaderValue::from_static("application/json")
}
