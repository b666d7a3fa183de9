//! What the stalls of a test amount to.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::panic::Location;
use std::time::{Duration, SystemTime};

use super::allowed::Scope;
use crate::export::stall_text::{Repeats, StackDetail, StallView};
use crate::export::text::{Style, milliseconds};
use crate::model::cause::CauseClass;
use crate::model::stall::{Stall, StallEvent, StallId};

/// Stalls that are kept of one test. Further ones are counted.
const MAX_STALLS: usize = 1000;

/// Stalls whose whole report is in the message.
const MAX_SHOWN: usize = 3;

/// What a block took of stalls, together, to have been needed. When a poll began is known to half a look, so that a block
/// right before it seems to touch it.
const LEAST: Duration = Duration::from_millis(1);

/// The stalls of a test, as its watch told them.
#[derive(Debug, Default)]
pub(super) struct Seen {
    stalls: BTreeMap<StallId, (SystemTime, Stall)>,
    further: u64,
}

impl Seen {
    pub(super) fn take(&mut self, event: &StallEvent<'_>) {
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

/// How strict a guard is.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) threshold: Duration,
    /// How long all holds together may last, and from how long on a hold counts.
    pub(super) budget: Option<(Duration, Duration)>,
    /// Parts of functions' names, and why they may.
    pub(super) functions: Vec<(String, String)>,
}

/// A test's runtime was held up.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HeldUp {
    /// The stalls that were too long, in the order they were noticed.
    pub stalls: Vec<Stall>,
    /// The time of all holds that count against the budget.
    pub total: Duration,
    /// The budget, if it was exceeded.
    pub over_budget: Option<Duration>,
    threshold: Duration,
}

/// What is to be said of a test.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    pub(super) held_up: Option<HeldUp>,
    /// Exceptions that never applied, in sentences.
    pub(super) warnings: Vec<String>,
}

impl Verdict {
    /// Judges stalls by the rules and by the blocks that were allowed.
    pub(super) fn of(seen: &Seen, rules: &Rules, scopes: &[Scope]) -> Self {
        let mut used_functions = vec![false; rules.functions.len()];
        // By place: a block that is run often may hold the runtime up once.
        let mut taken: HashMap<&Location<'_>, Duration> = HashMap::new();
        let (mut stalls, mut total, mut counted) = (Vec::new(), Duration::ZERO, Vec::new());
        for (start, stall) in seen.stalls.values() {
            // The machine did not run the thread: the test is not at fault.
            if stall.cause.class == CauseClass::NotScheduled {
                continue;
            }
            let (mut left, mut in_blocks) = (stall.duration, false);
            for scope in scopes.iter().filter(|scope| scope.tid == stall.tid) {
                let overlap = scope.overlap(*start, *start + stall.duration);
                *taken.entry(scope.place).or_default() += overlap;
                if !in_blocks && !overlap.is_zero() {
                    in_blocks = true;
                    // A block's time is exact, and a poll's only as exact as the watchdog got to run: beside a block, only
                    // what it has looked at counts.
                    left = left.min(stall.cause.evidence.window);
                }
                left = left.saturating_sub(overlap);
            }
            let on_stack = |name: &str| {
                let frames = stall.stack.as_ref().map_or(&[][..], |stack| &stack.frames);
                frames.iter().any(|frame| frame.function.contains(name))
            };
            let mut allowed = false;
            for ((name, _), used) in rules.functions.iter().zip(&mut used_functions) {
                let applies = on_stack(name);
                *used |= applies;
                allowed |= applies;
            }
            if allowed {
                continue;
            }
            if left >= rules.threshold {
                stalls.push(stall.clone());
            }
            if rules.budget.is_some_and(|(_, from)| left >= from) {
                total += left;
                counted.push(stall);
            }
        }
        let over_budget = rules.budget.map(|(budget, _)| budget).filter(|budget| total > *budget);
        if stalls.is_empty() && over_budget.is_some() {
            // The longest say most about where the time went.
            counted.sort_by_key(|stall| std::cmp::Reverse(stall.duration));
            stalls.extend(counted.into_iter().take(MAX_SHOWN).cloned());
        }
        let held_up = (!stalls.is_empty()).then_some(HeldUp { stalls, total, over_budget, threshold: rules.threshold });
        let mut warnings = Vec::new();
        for ((name, reason), _) in rules.functions.iter().zip(used_functions).filter(|(_, used)| !used) {
            warnings.push(format!("allow_function(\"{name}\", \"{reason}\") never applied; remove it"));
        }
        let needed = |scope: &Scope| taken.get(scope.place).is_some_and(|taken| *taken >= LEAST);
        for scope in scopes.iter().filter(|scope| !needed(scope)) {
            warnings.push(format!("the allow at {} (\"{}\") held nothing up; remove it", scope.place, scope.reason));
        }
        warnings.sort();
        warnings.dedup();
        Self { held_up, warnings }
    }
}

/// First one line that says all, for lists of failed tests, then the whole reports.
impl fmt::Display for HeldUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "this test held up its runtime: {}", self.stalls.first().map_or_else(String::new, in_short))?;
        match self.over_budget {
            Some(budget) => {
                write!(f, "; all holds together {} of at most {}", milliseconds(self.total), milliseconds(budget))?;
            }
            None if self.stalls.len() > 1 => write!(f, "; and {} more", self.stalls.len() - 1)?,
            None => {}
        }
        writeln!(f, " (threshold {})", milliseconds(self.threshold))?;
        for stall in self.stalls.iter().take(MAX_SHOWN) {
            let view = StallView::from(stall);
            write!(f, "\n{}", view.report(Repeats::default(), StackDetail::Folded, Style::Plain))?;
        }
        writeln!(f, "\nWhere this is meant to be: holdup::testing::allow(\"why\", || …), or Guard::allow_function.")
    }
}

