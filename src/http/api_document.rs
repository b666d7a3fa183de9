//! The OpenAPI document of the endpoint: `openapi.json`, made from the types of the answers.
//!
//! `HOLDUP_WRITE_OPENAPI=1 cargo test -p holdup --features http api_document` writes it anew.

#![allow(dead_code, reason = "utoipa reads the functions' attributes only")]

use utoipa::{OpenApi, ToSchema};

use super::routes;
use crate::export::json::{SelfCheckAnswer, StallsAnswer, WorkersAnswer};
use crate::export::live_json::TimelineAnswer;
use crate::export::task_json::TasksAnswer;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "holdup's diagnostics endpoint",
        description = "What holds up a Tokio runtime, while it happens. An endpoint with a token answers 401 without it, except \
                       at `/healthz`. A name that is not allowed in `Host` is answered with 421, and a page of another site \
                       with 403."
    ),
    paths(
        page,
        page_file,
        stalls,
        stalls_svg,
        flamegraph,
        profile,
        stop_profile,
        tasks,
        workers,
        timeline,
        live,
        self_check,
        healthz,
        openapi
    )
)]
struct Document;

#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
enum Mode {
    Cpu,
    Wall,
    Stalled,
    Heap,
    Allocs,
    Peak,
    Leaks,
    Temporary,
}

#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
enum Format {
    Flamegraph,
    Folded,
    Pprof,
    Firefox,
    Speedscope,
    Perfetto,
    Json,
}

#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
enum By {
    Name,
    Spawn,
    Task,
}

#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
enum Sort {
    Busy,
    Polls,
    Max,
    Mean,
    Idle,
    Delay,
    Task,
    Spawn,
    Name,
}

#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
enum Table {
    Json,
    Text,
}

/// The page.
#[utoipa::path(get, path = "/", responses((status = 200, body = String, content_type = "text/html", description = "the page")))]
fn page() {}

/// A file of the page.
#[utoipa::path(
    get,
    path = "/debug/holdup/page/{name}",
    params(("name" = String, Path, description = "the name of the file")),
    responses(
        (status = 200, description = "the file", content((String = "text/css"), (String = "text/javascript"), (String = "text/plain"))),
        (status = 404, body = String, content_type = "text/plain", description = "there is no such file"),
    )
)]
fn page_file() {}

/// Stalls so far: which worker, how long, why, and what to do.
#[utoipa::path(get, path = "/debug/holdup/stalls", responses((status = 200, body = StallsAnswer, description = "stalls")))]
fn stalls() {}

/// Stalled time so far, by stack.
#[utoipa::path(
    get,
    path = "/debug/holdup/stalls.svg",
    responses(
        (status = 200, body = String, content_type = "image/svg+xml", description = "a flamegraph"),
        (status = 503, body = String, content_type = "text/plain", description = "too many requests need a thread"),
    )
)]
fn stalls_svg() {}

/// A flamegraph of the next seconds.
#[utoipa::path(
    get,
    path = "/debug/holdup/flamegraph.svg",
    params(
        ("mode" = inline(Option<Mode>), Query, description = "what is measured"),
        ("seconds" = Option<f64>, Query, description = "the time of the profile, more than 0", exclusive_minimum = 0, maximum = 300),
        ("rate" = Option<u32>, Query, description = "samples a second", minimum = 1, maximum = 1000),
    ),
    responses(
        (status = 200, body = String, content_type = "image/svg+xml", description = "a flamegraph"),
        (status = 400, body = String, content_type = "text/plain", description = "a parameter is wrong"),
        (status = 409, body = String, content_type = "text/plain", description = "too many profiles"),
        (status = 501, body = String, content_type = "text/plain", description = "this mode is not available"),
        (status = 503, body = String, content_type = "text/plain", description = "too many requests need a thread"),
    )
)]
fn flamegraph() {}

