//! The self-check: what is watched, by which means, what stays invisible and which setting would change that.

/// How well one thing can be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Coverage {
    /// All of it.
    Full,
    /// Some of it; the remedy says how to see the rest.
    Limited,
    /// Nothing of it.
    Missing,
}

impl Coverage {
    /// The word used in JSON and on screens.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Limited => "limited",
            Self::Missing => "missing",
        }
    }
}

/// One line of the self-check.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Check {
    /// What is looked at, such as "task polls".
    pub subject: &'static str,
    /// How well it can be seen.
    pub coverage: Coverage,
    /// By which means, or why not.
    pub detail: String,
    /// The exact setting that would let holdup see more.
    pub remedy: Option<String>,
}

impl std::fmt::Display for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.subject, self.detail)?;
        match &self.remedy {
            Some(remedy) => write!(f, "; to see more, {remedy}"),
            None => Ok(()),
        }
    }
}

/// What a [`Watch`](crate::Watch) found out about itself when it started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SelfCheck {
    /// One line a subject.
    pub checks: Vec<Check>,
}

impl std::fmt::Display for SelfCheck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for check in &self.checks {
            writeln!(f, "{:<8}{check}", check.coverage.as_str())?;
        }
        Ok(())
    }
}
