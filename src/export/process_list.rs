//! The list of processes that use Tokio, as a table and as JSON.

use std::fmt::Write as _;

use serde::Serialize;

use crate::model::process::{DebugTier, TokioProcess, VerbSupport};

/// The maximum length of a name in the table.
const MAX_NAME: usize = 24;

/// The table for a terminal. Reasons why verbs are unavailable follow it, each reason once.
pub(crate) fn table(processes: &[TokioProcess], unreadable: usize) -> String {
    let mut text = String::new();
    let verbs: Vec<&str> = processes.first().map_or_else(Vec::new, |one| one.verbs.iter().map(|v| v.verb).collect());
    if !processes.is_empty() {
        let _infallible = write!(
            text,
            "{:>7}  {:<MAX_NAME$}  {:<9} {:>7}  {:<10}",
            "PID", "PROGRAM", "TOKIO", "THREADS", "DEBUG INFO"
        );
        for verb in &verbs {
            let _infallible = write!(text, "  {:<6}", verb.to_uppercase());
        }
        end_line(&mut text);
    }
    for process in processes {
        let name: String = process.program.chars().take(MAX_NAME).collect();
        let (version, debug) = (version(process), debug(process));
        let (pid, threads) = (process.pid, process.threads);
        let _infallible = write!(text, "{pid:>7}  {name:<MAX_NAME$}  {version:<9} {threads:>7}  {debug:<10}");
        for verb in &process.verbs {
            let _infallible = write!(text, "  {:<6}", if verb.refused.is_none() { "yes" } else { "no" });
        }
        end_line(&mut text);
    }
    let mut explained: Vec<&str> = Vec::new();
    for VerbSupport { verb, refused } in processes.iter().flat_map(|process| &process.verbs) {
        if let Some(reason) = refused.as_deref().filter(|reason| !explained.contains(reason)) {
            let _infallible = writeln!(text, "{verb}: {reason}");
            explained.push(reason);
        }
    }
    if processes.iter().any(|process| debug(process) != DebugTier::Full.as_str()) {
        text.push_str(
            "A program that is built with `debug = 2` in its profile shows files, lines and what tasks await. \
             With `debug = 1`, it shows files and lines.\n",
        );
    }
    if processes.is_empty() {
        text.push_str("No process with Tokio was found.\n");
    }
    if unreadable > 0 {
        let word = if unreadable == 1 { "process" } else { "processes" };
        let _infallible =
            writeln!(text, "{unreadable} {word} could not be read; run holdup as root to include all processes.");
    }
    text
}

fn end_line(text: &mut String) {
    text.truncate(text.trim_end().len());
    text.push('\n');
}

/// The version of Tokio.
fn version(process: &TokioProcess) -> String {
    match process.facts.as_ref().map(|facts| facts.versions.as_slice()) {
        Some([first, ..]) => first.clone(),
        // Symbols or thread names show that it uses Tokio, but not which version.
        _ => "?".to_owned(),
    }
}

/// The amount of debug information.
fn debug(process: &TokioProcess) -> &'static str {
    process.facts.as_ref().map_or("?", |facts| facts.debug.as_str())
}

/// The list as JSON.
pub(crate) fn json(processes: &[TokioProcess], unreadable: usize) -> serde_json::Result<String> {
    let processes = processes.iter().map(Process::from).collect();
    serde_json::to_string_pretty(&List { schema: 1, processes, unreadable })
}

#[derive(Serialize)]
struct List<'p> {
    /// Increases when the meaning of a field changes.
    schema: u32,
    processes: Vec<Process<'p>>,
    /// The number of processes that could not be read.
    unreadable: usize,
}

#[derive(Serialize)]
struct Process<'p> {
    pid: u32,
    user: u32,
    program: &'p str,
    threads: usize,
    tokio_threads: usize,
    tokio_versions: &'p [String],
    debug_info: Option<&'static str>,
    debug_file: Option<&'p str>,
    verbs: Vec<Verb<'p>>,
}

#[derive(Serialize)]
struct Verb<'p> {
    verb: &'static str,
    works: bool,
    reason: Option<&'p str>,
}

impl<'p> From<&'p TokioProcess> for Process<'p> {
    fn from(process: &'p TokioProcess) -> Self {
        let facts = process.facts.as_ref();
        let verb = |support: &'p VerbSupport| Verb {
            verb: support.verb,
            works: support.refused.is_none(),
            reason: support.refused.as_deref(),
        };
        Self {
            pid: process.pid,
            user: process.user,
            program: &process.program,
            threads: process.threads,
            tokio_threads: process.tokio_threads,
            tokio_versions: facts.map_or(&[], |facts| &facts.versions),
            debug_info: facts.map(|facts| facts.debug.as_str()),
            debug_file: facts.and_then(|facts| facts.debug_file.as_deref()),
            verbs: process.verbs.iter().map(verb).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::process::ProgramFacts;

    #[test]
    fn a_reason_is_written_once() {
        let process = |pid| TokioProcess {
            pid,
            user: 1000,
            program: "news".into(),
            threads: 3,
            tokio_threads: 2,
            facts: Some(ProgramFacts { tokio: true, versions: vec!["1.54.1".into()], ..ProgramFacts::default() }),
            verbs: vec![
                VerbSupport { verb: "record", refused: None },
                VerbSupport { verb: "dump", refused: Some("not allowed".into()) },
            ],
        };
        let text = table(&[process(7), process(8)], 2);
        assert_eq!(text.matches("not allowed").count(), 1, "{text}");
        assert!(text.contains("1.54.1") && text.contains("none") && text.contains("2 processes could not"), "{text}");
        let json = json(&[process(7)], 0).expect("it is JSON");
        assert!(json.contains(r#""works": false"#) && json.contains(r#""reason": "not allowed""#), "{json}");
        assert!(table(&[], 0).contains("No process"));
    }
}
