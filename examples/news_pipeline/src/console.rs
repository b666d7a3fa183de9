//! tokio-console, if requested and built in: its tracing layer and its address.

use std::net::SocketAddr;

use tracing_subscriber::{Layer, Registry};

/// `None` is a layer that does nothing.
pub(crate) type ConsoleLayer = Option<Box<dyn Layer<Registry> + Send + Sync>>;

#[cfg(feature = "console")]
pub(crate) fn listen(address: Option<&str>) -> anyhow::Result<(ConsoleLayer, Option<SocketAddr>)> {
    use anyhow::Context;

    let Some(address) = address else { return Ok((None, None)) };
    let console = holdup::Console::listen(address).context("--console chooses the address for tokio-console")?;
    let bound = console.address();
    Ok((Some(console.layer().boxed()), bound))
}

#[cfg(not(feature = "console"))]
pub(crate) fn listen(address: Option<&str>) -> anyhow::Result<(ConsoleLayer, Option<SocketAddr>)> {
    match address {
        None => Ok((None, None)),
        Some(_) => anyhow::bail!(
            "--console: this build leaves tokio-console out; build with `RUSTFLAGS=\"--cfg tokio_unstable\" cargo build --features console -p news_pipeline`"
        ),
    }
}
