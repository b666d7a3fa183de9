//! Workers that sleep in functions without unwind tables, as those of a program that is linked with musl do.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(unsafe_code, reason = "assembly has no unwind tables")]

#[path = "../support/mod.rs"]
mod support;

#[path = "../support/tableless.rs"]
mod tableless;

use std::time::Duration;

use holdup::Hooks;
use holdup::stall::{CauseClass, Stall};
use support::acting::first_stall;
use support::{alone, function_of};

const LONG: Duration = Duration::from_millis(60);

/// The first ended stall of a task that sleeps in its polls, with and without task hooks.
fn stalls(act: fn(Duration), is_it: impl Fn(&Stall) -> bool) -> [Stall; 2] {
    let _alone = alone();
    [Hooks::new(), Hooks::new().without_task_hooks()].map(|hooks| {
        let is_it = |stall: &Stall| stall.cause.class == CauseClass::Sleeping && is_it(stall);
        first_stall(hooks, "the sleep", move || act(LONG), is_it)
    })
}

fn named(function: &str, act: fn(Duration)) {
    let name = format!("stalls_tableless::tableless::{function}");
    for stall in stalls(act, |stall| function_of(stall) == name) {
        let stack = stall.stack.as_ref().expect("a stack");
        assert!(stack.complete, "{stack:#?}");
    }
}

#[test]
fn the_caller_of_a_leaf_is_named() {
    named("calls_leaf", tableless::calls_leaf);
}

#[test]
fn the_caller_of_a_function_that_pushes_registers_is_named() {
    named("calls_pushes", tableless::calls_pushes);
}

#[test]
fn the_caller_of_a_function_with_a_large_frame_is_named() {
    named("calls_wide", tableless::calls_wide);
}

#[test]
fn the_caller_of_two_functions_without_tables_is_named() {
    named("calls_nested", tableless::calls_nested);
}

#[test]
fn a_stack_that_cannot_be_followed_is_reported_without_a_culprit() {
    for stall in stalls(tableless::calls_aligned, |stall| stall.stack.is_ok()) {
        let stack = stall.stack.as_ref().expect("a part of a stack");
        assert!(!stack.complete && stall.culprit.is_none(), "{stall:#?}");
        assert!(stack.frames.iter().any(|frame| &*frame.function == "tableless_aligned"), "{stack:#?}");
    }
}
