//! Causes: why a worker was stuck, with the evidence.

pub use super::cause_class::{CauseClass, ParseCauseError};
use super::evidence::Evidence;

/// Why a worker was stuck, with the evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cause {
    /// What it was doing.
    pub class: CauseClass,
    /// The numbers that support it.
    pub evidence: Evidence,
}

impl Cause {
    /// A cause with its evidence.
    #[must_use]
    pub fn new(class: CauseClass, evidence: Evidence) -> Self {
        Self { class, evidence }
    }
}
