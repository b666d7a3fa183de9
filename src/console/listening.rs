//! Where this process serves tokio-console, or was to serve it, for the self-check.

use std::sync::{Arc, Mutex, PoisonError};

use crate::listen::Place;

static LISTENING: Mutex<Vec<Arc<Place>>> = Mutex::new(Vec::new());

/// Keeps a place in the list until it is dropped.
#[derive(Debug)]
pub(super) struct Listening(Arc<Place>);

impl Listening {
    pub(super) fn at(place: Place) -> Self {
        let place = Arc::new(place);
        LISTENING.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&place));
        Self(place)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        LISTENING.lock().unwrap_or_else(PoisonError::into_inner).retain(|place| !Arc::ptr_eq(place, &self.0));
    }
}

/// The places.
pub(crate) fn listening() -> Vec<Arc<Place>> {
    LISTENING.lock().unwrap_or_else(PoisonError::into_inner).clone()
}
