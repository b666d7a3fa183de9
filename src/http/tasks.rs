//! `/debug/holdup/tasks`: task statistics of the next seconds, counted while the client waits.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::answer::{TEXT, answer, json};
use super::query::{BadQuery, Query};
use crate::export::task_json::TasksAnswer;
use crate::export::task_notes;
use crate::export::task_table::{self, Table};
use crate::inprocess::WatchState;
use crate::model::task_stats::{TaskColumn, TaskGroup};

const DEFAULT_WINDOW: Duration = Duration::from_secs(1);

/// Counting makes polls slower, so a window has a limit.
const MAX_WINDOW: Duration = Duration::from_secs(60);

const DEFAULT_LIMIT: usize = 100;

/// With so many rows, an answer has some megabytes.
const MAX_LIMIT: usize = 10_000;

/// The parameters of a request.
#[derive(Debug)]
struct Request {
    window: Duration,
    by: TaskGroup,
    sort: TaskColumn,
    limit: usize,
    format: Format,
}

#[derive(Clone, Copy, Debug, Default)]
enum Format {
    #[default]
    Json,
    Text,
}

impl FromStr for Format {
    type Err = &'static str;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "json" => Ok(Self::Json),
            "text" => Ok(Self::Text),
            _ => Err("the formats are json and text"),
        }
    }
}

impl Request {
    fn parse(raw: Option<&str>) -> Result<Self, BadQuery> {
        let query = Query::parse(raw).only(&["seconds", "by", "sort", "limit", "format"])?;
        let window = query.duration("seconds")?.unwrap_or(DEFAULT_WINDOW);
        if window.is_zero() || window > MAX_WINDOW {
            let problem = format_args!("it must be more than 0 and at most {} s", MAX_WINDOW.as_secs());
            return Err(BadQuery::new("seconds", window.as_secs_f64(), problem));
        }
        let limit = query.number("limit")?.unwrap_or(DEFAULT_LIMIT);
        if limit > MAX_LIMIT {
            return Err(BadQuery::new("limit", limit, format_args!("it must be at most {MAX_LIMIT}")));
        }
        Ok(Self {
            window,
            by: query.get("by")?.unwrap_or_default(),
            sort: query.get("sort")?.unwrap_or_default(),
            limit,
            format: query.get("format")?.unwrap_or_default(),
        })
    }
}

/// If the client disconnects, this future is dropped with its guard, and the polls are no longer counted.
pub(super) async fn show(State(watch): State<Arc<WatchState>>, RawQuery(raw): RawQuery) -> Response {
    let request = match Request::parse(raw.as_deref()) {
        Ok(request) => request,
        Err(error) => return error.into_response(),
    };
    let counting = match watch.count_tasks() {
        Ok(counting) => counting,
        Err(error) => return (StatusCode::TOO_MANY_REQUESTS, answer(TEXT, format!("{error}\n"))).into_response(),
    };
    tokio::time::sleep(request.window).await;
    let stats = counting.finish();
    let mut table = Table::new(&stats, request.by, request.sort, request.limit);
    table.notes = task_notes::notes(&stats, &watch.runtime_tasks());
    match request.format {
        Format::Json => json(&TasksAnswer::from(&table)),
        Format::Text => answer(TEXT, task_table::text(&table)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_have_limits() {
        let refused = ["0", "-1", "61", "2m", "NaN", "inf", "", "1h", "1e999"];
        for seconds in refused {
            assert!(Request::parse(Some(&format!("seconds={seconds}"))).is_err(), "{seconds}");
        }
        for query in ["by=cost", "sort=", "limit=-1", "limit=1e3", "limit=10001", "format=xml", "second=1"] {
            assert!(Request::parse(Some(query)).is_err(), "{query}");
        }
        let request = Request::parse(Some("seconds=0.25&by=task&sort=max&limit=3&format=text")).expect("is valid");
        assert_eq!((request.window, request.by), (Duration::from_millis(250), TaskGroup::Task));
        assert_eq!((request.sort, request.limit), (TaskColumn::Max, 3));
    }
}
