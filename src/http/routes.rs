//! What is answered on which path. One table: the index page lists it.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use super::{index, pprof, profile, tasks};
use crate::export::json::{SelfCheckAnswer, StallsAnswer, WorkersAnswer};
use crate::inprocess::WatchState;

pub(super) const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";
pub(super) const TEXT: &str = "text/plain; charset=utf-8";

/// Every path but the index, and what a person finds there.
pub(super) const PATHS: [(&str, &str); 9] = [
    ("/debug/holdup/stalls", "stalls so far: who, where, why, and what to do (JSON)"),
    ("/debug/holdup/stalls.svg", "stalled time by stack, as a flamegraph"),
    ("/debug/holdup/flamegraph.svg", "CPU time of the next five seconds, as a flamegraph (?mode=wall, ?mode=stalled)"),
    ("/debug/holdup/profile", "a profile of the next 30 s in any format (?mode=…&seconds=…&format=…)"),
    ("/debug/holdup/tasks", "which tasks kept the workers busy for the next second (JSON; ?format=text is a table)"),
    ("/debug/holdup/workers", "what each worker does now (JSON)"),
    ("/debug/holdup/self-check", "what holdup can see in this process, and what would show more (JSON)"),
    ("/debug/pprof/", "what Go's pprof tool asks for: go tool pprof http://…/debug/pprof/profile"),
    ("/healthz", "whether this endpoint lives"),
];

pub(super) fn router(watch: Arc<WatchState>) -> Router {
    let [stalls, stalls_svg, flamegraph, profile, task_stats, workers, self_check, _pprof, health] =
        PATHS.map(|(path, _)| path);
    Router::new()
        .route("/", get(show_index))
        .route(stalls, get(show_stalls))
        .route(stalls_svg, get(profile::show_stalls))
        .route(flamegraph, get(profile::show_flamegraph))
        .route(profile, get(profile::show))
        .route(&format!("{profile}/stop"), post(profile::stop))
        .route(task_stats, get(tasks::show))
        .route(workers, get(show_workers))
        .route(self_check, get(show_self_check))
        .route(health, get(|| async { answer(TEXT, "ok\n") }))
        .merge(pprof::routes())
        .fallback(|| async { not_found() })
        .with_state(watch)
}

/// Diagnostics are about this moment: nothing on the way may keep an answer.
pub(super) fn answer(content_type: &'static str, body: impl Into<Body>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, body.into()).into_response()
}

pub(super) fn json<T: serde::Serialize>(value: &T) -> Response {
    match serde_json::to_string_pretty(value) {
        Ok(text) => answer(JSON, text + "\n"),
        Err(error) => failed(&error),
    }
}

pub(super) fn failed(error: &dyn std::error::Error) -> Response {
    let body = answer(TEXT, format!("holdup could not make this answer: {error}\n"));
    (StatusCode::INTERNAL_SERVER_ERROR, body).into_response()
}

fn not_found() -> Response {
    let paths: Vec<&str> = PATHS.iter().map(|(path, _)| *path).collect();
    let body = answer(TEXT, format!("nothing here; there is / and {}\n", paths.join(", ")));
    (StatusCode::NOT_FOUND, body).into_response()
}

async fn show_index(State(watch): State<Arc<WatchState>>) -> Response {
    answer(HTML, index::page(&watch.log.stalls(), &watch.workers(), &watch.self_check))
}

async fn show_stalls(State(watch): State<Arc<WatchState>>) -> Response {
    json(&StallsAnswer::from(&watch.log.stalls()))
}

async fn show_workers(State(watch): State<Arc<WatchState>>) -> Response {
    json(&WorkersAnswer::from(watch.workers().as_slice()))
}

async fn show_self_check(State(watch): State<Arc<WatchState>>) -> Response {
    json(&SelfCheckAnswer::from(&watch.self_check))
}
