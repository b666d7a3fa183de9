//! The embedded feed server: six feeds of invented headlines over real HTTP, with conditional responses, and
//! optional feeds that misbehave (`/odd/KIND`).

mod feeds;

mod odd;

use std::net::TcpListener;

use axum::{
    Router,
    extract::Path,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use chrono::Utc;
use clap::ValueEnum;
use holdup::requests::NameRequests;
use reqwest::Url;

use self::feeds::{FEEDS, Feed};
pub(crate) use self::odd::OddFeed;
use crate::{fetcher::Source, shutdown::Drain};

pub(crate) struct FeedServer {
    listener: TcpListener,
}

/// Serves until the drain. Does nothing without a server, when real feeds are named.
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

    /// All healthy feeds, and the requested odd ones.
    pub(crate) fn sources(&self, odd: &[OddFeed]) -> anyhow::Result<Vec<Source>> {
        let address = self.listener.local_addr()?;
        let healthy = FEEDS.iter().map(|feed| (feed.name.to_owned(), format!("http://{address}/feeds/{}", feed.name)));
        let odd = odd.iter().map(|kind| (kind.name(), format!("http://{address}/odd/{}", kind.name())));
        healthy.chain(odd).map(|(name, url)| Ok(Source::new(&name, Url::parse(&url)?))).collect()
    }

    /// Serves until the drain. It aborts running responses, because an odd one may never end.
    async fn run(self, drain: Drain) -> anyhow::Result<()> {
        let listener = tokio::net::TcpListener::from_std(self.listener)?;
        let routes = Router::new()
            .route("/feeds/{name}", get(feed))
            .route("/odd/{kind}", get(odd_feed))
            .layer(NameRequests::by_matched_path());
        tokio::select! {
            served = async { axum::serve(listener, routes).await } => served?,
            () = drain.requested() => {}
        }
        Ok(())
    }
}

async fn feed(Path(name): Path<String>, request: HeaderMap) -> Response {
    let Some(feed) = Feed::named(&name) else {
        return (StatusCode::NOT_FOUND, "There is no such feed.\n").into_response();
    };
    let now = Utc::now();
    let (number, changed) = feed.version(now);
    let etag = format!("\"{name}-{number}\"");
    if request.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == etag.as_bytes()) {
        return (StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response();
    }
    let head = [
        (header::CONTENT_TYPE, feed.content_type().to_owned()),
        (header::ETAG, etag),
        (header::LAST_MODIFIED, changed.format("%a, %d %b %Y %H:%M:%S GMT").to_string()),
    ];
    (head, feed.document(now)).into_response()
}

async fn odd_feed(Path(kind): Path<String>) -> Response {
    match OddFeed::from_str(&kind, false) {
        Ok(kind) => kind.answer().await,
        Err(_) => (StatusCode::NOT_FOUND, "There is no such odd feed.\n").into_response(),
    }
}
