//! Numbered articles through the service's own producer and consumer, at full speed.

use std::{
    process,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use futures_util::{StreamExt, stream};
use tokio::sync::Notify;

use crate::{
    article::Article,
    broker::Broker,
    broker_options::BrokerOptions,
    consumer::{self, Shelf},
    counters::Counters,
    load::{latency::Latencies, measurement::Measurement},
    numbered,
    producer::Publisher,
    shutdown::Drain,
    topics,
};

/// Publishes that many articles. Latency is the time from the send to the broker's confirmation.
pub(crate) async fn produce(
    broker: &Broker,
    options: &BrokerOptions,
    count: u64,
    drain: Drain,
) -> anyhow::Result<Measurement> {
    let counters = Arc::new(Counters::starting_now());
    topics::ready(broker.client_config(), options.clone()).await?;
    let config = options.configure_producer(broker.client_config());
    let publisher = Publisher::connect(config, options, Arc::clone(&counters)).await?;
    let mut latencies = Latencies::none()?;
    let articles = stream::iter(0..count).map(numbered::article).take_until(drain.requested());
    let started = Instant::now();
    publisher.publish_all(articles, |latency| latencies.record(latency)).await?;
    let took = started.elapsed();
    publisher.close().await?;
    let what = format!("producer, {}", options.describe_publishing());
    let mut measurement = Measurement::new(what, latencies.count(), took);
    measurement.failed = counters.broker.undeliverable_so_far();
    measurement.not_begun = count - latencies.count() - measurement.failed;
    measurement.latency_us = latencies.percentiles();
    Ok(measurement)
}

/// Consumes that many articles in a new group, from the oldest on, with parsing and commits like the service.
/// The time starts at the first article, because joining a group is not part of the throughput.
pub(crate) async fn consume(
    broker: &Broker,
    options: &BrokerOptions,
    count: u64,
    drain: Drain,
) -> anyhow::Result<Measurement> {
    let options = options.with_group(unused_group()?);
    let until = Arc::new(Until { count, taken: AtomicU64::new(0), first: Mutex::new(None), reached: Notify::new() });
    let (end, ended) = Drain::by_hand();
    let counters = Arc::new(Counters::starting_now());
    let consuming = consumer::run(broker.client_config(), options, Arc::clone(&until), counters, ended);
    let ending = async {
        tokio::select! {
            () = until.reached.notified() => {}
            () = drain.requested() => {}
        }
        let took = until.since_first();
        end.send_replace(true);
        Ok(took)
    };
    let ((), took) = tokio::try_join!(consuming, ending)?;
    let taken = until.taken.load(Relaxed).min(count);
    let mut measurement = Measurement::new("consumer, one member of a group".to_owned(), taken, took);
    measurement.not_begun = count - taken;
    Ok(measurement)
}

fn unused_group() -> anyhow::Result<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
    Ok(format!("news-load-{}-{}", process::id(), now.as_nanos()))
}

/// Counts articles, and signals when there are enough.
struct Until {
    count: u64,
    taken: AtomicU64,
    first: Mutex<Option<Instant>>,
    reached: Notify,
}

impl Until {
    fn since_first(&self) -> Duration {
        self.first.lock().unwrap_or_else(PoisonError::into_inner).map_or(Duration::ZERO, |first| first.elapsed())
    }
}

impl Shelf for Arc<Until> {
    async fn take(&self, _: Article) -> anyhow::Result<()> {
        let taken = self.taken.fetch_add(1, Relaxed) + 1;
        if taken == 1 {
            *self.first.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
        if taken == self.count {
            self.reached.notify_one();
        }
        Ok(())
    }
}
