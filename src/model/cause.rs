//! Causes: what a stuck worker was doing, in one word, each with its own sentence of advice.

use super::evidence::Evidence;

/// What a stuck worker was doing for most of the time it was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CauseClass {
    /// It used the CPU.
    Computing,
    /// It let time pass (`nanosleep`).
    Sleeping,
    /// It waited for a lock, a channel, a condition variable or another thread.
    Lock,
    /// It waited for a file: open, read, write, sync, directory walk.
    File,
    /// It waited for a socket.
    Network,
    /// It waited for a host name to be looked up.
    NameLookup,
    /// It waited for a child process.
    ChildProcess,
    /// The kernel fetched or prepared memory for it.
    PageFaults,
    /// It was ready, but the machine did not run it.
    NotScheduled,
    /// Nothing dominates, or the kernel does not tell.
    Unknown,
}

impl CauseClass {
    /// Every class, in the order of the documentation.
    pub const ALL: [Self; 10] = [
        Self::Computing,
        Self::Sleeping,
        Self::Lock,
        Self::File,
        Self::Network,
        Self::NameLookup,
        Self::ChildProcess,
        Self::PageFaults,
        Self::NotScheduled,
        Self::Unknown,
    ];

    /// The word used in JSON, in metrics and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Computing => "computing",
            Self::Sleeping => "sleeping",
            Self::Lock => "lock",
            Self::File => "file",
            Self::Network => "network",
            Self::NameLookup => "name_lookup",
            Self::ChildProcess => "child_process",
            Self::PageFaults => "page_faults",
            Self::NotScheduled => "not_scheduled",
            Self::Unknown => "unknown",
        }
    }

    /// The class as people say it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Computing => "computing",
            Self::Sleeping => "sleeping",
            Self::Lock => "waiting for a lock",
            Self::File => "waiting for a file",
            Self::Network => "waiting for the network",
            Self::NameLookup => "looking up a host name",
            Self::ChildProcess => "waiting for a child process",
            Self::PageFaults => "page faults",
            Self::NotScheduled => "not scheduled by the machine",
            Self::Unknown => "unknown",
        }
    }

    /// What to do about it: one sentence.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Computing => {
                "Move the computation to tokio::task::spawn_blocking or a thread pool such as rayon, or split it with tokio::task::yield_now().await."
            }
            Self::Sleeping => {
                "Replace std::thread::sleep with tokio::time::sleep(…).await, which lets the worker run other tasks."
            }
            Self::Lock => {
                "Hold the lock for less time on the other side, await tokio's own lock or channel instead, or move the waiting to tokio::task::spawn_blocking."
            }
            Self::File => {
                "Use tokio::fs, or do the whole file operation in one tokio::task::spawn_blocking; syncing to disk always belongs there."
            }
            Self::Network => {
                "Use tokio::net or an async client instead of std::net and blocking clients, and give the call a timeout."
            }
            Self::NameLookup => {
                "Look the name up with tokio::net::lookup_host(…).await, which does it off the workers, and keep the answer."
            }
            Self::ChildProcess => {
                "Use tokio::process::Command and .await its end, or wait for it in tokio::task::spawn_blocking."
            }
            Self::PageFaults => {
                "Touch large memory off the workers (tokio::task::spawn_blocking), reuse buffers instead of mapping new ones, and check that the machine does not swap."
            }
            Self::NotScheduled => {
                "The code is not at fault: the machine had no CPU for this thread; check the CPU limit of the container and who else uses these cores."
            }
            Self::Unknown => {
                "No single cause dominates; look at the stack and the numbers, and watch whether the same culprit comes back."
            }
        }
    }
}

impl std::fmt::Display for CauseClass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for CauseClass {
    type Err = ParseCauseError;

    fn from_str(word: &str) -> Result<Self, ParseCauseError> {
        Self::ALL.into_iter().find(|class| class.as_str() == word).ok_or(ParseCauseError)
    }
}

/// The word names no [`CauseClass`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseCauseError;

impl std::fmt::Display for ParseCauseError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = CauseClass::ALL.iter().map(|class| class.as_str()).collect();
        write!(f, "no such cause; the causes are {}", names.join(", "))
    }
}

impl std::error::Error for ParseCauseError {}

/// Why a worker was stuck, with the numbers that say so.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cause {
    /// What it was doing, in one word.
    pub class: CauseClass,
    /// The numbers behind it.
    pub evidence: Evidence,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_has_its_own_words_and_is_found_by_them() {
        for class in CauseClass::ALL {
            assert_eq!(class.as_str().parse(), Ok(class));
            assert!(class.advice().ends_with('.'), "{class}: advice is a sentence");
            let same = CauseClass::ALL.iter().filter(|other| other.advice() == class.advice());
            assert_eq!(same.count(), 1, "{class}: advice is its own");
        }
        assert_eq!("blocked".parse::<CauseClass>(), Err(ParseCauseError));
    }
}
