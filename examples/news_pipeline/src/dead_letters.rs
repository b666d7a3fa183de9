//! Messages that are no articles are sent unchanged to the dead-letter topic, with the reason in their headers. So they
//! neither stop the pipeline nor get lost.

use std::time::Duration;

use anyhow::Context;
use rdkafka::{
    ClientConfig, Message,
    error::{KafkaError, RDKafkaErrorCode},
    message::{Header, OwnedHeaders, OwnedMessage},
    producer::FutureRecord,
};
use tokio::sync::OnceCell;
use tracing::warn;

use crate::{outage::Outage, producer::NewsProducer, topics::DEAD_LETTERS};

const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(500);

/// Time limit for a full queue of the client. With one letter at a time it is never full.
const QUEUE_PATIENCE: Duration = Duration::from_secs(1);

/// The dead-letter topic. Its client is created for the first letter, because most services never need it.
pub(crate) struct DeadLetters {
    config: ClientConfig,
    producer: OnceCell<NewsProducer>,
    outage: Outage,
}

impl DeadLetters {
    pub(crate) fn with(config: ClientConfig) -> Self {
        Self { config, producer: OnceCell::new(), outage: Outage::of("the dead-letter topic") }
    }

    /// Sends the message, with retries, until the broker has it.
    ///
    /// # Errors
    ///
    /// If the client cannot be created.
    pub(crate) async fn bury(&self, message: &OwnedMessage, reason: &str) -> anyhow::Result<()> {
        let producer = self.producer.get_or_try_init(|| self.connect()).await?;
        loop {
            let error = match send(producer, message, message.payload(), reason).await {
                // The headers made the message too large. The reason is worth more than the rest.
                Err(KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge)) => {
                    match send(producer, message, None, reason).await {
                        Ok(()) => break,
                        Err(error) => error,
                    }
                }
                Ok(()) => break,
                Err(error) => error,
            };
            self.outage.failed(&error);
            tokio::time::sleep(PAUSE_AFTER_ERROR).await;
        }
        self.outage.worked();
        warn!(
            "the message at offset {} of partition {} is now in {DEAD_LETTERS}: {reason}",
            message.offset(),
            message.partition()
        );
        Ok(())
    }

    async fn connect(&self) -> anyhow::Result<NewsProducer> {
        let config = self.config.clone();
        tokio::task::spawn_blocking(move || config.create())
            .await?
            .context("cannot make the Kafka producer for dead letters")
    }

    /// Closes the client, if there is one.
    pub(crate) async fn close(self) -> anyhow::Result<()> {
        tokio::task::spawn_blocking(move || drop(self)).await?;
        Ok(())
    }
}

async fn send(
    producer: &NewsProducer,
    message: &OwnedMessage,
    payload: Option<&[u8]>,
    reason: &str,
) -> Result<(), KafkaError> {
    let (partition, offset) = (message.partition().to_string(), message.offset().to_string());
    let mut headers = OwnedHeaders::new();
    for (key, value) in [("reason", reason), ("topic", message.topic()), ("partition", &partition), ("offset", &offset)]
    {
        headers = headers.insert(Header { key, value: Some(value) });
    }
    let mut record = FutureRecord::<[u8], [u8]>::to(DEAD_LETTERS).headers(headers);
    if let Some(key) = message.key() {
        record = record.key(key);
    }
    if let Some(payload) = payload {
        record = record.payload(payload);
    }
    producer.send(record, QUEUE_PATIENCE).await.map(|_| ()).map_err(|(error, _)| error)
}
