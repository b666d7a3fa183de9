//! Single parts of the pipeline as commands: for tests that kill one of them, and for measurements.
//!
//! Without a command, the program is the whole service.

mod broker;

mod consume;

mod produce;

use std::time::Duration;

use anyhow::Context;
use clap::Subcommand;

use crate::{
    load::LoadCommand,
    logs,
    operations::OperationsOptions,
    scrape::ScrapeCommand,
    shutdown::{self, Drain},
};

/// Time limit for blocking calls of libraries after all tasks of the service have ended.
const RUNTIME_GRACE: Duration = Duration::from_secs(1);

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Run the development broker alone until a signal, and print its address
    Broker(broker::BrokerCommand),

    /// Publish numbered articles
    Produce(produce::ProduceCommand),

    /// Consume articles as a member of the group, and record their ids
    Consume(consume::ConsumeCommand),

    /// Measure throughput and latency of producer, consumer and API
    Load(LoadCommand),

    /// Print the titles of many pages, one line each
    Scrape(ScrapeCommand),
}

impl Command {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        match self {
            Self::Broker(command) => command.run(),
            Self::Produce(command) => command.run(),
            Self::Consume(command) => command.run(),
            Self::Load(command) => command.run(),
            Self::Scrape(command) => command.run(),
        }
    }
}

/// Runs a command on its own runtime, with the logs and signals of the service.
pub(crate) fn block_on<F>(operations: &OperationsOptions, command: impl FnOnce(Drain) -> F) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>>,
{
    logs::start(None, operations.logs)?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the runtime")?;
    let drain = shutdown::supervise(operations, false)?;
    let outcome = runtime.block_on(command(drain));
    runtime.shutdown_timeout(RUNTIME_GRACE);
    outcome
}
