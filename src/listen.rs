//! Addresses to listen on.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, ToSocketAddrs};

/// Listens on `host:port`, or on a port of the loopback interface. It binds at once, so that an unavailable address is an
/// error at start. Returns the bound address, which differs for port 0.
pub(crate) fn bind(address: &str) -> std::io::Result<(TcpListener, SocketAddr)> {
    let addresses: Vec<SocketAddr> = match address.trim_start_matches(':').parse::<u16>() {
        // A port alone is reachable from this machine only.
        Ok(port) => vec![(Ipv4Addr::LOCALHOST, port).into()],
        Err(_) => address.to_socket_addrs()?.collect(),
    };
    let listener = TcpListener::bind(addresses.as_slice())?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}
