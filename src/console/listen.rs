//! Binds, and hands out the layers.

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use console_subscriber::ConsoleLayer;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::{EnvFilter, FilterFn};
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::names::TaskNames;
use super::serve;
use crate::error::Error;
use crate::listen;

/// Where consoles listen in this process, for the self-check.
static LISTENING: Mutex<Vec<SocketAddr>> = Mutex::new(Vec::new());

/// Tasks and resources that are gone are forgotten after this long. console-subscriber's own hour would fill the
/// memory of a service that spawns a task per request; the command looks at the last seconds.
const RETENTION: Duration = Duration::from_secs(60);

/// The side of [tokio-console](https://docs.rs/tokio-console) that lives in the service.
///
/// Needs the feature `console` and `RUSTFLAGS="--cfg tokio_unstable"`. Set it up before the runtime is built: tasks
/// that were spawned earlier are not shown.
///
/// A program that has no `tracing` subscriber yet gets one:
/// ```no_run
/// holdup::Console::listen("127.0.0.1:6669")?.init()?;
/// let watch = holdup::Watch::builder().start()?;
/// # Ok::<(), holdup::Error>(())
/// ```
///
/// One that has adds a layer to it. Filters belong to the single layers, not to the whole subscriber, because a
/// filter for log lines would take what Tokio traces away from tokio-console too:
/// ```no_run
/// use tracing_subscriber::{filter::LevelFilter, layer::{Layer, SubscriberExt}, util::SubscriberInitExt};
///
/// let console = holdup::Console::listen("127.0.0.1:6669")?;
/// tracing_subscriber::registry()
///     .with(console.layer())
///     .with(tracing_subscriber::fmt::layer().with_filter(LevelFilter::INFO))
///     .init();
/// # Ok::<(), holdup::Error>(())
/// ```
///
/// It serves on a thread and a runtime of its own, until its layer is dropped; a global subscriber never is.
pub struct Console {
    layer: ConsoleLayer,
    address: SocketAddr,
}

impl std::fmt::Debug for Console {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Console").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Console {
    /// Serves tokio-console on this address, such as `127.0.0.1:6669`, or on a port of loopback, such as `6669`;
    /// port 0 picks a free one. It has no access control: the self-check warns when this is not loopback.
    ///
    /// # Errors
    /// [`Error::NoTaskTracing`] in a build without `tokio_unstable`, [`Error::Console`] when the address cannot be
    /// had, [`Error::Thread`] when there is no thread for it.
    pub fn listen(address: &str) -> Result<Self, Error> {
        if !cfg!(tokio_unstable) {
            return Err(Error::NoTaskTracing);
        }
        let (listener, bound) =
            listen::bind(address).map_err(|source| Error::Console { address: address.to_owned(), source })?;
        let (layer, server) = ConsoleLayer::builder().retention(RETENTION).build();
        let listening = Listening::at(bound);
        serve::start(listener, server, listening).map_err(Error::Thread)?;
        Ok(Self { layer, address: bound })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The layer to add to the program's subscriber. It takes only what Tokio traces, whatever the program's own
    /// events and spans are.
    #[must_use = "tokio-console shows nothing until the layer is part of the program's subscriber"]
    pub fn layer<S>(self) -> impl Layer<S> + Send + Sync + 'static
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        self.layer.and_then(TaskNames).with_filter(FilterFn::new(is_tokios))
    }

    /// Makes the program's global subscriber: this layer, and log lines on standard error, filtered by `RUST_LOG`
    /// (`info` where that is not set). Returns the address.
    ///
    /// # Errors
    /// [`Error::SubscriberTaken`] when the program has a global subscriber already.
    pub fn init(self) -> Result<SocketAddr, Error> {
        let address = self.address;
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
        let colour =
            std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let lines = tracing_subscriber::fmt::layer().with_ansi(colour).with_writer(std::io::stderr).with_filter(filter);
        tracing_subscriber::registry().with(self.layer()).with(lines).try_init().map_err(|_| Error::SubscriberTaken)?;
        Ok(address)
    }
}

/// What console-subscriber understands: spans of tasks and resources, events about wakers and polls.
fn is_tokios(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    target.starts_with("tokio")
        || if metadata.is_span() { metadata.name().starts_with("runtime.") } else { target.starts_with("runtime") }
}

/// An address is in the list while this lives.
#[derive(Debug)]
pub(super) struct Listening(SocketAddr);

impl Listening {
    fn at(address: SocketAddr) -> Self {
        LISTENING.lock().unwrap_or_else(PoisonError::into_inner).push(address);
        Self(address)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        LISTENING.lock().unwrap_or_else(PoisonError::into_inner).retain(|address| *address != self.0);
    }
}

/// Where consoles listen.
pub(crate) fn listening() -> Vec<SocketAddr> {
    LISTENING.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Whether the current subscriber takes what Tokio traces about tasks. It does not where the layer was never added,
/// or where a filter for log lines was put on the whole subscriber.
pub(crate) fn is_seen() -> bool {
    tracing::span_enabled!(target: "tokio::task", Level::TRACE)
}
