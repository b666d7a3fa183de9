//! Limits how often equal stalls are reported: the first at once, the next ones rarely, and never more than a few a second.
//! Counters and the history are not limited. Pure: the caller gives the time.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// An equal stall is reported again after this long.
const AGAIN_AFTER: Duration = Duration::from_secs(10);

/// The number of reports that may follow each other at once.
const BURST: u32 = 10;

/// After a burst, one report per this long.
const REFILL: Duration = Duration::from_secs(1);

/// The limit on remembered kinds of stalls.
const MAX_KINDS: usize = 1024;

/// Decides which stalls are reported.
#[derive(Debug)]
pub(crate) struct RateLimit {
    last_by_kind: HashMap<u64, Instant>,
    tokens: u32,
    refilled: Instant,
    held_back: u64,
}

impl RateLimit {
    pub(crate) fn new(now: Instant) -> Self {
        Self { last_by_kind: HashMap::new(), tokens: BURST, refilled: now, held_back: 0 }
    }

    /// `Some` when a stall of this kind is to be reported now: how many were held back since the last report.
    pub(crate) fn admit(&mut self, kind: u64, now: Instant) -> Option<u64> {
        self.refill(now);
        let recent = self.last_by_kind.get(&kind).is_some_and(|last| now.duration_since(*last) < AGAIN_AFTER);
        if recent || self.tokens == 0 {
            self.held_back += 1;
            return None;
        }
        self.tokens -= 1;
        if self.last_by_kind.len() >= MAX_KINDS {
            self.last_by_kind.retain(|_, last| now.duration_since(*last) < AGAIN_AFTER);
        }
        if self.last_by_kind.len() < MAX_KINDS {
            self.last_by_kind.insert(kind, now);
        }
        Some(std::mem::take(&mut self.held_back))
    }

    fn refill(&mut self, now: Instant) {
        let steps = now.duration_since(self.refilled).as_nanos() / REFILL.as_nanos();
        let steps = u32::try_from(steps).unwrap_or(u32::MAX);
        if steps > 0 {
            self.tokens = self.tokens.saturating_add(steps).min(BURST);
            self.refilled += REFILL * steps;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_kind_is_reported_and_the_next_ones_are_counted() {
        let start = Instant::now();
        let mut limit = RateLimit::new(start);
        assert_eq!(limit.admit(1, start), Some(0));
        for _ in 0..5 {
            assert_eq!(limit.admit(1, start), None);
        }
        assert_eq!(limit.admit(2, start), Some(5), "another kind is reported, with the number of suppressed ones");
        assert_eq!(limit.admit(1, start + AGAIN_AFTER), Some(0));
    }

    #[test]
    fn many_kinds_at_once_are_held_back_too() {
        let start = Instant::now();
        let mut limit = RateLimit::new(start);
        let admitted = (0..1_000).filter(|kind| limit.admit(*kind, start).is_some()).count();
        assert_eq!(admitted, BURST as usize);
        assert_eq!(limit.admit(5_000, start + REFILL), Some(1_000 - u64::from(BURST)));
    }
}
