//! `holdup stalls [URL]` and `holdup stalls --pid PID`: past and current stalls, once or as they happen.

use std::collections::HashSet;
use std::io::{IsTerminal, Write};
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::exit_code::{NEGATIVE, UNSEEN};
use super::symbols::SourceArguments;
use super::target::Target;
use super::{follow, interrupt};
use crate::attach::{Process, WatchedStalls};
use crate::export::group_json::StallGroupJson;
use crate::export::group_text::GroupView;
use crate::export::json::{StallJson, StallsAnswer};
use crate::export::stall_json_view::duration;
use crate::export::stall_text::{Repeats, StackDetail, StallView};
use crate::export::text::{Style, milliseconds};
use crate::model::cause::CauseClass;
use crate::model::holds::{Counted, Holds};
use crate::model::plural::plural;
use crate::model::stall::StallEntry;
use crate::quantity;

/// Reports of one group.
const MAX_REPORTS: usize = 16;

/// The limit on notes about what cannot be seen.
const MAX_NOTES: usize = 20;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit code 1 if a stall of the code still runs at the end. Polls that only the machine made long do not count, \
                  nor do start-up work and polls of block_on that no task waits for. With --pid, exit code 3 if a thread that may \
                  run a worker could not be seen, or there is no worker."
)]
pub(super) struct Arguments {
    #[command(flatten)]
    target: Target,
    /// With --pid, the threshold of stalls, such as 10ms or 1s; an endpoint has its own threshold
    #[arg(short, long, default_value = "10ms", value_name = "DURATION", value_parser = quantity::duration, requires = "pid")]
    threshold: Duration,
    /// With --pid and without --follow, how long to watch, such as 500ms, 30s or 2m
    #[arg(short, long, default_value = "5s", value_name = "DURATION", value_parser = quantity::duration, requires = "pid")]
    duration: Duration,
    /// Print each stall when it begins and when it ends, until Ctrl-C
    #[arg(short, long)]
    follow: bool,
    /// Print the endpoint's JSON; with --follow, one object per line
    #[arg(long)]
    json: bool,
    /// Print whole stacks
    #[arg(long)]
    stacks: bool,
    #[command(flatten)]
    sources: SourceArguments,
}

