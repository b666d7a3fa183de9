//! `sync-read`: writes a file, waits for the disk, and reads it back, all on the worker.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Instant,
};

use super::{Commit, HELD};

const ARCHIVE_BYTES: usize = 4 * 1024 * 1024;

pub(super) fn arm() -> io::Result<Commit> {
    let archive = vec![b'n'; ARCHIVE_BYTES];
    let next = AtomicU64::new(0);
    let folder = std::env::temp_dir();
    Ok(Box::new(move |_| {
        let file = own_name(&folder, next.fetch_add(1, Relaxed));
        read_with_fsync_in_handler(&file, &archive)?;
        Ok(())
    }))
}

/// A unique file name.
fn own_name(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("news_pipeline-{}-{number}.archive", process::id()))
}

// Not inlined, because the report must name it. It repeats until enough time has passed, because a
// fast disk or a tmpfs takes only a few milliseconds.
#[inline(never)]
fn read_with_fsync_in_handler(path: &Path, archive: &[u8]) -> io::Result<usize> {
    let started = Instant::now();
    let mut page = [0; 16 * 1024];
    let mut read_back = 0;
    while started.elapsed() < HELD {
        let mut file = File::options().read(true).write(true).create_new(true).open(path)?;
        // Unlinked at once, so that no file remains after the process ends.
        fs::remove_file(path)?;
        file.write_all(archive)?;
        file.sync_all()?;
        file.rewind()?;
        loop {
            match file.read(&mut page)? {
                0 => break,
                bytes => read_back += bytes,
            }
        }
    }
    Ok(read_back)
}
