//! What was allocated, what lives, what lived at the peak, and what was freed at once: sums by stack and labels.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::profile::{Labels, MAX_VALUES};
use crate::model::stack::Address;
use crate::sys::heap::{Allocated, Freed};

/// Kinds of allocations at most. Further ones are summed as one.
const MAX_SITES: usize = 8 * 1024;

/// An object that is freed within this time is temporary.
pub(super) const TEMPORARY: Duration = Duration::from_millis(10);

/// A peak is recorded when it exceeds the last one by one part in this many.
const PEAK_STEP: f64 = 100.0;

/// Sums over samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Sums {
    pub(super) samples: i64,
    /// Estimated objects.
    pub(super) objects: f64,
    /// Estimated bytes.
    pub(super) bytes: f64,
}

impl Sums {
    pub(super) fn add(&mut self, other: Self) {
        self.samples += other.samples;
        self.objects += other.objects;
        self.bytes += other.bytes;
    }

    pub(super) fn take_away(&mut self, other: Self) {
        self.samples -= other.samples;
        self.objects -= other.objects;
        self.bytes -= other.bytes;
        if self.samples == 0 {
            // No rounding errors remain.
            *self = Self::default();
        }
    }

    /// As values of a profile: samples, objects and bytes.
    pub(super) fn values(self) -> [i64; MAX_VALUES] {
        [self.samples, rounded(self.objects), rounded(self.bytes), 0]
    }

    /// What a sample of this size stands for. It was sampled with the probability 1 − exp(−size/mean).
    fn of(size: u64, mean: u64) -> Self {
        let size = size as f64;
        let chance = if mean == 0 { 1.0 } else { -(-size / mean as f64).exp_m1() };
        let objects = if chance > 0.0 { 1.0 / chance } else { 1.0 };
        Self { samples: 1, objects, bytes: size * objects }
    }
}

/// An estimate as a value of a profile.
pub(super) fn rounded(value: f64) -> i64 {
    value.round() as i64
}

/// A stack without names. Empty if it could not be copied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct SiteStack {
    pub(super) addresses: Arc<[Address]>,
    pub(super) complete: bool,
}

/// Allocations with one stack and one set of labels.
#[derive(Clone, Debug)]
pub(super) struct Site {
    pub(super) stack: SiteStack,
    pub(super) labels: Labels,
    pub(super) allocated: Sums,
    pub(super) live: Sums,
    pub(super) peak: Sums,
    pub(super) temporary: Sums,
}

/// A sampled object that lives.
#[derive(Clone, Copy, Debug)]
struct Live {
    site: usize,
    of: Sums,
    at: Duration,
}

/// Something that happened to a sampled object.
#[derive(Clone, Debug)]
pub(super) enum Event {
    Allocated(Allocated, SiteStack, Box<Labels>),
    Freed(Freed),
}

impl Event {
    fn at(&self) -> Duration {
        match self {
            Self::Allocated(allocated, ..) => allocated.at,
            Self::Freed(freed) => freed.at,
        }
    }
}

/// An event that was added to the sums.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(feature = "testing"), allow(dead_code, reason = "only guards of tests record"))]
pub(super) enum Added<'a> {
    /// An object, the position of its site, and what it stands for.
    Allocated(&'a Allocated, usize, Sums),
    /// The number of an object.
    Freed(u32),
}

/// The sums.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    sites: Vec<Site>,
    known: HashMap<(SiteStack, Labels), usize>,
    objects: HashMap<u32, Live>,
    live: Sums,
    peak: Sums,
    /// When the peak was, by the monotonic clock.
    peak_at: Duration,
    /// How often a new peak was recorded.
    peaks: u64,
    /// Samples whose stack could not be copied.
    stackless: u64,
}

