//! `holdup stalls [URL]`: what held workers up, and what does now, once or as it comes.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use super::{DEFAULT_URL, client, follow};
use crate::export::json::{StallJson, StallsAnswer, TaskJson};
use crate::export::text::milliseconds;
use crate::model::stall::KnownBy;
use crate::model::waiting::Waiting;

pub(super) const PATH: &str = "/debug/holdup/stalls";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The endpoint of the service
    #[arg(default_value = DEFAULT_URL)]
    url: String,
    /// Go on until Ctrl-C: print each stall that begins or ends, once
    #[arg(short, long)]
    follow: bool,
    /// Print the endpoint's JSON; with --follow, one object a line
    #[arg(long)]
    json: bool,
    /// Print whole stacks
    #[arg(long)]
    stacks: bool,
}

pub(super) fn run(arguments: &Arguments, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    if arguments.follow {
        return follow::run(&arguments.url, out, |out, stall| {
            if arguments.json {
                writeln!(out, "{}", serde_json::to_string(stall)?)?;
            } else {
                write_stall(out, stall, arguments.stacks)?;
            }
            Ok(out.flush()?)
        });
    }
    if arguments.json {
        out.write_all(client::text(&arguments.url, PATH)?.as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    let answer: StallsAnswer = client::json(&arguments.url, PATH)?;
    if answer.stalls.is_empty() {
        writeln!(out, "No stall so far.")?;
    }
    for stall in &answer.stalls {
        write_stall(out, stall, arguments.stacks)?;
    }
    let counters = &answer.counters;
    writeln!(
        out,
        "{} stalls; {} without a stack, {} unexplained, {} forgotten",
        counters.stalls, counters.stacks_missed, counters.unexplained, counters.forgotten
    )?;
    let lasting = answer.stalls.iter().any(|stall| !stall.ended);
    Ok(if lasting { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

fn write_stall(out: &mut impl Write, stall: &StallJson, stacks: bool) -> std::io::Result<()> {
    let state = if stall.ended { "ended" } else { "LASTS" };
    let worker = stall.worker.map_or_else(|| "block_on".to_owned(), |worker| format!("worker {worker}"));
    writeln!(
        out,
        "#{} {state}  {}× {} (longest {})  {} of {}",
        stall.id,
        stall.count,
        length(stall.duration_ms),
        length(stall.longest_ms),
        worker,
        stall.runtime
    )?;
    if let Some(culprit) = &stall.culprit {
        let call = culprit.call.as_ref().map_or_else(String::new, |call| format!(", in its call of {call}"));
        writeln!(out, "  culprit  {}{}{call}", culprit.function, place(culprit.file.as_deref(), culprit.line))?;
    }
    writeln!(out, "  cause    {}", stall.cause.class)?;
    writeln!(out, "  task     {}", task(&stall.task))?;
    if let Some(explanation) = KnownBy::of_word(&stall.known_by).explanation() {
        writeln!(out, "  inferred {explanation}; it lasted at least that long")?;
    }
    let waiting = Waiting::from(&stall.waiting).sentence();
    if !waiting.is_empty() {
        writeln!(out, "  waiting  {waiting}")?;
    }
    writeln!(out, "  advice   {}", stall.cause.advice)?;
    if let Some(missing) = &stall.stack_quality.missing {
        writeln!(out, "  stack    none: {missing}")?;
    }
    for frame in stall.stack.iter().filter(|_| stacks) {
        writeln!(out, "           {}{}", frame.function, place(frame.file.as_deref(), frame.line))?;
    }
    writeln!(out)
}

/// ` at src/api.rs:12`, as far as known.
fn place(file: Option<&str>, line: Option<u32>) -> String {
    match (file, line) {
        (Some(file), Some(line)) => format!(" at {file}:{line}"),
        (Some(file), None) => format!(" in {file}"),
        _ => String::new(),
    }
}

/// A task in one line.
pub(super) fn task(task: &TaskJson) -> String {
    let mut text = match (task.id, &task.spawned_at) {
        (Some(id), _) => id.to_string(),
        (None, Some(_)) => "none: the future given to block_on".to_owned(),
        (None, None) => "unknown".to_owned(),
    };
    if let Some(name) = &task.name {
        text += &format!(" \"{name}\"");
    }
    if let Some(place) = &task.spawned_at {
        text += &format!(", from {place}");
    }
    text
}

/// A length of time from JSON.
pub(super) fn length(ms: f64) -> String {
    Duration::try_from_secs_f64(ms / 1e3).map_or_else(|_| format!("{ms} ms"), milliseconds)
}
