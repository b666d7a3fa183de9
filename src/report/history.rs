//! Stalls so far, in bounded memory: open stalls one by one, ended stalls by kind.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::captures::Captures;
use super::stalled_time::{PollStack, StalledTime};
use crate::diagnose::poll_boundary;
use crate::model::cause::CauseClass;
use crate::model::counters::Counters;
use crate::model::holds::{Counted, Holds};
use crate::model::stall::{Stall, StallEntry, StallId};
use crate::model::stall_group::sort_by_group;
use crate::stalls::Life;

/// The limit on kinds of ended stalls. The oldest kind makes room, and is counted as forgotten.
const MAX_KINDS: usize = 256;

/// The watchdog reports an end within this time: it waits a moment for the victims.
const END_REPORT_LIMIT: Duration = Duration::from_secs(1);

/// A stall that still lasts.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) stall: Stall,
    /// What a long poll on its thread holds up, once the runtime has tasks.
    pub(crate) thread_holds: Holds,
    pub(crate) life: Arc<Life>,
    pub(crate) captures: Captures,
    /// The frames of each part of the stall inside the poll.
    pub(crate) stacks: Vec<PollStack>,
    /// Whether the counters have it.
    pub(crate) counted: bool,
    /// Whether the stall was announced: reported, or held back by the rate limit.
    pub(crate) announced: bool,
    /// Whether the stall was reported. If so, its end is reported too.
    pub(crate) reported: bool,
    /// The duration at which a reminder is due.
    pub(crate) remind_after: Duration,
}

impl Open {
    /// The stall with its duration by now. Its end is reported when its victims are known.
    fn now(&self) -> Stall {
        self.stall.clone().lasting(self.life.duration())
    }
}

#[derive(Debug)]
struct Kind {
    newest: Stall,
    first_id: StallId,
    count: u64,
    total: Duration,
    longest: Duration,
    first_noticed_at: SystemTime,
}

/// The stalls of one watch.
#[derive(Debug, Default)]
pub(crate) struct History {
    open: Vec<Open>,
    kinds: HashMap<u64, Kind>,
    stalled: StalledTime,
    pub(crate) reported: Counters,
    /// Grows with every change of the entries.
    version: u64,
}

impl History {
    pub(crate) fn open(&mut self, open: Open) {
        self.version += 1;
        let id = open.stall.id;
        self.open.push(open);
        self.count_if_stall(id);
    }

    /// Counts an open stall. What is no stall so far may become one, and is counted at its end.
    pub(crate) fn count_if_stall(&mut self, id: StallId) {
        let open = self.open.iter_mut().find(|open| open.stall.id == id);
        if let Some(open) = open.filter(|open| !open.counted && open.stall.counted_as() == Counted::Stall) {
            open.counted = true;
            self.reported.count(Counted::Stall);
        }
    }

    pub(crate) fn open_mut(&mut self, id: StallId) -> Option<&mut Open> {
        self.version += 1;
        self.open.iter_mut().find(|open| open.stall.id == id)
    }

    /// A number that changes with every change of the entries.
    #[cfg(feature = "http")]
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// The stalls that still run.
    #[cfg(feature = "http")]
    pub(crate) fn running(&self) -> Vec<Stall> {
        let runs = |open: &&Open| open.life.ended_ago().is_none() && open.stall.counted_as() == Counted::Stall;
        self.open.iter().filter(runs).map(Open::now).collect()
    }

    pub(crate) fn any_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// The open stalls.
    pub(crate) fn all_open_mut(&mut self) -> impl Iterator<Item = &mut Open> {
        self.open.iter_mut()
    }

    /// Stalls that ended unreported, because the queue was full.
    pub(crate) fn ended_unreported(&self) -> Vec<StallId> {
        let unreported = |open: &&Open| open.life.ended_ago().is_some_and(|ago| ago >= END_REPORT_LIMIT);
        self.open.iter().filter(unreported).map(|open| open.stall.id).collect()
    }

