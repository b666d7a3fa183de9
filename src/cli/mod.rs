//! The `holdup` command: one file per verb. It asks the endpoint of a running service and shows the answer, looks at a
//! process from outside, or works on profiles in files.
//!
//! Exit codes: 0 for success; 1 when `stalls` finds a stall that lasts, a profile has no samples, or `ps` finds no process; 2 for errors, among
//! them a service that goes away while `stalls --follow` watches it.

/// Asks an endpoint.
mod client;

/// `holdup completions`.
mod completions;

/// `holdup convert`.
mod convert;

/// `holdup diff`.
mod diff;

/// `holdup dump`.
mod dump;

/// `holdup explain`.
mod explain;

/// `holdup stalls --follow`.
mod follow;

/// `holdup top --pid`.
mod live;

/// Profiles in files.
mod profiles;

/// `holdup ps`.
mod ps;

/// `holdup record`.
mod record;

/// `holdup stalls`.
mod stalls;

/// `holdup tasks`.
mod tasks;

/// `holdup top`.
mod top;

/// `holdup workers`.
mod workers;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Where services listen unless they say otherwise.
const DEFAULT_URL: &str = "http://127.0.0.1:6060";

/// The exit code when there was nothing to show: a profile without samples.
const NOTHING: u8 = 1;

/// Below the list of verbs.
const EXIT_CODES: &str = "Exit codes: 0 for success; 1 when `stalls` finds a stall that lasts, a profile has no \
samples, or `ps` finds no process; 2 for errors. Set NO_COLOR for output without colours.";

#[derive(Debug, Parser)]
#[command(
    name = "holdup",
    version,
    about = "What's holding up your Tokio runtime?",
    after_help = EXIT_CODES,
    arg_required_else_help = true
)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the processes of this machine that run Tokio, and what works for each
    Ps(ps::Arguments),
    /// Record where CPU time, time, or stalled time goes, and write it as a flamegraph or in another format
    Record(record::Arguments),
    /// Show what held workers up, and what does now
    Stalls(stalls::Arguments),
    /// Count polls for a while, and show which tasks kept the workers busy
    Tasks(tasks::Arguments),
    /// Show every task of a running process, and what it awaits: from outside, by process id
    Dump(dump::Arguments),
    /// Show what each worker does now
    Workers(workers::Arguments),
    /// Write a profile in another format, or a part of it
    Convert(convert::Arguments),
    /// Show what changed between two profiles
    Diff(diff::Arguments),
    /// Show the functions of a profile by what they take, or what a running process does now
    Top(top::Arguments),
    /// Explain a cause, or all of them
    Explain(explain::Arguments),
    /// Print what makes a shell complete verbs and options
    Completions(completions::Arguments),
}

/// Parses the command line, runs the verb, and maps the outcome to an exit code.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut out = std::io::stdout().lock();
    let outcome = match &arguments.verb {
        Verb::Ps(arguments) => ps::run(arguments, &mut out),
        Verb::Record(arguments) => record::run(arguments, &mut out),
        Verb::Stalls(arguments) => stalls::run(arguments, &mut out),
        Verb::Tasks(arguments) => tasks::run(arguments, &mut out),
        Verb::Dump(arguments) => dump::run(arguments, &mut out),
        Verb::Workers(arguments) => workers::run(arguments, &mut out),
        Verb::Convert(arguments) => convert::run(arguments, &mut out),
        Verb::Diff(arguments) => diff::run(arguments, &mut out),
        Verb::Top(arguments) => top::run(arguments, &mut out),
        Verb::Explain(arguments) => explain::run(arguments, &mut out),
        Verb::Completions(arguments) => completions::run(arguments, &mut out),
    };
    match outcome.and_then(|code| Ok(out.flush().map(|()| code)?)) {
        Ok(code) => code,
        // `holdup stalls | head`: the reader has seen enough.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>());
    io.is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
}
