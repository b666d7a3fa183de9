//! Flavors of runtimes and places in them. The harness runs every case in all of them.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::ValueEnum;
use holdup::{Hooks, Runtime, Watch};
use tokio::runtime::Builder;
use tokio::task::{JoinHandle, LocalSet};

use crate::bystanders::Bystanders;

/// The code of a case for one round.
pub(crate) type Rounds = Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>;

/// Whether tasks are spawned without instrumentation and without task hooks.
static UNINSTRUMENTED: AtomicBool = AtomicBool::new(false);

/// From now on, tasks are spawned with `tokio::spawn` on runtimes without task hooks, so that stalls are inferred.
pub(crate) fn spawn_uninstrumented() {
    UNINSTRUMENTED.store(true, Ordering::Relaxed);
}

fn is_uninstrumented() -> bool {
    UNINSTRUMENTED.load(Ordering::Relaxed)
}

/// The watcher of the runtimes of this process.
#[derive(Clone, Debug)]
pub(crate) enum Watcher {
    /// holdup, in this process.
    Inside(Arc<Watch>),
    /// Another process.
    Outside,
}

/// A runtime.
pub(crate) enum Built {
    Watched(Runtime),
    /// An unwatched runtime.
    Plain(tokio::runtime::Runtime),
}

impl Built {
    pub(crate) fn block_on<F: Future>(&self, future: F) -> F::Output {
        match self {
            Self::Watched(runtime) => runtime.block_on(future),
            Self::Plain(runtime) => runtime.block_on(future),
        }
    }

    /// Tokio's own handle.
    pub(crate) fn handle(&self) -> &tokio::runtime::Handle {
        match self {
            Self::Watched(runtime) => runtime.handle().tokio(),
            Self::Plain(runtime) => runtime.handle(),
        }
    }
}

/// The kind of runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Flavor {
    MultiThread,
    CurrentThread,
}

/// A place in the runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Place {
    /// A spawned task.
    Task,
    /// The future given to `block_on`.
    Root,
    /// A task of a `LocalSet`.
    Local,
    /// A task of a runtime inside a task of another runtime.
    Nested,
}

impl Flavor {
    /// Both flavors.
    pub(crate) const ALL: [Self; 2] = [Self::MultiThread, Self::CurrentThread];

    /// The word for it on the command line and in files.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::MultiThread => "multi-thread",
            Self::CurrentThread => "current-thread",
        }
    }

    /// Builds a runtime of this kind with this watcher.
    pub(crate) fn runtime(self, watcher: &Watcher, name: &str) -> anyhow::Result<Built> {
        let mut builder = match self {
            Self::MultiThread => Builder::new_multi_thread(),
            Self::CurrentThread => Builder::new_current_thread(),
        };
        builder.worker_threads(2).enable_all().name(name);
        let hooks = if is_uninstrumented() { Hooks::new().without_task_hooks() } else { Hooks::new() };
        Ok(match watcher {
            Watcher::Inside(watch) => Built::Watched(watch.runtime_with(&mut builder, hooks)?),
            Watcher::Outside => Built::Plain(builder.build()?),
        })
    }
}

impl Place {
    /// All places.
    pub(crate) const ALL: [Self; 4] = [Self::Task, Self::Root, Self::Local, Self::Nested];

    /// The word for it on the command line and in files.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Task => "task",
            Self::Root => "root",
            Self::Local => "local",
            Self::Nested => "nested",
        }
    }

    /// Runs a case in this place.
    pub(crate) fn run(
        self,
        watcher: &Watcher,
        flavor: Flavor,
        bystanders: &Bystanders,
        rounds: Rounds,
    ) -> anyhow::Result<()> {
        let runtime = flavor.runtime(watcher, "corpus")?;
        if self != Self::Nested {
            bystanders.spawn_on(runtime.handle());
        }
        match self {
            Self::Task => runtime.block_on(async { spawn(rounds).await? }),
            Self::Root => runtime.block_on(rounds),
            Self::Local => {
                let local = LocalSet::new();
                runtime.block_on(local.run_until(async { tokio::task::spawn_local(rounds).await? }))
            }
            Self::Nested => {
                let inner = flavor.runtime(watcher, "nested")?;
                bystanders.spawn_on(inner.handle());
                let nested = move || inner.block_on(async { spawn(rounds).await? });
                runtime.block_on(async {
                    match flavor {
                        // The outer task hands its worker over, and its thread runs the inner runtime.
                        Flavor::MultiThread => spawn(async { tokio::task::block_in_place(nested) }).await?,
                        Flavor::CurrentThread => tokio::task::spawn_blocking(nested).await?,
                    }
                })
            }
        }
    }
}

/// Spawns with `tokio::spawn` if there are task hooks, and with `holdup::spawn` otherwise, so that polls are instrumented.
pub(crate) fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    if cfg!(tokio_unstable) || is_uninstrumented() { tokio::spawn(future) } else { holdup::spawn(future) }
}
