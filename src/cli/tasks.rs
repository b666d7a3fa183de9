//! `holdup tasks [URL]`: which tasks kept the workers busy for the next seconds.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};

use super::{DEFAULT_URL, client};
use crate::model::task_stats::{TaskColumn, TaskGroup};

const PATH: &str = "/debug/holdup/tasks";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The endpoint of the service
    #[arg(default_value = DEFAULT_URL)]
    url: String,
    /// For how long polls are counted: seconds, or with a unit such as 500ms, 2s or 1m
    #[arg(short, long, default_value = "1", value_name = "SECONDS", value_parser = seconds)]
    duration: Duration,
    /// What a row is: task or spawn (all tasks spawned at one place)
    #[arg(long, default_value = TaskGroup::default().as_str(), value_name = "GROUP")]
    by: TaskGroup,
    /// The column to sort by: busy, polls, max, mean, idle, delay, task, spawn or name
    #[arg(long, default_value = TaskColumn::default().as_str(), value_name = "COLUMN")]
    sort: TaskColumn,
    /// Rows to show
    #[arg(short = 'n', long, default_value_t = 30)]
    rows: usize,
    /// Print the endpoint's JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let Arguments { url, duration, by, sort, rows, json } = arguments;
    let (by, sort) = (by.as_str(), sort.as_str());
    let format = if *json { "json" } else { "text" };
    let seconds = duration.as_secs_f64();
    let path = format!("{PATH}?seconds={seconds}&by={by}&sort={sort}&limit={rows}&format={format}");
    out.write_all(client::text_after(url, &path, *duration)?.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// A length of time from the command line.
pub(super) fn seconds(text: &str) -> anyhow::Result<Duration> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text.get(digits.len()..) {
        Some("" | "s") => 1.0,
        Some("ms") => 1e-3,
        Some("m" | "min") => 60.0,
        _ => bail!("the units are ms, s and m"),
    };
    let number: f64 = digits.parse().context("give seconds, such as 2, 0.5, 500ms or 1m")?;
    Duration::try_from_secs_f64(number * unit).context("give seconds, such as 2, 0.5, 500ms or 1m")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_seconds_unless_they_say_otherwise() {
        for (text, ms) in [("2", 2_000), ("0.5", 500), ("250ms", 250), ("3s", 3_000), ("1m", 60_000)] {
            assert_eq!(seconds(text).ok(), Some(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "s", "-1", "1h", "1 s", "nan", "inf", "1e99", "é"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
