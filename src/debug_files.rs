//! Separate files with the debug information of a program or library.
//!
//! The search follows gdb ("Debugging Information in Separate Files" in its manual), and includes places where people put
//! such files by hand. A file is used only if its build id, or the checksum in the program, proves that it belongs to the
//! program. Other files are refused with a reason.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use object::read::ReadCache;
use object::{Object, ObjectSection};

/// The folder in which distributions put debug files.
const DEBUG_FOLDER: &str = "/usr/lib/debug";

/// Bytes of a file that are read for its checksum at most.
const MAX_FILE_BYTES: u64 = 64 << 30;

/// A program's references to its debug files.
#[derive(Clone, Debug, Default)]
pub(crate) struct Links {
    /// The name and the checksum of its debug file.
    link: Option<(Vec<u8>, u32)>,
    pub(crate) build_id: Option<Vec<u8>>,
}

/// The debug files of a program, and files that were found but do not belong to it.
#[derive(Clone, Debug, Default)]
pub(crate) struct DebugFiles {
    /// Debug files, the most likely first.
    pub(crate) found: Vec<PathBuf>,
    /// Refused files with the reason, as sentences.
    pub(crate) refused: Vec<String>,
}

impl Links {
    /// The build id alone.
    #[cfg(feature = "cli")]
    pub(crate) fn of_build(id: Vec<u8>) -> Self {
        Self { link: None, build_id: Some(id) }
    }

    /// The references in an object file.
    pub(crate) fn of<'d, R: object::ReadRef<'d>>(file: &object::File<'d, R>) -> Self {
        let link = file.gnu_debuglink().ok().flatten().map(|(name, sum)| (name.to_vec(), sum));
        Self { link, build_id: file.build_id().ok().flatten().map(<[u8]>::to_vec) }
    }

    /// The references in the file at a path.
    ///
    /// # Errors
    /// When it cannot be read or is not an object file.
    pub(crate) fn read(path: &Path) -> io::Result<Self> {
        let cache = ReadCache::new(File::open(path)?);
        let file = object::File::parse(&cache).map_err(io::Error::other)?;
        Ok(Self::of(&file))
    }

    /// The debug files of the program at this path.
    pub(crate) fn find(&self, program: &Path) -> DebugFiles {
        let mut files = DebugFiles::default();
        let mut visited = Vec::new();
        for candidate in self.candidates(program) {
            let Ok(path) = candidate.canonicalize() else { continue };
            let is_program = program.canonicalize().is_ok_and(|program| program == path);
            if is_program || !path.is_file() || visited.contains(&path) {
                continue;
            }
            match self.refuse(&candidate) {
                None => files.found.push(candidate),
                Some(why) => files.refused.push(format!("{} is not used: {why}", candidate.display())),
            }
            visited.push(path);
        }
        files
    }

    fn candidates(&self, program: &Path) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let folder = program.parent().unwrap_or(Path::new("/"));
        if let Some([first, rest @ ..]) = self.build_id.as_deref() {
            let rest: String = rest.iter().map(|byte| format!("{byte:02x}")).collect();
            let name = format!(".build-id/{first:02x}/{rest}.debug");
            files.extend([Path::new(DEBUG_FOLDER), folder].map(|root| root.join(&name)));
        }
        let name = program.file_name().unwrap_or_default().to_owned();
        let mut names: Vec<OsString> = Vec::new();
        names.extend(self.link.as_ref().map(|(name, _)| OsString::from_vec(name.clone())));
        let mut with_end = name.clone();
        with_end.push(".debug");
        names.extend([with_end, name]);
        let below = folder.strip_prefix("/").unwrap_or(folder);
        let folders = [folder.to_owned(), folder.join(".debug"), Path::new(DEBUG_FOLDER).join(below)];
        files.extend(names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name))));
        files
    }

    /// Why a file does not belong to the program; `None` if it does.
    fn refuse(&self, candidate: &Path) -> Option<String> {
        let other = match Self::read(candidate) {
            Ok(other) => other,
            Err(error) => return Some(format!("it cannot be read: {error}")),
        };
        match (&self.build_id, &other.build_id, &self.link) {
            (Some(own), Some(other), _) if own == other => None,
            (Some(own), Some(other), _) => Some(format!(
                "it belongs to another build (build id {} instead of {})",
                hexadecimal(other),
                hexadecimal(own)
            )),
            (_, _, Some((_, sum))) => match checksum(candidate) {
                Ok(found) if found == *sum => None,
                Ok(_) => Some("its checksum differs from the one in the program".to_owned()),
                Err(error) => Some(format!("it cannot be read: {error}")),
            },
            _ => Some("it has no build id, so it may not belong to the program; link with -Wl,--build-id".to_owned()),
        }
    }
}

