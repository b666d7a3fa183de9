//! Reads the body of a response up to a limit and never holds more.

use anyhow::ensure;
use bytesize::ByteSize;
use reqwest::{
    Response,
    header::{self, HeaderMap},
};

/// The whole body.
///
/// # Errors
/// If it is, or is announced to be, larger than `limit` bytes (`flag` sets the limit), or if it breaks off.
pub(crate) async fn read(mut response: Response, limit: usize, flag: &str) -> anyhow::Result<Vec<u8>> {
    let fits = |bytes: u64| {
        let size = u64::try_from(limit).unwrap_or(u64::MAX);
        ensure!(bytes <= size, "the answer is larger than {} ({flag} sets the limit)", ByteSize(size));
        Ok(())
    };
    fits(response.content_length().unwrap_or(0))?;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(reqwest::Error::without_url)? {
        fits(u64::try_from(body.len() + chunk.len()).unwrap_or(u64::MAX))?;
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The start of a body.
pub(crate) struct Start {
    pub(crate) bytes: Vec<u8>,
    /// Whether this is the whole body.
    pub(crate) is_all: bool,
}

/// The first `limit` bytes. The rest is not fetched.
///
/// # Errors
/// If the response breaks off before.
pub(crate) async fn read_start(mut response: Response, limit: usize) -> anyhow::Result<Start> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(reqwest::Error::without_url)? {
        let room = limit - bytes.len();
        match chunk.get(..room) {
            Some(part) => {
                bytes.extend_from_slice(part);
                return Ok(Start { bytes, is_all: false });
            }
            None => bytes.extend_from_slice(&chunk),
        }
    }
    Ok(Start { bytes, is_all: true })
}

/// The encoding named by `Content-Type`, as written.
pub(crate) fn charset(headers: &HeaderMap) -> Option<String> {
    let kind = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    kind.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches(['"', '\'']).to_owned())
    })
}