/// A profile of the next seconds, in any format.
#[utoipa::path(
    get,
    path = "/debug/holdup/profile",
    params(
        ("mode" = inline(Option<Mode>), Query, description = "what is measured"),
        ("seconds" = Option<f64>, Query, description = "the time of the profile, more than 0", exclusive_minimum = 0, maximum = 300),
        ("rate" = Option<u32>, Query, description = "samples a second", minimum = 1, maximum = 1000),
        ("format" = inline(Option<Format>), Query, description = "the format of the file"),
        ("group" = Option<String>, Query, pattern = "^((thread|runtime|task|spawn|state|size)(,(thread|runtime|task|spawn|state|size))*)?$",
            description = "labels that become the outermost frames, separated by commas"),
        ("include" = Option<String>, Query, description = "a regular expression for functions and files"),
        ("exclude" = Option<String>, Query, description = "a regular expression for functions and files"),
        ("thread" = Option<String>, Query, description = "samples of this thread only"),
        ("runtime" = Option<String>, Query, description = "samples of this runtime only"),
        ("task" = Option<String>, Query, description = "samples of this task only"),
        ("spawn" = Option<String>, Query, description = "samples of tasks spawned here only"),
        ("state" = Option<String>, Query, description = "samples in this state only"),
        ("name" = Option<String>, Query, description = "a name, to end the profile early"),
        ("all_frames" = Option<bool>, Query, description = "whether frames of the runtime are shown"),
    ),
    responses(
        (status = 200, description = "the profile", content(
            (Vec<u8> = "application/octet-stream"), (Vec<u8> = "application/gzip"), (String = "image/svg+xml"),
            (String = "text/plain"), (serde_json::Value = "application/json")
        )),
        (status = 400, body = String, content_type = "text/plain", description = "a parameter is wrong"),
        (status = 409, body = String, content_type = "text/plain", description = "too many profiles"),
        (status = 501, body = String, content_type = "text/plain", description = "this mode is not available"),
        (status = 503, body = String, content_type = "text/plain", description = "too many requests need a thread"),
    )
)]
fn profile() {}

/// Ends the profiles of a name.
#[utoipa::path(
    post,
    path = "/debug/holdup/profile/stop",
    params(("name" = String, Query, description = "the name given to the profile")),
    responses(
        (status = 200, body = String, content_type = "text/plain", description = "they have ended"),
        (status = 400, body = String, content_type = "text/plain", description = "a parameter is wrong"),
        (status = 404, body = String, content_type = "text/plain", description = "there is none"),
    )
)]
fn stop_profile() {}

/// The tasks that use the workers in the next seconds.
#[utoipa::path(
    get,
    path = "/debug/holdup/tasks",
    params(
        ("seconds" = Option<f64>, Query, description = "the time in which polls are counted, more than 0", exclusive_minimum = 0, maximum = 60),
        ("by" = inline(Option<By>), Query, description = "what is counted together"),
        ("sort" = inline(Option<Sort>), Query, description = "the column that decides the order"),
        ("limit" = Option<u32>, Query, description = "rows at most", maximum = 10000),
        ("format" = inline(Option<Table>), Query, description = "the format of the table"),
    ),
    responses(
        (status = 200, description = "tasks", content((TasksAnswer = "application/json"), (String = "text/plain"))),
        (status = 400, body = String, content_type = "text/plain", description = "a parameter is wrong"),
        (status = 429, body = String, content_type = "text/plain", description = "too many windows are open"),
    )
)]
fn tasks() {}

/// The current state of each worker.
#[utoipa::path(get, path = "/debug/holdup/workers", responses((status = 200, body = WorkersAnswer, description = "workers")))]
fn workers() {}

/// What workers and runtimes did in the last minutes.
#[utoipa::path(
    get,
    path = "/debug/holdup/timeline",
    responses((status = 200, body = TimelineAnswer, description = "bins and numbers"))
)]
fn timeline() {}

/// What the page shows, as server-sent events. It does not end.
#[utoipa::path(
    get,
    path = "/debug/holdup/live",
    responses(
        (status = 200, body = String, content_type = "text/event-stream", description = "events `held`, `timeline`, `bye`"),
        (status = 503, body = String, content_type = "text/plain", description = "too many pages are open"),
    )
)]
fn live() {}

/// What holdup sees in this process, and what would show more.
#[utoipa::path(
    get,
    path = "/debug/holdup/self-check",
    responses((status = 200, body = SelfCheckAnswer, description = "the self-check"))
)]
fn self_check() {}

/// Whether the endpoint is alive.
#[utoipa::path(get, path = "/healthz", responses((status = 200, body = String, content_type = "text/plain", description = "ok")))]
fn healthz() {}

/// This document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    responses((status = 200, body = serde_json::Value, content_type = "application/json", description = "the document"))
)]
fn openapi() {}

#[test]
fn the_document_is_that_of_the_answers() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/http/openapi.json");
    let made = Document::openapi().to_pretty_json().expect("it is JSON") + "\n";
    if std::env::var_os("HOLDUP_WRITE_OPENAPI").is_some() {
        std::fs::write(path, &made).expect("it is written");
    }
    let kept = std::fs::read_to_string(path).expect("it is there");
    assert_eq!(kept, made, "run HOLDUP_WRITE_OPENAPI=1 cargo test -p holdup --features http api_document");
}

#[test]
fn the_document_has_every_path() {
    let documented = Document::openapi().paths.paths;
    for (path, _) in routes::PATHS {
        // Go documents these paths.
        assert!(path == "/debug/pprof/" || documented.contains_key(path), "{path}");
    }
}
