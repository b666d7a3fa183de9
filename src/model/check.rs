//! The self-check: what holdup can observe in this process, by which means, and what would let it observe more.

use std::fmt;

/// How much of one subject holdup can observe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Coverage {
    /// All of it.
    Full,
    /// Part of it. The remedy says how to observe the rest.
    Limited,
    /// None of it.
    Missing,
}

impl Coverage {
    /// The word for it in JSON and on screens.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Limited => "limited",
            Self::Missing => "missing",
        }
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One line of the self-check.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Check {
    /// The subject, such as "task polls".
    pub subject: &'static str,
    /// How much of it can be observed.
    pub coverage: Coverage,
    /// The means, or the obstacle.
    pub detail: String,
    /// The exact setting that would let holdup observe more.
    pub remedy: Option<String>,
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.detail)?;
        match &self.remedy {
            Some(remedy) => write!(f, "; to see more, {remedy}"),
            None => Ok(()),
        }
    }
}

/// What a [`Watch`](crate::Watch) found at its start; see [`Watch::self_check`](crate::Watch::self_check).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SelfCheck {
    /// One line per subject.
    pub checks: Vec<Check>,
}

impl fmt::Display for SelfCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for check in &self.checks {
            writeln!(f, "{:<8}{check}", check.coverage)?;
        }
        Ok(())
    }
}
