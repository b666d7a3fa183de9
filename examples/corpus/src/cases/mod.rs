//! The cases: one file per group, and the table that lists the groups.
//!
//! A case prepares what it needs without holding its worker, and then makes one call that does, in a function of its
//! own. That function is not inlined, so that symbols alone name it, and does something after the call, so that the
//! call is no jump that leaves the function out of the stack.

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

/// For how long the rounds of a case hold their worker, in turn: from just above the usual threshold of 10 ms on.
const LENGTHS: [Duration; 5] = [
    Duration::from_millis(14),
    Duration::from_millis(20),
    Duration::from_millis(35),
    Duration::from_millis(60),
    Duration::from_millis(110),
];

/// What a case does in one round.
pub(crate) type Act = Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>;

/// What a case is given.
#[derive(Clone, Debug)]
pub(crate) struct Scene {
    /// Where it writes down what it does.
    pub(crate) log: Log,
    /// For cases that build runtimes.
    pub(crate) watcher: Watcher,
    /// Counted from 0.
    pub(crate) round: u32,
    /// For how long each round holds its worker, instead of different times in turn.
    pub(crate) hold: Option<Duration>,
}

impl Scene {
    /// For how long this round holds its worker, as far as it can choose.
    fn length(&self) -> Duration {
        let turn = usize::try_from(self.round).unwrap_or(0) % LENGTHS.len();
        self.hold.or_else(|| LENGTHS.get(turn).copied()).unwrap_or_default()
    }
}

/// Something done to a runtime.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// What it does, for people.
    does: &'static str,
    /// The cause of its stalls; `None`: nothing holds the runtime up.
    pub(crate) cause: Option<Cause>,
    /// Hands its worker on, or takes several: only on a multi-thread runtime, and not in a `LocalSet`.
    multi_thread: bool,
    pub(crate) act: fn(Scene) -> Act,
}

impl Case {
    /// Holds its worker.
    const fn stall(name: &'static str, does: &'static str, cause: Cause, act: fn(Scene) -> Act) -> Self {
        Self { name, does, cause: Some(cause), multi_thread: false, act }
    }

    /// Holds nobody up.
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

/// What `corpus list` prints.
pub(crate) fn table() -> String {
    let mut table = String::new();
    for case in Case::all() {
        let cause = case.cause.map_or("healthy", Cause::as_str);
        let _infallible = writeln!(table, "{:<20} {cause:<14} {}", case.name, case.does);
    }
    table
}

/// Does something on another thread, and comes back when that has begun. What it gives is kept for `length`.
async fn elsewhere<T: 'static>(length: Duration, take: impl FnOnce() -> T + Send + 'static) -> anyhow::Result<()> {
    let (tell, told) = tokio::sync::oneshot::channel();
    let body = move || {
        let taken = take();
        // Nobody waits for it any more if the case has failed.
        let _told = tell.send(());
        std::thread::sleep(length);
        drop(taken);
    };
    std::thread::Builder::new().name("elsewhere".to_owned()).spawn(body)?;
    told.await.context("the other thread could not take what it should")
}

/// Does something on another thread, `length` from now.
fn later(length: Duration, act: impl FnOnce() + Send + 'static) -> anyhow::Result<()> {
    let body = move || {
        std::thread::sleep(length);
        act();
    };
    std::thread::Builder::new().name("later".to_owned()).spawn(body)?;
    Ok(())
}

/// Does something slow without holding a worker.
async fn prepared<T: Send + 'static>(
    prepare: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    tokio::task::spawn_blocking(prepare).await?
}

/// A path in the temporary folder that no other run uses.
fn scratch(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("corpus-{}-{name}", std::process::id()))
}
