//! Where the endpoint listens, as users read it and as the command takes it.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Where the diagnostics endpoint listens; see [`Watch::endpoint`](crate::Watch::endpoint).
///
/// Its text is what the command `holdup` takes: `http://127.0.0.1:6060`, or `unix:/run/my-service.sock`.
///
/// ```
/// use holdup::EndpointAddress;
///
/// let address = EndpointAddress::Tcp(([127, 0, 0, 1], 6060).into());
/// assert_eq!(address.to_string(), "http://127.0.0.1:6060");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EndpointAddress {
    /// An address and a port.
    Tcp(SocketAddr),
    /// A Unix socket, by its absolute path.
    Unix(PathBuf),
}

impl EndpointAddress {
    /// The address and port. `None` for a Unix socket.
    ///
    /// ```
    /// let watch = holdup::Watch::builder().listen("127.0.0.1:0").start()?;
    /// let address = watch.endpoint().and_then(|endpoint| endpoint.tcp()).expect("it listens");
    /// assert!(address.ip().is_loopback());
    /// # Ok::<(), holdup::Error>(())
    /// ```
    #[must_use]
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

impl fmt::Display for EndpointAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "http://{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
