//! The embedded feed server: six feeds of invented headlines, RSS 2.0 and Atom, over real HTTP.
//!
//! A headline is a pure function of feed and number, and numbers grow with time, so the feeds are fresh
//! on every fetch and need neither storage nor the internet.

use std::{fmt::Write, net::TcpListener};

use axum::{
    Router,
    extract::Path,
    http::{StatusCode, header},
    middleware,
    response::{IntoResponse, Response},
    routing::get,
};
use chrono::{DateTime, Utc};
use reqwest::Url;

use crate::{fetcher::Source, shutdown::Drain, watched_requests};

/// How many of its newest items a feed shows.
const ITEMS_SHOWN: i64 = 20;

enum Format {
    Rss,
    Atom,
}

struct Feed {
    name: &'static str,
    format: Format,
    /// A new item appears every so many milliseconds.
    every_ms: i64,
}

const FEEDS: [Feed; 6] = [
    Feed { name: "world", format: Format::Rss, every_ms: 700 },
    Feed { name: "science", format: Format::Atom, every_ms: 1100 },
    Feed { name: "markets", format: Format::Rss, every_ms: 900 },
    Feed { name: "harbour", format: Format::Atom, every_ms: 2300 },
    Feed { name: "culture", format: Format::Rss, every_ms: 1700 },
    Feed { name: "weather", format: Format::Atom, every_ms: 1300 },
];

const WHO: [&str; 8] = [
    "City council",
    "Observatory",
    "Ferry line",
    "Paper mill",
    "Tram drivers",
    "Bee keepers",
    "Harbour pilots",
    "Old library",
];
const DOES: [&str; 7] = ["reopened", "mapped", "postponed", "celebrated", "repaired", "questioned", "doubled"];
const WHAT: [&str; 9] = [
    "the eastern bridge",
    "its tide tables",
    "a forgotten archive",
    "the winter timetable",
    "two new routes",
    "the record harvest",
    "a long quiet comet",
    "its oldest contract",
    "the market hall",
];

pub(crate) struct FeedServer {
    listener: TcpListener,
}

/// Serves until the drain; without a server (real feeds were named) there is nothing to do.
pub(crate) async fn run_if_any(server: Option<FeedServer>, drain: Drain) -> anyhow::Result<()> {
    match server {
        Some(server) => server.run(drain).await,
        None => Ok(()),
    }
}

impl FeedServer {
    pub(crate) fn bind() -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener })
    }

    pub(crate) fn sources(&self) -> anyhow::Result<Vec<Source>> {
        let address = self.listener.local_addr()?;
        FEEDS
            .iter()
            .map(|feed| Ok(Source::new(feed.name, Url::parse(&format!("http://{address}/feeds/{}", feed.name))?)))
            .collect()
    }

    async fn run(self, drain: Drain) -> anyhow::Result<()> {
        let listener = tokio::net::TcpListener::from_std(self.listener)?;
        let routes =
            Router::new().route("/feeds/{name}", get(feed)).layer(middleware::from_fn(watched_requests::watch));
        axum::serve(listener, routes).with_graceful_shutdown(drain.requested()).await?;
        Ok(())
    }
}

async fn feed(Path(name): Path<String>) -> Response {
    let Some(feed) = FEEDS.iter().find(|feed| feed.name == name) else {
        return (StatusCode::NOT_FOUND, "There is no such feed.\n").into_response();
    };
    let now = Utc::now();
    match feed.format {
        Format::Rss => ([(header::CONTENT_TYPE, "application/rss+xml")], feed.rss(now)).into_response(),
        Format::Atom => ([(header::CONTENT_TYPE, "application/atom+xml")], feed.atom(now)).into_response(),
    }
}

impl Feed {
    fn rss(&self, now: DateTime<Utc>) -> String {
        let name = self.name;
        let mut document = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<rss version=\"2.0\"><channel><title>{name}</title>\
             <link>https://news.invalid/{name}</link><description>Invented {name} news</description>\n"
        );
        for item in self.newest(now) {
            let Item { title, link, published } = item;
            // Writing to a String cannot fail.
            let _ = writeln!(
                document,
                "<item><title>{title}</title><link>{link}</link><guid>{link}</guid><pubDate>{}</pubDate></item>",
                published.to_rfc2822()
            );
        }
        document.push_str("</channel></rss>\n");
        document
    }

    fn atom(&self, now: DateTime<Utc>) -> String {
        let name = self.name;
        let mut document = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<feed xmlns=\"http://www.w3.org/2005/Atom\"><title>{name}</title>\
             <id>https://news.invalid/{name}</id><updated>{}</updated>\n",
            now.to_rfc3339()
        );
        for item in self.newest(now) {
            let Item { title, link, published } = item;
            // Writing to a String cannot fail.
            let _ = writeln!(
                document,
                "<entry><title>{title}</title><link href=\"{link}\"/><id>{link}</id><updated>{0}</updated>\
                 <published>{0}</published></entry>",
                published.to_rfc3339()
            );
        }
        document.push_str("</feed>\n");
        document
    }

    /// The newest items at `now`, newest first.
    fn newest(&self, now: DateTime<Utc>) -> impl Iterator<Item = Item> {
        let newest = now.timestamp_millis() / self.every_ms;
        (newest - ITEMS_SHOWN + 1..=newest).rev().filter_map(|number| self.item(number))
    }

    /// Item `number` of this feed; none only outside the years that a date can express.
    fn item(&self, number: i64) -> Option<Item> {
        Some(Item {
            title: headline(self.name, number),
            link: format!("https://news.invalid/{}/{number}", self.name),
            published: DateTime::from_timestamp_millis(number * self.every_ms)?,
        })
    }
}

struct Item {
    title: String,
    link: String,
    published: DateTime<Utc>,
}

fn headline(feed: &str, number: i64) -> String {
    let pick = |words: &[&'static str], step: i64| -> &'static str {
        let index = (number / step).unsigned_abs() % words.len() as u64;
        words[usize::try_from(index).unwrap_or(0)]
    };
    // The three lists have coprime lengths, so 504 headlines pass before one comes back.
    format!("{} {} {} ({feed} no. {})", pick(&WHO, 1), pick(&DOES, 1), pick(&WHAT, 1), number % 1000)
}
