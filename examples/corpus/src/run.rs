//! Runs one case in this process, and writes the truth and holdup's report to two files.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use holdup::Print;
use serde::Serialize;

use crate::bystanders::Bystanders;
use crate::cases::{Case, Scene};
use crate::listener::Listener;
use crate::options::RunOptions;
use crate::outside;
use crate::place::{self, Watcher};
use crate::truth::{Cause, FORMAT, Log, Truth};
use crate::witness::Witness;

/// Pause before the first stall, while holdup reads its debug information. Services run for a while before a stall.
pub(crate) const SETTLED: Duration = Duration::from_millis(250);

/// Limit on the wait for the last report. Symbols of a debug build take seconds on a busy machine.
const REPORT_LIMIT: Duration = Duration::from_secs(60);

/// Pause between two stalls, to separate them.
const PAUSE: Duration = Duration::from_millis(15);

/// Runs the case, and writes both files.
pub(crate) fn run(options: &RunOptions) -> anyhow::Result<()> {
    let case = Case::named(&options.case)?;
    anyhow::ensure!(
        case.runs_in(options.flavor, options.place),
        "{} does not run in a {} of a {} runtime",
        case.name,
        options.place.as_str(),
        options.flavor.as_str()
    );
    let listener = Listener::default();
    let watcher = match options.outside {
        true => {
            place::spawn_uninstrumented();
            Watcher::Outside
        }
        false => watch_inside(options, &listener)?,
    };

    let bystanders = Bystanders::start()?;
    let log = Log::new(case.cause.unwrap_or(Cause::Computing), Witness::start()?, Arc::clone(&bystanders));
    let rounds = if case.cause.is_some() { options.how.rounds } else { 1 };
    let hold = options.how.hold.map(|ms| Duration::from_millis(ms.into()));
    let scene = Scene { log: log.clone(), watcher: watcher.clone(), round: 0, hold };
    options.place.run(&watcher, options.flavor, &bystanders, Box::pin(repeat(case, scene, rounds)))?;
    if let Watcher::Inside(watch) = watcher {
        let watch = Arc::into_inner(watch).context("the case still uses the watch")?;
        watch.shutdown_timeout(REPORT_LIMIT)?;
    }

    let truth = Truth {
        format: FORMAT.to_owned(),
        case: case.name.to_owned(),
        flavor: options.flavor.as_str().to_owned(),
        place: options.place.as_str().to_owned(),
        cause: case.cause,
        stalls: log.stalls(),
    };
    write(&options.truth, &truth)?;
    match &options.report {
        Some(path) => write(path, &listener.report()),
        None => Ok(()),
    }
}

fn watch_inside(options: &RunOptions, listener: &Listener) -> anyhow::Result<Watcher> {
    let print = if options.print { Print::Always } else { Print::Never };
    let watcher = Watcher::Inside(Arc::new(listener.builder(print).start()?));
    std::thread::sleep(SETTLED);
    if options.how.uninstrumented {
        place::spawn_uninstrumented();
        // holdup prepares the inference of polls only for a runtime without task hooks.
        drop(options.flavor.runtime(&watcher, "uninstrumented")?);
        std::thread::sleep(SETTLED * 4);
    }
    Ok(watcher)
}

async fn repeat(case: &'static Case, scene: Scene, rounds: u32) -> anyhow::Result<()> {
    if matches!(scene.watcher, Watcher::Outside) {
        tokio::task::spawn_blocking(outside::wait_until_watched).await??;
    }
    for round in 0..rounds {
        (case.act)(Scene { round, ..scene.clone() }).await?;
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

pub(crate) fn write(path: &Path, content: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(content).context("it cannot be written as JSON")?;
    std::fs::write(path, text).with_context(|| format!("{} cannot be written", path.display()))
}
