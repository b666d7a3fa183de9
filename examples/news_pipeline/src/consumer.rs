//! Reads the topic as a member of a group that shares the work.
//!
//! An offset is stored for commit only after its article is in the cache or its message is in the dead-letter topic. So
//! a restart repeats at most the messages since the last commit, and loses none. Creating and closing the client block,
//! so they run on the blocking pool.

use std::{pin::pin, sync::Arc, time::Duration};

use anyhow::Context;
use rdkafka::{
    ClientConfig, ClientContext, Message,
    consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance, StreamConsumer},
    error::KafkaResult,
    message::{BorrowedMessage, OwnedMessage},
    topic_partition_list::TopicPartitionList,
};
use tracing::{info, warn};

use crate::{
    article::Article,
    broker::WatchedTasks,
    broker_options::BrokerOptions,
    cache::Cache,
    counters::Counters,
    dead_letters::DeadLetters,
    outage::Outage,
    shutdown::Drain,
    topics::{self, TOPIC},
};

type NewsConsumer = StreamConsumer<Member, WatchedTasks>;

/// Pause after a failed `recv`, which fails repeatedly without a broker.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(500);

/// The destination of consumed articles. After `take` has returned, the article counts as processed.
pub(crate) trait Shelf: Send + Sync {
    fn take(&self, article: Article) -> impl Future<Output = anyhow::Result<()>> + Send;
}

impl Shelf for Arc<Cache> {
    async fn take(&self, article: Article) -> anyhow::Result<()> {
        self.insert(article);
        Ok(())
    }
}

/// Consumes until the drain is requested, and commits.
///
/// # Errors
///
/// If a client cannot be created, or the shelf accepts no more articles.
pub(crate) async fn run(
    config: ClientConfig,
    options: BrokerOptions,
    shelf: impl Shelf,
    counters: Arc<Counters>,
    drain: Drain,
) -> anyhow::Result<()> {
    let dead_letters = DeadLetters::with(options.configure_producer(config.clone()));
    let group = options.configure_consumer(config.clone());
    tokio::select! {
        // The client would retry a subscription to a missing topic only minutes later.
        topics = topics::ready(config, options) => topics?,
        () = drain.clone().requested() => return Ok(()),
    }
    let member = Member { counters: Arc::clone(&counters) };
    let consumer = tokio::task::spawn_blocking(move || subscribe(&group, member)).await??;
    let consuming = Consuming { consumer: &consumer, shelf, dead_letters, counters };
    let outcome = consuming.until(drain).await;
    // Closing commits the stored offsets and leaves the group, so that the others take over at once.
    tokio::task::spawn_blocking(move || drop(consumer)).await?;
    outcome
}

fn subscribe(config: &ClientConfig, member: Member) -> anyhow::Result<NewsConsumer> {
    let consumer: NewsConsumer = config.create_with_context(member).context("cannot make the Kafka consumer")?;
    consumer.subscribe(&[TOPIC]).context("cannot subscribe to the topic")?;
    Ok(consumer)
}

/// Logs and counts the events of this member of the group.
struct Member {
    counters: Arc<Counters>,
}

impl ClientContext for Member {}

impl ConsumerContext for Member {
    fn post_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        self.counters.broker.shared_out_anew();
        match rebalance {
            Rebalance::Assign(partitions) => info!("this member has {} partitions of the topic", partitions.count()),
            Rebalance::Revoke(partitions) => info!("{} partitions of the topic go to others", partitions.count()),
            Rebalance::Error(error) => warn!("the group could not share out its partitions: {error}"),
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        if let Err(error) = result {
            Counters::add_one(&self.counters.errors);
            warn!("offsets were not committed ({error}); what came since the last commit may be consumed again");
        }
    }
}

struct Consuming<'consumer, S> {
    consumer: &'consumer NewsConsumer,
    shelf: S,
    dead_letters: DeadLetters,
    counters: Arc<Counters>,
}

impl<S: Shelf> Consuming<'_, S> {
    async fn until(self, drain: Drain) -> anyhow::Result<()> {
        let outage = Outage::of("the Kafka consumer");
        let mut drained = pin!(drain.requested());
        loop {
            let received = tokio::select! {
                received = self.consumer.recv() => received,
                () = &mut drained => break,
            };
            match received {
                Ok(message) => {
                    outage.worked();
                    tokio::select! {
                        biased;
                        processed = self.process(&message) => processed?,
                        // This point is reached only if the broker is needed. The offset is not stored, so the message comes again.
                        () = &mut drained => break,
                    }
                    self.store(&message);
                }
                Err(error) => {
                    Counters::add_one(&self.counters.errors);
                    outage.failed(&error);
                    tokio::select! {
                        () = tokio::time::sleep(PAUSE_AFTER_ERROR) => {}
                        () = &mut drained => break,
                    }
                }
            }
            // rdkafka's stream ignores Tokio's coop budget: with a backlog it is always ready, and this
            // task would hold its worker until the backlog is empty.
            tokio::task::coop::consume_budget().await;
        }
        self.dead_letters.close().await
    }

    async fn process(&self, message: &BorrowedMessage<'_>) -> anyhow::Result<()> {
        match article(message) {
            Ok(article) => {
                self.shelf.take(article).await?;
                if self.counters.consumed_so_far() == 0 {
                    info!("the first article is consumed {:.0?} after the start", self.counters.age());
                }
                Counters::add_one(&self.counters.consumed);
            }
            Err(reason) => {
                Counters::add_one(&self.counters.errors);
                let message: OwnedMessage = message.detach();
                self.dead_letters.bury(&message, &reason).await?;
                self.counters.broker.buried();
            }
        }
        Ok(())
    }

    fn store(&self, message: &BorrowedMessage<'_>) {
        if let Err(error) = self.consumer.store_offset_from_message(message) {
            // Fails if the partition has just moved to another member, which reads the message again.
            warn!("an offset was not stored: {error}");
        }
    }
}

/// The article in a message, or the reason why there is none.
fn article(message: &BorrowedMessage<'_>) -> Result<Article, String> {
    let payload = message.payload().ok_or("it is empty")?;
    serde_json::from_slice(payload).map_err(|error| format!("it is not an article: {error}"))
}
