//! Counts of a watch.

use super::holds::Counted;
#[cfg(feature = "http")]
use super::plural::plural;

/// Counts since the start of the watch. All but [`pending`](Self::pending) only grow.
///
/// A stall is counted when it is explained. Other long polls are counted when they end: until then, they may become stalls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Every long poll that was noticed, whatever it is counted as.
    pub noticed: u64,
    /// Long polls that were noticed and are not explained yet.
    pub pending: u64,
    /// Stalls of the code: long polls that tasks had to wait for. Includes [`unexplained`](Self::unexplained).
    pub stalls: u64,
    /// Long polls of the future given to `block_on` of a multi-thread runtime, which hold no worker.
    pub block_on: u64,
    /// Long polls of the future given to `block_on` before the runtime had a task: start-up work.
    pub start_up: u64,
    /// Long polls that are long only because the machine did not run their thread, whatever they held. Their
    /// [cause](crate::stall::CauseClass) is `not_scheduled`.
    pub not_scheduled: u64,
    /// Reports (terminal blocks and `tracing` events) that the rate limit held back.
    pub suppressed: u64,
    /// Stalls without an explanation, because the reporter could not keep up.
    pub unexplained: u64,
    /// Entries dropped from the bounded history.
    pub forgotten: u64,
    /// Long polls that were no stalls, because they had handed their worker on (`block_in_place`).
    pub dismissed: u64,
    /// Stacks that could not be captured.
    pub stacks_missed: u64,
    /// Reports that neither standard error nor the program's `tracing` subscriber took in time.
    pub unprinted: u64,
    /// Events that the user's callback did not get, because it had not returned from earlier ones.
    pub callbacks_missed: u64,
    /// Panics of the user's callback.
    pub callback_panics: u64,
}

impl Counters {
    /// Counts one long poll.
    pub(crate) fn count(&mut self, counted: Counted) {
        let counter = match counted {
            Counted::Stall => &mut self.stalls,
            Counted::BlockOn => &mut self.block_on,
            Counted::StartUp => &mut self.start_up,
            Counted::NotScheduled => &mut self.not_scheduled,
        };
        *counter += 1;
    }

    /// The numbers of long polls that are no stalls, or not known as stalls: `1 long poll of block_on, 2 long polls at start-up`.
    #[cfg(feature = "cli")]
    pub(crate) fn other_long_polls(&self) -> Option<String> {
        let others = [
            (Counted::BlockOn, self.block_on),
            (Counted::StartUp, self.start_up),
            (Counted::NotScheduled, self.not_scheduled),
        ];
        let others = others.into_iter().filter(|(_, count)| *count > 0);
        let pending = (self.pending > 0).then(|| format!("{} not explained yet", plural(self.pending, "long poll")));
        let others: Vec<String> = others.map(|(counted, count)| counted.number(count)).chain(pending).collect();
        (!others.is_empty()).then(|| others.join(", "))
    }

    /// Sentences about what the terminal, the log or the callback did not get.
    #[cfg(feature = "http")]
    pub(crate) fn undelivered(&self) -> impl Iterator<Item = String> + use<> {
        let verb = |count| if count == 1 { "was" } else { "were" };
        let sentence =
            |count, what, not| (count > 0).then(|| format!("{} {} not {not}", plural(count, what), verb(count)));
        let unprinted = sentence(self.unprinted, "report", "printed");
        let missed = sentence(self.callbacks_missed, "event", "given to the callback");
        unprinted.into_iter().chain(missed)
    }
}

#[cfg(all(test, feature = "cli"))]
mod tests {
    use super::*;

    #[test]
    fn long_polls_that_are_no_stalls_are_beside_them() {
        let mut counters = Counters::default();
        assert_eq!(counters.other_long_polls(), None);
        let pending = Counters { pending: 2, ..counters }.other_long_polls();
        assert_eq!(pending.as_deref(), Some("2 long polls not explained yet"));
        for counted in [Counted::Stall, Counted::BlockOn, Counted::StartUp, Counted::StartUp, Counted::NotScheduled] {
            counters.count(counted);
        }
        assert_eq!(counters.stalls, 1);
        let others = counters.other_long_polls();
        assert_eq!(
            others.as_deref(),
            Some("1 long poll of block_on, 2 long polls at start-up, 1 long poll without a CPU")
        );
    }
}
