//! The ledger at one moment, and profiles of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::collector::with_ledger;
use super::growth::Moments;
use super::ledger::{Ledger, Site, SiteStack, Sums, TEMPORARY, rounded};
use super::sampling::Sampling;
use crate::model::profile::{GROWTH, Labels, MAX_VALUES, Unit, ValueType};
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
            Self::Leaks => {
                let mut values = three("leaked_objects", "leaked_space");
                values.push(bytes(GROWTH));
                values
            }
            Self::Go { .. } => {
                vec![count("alloc_objects"), bytes("alloc_space"), count("inuse_objects"), bytes("inuse_space")]
            }
        }
    }

    /// An empty collection for it.
    pub(super) fn collection(self) -> Collection {
        let mut collection = Collection::new(self.kind(), None, self.values());
        collection.draw(self.drawn());
        collection
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
    /// Moments of the window since then.
    moments: Moments,
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
        with_ledger(Self::of)
    }

    /// The present, with what was allocated in the first half of the time since `before` and still lives. The moments are
    /// of that time, and the present is the last one.
    pub(crate) fn with_survivors_since(before: &Self, mut moments: Moments) -> Option<Self> {
        with_ledger(|ledger, sampling| {
            let now = Self::of(ledger, sampling);
            moments.take(now.at, ledger);
            let half = now.at.saturating_sub(before.at) / 2;
            Self { survivors: ledger.survivors(before.at, before.at + half), moments, ..now }
        })
    }

    /// Adds the present to the moments of a window.
    pub(crate) fn take_moment(moments: &mut Moments) {
        // Without a ledger there is nothing to take.
        let _taken = with_ledger(|ledger, _| moments.take(sys::monotonic_time(), ledger));
    }

    fn of(ledger: &Ledger, sampling: Sampling) -> Self {
        Self {
            sites: ledger.sites().to_vec(),
            survivors: Vec::new(),
            moments: Moments::default(),
            live: ledger.live(),
            at: sys::monotonic_time(),
            sampling,
            totals: totals(),
            lost: lost(),
            stackless: ledger.stackless(),
            is_full: ledger.is_full(),
        }
    }

    /// The profile of a view, without names. With an earlier snapshot, what was gained since.
    pub(crate) fn profile(&self, view: View, before: Option<&Self>) -> Collection {
        let mut collection = view.collection();
        let growth = if view == View::Leaks { self.growth() } else { HashMap::new() };
        for (position, site) in self.sites.iter().enumerate() {
            let earlier = before.and_then(|before| before.sites.get(position));
            let values = self.values(view, position, site, earlier);
            if values != [0; MAX_VALUES] {
                let state = growth.get(&site.stack).copied().map(Arc::from);
                add_site(&mut collection, site, Labels { state, ..site.labels.clone() }, values);
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
        match view {
            View::Live => gained(|site| site.live).values(),
            View::Allocated => gained(|site| site.allocated).values(),
            View::Peak => site.peak.values(),
            View::Temporary => gained(|site| site.temporary).values(),
            View::Leaks => {
                let kept = self.survivors.get(position).copied().unwrap_or_default();
                let line = self.moments.of_site(position).filter(|_| kept.samples > 0);
                let [samples, objects, bytes, _] = kept.values();
                [samples, objects, bytes, line.map_or(0, |line| rounded(line.bytes_per_minute))]
            }
            View::Go { .. } => {
                let (allocated, live) = (gained(|site| site.allocated), gained(|site| site.live));
                [rounded(allocated.objects), rounded(allocated.bytes), rounded(live.objects), rounded(live.bytes)]
            }
        }
    }

    /// The word for how the memory of each stack grows. Its sites differ in size, thread and task, and have few samples each.
    fn growth(&self) -> HashMap<&SiteStack, &'static str> {
        let mut stacks: HashMap<&SiteStack, (Vec<usize>, f64)> = HashMap::new();
        for ((position, site), kept) in self.sites.iter().enumerate().zip(&self.survivors) {
            let (positions, bytes) = stacks.entry(&site.stack).or_default();
            positions.push(position);
            *bytes += kept.bytes;
        }
        let word = |(positions, kept): (Vec<usize>, f64)| Some(self.moments.of_sites(&positions)?.word(kept));
        let kept = stacks.into_iter().filter(|(_, (_, kept))| *kept > 0.0);
        kept.filter_map(|(stack, found)| Some((stack, word(found)?))).collect()
    }

    /// What the numbers are, and what is missing.
    fn notes(&self, view: View, before: Option<&Self>) -> Vec<String> {
        let mut notes = what_numbers_are(self.sampling, self.totals);
        if let Some(before) = before.filter(|_| view == View::Leaks) {
            let (live, grown) = (rounded(self.live.bytes), rounded(self.live.bytes - before.live.bytes));
            notes.push(format!("{live} bytes live, {grown} more than at the start of the window"));
            notes.push(match self.moments.of_all() {
                Some(line) => format!(
                    "live memory changes by {} bytes per minute, {}, as a line through {} moments of the window has it",
                    rounded(line.bytes_per_minute),
                    if line.is_steady() { "steadily" } else { "unsteadily" },
                    self.moments.len()
                ),
                None => "the window is too short to measure growth".to_owned(),
            });
        }
        if view == View::Temporary {
            notes.push(format!("freed in the poll that allocated it, or within {} ms", TEMPORARY.as_millis()));
        }
        notes.extend(what_stacks_lack(self.stackless, self.is_full));
        if !sys::heap::has_region() {
            notes.push("the address space is limited, so every free looks for its sample in a table".to_owned());
        }
        notes
    }
}

/// What the numbers are, as notes of a profile.
pub(super) fn what_numbers_are(sampling: Sampling, totals: HeapTotals) -> Vec<String> {
    let HeapTotals { allocated_bytes, allocations, freed_bytes, frees } = totals;
    vec![
        match sampling {
            Sampling::EVERY_ALLOCATION => "every allocation is sampled".to_owned(),
            sampling => format!(
                "one sample per {sampling} of allocations on average; n samples are within ±196/√n % of the truth, 95 times of 100"
            ),
        },
        format!(
            "counted, not sampled: {allocated_bytes} bytes in {allocations} allocations, {freed_bytes} bytes in {frees} frees since sampling began"
        ),
    ]
}

/// Why stacks are missing, as notes of a profile.
pub(super) fn what_stacks_lack(stackless: u64, is_full: bool) -> Vec<String> {
    let mut notes = Vec::new();
    if stackless > 0 {
        notes.push(format!("{stackless} samples have no stack, because the records were full"));
    }
    if is_full {
        notes.push("further stacks are summed as one, because too many are different".to_owned());
    }
    notes
}

/// The frame of an allocation without a stack.
pub(super) const NO_STACK: &str = "(no stack)";

/// Adds the values of a site.
pub(super) fn add_site(collection: &mut Collection, site: &Site, labels: Labels, values: [i64; MAX_VALUES]) {
    let stack = RawStack {
        addresses: site.stack.addresses.to_vec(),
        method: CaptureMethod::Signal,
        complete: site.stack.complete,
    };
    collection.add_sum(&stack, NO_STACK, labels, values);
}
