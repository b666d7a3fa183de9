//! What the file says about the peak: sums by stack and labels, and what is needed to name the stacks without the process.

use std::collections::HashMap;
use std::hash::Hash;
#[cfg(any(test, feature = "cli"))]
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::halves::MAX_CONTENTS;
use super::images::SavedImage;
use crate::heap::ledger::{Ledger, Site, Sums};
use crate::heap::sampling::Sampling;
use crate::model::profile::Labels;
use crate::sys;
use crate::sys::heap::{HeapTotals, lost, totals};

/// The peak of a process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct SavedPeak {
    /// The number of the process, which is different for each: in containers, many have the same id.
    pub(super) run: u64,
    pub(crate) pid: u32,
    /// The paths of the program and of its working folder.
    pub(crate) program: String,
    pub(crate) folder: String,
    /// Since the Unix epoch.
    pub(crate) at: Duration,
    /// The mean distance between two samples in bytes; 0 if every allocation was sampled.
    pub(super) mean: u64,
    /// Allocated bytes, allocations, freed bytes and frees, counted when the peak was written.
    pub(super) counted: [u64; 4],
    /// Samples that found no room.
    pub(super) lost: u64,
    /// Samples whose stack could not be copied.
    pub(super) stackless: u64,
    pub(super) is_full: bool,
    /// Sites that found no room in the file, and their sums.
    pub(super) left_out: (u64, Sums),
    pub(crate) images: Vec<SavedImage>,
    pub(crate) addresses: Vec<u64>,
    texts: Vec<String>,
    stacks: Vec<SavedStack>,
    /// Thread, runtime, name of the task, and where it was spawned.
    labels: Vec<[Option<u32>; 4]>,
    sites: Vec<SavedSite>,
}

/// A stack of positions in the list of addresses, innermost first.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct SavedStack {
    addresses: Vec<u32>,
    complete: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct SavedSite {
    stack: u32,
    labels: u32,
    sums: Sums,
}

/// A site as it was written.
#[cfg(any(test, feature = "cli"))]
pub(super) struct SiteView {
    pub(super) addresses: Vec<u64>,
    pub(super) complete: bool,
    pub(super) labels: Labels,
    pub(super) sums: Sums,
}

/// Facts about a process that do not change.
#[derive(Clone, Debug)]
pub(super) struct ProcessFacts {
    pub(super) run: u64,
    pub(super) program: String,
    pub(super) folder: String,
}

/// Stores equal values once.
struct Distinct<T> {
    known: HashMap<T, u32>,
    all: Vec<T>,
}

impl<T: Clone + Eq + Hash> Distinct<T> {
    fn new() -> Self {
        Self { known: HashMap::new(), all: Vec::new() }
    }

    fn position(&mut self, value: T) -> u32 {
        let next = u32::try_from(self.all.len()).unwrap_or(u32::MAX);
        *self.known.entry(value).or_insert_with_key(|value| {
            self.all.push(value.clone());
            next
        })
    }
}

impl SavedPeak {
    /// The ledger's peak without images. The sites with most bytes come first, and at most `most` are kept.
    pub(super) fn of(ledger: &Ledger, sampling: Sampling, process: &ProcessFacts, most: usize) -> Self {
        let mut sites: Vec<&Site> = ledger.sites().iter().filter(|site| site.peak.samples > 0).collect();
        sites.sort_by(|a, b| b.peak.bytes.total_cmp(&a.peak.bytes));
        let mut rest = Sums::default();
        sites.iter().skip(most).for_each(|site| rest.add(site.peak));
        let left_out = (sites.len().saturating_sub(most) as u64, rest);
        sites.truncate(most);
        let (mut addresses, mut texts) = (Distinct::new(), Distinct::new());
        let (mut stacks, mut labels) = (Distinct::new(), Distinct::new());
        let sites = sites.into_iter().map(|site| {
            let positions = site.stack.addresses.iter().map(|address| addresses.position(address.0));
            let stack = SavedStack { addresses: positions.collect(), complete: site.stack.complete };
            let Labels { thread, runtime, task_name, spawned_at, .. } = &site.labels;
            let words = [thread, runtime, task_name, spawned_at];
            let words = words.map(|word| word.as_deref().map(|word| texts.position(word.to_owned())));
            SavedSite { stack: stacks.position(stack), labels: labels.position(words), sums: site.peak }
        });
        let sites = sites.collect();
        let HeapTotals { allocated_bytes, allocations, freed_bytes, frees } = totals();
        let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self {
            run: process.run,
            pid: std::process::id(),
            program: process.program.clone(),
            folder: process.folder.clone(),
            at: since_epoch.saturating_sub(sys::monotonic_time().saturating_sub(ledger.peak_at())),
            mean: sampling.mean(),
            counted: [allocated_bytes, allocations, freed_bytes, frees],
            lost: lost(),
            stackless: ledger.stackless(),
            is_full: ledger.is_full(),
            left_out,
            images: Vec::new(),
            addresses: addresses.all,
            texts: texts.all,
            stacks: stacks.all,
            labels: labels.all,
            sites,
        }
    }

    /// Whether it has no sample.
    pub(super) fn is_empty(&self) -> bool {
        self.sites.is_empty()
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        // Its values have no form that cannot be written.
        postcard::to_allocvec(self).unwrap_or_default()
    }

