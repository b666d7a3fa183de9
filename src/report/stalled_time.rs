//! Stalled time by stack, task and cause, in bounded memory. It only grows; a window is the difference of two copies.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::diagnose::poll_boundary;
use crate::model::cause::{Cause, CauseClass};
use crate::model::evidence::Evidence;
use crate::model::profile::{Labels, Profile, ProfileBuilder, ProfileFrame, Sample, Unit, ValueType};
use crate::model::stack::{Frame, Origin};
use crate::model::stall::Stall;

/// The limit on kinds of stalled time. Time of further kinds is added up as one.
const MAX_KINDS: usize = 4096;

/// The name of that sum.
const OTHER_STACKS: &str = "(other stacks)";

/// Frames inside the poll, innermost first.
pub(crate) type PollStack = Arc<[Frame]>;

/// The frames of a stall's stack inside the poll. The frames outside belong to the runtime and are the same for all stalls.
pub(crate) fn inside_poll(frames: &[Frame]) -> PollStack {
    frames[..poll_boundary(frames)].into()
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Kind {
    labels: Labels,
    stack: PollStack,
}

/// Sums over stalls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sums {
    stalls: u64,
    on_cpu: Duration,
    total: Duration,
}

/// Stalled time by kind.
#[derive(Clone, Debug, Default)]
pub(crate) struct StalledTime {
    kinds: HashMap<Arc<Kind>, Sums>,
}

impl StalledTime {
    /// Adds the parts of a stall, with the stack of each. The first counts the stall.
    pub(crate) fn add(&mut self, stall: &Stall, stacks: &[PollStack]) {
        for (index, (part, stack)) in stall.parts.iter().zip(stacks).enumerate() {
            let kind = Kind { labels: labels_of(stall, &part.cause), stack: Arc::clone(stack) };
            let total = part.duration();
            let on_cpu = total.mul_f64(on_cpu_share(&part.cause.evidence));
            let sums = Sums { stalls: u64::from(index == 0), on_cpu, total };
            self.add_sums(Arc::new(kind), sums);
        }
    }

    fn add_sums(&mut self, kind: Arc<Kind>, sums: Sums) {
        let kind = if self.kinds.len() < MAX_KINDS || self.kinds.contains_key(&kind) { kind } else { other() };
        let known = self.kinds.entry(kind).or_default();
        known.stalls += sums.stalls;
        known.on_cpu += sums.on_cpu;
        known.total += sums.total;
    }

    /// The time that was added since an earlier copy.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let mut kinds = HashMap::new();
        for (kind, sums) in &self.kinds {
            let before = earlier.kinds.get(kind).copied().unwrap_or_default();
            let difference = Sums {
                stalls: sums.stalls.saturating_sub(before.stalls),
                on_cpu: sums.on_cpu.saturating_sub(before.on_cpu),
                total: sums.total.saturating_sub(before.total),
            };
            if difference != Sums::default() {
                kinds.insert(Arc::clone(kind), difference);
            }
        }
        Self { kinds }
    }

    /// A profile of stalled time. The innermost frame of each stack is the cause, in brackets.
    pub(crate) fn profile(&self, started_at: SystemTime, duration: Duration) -> Profile {
        let time = |name| ValueType::new(name, Unit::Nanoseconds);
        let values = vec![ValueType::new("stalls", Unit::Count), time("on_cpu"), time("off_cpu"), time("stalled")];
        let mut builder = ProfileBuilder::new("stalled", values);
        let mut kinds: Vec<_> = self.kinds.iter().collect();
        kinds.sort_by_key(|(_, sums)| std::cmp::Reverse(sums.total));
        for (kind, sums) in kinds {
            let cause = kind.labels.state.as_ref().and_then(|word| word.parse::<CauseClass>().ok());
            let innermost = cause.map(|cause| no_code(&format!("[{}]", cause.title())));
            let frames: Vec<u32> = innermost
                .into_iter()
                .chain(kind.stack.iter().cloned())
                .map(|frame| builder.frame(ProfileFrame::of(frame)))
                .collect();
            let (stack, labels) = (builder.stack(&frames), builder.labels(kind.labels.clone()));
            let nanoseconds = |time: Duration| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
            let off_cpu = sums.total.saturating_sub(sums.on_cpu);
            let stalls = i64::try_from(sums.stalls).unwrap_or(i64::MAX);
            let values = [stalls, nanoseconds(sums.on_cpu), nanoseconds(off_cpu), nanoseconds(sums.total)];
            builder.add(Sample::new(None, stack, labels, values));
        }
        builder.profile().started_at = started_at;
        builder.profile().duration = duration;
        let mut profile = builder.build();
        profile.count_nameless();
        profile
    }
}

