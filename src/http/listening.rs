//! The address of the endpoint: what was asked for, and what became of it.

use std::io;

use crate::error::Error;
use crate::listen::{Bound, Place};

pub(crate) use crate::listen::Wanted;

/// Binds the address. Without the endpoint the service still works, so an address that cannot be had now is an error only if
/// the endpoint is required. Text that is no address is always one.
pub(crate) fn bind(wanted: &Wanted, required: bool) -> Result<(Option<Bound>, Place), Error> {
    let bound = wanted.bind();
    let place = wanted.place(&bound);
    match bound {
        Ok(bound) => Ok((Some(bound), place)),
        Err(source) if required || source.kind() == io::ErrorKind::InvalidInput => {
            Err(Error::Listen { address: wanted.address.clone(), source })
        }
        Err(_) => Ok((None, place)),
    }
}
