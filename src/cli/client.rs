//! An HTTP client for endpoints, with limits on time and size. It speaks over TCP and over a Unix socket.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use ureq::http::StatusCode;
use ureq::unversioned::resolver::DefaultResolver;

use super::socket::SocketConnector;
use crate::token::Token;

/// The length at which an endpoint's error text is cut, in characters.
const MAX_REASON: usize = 300;

/// What requests over a socket have as their host.
const SOCKET_HOST: &str = "http://127.0.0.1";

/// Where an endpoint listens.
#[derive(Clone, Debug)]
pub(super) enum Address {
    /// `http://127.0.0.1:6060`
    Http(String),
    /// A Unix socket.
    Socket(PathBuf),
}

/// The response of a path.
pub(super) fn get(
    address: &Address,
    path: &str,
    token: Option<&Token>,
    time: Duration,
    size: u64,
) -> anyhow::Result<Vec<u8>> {
    let mut request = agent(address, time).get(address.url(path));
    if let Some(token) = token {
        request = request.header("Authorization", token.bearer());
    }
    read(request.call(), &address.shown(path), token.is_some(), size)
}

/// The response to a request without a body.
pub(super) fn post(
    address: &Address,
    path: &str,
    token: Option<&Token>,
    time: Duration,
    size: u64,
) -> anyhow::Result<Vec<u8>> {
    let mut request = agent(address, time).post(address.url(path));
    if let Some(token) = token {
        request = request.header("Authorization", token.bearer());
    }
    read(request.send_empty(), &address.shown(path), token.is_some(), size)
}

impl Address {
    fn url(&self, path: &str) -> String {
        match self {
            Self::Http(base) => format!("{base}{path}"),
            Self::Socket(_) => format!("{SOCKET_HOST}{path}"),
        }
    }

    /// For messages.
    fn shown(&self, path: &str) -> String {
        match self {
            Self::Http(base) => format!("{base}{path}"),
            Self::Socket(socket) => format!("{path} at unix:{}", socket.display()),
        }
    }
}

fn agent(address: &Address, limit: Duration) -> ureq::Agent {
    let config = ureq::Agent::config_builder().timeout_global(Some(limit)).http_status_as_error(false);
    match address {
        Address::Http(_) => ureq::Agent::new_with_config(config.build()),
        Address::Socket(path) => {
            let connector = SocketConnector::new(path.clone());
            // A proxy of the environment does not know the socket.
            ureq::Agent::with_parts(config.proxy(None).build(), connector, DefaultResolver::default())
        }
    }
}

type Answer = Result<ureq::http::Response<ureq::Body>, ureq::Error>;

fn read(answer: Answer, address: &str, has_token: bool, limit: u64) -> anyhow::Result<Vec<u8>> {
    let mut answer = answer.with_context(|| {
        format!(
            "{address} does not answer; is the service running, and does it listen there (Watch::builder().listen(…))"
        )
    })?;
    match answer.status() {
        StatusCode::UNAUTHORIZED if has_token => {
            bail!(
                "{address} refuses this token; give the one that the service reads at its start, with --token-file FILE"
            )
        }
        StatusCode::UNAUTHORIZED => {
            bail!("{address} needs a token; give it with --token-file FILE, HOLDUP_TOKEN or HOLDUP_TOKEN_FILE")
        }
        _ => {}
    }
    let body = answer.body_mut().with_config().limit(limit).read_to_vec();
    let body = body.with_context(|| format!("the response of {address} ended early"))?;
    if !answer.status().is_success() {
        let text = String::from_utf8_lossy(&body);
        let reason: String = text.lines().next().unwrap_or_default().chars().take(MAX_REASON).collect();
        bail!("{address} answers {}: {reason}", answer.status());
    }
    Ok(body)
}
