//! `scrape URL…`: the titles of many pages, fetched concurrently and printed in the given order.
//!
//! The error of a page is printed in its line, and does not stop the others.

mod title;

use std::{
    io::{self, Write},
    time::Duration,
};

use anyhow::{Context, anyhow, ensure};
use bytesize::ByteSize;
use clap::Args;
use futures_util::{StreamExt, stream};
use reqwest::{Client, Url};
use tokio::time::timeout;

use crate::{
    body_limit::{self, Start},
    http_client,
    ingest_options::{count, feed_url, size},
    options::pause,
};

#[derive(Args, Debug)]
pub(crate) struct ScrapeCommand {
    /// Pages to fetch
    #[arg(required = true, value_name = "URL", value_parser = feed_url)]
    pages: Vec<Url>,

    /// Concurrent fetches
    #[arg(long, env = "NEWS_PAGES_AT_ONCE", value_name = "N", default_value = "16", value_parser = at_once)]
    pages_at_once: usize,

    /// How long a page may take
    #[arg(long, env = "NEWS_PAGE_TIMEOUT", value_name = "TIME", default_value = "10s", value_parser = pause)]
    page_timeout: Duration,

    /// How much of a page is read to find its title
    #[arg(long, env = "NEWS_PAGE_SIZE_LIMIT", value_name = "SIZE", default_value = "1MiB", value_parser = page_size)]
    page_size_limit: usize,
}

fn at_once(text: &str) -> Result<usize, String> {
    count(text, 1, 256)
}

fn page_size(text: &str) -> Result<usize, String> {
    size(text, ByteSize::kib(1), ByteSize::mib(64))
}

impl ScrapeCommand {
    /// Prints the lines.
    ///
    /// # Errors
    /// After all lines, if a page has no title; and if the output cannot be written.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let client = http_client::internet()?;
        let runtime =
            tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the runtime")?;
        runtime.block_on(self.print_titles(&client))
    }

    async fn print_titles(&self, client: &Client) -> anyhow::Result<()> {
        let mut titles = stream::iter(&self.pages)
            .map(|page| async move { (page, self.title(client, page).await) })
            .buffered(self.pages_at_once);
        let mut failed = 0;
        while let Some((page, title)) = titles.next().await {
            let line = match title {
                Ok(title) => format!("{page}\t{title}\n"),
                Err(error) => {
                    failed += 1;
                    format!("{page}\terror: {error:#}\n")
                }
            };
            io::stdout().write_all(line.as_bytes()).context("the titles cannot be written")?;
        }
        ensure!(failed == 0, "{failed} of {} pages gave no title", self.pages.len());
        Ok(())
    }

    async fn title(&self, client: &Client, page: &Url) -> anyhow::Result<String> {
        match timeout(self.page_timeout, self.title_unhurried(client, page)).await {
            Ok(title) => title,
            Err(_) => Err(anyhow!("no title within {:?} (--page-timeout sets the limit)", self.page_timeout)),
        }
    }

    async fn title_unhurried(&self, client: &Client, page: &Url) -> anyhow::Result<String> {
        // The line names the page already.
        let response = client.get(page.clone()).send().await.map_err(reqwest::Error::without_url)?;
        let status = response.status();
        ensure!(status.is_success(), "the answer is {status}");
        let charset = body_limit::charset(response.headers());
        let Start { bytes, is_all } = body_limit::read_start(response, self.page_size_limit).await?;
        let read = ByteSize(u64::try_from(bytes.len())?);
        // A page without a title is read to its end, which takes long.
        let title = tokio::task::spawn_blocking(move || title::find(&bytes, charset.as_deref())).await?;
        title.ok_or_else(|| match is_all {
            true => anyhow!("the page has no title"),
            false => anyhow!("there is no title in the first {read} (--page-size-limit sets the limit)"),
        })
    }
}
