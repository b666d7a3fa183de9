//! Renderers: one format, one file. Pure: values in, text out.

use std::time::Duration;
#[cfg(feature = "http")]
use std::time::{SystemTime, UNIX_EPOCH};

/// Styles, prose and durations, for every renderer of text.
pub(crate) mod text;

/// A stall as text.
pub(crate) mod stall_text;

/// A group of stalls as text.
pub(crate) mod group_text;

/// Causes of stalls as JSON.
#[cfg(feature = "http")]
pub(crate) mod cause_json;

/// Groups of stalls as JSON.
#[cfg(feature = "http")]
pub(crate) mod group_json;

/// The stack of a stall as text.
mod stack_text;

/// Allocations of a test as text.
#[cfg(all(feature = "testing", feature = "heap"))]
pub(crate) mod memory_text;

/// The parts of a stall as text.
mod stall_parts_text;

/// The endpoint's JSON.
#[cfg(feature = "http")]
pub(crate) mod json;

/// Stalls read from the endpoint's JSON, as the text renderer shows them.
#[cfg(feature = "cli")]
pub(crate) mod stall_json_view;

/// The last minutes, and what is held up now, as JSON.
#[cfg(feature = "http")]
pub(crate) mod live_json;

/// Task statistics as JSON.
#[cfg(feature = "http")]
pub(crate) mod task_json;

/// What a table of tasks does not have, and why.
#[cfg(feature = "http")]
pub(crate) mod task_notes;

/// Task statistics as a table.
#[cfg(feature = "http")]
pub(crate) mod task_table;

/// Functions as tables.
#[cfg(any(feature = "cli", all(test, feature = "formats")))]
pub(crate) mod tables;

/// Memory by the code that allocates it, as a table and as JSON.
#[cfg(feature = "cli")]
pub(crate) mod heap_table;

/// The memory of a process by kind, as a table and as JSON.
#[cfg(feature = "cli")]
pub(crate) mod memory_table;

/// The current activity of a process, as text.
#[cfg(feature = "attach")]
pub(crate) mod activity_text;

/// A task dump as text.
#[cfg(feature = "attach")]
pub(crate) mod census_text;

/// Which tasks wait in the same way.
#[cfg(feature = "attach")]
mod way_to_wait;

/// A task dump as JSON.
#[cfg(feature = "attach")]
pub(crate) mod census_json;

/// The processes that run Tokio, as a table and as JSON.
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

/// A duration in milliseconds, rounded to the microsecond: the watchdog samples once a millisecond, so more digits mean
/// nothing.
pub(crate) fn to_ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

/// Milliseconds since the Unix epoch, with fractions.
#[cfg(feature = "http")]
pub(crate) fn unix_ms_exact(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).map_or(0.0, to_ms)
}

/// Milliseconds since the Unix epoch.
#[cfg(feature = "http")]
pub(crate) fn unix_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    u64::try_from(since).unwrap_or(u64::MAX)
}
