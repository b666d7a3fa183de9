//! Ingest: follows every feed in a separate task, and passes new articles on.
//!
//! One source never stops the others: its failure is logged, counted, shown at `/sources`, and retried with
//! growing pauses. Concurrent fetches, their time and size, and the memory of known articles are bounded.

mod document;

mod download;

mod known;

mod source;

use std::{sync::Arc, time::Duration};

use backon::{BackoffBuilder, ExponentialBuilder};
use holdup::WatchFutureExt;
use reqwest::Client;
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinSet,
    time::sleep,
};

use self::{document::Document, download::Download, known::Known};
pub(crate) use self::{
    document::warm_up,
    source::{Source, SourceReport},
};
use crate::{article::Article, counters::Counters, ingest_options::IngestOptions, shutdown::Drain};

/// Limits and intervals of fetches.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// Pause between two fetches of a source that works.
    pub(crate) interval: Duration,
    /// Longest pause between two attempts at a failing source, before jitter.
    pub(crate) longest_pause: Duration,
    /// Limit of concurrent fetches.
    pub(crate) at_once: usize,
    /// Time limit for one fetch, from the first packet to the last.
    pub(crate) timeout: Duration,
    /// Size limit of a document, in bytes.
    pub(crate) size: usize,
    /// Number of ids kept to recognize duplicates.
    pub(crate) remembered: usize,
}

impl From<&IngestOptions> for Limits {
    fn from(options: &IngestOptions) -> Self {
        Self {
            interval: options.feed_interval,
            longest_pause: options.feed_retry_max.max(options.feed_interval),
            at_once: options.feeds_at_once,
            timeout: options.feed_timeout,
            size: options.feed_size_limit,
            remembered: options.feed_memory,
        }
    }
}

/// The sources of articles, shared by the fetcher and `/sources`.
pub(crate) type Sources = Arc<[Arc<Source>]>;

pub(crate) struct Fetcher {
    client: Client,
    sources: Sources,
    limits: Limits,
    turns: Semaphore,
    known: Known,
    counters: Arc<Counters>,
}

impl Fetcher {
    pub(crate) fn new(client: Client, sources: Sources, limits: Limits, counters: Arc<Counters>) -> Self {
        let turns = Semaphore::new(limits.at_once);
        let known = Known::of_size(limits.remembered);
        Self { client, sources, limits, turns, known, counters }
    }

    pub(crate) fn describe(&self) -> String {
        let names: Vec<&str> = self.sources.iter().map(|source| source.name()).collect();
        format!("{}, every {:?}", names.join(", "), self.limits.interval)
    }

    /// Follows all sources until the drain. Dropping `fetched` at the end ends the producer's stream.
    pub(crate) async fn run(self, fetched: mpsc::Sender<Article>, drain: Drain) -> anyhow::Result<()> {
        let fetcher = Arc::new(self);
        let mut following = JoinSet::new();
        for source in fetcher.sources.iter() {
            let follow = Arc::clone(&fetcher).follow(Arc::clone(source), fetched.clone());
            following.spawn(follow.watched_as("fetch"));
        }
        drop(fetched);
        drain.requested().await;
        following.shutdown().await;
        Ok(())
    }

    /// Visits one source repeatedly until the receiver of articles is gone.
    async fn follow(self: Arc<Self>, source: Arc<Source>, fetched: mpsc::Sender<Article>) {
        let patience = ExponentialBuilder::default()
            .with_min_delay(self.limits.interval)
            .with_max_delay(self.limits.longest_pause)
            .without_max_times()
            .with_jitter();
        let mut pauses = patience.build();
        loop {
            let pause = match self.visit(&source).await {
                Ok(visit) => {
                    let Some(articles) = self.hand_over(visit.articles, &fetched).await else { return };
                    source.worked(visit.download, articles, visit.left_out);
                    pauses = patience.build();
                    self.limits.interval
                }
                Err(failure) => {
                    Counters::add_one(&self.counters.errors);
                    let pause = pauses.next().unwrap_or(self.limits.longest_pause);
                    let asked_for = failure.retry_after.unwrap_or_default().min(self.limits.longest_pause);
                    let pause = pause.max(asked_for);
                    source.failed(&failure.error, pause);
                    pause
                }
            };
            sleep(pause).await;
        }
    }

    /// Downloads and parses the document of one source, when it has a permit.
    async fn visit(&self, source: &Source) -> Result<Visit, download::Failure> {
        let _turn = self.turns.acquire().await.map_err(anyhow::Error::from)?;
        let download = download::download(&self.client, source, &self.limits).await?;
        let Document { articles, left_out } = match &download {
            Download::Unchanged => Document::default(),
            Download::New { body, charset, .. } => {
                document::read(body.clone(), charset.clone(), Arc::clone(source.shared_name())).await?
            }
        };
        Ok(Visit { download, articles, left_out })
    }

    /// The numbers of new and known articles. `None` if the producer is gone, and the service with it.
    async fn hand_over(&self, articles: Vec<Article>, fetched: &mpsc::Sender<Article>) -> Option<source::Articles> {
        let mut count = source::Articles::default();
        for article in articles {
            if !self.known.is_new(&article.id) {
                count.known += 1;
                continue;
            }
            fetched.send(article).await.ok()?;
            Counters::add_one(&self.counters.fetched);
            count.new += 1;
        }
        Some(count)
    }
}

/// The result of one visit.
struct Visit {
    download: Download,
    articles: Vec<Article>,
    left_out: u64,
}
