//! Where log lines go: stderr, one line each, filtered by `RUST_LOG`. tokio-console sees past that filter.

use std::io::{IsTerminal, stderr};

use anyhow::Context;
use tracing_subscriber::{EnvFilter, Layer, layer::SubscriberExt, util::SubscriberInitExt};

use crate::console::ConsoleLayer;

/// holdup prints its report as a block on stderr (`Print::Always`), so its event about the same stall is
/// left out. librdkafka says several times a second what producer and consumer report themselves.
/// `RUST_LOG` brings both back.
const DEFAULT_FILTER: &str = "info,holdup::stall=off,librdkafka=off,rdkafka=off";

pub(crate) fn start(console: ConsoleLayer) -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let lines = tracing_subscriber::fmt::layer()
        .compact()
        .with_ansi(stderr().is_terminal())
        .with_writer(stderr)
        .with_filter(filter);
    tracing_subscriber::registry().with(console).with(lines).try_init().context("logs cannot be started")
}
