//! Causes of stalls as JSON: what the worker did, the numbers behind it, and the frame in the user's code.

use serde::{Deserialize, Serialize};

use super::to_ms as ms;
use crate::model::cause::Cause;
use crate::model::evidence::Evidence;
use crate::model::stall::{Culprit, StallPart};

/// A cause.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct CauseJson {
    /// One of the words that `holdup explain` lists.
    pub class: String,
    /// The words of its objects, which `holdup explain` lists too; empty if the class says all that is known.
    #[serde(default)]
    pub objects: Vec<String>,
    /// The words in reports.
    #[serde(default)]
    pub title: String,
    /// What to do about it.
    pub advice: String,
    /// The numbers that support it.
    pub evidence: EvidenceJson,
}

/// See [`Evidence`].
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct EvidenceJson {
    /// The observed time.
    pub window_ms: f64,
    /// The number of samples of the thread in it.
    pub samples: u32,
    /// CPU time of the thread in the window.
    pub on_cpu_ms: Option<f64>,
    /// The part of it in the kernel; null if there were too few ticks.
    #[serde(default)]
    pub in_kernel_ms: Option<f64>,
    /// Time waiting for a CPU that other threads used.
    pub run_queue_ms: Option<f64>,
    /// Time held back by the CPU quota of the process's cgroup; null without a quota.
    #[serde(default)]
    pub throttled_ms: Option<f64>,
    /// How often the quota held back the cgroup; null without a quota.
    #[serde(default)]
    pub throttles: Option<u64>,
    /// Time that a hypervisor took from its CPU; null without one.
    pub stolen_ms: Option<f64>,
    /// Further time runnable without CPU time.
    pub starved_ms: f64,
    /// What it waited for, the longest wait first.
    pub waits: Vec<WaitJson>,
    /// Page faults that needed no disk read.
    pub minor_faults: Option<u64>,
    /// The least CPU time of these faults.
    #[serde(default)]
    pub fault_ms: Option<f64>,
    /// Page faults that needed a disk read.
    pub major_faults: Option<u64>,
    /// The thread's scheduler state at the last sample.
    pub state: Option<char>,
    /// How long it had slept without being run, at the last sample.
    #[serde(default)]
    pub asleep_ms: f64,
    /// The delay of the watchdog itself.
    pub watchdog_late_ms: f64,
}

/// A wait.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct WaitJson {
    /// The system call and the file, or `a page fault`.
    pub place: String,
    /// The duration.
    pub ms: f64,
}

/// A culprit.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct CulpritJson {
    /// The function.
    pub function: String,
    /// Its file; null without line tables.
    pub file: Option<String>,
    /// The line in it; null without line tables.
    pub line: Option<u32>,
    /// The function it called; null if it was running itself.
    pub call: Option<String>,
}

/// See [`StallPart`].
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct StallPartJson {
    /// Its beginning, from the start of the poll.
    pub from_ms: f64,
    /// Its end, from the start of the poll.
    pub to_ms: f64,
    /// The frame in the user's code; null if there is none.
    pub culprit: Option<CulpritJson>,
    /// What the worker did.
    pub cause: CauseJson,
}

impl From<&Cause> for CauseJson {
    fn from(cause: &Cause) -> Self {
        Self {
            class: cause.class.as_str().to_owned(),
            objects: cause.objects.iter().map(ToString::to_string).collect(),
            title: cause.title(),
            advice: cause.advice(),
            evidence: (&cause.evidence).into(),
        }
    }
}

impl From<&Evidence> for EvidenceJson {
    fn from(evidence: &Evidence) -> Self {
        let waits = evidence.waits.iter().map(|wait| WaitJson { place: wait.site.to_string(), ms: ms(wait.time) });
        Self {
            window_ms: ms(evidence.window),
            samples: evidence.samples,
            on_cpu_ms: evidence.on_cpu.map(ms),
            in_kernel_ms: evidence.in_kernel.map(ms),
            run_queue_ms: evidence.run_queue.map(ms),
            throttled_ms: evidence.throttled.map(ms),
            throttles: evidence.throttles,
            stolen_ms: evidence.stolen.map(ms),
            starved_ms: ms(evidence.starved),
            waits: waits.collect(),
            minor_faults: evidence.minor_faults,
            fault_ms: evidence.fault_time.map(ms),
            major_faults: evidence.major_faults,
            state: evidence.state,
            asleep_ms: ms(evidence.asleep),
            watchdog_late_ms: ms(evidence.watchdog_late),
        }
    }
}

impl From<&Culprit> for CulpritJson {
    fn from(culprit: &Culprit) -> Self {
        Self {
            function: culprit.frame.function.to_string(),
            file: culprit.frame.file.as_ref().map(ToString::to_string),
            line: culprit.frame.line,
            call: culprit.call.as_ref().map(ToString::to_string),
        }
    }
}

impl From<&StallPart> for StallPartJson {
    fn from(part: &StallPart) -> Self {
        Self {
            from_ms: ms(part.from),
            to_ms: ms(part.to),
            culprit: part.culprit.as_ref().map(CulpritJson::from),
            cause: (&part.cause).into(),
        }
    }
}
