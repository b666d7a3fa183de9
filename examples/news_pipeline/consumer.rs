//! Reads the topic into the cache, as a member of the group `news-cache`.
//!
//! An offset is stored for commit only after its article is in the cache, so a restart repeats at
//! most the last moments and loses nothing. Making and closing the client block: blocking pool.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use rdkafka::{
    ClientConfig, Message,
    consumer::{Consumer, DefaultConsumerContext, StreamConsumer},
    message::BorrowedMessage,
};
use tracing::{info, warn};

use crate::{
    article::Article,
    broker::{TOPIC, WatchedTasks},
    cache::Cache,
    counters::Counters,
    outage::Outage,
    shutdown::Drain,
};

type NewsConsumer = StreamConsumer<DefaultConsumerContext, WatchedTasks>;

/// A broker that is away makes `recv` fail over and over.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(500);

pub(crate) async fn run(
    mut config: ClientConfig,
    cache: Arc<Cache>,
    counters: Arc<Counters>,
    drain: Drain,
) -> anyhow::Result<()> {
    config
        .set("group.id", "news-cache")
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.offset.store", "false")
        .set("auto.commit.interval.ms", "1000")
        // A topic that does not exist yet is not an error: the first article creates it.
        .set("allow.auto.create.topics", "true")
        // The age of the freshest news; the default of 500 ms would be seen by readers.
        .set("fetch.wait.max.ms", "50");
    let consumer = tokio::task::spawn_blocking(move || subscribe(&config)).await??;
    tokio::select! {
        () = consume(&consumer, &cache, &counters) => {}
        () = drain.requested() => {}
    }
    // Closing commits what is stored and leaves the group.
    tokio::task::spawn_blocking(move || drop(consumer)).await?;
    Ok(())
}

fn subscribe(config: &ClientConfig) -> anyhow::Result<NewsConsumer> {
    let consumer: NewsConsumer = config.create().context("cannot make the Kafka consumer")?;
    consumer.subscribe(&[TOPIC]).context("cannot subscribe to the topic")?;
    Ok(consumer)
}

async fn consume(consumer: &NewsConsumer, cache: &Cache, counters: &Counters) {
    let outage = Outage::of("the Kafka consumer");
    loop {
        match consumer.recv().await {
            Ok(message) => {
                outage.worked();
                if counters.consumed_so_far() == 0 {
                    info!("the first article is in the cache {:.0?} after the start", counters.age());
                }
                take(consumer, &message, cache, counters);
            }
            Err(error) => {
                Counters::add_one(&counters.errors);
                outage.failed(&error);
                tokio::time::sleep(PAUSE_AFTER_ERROR).await;
            }
        }
        // rdkafka's stream knows nothing of Tokio's budget: with a backlog it is always ready, and this
        // task would hold its worker until the backlog is gone.
        tokio::task::coop::consume_budget().await;
    }
}

fn take(consumer: &NewsConsumer, message: &BorrowedMessage<'_>, cache: &Cache, counters: &Counters) {
    match serde_json::from_slice::<Article>(message.payload().unwrap_or_default()) {
        Ok(article) => {
            cache.insert(article);
            Counters::add_one(&counters.consumed);
        }
        Err(error) => {
            Counters::add_one(&counters.errors);
            warn!(
                "skipped the message at offset {} of partition {}: it is not an article ({error})",
                message.offset(),
                message.partition()
            );
        }
    }
    if let Err(error) = consumer.store_offset_from_message(message) {
        // Happens when the partition has just moved to another member, which will read it again.
        warn!("an offset was not stored: {error}");
    }
}
