//! Real mistakes to switch on, one file each, and the table that lists them.
//!
//! Each ends in one short function that makes the blocking call itself: the name that a report must
//! print. `#[inline(never)]` keeps that name in the symbol table, so it is seen without debug info too,
//! and each function does something after the blocking call, so that the call is not turned into a
//! jump that leaves the function out of the stack.

mod cpu;

mod lock;

mod network;

mod never_ends;

mod sleep;

mod sync_read;

use std::{
    fmt::Write,
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::Context;
use tracing::{debug, warn};

use crate::article::Article;

/// For how long a fault holds its worker, where it can choose: clearly a stall, and short enough that
/// the service still answers.
const HELD: Duration = Duration::from_millis(80);

/// Commits the mistake once. It is called on a worker, with the news that a handler is about to return.
type Commit = Box<dyn Fn(&[Arc<Article>]) -> io::Result<()> + Send + Sync>;

/// A mistake as the catalogue knows it.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) name: &'static str,
    /// What is done wrong.
    mistake: &'static str,
    /// What a user of the service notices, and the function that a report names.
    symptom: &'static str,
    /// Such a worker cannot drain, so a stop does not wait for it in vain and then complain.
    pub(crate) holds_worker_forever: bool,
    /// Prepares what the mistake needs (a slow peer, a busy lock) and returns it ready to be committed.
    arm: fn() -> io::Result<Commit>,
}

const CATALOGUE: &[Fault] = &[
    Fault {
        name: "sleep",
        mistake: "std::thread::sleep in a handler",
        symptom: "answers take 80 ms longer, others on that worker too; see sleep_in_handler",
        holds_worker_forever: false,
        arm: sleep::arm,
    },
    Fault {
        name: "sync-read",
        mistake: "std::fs with fsync in a handler",
        symptom: "answers take as long as the disk; see read_with_fsync_in_handler",
        holds_worker_forever: false,
        arm: sync_read::arm,
    },
    Fault {
        name: "cpu",
        mistake: "a quadratic comparison of all headlines",
        symptom: "slower with every article, one core busy; see compare_every_headline",
        holds_worker_forever: false,
        arm: cpu::arm,
    },
    Fault {
        name: "lock",
        mistake: "a std Mutex held across slow work by another thread",
        symptom: "answers take up to 100 ms longer, no core busy; see wait_for_archive_lock",
        holds_worker_forever: false,
        arm: lock::arm,
    },
    Fault {
        name: "network",
        mistake: "a blocking std::net read from a slow peer",
        symptom: "answers take as long as the peer; see read_from_slow_peer",
        holds_worker_forever: false,
        arm: network::arm,
    },
    Fault {
        name: "never-ends",
        mistake: "a std Mutex locked twice by the same worker",
        symptom: "one worker is lost for good, once, about 1 s after the start; see lock_twice",
        holds_worker_forever: true,
        arm: never_ends::arm,
    },
];

impl Fault {
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        CATALOGUE.iter().find(|fault| fault.name == name)
    }

    pub(crate) fn names() -> Vec<&'static str> {
        CATALOGUE.iter().map(|fault| fault.name).collect()
    }
}

/// What `--fault list` prints.
pub(crate) fn table() -> String {
    let mut table = String::new();
    for Fault { name, mistake, symptom, .. } in CATALOGUE {
        // Writing to a String cannot fail.
        let _ = writeln!(table, "{name:<11} {mistake}\n{:<11} {symptom}", "");
    }
    table
}

/// The faults that are switched on, ready to be committed.
pub(crate) struct ArmedFaults {
    armed: Vec<(&'static str, Commit)>,
    turn: AtomicUsize,
}

impl ArmedFaults {
    pub(crate) fn arm(faults: &[&'static Fault]) -> anyhow::Result<Self> {
        let armed = faults
            .iter()
            .map(|fault| {
                let commit = (fault.arm)().with_context(|| format!("cannot prepare the fault {}", fault.name))?;
                Ok((fault.name, commit))
            })
            .collect::<anyhow::Result<_>>()?;
        Ok(Self { armed, turn: AtomicUsize::new(0) })
    }

    pub(crate) fn describe(&self) -> String {
        if self.armed.is_empty() {
            return "none (`--fault list` shows what there is)".to_owned();
        }
        let names: Vec<&str> = self.armed.iter().map(|(name, _)| *name).collect();
        names.join(", ")
    }

    pub(crate) fn are_armed(&self) -> bool {
        !self.armed.is_empty()
    }

    /// Commits one of the faults, each in its turn. Blocks the calling worker: that is the point.
    pub(crate) async fn commit_next(&self, news: &[Arc<Article>]) {
        if self.armed.is_empty() {
            return;
        }
        let (name, commit) = &self.armed[self.turn.fetch_add(1, Relaxed) % self.armed.len()];
        let started = Instant::now();
        match commit(news) {
            Ok(()) => debug!("the fault {name} took {:.1?}", started.elapsed()),
            Err(error) => warn!("the fault {name} could not be committed: {error}"),
        }
    }
}