/// The file with the most debug information for a program: its own file or a debug file. The second value has the refused
/// files if no debug file was found.
///
/// # Errors
/// When the program's own file cannot be read.
pub(crate) fn best(program: &Path) -> io::Result<(PathBuf, Vec<String>)> {
    let own = amount(program)?;
    let files = Links::read(program)?.find(program);
    let other = files.found.into_iter().filter_map(|path| Some((amount(&path).ok()?, path)));
    let other = other.filter(|(amount, _)| *amount > own).max_by_key(|(amount, _)| *amount);
    Ok(match other {
        Some((_, path)) => (path, Vec::new()),
        None => (program.to_owned(), files.refused),
    })
}

/// Bytes of debug information in a file.
fn amount(path: &Path) -> io::Result<u64> {
    let cache = ReadCache::new(File::open(path)?);
    let file = object::File::parse(&cache).map_err(io::Error::other)?;
    Ok([".debug_info", ".debug_line"]
        .iter()
        .filter_map(|name| file.section_by_name(name)?.compressed_file_range().ok())
        .map(|range| range.uncompressed_size)
        .sum())
}

/// The path of a program's package of split debug information. The linker or `dwp` creates it beside the program.
pub(crate) fn package(program: &Path) -> PathBuf {
    let mut package = program.as_os_str().to_owned();
    package.push(".dwp");
    package.into()
}

/// The identity of a build of a program, stripped or not: its build id, or the length and checksum of its code without one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity(Vec<u8>);

impl Identity {
    /// The identity of the file at a path.
    ///
    /// # Errors
    /// When it cannot be read or is not a program.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        let cache = ReadCache::new(File::open(path)?);
        let file = object::File::parse(&cache).map_err(io::Error::other)?;
        if let Some(id) = file.build_id().ok().flatten() {
            return Ok(Self([b"build-id", id].concat()));
        }
        let code = file.section_by_name(".text").and_then(|section| section.data().ok());
        let code = code.ok_or_else(|| io::Error::other("it has neither a build id nor code"))?;
        let (length, sum) = (code.len().to_le_bytes(), crc32fast::hash(code).to_le_bytes());
        Ok(Self([&b"code"[..], &length, &sum].concat()))
    }

    /// The identity as bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The identity as part of a file name.
    pub(crate) fn name(&self) -> String {
        hexadecimal(self.0.strip_prefix(b"build-id").unwrap_or(&self.0))
    }
}

/// A build id in hexadecimal.
pub(crate) fn hexadecimal(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// CRC-32 of a whole file, as `objcopy --add-gnu-debuglink` computes it.
fn checksum(path: &Path) -> io::Result<u32> {
    let mut file = File::open(path)?.take(MAX_FILE_BYTES);
    let (mut hasher, mut bytes) = (crc32fast::Hasher::new(), vec![0; 1 << 16]);
    loop {
        match file.read(&mut bytes)? {
            0 => return Ok(hasher.finalize()),
            length => hasher.update(bytes.get(..length).unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_includes_the_folders_of_gdb() {
        let links = Links { link: Some((b"app.dbg".to_vec(), 0)), build_id: Some(vec![0xab, 0xcd, 0x01]) };
        let found = links.candidates(Path::new("/opt/app/bin/app"));
        for path in [
            "/usr/lib/debug/.build-id/ab/cd01.debug",
            "/opt/app/bin/.build-id/ab/cd01.debug",
            "/opt/app/bin/app.dbg",
            "/opt/app/bin/.debug/app.dbg",
            "/usr/lib/debug/opt/app/bin/app.dbg",
            "/opt/app/bin/app.debug",
            "/opt/app/bin/.debug/app",
        ] {
            assert!(found.iter().any(|candidate| candidate == Path::new(path)), "{path} is not in {found:?}");
        }
    }

    #[test]
    fn programs_have_an_identity() {
        let own = std::env::current_exe().expect("it runs");
        assert_eq!(Identity::of(&own).expect("it can be read"), Identity::of(&own).expect("it can be read"));
        assert!(Identity::of(Path::new("/proc/self/status")).is_err());
    }

    #[test]
    fn files_of_other_programs_are_refused() {
        let links = Links { link: None, build_id: Some(vec![1, 2]) };
        assert!(links.refuse(Path::new("/proc/self/exe")).is_some(), "another build id, or none");
        assert!(links.refuse(Path::new("/proc/self/status")).is_some_and(|why| why.contains("cannot be read")));
        assert!(links.find(Path::new("/nowhere/app")).found.is_empty());
    }
}
