//! Addresses and ports to listen on.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, ToSocketAddrs};

/// The ports that are tried for the next free one, the requested one included.
const PORTS: u16 = 16;

/// A listener and the address that it is bound to, which differs from the requested one for port 0.
pub(crate) type Bound = (TcpListener, SocketAddr);

/// Where to listen: `host:port`, or a port of the loopback interface.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) address: String,
    /// Whether one of the next ports will do.
    pub(crate) or_next: bool,
}

/// What became of an address.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// Something listens here.
    At {
        address: SocketAddr,
        /// The requested port, if that was in use.
        next_of: Option<u16>,
    },
    /// Nothing listens.
    Nowhere { wanted: Wanted, is_taken: bool, error: String },
}

/// Whether only this machine reaches an address.
pub(crate) fn is_local(address: &SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

impl Wanted {
    /// Binds at once, so that an unavailable address is known at the start.
    ///
    /// # Errors
    /// `InvalidInput` for text that is no address; why the address cannot be had.
    pub(crate) fn bind(&self) -> io::Result<Bound> {
        bind_or_next(&self.address, self.ports())
    }

    /// The ports that are tried.
    pub(crate) fn ports(&self) -> u16 {
        if self.or_next { PORTS } else { 1 }
    }

    /// The port that the address names.
    pub(crate) fn port(&self) -> Option<u16> {
        self.address.rsplit(':').next()?.parse().ok()
    }

    /// The result of [`bind`](Self::bind).
    pub(crate) fn place(&self, bound: &io::Result<Bound>) -> Place {
        match bound {
            Ok((_, address)) => {
                let next_of = self.port().filter(|port| *port != 0 && *port != address.port());
                Place::At { address: *address, next_of }
            }
            Err(error) => Place::Nowhere {
                wanted: self.clone(),
                is_taken: error.kind() == io::ErrorKind::AddrInUse,
                error: error.to_string(),
            },
        }
    }
}

/// Listens on an address, or while that is in use on one of the next ports, `ports` of them in all. The error is that of
/// the address itself.
fn bind_or_next(address: &str, ports: u16) -> io::Result<Bound> {
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
fn use_next_port(addresses: &mut [SocketAddr]) -> bool {
    addresses.iter_mut().all(|address| match address.port().checked_add(1) {
        Some(port) => {
            address.set_port(port);
            true
        }
        None => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_ports_are_tried_up_to_the_limit() {
        // Another test of this machine may hold a port between the two, so the result is at or after the next one.
        let wanted = |address: &str, or_next| Wanted { address: address.to_owned(), or_next };
        let (taken, address) = wanted("127.0.0.1:0", false).bind().expect("loopback");
        let asked = address.to_string();
        let refused = wanted(&asked, false).bind();
        assert!(matches!(wanted(&asked, false).place(&refused), Place::Nowhere { is_taken: true, .. }), "{refused:?}");
        let next = wanted(&asked, true).bind();
        let Place::At { address: found, next_of } = wanted(&asked, true).place(&next) else { panic!("{next:?}") };
        assert!((1..PORTS).contains(&(found.port() - address.port())), "{found} after {address}");
        assert_eq!(next_of, Some(address.port()));
        drop(taken);
        assert_eq!(wanted(&asked, true).bind().expect("it is free again").1, address);
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
            let wanted = Wanted { address: address.to_owned(), or_next: false };
            assert_eq!(wanted.port(), port, "{address}");
        }
    }
}
