//! Stalls as a person reads them on a terminal.

use std::fmt::Write as _;
use std::time::Duration;

use crate::diagnose::poll_boundary;
use crate::model::cause::Cause;
use crate::model::evidence::Evidence;
use crate::model::stack::{Frame, Origin, Stack};
use crate::model::stall::{Culprit, Stall};
use crate::model::task::{Task, short_source};
use crate::model::victims::{self, VictimsUnknown};

/// Whether escape sequences may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    Plain,
    Coloured,
}

impl Style {
    fn paint(self, code: &str, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Coloured => format!("\x1b[{code}m{text}\x1b[0m"),
        }
    }

    fn loud(self, text: &str) -> String {
        self.paint("1;31", text)
    }

    fn strong(self, text: &str) -> String {
        self.paint("1", text)
    }

    fn faint(self, text: &str) -> String {
        self.paint("2", text)
    }
}

/// How much the reader has not been shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Missed {
    /// Equal stalls so far, this one included.
    pub(crate) count: u64,
    /// Reports held back since the last one shown.
    pub(crate) suppressed: u64,
}

/// A whole report: who is stuck, why, where, and what to do.
pub(crate) fn report(stall: &Stall, missed: Missed, style: Style) -> String {
    let mut out = String::new();
    let held = if stall.ended {
        format!("was held for {}", held(stall))
    } else {
        format!("has been held for {} so far", held(stall))
    };
    line(
        &mut out,
        &format!(
            "{} {} {held} (threshold {})",
            style.loud(&format!("holdup: stall #{}", stall.id)),
            style.strong(&who(stall)),
            milliseconds(stall.threshold)
        ),
    );
    field(&mut out, style, "task", &task(&stall.task));
    if let Some(explanation) = stall.detection.explanation() {
        field(&mut out, style, "inferred", explanation);
    }
    if let Some(culprit) = &stall.culprit {
        field(&mut out, style, "culprit", &culprit_line(culprit, style));
    }
    field(&mut out, style, "cause", &format!("{}: {}", style.strong(stall.cause.class.title()), numbers(&stall.cause)));
    field(&mut out, style, "advice", &wrapped(stall.cause.class.advice(), WIDTH).join(BELOW));
    let waiting = stall.waiting.sentence();
    if !waiting.is_empty() {
        field(&mut out, style, "waiting", &waiting);
    }
    if stall.waiting.victims != Err(VictimsUnknown::Lasting) {
        field(&mut out, style, "victims", &victims::sentence(&stall.waiting.victims));
    }
    match &stall.stack {
        Ok(stack) => stack_lines(&mut out, stall, stack, style),
        Err(reason) => field(&mut out, style, "stack", &format!("none: {reason}")),
    }
    if missed.count > 1 || missed.suppressed > 0 {
        field(&mut out, style, "so far", &style.faint(&counts(missed)));
    }
    out
}

/// One line for a stall that was reported and goes on, or is over; and a second one where it is known who waited behind it.
pub(crate) fn follow_up(stall: &Stall, style: Style) -> String {
    let state = if stall.ended { "ended after" } else { "still lasts:" };
    let culprit = stall.culprit.as_ref().map_or_else(String::new, |culprit| format!(" in {}", culprit.frame.function));
    let mut out = format!(
        "{} {state} {} ({}{culprit}, {})\n",
        style.loud(&format!("holdup: stall #{}", stall.id)),
        style.strong(&held(stall)),
        stall.cause.class.title(),
        who(stall),
    );
    if let Ok(victims) = &stall.waiting.victims
        && victims.count() > 0
    {
        field(&mut out, style, "victims", &victims.sentence());
    }
    out
}

fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}

fn field(out: &mut String, style: Style, name: &str, text: &str) {
    line(out, &format!("  {} {text}", style.faint(&format!("{name:<8}"))));
}

/// Where a line of prose is broken, so that it can be read beside the names above it.
const WIDTH: usize = 100;

/// Stands before every line of prose but the first, below the name of a field.
const BELOW: &str = "\n           ";

