//! One feed: its address and its state.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use chrono::{DateTime, Utc};
use reqwest::Url;
use serde::Serialize;
use utoipa::ToSchema;

use super::download::{Download, Validators};
use crate::outage::Outage;

/// Limit of a stored error in characters, because a parser may quote its input.
const LONGEST_ERROR: usize = 300;

#[derive(Debug)]
pub(crate) struct Source {
    url: Url,
    /// The public state.
    name: Arc<str>,
    outage: Outage,
    // Held for a copy, never across an `.await`.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    validators: Validators,
    report: SourceReport,
}

/// The state of a source since the start.
#[derive(Serialize, ToSchema, Clone, Debug)]
pub(crate) struct SourceReport {
    /// The source name in its articles.
    name: String,
    /// Its address, without the parts that may contain a secret.
    url: String,
    state: SourceState,
    /// The error of the last visit.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// Failed visits since the last successful one.
    failures_in_a_row: u64,
    /// Pause from the last failure to the next attempt, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_try_after_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_success: Option<DateTime<Utc>>,
    visits: u64,
    failures: u64,
    /// Visits without a change of the source.
    unchanged: u64,
    /// New articles that were passed on.
    articles: u64,
    /// Known articles.
    duplicates: u64,
    /// Entries without a title, a link or a date, which cannot be shown or ordered.
    left_out: u64,
}

#[derive(Serialize, ToSchema, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "lowercase")]
enum SourceState {
    /// Not visited yet.
    Waiting,
    Working,
    Failing,
}

/// The articles of one document.
#[derive(Default, Clone, Copy, Debug)]
pub(super) struct Articles {
    pub(super) new: u64,
    pub(super) known: u64,
}

impl Source {
    pub(crate) fn new(name: &str, url: Url) -> Self {
        let report = SourceReport {
            name: name.to_owned(),
            url: without_secrets(&url),
            state: SourceState::Waiting,
            error: None,
            failures_in_a_row: 0,
            next_try_after_ms: None,
            last_success: None,
            visits: 0,
            failures: 0,
            unchanged: 0,
            articles: 0,
            duplicates: 0,
            left_out: 0,
        };
        Self {
            name: name.into(),
            outage: Outage::of(format!("the feed {name}")),
            url,
            state: Mutex::new(State { validators: Validators::default(), report }),
        }
    }

    /// A source with its address as its name.
    pub(crate) fn of(url: &Url) -> Self {
        let host = url.host_str().unwrap_or("(no host)");
        let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
        Self::new(&format!("{host}{port}{}", url.path()), url.clone())
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn report(&self) -> SourceReport {
        self.state().report.clone()
    }

    pub(super) fn shared_name(&self) -> &Arc<str> {
        &self.name
    }

    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    pub(super) fn validators(&self) -> Validators {
        self.state().validators.clone()
    }

    /// Keeps the validators after the articles are passed on, so that none is missed.
    pub(super) fn worked(&self, download: Download, articles: Articles, left_out: u64) {
        self.outage.worked();
        let mut state = self.state();
        let report = &mut state.report;
        report.visits += 1;
        report.state = SourceState::Working;
        report.error = None;
        report.failures_in_a_row = 0;
        report.next_try_after_ms = None;
        report.last_success = Some(Utc::now());
        report.articles += articles.new;
        report.duplicates += articles.known;
        report.left_out += left_out;
        match download {
            Download::Unchanged => report.unchanged += 1,
            Download::New { validators, .. } => state.validators = validators,
        }
    }

    pub(super) fn failed(&self, error: &anyhow::Error, next_try_after: Duration) {
        let error: String = format!("{error:#}").chars().take(LONGEST_ERROR).collect();
        self.outage.failed(&error);
        let mut state = self.state();
        let report = &mut state.report;
        report.visits += 1;
        report.failures += 1;
        report.state = SourceState::Failing;
        report.error = Some(error);
        report.failures_in_a_row += 1;
        report.next_try_after_ms = Some(u64::try_from(next_try_after.as_millis()).unwrap_or(u64::MAX));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An address without user, password, query and fragment.
fn without_secrets(url: &Url) -> String {
    let mut url = url.clone();
    // Fails only for addresses without a user part.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.into()
}
