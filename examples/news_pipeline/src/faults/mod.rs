//! Real mistakes to switch on, one per file; `catalogue.rs` lists them.
//!
//! One short function makes each mistake. If it holds a worker, the report must name this function.
//! `#[inline(never)]` keeps its name in the symbol table, so that it is found without debug information too.
//! Each function does something after the blocking call, because a tail call would remove its frame from the stack.

mod catalogue;

// Faults that hold a worker: holdup names the function.
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

// Faults that hold no worker: views of tasks, threads, time and memory show them.
mod allocs;

mod big_alloc;

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

/// How long a fault holds its worker, if it can choose. This is clearly a stall, and short enough for the service
/// to go on.
const HELD: Duration = Duration::from_millis(80);

/// Commits the mistake once. It runs on a worker, with the articles of the response.
type Commit = Box<dyn Fn(&[Arc<Article>]) -> io::Result<()> + Send + Sync>;

/// The future that the handler awaits.
type Waiting = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

/// Commits a mistake that delays the handler without holding its worker.
type CommitAwaited = Box<dyn Fn() -> Waiting + Send + Sync>;

/// Prepares a mistake.
#[derive(Debug)]
enum Arm {
    /// The mistake happens within a poll of the handler.
    OnWorker(fn() -> io::Result<Commit>),
    /// The handler awaits the mistake.
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

/// Counts of a committed fault.
#[derive(Serialize, ToSchema, Debug)]
pub(crate) struct FaultCount {
    name: &'static str,
    /// How often it was started and completed.
    committed: u64,
    /// How often it held its worker for more than `--threshold` plus 2 ms, by its own clock.
    held: u64,
}

/// Margin above the threshold for a poll that holdup must report.
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

    /// The counts of each fault.
    pub(crate) fn counts(&self) -> Vec<FaultCount> {
        let count = |fault: &Armed| FaultCount {
            name: fault.name,
            committed: fault.committed.load(Relaxed),
            held: fault.held.load(Relaxed),
        };
        self.armed.iter().map(count).collect()
    }

    /// Commits the next fault, in turn. Most faults hold the calling worker, on purpose.
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
