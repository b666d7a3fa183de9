//! The time between two samples, adapted to what samples cost.
//!
//! Most of the cost is waking up: a few microseconds on bare metal, ten times that under some hypervisors. So the watchdog
//! measures its own CPU time, and samples less often where it uses too much. This file reads no clock.

use std::time::{Duration, Instant};

/// The watchdog's share of one CPU. Interrupting a busy CPU costs about as much again.
const BUDGET: f64 = 0.005;

/// The share while all workers are parked and do not wake the watchdog. Then it interrupts nothing.
const IDLE_BUDGET: f64 = 0.009;

/// The time after which the interval is adapted.
const WINDOW: Duration = Duration::from_millis(500);

/// Upper bound on the interval. The start of a poll is known to half of it.
const LONGEST: Duration = Duration::from_millis(4);

/// The time between samples.
#[derive(Debug)]
pub(super) struct SamplingInterval {
    shortest: Duration,
    longest: Duration,
    interval: Duration,
    /// The interval while all workers are parked.
    idle_interval: Duration,
    longest_idle: Duration,
    window_start: Instant,
    /// Samples since then.
    samples: u32,
    /// The watchdog's CPU time at the start of the window.
    cpu_at_start: Option<Duration>,
}

impl SamplingInterval {
    /// Starts with the shortest interval. The longest one is 0.4 × `threshold`.
    pub(super) fn new(shortest: Duration, threshold: Duration, now: Instant) -> Self {
        let longest = (threshold * 2 / 5).min(LONGEST).max(shortest);
        let longest_idle = longest.max(threshold * 4 / 5);
        Self {
            shortest,
            longest,
            interval: shortest,
            idle_interval: longest,
            longest_idle,
            window_start: now,
            samples: 0,
            cpu_at_start: None,
        }
    }

    pub(super) fn interval(&self) -> Duration {
        self.interval
    }

    /// The interval while all workers are parked and none would wake the watchdog.
    pub(super) fn idle_interval(&self) -> Duration {
        self.idle_interval
    }

    /// Counts a sample. `cpu` is the watchdog's CPU time so far, which is read twice a second.
    pub(super) fn sampled(&mut self, now: Instant, cpu: impl FnOnce() -> Option<Duration>) {
        self.samples += 1;
        let window = now.duration_since(self.window_start);
        if self.cpu_at_start.is_some() && window < WINDOW {
            return;
        }
        let cpu = cpu();
        if let (Some(before), Some(cpu)) = (self.cpu_at_start, cpu) {
            let per_sample = cpu.saturating_sub(before) / self.samples;
            self.interval = per_sample.div_f64(BUDGET).clamp(self.shortest, self.longest);
            self.idle_interval = per_sample.div_f64(IDLE_BUDGET).clamp(self.longest, self.longest_idle);
        }
        (self.window_start, self.samples, self.cpu_at_start) = (now, 0, cpu);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// The interval after some seconds of samples with this cost.
    fn after(seconds: u32, cost: Duration, intervals: &mut SamplingInterval) -> Duration {
        let (mut now, mut used) = (intervals.window_start, intervals.cpu_at_start.unwrap_or_default());
        let end = now + Duration::from_secs(seconds.into());
        while now < end {
            now += intervals.interval();
            used += cost;
            intervals.sampled(now, || Some(used));
        }
        intervals.interval()
    }

    #[test]
    fn cheap_samples_use_the_shortest_interval_and_dear_ones_the_budget() {
        let mut intervals = SamplingInterval::new(MS, 10 * MS, Instant::now());
        assert_eq!(after(3, Duration::from_micros(4), &mut intervals), MS);
        let interval = after(3, Duration::from_micros(9), &mut intervals);
        assert!((interval.as_secs_f64() / 1.8e-3 - 1.0).abs() < 0.1, "{interval:?}");
        assert_eq!(intervals.idle_interval(), LONGEST);
        assert_eq!(after(3, Duration::from_micros(45), &mut intervals), LONGEST);
        assert!((intervals.idle_interval().as_secs_f64() / 5e-3 - 1.0).abs() < 0.1, "{intervals:?}");
        assert_eq!(after(3, Duration::from_micros(200), &mut intervals), LONGEST, "whatever a sample costs");
        assert_eq!(intervals.idle_interval(), 8 * MS);
        assert_eq!(after(3, Duration::from_micros(4), &mut intervals), MS, "when samples are cheap again");
    }

    #[test]
    fn the_interval_stays_below_two_fifths_of_the_threshold() {
        let mut intervals = SamplingInterval::new(MS / 4, MS, Instant::now());
        assert_eq!(after(3, MS, &mut intervals), MS * 2 / 5);
        let mut intervals = SamplingInterval::new(MS, 6 * MS, Instant::now());
        assert_eq!(after(3, MS, &mut intervals), 6 * MS * 2 / 5);
    }

    #[test]
    fn an_unreadable_cpu_clock_changes_nothing() {
        let mut intervals = SamplingInterval::new(MS, 10 * MS, Instant::now());
        intervals.sampled(intervals.window_start + WINDOW, || None);
        intervals.sampled(intervals.window_start + WINDOW, || None);
        assert_eq!(intervals.interval(), MS);
    }
}
