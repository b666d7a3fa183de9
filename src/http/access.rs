//! Who may use the endpoint. Each request passes here first, whatever its path is.
//!
//! In this order: the host, which keeps rebound names out; the page that sent it; the token.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderValue, StatusCode, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::answer::{TEXT, answer};
use super::credentials::Credentials;
use super::hosts::Hosts;
use super::origin::{self, Foreign};
use crate::token::Token;

/// The path that says only whether the endpoint is alive. It needs no token.
pub(super) const HEALTH: &str = "/healthz";

/// The length at which a text of the request is cut in an answer, in characters.
const MAX_QUOTED: usize = 100;

/// Browsers ask for a name and a password.
const CHALLENGE: &str = "Basic realm=\"holdup\", charset=\"UTF-8\"";

/// Its value is that other sites cannot embed what the endpoint answers.
const RESOURCE_POLICY: &str = "cross-origin-resource-policy";

/// The pprof tool prints the text of an error only if it has this header.
const SHOWN_BY_PPROF: (&str, &str) = ("x-go-pprof", "1");

/// Who may use an endpoint.
#[derive(Debug)]
pub(super) struct Access {
    /// `None` for a Unix socket, which browsers cannot reach.
    hosts: Option<Hosts>,
    token: Option<Token>,
}

/// Why a request is refused.
#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    NoHost,
    Host(String),
    Foreign(Foreign),
    NoToken,
    WrongToken,
}

impl Access {
    pub(super) fn new(hosts: Hosts, token: Option<Token>) -> Self {
        Self { hosts: Some(hosts), token }
    }

    /// The mode of the socket's file decides.
    pub(super) fn of_socket() -> Self {
        Self { hosts: None, token: None }
    }

    fn check(&self, request: &Request) -> Result<(), Refusal> {
        let host = host_of(request)?;
        let (uri, headers) = (request.uri(), request.headers());
        if let (None, Some(hosts), Some(host)) = (&self.token, &self.hosts, &host)
            && !hosts.allows(host)
        {
            return Err(Refusal::Host(host.host().to_owned()));
        }
        origin::check(request.method(), uri, headers, host.as_ref()).map_err(Refusal::Foreign)?;
        match &self.token {
            // A rebound name has no token, because browsers keep passwords by name. So its host needs no look.
            Some(token) if uri.path() != HEALTH => match Credentials::of(headers, token) {
                Credentials::Right => Ok(()),
                Credentials::Wrong => Err(Refusal::WrongToken),
                Credentials::Missing => Err(Refusal::NoToken),
            },
            _ => Ok(()),
        }
    }
}

/// The host that a request asks. Before HTTP/1.1 it may have none, which no browser sends.
fn host_of(request: &Request) -> Result<Option<Authority>, Refusal> {
    // Such an address takes the place of the header (RFC 9112, 3.2.2).
    if let Some(authority) = request.uri().authority() {
        return Ok(Some(authority.clone()));
    }
    let mut given = request.headers().get_all(header::HOST).iter();
    match (given.next(), given.next()) {
        (None, _) if request.version() < Version::HTTP_11 => Ok(None),
        (Some(host), None) => {
            let host = Authority::try_from(host.as_bytes()).ok().filter(|host| !host.as_str().contains('@'));
            host.map(Some).ok_or(Refusal::NoHost)
        }
        _ => Err(Refusal::NoHost),
    }
}

/// Lets a request through, or refuses it with a sentence.
pub(super) async fn guard(State(access): State<Arc<Access>>, request: Request, next: Next) -> Response {
    let mut response = match access.check(&request) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    };
    response.headers_mut().insert(RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
    response
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = match self {
            Self::NoHost => StatusCode::BAD_REQUEST,
            Self::Host(_) => StatusCode::MISDIRECTED_REQUEST,
            Self::Foreign(_) => StatusCode::FORBIDDEN,
            Self::NoToken | Self::WrongToken => StatusCode::UNAUTHORIZED,
        };
        let mut response = (status, [SHOWN_BY_PPROF], answer(TEXT, self.sentence() + "\n")).into_response();
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(CHALLENGE));
        }
        response
    }
}

impl Refusal {
    /// What is wrong, and what to do.
    fn sentence(&self) -> String {
        let ways = "use holdup --token-file FILE, a header Authorization: Bearer TOKEN, or the token as the password";
        match self {
            Self::NoHost => "the request needs one header Host with a name or an address".to_owned(),
            Self::Host(host) => format!(
                "this endpoint does not answer for the name {}: use an IP address or localhost, give it a token, or allow the \
                 name with WatchBuilder::allow_host",
                quoted(host)
            ),
            Self::Foreign(Foreign::Site(site)) => format!(
                "a page of another site sent this request ({}): open the endpoint's address yourself",
                quoted(site)
            ),
            Self::Foreign(Foreign::Origin(origin)) => format!(
                "a page of {} sent this request, which is not the host that it asks; a proxy must pass the header Host on",
                quoted(origin)
            ),
            Self::NoToken => format!("this endpoint needs its token: {ways}"),
            Self::WrongToken => format!("this is not the token of this endpoint: {ways}"),
        }
    }
}

/// A text of the request, cut.
fn quoted(text: &str) -> String {
    text.chars().take(MAX_QUOTED).filter(|character| !character.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn request(version: Version, uri: &str, headers: &[(&str, &str)]) -> Request {
        let mut request = Request::builder().version(version).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Body::empty()).expect("is a request")
    }

    fn open() -> Access {
        Access::new(Hosts::default(), None)
    }

    #[test]
    fn a_host_is_needed_and_allowed() {
        let check = |uri, headers: &[(&str, &str)]| open().check(&request(Version::HTTP_11, uri, headers));
        assert_eq!(check("/", &[("host", "127.0.0.1:6060")]), Ok(()));
        assert_eq!(check("/", &[("host", "evil.example:6060")]), Err(Refusal::Host("evil.example".to_owned())));
        assert_eq!(check("/healthz", &[("host", "evil.example")]), Err(Refusal::Host("evil.example".to_owned())));
        for headers in [&[][..], &[("host", "")], &[("host", "a"), ("host", "127.0.0.1")], &[("host", "x@127.0.0.1")]] {
            assert_eq!(check("/", headers), Err(Refusal::NoHost), "{headers:?}");
        }
        let absolute = check("http://evil.example/", &[("host", "127.0.0.1")]);
        assert_eq!(absolute, Err(Refusal::Host("evil.example".to_owned())), "the address takes the header's place");
        assert_eq!(open().check(&request(Version::HTTP_10, "/", &[])), Ok(()), "no browser sends that");
        let socket = Access::of_socket();
        assert_eq!(socket.check(&request(Version::HTTP_11, "/", &[("host", "my-service")])), Ok(()));
    }

    #[test]
    fn refusals_say_what_to_do() {
        let sentence = |refusal: Refusal| refusal.sentence();
        assert!(
            sentence(Refusal::Host("evil.example".to_owned())).contains("evil.example: use an IP address or localhost")
        );
        assert!(
            sentence(Refusal::NoToken).contains("--token-file") && sentence(Refusal::WrongToken).contains("Bearer")
        );
        let long = sentence(Refusal::Foreign(Foreign::Origin("x\n".repeat(10_000))));
        assert!(long.len() < 300 && !long.contains('\n'), "{long}");
        let response = Refusal::NoToken.into_response();
        assert_eq!(response.headers()[header::WWW_AUTHENTICATE], CHALLENGE);
        assert_eq!(response.headers()["x-go-pprof"], "1");
    }
}
