//! When requests are due.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

pub(crate) struct Schedule {
    starts: Instant,
    duration: Duration,
    /// Requests per second. Without it, a request is due as soon as a connection is free.
    rate: Option<u32>,
    taken: AtomicU64,
}

impl Schedule {
    pub(crate) fn starting_at(starts: Instant, duration: Duration, rate: Option<u32>) -> Self {
        Self { starts, duration, rate, taken: AtomicU64::new(0) }
    }

    /// Takes the next request and returns its due time, which may be long past. `None` after the end.
    pub(crate) fn next(&self, now: Instant) -> Option<Instant> {
        if now >= self.starts + self.duration {
            return None;
        }
        let Some(rate) = self.rate else { return Some(now) };
        let number = self.taken.fetch_add(1, Relaxed);
        if number < self.due_in_all(rate) {
            return Some(self.starts + Duration::from_secs_f64(number as f64 / f64::from(rate)));
        }
        // This request is beyond the end, so it does not count.
        self.taken.fetch_sub(1, Relaxed);
        None
    }

    /// Requests of an open loop that were due but not taken.
    pub(crate) fn not_begun(&self) -> u64 {
        self.rate.map_or(0, |rate| self.due_in_all(rate).saturating_sub(self.taken.load(Relaxed)))
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate times a time, both bounded")]
    fn due_in_all(&self, rate: u32) -> u64 {
        (self.duration.as_secs_f64() * f64::from(rate)).floor() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_loop_is_due_whether_or_not_anybody_was_there() {
        let starts = Instant::now();
        let schedule = Schedule::starting_at(starts, Duration::from_secs(1), Some(10));
        let late = starts + Duration::from_millis(950);
        let due: Vec<_> = (0..4).filter_map(|_| schedule.next(late)).map(|due| due - starts).collect();
        assert_eq!(due, [0, 100, 200, 300].map(Duration::from_millis));
        assert_eq!(schedule.next(starts + Duration::from_secs(1)), None);
        assert_eq!(schedule.not_begun(), 6);
    }

    #[test]
    fn an_open_loop_ends_with_its_last_request() {
        let starts = Instant::now();
        let schedule = Schedule::starting_at(starts, Duration::from_secs(1), Some(3));
        assert_eq!((0..9).filter_map(|_| schedule.next(starts)).count(), 3);
        assert_eq!(schedule.not_begun(), 0);
    }

    #[test]
    fn a_closed_loop_is_due_when_somebody_asks() {
        let starts = Instant::now();
        let schedule = Schedule::starting_at(starts, Duration::from_secs(1), None);
        let now = starts + Duration::from_millis(500);
        assert_eq!(schedule.next(now), Some(now));
        assert_eq!(schedule.not_begun(), 0);
    }
}
