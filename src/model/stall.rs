//! Stalls: polls that hold a worker longer than the threshold.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::cause::{Cause, CauseClass};
use super::counters::Counters;
use super::evidence::Evidence;
use super::holds::{Counted, Holds};
use super::stack::{CaptureMethod, Frame, Origin, Stack, StackUnavailable};
use super::task::Task;
use super::waiting::Waiting;

/// The number of a stall. Each [`Watch`](crate::Watch) numbers its stalls from 1, in the order in which it notices them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StallId(pub u64);

impl fmt::Display for StallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A poll that takes longer than the threshold. What it holds up is in [`holds`](Self::holds).
///
/// Tests of callbacks start from [`Stall::example`] and set the fields they need.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stall {
    /// Its number.
    pub id: StallId,
    /// The runtime's name.
    pub runtime: Arc<str>,
    /// Tokio's worker index. `None` for a thread in `block_on` of a multi-thread runtime. Without task hooks, also for a
    /// worker that has been in a poll since its start, while several workers have.
    pub worker: Option<usize>,
    /// What the poll holds up.
    pub holds: Holds,
    /// The thread's name.
    pub thread: Arc<str>,
    /// The kernel's thread id.
    pub tid: i32,
    /// The polled task.
    pub task: Task,
    /// The threshold: a longer poll is a stall.
    pub threshold: Duration,
    /// The duration of the poll so far, or in total once it has ended. Each end is accurate to about a millisecond.
    pub duration: Duration,
    /// How the poll was detected. For an inferred poll, the duration excludes the time before the first proof and
    /// exceeds the real one by 4 ms at most.
    pub detection: Detection,
    /// When the poll began, to about a millisecond. For an inferred poll: the time of the first proof.
    pub began_at: SystemTime,
    /// When the stall was noticed.
    pub noticed_at: SystemTime,
    /// Whether the poll has returned.
    pub ended: bool,
    /// Why the worker was stuck.
    pub cause: Cause,
    /// The innermost frame of the user's code. `None` if the stack has no such frame.
    pub culprit: Option<Culprit>,
    /// How to build the program so that reports name your function. `None` if the culprit is yours, if there is no stack,
    /// or if the build names every function.
    pub build_advice: Option<&'static str>,
    /// The newest stack of the part that culprit and cause come from, or why there is none.
    pub stack: Result<Stack, StackUnavailable>,
    /// What the worker did, in order: one part if it did one thing all the time. Culprit, cause and stack are those of the
    /// part in which the thread spent most of its own time. At most 8.
    pub parts: Vec<StallPart>,
    /// Further parts. Each is joined with its neighbor.
    pub parts_joined: u64,
    /// The work that waited for this worker when the stack was captured.
    pub waiting: Waiting,
}

impl Stall {
    /// A stall to test callbacks with: a poll that still runs, on worker 0 of `runtime-1`, above a threshold of 10 ms.
    ///
    /// `function` is the culprit, and the stack's only frame. Every other field can be set afterwards.
    ///
    /// ```
    /// use std::time::Duration;
    /// use holdup::{Stall, stall::CauseClass};
    ///
    /// let mut stall = Stall::example("shop::price", Duration::from_millis(25), CauseClass::Lock);
    /// stall.worker = Some(3);
    /// stall.task.name = Some("checkout".into());
    /// assert_eq!(stall.culprit.expect("it has one").frame.function.as_ref(), "shop::price");
    /// ```
    #[must_use]
    pub fn example(function: &str, duration: Duration, class: CauseClass) -> Self {
        let threshold = Duration::from_millis(10);
        let frame = Frame::new(function, Origin::User);
        let mut stack = Stack::new(vec![frame.clone()], CaptureMethod::Passive);
        stack.taken_after = threshold;
        let (cause, culprit) = (Cause::new(class, Evidence::default()), Some(Culprit::new(frame, 0)));
        Self {
            id: StallId(1),
            runtime: "runtime-1".into(),
            worker: Some(0),
            holds: Holds::Worker,
            thread: "tokio-rt-worker".into(),
            tid: 1,
            task: Task::default(),
            threshold,
            duration,
            detection: Detection::Instrumented,
            began_at: SystemTime::UNIX_EPOCH,
            noticed_at: SystemTime::UNIX_EPOCH + threshold,
            ended: false,
            cause: cause.clone(),
            culprit: culprit.clone(),
            build_advice: None,
            stack: Ok(stack),
            parts: vec![StallPart { culprit, ..StallPart::new(Duration::ZERO, duration, cause) }],
            parts_joined: 0,
            waiting: Waiting::default(),
        }
    }
}

