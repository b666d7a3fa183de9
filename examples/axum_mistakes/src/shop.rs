//! What the handlers work with: articles, the stock behind a lock, and a thread that keeps this lock.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Serialize;

/// Enough for a document of some 20 MB.
const ARTICLES: u32 = 100_000;

/// The state of the service.
#[derive(Clone, Debug)]
pub(crate) struct Shop {
    pub(crate) articles: Arc<Vec<Article>>,
    pub(crate) stock: Arc<Mutex<Vec<u32>>>,
    pub(crate) salt: [u8; 16],
    pub(crate) hash: [u8; 32],
}

/// One article.
#[derive(Debug, Serialize)]
pub(crate) struct Article {
    number: u32,
    title: String,
    description: String,
    price_in_cents: u32,
}

impl Shop {
    /// Makes the articles, and starts the thread that counts the stock.
    pub(crate) fn open() -> Self {
        let stock = Arc::new(Mutex::new((0..ARTICLES).collect()));
        let counted = Arc::clone(&stock);
        thread::spawn(move || count_again_and_again(&counted));
        let articles = (0..ARTICLES).map(Article::with_number).collect();
        Self { articles: Arc::new(articles), stock, salt: [7; 16], hash: [0; 32] }
    }
}

impl Article {
    fn with_number(number: u32) -> Self {
        Self {
            number,
            title: format!("Article {number}"),
            description: "Made of \"solid\" wood,\nwith instructions in four languages.".to_owned(),
            price_in_cents: 100 + number % 10_000,
        }
    }
}

/// Keeps the lock most of the time, as a slow report would.
fn count_again_and_again(stock: &Mutex<Vec<u32>>) {
    loop {
        let counted = stock.lock().unwrap_or_else(PoisonError::into_inner);
        thread::sleep(Duration::from_millis(80));
        drop(counted);
        thread::sleep(Duration::from_millis(5));
    }
}

/// A thread panicked while it held the lock.
#[derive(Debug)]
pub(crate) struct PoisonedLock;

impl<T> From<PoisonError<MutexGuard<'_, T>>> for PoisonedLock {
    fn from(_: PoisonError<MutexGuard<'_, T>>) -> Self {
        Self
    }
}

impl IntoResponse for PoisonedLock {
    fn into_response(self) -> Response {
        (StatusCode::INTERNAL_SERVER_ERROR, "the stock is not available\n").into_response()
    }
}
