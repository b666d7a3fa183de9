//! The documents: their lengths, links, names and commands. `UPDATE_DOCS=1 cargo test --test docs` writes what is generated.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The number of lines that a reader should have to read at most.
const MAX_LINES: [(&str, usize); 2] = [("README.md", 200), ("ARCHITECTURE.md", 120)];

/// Names that no longer exist. Text that mentions one was not updated.
const RETIRED: [&str; 24] = [
    "target/own.rs",
    "target/other.rs",
    "target/mod.rs",
    "watch/reporter.rs",
    "watch/attached.rs",
    "watch/view.rs",
    "watch/sources.rs",
    "layout/scan.rs",
    "stalls/stretch.rs",
    "stalls/behind.rs",
    "probe/ledger.rs",
    "probe/follower.rs",
    "census/leaves.rs",
    "census/holders.rs",
    "census/shapes.rs",
    "known_by",
    "KnownBy",
    "NoVictims",
    "ReturnWatch",
    "SilentWorkers",
    "--no-plumbing",
    "plumbing=false",
    "--normalise",
    "--example news_pipeline",
];

/// Documents that list old names beside new ones, or quote how a number was measured at that time.
const MAY_NAME_RETIRED: [&str; 2] = ["CHANGELOG.md", "docs/measurements"];

/// A block of commands that no test runs follows this.
const NOT_RUN: &str = "<!-- not run";

/// Files that hold every measured number.
const MEASUREMENTS: [&str; 8] = ["accuracy", "overhead", "heap", "outside", "soak", "dump", "build", "service"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Markdown file of the repository, with its text.
fn documents() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("the folder exists").flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            if path.is_dir() {
                let skipped = name.starts_with('.') || name == "target" || name == "node_modules";
                if !skipped {
                    folders.push(path);
                }
            } else if name.ends_with(".md") {
                let text = std::fs::read_to_string(&path).expect("the file is text");
                found.push((path.strip_prefix(root()).expect("lies in the repository").to_path_buf(), text));
            }
        }
    }
    found.sort();
    assert!(found.len() > 40, "only {} documents were found", found.len());
    found
}

fn document(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The lines outside of fenced code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut in_code = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        in_code ^= fence;
        !fence && !in_code
    })
}

/// The text without `inline code`.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<_>>().join(" ")
}

/// The targets of `[text](target)`.
fn links(text: &str) -> Vec<String> {
    let lines: Vec<String> = prose(text).map(without_code).collect();
    let targets = lines.iter().flat_map(|line| line.split("](").skip(1));
    targets.filter_map(|rest| rest.split_once(')').map(|(target, _)| target.to_owned())).collect()
}

/// The anchors that GitHub and mdBook give to headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = prose(text).filter_map(|line| {
        let rest = line.trim_start_matches('#');
        (rest.len() < line.len()).then(|| rest.strip_prefix(' ')).flatten()
    });
    headings.map(anchor).collect()
}

fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn long_documents_stay_within_their_lengths() {
    for (path, most) in MAX_LINES {
        let lines = document(path).lines().count();
        assert!(lines <= most, "{path} has {lines} lines; at most {most} are allowed");
    }
}

#[test]
fn links_lead_somewhere() {
    let documents: BTreeMap<PathBuf, String> = documents().into_iter().collect();
    let mut dead = Vec::new();
    let mut checked = 0;
    for (path, text) in &documents {
        for link in links(text).iter().filter(|link| !link.contains("://") && !link.starts_with("mailto:")) {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let folder = path.parent().expect("a file has a folder");
            let target = if file.is_empty() { path.clone() } else { normal(&folder.join(file)) };
            let exists = root().join(&target).exists();
            // A link out of the book works in the repository, and is dead in the book.
            let in_the_book = path.starts_with("docs");
            let leaves_the_book = in_the_book && !target.starts_with("docs");
            // mdBook makes index.html of README.md, and README.html of links to it.
            let breaks_in_the_book = in_the_book && target.ends_with("README.md") && !path.ends_with("SUMMARY.md");
            let known = |text: &String| anchors(text).contains(heading);
            let found = heading.is_empty() || documents.get(&target).is_some_and(known);
            if !exists || !found || leaves_the_book || breaks_in_the_book {
                dead.push(format!("{}: {link}", path.display()));
            }
            checked += 1;
        }
    }
    assert!(dead.is_empty(), "dead links:\n{}", dead.join("\n"));
    assert!(checked > 100, "only {checked} links were checked");
}

