//! The corpus of known truth: some of its cases, and its scorer with handmade truths and reports.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

const MS: u64 = 1_000_000;

/// The start time of handmade truths.
const START: u64 = 1_700_000_000_000 * MS;

fn corpus(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_corpus")).args(arguments).output().expect("it starts")
}

fn card(output: &Output) -> Value {
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{message}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {message}"))
}

fn row<'c>(card: &'c Value, class: &str) -> &'c Value {
    let rows = card["rows"].as_array().expect("there are rows");
    rows.iter().find(|row| row["class"] == class).unwrap_or_else(|| panic!("no row {class} in {card:#}"))
}

/// The kinds of all errors in a card.
fn faults(card: &Value) -> Vec<String> {
    let list = card["faults"].as_array().expect("there is a list").iter();
    list.map(|fault| fault["wrong"].as_str().expect("it is a word").to_owned()).collect()
}

/// A temporary folder, removed on drop.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("holdup-corpus-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("the temporary folder is writable");
        Self(path)
    }

    fn write(&self, name: &str, content: &Value) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, content.to_string()).expect("there is room");
        path.to_str().expect("it is text").to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _left = std::fs::remove_dir_all(&self.0);
    }
}

/// `base` with the fields of `with`.
fn changed(mut base: Value, with: &Value) -> Value {
    for (field, value) in with.as_object().expect("it is an object") {
        base[field] = value.clone();
    }
    base
}

/// The truth of a sleep of 50 ms in line 7 of `app::nap`, this many milliseconds after the start.
fn slept(after_ms: u64, with: &Value) -> Value {
    let stall = json!({
        "start_ns": START + after_ms * MS, "duration_ns": 50 * MS, "thread": 9,
        "function": "app::nap", "file": "src/nap.rs", "first_line": 7, "last_line": 7, "cause": "sleeping",
        "on_cpu_ns": 0, "run_queue_ns": 0, "stolen_ns": 0, "late_ns": 0, "others_ready_ns": 0,
    });
    changed(stall, with)
}

/// The report of a correct tool about this sleep.
fn reported(after_ms: u64, with: &Value) -> Value {
    let start = START + after_ms * MS;
    let stall = json!({
        "start_ns": start, "duration_ns": 50 * MS, "noticed_ns": start + 11 * MS, "reported_ns": start + 13 * MS,
        "thread": 9, "function": "app::nap", "file": "src/nap.rs", "line": 7, "cause": "sleeping",
    });
    changed(stall, with)
}

/// The card of one run of a case that sleeps.
fn scored(truths: &[Value], reports: &[Value]) -> Value {
    let folder = Folder::new();
    let truth = json!({
        "format": "stall-truth/1", "case": "by hand", "flavor": "multi-thread", "place": "task", "cause": "sleeping",
        "stalls": truths,
    });
    let report = json!({
        "format": "stall-report/1", "tool": "by hand", "threshold_ns": 10 * MS, "stalls": reports,
    });
    let files = [folder.write("truth.json", &truth), folder.write("report.json", &report)];
    card(&corpus(&["score", &files[0], &files[1], "--json"]))
}

#[test]
fn a_correct_tool_has_full_scores() {
    let none = json!({});
    let card = scored(&[slept(0, &none), slept(100, &none)], &[reported(0, &none), reported(100, &none)]);
    for class in ["sleeping", "total", "quiet"] {
        let row = row(&card, class);
        assert_eq!((&row["stalls"], &row["found"], &row["invented"]), (&json!(2), &json!(2), &json!(0)), "{class}");
        for share in ["recall", "function_right", "line_right", "cause_right", "duration_right"] {
            assert_eq!(row[share], 1.0, "{class}: {share}");
        }
    }
    assert_eq!(row(&card, "total")["precision"], 1.0);
    assert_eq!(faults(&card), [""; 0]);
}

