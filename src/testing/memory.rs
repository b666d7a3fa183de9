//! Judges the memory of a test by the rules of its guard.

use std::collections::HashMap;
use std::fmt;

use super::exceptions::Exceptions;
use crate::export::memory_text::AllocationsView;
use crate::export::text::bytes;
use crate::heap::{MemoryLimits, Sampling, without_allocator};
use crate::inprocess::TestHeap;
use crate::model::plural::plural;
use crate::model::profile::Profile;
use crate::model::stack::{Frame, Origin};

/// Stacks of a message.
const MAX_STACKS: usize = 3;

/// Functions that keep what a test prints, until the harness shows it.
const PRINT: [&str; 2] = ["std::io::stdio::_print", "std::io::stdio::_eprint"];

/// How much a test may allocate.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct MemoryRules {
    pub(super) limits: MemoryLimits,
    /// Every allocation unless set.
    pub(super) sampling: Option<Sampling>,
}

impl MemoryRules {
    pub(super) fn are_any(&self) -> bool {
        let MemoryLimits { allocated, kept, poll } = self.limits;
        allocated.or(kept).or(poll).is_some()
    }

    pub(super) fn sampling(&self) -> Sampling {
        self.sampling.unwrap_or(Sampling::EVERY_ALLOCATION)
    }
}

/// Memory of a test that exceeds a limit.
#[derive(Debug)]
pub(super) struct OverLimit {
    what: What,
    limit: u64,
    /// By stack, the largest first.
    stacks: Vec<AllocationsView>,
    /// Further polls that exceed it.
    further: u64,
    /// The samples of an estimate.
    estimated_from: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Allocated,
    Kept,
    Poll,
}

/// Whether what the test has kept exceeds its limit. Memory may still be freed by threads that end.
pub(super) fn keeps_too_much(heap: &TestHeap, rules: &MemoryRules, exceptions: &mut Exceptions<'_>) -> bool {
    let kept = heap.kept.as_ref().zip(rules.limits.kept);
    kept.is_some_and(|(kept, limit)| over(What::Kept, kept, limit, heap.is_exact, exceptions).is_some())
}

/// Every limit that is exceeded.
pub(super) fn judge(heap: &TestHeap, rules: &MemoryRules, exceptions: &mut Exceptions<'_>) -> Vec<OverLimit> {
    let mut found = Vec::new();
    let MemoryLimits { allocated, kept, poll } = rules.limits;
    let mut check = |what, profile: Option<&Profile>, limit: Option<u64>| {
        profile.zip(limit).and_then(|(profile, limit)| over(what, profile, limit, heap.is_exact, exceptions))
    };
    found.extend(check(What::Allocated, heap.allocated.as_ref(), allocated));
    found.extend(check(What::Kept, heap.kept.as_ref(), kept));
    let mut polls: Vec<OverLimit> =
        heap.polls.iter().filter_map(|found| check(What::Poll, Some(found), poll)).collect();
    polls.sort_by_key(|poll| std::cmp::Reverse(poll.bytes()));
    let further = polls.len().saturating_sub(1) as u64 + heap.further_polls;
    found.extend(polls.into_iter().next().map(|worst| OverLimit { further, ..worst }));
    found
}

/// What is missing, in a sentence.
pub(super) fn lost(heap: &TestHeap) -> Option<String> {
    (heap.lost > 0).then(|| {
        format!(
            "{} not recorded, because too many objects lived at a time; Guard::sample_heap records fewer",
            if heap.lost == 1 { "1 allocation was".to_owned() } else { format!("{} allocations were", heap.lost) }
        )
    })
}

