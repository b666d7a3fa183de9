//! The topics, and their creation on brokers that do not create topics automatically.
//!
//! An unavailable broker is contacted again until it answers. Nothing is published or read before.

use std::time::Duration;

use anyhow::{Context, anyhow};
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    error::RDKafkaErrorCode,
};
use tracing::info;

use crate::{broker_options::BrokerOptions, outage::Outage};

/// The topic of articles.
pub(crate) const TOPIC: &str = "latest-news";

/// The topic of messages that are no articles, each with the reason.
pub(crate) const DEAD_LETTERS: &str = "latest-news-dead";

pub(crate) const TOPICS: [&str; 2] = [TOPIC, DEAD_LETTERS];

/// Time limit for an answer of the broker.
const PATIENCE: Duration = Duration::from_secs(5);

const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(500);

/// Creates the missing topics, and waits until the broker has all of them.
pub(crate) async fn ready(config: ClientConfig, options: BrokerOptions) -> anyhow::Result<()> {
    let outage = Outage::of("the topics");
    let admin: AdminClient<DefaultClientContext> = tokio::task::spawn_blocking(move || config.create())
        .await?
        .context("cannot make the Kafka administration client")?;
    let mut admin = admin;
    loop {
        let missing;
        (admin, missing) = ask_for_missing(admin).await?;
        let outcome = match missing {
            Ok(missing) if missing.is_empty() => break,
            Ok(missing) => create(&admin, &missing, &options).await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(()) => info!("the missing topics were created"),
            Err(error) => {
                outage.failed(&format_args!("{error:#}"));
                tokio::time::sleep(PAUSE_AFTER_ERROR).await;
            }
        }
    }
    outage.worked();
    // Ends the client's thread, which blocks for a moment.
    tokio::task::spawn_blocking(move || drop(admin)).await?;
    Ok(())
}

type Admin = AdminClient<DefaultClientContext>;

/// The metadata call blocks, so it runs on the blocking pool.
async fn ask_for_missing(admin: Admin) -> anyhow::Result<(Admin, anyhow::Result<Vec<&'static str>>)> {
    let asked = tokio::task::spawn_blocking(move || {
        let missing = missing(&admin);
        (admin, missing)
    });
    Ok(asked.await?)
}

fn missing(admin: &Admin) -> anyhow::Result<Vec<&'static str>> {
    // Requests all topics, because a request for one name may create that topic with the broker's defaults.
    let metadata = admin.inner().fetch_metadata(None, PATIENCE).context("the broker does not list its topics")?;
    let is_there = |name: &&str| metadata.topics().iter().any(|topic| topic.name() == *name);
    Ok(TOPICS.into_iter().filter(|name| !is_there(name)).collect())
}

async fn create(admin: &Admin, missing: &[&str], options: &BrokerOptions) -> anyhow::Result<()> {
    let replication = || TopicReplication::Fixed(options.replication());
    let topics: Vec<NewTopic<'_>> =
        missing.iter().map(|name| NewTopic::new(name, options.partitions(), replication())).collect();
    let limits = AdminOptions::new().request_timeout(Some(PATIENCE)).operation_timeout(Some(PATIENCE));
    for outcome in admin.create_topics(&topics, &limits).await.context("the broker creates no topics")? {
        match outcome {
            // Another client created it first.
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, code)) => {
                return Err(anyhow!(
                    "the broker did not create {topic} ({code}); create it by hand, or see --replication"
                ));
            }
        }
    }
    Ok(())
}
