//! `lock`: a handler waits for a std Mutex that another thread holds while it does something slow.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use super::Commit;

/// How long the writer holds the lock, and the pause in between. So a handler nearly always waits, on average for
/// half of the hold.
const WRITING: Duration = Duration::from_millis(100);
const RESTING: Duration = Duration::from_millis(20);

/// Number of articles in the archive.
type Archive = Arc<Mutex<u64>>;

pub(super) fn arm() -> io::Result<Commit> {
    let archive = Archive::default();
    let for_writer = Arc::clone(&archive);
    thread::Builder::new().name("archive-writer".to_owned()).spawn(move || {
        loop {
            write_archive(&for_writer);
            thread::sleep(RESTING);
        }
    })?;
    Ok(Box::new(move |_| {
        wait_for_archive_lock(&archive);
        Ok(())
    }))
}

/// The sleep simulates a slow disk. The mistake is to hold the lock meanwhile.
fn write_archive(archive: &Archive) {
    let mut articles = archive.lock().unwrap_or_else(PoisonError::into_inner);
    thread::sleep(WRITING);
    *articles += 1;
}

// Not inlined, because the report must name it.
#[inline(never)]
fn wait_for_archive_lock(archive: &Archive) -> u64 {
    *archive.lock().unwrap_or_else(PoisonError::into_inner)
}
