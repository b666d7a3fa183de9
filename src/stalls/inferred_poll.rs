//! Infers long polls of a worker whose polls are not instrumented.
//!
//! Such a worker reports when it parks and unparks, but not when it polls. Two kinds of evidence prove one long poll:
//!
//! - **Same sleep**: the thread sleeps inside a poll, and has not run since.
//! - **No return**: the worker was seen inside a poll, and since then no poll has returned. Breakpoints at the return addresses
//!   of polls count the returns ([`WorkerSource::watch_poll_returns`]). Setting one costs the worker one exception.
//!
//! Each kind is a state machine, and every sample updates both.
//!
//! # Same sleep: [`SleepEvidence`]
//!
//! ```text
//!               sampled: it sleeps                   sampled: the same sleep
//!             ┌────────────────────▶ ┌───────────┐ ◀──┐
//!  ┌─────────┐│                      │  Asleep   │────┘
//!  │ Running ├┘                      │  {since}  │────┐ sampled: another sleep,
//!  └─────────┘ ◀──────────────────── └───────────┘ ◀──┘ `since` starts again
//!               sampled: it runs
//!               contradicted: its stack shows no poll
//! ```
//!
//! # No return: [`ReturnEvidence`]
//!
//! ```text
//!                  breakpoint_set: no return address is known
//!        ┌──────────────────────────────────────────────────────▶ ┌───────────┐
//!        │                                                        │ NoAddress │
//!        │         breakpoint_set: refused                        └─────┬─────┘
//!        │        ┌─┐                                                   │ a captured stack shows a return address,
//!        │        ▼ │                                                   │ then breakpoint_set: ok
//!  ┌─────┴──────────┴┐   breakpoint_set: ok    ┌───────────┐            │
//!  │    Unwatched    │ ──────────────────────▶ │  Watched  │ ◀──────────┘
//!  └─────────────────┘ ◀────────────────────── │  {since}  │
//!           ▲             lost: a poll has     └─────┬─────┘
//!           │             returned, or the           │ poll_seen: a captured stack shows the watched poll,
//!           │             stack shows no poll        ▼ and it has not returned
//!           │                                  ┌───────────┐
//!           └───────────────────────────────── │  InPoll   │
//!                 lost: the same               │  {since}  │
//!                                              └───────────┘
//! ```
//!
//! `Asleep` and `InPoll` become proof once they have lasted for the threshold. So does `Watched` of a worker that is asleep now:
//! it has not parked, so it sleeps in the poll. A stack captured then must [confirm] the poll.
//!
//! [confirm]: PollInference::confirm

use std::time::{Duration, Instant};

use super::sample::SampleContext;
use crate::model::stack::RawStack;
use crate::model::stall::Detection;
use crate::process::{BreakpointError, PollInStack, Sleep, WorkerSource};

/// In thresholds: the time between two breakpoints on a worker that keeps changing its task.
const BREAKPOINT_INTERVAL_OF_BUSY_WORKER: u32 = 8;

/// What the samples of a worker's sleep show.
#[derive(Clone, Copy, Debug, PartialEq)]
enum SleepEvidence {
    Running,
    Asleep { sleep: Sleep, since: Instant },
}

impl SleepEvidence {
    /// The same sleep keeps its start, and another one begins at `start`.
    fn sampled(self, sleep: Option<Sleep>, start: Instant) -> Self {
        match (self, sleep) {
            (_, None) => Self::Running,
            (Self::Asleep { sleep: before, .. }, Some(now)) if before == now => self,
            (_, Some(sleep)) => Self::Asleep { sleep, since: start },
        }
    }

    /// After its stack was captured: the signal may have woken the thread, which then sleeps again in the same place.
    fn stack_captured(self, sleep: Option<Sleep>) -> Self {
        match (self, sleep) {
            (Self::Asleep { sleep: before, since }, Some(sleep)) if sleep.is_at(&before) => {
                Self::Asleep { sleep, since }
            }
            _ => Self::Running,
        }
    }

    /// A stack shows no poll, so the thread sleeps elsewhere.
    fn contradicted(self) -> Self {
        Self::Running
    }

    fn since(self) -> Option<Instant> {
        match self {
            Self::Running => None,
            Self::Asleep { since, .. } => Some(since),
        }
    }
}

/// What the breakpoints at the return addresses of polls show.
#[derive(Clone, Copy, Debug, PartialEq)]
enum ReturnEvidence {
    /// No breakpoint is set, or one was hit.
    Unwatched,
    /// No breakpoint can be set, because no return address is known.
    NoAddress,
    /// No poll has returned since then. Whether the worker is in a poll is not known.
    Watched { since: Instant },
    /// No poll has returned since then, and the worker was seen in a poll.
    InPoll { since: Instant },
}

