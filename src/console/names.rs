//! holdup's layer: reports use the names that tasks get from [`tokio::task::Builder`].
//!
//! Tokio's task hooks do not pass a task's name. The span that Tokio enters for each poll has it.

use std::fmt::Debug;

use tracing::Subscriber;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use super::listening::Listening;
use crate::probe::TaskName;

/// Stores the name in the task's span, and sets it in the worker's slot while the span is entered.
pub(super) struct TaskNames {
    /// An address without an endpoint, for the self-check.
    _refused: Option<Listening>,
}

impl TaskNames {
    pub(super) fn new(refused: Option<Listening>) -> Self {
        Self { _refused: refused }
    }
}

impl<S> Layer<S> for TaskNames
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if attributes.metadata().name() != "runtime.spawn" {
            return;
        }
        let mut found = FoundName(None);
        attributes.record(&mut found);
        if let (Some(name), Some(span)) = (found.0, context.span(id)) {
            span.extensions_mut().insert(name);
        }
    }

    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        with_name(id, &context, TaskName::enter);
    }

    fn on_exit(&self, id: &Id, context: Context<'_, S>) {
        with_name(id, &context, TaskName::exit);
    }
}

fn with_name<S>(id: &Id, context: &Context<'_, S>, act: impl FnOnce(&mut TaskName))
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    if let Some(span) = context.span(id)
        && let Some(name) = span.extensions_mut().get_mut::<TaskName>()
    {
        act(name);
    }
}

/// Reads the field with the name; empty for a task without one.
struct FoundName(Option<TaskName>);

impl FoundName {
    fn take(&mut self, field: &Field, text: impl FnOnce() -> String) {
        if field.name() == "task.name" {
            self.0 = TaskName::new(&text());
        }
    }
}

impl Visit for FoundName {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.take(field, || format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field, || value.to_owned());
    }
}
