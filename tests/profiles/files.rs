//! Profiles as files: holdup and other programs can read them, and their contents are those of the profile.
//! The files stay in the folder `tmp/profiles` of cargo's target folder, for `scripts/consumers.sh`.
#![cfg(feature = "formats")]

#[path = "../support/profiles.rs"]
mod profiles;

use std::collections::HashSet;
use std::io::Read;
use std::path::PathBuf;

use holdup::Profile;
use holdup::profile::{Format, Labels, ProfileBuilder, Unit, ValueType};
use pprof::protos::Message;
use serde_json::Value;

const SAMPLES: u32 = 3000;

fn profile() -> Profile {
    profiles::cpu(SAMPLES, 400, 30)
}

fn empty() -> Profile {
    ProfileBuilder::new("stalled", vec![ValueType::new("delay", Unit::Nanoseconds)]).build()
}

fn written(profile: &Profile, format: Format) -> Vec<u8> {
    let mut file = Vec::new();
    profile.write(format, &mut file).expect("it is compiled in");
    file
}

fn uncompressed(bytes: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    flate2::read::GzDecoder::new(bytes).read_to_end(&mut content).expect("it is gzip");
    content
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).expect("it is JSON")
}

fn array(value: &Value) -> &[Value] {
    value.as_array().expect("it is a list")
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or_else(|| panic!("{value} is not a whole number"))
}

#[test]
fn every_format_can_express_full_and_empty_profiles() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("profiles");
    std::fs::create_dir_all(&folder).expect("the target folder can be written");
    for (name, profile) in [("cpu", profile()), ("empty", empty())] {
        for format in Format::ALL {
            let file = written(&profile, format);
            assert!(!file.is_empty() || (format == Format::Folded && name == "empty"), "{format} of {name}");
            let path = folder.join(format!("{name}.{}", format.extension()));
            assert_eq!(Format::from_path(&path), Ok(format));
            std::fs::write(path, &file).expect("the target folder can be written");
        }
    }
}

#[test]
fn json_is_read_as_an_equal_profile() {
    for profile in [profile(), empty()] {
        assert_eq!(Profile::read(&written(&profile, Format::Json)).expect("it is valid"), profile);
    }
}

#[test]
fn pprof_and_folded_are_read_with_equal_stacks() {
    let profile = profile();
    let folded = written(&profile, Format::Folded);
    let from_pprof = Profile::read(&written(&profile, Format::Pprof)).expect("it is valid");
    assert_eq!(written(&from_pprof, Format::Folded), folded);
    assert_eq!(from_pprof.quality, profile.quality);
    assert_eq!(from_pprof.mappings, profile.mappings);
    assert_eq!(
        (from_pprof.kind, from_pprof.program, from_pprof.pid, from_pprof.rate, from_pprof.started_at),
        (profile.kind.clone(), profile.program.clone(), profile.pid, profile.rate, profile.started_at)
    );
    assert_eq!(HashSet::<&Labels>::from_iter(&from_pprof.labels), HashSet::from_iter(&profile.labels));

    let from_folded = Profile::read(&folded).expect("it is valid");
    assert_eq!(written(&from_folded, Format::Folded), folded);
    assert_eq!(from_folded.total(0), profile.total(1));
}

#[test]
fn the_pprof_package_reads_equal_contents() {
    let profile = profile();
    let file =
        pprof::protos::Profile::decode(uncompressed(&written(&profile, Format::Pprof)).as_slice()).expect("decodes");
    let text = |position: i64| file.string_table[usize::try_from(position).expect("it is not negative")].as_str();
    let types: Vec<_> = file.sample_type.iter().map(|value| (text(value.ty), text(value.unit))).collect();
    assert_eq!(types, [("samples", "count"), ("cpu", "nanoseconds")]);
    assert_eq!(file.sample.iter().map(|sample| sample.value[1]).sum::<i64>(), profile.total(1));
    assert_eq!((file.period, text(file.period_type.as_ref().expect("it has one").ty)), (profiles::PERIOD, "cpu"));

    // In the innermost location, the inlined function is first, and its caller is last.
    let sample = &file.sample[0];
    let location = &file.location[usize::try_from(sample.location_id[0]).expect("it is small") - 1];
    let names: Vec<_> = location
        .line
        .iter()
        .map(|line| text(file.function[usize::try_from(line.function_id).expect("it is small") - 1].name))
        .collect();
    assert_eq!(names, ["news_pipeline::ranking::score::<[u8; 0]>", "news_pipeline::ranking::rank::{async fn body}"]);
    assert_eq!(sample.location_id.len(), 29, "one of thirty frames is inlined");

    let labels: Vec<_> = sample.label.iter().map(|label| (text(label.key), text(label.str), label.num)).collect();
    for label in
        [("thread", "tokio-rt-worker", 0), ("runtime", "api", 0), ("task", "", 1), ("tid", "", 4243), ("worker", "", 0)]
    {
        assert!(labels.contains(&label), "{label:?} is not in {labels:?}");
    }
    let comments: Vec<_> = file.comment.iter().map(|comment| text(*comment)).collect();
    assert!(comments.contains(&"lost=3") && comments.contains(&"note=kernel frames are not shown"), "{comments:?}");
}

