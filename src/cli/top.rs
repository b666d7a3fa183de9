//! `holdup top FILE`: the functions of a profile by what they take. `holdup top --pid N`: what a process does now.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::NOTHING;
use super::live::{self, Live};
use super::profiles::{self, Selection};
use super::tasks::seconds;
use crate::analysis::top;
use crate::export::profile::{Format, summary};
use crate::export::tables;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The profile: folded, pprof, or holdup's own json, also gzipped; - is standard input
    #[arg(required_unless_present = "pid")]
    file: Option<PathBuf>,
    /// Show what this process does now, from outside and unchanged: workers, tasks by CPU time and by what they wait for, and
    /// stalls
    #[arg(short, long, value_name = "PID", conflicts_with = "file", value_parser = clap::value_parser!(u32).range(1..))]
    pid: Option<u32>,
    /// How long each look at the process adds up: seconds, or with a unit such as 500ms
    #[arg(short, long, default_value = "1", value_name = "SECONDS", value_parser = seconds, requires = "pid")]
    interval: Duration,
    /// How many times the process is shown, otherwise until Ctrl-C
    #[arg(long, value_name = "TIMES", requires = "pid", value_parser = clap::value_parser!(u32).range(1..))]
    count: Option<u32>,
    /// The same as --count 1
    #[arg(long, requires = "pid", conflicts_with = "count")]
    once: bool,
    /// From how long on a poll is a stall, such as 10ms or 1s
    #[arg(short, long, default_value = "10ms", value_name = "TIME", value_parser = seconds, requires = "pid")]
    threshold: Duration,
    /// The format of FILE: folded, pprof or json. Otherwise its content tells
    #[arg(long, conflicts_with = "pid")]
    from: Option<Format>,
    /// How many functions to show, or rows of each table
    #[arg(short = 'n', long, value_name = "N")]
    rows: Option<usize>,
    #[command(flatten)]
    selection: Selection,
}

/// Functions, unless another number is asked for.
const FUNCTIONS: usize = 20;

/// Rows of each table of a process.
const ROWS: usize = 8;

pub(super) fn run(arguments: &Arguments, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    if let Some(pid) = arguments.pid {
        let Arguments { interval, threshold, .. } = *arguments;
        let times = if arguments.once { Some(1) } else { arguments.count };
        return live::run(&Live { pid, interval, threshold, rows: arguments.rows.unwrap_or(ROWS), times }, out);
    }
    let Some(file) = &arguments.file else { anyhow::bail!("name a profile, or a process with --pid") };
    let profile = arguments.selection.of(&profiles::read(file, arguments.from)?)?;
    writeln!(out, "{} ({})", summary::title(&profile), summary::quality(&profile))?;
    out.write_all(tables::top(&top::of(&profile), arguments.rows.unwrap_or(FUNCTIONS)).as_bytes())?;
    Ok(if profile.samples.is_empty() { NOTHING.into() } else { ExitCode::SUCCESS })
}