    /// How many equal stalls have ended.
    pub(crate) fn count(&self, kind: u64) -> u64 {
        self.kinds.get(&kind).map_or(0, |kind| kind.count)
    }

    /// Moves a stall from the open to the ended ones; returns it, and whether it was reported.
    pub(crate) fn close(&mut self, id: StallId) -> Option<(Stall, bool)> {
        self.version += 1;
        let position = self.open.iter().position(|open| open.stall.id == id)?;
        let open = self.open.swap_remove(position);
        let stall = Stall { ended: true, ..open.now() };
        if !open.counted {
            self.reported.count(stall.counted_as());
        }
        self.stalled.add(&stall, &open.stacks);
        self.count_ended(&stall);
        Some((stall, open.reported))
    }

    fn count_ended(&mut self, stall: &Stall) {
        let key = kind_of(stall);
        if !self.kinds.contains_key(&key) && self.kinds.len() >= MAX_KINDS {
            let oldest = self.kinds.iter().min_by_key(|(_, kind)| kind.newest.noticed_at).map(|(key, _)| *key);
            if let Some(oldest) = oldest {
                self.kinds.remove(&oldest);
                self.reported.forgotten += 1;
            }
        }
        let kind = self.kinds.entry(key).or_insert_with(|| Kind {
            newest: stall.clone(),
            first_id: stall.id,
            count: 0,
            total: Duration::ZERO,
            longest: Duration::ZERO,
            first_noticed_at: stall.noticed_at,
        });
        kind.count += 1;
        kind.total += stall.duration;
        kind.longest = kind.longest.max(stall.duration);
        kind.newest = Stall { id: kind.first_id, ..stall.clone() };
    }

    pub(crate) fn entries(&self) -> Vec<StallEntry> {
        let open = self.open.iter().map(|open| StallEntry::new(open.now()));
        let mut entries: Vec<StallEntry> = open.chain(self.kinds.values().map(entry_of_kind)).collect();
        sort_by_group(&mut entries);
        entries
    }

    pub(crate) fn counters(&self) -> Counters {
        self.reported
    }

    /// Stalled time so far, including that of open stalls.
    pub(crate) fn stalled_time(&self) -> StalledTime {
        let mut stalled = self.stalled.clone();
        for open in &self.open {
            let stall = open.now();
            stalled.add(&stall, &open.stacks);
        }
        stalled
    }
}

fn entry_of_kind(kind: &Kind) -> StallEntry {
    StallEntry {
        stall: kind.newest.clone(),
        count: kind.count,
        total: kind.total,
        longest: kind.longest,
        first_noticed_at: kind.first_noticed_at,
    }
}

