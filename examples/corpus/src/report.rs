//! The report of a tool about one run. Reports of any tool can be converted to this format.

use serde::{Deserialize, Serialize};

/// The first field of a report file.
pub(crate) const FORMAT: &str = "stall-report/1";

/// The report of a tool about one run.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Report {
    pub(crate) format: String,
    /// The tool and its version.
    pub(crate) tool: String,
    /// The tool's threshold for a stall.
    pub(crate) threshold_ns: u64,
    pub(crate) stalls: Vec<ReportedStall>,
}

/// One stall as the tool reported it. Missing information is omitted.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct ReportedStall {
    /// The start, in nanoseconds since 1970 like the other times.
    pub(crate) start_ns: u64,
    /// The observed duration.
    pub(crate) duration_ns: u64,
    /// When the tool noticed it.
    #[serde(default)]
    pub(crate) noticed_ns: Option<u64>,
    /// When the tool reported it to its user.
    #[serde(default)]
    pub(crate) reported_ns: Option<u64>,
    /// The kernel's thread id.
    #[serde(default)]
    pub(crate) thread: Option<u64>,
    /// The culprit, a function of the user.
    #[serde(default)]
    pub(crate) function: Option<String>,
    #[serde(default)]
    pub(crate) file: Option<String>,
    #[serde(default)]
    pub(crate) line: Option<u32>,
    /// One of the words in `README.md`, or another one.
    #[serde(default)]
    pub(crate) cause: Option<String>,
    /// Tasks that were ready and had to wait. `None` if the tool does not report them.
    #[serde(default)]
    pub(crate) victims: Option<Vec<ReportedVictim>>,
}

impl ReportedStall {
    /// A stall with only its start and its thread.
    pub(crate) fn begun(start_ns: u64, thread: i32) -> Self {
        Self {
            start_ns,
            duration_ns: 0,
            noticed_ns: None,
            reported_ns: None,
            thread: u64::try_from(thread).ok(),
            function: None,
            file: None,
            line: None,
            cause: None,
            victims: None,
        }
    }
}

/// A task that waited, as the tool reported it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct ReportedVictim {
    /// Tokio's task id.
    pub(crate) task: u64,
    /// False if it may have become ready only at the end.
    #[serde(default = "certainly")]
    pub(crate) certain: bool,
}

fn certainly() -> bool {
    true
}