/// Without `.` and `..`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => assert!(normal.pop(), "{} leaves the repository", path.display()),
            std::path::Component::CurDir => {}
            part => normal.push(part),
        }
    }
    normal
}

#[test]
fn names_in_documents_exist() {
    let sources = source_files();
    let mut wrong = Vec::new();
    let mut checked = 0;
    for (path, text) in documents() {
        let exempt = MAY_NAME_RETIRED.iter().any(|exempt| path.starts_with(exempt));
        for name in RETIRED.iter().filter(|name| !exempt && text.contains(**name)) {
            wrong.push(format!("{}: {name} is a retired name", path.display()));
        }
        // Reports and logs in fenced code name files of any program.
        let named =
            prose(&text).flat_map(|line| line.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>());
        for name in named.filter(|name| is_source(name) && !exempt) {
            checked += 1;
            let whole = Path::new(&name);
            if !sources.iter().any(|source| source == whole || source.ends_with(whole)) {
                wrong.push(format!("{}: {name} does not exist", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "stale names:\n{}", wrong.join("\n"));
    assert!(checked > 50, "only {checked} names were checked");
}

/// `probe/slot.rs`, `src/sys`, `scripts/pictures`.
fn is_source(name: &str) -> bool {
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '/' | '.' | '-'));
    let ours = ["src/", "tests/", "examples/", "benches/", "docs/", "scripts/", "flamegraphs/"];
    plain && name.contains('/') && (name.ends_with(".rs") || ours.iter().any(|folder| name.starts_with(folder)))
}

/// Files and folders of the repository, without what is built.
fn source_files() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("the folder exists").flatten() {
            let path = entry.path();
            let inside = path.strip_prefix(root()).expect("lies in the repository").to_path_buf();
            if path.is_dir() && entry.file_name() != "target" && entry.file_name() != ".git" {
                folders.push(path);
            }
            found.push(inside);
        }
    }
    found
}

#[test]
fn the_book_lists_every_chapter() {
    let listed: BTreeSet<PathBuf> = links(&document("docs/SUMMARY.md")).into_iter().map(PathBuf::from).collect();
    let inside = |path: &Path| path.strip_prefix("docs").map(Path::to_path_buf).ok();
    let chapters: BTreeSet<PathBuf> = documents().iter().filter_map(|(path, _)| inside(path)).collect();
    let unlisted: Vec<_> = chapters.iter().filter(|path| **path != *"SUMMARY.md" && !listed.contains(*path)).collect();
    assert!(unlisted.is_empty(), "docs/SUMMARY.md does not list {unlisted:?}");
    for name in MEASUREMENTS {
        assert!(chapters.contains(&Path::new("measurements").join(name).with_extension("md")), "{name}.md is missing");
    }
    let decisions = document("docs/decisions/index.md");
    for record in chapters.iter().filter(|path| path.starts_with("decisions") && !path.ends_with("index.md")) {
        let name = record.file_name().expect("a record has a name").to_string_lossy();
        assert!(decisions.contains(&*name), "docs/decisions/index.md does not list {name}");
        let text = document(&format!("docs/{}", record.display()));
        for part in ["## Context", "## Decision", "## Consequences"] {
            assert!(text.contains(part), "{name} has no {part}");
        }
    }
}

#[test]
fn causes_are_those_of_the_code() {
    let causes = holdup::stall::CauseClass::ALL
        .iter()
        .map(|cause| format!("\n### `{}`: {}\n\n{}\n", cause.as_str(), cause.title(), cause.advice()));
    assert_generated("docs/guide/causes.md", "causes", &(causes.collect::<String>() + "\n"));
    let objects = holdup::stall::CauseObject::ALL
        .iter()
        .map(|object| format!("\n### `{object}`: {}\n\n{} {}\n", object.title(), object.seen(), object.advice()));
    assert_generated("docs/guide/causes.md", "objects", &(objects.collect::<String>() + "\n"));
    let text = document("docs/guide/causes.md");
    for cause in holdup::stall::CauseClass::ALL {
        assert!(text.contains(&format!("\n| `{}` |", cause.as_str())), "{cause} is not in the table");
    }
}

