//! The structure that `ARCHITECTURE.md` describes, checked: who may use whom, where `unsafe` lives, and that every
//! file says what it is.

/// Which file uses which.
mod imports;

/// Who may use whom.
mod layers;

/// Rust files.
mod source;

use source::{code, root, rust_files};

/// Longer files hold more than one concept. Tests in them do not count.
const MAX_LINES: usize = 420;

#[test]
fn unsafe_code_lives_in_sys_only() {
    let word = concat!("unsafe", " ");
    let mut in_sys = 0;
    for (path, text) in rust_files("src") {
        let uses = code(&text).matches(word).count();
        if path.starts_with(root().join("src/sys")) {
            in_sys += uses;
        } else {
            assert_eq!(uses, 0, "{}", path.display());
        }
    }
    assert!(in_sys > 0, "the check finds what is there");
}

#[test]
fn every_file_says_what_it_is_and_stays_small() {
    for folder in ["src", "tests", "examples", "benches"] {
        for (path, text) in rust_files(folder) {
            assert!(text.starts_with("//! "), "{} does not begin with what it is", path.display());
            let lines = code(&text).lines().count();
            assert!(lines <= MAX_LINES, "{} has {lines} lines of code", path.display());
            let markers = ["TODO", "FIXME", "XXX"];
            let marked = path.ends_with("tests/tidy/main.rs") || !markers.iter().any(|marker| text.contains(marker));
            assert!(marked, "{} leaves something for later", path.display());
        }
    }
}

#[test]
fn profiles_know_the_names_of_own_threads() {
    let known = std::fs::read_to_string(root().join("src/model/own_thread.rs")).expect("the list exists");
    for (path, text) in rust_files("src") {
        let text = code(&text);
        let starts = ["spawn_thread(\"", ".name(\"holdup", "Handover::start(\""];
        for (at, start) in starts.iter().flat_map(|start| text.match_indices(start)) {
            let name = text[at..].split('"').nth(1).expect("the literal ends");
            assert!(!start.is_empty() && known.contains(name), "{}: {name} is not in own_thread.rs", path.display());
        }
    }
}
