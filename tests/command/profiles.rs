//! The verbs of the `holdup` command that work on profiles in files.
#![cfg(feature = "cli")]

#[path = "../support/profiles.rs"]
mod profiles;

use std::path::PathBuf;
use std::process::{Command, Output};

use holdup::Profile;
use holdup::profile::Format;

/// An empty folder for a test.
fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _not_there = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("the target folder can be written");
    folder
}

fn holdup(folder: &PathBuf, arguments: &[&str]) -> Output {
    let command = &mut Command::new(env!("CARGO_BIN_EXE_holdup"));
    command.current_dir(folder).args(arguments).output().expect("the command runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn save(folder: &std::path::Path, name: &str, profile: &Profile) {
    let mut file = Vec::new();
    let format = Format::from_path(name.as_ref()).expect("the name has an extension");
    profile.write(format, &mut file).expect("it is compiled in");
    std::fs::write(folder.join(name), file).expect("the folder can be written");
}

#[test]
fn every_readable_format_is_converted_to_every_format() {
    let folder = folder("convert");
    let profile = profiles::cpu(200, 20, 8);
    for input in ["in.json", "in.pb.gz", "in.folded"] {
        save(&folder, input, &profile);
        for format in Format::ALL {
            let out = format!("out.{}", format.extension());
            let output = holdup(&folder, &["convert", input, &out]);
            assert_eq!(output.status.code(), Some(0), "{input} to {out}: {}", text(&output.stderr));
            let printed = text(&output.stdout);
            assert!(printed.contains(&format!("Wrote {format} to '{out}'. Samples: ")), "{printed}");
            assert!(printed.ends_with(&format!("{}\n", format.how_to_open())), "{printed}");
        }
        let back = Profile::read(&std::fs::read(folder.join("out.json")).expect("it is there")).expect("it is valid");
        assert_eq!(back.total(back.drawn), profile.total(1), "{input}");
    }
}

#[test]
fn profiles_are_filtered_grouped_and_streamed() {
    let folder = folder("narrow");
    save(&folder, "in.json", &profiles::cpu(200, 20, 8));
    let arguments = ["convert", "in.json", "-", "--format", "folded", "--group", "runtime,task", "--thread", "4243"];
    let folded = text(&holdup(&folder, &arguments).stdout);
    assert!(folded.lines().count() > 1);
    for line in folded.lines() {
        assert!(line.starts_with("runtime: api;task: ") && line.contains(";__clone3;"), "{line}");
    }
    let only = text(&holdup(&folder, &["convert", "in.json", "-", "--format", "folded", "-I", r"u8; 7\]"]).stdout);
    assert!(only.lines().count() > 0 && only.lines().all(|line| line.contains("[u8, 7]")), "{only}");
    let plain = text(&holdup(&folder, &["convert", "in.json", "-", "--format", "folded", "--all-frames=false"]).stdout);
    assert!(plain.lines().count() > 0 && plain.lines().all(|line| !line.contains("__clone3")), "{plain}");
    let nothing = holdup(&folder, &["convert", "in.json", "out.svg", "-X", "clone"]);
    assert_eq!(nothing.status.code(), Some(1), "no samples are left");
    assert!(text(&nothing.stdout).contains("Samples: 0"));
}

#[test]
fn pictures_and_tables_leave_out_the_runtime_and_files_do_not() {
    let folder = folder("frames");
    save(&folder, "in.json", &profiles::cpu(200, 20, 8));
    let run = |arguments: &[&str]| {
        let output = holdup(&folder, arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    let draw = |options: &[&str]| {
        run(&[&["convert", "in.json", "out.svg"], options].concat());
        std::fs::read_to_string(folder.join("out.svg")).expect("it is there")
    };
    let samples = |svg: &str| svg.split_once("total_samples=\"").map(|(_, rest)| rest[..12].to_owned());
    let (short, whole) = (draw(&[]), draw(&["--all-frames"]));
    assert!(!short.contains("<title>__clone3 (") && whole.contains("<title>__clone3 ("), "{short}");
    assert_eq!(samples(&short), samples(&whole), "no weight is lost");
    assert!(short.contains("--all-frames or ?all_frames=true shows them") && !whole.contains("are left out"));
    assert!(whole.contains(">holdup convert in.json out.svg --all-frames</text>"), "the command is the caption");
    for svg in [&short, &whole] {
        assert!(svg.contains("prefers-color-scheme: dark"));
    }
    let rows = |options: &[&str]| run(&[&["top", "in.json", "-n", "1000"], options].concat());
    assert!(!rows(&[]).contains("__clone3") && rows(&["--all-frames"]).contains("__clone3"));
    assert!(run(&["convert", "in.json", "-", "--format", "folded"]).contains("__clone3"));
}

#[test]
fn functions_and_differences_are_shown() {
    let folder = folder("functions");
    std::fs::write(folder.join("before.txt"), "main;a 10\nmain;b 30\n").expect("the folder can be written");
    std::fs::write(folder.join("after.txt"), "main;a 10\nmain;c 10\n").expect("the folder can be written");
    let top = text(&holdup(&folder, &["top", "before.txt", "-n", "1"]).stdout);
    assert!(top.contains("75.0 %") && top.contains(" b\n") && top.contains("… and 2 more"), "{top}");

    let table = text(&holdup(&folder, &["diff", "before.txt", "after.txt"]).stdout);
    assert!(table.starts_with("40 before, 20 after\n"), "{table}");
    let json = holdup(&folder, &["diff", "before.txt", "after.txt", "--json", "--normalize"]).stdout;
    let json: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
    let a = json["functions"].as_array().expect("a list").iter().find(|row| row["function"] == "a").expect("is there");
    assert_eq!((&a["self_before"], &a["self_after"], &a["self_delta"]), (&5.into(), &10.into(), &5.into()));

    let wrote = holdup(&folder, &["diff", "before.txt", "after.txt", "-o", "diff.svg"]);
    assert_eq!(wrote.status.code(), Some(0), "{}", text(&wrote.stderr));
    let svg = std::fs::read_to_string(folder.join("diff.svg")).expect("it is there");
    assert!(svg.contains("what changed") && svg.contains("+") && svg.contains("main"), "{svg}");
    let titles = |svg: &str, function: &str| svg.contains(&format!("<title>{function} ("));
    assert!(titles(&svg, "c") && !titles(&svg, "b"), "new functions are drawn: {svg}");
    holdup(&folder, &["diff", "before.txt", "after.txt", "-o", "diff.svg", "--widths", "before"]);
    let svg = std::fs::read_to_string(folder.join("diff.svg")).expect("it is there");
    assert!(titles(&svg, "b") && !titles(&svg, "c"), "removed functions are drawn: {svg}");
    assert!(svg.contains("b (30 samples, 75.00%; -75.00%)") && svg.contains("width is before"), "{svg}");
    holdup(&folder, &["diff", "before.txt", "after.txt", "-o", "diff.folded"]);
    let lines = std::fs::read_to_string(folder.join("diff.folded")).expect("it is there");
    assert_eq!(lines, "main;a 10 10\nmain;b 30 0\nmain;c 0 10\n");
}

#[test]
fn errors_name_the_object_and_the_remedy() {
    let folder = folder("errors");
    std::fs::write(folder.join("broken.json"), "{\"format\": 1").expect("the folder can be written");
    std::fs::write(folder.join("a.folded"), "main 1\n").expect("the folder can be written");
    save(&folder, "time.json", &profiles::cpu(10, 2, 5));
    for (arguments, part) in [
        (&["convert", "nowhere.json", "a.svg"][..], "nowhere.json cannot be opened"),
        (&["convert", "a.folded", "a.bmp"], "the formats are flamegraph (.svg)"),
        (&["convert", "a.folded", "-"], "with --format"),
        (&["convert", "broken.json", "a.svg"], "broken.json: not a readable json profile"),
        (&["convert", "a.folded", "a.svg", "-I", "("], "( is not a regular expression"),
        (&["convert", "a.folded", "a.svg", "--group", "color"], "the groups are thread, runtime"),
        (&["convert", "a.folded", "a.svg", "--from", "firefox"], "this format can be written only"),
        (&["diff", "a.folded", "a.folded", "-o", "a.pb.gz"], "choose .svg, .folded or .json"),
        (&["diff", "a.folded", "time.json"], "the first profile is in count and the second in nanoseconds"),
        (&["top", "."], "cannot be read"),
        (&["top", "a.folded", "-n", "many"], "\"many\" is not a number"),
    ] {
        let output = holdup(&folder, arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(text(&output.stderr).contains(part), "{arguments:?}: {}", text(&output.stderr));
    }
}

#[test]
fn completion_scripts_contain_every_verb() {
    let folder = folder("completions");
    for shell in ["bash", "zsh", "fish"] {
        let output = holdup(&folder, &["completions", shell]);
        let script = text(&output.stdout);
        assert_eq!(output.status.code(), Some(0));
        for verb in ["stalls", "convert", "diff", "top", "check", "completions", "man"] {
            assert!(script.contains(verb), "{verb} is not completed in {shell}");
        }
    }
}

#[test]
fn manual_pages_are_written_for_every_verb() {
    let folder = folder("man");
    let page = text(&holdup(&folder, &["man"]).stdout);
    assert!(page.starts_with(".ie") || page.starts_with(".TH"), "{page}");
    let output = holdup(&folder, &["man", "man1"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    for verb in ["holdup", "holdup-stalls", "holdup-top", "holdup-symbols-extract"] {
        let page = std::fs::read_to_string(folder.join("man1").join(format!("{verb}.1"))).expect("it is written");
        assert!(page.contains(".SH NAME"), "{verb}: {page}");
    }
}