#[test]
fn missed_and_invented_stalls_are_counted() {
    let none = json!({});
    let card = scored(&[slept(0, &none), slept(100, &none)], &[reported(100, &none), reported(300, &none)]);
    let total = row(&card, "total");
    assert_eq!((&total["found"], &total["invented"]), (&json!(1), &json!(1)));
    assert_eq!((&total["recall"], &total["precision"]), (&json!(0.5), &json!(0.5)));
    assert_eq!(faults(&card), ["missed", "invented"]);
    let twice = scored(&[slept(0, &none)], &[reported(0, &none), reported(0, &none)]);
    assert_eq!(faults(&twice), ["invented"], "one stall is reported once");
    let elsewhere = scored(&[slept(0, &none)], &[reported(0, &json!({"thread": 8}))]);
    assert_eq!(faults(&elsewhere), ["missed", "invented"], "it is of another thread");
    let machine = scored(&[], &[reported(0, &json!({"cause": "not_scheduled"}))]);
    assert_eq!(row(&machine, "total")["blamed_on_machine"], 1);
    assert_eq!(faults(&machine), [""; 0]);
}

#[test]
fn every_part_of_a_report_is_compared_with_the_truth() {
    for (what, truth, report, wrong) in [
        ("another cause", json!({}), json!({"cause": "lock"}), &["cause"][..]),
        ("no cause", json!({}), json!({"cause": null}), &["cause"]),
        ("the machine, which ran it", json!({}), json!({"cause": "not_scheduled"}), &["cause"]),
        ("the machine", json!({"run_queue_ns": 40 * MS}), json!({"cause": "not_scheduled"}), &[]),
        ("its own part", json!({"run_queue_ns": 30 * MS}), json!({"cause": "not_scheduled"}), &["cause"]),
        ("another line", json!({}), json!({"line": 8}), &["line"]),
        ("a line of the loop", json!({"last_line": 9}), json!({"line": 8}), &[]),
        ("another file", json!({}), json!({"file": "src/snap.rs"}), &["line"]),
        ("the end of its name", json!({}), json!({"file": "other-nap.rs"}), &["line"]),
        ("the whole path", json!({}), json!({"file": "/home/me/src/nap.rs"}), &[]),
        ("the caller", json!({}), json!({"function": "app::main"}), &["function"]),
        ("no function", json!({}), json!({"function": null}), &["function"]),
        ("its closure", json!({}), json!({"function": "app::nap::{{closure}}"}), &[]),
        ("3 ms too long", json!({}), json!({"duration_ns": 53 * MS}), &["duration"]),
        ("2 ms too short", json!({}), json!({"duration_ns": 48 * MS}), &[]),
        ("2 % too short", json!({"duration_ns": 1000 * MS}), json!({"duration_ns": 980 * MS}), &[]),
        ("3 % too short", json!({"duration_ns": 1000 * MS}), json!({"duration_ns": 970 * MS}), &["duration"]),
    ] {
        let card = scored(&[slept(0, &truth)], &[reported(0, &report)]);
        assert_eq!(faults(&card), wrong, "{what}");
        let total = row(&card, "total");
        for part in ["function", "line", "cause", "duration"] {
            let right = if wrong.contains(&part) { 0.0 } else { 1.0 };
            assert_eq!(total[format!("{part}_right")], right, "{what}: {part}");
        }
    }
    let no_lines = scored(&[slept(0, &json!({}))], &[reported(0, &json!({"line": null, "file": null}))]);
    assert_eq!(row(&no_lines, "total")["line_right"], Value::Null, "without line tables there is nothing to score");
    assert_eq!(faults(&no_lines), [""; 0]);
}

#[test]
fn a_function_of_the_same_module_and_no_function_are_not_wrong() {
    for (function, not_wrong) in [
        (json!("app::nap"), 1.0),
        (json!("app::CASES::{closure}"), 1.0),
        (json!("<app::Nap as core::future::future::Future>::poll"), 1.0),
        (Value::Null, 1.0),
        (json!("std::thread::sleep"), 0.0),
        (json!("application::nap"), 0.0),
    ] {
        let card = scored(&[slept(0, &json!({}))], &[reported(0, &json!({"function": function}))]);
        assert_eq!(row(&card, "total")["function_not_wrong"], not_wrong, "{function}");
    }
}

