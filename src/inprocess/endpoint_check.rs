//! The lines of the self-check about the endpoint and about tokio-console: where they listen, or why they do not.

#[cfg(feature = "http")]
use std::io;

#[cfg(feature = "http")]
use crate::listen::EndpointAddress;
use crate::listen::{Place, is_local};
use crate::model::check::{Check, Coverage};
use crate::sys::PortOwner;

/// What listens.
struct Face {
    subject: &'static str,
    /// Behind the address in its URL.
    path: &'static str,
    /// The call that returns its address.
    asks: &'static str,
    /// What to do where everybody is let in.
    closes: &'static str,
}

#[cfg(feature = "http")]
const ENDPOINT: Face = Face {
    subject: "endpoint",
    path: "/",
    asks: "Watch::endpoint()",
    closes: "name a file with a token in HOLDUP_TOKEN_FILE or token_file(…), or listen on 127.0.0.1 and forward the port",
};

#[cfg(feature = "console")]
const CONSOLE: Face = Face {
    subject: "tokio-console",
    path: "",
    asks: "Console::address()",
    closes: "listen on 127.0.0.1 and forward the port, unless the network is closed",
};

/// The line about the endpoint at an address and port.
#[cfg(feature = "http")]
pub(crate) fn endpoint(place: &Place, has_token: bool) -> Check {
    ENDPOINT.check(place, has_token)
}

/// The line about the endpoint on a Unix socket.
#[cfg(feature = "http")]
pub(crate) fn socket(address: &EndpointAddress, error: Option<&io::Error>) -> Check {
    let Some(error) = error else { return ENDPOINT.full(format!("{address}, for the user of this process")) };
    let remedy = match error.kind() {
        io::ErrorKind::AddrInUse => {
            "stop the process that listens there (ss -xlp), or choose another path with listen(…)"
        }
        _ => "choose another path with listen(…)",
    };
    ENDPOINT.line(Coverage::Missing, format!("none: {address}: {error}; the service runs without it"), remedy)
}

/// The line about an endpoint that does not serve, because it would let in the wrong ones.
#[cfg(feature = "http")]
pub(crate) fn closed(address: &str, problem: &str, remedy: &str) -> Check {
    ENDPOINT.line(Coverage::Missing, format!("none: {address}: {problem}; the service runs without it"), remedy)
}

/// The line about tokio-console. `is_seen` says whether the program's `tracing` subscriber passes on what it needs. That is
/// the subscriber of the thread that starts the watch, which in most programs is the global one.
#[cfg(feature = "console")]
pub(crate) fn console(place: &Place, is_seen: bool) -> Check {
    match place {
        Place::At { address, .. } if !is_seen => CONSOLE.line(
            Coverage::Missing,
            format!("http://{address} is served, but the program's tracing subscriber drops what Tokio traces"),
            "add Console::layer() to it, and give filters to the other layers with .with_filter(…)",
        ),
        _ => CONSOLE.check(place, false),
    }
}

impl Face {
    fn check(&self, place: &Place, has_token: bool) -> Check {
        let with = if has_token { ", with a token" } else { "" };
        match place {
            Place::Nowhere { wanted, is_taken: false, error } => {
                let detail = format!("none: {}: {error}; the service runs without it", wanted.address);
                self.line(Coverage::Missing, detail, "choose another address with listen(…)")
            }
            Place::Nowhere { wanted, .. } => {
                let owner = wanted.port().and_then(PortOwner::of);
                let next = match wanted.ports() {
                    1 => String::new(),
                    ports => format!(", and so are the next {} ports", ports - 1),
                };
                let (address, by) = (&wanted.address, by(owner.as_ref()));
                let detail = format!("none: {address} is in use{by}{next}; the service runs without it");
                let or_next = if wanted.or_next {
                    "port 0 for a free one"
                } else {
                    "the next free port with listen_or_next(…)"
                };
                let remedy = format!("{}, choose another address with listen(…), or {or_next}", stop(owner.as_ref()));
                self.line(Coverage::Missing, detail, &remedy)
            }
            Place::At { address, .. } if !is_local(address) && !has_token => self.line(
                Coverage::Limited,
                format!("http://{address}{} answers anybody who can reach this machine, without a password", self.path),
                self.closes,
            ),
            Place::At { address, next_of: Some(port) } => {
                let owner = PortOwner::of(*port);
                let by = by(owner.as_ref());
                let detail = format!("http://{address}{}{with}, because port {port} is in use{by}", self.path);
                let remedy = format!("{}, or ask {} for the address", stop(owner.as_ref()), self.asks);
                self.line(Coverage::Limited, detail, &remedy)
            }
            Place::At { address, next_of: None } => self.full(format!("http://{address}{}{with}", self.path)),
        }
    }

    fn full(&self, detail: String) -> Check {
        Check { subject: self.subject, coverage: Coverage::Full, detail, remedy: None }
    }

    fn line(&self, coverage: Coverage, detail: String, remedy: &str) -> Check {
        Check { subject: self.subject, coverage, detail, remedy: Some(remedy.to_owned()) }
    }
}

/// ` by process 4242 (api)`, or nothing.
fn by(owner: Option<&PortOwner>) -> String {
    match owner {
        Some(owner) if owner.pid == std::process::id() => " by this process".to_owned(),
        Some(PortOwner { pid, name }) => format!(" by process {pid} ({name})"),
        None => String::new(),
    }
}

fn stop(owner: Option<&PortOwner>) -> String {
    match owner {
        Some(owner) if owner.pid == std::process::id() => "close the other listener of this process".to_owned(),
        Some(owner) => format!("stop process {}", owner.pid),
        None => "stop the process that listens there (ss -ltnp)".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_taken_names_its_owner_and_the_remedies() {
        let owner = PortOwner { pid: 1, name: "init".to_owned() };
        assert_eq!(by(Some(&owner)), " by process 1 (init)");
        assert_eq!(stop(Some(&owner)), "stop process 1");
        assert!(by(None).is_empty() && stop(None).contains("ss -ltnp"));
    }

    #[cfg(feature = "http")]
    #[test]
    fn other_errors_are_not_called_taken() {
        let wanted = crate::listen::Wanted { address: "127.0.0.1:80".to_owned(), or_next: false };
        let place = wanted.place(&Err(std::io::ErrorKind::PermissionDenied.into()));
        let line = endpoint(&place, false);
        assert_eq!((line.subject, line.coverage), ("endpoint", Coverage::Missing));
        assert!(line.detail.contains("127.0.0.1:80: permission denied"), "{line}");
        assert!(!line.to_string().contains("in use"), "{line}");
    }

    #[cfg(feature = "http")]
    #[test]
    fn beyond_loopback_a_token_decides() {
        let at = |address: &str| Place::At { address: address.parse().expect("an address"), next_of: None };
        let open = endpoint(&at("0.0.0.0:6060"), false);
        assert_eq!(open.coverage, Coverage::Limited);
        assert!(open.to_string().contains("HOLDUP_TOKEN_FILE"), "{open}");
        let line = |address: &str, has_token| endpoint(&at(address), has_token).to_string();
        assert_eq!(line("0.0.0.0:6060", true), "endpoint: http://0.0.0.0:6060/, with a token");
        assert_eq!(line("[::ffff:127.0.0.1]:6060", false), "endpoint: http://[::ffff:127.0.0.1]:6060/");
        let closed = closed("0.0.0.0:6060", "there is no token", "write one").to_string();
        let expected =
            "endpoint: none: 0.0.0.0:6060: there is no token; the service runs without it; to see more, write one";
        assert_eq!(closed, expected);
    }
}
