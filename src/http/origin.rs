//! Whether a page of another web site sent a request. Browsers say so, and pages cannot change what they say.
//!
//! Such a page cannot read the answer, because the endpoint never allows it. But it could start profiles, or end them.

use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method, Uri, header};

/// Headers of the specification Fetch Metadata.
const SITE: &str = "sec-fetch-site";
const MODE: &str = "sec-fetch-mode";
const DESTINATION: &str = "sec-fetch-dest";

/// Why a request is refused, for a sentence.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Foreign {
    /// The browser says that another site sent it.
    Site(String),
    /// Its origin is another one than the host that it asks.
    Origin(String),
}

/// Whether another page sent a request to `host`.
pub(super) fn check(method: &Method, uri: &Uri, headers: &HeaderMap, host: Option<&Authority>) -> Result<(), Foreign> {
    let value = |name: &str| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    if let Some(site) = value(SITE)
        && !matches!(site.as_str(), "same-origin" | "none")
        && !follows_link(method, uri, headers)
    {
        return Err(Foreign::Site(site));
    }
    match value(header::ORIGIN.as_str()) {
        Some(origin) if !is_of(&origin, host) => Err(Foreign::Origin(origin)),
        _ => Ok(()),
    }
}

/// A link on another site may lead to the page itself. The page can be in no frame, and shows its data to the user alone.
fn follows_link(method: &Method, uri: &Uri, headers: &HeaderMap) -> bool {
    let is = |name: &str, value: &str| headers.get(name).is_some_and(|given| given == value);
    method == Method::GET && uri.path() == "/" && is(MODE, "navigate") && is(DESTINATION, "document")
}

/// Whether an origin such as `https://diagnostics.example` has this host and port. A proxy may have changed the scheme.
fn is_of(origin: &str, host: Option<&Authority>) -> bool {
    let asked = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    asked.zip(host).is_some_and(|(origin, host)| origin.eq_ignore_ascii_case(host.as_str()))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn checked(method: &Method, path: &str, given: &[(&'static str, &str)]) -> Result<(), Foreign> {
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            headers.insert(*name, HeaderValue::from_str(value).expect("is text"));
        }
        let host = Authority::from_static("127.0.0.1:6060");
        check(method, &path.parse().expect("is a path"), &headers, Some(&host))
    }

    #[test]
    fn other_sites_may_only_link_to_the_page() {
        let link = [(SITE, "cross-site"), (MODE, "navigate"), (DESTINATION, "document")];
        let frame = [(SITE, "cross-site"), (MODE, "navigate"), (DESTINATION, "iframe")];
        let image = [(SITE, "same-site"), (MODE, "no-cors"), (DESTINATION, "image")];
        assert_eq!(checked(&Method::GET, "/", &link), Ok(()));
        let refused = [
            (Method::GET, "/debug/holdup/stalls", &link),
            (Method::POST, "/", &link),
            (Method::GET, "/", &frame),
            (Method::GET, "/debug/holdup/flamegraph.svg?seconds=300", &image),
        ];
        for (method, path, headers) in refused {
            let site = headers[0].1.to_owned();
            assert_eq!(checked(&method, path, headers), Err(Foreign::Site(site)), "{method} {path}");
        }
        for site in ["same-origin", "none"] {
            assert_eq!(checked(&Method::POST, "/debug/holdup/profile/stop", &[(SITE, site)]), Ok(()), "{site}");
        }
        assert!(checked(&Method::GET, "/debug/holdup/stalls", &[(SITE, "new-word")]).is_err());
    }

    #[test]
    fn an_origin_is_that_of_the_host() {
        let origin = |origin| checked(&Method::POST, "/debug/holdup/profile/stop", &[("origin", origin)]);
        for own in ["http://127.0.0.1:6060", "https://127.0.0.1:6060"] {
            assert_eq!(origin(own), Ok(()), "{own}");
        }
        for other in [
            "http://127.0.0.1:3000",
            "http://127.0.0.1",
            "http://localhost:6060",
            "https://evil.example",
            "null",
            "127.0.0.1:6060",
            "http://127.0.0.1:6060.evil.example",
            "",
        ] {
            assert_eq!(origin(other), Err(Foreign::Origin(other.to_owned())), "{other}");
        }
    }
}
