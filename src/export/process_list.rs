//! Processes that run Tokio, as a table and as JSON.

use std::fmt::Write as _;

use serde::Serialize;

use crate::model::process::{DebugTier, ProcessSeen, VerbSeen};

/// Longer names are cut in the table.
const LONGEST_NAME: usize = 24;

/// A table for a terminal. What does not work is explained below it, each reason once.
pub(crate) fn table(processes: &[ProcessSeen], unseen: usize) -> String {
    let mut text = String::new();
    let verbs: Vec<&str> = processes.first().map_or_else(Vec::new, |one| one.verbs.iter().map(|v| v.verb).collect());
    if !processes.is_empty() {
        let _infallible = write!(
            text,
            "{:>7}  {:<LONGEST_NAME$}  {:<9} {:>7}  {:<10}",
            "PID", "PROGRAM", "TOKIO", "THREADS", "DEBUG INFO"
        );
        for verb in &verbs {
            let _infallible = write!(text, "  {:<6}", verb.to_uppercase());
        }
        end_line(&mut text);
    }
    for process in processes {
        let name: String = process.program.chars().take(LONGEST_NAME).collect();
        let (version, debug) = (version(process), debug(process));
        let (pid, threads) = (process.pid, process.threads);
        let _infallible = write!(text, "{pid:>7}  {name:<LONGEST_NAME$}  {version:<9} {threads:>7}  {debug:<10}");
        for verb in &process.verbs {
            let _infallible = write!(text, "  {:<6}", if verb.refused.is_none() { "yes" } else { "no" });
        }
        end_line(&mut text);
    }
    let mut told: Vec<&str> = Vec::new();
    for VerbSeen { verb, refused } in processes.iter().flat_map(|process| &process.verbs) {
        if let Some(reason) = refused.as_deref().filter(|reason| !told.contains(reason)) {
            let _infallible = writeln!(text, "{verb}: {reason}");
            told.push(reason);
        }
    }
    if processes.iter().any(|process| debug(process) != DebugTier::Full.as_str()) {
        text.push_str(
            "Programs built with `debug = 2` in their profile show files, lines and what tasks await; `debug = 1` shows files and lines.\n",
        );
    }
    if processes.is_empty() {
        text.push_str("No process with Tokio in it is seen here.\n");
    }
    if unseen > 0 {
        let _infallible = writeln!(text, "{unseen} processes could not be looked into; run holdup as root to see all.");
    }
    text
}

fn end_line(text: &mut String) {
    text.truncate(text.trim_end().len());
    text.push('\n');
}

fn version(process: &ProcessSeen) -> String {
    match process.facts.as_ref().map(|facts| facts.versions.as_slice()) {
        Some([first, ..]) => first.clone(),
        // It holds Tokio, by its symbols or the names of its threads.
        _ => "?".to_owned(),
    }
}

fn debug(process: &ProcessSeen) -> &'static str {
    process.facts.as_ref().map_or("?", |facts| facts.debug.as_str())
}

/// The same as JSON.
pub(crate) fn json(processes: &[ProcessSeen], unseen: usize) -> serde_json::Result<String> {
    let processes = processes.iter().map(Process::from).collect();
    serde_json::to_string_pretty(&List { schema: 1, processes, unseen })
}

#[derive(Serialize)]
struct List<'p> {
    /// Changes when a field changes its meaning.
    schema: u32,
    processes: Vec<Process<'p>>,
    /// Processes that could not be looked into.
    unseen: usize,
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

impl<'p> From<&'p ProcessSeen> for Process<'p> {
    fn from(seen: &'p ProcessSeen) -> Self {
        let facts = seen.facts.as_ref();
        let verb = |seen: &'p VerbSeen| Verb {
            verb: seen.verb,
            works: seen.refused.is_none(),
            reason: seen.refused.as_deref(),
        };
        Self {
            pid: seen.pid,
            user: seen.user,
            program: &seen.program,
            threads: seen.threads,
            tokio_threads: seen.tokio_threads,
            tokio_versions: facts.map_or(&[], |facts| &facts.versions),
            debug_info: facts.map(|facts| facts.debug.as_str()),
            debug_file: facts.and_then(|facts| facts.debug_file.as_deref()),
            verbs: seen.verbs.iter().map(verb).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::process::ProgramFacts;

    #[test]
    fn a_reason_is_told_once() {
        let process = |pid| ProcessSeen {
            pid,
            user: 1000,
            program: "news".into(),
            threads: 3,
            tokio_threads: 2,
            facts: Some(ProgramFacts { tokio: true, versions: vec!["1.54.1".into()], ..ProgramFacts::default() }),
            verbs: vec![
                VerbSeen { verb: "record", refused: None },
                VerbSeen { verb: "dump", refused: Some("not allowed".into()) },
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
