//! The captures of one stall, and the parts that follow from them.
//!
//! A capture is a stack, or the reason why there is none. It explains the time until the next capture that shows something
//! else. Culprit, cause and stack of a report come from one part: the one in which the thread spent most of its own time. A
//! function and one that it calls are one part, with the culprit that explains most of it.

use std::sync::Arc;
use std::time::Duration;

use super::stalled_time::PollStack;
use crate::diagnose::{PollTime, classify, objects, own_cause};
use crate::model::cause::{Cause, CauseClass};
use crate::model::evidence::Evidence;
use crate::model::stack::{Frame, Stack, StackUnavailable};
use crate::model::stall::{Culprit, Stall, StallPart};
use crate::stalls::Change;

/// The limit on captures of one stall that show different things. The shortest makes room, and is counted as joined.
const MAX_CAPTURES: usize = 8;

/// What a stack shows.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) culprit: Option<Culprit>,
    /// How to build the program so that the stack shows more.
    pub(crate) build_advice: Option<&'static str>,
    pub(crate) stack: Result<Stack, StackUnavailable>,
    /// The frames inside the poll.
    pub(crate) inside: PollStack,
}

impl Seen {
    /// No stack was captured.
    pub(crate) fn nothing(reason: StackUnavailable) -> Self {
        Self { culprit: None, build_advice: None, stack: Err(reason), inside: Arc::new([]) }
    }
}

/// A stack, since when it explains the stall, and the evidence before.
#[derive(Debug)]
struct Capture {
    from: Duration,
    before: Evidence,
    seen: Seen,
}

/// The captures of one stall, oldest first. Never empty.
#[derive(Debug)]
pub(crate) struct Captures {
    captures: Vec<Capture>,
    /// When the newest capture was taken, and the evidence until then.
    newest: (Duration, Evidence),
    joined: u64,
}

impl Captures {
    pub(crate) fn first(after: Duration, evidence: Evidence, seen: Seen) -> Self {
        let capture = Capture { from: Duration::ZERO, before: Evidence::default(), seen };
        Self { captures: vec![capture], newest: (after, evidence), joined: 0 }
    }

    /// Adds a capture. `change` is known if the thread was seen to begin something else.
    pub(crate) fn add(&mut self, after: Duration, evidence: &Evidence, change: Option<Change>, seen: Seen) {
        let (before, evidence_before) = std::mem::replace(&mut self.newest, (after, evidence.clone()));
        let Some(last) = self.captures.last_mut() else { return };
        let same_culprit = function_of(last.seen.culprit.as_ref()) == function_of(seen.culprit.as_ref());
        if change.is_none() && (seen.stack.is_err() || last.seen.stack.is_err() || same_culprit) {
            // A capture without a stack says nothing new.
            if seen.stack.is_ok() || last.seen.stack.is_err() {
                last.seen = seen;
            }
            return;
        }
        let (from, before) = match change {
            Some(Change { after, evidence }) => (after, evidence),
            None => ((before + after) / 2, evidence_before.plus(&evidence.since(&evidence_before).half())),
        };
        self.captures.push(Capture { from, before, seen });
        if self.captures.len() > MAX_CAPTURES {
            self.join_the_shortest();
        }
    }

    /// Gives the time of the shortest capture to the one before it.
    fn join_the_shortest(&mut self) {
        let durations = self.captures.windows(2).map(|pair| pair[1].from.saturating_sub(pair[0].from));
        let Some((shortest, _)) = durations.enumerate().min_by_key(|(_, duration)| *duration) else { return };
        self.captures.remove(shortest);
        self.joined += 1;
        if let (0, Some(first)) = (shortest, self.captures.first_mut()) {
            (first.from, first.before) = (Duration::ZERO, Evidence::default());
        }
    }

    /// Sets culprit, cause, stack and parts of a stall. `evidence` is that of the whole poll so far. Returns the frames of
    /// each part inside the poll.
    pub(crate) fn explain(&self, stall: &mut Stall, evidence: &Evidence, poll: PollTime) -> Vec<PollStack> {
        let parts = self.parts(evidence, poll);
        let Some(longest) = longest(&parts.iter().map(|(part, _)| part)) else { return Vec::new() };
        let Seen { culprit, build_advice, stack, .. } = &parts[longest].1;
        stall.culprit.clone_from(culprit);
        stall.build_advice = *build_advice;
        stall.stack.clone_from(stack);
        let is_machines = parts[longest].0.cause.class == CauseClass::NotScheduled;
        stall.cause = match is_machines {
            true => Cause::new(CauseClass::NotScheduled, evidence.clone()),
            false => parts[longest].0.cause.clone(),
        };
        stall.parts_joined = self.joined;
        stall.parts = parts.iter().map(|(part, _)| part.clone()).collect();
        parts.into_iter().map(|(_, seen)| seen.inside).collect()
    }

