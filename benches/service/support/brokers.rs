//! The brokers that there are to measure with: the embedded one, and a real one where there is one.

use super::pipeline::Tansu;

/// A broker, alive as long as this.
pub(crate) struct Broker {
    pub(crate) name: &'static str,
    servers: Option<String>,
    _running: Option<Tansu>,
}

impl Broker {
    /// The arguments of a command that is to use it.
    pub(crate) fn arguments(&self) -> Vec<&str> {
        self.servers.as_deref().map_or_else(Vec::new, |servers| vec!["--bootstrap-servers", servers])
    }
}

/// The embedded broker, and that of `KAFKA_BOOTSTRAP_SERVERS`; without that, Tansu where it is installed.
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
