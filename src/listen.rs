//! Addresses to listen on, as people write them.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, ToSocketAddrs};

/// Listens on `host:port`, or on a port of loopback, at once, so that an address that cannot be had is an error at
/// start. Returns what was bound, which differs for port 0.
pub(crate) fn bind(address: &str) -> std::io::Result<(TcpListener, SocketAddr)> {
    let addresses: Vec<SocketAddr> = match address.trim_start_matches(':').parse::<u16>() {
        // Nobody but this machine, unless told otherwise.
        Ok(port) => vec![(Ipv4Addr::LOCALHOST, port).into()],
        Err(_) => address.to_socket_addrs()?.collect(),
    };
    let listener = TcpListener::bind(addresses.as_slice())?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}
