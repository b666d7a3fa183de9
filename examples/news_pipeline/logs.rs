//! Where log lines go: stderr, one line each, filtered by `RUST_LOG`.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::EnvFilter;

/// holdup prints its report as a block on stderr (`Print::Always`), so its event about the same stall is
/// left out. librdkafka says several times a second what producer and consumer report themselves.
/// `RUST_LOG` brings both back.
const DEFAULT_FILTER: &str = "info,holdup::stall=off,librdkafka=off,rdkafka=off";

pub(crate) fn start() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    tracing_subscriber::fmt()
        .compact()
        .with_env_filter(filter)
        .with_ansi(stderr().is_terminal())
        .with_writer(stderr)
        .init();
}
