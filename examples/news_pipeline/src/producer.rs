//! Publishes articles to Kafka, one by one or with a bounded number at once, and counts every result.
//!
//! A failed delivery is retried until it succeeds or the service drains. An article that no broker accepts is logged and
//! dropped. Creating, flushing and dropping the client block, so they run on the blocking pool.

use std::{
    pin::pin,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use futures_util::{Stream, StreamExt, stream};
use rdkafka::{
    ClientConfig,
    client::DefaultClientContext,
    error::{KafkaError, RDKafkaErrorCode},
    producer::{FutureProducer, FutureRecord, Producer},
};
use tokio::{
    sync::{Mutex, mpsc},
    task::coop::consume_budget,
    time::sleep,
};
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

/// Pause before the next attempt if the client's queue is full.
const PAUSE_WHEN_FULL: Duration = Duration::from_millis(5);

const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(500);

/// Time limit of one flush, which blocks a thread of the blocking pool.
const FLUSH: Duration = Duration::from_millis(100);

/// Publishes the fetched articles. Ends when the fetcher is gone and every delivery has a result, or when the drain
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

/// A producer client that is replaced after a fatal error.
pub(crate) struct Publisher {
    config: ClientConfig,
    client: RwLock<Client>,
    replacing: Mutex<()>,
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
        let producer = make(config.clone()).await?;
        Ok(Self {
            config,
            client: RwLock::new(Client { producer, generation: 0 }),
            replacing: Mutex::new(()),
            outstanding: options.outstanding(),
            counters,
            outage: Outage::of("the Kafka producer"),
        })
    }

    /// Publishes until the stream ends and every delivery has a result. Calls `delivered` with the latency of each.
    ///
    /// # Errors
    ///
    /// If no client can be created.
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
            // rdkafka's futures ignore Tokio's coop budget; with a fast broker one of them is always ready.
            consume_budget().await;
        }
        Ok(())
    }

    /// Publishes one article and returns the latency. `None` if no broker accepts it.
    async fn publish(&self, article: Article) -> anyhow::Result<Option<Duration>> {
        let _sending = self.counters.broker.sending();
        let payload = serde_json::to_vec(&article)?;
        let started = Instant::now();
        loop {
            let client = self.client();
            match self.send(&client.producer, &article.id, &payload).await {
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
                    Counters::add_one(&self.counters.errors);
                    self.counters.broker.tries_again();
                    match client.producer.client().fatal_error() {
                        Some((_, reason)) => {
                            self.outage.failed(&format_args!("the client cannot go on ({reason})"));
                            self.replace(client).await?;
                        }
                        None => {
                            self.outage.failed(&format_args!("an article was not delivered ({error})"));
                            sleep(PAUSE_AFTER_ERROR).await;
                        }
                    }
                }
            }
        }
    }

    /// Passes a message to the client, waits for room in its queue, and then for the broker's confirmation.
    async fn send(&self, producer: &NewsProducer, key: &str, payload: &[u8]) -> Result<(), KafkaError> {
        let mut record = FutureRecord::to(TOPIC).key(key).payload(payload);
        let delivery = loop {
            match producer.send_result(record) {
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

    fn client(&self) -> Client {
        self.client.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces a client after a fatal error. An idempotent client fails for good when a restarted broker has lost its
    /// state, because going on might repeat messages. At-least-once delivery may repeat them, so a new client sends the
    /// unconfirmed messages again. The first failing send replaces the client.
    async fn replace(&self, spent: Client) -> anyhow::Result<()> {
        let one_at_a_time = self.replacing.lock().await;
        if self.client().generation == spent.generation {
            let fresh = Client { producer: make(self.config.clone()).await?, generation: spent.generation + 1 };
            *self.client.write().unwrap_or_else(PoisonError::into_inner) = fresh;
            self.counters.broker.was_replaced();
        }
        drop(one_at_a_time);
        // The last owner closes the client, which blocks.
        tokio::task::spawn_blocking(move || drop(spent)).await?;
        Ok(())
    }

    /// Sends batches at once, regardless of the linger. Returns only with an error.
    async fn keep_flushing(&self) -> anyhow::Error {
        loop {
            let Client { producer, .. } = self.client();
            // An incomplete flush is repeated. The deliveries report the result of each article.
            if let Err(panic) = tokio::task::spawn_blocking(move || producer.flush(FLUSH).is_ok()).await {
                return panic.into();
            }
            sleep(FLUSH).await;
        }
    }

    /// Normally nothing is outstanding, and this takes no time.
    pub(crate) async fn close(self) -> anyhow::Result<()> {
        tokio::task::spawn_blocking(move || drop(self)).await?;
        Ok(())
    }
}

/// The client, and the number of its predecessors.
#[derive(Clone)]
struct Client {
    producer: NewsProducer,
    generation: u64,
}

async fn make(config: ClientConfig) -> anyhow::Result<NewsProducer> {
    tokio::task::spawn_blocking(move || config.create()).await?.context("cannot make the Kafka producer")
}

/// Whether the broker rejects the message every time.
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
