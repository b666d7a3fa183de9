//! The lines of the self-check about the endpoint and about tokio-console: where they listen, or why they do not.

use crate::listen::Place;
use crate::model::check::{Check, Coverage};
use crate::sys::PortOwner;

/// What listens.
struct Face {
    subject: &'static str,
    /// Behind the address in its URL.
    path: &'static str,
    /// The call that returns its address.
    asks: &'static str,
}

#[cfg(feature = "http")]
const ENDPOINT: Face = Face { subject: "endpoint", path: "/", asks: "Watch::endpoint()" };

#[cfg(feature = "console")]
const CONSOLE: Face = Face { subject: "tokio-console", path: "", asks: "Console::address()" };

/// The line about the endpoint.
#[cfg(feature = "http")]
pub(crate) fn endpoint(place: &Place) -> Check {
    ENDPOINT.check(place)
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
        _ => CONSOLE.check(place),
    }
}

impl Face {
    fn check(&self, place: &Place) -> Check {
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
            Place::At { address, .. } if !address.ip().is_loopback() => self.line(
                Coverage::Limited,
                format!("http://{address}{} answers anybody who can reach this machine, without a password", self.path),
                "listen on 127.0.0.1 and forward the port, unless the network is closed",
            ),
            Place::At { address, next_of: Some(port) } => {
                let owner = PortOwner::of(*port);
                let by = by(owner.as_ref());
                let detail = format!("http://{address}{}, because port {port} is in use{by}", self.path);
                let remedy = format!("{}, or ask {} for the address", stop(owner.as_ref()), self.asks);
                self.line(Coverage::Limited, detail, &remedy)
            }
            Place::At { address, next_of: None } => Check {
                subject: self.subject,
                coverage: Coverage::Full,
                detail: format!("http://{address}{}", self.path),
                remedy: None,
            },
        }
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
        let line = endpoint(&place);
        assert_eq!((line.subject, line.coverage), ("endpoint", Coverage::Missing));
        assert!(line.detail.contains("127.0.0.1:80: permission denied"), "{line}");
        assert!(!line.to_string().contains("in use"), "{line}");
    }
}
