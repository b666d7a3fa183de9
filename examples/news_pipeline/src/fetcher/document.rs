//! Decodes and parses a feed into articles, and checks its entries.

use std::sync::Arc;

use anyhow::{anyhow, bail};
use encoding_rs::{Encoding, UTF_8};
use feed_rs::model::Entry;

use crate::article::{Article, stable_id};

/// A document up to this size is parsed on the worker, at about 50 µs per KiB. A larger one would stall the
/// worker, so it is parsed on the blocking pool.
const LARGEST_PARSED_IN_PLACE: usize = 32 * 1024;

/// Limit of a title. Longer titles are cut, so that an article always fits into a Kafka message.
const LONGEST_TITLE: usize = 500;

/// Limit of a link. An entry with a longer link is skipped.
const LONGEST_LINK: usize = 2048;

/// An XML declaration is searched within this many bytes.
const DECLARATION_BYTES: usize = 256;

#[derive(Default, Debug)]
pub(super) struct Document {
    pub(super) articles: Vec<Article>,
    /// Entries without a title, a link or a date.
    pub(super) left_out: u64,
}

/// Parses a document, on the blocking pool if it is large. `charset` is that of the response's head.
pub(super) async fn read(body: Vec<u8>, charset: Option<String>, source: Arc<str>) -> anyhow::Result<Document> {
    if body.len() <= LARGEST_PARSED_IN_PLACE {
        return parse(&body, charset.as_deref(), &source);
    }
    tokio::task::spawn_blocking(move || parse(&body, charset.as_deref(), &source)).await?
}

/// The articles of an RSS, Atom or JSON Feed document.
///
/// # Errors
/// If the encoding is unknown or wrong, or if the document is not a feed.
fn parse(body: &[u8], charset: Option<&str>, source: &str) -> anyhow::Result<Document> {
    let text = decode(body, charset)?;
    let feed = feed_rs::parser::parse(text.as_bytes())
        // Its text includes that of its causes.
        .map_err(|error| anyhow!("not a feed that can be read (RSS, Atom or JSON Feed): {error}"))?;
    let mut document = Document::default();
    for entry in feed.entries {
        match article(entry, source) {
            Some(article) => document.articles.push(article),
            None => document.left_out += 1,
        }
    }
    Ok(document)
}

fn article(entry: Entry, source: &str) -> Option<Article> {
    let link = entry.links.into_iter().next().map(|link| link.href).filter(|link| link.len() <= LONGEST_LINK)?;
    let title = entry.title?.content;
    Some(Article {
        id: id(&entry.id, source),
        title: match title.char_indices().nth(LONGEST_TITLE) {
            Some((end, _)) => format!("{}…", title.get(..end)?),
            None => title,
        },
        link,
        source: source.to_owned(),
        published_at: entry.published.or(entry.updated)?,
    })
}

/// Addresses and URNs are globally unique. Other ids are unique only within their feed.
fn id(name_in_feed: &str, source: &str) -> String {
    if name_in_feed.contains(':') { stable_id(name_in_feed) } else { stable_id(&format!("{source} {name_in_feed}")) }
}

/// The document as text, without its XML declaration, which is no longer true. The encoding is chosen in the order of
/// RFC 7303: byte order mark, the head of the response, the declaration, UTF-8.
fn decode(body: &[u8], charset: Option<&str>) -> anyhow::Result<String> {
    let declared = declaration(body);
    let encoding = match (Encoding::for_bom(body), charset.or(declared)) {
        (Some((encoding, _)), _) => encoding,
        (None, Some(label)) => Encoding::for_label(label.as_bytes()).ok_or_else(|| {
            anyhow!("the encoding {:?} is unknown", label.escape_debug().take(40).collect::<String>())
        })?,
        (None, None) => UTF_8,
    };
    let (text, encoding, malformed) = encoding.decode(body);
    if malformed {
        let place = match std::str::from_utf8(body) {
            Err(error) if encoding == UTF_8 => format!(", first at byte {}", error.valid_up_to()),
            _ => String::new(),
        };
        bail!("the document says that it is {}, and has bytes that are not{place}", encoding.name());
    }
    let text = text.trim_start();
    let rest = text.strip_prefix("<?xml").and_then(|rest| rest.split_once("?>")).map_or(text, |(_, rest)| rest);
    Ok(rest.to_owned())
}

/// The encoding in `<?xml … encoding="…"?>`. It is readable in every superset of ASCII. Documents in other encodings have
/// a byte order mark.
fn declaration(body: &[u8]) -> Option<&str> {
    let start = body.get(..DECLARATION_BYTES).unwrap_or(body);
    let ascii = start.iter().position(|byte| !byte.is_ascii()).unwrap_or(start.len());
    let text = std::str::from_utf8(start.get(..ascii)?).ok()?;
    let (declaration, _) = text.trim_start().strip_prefix("<?xml")?.split_once("?>")?;
    let (_, after) = declaration.split_once("encoding")?;
    let value = after.trim_start().strip_prefix('=')?.trim_start();
    let quote = value.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
    value.get(1..)?.split(quote).next()
}

/// Makes the parser compile its patterns before there are workers. This takes 3 ms, ten times as long as parsing.
pub(crate) fn warm_up() -> anyhow::Result<()> {
    const DATED_ITEM: &[u8] =
        b"<rss version=\"2.0\"><channel><item><title>Ready</title><link>https://news.invalid/0</link>\
        <pubDate>Sat, 01 Jan 2000 00:00:00 +0000</pubDate></item></channel></rss>";
    parse(DATED_ITEM, None, "warm-up").map(drop)
}
