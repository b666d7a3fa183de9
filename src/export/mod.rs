//! One format, one file. Pure: values in, text out.

use std::time::Duration;

/// Stalls as a person reads them on a terminal.
pub(crate) mod text;

/// The endpoint's JSON, which the command reads back.
#[cfg(feature = "http")]
pub(crate) mod json;

/// Stalled time as a flamegraph.
#[cfg(feature = "http")]
pub(crate) mod svg;

/// Functions as tables.
#[cfg(any(feature = "cli", all(test, feature = "formats")))]
pub(crate) mod tables;

/// The difference of two profiles.
#[cfg(feature = "cli")]
pub(crate) mod differential;

/// Profiles as files.
#[cfg(feature = "export")]
pub(crate) mod profile;

/// A length of time as a number for machines: in milliseconds, to the microsecond, which is more than a watchdog that
/// looks once a millisecond can claim.
pub(crate) fn to_ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}
