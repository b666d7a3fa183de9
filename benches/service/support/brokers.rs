//! The brokers of the benchmarks: the embedded one, and a real one if available.

use super::pipeline::Tansu;

/// A broker. It runs as long as this value lives.
pub(crate) struct Broker {
    pub(crate) name: &'static str,
    servers: Option<String>,
    _running: Option<Tansu>,
}

impl Broker {
    /// The arguments that make a command use it.
    pub(crate) fn arguments(&self) -> Vec<&str> {
        self.servers.as_deref().map_or_else(Vec::new, |servers| vec!["--bootstrap-servers", servers])
    }
}

/// The embedded broker, and the one in `KAFKA_BOOTSTRAP_SERVERS`, otherwise Tansu if it is installed.
pub(crate) fn all() -> Vec<Broker> {
    let mut all = vec![Broker { name: "embedded", servers: None, _running: None }];
    let named = std::env::var("KAFKA_BOOTSTRAP_SERVERS").ok().filter(|servers| !servers.is_empty());
    if named.is_some() {
        all.push(Broker { name: "KAFKA_BOOTSTRAP_SERVERS", servers: named, _running: None });
    } else if let Some(tansu) = Tansu::start("bench-storage") {
        all.push(Broker { name: "tansu", servers: Some(tansu.servers()), _running: Some(tansu) });
    }
    all
}