impl ReturnEvidence {
    /// A breakpoint was set, or could not be. `since` is evaluated afterwards.
    fn breakpoint_set(result: Result<(), BreakpointError>, since: impl FnOnce() -> Instant) -> Self {
        match result {
            Ok(()) => Self::Watched { since: since() },
            Err(BreakpointError::NoReturnAddress) => Self::NoAddress,
            Err(BreakpointError::Refused) => Self::Unwatched,
        }
    }

    /// A stack shows the watched poll, which has not returned.
    fn poll_seen(self) -> Self {
        match self {
            Self::Watched { since } => Self::InPoll { since },
            Self::Unwatched | Self::NoAddress | Self::InPoll { .. } => self,
        }
    }

    /// A poll has returned, or a stack shows no poll.
    fn lost(self) -> Self {
        match self {
            Self::NoAddress => Self::NoAddress,
            Self::Unwatched | Self::Watched { .. } | Self::InPoll { .. } => Self::Unwatched,
        }
    }

    /// Since when no poll has returned.
    fn since(self) -> Option<Instant> {
        match self {
            Self::Unwatched | Self::NoAddress => None,
            Self::Watched { since } | Self::InPoll { since } => Some(since),
        }
    }

    /// Since when the worker has been in one poll.
    fn in_poll_since(self) -> Option<Instant> {
        match self {
            Self::InPoll { since } => Some(since),
            Self::Unwatched | Self::NoAddress | Self::Watched { .. } => None,
        }
    }
}

/// A time in which no poll has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PossiblePoll {
    pub(super) start: Instant,
    /// The proof that it is one poll. `None` as long as there is none.
    pub(super) detection: Option<Detection>,
}

/// The evidence on one worker since it unparked.
#[derive(Debug)]
pub(super) struct PollInference {
    threshold: Duration,
    sleep: SleepEvidence,
    returns: ReturnEvidence,
    /// The earliest time of the next breakpoint.
    next_breakpoint: Instant,
    /// The earliest time of the next stack.
    next_stack: Instant,
}

impl PollInference {
    /// No evidence yet.
    pub(super) fn new(threshold: Duration, start: Instant) -> Self {
        Self {
            threshold,
            sleep: SleepEvidence::Running,
            returns: ReturnEvidence::Unwatched,
            next_breakpoint: start,
            next_stack: start,
        }
    }

    /// Starts at the first sample of an awake worker. Only its sleep is sampled, because most workers park again soon.
    pub(super) fn start<T: WorkerSource>(source: &mut T, sample: SampleContext, threshold: Duration) -> Self {
        let mut inference = Self::new(threshold, sample.event_time());
        let sleep = source.current_sleep(sample.worker);
        inference.sleep = inference.sleep.sampled(sleep, sample.event_time_now());
        inference
    }

    /// The same for a worker whose present poll began since the previous sample. That poll is watched, but not before
    /// `next_breakpoint`.
    pub(super) fn start_with_poll<T: WorkerSource>(
        source: &mut T,
        sample: SampleContext,
        next_breakpoint: Option<Instant>,
        threshold: Duration,
    ) -> Self {
        let mut inference = Self::start(source, sample, threshold);
        inference.next_breakpoint = next_breakpoint.unwrap_or(sample.now);
        if sample.now >= inference.next_breakpoint {
            inference.watch_present_poll(source, sample, || sample.event_time_now());
        }
        inference
    }

    /// The earliest time of the next breakpoint.
    pub(super) fn next_breakpoint(&self) -> Instant {
        self.next_breakpoint
    }

    /// Takes one more sample, and returns the longest time without the end of a poll.
    pub(super) fn update<T: WorkerSource>(&mut self, source: &mut T, sample: SampleContext) -> Option<PossiblePoll> {
        let sleep = source.current_sleep(sample.worker);
        self.sleep = self.sleep.sampled(sleep, sample.event_time_now());
        self.update_returns(source, sample);
        if self.needs_stack(sample.now) {
            self.next_stack = sample.now + self.threshold / 2;
            self.check_stack(source, sample, Instant::now);
        }
        self.possible_poll(sample.now)
    }

