//! The ways in which code reaches a stall: deep recursion, destructors, branches, boxed futures, dependencies, and several futures
//! in one poll.

use std::future::{Future, ready};
use std::hint::black_box;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

use super::healthy::HonestPolls;
use super::{Case, Scene};
use crate::truth::Cause;

const FRAMES: u32 = 300;

/// Futures of the `FuturesUnordered`.
const FUTURES: u32 = 20;

/// Polls before a stall. In a `LocalSet`, they may be in one poll of its future.
const HONEST_POLLS: u32 = 12;

pub(super) const CASES: &[Case] = &[
    Case::stall("recursion", "sleeps 300 calls deep", Cause::Sleeping, |scene| {
        Box::pin(async move {
            black_box(descend(&scene, FRAMES));
            Ok(())
        })
    }),
    Case::stall("drop", "sleeps in a destructor", Cause::Sleeping, |scene| {
        Box::pin(async move {
            drop(SlowToDrop(scene));
            Ok(())
        })
    }),
    Case::stall("select", "sleeps in a branch of select!", Cause::Sleeping, |scene| {
        Box::pin(async move {
            tokio::select! {
                biased;
                () = branch(&scene) => {}
                () = tokio::time::sleep(Duration::from_secs(10)) => {}
            }
            Ok(())
        })
    }),
    Case::stall("join", "sleeps in both branches of join!, which are one poll", Cause::Sleeping, |scene| {
        Box::pin(async move {
            join(&scene).await;
            Ok(())
        })
    }),
    Case::stall("unordered", "20 futures of a FuturesUnordered compute in one poll", Cause::Computing, |scene| {
        Box::pin(async move {
            gather(&scene).await;
            Ok(())
        })
    }),
    Case::stall("after-honest-polls", "computes for 1 ms in each of 12 polls, then sleeps", Cause::Sleeping, |scene| {
        Box::pin(async move {
            HonestPolls { left: HONEST_POLLS }.await?;
            nap_at_last(&scene);
            Ok(())
        })
    }),
    Case::stall("dyn-future", "sleeps in a hand-written future in a box", Cause::Sleeping, |scene| {
        Box::pin(async move {
            let boxed: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(SlowToPoll(scene));
            boxed.await;
            Ok(())
        })
    }),
    Case::stall("dependency", "a stream of futures-util that is always ready", Cause::Computing, |scene| {
        Box::pin(async move {
            drain(&scene).await;
            Ok(())
        })
    }),
];

#[inline(never)]
fn descend(scene: &Scene, frames: u32) -> u32 {
    if frames == 0 {
        held!(scene.log, std::thread::sleep(scene.length()));
        return 0;
    }
    black_box(descend(scene, frames - 1)) + 1
}

#[derive(Debug)]
struct SlowToDrop(Scene);

impl Drop for SlowToDrop {
    #[inline(never)]
    fn drop(&mut self) {
        held!(self.0.log, std::thread::sleep(self.0.length()));
    }
}

async fn branch(scene: &Scene) {
    nap_in_branch(scene);
    tokio::task::yield_now().await;
}

#[inline(never)]
fn nap_in_branch(scene: &Scene) {
    held!(scene.log, std::thread::sleep(scene.length()));
}

async fn join(scene: &Scene) {
    let half = scene.length() / 2;
    let begun = scene.log.begin(here!());
    tokio::join!(async { std::thread::sleep(half) }, async { std::thread::sleep(half) });
    begun.end(line!());
}

async fn gather(scene: &Scene) {
    let part = scene.length() / FUTURES;
    let begun = scene.log.begin(here!());
    let compute = |number: u32| async move {
        let (mut sum, since) = (u64::from(number), Instant::now());
        while since.elapsed() < part {
            sum = black_box(sum.wrapping_mul(31).wrapping_add(7));
        }
    };
    let mut all: FuturesUnordered<_> = (0..FUTURES).map(compute).collect();
    while all.next().await.is_some() {}
    begun.end(line!());
}

#[inline(never)]
fn nap_at_last(scene: &Scene) {
    held!(scene.log, std::thread::sleep(scene.length()));
}

struct SlowToPoll(Scene);

impl Future for SlowToPoll {
    type Output = ();

    #[inline(never)]
    fn poll(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<()> {
        held!(self.0.log, std::thread::sleep(self.0.length()));
        Poll::Ready(())
    }
}

async fn drain(scene: &Scene) {
    let length = scene.length();
    let begun = scene.log.begin(here!());
    let since = Instant::now();
    let endless = futures_util::stream::repeat(1_u64).take_while(|_| ready(since.elapsed() < length));
    let sum = endless.fold(0_u64, |sum, one| ready(sum.wrapping_mul(31).wrapping_add(one))).await;
    begun.end(line!());
    black_box(sum);
}
