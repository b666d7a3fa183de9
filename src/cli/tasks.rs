//! `holdup tasks [URL]`: the tasks that use the workers in the next seconds.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use super::target::EndpointTarget;
use crate::model::task_stats::{TaskColumn, TaskGroup};
use crate::quantity;

const PATH: &str = "/debug/holdup/tasks";

#[derive(Debug, clap::Args)]
#[command(after_help = "For a process without an endpoint, use `holdup top --pid PID`.")]
pub(super) struct Arguments {
    #[command(flatten)]
    target: EndpointTarget,
    /// How long polls are counted, such as 500ms, 2s or 1m; at most 60 s
    #[arg(short, long, default_value = "1s", value_name = "DURATION", value_parser = quantity::duration)]
    duration: Duration,
    /// What a row stands for: name (all polls with one name, such as a request's route), spawn (all tasks spawned at one
    /// place) or task. Polls without a name are grouped by spawn location
    #[arg(long, default_value = TaskGroup::default().as_str(), value_name = "GROUP")]
    by: TaskGroup,
    /// The column to sort by: busy, polls, max, mean, idle, delay, task, spawn or name
    #[arg(long, default_value = TaskColumn::default().as_str(), value_name = "COLUMN")]
    sort: TaskColumn,
    /// The number of rows
    #[arg(short = 'n', long, default_value_t = 30, value_name = "N", value_parser = quantity::number::<usize>)]
    rows: usize,
    /// Print the endpoint's JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let Arguments { target, duration, by, sort, rows, json } = arguments;
    let (by, sort) = (by.as_str(), sort.as_str());
    let format = if *json { "json" } else { "text" };
    let seconds = duration.as_secs_f64();
    let path = format!("{PATH}?seconds={seconds}&by={by}&sort={sort}&limit={rows}&format={format}");
    out.write_all(target.endpoint()?.text_after(&path, *duration)?.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
