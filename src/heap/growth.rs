//! How live memory changes over a window: a line through several moments, by site.
//!
//! A window tells a leak from a cache that replaces its entries. Both have memory that was allocated in the first half and
//! lives at the end, but only the leak grows.

use std::time::Duration;

use super::ledger::Ledger;

/// Moments of a window, beside its beginning. Their memory is bounded by the sites of the ledger.
const MOMENTS: u32 = 8;

/// Fewer moments say nothing.
const FEWEST: usize = 4;

/// A leak rises by about twice what it keeps of the first half of a window. Below this part of it, memory is flat.
const LEAST_RISE: f64 = 0.5;

/// A line explains at least this part of the variance of steady growth.
const STEADY: f64 = 0.8;

/// Live bytes by site at several moments.
#[derive(Clone, Debug, Default)]
pub(crate) struct Moments {
    taken: Vec<(Duration, Vec<f64>)>,
}

/// A line through the moments of a site.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Line {
    pub(super) bytes_per_minute: f64,
    /// The part of the variance that the line explains, from 0 to 1.
    fit: f64,
    window: Duration,
}

impl Moments {
    /// When to take the next moment of a window, since its beginning.
    pub(crate) fn next(&self, window: Duration) -> Duration {
        window / MOMENTS * u32::try_from(self.taken.len()).unwrap_or(MOMENTS)
    }

    /// Takes a moment.
    pub(super) fn take(&mut self, at: Duration, ledger: &Ledger) {
        self.add(at, ledger.sites().iter().map(|site| site.live.bytes).collect());
    }

    fn add(&mut self, at: Duration, live: Vec<f64>) {
        // A window that ends late has no further moments.
        if self.taken.len() <= MOMENTS as usize {
            self.taken.push((at, live));
        }
    }

    pub(super) fn len(&self) -> usize {
        self.taken.len()
    }

    /// The line of a site. `None` if there are too few moments.
    pub(super) fn of_site(&self, site: usize) -> Option<Line> {
        self.of_sites(&[site])
    }

    /// The line of several sites together.
    pub(super) fn of_sites(&self, sites: &[usize]) -> Option<Line> {
        self.line(|live| sites.iter().filter_map(|site| live.get(*site)).sum())
    }

    /// The line of all sites together.
    pub(super) fn of_all(&self) -> Option<Line> {
        self.line(|live| live.iter().sum())
    }

    /// By least squares.
    fn line(&self, value: impl Fn(&[f64]) -> f64) -> Option<Line> {
        let (first, last) = (self.taken.first()?.0, self.taken.last()?.0);
        if self.taken.len() < FEWEST || last <= first {
            return None;
        }
        let points: Vec<(f64, f64)> =
            self.taken.iter().map(|(at, live)| (at.saturating_sub(first).as_secs_f64(), value(live))).collect();
        let number = points.len() as f64;
        let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / number;
        let (middle, average) = (mean(|point| point.0), mean(|point| point.1));
        let sum =
            |of: &dyn Fn(f64, f64) -> f64| points.iter().map(|(at, live)| of(at - middle, live - average)).sum::<f64>();
        let (times, values, both) = (sum(&|at, _| at * at), sum(&|_, live| live * live), sum(&|at, live| at * live));
        let fit = if values > 0.0 { both * both / (times * values) } else { 0.0 };
        Some(Line { bytes_per_minute: both / times * 60.0, fit, window: last - first })
    }
}

impl Line {
    /// The word for the growth of sites that keep so many bytes of the first half of the window.
    pub(super) fn word(self, kept: f64) -> &'static str {
        let rise = self.bytes_per_minute / 60.0 * self.window.as_secs_f64();
        match rise >= kept * LEAST_RISE {
            true if self.is_steady() => "steady",
            true => "unsteady",
            false => "flat",
        }
    }

    pub(super) fn is_steady(self) -> bool {
        self.fit >= STEADY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(live: &[f64]) -> Moments {
        let mut moments = Moments::default();
        for (second, live) in (0..).zip(live) {
            moments.add(Duration::from_secs(100 + second), vec![7.0, *live]);
        }
        moments
    }

    #[test]
    fn a_leak_a_cache_and_a_burst_are_told_apart() {
        let leak = moments(&[0.0, 10.0, 20.0, 30.0, 40.0]).of_site(1).expect("five moments");
        assert!((leak.bytes_per_minute - 600.0).abs() < 1e-9 && leak.is_steady(), "{leak:?}");
        assert_eq!(leak.word(20.0), "steady");
        let cache = moments(&[40.0, 38.0, 41.0, 39.0, 40.0]).of_site(1).expect("five moments");
        assert_eq!(cache.word(20.0), "flat", "it keeps 20 bytes, and does not grow: {cache:?}");
        let shrinks = moments(&[40.0, 30.0, 20.0, 10.0, 0.0]).of_site(1).expect("five moments");
        assert!(shrinks.bytes_per_minute < 0.0 && shrinks.word(5.0) == "flat", "{shrinks:?}");
        let burst = moments(&[0.0, 40.0, 40.0, 40.0, 40.0]).of_site(1).expect("five moments");
        assert_eq!(burst.word(40.0), "unsteady", "it rose once: {burst:?}");
        let both = moments(&[0.0, 10.0, 20.0, 30.0, 40.0]).of_sites(&[0, 1]).expect("five moments");
        assert!((both.bytes_per_minute - 600.0).abs() < 1e-9, "{both:?}");
        let all = moments(&[0.0, 10.0, 20.0, 30.0, 40.0]).of_all().expect("five moments");
        assert!((all.bytes_per_minute - 600.0).abs() < 1e-9, "the other site does not grow: {all:?}");
    }

    #[test]
    fn few_moments_have_no_line() {
        assert_eq!(moments(&[0.0, 10.0, 20.0]).of_site(1), None);
        assert_eq!(Moments::default().of_all(), None);
        // A site that came later had nothing before.
        let late = moments(&[0.0, 0.0, 0.0, 10.0]);
        assert!(late.of_site(1).is_some_and(|line| line.bytes_per_minute > 0.0));
        assert_eq!(late.of_site(9).map(|line| line.bytes_per_minute), Some(0.0), "no such site");
    }

    #[test]
    fn moments_are_spread_over_the_window_and_bounded() {
        let mut moments = Moments::default();
        let window = Duration::from_secs(16);
        for number in 0..100 {
            let due = moments.next(window);
            assert_eq!(due, Duration::from_secs(2 * number.min(9)));
            moments.add(due, Vec::new());
        }
        assert_eq!(moments.len(), 9);
    }
}
