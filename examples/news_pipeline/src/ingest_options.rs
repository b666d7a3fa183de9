//! What the user may choose about feeds.

use std::time::Duration;

use bytesize::ByteSize;
use clap::Args;
use reqwest::Url;

use crate::{feed_server::OddFeed, options::pause};

#[derive(Args, Debug)]
pub(crate) struct IngestOptions {
    /// RSS, Atom or RDF feed to fetch, repeatable (separated by spaces in the variable); without one, the
    /// embedded feed server is used
    #[arg(long = "feed", env = "NEWS_FEED", value_name = "URL", value_delimiter = ' ', value_parser = feed_url)]
    pub(crate) feeds: Vec<Url>,

    /// Feed that misbehaves, added to those of the embedded feed server; repeatable (separated by commas in
    /// the variable)
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

    /// How long a fetch may take, all of it
    #[arg(long, env = "NEWS_FEED_TIMEOUT", value_name = "TIME", default_value = "5s", value_parser = pause)]
    pub(crate) feed_timeout: Duration,

    /// A feed that fails is tried again after the interval, then after twice as long, up to this time
    /// (each up to doubled by chance)
    #[arg(long, env = "NEWS_FEED_RETRY_MAX", value_name = "TIME", default_value = "1m", value_parser = pause)]
    pub(crate) feed_retry_max: Duration,

    /// Largest feed that is read
    #[arg(long, env = "NEWS_FEED_SIZE_LIMIT", value_name = "SIZE", default_value = "4MiB", value_parser = feed_size)]
    pub(crate) feed_size_limit: usize,

    /// Feeds fetched at once
    // Eight are enough for a hundred feeds in a second or two, few enough to be a polite client.
    #[arg(long, env = "NEWS_FEEDS_AT_ONCE", value_name = "N", default_value = "8", value_parser = at_once)]
    pub(crate) feeds_at_once: usize,

    /// Articles remembered to recognise duplicates, about 100 bytes each
    #[arg(long, env = "NEWS_FEED_MEMORY", value_name = "N", default_value = "20000", value_parser = memory)]
    pub(crate) feed_memory: usize,
}

/// An address that can be fetched.
pub(crate) fn feed_url(text: &str) -> Result<Url, String> {
    let url =
        Url::parse(text).map_err(|error| format!("{error}; write a whole address such as https://host/feed.xml"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("only http:// and https:// addresses can be fetched".to_owned());
    }
    Ok(url)
}

fn feed_size(text: &str) -> Result<usize, String> {
    size(text, ByteSize::kib(1), ByteSize::gib(1))
}

/// A size such as `4MiB` between two others, as bytes.
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

/// A number between two others.
pub(crate) fn count(text: &str, least: usize, most: usize) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(format!("write a number between {least} and {most}")),
    }
}
