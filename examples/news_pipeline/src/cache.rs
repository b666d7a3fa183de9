//! The newest articles, newest first, up to a fixed number; and the subscribers to new ones.
//!
//! A standard Mutex suffices: it is held for microseconds and never across an `.await`.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Acquire, Ordering::Release},
    },
};

use chrono::{DateTime, Utc};
use tokio::sync::broadcast;

use crate::article::Article;

/// Capacity of a subscriber's queue. A slower subscriber misses articles.
const BEHIND: usize = 256;

pub(crate) struct Cache {
    size: usize,
    shelf: Mutex<Shelf>,
    /// Incremented with every change, under the lock of the shelf.
    version: AtomicU64,
    news: broadcast::Sender<Arc<Article>>,
}

/// The id makes the order total. Without it, articles of the same second would replace each other.
type Place = (Reverse<DateTime<Utc>>, String);

#[derive(Default)]
struct Shelf {
    newest_first: BTreeMap<Place, Arc<Article>>,
    ids: HashSet<String>,
}

impl Cache {
    pub(crate) fn of_size(size: usize) -> Self {
        Self { size, shelf: Mutex::default(), version: AtomicU64::new(0), news: broadcast::channel(BEHIND).0 }
    }

    /// Adds an article unless it is already there. Beyond the size, it replaces the oldest.
    pub(crate) fn insert(&self, article: Article) {
        let article = Arc::new(article);
        let mut shelf = self.shelf();
        if !shelf.ids.insert(article.id.clone()) {
            return;
        }
        let place = (Reverse(article.published_at), article.id.clone());
        shelf.newest_first.insert(place, Arc::clone(&article));
        if shelf.newest_first.len() > self.size
            && let Some(((_, oldest), _)) = shelf.newest_first.pop_last()
        {
            shelf.ids.remove(&oldest);
            if oldest == article.id {
                return; // It is older than all others, so nothing has changed.
            }
        }
        self.version.fetch_add(1, Release);
        drop(shelf);
        // Fails without subscribers.
        let _ = self.news.send(article);
    }

    /// The newest articles of one source or of all, and the version of the cache.
    pub(crate) fn newest(&self, limit: usize, source: Option<&str>) -> (u64, Vec<Arc<Article>>) {
        let shelf = self.shelf();
        let wanted = shelf.newest_first.values().filter(|article| source.is_none_or(|name| article.source == name));
        (self.version(), wanted.take(limit).cloned().collect())
    }

    /// The current version; it changes with the cache.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Acquire)
    }

    /// A subscription to all articles that are added from now on.
    pub(crate) fn listen(&self) -> broadcast::Receiver<Arc<Article>> {
        self.news.subscribe()
    }

    pub(crate) fn len(&self) -> usize {
        self.shelf().newest_first.len()
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        // A panic during an insert leaves at most one id without its article.
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
