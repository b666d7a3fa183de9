//! The structure that `ARCHITECTURE.md` describes, checked: who may use whom, where `unsafe` lives, and that every
//! file says what it is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Which modules of the crate each module may name, itself aside. A module that is not listed may name none.
const MAY_USE: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("tokio_internals", &[]),
    ("error", &[]),
    ("threads", &[]),
    ("listen", &[]),
    ("quantity", &[]),
    ("sys", &["model"]),
    ("probe", &["model", "sys", "tokio_internals"]),
    ("images", &["sys"]),
    ("debug_files", &[]),
    ("unwind", &["model", "sys", "images", "tokio_internals"]),
    ("dwarf", &["model", "debug_files", "tokio_internals"]),
    ("process", &["model", "sys", "probe", "unwind", "dwarf", "tokio_internals"]),
    ("census", &["model", "dwarf", "tokio_internals"]),
    ("stalls", &["model", "process"]),
    ("profilers", &["model", "process"]),
    ("symbols", &["model", "sys", "images", "debug_files", "tokio_internals"]),
    ("diagnose", &["model"]),
    ("analysis", &["model", "diagnose"]),
    ("export", &["model", "diagnose", "analysis"]),
    ("import", &["model", "export"]),
    ("program_path", &["sys", "symbols"]),
    ("report", &["model", "stalls", "symbols", "diagnose", "export"]),
    ("console", &["error", "listen", "probe"]),
    (
        "inprocess",
        &["model", "error", "sys", "probe", "images", "unwind", "process", "stalls", "profilers", "symbols", "report"],
    ),
    (
        "attach",
        &[
            "model",
            "error",
            "sys",
            "tokio_internals",
            "images",
            "debug_files",
            "unwind",
            "dwarf",
            "process",
            "census",
            "stalls",
            "profilers",
            "symbols",
            "diagnose",
            "export",
            "program_path",
            "report",
            "inprocess",
        ],
    ),
    ("http", &["model", "error", "listen", "quantity", "threads", "probe", "analysis", "export", "inprocess"]),
    (
        "watch",
        &[
            "model",
            "error",
            "threads",
            "tokio_internals",
            "program_path",
            "sys",
            "probe",
            "unwind",
            "process",
            "stalls",
            "symbols",
            "export",
            "report",
            "inprocess",
            "http",
            "console",
        ],
    ),
    ("testing", &["model", "error", "probe", "export", "watch"]),
    ("cli", &["model", "quantity", "analysis", "export", "import", "inprocess", "attach"]),
    ("bench_support", &["model", "probe", "sys", "unwind", "process", "symbols"]),
    ("main", &[]),
];

/// Longer files hold more than one concept. Tests in them do not count.
const MAX_LINES: usize = 420;

fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("the folder is there").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("it is text");
                found.push((path, text));
            }
        }
    }
    assert!(!found.is_empty(), "{folder} holds no source");
    found
}

fn module_of(path: &Path) -> String {
    let inside = path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).expect("lies in src");
    let first = inside.components().next().expect("has a name").as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

/// Without comments, and without the tests at its end.
fn code(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or(text);
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

#[test]
fn dependencies_point_one_way() {
    let allowed: BTreeMap<_, _> = MAY_USE.iter().copied().collect();
    let mut seen = 0;
    for (path, text) in sources("src") {
        let module = module_of(&path);
        if module == "lib" {
            continue;
        }
        let may = allowed.get(module.as_str()).unwrap_or_else(|| panic!("{module} is not in MAY_USE"));
        for part in code(&text).split("crate::").skip(1) {
            let used: String = part.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let known = allowed.contains_key(used.as_str());
            assert!(!known || used == module || may.contains(&used.as_str()), "{} uses {used}", path.display());
            seen += usize::from(known);
        }
    }
    assert!(seen > 50, "the check looks at {seen} uses only");
}

#[test]
fn unsafe_code_lives_in_sys_only() {
    let word = concat!("unsafe", " ");
    let mut in_sys = 0;
    for (path, text) in sources("src") {
        let uses = code(&text).matches(word).count();
        if module_of(&path) == "sys" {
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
        for (path, text) in sources(folder) {
            assert!(text.starts_with("//! "), "{} does not begin with what it is", path.display());
            let lines = code(&text).lines().count();
            assert!(lines <= MAX_LINES, "{} has {lines} lines of code", path.display());
            let markers = ["TODO", "FIXME", "XXX"];
            let marked = path.ends_with("tests/tidy.rs") || !markers.iter().any(|marker| text.contains(marker));
            assert!(marked, "{} leaves something for later", path.display());
        }
    }
}
