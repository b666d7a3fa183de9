//! `load`: drives producer, consumer and API, and prints throughput and latency percentiles.
//!
//! In an open loop, requests are due at a fixed rate, independent of earlier responses, and latency counts from the due
//! time. So a stall counts for all delayed requests, not only for one per connection.

mod latency;

mod measurement;

mod messages;

mod requests;

mod schedule;

use std::time::Duration;

use anyhow::{anyhow, ensure};
use clap::{Args, ValueEnum};
use reqwest::Url;

use crate::{
    broker::Broker,
    broker_options::BrokerOptions,
    commands::block_on,
    load::{measurement::Measurement, requests::ApiLoad},
    operations::OperationsOptions,
    options::pause,
    shutdown::Drain,
};

/// Upper bound in bytes of a numbered article with its key and Kafka's own fields.
const ARTICLE_SIZE_MAX: u64 = 350;

#[derive(Args, Debug)]
pub(crate) struct LoadCommand {
    /// The part that is driven
    #[arg(value_name = "WHAT", default_value = "producer")]
    what: What,

    /// Articles to publish, or to consume
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    messages: u64,

    /// Page of a running service to request
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080/latest-news", value_parser = page)]
    url: Url,

    /// Requests per second, in an open loop; by default, each connection waits for its response
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: Option<u32>,

    /// Connections to the API
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    connections: u16,

    /// Duration of the load on the API
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = pause)]
    duration: Duration,

    /// Print JSON
    #[arg(long)]
    json: bool,

    #[command(flatten, next_help_heading = "Kafka")]
    broker: BrokerOptions,

    #[command(flatten, next_help_heading = "Operations")]
    operations: OperationsOptions,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum What {
    /// Publish articles
    Producer,
    /// Publish articles, then consume them
    Consumer,
    /// Request the news of a running service
    Api,
    /// Publish and consume articles while requesting the news of a running service
    All,
}

impl LoadCommand {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let broker = if self.what == What::Api { None } else { Some(self.broker_with_room()?) };
        block_on(&self.operations, |drain| self.measure(broker, drain))
    }

    /// Checks the capacity: the embedded broker would drop further messages without an error.
    fn broker_with_room(&self) -> anyhow::Result<Broker> {
        let broker = Broker::choose(&self.broker)?;
        if let Some(retention) = broker.retention() {
            let most = retention / ARTICLE_SIZE_MAX;
            ensure!(
                self.messages <= most,
                "the embedded broker has room for {most} articles, not for {} (--messages, or --bootstrap-servers for \
                 a real one)",
                self.messages
            );
        }
        Ok(broker)
    }

    async fn measure(&self, broker: Option<Broker>, drain: Drain) -> anyhow::Result<()> {
        let measurements = match self.what {
            What::Producer | What::Consumer => self.drive_broker(broker, drain).await?,
            What::Api => vec![self.api_load().measure(drain).await?],
            What::All => {
                let load = self.api_load();
                let (messages, requests) =
                    tokio::try_join!(self.drive_broker(broker, drain.clone()), load.measure(drain))?;
                messages.into_iter().chain([requests]).collect()
            }
        };
        print(&measurements, self.json)
    }

    async fn drive_broker(&self, broker: Option<Broker>, drain: Drain) -> anyhow::Result<Vec<Measurement>> {
        let broker = broker.ok_or_else(|| anyhow!("this load needs a broker"))?;
        let produced = messages::produce(&broker, &self.broker, self.messages, drain.clone()).await?;
        if self.what == What::Producer {
            return Ok(vec![produced]);
        }
        let consumed = messages::consume(&broker, &self.broker, self.messages, drain).await?;
        Ok(vec![produced, consumed])
    }

    fn api_load(&self) -> ApiLoad {
        ApiLoad { url: self.url.clone(), rate: self.rate, connections: self.connections, duration: self.duration }
    }
}

fn print(measurements: &[Measurement], json: bool) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(measurements)?);
        return Ok(());
    }
    for measurement in measurements {
        print!("{measurement}");
    }
    Ok(())
}

fn page(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("{error}; write an address such as http://127.0.0.1:8080/"))?;
    if url.scheme() != "http" || url.host_str().is_none() {
        return Err("only pages at http:// can be asked for".to_owned());
    }
    Ok(url)
}
