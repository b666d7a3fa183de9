//! The endpoint of a service: its address, and the token that it wants.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use serde::de::DeserializeOwned;

use super::client::{self, Address};
use crate::token::{FoundToken, Token, TokenError};

/// What the address of a Unix socket begins with.
const SOCKET: &str = "unix:";

/// Time limit of a response. An endpoint answers within milliseconds, even while its service is stuck.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// Size limit of a response. A full history is well below a megabyte.
const SIZE_LIMIT: u64 = 32 * 1024 * 1024;

/// Size limit of a profile. Five minutes with a time for each sample have some hundred megabytes at most.
const FILE_LIMIT: u64 = 512 * 1024 * 1024;

/// Time for the endpoint to symbolize and send a profile.
const FILE_TIME: Duration = Duration::from_secs(120);

/// The file of the token, as an argument.
#[derive(Debug, Default, clap::Args)]
pub(super) struct TokenArgument {
    /// The file with the endpoint's token, if it wants one; HOLDUP_TOKEN and HOLDUP_TOKEN_FILE do the same
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// The endpoint of a service.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    /// As users give it, without a token.
    pub(super) url: String,
    address: Address,
    token: Option<Token>,
}

impl Endpoint {
    /// Where the address has no token, the argument gives it, or else the environment.
    pub(super) fn new(url: &str, token: &TokenArgument) -> anyhow::Result<Self> {
        if let Some(path) = url.strip_prefix(SOCKET) {
            // The mode of its file decides, so it wants no token.
            return Ok(Self { url: url.to_owned(), address: Address::Socket(path.into()), token: None });
        }
        let (base, secret) = parts(url);
        if !base.starts_with("http://") {
            bail!(
                "{base} is not a plain http address; give that of an endpoint, such as http://127.0.0.1:6060, or forward its port \
                 with ssh -L"
            );
        }
        let token = match (secret, &token.token_file) {
            (Some(secret), _) => {
                Some(Token::of_text(&secret).with_context(|| format!("the password for {base} is no token"))?)
            }
            (None, Some(path)) => checked(Token::of_file(path).map(Some))?,
            (None, None) => checked(Token::of_environment())?,
        };
        Ok(Self { url: base.clone(), address: Address::Http(base), token })
    }

    /// The response of a path.
    pub(super) fn text(&self, path: &str) -> anyhow::Result<String> {
        self.text_after(path, Duration::ZERO)
    }

    /// The response of a path that answers after `time`.
    pub(super) fn text_after(&self, path: &str, time: Duration) -> anyhow::Result<String> {
        let bytes = client::get(&self.address, path, self.token.as_ref(), TIME_LIMIT.saturating_add(time), SIZE_LIMIT)?;
        String::from_utf8(bytes).with_context(|| self.is_no_holdup(path))
    }

    /// The file of a path that answers after `time`.
    pub(super) fn file_after(&self, path: &str, time: Duration) -> anyhow::Result<Vec<u8>> {
        client::get(&self.address, path, self.token.as_ref(), FILE_TIME.saturating_add(time), FILE_LIMIT)
    }

    /// The parsed JSON response of a path.
    pub(super) fn json<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.parsed(&self.text(path)?, path)
    }

    /// A text response, parsed as JSON.
    pub(super) fn parsed<T: DeserializeOwned>(&self, text: &str, path: &str) -> anyhow::Result<T> {
        serde_json::from_str(text).with_context(|| self.is_no_holdup(path))
    }

    /// Sends a request without a body.
    pub(super) fn post(&self, path: &str) -> anyhow::Result<()> {
        client::post(&self.address, path, self.token.as_ref(), TIME_LIMIT, SIZE_LIMIT).map(drop)
    }

    fn is_no_holdup(&self, path: &str) -> String {
        format!("the response of {}{path} is not one of a holdup endpoint; check the address", self.url)
    }
}

/// Whether the text is the address of a Unix socket.
pub(super) fn is_socket(text: &str) -> bool {
    text.starts_with(SOCKET)
}

/// The text with the secrets of a URL left out, for captions and messages.
pub(super) fn without_secret(text: &str) -> String {
    // Other arguments may have an @ too.
    let is_url = text.contains("://")
        || text.rsplit_once('@').is_some_and(|(user, host)| user.contains(':') && host.contains(':'));
    match parts(text) {
        (base, Some(_)) if is_url => base,
        _ => text.to_owned(),
    }
}

/// A URL with its scheme and without the end of its path, and the password that it holds.
fn parts(url: &str) -> (String, Option<String>) {
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let rest = rest.trim_end_matches('/');
    let end = rest.find('/').unwrap_or(rest.len());
    let Some(at) = rest[..end].rfind('@') else { return (format!("{scheme}://{rest}"), None) };
    let secret = rest[..at].split_once(':').map_or(&rest[..at], |(_, password)| password);
    (format!("{scheme}://{}", &rest[at + 1..]), Some(decoded(secret)))
}

/// Decodes `%2F`. Other characters stand for themselves.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let digits = after.get(..2).filter(|_| *first == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The remedy is another one than the service's: it has a token already.
fn checked(found: Result<Option<FoundToken>, TokenError>) -> anyhow::Result<Option<Token>> {
    let found = found.map_err(|error| anyhow!("{}; give the token that the service reads", error.problem))?;
    Ok(found.map(|FoundToken { token, notice }| {
        if let Some(notice) = notice {
            eprintln!("note: {notice}");
        }
        token
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_may_hold_a_token_which_is_never_shown() {
        for (url, base, secret) in [
            ("127.0.0.1:6060", "http://127.0.0.1:6060", None),
            ("http://127.0.0.1:6060/", "http://127.0.0.1:6060", None),
            ("http://x:0123456789abcdef@host:6060/", "http://host:6060", Some("0123456789abcdef")),
            ("x:a%2Fb%3a%zz@host:6060", "http://host:6060", Some("a/b:%zz")),
            ("http://secret@[::1]:6060", "http://[::1]:6060", Some("secret")),
            ("http://x:p@ss@host", "http://host", Some("p@ss")),
            ("https://host/a@b", "https://host/a@b", None),
        ] {
            assert_eq!(parts(url), (base.to_owned(), secret.map(str::to_owned)), "{url}");
        }
        assert_eq!(without_secret("http://x:secret@host/"), "http://host");
        assert_eq!(without_secret("x:secret@host:6060"), "http://host:6060");
        assert_eq!(without_secret("tokio@1.54"), "tokio@1.54");
        assert_eq!(without_secret("cpu.svg"), "cpu.svg");
    }

    #[test]
    fn the_token_comes_from_the_address_or_the_argument() {
        let file = TokenArgument { token_file: Some("/nonexistent/token".into()) };
        let error = Endpoint::new("http://host", &file).expect_err("there is no such file").to_string();
        assert!(error.contains("/nonexistent/token"), "{error}");
        let endpoint = Endpoint::new("http://x:0123456789abcdef@host", &file).expect("the address has one");
        assert_eq!((endpoint.url.as_str(), endpoint.token.is_some()), ("http://host", true));
        let error = Endpoint::new("http://x:short@host", &file).expect_err("it is too short").to_string();
        assert!(error.contains("http://host") && !error.contains("short"), "{error}");
        let socket = Endpoint::new("unix:/run/my.sock", &file).expect("it wants no token");
        assert!(socket.token.is_none());
    }
}
