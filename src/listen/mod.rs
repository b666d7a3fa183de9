//! Where to listen: an address and a port, or a Unix socket.

/// What the endpoint says of its place.
#[cfg(feature = "http")]
mod address;

/// Unix sockets.
#[cfg(feature = "http")]
mod socket_file;

/// Addresses and ports.
mod tcp;

#[cfg(feature = "http")]
pub use address::EndpointAddress;
#[cfg(feature = "http")]
pub(crate) use socket_file::SocketFile;
pub(crate) use tcp::{Place, Wanted, is_local};
