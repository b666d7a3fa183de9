//! Sleeps, and waits for another process.

use std::process::Command;
use std::time::Duration;

use super::{Case, Scene};
use crate::truth::Cause;

/// All workers are parked for this long, so that a tool may sample them less often.
const PAUSE: Duration = Duration::from_millis(100);

pub(super) const CASES: &[Case] = &[
    Case::stall("thread-sleep", "std::thread::sleep", Cause::Sleeping, |scene| {
        Box::pin(async move {
            nap(&scene);
            Ok(())
        })
    }),
    Case::stall("sleep-when-idle", "std::thread::sleep after a pause without tasks", Cause::Sleeping, |scene| {
        Box::pin(async move {
            tokio::time::sleep(PAUSE).await;
            nap(&scene);
            Ok(())
        })
    }),
    Case::stall("child-process", "std::process::Command::status of `sleep`", Cause::ChildProcess, |scene| {
        Box::pin(async move { run_child(&scene) })
    }),
];

#[inline(never)]
fn nap(scene: &Scene) {
    held!(scene.log, std::thread::sleep(scene.length()));
}

#[inline(never)]
fn run_child(scene: &Scene) -> anyhow::Result<()> {
    let mut command = Command::new("sleep");
    command.arg(scene.length().as_secs_f64().to_string());
    let status = held!(scene.log, command.status());
    anyhow::ensure!(status?.success(), "`sleep` has failed");
    Ok(())
}
