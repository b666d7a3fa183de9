//! `holdup stalls [URL]` and `holdup stalls --pid N`: what held workers up, and what does now, once or as it comes.

use std::collections::HashSet;
use std::io::Write;
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::record::interrupted;
use super::symbols::SourceArguments;
use super::tasks::seconds;
use super::{DEFAULT_URL, client, follow};
use crate::attach::{Process, WatchedStalls};
use crate::export::json::{StallJson, StallsAnswer, TaskJson};
use crate::export::text::{milliseconds, task_named};
use crate::model::stall::{Detection, StallEntry};
use crate::model::waiting::Waiting;

/// Notes on what cannot be seen.
const MAX_TOLD: usize = 20;

pub(super) const PATH: &str = "/debug/holdup/stalls";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The endpoint of the service
    #[arg(default_value = DEFAULT_URL)]
    url: String,
    /// Watch this process from outside, unchanged and never stopped, instead of asking an endpoint
    #[arg(short, long, value_name = "PID", conflicts_with = "url", value_parser = clap::value_parser!(u32).range(1..))]
    pid: Option<u32>,
    /// From how long on a poll is a stall, such as 10ms or 1s; an endpoint has a threshold of its own
    #[arg(short, long, default_value = "10ms", value_name = "TIME", value_parser = seconds, requires = "pid")]
    threshold: Duration,
    /// For how long the process is watched, unless with --follow: seconds, or with a unit such as 500ms, 30s or 2m
    #[arg(short, long, default_value = "5", value_name = "SECONDS", value_parser = seconds, requires = "pid")]
    duration: Duration,
    /// Go on until Ctrl-C: print each stall that begins or ends, once
    #[arg(short, long)]
    follow: bool,
    /// Print the endpoint's JSON; with --follow, one object a line
    #[arg(long)]
    json: bool,
    /// Print whole stacks
    #[arg(long)]
    stacks: bool,
    #[command(flatten)]
    sources: SourceArguments,
}

pub(super) fn run(arguments: &Arguments, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    if let Some(pid) = arguments.pid {
        return observe(pid, arguments, out);
    }
    if arguments.follow {
        return follow::run(&arguments.url, out, |out, stall| write_news(out, stall, arguments));
    }
    if arguments.json {
        out.write_all(client::text(&arguments.url, PATH)?.as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    write_answer(out, &client::json(&arguments.url, PATH)?, arguments.stacks)
}

/// Watches a process from outside.
fn observe(pid: u32, arguments: &Arguments, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let interrupted = interrupted()?;
    let process = Process::open_with(pid, arguments.sources.options())?;
    let mut told = Told::default();
    let mut started = None;
    let mut failed = Ok(());
    let last = process.watch_stalls(arguments.threshold, |so_far| {
        told.tell(pid, arguments.threshold, so_far);
        if arguments.follow {
            failed = follow_on(so_far, arguments, out);
        }
        let started = started.get_or_insert_with(Instant::now);
        let over = !arguments.follow && started.elapsed() >= arguments.duration;
        if over || failed.is_err() || interrupted.load(Ordering::Relaxed) {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    })?;
    failed?;
    told.tell(pid, arguments.threshold, &last);
    if arguments.follow {
        follow_on(&last, arguments, out)?;
    }
    if arguments.follow && last.changes_lost > 0 {
        eprintln!("note: {} beginnings and ends of stalls came too fast and were not printed", last.changes_lost);
    }
    if last.gone {
        eprintln!("process {pid} has ended, or runs another program now");
    } else if last.workers == 0 {
        eprintln!("no worker of a Tokio runtime was found in process {pid}");
    }
    let answer = StallsAnswer::from(&last.stalls);
    if arguments.follow {
        return Ok(lasting(&answer));
    }
    if arguments.json {
        serde_json::to_writer_pretty(&mut *out, &answer)?;
        writeln!(out)?;
        return Ok(lasting(&answer));
    }
    write_answer(out, &answer, arguments.stacks)
}

/// Prints what is new since the last time: each stall by itself, also where several are equal.
fn follow_on(so_far: &WatchedStalls, arguments: &Arguments, out: &mut impl Write) -> anyhow::Result<()> {
    let mut news = so_far.changes.iter().cloned().map(StallEntry::alone);
    news.try_for_each(|stall| write_news(out, &StallJson::from(&stall), arguments))
}

/// What was said on standard error.
#[derive(Debug, Default)]
struct Told {
    watching: bool,
    notes: HashSet<String>,
}

impl Told {
    /// Says what is watched and what cannot be seen, once.
    fn tell(&mut self, pid: u32, threshold: Duration, so_far: &WatchedStalls) {
        if so_far.workers > 0 && !self.watching {
            self.watching = true;
            let workers = so_far.workers;
            let s = if workers == 1 { "" } else { "s" };
            eprintln!("watching process {pid}: {workers} worker{s}, threshold {}", milliseconds(threshold));
        }
        let missing =
            so_far.unknown_threads.iter().map(|why| format!("of some threads it cannot be told what they do: {why}"));
        for note in missing.chain(so_far.notes.iter().cloned()) {
            if self.notes.len() < MAX_TOLD && self.notes.insert(note.clone()) {
                eprintln!("note: {note}");
            }
        }
    }
}

fn write_news(out: &mut impl Write, stall: &StallJson, arguments: &Arguments) -> anyhow::Result<()> {
    if arguments.json {
        writeln!(out, "{}", serde_json::to_string(stall)?)?;
    } else {
        write_stall(out, stall, arguments.stacks)?;
    }
    Ok(out.flush()?)
}

fn write_answer(out: &mut impl Write, answer: &StallsAnswer, stacks: bool) -> anyhow::Result<ExitCode> {
    if answer.stalls.is_empty() {
        writeln!(out, "No stall so far.")?;
    }
    for stall in &answer.stalls {
        write_stall(out, stall, stacks)?;
    }
    let counters = &answer.counters;
    writeln!(
        out,
        "{} stalls; {} without a stack, {} unexplained, {} forgotten",
        counters.stalls, counters.stacks_missed, counters.unexplained, counters.forgotten
    )?;
    Ok(lasting(answer))
}

/// The exit code, by whether a stall lasts.
fn lasting(answer: &StallsAnswer) -> ExitCode {
    let lasting = answer.stalls.iter().any(|stall| !stall.ended);
    if lasting { ExitCode::from(1) } else { ExitCode::SUCCESS }
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
    if let Some(explanation) = Detection::of_word(&stall.detection).explanation() {
        writeln!(out, "  inferred {explanation}; it may have lasted longer")?;
    }
    let waiting = Waiting::from(&stall.waiting).sentence();
    if !waiting.is_empty() {
        writeln!(out, "  waiting  {waiting}")?;
    }
    if !stall.waiting.victims.sentence.is_empty() {
        writeln!(out, "  victims  {}", stall.waiting.victims.sentence)?;
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
    let mut text = task_named(task.id, task.spawned_at.is_some(), task.name.as_deref());
    if let Some(place) = &task.spawned_at {
        text += &format!(", from {place}");
    }
    text
}

/// A length of time from JSON.
pub(super) fn length(ms: f64) -> String {
    Duration::try_from_secs_f64(ms / 1e3).map_or_else(|_| format!("{ms} ms"), milliseconds)
}
