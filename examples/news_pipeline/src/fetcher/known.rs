//! The ids of recent articles. Beyond the limit, the oldest is forgotten.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Mutex, PoisonError},
};

pub(super) struct Known {
    size: usize,
    // Held for one lookup, never across an `.await`.
    ids: Mutex<Ids>,
}

#[derive(Default)]
struct Ids {
    all: HashSet<String>,
    oldest_first: VecDeque<String>,
}

impl Known {
    pub(super) fn of_size(size: usize) -> Self {
        Self { size, ids: Mutex::default() }
    }

    /// Adds the id. Returns whether it was new.
    pub(super) fn is_new(&self, id: &str) -> bool {
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        if !ids.all.insert(id.to_owned()) {
            return false;
        }
        ids.oldest_first.push_back(id.to_owned());
        if ids.oldest_first.len() > self.size
            && let Some(oldest) = ids.oldest_first.pop_front()
        {
            ids.all.remove(&oldest);
        }
        true
    }
}
