//! How often the watchdog looks: as often as it may cost.
//!
//! What a look costs is mostly the waking for it, and that differs: a few microseconds on a machine of one's own, ten times
//! that under some hypervisors. So the watchdog measures what it uses, and looks less often where that is too much.
//! Pure: times come in.

use std::time::{Duration, Instant};

/// Of one CPU. A waking costs whom it interrupts about as much again.
const BUDGET: f64 = 0.005;

/// The same while all workers are parked, where nothing tells when one wakes up: then nobody is interrupted.
const IDLE_BUDGET: f64 = 0.009;

/// How long what was used is added up before the pace is changed.
const WINDOW: Duration = Duration::from_millis(500);

/// Looks come at least so often: when a poll began is known to half of that.
const SLOWEST: Duration = Duration::from_millis(4);

/// The time between looks.
#[derive(Debug)]
pub(super) struct Pace {
    fastest: Duration,
    slowest: Duration,
    interval: Duration,
    /// While all workers are parked.
    idle_interval: Duration,
    longest_idle: Duration,
    since: Instant,
    looks: u32,
    /// CPU time that the watchdog had used by then.
    used: Option<Duration>,
}

impl Pace {
    /// Looks this often, or, where that costs too much, less often, but at least five times in two thresholds.
    pub(super) fn new(fastest: Duration, threshold: Duration, now: Instant) -> Self {
        let slowest = (threshold * 2 / 5).min(SLOWEST).max(fastest);
        let longest_idle = slowest.max(threshold * 4 / 5);
        let (interval, idle_interval) = (fastest, slowest);
        Self { fastest, slowest, interval, idle_interval, longest_idle, since: now, looks: 0, used: None }
    }

    pub(super) fn interval(&self) -> Duration {
        self.interval
    }

    /// While all workers are parked and nothing tells when one wakes up.
    pub(super) fn idle_interval(&self) -> Duration {
        self.idle_interval
    }

    /// A look is over, and `used` gives the CPU time that the watchdog has used so far; it is asked twice a second.
    pub(super) fn looked(&mut self, now: Instant, used: impl FnOnce() -> Option<Duration>) {
        self.looks += 1;
        let window = now.duration_since(self.since);
        if self.used.is_some() && window < WINDOW {
            return;
        }
        let used = used();
        if let (Some(before), Some(used)) = (self.used, used) {
            let look = used.saturating_sub(before) / self.looks;
            self.interval = look.div_f64(BUDGET).clamp(self.fastest, self.slowest);
            self.idle_interval = look.div_f64(IDLE_BUDGET).clamp(self.slowest, self.longest_idle);
        }
        (self.since, self.looks, self.used) = (now, 0, used);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// The interval after seconds of looks that cost so much each.
    fn after(seconds: u32, cost: Duration, pace: &mut Pace) -> Duration {
        let (mut now, mut used) = (pace.since, pace.used.unwrap_or_default());
        let end = now + Duration::from_secs(seconds.into());
        while now < end {
            now += pace.interval();
            used += cost;
            pace.looked(now, || Some(used));
        }
        pace.interval()
    }

    #[test]
    fn looks_as_often_as_wanted_where_that_is_cheap_and_keeps_to_the_budget_elsewhere() {
        let mut pace = Pace::new(MS, 10 * MS, Instant::now());
        assert_eq!(after(3, Duration::from_micros(4), &mut pace), MS);
        let interval = after(3, Duration::from_micros(9), &mut pace);
        assert!((interval.as_secs_f64() / 1.8e-3 - 1.0).abs() < 0.1, "{interval:?}");
        assert_eq!(pace.idle_interval(), SLOWEST);
        assert_eq!(after(3, Duration::from_micros(45), &mut pace), SLOWEST);
        assert!((pace.idle_interval().as_secs_f64() / 5e-3 - 1.0).abs() < 0.1, "{pace:?}");
        assert_eq!(after(3, Duration::from_micros(200), &mut pace), SLOWEST, "however much it costs");
        assert_eq!(pace.idle_interval(), 8 * MS);
        assert_eq!(after(3, Duration::from_micros(4), &mut pace), MS, "once that is over");
    }

    #[test]
    fn looks_five_times_in_two_thresholds_whatever_it_costs() {
        let mut pace = Pace::new(MS / 4, MS, Instant::now());
        assert_eq!(after(3, MS, &mut pace), MS * 2 / 5);
        let mut pace = Pace::new(MS, 6 * MS, Instant::now());
        assert_eq!(after(3, MS, &mut pace), 6 * MS * 2 / 5);
    }

    #[test]
    fn a_clock_that_does_not_tell_changes_nothing() {
        let mut pace = Pace::new(MS, 10 * MS, Instant::now());
        pace.looked(pace.since + WINDOW, || None);
        pace.looked(pace.since + WINDOW, || None);
        assert_eq!(pace.interval(), MS);
    }
}