    /// `None` if the bytes are of another structure.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        postcard::from_bytes(bytes).ok()
    }

    /// The sites. Positions that lead nowhere are left out.
    #[cfg(any(test, feature = "cli"))]
    pub(super) fn sites(&self) -> impl Iterator<Item = SiteView> {
        self.sites.iter().map(|site| {
            let stack = self.stacks.get(site.stack as usize);
            let address = |position: &u32| self.addresses.get(*position as usize).copied();
            let labels = self.labels.get(site.labels as usize).copied().unwrap_or_default();
            let [thread, runtime, task_name, spawned_at] =
                labels.map(|word| word.and_then(|word| self.texts.get(word as usize)).map(|word| Arc::from(&**word)));
            SiteView {
                addresses: stack.map(|stack| stack.addresses.iter().filter_map(address).collect()).unwrap_or_default(),
                complete: stack.is_some_and(|stack| stack.complete),
                labels: Labels { thread, runtime, task_name, spawned_at, ..Labels::default() },
                sums: site.sums,
            }
        })
    }
}

/// The bytes of a peak that fit into a half of the file. `build` gets the most sites that it may have: all at first, and then
/// half as many each time. `None` if there is no peak.
pub(super) fn bounded(mut build: impl FnMut(usize) -> Option<SavedPeak>) -> Option<Vec<u8>> {
    let mut most = usize::MAX;
    loop {
        let peak = build(most)?;
        let bytes = peak.to_bytes();
        if bytes.len() <= MAX_CONTENTS {
            return Some(bytes);
        }
        if peak.is_empty() {
            return None;
        }
        most = peak.sites.len() / 2;
    }
}

#[cfg(test)]
impl SavedPeak {
    /// A peak of one site with so many samples; of none for 0.
    pub(super) fn of_samples(run: u64, samples: u64) -> Self {
        let sums = Sums { samples: samples as i64, objects: 1.0, bytes: 1.0 };
        let site = (samples > 0).then_some(SavedSite { stack: 0, labels: 0, sums });
        Self { run, sites: site.into_iter().collect(), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heap::ledger::{Event, SiteStack};
    use crate::model::stack::Address;
    use crate::sys::heap::Allocated;

    const PROCESS: ProcessFacts = ProcessFacts { run: 7, program: String::new(), folder: String::new() };

    /// One object of this size.
    fn allocated(object: u32, size: u64, addresses: impl IntoIterator<Item = u64>, labels: Labels) -> Event {
        let facts = Allocated { object, size, mean: 0, at: Duration::ZERO, tid: 1, poll: None, poll_number: None };
        let addresses = addresses.into_iter().map(Address).collect();
        Event::Allocated(facts, SiteStack { addresses, complete: true }, Box::new(labels))
    }

    fn of(ledger: &Ledger, most: usize) -> SavedPeak {
        SavedPeak::of(ledger, Sampling::EVERY_ALLOCATION, &PROCESS, most)
    }

    #[test]
    fn what_is_written_is_read() {
        let labels = |thread: &str, task: Option<&str>| Labels {
            thread: Some(thread.into()),
            task_name: task.map(Into::into),
            ..Labels::default()
        };
        let mut ledger = Ledger::default();
        let events = vec![
            allocated(1, 10, [5, 6, 7], labels("main", None)),
            allocated(2, 300, [8, 6, 7], labels("worker", Some("worker"))),
            allocated(3, 20, [], Labels::default()),
        ];
        ledger.add(events, |_| {});
        let bytes = bounded(|most| Some(of(&ledger, most))).expect("it is small");
        let read = SavedPeak::read(&bytes).expect("it is ours");
        let sites: Vec<_> = read.sites().map(|site| (site.addresses, site.labels, site.sums.bytes)).collect();
        let expected = [
            (vec![8, 6, 7], labels("worker", Some("worker")), 300.0),
            (vec![], Labels::default(), 20.0),
            (vec![5, 6, 7], labels("main", None), 10.0),
        ];
        assert_eq!(sites, expected);
        assert!(read.sites().all(|site| site.complete && site.sums.samples == 1));
        assert_eq!((read.left_out.0, read.texts.len()), (0, 2), "equal texts are written once");
        for length in 0..bytes.len() {
            assert_eq!(SavedPeak::read(&bytes[..length]), None, "{length} bytes");
        }
    }

    #[test]
    fn the_largest_sites_find_room_and_the_others_are_counted() {
        let mut ledger = Ledger::default();
        let deep = |number: u64| (0..400).map(move |depth| (number << 32) + (depth << 8));
        // The last ones are the largest.
        let event = |number: u32| allocated(number, u64::from(number) + 1, deep(u64::from(number)), Labels::default());
        ledger.add((0..2000).map(event).collect(), |_| {});
        let mut tries = Vec::new();
        let bytes = bounded(|most| {
            tries.push(most);
            Some(of(&ledger, most))
        });
        let read = SavedPeak::read(&bytes.expect("half of it fits at last")).expect("it is ours");
        assert!(tries.len() > 1 && read.sites.len() >= 250, "{tries:?}, {} sites", read.sites.len());
        let bytes: Vec<f64> = read.sites().map(|site| site.sums.bytes).collect();
        assert!(bytes[0] > 1990.0 && bytes.is_sorted_by(|a, b| a >= b));
        let (sites, sums) = read.left_out;
        assert_eq!(
            sites as usize + read.sites.len(),
            ledger.sites().iter().filter(|site| site.peak.samples > 0).count()
        );
        let all: f64 = ledger.sites().iter().map(|site| site.peak.bytes).sum();
        assert!((bytes.iter().sum::<f64>() + sums.bytes - all).abs() < 1.0, "nothing is lost");
    }
}
