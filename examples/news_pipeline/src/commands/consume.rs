//! `consume`: a member of the group. It writes the id of every article to a file before it commits the offset.
//!
//! A test compares the file with the published ids. An id that is committed but not in the file is lost.

use std::{path::PathBuf, sync::Arc};

use anyhow::Context;
use clap::Args;
use tokio::{fs::File, io::AsyncWriteExt, sync::Mutex};

use crate::{
    article::Article,
    broker::Broker,
    broker_options::BrokerOptions,
    commands::block_on,
    consumer::{self, Shelf},
    counters::Counters,
    operations::OperationsOptions,
};

#[derive(Args, Debug)]
pub(crate) struct ConsumeCommand {
    /// File for the ids, appended one per line
    #[arg(long, value_name = "FILE")]
    record: PathBuf,

    #[command(flatten, next_help_heading = "Kafka")]
    broker: BrokerOptions,

    #[command(flatten, next_help_heading = "Operations")]
    operations: OperationsOptions,
}

impl ConsumeCommand {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let broker = Broker::choose(&self.broker)?;
        block_on(&self.operations, |drain| async move {
            let record = Record::append_to(&self.record).await?;
            let counters = Arc::new(Counters::starting_now());
            let options = self.broker.clone();
            consumer::run(broker.client_config(), options, record, Arc::clone(&counters), drain).await?;
            println!("consumed     {} articles", counters.consumed_so_far());
            Ok(())
        })
    }
}

/// The file. `take` returns after the kernel has the id, so that the id survives any end of this process.
struct Record(Mutex<File>);

impl Record {
    async fn append_to(path: &PathBuf) -> anyhow::Result<Self> {
        let file = File::options().create(true).append(true).open(path).await;
        Ok(Self(Mutex::new(file.with_context(|| format!("cannot write to {} (--record)", path.display()))?)))
    }
}

impl Shelf for Record {
    async fn take(&self, article: Article) -> anyhow::Result<()> {
        let mut file = self.0.lock().await;
        file.write_all(format!("{}\n", article.id).as_bytes()).await.context("the record cannot be written")?;
        file.flush().await.context("the record cannot be written")
    }
}
