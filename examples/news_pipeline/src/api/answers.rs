//! The answers of `/latest-news` as bytes, kept until the news change.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    body::Bytes,
    http::{HeaderMap, HeaderValue, header},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    article::{Article, stable_id},
    cache::Cache,
};

/// Different answers kept at once; further ones are made for each request.
const KEPT: usize = 64;

/// Which articles are asked for.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Selection {
    pub(super) limit: usize,
    pub(super) source: Option<String>,
}

/// The newest articles, newest first.
#[derive(Serialize, ToSchema)]
pub(super) struct LatestNews {
    items: Vec<Arc<Article>>,
}

#[derive(Clone)]
pub(super) struct Answer {
    pub(super) body: Bytes,
    /// The same for the same bytes, in every run and instance.
    pub(super) etag: HeaderValue,
}

#[derive(Default)]
pub(super) struct Answers {
    // Held for a look-up, never while an answer is made.
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// The version of the cache that these answers show.
    version: u64,
    answers: HashMap<Selection, Answer>,
}

impl Answers {
    /// The answer for what the cache holds now.
    pub(super) fn of(&self, cache: &Cache, selection: Selection) -> anyhow::Result<Answer> {
        let version = cache.version();
        {
            let kept = self.kept();
            if kept.version == version
                && let Some(answer) = kept.answers.get(&selection)
            {
                return Ok(answer.clone());
            }
        }
        let (version, items) = cache.newest(selection.limit, selection.source.as_deref());
        let answer = Answer::showing(items)?;
        let mut kept = self.kept();
        if kept.version < version {
            *kept = Kept { version, answers: HashMap::new() };
        }
        if kept.version == version && kept.answers.len() < KEPT {
            kept.answers.insert(selection, answer.clone());
        }
        Ok(answer)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Answer {
    fn showing(items: Vec<Arc<Article>>) -> anyhow::Result<Self> {
        let body = serde_json::to_string(&LatestNews { items })?;
        let etag = HeaderValue::try_from(format!("\"{}\"", stable_id(&body)))?;
        Ok(Self { body: body.into(), etag })
    }

    /// Whether the client says that it has these very bytes.
    pub(super) fn is_known(&self, request: &HeaderMap) -> bool {
        let known = request.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
        known
            .flat_map(|list| list.split(','))
            .map(str::trim)
            .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag).as_bytes() == self.etag.as_bytes())
    }
}
