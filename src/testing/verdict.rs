//! Judges the stalls of a test by the rules of its guard.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, SystemTime};

use super::exceptions::Exceptions;
use crate::export::stall_text::{Repeats, StackDetail, StallView};
use crate::export::text::{Style, milliseconds};
use crate::model::holds::Counted;
use crate::model::stall::{Stall, StallEvent, StallId};

/// The limit of recorded stalls. Further ones are only counted.
const MAX_STALLS: usize = 1000;

/// The limit of full reports in a message.
const MAX_REPORTS: usize = 3;

/// The stalls that were reported during a test, each with its start.
#[derive(Debug, Default)]
pub(super) struct RecordedStalls {
    stalls: BTreeMap<StallId, (SystemTime, Stall)>,
    further: u64,
}

impl RecordedStalls {
    pub(super) fn record(&mut self, event: &StallEvent<'_>) {
        let stall = event.stall.clone();
        if let Some((_, known)) = self.stalls.get_mut(&stall.id) {
            *known = stall;
        } else if self.stalls.len() < MAX_STALLS {
            let start = stall.noticed_at.checked_sub(stall.duration).unwrap_or(stall.noticed_at);
            self.stalls.insert(stall.id, (start, stall));
        } else {
            self.further += 1;
        }
    }

    pub(super) fn all_ended(&self) -> bool {
        self.stalls.values().all(|(_, stall)| stall.ended)
    }

    pub(super) fn len(&self) -> u64 {
        self.stalls.len() as u64 + self.further
    }
}

/// The rules of a guard.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) threshold: Duration,
    /// The limit on the total time of long polls, and the duration from which on a poll counts.
    pub(super) budget: Option<(Duration, Duration)>,
    /// Parts of the names of allowed functions, each with a reason.
    pub(super) functions: Vec<(String, String)>,
}

impl Rules {
    /// The watchdog supports no threshold below 1 ms.
    pub(super) fn set_threshold(&mut self, threshold: Duration) {
        self.threshold = threshold.max(Duration::from_millis(1));
    }
}

/// The error of a test whose runtime was stalled.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HeldUp {
    /// The stalls that took too long, in the order in which they were noticed.
    pub stalls: Vec<Stall>,
    /// The total time that counts against the budget.
    pub total: Duration,
    /// The budget, if it was exceeded.
    pub over_budget: Option<Duration>,
    threshold: Duration,
}

/// Judges stalls by the rules, without the time of allowed blocks.
pub(super) fn judge(recorded: &RecordedStalls, rules: &Rules, exceptions: &mut Exceptions<'_>) -> Option<HeldUp> {
    let (mut stalls, mut total, mut counted) = (Vec::new(), Duration::ZERO, Vec::new());
    for (start, stall) in recorded.stalls.values() {
        // The operating system did not run the thread, so the test is not at fault.
        if stall.counted_as() == Counted::NotScheduled {
            continue;
        }
        let duration = exceptions.duration_outside_blocks(*start, stall);
        // Nor is it at fault for the time in which the thread was not run.
        let duration = duration.saturating_sub(stall.machine_time());
        if exceptions.allow_function_of(stall) {
            continue;
        }
        if duration >= rules.threshold {
            stalls.push(stall.clone());
        }
        if rules.budget.is_some_and(|(_, shortest)| duration >= shortest) {
            total += duration;
            counted.push(stall);
        }
    }
    let over_budget = rules.budget.map(|(budget, _)| budget).filter(|budget| total > *budget);
    if stalls.is_empty() && over_budget.is_some() {
        // The longest ones show best where the time went.
        counted.sort_by_key(|stall| std::cmp::Reverse(stall.duration));
        stalls.extend(counted.into_iter().take(MAX_REPORTS).cloned());
    }
    (!stalls.is_empty()).then_some(HeldUp { stalls, total, over_budget, threshold: rules.threshold })
}

/// A headline that is enough for a list of failed tests, and then the full reports.
impl fmt::Display for HeldUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "this test held up its runtime: {}", self.stalls.first().map_or_else(String::new, headline))?;
        match self.over_budget {
            Some(budget) => {
                write!(f, "; all holds together {} of at most {}", milliseconds(self.total), milliseconds(budget))?;
            }
            None if self.stalls.len() > 1 => write!(f, "; and {} more", self.stalls.len() - 1)?,
            None => {}
        }
        writeln!(f, " (threshold {})", milliseconds(self.threshold))?;
        for stall in self.stalls.iter().take(MAX_REPORTS) {
            let view = StallView::from(stall);
            write!(f, "\n{}", view.report(Repeats::default(), StackDetail::Folded, Style::Plain))?;
        }
        writeln!(f, "\nWhere this is meant to be: holdup::testing::allow(\"why\", || …), or Guard::allow_function.")
    }
}

impl std::error::Error for HeldUp {}

/// `sleeping for 80.1 ms in api::nap at src/api.rs:12`.
fn headline(stall: &Stall) -> String {
    let mut text = format!("{} for {}", stall.cause.title(), milliseconds(stall.duration));
    if let Some(culprit) = &stall.culprit {
        text += &format!(" in {}", culprit.frame.function);
        if let Some(place) = culprit.frame.location() {
            text += &format!(" at {place}");
        }
    }
    text
}

#[cfg(test)]
mod tests {

    use super::super::allowed::AllowedBlock;
    use super::*;
    use crate::model::cause::CauseClass;
    use crate::model::holds::Holds;
    use crate::model::stack::StackUnavailable;
    use crate::model::stall::Phase;

