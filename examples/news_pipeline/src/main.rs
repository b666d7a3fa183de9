//! The reference service: a small real-time news pipeline, watched by holdup.
//!
//! Feeds are fetched over HTTP, published to the Kafka topic `latest-news`, consumed into a bounded
//! newest-first cache, and served as JSON. It runs anywhere: feed server and broker are inside the
//! process unless real ones are named. `--fault NAME` switches on a real mistake that holdup then reports.
//!
//! ```console
//! $ cargo run --release -p news_pipeline -- --fault sleep --for 10s
//! ```
//! The report on stderr names `sleep_in_handler`, its line, and the remedy.

// In the order of the data flow: from a feed to the response.
mod options;

mod ingest_options;

mod api_options;

mod build_info;

mod broker_options;

mod operations;

mod commands;

mod load;

mod console;

mod scrape;

mod logs;

mod shutdown;

mod service;

mod article;

mod feed_server;

mod fetcher;

mod body_limit;

mod broker;

mod topics;

mod producer;

mod consumer;

mod dead_letters;

mod numbered;

mod cache;

mod counters;

mod broker_counters;

mod outage;

mod api;

mod readers;

mod http_client;

mod faults;

mod churn;

use std::{process::ExitCode, time::Duration};

use anyhow::{Context, anyhow, ensure};
use clap::Parser;

use crate::{
    options::{Options, Switch},
    service::Service,
};

/// Samples who allocates, once a profile of the heap is asked for.
#[global_allocator]
static ALLOCATOR: holdup::heap::Allocator = holdup::heap::Allocator::system();

/// Time limit for blocking calls of libraries after all tasks of the service have ended.
const RUNTIME_GRACE: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let options = Options::parse();
    if options.lists_faults() {
        print!("{}", faults::table());
        return ExitCode::SUCCESS;
    }
    let outcome = match &options.command {
        Some(command) => command.run(),
        None => run(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> anyhow::Result<()> {
    let (console_layer, console) = console::listen(options.console())?;
    let print = logs::start(console_layer, options.operations.logs)?;
    // Everything that may block happens here, before there are workers.
    let service = Service::prepare(options)?;
    if options.watch == Switch::Off {
        ensure!(!options.operations.churn, "--churn makes runtimes that are watched: leave --watch on");
        let runtime = options.runtime().build().context("cannot start the runtime")?;
        let drain = shutdown::supervise(&options.operations, options.expects_stuck_worker())?;
        service.announce(None, console);
        let outcome = runtime.block_on(service.run(drain));
        runtime.shutdown_timeout(RUNTIME_GRACE);
        return outcome;
    }
    let caught = churn::caught_signals();
    let watch = holdup::Watch::builder()
        .threshold(options.threshold)
        .listen(&options.diagnostics)
        .print(print)
        .start()
        .with_context(|| {
            format!("cannot watch with diagnostics at {} (--diagnostics chooses the address)", options.diagnostics)
        })?;
    let runtime = watch.runtime(&mut options.runtime())?;
    let drain = shutdown::supervise(&options.operations, options.expects_stuck_worker())?;
    service.announce(watch.endpoint(), console);
    let outcome = std::thread::scope(|scope| {
        let churn = options.operations.churn.then(|| scope.spawn(|| churn::run(&watch, &drain)));
        let outcome = runtime.block_on(service.run(drain.clone()));
        let churned = churn.map_or(Ok(()), |churn| churn.join().unwrap_or_else(|_| Err(anyhow!("the churn panicked"))));
        outcome.and(churned)
    });
    runtime.shutdown_timeout(RUNTIME_GRACE);
    drop(watch);
    if options.operations.churn {
        churn::check_signals(caught)?;
    }
    outcome
}
