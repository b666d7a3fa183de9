//! Classes of causes: what a stuck worker was doing, each with its word, title and advice in one table.

/// What a stuck worker was doing for most of its own time. Time in which the machine did not run it counts only if the rest
/// is below the threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CauseClass {
    /// It used the CPU.
    Computing,
    /// It slept (`nanosleep`).
    Sleeping,
    /// It waited for a lock, a channel, a condition variable or another thread.
    Lock,
    /// It waited for a file operation: open, read, write, sync or a directory walk.
    File,
    /// It waited for a socket.
    Network,
    /// It waited for the lookup of a host name.
    NameLookup,
    /// It waited for a child process.
    ChildProcess,
    /// The kernel mapped or read in memory pages for it.
    PageFaults,
    /// It was ready to run, but the machine did not run it. What it did itself took less than the threshold.
    NotScheduled,
    /// No class dominates, or the kernel gives no numbers.
    Unknown,
}

/// The texts that describe a class. The title contains the word, so that JSON, text and help name a cause alike.
struct Texts {
    word: &'static str,
    title: &'static str,
    advice: &'static str,
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

    const fn texts(self) -> Texts {
        match self {
            Self::Computing => Texts {
                word: "computing",
                title: "computing",
                advice: "Move the computation to tokio::task::spawn_blocking or a thread pool such as rayon, or split it with tokio::task::yield_now().await.",
            },
            Self::Sleeping => Texts {
                word: "sleeping",
                title: "sleeping",
                advice: "Replace std::thread::sleep with tokio::time::sleep(…).await, which lets the worker run other tasks.",
            },
            Self::Lock => Texts {
                word: "lock",
                title: "waiting for a lock",
                advice: "Shorten the time the lock is held, use an async lock or channel of tokio, or move the wait to tokio::task::spawn_blocking.",
            },
            Self::File => Texts {
                word: "file",
                title: "waiting for a file",
                advice: "Use tokio::fs, or run the whole file operation in one tokio::task::spawn_blocking; always do so for syncing to disk.",
            },
            Self::Network => Texts {
                word: "network",
                title: "waiting for the network",
                advice: "Use tokio::net or an async client instead of std::net and blocking clients, and set a timeout.",
            },
            Self::NameLookup => Texts {
                word: "name_lookup",
                title: "host name lookup",
                advice: "Resolve the name with tokio::net::lookup_host(…).await, which runs off the workers, and cache the answer.",
            },
            Self::ChildProcess => Texts {
                word: "child_process",
                title: "waiting for a child process",
                advice: "Use tokio::process::Command and .await its end, or wait for it in tokio::task::spawn_blocking.",
            },
            Self::PageFaults => Texts {
                word: "page_faults",
                title: "page faults",
                advice: "Touch large memory off the workers (tokio::task::spawn_blocking), reuse buffers instead of mapping new ones, and check that the machine does not swap.",
            },
            Self::NotScheduled => Texts {
                word: "not_scheduled",
                title: "not scheduled",
                advice: "The machine had no CPU for this thread. Without these waits, the poll would be no stall. Check the CPU limit of the container and the other load on these cores.",
            },
            Self::Unknown => Texts {
                word: "unknown",
                title: "unknown",
                advice: "No single cause dominates. Read the stack and the numbers, and check whether the same culprit comes back.",
            },
        }
    }

    /// The word in JSON, in metrics and on the command line, such as `not_scheduled`.
    pub fn as_str(self) -> &'static str {
        self.texts().word
    }

    /// The words in reports, such as `not scheduled`.
    pub fn title(self) -> &'static str {
        self.texts().title
    }

    /// What to do about it.
    pub fn advice(self) -> &'static str {
        self.texts().advice
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

/// The error for a word that names no [`CauseClass`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseCauseError;

impl std::fmt::Display for ParseCauseError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = CauseClass::ALL.iter().map(|class| class.as_str()).collect();
        write!(f, "not a cause; the causes are {}", names.join(", "))
    }
}

impl std::error::Error for ParseCauseError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_has_unique_texts_and_parses_from_its_word() {
        for class in CauseClass::ALL {
            assert_eq!(class.as_str().parse(), Ok(class));
            assert!(class.title().contains(&class.as_str().replace('_', " ")), "{class}: the title contains the word");
            assert!(class.advice().ends_with('.'), "{class}: advice is a sentence");
            let same = CauseClass::ALL.iter().filter(|other| other.advice() == class.advice());
            assert_eq!(same.count(), 1, "{class}: advice is unique");
        }
        assert_eq!("blocked".parse::<CauseClass>(), Err(ParseCauseError));
    }
}
