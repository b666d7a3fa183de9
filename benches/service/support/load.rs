//! Runs the `load` command of the reference service and reads its measurements.

use std::process::{Command, Stdio};

use serde::Deserialize;

use super::service::program;

/// The part of a printed measurement that the benchmarks use.
#[derive(Deserialize, Clone, Copy, Debug)]
pub(crate) struct Measurement {
    pub(crate) done: u64,
    failed: u64,
    not_begun: u64,
    pub(crate) per_second: f64,
    pub(crate) latency_us: Option<Latency>,
}

#[derive(Deserialize, Clone, Copy, Debug)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

/// Runs `load` with these arguments. Kafka settings of the environment are ignored.
///
/// # Panics
///
/// When the command fails or has not done all its work.
pub(crate) fn load(arguments: &[&str]) -> Vec<Measurement> {
    let output = Command::new(program())
        .arg("load")
        .args(arguments)
        .arg("--json")
        .env_remove("KAFKA_BOOTSTRAP_SERVERS")
        .stderr(Stdio::inherit())
        .output()
        .expect("the program starts");
    assert!(output.status.success(), "load {arguments:?} failed: {}", output.status);
    let measured: Vec<Measurement> = serde_json::from_slice(&output.stdout).expect("it prints JSON");
    for one in &measured {
        assert!(one.done > 0 && one.failed == 0 && one.not_begun == 0, "load {arguments:?}: {one:?}");
    }
    measured
}
