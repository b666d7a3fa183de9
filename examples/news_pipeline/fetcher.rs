//! Ingest: fetches all feeds side by side, parses them, and hands over what is new.
//!
//! One source never stops the others: its failure is logged, counted, and tried again in the next round.
//! Sources fetched at once, time, size and the memory of known articles are all bounded.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, anyhow, ensure};
use futures_util::{StreamExt, stream};
use reqwest::{Client, Url};
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval, timeout},
};

use crate::{
    article::{Article, stable_id},
    counters::Counters,
    outage::Outage,
    shutdown::Drain,
};

/// Enough for a hundred feeds in a second or two, few enough to be a polite client.
const FETCHES_AT_ONCE: usize = 8;
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
const LARGEST_FEED: usize = 4 * 1024 * 1024;

/// Up to this size a document is parsed in place, at about 50 µs a KiB; a larger one would hold up the
/// worker and goes to the blocking pool.
const LARGEST_PARSED_IN_PLACE: usize = 32 * 1024;

/// Ids remembered to recognise duplicates: the items of some hundred feeds, about 2 MB.
const REMEMBERED: usize = 20_000;

/// Where articles come from.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    url: Url,
    /// What readers see.
    name: Arc<str>,
    outage: Arc<Outage>,
}

impl Source {
    pub(crate) fn new(name: &str, url: Url) -> Self {
        Self { name: name.into(), outage: Arc::new(Outage::of(format!("the feed {name}"))), url }
    }

    /// A source named by its address, without the parts that may hold a secret (user, password, query).
    pub(crate) fn of(url: &Url) -> Self {
        let host = url.host_str().unwrap_or("(no host)");
        let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
        Self::new(&format!("{host}{port}{}", url.path()), url.clone())
    }
}

pub(crate) struct Fetcher {
    pub(crate) client: Client,
    pub(crate) sources: Vec<Source>,
    pub(crate) interval: Duration,
    pub(crate) counters: Arc<Counters>,
}

impl Fetcher {
    pub(crate) fn describe(&self) -> String {
        let names: Vec<&str> = self.sources.iter().map(|source| &*source.name).collect();
        format!("{}, every {:?}", names.join(", "), self.interval)
    }

    /// Fetches round after round until the drain. Dropping `fetched` at the end tells the producer
    /// that nothing more will come.
    pub(crate) async fn run(self, fetched: mpsc::Sender<Article>, drain: Drain) -> anyhow::Result<()> {
        let mut rounds = interval(self.interval);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut known = Known::default();
        let fetching = async {
            loop {
                rounds.tick().await;
                self.fetch_all(&fetched, &mut known).await;
            }
        };
        tokio::select! {
            () = fetching => {}
            () = drain.requested() => {}
        }
        Ok(())
    }

    /// One round: every source once, articles handed over as each document arrives.
    async fn fetch_all(&self, fetched: &mpsc::Sender<Article>, known: &mut Known) {
        let mut documents = stream::iter(self.sources.clone())
            .map(|source| fetch(self.client.clone(), source))
            .buffer_unordered(FETCHES_AT_ONCE);
        while let Some((source, document)) = documents.next().await {
            match read(document, &source).await {
                Ok(articles) => {
                    for article in articles {
                        if !known.is_new(&article.id) {
                            continue;
                        }
                        if fetched.send(article).await.is_err() {
                            return; // The producer is gone, and the service with it.
                        }
                        Counters::add_one(&self.counters.fetched);
                    }
                    source.outage.worked();
                }
                Err(error) => {
                    Counters::add_one(&self.counters.errors);
                    source.outage.failed(&format_args!("{error:#}"));
                }
            }
            // When all documents arrive together, each is still read in a poll of its own.
            tokio::task::yield_now().await;
        }
    }
}

/// The document of one source, or why there is none, together with the source.
async fn fetch(client: Client, source: Source) -> (Source, anyhow::Result<Vec<u8>>) {
    let document = match timeout(FETCH_TIMEOUT, download(&client, &source)).await {
        Ok(document) => document,
        Err(_) => Err(anyhow!("no answer within {FETCH_TIMEOUT:?}")),
    };
    (source, document)
}

async fn read(document: anyhow::Result<Vec<u8>>, source: &Source) -> anyhow::Result<Vec<Article>> {
    let document = document?;
    if document.len() <= LARGEST_PARSED_IN_PLACE {
        return parse_feed(&document, &source.name);
    }
    let name = Arc::clone(&source.name);
    tokio::task::spawn_blocking(move || parse_feed(&document, &name)).await?
}

async fn download(client: &Client, source: &Source) -> anyhow::Result<Vec<u8>> {
    let mut response = client
        .get(source.url.clone())
        .send()
        .await
        .and_then(reqwest::Response::error_for_status)
        // The log line names the URL once already.
        .map_err(reqwest::Error::without_url)?;
    let mut document = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(reqwest::Error::without_url)? {
        ensure!(
            document.len() + chunk.len() <= LARGEST_FEED,
            "the feed is larger than {} MiB",
            LARGEST_FEED / 1024 / 1024
        );
        document.extend_from_slice(&chunk);
    }
    Ok(document)
}

/// The articles of an RSS or Atom document. An entry without title or date is left out: it can be
/// neither shown nor put in order.
fn parse_feed(document: &[u8], source: &str) -> anyhow::Result<Vec<Article>> {
    let feed = feed_rs::parser::parse(document).context("not a feed that can be read (RSS, Atom or JSON Feed)")?;
    Ok(feed
        .entries
        .into_iter()
        .filter_map(|entry| {
            Some(Article {
                id: stable_id(&entry.id),
                title: entry.title?.content,
                link: entry.links.into_iter().next().map(|link| link.href)?,
                source: source.to_owned(),
                published_at: entry.published.or(entry.updated)?,
            })
        })
        .collect())
}

/// Lets the parser compile its patterns, which takes 3 ms, ten times as long as
/// parsing, and need not happen on a worker.
pub(crate) fn warm_up() -> anyhow::Result<()> {
    const DATED_ITEM: &[u8] =
        b"<rss version=\"2.0\"><channel><item><title>Ready</title><link>https://news.invalid/0</link>\
        <pubDate>Sat, 01 Jan 2000 00:00:00 +0000</pubDate></item></channel></rss>";
    parse_feed(DATED_ITEM, "warm-up").map(drop)
}

/// The ids seen lately; the oldest is forgotten when there are too many.
#[derive(Default)]
struct Known {
    ids: HashSet<String>,
    oldest_first: VecDeque<String>,
}

impl Known {
    fn is_new(&mut self, id: &str) -> bool {
        if !self.ids.insert(id.to_owned()) {
            return false;
        }
        self.oldest_first.push_back(id.to_owned());
        if self.oldest_first.len() > REMEMBERED
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.ids.remove(&oldest);
        }
        true
    }
}
