//! `broker`: the embedded development broker in a separate process.

use anyhow::ensure;
use clap::Args;

use crate::{broker::Broker, broker_options::BrokerOptions, commands::block_on, operations::OperationsOptions};

#[derive(Args, Debug)]
pub(crate) struct BrokerCommand {
    #[command(flatten, next_help_heading = "Kafka")]
    broker: BrokerOptions,

    #[command(flatten, next_help_heading = "Operations")]
    operations: OperationsOptions,
}

impl BrokerCommand {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        ensure!(
            self.broker.bootstrap_servers().is_none(),
            "`broker` starts a broker of its own; leave --bootstrap-servers and KAFKA_BOOTSTRAP_SERVERS out"
        );
        let broker = Broker::choose(&self.broker)?;
        println!("broker       {}", broker.bootstrap_servers());
        println!("limits       {}", broker.describe());
        block_on(&self.operations, |drain| async {
            drain.requested().await;
            Ok(())
        })
    }
}
