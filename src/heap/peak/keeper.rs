//! The thread that writes the peak. It is not the collector's, because a slow disk must not stop that.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::file::PeakFile;
use super::images::KnownImages;
use super::saved::{ProcessFacts, SavedPeak, bounded};
use crate::heap::collector::with_ledger;
use crate::model::own_thread;
use crate::sys::heap as sampler;
use crate::threads::spawn_thread;

/// Between two looks at the peak. A peak is in the file within this time, and the time of one collection and one write.
const INTERVAL: Duration = Duration::from_millis(30);

/// Writing takes at most one part in this many of a CPU. Thousands of deep stacks take tens of milliseconds.
const TIME_DIVISOR: u32 = 5;

/// The file of this process, while its thread runs.
static KEPT: Mutex<Option<PathBuf>> = Mutex::new(None);

/// Keeps the peak in a file from now on, until sampling ends. One file serves all watches of the process; another path
/// replaces it, and the earlier file keeps what it has. `warn` gets a sentence if the file cannot be written.
///
/// # Errors
/// A sentence, if the file cannot be used.
pub(crate) fn keep(path: &Path, warn: impl Fn(String) + Send + 'static) -> Result<(), String> {
    let refused =
        |why: &dyn std::fmt::Display| format!("the peak of the heap is not kept in {}: {why}", path.display());
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if kept.as_deref() == Some(path) {
        return Ok(());
    }
    let process = process();
    let file = sampler::without_sampling(|| PeakFile::open(path, process.run)).map_err(|error| refused(&error))?;
    let path_of_keeper = path.to_owned();
    let keep = move || {
        let images = KnownImages::load();
        Keeper { path: path_of_keeper, file, process, images, written: None, failed: false }.run(&warn);
    };
    spawn_thread(own_thread::PEAK, keep).map_err(|error| refused(&error))?;
    *kept = Some(path.to_owned());
    Ok(())
}

/// Facts about our own process.
fn process() -> ProcessFacts {
    static RUN: OnceLock<u64> = OnceLock::new();
    let since_epoch = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let text =
        |path: std::io::Result<PathBuf>| path.map(|path| path.to_string_lossy().into_owned()).unwrap_or_default();
    ProcessFacts {
        run: *RUN.get_or_init(|| u64::try_from(since_epoch()).unwrap_or(u64::MAX)),
        program: text(std::env::current_exe()),
        folder: text(std::env::current_dir()),
    }
}

struct Keeper {
    path: PathBuf,
    file: PeakFile,
    process: ProcessFacts,
    images: KnownImages,
    /// The number of the peak in the file.
    written: Option<u64>,
    /// Whether the last write failed.
    failed: bool,
}

impl Keeper {
    fn run(mut self, warn: &dyn Fn(String)) {
        loop {
            let began = Instant::now();
            self.look(warn);
            let took = began.elapsed();
            let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.as_ref() != Some(&self.path) {
                return;
            }
            if !sampler::is_on() {
                *kept = None;
                // Whoever begins to sample again finds the file unlocked.
                drop(self);
                return;
            }
            drop(kept);
            std::thread::sleep(INTERVAL.max(took * (TIME_DIVISOR - 1)));
        }
    }

    /// Writes the peak if it is a new one. After an error, the next peak is tried again.
    fn look(&mut self, warn: &dyn Fn(String)) {
        let Some((number, contents)) = self.new_peak() else { return };
        match self.file.write(&contents) {
            Ok(()) => self.failed = false,
            Err(error) => {
                if !std::mem::replace(&mut self.failed, true) {
                    warn(format!(
                        "a new peak of the heap could not be written to {}: {error}; the file keeps the one before",
                        self.path.display()
                    ));
                }
            }
        }
        self.written = Some(number);
    }

    /// The number of a peak that is not in the file, and its contents.
    fn new_peak(&mut self) -> Option<(u64, Vec<u8>)> {
        let mut number = None;
        let contents = bounded(|most| {
            let (new, mut peak) = with_ledger(|ledger, sampling| {
                let new = ledger.peaks();
                (self.written != Some(new)).then(|| (new, SavedPeak::of(ledger, sampling, &self.process, most)))
            })
            .flatten()?;
            // Files are read after the collector is free again.
            peak.images = self.images.with(&peak.addresses).to_vec();
            number = Some(new);
            Some(peak)
        })?;
        Some((number?, contents))
    }
}
