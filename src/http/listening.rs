//! The address of the endpoint: what was asked for, and what became of it.

use std::io;

use crate::error::Error;
use crate::inprocess::EndpointSeen;
use crate::listen::{self, Bound};

/// The ports that are tried, the requested one included.
const PORTS: u16 = 16;

/// Where the endpoint is to listen.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) address: String,
    /// Whether one of the next ports will do.
    pub(crate) or_next: bool,
}

/// Binds the address. Without the endpoint the service still works, so an address that cannot be had now is an error only if
/// the endpoint is required. Text that is no address is always one.
pub(crate) fn bind(wanted: &Wanted, required: bool) -> Result<(Option<Bound>, EndpointSeen), Error> {
    let asked = &wanted.address;
    let ports = if wanted.or_next { PORTS } else { 1 };
    match listen::bind_or_next(asked, ports) {
        Ok(bound) => {
            let next_of = listen::port_of(asked).filter(|port| *port != 0 && *port != bound.1.port());
            let seen = EndpointSeen::At { address: bound.1, next_of };
            Ok((Some(bound), seen))
        }
        Err(source) if required || source.kind() == io::ErrorKind::InvalidInput => {
            Err(Error::Listen { address: asked.clone(), source })
        }
        Err(source) => Ok((None, EndpointSeen::refused(asked, listen::port_of(asked), ports, &source))),
    }
}