pub(super) fn run(arguments: &Arguments, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    if let Some(pid) = arguments.target.pid {
        return observe(pid, arguments, out);
    }
    let endpoint = arguments.target.endpoint()?;
    if arguments.follow {
        return follow::run(&endpoint, out, |out, stall| write_news(out, stall, arguments));
    }
    if arguments.json {
        out.write_all(endpoint.text(follow::PATH)?.as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    write_answer(out, &endpoint.json(follow::PATH)?, arguments)
}

/// Watches a process from outside.
fn observe(pid: u32, arguments: &Arguments, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let interrupted = interrupt::flag()?;
    let process = Process::open_with(pid, arguments.sources.options())?;
    let mut notes = Notes::default();
    let mut started = None;
    let mut failed = Ok(());
    let last = process.watch_stalls(arguments.threshold, |so_far| {
        notes.print(pid, arguments.threshold, so_far);
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
    notes.print(pid, arguments.threshold, &last);
    if arguments.follow {
        follow_on(&last, arguments, out)?;
    }
    if arguments.follow && last.changes_lost > 0 {
        eprintln!("note: stalls came too fast; {} not printed", plural(last.changes_lost, "report"));
    }
    if last.gone {
        eprintln!("process {pid} has ended or started another program");
    } else if last.workers == 0 {
        eprintln!("process {pid} has no worker of a Tokio runtime; `holdup ps` lists the processes that do");
    }
    let answer = StallsAnswer::from(&last.stalls);
    if arguments.json && !arguments.follow {
        serde_json::to_writer_pretty(&mut *out, &answer)?;
        writeln!(out)?;
    } else if !arguments.follow {
        write_answer(out, &answer, arguments)?;
        writeln!(out, "{}", last.stops.sentence())?;
    }
    if arguments.follow || arguments.json {
        eprintln!("note: {}", last.stops.sentence());
    }
    let is_unseen = last.unseen_threads > 0 || (last.workers == 0 && !last.gone);
    Ok(if !has_running_stall(&answer) && is_unseen { UNSEEN.into() } else { exit_code(&answer) })
}

/// Prints the new stalls, each by itself even if several are equal.
fn follow_on(so_far: &WatchedStalls, arguments: &Arguments, out: &mut impl Write) -> anyhow::Result<()> {
    let mut news = so_far.changes.iter().cloned().map(StallEntry::new);
    news.try_for_each(|stall| write_news(out, &StallJson::from(&stall), arguments))
}

/// Notes on standard error, each printed once.
#[derive(Debug, Default)]
struct Notes {
    watching: bool,
    printed: HashSet<String>,
}

impl Notes {
    /// Prints what is watched and what cannot be seen.
    fn print(&mut self, pid: u32, threshold: Duration, so_far: &WatchedStalls) {
        if so_far.workers > 0 && !self.watching {
            self.watching = true;
            let workers = plural(so_far.workers, "worker");
            eprintln!("watching process {pid}: {workers}, threshold {}", milliseconds(threshold));
        }
        let missing = so_far.unknown_threads.iter().map(|why| format!("the state of some threads is unknown: {why}"));
        for note in missing.chain(so_far.notes.iter().cloned()) {
            if self.printed.len() < MAX_NOTES && self.printed.insert(note.clone()) {
                eprintln!("note: {note}");
            }
        }
    }
}

fn write_news(out: &mut impl Write, stall: &StallJson, arguments: &Arguments) -> anyhow::Result<()> {
    if arguments.json {
        writeln!(out, "{}", serde_json::to_string(stall)?)?;
    } else {
        write_stall(out, stall, arguments)?;
    }
    Ok(out.flush()?)
}

fn write_answer(out: &mut impl Write, answer: &StallsAnswer, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if answer.stalls.is_empty() {
        writeln!(out, "No stall so far.")?;
    }
    let mut known = HashSet::new();
    for group in &answer.groups {
        write_group(out, group, answer, arguments)?;
        known.extend(group.stalls.iter().copied());
    }
    // A service with an older version of holdup has no groups.
    for stall in answer.stalls.iter().filter(|stall| !known.contains(&stall.id)) {
        write_stall(out, stall, arguments)?;
    }
    for sentence in answer.notes.iter().cloned().chain(answer.counters.for_people().undelivered()) {
        writeln!(out, "note: {sentence}")?;
    }
    let counters = &answer.counters;
    let others = counters.for_people().other_long_polls().map_or_else(String::new, |others| format!(", {others}"));
    writeln!(
        out,
        "{}{others}; {} without a stack, {} unexplained, {} forgotten",
        plural(counters.stalls, "stall"),
        counters.stacks_missed,
        counters.unexplained,
        counters.forgotten
    )?;
    Ok(exit_code(answer))
}

/// The group, and the reports of its stalls: with `--stacks` all, otherwise those that run and the one that took most time.
fn write_group(
    out: &mut impl Write,
    group: &StallGroupJson,
    answer: &StallsAnswer,
    arguments: &Arguments,
) -> std::io::Result<()> {
    write!(out, "{}", GroupView::from(group).block(style()))?;
    let mut stalls = answer.stalls.iter().filter(|stall| group.stalls.contains(&stall.id)).peekable();
    let any_running = stalls.peek().is_some_and(|first| !first.ended);
    let shown = stalls.enumerate().filter(|(at, stall)| arguments.stacks || *at == 0 || (any_running && !stall.ended));
    for (_, stall) in shown.take(MAX_REPORTS) {
        write_stall(out, stall, arguments)?;
    }
    Ok(())
}

/// 1 if a stall of the code is still running.
fn exit_code(answer: &StallsAnswer) -> ExitCode {
    if has_running_stall(answer) { NEGATIVE.into() } else { ExitCode::SUCCESS }
}

/// Whether a stall of the code is still running. One that the machine causes is none, and neither is a poll that no task
/// waits for.
fn has_running_stall(answer: &StallsAnswer) -> bool {
    let counted_as = |stall: &StallJson| {
        // A service with an older version of holdup does not say what a stall holds.
        let holds = Holds::of_word(&stall.holds).unwrap_or_default();
        Counted::of(holds, stall.cause.class.parse().unwrap_or(CauseClass::Unknown))
    };
    answer.stalls.iter().any(|stall| !stall.ended && counted_as(stall) == Counted::Stall)
}

fn write_stall(out: &mut impl Write, stall: &StallJson, arguments: &Arguments) -> std::io::Result<()> {
    let times = Some((duration(stall.total_ms), duration(stall.longest_ms)));
    let repeats = Repeats { count: stall.count, times, suppressed: 0 };
    let detail = if arguments.stacks { StackDetail::Whole } else { StackDetail::Hidden };
    writeln!(out, "{}", StallView::from(stall).report(repeats, detail, style()))
}

/// Color on a terminal, unless the user has set `NO_COLOR`.
fn style() -> Style {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if std::io::stdout().is_terminal() && !no_color { Style::Colored } else { Style::Plain }
}
