//! Options of feeds.

use std::time::Duration;

use bytesize::ByteSize;
use clap::Args;
use reqwest::Url;

use crate::{feed_server::OddFeed, options::pause};

#[derive(Args, Debug)]
pub(crate) struct IngestOptions {
    /// RSS, Atom or RDF feed to fetch, repeatable (separated by spaces in the variable); by default, those of the
    /// embedded feed server
    #[arg(long = "feed", env = "NEWS_FEED", value_name = "URL", value_delimiter = ' ', value_parser = feed_url)]
    pub(crate) feeds: Vec<Url>,

    /// Feed of the embedded feed server that misbehaves, repeatable (separated by commas in the variable)
    #[arg(
        long = "odd-feed",
        env = "NEWS_ODD_FEED",
        value_name = "KIND",
        value_delimiter = ',',
        conflicts_with = "feeds"
    )]
    pub(crate) odd_feeds: Vec<OddFeed>,

    /// Pause between two fetches of a feed
    #[arg(long, env = "NEWS_FEED_INTERVAL", value_name = "TIME", default_value = "1s", value_parser = pause)]
    pub(crate) feed_interval: Duration,

    /// How long a whole fetch may take
    #[arg(long, env = "NEWS_FEED_TIMEOUT", value_name = "TIME", default_value = "5s", value_parser = pause)]
    pub(crate) feed_timeout: Duration,

    /// Longest pause before a failing feed is fetched again; the pause starts at the interval and doubles
    /// (jitter up to doubles it again)
    #[arg(long, env = "NEWS_FEED_RETRY_MAX", value_name = "TIME", default_value = "1m", value_parser = pause)]
    pub(crate) feed_retry_max: Duration,

    /// Size limit of a feed
    #[arg(long, env = "NEWS_FEED_SIZE_LIMIT", value_name = "SIZE", default_value = "4MiB", value_parser = feed_size)]
    pub(crate) feed_size_limit: usize,

    /// Concurrent fetches
    // Eight fetch a hundred feeds in a second or two, and are few enough for a polite client.
    #[arg(long, env = "NEWS_FEEDS_AT_ONCE", value_name = "N", default_value = "8", value_parser = at_once)]
    pub(crate) feeds_at_once: usize,

    /// Articles remembered to recognize duplicates, about 100 bytes each
    #[arg(long, env = "NEWS_FEED_MEMORY", value_name = "N", default_value = "20000", value_parser = memory)]
    pub(crate) feed_memory: usize,
}

/// An address that can be fetched.
pub(crate) fn feed_url(text: &str) -> Result<Url, String> {
    let url =
        Url::parse(text).map_err(|error| format!("{error}; write a whole address such as https://host/feed.xml"))?;
    match url.scheme() {
        "http" => {}
        "https" if cfg!(feature = "tls") => {}
        "https" => {
            return Err("this build fetches http:// only; https:// needs a build with `--features tls`".to_owned());
        }
        _ => return Err("only http:// and https:// addresses can be fetched".to_owned()),
    }
    Ok(url)
}

fn feed_size(text: &str) -> Result<usize, String> {
    size(text, ByteSize::kib(1), ByteSize::gib(1))
}

/// Parses a size such as `4MiB` within bounds, in bytes.
pub(crate) fn size(text: &str, least: ByteSize, most: ByteSize) -> Result<usize, String> {
    let wrong = || format!("write a size between {least} and {most}, such as 64KiB");
    let size: ByteSize = text.parse().map_err(|_| wrong())?;
    if !(least..=most).contains(&size) {
        return Err(wrong());
    }
    usize::try_from(size.as_u64()).map_err(|_| wrong())
}

fn at_once(text: &str) -> Result<usize, String> {
    count(text, 1, 256)
}

fn memory(text: &str) -> Result<usize, String> {
    count(text, 100, 10_000_000)
}

/// Parses a number within bounds.
pub(crate) fn count(text: &str, least: usize, most: usize) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(format!("write a number between {least} and {most}")),
    }
}
