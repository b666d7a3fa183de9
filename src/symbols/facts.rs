//! Facts about a program or library: whether it contains Tokio, and its debug information. They come from texts that the
//! compiler leaves in well-known sections, without reading all of the file.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;

use memchr::memmem;
use object::read::{ReadCache, ReadRef};
use object::{Object, ObjectSection};

use crate::debug_files::{self, Links};
use crate::images::{Image, ObjectReader};
use crate::model::process::{DebugTier, ProgramFacts};
use crate::tokio_internals::symbols;

/// Larger sections are not searched. Those of real programs are far smaller.
const MAX_SECTION_BYTES: u64 = 1 << 30;

/// Versions of Tokio that are reported per file at most. A file may contain several.
const MAX_VERSIONS: usize = 8;

impl ProgramFacts {
    /// The facts of an image; the default for a file that cannot be read.
    pub(crate) fn of(image: &Image) -> Self {
        let Some(path) = &image.path else { return Self::default() };
        let Some(mut inside) = image.read(ReadFacts) else { return Self::default() };
        if inside.facts.debug < DebugTier::Full {
            let beside = inside.links.find(path).found;
            for candidate in beside.into_iter().chain([debug_files::package(path)]) {
                let tier = tier_of(&candidate).filter(|tier| *tier > inside.facts.debug);
                if let Some(tier) = tier {
                    inside.facts.debug = tier;
                    inside.facts.debug_file = Some(candidate.to_string_lossy().into_owned());
                }
            }
        }
        inside.facts
    }
}

fn tier_of(path: &Path) -> Option<DebugTier> {
    let cache = ReadCache::new(File::open(path).ok()?);
    Some(debug_tier(&object::File::parse(&cache).ok()?))
}

/// Reads the facts that are in the file itself.
struct ReadFacts;

struct FileFacts {
    facts: ProgramFacts,
    links: Links,
}

impl ObjectReader for ReadFacts {
    type Output = FileFacts;

    fn read<'d, R: ReadRef<'d>>(self, file: &object::File<'d, R>) -> FileFacts {
        let texts = section(file, ".rodata").unwrap_or_default();
        let versions = versions_in(texts);
        let names_workers = symbols::WORKER_THREADS.iter().any(|name| memmem::find(texts, name.as_bytes()).is_some());
        let is_runtime = |names: &[u8]| memmem::find(names, symbols::RUNTIME.as_bytes()).is_some();
        let has_symbols = || section(file, ".strtab").is_some_and(is_runtime);
        let facts = ProgramFacts {
            tokio: !versions.is_empty() || names_workers || has_symbols(),
            versions,
            debug: debug_tier(file),
            debug_file: None,
        };
        FileFacts { facts, links: Links::of(file) }
    }
}

fn section<'d, R: ReadRef<'d>>(file: &object::File<'d, R>, name: &str) -> Option<&'d [u8]> {
    let section = file.section_by_name(name).filter(|section| section.size() <= MAX_SECTION_BYTES)?;
    section.data().ok()
}

/// Async functions have a hidden variable `__awaitee`. Its name is present if types are described. Compressed sections count
/// as line tables.
fn debug_tier<'d, R: ReadRef<'d>>(file: &object::File<'d, R>) -> DebugTier {
    let has = |name: &str| file.section_by_name(name).is_some_and(|section| section.size() > 0);
    let names = [".debug_str", ".debug_str.dwo"].iter().filter_map(|name| section(file, name));
    if names.into_iter().any(|names| memmem::find(names, b"__awaitee").is_some()) {
        DebugTier::Full
    } else if has(".debug_line") || has(".debug_line.dwo") {
        DebugTier::Lines
    } else if has(".symtab") {
        DebugTier::Symbols
    } else {
        DebugTier::None
    }
}

/// The versions of Tokio in the source paths of its panic messages.
fn versions_in(texts: &[u8]) -> Vec<String> {
    let mut versions = BTreeSet::new();
    for found in memmem::find_iter(texts, symbols::SOURCE_FOLDER) {
        let rest = &texts[found + symbols::SOURCE_FOLDER.len()..];
        let end = rest.iter().take(32).position(|byte| *byte == b'/');
        let version = end.and_then(|end| std::str::from_utf8(&rest[..end]).ok());
        let is_version = |text: &&str| text.starts_with(|c: char| c.is_ascii_digit()) && text.contains('.');
        if let Some(version) = version.filter(is_version) {
            versions.insert(version.to_owned());
        }
        if versions.len() >= MAX_VERSIONS {
            break;
        }
    }
    versions.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::Images;
    use crate::sys::Process;

    #[test]
    fn versions_are_read_from_paths() {
        let texts =
            b"/registry/src/index/tokio-1.54.1/src/a.rs/x/tokio-util-0.7.1/src/b.rs/x/tokio-1.35.0/src/c.rs/tokio-";
        assert_eq!(versions_in(texts), ["1.35.0", "1.54.1"]);
        assert_eq!(versions_in(b"/tokio-stream/src"), [""; 0]);
    }

    #[test]
    fn this_test_program_holds_tokio_and_can_be_named() {
        let mut images = Images::of(Process::own());
        images.load_new().expect("/proc is mounted");
        let facts = ProgramFacts::of(images.program().expect("it runs"));
        assert!(facts.tokio && facts.debug >= DebugTier::Symbols, "{facts:?}");
        assert!(facts.versions.iter().any(|version| version.starts_with("1.")), "{facts:?}");
        let libc = images.all().iter().find(|image| image.name.starts_with("libc.so")).expect("it is linked");
        assert!(!ProgramFacts::of(libc).tokio);
    }
}
