//! Publishes articles to Kafka, one by one or many at a time but never more than a bound, and counts every outcome.
//!
//! A delivery that fails is tried again until it works or the service drains; only what no broker will ever take is
//! given up, with a line in the log. Making, flushing and dropping the client block: blocking pool.

use std::{
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow, ensure};
use futures_util::{Stream, StreamExt, stream};
use rdkafka::{
    ClientConfig,
    client::DefaultClientContext,
    error::{KafkaError, RDKafkaErrorCode},
    producer::{FutureProducer, FutureRecord, Producer},
};
use tokio::{sync::mpsc, task::coop::consume_budget, time::sleep};
use tracing::error;

use crate::{
    article::Article,
    broker::WatchedTasks,
    broker_options::BrokerOptions,
    counters::Counters,
    outage::Outage,
    shutdown::Drain,
    topics::{self, TOPIC},
};

pub(crate) type NewsProducer = FutureProducer<DefaultClientContext, WatchedTasks>;

/// A full queue of the client empties at the broker's speed.
const PAUSE_WHEN_FULL: Duration = Duration::from_millis(5);

const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(500);

/// How long one flush of a drain blocks its thread of the blocking pool.
const FLUSH: Duration = Duration::from_millis(100);

/// Publishes what the fetcher found. Ends when the fetcher has gone and every delivery is decided, or when the drain
/// takes longer than `flush_limit`.
pub(crate) async fn run(
    config: ClientConfig,
    options: BrokerOptions,
    mut to_publish: mpsc::Receiver<Article>,
    counters: Arc<Counters>,
    flush_limit: Duration,
    drain: Drain,
) -> anyhow::Result<()> {
    let publisher = Publisher::connect(options.configure_producer(config.clone()), &options, counters).await?;
    let undelivered = {
        let articles = stream::poll_fn(|context| to_publish.poll_recv(context));
        let mut publishing = pin!(async {
            topics::ready(config, options).await?;
            publisher.publish_all(articles, |_| {}).await
        });
        let requested = drain.clone().requested();
        let out_of_time = async {
            requested.await;
            sleep(flush_limit).await;
        };
        let flushing = async {
            drain.requested().await;
            publisher.keep_flushing().await
        };
        tokio::select! {
            outcome = &mut publishing => {
                outcome?;
                0
            }
            error = flushing => return Err(error),
            () = out_of_time => publisher.counters.broker.outstanding(),
        }
    };
    let undelivered = undelivered + u64::try_from(to_publish.len())?;
    publisher.close().await?;
    ensure!(
        undelivered == 0,
        "Kafka did not confirm {undelivered} articles before the stop; the next start fetches them again"
    );
    Ok(())
}

/// A client that publishes.
pub(crate) struct Publisher {
    producer: NewsProducer,
    outstanding: usize,
    counters: Arc<Counters>,
    outage: Outage,
}

impl Publisher {
    pub(crate) async fn connect(
        config: ClientConfig,
        options: &BrokerOptions,
        counters: Arc<Counters>,
    ) -> anyhow::Result<Self> {
        let producer =
            tokio::task::spawn_blocking(move || config.create()).await?.context("cannot make the Kafka producer")?;
        Ok(Self { producer, outstanding: options.outstanding(), counters, outage: Outage::of("the Kafka producer") })
    }

    /// Publishes until the stream ends and every delivery is decided. `delivered` is told how long each took.
    ///
    /// # Errors
    ///
    /// When the client cannot be used any more; every article that was not confirmed is still the caller's.
    pub(crate) async fn publish_all(
        &self,
        articles: impl Stream<Item = Article>,
        mut delivered: impl FnMut(Duration),
    ) -> anyhow::Result<()> {
        let mut outcomes = pin!(articles.map(|article| self.publish(article)).buffer_unordered(self.outstanding));
        while let Some(outcome) = outcomes.next().await {
            if let Some(wait) = outcome? {
                delivered(wait);
            }
            // rdkafka's futures know nothing of Tokio's budget; with a fast broker there is always one that is ready.
            consume_budget().await;
        }
        Ok(())
    }

    /// Publishes one article, and tells how long that took; `None` if no broker would ever take it.
    async fn publish(&self, article: Article) -> anyhow::Result<Option<Duration>> {
        let _sending = self.counters.broker.sending();
        let payload = serde_json::to_vec(&article)?;
        let started = Instant::now();
        loop {
            match self.send(&article.id, &payload).await {
                Ok(()) => {
                    let wait = started.elapsed();
                    self.counters.broker.confirmed_after(wait);
                    Counters::add_one(&self.counters.produced);
                    self.outage.worked();
                    return Ok(Some(wait));
                }
                Err(error) if is_for_good(&error) => {
                    Counters::add_one(&self.counters.errors);
                    self.counters.broker.cannot_deliver();
                    error!("the article {} of {} cannot be published: {error}", article.id, article.source);
                    return Ok(None);
                }
                Err(error) => {
                    if let Some((_, reason)) = self.producer.client().fatal_error() {
                        return Err(anyhow!("the Kafka producer cannot go on ({reason}); start the service again"));
                    }
                    Counters::add_one(&self.counters.errors);
                    self.counters.broker.tries_again();
                    self.outage.failed(&format_args!("an article was not delivered ({error})"));
                    sleep(PAUSE_AFTER_ERROR).await;
                }
            }
        }
    }

    /// Hands a message to the client, waits for room where there is none, and then for the broker's confirmation.
    async fn send(&self, key: &str, payload: &[u8]) -> Result<(), KafkaError> {
        let mut record = FutureRecord::to(TOPIC).key(key).payload(payload);
        let delivery = loop {
            match self.producer.send_result(record) {
                Ok(delivery) => break delivery,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), returned)) => {
                    self.counters.broker.queue_was_full();
                    record = returned;
                    sleep(PAUSE_WHEN_FULL).await;
                }
                Err((error, _)) => return Err(error),
            }
        };
        match delivery.await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err((error, _))) => Err(error),
            Err(_) => Err(KafkaError::Canceled),
        }
    }

    /// Makes batches go at once, whatever their linger. Returns an error only.
    async fn keep_flushing(&self) -> anyhow::Error {
        loop {
            let producer = self.producer.clone();
            // A flush that is not done in time is repeated; the deliveries tell how each article fared.
            if let Err(panic) = tokio::task::spawn_blocking(move || producer.flush(FLUSH).is_ok()).await {
                return panic.into();
            }
            sleep(FLUSH).await;
        }
    }

    /// Nothing is outstanding in the normal case, and then this takes no time.
    pub(crate) async fn close(self) -> anyhow::Result<()> {
        tokio::task::spawn_blocking(move || drop(self)).await?;
        Ok(())
    }
}

/// Whether the broker would refuse the message every time.
fn is_for_good(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::MessageSizeTooLarge
                | RDKafkaErrorCode::InvalidMessage
                | RDKafkaErrorCode::InvalidMessageSize
                | RDKafkaErrorCode::InvalidRecord
        )
    )
}
