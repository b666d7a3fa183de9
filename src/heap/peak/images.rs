//! The programs and libraries that addresses of stacks lie in, with what identifies their builds.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::images::{Image, Images};
use crate::sys::Process;

/// Between two searches for an address that lies in no known image, such as that of generated code.
const SEARCH_INTERVAL: Duration = Duration::from_secs(1);

/// A program or library at the time of the peak.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SavedImage {
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// An address in memory minus the address in the file.
    pub(crate) bias: u64,
    pub(crate) name: String,
    /// Empty for the vDSO, which has no file.
    pub(crate) path: String,
    /// In hexadecimal.
    pub(crate) build_id: Option<String>,
    /// Size and modification time of its file, which identify it without a build id.
    pub(crate) file: (u64, i64),
    pub(crate) program: bool,
}

/// Size in bytes and modification time in nanoseconds.
pub(crate) fn file_facts(path: &Path) -> Option<(u64, i64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.len(), metadata.mtime().wrapping_mul(1_000_000_000).wrapping_add(metadata.mtime_nsec())))
}

impl SavedImage {
    fn of(image: &Image) -> Self {
        let path = image.path.as_deref();
        Self {
            start: image.range.start,
            end: image.range.end,
            bias: image.bias,
            name: image.name.to_string(),
            path: path.map(|path| path.to_string_lossy().into_owned()).unwrap_or_default(),
            build_id: image.build_id(),
            file: path.and_then(file_facts).unwrap_or_default(),
            program: image.program,
        }
    }

    pub(crate) fn contains(&self, address: u64) -> bool {
        (self.start..self.end).contains(&address)
    }
}

/// The images of our own process. Each file is read once.
#[derive(Debug)]
pub(super) struct KnownImages {
    images: Images,
    saved: Vec<SavedImage>,
    searched: Option<Instant>,
}

impl KnownImages {
    /// Those that are loaded now. It reads their files, which takes longer than a peak may wait.
    pub(super) fn load() -> Self {
        let mut known = Self { images: Images::of(Process::own()), saved: Vec::new(), searched: None };
        known.search();
        known
    }

    fn search(&mut self) {
        if let Ok(new) = self.images.load_new() {
            self.saved.extend(new.iter().map(SavedImage::of));
        }
    }

    /// All images, after a search if one of the addresses lies in none of them.
    pub(super) fn with(&mut self, addresses: &[u64]) -> &[SavedImage] {
        let is_unknown = |address: &u64| !self.saved.iter().any(|image| image.contains(*address));
        let may_search = self.searched.is_none_or(|searched| searched.elapsed() >= SEARCH_INTERVAL);
        if may_search && addresses.iter().any(is_unknown) {
            self.searched = Some(Instant::now());
            self.search();
        }
        &self.saved
    }
}
