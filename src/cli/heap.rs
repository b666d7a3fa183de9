//! `holdup heap [URL|FILE]` and `holdup heap --pid PID`: the code that holds memory, or the kinds of memory of a process.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use super::endpoint::{Endpoint, TokenArgument};
use super::exit_code::NEGATIVE;
use super::profiles::{self, Output, Selection};
use super::recording::Recording;
use super::target::{DEFAULT_URL, is_url};
use super::{command_line, interrupt};
use crate::analysis::group::Group;
use crate::analysis::sites;
use crate::attach::memory_of;
use crate::export::profile::Format;
use crate::export::{heap_table, memory_table};
use crate::inprocess::Stop;
use crate::model::profile::Profile;
use crate::quantity;

/// The endpoint answers at once.
const AT_ONCE: Duration = Duration::from_secs(1);

const NOTES: &str = "A URL needs holdup's allocator in the program. FILE keeps the peak of a program that was started with \
HOLDUP_HEAP_PEAK=FILE, also after its end. --pid works with every program. Estimates are within their ± 95 times of 100.";

#[derive(Debug, clap::Args)]
#[command(after_help = NOTES)]
pub(super) struct Arguments {
    /// The endpoint of a service, for its live memory; or a file, with the peak of a process that may have ended, or with a
    /// profile; - is standard input
    #[arg(value_name = "URL|FILE", default_value = DEFAULT_URL)]
    target: String,
    /// Show what this process uses memory for: heap, anonymous memory, stacks, files, shared memory
    #[arg(short, long, value_name = "PID", conflicts_with_all = ["target", "output", "group"], value_parser = quantity::positive)]
    pid: Option<u32>,
    /// With --pid, how long to look for growth, once a second, such as 10s or 2m
    #[arg(short, long, value_name = "DURATION", value_parser = quantity::duration, requires = "pid")]
    duration: Option<Duration>,
    /// With FILE, the program of the same build, if it lies elsewhere now
    #[arg(long, value_name = "PROGRAM", conflicts_with = "pid")]
    program: Option<PathBuf>,
    /// One table for each of these labels: thread, runtime, task, spawn
    #[arg(short, long, value_name = "LABEL", value_delimiter = ',')]
    group: Vec<Group>,
    /// The number of rows, or of groups and of rows in each
    #[arg(short = 'n', long, default_value_t = 20, value_name = "N", value_parser = quantity::number::<usize>)]
    rows: usize,
    /// Print JSON
    #[arg(long, conflicts_with = "output")]
    json: bool,
    /// Write a profile instead of the table, in a format of `holdup record`; - is standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The format to write. By default, the extension of the file decides
    #[arg(long, requires = "output")]
    format: Option<Format>,
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    token: TokenArgument,
}

pub(super) fn run(arguments: &Arguments, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    match arguments.pid {
        Some(pid) => show_process(pid, arguments, out),
        None => show_sites(arguments, out),
    }
}

/// The memory of a process by kind.
fn show_process(pid: u32, arguments: &Arguments, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let stop = Stop::with(interrupt::flag()?);
    let mut looks = Vec::new();
    let mut shown = Ok(());
    let is_followed = arguments.duration.is_some() && !arguments.json;
    let history = memory_of(pid, arguments.duration, &stop, &mut |at, memory| {
        looks.push((at, *memory));
        if is_followed && shown.is_ok() {
            shown = writeln!(out, "{}", memory_table::look(at, memory)).and_then(|()| out.flush());
            if shown.is_err() {
                stop.stop();
            }
        }
    })?;
    shown?;
    if arguments.json {
        writeln!(out, "{}", memory_table::json(&history, &looks)?)?;
    } else {
        out.write_all(memory_table::text(&history).as_bytes())?;
    }
    if history.gone {
        eprintln!("process {pid} has ended or started another program");
    }
    Ok(ExitCode::SUCCESS)
}

/// The code that holds memory.
fn show_sites(arguments: &Arguments, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let Arguments { target, program, group, selection, .. } = arguments;
    let output = arguments.output.as_ref().map(|path| Output::new(path, arguments.format)).transpose()?;
    let profile = match is_url(target) {
        true if program.is_some() => anyhow::bail!("--program is for the file of a peak, and {target} is an endpoint"),
        true => {
            let endpoint = Endpoint::new(target, &arguments.token)?;
            Recording { mode: "heap", duration: AT_ONCE, rate: 1 }.of_endpoint(&endpoint)?
        }
        false => profiles::read_of_program(Path::new(target), None, program.as_deref())?,
    };
    let profile = selection.of(&profile)?;
    match output {
        Some(output) => {
            let mut profile = profiles::grouped(&profile, group);
            command_line::add_to(&mut profile);
            output.profile(&profile, selection.frames(output.format()), out)?;
        }
        None => print(&profile, arguments, out)?,
    }
    Ok(if profile.samples.is_empty() { NEGATIVE.into() } else { ExitCode::SUCCESS })
}

fn print(profile: &Profile, arguments: &Arguments, out: &mut impl Write) -> anyhow::Result<()> {
    let Some(groups) = sites::of(profile, &arguments.group) else {
        anyhow::bail!("{} is a profile of {}, not of memory", arguments.target, profile.kind);
    };
    if arguments.json {
        writeln!(out, "{}", heap_table::json(profile, &groups)?)?;
        return Ok(());
    }
    out.write_all(heap_table::text(profile, &groups, arguments.rows).as_bytes())?;
    for note in &profile.quality.notes {
        writeln!(out, "note: {note}")?;
    }
    Ok(())
}
