//! `holdup top --pid N`: what a process does now, again and again.

use std::io::{IsTerminal, Write};
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::Duration;

use super::record::interrupted;
use crate::attach::Process;
use crate::export::activity_text::{self, Size};
use crate::inprocess::Stop;
use crate::model::activity::ActivityNow;

/// Of lines that go to a file or to another program.
const COLUMNS: usize = 120;

/// The narrowest terminal that lines are cut for.
const FEWEST_COLUMNS: usize = 40;

/// What is asked for.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) pid: u32,
    pub(super) interval: Duration,
    pub(super) threshold: Duration,
    pub(super) rows: usize,
    /// How many times it is shown; `None` until Ctrl-C.
    pub(super) times: Option<u32>,
}

pub(super) fn run(live: &Live, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let stop = Stop::with(interrupted()?);
    let process = Process::open(live.pid)?;
    let terminal = std::io::stdout().is_terminal();
    let mut shown = 0;
    let mut failed = Ok(());
    let last = process.top(live.threshold, live.interval, &stop, &mut |now| {
        failed = if terminal { repaint(&now, live, shown == 0, out) } else { print(&now, live, shown == 0, out) };
        shown += 1;
        match failed.is_err() || live.times.is_some_and(|times| shown >= times) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    })?;
    failed?;
    if last.gone {
        eprintln!("process {} has ended, or runs another program now", live.pid);
    } else if last.workers == 0 {
        eprintln!("no worker of a Tokio runtime was found in process {}", live.pid);
    }
    Ok(ExitCode::SUCCESS)
}

/// One screen below the other.
fn print(now: &ActivityNow, live: &Live, first: bool, out: &mut impl Write) -> std::io::Result<()> {
    if !first {
        writeln!(out)?;
    }
    for line in activity_text::lines(now, Size { columns: COLUMNS, rows: live.rows }) {
        writeln!(out, "{line}")?;
    }
    out.flush()
}

/// Over what was there. Each line clears its rest and the last one what is below, so that nothing flickers.
fn repaint(now: &ActivityNow, live: &Live, first: bool, out: &mut impl Write) -> std::io::Result<()> {
    let (columns, rows) = terminal_size::terminal_size()
        .map_or((COLUMNS, usize::MAX), |(width, height)| (usize::from(width.0), usize::from(height.0)));
    let columns = columns.max(FEWEST_COLUMNS);
    let mut lines = activity_text::lines(now, Size { columns, rows: live.rows });
    // A line more would scroll.
    lines.truncate(rows.saturating_sub(1).max(1));
    let mut screen = String::from(if first { "\x1b[2J\x1b[H" } else { "\x1b[H" });
    for line in lines {
        screen += &line;
        screen += "\x1b[K\n";
    }
    screen += "\x1b[J";
    out.write_all(screen.as_bytes())?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::stall::{Counters, Stalls};

    #[test]
    fn a_screen_takes_the_place_of_the_one_before() {
        let now = ActivityNow {
            pid: 1,
            program: "news".to_owned(),
            window: Duration::from_secs(1),
            looks: 100,
            runtimes: 1,
            tells_tasks: true,
            states: Vec::new(),
            workers: Vec::new(),
            polled: Vec::new(),
            waiting: Vec::new(),
            stalls: Stalls { entries: Vec::new(), counters: Counters::default() },
            threshold: Duration::from_millis(10),
            missing: Vec::new(),
        };
        let second = Duration::from_secs(1);
        let live = Live { pid: 1, interval: second, threshold: second, rows: 3, times: None };
        let mut painted = Vec::new();
        repaint(&now, &live, true, &mut painted).expect("memory");
        let text = String::from_utf8(painted).expect("text");
        assert!(text.starts_with("\x1b[2J\x1b[H") && text.ends_with("\x1b[J"), "{text:?}");
        let mut painted = Vec::new();
        repaint(&now, &live, false, &mut painted).expect("memory");
        let text = String::from_utf8(painted).expect("text");
        assert!(text.starts_with("\x1b[H") && !text.contains("\x1b[2J"), "it does not flicker: {text:?}");
        assert_eq!(text.matches('\n').count(), text.matches("\x1b[K\n").count(), "each line clears its rest");
    }
}