impl Ledger {
    /// Adds events. They are brought into the order of time, so that the peak between two collections is right, and passed
    /// on in that order.
    pub(super) fn add(&mut self, mut events: Vec<Event>, mut then: impl FnMut(Added<'_>)) {
        // The sort is stable: an object is allocated before it is freed.
        events.sort_by_key(Event::at);
        for event in events {
            match event {
                Event::Allocated(allocated, stack, labels) => {
                    if let Some((site, of)) = self.allocated(&allocated, stack, *labels) {
                        then(Added::Allocated(&allocated, site, of));
                    }
                }
                Event::Freed(freed) => {
                    self.freed(freed);
                    then(Added::Freed(freed.object));
                }
            }
        }
    }

    /// The position of its site, and what it stands for.
    fn allocated(&mut self, allocated: &Allocated, stack: SiteStack, labels: Labels) -> Option<(usize, Sums)> {
        self.stackless += u64::from(stack.addresses.is_empty());
        let (position, of) = (self.site(stack, labels), Sums::of(allocated.size, allocated.mean));
        let site = self.sites.get_mut(position)?;
        site.allocated.add(of);
        site.live.add(of);
        self.live.add(of);
        self.objects.insert(allocated.object, Live { site: position, of, at: allocated.at });
        if self.live.bytes > self.peak.bytes * (1.0 + 1.0 / PEAK_STEP) {
            self.peak = self.live;
            self.peak_at = allocated.at;
            self.peaks += 1;
            self.sites.iter_mut().for_each(|site| site.peak = site.live);
        }
        Some((position, of))
    }

    fn freed(&mut self, freed: Freed) {
        let Some(ended) = self.objects.remove(&freed.object) else { return };
        self.live.take_away(ended.of);
        let Some(site) = self.sites.get_mut(ended.site) else { return };
        site.live.take_away(ended.of);
        if freed.in_same_poll || freed.at.saturating_sub(ended.at) < TEMPORARY {
            site.temporary.add(ended.of);
        }
    }

    fn site(&mut self, stack: SiteStack, labels: Labels) -> usize {
        let mut key = (stack, labels);
        if self.sites.len() >= MAX_SITES && !self.known.contains_key(&key) {
            key = (SiteStack::default(), Labels::default());
        }
        *self.known.entry(key).or_insert_with_key(|(stack, labels)| {
            let none = Sums::default();
            let (stack, labels) = (stack.clone(), labels.clone());
            self.sites.push(Site { stack, labels, allocated: none, live: none, peak: none, temporary: none });
            self.sites.len() - 1
        })
    }

    /// All sites. Positions never change.
    pub(super) fn sites(&self) -> &[Site] {
        &self.sites
    }

    pub(super) fn live(&self) -> Sums {
        self.live
    }

    /// How often a new peak was recorded.
    pub(super) fn peaks(&self) -> u64 {
        self.peaks
    }

    /// When the peak was, by the monotonic clock.
    pub(super) fn peak_at(&self) -> Duration {
        self.peak_at
    }

    pub(super) fn stackless(&self) -> u64 {
        self.stackless
    }

    pub(super) fn is_full(&self) -> bool {
        self.sites.len() >= MAX_SITES
    }

    /// The sums by site of the objects that were allocated in this time, by the monotonic clock, and still live.
    pub(super) fn survivors(&self, from: Duration, until: Duration) -> Vec<Sums> {
        let mut sums = vec![Sums::default(); self.sites.len()];
        for live in self.objects.values().filter(|live| live.at >= from && live.at < until) {
            if let Some(sum) = sums.get_mut(live.site) {
                sum.add(live.of);
            }
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack(address: u64) -> SiteStack {
        SiteStack { addresses: [Address(address)].into(), complete: true }
    }

    fn allocated(object: u32, size: u64, at: u64, site: u64) -> Event {
        let facts =
            Allocated { object, size, mean: 0, at: Duration::from_millis(at), tid: 1, poll: None, poll_number: None };
        Event::Allocated(facts, stack(site), Box::default())
    }

    fn freed(object: u32, at: u64, in_same_poll: bool) -> Event {
        Event::Freed(Freed { object, at: Duration::from_millis(at), in_same_poll })
    }

    #[test]
    fn live_peak_and_temporary_are_told_apart() {
        let mut ledger = Ledger::default();
        // In one collection: 100 bytes come and go before 60 others, so the peak is 100 and not 160.
        ledger.add(
            vec![
                allocated(1, 100, 0, 7),
                allocated(2, 60, 50, 8),
                allocated(3, 1, 60, 9),
                freed(1, 30, false),
                freed(3, 61, false),
            ],
            |_| {},
        );
        ledger.add(vec![allocated(4, 5, 70, 9), freed(4, 500, true)], |_| {});
        let sites = ledger.sites();
        assert_eq!((ledger.live().bytes, ledger.live().samples), (60.0, 1));
        assert_eq!((sites[0].peak.bytes, sites[1].peak.bytes), (100.0, 0.0));
        assert_eq!((ledger.peaks(), ledger.peak_at()), (1, Duration::ZERO));
        assert_eq!((sites[0].temporary.samples, sites[1].temporary.samples, sites[2].temporary.samples), (0, 0, 2));
        assert_eq!((sites[2].allocated.samples, sites[2].live), (2, Sums::default()));
        let millis = Duration::from_millis;
        let survivors = |from, until| ledger.survivors(millis(from), millis(until))[1].bytes;
        assert_eq!((survivors(0, 50), survivors(50, 51)), (0.0, 60.0));
    }

    #[test]
    fn a_small_object_stands_for_many_and_a_large_one_for_itself() {
        let small = Sums::of(64, 512 * 1024);
        assert!((small.bytes / (512.0 * 1024.0) - 1.0).abs() < 0.001, "{small:?}");
        let large = Sums::of(64 << 20, 512 * 1024);
        assert!((large.objects - 1.0).abs() < 1e-9, "{large:?}");
        assert_eq!(Sums::of(3, 0), Sums { samples: 1, objects: 1.0, bytes: 3.0 });
    }

    #[cfg(all(target_os = "linux", target_arch = "x86_64", not(holdup_unsupported)))]
    #[test]
    fn estimates_have_no_bias_and_keep_to_their_accuracy() {
        use crate::sys::heap::{SEEDED_MEAN, seeded};

        const RUNS: u64 = 30;
        let mut inside = 0;
        // From 16 bytes to 8 MiB; the logarithms of the sizes are equally likely.
        let mixes =
            [(16.0, 256.0), (16.0, 8192.0), (4096.0, 65_536.0), (16.0, 8_388_608.0), (1_048_576.0, 8_388_608.0_f64)];
        for (from, to) in mixes {
            let mut errors = Vec::new();
            for run in 0..RUNS {
                let mut is_sampled = seeded(run + 1);
                let (mut truth, mut estimate) = (0.0, Sums::default());
                let mut step = run as f64 / RUNS as f64;
                while truth < 2048.0 * SEEDED_MEAN as f64 {
                    // Multiples of the golden ratio, without their whole part, are spread evenly.
                    step = (step + 0.618_033_988_749_895).fract();
                    let size = (from * (to / from).powf(step)) as usize;
                    truth += size as f64;
                    if is_sampled(size) {
                        estimate.add(Sums::of(size as u64, SEEDED_MEAN));
                    }
                }
                let error: f64 = estimate.bytes / truth - 1.0;
                inside += u64::from(error.abs() <= 1.96 / (estimate.samples as f64).sqrt());
                errors.push(error);
            }
            let mean = errors.iter().sum::<f64>() / RUNS as f64;
            assert!(mean.abs() < 0.01, "{from} B to {to} B: {:.2} % off", mean * 100.0);
        }
        assert!(inside * 100 >= mixes.len() as u64 * RUNS * 93, "{inside} runs are inside");
    }

    #[test]
    fn kinds_are_bounded() {
        let mut ledger = Ledger::default();
        let events = (0..MAX_SITES as u32 + 100).map(|number| allocated(number, 1, 0, u64::from(number) + 1));
        ledger.add(events.collect(), |_| {});
        assert!(ledger.is_full());
        assert_eq!(ledger.sites().len(), MAX_SITES + 1);
        assert_eq!(ledger.sites().last().map(|other| other.live.samples), Some(100));
        assert_eq!(ledger.live().samples, MAX_SITES as i64 + 100, "none is lost");
    }
}
