//! `/debug/holdup/profile` and `/debug/holdup/flamegraph.svg`: a profile of the next seconds, in any format.

use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::answer::{TEXT, answer, failed};
use super::query::{BadQuery, Query};
use super::work::{NotDone, on_a_thread};
use crate::analysis::filter::{Filter, pattern};
use crate::analysis::group::{self, Group};
use crate::export::profile::{Format, Frames};
use crate::inprocess::{ProfileError, ProfileMode, ProfileOptions, Stop, WatchState};
use crate::model::plural::plural;

/// Short, because a person waits for the flamegraph in a browser.
const FLAMEGRAPH_WINDOW: Duration = Duration::from_secs(5);

/// The limit of the query in a caption, in characters.
const MAX_QUERY: usize = 300;

const PARAMETERS: [&str; 14] = [
    "mode",
    "seconds",
    "rate",
    "format",
    "group",
    "include",
    "exclude",
    "thread",
    "runtime",
    "task",
    "spawn",
    "state",
    "name",
    "all_frames",
];

/// The parameters of a request.
#[derive(Debug)]
struct Request {
    options: ProfileOptions,
    format: Format,
    groups: Vec<Group>,
    filter: Filter,
    frames: Frames,
    name: Option<String>,
    /// The path and parameters, for the caption.
    command: String,
}

impl Request {
    fn parse(raw: Option<&str>, flamegraph: bool) -> Result<Self, BadQuery> {
        let query = Query::parse(raw).only(&PARAMETERS)?;
        let mut options = ProfileOptions::new(query.get("mode")?.unwrap_or_default());
        if flamegraph {
            options.duration = FLAMEGRAPH_WINDOW;
        }
        if let Some(duration) = query.duration("seconds")? {
            options.duration = duration;
        }
        if let Some(rate) = query.number("rate")? {
            options.rate = rate;
        }
        options.check().map_err(BadQuery::sentence)?;
        let format = match query.get("format")? {
            Some(format) => format,
            None if flamegraph => Format::Flamegraph,
            None => Format::Pprof,
        };
        let patterns = |name: &str| match query.get::<String>(name)? {
            Some(text) => pattern(&text).map(|pattern| vec![pattern]).map_err(BadQuery::sentence),
            None => Ok(Vec::new()),
        };
        let filter = Filter {
            thread: query.get("thread")?,
            runtime: query.get("runtime")?,
            task: query.get("task")?,
            spawn: query.get("spawn")?,
            state: query.get("state")?,
            include: patterns("include")?,
            exclude: patterns("exclude")?,
        };
        let groups = query.get::<String>("group")?.unwrap_or_default();
        let groups = groups.split(',').filter(|group| !group.is_empty());
        let groups: Vec<Group> = groups
            .map(|group| Group::from_str(group).map_err(|error| BadQuery::new("group", group, error)))
            .collect::<Result<_, _>>()?;
        let frames = match query.get("all_frames")? {
            Some(true) => Frames::All,
            Some(false) => Frames::WithoutRuntime,
            None => Frames::of(format),
        };
        let command = command(raw, flamegraph);
        Ok(Self { options, format, groups, filter, frames, name: query.get("name")?, command })
    }

    /// Stalls are grouped by runtime, because stalls of different runtimes are independent. Other flamegraphs are one
    /// tree by default.
    fn groups(&self) -> &[Group] {
        let stalled = self.options.mode == ProfileMode::Stalled && self.format == Format::Flamegraph;
        if self.groups.is_empty() && stalled { &[Group::Runtime] } else { &self.groups }
    }

    fn file_name(&self) -> String {
        format!("{}.{}", self.options.mode.as_str(), self.format.extension())
    }
}

/// `/debug/holdup/profile`.
pub(super) async fn show(State(watch): State<Arc<WatchState>>, RawQuery(raw): RawQuery) -> Response {
    respond(&watch, Request::parse(raw.as_deref(), false)).await
}

/// `/debug/holdup/flamegraph.svg`.
pub(super) async fn show_flamegraph(State(watch): State<Arc<WatchState>>, RawQuery(raw): RawQuery) -> Response {
    respond(&watch, Request::parse(raw.as_deref(), true)).await
}

/// The request as a caption, such as `GET /debug/holdup/flamegraph.svg?mode=wall`.
fn command(raw: Option<&str>, flamegraph: bool) -> String {
    let path = if flamegraph { "flamegraph.svg" } else { "profile" };
    let query = raw.unwrap_or_default().chars().take(MAX_QUERY);
    let query: String = query.filter(|character| !character.is_control()).collect();
    let mark = if query.is_empty() { "" } else { "?" };
    format!("GET /debug/holdup/{path}{mark}{query}")
}

