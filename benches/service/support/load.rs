//! The `load` command of the reference service, run as a user runs it, and what it measured.

use std::process::{Command, Stdio};

use serde::Deserialize;

use super::service::program;

/// What the command prints of one measurement; the rest of it is for people.
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

/// Runs `load` with these arguments. What the environment says about Kafka does not count.
///
/// # Panics
///
/// When it fails, or when something of what it was to do is missing: then there is nothing to measure.
pub(crate) fn load(arguments: &[&str]) -> Vec<Measurement> {
    let told = Command::new(program())
        .arg("load")
        .args(arguments)
        .arg("--json")
        .env_remove("KAFKA_BOOTSTRAP_SERVERS")
        .stderr(Stdio::inherit())
        .output()
        .expect("the program starts");
    assert!(told.status.success(), "load {arguments:?} failed: {}", told.status);
    let measured: Vec<Measurement> = serde_json::from_slice(&told.stdout).expect("it prints JSON");
    for one in &measured {
        assert!(one.done > 0 && one.failed == 0 && one.not_begun == 0, "load {arguments:?}: {one:?}");
    }
    measured
}