impl std::error::Error for HeldUp {}

/// `sleeping for 80.1 ms in api::nap at src/api.rs:12`.
fn in_short(stall: &Stall) -> String {
    let mut text = format!("{} for {}", stall.cause.class.title(), milliseconds(stall.duration));
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
    use std::sync::Arc;

    use super::*;
    use crate::model::cause::Cause;
    use crate::model::evidence::Evidence;
    use crate::model::stack::StackUnavailable;
    use crate::model::stall::{Detection, Phase};
    use crate::model::task::Task;
    use crate::model::waiting::Waiting;

    fn seen(class: CauseClass, ms: u64) -> Seen {
        let stall = Stall {
            id: StallId(1),
            runtime: "test".into(),
            worker: Some(0),
            thread: Arc::from("test"),
            tid: 7,
            task: Task::default(),
            threshold: Duration::from_millis(10),
            duration: Duration::from_millis(ms),
            detection: Detection::Instrumented,
            began_at: SystemTime::UNIX_EPOCH + Duration::from_secs(100) - Duration::from_millis(ms),
            noticed_at: SystemTime::UNIX_EPOCH + Duration::from_secs(100),
            ended: true,
            cause: Cause { class, evidence: Evidence { window: Duration::from_millis(ms), ..Evidence::default() } },
            culprit: None,
            stack: Err(StackUnavailable::Unavailable),
            waiting: Waiting::default(),
        };
        let mut seen = Seen::default();
        seen.take(&StallEvent { phase: Phase::Ended, stall: &stall });
        seen
    }

    fn rules() -> Rules {
        Rules { threshold: Duration::from_millis(50), budget: None, functions: Vec::new() }
    }

    #[track_caller]
    fn scope(tid: i32, before_ms: u64, ms: u64) -> Scope {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(100) - Duration::from_millis(before_ms);
        Scope::new(tid, start, start + Duration::from_millis(ms), "known")
    }

    #[test]
    fn what_the_machine_caused_fails_nothing() {
        assert!(Verdict::of(&seen(CauseClass::NotScheduled, 500), &rules(), &[]).held_up.is_none());
        assert!(Verdict::of(&seen(CauseClass::Computing, 500), &rules(), &[]).held_up.is_some());
        assert!(Verdict::of(&seen(CauseClass::Computing, 40), &rules(), &[]).held_up.is_none());
    }

    #[test]
    fn the_time_of_an_allowed_block_does_not_count() {
        // The stall lasted for 200 ms before second 100.
        let stalls = seen(CauseClass::Sleeping, 200);
        let verdict = Verdict::of(&stalls, &rules(), &[scope(7, 190, 160)]);
        assert!(verdict.held_up.is_none() && verdict.warnings.is_empty(), "40 ms are left");
        assert!(Verdict::of(&stalls, &rules(), &[scope(7, 190, 100)]).held_up.is_some(), "100 ms are left");
        let elsewhere = Verdict::of(&stalls, &rules(), &[scope(8, 200, 200)]);
        assert!(elsewhere.held_up.is_some(), "another thread's block");
        assert!(elsewhere.warnings[0].contains("\"known\") held nothing up; remove it"), "{:?}", elsewhere.warnings);
    }

    #[test]
    fn beside_an_allowed_block_only_what_was_looked_at_counts() {
        let mut stalls = seen(CauseClass::Sleeping, 400);
        let verdict = Verdict::of(&stalls, &rules(), &[scope(7, 330, 300)]);
        assert!(verdict.held_up.is_some(), "100 ms are left");
        for (_, stall) in stalls.stalls.values_mut() {
            stall.cause.evidence.window = Duration::from_millis(290);
        }
        assert!(Verdict::of(&stalls, &rules(), &[scope(7, 330, 300)]).held_up.is_none(), "nobody has seen them");
        assert!(Verdict::of(&stalls, &rules(), &[]).held_up.is_some());
    }

    #[test]
    fn a_block_that_held_something_up_once_is_needed_and_one_beside_it_is_not() {
        let stalls = seen(CauseClass::Sleeping, 200);
        let often = || [(300, 50), (190, 160), (20, 10)].map(|(before, ms)| scope(7, before, ms));
        assert_eq!(Verdict::of(&stalls, &rules(), &often()).warnings, [""; 0]);
        let mut beside = scope(7, 210, 10);
        beside.end += Duration::from_micros(300);
        let verdict = Verdict::of(&stalls, &rules(), &[scope(7, 190, 160), beside]);
        assert_eq!(verdict.warnings.len(), 1, "{:?}", verdict.warnings);
    }

    #[test]
    fn an_exception_that_never_applied_is_mentioned() {
        let rules = Rules { functions: vec![("api::old".into(), "legacy".into())], ..rules() };
        let verdict = Verdict::of(&seen(CauseClass::Sleeping, 5), &rules, &[]);
        assert_eq!(verdict.warnings, ["allow_function(\"api::old\", \"legacy\") never applied; remove it"]);
    }

    #[test]
    fn holds_together_exceed_a_budget() {
        let budget = |ms| Some((Duration::from_millis(ms), Duration::from_millis(2)));
        let seen = seen(CauseClass::Computing, 40);
        let over = Verdict::of(&seen, &Rules { budget: budget(30), ..rules() }, &[]).held_up.expect("is over");
        assert_eq!((over.total, over.over_budget), (Duration::from_millis(40), Some(Duration::from_millis(30))));
        assert!(Verdict::of(&seen, &Rules { budget: budget(60), ..rules() }, &[]).held_up.is_none());
    }
}
