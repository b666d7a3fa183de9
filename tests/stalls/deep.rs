//! Stalls on deep stacks: how much of a stack is copied, and what is said of a deeper one.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

#[path = "../support/mod.rs"]
mod support;

#[path = "../support/deep.rs"]
mod deep;

use std::time::Duration;

use deep::{at_depth, calls, calls_in};
use holdup::stall::Origin;
use holdup::{Hooks, Stall};
use support::acting::first_stall;
use support::alone;
use support::cpu_load::use_cpu;

const KIB: usize = 1024;

/// A stack copy has 256 KiB. Tokio's own frames of an unoptimized build need some of them.
const FITS: usize = 160 * KIB;
const DEEPER: usize = 400 * KIB;

const LONG: Duration = Duration::from_millis(60);

fn sleeps() {
    std::thread::sleep(LONG);
}

fn computes() {
    use_cpu(LONG);
}

/// The first ended stall in these calls.
fn stall(depth: usize, act: fn(), hooks: Hooks) -> Stall {
    let _alone = alone();
    let is_it = |stall: &Stall| stall.stack.as_ref().is_ok_and(|stack| calls_in(&stack.frames) > 0);
    first_stall(hooks, "the stall", move || at_depth(depth, &mut || act()), is_it)
}

fn is_whole(depth: usize, act: fn(), hooks: Hooks) {
    let stall = stall(depth, act, hooks);
    let stack = stall.stack.expect("a stack");
    assert!(stack.complete, "{stack:#?}");
    assert_eq!(calls_in(&stack.frames), calls(depth));
    assert_eq!(stall.culprit.expect("a culprit").frame.origin, Origin::User);
}

#[test]
fn the_deep_stack_of_a_sleeping_worker_is_whole() {
    is_whole(FITS, sleeps, Hooks::new());
}

#[test]
fn the_deep_stack_of_a_sleeping_worker_is_whole_without_task_hooks() {
    is_whole(FITS, sleeps, Hooks::new().without_task_hooks());
}

#[test]
fn the_deep_stack_of_a_running_worker_is_whole() {
    is_whole(FITS, computes, Hooks::new());
}

/// Its innermost part is there, with the culprit.
fn is_cut(act: fn()) {
    let stall = stall(DEEPER, act, Hooks::new());
    let stack = stall.stack.as_ref().expect("a stack");
    assert!(!stack.complete, "{stack:#?}");
    let seen = calls_in(&stack.frames);
    assert!((20..calls(DEEPER)).contains(&seen), "{seen} of {} calls", calls(DEEPER));
    assert_eq!(stall.culprit.as_ref().expect("a culprit").frame.origin, Origin::User);
}

#[test]
fn the_stack_of_a_sleeping_worker_that_does_not_fit_is_cut_at_its_outer_end() {
    is_cut(sleeps);
}

/// Without task hooks, the poll is inferred from the outer end of the stack, which is cut.
#[cfg(tokio_unstable)]
#[test]
fn the_stack_of_a_running_worker_that_does_not_fit_is_cut_at_its_outer_end() {
    is_cut(computes);
}
