//! Matches reports and stalls: the report on the same thread with the largest overlap. Then checks the report.

use super::tally::Tally;
use super::victims;
use super::{Fault, MARGIN_NS, Pair, Wrong};
use crate::report::ReportedStall;
use crate::truth::{TrueStall, readable};

/// The cause of a stall if the machine did not run the thread.
const NOT_SCHEDULED: &str = "not_scheduled";

/// On a quiet machine, no thread waits longer for a CPU, or for more than a twentieth of a long stall.
const QUIET_NS: u64 = 1_000_000;

/// Counts of one run.
#[derive(Clone, Debug, Default)]
pub(super) struct Held {
    pub(super) all: Tally,
    /// Counts of stalls during which the machine ran every ready thread.
    pub(super) quiet: Tally,
}

/// Counts the correct parts of one report, and lists the errors.
pub(super) fn hold_against(pair: &Pair, faults: &mut Vec<Fault>) -> Held {
    let mut held = Held::default();
    let threshold = pair.report.threshold_ns;
    let mut left: Vec<&ReportedStall> = pair.report.stalls.iter().collect();
    let mut blame = |wrong, truth: String, said: String| {
        let Pair { truth: run, .. } = pair;
        let (case, flavor, place) = (run.case.clone(), run.flavor.clone(), run.place.clone());
        faults.push(Fault { case, flavor, place, wrong, truth, said });
    };
    for stall in &pair.truth.stalls {
        if stall.duration_ns.saturating_add(MARGIN_NS) < threshold {
            continue;
        }
        let said = take_best(&mut left, stall);
        if stall.duration_ns < threshold.saturating_add(MARGIN_NS) {
            // Near the threshold, a report and its absence are both right.
            continue;
        }
        let one = judge(stall, said, threshold);
        for (wrong, said) in one.wrong {
            blame(wrong, truth_in_words(stall), said);
        }
        held.all.add(&one.tally);
        if was_quiet(stall) {
            held.quiet.add(&one.tally);
        }
    }
    for said in left {
        if said.cause.as_deref() == Some(NOT_SCHEDULED) {
            held.all.blamed_on_machine += 1;
        } else {
            held.all.invented += 1;
            blame(Wrong::Invented, "no stall".to_owned(), in_words(said));
        }
    }
    held
}

fn was_quiet(stall: &TrueStall) -> bool {
    let allowed = QUIET_NS.max(stall.duration_ns / 20);
    let waits = [stall.run_queue_ns, stall.others_ready_ns, stall.late_ns];
    stall.stolen_ns == 0 && waits.into_iter().all(|wait| wait <= allowed)
}

/// The judgment of one stall.
#[derive(Default)]
struct Judged {
    tally: Tally,
    /// The errors, and the text of the report.
    wrong: Vec<(Wrong, String)>,
}

fn judge(stall: &TrueStall, said: Option<&ReportedStall>, threshold: u64) -> Judged {
    let mut one = Judged { tally: Tally { stalls: 1, ..Tally::default() }, wrong: Vec::new() };
    let Some(said) = said else {
        one.wrong.push((Wrong::Missed, "nothing".to_owned()));
        return one;
    };
    let tally = &mut one.tally;
    tally.found = 1;
    tally.lines_reported = usize::from(said.line.is_some());
    tally.function_not_wrong = usize::from(function_not_wrong(stall, said));
    for (wrong, right, count) in [
        (Wrong::Function, same_function(stall, said), &mut tally.function_right),
        (Wrong::Line, same_line(stall, said), &mut tally.line_right),
        (Wrong::Cause, same_cause(stall, said, threshold), &mut tally.cause_right),
        (Wrong::Duration, same_duration(stall, said), &mut tally.duration_right),
    ] {
        *count = usize::from(right);
        if !right && (wrong != Wrong::Line || said.line.is_some()) {
            one.wrong.push((wrong, in_words(said)));
        }
    }
    if let Some(wrong) = victims::wrong(stall, said) {
        tally.victims_reported = 1;
        tally.victims_right = usize::from(wrong.is_empty());
        if !wrong.is_empty() {
            one.wrong.push((Wrong::Victims, wrong));
        }
    }
    let due = stall.start_ns.saturating_add(threshold);
    let late = |at: u64| at.saturating_sub(due);
    tally.noticed_after.extend(said.noticed_ns.map(late));
    tally.reported_after.extend(said.reported_ns.map(late));
    tally.duration_errors.push(said.duration_ns.abs_diff(stall.duration_ns));
    one
}

