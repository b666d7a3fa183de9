//! The two HTTP clients. Making one reads certificates from disk, so it happens before the runtime.

use anyhow::Context;
use reqwest::{Client, ClientBuilder};

const USER_AGENT: &str = "news_pipeline (holdup's reference service)";

/// For servers inside this process: never through a proxy.
pub(crate) fn local() -> anyhow::Result<Client> {
    build(Client::builder().no_proxy())
}

/// For real feeds: TLS, and the proxy that the environment names.
pub(crate) fn internet() -> anyhow::Result<Client> {
    build(Client::builder())
}

fn build(builder: ClientBuilder) -> anyhow::Result<Client> {
    // Fails only when a provider is installed already, which is just as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    builder.user_agent(USER_AGENT).build().context("cannot make an HTTP client")
}
