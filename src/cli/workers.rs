//! `holdup workers [URL]`: what each worker does now.

use std::io::Write;
use std::process::ExitCode;

use super::stalls::{length, task};
use super::{DEFAULT_URL, client};
use crate::export::json::WorkersAnswer;

const PATH: &str = "/debug/holdup/workers";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The endpoint of the service
    #[arg(default_value = DEFAULT_URL)]
    url: String,
    /// Print the endpoint's JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    if arguments.json {
        out.write_all(client::text(&arguments.url, PATH)?.as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    let answer: WorkersAnswer = client::json(&arguments.url, PATH)?;
    for now in &answer.workers {
        let worker = now.worker.map_or_else(|| "block_on".to_owned(), |worker| worker.to_string());
        let polling = now.polling_for_ms.map_or_else(String::new, |ms| format!(" for {}", length(ms)));
        let task = now.task.as_ref().map_or_else(String::new, |polled| format!("  task {}", task(polled)));
        let (runtime, thread) = (&now.runtime, &now.thread);
        writeln!(out, "{runtime:<16} {worker:<9} {thread} ({})  {}{polling}{task}", now.tid, now.activity)?;
    }
    Ok(ExitCode::SUCCESS)
}
