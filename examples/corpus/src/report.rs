//! What a tool said about one run. Any tool's report can be put into this form.

use serde::{Deserialize, Serialize};

/// The first field of a report file.
pub(crate) const FORMAT: &str = "stall-report/1";

/// What a tool said about one run.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Report {
    pub(crate) format: String,
    /// The tool and its version.
    pub(crate) tool: String,
    /// From how long on the tool calls a poll a stall.
    pub(crate) threshold_ns: u64,
    pub(crate) stalls: Vec<ReportedStall>,
}

/// One stall as the tool saw it. What it does not tell is left out.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct ReportedStall {
    /// When it began; nanoseconds since 1970, like the other times.
    pub(crate) start_ns: u64,
    /// How long it lasted, as far as the tool saw.
    pub(crate) duration_ns: u64,
    /// When the tool noticed it.
    #[serde(default)]
    pub(crate) noticed_ns: Option<u64>,
    /// When the tool told its user.
    #[serde(default)]
    pub(crate) told_ns: Option<u64>,
    /// The kernel's thread id.
    #[serde(default)]
    pub(crate) thread: Option<u64>,
    /// The user's function that is to blame.
    #[serde(default)]
    pub(crate) function: Option<String>,
    #[serde(default)]
    pub(crate) file: Option<String>,
    #[serde(default)]
    pub(crate) line: Option<u32>,
    /// One of the words in `README.md`, or any other.
    #[serde(default)]
    pub(crate) cause: Option<String>,
    /// Tasks that were ready and had to wait behind it; `None`: the tool does not tell.
    #[serde(default)]
    pub(crate) victims: Option<Vec<ReportedVictim>>,
}

impl ReportedStall {
    /// One of which nothing is known yet but when it began, and on which thread.
    pub(crate) fn begun(start_ns: u64, thread: i32) -> Self {
        Self {
            start_ns,
            duration_ns: 0,
            noticed_ns: None,
            told_ns: None,
            thread: u64::try_from(thread).ok(),
            function: None,
            file: None,
            line: None,
            cause: None,
            victims: None,
        }
    }
}

/// A task that waited, by what the tool says.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct ReportedVictim {
    /// Tokio's id.
    pub(crate) task: u64,
    /// False where it may as well have become ready only at the end.
    #[serde(default = "certainly")]
    pub(crate) certain: bool,
}

fn certainly() -> bool {
    true
}
