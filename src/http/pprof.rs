//! The contract of Go's package `net/http/pprof`, for Go's pprof tool and scrapers of its profiles.
//!
//! Paths, parameters, defaults, headers and error texts are Go's. The contents are ours. `profile` is CPU time of all
//! threads, and `goroutine` is tasks. `block` is stalled time, and `mutex` is its part that locks caused. `trace` is a
//! recording for Perfetto. `heap` and `allocs` are sampled if the program has holdup's allocator. Otherwise they are valid and
//! empty, as `threadcreate` is.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;

use super::answer::{HTML, TEXT, answer};
use super::work::{NotDone, on_a_thread};
use crate::export::profile::Format;
use crate::export::stack_list;
use crate::inprocess::{ProfileError, ProfileMode, ProfileOptions, Stop, WatchState};
use crate::model::profile::{Profile, Sample, Unit, ValueType};

const ROOT: &str = "/debug/pprof/";

/// Go's default for `profile`.
const PROFILE_SECONDS: u64 = 30;

/// Go's default for `trace`.
const TRACE_SECONDS: f64 = 1.0;

/// The longest window. It stands for Go's `WriteTimeout`.
const MAX_SECONDS: u64 = 300;

/// Go's error text for a named profile that could not be collected.
const NOT_COLLECTED: &str = "failed to collect profile";

/// The largest body, in bytes: some thousand addresses.
const BODY_SIZE: usize = 64 << 10;

/// Time for a body to come.
const BODY_LIMIT: Duration = Duration::from_secs(10);

const OCTETS: &str = "application/octet-stream";

/// The named profiles of Go, with their contents here.
const PROFILES: [(&str, &str); 6] = [
    ("allocs", "allocations since sampling began: empty without holdup's allocator"),
    ("block", "stalled time: polls that held a worker longer than the threshold"),
    ("goroutine", "tasks: stacks of the polled ones (debug=2), and the number of waiting ones"),
    ("heap", "live memory: empty without holdup's allocator"),
    ("mutex", "stalled time caused by locks"),
    ("threadcreate", "created threads: empty, because holdup does not count them"),
];

pub(super) fn routes() -> Router<Arc<WatchState>> {
    Router::new()
        .route("/debug/pprof", get(|| async { Redirect::permanent(ROOT) }))
        .route(ROOT, get(index))
        .route("/debug/pprof/cmdline", get(|| async { plain(command_line()) }))
        .route("/debug/pprof/profile", get(profile))
        .route("/debug/pprof/trace", get(trace))
        .route("/debug/pprof/symbol", get(symbol_by_query).post(symbol_by_body))
        .route("/debug/pprof/{*name}", get(named))
}

fn plain(text: impl Into<axum::body::Body>) -> Response {
    answer(TEXT, text)
}

/// An error. The pprof tool prints its text only if this header is set.
fn error(status: StatusCode, text: &str) -> Response {
    let mut response = (status, plain(format!("{text}\n"))).into_response();
    response.headers_mut().insert(HeaderName::from_static("x-go-pprof"), HeaderValue::from_static("1"));
    response
}

fn attachment(bytes: Vec<u8>, name: &str) -> Response {
    let mut response = answer(OCTETS, bytes);
    if let Ok(value) = format!("attachment; filename=\"{name}\"").parse() {
        response.headers_mut().insert(header::CONTENT_DISPOSITION, value);
    }
    response
}

/// The first value of a parameter, as Go's `FormValue` returns it.
fn value(raw: Option<&str>, name: &str) -> Option<String> {
    let mut pairs = form_urlencoded::parse(raw.unwrap_or_default().as_bytes());
    pairs.find(|(given, _)| given == name).map(|(_, value)| value.into_owned())
}

fn number<T: std::str::FromStr>(raw: Option<&str>, name: &str) -> Option<T> {
    value(raw, name)?.parse().ok()
}

/// Go joins the arguments with NUL.
fn command_line() -> Vec<u8> {
    use std::os::unix::ffi::OsStrExt as _;
    std::env::args_os().map(|argument| argument.as_bytes().to_vec()).collect::<Vec<_>>().join(&0)
}

async fn profile(State(watch): State<Arc<WatchState>>, RawQuery(raw): RawQuery) -> Response {
    let seconds = number::<i64>(raw.as_deref(), "seconds").and_then(|seconds| u64::try_from(seconds).ok());
    let seconds = seconds.filter(|seconds| *seconds > 0).unwrap_or(PROFILE_SECONDS);
    if seconds > MAX_SECONDS {
        return too_long();
    }
    let options = ProfileOptions::new(ProfileMode::Cpu).duration(Duration::from_secs(seconds));
    let collected =
        on_a_thread(&watch, Stop::default(), move |watch, stop| encode(&watch.profile(&options, stop)?)).await;
    match collected {
        Ok(Err(ProfileError::Busy { .. })) => {
            error(StatusCode::INTERNAL_SERVER_ERROR, "Could not enable CPU profiling: cpu profiling already in use")
        }
        collected => answer_with(collected, "Could not enable CPU profiling", |bytes| attachment(bytes, "profile")),
    }
}