/// Breaks prose into lines of so many columns, or of a word that is longer.
pub(super) fn wrapped(prose: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in prose.split(' ') {
        match lines.last_mut().filter(|line| line.chars().count() + 1 + word.chars().count() <= width) {
            Some(line) => {
                line.push(' ');
                line.push_str(word);
            }
            None => lines.push(word.to_owned()),
        }
    }
    lines
}

/// `worker 2 of runtime "api" (thread tokio-rt-worker, tid 77)`.
pub(crate) fn who(stall: &Stall) -> String {
    let worker = match stall.worker {
        Some(index) => format!("worker {index}"),
        None => "the thread in block_on".to_owned(),
    };
    format!("{worker} of runtime \"{}\" (thread {}, tid {})", stall.runtime, stall.thread, stall.tid)
}

/// For how long: `12.1 ms`, or `at least 12.1 ms` where the poll did not tell when it began.
pub(crate) fn held(stall: &Stall) -> String {
    let at_least = if stall.detection.is_inferred() { "at least " } else { "" };
    format!("{at_least}{}", milliseconds(stall.duration))
}

/// `17 "GET /latest-news"`: a task without its place, which the future given to `block_on` has and no number.
pub(crate) fn task_named(id: Option<u64>, has_place: bool, name: Option<&str>) -> String {
    let number = match (id, has_place) {
        (Some(id), _) => Some(id.to_string()),
        (None, true) => Some("none: the future given to block_on".to_owned()),
        (None, false) => None,
    };
    match (number, name) {
        (Some(number), Some(name)) => format!("{number} \"{name}\""),
        (Some(number), None) => number,
        (None, Some(name)) => format!("\"{name}\", its number is not known"),
        (None, None) => "unknown".to_owned(),
    }
}

/// `17 "GET /latest-news", spawned at src/api.rs:88`.
pub(crate) fn task(task: &Task) -> String {
    let mut text = task_named(task.id.map(|id| id.0), task.spawned_at.is_some(), task.name.as_deref());
    if let Some(place) = task.spawned_at {
        let verb = if task.id.is_some() { "spawned" } else { "called" };
        let _infallible = write!(text, ", {verb} at {}:{}", short_source(place.file()), place.line());
    }
    text
}

fn culprit_line(culprit: &Culprit, style: Style) -> String {
    let mut text = style.strong(&culprit.frame.function);
    if let Some(location) = culprit.frame.location() {
        let _infallible = write!(text, " at {}", style.strong(&location));
    }
    if let Some(call) = &culprit.call {
        let _infallible = write!(text, ", in its call of {call}");
    }
    text
}

/// The numbers behind a cause, in one line.
pub(crate) fn numbers(cause: &Cause) -> String {
    let Evidence {
        window, on_cpu, run_queue, starved, stolen, waits, minor_faults, major_faults, watchdog_late, ..
    } = &cause.evidence;
    let mut parts = Vec::new();
    for wait in waits.iter().filter(|wait| wait.time >= *window / 20) {
        parts.push(format!("{} in {}", milliseconds(wait.time), wait.site));
    }
    if let Some(on_cpu) = on_cpu {
        parts.push(format!("{} on the CPU", milliseconds(*on_cpu)));
    }
    if let Some(run_queue) = run_queue.filter(|time| *time >= *window / 20) {
        parts.push(format!("{} ready but not run", milliseconds(run_queue)));
    }
    if let Some(stolen) = stolen.filter(|time| !time.is_zero()) {
        parts.push(format!("{} taken from that CPU by the hypervisor", milliseconds(stolen)));
    }
    if *starved >= *window / 20 && !starved.is_zero() {
        parts.push(format!("{} runnable but given no CPU", milliseconds(*starved)));
    }
    if *watchdog_late >= *window / 2 {
        parts.push(format!("the watchdog itself was {} late", milliseconds(*watchdog_late)));
    }
    match (minor_faults, major_faults) {
        (Some(minor), Some(major)) if *major > 0 || *minor > 1_000 => {
            parts.push(format!("{minor} page faults, {major} of them from disk"));
        }
        _ => {}
    }
    if parts.is_empty() {
        return "the kernel tells nothing about this thread".to_owned();
    }
    format!("{} of the {} looked at", parts.join(", "), milliseconds(*window))
}

