//! The addresses of this process's tokio-console endpoints, for the self-check.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

static LISTENING: Mutex<Vec<SocketAddr>> = Mutex::new(Vec::new());

/// Keeps an address in the list until it is dropped.
#[derive(Debug)]
pub(super) struct Listening(SocketAddr);

impl Listening {
    pub(super) fn at(address: SocketAddr) -> Self {
        LISTENING.lock().unwrap_or_else(PoisonError::into_inner).push(address);
        Self(address)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        LISTENING.lock().unwrap_or_else(PoisonError::into_inner).retain(|address| *address != self.0);
    }
}

/// The addresses.
pub(crate) fn listening() -> Vec<SocketAddr> {
    LISTENING.lock().unwrap_or_else(PoisonError::into_inner).clone()
}
