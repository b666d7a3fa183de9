//! A file that keeps the peak. It is written and not mapped: with a full disk, a write fails, and an access to mapped memory
//! would end the service.

use std::fmt;
use std::fs::{File, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::halves::{self, FILE, FileError};
use super::saved::SavedPeak;
use crate::sys;

/// A file of this process.
#[derive(Debug)]
pub(super) struct PeakFile {
    file: File,
    /// That of the newest half.
    sequence: u64,
}

/// Why a file cannot keep the peak.
#[derive(Debug)]
pub(super) enum OpenError {
    Link,
    NoFile,
    Foreign,
    InUse,
    Limited,
    NotMoved(PathBuf, io::Error),
    Io(io::Error),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link => f.write_str("it is a symbolic link; give the path of a file"),
            Self::NoFile => f.write_str("it is no regular file"),
            Self::Foreign => f.write_str("it holds something else; remove it, or give another path"),
            Self::InUse => f.write_str("another process keeps its peak there; give each process its own file"),
            Self::Limited => write!(f, "the size of files is limited (ulimit -f), and {} MiB are needed", FILE >> 20),
            Self::NotMoved(to, error) => {
                write!(f, "the peak of an earlier process cannot be moved to {}: {error}", to.display())
            }
            Self::Io(error) => write!(f, "{error}"),
        }
    }
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The path for the peak of an earlier process.
pub(super) fn previous(path: &Path) -> PathBuf {
    let mut previous = path.as_os_str().to_owned();
    previous.push(".previous");
    previous.into()
}

impl PeakFile {
    /// Opens the file, and reserves its room on the disk. The peak of an earlier process, which may have crashed, is moved
    /// aside. `run` is the number of this process.
    pub(super) fn open(path: &Path, run: u64) -> Result<Self, OpenError> {
        if sys::file_size_limit() < FILE as u64 {
            return Err(OpenError::Limited);
        }
        let mut file = locked(path)?;
        let mut bytes = Vec::new();
        (&mut file).take(FILE as u64 + 1).read_to_end(&mut bytes)?;
        let mut sequence = 0;
        match halves::newest(&bytes) {
            Ok((newest, contents)) => match SavedPeak::read(contents) {
                Some(peak) if peak.run == run => return Ok(Self { file, sequence: newest }),
                Some(peak) if !peak.is_empty() => {
                    let to = previous(path);
                    std::fs::rename(path, &to).map_err(|error| OpenError::NotMoved(to, error))?;
                    // Whoever opens the new file first has it. The lock of the old one is held until then.
                    let new = locked(path)?;
                    drop(std::mem::replace(&mut file, new));
                }
                _ => sequence = newest,
            },
            Err(FileError::Foreign) if !bytes.is_empty() => return Err(OpenError::Foreign),
            Err(_) => {}
        }
        if let Err(error) = reserve(&file) {
            // Nobody wants a part of a file, least of all on a full disk.
            let _stays = std::fs::remove_file(path);
            return Err(error.into());
        }
        Ok(Self { file, sequence })
    }

    /// Writes a peak over the older half. After an error, the newer half is still whole.
    pub(super) fn write(&mut self, contents: &[u8]) -> io::Result<()> {
        let next = self.sequence + 1;
        self.file.write_all_at(&halves::half(next, contents), halves::position(next))?;
        self.sequence = next;
        Ok(())
    }
}

/// Fills the file with zeros, so that later writes find room also on a full disk.
fn reserve(file: &File) -> io::Result<()> {
    const ZEROS: &[u8] = &[0; 64 << 10];
    (0..FILE).step_by(ZEROS.len()).try_for_each(|at| file.write_all_at(ZEROS, at as u64))
}

/// Opens and locks a file. The lock ends with the process, however it ends.
fn locked(path: &Path) -> Result<File, OpenError> {
    if std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink()) {
        return Err(OpenError::Link);
    }
    let file = sys::open_kept_file(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(OpenError::NoFile);
    }
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => OpenError::InUse,
        TryLockError::Error(error) => error.into(),
    })?;
    // Another process may have moved the file aside before the lock.
    let is_there =
        std::fs::symlink_metadata(path).is_ok_and(|now| (now.dev(), now.ino()) == (metadata.dev(), metadata.ino()));
    if is_there { Ok(file) } else { Err(OpenError::InUse) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("holdup-peak-{name}-{}", std::process::id()));
        let _not_there = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("it is writable");
        folder
    }

    /// What a reader would see.
    fn contents(path: &Path) -> Vec<u8> {
        halves::newest(&std::fs::read(path).expect("it is there")).expect("it is whole").1.to_vec()
    }

    fn refused(path: &Path) -> String {
        PeakFile::open(path, 1).expect_err("it is refused").to_string()
    }

    #[test]
    fn a_full_disk_leaves_the_last_peak() {
        let folder = folder("full");
        let path = folder.join("peak");
        let mut file = PeakFile::open(&path, 1).expect("it is new");
        assert_eq!(std::fs::metadata(&path).expect("it is there").len(), FILE as u64, "its room is reserved");
        file.write(b"first").expect("there is room");
        let full = File::options().write(true).open("/dev/full").expect("Linux has it");
        let disk = std::mem::replace(&mut file.file, full);
        assert_eq!(file.write(b"second").expect_err("it is full").kind(), io::ErrorKind::StorageFull);
        file.file = disk;
        assert_eq!(contents(&path), b"first");
        file.write(b"third").expect("there is room again");
        assert_eq!(contents(&path), b"third");
        std::fs::remove_dir_all(folder).expect("it is ours");
    }

    #[test]
    fn a_peak_of_an_earlier_process_is_moved_aside() {
        let folder = folder("earlier");
        let path = folder.join("peak");
        let written = |run: u64, samples: u64| {
            let peak = SavedPeak::of_samples(run, samples);
            let bytes = peak.to_bytes();
            PeakFile::open(&path, run).and_then(|mut file| Ok(file.write(&bytes)?)).expect("it is written");
            bytes
        };
        let crashed = written(1, 5);
        assert!(!previous(&path).exists());
        let now = written(2, 7);
        assert_eq!((contents(&path), contents(&previous(&path))), (now.clone(), crashed.clone()));
        let same = written(2, 8);
        assert_eq!((contents(&path), contents(&previous(&path))), (same.clone(), crashed), "the same process goes on");
        written(3, 0);
        assert_eq!(contents(&previous(&path)), same);
        written(4, 0);
        assert_eq!(contents(&previous(&path)), same, "a process without a peak replaces none");
        std::fs::remove_dir_all(folder).expect("it is ours");
    }

    #[test]
    fn what_is_no_file_of_ours_is_left_alone() {
        let folder = folder("other");
        let at = |name: &str| folder.join(name);
        std::fs::write(at("notes"), "important").expect("it is writable");
        std::os::unix::fs::symlink(at("notes"), at("link")).expect("it is writable");
        assert!(refused(&at("notes")).contains("holds something else"));
        assert!(refused(&at("link")).contains("symbolic link"));
        assert_eq!(std::fs::read(at("notes")).expect("it is there"), b"important");
        assert!(refused(Path::new("/dev/null")).contains("no regular file"));
        assert!(refused(&folder).contains("directory"));
        assert!(refused(&at("none/peak")).contains("No such file"));
        let _used = PeakFile::open(&at("peak"), 1).expect("it is new");
        assert!(refused(&at("peak")).contains("another process keeps its peak there"));
        std::fs::remove_dir_all(folder).expect("it is ours");
    }
}
