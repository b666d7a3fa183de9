//! Decides when the service ends: signal, time limit, or a drain that takes too long.
//!
//! This is a thread with its own small runtime, because the service's runtime may be stuck. The first signal or `--for`
//! starts the drain. The second signal exits at once with 130. A drain that misses its deadline is reported in one
//! sentence and ends the process.

use std::{future::pending, process, thread, time::Duration};

use anyhow::Context;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    time::{sleep, timeout},
};
use tracing::info;

use crate::operations::OperationsOptions;

/// The exit code of a program ended by Ctrl-C, as shells report it.
const INTERRUPTED: i32 = 130;

/// The stop signal for every part of the service.
#[derive(Clone, Debug)]
pub(crate) struct Drain(watch::Receiver<bool>);

impl Drain {
    /// A drain that is requested by sending `true` or by dropping the sender.
    pub(crate) fn by_hand() -> (watch::Sender<bool>, Self) {
        let (request, requested) = watch::channel(false);
        (request, Self(requested))
    }

    /// Resolves when the drain is requested, immediately if it already was.
    pub(crate) async fn requested(mut self) {
        // The sender is dropped only with the deciding thread, so that counts as a request.
        let _ = self.0.wait_for(|requested| *requested).await;
    }
}

/// Starts the deciding thread. It catches signals from now on.
pub(crate) fn supervise(operations: &OperationsOptions, expects_stuck_worker: bool) -> anyhow::Result<Drain> {
    let (run_for, drain_limit) = (operations.run_for, operations.drain_limit);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime that waits for signals")?;
    let guard = runtime.enter();
    let signals = Signals {
        interrupt: signal(SignalKind::interrupt()).context("cannot catch SIGINT")?,
        terminate: signal(SignalKind::terminate()).context("cannot catch SIGTERM")?,
    };
    drop(guard);
    let (request, requested) = watch::channel(false);
    thread::Builder::new()
        .name("shutdown".to_owned())
        .spawn(move || runtime.block_on(decide(signals, run_for, drain_limit, expects_stuck_worker, &request)))
        .context("cannot start the thread that waits for signals")?;
    Ok(Drain(requested))
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

async fn decide(
    mut signals: Signals,
    run_for: Option<Duration>,
    drain_limit: Duration,
    expects_stuck_worker: bool,
    request: &watch::Sender<bool>,
) {
    tokio::select! {
        name = signals.next() => info!("{name}: draining; a second signal stops at once"),
        limit = time_limit(run_for) => info!("{limit:?} are over: draining"),
    }
    request.send_replace(true);
    // After a successful drain, `main` ends the process, and this thread with it.
    match timeout(drain_limit, signals.next()).await {
        Ok(name) => exit_now(INTERRUPTED, &format!("{name} again: stopped without draining.")),
        Err(_) if expects_stuck_worker => {
            exit_now(0, "note: a worker is stuck for good, as the fault asks; stopped without draining.")
        }
        Err(_) => exit_now(
            1,
            &format!(
                "error: the drain did not finish within {drain_limit:?} (--drain-limit), probably because a worker is \
                 stuck; stopped without it. holdup's last report says where."
            ),
        ),
    }
}

async fn time_limit(run_for: Option<Duration>) -> Duration {
    match run_for {
        Some(limit) => {
            sleep(limit).await;
            limit
        }
        None => pending().await,
    }
}

#[expect(clippy::exit, reason = "the main thread may be stuck, so it cannot end the process")]
fn exit_now(code: i32, why: &str) -> ! {
    eprintln!("{why}");
    process::exit(code)
}
