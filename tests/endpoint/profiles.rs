//! holdup's profiles over HTTP: every mode in every format, filters and groups, limits, and ending a profile early.

#[path = "../support/mod.rs"]
mod support;

use std::io::Read;
use std::net::SocketAddr;

use holdup::Profile;
use holdup::profile::Format;
use serde_json::Value;
use support::http::{Answer, answer, ask, get, request};
use support::scene::Scene;
use support::{alone, start_first, wait_until};

const PROFILE: &str = "/debug/holdup/profile";

const TEXT: &str = "text/plain; charset=utf-8";

fn profile(address: SocketAddr, query: &str) -> Answer {
    get(address, &format!("{PROFILE}?{query}"))
}

fn uncompressed(bytes: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    flate2::read::GzDecoder::new(bytes).read_to_end(&mut content).expect("it is gzip");
    content
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).expect("it is JSON")
}

/// Checks the format of a file without its consumer. `tests/profiles/files.rs` checks the contents.
fn assert_is(format: Format, body: &[u8], request: &str) {
    match format {
        Format::Flamegraph => {
            let svg = String::from_utf8_lossy(body);
            assert!(svg.starts_with("<?xml") && svg.contains("<svg") && svg.contains("</svg>"), "{request}");
        }
        Format::Folded => {
            for line in String::from_utf8_lossy(body).lines() {
                let (stack, number) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{request}: {line}"));
                assert!(!stack.is_empty() && number.parse::<u64>().is_ok(), "{request}: {line}");
            }
        }
        Format::Pprof => assert!(Profile::read(body).is_ok(), "{request}"),
        Format::Firefox => assert!(json(&uncompressed(body))["meta"]["processType"].is_number(), "{request}"),
        Format::Speedscope => {
            let schema = json(body)["$schema"].as_str().map(str::to_owned);
            assert!(
                schema.is_some_and(|schema| schema.ends_with("speedscope.app/file-format-schema.json")),
                "{request}"
            );
        }
        // The first packet of Perfetto's trace: field 1, a message.
        Format::Perfetto => assert_eq!(body.first(), Some(&0x0a), "{request}"),
        Format::Json => assert!(Profile::read(body).is_ok(), "{request}"),
        _ => panic!("{request} is not known to this test"),
    }
}

#[test]
fn every_mode_in_every_format() {
    let _alone = alone();
    let scene = Scene::start(false);
    for mode in ["cpu", "wall", "stalled"] {
        for format in Format::ALL {
            let query = format!("mode={mode}&seconds=0.3&format={format}");
            let answer = profile(scene.address, &query);
            assert_eq!(answer.status, 200, "{query}: {}", answer.text());
            assert_eq!(answer.header("content-type"), Some(format.content_type()), "{query}");
            assert_eq!(answer.header("cache-control"), Some("no-store"), "{query}");
            let shown = matches!(format, Format::Flamegraph | Format::Folded | Format::Json);
            let saved = format!("attachment; filename=\"{mode}.{}\"", format.extension());
            assert_eq!(answer.header("content-disposition"), (!shown).then_some(saved.as_str()), "{query}");
            assert_is(format, &answer.body, &query);
        }
    }
    let answer = profile(scene.address, "seconds=0.3");
    assert_eq!(answer.header("content-disposition"), Some("attachment; filename=\"cpu.pb.gz\""), "the defaults");
    assert_eq!(Profile::read(&answer.body).expect("it is pprof").rate, Some(99));
}

#[test]
fn each_mode_shows_its_functions() {
    let _alone = alone();
    let scene = Scene::start(false);
    for (mode, expected, unexpected) in [
        ("cpu", &["compute_briefly"][..], &[][..]),
        ("wall", &["compute_briefly", "sleep_in_poll", "wait_for_lock", "(parked)"], &[]),
        ("stalled", &["sleep_in_poll", "wait_for_lock"], &["compute_briefly"]),
    ] {
        let folded = profile(scene.address, &format!("mode={mode}&seconds=2&format=folded")).text();
        for function in expected {
            assert!(folded.contains(function), "{mode}: {function} is not in {folded}");
        }
        for function in unexpected {
            assert!(!folded.contains(function), "{mode}: {function} is in {folded}");
        }
    }
}

