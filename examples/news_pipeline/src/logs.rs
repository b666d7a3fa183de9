//! Log lines on stderr, filtered by `RUST_LOG`: text on a terminal, JSON otherwise. The filter does not apply to
//! tokio-console.

use std::io::{IsTerminal, stderr};

use anyhow::Context;
use tracing::Subscriber;
use tracing_subscriber::{
    EnvFilter, Layer, layer::SubscriberExt, registry, registry::LookupSpan, util::SubscriberInitExt,
};

use crate::{console::ConsoleLayer, operations::LogForm};

/// librdkafka repeats several times per second what producer and consumer log themselves. `RUST_LOG` enables it.
const DEFAULT_FILTER: &str = "info,librdkafka=off,rdkafka=off";

/// holdup prints its report as a block beside text lines, so its event about the same stall is filtered there.
const NO_STALLS: &str = "holdup::stall=off";

/// Selects how stalls are printed beside the log lines. Each is printed once, and JSON output stays JSON.
pub(crate) fn start(console: ConsoleLayer, form: LogForm) -> anyhow::Result<holdup::Print> {
    let text = match form {
        LogForm::Auto => stderr().is_terminal(),
        LogForm::Text => true,
        LogForm::Json => false,
    };
    // This is not one subscriber with an optional layer: a layer that does nothing, below a filtered layer, drops the
    // event after each filtered event.
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
