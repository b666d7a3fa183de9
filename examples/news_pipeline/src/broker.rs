//! The Kafka broker: an embedded one for development, or the named real one.
//!
//! All other code gets a bootstrap address, which is the same for both.

use std::{ptr::NonNull, time::Duration};

use anyhow::{Context, anyhow};
use rdkafka::{
    ClientConfig, bindings,
    producer::{BaseProducer, Producer},
    util::AsyncRuntime,
};

use crate::{broker_options::BrokerOptions, topics::TOPICS};

/// The embedded broker drops the oldest messages of a partition beyond this many bytes, without an error. Eight
/// partitions hold 40 MiB, more than the backlog of any running consumer.
pub(crate) const EMBEDDED_RETENTION: u64 = 5 * 1024 * 1024;

/// Fewer could not hold the backlog of a starting consumer.
const EMBEDDED_PARTITIONS_MIN: i32 = 8;

pub(crate) enum Broker {
    Embedded(EmbeddedBroker),
    Real { bootstrap_servers: String },
}

impl Broker {
    pub(crate) fn choose(options: &BrokerOptions) -> anyhow::Result<Self> {
        options.check()?;
        match options.bootstrap_servers() {
            Some(list) => Ok(Self::Real { bootstrap_servers: list.to_owned() }),
            None => {
                let partitions = options.partitions().max(EMBEDDED_PARTITIONS_MIN);
                let broker = EmbeddedBroker::start(partitions).context("cannot start the embedded broker")?;
                Ok(Self::Embedded(broker))
            }
        }
    }

    /// The guaranteed capacity in bytes, if it is limited by memory.
    pub(crate) fn retention(&self) -> Option<u64> {
        match self {
            Self::Embedded(broker) => Some(EMBEDDED_RETENTION * u64::from(broker.partitions.unsigned_abs())),
            Self::Real { .. } => None,
        }
    }

    /// The client settings that select this broker. Each client adds its own.
    pub(crate) fn client_config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.bootstrap_servers());
        config
    }

    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Embedded(broker) => format!(
                "embedded in this process at {}, {} partitions; for development: keeps {} MiB a partition and drops \
                 what is older, nothing on disk, no topic administration (a real one: --bootstrap-servers)",
                broker.bootstrap_servers,
                broker.partitions,
                EMBEDDED_RETENTION / (1024 * 1024)
            ),
            Self::Real { bootstrap_servers } => format!("Kafka at {bootstrap_servers}"),
        }
    }

    pub(crate) fn bootstrap_servers(&self) -> &str {
        match self {
            Self::Embedded(broker) => &broker.bootstrap_servers,
            Self::Real { bootstrap_servers } => bootstrap_servers,
        }
    }
}

/// librdkafka's mock broker. It lives as long as the client that owns it. Dropping it blocks.
pub(crate) struct EmbeddedBroker {
    bootstrap_servers: String,
    partitions: i32,
    _owner: BaseProducer,
}

impl EmbeddedBroker {
    fn start(partitions: i32) -> anyhow::Result<Self> {
        let owner: BaseProducer = ClientConfig::new().set("test.mock.num.brokers", "1").create()?;
        let cluster = owner.client().mock_cluster().ok_or_else(|| anyhow!("librdkafka started no embedded cluster"))?;
        for topic in TOPICS {
            cluster.create_topic(topic, partitions, 1)?;
        }
        let bootstrap_servers = cluster.bootstrap_servers();
        drop(cluster);
        let_groups_start_at_once(&owner)?;
        Ok(Self { bootstrap_servers, partitions, _owner: owner })
    }
}

/// Removes the initial delay of groups: the embedded broker waits 3 s for more members, and rdkafka's safe
/// interface cannot change that.
#[expect(unsafe_code, reason = "rdkafka exposes this setting in its raw bindings only")]
fn let_groups_start_at_once(owner: &BaseProducer) -> anyhow::Result<()> {
    let client = owner.client().native_ptr();
    // SAFETY: `client` belongs to `owner`, which is borrowed until the end of this function.
    let cluster = unsafe { bindings::rd_kafka_handle_mock_cluster(client) };
    let cluster = NonNull::new(cluster).ok_or_else(|| anyhow!("librdkafka lost its embedded cluster"))?;
    // SAFETY: the cluster lives as long as the client that started it, which `owner` keeps alive, and
    // librdkafka takes the cluster's own lock for this call.
    unsafe { bindings::rd_kafka_mock_group_initial_rebalance_delay_ms(cluster.as_ptr(), 0) };
    Ok(())
}

/// Spawns rdkafka's own tasks with a name, so that reports can show them.
pub(crate) struct WatchedTasks;

impl AsyncRuntime for WatchedTasks {
    type Delay = tokio::time::Sleep;

    fn spawn<T>(task: T)
    where
        T: Future<Output = ()> + Send + 'static,
    {
        holdup::spawn_named("rdkafka wake loop", task);
    }

    fn delay_for(duration: Duration) -> Self::Delay {
        tokio::time::sleep(duration)
    }
}