/// `/debug/holdup/stalls.svg`: stalled time since the start of the watch.
pub(super) async fn show_stalls(State(watch): State<Arc<WatchState>>) -> Response {
    let drawn = on_a_thread(&watch, Stop::default(), |watch, _| {
        let mut profile = group::by(&watch.stalled_so_far(), &[Group::Runtime]);
        profile.command = Some("GET /debug/holdup/stalls.svg".into());
        let mut svg = Vec::new();
        profile.write(Format::Flamegraph, &mut svg).map(|()| svg)
    });
    match drawn.await {
        Ok(Ok(svg)) => file(Format::Flamegraph, svg, None),
        Ok(Err(error)) => failed(&error),
        Err(not_done) => unanswered(not_done),
    }
}

/// `POST /debug/holdup/profile/stop?name=…`: ends the profiles of that name. They are answered with what was collected.
pub(super) async fn stop(State(watch): State<Arc<WatchState>>, RawQuery(raw): RawQuery) -> Response {
    let name = Query::parse(raw.as_deref()).only(&["name"]).and_then(|query| query.get::<String>("name"));
    match name {
        Ok(Some(name)) => {
            let ended = watch.stop_profiles(&name);
            let status = if ended > 0 { StatusCode::OK } else { StatusCode::NOT_FOUND };
            (status, answer(TEXT, format!("ended {} named {name}\n", plural(ended, "profile")))).into_response()
        }
        Ok(None) => BadQuery::sentence("name is missing: give the name of the profile request to end").into_response(),
        Err(error) => error.into_response(),
    }
}

async fn respond(watch: &Arc<WatchState>, request: Result<Request, BadQuery>) -> Response {
    let request = match request {
        Ok(request) => request,
        Err(error) => return error.into_response(),
    };
    let (format, name) = (request.format, request.file_name());
    let stop = Stop::named(request.name.as_deref());
    let collected = on_a_thread(watch, stop, move |watch, stop| {
        let profile = watch.profile(&request.options, stop)?;
        let mut profile = group::by(&request.filter.apply(&profile), request.groups());
        profile.command = Some(request.command.as_str().into());
        let mut bytes = Vec::new();
        profile.write_with(request.format, request.frames, &mut bytes).map_err(ProfileError::Failed).map(|()| bytes)
    });
    match collected.await {
        Ok(Ok(bytes)) => file(format, bytes, Some(&name)),
        Ok(Err(error)) => refused(&error),
        Err(not_done) => unanswered(not_done),
    }
}

/// A file. It is an attachment unless browsers can show it.
fn file(format: Format, bytes: Vec<u8>, name: Option<&str>) -> Response {
    let shown = matches!(format, Format::Flamegraph | Format::Folded | Format::Json);
    let mut response = answer(format.content_type(), bytes);
    if let Some(name) = name.filter(|_| !shown)
        && let Ok(value) = format!("attachment; filename=\"{name}\"").parse()
    {
        response.headers_mut().insert(header::CONTENT_DISPOSITION, value);
    }
    response
}

fn refused(error: &ProfileError) -> Response {
    let status = match error {
        ProfileError::Busy { .. } => StatusCode::CONFLICT,
        ProfileError::Unavailable(_) | ProfileError::Heap { .. } => StatusCode::NOT_IMPLEMENTED,
        ProfileError::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::BAD_REQUEST,
    };
    (status, answer(TEXT, sentence(error))).into_response()
}

fn sentence(text: impl Display) -> String {
    format!("{text}\n")
}

fn unanswered(not_done: NotDone) -> Response {
    (not_done.status(), answer(TEXT, sentence(format_args!("the profile failed: {not_done}")))).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_have_limits() {
        let refused = [
            "seconds=0",
            "seconds=-1",
            "seconds=301",
            "seconds=NaN",
            "seconds=inf",
            "rate=0",
            "rate=1001",
            "rate=x",
            "mode=memory",
            "format=xml",
            "include=(",
            "group=color",
            "color=red",
            "all_frames=1",
            "seconds=1&seconds=2",
        ];
        for query in refused {
            assert!(Request::parse(Some(query), false).is_err(), "{query}");
        }
        let query = "mode=wall&seconds=0.5&rate=250&format=folded&group=task,thread&exclude=%5Etokio&runtime=api";
        let request = Request::parse(Some(query), false).expect("is valid");
        assert_eq!((request.options.mode, request.options.rate), (ProfileMode::Wall, 250));
        assert_eq!(request.options.duration, Duration::from_millis(500));
        assert_eq!((request.format, request.groups()), (Format::Folded, [Group::Task, Group::Thread].as_slice()));
        assert_eq!((request.frames, request.command), (Frames::All, format!("GET /debug/holdup/profile?{query}")));
        let frames = |query, flamegraph| Request::parse(query, flamegraph).expect("is valid").frames;
        assert_eq!(frames(None, true), Frames::WithoutRuntime);
        assert_eq!(frames(Some("all_frames=true"), true), Frames::All);
        assert_eq!(frames(Some("all_frames=false"), false), Frames::WithoutRuntime);
        assert!(request.filter.exclude[0].is_match("tokio::x") && request.filter.runtime.as_deref() == Some("api"));
    }
}
