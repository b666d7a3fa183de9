//! `holdup record [URL]` and `holdup record --pid PID`: a profile of the next seconds, in a file.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::command_line;
use super::exit_code::NEGATIVE;
use super::profiles::{self, Output, Selection};
use super::recording::Recording;
use super::symbols::SymbolsArgument;
use super::target::Target;
use crate::analysis::group::Group;
use crate::export::profile::Format;
use crate::quantity;

#[derive(Debug, clap::Args)]
#[command(after_help = "Ctrl-C ends the recording early and writes the samples collected so far.")]
pub(super) struct Arguments {
    #[command(flatten)]
    target: Target,
    /// How long to record, such as 500ms, 30s or 2m
    #[arg(short, long, default_value = "30s", value_name = "DURATION", value_parser = quantity::duration)]
    duration: Duration,
    /// Samples per second, 1 to 1000; CPU timers fire at kernel ticks, often 250 times a second
    #[arg(short, long, default_value = "99", value_name = "HZ", value_parser = quantity::number::<u32>)]
    rate: u32,
    /// cpu: CPU time of all threads; wall: what workers do over time (with --pid, all threads); stalled: time in stalls, by
    /// cause; tasks (only with --pid): what all tasks await over time. Of an endpoint whose program has holdup's allocator,
    /// heap: live memory; allocs: what is allocated; peak: live memory at the peak; leaks: what is allocated and kept;
    /// temporary: what is freed at once
    #[arg(short, long, default_value = "cpu")]
    mode: String,
    /// With --pid and --mode stalled, the threshold of stalls, such as 10ms or 1s; an endpoint has its own threshold
    #[arg(short, long, default_value = "10ms", value_name = "DURATION", value_parser = quantity::duration, requires = "pid")]
    threshold: Duration,
    /// The file to write or replace, by default MODE.svg; - is standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The format to write: flamegraph, folded, pprof, firefox, speedscope, perfetto or json. By default, the extension
    /// of FILE decides: .svg .folded .txt .pb.gz .json.gz .speedscope.json .pftrace .json
    #[arg(long)]
    format: Option<Format>,
    /// Labels to add as outermost frames, outermost first: thread, runtime, task, spawn, state, size
    #[arg(short, long, value_name = "LABEL", value_delimiter = ',')]
    group: Vec<Group>,
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    symbols: SymbolsArgument,
}

pub(super) fn run(arguments: &Arguments, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let Arguments { target, mode, duration, rate, threshold, .. } = arguments;
    let path = arguments.output.clone().unwrap_or_else(|| format!("{mode}.svg").into());
    let output = Output::new(&path, arguments.format)?;
    let recording = Recording { mode, duration: *duration, rate: *rate };
    let profile = match target.pid {
        Some(pid) => recording.of_process(pid, *threshold, arguments.symbols.options())?,
        None => recording.of_endpoint(&target.endpoint()?)?,
    };
    let mut profile = profiles::grouped(&arguments.selection.of(&profile)?, &arguments.group);
    profile.command = Some(command_line::current().into());
    output.profile(&profile, arguments.selection.frames(output.format()), out)?;
    Ok(if profile.samples.is_empty() { NEGATIVE.into() } else { ExitCode::SUCCESS })
}
