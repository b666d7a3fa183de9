//! Feeds that misbehave like those on the internet, one of each kind.

use std::{
    convert::Infallible,
    fmt::Write as _,
    io,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use clap::ValueEnum;
use futures_util::{StreamExt, stream};
use tokio::time::sleep;

/// Longer than the timeout of any reader.
const TOO_LONG: Duration = Duration::from_secs(600);

/// Pause between two bytes of a slow response.
const DRIP: Duration = Duration::from_secs(1);

const HUGE_CHUNK: usize = 64 * 1024;
const HUGE_CHUNKS: usize = 100 * 1024 * 1024 / HUGE_CHUNK;

/// Nested elements, in less than the limit of 4 MiB for a feed.
const DEPTH: usize = 200_000;

/// Items in each response of the flood.
const FLOOD_ITEMS: u64 = 1000;

/// Number of the next item of the flood.
static FLOOD_FIRST: AtomicU64 = AtomicU64::new(0);

const XML: &str = "application/rss+xml";
const START: &str = "<?xml version=\"1.0\"?>\n<rss version=\"2.0\"><channel><title>odd</title>";
const END: &str = "</channel></rss>\n";

/// The defect of a feed.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum OddFeed {
    /// Accepts the request and sends nothing for ten minutes
    Slow,
    /// Sends one byte a second (slow-loris)
    Drip,
    /// Is 100 MiB large without announcing it
    Huge,
    /// Ends in the middle of an element
    Broken,
    /// Closes the connection in the middle of the response
    Cut,
    /// Is a page of HTML
    Page,
    /// Declares UTF-8 and is not UTF-8
    InvalidUtf8,
    /// Declares an unknown encoding
    UnknownEncoding,
    /// Is in Latin-1 and declares it, which is valid
    Latin1,
    /// Nests 200000 elements
    Deep,
    /// Defines entities that grow to gigabytes
    Bomb,
    /// Answers 503 with a Retry-After of two seconds
    Unavailable,
    /// Answers every other request with 500
    Flaky,
    /// Has items without title, link or date
    Incomplete,
    /// Redirects to itself forever
    Redirects,
    /// Has a thousand new items at every visit, which is valid but a high load
    Flood,
}

impl OddFeed {
    pub(super) fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    pub(super) async fn answer(self) -> Response {
        match self {
            Self::Slow => {
                sleep(TOO_LONG).await;
                StatusCode::NO_CONTENT.into_response()
            }
            Self::Drip => streamed(drip()),
            Self::Huge => streamed(huge()),
            Self::Broken => xml(format!("{START}<item><title>Cut o").into_bytes()),
            Self::Cut => streamed(cut()),
            Self::Page => {
                ([(header::CONTENT_TYPE, "text/html")], "<!doctype html><title>Moved</title><p>Gone.\n").into_response()
            }
            Self::InvalidUtf8 => xml(latin1("UTF-8")),
            Self::UnknownEncoding => xml(latin1("x-runes")),
            Self::Latin1 => xml(latin1("ISO-8859-1")),
            Self::Deep => xml(format!("{START}{}{END}", "<a>".repeat(DEPTH)).into_bytes()),
            Self::Bomb => xml(bomb()),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "2")]).into_response(),
            Self::Flaky => flaky(),
            Self::Incomplete => {
                xml(format!("{START}<item><title>No date</title></item>{}{END}", item("Whole")).into_bytes())
            }
            Self::Redirects => (StatusCode::FOUND, [(header::LOCATION, "/odd/redirects")]).into_response(),
            Self::Flood => xml(flood(FLOOD_FIRST.fetch_add(FLOOD_ITEMS, Relaxed), Utc::now())),
        }
    }
}

fn xml(document: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, XML)], document).into_response()
}

fn streamed(body: Body) -> Response {
    ([(header::CONTENT_TYPE, XML)], body).into_response()
}

fn item(title: &str) -> String {
    format!(
        "<item><title>{title}</title><link>https://news.invalid/odd/{title}</link>\
         <pubDate>Sat, 01 Jan 2000 00:00:00 +0000</pubDate></item>"
    )
}

fn drip() -> Body {
    let bytes = format!("{START}{}{END}", item("Drop by drop")).into_bytes();
    Body::from_stream(stream::iter(bytes).then(|byte| async move {
        sleep(DRIP).await;
        Ok::<_, Infallible>(Bytes::copy_from_slice(&[byte]))
    }))
}

fn huge() -> Body {
    let chunk = Bytes::from(item("Again").repeat(HUGE_CHUNK / item("Again").len() + 1));
    let chunks = stream::iter(std::iter::repeat_n(chunk, HUGE_CHUNKS));
    Body::from_stream(stream::once(async { Bytes::from(START) }).chain(chunks).map(Ok::<_, Infallible>))
}

/// The error ends the connection without the last chunk of HTTP.
fn cut() -> Body {
    let after_the_start = async {
        sleep(DRIP).await;
        Err(io::Error::other("cut off, as asked for"))
    };
    Body::from_stream(stream::once(async { Ok(Bytes::from(START)) }).chain(stream::once(after_the_start)))
}

/// `é` and `ü` as one byte each.
fn latin1(declared: &str) -> Vec<u8> {
    let mut document =
        format!("<?xml version=\"1.0\" encoding=\"{declared}\"?>\n<rss version=\"2.0\"><channel>").into_bytes();
    document.extend_from_slice(b"<title>odd</title>");
    let (before, after) = ("<item><title>Caf", " open</title><link>https://news.invalid/odd/cafe</link>");
    document.extend_from_slice(before.as_bytes());
    document.extend_from_slice(b"\xe9 f\xfcr alle");
    document.extend_from_slice(after.as_bytes());
    document.extend_from_slice(b"<pubDate>Sat, 01 Jan 2000 00:00:00 +0000</pubDate></item>");
    document.extend_from_slice(END.as_bytes());
    document
}

fn bomb() -> Vec<u8> {
    let mut document = String::from("<?xml version=\"1.0\"?>\n<!DOCTYPE rss [<!ENTITY a0 \"ha\">");
    for level in 1..40 {
        let below = level - 1;
        document.push_str(&format!("<!ENTITY a{level} \"&a{below};&a{below};\">"));
    }
    document.push_str(&format!("]><rss version=\"2.0\"><channel><title>odd</title>{}{END}", item("&a39;")));
    document.into_bytes()
}

fn flaky() -> Response {
    static ASKED: AtomicU64 = AtomicU64::new(0);
    if ASKED.fetch_add(1, Relaxed).is_multiple_of(2) {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    xml(format!("{START}{}{END}", item("Flaky")).into_bytes())
}

/// Dated at the time of the visit, so that they pass through the cache to the readers.
fn flood(first: u64, now: DateTime<Utc>) -> Vec<u8> {
    let date = now.to_rfc2822();
    let mut document = String::from(START);
    for number in first..first + FLOOD_ITEMS {
        // Writing to a String cannot fail.
        let _ = write!(
            document,
            "<item><title>Number {number} of a flood that the old library keeps rising</title>\
             <link>https://news.invalid/flood/{number}</link><pubDate>{date}</pubDate></item>"
        );
    }
    document.push_str(END);
    document.into_bytes()
}
