//! Options of Kafka, by flag or environment variable, and the client settings derived from them.
//!
//! Parsing checks single values. [`BrokerOptions::check`] checks combinations.

use std::{num::NonZeroUsize, time::Duration};

use anyhow::ensure;
use bytesize::ByteSize;
use clap::{Args, ValueEnum};
use rdkafka::ClientConfig;

use crate::{
    ingest_options::size,
    options::{Switch, limit},
};

/// Long enough to fill batches, short enough for news. A producer that publishes one by one would pay it each time.
const LINGER_PIPELINED: Duration = Duration::from_millis(5);

/// The poll interval in session timeouts, enough to join a group. Processing one article takes far less.
const SESSIONS_TO_JOIN: u32 = 3;

#[derive(Args, Clone, Debug)]
pub(crate) struct BrokerOptions {
    /// Kafka brokers, "host:port,host:port"; by default, a development broker runs inside the process
    #[arg(long, env = "KAFKA_BOOTSTRAP_SERVERS", value_name = "LIST", value_parser = servers)]
    bootstrap_servers: Option<String>,

    /// Whether an article waits for the confirmation of the previous one
    #[arg(long, env = "NEWS_PUBLISH", value_name = "HOW", default_value = "pipelined")]
    publish: Publish,

    /// Limit of unconfirmed sends when pipelined; with the linger, it bounds the throughput
    #[arg(long, env = "NEWS_OUTSTANDING", value_name = "N", default_value = "10000", value_parser = outstanding)]
    outstanding: NonZeroUsize,

    /// How long a batch waits for more articles; by default 5ms when pipelined and 0ms one by one
    #[arg(long, env = "NEWS_LINGER", value_name = "TIME", value_parser = linger)]
    linger: Option<Duration>,

    /// Largest batch of articles, in bytes
    #[arg(long, env = "NEWS_BATCH_SIZE", value_name = "BYTES", default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    batch_size: u32,

    /// Largest article including its key and Kafka's own fields; larger ones are counted and skipped. Brokers have
    /// their own limit
    #[arg(long, env = "NEWS_MESSAGE_SIZE_LIMIT", value_name = "SIZE", default_value = "1MB", value_parser = message_size)]
    message_size_limit: usize,

    /// How batches are compressed
    #[arg(long, env = "NEWS_COMPRESSION", value_name = "CODEC", default_value = "none")]
    compression: Compression,

    /// Which replicas must have an article before it counts as published
    #[arg(long, env = "NEWS_ACKS", value_name = "WHO", default_value = "all")]
    acks: Acks,

    /// Whether the broker drops duplicates of retries; needs `--acks all`
    #[arg(long, env = "NEWS_IDEMPOTENCE", value_name = "SWITCH", default_value = "on")]
    idempotence: Switch,

    /// How long the client tries to deliver an article; afterward the failure is counted and the article is sent again
    #[arg(long, env = "NEWS_DELIVERY_TIMEOUT", value_name = "TIME", default_value = "60s", value_parser = delivery_timeout)]
    delivery_timeout: Duration,

    /// Consumer group; its members share the work
    #[arg(long, env = "NEWS_GROUP", value_name = "NAME", default_value = "news-cache", value_parser = group)]
    group: String,

    /// How long a member of the group keeps its partitions without a heartbeat
    #[arg(long, env = "NEWS_SESSION_TIMEOUT", value_name = "TIME", default_value = "10s", value_parser = session_timeout)]
    session_timeout: Duration,

    /// Pause between two commits; after a crash, articles since the last one are consumed again
    #[arg(long, env = "NEWS_COMMIT_INTERVAL", value_name = "TIME", default_value = "1s", value_parser = commit_interval)]
    commit_interval: Duration,

    /// Partitions of created topics
    #[arg(long, env = "NEWS_PARTITIONS", value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(i32).range(1..=1000))]
    partitions: i32,

