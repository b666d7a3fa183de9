//! A task that acts in each of its polls until its first stall has ended.

use std::time::Duration;

use holdup::stall::Phase;
use holdup::{Hooks, Stall};
use tokio::runtime::Builder;

use super::Events;

/// The first ended stall that `is_it` accepts. Only task hooks instrument the task.
pub(crate) fn first_stall(
    hooks: Hooks,
    what: &str,
    act: impl Fn() + Send + 'static,
    is_it: impl Fn(&Stall) -> bool,
) -> Stall {
    let events = Events::default();
    let watch = events.watch();
    let mut builder = Builder::new_multi_thread();
    let runtime = watch.runtime_with(builder.worker_threads(2).enable_all(), hooks).expect("builds");
    let acts = async move {
        loop {
            tokio::time::sleep(Duration::from_millis(5)).await;
            act();
        }
    };
    // The runtime's own `spawn` would instrument it.
    let acting = runtime.block_on(async { tokio::spawn(acts).abort_handle() });
    let stall = events.wait_for(what, |phase, stall| phase == Phase::Ended && is_it(stall));
    acting.abort();
    stall
}
