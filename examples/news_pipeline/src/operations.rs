//! Options of the process: its duration, its end, its logs.

use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::options::{limit, pause};

#[derive(Args, Clone, Debug)]
pub(crate) struct OperationsOptions {
    /// Drain and stop after this time, for example 10s
    #[arg(long = "for", env = "NEWS_FOR", value_name = "TIME", value_parser = pause)]
    pub(crate) run_for: Option<Duration>,

    /// Start and end threads, child processes and watched runtimes all the time; for soak tests
    #[arg(long, env = "NEWS_CHURN")]
    pub(crate) churn: bool,

    /// How long a drain may take: end running work, flush, commit
    #[arg(long, env = "NEWS_DRAIN_LIMIT", value_name = "TIME", default_value = "3s", value_parser = drain_limit)]
    pub(crate) drain_limit: Duration,

    /// Log lines for people or for programs
    #[arg(long, env = "NEWS_LOGS", value_name = "FORM", default_value = "auto")]
    pub(crate) logs: LogForm,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LogForm {
    /// Text on a terminal, JSON otherwise
    Auto,
    Text,
    Json,
}

impl OperationsOptions {
    /// Time limit for the last deliveries of a drain. It leaves a third for commit and close.
    pub(crate) fn flush_limit(&self) -> Duration {
        self.drain_limit * 2 / 3
    }
}

fn drain_limit(text: &str) -> Result<Duration, String> {
    limit(text, Duration::from_millis(100), Duration::from_secs(300))
}