/// Equal for equal stalls: the same runtime, cause and thing held, and the same functions from the culprit outwards. A
/// culprit that waits does so in one line, which counts too; one that computes is found in any of its lines.
pub(crate) fn kind_of(stall: &Stall) -> u64 {
    let mut hasher = DefaultHasher::new();
    stall.runtime.hash(&mut hasher);
    stall.holds.hash(&mut hasher);
    stall.cause.class.hash(&mut hasher);
    match (&stall.stack, &stall.culprit) {
        (Ok(stack), Some(culprit)) => {
            let boundary = poll_boundary(&stack.frames);
            for frame in &stack.frames[culprit.depth.min(boundary)..boundary] {
                frame.function.hash(&mut hasher);
            }
            if stall.cause.class != CauseClass::Computing {
                culprit.frame.line.hash(&mut hasher);
            }
        }
        (Ok(stack), None) => stack.frames.first().map(|frame| &frame.function).hash(&mut hasher),
        (Err(_), _) => stall.task.spawned_at.map(|place| (place.file(), place.line())).hash(&mut hasher),
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::captures::Seen;
    use super::*;
    use crate::model::evidence::Evidence;
    use crate::model::stack::{CaptureMethod, Frame, Origin, Stack, StackUnavailable};
    use crate::model::stall::Culprit;

    fn stall(id: u64, function: &str, line: u32, class: CauseClass) -> Stall {
        let frame = Frame {
            function: function.into(),
            file: Some("src/lib.rs".into()),
            line: Some(line),
            origin: Origin::User,
            package: None,
        };
        let stack = Stack {
            frames: vec![frame.clone()],
            method: CaptureMethod::Passive,
            complete: true,
            taken_after: Duration::ZERO,
        };
        let mut stall = Stall::example(function, Duration::ZERO, class);
        stall.id = StallId(id);
        stall.noticed_at = SystemTime::UNIX_EPOCH + Duration::from_secs(id);
        (stall.culprit, stall.stack) = (Some(Culprit { frame, depth: 0, call: None }), Ok(stack));
        stall
    }

    fn open(stall: Stall) -> Open {
        let seen = Seen::nothing(StackUnavailable::TooLate);
        Open {
            thread_holds: stall.holds,
            stall,
            counted: false,
            life: Arc::new(Life::begun(Instant::now())),
            captures: Captures::first(Duration::ZERO, Evidence::default(), seen),
            stacks: Vec::new(),
            announced: true,
            reported: false,
            remind_after: Duration::MAX,
        }
    }

    #[test]
    fn equal_stalls_are_counted_together_once_they_ended() {
        let mut history = History::default();
        for id in 1..=3 {
            history.open(open(stall(id, "news::nap", 7, CauseClass::Sleeping)));
        }
        assert_eq!(history.entries().len(), 3, "those that last are listed one by one");
        for id in 1..=3 {
            assert!(history.close(StallId(id)).is_some_and(|(stall, _)| stall.ended));
        }
        let entries = history.entries();
        assert_eq!((entries.len(), entries[0].count, entries[0].stall.id), (1, 3, StallId(1)));
        assert!(history.close(StallId(1)).is_none(), "only once");
    }

    #[test]
    fn a_stall_is_counted_at_once_and_another_long_poll_at_its_end() {
        let mut history = History::default();
        let of = |id, holds| Stall { holds, ..stall(id, "news::load", 7, CauseClass::File) };
        history.open(open(of(1, Holds::Worker)));
        history.open(open(of(2, Holds::StartUp)));
        history.open(open(of(3, Holds::StartUp)));
        let counts = |history: &History| (history.counters().stalls, history.counters().start_up);
        assert_eq!(counts(&history), (1, 0));
        history.close(StallId(1));
        history.close(StallId(2));
        assert_eq!(counts(&history), (1, 1));
        // A task came while the third one went on.
        history.open_mut(StallId(3)).expect("it lasts").stall.holds = Holds::CurrentThread;
        history.count_if_stall(StallId(3));
        assert_eq!(counts(&history), (2, 1));
        history.close(StallId(3));
        assert_eq!(counts(&history), (2, 1));
        assert_eq!(history.entries().len(), 3, "what holds something else is another kind");
    }

    #[test]
    fn waiting_in_another_line_is_another_kind_but_computing_is_not() {
        let kind = |line, class| kind_of(&stall(1, "news::work", line, class));
        assert_ne!(kind(7, CauseClass::Sleeping), kind(8, CauseClass::Sleeping));
        assert_eq!(kind(7, CauseClass::Computing), kind(8, CauseClass::Computing));
        let mut without_stack = stall(1, "news::work", 7, CauseClass::Unknown);
        without_stack.stack = Err(StackUnavailable::NoAnswer);
        assert_ne!(kind_of(&without_stack), kind(7, CauseClass::Unknown));
    }

    #[test]
    fn memory_is_bounded_and_what_is_forgotten_is_counted() {
        let mut history = History::default();
        let kinds = MAX_KINDS as u64 + 10;
        for id in 1..=kinds {
            history.open(open(stall(id, &format!("news::f{id}"), 1, CauseClass::Sleeping)));
            history.close(StallId(id));
        }
        assert_eq!(history.entries().len(), MAX_KINDS);
        assert_eq!(history.counters().forgotten, 10);
        assert!(history.entries().iter().all(|entry| entry.stall.id.0 > 10), "the oldest made room");
    }
}
