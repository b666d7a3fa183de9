//! The result of a load, as text and as JSON.

use std::{fmt, time::Duration};

use serde::Serialize;

use crate::load::latency::Percentiles;

#[derive(Serialize, Debug)]
pub(crate) struct Measurement {
    /// The name of the load.
    pub(crate) what: String,
    /// Operations that succeeded.
    pub(crate) done: u64,
    /// Operations that failed.
    pub(crate) failed: u64,
    /// Operations that were due but did not begin before the end.
    pub(crate) not_begun: u64,
    pub(crate) seconds: f64,
    /// Successful operations per second.
    pub(crate) per_second: f64,
    /// In microseconds. `None` if single operations have no latency.
    pub(crate) latency_us: Option<Percentiles>,
    /// The first failure, if any.
    pub(crate) first_failure: Option<String>,
}

impl Measurement {
    pub(crate) fn new(what: String, done: u64, took: Duration) -> Self {
        let seconds = took.as_secs_f64();
        let per_second = if seconds > 0.0 { done as f64 / seconds } else { 0.0 };
        Self { what, done, failed: 0, not_begun: 0, seconds, per_second, latency_us: None, first_failure: None }
    }
}

impl fmt::Display for Measurement {
    fn fmt(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(text, "{}", self.what)?;
        writeln!(
            text,
            "  {} in {:.3} s, {:.0} a second; {} failed",
            self.done, self.seconds, self.per_second, self.failed
        )?;
        if self.not_begun > 0 {
            writeln!(text, "  {} were due and did not begin: the rate is more than it can do", self.not_begun)?;
        }
        if let Some(latency) = self.latency_us {
            writeln!(text, "  latency{latency}")?;
        }
        if let Some(failure) = &self.first_failure {
            writeln!(text, "  first failure: {failure}")?;
        }
        Ok(())
    }
}