impl Stall {
    /// What it is counted as.
    ///
    /// ```
    /// use std::time::Duration;
    /// use holdup::{Stall, stall::{CauseClass, Counted, Holds}};
    ///
    /// let mut stall = Stall::example("shop::load", Duration::from_millis(25), CauseClass::File);
    /// assert_eq!(stall.counted_as(), Counted::Stall);
    /// stall.holds = Holds::StartUp;
    /// assert_eq!(stall.counted_as(), Counted::StartUp);
    /// ```
    #[must_use]
    pub fn counted_as(&self) -> Counted {
        Counted::of(self.holds, self.cause.class)
    }

    /// The time in which the machine did not run the thread, in all parts.
    ///
    /// ```
    /// use std::time::Duration;
    /// use holdup::{Stall, stall::CauseClass};
    ///
    /// let mut stall = Stall::example("shop::price", Duration::from_millis(75), CauseClass::Computing);
    /// stall.parts[0].cause.evidence.window = Duration::from_millis(75);
    /// stall.parts[0].cause.evidence.run_queue = Some(Duration::from_millis(38));
    /// assert_eq!(stall.machine_time(), Duration::from_millis(38));
    /// ```
    #[must_use]
    pub fn machine_time(&self) -> Duration {
        self.parts.iter().map(|part| part.cause.evidence.machine_time()).sum()
    }

    /// How long the thread was observed, in all parts.
    #[cfg(feature = "testing")]
    pub(crate) fn observed(&self) -> Duration {
        self.parts.iter().map(|part| part.cause.evidence.window).sum()
    }

    /// The stall when it had lasted this long. Its last part lasts until then.
    pub(crate) fn lasting(mut self, duration: Duration) -> Self {
        self.duration = duration;
        if let Some(last) = self.parts.last_mut() {
            last.to = duration;
        }
        self
    }
}

/// A part of a stall: from one moment to another, the worker did one thing in one function.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StallPart {
    /// Its beginning, from the start of the poll. Where no change was seen when it happened, the middle between two captures.
    pub from: Duration,
    /// Its end, from the start of the poll.
    pub to: Duration,
    /// The innermost frame of the user's code. `None` if the stack has no such frame, or none was captured.
    pub culprit: Option<Culprit>,
    /// What the worker did, with the evidence of this part.
    pub cause: Cause,
}

impl StallPart {
    /// A part without a culprit, which can be set afterwards.
    #[must_use]
    pub fn new(from: Duration, to: Duration, cause: Cause) -> Self {
        Self { from, to, culprit: None, cause }
    }

    /// Its duration.
    #[must_use]
    pub fn duration(&self) -> Duration {
        self.to.saturating_sub(self.from)
    }
}

/// How holdup knows that a stall is one long poll and not many short ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Detection {
    /// The poll is instrumented, by Tokio's task hooks or by a wrapped future. Its beginning is known.
    #[default]
    Instrumented,
    /// Inferred: the worker's thread slept inside the poll, and did not run between two samples.
    SameSleep,
    /// Inferred: a sample found the worker inside a poll, and no poll has returned to the runtime since. Time that the
    /// runtime itself spent before the poll is included.
    NoReturn,
    /// A poll of a `LocalSet`, which polls up to 61 of its tasks in a row. Whether one of them took the whole time is not known,
    /// because breakpoints are refused or no stack of such a poll was seen before.
    LocalSet,
}

