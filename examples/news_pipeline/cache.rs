//! The newest articles, newest first, never more than a fixed number.
//!
//! A standard Mutex is right here: it is held for microseconds and never across an `.await`.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use chrono::{DateTime, Utc};

use crate::article::Article;

pub(crate) struct Cache {
    size: usize,
    shelf: Mutex<Shelf>,
}

/// The id makes the order total, so that articles of the same second do not replace each other.
type Place = (Reverse<DateTime<Utc>>, String);

#[derive(Default)]
struct Shelf {
    newest_first: BTreeMap<Place, Arc<Article>>,
    ids: HashSet<String>,
}

impl Cache {
    pub(crate) fn of_size(size: usize) -> Self {
        Self { size, shelf: Mutex::default() }
    }

    /// Adds an article unless it is already there; beyond the size, the oldest goes.
    pub(crate) fn insert(&self, article: Article) {
        let mut shelf = self.shelf();
        if !shelf.ids.insert(article.id.clone()) {
            return;
        }
        let place = (Reverse(article.published_at), article.id.clone());
        shelf.newest_first.insert(place, Arc::new(article));
        if shelf.newest_first.len() > self.size
            && let Some(((_, oldest), _)) = shelf.newest_first.pop_last()
        {
            shelf.ids.remove(&oldest);
        }
    }

    pub(crate) fn newest(&self, limit: usize) -> Vec<Arc<Article>> {
        self.shelf().newest_first.values().take(limit).cloned().collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.shelf().newest_first.len()
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        // A panic half-way through an insert leaves at worst one id without its article.
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
