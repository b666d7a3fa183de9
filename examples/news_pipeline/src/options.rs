//! The options, by flag or environment variable. A flag wins.
//!
//! All values are checked here, so that the rest of the service gets valid ones.

use std::{num::NonZeroUsize, time::Duration};

use clap::{Parser, ValueEnum};

use crate::{
    api_options::ApiOptions, broker_options::BrokerOptions, commands::Command, faults::Fault,
    ingest_options::IngestOptions, operations::OperationsOptions,
};

/// A news pipeline watched by holdup: feeds → Kafka → cache → HTTP API.
#[derive(Parser, Debug)]
#[command(name = "news_pipeline", args_conflicts_with_subcommands = true)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    /// Address of holdup's diagnostics; port 0 picks a free one
    #[arg(long, env = "NEWS_DIAGNOSTICS", value_name = "ADDR", default_value = "127.0.0.1:6060")]
    pub(crate) diagnostics: String,

    /// Address for tokio-console; port 0 picks a free one; only in builds with `--features console`
    #[arg(long, env = "NEWS_CONSOLE", value_name = "ADDR")]
    console: Option<String>,

    /// Simulated readers of /latest-news; 0 switches them off
    #[arg(long, env = "NEWS_READERS", value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(..=1000))]
    pub(crate) readers: u16,

    /// Pause of a reader between two requests
    #[arg(long, env = "NEWS_READER_INTERVAL", value_name = "TIME", default_value = "200ms", value_parser = pause)]
    pub(crate) reader_interval: Duration,

    /// Real mistake to switch on, repeatable (separated by commas in the variable); `list` explains them
    #[arg(long = "fault", env = "NEWS_FAULT", value_name = "NAME", value_delimiter = ',', value_parser = fault)]
    faults: Vec<FaultChoice>,

    /// Whether holdup watches; off, to measure its cost
    #[arg(long, env = "NEWS_WATCH", value_name = "SWITCH", default_value = "on")]
    pub(crate) watch: Switch,

    /// How long one poll may hold a worker before holdup reports it
    #[arg(long, env = "NEWS_THRESHOLD", value_name = "TIME", default_value = "10ms", value_parser = pause)]
    pub(crate) threshold: Duration,

    /// Flavor of the Tokio runtime
    #[arg(long, env = "NEWS_RUNTIME", value_name = "KIND", default_value = "multi-thread")]
    runtime: RuntimeKind,

    /// Worker threads of the multi-thread runtime; by default, one per CPU
    #[arg(long, env = "NEWS_WORKERS", value_name = "N", value_parser = workers)]
    workers: Option<NonZeroUsize>,

    #[command(flatten, next_help_heading = "News API")]
    pub(crate) api: ApiOptions,

    #[command(flatten, next_help_heading = "Feeds")]
    pub(crate) ingest: IngestOptions,

    #[command(flatten, next_help_heading = "Kafka")]
    pub(crate) broker: BrokerOptions,

    #[command(flatten, next_help_heading = "Operations")]
    pub(crate) operations: OperationsOptions,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum RuntimeKind {
    MultiThread,
    CurrentThread,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Switch {
    On,
    Off,
}

#[derive(Clone, Copy, Debug)]
enum FaultChoice {
    List,
    Commit(&'static Fault),
}

impl Options {
    pub(crate) fn lists_faults(&self) -> bool {
        self.faults.iter().any(|choice| matches!(choice, FaultChoice::List))
    }

    /// The address for tokio-console, if any. An empty variable counts as none.
    pub(crate) fn console(&self) -> Option<&str> {
        self.console.as_deref().filter(|address| !address.trim().is_empty())
    }

    /// The faults to commit, each once, in the given order.
    pub(crate) fn faults(&self) -> Vec<&'static Fault> {
        let mut chosen: Vec<&'static Fault> = Vec::new();
        for choice in &self.faults {
            if let FaultChoice::Commit(fault) = choice
                && !chosen.iter().any(|known| known.name == fault.name)
            {
                chosen.push(fault);
            }
        }
        chosen
    }

    pub(crate) fn expects_stuck_worker(&self) -> bool {
        self.faults().iter().any(|fault| fault.holds_worker_forever)
    }

    /// The usual builder of a runtime. holdup adds itself to it.
    pub(crate) fn runtime(&self) -> tokio::runtime::Builder {
        let mut builder = match self.runtime {
            RuntimeKind::MultiThread => tokio::runtime::Builder::new_multi_thread(),
            RuntimeKind::CurrentThread => tokio::runtime::Builder::new_current_thread(),
        };
        if self.runtime == RuntimeKind::MultiThread
            && let Some(workers) = self.workers
        {
            builder.worker_threads(workers.get());
        }
        // Reports show this name of the runtime.
        builder.name("news").enable_all();
        builder
    }
}

/// Parses a duration within bounds.
pub(crate) fn limit(text: &str, least: Duration, most: Duration) -> Result<Duration, String> {
    let time =
        humantime::parse_duration(text).map_err(|error| format!("{error}; write a time such as 250ms, 10s or 2m"))?;
    if !(least..=most).contains(&time) {
        return Err(format!("the time must be between {least:?} and {most:?}"));
    }
    Ok(time)
}

pub(crate) fn pause(text: &str) -> Result<Duration, String> {
    let time =
        humantime::parse_duration(text).map_err(|error| format!("{error}; write a time such as 250ms, 10s or 2m"))?;
    if time.is_zero() {
        return Err("the time must be longer than zero".to_owned());
    }
    Ok(time)
}

fn workers(text: &str) -> Result<NonZeroUsize, String> {
    match text.parse::<NonZeroUsize>() {
        Ok(workers) if workers.get() <= 1024 => Ok(workers),
        _ => Err("a runtime needs between 1 and 1024 workers; leave --workers out for one per core".to_owned()),
    }
}

fn fault(name: &str) -> Result<FaultChoice, String> {
    if name == "list" {
        return Ok(FaultChoice::List);
    }
    match Fault::named(name) {
        Some(fault) => Ok(FaultChoice::Commit(fault)),
        None => Err(format!(
            "there is no such fault; choose one of {}, or `list` for what they do",
            Fault::names().join(", ")
        )),
    }
}
