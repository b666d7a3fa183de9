//! Asks an endpoint, within limits of time and size.

use std::time::Duration;

use anyhow::{Context, bail};
use serde::de::DeserializeOwned;

/// An endpoint answers within milliseconds, also while its service is stuck.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// A full history is well below a megabyte.
const SIZE_LIMIT: u64 = 32 * 1024 * 1024;

/// Characters of an endpoint's reason for a refusal that are shown.
const MAX_REASON: usize = 300;

/// A profile of five minutes with a time for each sample has some hundred megabytes at most.
const FILE_LIMIT: u64 = 512 * 1024 * 1024;

/// Time for naming what was collected, and for sending it.
const FILE_TIME: Duration = Duration::from_secs(120);

/// The answer of `path` at the endpoint `url`, as it came.
pub(super) fn text(url: &str, path: &str) -> anyhow::Result<String> {
    text_after(url, path, Duration::ZERO)
}

/// The same from a path that takes its time: so long, and what an answer takes besides.
pub(super) fn text_after(url: &str, path: &str, time: Duration) -> anyhow::Result<String> {
    let address = address(url, path)?;
    let answer = agent(TIME_LIMIT.saturating_add(time)).get(&address).call();
    let bytes = read(answer, &address, SIZE_LIMIT)?;
    String::from_utf8(bytes).with_context(|| format!("{address} is not an answer of holdup's endpoint"))
}

/// A file from a path that takes so long.
pub(super) fn file_after(url: &str, path: &str, time: Duration) -> anyhow::Result<Vec<u8>> {
    let address = address(url, path)?;
    read(agent(FILE_TIME.saturating_add(time)).get(&address).call(), &address, FILE_LIMIT)
}

/// Asks for something to be done.
pub(super) fn post(url: &str, path: &str) -> anyhow::Result<()> {
    let address = address(url, path)?;
    read(agent(TIME_LIMIT).post(&address).send_empty(), &address, SIZE_LIMIT).map(drop)
}

fn address(url: &str, path: &str) -> anyhow::Result<String> {
    let base = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    if !base.starts_with("http://") {
        bail!("{url} is not a plain http address; a diagnostics endpoint is one, such as http://127.0.0.1:6060");
    }
    Ok(format!("{}{path}", base.trim_end_matches('/')))
}

fn agent(limit: Duration) -> ureq::Agent {
    let config = ureq::Agent::config_builder().timeout_global(Some(limit)).http_status_as_error(false).build();
    ureq::Agent::new_with_config(config)
}

type Answer = Result<ureq::http::Response<ureq::Body>, ureq::Error>;

fn read(answer: Answer, address: &str, limit: u64) -> anyhow::Result<Vec<u8>> {
    let mut answer = answer.with_context(|| {
        format!(
            "{address} does not answer; is the service running, and does it listen there (Watch::builder().listen(…))"
        )
    })?;
    let body = answer.body_mut().with_config().limit(limit).read_to_vec();
    let body = body.with_context(|| format!("the answer of {address} broke off"))?;
    if !answer.status().is_success() {
        let text = String::from_utf8_lossy(&body);
        let said: String = text.lines().next().unwrap_or_default().chars().take(MAX_REASON).collect();
        bail!("{address} answers {}: {said}", answer.status());
    }
    Ok(body)
}

/// The same, understood.
pub(super) fn json<T: DeserializeOwned>(url: &str, path: &str) -> anyhow::Result<T> {
    let text = text(url, path)?;
    serde_json::from_str(&text).with_context(|| format!("{url}{path} is not an answer of holdup's endpoint"))
}