fn other() -> Arc<Kind> {
    Arc::new(Kind { labels: Labels::default(), stack: Arc::new([no_code(OTHER_STACKS)]) })
}

fn no_code(name: &str) -> Frame {
    Frame { function: name.into(), file: None, line: None, origin: Origin::Runtime, package: None }
}

/// The labels of a stall. They leave out task id and thread, because stalls of one kind come from many tasks.
fn labels_of(stall: &Stall, cause: &Cause) -> Labels {
    Labels {
        runtime: Some(Arc::clone(&stall.runtime)),
        task_name: stall.task.name.clone(),
        spawned_at: stall.task.place().map(Arc::from),
        state: Some(cause.class.as_str().into()),
        ..Labels::default()
    }
}

/// The share of the window that the thread spent on the CPU, from 0 to 1.
fn on_cpu_share(evidence: &Evidence) -> f64 {
    let window = evidence.window.as_secs_f64();
    let on_cpu = evidence.on_cpu.unwrap_or_default().as_secs_f64();
    if window > 0.0 { (on_cpu / window).clamp(0.0, 1.0) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::stall::StallPart;

    /// A stall with parts of these durations in milliseconds.
    fn stall(class: CauseClass, on_cpu: u64, parts: &[u64]) -> Stall {
        let ms = Duration::from_millis;
        let evidence = Evidence { window: ms(100), on_cpu: Some(ms(on_cpu)), ..Evidence::default() };
        let mut stall = Stall::example("f", ms(parts.iter().sum()), class);
        let part = |time: &u64| StallPart::new(Duration::ZERO, ms(*time), Cause::new(class, evidence.clone()));
        stall.parts = parts.iter().map(part).collect();
        stall
    }

    fn stack(function: &str) -> PollStack {
        Arc::new([Frame { origin: Origin::User, ..no_code(function) }])
    }

    #[test]
    fn time_is_split_by_the_share_on_the_cpu() {
        let mut stalled = StalledTime::default();
        stalled.add(&stall(CauseClass::Computing, 80, &[50, 150]), &[stack("a"), stack("b")]);
        let profile = stalled.profile(SystemTime::UNIX_EPOCH, Duration::from_secs(1));
        assert_eq!((profile.total(0), profile.total(3)), (1, 200_000_000), "one stall of 200 ms");
        assert_eq!((profile.total(1), profile.total(2)), (160_000_000, 40_000_000), "80 % on the CPU");
        let names =
            |sample| profile.frames_of(sample).map(|frame| frame.frame.function.to_string()).collect::<Vec<_>>();
        assert_eq!(names(&profile.samples[0]), ["[computing]", "b"], "the longest first");
    }

    #[test]
    fn a_window_is_the_difference_of_two_copies() {
        let mut stalled = StalledTime::default();
        stalled.add(&stall(CauseClass::Lock, 0, &[10]), &[stack("a")]);
        let earlier = stalled.clone();
        assert_eq!(stalled.since(&earlier).kinds.len(), 0);
        stalled.add(&stall(CauseClass::Lock, 0, &[30]), &[stack("a")]);
        let profile = stalled.since(&earlier).profile(SystemTime::UNIX_EPOCH, Duration::ZERO);
        assert_eq!((profile.total(0), profile.total(3)), (1, 30_000_000));
    }

    #[test]
    fn further_kinds_are_shown_as_one() {
        let mut stalled = StalledTime::default();
        for number in 0..MAX_KINDS + 10 {
            stalled.add(&stall(CauseClass::Sleeping, 0, &[1]), &[stack(&format!("f{number}"))]);
        }
        assert_eq!(stalled.kinds.len(), MAX_KINDS + 1);
        assert_eq!(stalled.kinds[&other()].stalls, 10);
    }
}
