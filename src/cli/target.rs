//! What a verb works on: the endpoint of a service, a process by its id, or a file. All verbs take them in the same way.

use std::path::Path;

use super::endpoint::{Endpoint, TokenArgument, is_socket};
use crate::quantity;

/// The address at which services listen by convention.
pub(super) const DEFAULT_URL: &str = "http://127.0.0.1:6060";

/// The endpoint of a service.
#[derive(Debug, clap::Args)]
pub(super) struct EndpointTarget {
    /// The endpoint of the service
    #[arg(value_name = "URL", default_value = DEFAULT_URL)]
    url: String,
    #[command(flatten)]
    token: TokenArgument,
}

impl EndpointTarget {
    pub(super) fn endpoint(&self) -> anyhow::Result<Endpoint> {
        Endpoint::new(&self.url, &self.token)
    }
}

/// The endpoint of a service, or a process.
#[derive(Debug, clap::Args)]
pub(super) struct Target {
    /// The endpoint of the service
    #[arg(value_name = "URL", default_value = DEFAULT_URL)]
    url: String,
    /// Observe this process from outside instead of asking an endpoint; the process is not changed
    #[arg(short, long, value_name = "PID", conflicts_with_all = ["url", "token_file"], value_parser = quantity::positive)]
    pub(super) pid: Option<u32>,
    #[command(flatten)]
    token: TokenArgument,
}

impl Target {
    pub(super) fn endpoint(&self) -> anyhow::Result<Endpoint> {
        Endpoint::new(&self.url, &self.token)
    }
}

/// A process.
#[derive(Debug, clap::Args)]
pub(super) struct ProcessTarget {
    /// The process to read; `holdup ps` lists the candidates
    #[arg(short, long, value_name = "PID", value_parser = quantity::positive)]
    pub(super) pid: u32,
}

/// Whether the text is an address and not a file: it has a scheme, or ends in a port and is not an existing file.
pub(super) fn is_url(text: &str) -> bool {
    let has_port = || {
        let (host, port) = text.trim_end_matches('/').rsplit_once(':').unwrap_or_default();
        !host.is_empty() && !host.contains('/') && port.parse::<u16>().is_ok()
    };
    text.contains("://") || is_socket(text) || (has_port() && !Path::new(text).exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_differ_from_files() {
        for url in
            ["http://127.0.0.1:6060", "127.0.0.1:6060", "localhost:6060/", "[::1]:6060", "https://a", "unix:/run/a"]
        {
            assert!(is_url(url), "{url}");
        }
        for file in ["cpu.pb.gz", "-", "profiles/a:1", "./127.0.0.1:6060", "a:b", ":6060", "6060"] {
            assert!(!is_url(file), "{file}");
        }
    }
}
