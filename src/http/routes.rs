//! The paths of the endpoint and their handlers. One table, which an unknown path is answered with.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use super::access::{Access, HEALTH, guard};
use super::answer::{JSON, TEXT, answer, json};
use super::live::{self, Live};
use super::{page, pprof, profile, tasks};
use crate::export::json::{SelfCheckAnswer, StallsAnswer, WorkersAnswer};
use crate::inprocess::WatchState;

/// Made by a test from the types of the answers.
const OPENAPI: &str = include_str!("openapi.json");

/// Every path except the page, with a description.
pub(super) const PATHS: [(&str, &str); 12] = [
    ("/debug/holdup/stalls", "stalls so far: which worker, how long, why, and what to do (JSON)"),
    ("/debug/holdup/stalls.svg", "stalled time by stack, as a flamegraph"),
    ("/debug/holdup/flamegraph.svg", "CPU time of the next five seconds, as a flamegraph (?mode=wall, ?mode=stalled)"),
    ("/debug/holdup/profile", "a profile of the next 30 s in any format (?mode=…&seconds=…&format=…)"),
    ("/debug/holdup/tasks", "the tasks that use the workers in the next second (JSON; ?format=text is a table)"),
    ("/debug/holdup/workers", "the current state of each worker (JSON)"),
    ("/debug/holdup/timeline", "what workers and runtimes did in the last minutes (JSON)"),
    ("/debug/holdup/live", "what the page shows, as server-sent events"),
    ("/debug/holdup/self-check", "what holdup sees in this process, and what would show more (JSON)"),
    ("/debug/pprof/", "profiles for Go's pprof tool: go tool pprof http://…/debug/pprof/profile"),
    ("/openapi.json", "the paths of /debug/holdup/ as an OpenAPI document"),
    (HEALTH, "whether this endpoint is alive"),
];

pub(super) fn router(watch: Arc<WatchState>, live: Arc<Live>, access: Access) -> Router {
    let [
        stalls,
        stalls_svg,
        flamegraph,
        profile,
        task_stats,
        workers,
        timeline,
        events,
        self_check,
        _pprof,
        document,
        health,
    ] = PATHS.map(|(path, _)| path);
    Router::new()
        .route("/", get(page::index))
        .route(page::FILES, get(page::file))
        .route(stalls, get(show_stalls))
        .route(stalls_svg, get(profile::show_stalls))
        .route(flamegraph, get(profile::show_flamegraph))
        .route(profile, get(profile::show))
        .route(&format!("{profile}/stop"), post(profile::stop))
        .route(task_stats, get(tasks::show))
        .route(workers, get(show_workers))
        .route(timeline, get(show_timeline))
        .route(events, get(async move || live.open()))
        .route(self_check, get(show_self_check))
        .route(document, get(|| async { answer(JSON, OPENAPI) }))
        .route(health, get(|| async { answer(TEXT, "ok\n") }))
        .merge(pprof::routes())
        .fallback(|| async { not_found() })
        .layer(from_fn_with_state(Arc::new(access), guard))
        .with_state(watch)
}

fn not_found() -> Response {
    let paths: Vec<&str> = PATHS.iter().map(|(path, _)| *path).collect();
    let body = answer(TEXT, format!("unknown path; the paths are / and {}\n", paths.join(", ")));
    (StatusCode::NOT_FOUND, body).into_response()
}

async fn show_timeline(State(watch): State<Arc<WatchState>>) -> Response {
    live::timeline(&watch)
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
