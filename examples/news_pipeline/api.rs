//! The news API: `/`, `/latest-news`, `/healthz`, `/counters`.
//!
//! A healthy request takes microseconds: it copies pointers out of the cache and serialises them. The
//! faults that are switched on are committed by `/latest-news`, one per request.

use std::{
    net::TcpListener,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use axum::{
    Json, Router,
    extract::{Query, State},
    middleware,
    response::Html,
    routing::get,
};
use serde::{Deserialize, Serialize};

use crate::{
    article::Article, broker_counters::BrokerCounts, cache::Cache, counters::Counters, faults::ArmedFaults,
    shutdown::Drain, watched_requests,
};

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) cache: Arc<Cache>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) faults: Arc<ArmedFaults>,
}

/// Serves until the drain is requested and the requests under way are answered.
pub(crate) async fn serve(api: Api, listener: TcpListener, drain: Drain) -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    axum::serve(listener, routes(api)).with_graceful_shutdown(drain.requested()).await?;
    Ok(())
}

fn routes(api: Api) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/latest-news", get(latest_news))
        .route("/healthz", get(health))
        .route("/counters", get(counters))
        .layer(middleware::from_fn(watched_requests::watch))
        .with_state(api)
}

async fn index() -> Html<&'static str> {
    Html(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>news_pipeline</title>\
         <h1>news_pipeline</h1><p>The reference service of holdup.</p><ul>\
         <li><a href=\"/latest-news?limit=10\">/latest-news?limit=10</a>: the newest articles, newest first\
         <li><a href=\"/healthz\">/healthz</a>: what has been done since the start\
         <li><a href=\"/counters\">/counters</a>: what passed between the service and Kafka, and what waits</ul>\n",
    )
}

#[derive(Deserialize)]
struct Page {
    /// At most this many; without it, everything the cache holds.
    limit: Option<usize>,
}

#[derive(Serialize)]
struct LatestNews {
    items: Vec<Arc<Article>>,
}

async fn latest_news(State(api): State<Api>, Query(page): Query<Page>) -> Json<LatestNews> {
    let items = api.cache.newest(page.limit.unwrap_or(usize::MAX));
    api.faults.commit_next(&items);
    Json(LatestNews { items })
}

#[derive(Serialize)]
struct Health {
    status: &'static str,
    fetched: u64,
    produced: u64,
    consumed: u64,
    cached: usize,
    errors: u64,
}

async fn health(State(api): State<Api>) -> Json<Health> {
    Json(Health {
        status: "ok",
        fetched: api.counters.fetched.load(Relaxed),
        produced: api.counters.produced.load(Relaxed),
        consumed: api.counters.consumed.load(Relaxed),
        cached: api.cache.len(),
        errors: api.counters.errors.load(Relaxed),
    })
}

async fn counters(State(api): State<Api>) -> Json<BrokerCounts> {
    Json(api.counters.broker.now())
}
