//! Counters since the start, for `/healthz` and `/counters`. Relaxed, because only the totals matter.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use crate::broker_counters::BrokerCounters;

pub(crate) struct Counters {
    started: Instant,
    /// New articles found in feeds.
    pub(crate) fetched: AtomicU64,
    /// Articles confirmed by the broker.
    pub(crate) produced: AtomicU64,
    /// Articles read back from the topic.
    pub(crate) consumed: AtomicU64,
    /// Feeds, deliveries and messages that failed.
    pub(crate) errors: AtomicU64,
    /// Messages to and from Kafka.
    pub(crate) broker: BrokerCounters,
}

impl Counters {
    pub(crate) fn starting_now() -> Self {
        Self {
            started: Instant::now(),
            fetched: AtomicU64::new(0),
            produced: AtomicU64::new(0),
            consumed: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            broker: BrokerCounters::default(),
        }
    }

    pub(crate) fn add_one(counter: &AtomicU64) {
        counter.fetch_add(1, Relaxed);
    }

    pub(crate) fn consumed_so_far(&self) -> u64 {
        self.consumed.load(Relaxed)
    }

    /// Time since the start.
    pub(crate) fn age(&self) -> Duration {
        self.started.elapsed()
    }
}
