//! What `holdup dump --pid` finds of futures and threads that wait for each other.
#![cfg(all(feature = "cli", target_os = "linux", target_arch = "x86_64"))]

#[path = "../support/mod.rs"]
mod support;

#[path = "../support/awaiting.rs"]
mod awaiting;

#[path = "../support/dumps.rs"]
mod dumps;

use awaiting::Awaiting;
use dumps::{json, printed, settled};
use serde_json::Value;

#[test]
fn futures_that_wait_for_each_other_are_found_and_those_that_take_turns_are_not() {
    let program = Awaiting::with("cycles");
    let census = settled(&program);
    let found = census["cycles"].as_array().expect("a list");
    let cycle_of = |function: &str| -> Vec<(Value, Value, usize)> {
        let is_in =
            |cycle: &&Value| cycle["steps"].as_array().expect("a list").iter().any(|step| step["function"] == function);
        let steps = |cycle: &Value| cycle["steps"].as_array().map_or(0, Vec::len);
        found
            .iter()
            .filter(is_in)
            .map(|cycle| (cycle["certain"].clone(), cycle["behind"].clone(), steps(cycle)))
            .collect()
    };
    for (function, expected) in [
        ("awaiting::crosses", (true, 0, 2)),
        ("awaiting::cycles::Actor::run", (true, 0, 2)),
        // The writer, and the reader behind it.
        ("awaiting::cycles::reads_twice", (true, 2, 1)),
        ("awaiting::cycles::waits_for_its_helper", (true, 0, 2)),
        ("awaiting::cycles::takes_permit_twice", (false, 0, 1)),
    ] {
        let (certain, behind, steps) = expected;
        assert_eq!(cycle_of(function), [(certain.into(), behind.into(), steps)], "{function}: {found:#?}");
    }
    assert_eq!(found.len(), 5, "{found:#?}");
    let [unpolled] = &**census["futurelocks"].as_array().expect("a list") else { panic!("{census:#}") };
    let stream = unpolled["future"].as_str().expect("text");
    assert!(stream.ends_with("::Buffered") && unpolled["stage"] == "holds", "{unpolled:#}");
    assert_eq!(unpolled["function"], "awaiting::cycles::stores", "{unpolled:#}");
    let lost: Vec<&Value> =
        census["tasks"].as_array().expect("a list").iter().filter(|task| task["state"] == "lost").collect();
    assert_eq!(lost.iter().map(|task| &task["future"]).collect::<Vec<_>>(), ["awaiting::cycles::loses_its_waker"]);
    let text = printed(&program, &[]);
    for part in [
        "[lost] awaiting::cycles::loses_its_waker",
        "waits for room in the channel at 0x",
        "behind a writer in its queue",
        "! possible deadlock: task",
        "2 more tasks wait behind this",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}

#[test]
fn threads_that_wait_for_each_others_locks_are_found() {
    let program = Awaiting::with("locks");
    let mut found = Vec::new();
    // The threads announce their wait before they begin it.
    support::wait_until("all of them wait", || {
        found = json(&program.pid().to_string(), &[])["cycles"].as_array().expect("a list").clone();
        // One more is that of two tasks.
        found.len() == 3
    });
    for [first, second] in [["transfer", "refund"], ["transfer_parked", "refund_parked"]] {
        let is_in = |cycle: &&Value| {
            let steps = cycle["steps"].as_array().expect("a list");
            let functions: Vec<&str> = steps.iter().filter_map(|step| step["function"].as_str()).collect();
            [first, second].iter().all(|one| functions.contains(&&*format!("awaiting::locks::{one}")))
        };
        let cycle = found.iter().find(is_in).unwrap_or_else(|| panic!("{first} and {second}: {found:#?}"));
        assert_eq!((&cycle["certain"], &cycle["behind"]), (&false.into(), &0.into()), "{cycle:#}");
        let [one, other] = &**cycle["steps"].as_array().expect("a list") else { panic!("{cycle:#}") };
        assert_eq!((&one["holds"], &one["waits_for"]), (&other["waits_for"], &other["holds"]), "{cycle:#}");
        let file = one["place"]["file"].as_str().expect("it has lines");
        assert!(one["thread"].is_number() && file.ends_with("src/locks.rs"), "{cycle:#}");
    }
    let text = printed(&program, &[]);
    for part in
        ["! possible deadlock: 2 threads wait for each other", "This is a guess: a lock does not record its holder"]
    {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}
