//! What holdup says of itself and of stalls, as a block of text and as a `tracing` event.

use std::sync::Arc;
use std::time::Duration;

use tracing::Level;

use super::shutdown_waits::ShutdownWaits;
use crate::export::stall_text::{Repeats, StackDetail, StallView};
use crate::export::text::Style;
use crate::export::to_ms;
use crate::model::check::{Check, Coverage};
use crate::model::stall::{Phase, Stall};
use crate::model::stall_group::StallGroup;
use crate::model::victims::Victims;

/// One thing to say.
#[derive(Clone, Debug)]
pub(crate) enum News {
    /// A stall, at one of its stages. `first`: nothing was said of it before.
    Stall { phase: Phase, stall: Arc<Stall>, repeats: Repeats, first: bool },
    /// A line of the self-check at start.
    Check(Check),
    /// A sentence about holdup.
    Notice(String),
    /// A shutdown that waits; `waits_for` is `None` if it has ended.
    Shutdown { runtime: Arc<str>, waited: Duration, waits_for: Option<ShutdownWaits>, text: String },
    /// The stalls of one function, at the end of a watch.
    Summary { group: StallGroup, text: String },
}

impl News {
    /// Whether it is about the program, and not about holdup.
    pub(crate) fn is_report(&self) -> bool {
        matches!(self, Self::Stall { .. } | Self::Shutdown { .. } | Self::Summary { .. })
    }

    /// The text for standard error. `None` for a line of the self-check that says what works.
    pub(crate) fn text(&self, style: Style) -> Option<String> {
        match self {
            Self::Stall { first: true, stall, repeats, .. } => {
                Some(StallView::from(&**stall).report(*repeats, StackDetail::Folded, style))
            }
            Self::Stall { stall, .. } => Some(StallView::from(&**stall).update(style)),
            Self::Check(check) if check.coverage == Coverage::Missing => Some(format!("holdup: {check}\n")),
            Self::Check(_) => None,
            Self::Notice(text) | Self::Shutdown { text, .. } | Self::Summary { text, .. } => {
                Some(format!("holdup: {text}\n"))
            }
        }
    }

    /// Whether the current subscriber takes the event. This runs the program's code.
    pub(crate) fn is_taken(&self) -> bool {
        match self {
            Self::Stall { .. } | Self::Summary { .. } => tracing::enabled!(target: "holdup::stall", Level::WARN),
            Self::Shutdown { .. } => tracing::enabled!(target: "holdup::shutdown", Level::WARN),
            Self::Check(check) if check.coverage == Coverage::Full => {
                tracing::enabled!(target: "holdup", Level::INFO)
            }
            Self::Check(_) | Self::Notice(_) => tracing::enabled!(target: "holdup", Level::WARN),
        }
    }

    /// Sends the event to the current subscriber. This runs the program's code.
    pub(crate) fn emit(&self) {
        match self {
            Self::Stall { phase, stall, repeats, first } => emit_stall(*phase, stall, *repeats, *first),
            Self::Check(line) if line.coverage == Coverage::Full => {
                tracing::info!(target: "holdup", coverage = line.coverage.as_str(), "{line}");
            }
            Self::Check(line) => tracing::warn!(target: "holdup", coverage = line.coverage.as_str(), "{line}"),
            Self::Notice(text) => tracing::warn!(target: "holdup", "{text}"),
            Self::Shutdown { runtime, waited, waits_for, text } => tracing::warn!(
                target: "holdup::shutdown",
                runtime = %runtime,
                waited_ms = to_ms(*waited),
                blocking = waits_for.map(|threads| threads.blocking),
                polls = waits_for.map(|threads| threads.polls),
                drops = waits_for.map(|threads| threads.drops),
                "{text}"
            ),
            Self::Summary { group, text } => tracing::warn!(
                target: "holdup::stall",
                phase = "summary",
                function = group.function.as_deref(),
                counted_as = group.counted_as.as_str(),
                count = group.count,
                running = group.running,
                total_ms = to_ms(group.total),
                longest_ms = to_ms(group.longest),
                share = group.share,
                "{text}"
            ),
        }
    }
}

/// One event for each report, under the target `holdup::stall`. The first one of a stall has the advice and the count, also
/// if it comes at the end.
fn emit_stall(phase: Phase, stall: &Stall, repeats: Repeats, first: bool) {
    let culprit = stall.culprit.as_ref();
    let victims = stall.waiting.victims.as_ref().ok();
    let parts = StallView::from(stall).parts_sentence();
    let objects: Vec<&str> = stall.cause.objects.iter().map(|object| object.as_str()).collect();
    let objects = (!objects.is_empty()).then(|| objects.join(","));
    tracing::warn!(
        target: "holdup::stall",
        phase = phase.as_str(),
        id = stall.id.0,
        runtime = %stall.runtime,
        worker = stall.worker,
        holds = stall.holds.as_str(),
        thread = %stall.thread,
        task_id = stall.task.id.map(|id| id.0),
        task_name = stall.task.name.as_deref(),
        spawned_at = stall.task.place(),
        threshold_ms = to_ms(stall.threshold),
        duration_ms = to_ms(stall.duration),
        detection = stall.detection.as_str(),
        inferred = stall.detection.is_inferred(),
        cause = stall.cause.class.as_str(),
        objects = objects.as_deref(),
        function = culprit.map(|culprit| &*culprit.frame.function),
        file = culprit.and_then(|culprit| culprit.frame.file.as_deref()),
        line = culprit.and_then(|culprit| culprit.frame.line),
        call = culprit.and_then(|culprit| culprit.call.as_deref()),
        parts = parts.as_deref(),
        victims = victims.map(Victims::count),
        victims_longest_ms = victims.map(|victims| to_ms(victims.longest.at_most)),
        advice = first.then(|| stall.cause.advice()),
        build_advice = stall.build_advice.filter(|_| first),
        count = first.then_some(repeats.count),
        suppressed = first.then_some(repeats.suppressed),
        "{}", message(phase, stall)
    );
}

fn message(phase: Phase, stall: &Stall) -> String {
    let place = stall.culprit.as_ref().map_or_else(String::new, |culprit| format!(" in {}", culprit.frame.function));
    let view = StallView::from(stall);
    let (held, cause, what) = (view.held(), view.cause_and_machine(), stall.holds.held());
    match phase {
        Phase::Ended => format!("a poll held {what} for {held}{place}: {cause}"),
        Phase::Noticed | Phase::Updated => format!("a poll has been holding {what} for {held}{place}: {cause}"),
    }
}