    /// The parts with what their stacks show. Neighbors with the same culprit and cause are one, and so are neighbors with the
    /// same cause of which one has no stack.
    fn parts(&self, evidence: &Evidence, poll: PollTime) -> Vec<(StallPart, Seen)> {
        let mut parts: Vec<Vec<(StallPart, &Seen)>> = Vec::new();
        let mut class = None;
        if let [only] = &*self.captures {
            class = Some(classify(evidence, frames_of(&only.seen), poll));
        } else if classify(evidence, Ok(&[]), poll) == CauseClass::NotScheduled {
            class = Some(CauseClass::NotScheduled);
        }
        for (index, capture) in self.captures.iter().enumerate() {
            let next = self.captures.get(index + 1);
            let evidence = next.map_or(evidence, |next| &next.before).since(&capture.before);
            let class = class.unwrap_or_else(|| own_cause(&evidence, frames_of(&capture.seen).unwrap_or_default()));
            let to = next.map_or(poll.lasted, |next| next.from);
            let culprit = capture.seen.culprit.clone();
            let part = StallPart { from: capture.from, to, culprit, cause: Cause::new(class, evidence) };
            let continues = |pieces: &&mut Vec<(StallPart, &Seen)>| {
                let has_the_class = pieces.first().is_some_and(|(piece, _)| piece.cause.class == class);
                let newest = pieces.iter().rev().find(|(_, seen)| seen.stack.is_ok());
                let says_the_same = newest.is_none_or(|(_, seen)| shows_the_same(seen, &capture.seen));
                has_the_class && (capture.seen.stack.is_err() || says_the_same)
            };
            match parts.last_mut().filter(continues) {
                Some(pieces) => pieces.push((part, &capture.seen)),
                None => parts.push(vec![(part, &capture.seen)]),
            }
        }
        let last = parts.len().saturating_sub(1);
        let over = |index| poll.ended || index < last;
        parts.iter().enumerate().filter_map(|(index, pieces)| join(pieces, over(index))).collect()
    }
}

/// Makes neighbors of one kind one part, with the culprit and the objects that explain most of it. A capture without a stack
/// names none. `over` says that the thread does something else now.
fn join(pieces: &[(StallPart, &Seen)], over: bool) -> Option<(StallPart, Seen)> {
    let (first, last) = (&pieces.first()?.0, &pieces.last()?.0);
    let with_stack: Vec<_> = pieces.iter().filter(|(_, seen)| seen.stack.is_ok()).collect();
    let named = if with_stack.is_empty() { pieces.iter().collect() } else { with_stack };
    let (shown, seen) = named[longest(&named.iter().map(|(piece, _)| piece))?];
    let mut evidence = first.cause.evidence.clone();
    for (piece, _) in &pieces[1..] {
        evidence = evidence.plus(&piece.cause.evidence);
    }
    let mut cause = Cause::new(first.cause.class, evidence);
    // A newer stack shows another call. Captures without a stack after this one may be of the same sleep.
    let over = over || named.last().is_some_and(|(_, newest)| !std::ptr::eq(*newest, *seen));
    let of_shown = Evidence { asleep: last.cause.evidence.asleep, ..shown.cause.evidence.clone() };
    cause.objects = objects(cause.class, &of_shown, frames_of(seen).unwrap_or_default(), over);
    let part = StallPart { from: first.from, to: last.to, culprit: shown.culprit.clone(), cause };
    Some((part, (*seen).clone()))
}

/// The longest part of what the thread did for most of its own time.
fn longest<'p>(parts: &(impl Iterator<Item = &'p StallPart> + Clone)) -> Option<usize> {
    let own = |part: &StallPart| part.cause.evidence.own_time();
    let of_kind = |one: &StallPart| -> Duration { parts.clone().filter(|part| are_equal(part, one)).map(own).sum() };
    let all = parts.clone().enumerate();
    all.max_by_key(|(_, part)| (of_kind(part), own(part), part.duration())).map(|(index, _)| index)
}

