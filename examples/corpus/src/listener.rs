//! Writes holdup's stalls of its own process as a report. Only this file and `outside.rs` depend on holdup's output.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use holdup::stall::{Victim, VictimsUnknown};
use holdup::{Print, Stall, StallEvent, Watch, WatchBuilder};

use crate::report::{FORMAT, Report, ReportedStall, ReportedVictim};
use crate::truth::nanoseconds;

/// holdup's default threshold.
pub(crate) const THRESHOLD: Duration = Duration::from_millis(10);

/// Collects holdup's stall events.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listener(Arc<Mutex<BTreeMap<u64, ReportedStall>>>);

impl Listener {
    /// A watch that reports to this listener.
    pub(crate) fn builder(&self, print: Print) -> WatchBuilder {
        let listener = self.clone();
        Watch::builder().threshold(THRESHOLD).print(print).on_stall(move |event| listener.hear(event))
    }

    fn hear(&self, event: &StallEvent<'_>) {
        let now = since_1970(SystemTime::now());
        let mut stalls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = stalls.entry(event.stall.id.0).or_insert_with(|| first_reported(event.stall, now));
        known.duration_ns = nanoseconds(event.stall.duration);
        known.cause = Some(event.stall.cause.class.as_str().to_owned());
        let culprit = event.stall.culprit.as_ref().map(|culprit| &culprit.frame);
        known.function = culprit.map(|frame| frame.function.to_string());
        known.file = culprit.and_then(|frame| frame.file.as_deref()).map(str::to_owned);
        known.line = culprit.and_then(|frame| frame.line);
        known.victims = victims(event.stall);
    }

    /// The report. It is complete after the watch is dropped.
    pub(crate) fn report(&self) -> Report {
        report_of(self.0.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect())
    }
}

/// An empty report of holdup, from inside or outside.
pub(crate) fn report_of(stalls: Vec<ReportedStall>) -> Report {
    Report {
        format: FORMAT.to_owned(),
        tool: concat!("holdup ", env!("CARGO_PKG_VERSION")).to_owned(),
        threshold_ns: nanoseconds(THRESHOLD),
        stalls,
    }
}

fn first_reported(stall: &Stall, now: u64) -> ReportedStall {
    ReportedStall {
        noticed_ns: Some(since_1970(stall.noticed_at)),
        reported_ns: Some(now),
        ..ReportedStall::begun(since_1970(stall.began_at), stall.tid)
    }
}

fn victims(stall: &Stall) -> Option<Vec<ReportedVictim>> {
    let one = |victim: &Victim| Some(ReportedVictim { task: victim.task.id?.0, certain: victim.is_certain() });
    match &stall.waiting.victims {
        Ok(victims) => Some(victims.tasks.iter().filter_map(one).collect()),
        Err(VictimsUnknown::NoWorker) => Some(Vec::new()),
        Err(_) => None,
    }
}

pub(crate) fn since_1970(time: SystemTime) -> u64 {
    nanoseconds(time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}
