//! `feed-parser`: a large feed is parsed on the worker instead of on the blocking pool.

use std::{io, time::Instant};

use super::{Commit, HELD};

const ITEMS: usize = 2000;

pub(super) fn arm() -> io::Result<Commit> {
    let feed = large_feed();
    Ok(Box::new(move |_| {
        parse_feed_on_worker(&feed)?;
        Ok(())
    }))
}

fn large_feed() -> Vec<u8> {
    let items: String = (0..ITEMS)
        .map(|number| {
            format!(
                "<item><title>Item {number}</title><link>https://news.invalid/large/{number}</link>\
                 <pubDate>Sat, 01 Jan 2000 00:00:00 +0000</pubDate></item>"
            )
        })
        .collect();
    format!("<rss version=\"2.0\"><channel><title>large</title>{items}</channel></rss>").into_bytes()
}

// Not inlined, because the report must name it. It repeats until enough time has passed, also on a fast machine.
#[inline(never)]
fn parse_feed_on_worker(feed: &[u8]) -> io::Result<usize> {
    let started = Instant::now();
    let mut entries = 0;
    while started.elapsed() < HELD {
        entries += feed_rs::parser::parse(feed).map_err(io::Error::other)?.entries.len();
    }
    Ok(entries)
}