#[test]
fn profiles_are_filtered_and_grouped() {
    let _alone = alone();
    let scene = Scene::start(false);
    let folded = |query: &str| {
        let answer = profile(scene.address, &format!("mode=wall&seconds=0.6&format=folded&{query}"));
        assert_eq!(answer.status, 200, "{query}: {}", answer.text());
        answer.text()
    };
    let all = |text: &str, condition: &dyn Fn(&str) -> bool| !text.is_empty() && text.lines().all(condition);

    let grouped = folded("group=runtime,task");
    assert!(all(&grouped, &|line| line.starts_with("runtime: scene;task: ")), "{grouped}");
    assert!(grouped.contains(";task: sleeps (") && grouped.contains(";task: none;"), "{grouped}");
    let one_task = folded("task=sleeps&group=task");
    assert!(all(&one_task, &|line| line.starts_with("task: sleeps (")), "{one_task}");
    let included = folded("include=%3A%3Asleep_in_poll%24");
    assert!(all(&included, &|line| line.contains("::sleep_in_poll")), "{included}");
    let excluded = folded("exclude=sleep_in_poll");
    assert!(all(&excluded, &|line| !line.contains("sleep_in_poll")), "{excluded}");
    let plain = folded("all_frames=false&include=sleep_in_poll");
    assert!(all(&plain, &|line| line.contains("sleep_in_poll") && !line.contains("tokio::runtime::")), "{plain}");
    let parked = folded("state=parked");
    assert!(all(&parked, &|line| line.starts_with("(parked) ")), "{parked}");
    let spawned = folded("spawn=scene.rs&group=spawn");
    let place = |line: &str| line.strip_prefix("spawn: ")?.split(';').next()?.split_once("scene.rs:")?.1.parse().ok();
    assert!(all(&spawned, &|line| place(line).is_some_and(|line: u32| line > 0)), "{spawned}");
    for no_match in ["runtime=other", "thread=nobody", "task=999999", "spawn=ne.rs", "include=no_such_function"] {
        assert_eq!(folded(no_match), "", "{no_match}");
    }
}

#[test]
fn flamegraphs_for_the_browser() {
    let _alone = alone();
    let scene = Scene::start(false);
    let by_default = ask(scene.address, "GET", "/debug/holdup/flamegraph.svg?mode=wall&format=json", b"");
    let answer = get(scene.address, "/debug/holdup/flamegraph.svg?mode=wall&seconds=0.6&rate=199&group=task");
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("image/svg+xml")));
    assert_eq!(answer.header("content-disposition"), None, "it is shown, not saved");
    let svg = answer.text();
    for part in ["wall-clock time", "199 Hz over", "task: sleeps", "sleep_in_poll"] {
        assert!(svg.contains(part), "{part} is missing");
    }
    let by_default = Profile::read(&support::http::answer(by_default).body).expect("it is valid");
    assert!((5..30).contains(&by_default.duration.as_secs()), "{:?}", by_default.duration);
}

#[test]
fn bad_input_is_answered_with_one_sentence() {
    let _alone = alone();
    let scene = Scene::start(false);
    for (query, part) in [
        ("mode=memory", "there is no profile mode \"memory\"; there are cpu, wall, stalled, heap, allocs, peak"),
        ("format=xml", "format=xml is invalid"),
        ("seconds=0", "a profile of 0 s is not possible; choose more than 0 and at most 300 s"),
        ("seconds=301", "at most 300 s"),
        ("seconds=-1", "seconds=-1 is invalid"),
        ("seconds=NaN", "seconds=NaN is invalid"),
        ("seconds=1e99", "is invalid"),
        ("seconds=soon", "seconds=soon is invalid"),
        ("rate=0", "choose 1 to 1000"),
        ("rate=1001", "a rate of 1001 samples per second is not possible; choose 1 to 1000"),
        ("rate=-1", "rate=-1 is invalid"),
        ("group=color", "the groups are thread, runtime, task, spawn, state"),
        ("include=(", "is not a regular expression"),
        ("exclude=%5B", "is not a regular expression"),
        ("second=1", "unknown parameter \"second\"; this path takes mode, seconds, rate, format"),
        ("seconds=1&seconds=2", "seconds is given more than once"),
    ] {
        for path in [PROFILE, "/debug/holdup/flamegraph.svg"] {
            let answer = get(scene.address, &format!("{path}?{query}"));
            let text = answer.text();
            assert_eq!((answer.status, answer.header("content-type")), (400, Some(TEXT)), "{query}: {text}");
            assert!(text.contains(part) && text.lines().count() == 1 && text.ends_with('\n'), "{query}: {text}");
        }
    }
    // This program has another allocator, or the feature is off.
    let refused = get(scene.address, &format!("{PROFILE}?mode=heap"));
    assert_eq!(refused.status, 501, "{}", refused.text());
    assert!(refused.text().starts_with("the heap is not sampled: the program"), "{}", refused.text());
    for (query, status, part) in [
        ("", 400, "name is missing"),
        ("?name=nobody", 404, "ended 0 profiles named nobody"),
        ("?names=nobody", 400, "this path takes name"),
    ] {
        let answer = request(scene.address, "POST", &format!("{PROFILE}/stop{query}"), b"");
        assert_eq!((answer.status, answer.text().contains(part)), (status, true), "{query}: {}", answer.text());
    }
}

