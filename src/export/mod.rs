//! One format, one file. Pure: values in, text out.

/// Stalls as a person reads them on a terminal.
pub(crate) mod text;

/// The endpoint's JSON, which the command reads back.
#[cfg(feature = "http")]
pub(crate) mod json;

/// Stalled time as a flamegraph.
#[cfg(feature = "http")]
pub(crate) mod svg;
