//! Tasks that are ready during a stall, in the queue of the stalled worker and in the global queue.

use std::sync::{Arc, Barrier};

use anyhow::Context;

use super::{Case, Scene};
use crate::place;
use crate::truth::Cause;

/// Tasks that the stalling task spawns first.
const SPAWNED: usize = 5;

pub(super) const CASES: &[Case] = &[
    Case::stall("spawned-before", "spawns five tasks, then sleeps", Cause::Sleeping, |scene| {
        Box::pin(async move {
            spawn_and_nap(&scene);
            Ok(())
        })
    }),
    Case {
        multi_thread: true,
        ..Case::stall("two-at-once", "two tasks sleep, on all workers", Cause::Sleeping, |scene| {
            Box::pin(async move { nap_twice(scene).await })
        })
    },
    Case::stall("again", "sleeps, yields, and sleeps again", Cause::Sleeping, |scene| {
        Box::pin(async move {
            nap(&scene);
            tokio::task::yield_now().await;
            nap(&scene);
            Ok(())
        })
    }),
];

#[inline(never)]
fn spawn_and_nap(scene: &Scene) {
    for _ in 0..SPAWNED {
        scene.log.spawn_ready();
    }
    nap(scene);
}

async fn nap_twice(scene: Scene) -> anyhow::Result<()> {
    // Not Tokio's barrier, which would wake one task into the queue of the other, during its stall. Both arrive within microseconds.
    let both = Arc::new(Barrier::new(2));
    let (first, second) = (scene.clone(), scene);
    let (here, there) = (Arc::clone(&both), both);
    let first = place::spawn(async move {
        here.wait();
        nap(&first);
    });
    let second = place::spawn(async move {
        there.wait();
        nap_longer(&second);
    });
    first.await.context("the first could not sleep")?;
    second.await.context("the second could not sleep")
}

#[inline(never)]
fn nap(scene: &Scene) {
    held!(scene.log, std::thread::sleep(scene.length()));
}

#[inline(never)]
fn nap_longer(scene: &Scene) {
    held!(scene.log, std::thread::sleep(scene.length() * 2));
}
