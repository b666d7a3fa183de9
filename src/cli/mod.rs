//! The `holdup` command, with one file per verb. A verb works on the endpoint of a service, on a process by its id, or
//! on profiles in files.
//!
//! Exit codes: 0 for success; 1 for a negative finding, such as a running stall; 2 for errors, such as a service that ends
//! during `stalls --follow`; 3 if threads of a process could not be seen.

/// `holdup check`.
mod check;

/// The HTTP client for endpoints.
mod client;

/// The command line as text.
mod command_line;

/// `holdup completions`.
mod completions;

/// `holdup convert`.
mod convert;

/// `holdup diff`.
mod diff;

/// `holdup dump`.
mod dump;

/// The endpoint of a service.
mod endpoint;

/// Exit codes.
mod exit_code;

/// `holdup explain`.
mod explain;

/// `holdup stalls --follow`.
mod follow;

/// `holdup heap`.
mod heap;

/// Ctrl-C.
mod interrupt;

/// `holdup top --pid`.
mod live;

/// `holdup man`.
mod man;

/// Profiles in files.
mod profiles;

/// A progress bar.
mod progress;

/// `holdup ps`.
mod ps;

/// `holdup record`.
mod record;

/// Profiles of the next seconds.
mod recording;

/// HTTP over a Unix socket.
mod socket;

/// `holdup stalls`.
mod stalls;

/// `holdup symbols`.
mod symbols;

/// Endpoints, processes and files as arguments.
mod target;

/// `holdup tasks`.
mod tasks;

/// `holdup top`.
mod top;

/// `holdup workers`.
mod workers;

use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

/// The text below the list of verbs.
const NOTES: &str = "Verbs that observe a service take the URL of its endpoint (default http://127.0.0.1:6060; \
unix:/run/my.sock is a socket), or a process id with --pid. An endpoint with a token needs --token-file FILE, HOLDUP_TOKEN or \
HOLDUP_TOKEN_FILE.

Exit codes: 0 for success; 1 if `stalls` finds a running stall, a profile has no samples, `ps` finds no process, or \
`check` finds something missing; 2 for errors; 3 if `stalls`, `dump` or `top` could not see every thread of a process that may \
run a worker. Set NO_COLOR for output without colors.";

#[derive(Debug, Parser)]
#[command(
    name = "holdup",
    version,
    about = "What's holding up your Tokio runtime?",
    after_help = NOTES,
    arg_required_else_help = true
)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the processes of this machine that run Tokio, and what holdup can do with each
    Ps(ps::Arguments),
    /// Show past and current stalls: which worker, which function, why, and what to do
    Stalls(stalls::Arguments),
    /// Show the functions that take the most CPU time, or the current activity of a process
    Top(top::Arguments),
    /// Record a profile of CPU time, wall-clock time or stalled time as a flamegraph or in another format
    Record(record::Arguments),
    /// Show where memory goes: which code holds it, or what a process uses it for
    Heap(heap::Arguments),
    /// Show every task of a process and what it awaits
    Dump(dump::Arguments),
    /// Show the tasks that use the workers, with polls, times and delays
    Tasks(tasks::Arguments),
    /// Show the current state of each worker
    Workers(workers::Arguments),
    /// Show what holdup sees in a service, and which settings would show more
    Check(check::Arguments),
    /// Explain causes and their remedies
    Explain(explain::Arguments),
    /// Convert a profile to another format, whole or in part
    Convert(convert::Arguments),
    /// Show the difference of two profiles
    Diff(diff::Arguments),
    /// Extract debug information to a file, for processes that run a stripped program
    Symbols(symbols::Arguments),
    /// Print a completion script for a shell
    Completions(completions::Arguments),
    /// Print the manual page, or write one for each verb
    Man(man::Arguments),
}

/// Parses the command line and runs the verb. Returns the exit code.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut out = std::io::stdout().lock();
    let outcome = match &arguments.verb {
        Verb::Ps(arguments) => ps::run(arguments, &mut out),
        Verb::Record(arguments) => record::run(arguments, &mut out),
        Verb::Heap(arguments) => heap::run(arguments, &mut out),
        Verb::Stalls(arguments) => stalls::run(arguments, &mut out),
        Verb::Tasks(arguments) => tasks::run(arguments, &mut out),
        Verb::Dump(arguments) => dump::run(arguments, &mut out),
        Verb::Symbols(arguments) => symbols::run(arguments, &mut out),
        Verb::Workers(arguments) => workers::run(arguments, &mut out),
        Verb::Convert(arguments) => convert::run(arguments, &mut out),
        Verb::Diff(arguments) => diff::run(arguments, &mut out),
        Verb::Top(arguments) => top::run(arguments, &mut out),
        Verb::Explain(arguments) => explain::run(arguments, &mut out),
        Verb::Check(arguments) => check::run(arguments, &mut out),
        Verb::Completions(arguments) => completions::run(arguments, Arguments::command(), &mut out),
        Verb::Man(arguments) => man::run(arguments, Arguments::command(), &mut out),
    };
    match outcome.and_then(|code| Ok(out.flush().map(|()| code)?)) {
        Ok(code) => code,
        // The reader has closed the pipe, as in `holdup stalls | head`.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(exit_code::ERROR)
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>());
    io.is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
}
