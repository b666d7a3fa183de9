//! One format, one file. Pure: values in, text out.

use std::time::Duration;

/// Stalls as a person reads them on a terminal.
pub(crate) mod text;

/// The endpoint's JSON, which the command reads back.
#[cfg(feature = "http")]
pub(crate) mod json;

/// What tasks did, as JSON.
#[cfg(feature = "http")]
pub(crate) mod task_json;

/// What tasks did, as a table for a terminal.
#[cfg(feature = "http")]
pub(crate) mod task_table;

/// Functions as tables.
#[cfg(any(feature = "cli", all(test, feature = "formats")))]
pub(crate) mod tables;

/// What a process does now, for a terminal.
#[cfg(feature = "attach")]
pub(crate) mod activity_text;

/// Every task of a process, for a terminal.
#[cfg(feature = "attach")]
pub(crate) mod census_text;

/// Every task of a process, as JSON.
#[cfg(feature = "attach")]
pub(crate) mod census_json;

/// Processes that run Tokio.
#[cfg(feature = "cli")]
pub(crate) mod process_list;

/// The difference of two profiles.
#[cfg(feature = "cli")]
pub(crate) mod differential;

/// A profile as a list of stacks.
#[cfg(feature = "http")]
pub(crate) mod stack_list;

/// Profiles as files.
#[cfg(feature = "export")]
pub(crate) mod profile;

/// A length of time as a number for machines: in milliseconds, to the microsecond, which is more than a watchdog that
/// looks once a millisecond can claim.
pub(crate) fn to_ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}
