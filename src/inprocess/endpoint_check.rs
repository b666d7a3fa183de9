//! The line of the self-check about the endpoint: where it listens, or why it does not.

use std::io;
use std::net::SocketAddr;

use crate::model::check::{Check, Coverage};
use crate::sys::PortOwner;

/// What became of the endpoint's address.
#[derive(Clone, Debug)]
pub(crate) enum EndpointSeen {
    /// It listens here.
    At {
        address: SocketAddr,
        /// The requested port, if that was in use.
        next_of: Option<u16>,
    },
    /// It listens nowhere.
    Refused {
        /// Which address, and why.
        reason: String,
        remedy: String,
    },
}

impl EndpointSeen {
    /// An address that could not be bound, nor the next ports, `ports` of them in all.
    pub(crate) fn refused(address: &str, port: Option<u16>, ports: u16, source: &io::Error) -> Self {
        if source.kind() != io::ErrorKind::AddrInUse {
            let remedy = "choose another address with listen(…)".to_owned();
            return Self::Refused { reason: format!("{address}: {source}"), remedy };
        }
        let owner = port.and_then(PortOwner::of);
        let next = if ports > 1 { format!(", and so are the next {} ports", ports - 1) } else { String::new() };
        let reason = format!("{address} is in use{}{next}", by(owner.as_ref()));
        let or_next = if ports > 1 { "port 0 for a free one" } else { "the next free port with listen_or_next(…)" };
        let remedy = format!("{}, choose another address with listen(…), or {or_next}", stop(owner.as_ref()));
        Self::Refused { reason, remedy }
    }

    /// The line of the self-check.
    pub(crate) fn check(&self) -> Check {
        match self {
            Self::Refused { reason, remedy } => {
                let detail = format!("none: {reason}; the service runs without it");
                line(Coverage::Missing, detail, Some(remedy))
            }
            Self::At { address, .. } if !address.ip().is_loopback() => line(
                Coverage::Limited,
                format!("http://{address}/ answers anybody who can reach this machine, without a password"),
                Some("listen on 127.0.0.1 and forward the port, unless the network is closed"),
            ),
            Self::At { address, next_of: Some(port) } => {
                let owner = PortOwner::of(*port);
                let detail = format!("http://{address}/, because port {port} is in use{}", by(owner.as_ref()));
                let remedy = format!("{}, or ask Watch::endpoint() for the address", stop(owner.as_ref()));
                line(Coverage::Limited, detail, Some(&remedy))
            }
            Self::At { address, next_of: None } => line(Coverage::Full, format!("http://{address}/"), None),
        }
    }
}

fn line(coverage: Coverage, detail: String, remedy: Option<&str>) -> Check {
    Check { subject: "endpoint", coverage, detail, remedy: remedy.map(str::to_owned) }
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

    #[test]
    fn other_errors_are_not_called_taken() {
        let source = io::Error::from(io::ErrorKind::PermissionDenied);
        let line = EndpointSeen::refused("127.0.0.1:80", Some(80), 1, &source).check();
        assert_eq!((line.subject, line.coverage), ("endpoint", Coverage::Missing));
        assert!(line.detail.contains("127.0.0.1:80: permission denied"), "{line}");
        assert!(!line.to_string().contains("in use"), "{line}");
    }
}