#[test]
fn flamegraphs_have_a_title_and_need_no_network() {
    let mut profile = profile();
    profile.program = "a<b> & c".into();
    let svg = String::from_utf8(written(&profile, Format::Flamegraph)).expect("it is UTF-8");
    for part in [
        "a&lt;b&gt; &amp; c: CPU time",
        "99 Hz over 15.00 s",
        "3000 samples, 3 lost, 1 truncated, 0.0 % of frames",
        "rank::{async fn body}",
        "search",
    ] {
        assert!(svg.contains(part), "{part} is missing");
    }
    assert!(!svg.contains("src=\"http") && !svg.contains("href=\"http"), "it needs nothing from the network");
    let nothing = String::from_utf8(written(&empty(), Format::Flamegraph)).expect("it is UTF-8");
    assert!(nothing.contains("Nothing was measured") && nothing.len() < 2000, "{nothing}");
}

#[test]
fn speedscope_has_a_profile_for_every_thread() {
    let profile = profile();
    let file = json(&written(&profile, Format::Speedscope));
    let frames = array(&file["shared"]["frames"]).len();
    let mut sum = 0;
    assert_eq!(array(&file["profiles"]).len(), 2);
    for thread in array(&file["profiles"]) {
        assert_eq!((&thread["type"], &thread["unit"]), (&"sampled".into(), &"nanoseconds".into()));
        let weights: i64 = array(&thread["weights"]).iter().map(number).sum();
        assert_eq!(weights, number(&thread["endValue"]));
        assert_eq!(array(&thread["samples"]).len(), array(&thread["weights"]).len());
        let positions = array(&thread["samples"]).iter().flat_map(array).map(number);
        assert!(positions.into_iter().all(|position| (0..i64::try_from(frames).expect("few")).contains(&position)));
        sum += weights;
    }
    assert_eq!(sum, profile.total(1));
    assert_eq!(file["shared"]["frames"][0]["name"], "__clone3", "outermost first");
}

#[test]
fn firefox_has_threads_categories_and_markers() {
    let file = json(&uncompressed(&written(&profile(), Format::Firefox)));
    let threads = array(&file["threads"]);
    assert_eq!(threads.len(), 2);
    let categories: Vec<_> = array(&file["meta"]["categories"]).iter().map(|category| &category["name"]).collect();
    for name in ["User", "Standard library", "Runtime", "Dependency", "System", "Stall"] {
        assert!(categories.contains(&&Value::from(name)), "{name} is not in {categories:?}");
    }
    let mut weights = 0;
    for thread in threads {
        assert_eq!(thread["name"], "tokio-rt-worker");
        weights += array(&thread["samples"]["weight"]).iter().map(number).sum::<i64>();
        assert!(array(&thread["markers"]["name"]).len() > 10);
    }
    assert_eq!(weights, i64::from(SAMPLES));
}

#[test]
fn damaged_files_are_errors_and_never_panics() {
    let profile = profiles::cpu(40, 10, 8);
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random % below as u64).expect("it is below")
    };
    for format in [Format::Folded, Format::Pprof, Format::Json] {
        let mut whole = written(&profile, format);
        if format == Format::Pprof {
            // Uncompressed, because otherwise the checksum of gzip finds all damage.
            assert!(Profile::read(&whole[..whole.len() / 2]).is_err(), "half a gzip file");
            whole = uncompressed(&whole);
        }
        assert!(Profile::read(&whole).is_ok());
        let mut errors = 0;
        for _ in 0..1500 {
            let mut damaged = whole.clone();
            damaged.truncate(next(whole.len()) + 1);
            for _ in 0..next(4) {
                let place = next(damaged.len());
                damaged[place] = u8::try_from(next(256)).expect("it is a byte");
            }
            match Profile::read(&damaged) {
                // A readable profile can also be written.
                Ok(read) => Format::ALL.into_iter().for_each(|format| drop(written(&read, format))),
                Err(error) => {
                    errors += 1;
                    assert!(error.to_string().starts_with("not a "), "{error}");
                }
            }
        }
        assert!(errors > 500, "{format}: {errors} of 1500 damaged files are errors");
    }
}

#[test]
fn errors_name_the_format_and_the_place() {
    let firefox = uncompressed(&written(&profile(), Format::Firefox));
    let own = |from: &str, to: &str| {
        let text = String::from_utf8(written(&profiles::cpu(4, 2, 5), Format::Json)).expect("it is UTF-8");
        assert!(text.contains(from), "{from} is not in {text}");
        text.replacen(from, to, 1).into_bytes()
    };
    for (bytes, part) in [
        (firefox, "not a readable json profile: its `format` is not holdup-profile"),
        (own("\"version\":1", "\"version\":9"), "its version is 9, and this holdup reads 1"),
        (own("\"stack\":1", "\"stack\":7"), "refers to stack 7, of 2"),
        (own("\"values\":[1,", "\"values\":["), "sample 0 has 1 values instead of 2"),
        (own("\"unit\":\"count\"", "\"unit\":\"pints\""), "the unit pints of the value samples is unknown"),
        (own("\"drawn\":1", "\"drawn\":2"), "`drawn` is 2, of 2 values"),
        (vec![0x1f, 0x8b, 0, 0], "not a readable pprof profile: after 0 uncompressed bytes"),
        // A sample with a missing location, and a field that exceeds the file.
        (vec![0x12, 0x03, 0x0a, 0x01, 0x07], "location 7 does not exist"),
        (vec![0x12, 0x7f, 0x00], "it ends within the field at byte 0"),
        (b"main 1\nmain;f\n".to_vec(), "not a readable folded profile: line 2"),
    ] {
        let error = Profile::read(&bytes).expect_err(part).to_string();
        assert!(error.contains(part), "{error}");
    }
}
