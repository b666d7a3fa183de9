//! `holdup top`: the functions of a service or a profile by what they take, or the current activity of a process.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use super::endpoint::{Endpoint, TokenArgument};
use super::exit_code::NEGATIVE;
use super::live::{self, Live};
use super::profiles::{self, Selection};
use super::recording::Recording;
use super::target::{DEFAULT_URL, is_url};
use crate::analysis::top;
use crate::export::profile::{Format, summary};
use crate::export::tables;
use crate::quantity;

/// The default number of functions.
const FUNCTIONS: usize = 20;

/// The default number of rows of each table of a process.
const ROWS: usize = 8;

/// Samples per second of an endpoint's profile.
const RATE: u32 = 99;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "With a URL, the CPU time of the service is sampled for the duration. `holdup record` has other \
modes and formats."
)]
pub(super) struct Arguments {
    /// The endpoint of a service, or a profile: folded, pprof or holdup's json, possibly gzipped; - is standard input
    #[arg(value_name = "URL|FILE", default_value = DEFAULT_URL)]
    target: String,
    /// Show the current activity of this process from outside: workers, tasks by CPU time and by what they await, and
    /// stalls; the process is not changed
    #[arg(short, long, value_name = "PID", conflicts_with = "target", value_parser = quantity::positive)]
    pid: Option<u32>,
    /// With a URL, how long to sample CPU time, such as 500ms or 5s
    #[arg(short, long, default_value = "5s", value_name = "DURATION", value_parser = quantity::duration, conflicts_with = "pid")]
    duration: Duration,
    /// With --pid, the time between two screens, such as 500ms or 1s
    #[arg(short, long, default_value = "1s", value_name = "DURATION", value_parser = quantity::duration, requires = "pid")]
    interval: Duration,
    /// With --pid, the number of screens; by default, until Ctrl-C
    #[arg(long, value_name = "N", requires = "pid", value_parser = quantity::positive)]
    count: Option<u32>,
    /// With --pid, the same as --count 1
    #[arg(long, requires = "pid", conflicts_with = "count")]
    once: bool,
    /// With --pid, the threshold of stalls, such as 10ms or 1s
    #[arg(short, long, default_value = "10ms", value_name = "DURATION", value_parser = quantity::duration, requires = "pid")]
    threshold: Duration,
    /// The format of FILE: folded, pprof or json. By default, its content decides
    #[arg(long, conflicts_with = "pid")]
    from: Option<Format>,
    /// The number of functions, or of rows of each table
    #[arg(short = 'n', long, value_name = "N", value_parser = quantity::number::<usize>)]
    rows: Option<usize>,
    /// With --pid, stop no thread of the process, not even for microseconds
    #[arg(long, requires = "pid")]
    never_stop: bool,
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    token: TokenArgument,
}

pub(super) fn run(arguments: &Arguments, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let Arguments { target, pid, duration, interval, threshold, rows, .. } = arguments;
    if let Some(pid) = *pid {
        let times = if arguments.once { Some(1) } else { arguments.count };
        let (interval, threshold) = (*interval, *threshold);
        let (rows, never_stop) = (rows.unwrap_or(ROWS), arguments.never_stop);
        return live::run(&Live { pid, interval, threshold, rows, times, never_stop }, out);
    }
    let profile = if is_url(target) {
        Recording { mode: "cpu", duration: *duration, rate: RATE }
            .of_endpoint(&Endpoint::new(target, &arguments.token)?)?
    } else {
        profiles::read(Path::new(target), arguments.from)?
    };
    let profile = arguments.selection.of(&profile)?;
    writeln!(out, "{} ({})", summary::title(&profile), summary::quality(&profile))?;
    let profile = arguments.selection.frames_of_table().select(&profile);
    out.write_all(tables::top(&top::of(&profile), rows.unwrap_or(FUNCTIONS)).as_bytes())?;
    Ok(if profile.samples.is_empty() { NEGATIVE.into() } else { ExitCode::SUCCESS })
}
