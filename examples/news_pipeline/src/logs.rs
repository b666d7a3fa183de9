//! Where log lines go: stderr, one line each, filtered by `RUST_LOG`. Text for people on a terminal, JSON for programs
//! otherwise. tokio-console sees past that filter.

use std::io::{IsTerminal, stderr};

use anyhow::Context;
use tracing::Subscriber;
use tracing_subscriber::{
    EnvFilter, Layer, layer::SubscriberExt, registry, registry::LookupSpan, util::SubscriberInitExt,
};

use crate::{console::ConsoleLayer, operations::LogForm};

/// librdkafka says several times a second what producer and consumer report themselves. `RUST_LOG` brings it back.
const DEFAULT_FILTER: &str = "info,librdkafka=off,rdkafka=off";

/// holdup prints its report as a block beside lines for people, so its event about the same stall is left out there.
const NO_STALLS: &str = "holdup::stall=off";

/// How stalls are told beside the log lines, so that each is told once, and JSON lines stay JSON lines.
pub(crate) fn start(console: ConsoleLayer, form: LogForm) -> anyhow::Result<holdup::Print> {
    let text = match form {
        LogForm::Auto => stderr().is_terminal(),
        LogForm::Text => true,
        LogForm::Json => false,
    };
    // Not one subscriber with an optional layer: below a filtered layer, one that does nothing makes the event after
    // each event that the filter refuses disappear.
    match console {
        Some(console) => registry().with(console).with(lines(text)).try_init(),
        None => registry().with(lines(text)).try_init(),
    }
    .context("logs cannot be started")?;
    Ok(if text { holdup::Print::Always } else { holdup::Print::Never })
}

fn lines<S>(text: bool) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let default = if text { format!("{DEFAULT_FILTER},{NO_STALLS}") } else { DEFAULT_FILTER.to_owned() };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let lines = tracing_subscriber::fmt::layer().with_writer(stderr);
    if text {
        lines.compact().with_ansi(stderr().is_terminal()).with_filter(filter).boxed()
    } else {
        lines.json().flatten_event(true).with_filter(filter).boxed()
    }
}