impl Detection {
    /// The word for it in JSON and in `tracing` events.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Instrumented => "instrumented",
            Self::SameSleep => "same_sleep",
            Self::NoReturn => "no_return",
            Self::LocalSet => "local_set",
        }
    }

    /// The variant of a word. Unknown words, of later versions, mean `Instrumented`.
    #[cfg(feature = "cli")]
    pub(crate) fn of_word(word: &str) -> Self {
        let others = [Self::SameSleep, Self::NoReturn, Self::LocalSet];
        others.into_iter().find(|detection| detection.as_str() == word).unwrap_or_default()
    }

    /// Whether the poll was inferred. Its task is unknown then, and its duration is less exact.
    ///
    /// ```
    /// assert!(!holdup::stall::Detection::Instrumented.is_inferred());
    /// ```
    #[must_use]
    pub fn is_inferred(self) -> bool {
        self != Self::Instrumented
    }

    /// The evidence of an inferred poll, in one sentence. `None` for an instrumented one.
    #[must_use]
    pub fn explanation(self) -> Option<&'static str> {
        match self {
            Self::Instrumented => None,
            Self::SameSleep => Some("the thread slept in this poll and was not run in between"),
            Self::NoReturn => Some("the thread was in this poll and no poll had returned"),
            Self::LocalSet => Some("a LocalSet polls its tasks in a row, and this time may be that of several polls"),
        }
    }
}

impl fmt::Display for Detection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The innermost frame of the user's code, and the call it made.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Culprit {
    /// The frame.
    pub frame: Frame,
    /// Its position in the stack. The innermost frame has position 0.
    pub depth: usize,
    /// The function it called, such as `std::thread::sleep`. `None` if it was running its own code.
    pub call: Option<Arc<str>>,
}

impl Culprit {
    /// A frame that runs its own code.
    #[must_use]
    pub fn new(frame: Frame, depth: usize) -> Self {
        Self { frame, depth, call: None }
    }
}

/// The stage of a stall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// The poll has exceeded the threshold. It still runs, unless most of its time was the machine's: then this event comes
    /// when the stack is captured again, or with the end.
    Noticed,
    /// The poll still runs, and its stack was captured again. This happens at 4, 16, 64 times the threshold and so on, and
    /// after a change of what the thread waits for.
    Updated,
    /// The poll has returned.
    Ended,
}

impl Phase {
    /// The word for it in `tracing` events.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Noticed => "noticed",
            Self::Updated => "updated",
            Self::Ended => "ended",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The argument of a callback; see [`WatchBuilder::on_stall`](crate::WatchBuilder::on_stall).
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct StallEvent<'a> {
    /// The stage of the stall.
    pub phase: Phase,
    /// The stall as it is known now.
    pub stall: &'a Stall,
}

impl<'a> StallEvent<'a> {
    /// An event to test a callback with; see [`Stall::example`].
    #[must_use]
    pub fn new(phase: Phase, stall: &'a Stall) -> Self {
        Self { phase, stall }
    }
}

/// A group of equal stalls: the same culprit and the same cause, reached by the same calls.
///
/// A stall that still runs is a separate entry until it ends.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StallEntry {
    /// The newest stall, with the number of the first one.
    pub stall: Stall,
    /// The number of stalls.
    pub count: u64,
    /// The sum of their durations.
    pub total: Duration,
    /// The longest duration.
    pub longest: Duration,
    /// When the first one was noticed.
    pub first_noticed_at: SystemTime,
}

impl StallEntry {
    /// An entry of one stall.
    #[must_use]
    pub fn new(stall: Stall) -> Self {
        let (total, longest, first_noticed_at) = (stall.duration, stall.duration, stall.noticed_at);
        Self { stall, count: 1, total, longest, first_noticed_at }
    }
}

/// The bounded history of a watch, and its counters.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Stalls {
    /// Stalls that still run, and equal stalls counted together. Those of one function follow each other, and functions
    /// that took most time come first; see [`groups`](Self::groups). Inside a function, stalls that run come first.
    pub entries: Vec<StallEntry>,
    /// Counts of all stalls, including those that have left the history.
    pub counters: Counters,
    /// What holds up the delivery of reports now, as sentences: a `tracing` subscriber, a callback, or a reader of standard
    /// error that takes nothing.
    pub notes: Vec<String>,
}
