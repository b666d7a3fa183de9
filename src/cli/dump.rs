//! `holdup dump --pid N`: every task of a running process, and what it awaits.

use std::io::Write;
use std::process::ExitCode;

use super::symbols::SourceArguments;
use crate::attach::Process;
use crate::export::census_json::CensusJson;
use crate::export::census_text::{self, Options};
use crate::model::census::{Census, RuntimeNow, TaskState};

/// What can be done about what is missing.
const NEEDS: &str = "Nothing of the process is changed, run or injected. Its memory is read; threads that run are held \
meanwhile, for as long as the last lines tell, and threads that sleep are not touched. What tasks await is told by debug information with types (`debug = 2` in the profile the program is built with), \
in its file, beside it (.debug, build-id folders, .dwp), or extracted (`holdup symbols extract`); with less there are tasks, their states and stacks. It needs Linux on x86_64, and the rights of the process's user.";

#[derive(Debug, clap::Args)]
#[command(after_help = NEEDS)]
pub(super) struct Arguments {
    /// The process
    #[arg(long, value_name = "PID")]
    pid: u32,
    /// Show each task for itself, and not those together that wait in the same way
    #[arg(long)]
    all: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Only tasks that are in a function whose name contains this
    #[arg(long, value_name = "TEXT")]
    function: Option<String>,
    /// Only tasks in this state
    #[arg(long, value_name = "STATE", value_parser = state)]
    state: Option<TaskState>,
    /// Only tasks of this runtime, as it is numbered in the output
    #[arg(long, value_name = "NUMBER")]
    runtime: Option<usize>,
    /// Show the native stacks of all threads, and not only of those that poll a task
    #[arg(long)]
    stacks: bool,
    #[command(flatten)]
    sources: SourceArguments,
}

fn state(text: &str) -> Result<TaskState, String> {
    let found = TaskState::ALL.into_iter().find(|state| state.as_str() == text);
    found.ok_or_else(|| {
        let all: Vec<&str> = TaskState::ALL.iter().map(|state| state.as_str()).collect();
        format!("it is one of {}", all.join(", "))
    })
}

pub(super) fn run(arguments: &Arguments, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    Process::open_with(arguments.pid, arguments.sources.options())?
        .with_census(|census| show(census, arguments, out))??;
    Ok(ExitCode::SUCCESS)
}

fn show(mut census: Census, arguments: &Arguments, out: &mut impl Write) -> anyhow::Result<()> {
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
    Ok(out.flush()?)
}