fn function_of(culprit: Option<&Culprit>) -> Option<&Arc<str>> {
    culprit.map(|culprit| &culprit.frame.function)
}

fn are_equal(one: &StallPart, other: &StallPart) -> bool {
    one.cause.class == other.cause.class && function_of(one.culprit.as_ref()) == function_of(other.culprit.as_ref())
}

/// Whether two stacks have the same culprit, or the culprit of one calls that of the other.
fn shows_the_same(one: &Seen, other: &Seen) -> bool {
    let has = |seen: &Seen, name: &str| seen.inside.iter().any(|frame| *frame.function == *name);
    match (function_of(one.culprit.as_ref()), function_of(other.culprit.as_ref())) {
        (Some(one_name), Some(other_name)) => has(one, other_name) || has(other, one_name),
        (one_name, other_name) => one_name == other_name,
    }
}

fn frames_of(seen: &Seen) -> Result<&[Frame], &StackUnavailable> {
    seen.stack.as_ref().map(|stack| &*stack.frames)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::cause_object::CauseObject::StuckLock;
    use crate::model::evidence::{SyscallKind, WaitSite, WaitTime};
    use crate::model::stack::{CaptureMethod, Origin};

    const MS: Duration = Duration::from_millis(1);

    fn seen(function: &str) -> Seen {
        let frame = Frame::new(function, Origin::User);
        let stack = Stack::new(vec![frame.clone()], CaptureMethod::Passive);
        let culprit = Some(Culprit::new(frame.clone(), 0));
        Seen { culprit, build_advice: None, stack: Ok(stack), inside: Arc::new([frame]) }
    }

    fn evidence(window: u32, on_cpu: u32, locked: u32) -> Evidence {
        let site = WaitSite::Syscall { name: "futex".into(), kind: SyscallKind::Lock, file: None, stream: None };
        let waits = Vec::from_iter((locked > 0).then_some(WaitTime { site, time: MS * locked }));
        Evidence { window: MS * window, on_cpu: Some(MS * on_cpu), waits, ..Evidence::default() }
    }

    fn explained(captures: &Captures, lasted: u32, evidence: &Evidence) -> Stall {
        let mut stall = Stall::example("none", MS * lasted, CauseClass::Unknown);
        let poll = PollTime { threshold: MS * 10, lasted: MS * lasted, ended: true };
        captures.explain(&mut stall, evidence, poll);
        stall
    }

    /// The parts as (from, to, culprit, cause).
    fn parts(stall: &Stall) -> Vec<(u128, u128, &str, CauseClass)> {
        let one = |part: &'_ StallPart| (part.from.as_millis(), part.to.as_millis(), part.cause.class);
        let function = |part| function_of(Option::as_ref(part)).map_or("none", |name| &**name);
        stall.parts.iter().map(|part| (one(part).0, one(part).1, function(&part.culprit), one(part).2)).collect()
    }

    #[test]
    fn equal_captures_are_one_part() {
        let mut captures = Captures::first(MS * 10, evidence(8, 8, 0), seen("a"));
        captures.add(MS * 40, &evidence(38, 38, 0), None, seen("a"));
        let stall = explained(&captures, 75, &evidence(73, 73, 0));
        assert_eq!(parts(&stall), [(0, 75, "a", CauseClass::Computing)]);
        assert_eq!(stall.cause.evidence, evidence(73, 73, 0), "the whole poll");
    }

    #[test]
    fn a_change_makes_two_parts_and_the_longest_is_the_headline() {
        let mut captures = Captures::first(MS * 10, evidence(8, 8, 0), seen("a"));
        let change = Change { after: MS * 70, evidence: evidence(68, 68, 0) };
        captures.add(MS * 80, &evidence(78, 68, 10), Some(change), seen("b"));
        let stall = explained(&captures, 95, &evidence(93, 69, 24));
        assert_eq!(parts(&stall), [(0, 70, "a", CauseClass::Computing), (70, 95, "b", CauseClass::Lock)]);
        let function = |stall: &Stall| stall.culprit.as_ref().map(|culprit| culprit.frame.function.to_string());
        assert_eq!((function(&stall).as_deref(), stall.cause.class), (Some("a"), CauseClass::Computing));
        assert_eq!(stall.cause.evidence.window, MS * 68, "the numbers are those of the same part");
        let longer = explained(&captures, 300, &evidence(298, 69, 229));
        assert_eq!((function(&longer).as_deref(), longer.cause.class), (Some("b"), CauseClass::Lock));
        assert_eq!(
            longer.stack.expect("it has one").frames[0].function.as_ref(),
            "b",
            "stack and culprit are of one capture"
        );
    }

    #[test]
    fn the_advice_for_the_build_is_that_of_the_headline() {
        let nameless = Seen { build_advice: Some("build with names"), ..seen("library") };
        let mut captures = Captures::first(MS * 10, evidence(8, 8, 0), nameless);
        let change = Change { after: MS * 70, evidence: evidence(68, 68, 0) };
        captures.add(MS * 80, &evidence(78, 68, 10), Some(change), seen("b"));
        assert_eq!(explained(&captures, 95, &evidence(93, 69, 24)).build_advice, Some("build with names"));
        assert_eq!(
            explained(&captures, 300, &evidence(298, 69, 229)).build_advice,
            None,
            "the longer part has a function"
        );
    }

    #[test]
    fn a_change_that_nobody_saw_is_dated_to_the_middle() {
        let mut captures = Captures::first(MS * 10, evidence(8, 8, 0), seen("a"));
        captures.add(MS * 40, &evidence(38, 38, 0), None, seen("b"));
        let stall = explained(&captures, 75, &evidence(73, 73, 0));
        assert_eq!(parts(&stall), [(0, 25, "a", CauseClass::Computing), (25, 75, "b", CauseClass::Computing)]);
        assert_eq!(stall.culprit.map(|culprit| culprit.frame.function.to_string()).as_deref(), Some("b"));
    }

    #[test]
    fn parts_of_one_function_count_together() {
        let mut captures = Captures::first(MS * 10, evidence(8, 8, 0), seen("a"));
        let mut change = |at: u32, on_cpu, locked, function| {
            let now = evidence(at + 8, on_cpu, locked);
            captures.add(
                MS * (at + 10),
                &now,
                Some(Change { after: MS * at, evidence: evidence(at - 2, on_cpu, locked) }),
                seen(function),
            );
        };
        change(30, 28, 0, "b");
        change(70, 28, 40, "a");
        let stall = explained(&captures, 95, &evidence(93, 53, 40));
        assert_eq!(stall.parts.len(), 3);
        assert_eq!(
            (stall.culprit.map(|culprit| culprit.frame.function.to_string()).as_deref(), stall.cause.class),
            (Some("a"), CauseClass::Computing),
            "28 and 25 ms against 40 ms"
        );
    }

    #[test]
    fn a_function_and_one_that_it_calls_are_one_part() {
        let mut called = seen("a::helper");
        called.inside = called.inside.iter().cloned().chain([Frame::new("a", Origin::User)]).collect();
        let mut captures = Captures::first(MS * 10, evidence(8, 8, 0), seen("a"));
        captures.add(MS * 40, &evidence(38, 38, 0), None, called);
        assert_eq!(explained(&captures, 75, &evidence(73, 73, 0)).parts.len(), 1);
    }

    #[test]
    fn a_call_after_a_long_wait_does_not_take_its_place() {
        let mut after_the_wait = seen("a::statistics");
        after_the_wait.inside = after_the_wait.inside.iter().cloned().chain([Frame::new("a", Origin::User)]).collect();
        for change in [None, Some(Change { after: MS * 240, evidence: evidence(238, 0, 238) })] {
            let mut captures = Captures::first(MS * 10, evidence(8, 0, 8), seen("a"));
            captures.add(MS * 160, &evidence(158, 0, 158), None, seen("a"));
            captures.add(MS * 255, &evidence(253, 3, 250), change, after_the_wait.clone());
            let stall = explained(&captures, 258, &evidence(256, 6, 250));
            assert_eq!(parts(&stall), [(0, 258, "a", CauseClass::Lock)]);
            let function = stall.culprit.expect("it has one").frame.function;
            assert_eq!((&*function, &*stall.stack.expect("it has one").frames[0].function), ("a", "a"));
        }
    }

    #[test]
    fn a_capture_without_a_stack_changes_nothing() {
        let none = || Seen::nothing(StackUnavailable::NoAnswer);
        let mut captures = Captures::first(MS * 10, evidence(8, 8, 0), none());
        captures.add(MS * 40, &evidence(38, 38, 0), None, seen("a"));
        captures.add(MS * 160, &evidence(158, 158, 0), None, none());
        let stall = explained(&captures, 170, &evidence(168, 168, 0));
        assert_eq!(parts(&stall), [(0, 170, "a", CauseClass::Computing)]);
    }

    #[test]
    fn a_change_without_a_stack_and_with_the_same_cause_is_no_part() {
        let mut captures = Captures::first(MS * 10, evidence(8, 0, 8), seen("a"));
        let change = Change { after: MS * 10, evidence: evidence(8, 0, 8) };
        captures.add(MS * 20, &evidence(18, 0, 18), Some(change), Seen::nothing(StackUnavailable::NoAnswer));
        let stall = explained(&captures, 95, &evidence(93, 1, 92));
        assert_eq!(parts(&stall), [(0, 95, "a", CauseClass::Lock)]);
        assert!(stall.culprit.is_some() && stall.stack.is_ok(), "{stall:?}");
        let other = explained(&captures, 95, &evidence(93, 85, 8));
        assert_eq!(parts(&other), [(0, 10, "a", CauseClass::Lock), (10, 95, "none", CauseClass::Computing)]);
    }

    /// `a` takes a mutex in this capture.
    fn locks() -> Seen {
        let frames =
            vec![Frame::new("std::sys::sync::mutex::futex::Mutex::lock", Origin::Std), seen("a").inside[0].clone()];
        Seen { stack: Ok(Stack::new(frames, CaptureMethod::Passive)), ..seen("a") }
    }

    #[test]
    fn a_joined_part_has_the_objects_of_the_capture_that_is_shown() {
        let asleep = |ms: u32| Evidence { asleep: MS * ms, ..evidence(ms, 0, ms) };
        let change = || Some(Change { after: MS * 10, evidence: asleep(10) });
        let unended = |captures: &Captures| {
            let mut stall = Stall::example("none", MS * 3000, CauseClass::Unknown);
            captures.explain(
                &mut stall,
                &asleep(3000),
                PollTime { threshold: MS * 10, lasted: MS * 3000, ended: false },
            );
            stall
        };
        let mut stackless_after = Captures::first(MS * 10, asleep(10), locks());
        stackless_after.add(MS * 20, &asleep(20), change(), Seen::nothing(StackUnavailable::NoAnswer));
        let mut lock_after = Captures::first(MS * 10, asleep(10), seen("a"));
        lock_after.add(MS * 20, &asleep(20), change(), locks());
        for captures in [&stackless_after, &lock_after] {
            let stall = unended(captures);
            assert_eq!(stall.parts.len(), 1, "{stall:?}");
            assert_eq!((&stall.cause.objects, &stall.parts[0].cause.objects), (&vec![StuckLock], &vec![StuckLock]));
            assert!(explained(captures, 3000, &asleep(3000)).cause.objects.is_empty(), "an ended wait got its lock");
        }
        let mut other_after = Captures::first(MS * 10, asleep(10), locks());
        other_after.add(MS * 2900, &asleep(2900), Some(Change { after: MS * 2900, evidence: asleep(2900) }), seen("a"));
        assert!(unended(&other_after).cause.objects.is_empty(), "a newer capture shows that it got its lock");
    }

    #[test]
    fn parts_are_bounded_and_counted() {
        let mut captures = Captures::first(MS * 10, evidence(8, 8, 0), seen("a"));
        for number in 1..100_u32 {
            let now = evidence(number * 10 + 8, number * 10 + 8, 0);
            captures.add(MS * (number + 1) * 10, &now, None, seen(&format!("f{number}")));
        }
        let stall = explained(&captures, 1010, &evidence(1008, 1008, 0));
        assert_eq!((stall.parts.len(), stall.parts_joined), (MAX_CAPTURES, 92));
        let (first, last) = (&stall.parts[0], &stall.parts[MAX_CAPTURES - 1]);
        assert_eq!((first.from, last.to), (Duration::ZERO, MS * 1010), "they cover the stall");
        assert!(stall.parts.windows(2).all(|pair| pair[0].to == pair[1].from), "{:?}", parts(&stall));
    }
}
