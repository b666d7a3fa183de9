//! The contract of Go's package `net/http/pprof`: paths, parameters, headers, error texts, and contents of the profiles.

#[path = "../support/mod.rs"]
mod support;

use std::collections::HashSet;
use std::io::Read;

use holdup::Profile;
use pprof::protos;
use pprof::protos::Message;
use support::http::{Answer, ask, get, request};
use support::scene::{Scene, sleep_in_poll};
use support::{alone, start_first, wait_until};

const TEXT: &str = "text/plain; charset=utf-8";

/// The named profiles of Go, and their sample types.
const PROFILES: [(&str, &[(&str, &str)]); 6] = [
    ("allocs", MEMORY),
    ("block", CONTENTIONS),
    ("goroutine", &[("goroutine", "count")]),
    ("heap", MEMORY),
    ("mutex", CONTENTIONS),
    ("threadcreate", &[("threadcreate", "count")]),
];

const MEMORY: &[(&str, &str)] =
    &[("alloc_objects", "count"), ("alloc_space", "bytes"), ("inuse_objects", "count"), ("inuse_space", "bytes")];

const CONTENTIONS: &[(&str, &str)] = &[("contentions", "count"), ("delay", "nanoseconds")];

/// The file, after checking every rule of the pprof tool for files.
fn decoded(answer: &Answer) -> protos::Profile {
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(answer.body.as_slice()).read_to_end(&mut bytes).expect("it is gzip");
    let file = protos::Profile::decode(bytes.as_slice()).expect("it is a profile");
    assert_eq!(file.string_table.first().map(String::as_str), Some(""));
    assert!(file.time_nanos > 0, "it says when it began");
    let mappings: HashSet<u64> = file.mapping.iter().map(|mapping| mapping.id).collect();
    let functions: HashSet<u64> = file.function.iter().map(|function| function.id).collect();
    let locations: HashSet<u64> = file.location.iter().map(|location| location.id).collect();
    for (ids, kept) in [(&mappings, file.mapping.len()), (&functions, file.function.len())] {
        assert!(ids.len() == kept && !ids.contains(&0));
    }
    assert!(locations.len() == file.location.len() && !locations.contains(&0));
    for location in &file.location {
        assert!(location.mapping_id == 0 || mappings.contains(&location.mapping_id));
        assert!(location.line.iter().all(|line| functions.contains(&line.function_id)));
    }
    for function in &file.function {
        assert!(!text(&file, function.name).is_empty());
    }
    for sample in &file.sample {
        assert_eq!(sample.value.len(), file.sample_type.len());
        assert!(!sample.location_id.is_empty() && sample.location_id.iter().all(|id| locations.contains(id)));
        assert!(sample.label.iter().all(|label| !text(&file, label.key).is_empty()));
    }
    file
}

fn text(file: &protos::Profile, position: i64) -> &str {
    &file.string_table[usize::try_from(position).expect("it is not negative")]
}

fn types(file: &protos::Profile) -> Vec<(&str, &str)> {
    file.sample_type.iter().map(|value| (text(file, value.ty), text(file, value.unit))).collect()
}

/// The total of a value over the samples with a function on the stack.
fn through(answer: &Answer, function: &str, value: usize) -> i64 {
    let profile = Profile::read(&answer.body).expect("holdup reads it too");
    let passes = |sample: &&holdup::profile::Sample| {
        profile.frames_of(sample).any(|frame| frame.frame.function.ends_with(&format!("::{function}")))
    };
    profile.samples.iter().filter(passes).map(|sample| sample.values[value]).sum()
}

fn assert_attachment(answer: &Answer, name: &str) {
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/octet-stream")), "{name}");
    let disposition = format!("attachment; filename=\"{name}\"");
    assert_eq!(answer.header("content-disposition"), Some(disposition.as_str()));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{name}");
    assert_eq!(answer.header("x-go-pprof"), None, "{name}");
}

fn assert_text(answer: &Answer) {
    assert_eq!((answer.status, answer.header("content-type")), (200, Some(TEXT)), "{}", answer.text());
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(answer.header("content-disposition"), None);
}

