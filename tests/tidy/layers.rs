//! Who may use whom: the table that `ARCHITECTURE.md` shows, and no circles at any level.

use std::collections::{BTreeMap, BTreeSet};

use crate::imports::{Crate, Module};
use crate::source::root;

/// A top-level module: its name, what it holds, and which other modules it may use.
type Layer = (&'static str, &'static str, &'static [&'static str]);

/// The modules in the order of the data flow. Each uses only modules above it.
const LAYERS: &[Layer] = &[
    ("model", "what is observed and reported: plain data", &[]),
    ("error", "what can go wrong at start", &[]),
    ("listen", "addresses and sockets to listen on", &[]),
    ("token", "the endpoint's token: where it comes from, and how it is compared", &[]),
    ("quantity", "durations and numbers, as people write them", &[]),
    ("tokio_internals", "everything undocumented of Tokio that holdup relies on", &[]),
    ("sys", "the operating system behind a safe API; the only `unsafe`", &["model"]),
    ("threads", "threads of holdup's own", &["model", "sys"]),
    ("probe", "the hot path: what workers do on every poll", &["tokio_internals", "model", "sys"]),
    ("images", "programs and libraries in an address space", &["model", "sys"]),
    ("debug_files", "debug information in separate files", &[]),
    ("unwind", "registers and stack bytes to addresses", &["tokio_internals", "model", "sys", "images"]),
    (
        "dwarf",
        "a program's debug information: how to read its runtimes, tasks and futures",
        &["tokio_internals", "model", "debug_files"],
    ),
    (
        "process",
        "an observed process: `local/` our own, `remote/` another",
        &["tokio_internals", "model", "sys", "probe", "unwind", "dwarf"],
    ),
    ("census", "every task at one moment, and what it awaits", &["tokio_internals", "model", "dwarf"]),
    ("stalls", "the watchdog: notices stalls, gathers evidence", &["model", "process"]),
    ("profilers", "weighted stacks over a window: addresses only", &["model", "process"]),
    (
        "heap",
        "the heap: sums of sampled allocations, and the public allocator",
        &["model", "sys", "threads", "probe", "images", "unwind", "profilers"],
    ),
    (
        "symbols",
        "addresses to functions, files, lines and origins",
        &["tokio_internals", "model", "sys", "images", "debug_files"],
    ),
    ("diagnose", "evidence and stacks to causes, culprits and findings", &["model"]),
    ("analysis", "profiles filtered, grouped, summed and compared", &["model", "diagnose"]),
    ("export", "one output format, one file", &["model", "diagnose", "analysis"]),
    ("import", "profiles read back, within limits", &["model", "export"]),
    ("program_path", "a program's path: its name and its crates", &["sys", "symbols"]),
    (
        "report",
        "what follows a stall, inside and outside: explain, keep, report",
        &["tokio_internals", "model", "threads", "sys", "stalls", "symbols", "diagnose", "export"],
    ),
    ("console", "tokio-console beside holdup", &["model", "error", "listen", "probe"]),
    (
        "inprocess",
        "the wiring inside the watched process",
        &[
            "model",
            "error",
            "listen",
            "sys",
            "threads",
            "probe",
            "unwind",
            "process",
            "profilers",
            "heap",
            "symbols",
            "report",
        ],
    ),
    (
        "attach",
        "the wiring for another process, and its public API",
        &[
            "tokio_internals",
            "model",
            "error",
            "sys",
            "images",
            "debug_files",
            "unwind",
            "dwarf",
            "process",
            "census",
            "stalls",
            "profilers",
            "heap",
            "symbols",
            "diagnose",
            "export",
            "program_path",
            "report",
            "inprocess",
        ],
    ),
    (
        "http",
        "the diagnostics endpoint",
        &[
            "model",
            "quantity",
            "error",
            "listen",
            "token",
            "threads",
            "probe",
            "analysis",
            "export",
            "report",
            "inprocess",
        ],
    ),
    (
        "watch",
        "the public guard and its builder",
        &[
            "tokio_internals",
            "model",
            "error",
            "listen",
            "threads",
            "program_path",
            "sys",
            "probe",
            "unwind",
            "process",
            "stalls",
            "heap",
            "symbols",
            "export",
            "report",
            "inprocess",
            "http",
            "console",
        ],
    ),
    ("requests", "names of requests by method and route", &["probe"]),
    ("testing", "the guard for tests", &["model", "error", "sys", "probe", "heap", "export", "inprocess", "watch"]),
    (
        "cli",
        "the `holdup` command",
        &["quantity", "token", "model", "analysis", "export", "import", "inprocess", "attach"],
    ),
    (
        "bench_support",
        "parts of a stack capture, for benches",
        &["model", "probe", "sys", "unwind", "process", "symbols"],
    ),
    ("main", "the command's entry", &[]),
];

const MAP_BEGIN: &str = "<!-- map:begin -->";
const MAP_END: &str = "<!-- map:end -->";

/// Uses between top-level modules, each with a file that has it.
fn top_level_uses() -> BTreeMap<(String, String), Module> {
    let edges = Crate::read().edges();
    let tops = edges.iter().filter_map(|(from, to)| Some(((from.first()?.clone(), to.first()?.clone()), from.clone())));
    tops.filter(|((from, to), _)| from != to).collect()
}

