//! The composition root: creates the parts, connects them, and stops them in order.

use std::{
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use holdup::EndpointAddress;
use tokio::{sync::mpsc, task::JoinHandle};
use tracing::info;

use crate::{
    api::{self, Api},
    article::Article,
    broker::Broker,
    broker_options::BrokerOptions,
    build_info,
    cache::Cache,
    consumer,
    counters::Counters,
    faults::ArmedFaults,
    feed_server::{self, FeedServer},
    fetcher::{self, Fetcher, Source, Sources},
    http_client,
    options::Options,
    producer,
    readers::{self, Readers},
    shutdown::Drain,
};

/// Capacity of the queue between fetcher and producer. When it is full, the fetcher waits for the broker, so
/// nothing is lost and memory stays flat.
const FETCHED_QUEUE: usize = 256;

/// The parts of the service, created before the runtime.
pub(crate) struct Service {
    api: Api,
    api_listener: TcpListener,
    feed_server: Option<FeedServer>,
    fetcher: Fetcher,
    broker: Broker,
    broker_options: BrokerOptions,
    /// Time limit of a drain for the last deliveries.
    flush_limit: Duration,
    readers: Readers,
}

impl Service {
    /// Binds, loads certificates and starts the embedded broker. All of this blocks, so it happens before there are workers.
    pub(crate) fn prepare(options: &Options) -> anyhow::Result<Self> {
        let counters = Arc::new(Counters::starting_now());
        let address = &options.api.api;
        let api_listener = bind(address).with_context(|| {
            format!("cannot serve the news API at {address} (--api chooses the address, such as 127.0.0.1:8080)")
        })?;
        let api_address = api_listener.local_addr()?;
        fetcher::warm_up().context("the feed parser does not work")?;
        let (feed_server, sources) = if options.ingest.feeds.is_empty() {
            let server = FeedServer::bind().context("cannot start the embedded feed server")?;
            let sources = server.sources(&options.ingest.odd_feeds)?;
            (Some(server), sources)
        } else {
            (None, options.ingest.feeds.iter().map(Source::of).collect())
        };
        let sources: Sources = sources.into_iter().map(Arc::new).collect();
        let feed_client = if feed_server.is_some() { http_client::local()? } else { http_client::internet()? };
        Ok(Self {
            api: Api {
                cache: Arc::new(Cache::of_size(options.api.cache_size)),
                counters: Arc::clone(&counters),
                faults: ArmedFaults::arm(&options.faults(), options.threshold)?,
                sources: Arc::clone(&sources),
                limits: (&options.api).into(),
            },
            api_listener,
            fetcher: Fetcher::new(feed_client, sources, (&options.ingest).into(), counters),
            feed_server,
            broker: Broker::choose(&options.broker)?,
            broker_options: options.broker.clone(),
            flush_limit: options.operations.flush_limit(),
            readers: Readers {
                client: http_client::local()?,
                page: readers::page(api_address)?,
                count: options.readers,
                interval: options.reader_interval,
            },
        })
    }

    /// Prints the addresses and the build on stdout, separate from the logs.
    pub(crate) fn announce(&self, diagnostics: Option<&EndpointAddress>, console: Option<SocketAddr>) {
        println!("build        {}", build_info::describe());
        println!("news         {}", self.readers.page);
        if let Some(address) = diagnostics {
            println!("diagnostics  {address}/  (stalls: {address}/debug/holdup/stalls)");
        }
        if let Some(address) = console {
            println!("console      http://{address}  (tokio-console http://{address})");
        }
        println!("feeds        {}", self.fetcher.describe());
        println!("broker       {}", self.broker.describe());
        println!("publishing   {}", self.broker_options.describe_publishing());
        println!("readers      {}", self.readers.describe());
        println!("faults       {}", self.api.faults.describe());
    }

    /// Runs until the drain is complete. Each part is a task with a name for reports.
    pub(crate) async fn run(self, drain: Drain) -> anyhow::Result<()> {
        let Self { api, api_listener, feed_server, fetcher, broker, broker_options, flush_limit, readers } = self;
        let (fetched, to_publish) = mpsc::channel::<Article>(FETCHED_QUEUE);
        let counters = Arc::clone(&api.counters);
        let cache = Arc::clone(&api.cache);

        let config = broker.client_config();
        let (options, counted) = (broker_options.clone(), Arc::clone(&counters));
        let producing = producer::run(config.clone(), options, to_publish, counted, flush_limit, drain.clone());
        let producer = holdup::spawn_named("publish", producing);
        let consuming = consumer::run(config, broker_options, cache, counters, drain.clone());
        let consumer = holdup::spawn_named("consume", consuming);
        let feeds = holdup::spawn_named("feed server", feed_server::run_if_any(feed_server, drain.clone()));
        let fetcher = holdup::spawn_named("ingest", fetcher.run(fetched, drain.clone()));
        let api = holdup::spawn_named("api", api::serve(api, api_listener, drain.clone()));
        let readers = holdup::spawn_named("readers", readers.run(drain));

        // The first failing part ends the service. A drain ends all parts without an error.
        let outcome = tokio::try_join!(
            part("news API", api),
            part("consumer", consumer),
            part("producer", producer),
            part("fetcher", fetcher),
            part("feed server", feeds),
            part("readers", readers),
        );
        // Stops the embedded broker, which blocks for a moment. Nothing uses it any more.
        tokio::task::spawn_blocking(move || drop(broker)).await?;
        outcome?;
        info!("drained and stopped");
        Ok(())
    }
}

async fn part(name: &str, task: JoinHandle<anyhow::Result<()>>) -> anyhow::Result<()> {
    task.await
        .with_context(|| format!("the {name} stopped unexpectedly"))?
        .with_context(|| format!("the {name} failed"))
}

fn bind(address: &str) -> std::io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}
