//! The responses of `/latest-news` as bytes, kept until the cache changes.

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

/// Number of different responses that are kept; further ones are made for each request.
const KEPT: usize = 64;

/// The requested articles.
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
    /// Equal for the same bytes, in every run and instance.
    pub(super) etag: HeaderValue,
}

#[derive(Default)]
pub(super) struct Answers {
    // Held for a lookup, never while a response is made.
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// The version of the cache that these responses show.
    version: u64,
    answers: HashMap<Selection, Answer>,
}

impl Answers {
    /// The response for the current content of the cache.
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

    /// Whether the client's `If-None-Match` names these bytes.
    pub(super) fn is_known(&self, request: &HeaderMap) -> bool {
        let known = request.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
        known
            .flat_map(|list| list.split(','))
            .map(str::trim)
            .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag).as_bytes() == self.etag.as_bytes())
    }
}
