//! Who waits behind a stall, as far as it can be seen from inside.

use super::plural::plural;
use super::victims::{Victims, VictimsUnknown};

/// What stood still behind a stuck worker when its stack was taken, and once it is over, which tasks waited.
///
/// While it lasts, Tokio does not tell which tasks are ready; it tells how many are queued. Those in the stuck worker's own
/// queue wait for it unless another worker steals them, and the one task that a worker keeps for itself next (Tokio's LIFO
/// slot, which is not counted) cannot be stolen at all. Afterwards the worker polls them first, and so they are known.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Waiting {
    /// Tasks in the stuck worker's own queue. Known under `tokio_unstable`.
    pub local_queue: Option<usize>,
    /// Tasks in the queue that all workers of the runtime share.
    pub global_queue: Option<usize>,
    /// Who looks after the runtime's I/O and timers meanwhile.
    pub driver: Driver,
    /// Other workers of the runtime.
    pub others: usize,
    /// How many of those were parked.
    pub others_parked: usize,
    /// How many of those were held up by stalls of their own.
    pub others_stalled: usize,
    /// Which tasks waited, or why that is not known.
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

/// Who looks after a runtime's I/O and timers while one of its workers is stuck. Only a worker that parks or is between
/// two polls does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Driver {
    /// A worker waits for events.
    Attended,
    /// Other workers are busy, and look in between.
    InPassing,
    /// Nobody: sockets and timers of the whole runtime wait for the stall to end, or for another worker to wake.
    Unattended,
    /// The kernel does not tell what parked workers wait for.
    #[default]
    Unknown,
}

impl Driver {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Attended, Self::InPassing, Self::Unattended, Self::Unknown];

    /// The one that this word stands for; unknown for words that this version does not know.
    #[cfg(feature = "cli")]
    pub(crate) fn of_word(word: &str) -> Self {
        Self::ALL.into_iter().find(|driver| driver.as_str() == word).unwrap_or_default()
    }

    /// The word used in JSON.
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
    /// In one line.
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
                parts.push("nobody drives I/O and timers of this runtime, so all of them wait".to_owned());
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
    fn the_sentence_says_what_is_known_and_nothing_else() {
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
             nobody drives I/O and timers of this runtime, so all of them wait"
        );
    }
}