/// Fails if the text between two marks of a document is another one. `UPDATE_DOCS` replaces it instead.
fn assert_generated(path: &str, mark: &str, generated: &str) {
    let text = document(path);
    let begin = text.find(&format!("<!-- {mark}:begin")).expect("the beginning is marked");
    let begin = begin + text[begin..].find("-->").expect("the mark ends") + "-->\n".len();
    let end = text.find(&format!("<!-- {mark}:end -->")).expect("the end is marked");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let new = format!("{}{generated}{}", &text[..begin], &text[end..]);
        std::fs::write(root().join(path), new).expect("the document can be written");
        return;
    }
    assert_eq!(text[begin..end], *generated, "run `UPDATE_DOCS=1 cargo test --test docs`");
}

/// Commands after `$ ` in ```console blocks, with whether a test is to run them.
fn commands(text: &str) -> Vec<(String, bool)> {
    let mut found = Vec::new();
    let mut previous = "";
    let mut inside = None;
    for line in text.lines() {
        if line == "```console" {
            inside = Some(!previous.starts_with(NOT_RUN));
        } else if line == "```" {
            inside = None;
        } else if let (Some(run), Some(command)) = (inside, line.strip_prefix("$ ")) {
            found.push((command.to_owned(), run));
        }
        if !line.trim().is_empty() {
            previous = line;
        }
    }
    found
}

#[test]
fn commands_of_the_guide_are_run_or_marked() {
    let mut to_run = 0;
    for (path, text) in documents().iter().filter(|(path, _)| path.starts_with("docs")) {
        for (command, run) in commands(text) {
            let ours = command.starts_with("holdup ");
            assert!(ours || !run, "{}: only `holdup` is run by a test: {command}", path.display());
            to_run += usize::from(run);
        }
    }
    assert!(to_run > 20, "only {to_run} commands are run");
}