    fn update_returns<T: WorkerSource>(&mut self, source: &mut T, sample: SampleContext) {
        let returned = self.returns.since().and_then(|_| source.poll_returned(sample.worker));
        if returned == Some(false) {
            return;
        }
        self.returns = self.returns.lost();
        // A breakpoint costs the worker an exception, so it is not set at every sample. A worker that keeps changing its task is
        // rarely in a long poll.
        let is_busy = self.returns != ReturnEvidence::NoAddress && source.context_changed(sample.worker) == Some(true);
        let pause = if is_busy { self.threshold * BREAKPOINT_INTERVAL_OF_BUSY_WORKER } else { Duration::ZERO };
        if sample.now >= self.next_breakpoint + pause {
            // If a poll has returned since the previous sample, the present one began after it.
            let start = || if returned == Some(true) { sample.event_time_now() } else { Instant::now() };
            self.watch_present_poll(source, sample, start);
        }
    }

    /// Watches the present poll, and no other one for a quarter of a threshold.
    ///
    /// Without a known return address it captures a stack to find one. The next stack then comes half a threshold later,
    /// because a capture interrupts a running thread.
    fn watch_present_poll<T: WorkerSource>(
        &mut self,
        source: &mut T,
        sample: SampleContext,
        start: impl Fn() -> Instant,
    ) {
        self.next_breakpoint = sample.now + self.threshold / 4;
        self.set_breakpoint(source, sample.worker, start);
        if self.returns != ReturnEvidence::NoAddress {
            return;
        }
        if sample.is_separate() {
            self.next_breakpoint = sample.now + self.threshold / 2;
            let start = sample.event_time_now();
            self.check_stack(source, sample, || start);
        } else {
            self.next_breakpoint = sample.now;
        }
    }

    /// `start` is the start of the poll that is watched from now on.
    fn set_breakpoint<T: WorkerSource>(&mut self, source: &mut T, worker: usize, start: impl Fn() -> Instant) {
        self.returns = ReturnEvidence::breakpoint_set(source.watch_poll_returns(worker), start);
    }

    /// Whether only a stack can prove that the watched time is one poll. That time must have lasted for half a threshold.
    fn needs_stack(&self, now: Instant) -> bool {
        let is_long = |since| now.duration_since(since) >= self.threshold / 2;
        let is_long_asleep = self.sleep.since().is_some_and(is_long);
        let is_unproven = matches!(self.returns, ReturnEvidence::Watched { since } if is_long(since));
        is_unproven && !is_long_asleep && now >= self.next_stack
    }

    /// Captures a stack to see whether the worker is in a poll. `start` is the start of a poll that was not watched yet.
    fn check_stack<T: WorkerSource>(&mut self, source: &mut T, sample: SampleContext, start: impl Fn() -> Instant) {
        let Ok(stack) = source.try_capture_stack(sample.worker, sample.progress) else { return };
        match source.poll_in_stack(sample.worker, &stack) {
            PollInStack::Watched if source.poll_returned(sample.worker) == Some(false) => {
                self.returns = self.returns.poll_seen();
            }
            PollInStack::Watched => {}
            // The poll may have returned before the breakpoint was set, so another stack must show it.
            PollInStack::Unwatched => self.set_breakpoint(source, sample.worker, start),
            PollInStack::None => {
                self.returns = self.returns.lost();
                self.sleep = self.sleep.contradicted();
            }
            // The stack was truncated. The next one may be complete.
            PollInStack::Unknown => self.next_stack = Instant::now() + self.threshold / 4,
        }
    }

    /// Whether a stack captured at the threshold shows the poll. If so, its return is watched.
    pub(super) fn confirm<T: WorkerSource>(
        &mut self,
        source: &mut T,
        worker: usize,
        stack: &RawStack,
        detection: Detection,
    ) -> bool {
        let poll = source.poll_in_stack(worker, stack);
        let was_seen = self.returns.in_poll_since().is_some();
        let is_watched = poll == PollInStack::Watched || poll == PollInStack::Unknown && was_seen;
        if is_watched && source.poll_returned(worker) == Some(false) {
            return true;
        }
        match poll {
            // The stack could not be followed, and the stall must be reported all the same.
            PollInStack::Unknown if self.sleep != SleepEvidence::Running && source.sleeps_outside_parks(worker) => {
                let asleep = self.is_still_asleep(source, worker);
                self.returns = self.returns.lost();
                asleep
            }
            PollInStack::Unknown => {
                // The stack proves nothing about the sleep. The breakpoint may still prove a poll later.
                self.sleep = self.sleep.contradicted();
                false
            }
            PollInStack::Watched | PollInStack::Unwatched if detection == Detection::SameSleep => {
                self.set_breakpoint(source, worker, Instant::now);
                if !self.is_still_asleep(source, worker) {
                    self.returns = self.returns.lost();
                }
                true
            }
            PollInStack::Unwatched if self.sleep != SleepEvidence::Running => {
                // The watched poll was another one. The sleep alone may prove this poll later.
                self.returns = self.returns.lost();
                false
            }
            PollInStack::None | PollInStack::Watched | PollInStack::Unwatched => {
                *self = Self { next_stack: self.next_stack, ..Self::new(self.threshold, Instant::now()) };
                false
            }
        }
    }