    /// Replicas of each partition of created topics; 0 leaves the number to the broker
    #[arg(long, env = "NEWS_REPLICATION", value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(i32).range(0..=16))]
    replication: i32,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum Publish {
    /// Each article waits for the confirmation of the previous one
    OneByOne,
    /// Up to `--outstanding` articles wait for their confirmation at once
    Pipelined,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum Compression {
    None,
    Gzip,
    Snappy,
    Lz4,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum Acks {
    /// All in-sync replicas
    All,
    /// The leader of the partition
    Leader,
    /// None: lost articles are not noticed
    None,
}

impl BrokerOptions {
    /// Checks combinations of values. Called before anything is started.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        ensure!(
            self.idempotence == Switch::Off || self.acks == Acks::All,
            "--idempotence on needs --acks all, because only then the broker recognizes a repetition; \
             choose --acks all or --idempotence off"
        );
        ensure!(
            self.delivery_timeout > self.linger(),
            "--delivery-timeout {:?} is over before --linger {:?} lets a batch go; choose a longer delivery timeout",
            self.delivery_timeout,
            self.linger()
        );
        Ok(())
    }

    /// The real brokers, if any. An empty variable counts as none, because deployments often leave it empty.
    pub(crate) fn bootstrap_servers(&self) -> Option<&str> {
        self.bootstrap_servers.as_deref().filter(|list| !list.is_empty())
    }

    /// Limit of unconfirmed sends.
    pub(crate) fn outstanding(&self) -> usize {
        match self.publish {
            Publish::OneByOne => 1,
            Publish::Pipelined => self.outstanding.get(),
        }
    }

    pub(crate) fn partitions(&self) -> i32 {
        self.partitions
    }

    /// Replicas of each partition. In Kafka's protocol, -1 leaves the number to the broker.
    pub(crate) fn replication(&self) -> i32 {
        if self.replication == 0 { -1 } else { self.replication }
    }

    /// The same options for a new group, which has read nothing yet.
    pub(crate) fn with_group(&self, group: String) -> Self {
        Self { group, ..self.clone() }
    }

    /// Adds the settings of a producer.
    pub(crate) fn configure_producer(&self, mut config: ClientConfig) -> ClientConfig {
        config
            .set("enable.idempotence", if self.idempotence == Switch::On { "true" } else { "false" })
            .set("acks", self.acks.setting())
            .set("compression.type", self.compression.setting())
            .set("linger.ms", self.linger().as_millis().to_string())
            .set("batch.size", self.batch_size.to_string())
            .set("message.max.bytes", self.message_size_limit.to_string())
            .set("message.timeout.ms", self.delivery_timeout.as_millis().to_string());
        config
    }

    /// Adds the settings of a consumer in the group.
    pub(crate) fn configure_consumer(&self, mut config: ClientConfig) -> ClientConfig {
        config
            .set("group.id", &self.group)
            .set("auto.offset.reset", "earliest")
            // The code stores an offset after it has processed the article; only stored offsets are committed.
            .set("enable.auto.offset.store", "false")
            .set("auto.commit.interval.ms", self.commit_interval.as_millis().to_string())
            .set("session.timeout.ms", self.session_timeout.as_millis().to_string())
            // It is also the time limit for joining a group. If a restarting broker loses that request, the default of
            // five minutes would pass before the next attempt.
            .set("max.poll.interval.ms", (self.session_timeout * SESSIONS_TO_JOIN).as_millis().to_string())
            // It bounds the age of new articles. Readers would notice the default of 500 ms.
            .set("fetch.wait.max.ms", "50");
        config
    }

    /// The publishing options, for people.
    pub(crate) fn describe_publishing(&self) -> String {
        match self.publish {
            Publish::OneByOne => format!("one by one, linger {:?}", self.linger()),
            Publish::Pipelined => {
                format!("pipelined, at most {} outstanding, linger {:?}", self.outstanding, self.linger())
            }
        }
    }

    fn linger(&self) -> Duration {
        self.linger.unwrap_or(match self.publish {
            Publish::OneByOne => Duration::ZERO,
            Publish::Pipelined => LINGER_PIPELINED,
        })
    }
}

impl Compression {
    fn setting(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
        }
    }
}

impl Acks {
    fn setting(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Leader => "1",
            Self::None => "0",
        }
    }
}

/// A list of brokers in the format of Kafka clients. It is not contacted here.
fn servers(list: &str) -> Result<String, String> {
    let list = list.trim();
    if list.is_empty() {
        return Ok(String::new());
    }
    for server in list.split(',') {
        let Some((host, port)) = server.trim().rsplit_once(':') else {
            return Err(format!("{server:?} has no port; write host:port, such as 127.0.0.1:9092"));
        };
        if host.is_empty() || host.contains(char::is_whitespace) {
            return Err(format!("{server:?} names no host; write host:port, such as 127.0.0.1:9092"));
        }
        if !port.parse::<u16>().is_ok_and(|port| port > 0) {
            return Err(format!("{port:?} in {server:?} is no port; a port lies between 1 and 65535"));
        }
    }
    Ok(list.to_owned())
}

/// The accepted range of the client.
fn message_size(text: &str) -> Result<usize, String> {
    size(text, ByteSize::kb(1), ByteSize::gb(1))
}

/// 100 000 articles are about 25 MB. More would only use memory.
fn outstanding(text: &str) -> Result<NonZeroUsize, String> {
    match text.parse::<NonZeroUsize>() {
        Ok(count) if count.get() <= 100_000 => Ok(count),
        _ => Err("between 1 and 100000 sends may be outstanding".to_owned()),
    }
}

fn linger(text: &str) -> Result<Duration, String> {
    limit(text, Duration::ZERO, Duration::from_secs(60))
}

fn delivery_timeout(text: &str) -> Result<Duration, String> {
    limit(text, Duration::from_secs(1), Duration::from_secs(3600))
}

/// The accepted range of brokers by default.
fn session_timeout(text: &str) -> Result<Duration, String> {
    limit(text, Duration::from_secs(6), Duration::from_secs(300))
}

fn commit_interval(text: &str) -> Result<Duration, String> {
    limit(text, Duration::from_millis(10), Duration::from_secs(60))
}

fn group(name: &str) -> Result<String, String> {
    if name.trim().is_empty() || name.len() > 200 {
        return Err("a group has a name of 1 to 200 bytes".to_owned());
    }
    Ok(name.to_owned())
}
