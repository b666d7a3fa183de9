//! Options of the news API.

use std::time::Duration;

use bytesize::ByteSize;
use clap::Args;

use crate::{
    ingest_options::{count, size},
    options::pause,
};

#[derive(Args, Debug)]
pub(crate) struct ApiOptions {
    /// Address of the news API; port 0 picks a free one
    #[arg(long, env = "NEWS_API", value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub(crate) api: String,

    /// How many articles the cache keeps
    #[arg(long, env = "NEWS_CACHE_SIZE", value_name = "N", default_value = "100", value_parser = cache_size)]
    pub(crate) cache_size: usize,

    /// How many posted items are kept; further ones replace the oldest
    #[arg(long, env = "NEWS_ITEMS", value_name = "N", default_value = "1000", value_parser = items)]
    pub(crate) items: usize,

    /// Largest body of a request
    #[arg(long, env = "NEWS_BODY_LIMIT", value_name = "SIZE", default_value = "16KiB", value_parser = body_size)]
    pub(crate) body_limit: usize,

    /// Largest head of a request (line and headers)
    #[arg(long, env = "NEWS_HEADER_LIMIT", value_name = "SIZE", default_value = "16KiB", value_parser = header_size)]
    pub(crate) header_limit: usize,

    /// How long a client may take to send the head of a request, also on a reused connection
    #[arg(long, env = "NEWS_HEADER_TIMEOUT", value_name = "TIME", default_value = "15s", value_parser = pause)]
    pub(crate) header_timeout: Duration,

    /// How long a request may take, including the reading of its body
    #[arg(long, env = "NEWS_REQUEST_TIMEOUT", value_name = "TIME", default_value = "10s", value_parser = pause)]
    pub(crate) request_timeout: Duration,

    /// Concurrent connections; further ones wait until one ends
    #[arg(long, env = "NEWS_CONNECTIONS", value_name = "N", default_value = "1024", value_parser = many)]
    pub(crate) connections: usize,

    /// Concurrent requests; further ones get status 503
    #[arg(long, env = "NEWS_REQUESTS", value_name = "N", default_value = "512", value_parser = many)]
    pub(crate) requests: usize,

    /// Concurrent readers of /stream; further ones get status 503
    #[arg(long, env = "NEWS_STREAMS", value_name = "N", default_value = "64", value_parser = many)]
    pub(crate) streams: usize,
}

fn cache_size(text: &str) -> Result<usize, String> {
    count(text, 1, 100_000).map_err(|_| "the cache keeps between 1 and 100000 articles".to_owned())
}

fn items(text: &str) -> Result<usize, String> {
    count(text, 1, 1_000_000)
}

fn many(text: &str) -> Result<usize, String> {
    count(text, 1, 100_000)
}

fn body_size(text: &str) -> Result<usize, String> {
    size(text, ByteSize::b(64), ByteSize::mib(64))
}

// hyper needs 8 KiB at least.
fn header_size(text: &str) -> Result<usize, String> {
    size(text, ByteSize::kib(8), ByteSize::mib(1))
}
