//! Shared code of the benches.
#![allow(dead_code, reason = "each bench uses its own part")]

/// Flamegraphs of benches.
pub(crate) mod profiler;

/// Variants, compared by their fastest rounds.
pub(crate) mod rounds;
