//! Real mistakes to switch on, one file each; `catalogue.rs` lists them.
//!
//! Each ends in one short function that makes the mistake itself: where it holds a worker, that is the name
//! that a report must print. `#[inline(never)]` keeps that name in the symbol table, so it is seen without
//! debug info too, and each function does something after the blocking call, so that the call is not turned
//! into a jump that leaves the function out of the stack.

mod catalogue;

// Those that hold a worker: holdup names the function.
mod block_on;

mod cpu;

mod feed_parser;

mod json;

mod lock;

mod lock_across_await;

mod network;

mod never_ends;

mod producer_flush;

mod sleep;

mod sync_read;

// Those that hold none: the views that count tasks, threads and time show them.
mod cache_leak;

mod herd;

mod lost_waker;

mod neighbour;

mod starved_pool;

mod unbounded_spawn;

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::Context;
use serde::Serialize;
use tracing::{debug, warn};
use utoipa::ToSchema;

pub(crate) use self::catalogue::{Fault, table};
use crate::article::Article;

/// For how long a fault holds its worker, where it can choose: clearly a stall, and short enough that
/// the service still answers.
const HELD: Duration = Duration::from_millis(80);

/// Commits the mistake once. It is called on a worker, with the news that a handler is about to return.
type Commit = Box<dyn Fn(&[Arc<Article>]) -> io::Result<()> + Send + Sync>;

/// What the handler awaits.
type Waiting = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

/// Commits a mistake that makes the handler wait without holding its worker.
type CommitAwaited = Box<dyn Fn() -> Waiting + Send + Sync>;

/// How a mistake is made ready.
#[derive(Debug)]
enum Arm {
    /// It happens while the handler is polled.
    OnWorker(fn() -> io::Result<Commit>),
    /// The handler awaits it.
    Awaited(fn() -> io::Result<CommitAwaited>),
}

/// A mistake that is ready to be committed.
enum Ready {
    OnWorker(Commit),
    Awaited(CommitAwaited),
}

/// A fault that is switched on.
struct Armed {
    name: &'static str,
    ready: Ready,
    committed: AtomicU64,
    held: AtomicU64,
}

/// How often a fault was committed.
#[derive(Serialize, ToSchema, Debug)]
pub(crate) struct FaultCount {
    name: &'static str,
    /// How often it was begun and ended.
    committed: u64,
    /// How often it held its worker for longer than `--threshold` and 2 ms more, by its own clock.
    held: u64,
}

/// By how much a poll that holdup must notice is longer than the threshold.
const NOTICED_AFTER: Duration = Duration::from_millis(2);

/// The faults that are switched on, ready to be committed.
pub(crate) struct ArmedFaults {
    armed: Vec<Armed>,
    turn: AtomicUsize,
    threshold: Duration,
}

impl ArmedFaults {
    pub(crate) fn arm(faults: &[&'static Fault], threshold: Duration) -> anyhow::Result<Self> {
        let arm = |fault: &Fault| match fault.arm {
            Arm::OnWorker(arm) => arm().map(Ready::OnWorker),
            Arm::Awaited(arm) => arm().map(Ready::Awaited),
        };
        let armed = faults
            .iter()
            .map(|fault| {
                let ready = arm(fault).with_context(|| format!("cannot prepare the fault {}", fault.name))?;
                Ok(Armed { name: fault.name, ready, committed: AtomicU64::new(0), held: AtomicU64::new(0) })
            })
            .collect::<anyhow::Result<_>>()?;
        Ok(Self { armed, turn: AtomicUsize::new(0), threshold })
    }

    pub(crate) fn describe(&self) -> String {
        if self.armed.is_empty() {
            return "none (`--fault list` shows what there is)".to_owned();
        }
        let names: Vec<&str> = self.armed.iter().map(|fault| fault.name).collect();
        names.join(", ")
    }

    pub(crate) fn are_armed(&self) -> bool {
        !self.armed.is_empty()
    }

    /// How often each was committed.
    pub(crate) fn counts(&self) -> Vec<FaultCount> {
        let count = |fault: &Armed| FaultCount {
            name: fault.name,
            committed: fault.committed.load(Relaxed),
            held: fault.held.load(Relaxed),
        };
        self.armed.iter().map(count).collect()
    }

    /// Commits one of the faults, each in its turn. Most hold the calling worker: that is the point.
    pub(crate) async fn commit_next(&self, news: &[Arc<Article>]) {
        if self.armed.is_empty() {
            return;
        }
        let Armed { name, ready, committed, held } = &self.armed[self.turn.fetch_add(1, Relaxed) % self.armed.len()];
        let started = Instant::now();
        let outcome = match ready {
            Ready::OnWorker(commit) => {
                let outcome = commit(news);
                held.fetch_add(u64::from(started.elapsed() > self.threshold + NOTICED_AFTER), Relaxed);
                outcome
            }
            Ready::Awaited(commit) => commit().await,
        };
        committed.fetch_add(1, Relaxed);
        match outcome {
            Ok(()) => debug!("the fault {name} took {:.1?}", started.elapsed()),
            Err(error) => warn!("the fault {name} could not be committed: {error}"),
        }
    }
}