/// The pprof tool prints the body of an error only with the header `X-Go-Pprof`.
fn assert_error(answer: &Answer, status: u16, line: &str) {
    assert_eq!((answer.status, answer.text()), (status, format!("{line}\n")));
    assert_eq!((answer.header("content-type"), answer.header("x-go-pprof")), (Some(TEXT), Some("1")), "{line}");
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{line}");
    assert_eq!(answer.header("content-disposition"), None, "{line}");
}

#[test]
fn the_index_links_every_profile() {
    let _alone = alone();
    let scene = Scene::start(false);
    let index = get(scene.address, "/debug/pprof/");
    assert_eq!((index.status, index.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert_eq!(index.header("x-content-type-options"), Some("nosniff"));
    let page = index.text();
    for (name, _) in PROFILES {
        assert!(page.contains(&format!("\"{name}?debug=1\"")), "{name}: {page}");
    }
    assert!(page.contains("\"goroutine?debug=2\"") && page.contains("\"cmdline\""), "{page}");
    assert!(page.contains("profile?seconds") && page.contains("trace?seconds"), "{page}");
    // Three active tasks and five waiting ones. Without task hooks, holdup's own two tasks end soon after the start.
    let eight = || get(scene.address, "/debug/pprof/").text().contains("<td>8</td><td><a href=\"goroutine?debug=1\">");
    support::wait_until("eight tasks", eight);

    let moved = get(scene.address, "/debug/pprof");
    assert!([301, 307, 308].contains(&moved.status), "{}", moved.status);
    assert_eq!(moved.header("location"), Some("/debug/pprof/"));
}

#[test]
fn the_command_line_and_symbols_are_answered() {
    let _alone = alone();
    let scene = Scene::start(false);
    let answer = get(scene.address, "/debug/pprof/cmdline");
    assert_text(&answer);
    assert_eq!(answer.text(), std::env::args().collect::<Vec<_>>().join("\0"));

    let known = (sleep_in_poll as fn() as *const ()).addr();
    let line = format!("{known:#x} endpoint_pprof::support::scene::sleep_in_poll\n");
    let ask_both = |addresses: &str| {
        let by_query = get(scene.address, &format!("/debug/pprof/symbol?{addresses}"));
        let by_body = request(scene.address, "POST", "/debug/pprof/symbol", addresses.as_bytes());
        assert_text(&by_query);
        assert_text(&by_body);
        assert_eq!(by_query.text(), by_body.text(), "{addresses}");
        by_query.text()
    };
    assert_eq!(ask_both(""), "num_symbols: 1\n", "names are available");
    assert_eq!(ask_both(&format!("{known:#x}")), format!("num_symbols: 1\n{line}"));
    assert_eq!(ask_both(&format!("{known:#x}+0x1+{known:#x}")), format!("num_symbols: 1\n{line}{line}"));
    assert_eq!(ask_both(&format!("{known}+0X{known:X}")), format!("num_symbols: 1\n{line}{line}"));
    assert_eq!(ask_both("0x+x+-1+0xfffffffffffffffff+%00"), "num_symbols: 1\n");
}

#[test]
fn named_profiles_are_valid_and_have_gos_types() {
    let _alone = alone();
    let scene = Scene::start(false);
    for (name, expected) in PROFILES {
        // An empty value counts as missing, and a value that is not a number as 0.
        for query in ["", "?debug=0", "?seconds=", "?debug=x", "?gc=1"] {
            let answer = get(scene.address, &format!("/debug/pprof/{name}{query}"));
            assert_attachment(&answer, name);
            let file = decoded(&answer);
            assert_eq!(types(&file), expected, "{name}");
        }
        let listed = get(scene.address, &format!("/debug/pprof/{name}?debug=1"));
        assert_text(&listed);
        assert!(listed.text().starts_with(&format!("{name} profile: total ")), "{}", listed.text());
    }
}

/// Waits until both stalls of the scene have names. The first names of a debug build take seconds of CPU time, on a thread of
/// holdup that the CPU profile shows too.
fn wait_until_explained(scene: &Scene) {
    wait_until("both stalls have names", || {
        let stalls = get(scene.address, "/debug/holdup/stalls").text();
        stalls.contains("sleep_in_poll") && stalls.contains("wait_for_lock")
    });
}

#[test]
fn a_delta_profile_contains_the_gain_of_a_window() {
    let _alone = alone();
    let scene = Scene::start(false);
    wait_until_explained(&scene);
    let asked = PROFILES
        .map(|(name, types)| (name, types, ask(scene.address, "GET", &format!("/debug/pprof/{name}?seconds=2"), b"")));
    for (name, expected, stream) in asked {
        let answer = support::http::answer(stream);
        assert_attachment(&answer, &format!("{name}-delta"));
        let file = decoded(&answer);
        assert_eq!(types(&file), expected, "{name}");
        let (sleeps, locks) = match name {
            "block" => (true, true),
            "mutex" => (false, true),
            _ => continue,
        };
        assert!(file.duration_nanos >= 2_000_000_000, "{name}: {}", file.duration_nanos);
        for (function, expected) in [("sleep_in_poll", sleeps), ("wait_for_lock", locks)] {
            let (stalls, time) = (through(&answer, function, 0), through(&answer, function, 1));
            assert_eq!((stalls > 0, time > 0), (expected, expected), "{name} {function}: {stalls} stalls, {time} ns");
            assert!(time < 4_000_000_000, "{name} {function}: {time} ns of one worker in about 2 s");
        }
    }
}

#[test]
fn errors_have_gos_texts() {
    let _alone = alone();
    let scene = Scene::start(false);
    let no_number = "invalid value for \"seconds\" - must be a positive integer";
    let too_long = "profile duration exceeds server's WriteTimeout";
    for (path, status, line) in [
        ("nosuch", 404, "Unknown profile"),
        ("nosuch?seconds=x", 404, "Unknown profile"),
        ("heap/more", 404, "Unknown profile"),
        ("heap?seconds=0", 400, no_number),
        ("heap?seconds=-1", 400, no_number),
        ("heap?seconds=1.5", 400, no_number),
        ("heap?seconds=x&debug=1", 400, no_number),
        ("goroutine?seconds=99999999999999999999", 400, no_number),
        ("mutex?seconds=1&debug=1", 400, "seconds and debug params are incompatible"),
        ("block?seconds=301", 400, too_long),
        ("profile?seconds=301", 400, too_long),
        ("profile?seconds=9223372036854775807", 400, too_long),
        ("trace?seconds=300.5", 400, too_long),
        ("trace?seconds=1e300", 400, too_long),
    ] {
        let answer = get(scene.address, &format!("/debug/pprof/{path}"));
        assert_error(&answer, status, line);
    }
}

#[test]
fn one_cpu_profile_runs_at_a_time_and_ends_with_its_client() {
    let _alone = alone();
    let scene = Scene::start(false);
    let try_another = || get(scene.address, "/debug/pprof/profile?seconds=1");
    // Invalid values count as the default of 30 s.
    for seconds in ["60", "0", "soon"] {
        let path = format!("/debug/pprof/profile?seconds={seconds}");
        let refused = || {
            let another = try_another();
            if another.status == 200 {
                return false;
            }
            assert_error(&another, 500, "Could not enable CPU profiling: cpu profiling already in use");
            true
        };
        let running = start_first(&path, || ask(scene.address, "GET", &path, b""), refused);
        drop(running);
        // The deadline is half of the first window.
        wait_until("another profile is accepted", || try_another().status == 200);
    }
}

#[test]
fn the_cpu_profile_shows_the_computing_function() {
    let _alone = alone();
    let scene = Scene::start(false);
    wait_until_explained(&scene);
    let answer = get(scene.address, "/debug/pprof/profile?seconds=2");
    assert_attachment(&answer, "profile");
    let file = decoded(&answer);
    assert_eq!(types(&file), [("samples", "count"), ("cpu", "nanoseconds")]);
    let period = file.period_type.as_ref().map(|kind| (text(&file, kind.ty), text(&file, kind.unit)));
    assert_eq!(period, Some(("cpu", "nanoseconds")));
    assert!(file.period > 0 && file.time_nanos > 0 && file.duration_nanos >= 2_000_000_000, "{}", file.duration_nanos);
    let all: i64 = file.sample.iter().map(|sample| sample.value[1]).sum();
    let computed = through(&answer, "compute_briefly", 1);
    assert!(computed > 100_000_000 && computed * 2 > all, "{computed} ns of {all} ns");
    assert_eq!(through(&answer, "sleep_in_poll", 1) / 100_000_000, 0, "sleeping is no CPU time");
    for sample in &file.sample {
        assert_eq!(sample.value[0] * file.period, sample.value[1]);
    }
}

#[test]
fn a_trace_is_a_recording_of_workers() {
    let _alone = alone();
    let scene = Scene::start(false);
    for query in ["?seconds=0.3", "", "?seconds=-1"] {
        let answer = get(scene.address, &format!("/debug/pprof/trace{query}"));
        assert_attachment(&answer, "trace");
        // The first packet of Perfetto's trace: field 1, a message.
        assert_eq!(answer.body.first(), Some(&0x0a));
        let has = |word: &str| answer.body.windows(word.len()).any(|bytes| bytes == word.as_bytes());
        assert!(has("scene") && has("computes"), "runtime and task are named");
    }
}

#[test]
fn a_stuck_task_is_shown_with_its_place() {
    let _alone = alone();
    let scene = Scene::start(true);
    let function = "endpoint_pprof::support::scene::stay_stuck";
    let line = include_str!("../support/scene.rs").lines().position(|line| line.contains("until.recv()"));
    let place = format!("tests/endpoint/../support/scene.rs:{}", line.expect("it is there") + 1);
    let dump = || get(scene.address, "/debug/pprof/goroutine?debug=2");
    wait_until("it is polled", || dump().text().contains(function));
    let answer = dump();
    assert_text(&answer);
    let text = answer.text();
    let block = text.split("\n\n").find(|block| block.contains(function)).expect("it is stuck for good");
    let first = block.lines().next().expect("has lines");
    assert!(first.starts_with("task ") && first.contains("[off-cpu]") && first.contains("task_name=stuck"), "{text}");
    assert!(first.contains("runtime=scene") && first.contains("spawn="), "{text}");
    assert!(block.contains(&format!("{function}\n\t{place}\n")), "{place}: {text}");

    let answer = get(scene.address, "/debug/pprof/goroutine?debug=1");
    assert_text(&answer);
    let text = answer.text();
    assert!(text.starts_with("goroutine profile: total 9\n"), "{text}");
    assert!(text.contains(&format!("#\t{function}\t{place}\n")) && text.contains("(tasks that wait)"), "{text}");
    let answer = get(scene.address, "/debug/pprof/goroutine");
    assert_eq!(through(&answer, "stay_stuck", 0), 1);

    // A running stall is part of stalled time.
    wait_until("it is a stall", || through(&get(scene.address, "/debug/pprof/mutex"), "stay_stuck", 1) > 0);
    let listed = get(scene.address, "/debug/pprof/block?debug=1").text();
    assert!(listed.contains(&format!("#\t{function}\t{place}\n")), "{listed}");
}

#[test]
fn head_has_no_body_and_other_methods_are_rejected() {
    let _alone = alone();
    let scene = Scene::start(false);
    let head = request(scene.address, "HEAD", "/debug/pprof/heap", b"");
    assert_attachment(&head, "heap");
    assert!(head.body.is_empty());
    for (method, path) in [("POST", "heap"), ("DELETE", "profile"), ("PUT", "symbol"), ("PATCH", "")] {
        let answer = request(scene.address, method, &format!("/debug/pprof/{path}"), b"");
        assert_eq!(answer.status, 405, "{method} {path}");
        assert!(answer.header("allow").is_some_and(|allowed| allowed.contains("GET")), "{method} {path}");
    }
}