/// The collected bytes, or Go's error text followed by our reason.
fn answer_with(
    collected: Result<Result<Vec<u8>, ProfileError>, NotDone>,
    problem: &str,
    answer: impl FnOnce(Vec<u8>) -> Response,
) -> Response {
    match collected {
        Ok(Ok(bytes)) => answer(bytes),
        Ok(Err(reason)) => error(StatusCode::INTERNAL_SERVER_ERROR, &format!("{problem}: {reason}")),
        Err(not_done) => unanswered(not_done),
    }
}

/// For traces, Go reads the seconds as a float.
async fn trace(State(watch): State<Arc<WatchState>>, RawQuery(raw): RawQuery) -> Response {
    let seconds = number::<f64>(raw.as_deref(), "seconds").filter(|seconds| *seconds > 0.0).unwrap_or(TRACE_SECONDS);
    if seconds > MAX_SECONDS as f64 {
        return too_long();
    }
    let options = ProfileOptions::new(ProfileMode::Wall).duration(Duration::from_secs_f64(seconds));
    let collected = on_a_thread(&watch, Stop::default(), move |watch, stop| {
        let mut bytes = Vec::new();
        watch.trace(&options, stop)?.write(Format::Perfetto, &mut bytes).map_err(ProfileError::Failed)?;
        Ok::<_, ProfileError>(bytes)
    });
    answer_with(collected.await, "Could not enable tracing", |bytes| attachment(bytes, "trace"))
}

async fn named(State(watch): State<Arc<WatchState>>, Path(name): Path<String>, RawQuery(raw): RawQuery) -> Response {
    let Some((name, _)) = PROFILES.into_iter().find(|(known, _)| *known == name) else {
        return error(StatusCode::NOT_FOUND, "Unknown profile");
    };
    let raw = raw.as_deref();
    let debug = number::<i64>(raw, "debug").unwrap_or(0);
    if let Some(seconds) = value(raw, "seconds").filter(|seconds| !seconds.is_empty()) {
        let seconds = seconds.parse::<i64>().ok().and_then(|seconds| u64::try_from(seconds).ok());
        let Some(seconds @ 1..) = seconds else {
            return error(StatusCode::BAD_REQUEST, "invalid value for \"seconds\" - must be a positive integer");
        };
        return match seconds {
            _ if seconds > MAX_SECONDS => too_long(),
            _ if debug != 0 => error(StatusCode::BAD_REQUEST, "seconds and debug params are incompatible"),
            _ => delta(&watch, name, Duration::from_secs(seconds)).await,
        };
    }
    let collected = on_a_thread(&watch, Stop::default(), move |watch, stop| {
        let memory = if debug == 0 { watch.go_heap(name, None, stop) } else { watch.heap_list(name, stop) };
        let profile = memory.unwrap_or_else(|| now(watch, name))?;
        match debug {
            0 => encode(&profile),
            2.. if name == "goroutine" => Ok(stack_list::dump(&profile).into_bytes()),
            _ => Ok(stack_list::text(&profile, name).into_bytes()),
        }
    });
    answer_with(collected.await, NOT_COLLECTED, |bytes| if debug == 0 { attachment(bytes, name) } else { plain(bytes) })
}

/// What a profile gains in a window. Only stalled time and memory can gain; the other profiles are returned as they are.
async fn delta(watch: &Arc<WatchState>, name: &'static str, window: Duration) -> Response {
    let options = ProfileOptions::new(ProfileMode::Stalled).duration(window);
    let collected = on_a_thread(watch, Stop::default(), move |watch, stop| {
        if let Some(memory) = watch.go_heap(name, Some(window), stop) {
            return encode(&memory?);
        }
        let stalled = watch.profile(&options, stop)?;
        encode(&stalled_as(&stalled, name).map_or_else(|| now(watch, name), Ok)?)
    });
    answer_with(collected.await, NOT_COLLECTED, |bytes| attachment(bytes, &format!("{name}-delta")))
}

fn too_long() -> Response {
    error(StatusCode::BAD_REQUEST, "profile duration exceeds server's WriteTimeout")
}

fn unanswered(not_done: NotDone) -> Response {
    error(not_done.status(), &format!("{NOT_COLLECTED}: {not_done}"))
}

fn encode(profile: &Profile) -> Result<Vec<u8>, ProfileError> {
    let mut bytes = Vec::new();
    profile.write(Format::Pprof, &mut bytes).map_err(ProfileError::Failed)?;
    Ok(bytes)
}

/// The current state of a named profile.
fn now(watch: &WatchState, name: &str) -> Result<Profile, ProfileError> {
    let value = |name, unit| ValueType::new(name, unit);
    let memory = |first: &str, second: &str| {
        [(first, Unit::Count), (second, Unit::Bytes)].map(|(name, unit)| ValueType::new(name, unit))
    };
    Ok(match name {
        "goroutine" => watch.tasks_now()?,
        "heap" | "allocs" => {
            let [allocated, live] = [memory("alloc_objects", "alloc_space"), memory("inuse_objects", "inuse_space")];
            watch.empty_profile(name, [allocated, live].concat())
        }
        "threadcreate" => watch.empty_profile(name, vec![value("threadcreate", Unit::Count)]),
        _ => stalled_as(&watch.stalled_so_far(), name).unwrap_or_else(|| watch.empty_profile(name, Vec::new())),
    })
}

