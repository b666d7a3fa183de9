//! An HTTP client for the endpoint, with limits on time and size.

use std::time::Duration;

use anyhow::{Context, bail};
use serde::de::DeserializeOwned;

/// Time limit of a response. An endpoint answers within milliseconds, even while its service is stuck.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// Size limit of a response. A full history is well below a megabyte.
const SIZE_LIMIT: u64 = 32 * 1024 * 1024;

/// The length at which an endpoint's error text is cut, in characters.
const MAX_REASON: usize = 300;

/// Size limit of a profile. Five minutes with a time for each sample have some hundred megabytes at most.
const FILE_LIMIT: u64 = 512 * 1024 * 1024;

/// Time for the endpoint to symbolize and send a profile.
const FILE_TIME: Duration = Duration::from_secs(120);

/// The response of `path` at the endpoint `url`.
pub(super) fn text(url: &str, path: &str) -> anyhow::Result<String> {
    text_after(url, path, Duration::ZERO)
}

/// The response of a path that answers after `time`.
pub(super) fn text_after(url: &str, path: &str, time: Duration) -> anyhow::Result<String> {
    let address = address(url, path)?;
    let answer = agent(TIME_LIMIT.saturating_add(time)).get(&address).call();
    let bytes = read(answer, &address, SIZE_LIMIT)?;
    String::from_utf8(bytes).with_context(|| not_holdup(&address))
}

/// The file of a path that answers after `time`.
pub(super) fn file_after(url: &str, path: &str, time: Duration) -> anyhow::Result<Vec<u8>> {
    let address = address(url, path)?;
    read(agent(FILE_TIME.saturating_add(time)).get(&address).call(), &address, FILE_LIMIT)
}

/// The parsed JSON response of `path`.
pub(super) fn json<T: DeserializeOwned>(url: &str, path: &str) -> anyhow::Result<T> {
    parsed(&text(url, path)?, url, path)
}

/// A text response, parsed as JSON.
pub(super) fn parsed<T: DeserializeOwned>(text: &str, url: &str, path: &str) -> anyhow::Result<T> {
    serde_json::from_str(text).with_context(|| not_holdup(&format!("{url}{path}")))
}

/// Sends a request without a body.
pub(super) fn post(url: &str, path: &str) -> anyhow::Result<()> {
    let address = address(url, path)?;
    read(agent(TIME_LIMIT).post(&address).send_empty(), &address, SIZE_LIMIT).map(drop)
}

fn not_holdup(address: &str) -> String {
    format!("the response of {address} is not one of a holdup endpoint; check the address")
}

fn address(url: &str, path: &str) -> anyhow::Result<String> {
    let base = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    if !base.starts_with("http://") {
        bail!("{url} is not a plain http address; give the address of an endpoint, such as http://127.0.0.1:6060");
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
    let body = body.with_context(|| format!("the response of {address} ended early"))?;
    if !answer.status().is_success() {
        let text = String::from_utf8_lossy(&body);
        let reason: String = text.lines().next().unwrap_or_default().chars().take(MAX_REASON).collect();
        bail!("{address} answers {}: {reason}", answer.status());
    }
    Ok(body)
}
