//! The processes of this machine that run Tokio, and what can be done with each.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;

use super::error::AttachError;
use super::open_process::check;
use super::remedies;
use crate::images::Images;
use crate::model::process::{DebugTier, ProgramFacts, TokioProcess, VerbSupport};
use crate::program_path::ProgramPath;
use crate::sys::{self, PerfSampler, Permissions, Process, ProcessStatus};
use crate::tokio_internals::symbols::is_worker_thread;

/// The processes that run Tokio.
#[derive(Debug, Default)]
pub(crate) struct Processes {
    /// Processes with Tokio, by process id.
    pub(crate) with_tokio: Vec<TokioProcess>,
    /// The number of processes with unreadable files and without threads that are named like Tokio's.
    pub(crate) unreadable: usize,
}

impl Processes {
    /// Examines every process except our own.
    ///
    /// # Errors
    /// When `/proc` cannot be listed.
    pub(crate) fn now() -> io::Result<Self> {
        let rights = Permissions::own();
        let mut files = HashMap::new();
        let mut found = Self::default();
        let mut pids = sys::process_ids()?;
        pids.sort_unstable();
        for process in pids.into_iter().map(Process::with_id).filter(|process| !process.is_own()) {
            // It may have ended since it was listed.
            let Some(status) = process.status().filter(|status| !status.of_kernel) else { continue };
            let refused = check(process, &rights).err();
            if matches!(refused, Some(AttachError::NoProcess { .. } | AttachError::Ended { .. })) {
                continue;
            }
            let facts = if refused.is_none() { facts_of(process, &mut files) } else { None };
            let tokio_threads = tokio_threads(process);
            if facts.as_ref().is_some_and(|facts| facts.tokio) || tokio_threads > 0 {
                let verbs = verbs(process, &rights, refused.as_ref(), facts.as_ref());
                found.with_tokio.push(process_seen(process, &status, tokio_threads, facts, verbs));
            } else if facts.is_none() {
                found.unreadable += 1;
            }
        }
        Ok(found)
    }
}

fn process_seen(
    process: Process,
    status: &ProcessStatus,
    tokio_threads: usize,
    facts: Option<ProgramFacts>,
    verbs: Vec<VerbSupport>,
) -> TokioProcess {
    let program = ProgramPath::of(process).file_name().unwrap_or_else(|| status.name.clone());
    let (pid, user, threads) = (process.id(), status.user, status.threads);
    TokioProcess { pid, user, program, threads, tokio_threads, facts: facts.filter(|facts| facts.tokio), verbs }
}

fn tokio_threads(process: Process) -> usize {
    let names = process.thread_ids().into_iter().flatten().filter_map(|tid| process.thread_name(tid));
    names.filter(|name| is_worker_thread(name)).count()
}

/// The facts of the first file with Tokio, the program before its libraries; otherwise of any file.
fn facts_of(process: Process, known: &mut HashMap<PathBuf, ProgramFacts>) -> Option<ProgramFacts> {
    let mut images = Images::of(process);
    images.load_new().ok()?;
    let mut all: Vec<_> = images.all().iter().collect();
    all.sort_by_key(|image| !image.program);
    let mut any = None;
    for image in all {
        let Some(path) = &image.path else { continue };
        let facts = match known.get(path) {
            Some(facts) => facts.clone(),
            None => ProgramFacts::of(image),
        };
        if !path.starts_with("/proc") {
            known.insert(path.clone(), facts.clone());
        }
        if facts.tokio {
            return Some(facts);
        }
        any = Some(facts);
    }
    any
}

/// Tries the first step of each verb.
fn verbs(
    process: Process,
    rights: &Permissions,
    refused: Option<&AttachError>,
    facts: Option<&ProgramFacts>,
) -> Vec<VerbSupport> {
    let record = || match PerfSampler::new(std::time::Duration::from_secs(1)).add_thread(first_thread(process), 0) {
        Ok(_) => None,
        Err(error) => Some(AttachError::of_sampling(process, &error).to_string()),
    };
    let dump = || (!reads_memory(process)).then(|| remedies::closed_memory(rights));
    match refused {
        Some(refused) => {
            ["record", "stalls", "dump"].map(|verb| VerbSupport { verb, refused: Some(refused.to_string()) }).into()
        }
        None => {
            let dump = dump();
            let nameless = facts.map(|facts| facts.debug).filter(|tier| *tier == DebugTier::None);
            let name = || ProgramPath::of(process).name();
            let stalls = dump.clone().or_else(|| Some(remedies::without_types(&name(), nameless?)));
            vec![
                VerbSupport { verb: "record", refused: record() },
                VerbSupport { verb: "stalls", refused: stalls },
                VerbSupport { verb: "dump", refused: dump },
            ]
        }
    }
}

fn first_thread(process: Process) -> i32 {
    i32::try_from(process.id()).unwrap_or_default()
}

fn reads_memory(process: Process) -> bool {
    let mappings = process.mappings().unwrap_or_default();
    mappings.iter().take(8).any(|mapping| process.read_word(mapping.start).is_some())
}