/// Stalled time with the values of Go's `block` and `mutex`. `mutex` contains only stalls caused by locks.
fn stalled_as(stalled: &Profile, name: &str) -> Option<Profile> {
    let lock_only = match name {
        "block" => false,
        "mutex" => true,
        _ => return None,
    };
    let mut profile = stalled.clone();
    profile.kind = name.into();
    profile.values = vec![ValueType::new("contentions", Unit::Count), ValueType::new("delay", Unit::Nanoseconds)];
    profile.drawn = 1;
    let is_wanted = |sample: &Sample| {
        !lock_only || stalled.labels_of(sample).is_some_and(|labels| labels.state.as_deref() == Some("lock"))
    };
    profile.samples = stalled.samples.iter().filter(|sample| is_wanted(sample)).copied().collect();
    for sample in &mut profile.samples {
        let [stalls, _, _, time] = sample.values;
        sample.values = [stalls, time, 0, 0];
    }
    Some(profile)
}

async fn symbol_by_query(State(watch): State<Arc<WatchState>>, RawQuery(raw): RawQuery) -> Response {
    symbol(&watch, raw.unwrap_or_default()).await
}

/// The body is the only one that the endpoint reads.
async fn symbol_by_body(State(watch): State<Arc<WatchState>>, body: Body) -> Response {
    match tokio::time::timeout(BODY_LIMIT, to_bytes(body, BODY_SIZE)).await {
        Ok(Ok(body)) => symbol(&watch, String::from_utf8_lossy(&body).into_owned()).await,
        Ok(Err(_)) => error(
            StatusCode::PAYLOAD_TOO_LARGE,
            &format!("the list of addresses broke off, or is longer than {BODY_SIZE} bytes"),
        ),
        Err(_) => error(
            StatusCode::REQUEST_TIMEOUT,
            &format!("the list of addresses did not come within {} s", BODY_LIMIT.as_secs()),
        ),
    }
}

/// Names take time, and other requests must not wait for them.
async fn symbol(watch: &Arc<WatchState>, addresses: String) -> Response {
    let named = on_a_thread(watch, Stop::default(), move |watch, _| symbols(watch, &addresses));
    named.await.map_or_else(unanswered, plain)
}

/// One line for each address of `0x1234+0x5678` that has a name. The first line says that names are available.
fn symbols(watch: &WatchState, addresses: &str) -> String {
    let mut text = "num_symbols: 1\n".to_owned();
    for address in addresses.split('+').filter_map(address) {
        if let Some(name) = watch.name_of(address) {
            // Writing to a String cannot fail.
            let _infallible = writeln!(text, "{address:#x} {name}");
        }
    }
    text
}

/// An address in hexadecimal, as the tool writes it, or in decimal.
fn address(word: &str) -> Option<u64> {
    let word = word.trim();
    match word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => word.parse().ok(),
    }
}

async fn index(State(watch): State<Arc<WatchState>>) -> Response {
    let alive: usize = watch.runtime_tasks().iter().map(|runtime| runtime.alive).sum();
    let stalled = watch.stalled_so_far();
    let locks = stalled_as(&stalled, "mutex").map_or(0, |profile| profile.total(0));
    let rows: String = PROFILES
        .into_iter()
        .map(|(name, description)| {
            let count = match name {
                "goroutine" => i64::try_from(alive).unwrap_or(i64::MAX),
                "block" => stalled.total(0),
                "mutex" => locks,
                _ => 0,
            };
            format!("<tr><td>{count}</td><td><a href=\"{name}?debug=1\">{name}</a></td><td>{description}</td></tr>\n")
        })
        .collect();
    answer(
        HTML,
        format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{ROOT}</title>\n\
             <style>body{{font-family:sans-serif;margin:2rem}}td,th{{text-align:left;padding:.2rem 1rem .2rem 0}}</style></head>\n\
             <body><h1>{ROOT}</h1>\n<p>Set <code>debug=1</code> to read a profile as text, or pass the address to \
             <code>go tool pprof</code>.</p>\n<table>\n<tr><th>Count</th><th>Profile</th><th>Contents</th></tr>\n{rows}\
             <tr><td></td><td><a href=\"cmdline\">cmdline</a></td><td>the command line of the program</td></tr>\n\
             <tr><td></td><td><a href=\"profile?seconds=5\">profile</a></td><td>CPU time of all threads in the next seconds (default 30, ?seconds=…)</td></tr>\n\
             <tr><td></td><td><a href=\"trace?seconds=1\">trace</a></td><td>the activity of each worker in the next seconds, for ui.perfetto.dev</td></tr>\n\
             </table>\n<p><a href=\"goroutine?debug=2\">all tasks with stacks</a>, <a href=\"/\">the index of holdup</a></p>\n</body></html>\n"
        ),
    )
}
