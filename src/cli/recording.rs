//! Collects a profile of the next seconds, from an endpoint or from a process. Ctrl-C ends it early.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;

use super::endpoint::Endpoint;
use super::interrupt;
use super::progress::Progress;
use crate::attach::{Mode, Options, Process};
use crate::export::profile::Format;
use crate::import;
use crate::inprocess::{ProfileMode, ProfileOptions, Stop};
use crate::model::profile::Profile;

const PATH: &str = "/debug/holdup/profile";

/// How often the progress bar is redrawn and Ctrl-C is checked.
const TICK: Duration = Duration::from_millis(100);

/// The parameters of a recording.
#[derive(Debug)]
pub(super) struct Recording<'a> {
    pub(super) mode: &'a str,
    pub(super) duration: Duration,
    /// Samples per second.
    pub(super) rate: u32,
}

impl Recording<'_> {
    /// Collects the profile of another process. `threshold` is that of stalls.
    pub(super) fn of_process(&self, pid: u32, threshold: Duration, options: Options) -> anyhow::Result<Profile> {
        let mode: Mode = self.mode.parse()?;
        let profile = ProfileOptions::new(ProfileMode::Cpu).duration(self.duration).rate(self.rate);
        let interrupted = interrupt::flag()?;
        let process = Process::open_with(pid, options)?;
        let (sender, outcome) = mpsc::channel();
        let stop = Stop::with(Arc::clone(&interrupted));
        std::thread::spawn(move || {
            // The receiver is gone after the second Ctrl-C.
            let _ended = sender.send(process.profile_until(mode, &profile, threshold, &stop));
        });
        let profile = self.wait(&outcome, &interrupted, || Ok(()))?;
        Ok(profile.context("the recording failed: its thread panicked")??)
    }

    /// Requests the profile from an endpoint, on a separate thread.
    pub(super) fn of_endpoint(&self, endpoint: &Endpoint) -> anyhow::Result<Profile> {
        let Self { mode, duration, rate } = *self;
        if mode == Mode::Tasks.as_str() {
            anyhow::bail!("mode tasks needs a process, not an endpoint; give its id with --pid");
        }
        let interrupted = interrupt::flag()?;
        let name = unique_name();
        let seconds = duration.as_secs_f64();
        let path = format!("{PATH}?mode={mode}&seconds={seconds}&rate={rate}&format=json&name={name}");
        let (sender, outcome) = mpsc::channel();
        let (asked, url) = (endpoint.clone(), &endpoint.url);
        std::thread::spawn(move || {
            // The receiver is gone after the second Ctrl-C.
            let _ended = sender.send(asked.file_after(&path, duration));
        });
        let stop = || {
            let stopped = endpoint.post(&format!("{PATH}/stop?name={name}"));
            stopped.with_context(|| format!("{url} could not end the profile early"))
        };
        let answer = self.wait(&outcome, &interrupted, stop)?;
        let answer = answer.with_context(|| format!("the request to {url} failed: its thread panicked"))??;
        import::read(&answer, Some(Format::Json)).with_context(|| format!("the response of {url}"))
    }

    /// Waits for the outcome, and calls `stop` at the first Ctrl-C. `None` if the sender is gone.
    fn wait<T>(
        &self,
        outcome: &Receiver<T>,
        interrupted: &AtomicBool,
        stop: impl Fn() -> anyhow::Result<()>,
    ) -> anyhow::Result<Option<T>> {
        let bar = Progress::new(self.duration, self.mode);
        let mut stopped = false;
        let outcome = loop {
            match outcome.recv_timeout(TICK) {
                Ok(outcome) => break Some(outcome),
                Err(RecvTimeoutError::Disconnected) => break None,
                Err(RecvTimeoutError::Timeout) => bar.show(stopped),
            }
            if interrupted.load(Ordering::Relaxed) && !stopped {
                stopped = true;
                stop()?;
            }
        };
        bar.clear();
        Ok(outcome)
    }
}

/// A name for a profile request, by which it can be ended early. It is unique among all commands that use an endpoint,
/// also from other machines: process id, time of day and a counter.
fn unique_name() -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    format!("record-{}-{since_epoch}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let names: std::collections::HashSet<String> = (0..1000).map(|_| unique_name()).collect();
        assert_eq!(names.len(), 1000);
    }
}
