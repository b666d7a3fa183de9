//! Counters of messages to and from Kafka, and of queued ones: backpressure in numbers. Relaxed, because only totals
//! matter.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use serde::Serialize;
use utoipa::ToSchema;

#[derive(Default, Debug)]
pub(crate) struct BrokerCounters {
    outstanding: AtomicU64,
    outstanding_most: AtomicU64,
    queue_full: AtomicU64,
    confirmed: AtomicU64,
    waited_us: AtomicU64,
    waited_most_us: AtomicU64,
    retried: AtomicU64,
    undeliverable: AtomicU64,
    clients_replaced: AtomicU64,
    rebalances: AtomicU64,
    dead_letters: AtomicU64,
}

/// A snapshot of the counters, as `/counters` shows it.
#[derive(Serialize, ToSchema, Debug)]
pub(crate) struct BrokerCounts {
    /// Articles that currently wait for the broker's confirmation.
    outstanding: u64,
    /// The maximum of waiting articles so far.
    outstanding_most: u64,
    /// How often a send waited because the client's own queue was full.
    queue_full: u64,
    /// Articles confirmed by the broker.
    confirmed: u64,
    /// Microseconds from the send to the confirmation: mean and maximum.
    wait_mean_us: u64,
    wait_most_us: u64,
    /// Deliveries that failed and were tried again.
    retried: u64,
    /// Articles that can never be delivered, for example because of their size; each is logged.
    undeliverable: u64,
    /// Clients that were replaced after a fatal error.
    clients_replaced: u64,
    /// Rebalances of the group.
    rebalances: u64,
    /// Messages that were no articles and were sent to the dead-letter topic.
    dead_letters: u64,
}

impl BrokerCounters {
    pub(crate) fn now(&self) -> BrokerCounts {
        let confirmed = self.confirmed.load(Relaxed);
        BrokerCounts {
            outstanding: self.outstanding(),
            outstanding_most: self.outstanding_most.load(Relaxed),
            queue_full: self.queue_full.load(Relaxed),
            confirmed,
            wait_mean_us: self.waited_us.load(Relaxed).checked_div(confirmed).unwrap_or(0),
            wait_most_us: self.waited_most_us.load(Relaxed),
            retried: self.retried.load(Relaxed),
            undeliverable: self.undeliverable.load(Relaxed),
            clients_replaced: self.clients_replaced.load(Relaxed),
            rebalances: self.rebalances.load(Relaxed),
            dead_letters: self.dead_letters.load(Relaxed),
        }
    }

    /// Articles that currently wait for the broker's confirmation.
    pub(crate) fn outstanding(&self) -> u64 {
        self.outstanding.load(Relaxed)
    }

    pub(crate) fn undeliverable_so_far(&self) -> u64 {
        self.undeliverable.load(Relaxed)
    }

    /// Counts a send until the guard is dropped.
    pub(crate) fn sending(&self) -> Sending<'_> {
        let outstanding = self.outstanding.fetch_add(1, Relaxed) + 1;
        self.outstanding_most.fetch_max(outstanding, Relaxed);
        Sending(self)
    }

    pub(crate) fn queue_was_full(&self) {
        self.queue_full.fetch_add(1, Relaxed);
    }

    pub(crate) fn confirmed_after(&self, wait: Duration) {
        let wait_us = u64::try_from(wait.as_micros()).unwrap_or(u64::MAX);
        self.confirmed.fetch_add(1, Relaxed);
        self.waited_us.fetch_add(wait_us, Relaxed);
        self.waited_most_us.fetch_max(wait_us, Relaxed);
    }

    pub(crate) fn tries_again(&self) {
        self.retried.fetch_add(1, Relaxed);
    }

    pub(crate) fn cannot_deliver(&self) {
        self.undeliverable.fetch_add(1, Relaxed);
    }

    pub(crate) fn was_replaced(&self) {
        self.clients_replaced.fetch_add(1, Relaxed);
    }

    pub(crate) fn shared_out_anew(&self) {
        self.rebalances.fetch_add(1, Relaxed);
    }

    pub(crate) fn buried(&self) {
        self.dead_letters.fetch_add(1, Relaxed);
    }
}

/// An article that waits for its confirmation.
#[derive(Debug)]
pub(crate) struct Sending<'counters>(&'counters BrokerCounters);

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        self.0.outstanding.fetch_sub(1, Relaxed);
    }
}
