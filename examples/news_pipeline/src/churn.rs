//! Churn besides the work (`--churn`): starts and ends threads, child processes and runtimes all the time.

use std::{
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use futures_util::FutureExt;
use tokio::runtime::Builder;

use crate::shutdown::Drain;

/// Threads at a time.
const THREADS: usize = 4;

/// Computing time of a thread, and waiting time of a task.
const SHORT: Duration = Duration::from_millis(2);

/// The pause between two rounds.
const PAUSE: Duration = Duration::from_millis(50);

/// Runs rounds until the drain.
pub(crate) fn run(watch: &holdup::Watch, drain: &Drain) -> anyhow::Result<()> {
    while drain.clone().requested().now_or_never().is_none() {
        threads()?;
        child()?;
        runtime(watch, &mut Builder::new_current_thread())?;
        runtime(watch, Builder::new_multi_thread().worker_threads(2))?;
        thread::sleep(PAUSE);
    }
    Ok(())
}

fn threads() -> anyhow::Result<()> {
    thread::scope(|scope| {
        for _ in 0..THREADS {
            let thread = thread::Builder::new().name("churn".to_owned());
            thread.spawn_scoped(scope, compute).context("cannot start a thread")?;
        }
        Ok(())
    })
}

fn compute() {
    let start = Instant::now();
    while start.elapsed() < SHORT {
        std::hint::spin_loop();
    }
}

/// One fork, exec and exit.
fn child() -> anyhow::Result<()> {
    let status = Command::new("true").stdin(Stdio::null()).status().context("cannot run `true`")?;
    ensure!(status.success(), "`true` says {status}");
    Ok(())
}

fn runtime(watch: &holdup::Watch, builder: &mut Builder) -> anyhow::Result<()> {
    let runtime = watch.runtime(builder.name("churn").enable_all()).context("cannot watch one more runtime")?;
    runtime.block_on(async {
        let tasks: Vec<_> = (0..8).map(|_| holdup::spawn(tokio::time::sleep(SHORT))).collect();
        for task in tasks {
            task.await.context("a task of the churn failed")?;
        }
        Ok(())
    })
}

/// The signals that this process catches, from `/proc`. holdup uses none of the first 33.
pub(crate) fn caught_signals() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?;
    u64::from_str_radix(mask.trim(), 16).ok().map(|mask| mask >> 33)
}

/// Fails if the process catches other signals than before.
pub(crate) fn check_signals(before: Option<u64>) -> anyhow::Result<()> {
    let after = caught_signals();
    ensure!(after == before, "real-time signals caught before the watch: {before:x?}, after it: {after:x?}");
    Ok(())
}
