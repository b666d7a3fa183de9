//! `holdup dump --pid PID`: every task of a process, and what it awaits.

use std::io::Write;
use std::process::ExitCode;

use super::exit_code::UNSEEN;
use super::symbols::SourceArguments;
use super::target::ProcessTarget;
use crate::attach::Process;
use crate::export::census_json::CensusJson;
use crate::export::census_text::{self, Options};
use crate::model::census::{Census, RuntimeNow, TaskState};
use crate::quantity;

/// The effects and the requirements of a dump.
const NEEDS: &str = "The process is not changed, and no code is injected. Its memory is read. Running threads are stopped \
for that time, which the last lines report. A sleeping thread is stopped only if it waits for a lock, and its stack \
cannot be unwound otherwise.

To show what tasks await, a dump needs debug information with types (`debug = 2` in the build profile): in the program, \
beside it (.debug, build-id folders, .dwp), or in a file of `holdup symbols extract`. Without types, it shows tasks, \
their states and stacks. It needs Linux on x86_64 and the permissions of the process's user.

Exit code 3 if a thread that may run a worker could not be seen.";

#[derive(Debug, clap::Args)]
#[command(after_help = NEEDS)]
pub(super) struct Arguments {
    #[command(flatten)]
    target: ProcessTarget,
    /// Show every task, instead of one entry for all tasks that wait in the same way
    #[arg(long)]
    all: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Only tasks inside a function with a name that contains this text
    #[arg(long, value_name = "TEXT")]
    function: Option<String>,
    /// Only tasks in this state
    #[arg(long, value_name = "STATE", value_parser = state)]
    state: Option<TaskState>,
    /// Only tasks of this runtime, by its number in the output
    #[arg(long, value_name = "NUMBER", value_parser = quantity::number::<usize>)]
    runtime: Option<usize>,
    /// Show the native stacks of all threads, instead of those that poll a task
    #[arg(long)]
    stacks: bool,
    #[command(flatten)]
    sources: SourceArguments,
}

fn state(text: &str) -> Result<TaskState, String> {
    let found = TaskState::ALL.into_iter().find(|state| state.as_str() == text);
    found.ok_or_else(|| {
        let all: Vec<&str> = TaskState::ALL.iter().map(|state| state.as_str()).collect();
        format!("not a task state; the states are {}", all.join(", "))
    })
}

pub(super) fn run(arguments: &Arguments, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    Process::open_with(arguments.target.pid, arguments.sources.options())?
        .with_census(|census| show(census, arguments, out))?
}

fn show(mut census: Census, arguments: &Arguments, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let is_unseen = census.quality.unseen_threads > 0;
    census.tasks.retain(|task| {
        arguments.function.as_ref().is_none_or(|text| task.is_in(text))
            && arguments.state.is_none_or(|state| task.state == state)
            && arguments.runtime.is_none_or(|runtime| RuntimeNow::number(task.runtime) == runtime)
    });
    if arguments.json {
        serde_json::to_writer_pretty(&mut *out, &CensusJson::from(&census))?;
        writeln!(out)?;
    } else {
        let options = Options { all: arguments.all, stacks: arguments.stacks };
        out.write_all(census_text::text(&census, options).as_bytes())?;
    }
    out.flush()?;
    Ok(if is_unseen { UNSEEN.into() } else { ExitCode::SUCCESS })
}
