//! Stops of another process's threads.

use std::time::Duration;

use super::plural::plural;

/// The stops of an observation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ThreadStops {
    /// How often a thread was stopped.
    pub(crate) threads: u64,
    /// The longest time that a thread was stopped.
    pub(crate) longest: Duration,
    /// No thread may be stopped.
    pub(crate) forbidden: bool,
    /// Something is missing because no thread may be stopped.
    pub(crate) renounced: bool,
}

impl ThreadStops {
    /// A sentence without its period.
    pub(crate) fn sentence(&self) -> String {
        let longest = self.longest.as_secs_f64() * 1e3;
        match (self.threads, self.forbidden, self.renounced) {
            (0, _, true) => {
                "no thread was stopped; what running threads do is missing, because stops are forbidden".to_owned()
            }
            (0, _, false) => "no thread was stopped".to_owned(),
            (1, ..) => format!("a thread was stopped once, for {longest:.3} ms"),
            (threads, ..) => format!("threads were stopped {}, for {longest:.3} ms at most", plural(threads, "time")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stopped_nothing_says_so() {
        let stops = |threads, renounced| {
            let longest = Duration::from_micros(threads * 1500);
            ThreadStops { threads, longest, forbidden: renounced, renounced }.sentence()
        };
        assert_eq!(stops(0, false), "no thread was stopped");
        assert!(stops(0, true).starts_with("no thread was stopped; what running threads do is missing"));
        assert_eq!(stops(1, false), "a thread was stopped once, for 1.500 ms");
        assert_eq!(stops(4, false), "threads were stopped 4 times, for 6.000 ms at most");
    }
}