fn stop(address: SocketAddr, name: &str) -> Answer {
    request(address, "POST", &format!("{PROFILE}/stop?name={name}"), b"")
}

#[test]
fn a_profile_that_is_ended_early_is_complete() {
    let _alone = alone();
    let scene = Scene::start(false);
    for (mode, function) in [("cpu", "compute_briefly"), ("wall", "sleep_in_poll"), ("stalled", "sleep_in_poll")] {
        let path = format!("{PROFILE}?mode={mode}&seconds=300&name=long&include={function}");
        let running = ask(scene.address, "GET", &path, b"");
        let other = format!("{PROFILE}?mode=wall&seconds=300&name=other");
        let other = ask(scene.address, "GET", &other, b"");
        // Long enough for a few samples or stalls.
        std::thread::sleep(std::time::Duration::from_millis(800));
        wait_until("the profile is ended", || stop(scene.address, "long").status == 200);
        let answer = answer(running);
        assert_eq!(answer.status, 200, "{mode}: {}", answer.text());
        let profile = Profile::read(&answer.body).expect("it is valid");
        assert!(!profile.samples.is_empty() && &*profile.kind == mode, "{mode}: {profile:#?}");
        assert!(profile.duration.as_secs() < 60, "{mode}: {:?}", profile.duration);
        wait_until("the other profile is ended", || {
            stop(scene.address, "other").text() == "ended 1 profile named other\n"
        });
        drop(other);
    }
}

#[test]
fn at_most_eight_profiles_run_at_a_time() {
    let _alone = alone();
    let scene = Scene::start(false);
    let path = format!("{PROFILE}?mode=stalled&seconds=300&name=eight&format=json");
    let start = || (0..8).map(|_| ask(scene.address, "GET", &path, b"")).collect::<Vec<_>>();
    let another = || profile(scene.address, "mode=wall&seconds=0.01");
    let running = start_first("a ninth", start, || another().status != 200);
    let refused = another();
    assert_eq!((refused.status, refused.header("content-type")), (409, Some(TEXT)), "{}", refused.text());
    assert!(refused.text().contains("try again when that has ended"), "{}", refused.text());
    assert_eq!(refused.text().lines().count(), 1);
    assert_eq!(stop(scene.address, "eight").text(), "ended 8 profiles named eight\n");
    for running in running {
        let answer = answer(running);
        assert_eq!(answer.status, 200, "{}", answer.text());
        Profile::read(&answer.body).expect("it is valid");
    }
    wait_until("a ninth profile is accepted again", || another().status == 200);

    let start = || ask(scene.address, "GET", &format!("{PROFILE}?seconds=60"), b"");
    let running = start_first("a second CPU profile", start, || profile(scene.address, "seconds=0.01").status == 409);
    drop(running);
    wait_until("a disconnected client ends its profile", || profile(scene.address, "seconds=0.01").status == 200);
}

#[test]
fn other_methods_are_rejected() {
    let _alone = alone();
    let scene = Scene::start(false);
    for (method, path, allowed) in [
        ("POST", PROFILE, "GET,HEAD"),
        ("DELETE", "/debug/holdup/flamegraph.svg", "GET,HEAD"),
        ("GET", "/debug/holdup/profile/stop", "POST"),
    ] {
        let answer = request(scene.address, method, path, b"");
        assert_eq!((answer.status, answer.header("allow")), (405, Some(allowed)), "{method} {path}");
    }
    let head = request(scene.address, "HEAD", &format!("{PROFILE}?seconds=0.1"), b"");
    assert_eq!((head.status, head.body.len()), (200, 0));
}
