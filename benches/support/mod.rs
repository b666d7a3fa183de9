//! What the benches share.

/// Flamegraphs of benches.
pub(crate) mod profiler;