    fn recorded(class: CauseClass, ms: u64) -> RecordedStalls {
        let mut stall = Stall::example("test", Duration::from_millis(ms), class);
        (stall.tid, stall.ended, stall.stack) = (7, true, Err(StackUnavailable::Unavailable));
        stall.culprit = None;
        stall.noticed_at = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        stall.parts[0].cause.evidence.window = Duration::from_millis(ms);
        let mut recorded = RecordedStalls::default();
        recorded.record(&StallEvent { phase: Phase::Ended, stall: &stall });
        recorded
    }

    fn rules() -> Rules {
        Rules { threshold: Duration::from_millis(50), budget: None, functions: Vec::new() }
    }

    struct Outcome {
        held_up: Option<HeldUp>,
        warnings: Vec<String>,
    }

    fn judge(recorded: &RecordedStalls, rules: &Rules, blocks: &[AllowedBlock]) -> Outcome {
        let mut exceptions = Exceptions::new(&rules.functions, blocks);
        let held_up = super::judge(recorded, rules, &mut exceptions);
        Outcome { held_up, warnings: exceptions.unused_exceptions() }
    }

    #[track_caller]
    fn block(tid: i32, before_ms: u64, ms: u64) -> AllowedBlock {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(100) - Duration::from_millis(before_ms);
        AllowedBlock::new(tid, start, start + Duration::from_millis(ms), "known")
    }

    #[test]
    fn a_stall_caused_by_the_scheduler_fails_no_test() {
        assert!(judge(&recorded(CauseClass::NotScheduled, 500), &rules(), &[]).held_up.is_none());
        assert!(judge(&recorded(CauseClass::Computing, 500), &rules(), &[]).held_up.is_some());
        assert!(judge(&recorded(CauseClass::Computing, 40), &rules(), &[]).held_up.is_none());
    }

    /// The test's own future is what a guard is for.
    #[test]
    fn a_poll_of_block_on_fails_the_test() {
        for holds in [Holds::BlockOn, Holds::StartUp] {
            let mut recorded = recorded(CauseClass::Computing, 500);
            recorded.stalls.values_mut().for_each(|(_, stall)| stall.holds = holds);
            assert!(judge(&recorded, &rules(), &[]).held_up.is_some(), "{holds}");
        }
    }

    #[test]
    fn time_in_which_the_machine_did_not_run_the_thread_does_not_count() {
        let mut recorded = recorded(CauseClass::Computing, 75);
        for (_, stall) in recorded.stalls.values_mut() {
            stall.parts[0].cause.evidence.run_queue = Some(Duration::from_millis(38));
        }
        assert!(judge(&recorded, &rules(), &[]).held_up.is_none(), "37 ms of its own, with a threshold of 50 ms");
    }

    #[test]
    fn the_time_of_an_allowed_block_does_not_count() {
        // The stall took 200 ms, and ended at second 100.
        let stalls = recorded(CauseClass::Sleeping, 200);
        let verdict = judge(&stalls, &rules(), &[block(7, 190, 160)]);
        assert!(verdict.held_up.is_none() && verdict.warnings.is_empty(), "40 ms are outside");
        assert!(judge(&stalls, &rules(), &[block(7, 190, 100)]).held_up.is_some(), "100 ms are outside");
        let elsewhere = judge(&stalls, &rules(), &[block(8, 200, 200)]);
        assert!(elsewhere.held_up.is_some(), "another thread's block");
        assert!(elsewhere.warnings[0].contains("\"known\") held nothing up; remove it"), "{:?}", elsewhere.warnings);
    }

    #[test]
    fn outside_an_allowed_block_only_sampled_time_counts() {
        let mut stalls = recorded(CauseClass::Sleeping, 400);
        let verdict = judge(&stalls, &rules(), &[block(7, 330, 300)]);
        assert!(verdict.held_up.is_some(), "100 ms are outside");
        for (_, stall) in stalls.stalls.values_mut() {
            stall.parts[0].cause.evidence.window = Duration::from_millis(290);
        }
        assert!(judge(&stalls, &rules(), &[block(7, 330, 300)]).held_up.is_none(), "no sample has seen them");
        assert!(judge(&stalls, &rules(), &[]).held_up.is_some());
    }

    #[test]
    fn a_block_that_stalled_once_is_needed_and_one_beside_the_stall_is_not() {
        let stalls = recorded(CauseClass::Sleeping, 200);
        let often = || [(300, 50), (190, 160), (20, 10)].map(|(before, ms)| block(7, before, ms));
        assert_eq!(judge(&stalls, &rules(), &often()).warnings, [""; 0]);
        let mut beside = block(7, 210, 10);
        beside.end += Duration::from_micros(300);
        let verdict = judge(&stalls, &rules(), &[block(7, 190, 160), beside]);
        assert_eq!(verdict.warnings.len(), 1, "{:?}", verdict.warnings);
    }

    #[test]
    fn an_exception_that_never_applied_gives_a_warning() {
        let rules = Rules { functions: vec![("api::old".into(), "legacy".into())], ..rules() };
        let verdict = judge(&recorded(CauseClass::Sleeping, 5), &rules, &[]);
        assert_eq!(verdict.warnings, ["allow_function(\"api::old\", \"legacy\") never applied; remove it"]);
    }

    #[test]
    fn short_stalls_together_exceed_a_budget() {
        let budget = |ms| Some((Duration::from_millis(ms), Duration::from_millis(2)));
        let stalls = recorded(CauseClass::Computing, 40);
        let over = judge(&stalls, &Rules { budget: budget(30), ..rules() }, &[]).held_up.expect("is over");
        assert_eq!((over.total, over.over_budget), (Duration::from_millis(40), Some(Duration::from_millis(30))));
        assert!(judge(&stalls, &Rules { budget: budget(60), ..rules() }, &[]).held_up.is_none());
    }
}
