//! The reference service makes mistakes with memory, and profiles of the heap lead to function, file, line and request.
//!
//! `HOLDUP_NEWS_PIPELINE` names the program to test; without it, cargo builds it.

mod support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use holdup::Profile;
use holdup::profile::{ProfileFrame, Sample};
use support::DEADLINE;
use support::service::Service;

/// Requests that are frequent enough for a short window.
const LOAD: [&str; 4] = ["--readers", "10", "--reader-interval", "50ms"];

/// A short window; a loaded machine may need several.
const WINDOW: &str = "2";

/// The innermost frame of the service's own code.
fn own_frame<'p>(profile: &'p Profile, sample: &Sample) -> Option<&'p ProfileFrame> {
    profile.frames_of(sample).find(|frame| frame.frame.function.starts_with("news_pipeline::"))
}

/// The function of the service with most bytes, and its bytes.
fn most(profile: &Profile) -> Option<(String, i64)> {
    let mut sums: BTreeMap<String, i64> = BTreeMap::new();
    for sample in &profile.samples {
        if let Some(frame) = own_frame(profile, sample) {
            *sums.entry(frame.frame.function.to_string()).or_default() += sample.values[2];
        }
    }
    sums.into_iter().max_by_key(|(_, bytes)| *bytes)
}

/// Waits until the service's function with most bytes is this one. The profile has its file, its line and the request.
fn leads_to(service: &Service, mode: &str, function: &str, file: &str) {
    let url = format!(
        "http://{}/debug/holdup/profile?mode={mode}&seconds={WINDOW}&format=json",
        service.address("diagnostics")
    );
    let limit = Instant::now() + DEADLINE;
    loop {
        let body = ureq::get(&url).call().expect("the endpoint answers").body_mut().read_to_vec().expect("bytes");
        let profile = Profile::read(&body).expect("it is a profile");
        let first = most(&profile);
        if first.as_ref().is_some_and(|(first, _)| first.ends_with(&format!("::{function}"))) {
            let in_it = |sample: &&Sample| {
                own_frame(&profile, sample).is_some_and(|frame| frame.frame.function.ends_with(function))
            };
            for sample in profile.samples.iter().filter(in_it) {
                let frame = own_frame(&profile, sample).expect("it was found by it");
                let is_there = frame.frame.file.as_deref().is_some_and(|found| found.ends_with(file));
                assert!(is_there && frame.frame.line.is_some(), "{mode}: {frame:?}");
                let labels = profile.labels_of(sample).expect("it has labels");
                assert_eq!(labels.task_name.as_deref(), Some("GET /latest-news"), "{mode}: {labels:?}");
                assert_eq!(labels.runtime.as_deref(), Some("news"), "{mode}: {labels:?}");
            }
            return;
        }
        assert!(Instant::now() < limit, "{mode}: {function} is not on top but {first:?}: {:?}", profile.quality);
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_leak_leads_to_its_line() {
    let service = Service::start(&["--fault", "cache-leak"]);
    for mode in ["heap", "leaks"] {
        leads_to(&service, mode, "keep_answer_forever", "faults/cache_leak.rs");
    }
}

#[test]
fn a_storm_of_temporary_strings_leads_to_its_line() {
    let service = Service::start(&[&LOAD[..], &["--fault", "allocs"]].concat());
    for mode in ["allocs", "temporary"] {
        leads_to(&service, mode, "count_phrases_as_strings", "faults/allocs.rs");
    }
}

#[test]
fn a_huge_buffer_leads_to_its_line() {
    let service = Service::start(&[&LOAD[..], &["--fault", "big-alloc"]].concat());
    for mode in ["heap", "peak", "allocs"] {
        leads_to(&service, mode, "reserve_for_whole_export", "faults/big_alloc.rs");
    }
}
