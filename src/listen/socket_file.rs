//! A Unix socket that only the user of this process may connect to.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Names that are tried for a folder of our own. A process that was killed may have left one.
const NAMES: u32 = 16;

/// The file of a socket that listens. It is removed on drop.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
}

impl SocketFile {
    /// Listens on a socket with this path. A socket on which nobody listens any more is replaced; no other file is.
    ///
    /// Between `bind` and `chmod` anybody could connect. So both happen in a folder that only this user may enter.
    ///
    /// # Errors
    /// `AddrInUse` while somebody listens there, `AlreadyExists` for a file that is no socket, and those of the system.
    pub(crate) fn bind(path: &Path) -> io::Result<(UnixListener, Self)> {
        let path = std::path::absolute(path)?;
        check_place(&path)?;
        let folder = PrivateFolder::beside(&path)?;
        let inside = folder.socket();
        let listener = UnixListener::bind(&inside)?;
        listener.set_nonblocking(true)?;
        fs::set_permissions(&inside, Permissions::from_mode(0o600))?;
        let identity = identity(&inside)?;
        fs::rename(&inside, &path)?;
        Ok((listener, Self { path, identity }))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Another process may have replaced it.
        if identity(&self.path).is_ok_and(|found| found == self.identity) {
            let _gone_already = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

/// Whether a socket may take this path.
fn check_place(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(found) if !found.file_type().is_socket() => {
            Err(io::Error::new(ErrorKind::AlreadyExists, "a file that is no socket has this name"))
        }
        Ok(_) if is_stale(path)? => Ok(()),
        Ok(_) => Err(ErrorKind::AddrInUse.into()),
    }
}

/// Whether nobody listens on a socket. A socket of another type asks: it is refused either way, and never waits as a
/// connection to a stuck process would.
fn is_stale(path: &Path) -> io::Result<bool> {
    match UnixDatagram::unbound()?.connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(true),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(error),
        Err(_) | Ok(()) => Ok(false),
    }
}

/// A folder that only this user may enter, removed on drop.
struct PrivateFolder(PathBuf);

impl PrivateFolder {
    fn beside(path: &Path) -> io::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let parent = path.parent().unwrap_or(path);
        let mut last = io::Error::from(ErrorKind::AlreadyExists);
        for _ in 0..NAMES {
            let name = format!(".holdup-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
            let folder = parent.join(name);
            match DirBuilder::new().mode(0o700).create(&folder) {
                Ok(()) => return Ok(Self(folder)),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    /// The path of the socket in it. It is short, because the system allows about 100 bytes.
    fn socket(&self) -> PathBuf {
        self.0.join("s")
    }
}

impl Drop for PrivateFolder {
    fn drop(&mut self) {
        let _moved_away = fs::remove_file(self.socket());
        let _is_used = fs::remove_dir(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    /// An empty folder, removed on drop.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("holdup-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).expect("a folder of our own");
            Self(path)
        }

        fn files(&self) -> usize {
            fs::read_dir(&self.0).expect("it exists").count()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _gone = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn only_the_owner_may_connect_and_nothing_is_left() {
        let folder = Folder::new("socket-mode");
        let path = folder.0.join("my.sock");
        let (listener, file) = SocketFile::bind(&path).expect("it listens");
        assert_eq!(fs::metadata(&path).expect("it exists").mode() & 0o777, 0o600);
        assert_eq!((folder.files(), file.path()), (1, path.as_path()));
        UnixStream::connect(&path).expect("it listens under its new name");
        drop((listener, file));
        assert_eq!(folder.files(), 0);
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let folder = Folder::new("socket-stale");
        let path = folder.0.join("my.sock");
        drop(UnixListener::bind(&path).expect("it listens"));
        assert!(path.exists(), "the standard library leaves it");
        let (_listener, file) = SocketFile::bind(&path).expect("nobody listens there");
        let error = SocketFile::bind(&path).expect_err("somebody listens there");
        assert_eq!(error.kind(), ErrorKind::AddrInUse, "{error}");
        UnixStream::connect(&path).expect("the first one still listens");
        // What has taken the name since then belongs to somebody else.
        fs::remove_file(&path).expect("it is ours");
        fs::write(&path, "theirs").expect("is written");
        drop(file);
        assert!(path.exists());
    }

    #[test]
    fn other_files_stay() {
        let folder = Folder::new("socket-file");
        let (file, link, missing) = (folder.0.join("file"), folder.0.join("link"), folder.0.join("none/my.sock"));
        fs::write(&file, "data").expect("is written");
        std::os::unix::fs::symlink(&file, &link).expect("is made");
        for path in [&file, &link, &folder.0] {
            let error = SocketFile::bind(path).expect_err("it is no socket");
            assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{}: {error}", path.display());
        }
        assert_eq!(SocketFile::bind(&missing).expect_err("no folder").kind(), ErrorKind::NotFound);
        assert_eq!(fs::read_to_string(&link).expect("it is whole"), "data");
        assert_eq!(folder.files(), 2);
    }
}
