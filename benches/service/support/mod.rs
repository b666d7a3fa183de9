//! Shared code of the benches of the reference service.
#![allow(dead_code, reason = "each bench uses its own part")]

use std::time::Duration;

use criterion::Criterion;

/// Few samples and no warm-up, for benches with a whole run of a program per sample.
pub(crate) fn by_runs() -> Criterion {
    let few = Criterion::default().sample_size(10).warm_up_time(Duration::from_millis(1));
    few.measurement_time(Duration::from_secs(1)).without_plots()
}

/// Flamegraphs of benches.
#[path = "../../support/profiler.rs"]
pub(crate) mod profiler;

/// Ratios of two alternating measurements.
pub(crate) mod rounds;

/// The `load` command of the reference service.
pub(crate) mod load;

/// Brokers to measure with.
pub(crate) mod brokers;

/// A process of the whole service.
#[path = "../../../examples/news_pipeline/tests/support/service.rs"]
pub(crate) mod service;

/// Processes of single commands of the service, and brokers.
#[path = "../../../examples/news_pipeline/tests/support/pipeline.rs"]
pub(crate) mod pipeline;