#[test]
fn victims_are_right_if_a_report_names_all_waiting_tasks_and_no_others() {
    // The stall ends 50 ms after the start.
    let waited = |tasks: &[(u64, u64)]| {
        let one = |(task, ready_ms): &(u64, u64)| json!({"task": task, "ready_ns": START + ready_ms * MS});
        json!({"victims": tasks.iter().map(one).collect::<Vec<_>>()})
    };
    let named = |tasks: &[u64]| json!({"victims": tasks.iter().map(|task| json!({"task": task})).collect::<Vec<_>>()});
    let unsure = |tasks: &[u64]| {
        let one = |task: &u64| json!({"task": task, "certain": false});
        json!({"victims": tasks.iter().map(one).collect::<Vec<_>>()})
    };
    for (what, truth, report, right) in [
        ("all", waited(&[(1, 5), (2, 30)]), named(&[2, 1]), Some(true)),
        ("one is missing", waited(&[(1, 5), (2, 30)]), named(&[1]), Some(false)),
        ("one is missing that became ready at the end", waited(&[(1, 5), (2, 49)]), named(&[1]), Some(true)),
        ("one that became ready at the end", waited(&[(1, 5), (2, 49)]), named(&[1, 2]), Some(true)),
        ("one too many", waited(&[(1, 5)]), named(&[1, 2]), Some(false)),
        ("one uncertain", waited(&[(1, 5)]), unsure(&[1]), Some(true)),
        ("another uncertain one", waited(&[]), unsure(&[1]), Some(true)),
        ("two uncertain ones", waited(&[]), unsure(&[1, 2]), Some(false)),
        ("none", waited(&[]), named(&[]), Some(true)),
        ("no victims in the report", waited(&[(1, 5)]), json!({}), None),
        ("no victims in the truth", json!({}), named(&[1]), None),
    ] {
        let card = scored(&[slept(0, &truth)], &[reported(0, &report)]);
        let share = right.map_or(Value::Null, |right| json!(if right { 1.0 } else { 0.0 }));
        assert_eq!(row(&card, "total")["victims_right"], share, "{what}");
        let wrong = if right == Some(false) { &["victims"][..] } else { &[] };
        assert_eq!(faults(&card), wrong, "{what}");
    }
}

#[test]
fn stalls_near_the_threshold_are_neither_missed_nor_invented() {
    let near = json!({"duration_ns": 11 * MS});
    for reports in [&[][..], &[reported(0, &near)]] {
        let card = scored(&[slept(0, &near)], reports);
        assert_eq!(row(&card, "total")["stalls"], 0);
        assert_eq!(faults(&card), [""; 0]);
    }
    let short = json!({"duration_ns": 5 * MS});
    assert_eq!(faults(&scored(&[slept(0, &short)], &[reported(0, &short)])), ["invented"]);
}

#[test]
fn latency_counts_from_the_threshold() {
    let none = json!({});
    let late = json!({"noticed_ns": START + 117 * MS, "reported_ns": START + 119 * MS, "duration_ns": 51 * MS});
    let card = scored(
        &[slept(0, &none), slept(100, &json!({"late_ns": 5 * MS}))],
        &[reported(0, &none), reported(100, &late)],
    );
    let total = row(&card, "total");
    assert_eq!(total["noticed_after_ms"], json!({"p50": 1.0, "p99": 7.0}));
    assert_eq!(total["reported_after_ms"], json!({"p50": 3.0, "p99": 9.0}));
    assert_eq!(total["duration_error_ms"], json!({"p50": 0.0, "p99": 1.0}));
    assert_eq!(row(&card, "quiet")["reported_after_ms"]["p99"], 3.0, "the machine was not quiet in the other");
    for (field, busy) in [("run_queue_ns", 3), ("others_ready_ns", 3), ("late_ns", 3), ("stolen_ns", 10)] {
        let [quiet, loud] = [0, busy].map(|ms| slept(0, &json!({field: ms * MS})));
        assert_eq!(row(&scored(&[quiet], &[]), "quiet")["stalls"], 1);
        assert_eq!(row(&scored(&[loud], &[]), "quiet")["stalls"], 0, "{field}");
    }
}

