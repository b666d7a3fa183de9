//! Machines that do not run an honest program. A stall that is reported here must be attributed to the machine.

use std::process::{Child, Command};
use std::time::Duration;

use super::healthy::{MOMENT, honest_polls};
use super::{Case, prepared};

/// Number of polls of 1 ms each.
const POLLS: u32 = 500;

pub(super) const CASES: &[Case] = &[
    Case::healthy("stopped", "stopped with SIGSTOP for 100 ms, three times", |_| {
        Box::pin(async {
            let mut stopper = prepared(stop_and_continue).await?;
            while stopper.try_wait()?.is_none() {
                // Long enough that a stop mostly falls into a poll that was sampled before.
                honest_polls(10, MOMENT * 3).await;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Ok(())
        })
    }),
    Case::healthy("neighbours", "other processes use all CPUs", |_| {
        Box::pin(async {
            let neighbours = prepared(Neighbours::start).await?;
            honest_polls(POLLS, MOMENT).await;
            prepared(move || {
                drop(neighbours);
                Ok(())
            })
            .await
        })
    }),
];

/// A shell that disturbs this process.
fn stop_and_continue() -> anyhow::Result<Child> {
    let us = std::process::id();
    let script = format!("for i in 1 2 3; do sleep 0.1; kill -STOP {us}; sleep 0.1; kill -CONT {us}; done");
    Ok(Command::new("sh").args(["-c", &script]).spawn()?)
}

/// Killed when this is dropped.
struct Neighbours(Vec<Child>);

impl Neighbours {
    /// Two for each CPU.
    fn start() -> anyhow::Result<Self> {
        let cpus = std::thread::available_parallelism()?.get();
        let mut neighbours = Self(Vec::new());
        for _ in 0..cpus * 2 {
            neighbours.0.push(Command::new("sh").args(["-c", "while :; do :; done"]).spawn()?);
        }
        Ok(neighbours)
    }
}

impl Drop for Neighbours {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // It may have ended already.
            let _gone = child.kill();
            let _reaped = child.wait();
        }
    }
}
