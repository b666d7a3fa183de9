//! `produce`: publishes numbered articles at full speed or at a given rate.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::ensure;
use clap::Args;
use futures_util::{StreamExt, stream};

use crate::{
    broker::Broker, broker_options::BrokerOptions, commands::block_on, counters::Counters, numbered,
    operations::OperationsOptions, producer::Publisher, shutdown::Drain, topics,
};

#[derive(Args, Debug)]
pub(crate) struct ProduceCommand {
    /// How many articles
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    count: u64,

    /// Number of the first one
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=1_000_000_000))]
    from: u64,

    /// Limit of articles per second; by default, the speed of the broker
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    rate: Option<u32>,

    #[command(flatten, next_help_heading = "Kafka")]
    broker: BrokerOptions,

    #[command(flatten, next_help_heading = "Operations")]
    operations: OperationsOptions,
}

impl ProduceCommand {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let broker = Broker::choose(&self.broker)?;
        block_on(&self.operations, |drain| self.produce(broker, drain))
    }

    async fn produce(&self, broker: Broker, drain: Drain) -> anyhow::Result<()> {
        let config = broker.client_config();
        let counters = Arc::new(Counters::starting_now());
        topics::ready(config.clone(), self.broker.clone()).await?;
        let config = self.broker.configure_producer(config);
        let publisher = Publisher::connect(config, &self.broker, Arc::clone(&counters)).await?;
        let started = Instant::now();
        let mut confirmed: u64 = 0;
        let articles = stream::iter(self.from..self.from.saturating_add(self.count))
            .then(|number| async move {
                self.wait_for_turn(started, number).await;
                numbered::article(number)
            })
            .take_until(drain.requested());
        publisher.publish_all(articles, |_| confirmed += 1).await?;
        let seconds = started.elapsed().as_secs_f64();
        publisher.close().await?;
        println!("published    {confirmed} articles in {seconds:.3} s, {:.0} a second", rate(confirmed, seconds));
        ensure!(confirmed == self.count, "{} of {} articles were not published", self.count - confirmed, self.count);
        Ok(())
    }

    async fn wait_for_turn(&self, started: Instant, number: u64) {
        let Some(rate) = self.rate else { return };
        let due = started + Duration::from_secs_f64((number - self.from) as f64 / f64::from(rate));
        // Tokio's timer has a resolution of a millisecond; instead of a shorter pause, the next article is early.
        if due.saturating_duration_since(Instant::now()) >= Duration::from_millis(1) {
            tokio::time::sleep_until(due.into()).await;
        }
    }
}

/// A count per second.
fn rate(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}
