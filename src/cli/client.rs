//! Asks an endpoint, within limits of time and size.

use std::time::Duration;

use anyhow::{Context, bail};
use serde::de::DeserializeOwned;

/// An endpoint answers within milliseconds, also while its service is stuck.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// A full history is well below a megabyte.
const SIZE_LIMIT: u64 = 32 * 1024 * 1024;

/// The answer of `path` at the endpoint `url`, as it came.
pub(super) fn text(url: &str, path: &str) -> anyhow::Result<String> {
    let base = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    if !base.starts_with("http://") {
        bail!("{url} is not a plain http address; a diagnostics endpoint is one, such as http://127.0.0.1:6060");
    }
    let address = format!("{}{path}", base.trim_end_matches('/'));
    let config = ureq::Agent::config_builder().timeout_global(Some(TIME_LIMIT)).build();
    let mut answer = ureq::Agent::new_with_config(config).get(&address).call().with_context(|| {
        format!(
            "{address} does not answer; is the service running, and does it listen there (Watch::builder().listen(…))"
        )
    })?;
    let body = answer.body_mut().with_config().limit(SIZE_LIMIT).read_to_string();
    body.with_context(|| format!("the answer of {address} broke off"))
}

/// The same, understood.
pub(super) fn json<T: DeserializeOwned>(url: &str, path: &str) -> anyhow::Result<T> {
    let text = text(url, path)?;
    serde_json::from_str(&text).with_context(|| format!("{url}{path} is not an answer of holdup's endpoint"))
}
