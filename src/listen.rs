//! Addresses to listen on.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, ToSocketAddrs};

/// A listener and the address that it is bound to, which differs from the requested one for port 0.
pub(crate) type Bound = (TcpListener, SocketAddr);

/// Listens on `host:port`, or on a port of the loopback interface. It binds at once, so that an unavailable address is an
/// error at start.
#[cfg(any(feature = "console", test))]
pub(crate) fn bind(address: &str) -> io::Result<Bound> {
    listen_on(&addresses(address)?)
}

/// Listens on an address, or while that is in use on one of the next ports, `ports` of them in all. The error is that of
/// the address itself.
#[cfg(feature = "http")]
pub(crate) fn bind_or_next(address: &str, ports: u16) -> io::Result<Bound> {
    let mut addresses = addresses(address)?;
    let first = listen_on(&addresses);
    for _ in 1..ports {
        if !first.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
            || !use_next_port(&mut addresses)
        {
            break;
        }
        match listen_on(&addresses) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            other => return other,
        }
    }
    first
}

/// The port that an address names.
#[cfg(feature = "http")]
pub(crate) fn port_of(address: &str) -> Option<u16> {
    address.rsplit(':').next()?.parse().ok()
}

fn addresses(address: &str) -> io::Result<Vec<SocketAddr>> {
    match address.trim_start_matches(':').parse::<u16>() {
        // A port alone is reachable from this machine only.
        Ok(port) => Ok(vec![(Ipv4Addr::LOCALHOST, port).into()]),
        Err(_) => Ok(address.to_socket_addrs()?.collect()),
    }
}

fn listen_on(addresses: &[SocketAddr]) -> io::Result<Bound> {
    let listener = TcpListener::bind(addresses)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// Whether there is a next port.
#[cfg(feature = "http")]
fn use_next_port(addresses: &mut [SocketAddr]) -> bool {
    addresses.iter_mut().all(|address| match address.port().checked_add(1) {
        Some(port) => {
            address.set_port(port);
            true
        }
        None => false,
    })
}

#[cfg(all(test, feature = "http"))]
mod tests {
    use super::*;

    #[test]
    fn the_next_ports_are_tried_up_to_the_limit() {
        // Another test of this machine may hold a port between the two, so the result is at or after the next one.
        let (taken, address) = bind("127.0.0.1:0").expect("loopback");
        let asked = address.to_string();
        let refused = bind_or_next(&asked, 1).expect_err("one port, and it is taken");
        assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
        let (_next, found) = bind_or_next(&asked, 16).expect("a port is free");
        assert!((1..16).contains(&(found.port() - address.port())), "{found} after {address}");
        drop(taken);
        assert_eq!(bind_or_next(&asked, 16).expect("it is free again").1, address);
    }

    #[test]
    fn the_last_port_has_no_next_one() {
        let mut last = [SocketAddr::from((Ipv4Addr::LOCALHOST, u16::MAX))];
        assert!(!use_next_port(&mut last));
    }

    #[test]
    fn an_address_names_its_port() {
        for (address, port) in [
            ("127.0.0.1:6060", Some(6060)),
            ("6060", Some(6060)),
            (":6060", Some(6060)),
            ("[::1]:80", Some(80)),
            ("a", None),
        ] {
            assert_eq!(port_of(address), port, "{address}");
        }
    }
}
