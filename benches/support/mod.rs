//! What the benches share.
#![allow(dead_code, reason = "each bench uses its own part")]

use std::time::Duration;

use criterion::Criterion;

/// For benches whose samples are whole runs of a program, or rounds of two: few of them, and none to warm up.
pub(crate) fn by_runs() -> Criterion {
    let few = Criterion::default().sample_size(10).warm_up_time(Duration::from_millis(1));
    few.measurement_time(Duration::from_secs(1)).without_plots()
}

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