/// Runs each command of the guide as it stands there, with this process as the service.
#[cfg(all(feature = "cli", target_os = "linux", target_arch = "x86_64"))]
#[test]
fn commands_of_the_guide_work() {
    let watch = holdup::Watch::builder().listen("127.0.0.1:0").print(holdup::Print::Never).start().expect("starts");
    let endpoint = watch.endpoint().and_then(holdup::EndpointAddress::tcp).expect("it listens").to_string();
    let runtime = watch.runtime(tokio::runtime::Builder::new_multi_thread().enable_all()).expect("a runtime");
    runtime.spawn(async {
        loop {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            std::thread::sleep(std::time::Duration::from_millis(15));
            std::hint::black_box((0..2_000_000_u64).fold(0, u64::wrapping_add));
        }
    });
    let folder = std::env::temp_dir().join(format!("holdup-docs-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for what commands write");
    let program = Path::new(env!("CARGO_BIN_EXE_holdup"));
    let path = format!("{}:{}", program.parent().expect("lies in a folder").display(), std::env::var("PATH").unwrap());
    let pid = std::process::id().to_string();
    let mut failed = Vec::new();
    for (document, text) in documents().iter().filter(|(path, _)| path.starts_with("docs")) {
        for (command, _) in commands(text).into_iter().filter(|(_, run)| *run) {
            let mut actual = command.replace("127.0.0.1:6060", &endpoint).replace("$(pidof my-service)", &pid);
            for long in ["-d 10s", "-d 5s", "-d 2s", "--duration 5s"] {
                actual = actual.replace(long, "-d 1s");
            }
            let follows = actual.contains("--follow");
            let limit = if follows { "3" } else { "60" };
            let line = format!("exec timeout --signal INT {limit} {actual}");
            let ran = std::process::Command::new("bash")
                .args(["-c", &line])
                .env("PATH", &path)
                .current_dir(&folder)
                .output()
                .expect("bash is installed");
            // 1 is an answer too: a stall that lasts, or a profile without samples. 124 is the end of `--follow`.
            let good = matches!(ran.status.code(), Some(0 | 1)) || (follows && ran.status.code() == Some(124));
            if !good {
                let error = String::from_utf8_lossy(&ran.stderr);
                failed.push(format!("{}: {command}\n  {} {error}", document.display(), ran.status));
            }
        }
    }
    drop(runtime);
    let _any = std::fs::remove_dir_all(&folder);
    assert!(failed.is_empty(), "commands that fail:\n{}", failed.join("\n"));
}

#[cfg(feature = "cli")]
#[test]
fn every_verb_is_documented() {
    let help = std::process::Command::new(env!("CARGO_BIN_EXE_holdup")).arg("--help").output().expect("it runs");
    let help = String::from_utf8(help.stdout).expect("help is text");
    let lines =
        help.lines().skip_while(|line| !line.starts_with("Commands:")).skip(1).take_while(|line| !line.is_empty());
    // A summary that is wrapped goes on in lines that are indented further.
    let verbs = lines.filter_map(|line| line.strip_prefix("  ").filter(|rest| !rest.starts_with(' ')));
    let verbs: Vec<&str> = verbs.filter_map(|line| line.split_whitespace().next()).collect();
    let text = document("docs/guide/command.md");
    for verb in verbs.iter().filter(|verb| **verb != "help") {
        assert!(text.contains(&format!("\n| `{verb}` |")), "docs/guide/command.md does not list {verb}");
    }
    assert!(verbs.len() > 10, "{help}");
}

/// A reader follows one event through few files, and opens none twice.
#[test]
fn reading_lists_are_short_and_in_order() {
    for name in ["following-a-stall", "following-a-dump"] {
        let text = document(&format!("docs/internals/{name}.md"));
        let steps: Vec<(&str, &str)> = text.lines().filter_map(|line| line.split_once(". `")).collect();
        for (index, (number, _)) in steps.iter().enumerate() {
            assert_eq!(number.parse(), Ok(index + 1), "{name}");
        }
        let files: BTreeSet<&str> = steps.iter().filter_map(|(_, rest)| Some(rest.split_once('`')?.0)).collect();
        assert_eq!(files.len(), steps.len(), "{name} opens a file twice");
        assert!((10..=25).contains(&files.len()), "{name} lists {} files", files.len());
    }
}

/// What each module of ARCHITECTURE.md's map uses, directly or not.
fn used_modules() -> BTreeMap<String, BTreeSet<String>> {
    let code = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let text = document("ARCHITECTURE.md");
    let rows = text.lines().filter_map(|line| {
        let cells: Vec<&str> = line.split('|').collect();
        let [_, module, _, uses, _] = cells[..] else { return None };
        Some((code(module).pop()?, code(uses)))
    });
    let direct: BTreeMap<String, Vec<String>> = rows.collect();
    let all = direct.keys().map(|module| {
        let (mut found, mut next) = (BTreeSet::new(), direct[module].clone());
        while let Some(used) = next.pop() {
            if found.insert(used.clone()) {
                next.extend(direct.get(&used).into_iter().flatten().cloned());
            }
        }
        (module.clone(), found)
    });
    all.collect()
}

#[test]
fn each_part_of_a_reading_list_goes_down_through_the_layers() {
    let used = used_modules();
    for name in ["following-a-stall", "following-a-dump"] {
        let text = document(&format!("docs/internals/{name}.md"));
        let mut pairs = 0;
        for part in text.split("\n## ") {
            let files = part.lines().filter_map(|line| line.split_once(". `src/")?.1.split_once('`'));
            let modules: Vec<&str> = files.filter_map(|(file, _)| file.split('/').next()).collect();
            for (index, later) in modules.iter().enumerate() {
                for before in &modules[..index] {
                    assert!(!used[*later].contains(*before), "{name}: {before} is read before {later}, which uses it");
                    pairs += 1;
                }
            }
        }
        assert!(pairs > 50, "{name}: only {pairs} pairs were compared");
    }
}