    /// Whether the confirmed poll is still running.
    pub(super) fn is_still_in_poll<T: WorkerSource>(&self, source: &mut T, worker: usize) -> bool {
        if self.returns.since().is_some() {
            return source.poll_returned(worker) == Some(false);
        }
        match self.sleep {
            SleepEvidence::Running => false,
            SleepEvidence::Asleep { sleep, .. } => source.current_sleep(worker) == Some(sleep),
        }
    }

    /// Whether the thread sleeps in the same place after its stack was captured.
    pub(super) fn is_still_asleep<T: WorkerSource>(&mut self, source: &mut T, worker: usize) -> bool {
        if self.sleep == SleepEvidence::Running {
            return false;
        }
        self.sleep = self.sleep.stack_captured(source.current_sleep(worker));
        self.sleep != SleepEvidence::Running
    }

    /// When the next sample is needed: when a proven poll will cross the threshold, or when only a stack can prove one.
    pub(super) fn next_sample(&self) -> Option<Instant> {
        let starts = [self.returns.in_poll_since(), self.asleep_and_watched_since(), self.sleep.since()];
        let crossing = starts.into_iter().flatten().min().map(|start| start + self.threshold);
        let stack = match (self.returns, self.sleep) {
            (ReturnEvidence::Watched { since }, SleepEvidence::Running) => {
                Some((since + self.threshold / 2).max(self.next_stack))
            }
            _ => None,
        };
        [crossing, stack].into_iter().flatten().min()
    }

    /// Since when no poll of a worker has returned that is asleep now. Of its polls only the present one was long enough.
    fn asleep_and_watched_since(&self) -> Option<Instant> {
        self.sleep.since().and_then(|_| self.returns.since())
    }

