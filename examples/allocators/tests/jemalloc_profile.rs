//! A program whose jemalloc samples already: holdup passes its profile on, and samples nothing.

#![allow(unsafe_code, reason = "jemalloc reads its options from a symbol of the program")]

use std::hint::black_box;
use std::io::Read;

use allocators::{dump, live, through};
use holdup::heap::{Allocator, Sampling};
use holdup::{Print, Profile, ProfileMode, ProfileOptions, Watch};
use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOCATOR: Allocator<Jemalloc> = Allocator::new(Jemalloc);

/// The options of jemalloc, which it reads before `main`.
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static OPTIONS: &[u8] = b"prof:true,prof_accum:true,lg_prof_sample:16\0";

#[inline(never)]
fn articles(number: usize) -> Vec<Vec<u8>> {
    (0..number).map(|_| black_box(vec![1_u8; 10_000])).collect()
}

fn get(watch: &Watch, path: &str) -> Profile {
    let url = format!("{}{path}", watch.endpoint().expect("it listens"));
    let mut body = Vec::new();
    let mut answer = ureq::get(url).call().expect("it answers");
    answer.body_mut().as_reader().read_to_end(&mut body).expect("it is whole");
    Profile::read(&body).expect("it is a profile")
}

fn is_of_jemalloc(profile: &Profile) -> bool {
    profile.quality.notes.iter().any(|note| note.contains("jemalloc took this profile, and not holdup"))
}

#[test]
fn jemallocs_profile_is_passed_on_until_holdup_samples() {
    let builder = Watch::builder().print(Print::Never).listen("127.0.0.1:0").jemalloc_profile(dump);
    let watch = builder.start().expect("it starts");
    // 100 MB, of which 1500 objects are sampled, so one standard error is 3 %.
    let held = articles(10_000);
    let near = |bytes: i64| (85_000_000..115_000_000).contains(&bytes);
    let profile = live(&watch).expect("jemalloc writes it");
    let [samples, objects, bytes, _] = through(&profile, "articles", |_| true);
    assert!(is_of_jemalloc(&profile), "{:?}", profile.quality);
    assert!(
        samples > 1_000 && near(objects * 10_000) && near(bytes),
        "{samples} samples, {objects} objects, {bytes} bytes"
    );
    let innermost = |profile: &Profile| {
        let most = profile.samples.iter().max_by_key(|sample| sample.values[2]).expect("there are some");
        profile.frames_of(most).next().map(|frame| frame.frame.function.to_string())
    };
    let function = innermost(&profile).expect("it has a frame");
    assert!(function.contains("articles"), "the code that wanted the memory is innermost: {function}");

    let go = get(&watch, "/debug/pprof/heap");
    let names: Vec<&str> = go.values.iter().map(|value| &*value.name).collect();
    assert_eq!(names, ["alloc_objects", "alloc_space", "inuse_objects", "inuse_space"]);
    let [_, allocated, _, live_bytes] = through(&go, "articles", |_| true);
    assert!(near(live_bytes) && allocated >= live_bytes, "{allocated} {live_bytes}");
    drop(held);
    let allocs = get(&watch, "/debug/pprof/allocs");
    let [_, allocated, _, live_bytes] = through(&allocs, "articles", |_| true);
    assert!(near(allocated) && live_bytes == 0, "{allocated} {live_bytes}");

    // Modes that jemalloc's profile cannot answer say so.
    for mode in [ProfileMode::Peak, ProfileMode::Leaks, ProfileMode::Temporary] {
        let error = watch.profile_blocking(&ProfileOptions::new(mode)).expect_err("it has only what lives");
        assert!(error.to_string().contains("jemalloc's profile has only what lives"), "{error}");
    }

    // No request began holdup's sampling. Once it is on, holdup answers.
    let held = articles(1_000);
    watch.sample_heap(Sampling::EVERY_ALLOCATION).expect("the allocator is holdup's");
    let profile = live(&watch).expect("it is sampled");
    assert!(!is_of_jemalloc(&profile), "{:?}", profile.quality);
    assert_eq!(through(&profile, "articles", |_| true), [0; 4], "it was off before");
    watch.stop_sampling_heap();
    assert!(is_of_jemalloc(&live(&watch).expect("jemalloc writes it")));
    drop(held);
}
