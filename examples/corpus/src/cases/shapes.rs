//! The ways in which code reaches a stall: deep recursion, destructors, branches, boxed futures, dependencies.

use std::future::{Future, ready};
use std::hint::black_box;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;

use super::{Case, Scene};
use crate::truth::Cause;

const FRAMES: u32 = 300;

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
