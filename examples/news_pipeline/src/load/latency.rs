//! Latencies of single operations: a histogram with three exact digits, and its percentiles.

use std::{fmt, time::Duration};

use anyhow::Context;
use hdrhistogram::Histogram;
use serde::Serialize;

/// Upper bound of the histogram. Longer latencies count as this.
const LONGEST: Duration = Duration::from_secs(120);

const EXACT_DIGITS: u8 = 3;

/// In microseconds.
pub(crate) struct Latencies(Histogram<u64>);

impl Latencies {
    pub(crate) fn none() -> anyhow::Result<Self> {
        let longest_us = u64::try_from(LONGEST.as_micros())?;
        Ok(Self(Histogram::new_with_bounds(1, longest_us, EXACT_DIGITS).context("no histogram can be made")?))
    }

    pub(crate) fn record(&mut self, latency: Duration) {
        let latency_us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.0.saturating_record(latency_us.max(1));
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    pub(crate) fn add(&mut self, others: &Self) -> anyhow::Result<()> {
        self.0.add(&others.0).context("histograms do not fit together")
    }

    /// `None` if nothing was recorded.
    pub(crate) fn percentiles(&self) -> Option<Percentiles> {
        if self.0.is_empty() {
            return None;
        }
        let at = |quantile| self.0.value_at_quantile(quantile);
        Some(Percentiles { p50: at(0.5), p90: at(0.9), p99: at(0.99), p99_9: at(0.999), max: self.0.max() })
    }
}

/// In microseconds.
#[derive(Serialize, Clone, Copy, Debug)]
pub(crate) struct Percentiles {
    p50: u64,
    p90: u64,
    p99: u64,
    p99_9: u64,
    max: u64,
}

impl fmt::Display for Percentiles {
    fn fmt(&self, line: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value_us) in
            [("p50", self.p50), ("p90", self.p90), ("p99", self.p99), ("p99.9", self.p99_9), ("max", self.max)]
        {
            write!(line, "  {name} {:.1?}", Duration::from_micros(value_us))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_what_was_recorded() {
        let mut latencies = Latencies::none().expect("it can be made");
        assert!(latencies.percentiles().is_none());
        (1..=1000).for_each(|millis| latencies.record(Duration::from_millis(millis)));
        let percentiles = latencies.percentiles().expect("there are some");
        for (value_us, expected_us) in [
            (percentiles.p50, 500_000),
            (percentiles.p90, 900_000),
            (percentiles.p99, 990_000),
            (percentiles.p99_9, 999_000),
            (percentiles.max, 1_000_000),
        ] {
            assert!(value_us.abs_diff(expected_us) <= expected_us / 1000, "{value_us} is not {expected_us}");
        }
    }
}
