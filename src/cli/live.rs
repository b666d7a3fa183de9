//! `holdup top --pid PID`: the current activity of a process, redrawn at an interval.

use std::io::{IsTerminal, Write};
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::Duration;

use super::exit_code::UNSEEN;
use super::interrupt;
use crate::attach::{Options, Process};
use crate::export::activity_text::{self, Size};
use crate::inprocess::Stop;
use crate::model::activity::ActivityNow;

/// The width of lines without a terminal.
const COLUMNS: usize = 120;

/// The smallest width at which lines are cut.
const FEWEST_COLUMNS: usize = 40;

/// The parameters of the verb.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) pid: u32,
    pub(super) interval: Duration,
    pub(super) threshold: Duration,
    pub(super) rows: usize,
    /// The number of screens; `None` for no limit.
    pub(super) times: Option<u32>,
    pub(super) never_stop: bool,
}

pub(super) fn run(live: &Live, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let stop = Stop::with(interrupt::flag()?);
    let process = Process::open_with(live.pid, Options::new().never_stop(live.never_stop))?;
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
        eprintln!("process {} has ended or started another program", live.pid);
    } else if last.workers == 0 {
        eprintln!("process {} has no worker of a Tokio runtime; `holdup ps` lists the processes that do", live.pid);
    }
    let is_unseen = last.unseen_threads > 0 || (last.workers == 0 && !last.gone);
    Ok(if is_unseen { UNSEEN.into() } else { ExitCode::SUCCESS })
}

/// Prints the screen below the previous one.
fn print(now: &ActivityNow, live: &Live, first: bool, out: &mut impl Write) -> std::io::Result<()> {
    if !first {
        writeln!(out)?;
    }
    for line in activity_text::lines(now, Size { columns: COLUMNS, rows: live.rows }) {
        writeln!(out, "{line}")?;
    }
    out.flush()
}

/// Draws the screen over the previous one. Each line clears its own rest, so that nothing flickers.
fn repaint(now: &ActivityNow, live: &Live, first: bool, out: &mut impl Write) -> std::io::Result<()> {
    let (columns, rows) = terminal_size::terminal_size()
        .map_or((COLUMNS, usize::MAX), |(width, height)| (usize::from(width.0), usize::from(height.0)));
    let columns = columns.max(FEWEST_COLUMNS);
    let mut lines = activity_text::lines(now, Size { columns, rows: live.rows });
    // One more line would scroll the terminal.
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
    use crate::model::stall::Stalls;
    use crate::model::thread_stops::ThreadStops;

    #[test]
    fn a_screen_replaces_the_previous_one() {
        let now = ActivityNow {
            pid: 1,
            program: "news".to_owned(),
            window: Duration::from_secs(1),
            samples: 100,
            runtimes: 1,
            has_tasks: true,
            states: Vec::new(),
            workers: Vec::new(),
            polled: Vec::new(),
            waiting: Vec::new(),
            stalls: Stalls::default(),
            threshold: Duration::from_millis(10),
            stops: ThreadStops::default(),
            missing: Vec::new(),
        };
        let second = Duration::from_secs(1);
        let live = Live { pid: 1, interval: second, threshold: second, rows: 3, times: None, never_stop: false };
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