fn over(
    what: What,
    profile: &Profile,
    limit: u64,
    is_exact: bool,
    exceptions: &mut Exceptions<'_>,
) -> Option<OverLimit> {
    let shown = without_allocator(profile.clone());
    let frames_in = |profile: &Profile, stack: u32| profile.stack(stack).map(|frame| frame.frame.clone()).collect();
    let mut stacks: HashMap<&[u32], AllocationsView> = HashMap::new();
    let mut samples = 0;
    for sample in &profile.samples {
        let Some(stack) = shown.stacks.get(sample.stack as usize) else { continue };
        let whole: Vec<Frame> = frames_in(profile, sample.stack);
        let frames: Vec<Frame> = frames_in(&shown, sample.stack);
        if is_printed(&whole) || is_of_holdup(&frames) || exceptions.allow_function_in(&whole) {
            continue;
        }
        let [count, objects, bytes, _] = sample.values;
        samples += count;
        let new = || AllocationsView { frames, bytes: 0, allocations: 0, task: task(profile, sample) };
        let sum = stacks.entry(stack).or_insert_with(new);
        sum.bytes += bytes;
        sum.allocations += objects;
    }
    let mut stacks: Vec<AllocationsView> = stacks.into_values().collect();
    stacks.sort_by(|a, b| {
        let key = |view: &AllocationsView| (-view.bytes, -view.allocations);
        key(a).cmp(&key(b)).then_with(|| names(a).cmp(names(b)))
    });
    let found = OverLimit { what, limit, stacks, further: 0, estimated_from: (!is_exact).then_some(samples) };
    (found.bytes().unsigned_abs() > limit).then_some(found)
}

fn names(view: &AllocationsView) -> impl Iterator<Item = &str> {
    view.frames.iter().map(|frame| &*frame.function)
}

/// The name of a sample's task, and where it was spawned.
fn task(profile: &Profile, sample: &crate::model::profile::Sample) -> Option<String> {
    let labels = profile.labels_of(sample)?;
    let parts = [labels.task_name.as_deref(), labels.spawned_at.as_deref()];
    let parts: Vec<&str> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", spawned at "))
}

/// Whether the harness allocated it, to keep what the test prints.
fn is_printed(frames: &[Frame]) -> bool {
    frames.iter().any(|frame| PRINT.iter().any(|print| frame.function.starts_with(print)))
}

/// Whether holdup allocated it, for itself.
fn is_of_holdup(frames: &[Frame]) -> bool {
    let asks = frames.iter().find(|frame| !matches!(frame.origin, Origin::Std | Origin::System | Origin::Dependency));
    asks.is_some_and(|frame| {
        frame.origin == Origin::Runtime && frame.function.trim_start_matches('<').starts_with("holdup::")
    })
}

impl OverLimit {
    fn bytes(&self) -> i64 {
        self.stacks.iter().map(|stack| stack.bytes).sum()
    }

    fn allocations(&self) -> i64 {
        self.stacks.iter().map(|stack| stack.allocations).sum()
    }
}

/// A headline that is enough for a list of failed tests, and then the stacks.
impl fmt::Display for OverLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let amount = AllocationsView::amount(self.bytes(), self.allocations());
        match self.what {
            What::Allocated => write!(f, "this test allocated {amount}")?,
            What::Kept => write!(f, "this test leaked {amount}")?,
            What::Poll => write!(f, "a poll of this test allocated {amount}")?,
        }
        if let Some(culprit) = self.stacks.iter().find_map(AllocationsView::culprit) {
            let place = culprit.location().map_or_else(String::new, |place| format!(" at {place}"));
            let most = if self.stacks.len() > 1 { ", most of it" } else { "" };
            write!(f, "{most} in {}{place}", culprit.function)?;
        }
        if self.further > 0 {
            write!(f, "; and so did {}", plural(self.further, "other poll"))?;
        }
        let limit = i64::try_from(self.limit).unwrap_or(i64::MAX);
        write!(f, " (limit {}", bytes(limit))?;
        match self.estimated_from {
            Some(samples) => writeln!(f, ", estimated from {})", plural(samples.unsigned_abs(), "sample"))?,
            None => writeln!(f, ")")?,
        }
        for stack in self.stacks.iter().take(MAX_STACKS) {
            write!(f, "\n{}", stack.report())?;
        }
        if let Some(rest) = self.stacks.len().checked_sub(MAX_STACKS).filter(|rest| *rest > 0) {
            writeln!(f, "\n  and {}", plural(rest as u64, "further stack"))?;
        }
        writeln!(f, "\nWhere this is meant to be: a higher limit, or Guard::allow_function.")
    }
}
