//! The two HTTP clients. Creating one may read certificates from disk, so it happens before there are workers.

use anyhow::Context;
use reqwest::{Client, ClientBuilder};

const USER_AGENT: &str = "news_pipeline (holdup's reference service)";

/// The client for servers inside this process, without a proxy.
pub(crate) fn local() -> anyhow::Result<Client> {
    build(Client::builder().no_proxy())
}

/// The client for real feeds: the proxy of the environment, and TLS in builds with the feature `tls`.
pub(crate) fn internet() -> anyhow::Result<Client> {
    build(Client::builder())
}

fn build(builder: ClientBuilder) -> anyhow::Result<Client> {
    // Fails only if a provider is installed already.
    #[cfg(feature = "tls")]
    let _ = rustls::crypto::ring::default_provider().install_default();
    builder.user_agent(USER_AGENT).build().context("cannot make an HTTP client")
}
