//! A worker that runs on and on and whose polls do not tell when they begin and end: is it one long poll?
//!
//! Two things prove that it is one. Either its thread slept in a poll, and was not run in between. Or it was seen inside a
//! poll, and since then nothing has returned to where that poll will return. The first needs no more than looks; the second a
//! breakpoint that counts ([`WorkerSource::watch_poll_returns`]), which costs the worker one exception each time it is set.

use std::time::{Duration, Instant};

use crate::model::stack::RawStack;
use crate::model::stall::Detection;
use crate::model::worker::Progress;
use crate::process::{BreakpointError, PollInStack, Sleep, WorkerSource};

/// The time since a worker unparked, as far as it is known that no poll has ended in it.
#[derive(Debug)]
pub(super) struct Stretch {
    slept: Option<(Sleep, Instant)>,
    /// About since when no poll has returned.
    watched: Option<Instant>,
    /// It was seen inside a poll meanwhile.
    seen: bool,
    next_watch: Instant,
    next_stack: Instant,
    /// Nothing can be watched, because it is not known where polls return to.
    cold: bool,
}

/// That no poll has ended for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standstill {
    pub(super) since: Instant,
    /// `None` while nothing proves yet that it is a poll.
    pub(super) detection: Option<Detection>,
}

/// How long before a look something is taken to have begun that the look before did not find, at most: looks that came
/// later than they should would make more of a poll than it is.
pub(super) const UNSURE: Duration = Duration::from_millis(2);

/// In thresholds: how long after a breakpoint the next one is set on a worker that does one thing after the other.
const SELDOM: u32 = 8;

/// Half the time since the look before, below which nothing has had time to begin.
const AT_ONCE: Duration = Duration::from_micros(100);

/// A look that takes longer was interrupted by the machine.
const LATE: Duration = Duration::from_millis(1);

/// When a worker is looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct LookedAt {
    /// The middle between the look before and this one, at most [`UNSURE`] ago.
    pub(super) between: Instant,
    pub(super) now: Instant,
}

impl LookedAt {
    pub(super) fn after(last_look: Instant, now: Instant) -> Self {
        let unsure = (now.duration_since(last_look) / 2).min(UNSURE);
        Self { between: now.checked_sub(unsure).unwrap_or(now), now }
    }

    /// Whether the look before is not of this very moment. It is where the watchdog was woken, which happens before what it was
    /// woken for.
    fn is_behind_another(self) -> bool {
        self.now.duration_since(self.between) >= AT_ONCE
    }

    /// About when that began which was found just now. The machine may have let the watchdog wait since the look began.
    fn began(self) -> Instant {
        let late = self.now.elapsed();
        if late < LATE { self.between } else { self.between + late }
    }
}

impl Stretch {
    pub(super) fn begin(began: Instant) -> Self {
        Self { slept: None, watched: None, seen: false, next_watch: began, next_stack: began, cold: false }
    }

    /// The first look at a worker that has woken: no more than where it sleeps, because most will park again.
    pub(super) fn begin_awake<T: WorkerSource>(target: &mut T, worker: usize, at: LookedAt) -> Self {
        let sleep = target.current_sleep(worker);
        Self { slept: sleep.map(|sleep| (sleep, at.began())), ..Self::begin(at.between) }
    }

    /// The same of one whose present poll began since the last look, if it is in one: that is watched, though not before `next_watch`.
    pub(super) fn begin_polling<T: WorkerSource>(
        target: &mut T,
        (worker, progress): (usize, Progress),
        at: LookedAt,
        next_watch: Option<Instant>,
        threshold: Duration,
    ) -> Self {
        let mut stretch = Self::begin_awake(target, worker, at);
        stretch.next_watch = next_watch.unwrap_or(at.now);
        if at.now >= stretch.next_watch {
            stretch.watch_present(target, (worker, progress), at, threshold, || at.began());
        }
        stretch
    }

    /// When the next breakpoint may be set.
    pub(super) fn next_watch(&self) -> Instant {
        self.next_watch
    }

    /// Looks once more. Takes a stack when no poll has ended for half a threshold, and at most once in half a threshold.
    pub(super) fn look<T: WorkerSource>(
        &mut self,
        target: &mut T,
        (worker, progress): (usize, Progress),
        at: LookedAt,
        threshold: Duration,
    ) -> Option<Standstill> {
        let now = at.now;
        self.follow_sleep(target.current_sleep(worker), at);
        self.follow_returns(target, (worker, progress), at, threshold);
        let half = threshold / 2;
        let asleep = self.slept.is_some_and(|(_, since)| now.duration_since(since) >= half);
        let due = self.watched.is_some_and(|since| now.duration_since(since) >= half) && !self.seen;
        if due && !asleep && now >= self.next_stack {
            self.next_stack = now + half;
            self.look_at_stack(target, (worker, progress), threshold, Instant::now);
        }
        self.standstill(now, threshold)
    }

    fn follow_sleep(&mut self, sleep: Option<Sleep>, at: LookedAt) {
        let since =
            self.slept.filter(|(before, _)| Some(*before) == sleep).map_or_else(|| at.began(), |(_, since)| since);
        self.slept = sleep.map(|sleep| (sleep, since));
    }

