//! The work that waits for a stuck worker.

use super::plural::plural;
use super::victims::{Victims, VictimsUnknown};

/// The work that waited for a stuck worker when its stack was captured, and the victims once the stall has ended.
///
/// During a stall Tokio reports the number of queued tasks, but not which ones. Tasks in the stuck worker's own queue wait
/// unless another worker steals them. The task in Tokio's LIFO slot is not counted, and cannot be stolen. After the stall
/// the worker polls these tasks first, which identifies them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Waiting {
    /// The length of the stuck worker's own queue. Known under `tokio_unstable` only.
    pub local_queue: Option<usize>,
    /// The length of the queue that all workers of the runtime share.
    pub global_queue: Option<usize>,
    /// Whether the runtime's I/O and timers are driven meanwhile.
    pub driver: Driver,
    /// The number of other workers of the runtime.
    pub others: usize,
    /// The number of other workers that were parked.
    pub others_parked: usize,
    /// The number of other workers that were stalled too.
    pub others_stalled: usize,
    /// The victims, or why they are unknown.
    pub victims: Result<Victims, VictimsUnknown>,
}

impl Default for Waiting {
    fn default() -> Self {
        Self {
            local_queue: None,
            global_queue: None,
            driver: Driver::default(),
            others: 0,
            others_parked: 0,
            others_stalled: 0,
            victims: Err(VictimsUnknown::default()),
        }
    }
}

/// Whether a runtime's I/O and timers are driven while one of its workers is stuck. Only a worker that is parked or
/// between two polls drives them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Driver {
    /// A parked worker waits for events.
    Attended,
    /// Other workers are busy, and drive I/O and timers between polls.
    InPassing,
    /// No worker: all sockets and timers of the runtime wait until the stall ends or another worker wakes.
    Unattended,
    /// Unknown: the kernel does not show what parked workers wait for.
    #[default]
    Unknown,
}

impl Driver {
    /// Every variant.
    pub const ALL: [Self; 4] = [Self::Attended, Self::InPassing, Self::Unattended, Self::Unknown];

    /// The variant of a word; `Unknown` for other words.
    #[cfg(feature = "cli")]
    pub(crate) fn of_word(word: &str) -> Self {
        Self::ALL.into_iter().find(|driver| driver.as_str() == word).unwrap_or_default()
    }

    /// The word for it in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Attended => "attended",
            Self::InPassing => "in_passing",
            Self::Unattended => "unattended",
            Self::Unknown => "unknown",
        }
    }
}

impl Waiting {
    /// One line: queue lengths, other workers and the driver. Empty if nothing is known.
    #[must_use]
    pub fn sentence(&self) -> String {
        let mut parts = Vec::new();
        let tasks = |count: usize| plural(count, "task");
        match (self.local_queue, self.global_queue) {
            (Some(local), Some(global)) => {
                parts.push(format!("{} queued at this worker, {global} for any worker", tasks(local)));
            }
            (None, Some(global)) => parts.push(format!("{} queued for any worker", tasks(global))),
            _ => {}
        }
        if self.others > 0 {
            let stalled = match self.others_stalled {
                0 => String::new(),
                stalled => format!(", {stalled} stalled too"),
            };
            parts.push(format!("{} of {} other workers parked{stalled}", self.others_parked, self.others));
        }
        match self.driver {
            Driver::Unattended => {
                parts.push("nobody drives I/O and timers of this runtime, so tasks that need them wait too".to_owned());
            }
            Driver::Attended => parts.push("I/O and timers are driven".to_owned()),
            Driver::InPassing | Driver::Unknown => {}
        }
        parts.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_has_only_known_values() {
        assert_eq!(Waiting::default().sentence(), "");
        let one = Waiting { others: 1, driver: Driver::Attended, ..Waiting::default() };
        assert_eq!(one.sentence(), "0 of 1 other workers parked; I/O and timers are driven");
        let waiting = Waiting {
            local_queue: Some(3),
            global_queue: Some(1),
            driver: Driver::Unattended,
            others: 2,
            others_parked: 1,
            others_stalled: 1,
            ..Waiting::default()
        };
        assert_eq!(
            waiting.sentence(),
            "3 tasks queued at this worker, 1 for any worker; 1 of 2 other workers parked, 1 stalled too; \
             nobody drives I/O and timers of this runtime, so tasks that need them wait too"
        );
    }
}
