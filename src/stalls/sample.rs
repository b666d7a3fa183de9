//! One sample of one worker, and how exactly it dates an event.
//!
//! An event that a sample shows for the first time happened between the previous sample and this one. So the watchdog dates it
//! to the midpoint, which is off by at most half the time between the two.

use std::time::{Duration, Instant};

use crate::model::worker::Progress;

/// Upper bound on how far before a sample an event is dated. A sample that comes late would otherwise make a poll look longer
/// than it is.
pub(super) const MAX_BACKDATING: Duration = Duration::from_millis(2);

/// Two samples at nearly the same moment have a midpoint closer than this. Nothing can have begun in between.
const SAME_MOMENT: Duration = Duration::from_micros(100);

/// The operating system has interrupted the watchdog if a sample takes longer than this.
const INTERRUPTED: Duration = Duration::from_millis(1);

/// A sample of a worker.
#[derive(Clone, Copy, Debug)]
pub(super) struct SampleContext {
    /// The worker's position in the list of workers.
    pub(super) worker: usize,
    /// The worker's progress in this sample.
    pub(super) progress: Progress,
    /// When the previous sample was taken.
    pub(super) previous: Instant,
    /// When this sample is taken.
    pub(super) now: Instant,
}

impl SampleContext {
    /// The time since the previous sample.
    pub(super) fn interval(self) -> Duration {
        self.now.duration_since(self.previous)
    }

    /// The present time, for what is read later than the progress: the operating system may have interrupted the watchdog.
    pub(super) fn taken(self) -> Instant {
        self.now + self.now.elapsed()
    }

    /// The middle between the previous sample and this one.
    pub(super) fn midpoint(self) -> Instant {
        self.previous + self.interval() / 2
    }

    /// The end of an inferred poll: the previous sample, which proved it to be still running. So it never looks longer.
    pub(super) fn inferred_end(self) -> Instant {
        self.previous
    }

    /// When an event first seen in this sample happened: the midpoint, but at most [`MAX_BACKDATING`] ago.
    pub(super) fn event_time(self) -> Instant {
        self.now.checked_sub((self.interval() / 2).min(MAX_BACKDATING)).unwrap_or(self.now)
    }

    /// The same for an event seen just now. The operating system may have interrupted the watchdog since the sample began.
    pub(super) fn event_time_now(self) -> Instant {
        let delay = self.now.elapsed();
        if delay < INTERRUPTED { self.event_time() } else { self.event_time() + delay }
    }

    /// Whether enough time has passed since the previous sample for something to begin. It has not where a worker has woken the
    /// watchdog, because the worker does so before it polls.
    pub(super) fn is_separate(self) -> bool {
        self.now.duration_since(self.event_time()) >= SAME_MOMENT
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::worker::Activity;

    const MS: Duration = Duration::from_millis(1);

    fn sample(previous: Instant, now: Instant) -> SampleContext {
        let progress = Progress { sequence: 1, parks: 0, activity: Activity::Between };
        SampleContext { worker: 0, progress, previous, now }
    }

    #[test]
    fn an_event_is_dated_to_the_midpoint_and_at_most_two_milliseconds_back() {
        let start = Instant::now();
        assert_eq!(sample(start, start + MS * 3).event_time(), start + MS * 3 / 2);
        assert_eq!(sample(start, start + MS * 50).event_time(), start + MS * 48);
        assert_eq!(sample(start, start + MS * 50).midpoint(), start + MS * 25);
        assert_eq!(sample(start, start + MS * 50).inferred_end(), start, "that sample proved it");
    }

    #[test]
    fn an_event_after_an_interruption_is_dated_later() {
        let start = Instant::now();
        let late = sample(start - MS * 12, start - MS * 10);
        assert!(late.event_time_now() >= late.event_time() + MS * 10);
        let in_time = sample(start, start + MS * 2);
        assert_eq!(in_time.event_time_now(), in_time.event_time());
    }

    #[test]
    fn two_samples_at_one_moment_are_not_separate() {
        let start = Instant::now();
        assert!(!sample(start, start + MS / 10).is_separate());
        assert!(sample(start, start + MS).is_separate());
    }
}
