//! The public type [`Console`]: binds the endpoint and provides the layer.

use std::io::{self, IsTerminal as _};
use std::net::SocketAddr;
use std::time::Duration;

use console_subscriber::ConsoleLayer;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::{EnvFilter, FilterFn};
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::listening::Listening;
use super::names::TaskNames;
use super::serve;
use crate::error::Error;
use crate::listen::Wanted;

/// How long ended tasks and dropped resources are kept. console-subscriber's default of an hour would fill the memory of a
/// service that spawns a task per request. tokio-console shows the last seconds.
const RETENTION: Duration = Duration::from_secs(60);

/// The endpoint of [tokio-console](https://docs.rs/tokio-console) in the service.
///
/// Needs the feature `console` and `RUSTFLAGS="--cfg tokio_unstable"`. Create it before the runtime: tasks that were
/// spawned earlier are not shown.
///
/// For a program without a `tracing` subscriber, [`init`](Self::init) installs one:
/// ```no_run
/// holdup::Console::listen("127.0.0.1:6669")?.init()?;
/// let watch = holdup::Watch::builder().start()?;
/// # Ok::<(), holdup::Error>(())
/// ```
///
/// A program with a subscriber adds a layer. Put filters on single layers, not on the whole subscriber: a filter for log
/// lines on the subscriber would also hide Tokio's events from tokio-console.
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
/// It serves on a separate thread and runtime until its layer is dropped. A global subscriber is never dropped.
///
/// An address that is in use does not stop the service: it runs without tokio-console, and the self-check of the next watch
/// warns. [`require_endpoint`](Self::require_endpoint) makes it an error, and [`listen_or_next`](Self::listen_or_next)
/// takes another port.
pub struct Console {
    endpoint: Result<(ConsoleLayer, SocketAddr), Refused>,
}

/// An address that could not be bound.
struct Refused {
    address: String,
    source: io::Error,
    /// It is in the self-check as long as the layer lives.
    place: Listening,
}

impl std::fmt::Debug for Console {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Console").field("address", &self.address()).finish_non_exhaustive()
    }
}

impl Console {
    /// Serves tokio-console at an address such as `127.0.0.1:6669`, or at a port of loopback such as `6669`. Port 0
    /// chooses a free port. The endpoint has no access control: the self-check warns about addresses beyond loopback.
    ///
    /// # Errors
    /// [`Error::NoTaskTracing`] in a build without `tokio_unstable`, [`Error::Console`] if the text is no address,
    /// [`Error::Thread`] if the thread cannot be started.
    pub fn listen(address: &str) -> Result<Self, Error> {
        Self::at(&Wanted { address: address.to_owned(), or_next: false })
    }

    /// Serves tokio-console as [`listen`](Self::listen) does. If the port is in use, it takes the first free one of the next
    /// 15 ports, and the self-check warns. [`address`](Self::address) returns the address.
    ///
    /// # Errors
    /// See [`listen`](Self::listen).
    pub fn listen_or_next(address: &str) -> Result<Self, Error> {
        Self::at(&Wanted { address: address.to_owned(), or_next: true })
    }

    fn at(wanted: &Wanted) -> Result<Self, Error> {
        if !cfg!(tokio_unstable) {
            return Err(Error::NoTaskTracing);
        }
        let bound = wanted.bind();
        let place = wanted.place(&bound);
        let endpoint = match bound {
            Ok((listener, address)) => {
                let (layer, server) = ConsoleLayer::builder().retention(RETENTION).build();
                serve::start(listener, server, Listening::at(place)).map_err(Error::Thread)?;
                Ok((layer, address))
            }
            Err(source) if source.kind() == io::ErrorKind::InvalidInput => {
                return Err(Error::Console { address: wanted.address.clone(), source });
            }
            Err(source) => Err(Refused { address: wanted.address.clone(), source, place: Listening::at(place) }),
        };
        Ok(Self { endpoint })
    }

    /// Makes an address that could not be bound an error.
    ///
    /// ```no_run
    /// let console = holdup::Console::listen("127.0.0.1:6669")?.require_endpoint()?;
    /// # Ok::<(), holdup::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Console`] if the address could not be bound.
    pub fn require_endpoint(self) -> Result<Self, Error> {
        match self.endpoint {
            Err(Refused { address, source, .. }) => Err(Error::Console { address, source }),
            endpoint => Ok(Self { endpoint }),
        }
    }

    /// The address of the endpoint. `None` if the address could not be bound.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.endpoint.as_ref().ok().map(|(_, address)| *address)
    }

    /// The layer to add to the program's subscriber. It receives Tokio's events and spans only.
    #[must_use = "tokio-console shows nothing until the layer is part of the program's subscriber"]
    pub fn layer<S>(self) -> impl Layer<S> + Send + Sync + 'static
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        let (layer, refused) = match self.endpoint {
            Ok((layer, _)) => (Some(layer), None),
            Err(Refused { place, .. }) => (None, Some(place)),
        };
        // Reports use the names of tasks in either case.
        TaskNames::new(refused).and_then(layer).with_filter(FilterFn::new(is_from_tokio))
    }

    /// Installs the program's global subscriber: this layer, and log lines on standard error, filtered by `RUST_LOG`
    /// (`info` by default). Returns the [`address`](Self::address).
    ///
    /// # Errors
    /// [`Error::SubscriberTaken`] if the program already has a global subscriber.
    pub fn init(self) -> Result<Option<SocketAddr>, Error> {
        let address = self.address();
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
        let color =
            std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let lines = tracing_subscriber::fmt::layer().with_ansi(color).with_writer(std::io::stderr).with_filter(filter);
        tracing_subscriber::registry().with(self.layer()).with(lines).try_init().map_err(|_| Error::SubscriberTaken)?;
        Ok(address)
    }
}

/// Whether console-subscriber uses this event or span: spans of tasks and resources, events about wakers and polls.
fn is_from_tokio(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    target.starts_with("tokio")
        || if metadata.is_span() { metadata.name().starts_with("runtime.") } else { target.starts_with("runtime") }
}

/// Whether the current subscriber receives Tokio's task spans. It does not if the layer was not added, or if a filter for
/// log lines is on the whole subscriber.
pub(crate) fn is_seen() -> bool {
    tracing::span_enabled!(target: "tokio::task", Level::TRACE)
}
