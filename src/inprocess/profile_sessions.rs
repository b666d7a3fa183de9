//! Profiles that are being collected: their number is limited, and each can be ended early.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::profile_options::ProfileError;

/// The limit on profiles at a time.
const MAX_SESSIONS: usize = 8;

/// Ends a window early. Clones end the same one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop {
    flag: Arc<AtomicBool>,
    /// A name by which other requests can end the window.
    #[cfg(feature = "http")]
    name: Option<Arc<str>>,
}

impl Stop {
    #[cfg(feature = "http")]
    pub(crate) fn named(name: Option<&str>) -> Self {
        Self { flag: Arc::default(), name: name.map(Arc::from) }
    }

    #[cfg(feature = "http")]
    pub(crate) fn is_named(&self, name: &str) -> bool {
        self.name.as_deref() == Some(name)
    }

    /// Ends the window when this flag is set.
    #[cfg(feature = "attach")]
    pub(crate) fn with(flag: Arc<AtomicBool>) -> Self {
        Self {
            flag,
            #[cfg(feature = "http")]
            name: None,
        }
    }

    pub(crate) fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.flag)
    }

    #[cfg(feature = "attach")]
    pub(crate) fn is_set(&self) -> bool {
        self.flag.load(Ordering::Relaxed)
    }

    pub(crate) fn stop(&self) {
        self.flag.store(true, Ordering::Relaxed);
    }
}

/// The profiles that are being collected.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    open: Mutex<HashMap<u64, Stop>>,
    next: AtomicU64,
}

impl Sessions {
    pub(crate) fn lock(&self) -> MutexGuard<'_, HashMap<u64, Stop>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn begin(&self, stop: &Stop) -> Result<Session<'_>, ProfileError> {
        let mut sessions = self.lock();
        if sessions.len() >= MAX_SESSIONS {
            return Err(ProfileError::Busy { what: "as many profiles as are allowed at a time are being collected" });
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        sessions.insert(number, stop.clone());
        Ok(Session { sessions: self, number })
    }

    /// Ends every window early.
    pub(crate) fn stop_all(&self) {
        self.lock().values().for_each(Stop::stop);
    }
}

/// A place in the list of sessions, given back on drop.
pub(super) struct Session<'p> {
    sessions: &'p Sessions,
    number: u64,
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        self.sessions.lock().remove(&self.number);
    }
}