    fn follow_returns<T: WorkerSource>(
        &mut self,
        target: &mut T,
        (worker, progress): (usize, Progress),
        at: LookedAt,
        threshold: Duration,
    ) {
        let returned = self.watched.and_then(|_| target.poll_returned(worker));
        if returned == Some(false) {
            return;
        }
        self.forget_watch();
        // Not at every look: each time costs the worker an exception. One that does one thing after the other is in no long poll,
        // unless that poll itself does so.
        let seldom = !self.cold && target.context_changed(worker) == Some(true);
        let next = if seldom { self.next_watch + threshold * SELDOM } else { self.next_watch };
        if at.now >= next {
            // Where the poll before has ended since the last look, the present one began.
            let since = || if returned == Some(true) { at.began() } else { Instant::now() };
            self.watch_present(target, (worker, progress), at, threshold, since);
        }
    }

    /// Watches the poll that a look finds, and no other for a quarter of a threshold. Where it is not known where polls return to, the
    /// stack is asked, and not again for half a threshold, because whoever runs is held for it.
    fn watch_present<T: WorkerSource>(
        &mut self,
        target: &mut T,
        (worker, progress): (usize, Progress),
        at: LookedAt,
        threshold: Duration,
        since: impl Fn() -> Instant,
    ) {
        self.next_watch = at.now + threshold / 4;
        self.watch(target, worker, since);
        if self.cold && at.is_behind_another() {
            self.next_watch = at.now + threshold / 2;
            let began = at.began();
            self.look_at_stack(target, (worker, progress), threshold, || began);
        } else if self.cold {
            self.next_watch = at.now;
        }
    }

    /// `since` tells when the poll began that is watched now.
    fn watch<T: WorkerSource>(&mut self, target: &mut T, worker: usize, since: impl Fn() -> Instant) {
        self.forget_watch();
        let watched = target.watch_poll_returns(worker);
        self.cold = watched == Err(BreakpointError::NoReturnAddress);
        self.watched = watched.is_ok().then(since);
    }

    fn forget_watch(&mut self) {
        self.watched = None;
        self.seen = false;
    }

    fn look_at_stack<T: WorkerSource>(
        &mut self,
        target: &mut T,
        (worker, progress): (usize, Progress),
        threshold: Duration,
        since: impl Fn() -> Instant,
    ) {
        let Ok(stack) = target.try_capture_stack(worker, progress) else { return };
        match target.poll_in_stack(worker, &stack) {
            PollInStack::Watched => self.seen = target.poll_returned(worker) == Some(false),
            // The poll may be over by the time at which it is watched: it has to be seen once more.
            PollInStack::Unwatched => self.watch(target, worker, since),
            PollInStack::None => {
                self.forget_watch();
                self.slept = None;
            }
            // What it does next may be told better.
            PollInStack::Unknown => self.next_stack = Instant::now() + threshold / 4,
        }
    }

    /// Whether a stack that was taken when the standstill was long enough shows a poll. If so, its end is watched.
    pub(super) fn confirm<T: WorkerSource>(
        &mut self,
        target: &mut T,
        worker: usize,
        stack: &RawStack,
        by: Detection,
    ) -> bool {
        let on = target.poll_in_stack(worker, stack);
        let seen = on == PollInStack::Watched || on == PollInStack::Unknown && self.seen && self.watched.is_some();
        if seen && target.poll_returned(worker) == Some(false) {
            return true;
        }
        if on == PollInStack::Unknown {
            // What is watched may still be told to be a poll.
            self.slept = None;
            return false;
        }
        if on == PollInStack::None || by != Detection::SameSleep {
            *self = Self { next_stack: self.next_stack, ..Self::begin(Instant::now()) };
            return false;
        }
        self.watch(target, worker, Instant::now);
        if !self.still_sleeps(target, worker) {
            self.forget_watch();
        }
        true
    }

    /// Whether the poll that was confirmed goes on.
    pub(super) fn lasts<T: WorkerSource>(&mut self, target: &mut T, worker: usize) -> bool {
        if self.watched.is_some() {
            target.poll_returned(worker) == Some(false)
        } else {
            self.slept.is_some_and(|(sleep, _)| target.current_sleep(worker) == Some(sleep))
        }
    }

    /// Asking for the stack may have woken the thread, which then sleeps on.
    pub(super) fn still_sleeps<T: WorkerSource>(&mut self, target: &mut T, worker: usize) -> bool {
        let Some((before, since)) = self.slept else { return false };
        self.slept = target.current_sleep(worker).filter(|sleep| sleep.is_at(&before)).map(|sleep| (sleep, since));
        self.slept.is_some()
    }

    /// When what is known to be one poll crosses the threshold.
    pub(super) fn crossing(&self, threshold: Duration) -> Option<Instant> {
        let watched = self.watched.filter(|_| self.seen);
        let asleep = self.slept.map(|(_, since)| since);
        [watched, asleep].into_iter().flatten().min().map(|since| since + threshold)
    }

    fn standstill(&self, now: Instant, threshold: Duration) -> Option<Standstill> {
        let asleep = self.slept.map(|(_, since)| (since, Detection::SameSleep));
        let watched = self.watched.map(|since| (since, Detection::NoReturn));
        let longest = [watched, asleep].into_iter().flatten().min_by_key(|(since, _)| *since)?;
        let proof = |(since, detection): &(Instant, Detection)| {
            let seen = self.seen || *detection == Detection::SameSleep;
            seen && now.duration_since(*since) >= threshold
        };
        let proven = [watched, asleep].into_iter().flatten().filter(proof).min_by_key(|(since, _)| *since);
        let (since, detection) = proven.map_or((longest.0, None), |(since, detection)| (since, Some(detection)));
        Some(Standstill { since, detection })
    }
}
