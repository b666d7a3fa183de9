//! The news API: its routes and the state of its handlers.
//!
//! A healthy request takes microseconds, because the response is kept as bytes until the cache changes.
//! `/latest-news` commits one of the enabled faults per request.

mod answers;

mod connections;

mod document;

mod health;

mod items;

mod limits;

mod news;

mod problem;

mod sources;

mod stream;

use std::{
    net::TcpListener,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use axum::{Router, extract::DefaultBodyLimit, http::Uri, middleware, response::Html};
use holdup::requests::NameRequests;
use tokio::sync::Semaphore;
use utoipa_axum::{router::OpenApiRouter, routes};

use self::{answers::Answers, items::Items, problem::Problem};
use crate::{
    api_options::ApiOptions, cache::Cache, counters::Counters, faults::ArmedFaults, fetcher::Sources, shutdown::Drain,
};

/// The data of the API.
pub(crate) struct Api {
    pub(crate) cache: Arc<Cache>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) faults: ArmedFaults,
    pub(crate) sources: Sources,
    pub(crate) limits: Limits,
}

/// The limits for clients.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    connections: usize,
    requests: usize,
    streams: usize,
    items: usize,
    /// Bytes.
    body: usize,
    /// Bytes.
    head: usize,
    head_time: Duration,
    request_time: Duration,
}

impl From<&ApiOptions> for Limits {
    fn from(options: &ApiOptions) -> Self {
        Self {
            connections: options.connections,
            requests: options.requests,
            streams: options.streams,
            items: options.items,
            body: options.body_limit,
            head: options.header_limit,
            head_time: options.header_timeout,
            request_time: options.request_timeout,
        }
    }
}

/// The shared state of the handlers.
struct Shared {
    api: Api,
    answers: Answers,
    items: Items,
    /// Permits for further requests.
    requests: Semaphore,
    /// Permits for further readers of the stream.
    streams: Arc<Semaphore>,
    /// Requests that were rejected or timed out.
    refused: AtomicU64,
    drain: Drain,
}

/// Serves until the drain is requested and the running requests have ended.
pub(crate) async fn serve(api: Api, listener: TcpListener, drain: Drain) -> anyhow::Result<()> {
    let limits = api.limits.clone();
    let shared = Shared {
        answers: Answers::default(),
        items: Items::of_size(limits.items),
        requests: Semaphore::new(limits.requests),
        streams: Arc::new(Semaphore::new(limits.streams)),
        refused: AtomicU64::new(0),
        drain: drain.clone(),
        api,
    };
    connections::serve(listener, router(Arc::new(shared)), &limits, drain).await
}

fn router(shared: Arc<Shared>) -> Router {
    let body = shared.api.limits.body;
    let (router, document) = OpenApiRouter::with_openapi(document::about())
        .routes(routes!(index))
        .routes(routes!(news::latest_news))
        .routes(routes!(sources::sources))
        .routes(routes!(items::post_item))
        .routes(routes!(items::get_item))
        .routes(routes!(stream::stream))
        .routes(routes!(health::healthz))
        .routes(routes!(health::counters))
        .routes(routes!(health::readyz))
        .routes(routes!(document::openapi))
        .split_for_parts();
    router
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(axum::Extension(document::Served::of(&document)))
        .layer(DefaultBodyLimit::max(body))
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), limits::keep))
        // axum spawns connections itself, so that `holdup::spawn_named` cannot name them.
        .layer(NameRequests::by_matched_path())
        .with_state(shared)
}

async fn no_such_path(uri: Uri) -> Problem {
    Problem::not_found(format!("There is nothing at {}; / lists what there is.", uri.path()))
}

async fn no_such_method(uri: Uri) -> Problem {
    Problem::method_not_allowed(format!("{} does not answer this method; `Allow` names those it does.", uri.path()))
}

/// The overview, for people
#[utoipa::path(get, path = "/", responses((status = 200, body = String, content_type = "text/html; charset=utf-8")))]
async fn index() -> Html<&'static str> {
    Html(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>news_pipeline</title>\
         <h1>news_pipeline</h1><p>The reference service of holdup.</p><ul>\
         <li><a href=\"/latest-news?limit=10\">/latest-news?limit=10</a>: the newest articles, newest first; \
         <code>source=NAME</code> keeps to one source\
         <li><a href=\"/stream\">/stream</a>: every new article, as server-sent events\
         <li><a href=\"/sources\">/sources</a>: how each feed is doing\
         <li><code>POST /items</code>, <code>GET /items/{id}</code>: things with a name and a price\
         <li><a href=\"/healthz\">/healthz</a>: what has been done since the start\
         <li><a href=\"/counters\">/counters</a>: what passed between the service and Kafka, and what waits\
         <li><a href=\"/readyz\">/readyz</a>: whether there is news to serve\
         <li><a href=\"/openapi.json\">/openapi.json</a>: all of this for programs, as OpenAPI 3.1</ul>\n",
    )
}
