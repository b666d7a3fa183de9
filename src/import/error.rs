//! The error for files that are not readable profiles.

use std::fmt;

use crate::export::profile::Format;

/// The error for a file that is not a readable profile.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReadError {
    /// The assumed format: `pprof`, `folded` or `json`.
    pub format: &'static str,
    /// The problem and its place.
    pub problem: String,
}

impl ReadError {
    pub(super) fn new(format: Format, problem: impl Into<String>) -> Self {
        Self { format: format.name(), problem: problem.into() }
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a readable {} profile: {}", self.format, self.problem)
    }
}

impl std::error::Error for ReadError {}
