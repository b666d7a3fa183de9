//! The cases: one file per group, and the table that lists the groups.
//!
//! A case prepares its resources without holding its worker. Then it makes one call that does, in a separate function.
//! That function is not inlined, so that symbols alone name it. It does something after the call, because a tail call
//! would remove its frame from the stack.

mod computing;

mod crowds;

mod database;

mod files;

mod foreign;

mod healthy;

mod locks;

mod machine;

mod memory;

mod network;

mod quota;

mod shapes;

mod waits;

use std::fmt::Write as _;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use anyhow::Context;

use crate::place::{Flavor, Place, Watcher};
use crate::truth::{Cause, Log};

const GROUPS: [&[Case]; 13] = [
    computing::CASES,
    crowds::CASES,
    database::CASES,
    files::CASES,
    foreign::CASES,
    locks::CASES,
    memory::CASES,
    network::CASES,
    shapes::CASES,
    waits::CASES,
    healthy::CASES,
    machine::CASES,
    quota::CASES,
];

/// The durations of the rounds in milliseconds, in turn, from just above the usual threshold of 10 ms on.
const LENGTHS: [Duration; 5] = [
    Duration::from_millis(14),
    Duration::from_millis(20),
    Duration::from_millis(35),
    Duration::from_millis(60),
    Duration::from_millis(110),
];

/// The code of a case for one round.
pub(crate) type Act = Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>;

/// The input of a case.
#[derive(Clone, Debug)]
pub(crate) struct Scene {
    /// The record of its stalls.
    pub(crate) log: Log,
    /// For cases that build runtimes.
    pub(crate) watcher: Watcher,
    /// Counted from 0.
    pub(crate) round: u32,
    /// A fixed duration of each round.
    pub(crate) hold: Option<Duration>,
}

impl Scene {
    /// The duration of this round, if the case can choose.
    fn length(&self) -> Duration {
        let turn = usize::try_from(self.round).unwrap_or(0) % LENGTHS.len();
        self.hold.or_else(|| LENGTHS.get(turn).copied()).unwrap_or_default()
    }
}

/// A case.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// Its description, for people.
    does: &'static str,
    /// The cause of its stalls. `None` if nothing stalls the runtime.
    pub(crate) cause: Option<Cause>,
    /// Whether it hands its worker over or needs several: only on a multi-thread runtime, and not in a `LocalSet`.
    multi_thread: bool,
    pub(crate) act: fn(Scene) -> Act,
}

impl Case {
    /// A case that holds its worker.
    const fn stall(name: &'static str, does: &'static str, cause: Cause, act: fn(Scene) -> Act) -> Self {
        Self { name, does, cause: Some(cause), multi_thread: false, act }
    }

    /// A case without a stall.
    const fn healthy(name: &'static str, does: &'static str, act: fn(Scene) -> Act) -> Self {
        Self { name, does, cause: None, multi_thread: false, act }
    }

    /// The case of this name.
    pub(crate) fn named(name: &str) -> anyhow::Result<&'static Self> {
        Self::all()
            .find(|case| case.name == name)
            .with_context(|| format!("there is no case {name}; `corpus list` shows what there is"))
    }

    /// In the order of the groups.
    pub(crate) fn all() -> impl Iterator<Item = &'static Self> {
        GROUPS.into_iter().flatten()
    }

    /// Whether it can be run there.
    pub(crate) fn runs_in(&self, flavor: Flavor, place: Place) -> bool {
        !self.multi_thread || (flavor == Flavor::MultiThread && place != Place::Local)
    }
}

/// The output of `corpus list`.
pub(crate) fn table() -> String {
    let mut table = String::new();
    for case in Case::all() {
        let cause = case.cause.map_or("healthy", Cause::as_str);
        let _infallible = writeln!(table, "{:<20} {cause:<14} {}", case.name, case.does);
    }
    table
}

/// Runs a function on another thread, and returns after it. Its result is kept for `length`.
async fn elsewhere<T: 'static>(length: Duration, take: impl FnOnce() -> T + Send + 'static) -> anyhow::Result<()> {
    let (sender, started) = tokio::sync::oneshot::channel();
    let body = move || {
        let taken = take();
        // The receiver is gone if the case has failed.
        let _sent = sender.send(());
        std::thread::sleep(length);
        drop(taken);
    };
    std::thread::Builder::new().name("elsewhere".to_owned()).spawn(body)?;
    started.await.context("the function of the other thread failed")
}

/// Runs a function on another thread, `length` from now.
fn later(length: Duration, act: impl FnOnce() + Send + 'static) -> anyhow::Result<()> {
    let body = move || {
        std::thread::sleep(length);
        act();
    };
    std::thread::Builder::new().name("later".to_owned()).spawn(body)?;
    Ok(())
}

/// Runs a slow function on the blocking pool.
async fn prepared<T: Send + 'static>(
    prepare: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    tokio::task::spawn_blocking(prepare).await?
}

/// A unique path in the temporary folder.
fn scratch(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("corpus-{}-{name}", std::process::id()))
}
