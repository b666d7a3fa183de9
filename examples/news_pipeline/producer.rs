//! Publishes articles to Kafka, many at a time but never more than a bound, and counts every outcome.
//!
//! Ends when the fetcher has gone and every delivery is decided, or when a drain takes too long. Making
//! and dropping the client block, so they happen on the blocking pool.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, ensure};
use futures_util::{StreamExt, future::ready, stream};
use rdkafka::{
    ClientConfig,
    client::DefaultClientContext,
    producer::{FutureProducer, FutureRecord, Producer},
};
use tokio::{sync::mpsc, time::sleep};

use crate::{
    article::Article,
    broker::{TOPIC, WatchedTasks},
    counters::Counters,
    outage::Outage,
    shutdown::Drain,
};

type NewsProducer = FutureProducer<DefaultClientContext, WatchedTasks>;

/// Sends that may wait for the broker's answer at once. Beyond it the queue fills and the fetcher waits.
const OUTSTANDING: usize = 64;

/// How long a full queue of librdkafka is waited for; with so few outstanding sends it is never full.
const QUEUE_PATIENCE: Duration = Duration::from_secs(1);

/// How long the last deliveries may take during a drain. Must leave time for the rest of it.
const LAST_DELIVERIES: Duration = Duration::from_secs(2);

pub(crate) async fn run(
    mut config: ClientConfig,
    mut to_publish: mpsc::Receiver<Article>,
    counters: Arc<Counters>,
    drain: Drain,
) -> anyhow::Result<()> {
    // Idempotence brings `acks=all` and retries. While the broker is away, sends wait (up to librdkafka's
    // five minutes), the queue fills and the fetcher waits too, so an outage shorter than that loses nothing.
    config.set("enable.idempotence", "true").set("linger.ms", "5");
    let producer: NewsProducer =
        tokio::task::spawn_blocking(move || config.create()).await?.context("cannot make the Kafka producer")?;

    let all_decided = publish_all(&producer, &mut to_publish, &counters);
    let out_of_time = async {
        drain.requested().await;
        sleep(LAST_DELIVERIES).await;
    };
    tokio::select! {
        () = all_decided => {}
        () = out_of_time => {}
    }
    let undelivered = usize::try_from(producer.in_flight_count())? + to_publish.len();
    // Nothing is outstanding in the normal case, and then this takes no time.
    tokio::task::spawn_blocking(move || drop(producer)).await?;
    ensure!(
        undelivered == 0,
        "Kafka did not confirm {undelivered} articles before the stop; the next start fetches them again"
    );
    Ok(())
}

async fn publish_all(producer: &NewsProducer, to_publish: &mut mpsc::Receiver<Article>, counters: &Counters) {
    let outage = Outage::of("the Kafka producer");
    stream::poll_fn(|context| to_publish.poll_recv(context))
        .map(|article| publish(producer, article))
        .buffer_unordered(OUTSTANDING)
        .for_each(|outcome| {
            match outcome {
                Ok(()) => {
                    Counters::add_one(&counters.produced);
                    outage.worked();
                }
                Err(error) => {
                    Counters::add_one(&counters.errors);
                    outage.failed(&format_args!("an article was not delivered ({error:#})"));
                }
            }
            ready(())
        })
        .await;
}

async fn publish(producer: &NewsProducer, article: Article) -> anyhow::Result<()> {
    let payload = serde_json::to_vec(&article)?;
    let record = FutureRecord::to(TOPIC).key(&article.id).payload(&payload);
    match producer.send(record, QUEUE_PATIENCE).await {
        Ok(_) => Ok(()),
        Err((error, _)) => Err(error.into()),
    }
}