/// Takes the report with the largest overlap out of the remaining ones.
fn take_best<'r>(left: &mut Vec<&'r ReportedStall>, stall: &TrueStall) -> Option<&'r ReportedStall> {
    let overlaps = left.iter().enumerate().map(|(index, said)| (overlap(stall, said), index));
    let (_, index) = overlaps.filter(|(overlap, _)| *overlap > 0).max()?;
    Some(left.remove(index))
}

/// Nanoseconds.
fn overlap(stall: &TrueStall, said: &ReportedStall) -> u64 {
    if said.thread.is_some_and(|thread| thread != stall.thread) {
        return 0;
    }
    let start = stall.start_ns.max(said.start_ns);
    let end = (stall.start_ns.saturating_add(stall.duration_ns)).min(said.start_ns.saturating_add(said.duration_ns));
    end.saturating_sub(start)
}

fn same_function(stall: &TrueStall, said: &ReportedStall) -> bool {
    said.function.as_deref().is_some_and(|function| readable(function) == stall.function)
}

/// Whether the report names the function, another one of its module or of a module around or inside it, or none.
fn function_not_wrong(stall: &TrueStall, said: &ReportedStall) -> bool {
    let module = |function: &str| {
        let path = function.trim_start_matches('<').split(" as ").next().unwrap_or_default().to_owned();
        path.rsplit_once("::").map_or(path.clone(), |(module, _)| format!("{module}::"))
    };
    said.function.as_deref().is_none_or(|function| {
        let (said, is) = (module(&readable(function)), module(&stall.function));
        said.starts_with(&is) || is.starts_with(&said)
    })
}

/// The tool may report the path with more folders or with fewer.
fn same_line(stall: &TrueStall, said: &ReportedStall) -> bool {
    let ends_with = |long: &str, short: &str| {
        long.strip_suffix(short).is_some_and(|before| before.is_empty() || before.ends_with('/'))
    };
    let same_file =
        said.file.as_deref().is_some_and(|file| ends_with(file, &stall.file) || ends_with(&stall.file, file));
    let lines = stall.first_line..=stall.last_line;
    same_file && said.line.is_some_and(|line| lines.contains(&line))
}

/// The case's cause. The machine's is right too where the case's own part is shorter than the threshold by the kernel's
/// account, within the margin of durations.
fn same_cause(stall: &TrueStall, said: &ReportedStall, threshold: u64) -> bool {
    let not_run = stall.run_queue_ns.saturating_add(stall.stolen_ns);
    let own = stall.duration_ns.saturating_sub(not_run);
    let machines = own < threshold.saturating_add(MARGIN_NS);
    let cause = said.cause.as_deref();
    cause == Some(stall.cause.as_str()) || (machines && cause == Some(NOT_SCHEDULED))
}

/// Whether both agree within 2 ms or 2 %.
fn same_duration(stall: &TrueStall, said: &ReportedStall) -> bool {
    said.duration_ns.abs_diff(stall.duration_ns) <= MARGIN_NS.max(stall.duration_ns / 50)
}

fn truth_in_words(stall: &TrueStall) -> String {
    let TrueStall { function, file, first_line, .. } = stall;
    format!(
        "{} for {:.1} ms in {function} at {file}:{first_line}; {:.1} ms on the CPU, {:.1} ms ready, {:.0} ms stolen, \
         others {:.1} ms late and {:.1} ms ready",
        stall.cause.as_str(),
        ms(stall.duration_ns),
        ms(stall.on_cpu_ns),
        ms(stall.run_queue_ns),
        ms(stall.stolen_ns),
        ms(stall.late_ns),
        ms(stall.others_ready_ns)
    )
}

fn in_words(said: &ReportedStall) -> String {
    let unknown = "unknown";
    format!(
        "{} for {:.1} ms in {} at {}:{}",
        said.cause.as_deref().unwrap_or(unknown),
        ms(said.duration_ns),
        said.function.as_deref().unwrap_or(unknown),
        said.file.as_deref().unwrap_or(unknown),
        said.line.map_or_else(|| unknown.to_owned(), |line| line.to_string())
    )
}

pub(super) fn ms(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e6
}