fn counts(missed: Missed) -> String {
    let mut text = match missed.count {
        0 | 1 => String::new(),
        count => format!("{count} equal stalls"),
    };
    if missed.suppressed > 0 {
        if !text.is_empty() {
            text.push_str("; ");
        }
        let _infallible = write!(text, "{} reports held back since the last one", missed.suppressed);
    }
    text
}

fn stack_lines(out: &mut String, stall: &Stall, stack: &Stack, style: Style) {
    let cut = if stack.complete { "" } else { ", outer frames missing" };
    field(
        out,
        style,
        "stack",
        &style.faint(&format!("taken {} into it, {}{cut}", milliseconds(stack.taken_after), stack.method.as_str())),
    );
    let boundary = poll_boundary(&stack.frames);
    let culprit = stall.culprit.as_ref().map(|culprit| culprit.depth);
    let mut depth = 0;
    while depth < boundary {
        let frame = &stack.frames[depth];
        let shown =
            matches!(frame.origin, Origin::User | Origin::Unknown) || culprit.is_some_and(|culprit| depth <= culprit);
        if shown {
            line(out, &frame_line(frame, culprit == Some(depth), style));
            depth += 1;
        } else {
            let folded = stack.frames[depth..boundary]
                .iter()
                .take_while(|frame| !matches!(frame.origin, Origin::User | Origin::Unknown))
                .count();
            line(out, &style.faint(&format!("             … {}", fold(&stack.frames[depth..depth + folded]))));
            depth += folded;
        }
    }
    if boundary < stack.frames.len() {
        line(
            out,
            &style.faint(&format!(
                "             … {} frames from the poll to the start of the thread",
                stack.frames.len() - boundary
            )),
        );
    }
}

fn frame_line(frame: &Frame, culprit: bool, style: Style) -> String {
    let mark = if culprit { "→" } else { " " };
    let place = frame.location().or_else(|| frame.package.as_ref().map(ToString::to_string)).unwrap_or_default();
    let function = if culprit { style.strong(&frame.function) } else { frame.function.to_string() };
    format!("           {mark} {function}  {}", style.faint(&place)).trim_end().to_owned()
}

/// `12 frames of axum, tower, hyper`.
fn fold(frames: &[Frame]) -> String {
    let mut packages: Vec<&str> = Vec::new();
    for package in frames.iter().filter_map(|frame| frame.package.as_deref()) {
        if !packages.contains(&package) {
            packages.push(package);
        }
    }
    let of = if packages.is_empty() { String::new() } else { format!(" of {}", packages.join(", ")) };
    format!("{} {}{of}", frames.len(), if frames.len() == 1 { "frame" } else { "frames" })
}

/// Three digits of what matters: `0.4 ms`, `10.3 ms`, `812 ms`, `4.21 s`, `3.2 min`.
pub(crate) fn milliseconds(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        s if s >= 120.0 => format!("{:.1} min", s / 60.0),
        s if s >= 1.0 => format!("{s:.2} s"),
        s if s >= 0.1 => format!("{:.0} ms", s * 1e3),
        s => format!("{:.1} ms", s * 1e3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_digits_that_matter() {
        for (micros, shown) in
            [(400, "0.4 ms"), (10_349, "10.3 ms"), (812_000, "812 ms"), (4_210_000, "4.21 s"), (192_000_000, "3.2 min")]
        {
            assert_eq!(milliseconds(Duration::from_micros(micros)), shown);
        }
    }

    #[test]
    fn long_advice_is_broken_between_words() {
        let advice = "word ".repeat(50);
        let lines = wrapped(advice.trim(), 30);
        assert!(lines.len() > 1 && lines.iter().all(|line| line.len() <= 30), "{lines:#?}");
        assert_eq!(lines.join(" "), advice.trim());
        assert_eq!(wrapped("one two", WIDTH), ["one two"]);
    }

    #[test]
    fn folded_frames_name_their_packages_once() {
        let frame = |package: &str| Frame {
            function: "f".into(),
            file: None,
            line: None,
            origin: Origin::Dependency,
            package: Some(package.into()),
        };
        assert_eq!(fold(&[frame("axum"), frame("tower"), frame("axum")]), "3 frames of axum, tower");
        assert_eq!(fold(&[frame("axum")]), "1 frame of axum");
    }
}
