//! jemalloc's own profile. A program that samples with jemalloc gives [`dump`] to `WatchBuilder::jemalloc_profile`.

#![allow(unsafe_code, reason = "jemalloc's interface takes addresses")]

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::{fs, io};

/// The text of jemalloc's profile. jemalloc writes it to a file, because its interface has no other way.
///
/// # Errors
/// If jemalloc's profiling is off, or if the file cannot be written or read.
pub fn dump() -> io::Result<Vec<u8>> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let file = std::env::temp_dir().join(format!("jemalloc.{}.{number}.heap", std::process::id()));
    let path = CString::new(file.as_os_str().as_bytes())?;
    // SAFETY: `prof.dump` reads the address of a path that ends with 0, and keeps it no longer than the call.
    unsafe { tikv_jemalloc_ctl::raw::write(b"prof.dump\0", path.as_ptr()) }
        .map_err(|error| io::Error::other(error.to_string()))?;
    let text = fs::read(&file);
    fs::remove_file(&file)?;
    text
}

/// Begins or ends jemalloc's sampling. Its option `prof` has to be on.
///
/// # Errors
/// If it is not.
pub fn sample(active: bool) -> io::Result<()> {
    // SAFETY: `prof.active` is a `bool`.
    unsafe { tikv_jemalloc_ctl::raw::write(b"prof.active\0", active) }
        .map_err(|error| io::Error::other(error.to_string()))
}
