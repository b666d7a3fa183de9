//! What the benches share.
#![allow(dead_code, reason = "each bench uses its own part")]

/// Flamegraphs of benches.
pub(crate) mod profiler;

/// Two ways of doing the same, measured in turn.
pub(crate) mod rounds;

/// The `load` command of the reference service.
pub(crate) mod load;

/// Brokers to measure with.
pub(crate) mod brokers;

/// The reference service as a process of its own.
#[path = "../../tests/support/service.rs"]
pub(crate) mod service;

/// Its parts as processes of their own, and brokers.
#[path = "../../tests/support/pipeline.rs"]
pub(crate) mod pipeline;
