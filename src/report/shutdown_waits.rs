//! What a shutdown waits for, in numbers.

use std::fmt;

use crate::model::plural::plural;

/// How many threads a shutdown waits for, by what they do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ShutdownWaits {
    pub(crate) blocking: usize,
    pub(crate) polls: usize,
    /// Threads that drop a task, in whose `Drop` they are.
    pub(crate) drops: usize,
}

impl fmt::Display for ShutdownWaits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counted = |number, what: String| (number > 0).then_some(what);
        let parts = [
            counted(self.blocking, plural(self.blocking, "blocking function")),
            counted(self.polls, plural(self.polls, "poll")),
            counted(self.drops, format!("the drop of {}", plural(self.drops, "task"))),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        match parts.as_slice() {
            [] => f.write_str("no thread that is known"),
            parts => f.write_str(&parts.join(" and ")),
        }
    }
}
