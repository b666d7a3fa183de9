//! What is answered on which path. One table: the index page lists it.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::{index, tasks};
use crate::export::json::{SelfCheckAnswer, StallsAnswer, WorkersAnswer};
use crate::export::svg;
use crate::watch::View;

const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";
const SVG: &str = "image/svg+xml";
pub(super) const TEXT: &str = "text/plain; charset=utf-8";

/// Every path but the index, and what a person finds there.
pub(super) const PATHS: [(&str, &str); 6] = [
    ("/debug/holdup/stalls", "stalls so far: who, where, why, and what to do (JSON)"),
    ("/debug/holdup/stalls.svg", "stalled time by stack, as a flamegraph"),
    ("/debug/holdup/tasks", "which tasks kept the workers busy for the next second (JSON; ?format=text is a table)"),
    ("/debug/holdup/workers", "what each worker does now (JSON)"),
    ("/debug/holdup/self-check", "what holdup can see in this process, and what would show more (JSON)"),
    ("/healthz", "whether this endpoint lives"),
];

pub(super) fn router(view: Arc<View>) -> Router {
    let [stalls, flamegraph, task_stats, workers, self_check, health] = PATHS.map(|(path, _)| path);
    Router::new()
        .route("/", get(show_index))
        .route(stalls, get(show_stalls))
        .route(flamegraph, get(show_flamegraph))
        .route(task_stats, get(tasks::show))
        .route(workers, get(show_workers))
        .route(self_check, get(show_self_check))
        .route(health, get(|| async { answer(TEXT, "ok\n".to_owned()) }))
        .fallback(|| async { not_found() })
        .with_state(view)
}

/// Diagnostics are about this moment: nothing on the way may keep an answer.
pub(super) fn answer(content_type: &'static str, body: String) -> Response {
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, body).into_response()
}

pub(super) fn json<T: serde::Serialize>(value: &T) -> Response {
    match serde_json::to_string_pretty(value) {
        Ok(text) => answer(JSON, text + "\n"),
        Err(error) => failed(&error),
    }
}

fn failed(error: &dyn std::error::Error) -> Response {
    let body = answer(TEXT, format!("holdup could not make this answer: {error}\n"));
    (StatusCode::INTERNAL_SERVER_ERROR, body).into_response()
}

fn not_found() -> Response {
    let paths: Vec<&str> = PATHS.iter().map(|(path, _)| *path).collect();
    let body = answer(TEXT, format!("nothing here; there is / and {}\n", paths.join(", ")));
    (StatusCode::NOT_FOUND, body).into_response()
}

async fn show_index(State(view): State<Arc<View>>) -> Response {
    answer(HTML, index::page(&view.stalls(), &view.workers(), view.self_check()))
}

async fn show_stalls(State(view): State<Arc<View>>) -> Response {
    json(&StallsAnswer::from(&view.stalls()))
}

async fn show_workers(State(view): State<Arc<View>>) -> Response {
    json(&WorkersAnswer::from(view.workers().as_slice()))
}

async fn show_self_check(State(view): State<Arc<View>>) -> Response {
    json(&SelfCheckAnswer::from(view.self_check()))
}

async fn show_flamegraph(State(view): State<Arc<View>>) -> Response {
    let stacks = folded(&view.stalled_so_far());
    let counters = view.counters();
    let title = format!("Stalled time ({} stalls, {} without a stack)", counters.stalls, counters.stacks_missed);
    // Drawing a large graph takes milliseconds of this thread, which has nothing more urgent to do.
    match svg::flamegraph(&stacks, &title) {
        Ok(svg) => answer(SVG, svg),
        Err(error) => failed(&error),
    }
}

/// One line per stack, outermost frame first.
fn folded(profile: &crate::model::profile::Profile) -> Vec<(String, std::time::Duration)> {
    let line = |sample: &crate::model::profile::Sample| {
        let frames: Vec<&str> = profile.frames_of(sample).rev().map(|frame| &*frame.frame.function).collect();
        let time = std::time::Duration::from_nanos(sample.values[profile.drawn].unsigned_abs());
        (frames.join(";"), time)
    };
    profile.samples.iter().map(line).collect()
}
