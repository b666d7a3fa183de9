//! A cache of debug information on disk, by build. Each file is written whole or not at all, and the oldest are removed
//! when all files together are too large.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::symbol_file::Contents;
use crate::debug_files::Identity;

/// The limit on all files together, in bytes.
const MAX_TOTAL: u64 = 512 << 20;

/// An unfinished file of this age belongs to a process that was killed.
const ABANDONED: Duration = Duration::from_secs(3600);

/// The extension of finished files.
const END: &str = "symbols";

/// The folder of one user.
#[derive(Clone, Debug)]
pub(crate) struct SymbolCache {
    folder: PathBuf,
    /// The owner that files must have.
    user: u32,
}

impl SymbolCache {
    /// Opens the folder of this user, and creates it where it is missing.
    ///
    /// # Errors
    /// A sentence, where there is no place for the folder or it belongs to another user.
    pub(crate) fn open(user: u32) -> Result<Self, String> {
        let variable = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let base = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
        let base = base.ok_or("there is no folder for a cache: neither XDG_CACHE_HOME nor HOME is set")?;
        Self::at(base.join("holdup"), user)
    }

    fn at(folder: PathBuf, user: u32) -> Result<Self, String> {
        let failed = |error: io::Error| format!("the cache {} cannot be used: {error}", folder.display());
        match DirBuilder::new().recursive(true).mode(0o700).create(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
            _ => {}
        }
        let metadata = fs::symlink_metadata(&folder).map_err(failed)?;
        if !metadata.is_dir() || metadata.uid() != user {
            return Err(format!("the cache {} is not used: it is not a folder of this user", folder.display()));
        }
        if metadata.mode() & 0o077 != 0 {
            fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).map_err(failed)?;
        }
        Ok(Self { folder, user })
    }

    fn path(&self, identity: &Identity) -> PathBuf {
        self.folder.join(format!("{}.{END}", identity.name()))
    }

    /// The cached contents for a program; `None` where there are none.
    ///
    /// # Errors
    /// A sentence, where the file cannot be trusted.
    pub(crate) fn load(&self, identity: &Identity) -> Result<Option<Contents>, String> {
        let path = self.path(identity);
        let ignored = |reason: &str| format!("{} in the cache was ignored: {reason}", path.display());
        let is_link = fs::symlink_metadata(&path).is_ok_and(|metadata| !metadata.is_file());
        let file = match File::open(&path) {
            _ if is_link => return Err(ignored("it is not a regular file")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(|error| ignored(&error.to_string()))?,
        };
        let metadata = file.metadata().map_err(|error| ignored(&error.to_string()))?;
        if metadata.uid() != self.user || metadata.mode() & 0o022 != 0 {
            return Err(ignored("it belongs to another user, or others may write to it"));
        }
        // Files are removed by the time of their last use, or of their creation where this call is refused.
        let _set = file.set_modified(SystemTime::now());
        Contents::read(file, identity).map(Some).map_err(|reason| ignored(&reason))
    }

    /// Stores the contents, and replaces an older file.
    ///
    /// # Errors
    /// A sentence, where the file cannot be written.
    pub(crate) fn store(&self, identity: &Identity, contents: &Contents) -> Result<(), String> {
        let path = self.path(identity);
        let part = self.folder.join(format!("{}.{}.part", identity.name(), std::process::id()));
        let write = || {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
            file.write_all(&contents.to_bytes()?)?;
            fs::rename(&part, &path)
        };
        let written = write().map_err(|error| format!("{} cannot be written: {error}", path.display()));
        if written.is_err() {
            let _may_be_missing = fs::remove_file(&part);
        }
        self.tidy(MAX_TOTAL);
        written
    }

    /// Removes the oldest files until the rest are not larger than `most` bytes together.
    fn tidy(&self, most: u64) {
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        let mut whole = Vec::new();
        for entry in entries.flatten() {
            let (path, Ok(metadata)) = (entry.path(), entry.metadata()) else { continue };
            let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            match path.extension().and_then(|end| end.to_str()) {
                Some(END) => whole.push((modified, metadata.len(), path)),
                Some("part") if modified.elapsed().is_ok_and(|age| age > ABANDONED) => {
                    let _gone = fs::remove_file(path);
                }
                _ => {}
            }
        }
        whole.sort();
        let mut total: u64 = whole.iter().map(|(_, size, _)| size).sum();
        for (_, size, path) in whole {
            if total <= most {
                break;
            }
            if fs::remove_file(path).is_ok() {
                total = total.saturating_sub(size);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::sys::Permissions;

    fn cache(name: &str) -> (SymbolCache, Identity) {
        let folder = std::env::temp_dir().join(format!("holdup-cache-{}-{name}", std::process::id()));
        let _there_was_none = fs::remove_dir_all(&folder);
        let identity = Identity::of(&std::env::current_exe().expect("it runs")).expect("it can be read");
        (SymbolCache::at(folder, Permissions::own().user).expect("it can be made"), identity)
    }

    fn mode(path: &std::path::Path) -> u32 {
        fs::metadata(path).expect("it is there").mode() & 0o777
    }

    #[test]
    fn what_is_kept_comes_back_and_is_nobody_elses() {
        let (cache, identity) = cache("kept");
        assert!(cache.load(&identity).expect("nothing is wrong").is_none());
        cache.store(&identity, &Contents::of(&identity, vec![1; 1000], Vec::new())).expect("it can be written");
        assert_eq!(cache.load(&identity).expect("it is whole").expect("it is there").types, [1; 1000]);
        assert_eq!((mode(&cache.folder), mode(&cache.path(&identity))), (0o700, 0o600));
        // Another user's files are not believed.
        let other = SymbolCache { folder: cache.folder.clone(), user: cache.user + 1 };
        assert!(other.load(&identity).is_err_and(|reason| reason.contains("another user")));
        assert!(SymbolCache::at(cache.folder.clone(), cache.user + 1).is_err());
        // Nor what leads elsewhere, nor what others could have written.
        let elsewhere = cache.folder.join("elsewhere");
        fs::rename(cache.path(&identity), &elsewhere).expect("it can be moved");
        symlink(&elsewhere, cache.path(&identity)).expect("a link can be made");
        assert!(cache.load(&identity).is_err());
        fs::rename(&elsewhere, cache.path(&identity)).expect("it can be moved");
        fs::set_permissions(cache.path(&identity), fs::Permissions::from_mode(0o666)).expect("it is ours");
        assert!(cache.load(&identity).is_err());
        fs::remove_dir_all(&cache.folder).expect("it is ours");
    }

    #[test]
    fn the_oldest_goes_when_there_is_too_much() {
        let (cache, identity) = cache("bounded");
        for (age, name) in [(30, "old"), (20, "older-used"), (10, "new")] {
            let path = cache.folder.join(format!("{name}.{END}"));
            fs::write(&path, vec![0; 1000]).expect("it can be written");
            let at = SystemTime::now() - Duration::from_secs(age);
            File::options().write(true).open(&path).and_then(|file| file.set_modified(at)).expect("it is ours");
        }
        let part = cache.folder.join("1.part");
        fs::write(&part, "x").expect("it can be written");
        let at = SystemTime::now() - 2 * ABANDONED;
        File::options().write(true).open(&part).and_then(|file| file.set_modified(at)).expect("it is ours");
        cache.tidy(2500);
        let left: Vec<bool> =
            ["old", "older-used", "new"].map(|name| cache.folder.join(format!("{name}.{END}")).exists()).to_vec();
        assert_eq!((left, part.exists()), (vec![false, true, true], false));
        cache.store(&identity, &Contents::of(&identity, vec![1], Vec::new())).expect("it can be written");
        fs::remove_dir_all(&cache.folder).expect("it is ours");
    }
}