#[test]
fn modules_use_only_what_the_table_allows() {
    let uses = top_level_uses();
    assert!(uses.len() > 50, "the check sees {} uses only", uses.len());
    let allowed: BTreeMap<&str, &[&str]> = LAYERS.iter().map(|(name, _, uses)| (*name, *uses)).collect();
    let mut wrong = Vec::new();
    for ((from, to), file) in &uses {
        match allowed.get(from.as_str()) {
            None => wrong.push(format!("{from} is not in the table")),
            Some(may) if !may.contains(&to.as_str()) => wrong.push(format!("{} uses {to}", file.join("::"))),
            Some(_) => {}
        }
    }
    for (name, _, may) in LAYERS {
        let unused = may.iter().filter(|to| !uses.contains_key(&((*name).to_owned(), (**to).to_owned())));
        wrong.extend(unused.map(|to| format!("the table lets {name} use {to}, which it does not")));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_table_points_one_way() {
    let mut above = BTreeSet::new();
    for (name, _, uses) in LAYERS {
        for used in *uses {
            assert!(above.contains(used), "{name} may use {used}, which is not above it in the table");
        }
        assert!(above.insert(*name), "{name} stands twice in the table");
    }
}

/// At each level of the tree, files and folders form no circle. So no two files and no two folders depend on each other.
#[test]
fn no_level_of_the_tree_has_a_circle() {
    let edges = Crate::read().edges();
    let mut levels: BTreeMap<Module, BTreeSet<(String, String)>> = BTreeMap::new();
    for (from, to) in &edges {
        let common = from.iter().zip(to).take_while(|(one, other)| one == other).count();
        // The folder's own `mod.rs` is called `mod`.
        let node = |module: &Module| module.get(common).cloned().unwrap_or_else(|| "mod".to_owned());
        levels.entry(from[..common].to_vec()).or_default().insert((node(from), node(to)));
    }
    let circles: Vec<String> = levels
        .iter()
        .flat_map(|(level, edges)| {
            circles(edges).into_iter().map(move |nodes| format!("{}: {}", level.join("::"), nodes.join(", ")))
        })
        .collect();
    assert!(circles.is_empty(), "these depend on each other:\n{}", circles.join("\n"));
}

/// Sets of nodes each of which reaches all others of its set.
fn circles(edges: &BTreeSet<(String, String)>) -> Vec<Vec<String>> {
    let nodes: BTreeSet<&String> = edges.iter().flat_map(|(from, to)| [from, to]).collect();
    let reach = |start: &String| -> BTreeSet<String> {
        let (mut seen, mut open) = (BTreeSet::new(), vec![start.clone()]);
        while let Some(node) = open.pop() {
            for (_, to) in edges.iter().filter(|(from, _)| *from == node) {
                if seen.insert(to.clone()) {
                    open.push(to.clone());
                }
            }
        }
        seen
    };
    let reached: BTreeMap<&String, BTreeSet<String>> = nodes.iter().map(|node| (*node, reach(node))).collect();
    let mut found: BTreeSet<Vec<String>> = BTreeSet::new();
    for (node, reachable) in reached.iter().filter(|(node, reachable)| reachable.contains(**node)) {
        let set = reachable.iter().filter(|other| reached[*other].contains(*node));
        found.insert(set.cloned().collect());
    }
    found.into_iter().collect()
}

#[test]
fn circles_are_found() {
    let edges = |list: &[(&str, &str)]| {
        list.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect::<BTreeSet<_>>()
    };
    assert!(circles(&edges(&[("a", "b"), ("b", "c"), ("a", "c")])).is_empty());
    assert_eq!(circles(&edges(&[("a", "b"), ("b", "c"), ("c", "a"), ("c", "d")])), [["a", "b", "c"]]);
}

/// The map of `ARCHITECTURE.md` is this table. `HOLDUP_BLESS=1 cargo test --test tidy` writes it.
#[test]
fn the_map_of_the_architecture_is_this_table() {
    let path = root().join("ARCHITECTURE.md");
    let text = std::fs::read_to_string(&path).expect("ARCHITECTURE.md exists");
    let (before, rest) = text.split_once(MAP_BEGIN).expect("the map has a beginning");
    let (shown, after) = rest.split_once(MAP_END).expect("the map has an end");
    let mut map = String::from("\n| module | holds | uses |\n|---|---|---|\n");
    for (name, holds, uses) in LAYERS {
        let uses: Vec<String> = uses.iter().map(|name| format!("`{name}`")).collect();
        let uses = if uses.is_empty() { "–".to_owned() } else { uses.join(", ") };
        map += &format!("| `{name}` | {holds} | {uses} |\n");
    }
    if std::env::var_os("HOLDUP_BLESS").is_some() {
        std::fs::write(&path, format!("{before}{MAP_BEGIN}{map}{MAP_END}{after}"))
            .expect("ARCHITECTURE.md is writable");
    } else {
        assert_eq!(shown, map, "run HOLDUP_BLESS=1 cargo test --test tidy");
    }
}
