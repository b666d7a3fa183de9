//! One conditional request for a feed, within its limits of time and size.

use std::time::Duration;

use anyhow::anyhow;
use reqwest::{
    Client, Response, StatusCode,
    header::{self, HeaderMap, HeaderName, HeaderValue},
};
use tokio::time::timeout;

use super::{Limits, Source};
use crate::body_limit;

/// The validators of the last response, sent with the next request.
#[derive(Clone, Default, Debug)]
pub(super) struct Validators {
    etag: Option<HeaderValue>,
    last_modified: Option<HeaderValue>,
}

impl Validators {
    fn of(headers: &HeaderMap) -> Self {
        let value = |name: HeaderName| headers.get(name).cloned();
        Self { etag: value(header::ETAG), last_modified: value(header::LAST_MODIFIED) }
    }

    fn conditions(self) -> HeaderMap {
        let conditions = [(header::IF_NONE_MATCH, self.etag), (header::IF_MODIFIED_SINCE, self.last_modified)];
        conditions.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

pub(super) enum Download {
    /// The source has not changed since the last visit.
    Unchanged,
    New {
        body: Vec<u8>,
        /// The encoding in the head of the response, if any.
        charset: Option<String>,
        validators: Validators,
    },
}

/// The error of a visit.
pub(super) struct Failure {
    pub(super) error: anyhow::Error,
    /// The `Retry-After` of the source.
    pub(super) retry_after: Option<Duration>,
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self { error, retry_after: None }
    }
}

pub(super) async fn download(client: &Client, source: &Source, limits: &Limits) -> Result<Download, Failure> {
    match timeout(limits.timeout, download_unhurried(client, source, limits.size)).await {
        Ok(outcome) => outcome,
        Err(_) => {
            Err(anyhow!("the answer was not complete within {:?} (--feed-timeout sets the limit)", limits.timeout)
                .into())
        }
    }
}

async fn download_unhurried(client: &Client, source: &Source, size: usize) -> Result<Download, Failure> {
    let request = client.get(source.url().clone()).headers(source.validators().conditions());
    // Log lines and `/sources` name the source already, and its address may contain a secret.
    let response = request.send().await.map_err(|error| anyhow::Error::from(error.without_url()))?;
    if response.status() == StatusCode::NOT_MODIFIED {
        return Ok(Download::Unchanged);
    }
    if !response.status().is_success() {
        let error = anyhow!("the source answered {}", response.status());
        return Err(Failure { error, retry_after: retry_after(&response) });
    }
    let charset = body_limit::charset(response.headers());
    let validators = Validators::of(response.headers());
    let body = body_limit::read(response, size, "--feed-size-limit").await?;
    Ok(Download::New { body, charset, validators })
}

/// The header in seconds. The rare form as a date counts as absent.
fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}
