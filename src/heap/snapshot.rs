//! The ledger at one moment, and profiles of it.

use std::time::Duration;

use super::collector::with_ledger;
use super::ledger::{Ledger, Site, Sums, TEMPORARY};
use super::sampling::Sampling;
use crate::model::profile::{MAX_VALUES, Unit, ValueType};
use crate::model::stack::{CaptureMethod, RawStack};
use crate::profilers::Collection;
use crate::sys;
use crate::sys::heap::{HeapTotals, lost, totals};

/// What of a snapshot a profile shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    /// What lives.
    Live,
    /// What was allocated.
    Allocated,
    /// What lived at the peak.
    Peak,
    /// What was freed in the poll that allocated it, or soon.
    Temporary,
    /// What was allocated in the first half of a window and lives at its end.
    Leaks,
    /// Go's four values: what was allocated and what lives.
    #[cfg_attr(not(feature = "http"), allow(dead_code, reason = "only the endpoint answers as Go does"))]
    Go {
        /// Whether `alloc_space` is the value to draw, and not `inuse_space`.
        draws_allocated: bool,
    },
}

impl View {
    /// The word for it in files.
    pub(super) fn kind(self) -> &'static str {
        match self {
            Self::Live | Self::Go { draws_allocated: false } => "heap",
            Self::Allocated | Self::Go { draws_allocated: true } => "allocs",
            Self::Peak => "peak",
            Self::Temporary => "temporary",
            Self::Leaks => "leaks",
        }
    }

    /// The values of each sample.
    pub(crate) fn values(self) -> Vec<ValueType> {
        let count = |name: &str| ValueType::new(name, Unit::Count);
        let bytes = |name: &str| ValueType::new(name, Unit::Bytes);
        let three = |objects: &str, space: &str| vec![count("samples"), count(objects), bytes(space)];
        match self {
            Self::Live => three("inuse_objects", "inuse_space"),
            Self::Allocated => three("alloc_objects", "alloc_space"),
            Self::Peak => three("peak_objects", "peak_space"),
            Self::Temporary => three("temporary_objects", "temporary_space"),
            Self::Leaks => three("leaked_objects", "leaked_space"),
            Self::Go { .. } => {
                vec![count("alloc_objects"), bytes("alloc_space"), count("inuse_objects"), bytes("inuse_space")]
            }
        }
    }

    pub(super) fn drawn(self) -> usize {
        match self {
            Self::Go { draws_allocated: true } => 1,
            Self::Go { draws_allocated: false } => 3,
            _ => 2,
        }
    }
}

/// The ledger at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    sites: Vec<Site>,
    /// What was allocated since a moment and before another, and lives, by site.
    survivors: Vec<Sums>,
    live: Sums,
    /// By the monotonic clock.
    at: Duration,
    sampling: Sampling,
    totals: HeapTotals,
    lost: u64,
    stackless: u64,
    is_full: bool,
}

impl Snapshot {
    /// The present. `None` if sampling never began.
    pub(crate) fn now() -> Option<Self> {
        with_ledger(|ledger, sampling| Self::of(ledger, sampling, None))
    }

    /// The present, with what was allocated in the first half of the time since `before` and still lives.
    pub(crate) fn with_survivors_since(before: &Self) -> Option<Self> {
        with_ledger(|ledger, sampling| Self::of(ledger, sampling, Some(before.at)))
    }

    fn of(ledger: &Ledger, sampling: Sampling, since: Option<Duration>) -> Self {
        let at = sys::monotonic_time();
        let survivors = since.map(|since| ledger.survivors(since, since + at.saturating_sub(since) / 2));
        Self {
            sites: ledger.sites().to_vec(),
            survivors: survivors.unwrap_or_default(),
            live: ledger.live(),
            at,
            sampling,
            totals: totals(),
            lost: lost(),
            stackless: ledger.stackless(),
            is_full: ledger.is_full(),
        }
    }

    /// The profile of a view, without names. With an earlier snapshot, what was gained since.
    pub(crate) fn profile(&self, view: View, before: Option<&Self>) -> Collection {
        let mut collection = Collection::new(view.kind(), None, view.values());
        collection.draw(view.drawn());
        for (position, site) in self.sites.iter().enumerate() {
            let earlier = before.and_then(|before| before.sites.get(position));
            let values = self.values(view, position, site, earlier);
            if values != [0; MAX_VALUES] {
                let stack = RawStack {
                    addresses: site.stack.addresses.to_vec(),
                    method: CaptureMethod::Signal,
                    complete: site.stack.complete,
                };
                collection.add_sum(&stack, NO_STACK, site.labels.clone(), values);
            }
        }
        let lost_before = before.map_or(0, |before| before.lost);
        collection.lose(self.lost.saturating_sub(lost_before));
        collection.end(before.map_or(Duration::ZERO, |before| self.at.saturating_sub(before.at)));
        self.notes(view, before).into_iter().for_each(|note| collection.note(note));
        collection
    }

    fn values(&self, view: View, position: usize, site: &Site, earlier: Option<&Site>) -> [i64; MAX_VALUES] {
        let gained = |of: fn(&Site) -> Sums| {
            let mut sums = of(site);
            earlier.into_iter().for_each(|earlier| sums.take_away(of(earlier)));
            sums
        };
        let three = |sums: Sums| [sums.samples, rounded(sums.objects), rounded(sums.bytes), 0];
        match view {
            View::Live => three(gained(|site| site.live)),
            View::Allocated => three(gained(|site| site.allocated)),
            View::Peak => three(site.peak),
            View::Temporary => three(gained(|site| site.temporary)),
            View::Leaks => three(self.survivors.get(position).copied().unwrap_or_default()),
            View::Go { .. } => {
                let (allocated, live) = (gained(|site| site.allocated), gained(|site| site.live));
                [rounded(allocated.objects), rounded(allocated.bytes), rounded(live.objects), rounded(live.bytes)]
            }
        }
    }

    /// What the numbers are, and what is missing.
    fn notes(&self, view: View, before: Option<&Self>) -> Vec<String> {
        let mut notes = vec![match self.sampling {
            Sampling::EVERY_ALLOCATION => "every allocation is sampled".to_owned(),
            sampling => format!(
                "one sample per {sampling} of allocations on average; n samples are within ±196/√n % of the truth, 95 times of 100"
            ),
        }];
        let HeapTotals { allocated_bytes, allocations, freed_bytes, frees } = self.totals;
        notes.push(format!(
            "counted, not sampled: {allocated_bytes} bytes in {allocations} allocations, {freed_bytes} bytes in {frees} frees since sampling began"
        ));
        if let Some(before) = before.filter(|_| view == View::Leaks) {
            let (live, grown) = (rounded(self.live.bytes), rounded(self.live.bytes - before.live.bytes));
            notes.push(format!("{live} bytes live, {grown} more than at the start of the window"));
        }
        if view == View::Temporary {
            notes.push(format!("freed in the poll that allocated it, or within {} ms", TEMPORARY.as_millis()));
        }
        if self.stackless > 0 {
            notes.push(format!("{} samples have no stack, because the records were full", self.stackless));
        }
        if self.is_full {
            notes.push("further stacks are summed as one, because too many are different".to_owned());
        }
        if !sys::heap::has_region() {
            notes.push("the address space is limited, so every free looks for its sample in a table".to_owned());
        }
        notes
    }
}

/// The frame of an allocation without a stack.
pub(super) const NO_STACK: &str = "(no stack)";

pub(super) fn rounded(value: f64) -> i64 {
    value.round() as i64
}
