//! Reads the numbers of the process and its runtimes, once a second.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime};

use super::WatchState;
use crate::model::numbers::{RuntimeNow, RuntimeSecond, Second};
use crate::model::own_thread;
use crate::sys::{self, Process};

/// The time between two samples.
pub(crate) const INTERVAL: Duration = Duration::from_secs(1);

/// Runtimes in a sample. More of them are in the list of workers only.
const MAX_RUNTIMES: usize = 32;

/// Holdup's threads are looked for once in so many samples, because reading the name of each thread has its cost.
const THREADS_EVERY: u64 = 10;

/// Takes the samples: what it remembers of the previous one.
#[derive(Debug)]
pub(crate) struct NumberSampler {
    taken: u64,
    previous: Instant,
    cpu: Option<Duration>,
    /// Holdup's threads with their CPU time.
    own_threads: Vec<(i32, Duration)>,
    /// The busy time of each runtime, by its number.
    busy: HashMap<u32, Duration>,
    /// The first bin of the lanes that no sample has covered.
    next_bin: u64,
    page_size: u64,
}

impl NumberSampler {
    pub(crate) fn new() -> Self {
        Self {
            taken: 0,
            previous: Instant::now(),
            cpu: None,
            own_threads: Vec::new(),
            busy: HashMap::new(),
            next_bin: 0,
            page_size: page_size(),
        }
    }

    /// Adds a sample to the history. The first one has no rates.
    pub(crate) fn sample(&mut self, watch: &WatchState) {
        let now = Instant::now();
        let elapsed = now.duration_since(std::mem::replace(&mut self.previous, now));
        let cpu = Process::own().cpu_time();
        let before = std::mem::replace(&mut self.cpu, cpu);
        let used = cpu.zip(before).map(|(now, before)| now.saturating_sub(before));
        let second = Second {
            at: SystemTime::now(),
            memory_bytes: self.memory(),
            cpu_percent: used.map(|used| percent(used, elapsed)),
            holdup_cpu_percent: self.own_cpu().filter(|_| self.taken > 0).map(|used| percent(used, elapsed)),
            runtimes: self.runtimes(watch, elapsed),
        };
        self.taken += 1;
        watch.numbers.add(second);
    }

    /// Physical memory, as the kernel counts it.
    fn memory(&self) -> Option<u64> {
        let text = std::fs::read_to_string(Process::own().file("statm")).ok()?;
        let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
        Some(pages * self.page_size)
    }

    /// CPU time of holdup's threads since the previous sample.
    fn own_cpu(&mut self) -> Option<Duration> {
        if self.taken.is_multiple_of(THREADS_EVERY) {
            let process = Process::own();
            let is_own = |tid: &i32| process.thread_name(*tid).is_some_and(|name| own_thread::is_own(&name));
            let own = process.thread_ids().ok()?.into_iter().filter(is_own);
            let known: HashMap<i32, Duration> = self.own_threads.drain(..).collect();
            let time = |tid: i32| known.get(&tid).copied().or_else(|| sys::thread_cpu_time(tid));
            self.own_threads = own.filter_map(|tid| Some((tid, time(tid)?))).collect();
        }
        let mut used = Duration::ZERO;
        for (tid, before) in &mut self.own_threads {
            // A thread that has ended has no clock.
            if let Some(now) = sys::thread_cpu_time(*tid) {
                used += now.saturating_sub(std::mem::replace(before, now));
            }
        }
        Some(used)
    }

    fn runtimes(&mut self, watch: &WatchState, elapsed: Duration) -> Vec<RuntimeSecond> {
        let lanes = watch.log.totals.lanes.since(self.next_bin);
        self.next_bin = lanes.next;
        let longest = |runtime: &RuntimeNow| {
            let lanes = lanes.lanes.iter().filter(|lane| lane.worker.runtime == runtime.name);
            lanes.flat_map(|lane| &lane.bins).map(|bin| bin.longest_poll_ms).max().unwrap_or(0)
        };
        let mut runtimes = watch.runtimes.numbers();
        runtimes.truncate(MAX_RUNTIMES);
        let busy = runtimes.iter().filter_map(|runtime| Some((runtime.number, runtime.busy?))).collect();
        let before = std::mem::replace(&mut self.busy, busy);
        let second = |now: RuntimeNow| {
            let used = now.busy.zip(before.get(&now.number)).map(|(now, before)| now.saturating_sub(*before));
            let workers = now.workers.max(1) as f64;
            RuntimeSecond {
                busy_percent: used.map(|used| (percent(used, elapsed) / workers).min(100.0)),
                longest_poll_ms: longest(&now),
                now,
            }
        };
        runtimes.into_iter().map(second).collect()
    }
}

fn percent(part: Duration, whole: Duration) -> f64 {
    let percent = part.as_secs_f64() * 100.0 / whole.as_secs_f64().max(0.001);
    (percent * 100.0).round() / 100.0
}

/// The size of a page, from the auxiliary vector that the kernel gives to each program.
fn page_size() -> u64 {
    /// `AT_PAGESZ`
    const PAGE_SIZE: u64 = 6;
    const USUAL: u64 = 4096;
    let words = std::fs::read(Process::own().file("auxv")).unwrap_or_default();
    let mut words = words.chunks_exact(8).map(|word| u64::from_ne_bytes(word.try_into().unwrap_or_default()));
    std::iter::from_fn(|| words.next().zip(words.next()))
        .find(|(key, _)| *key == PAGE_SIZE)
        .map_or(USUAL, |pair| pair.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_size_is_a_power_of_two() {
        assert!(page_size().is_power_of_two() && page_size() >= 4096, "{}", page_size());
    }
}