#[test]
fn files_in_another_format_are_named() {
    let folder = Folder::new();
    let other = folder.write("other.json", &json!({"format": "other/1"}));
    for files in [&[&*other][..], &[&other, &other], &["missing.json", "missing.json"]] {
        let output = corpus(&[&["score"], files].concat());
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains(files[0]), "{output:?}");
    }
}

/// Long stalls. The card shows how near to the threshold holdup still finds them on an idle machine.
#[test]
fn stalls_are_found_and_none_is_invented() {
    let mut arguments = vec!["card", "--json", "--place", "task", "--rounds", "2", "--hold", "250"];
    let stalls = ["thread-sleep", "busy-loop", "mutex", "pipe-read", "socket-read", "drop", "spawned-before"];
    let healthy = ["spawn-blocking", "block-in-place", "honest-polls", "timers"];
    for case in stalls.iter().chain(&healthy) {
        arguments.extend(["--case", case]);
    }
    let card = card(&corpus(&arguments));
    assert_eq!(card["not_run"], json!([]));
    assert_eq!(card["runs"], stalls.len() * 2 + healthy.len() * 2 - 1, "block-in-place needs a multi-thread runtime");
    let total = row(&card, "total");
    assert_eq!(total["stalls"], stalls.len() * 4, "{card:#}");
    assert_eq!(total["precision"], 1.0, "{card:#}");
    // A machine under load may not run the watchdog during a stall, but not during all four of a case.
    let quiet = &row(&card, "quiet")["recall"];
    assert!(*quiet == 1.0 || quiet.is_null(), "{card:#}");
    let faults = card["faults"].as_array().expect("there is a list");
    for case in stalls {
        let missed = faults.iter().filter(|fault| fault["case"] == case && fault["wrong"] == "missed").count();
        assert!(missed < 4, "{case}: {card:#}");
    }
    // Without task hooks, victims are unknown.
    let victims = total["victims_right"].as_f64();
    assert!(if cfg!(tokio_unstable) { victims >= Some(0.7) } else { victims.is_none() }, "{card:#}");
    for fault in faults {
        // A thread that the machine does not run cannot copy its stack.
        let machine = fault["said"].as_str().is_some_and(|said| said.starts_with("not_scheduled"));
        assert!(machine || (fault["wrong"] != "function" && fault["wrong"] != "line"), "{fault:#}");
    }
}

/// Every case without a stall: nothing is reported, or the machine is blamed.
#[test]
fn no_stall_is_invented_in_healthy_cases() {
    let list = String::from_utf8(corpus(&["list"]).stdout).expect("it is text");
    let healthy = list.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let name = words.next()?;
        (words.next()? == "healthy").then_some(name)
    });
    let mut arguments = vec!["card", "--json", "--place", "task"];
    let mut cases = 0;
    for case in healthy {
        arguments.extend(["--case", case]);
        cases += 1;
    }
    assert!(cases >= 10, "{list}");
    let output = corpus(&arguments);
    let message = String::from_utf8_lossy(&output.stderr);
    let card = card(&output);
    let not_run = card["not_run"].as_array().expect("there is a list");
    // A quota needs permissions.
    let skipped = not_run.iter().filter(|run| run.as_str().is_some_and(|run| run.starts_with("cpu-quota-"))).count();
    assert_eq!(
        (not_run.len(), message.matches("error: skipped: ").count()),
        (skipped, skipped),
        "{not_run:?}: {message}"
    );
    if skipped > 0 {
        println!("a CPU quota is not tested here: {message}");
    }
    assert_eq!(card["runs"], cases * 2 - 2 - skipped, "the two with block-in-place need a multi-thread runtime");
    assert_eq!(row(&card, "healthy")["invented"], 0, "{card:#}");
}
