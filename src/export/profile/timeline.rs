//! Threads with their samples and slices in order of time, for formats that have a track for each thread.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::model::profile::{Labels, Profile, Sample, Slice, Unit};

/// The samples and slices of a thread.
#[derive(Debug)]
pub(super) struct Thread<'a> {
    /// Its name, or `(unknown thread)`.
    pub(super) name: String,
    /// The kernel's thread id.
    pub(super) tid: Option<i32>,
    /// In order of time. A sample without a time starts at the end of the previous one.
    pub(super) samples: Vec<(Duration, &'a Sample)>,
    /// In order of start.
    pub(super) slices: Vec<&'a Slice>,
}

impl Thread<'_> {
    /// The name with the id, because several workers can have equal names.
    pub(super) fn title(&self) -> String {
        self.tid.map_or_else(|| self.name.clone(), |tid| format!("{} ({tid})", self.name))
    }
}

/// Every thread, in order of first appearance.
pub(super) fn threads(profile: &Profile) -> Vec<Thread<'_>> {
    let mut threads = Threads::default();
    for sample in &profile.samples {
        let at = sample.at;
        let thread = threads.of(profile.labels_of(sample));
        let start = at.unwrap_or_else(|| {
            let last = thread.samples.last();
            last.map_or(Duration::ZERO, |(start, last)| *start + length(profile, last))
        });
        thread.samples.push((start, sample));
    }
    for slice in &profile.slices {
        threads.of(profile.labels.get(slice.labels as usize)).slices.push(slice);
    }
    for thread in &mut threads.all {
        thread.samples.sort_by_key(|(start, _)| *start);
        thread.slices.sort_by_key(|slice| (slice.start, std::cmp::Reverse(slice.end)));
    }
    threads.all
}

/// The length of a sample on the track: its drawn value if that is a time, otherwise the sampling interval.
fn length(profile: &Profile, sample: &Sample) -> Duration {
    let value = sample.values.get(profile.drawn).copied().and_then(|value| u64::try_from(value).ok());
    match (profile.drawn_value().map(|drawn| drawn.unit), value) {
        (Some(Unit::Nanoseconds), Some(value)) => Duration::from_nanos(value),
        _ => Duration::from_secs(1) / profile.rate.unwrap_or(1000).max(1),
    }
}

#[derive(Default)]
struct Threads<'a> {
    all: Vec<Thread<'a>>,
    positions: HashMap<(Option<i32>, Option<Arc<str>>), usize>,
}

impl<'a> Threads<'a> {
    fn of(&mut self, labels: Option<&Labels>) -> &mut Thread<'a> {
        let (tid, name) = labels.map_or((None, None), |labels| (labels.tid, labels.thread.clone()));
        // A thread can change its name, so the id decides if there is one.
        let key = (tid, name.clone().filter(|_| tid.is_none()));
        let position = *self.positions.entry(key).or_insert(self.all.len());
        if position == self.all.len() {
            let name = name.map_or_else(|| "(unknown thread)".to_owned(), |name| name.to_string());
            self.all.push(Thread { name, tid, samples: Vec::new(), slices: Vec::new() });
        }
        &mut self.all[position]
    }
}