    /// The longest time without the end of a poll. Proven ones come first.
    fn possible_poll(&self, now: Instant) -> Option<PossiblePoll> {
        let is_long = |start: &Instant| now.duration_since(*start) >= self.threshold;
        let proven = [
            (self.returns.in_poll_since().filter(is_long), Detection::NoReturn),
            (self.asleep_and_watched_since().filter(is_long), Detection::NoReturn),
            (self.sleep.since().filter(is_long), Detection::SameSleep),
        ];
        let proven = proven.into_iter().filter_map(|(start, detection)| Some((start?, detection)));
        if let Some((start, detection)) = proven.min_by_key(|(start, _)| *start) {
            return Some(PossiblePoll { start, detection: Some(detection) });
        }
        let longest = [self.returns.since(), self.sleep.since()].into_iter().flatten().min()?;
        Some(PossiblePoll { start: longest, detection: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_same_sleep_keeps_its_start_and_another_one_begins() {
        let (start, later) = (Instant::now(), Instant::now() + MS);
        let (first, second) = (Sleep::for_test(1, 7), Sleep::for_test(1, 8));
        let asleep = SleepEvidence::Running.sampled(Some(first), start);
        assert_eq!(asleep, SleepEvidence::Asleep { sleep: first, since: start });
        assert_eq!(asleep.sampled(Some(first), later), asleep);
        assert_eq!(asleep.sampled(Some(second), later).since(), Some(later), "the thread has run in between");
        assert_eq!(asleep.sampled(None, later), SleepEvidence::Running);
        assert_eq!(asleep.contradicted(), SleepEvidence::Running);
    }

    #[test]
    fn a_captured_stack_does_not_end_a_sleep_in_the_same_place() {
        let start = Instant::now();
        let (before, after, elsewhere) = (Sleep::for_test(1, 7), Sleep::for_test(1, 8), Sleep::for_test(2, 8));
        let asleep = SleepEvidence::Running.sampled(Some(before), start);
        let woken = asleep.stack_captured(Some(after));
        assert_eq!(woken, SleepEvidence::Asleep { sleep: after, since: start });
        assert_eq!(asleep.stack_captured(Some(elsewhere)), SleepEvidence::Running);
        assert_eq!(asleep.stack_captured(None), SleepEvidence::Running);
        assert_eq!(SleepEvidence::Running.stack_captured(Some(after)), SleepEvidence::Running);
    }

    #[test]
    fn a_breakpoint_is_set_refused_or_has_no_address() {
        let start = Instant::now();
        let set = |result| ReturnEvidence::breakpoint_set(result, || start);
        assert_eq!(set(Ok(())), ReturnEvidence::Watched { since: start });
        assert_eq!(set(Err(BreakpointError::NoReturnAddress)), ReturnEvidence::NoAddress);
        assert_eq!(set(Err(BreakpointError::Refused)), ReturnEvidence::Unwatched);
    }

    #[test]
    fn only_a_watched_poll_is_seen() {
        let since = Instant::now();
        let watched = ReturnEvidence::Watched { since };
        assert_eq!((watched.since(), watched.in_poll_since()), (Some(since), None));
        assert_eq!(watched.poll_seen(), ReturnEvidence::InPoll { since });
        assert_eq!(watched.poll_seen().in_poll_since(), Some(since));
        for other in [ReturnEvidence::Unwatched, ReturnEvidence::NoAddress, ReturnEvidence::InPoll { since }] {
            assert_eq!(other.poll_seen(), other);
        }
    }

    #[test]
    fn lost_evidence_keeps_only_that_no_address_is_known() {
        let since = Instant::now();
        for state in [ReturnEvidence::Watched { since }, ReturnEvidence::InPoll { since }, ReturnEvidence::Unwatched] {
            assert_eq!(state.lost(), ReturnEvidence::Unwatched);
        }
        assert_eq!(ReturnEvidence::NoAddress.lost(), ReturnEvidence::NoAddress);
    }

    #[test]
    fn the_longest_proof_wins_and_time_without_proof_only_counts() {
        let start = Instant::now();
        let mut inference = PollInference::new(MS * 10, start);
        assert_eq!(inference.possible_poll(start + MS * 50), None);
        inference.returns = ReturnEvidence::Watched { since: start };
        let unproven = PossiblePoll { start, detection: None };
        assert_eq!(inference.possible_poll(start + MS * 50), Some(unproven), "no stack has shown a poll");
        inference.sleep = SleepEvidence::Asleep { sleep: Sleep::for_test(1, 7), since: start + MS * 20 };
        let in_poll = PossiblePoll { start, detection: Some(Detection::NoReturn) };
        assert_eq!(inference.possible_poll(start + MS * 21), Some(in_poll), "it sleeps in the poll that is watched");
        assert_eq!(inference.next_sample(), Some(start + MS * 10));
        inference.returns = inference.returns.lost();
        let asleep = PossiblePoll { start: start + MS * 20, detection: Some(Detection::SameSleep) };
        assert_eq!(inference.possible_poll(start + MS * 50), Some(asleep));
        let unproven = PossiblePoll { start: start + MS * 20, detection: None };
        assert_eq!(inference.possible_poll(start + MS * 29), Some(unproven), "it has not slept for long enough");
        assert_eq!(inference.next_sample(), Some(start + MS * 30));
        inference.sleep = SleepEvidence::Running;
        inference.returns = ReturnEvidence::Watched { since: start }.poll_seen();
        assert_eq!(inference.possible_poll(start + MS * 50), Some(in_poll));
        assert_eq!(inference.next_sample(), Some(start + MS * 10));
    }

    #[test]
    fn a_stack_is_needed_for_a_watched_time_without_a_long_sleep() {
        let start = Instant::now();
        let mut inference = PollInference::new(MS * 10, start);
        assert!(!inference.needs_stack(start + MS * 50));
        inference.returns = ReturnEvidence::Watched { since: start };
        assert_eq!(inference.next_sample(), Some(start + MS * 5), "then a stack may prove it");
        assert!(!inference.needs_stack(start + MS * 4) && inference.needs_stack(start + MS * 5));
        inference.sleep = SleepEvidence::Asleep { sleep: Sleep::for_test(1, 7), since: start };
        assert_eq!(inference.next_sample(), inference.sleep.since().map(|since| since + MS * 10), "no stack is needed");
        assert!(!inference.needs_stack(start + MS * 5), "the sleep proves the poll");
        inference.sleep = SleepEvidence::Running;
        inference.next_stack = start + MS * 8;
        assert!(!inference.needs_stack(start + MS * 5) && inference.needs_stack(start + MS * 8));
        inference.returns = inference.returns.poll_seen();
        assert!(!inference.needs_stack(start + MS * 50), "the poll was seen");
    }
}
