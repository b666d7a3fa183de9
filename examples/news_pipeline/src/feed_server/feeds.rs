//! The feeds of the embedded feed server: invented headlines as RSS 2.0, Atom and RDF.
//!
//! A headline is a pure function of feed and number, and numbers grow with time. So the feeds are fresh
//! on every fetch, and need no storage and no internet.

use std::fmt::Write;

use chrono::{DateTime, Utc};

/// Number of items in a feed.
const ITEMS_SHOWN: i64 = 20;

#[derive(Clone, Copy, Debug)]
enum Format {
    Rss,
    Atom,
    Rdf,
}

#[derive(Debug)]
pub(super) struct Feed {
    pub(super) name: &'static str,
    format: Format,
    /// Milliseconds between two new items.
    every_ms: i64,
}

pub(super) const FEEDS: [Feed; 6] = [
    Feed { name: "world", format: Format::Rss, every_ms: 700 },
    Feed { name: "science", format: Format::Atom, every_ms: 1100 },
    Feed { name: "markets", format: Format::Rss, every_ms: 900 },
    Feed { name: "harbour", format: Format::Atom, every_ms: 2300 },
    Feed { name: "culture", format: Format::Rdf, every_ms: 1700 },
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

impl Feed {
    pub(super) fn named(name: &str) -> Option<&'static Self> {
        FEEDS.iter().find(|feed| feed.name == name)
    }

    pub(super) fn content_type(&self) -> &'static str {
        match self.format {
            Format::Rss => "application/rss+xml",
            Format::Atom => "application/atom+xml",
            Format::Rdf => "application/rdf+xml",
        }
    }

    pub(super) fn document(&self, now: DateTime<Utc>) -> String {
        match self.format {
            Format::Rss => self.rss(now),
            Format::Atom => self.atom(now),
            Format::Rdf => self.rdf(now),
        }
    }

    /// The number and time of the newest item. They change together with the document.
    pub(super) fn version(&self, now: DateTime<Utc>) -> (i64, DateTime<Utc>) {
        let newest = now.timestamp_millis() / self.every_ms;
        (newest, DateTime::from_timestamp_millis(newest * self.every_ms).unwrap_or(now))
    }

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
            self.version(now).1.to_rfc3339()
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

    fn rdf(&self, now: DateTime<Utc>) -> String {
        let name = self.name;
        let mut document = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<rdf:RDF xmlns:rdf=\"http://www.w3.org/1999/02/22-rdf-syntax-ns#\" \
             xmlns=\"http://purl.org/rss/1.0/\" xmlns:dc=\"http://purl.org/dc/elements/1.1/\">\
             <channel rdf:about=\"https://news.invalid/{name}\"><title>{name}</title>\
             <link>https://news.invalid/{name}</link><description>Invented {name} news</description></channel>\n"
        );
        for item in self.newest(now) {
            let Item { title, link, published } = item;
            // Writing to a String cannot fail.
            let _ = writeln!(
                document,
                "<item rdf:about=\"{link}\"><title>{title}</title><link>{link}</link><dc:date>{}</dc:date></item>",
                published.to_rfc3339()
            );
        }
        document.push_str("</rdf:RDF>\n");
        document
    }

    /// The newest items at `now`, newest first.
    fn newest(&self, now: DateTime<Utc>) -> impl Iterator<Item = Item> {
        let newest = now.timestamp_millis() / self.every_ms;
        (newest - ITEMS_SHOWN + 1..=newest).rev().filter_map(|number| self.item(number))
    }

    /// Item `number` of this feed. `None` only outside the range of dates.
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
    // The three lists have coprime lengths, so a headline repeats after 504 others.
    format!("{} {} {} ({feed} no. {})", pick(&WHO, 1), pick(&DOES, 1), pick(&WHAT, 1), number % 1000)
}
