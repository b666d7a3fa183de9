//! The `holdup` command: one file per verb. It asks the endpoint of a running service and shows the answer.
//!
//! Exit codes: 0 for success, 1 when `stalls` finds a stall that lasts, 2 for errors, among them a service that goes away
//! while `stalls --follow` watches it.

/// Asks an endpoint.
mod client;

/// `holdup explain`.
mod explain;

/// `holdup stalls --follow`.
mod follow;

/// `holdup stalls`.
mod stalls;

/// `holdup tasks`.
mod tasks;

/// `holdup workers`.
mod workers;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Where services listen unless they say otherwise.
const DEFAULT_URL: &str = "http://127.0.0.1:6060";

#[derive(Debug, Parser)]
#[command(name = "holdup", version, about = "What's holding up your Tokio runtime?", arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show what held workers up, and what does now
    Stalls(stalls::Arguments),
    /// Count polls for a while, and show which tasks kept the workers busy
    Tasks(tasks::Arguments),
    /// Show what each worker does now
    Workers(workers::Arguments),
    /// Explain a cause, or all of them
    Explain(explain::Arguments),
}

/// Parses the command line, runs the verb, and maps the outcome to an exit code.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut out = std::io::stdout().lock();
    let outcome = match &arguments.verb {
        Verb::Stalls(arguments) => stalls::run(arguments, &mut out),
        Verb::Tasks(arguments) => tasks::run(arguments, &mut out),
        Verb::Workers(arguments) => workers::run(arguments, &mut out),
        Verb::Explain(arguments) => explain::run(arguments, &mut out),
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
