//! `holdup workers [URL]`: the current state of each worker.

use std::io::Write;
use std::process::ExitCode;

use super::target::EndpointTarget;
use crate::export::json::WorkersAnswer;
use crate::export::stall_json_view::duration;
use crate::export::text::milliseconds;

const PATH: &str = "/debug/holdup/workers";

#[derive(Debug, clap::Args)]
#[command(after_help = "For a process without an endpoint, use `holdup top --pid PID`.")]
pub(super) struct Arguments {
    #[command(flatten)]
    target: EndpointTarget,
    /// Print the endpoint's JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let endpoint = arguments.target.endpoint()?;
    if arguments.json {
        out.write_all(endpoint.text(PATH)?.as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    let answer: WorkersAnswer = endpoint.json(PATH)?;
    for now in &answer.workers {
        let worker = now.worker.map_or_else(|| "block_on".to_owned(), |worker| worker.to_string());
        let polling = now.polling_for_ms.map_or_else(String::new, |ms| format!(" for {}", milliseconds(duration(ms))));
        let task = now.task.as_ref().map_or_else(String::new, |task| format!("  task {}", task.sentence()));
        let (runtime, thread) = (&now.runtime, &now.thread);
        writeln!(out, "{runtime:<16} {worker:<9} {thread} ({})  {}{polling}{task}", now.tid, now.activity)?;
    }
    Ok(ExitCode::SUCCESS)
}
