//! The programs and libraries in a process's address space. Unwinding and symbolizing read them.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use object::read::{ReadCache, ReadRef};
use object::{Object, ObjectSection, ObjectSegment, ObjectSymbol};

use crate::model::remedy::BuildNames;
use crate::sys::{Mapping, Process};

/// Images without a file are read from memory up to this size. The vDSO has some pages.
const MAX_MEMORY: u64 = 1 << 20;

/// One program or library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Image {
    /// The process that has loaded it.
    process: Process,
    /// Its addresses in memory.
    pub(crate) range: Range<u64>,
    /// An address in memory minus the address in the file.
    pub(crate) bias: u64,
    /// The name to show: the file name, or `[vdso]`.
    pub(crate) name: Arc<str>,
    /// The path at which its file can be opened; `None` for the vDSO, which has no file.
    pub(crate) path: Option<PathBuf>,
    /// Whether it is the program itself.
    pub(crate) program: bool,
}

/// The images that a process has loaded.
#[derive(Debug)]
pub(crate) struct Images {
    process: Process,
    list: Vec<Image>,
}

impl Images {
    /// An empty list.
    pub(crate) fn of(process: Process) -> Self {
        Self { process, list: Vec::new() }
    }

    /// Those that an ended process had loaded.
    #[cfg(feature = "cli")]
    pub(crate) fn of_ended(list: Vec<Image>) -> Self {
        Self { process: Process::ended(), list }
    }

    /// The process.
    pub(crate) fn process(&self) -> Process {
        self.process
    }

    /// The image that contains an address.
    pub(crate) fn find(&self, address: u64) -> Option<&Image> {
        self.list.iter().find(|image| image.range.contains(&address))
    }

    /// All images.
    pub(crate) fn all(&self) -> &[Image] {
        &self.list
    }

    /// The program's image.
    pub(crate) fn program(&self) -> Option<&Image> {
        self.list.iter().find(|image| image.program)
    }

    /// Adds newly loaded images and returns them. Unloaded images stay; their addresses are on no stack.
    ///
    /// A library that was replaced on disk after it was loaded is left out, because its file does not match.
    ///
    /// # Errors
    /// When the list of mappings cannot be read.
    pub(crate) fn load_new(&mut self) -> io::Result<&[Image]> {
        let before = self.list.len();
        let mappings = self.process.mappings()?;
        for (position, mapping) in mappings.iter().enumerate().filter(|(_, mapping)| mapping.executable) {
            if self.find(mapping.start).is_none() {
                self.list.extend(describe(self.process, mapping, extent(position, &mappings)));
            }
        }
        Ok(&self.list[before..])
    }
}

/// The addresses of the image that an executable mapping belongs to: neighboring mappings of the same file, in the order of
/// the file. The file may be mapped a second time, from its beginning, by a reader of its debug information.
fn extent(position: usize, all: &[Mapping]) -> Range<u64> {
    let executable = &all[position];
    let (mut first, mut last) = (executable, executable);
    for before in all[..position].iter().rev() {
        if before.file != executable.file || before.path != executable.path || before.offset >= first.offset {
            break;
        }
        first = before;
    }
    for after in &all[position + 1..] {
        if after.file != executable.file || after.path != executable.path || after.offset < last.offset.max(1) {
            break;
        }
        last = after;
    }
    first.start..last.end
}

fn describe(process: Process, mapping: &Mapping, range: Range<u64>) -> Option<Image> {
    let vdso = mapping.path == "[vdso]";
    if !vdso && !mapping.path.starts_with('/') {
        return None;
    }
    let program = !vdso && is_program(process, mapping);
    let path = if vdso { None } else { Some(path_of(process, mapping)?) };
    let mut image = Image { process, range, bias: 0, name: file_name(&mapping.path), path, program };
    // The lowest loadable segment lies at the start of the image, rounded down to a page.
    let first = image.read(LowestSegment)?? & !0xfff;
    image.bias = image.range.start.wrapping_sub(first);
    Some(image)
}

/// The path at which a mapped file can be opened. Its own path comes first, because separate debug files lie beside it. The
/// next is the path inside the process's root, then the kernel's links, which also reach deleted files. Only privileged
/// users may open the links to libraries.
fn path_of(process: Process, mapping: &Mapping) -> Option<PathBuf> {
    let own = PathBuf::from(&mapping.path);
    let inside = || process.file("root").join(mapping.path.trim_start_matches('/'));
    let link = || process.file(&format!("map_files/{:x}-{:x}", mapping.start, mapping.end));
    let program = || process.file("exe");
    let all: [&dyn Fn() -> PathBuf; 4] = [&|| own.clone(), &inside, &program, &link];
    all.iter().map(|path| path()).find(|path| is_file(path, mapping))
}

/// Whether the file at a path is the mapped one. The device is not compared, because the list of mappings and `stat` differ
/// on overlayfs (containers) and btrfs. A file that replaced the mapped one has another inode, because both exist.
fn is_file(path: &Path, mapping: &Mapping) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.ino() == mapping.file.1)
}

/// Whether a mapping belongs to the started program, even if a new file lies at its path.
fn is_program(process: Process, mapping: &Mapping) -> bool {
    let link = process.file("exe");
    let named =
        || std::fs::read_link(&link).is_ok_and(|path| file_name(&path.to_string_lossy()) == file_name(&mapping.path));
    is_file(&link, mapping) && named()
}

fn file_name(path: &str) -> Arc<str> {
    let path = path.strip_suffix(" (deleted)").unwrap_or(path);
    path.rsplit('/').next().unwrap_or(path).into()
}

/// Reads something from an object file in a file or in memory.
pub(crate) trait ObjectReader {
    /// The read value.
    type Output;

    fn read<'d, R: ReadRef<'d>>(self, file: &object::File<'d, R>) -> Self::Output;
}

impl Image {
    /// An image of an ended process. Nothing of it is known without its file.
    #[cfg(feature = "cli")]
    pub(crate) fn of_ended(range: Range<u64>, bias: u64, name: &str, path: Option<PathBuf>, program: bool) -> Self {
        Self { process: Process::ended(), range, bias, name: name.into(), path, program }
    }

    /// Reads from the image's file, or from memory if it has none; `None` if it is not an object file.
    pub(crate) fn read<T: ObjectReader>(&self, reader: T) -> Option<T::Output> {
        let Some(path) = &self.path else {
            let length = self.range.end.checked_sub(self.range.start).filter(|length| *length <= MAX_MEMORY)?;
            let mut bytes = vec![0; usize::try_from(length).ok()?];
            let length = self.process.read_memory(self.range.start, &mut bytes);
            return Some(reader.read(&object::File::parse(&bytes[..length]).ok()?));
        };
        let cache = ReadCache::new(File::open(path).ok()?);
        Some(reader.read(&object::File::parse(&cache).ok()?))
    }

    /// The process that has loaded it.
    pub(crate) fn process(&self) -> Process {
        self.process
    }

    /// Its exported functions; empty if it cannot be read.
    pub(crate) fn exports(&self) -> Exports {
        self.read(ReadExports).unwrap_or_default()
    }

    /// The GNU build id in hexadecimal.
    pub(crate) fn build_id(&self) -> Option<String> {
        self.read(ReadBuildId)?
    }

    /// The distance from the program's first thread-local variable to the thread pointer; `None` without such variables.
    /// Valid for the program only, because those of libraries have no fixed distance.
    #[cfg(feature = "attach")]
    pub(crate) fn thread_locals(&self) -> Option<u64> {
        self.read(ThreadLocalsOffset)?
    }

    /// The kind of names that its file has for its code.
    pub(crate) fn names(&self) -> Option<BuildNames> {
        self.read(ReadCodeNames)
    }
}

/// Reads the distance of the program's thread-local variables. The ABI for x86-64 ("ELF Handling For Thread-Local Storage",
/// variant II) places them right before the thread pointer, with the alignment of their segment.
#[cfg(feature = "attach")]
struct ThreadLocalsOffset;

#[cfg(feature = "attach")]
impl ObjectReader for ThreadLocalsOffset {
    type Output = Option<u64>;

    fn read<'d, R: ReadRef<'d>>(self, file: &object::File<'d, R>) -> Option<u64> {
        use object::read::elf::ProgramHeader;

        let object::File::Elf64(file) = file else { return None };
        let endian = file.endian();
        let segment = file.elf_program_headers().iter().find(|header| header.p_type(endian) == object::elf::PT_TLS)?;
        let align = segment.p_align(endian).max(1);
        let first = segment.p_vaddr(endian).wrapping_neg() & align.wrapping_sub(1);
        segment.p_memsz(endian).checked_sub(first)?.checked_next_multiple_of(align)?.checked_add(first)
    }
}

/// Reads the lowest address in the file.
struct LowestSegment;

impl ObjectReader for LowestSegment {
    type Output = Option<u64>;

    fn read<'d, R: ReadRef<'d>>(self, file: &object::File<'d, R>) -> Option<u64> {
        file.segments().map(|segment| segment.address()).min()
    }
}

/// The exported functions of a library, by their addresses in its file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Exports(Vec<(Range<u64>, String)>);

impl Exports {
    /// The function that contains an address.
    pub(crate) fn find(&self, address: u64) -> Option<&str> {
        let count = self.0.partition_point(|(range, _)| range.start <= address);
        let (range, name) = self.0.get(count.checked_sub(1)?)?;
        range.contains(&address).then_some(name)
    }
}

/// Reads the exported functions.
struct ReadExports;

impl ObjectReader for ReadExports {
    type Output = Exports;

    fn read<'d, R: ReadRef<'d>>(self, file: &object::File<'d, R>) -> Exports {
        let functions = file.dynamic_symbols().filter(|symbol| symbol.size() > 0 && symbol.is_definition());
        let named = functions.filter_map(|symbol| {
            let range = symbol.address()..symbol.address().checked_add(symbol.size())?;
            Some((range, symbol.name().ok()?.to_owned()))
        });
        let mut exports: Vec<_> = named.collect();
        // Of several names for one address, prefer one that is not reserved (`__…`).
        exports.sort_by_key(|(range, name)| (range.start, name.starts_with('_'), name.len()));
        exports.dedup_by_key(|(range, _)| range.start);
        Exports(exports)
    }
}

/// Reads the build id.
struct ReadBuildId;

impl ObjectReader for ReadBuildId {
    type Output = Option<String>;

    fn read<'d, R: ReadRef<'d>>(self, file: &object::File<'d, R>) -> Option<String> {
        let id = file.build_id().ok()??;
        Some(id.iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

/// Reads the kind of names.
struct ReadCodeNames;

impl ObjectReader for ReadCodeNames {
    type Output = BuildNames;

    fn read<'d, R: ReadRef<'d>>(self, file: &object::File<'d, R>) -> BuildNames {
        let has = |name: &str| file.section_by_name(name).is_some_and(|section| section.size() > 0);
        let elsewhere = matches!(file.gnu_debuglink(), Ok(Some(_)));
        if has(".debug_line") || elsewhere {
            BuildNames::Lines
        } else if !has(".symtab") {
            BuildNames::None
        } else if file.symbols().any(|symbol| symbol.name().is_ok_and(is_legacy)) {
            BuildNames::Legacy
        } else {
            BuildNames::V0
        }
    }
}

/// Whether a symbol has Rust's older mangling. The standard library has v0 symbols in every program.
fn is_legacy(symbol: &str) -> bool {
    let hash = symbol.strip_suffix('E').and_then(|name| name.rsplit_once("17h")).map(|(_, hash)| hash);
    symbol.starts_with("_ZN") && hash.is_some_and(|hash| hash.len() == 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(start: u64, end: u64, offset: u64, file: u64, executable: bool) -> Mapping {
        Mapping { start, end, executable, offset, file: (1, file), path: format!("/lib/{file}.so") }
    }

    #[test]
    fn a_file_that_is_mapped_twice_is_one_image() {
        let all = [
            mapping(0x1000, 0x9000, 0, 7, false),
            mapping(0xa000, 0xb000, 0, 7, false),
            mapping(0xb000, 0xc000, 0x1000, 7, true),
            mapping(0xc000, 0xd000, 0x2000, 7, false),
            // The linker maps the same page of the file again for writable data.
            mapping(0xd000, 0xe000, 0x2000, 7, false),
            mapping(0xe000, 0x1_0000, 0, 7, false),
            mapping(0x1_0000, 0x1_1000, 0x3000, 8, false),
        ];
        assert_eq!(extent(2, &all), 0xa000..0xe000);
        let vdso = [mapping(0x10, 0x20, 0, 1, false), mapping(0x20, 0x30, 0, 2, true)];
        assert_eq!(extent(1, &vdso), 0x20..0x30);
    }

    #[test]
    fn the_mangling_of_a_symbol_is_known() {
        assert!(is_legacy("_ZN9map_guard4main17h0123456789abcdefE"));
        for other in ["_RNvCs2g2qvAd2obi_8awaiting4main", "_ZN7rocksdb2DB4OpenE", "_ZNSt6vector17hE", "main", ""] {
            assert!(!is_legacy(other), "{other}");
        }
    }

    #[test]
    fn this_program_is_found_by_its_code() {
        let mut images = Images::of(Process::own());
        images.load_new().expect("/proc is mounted");
        let here = this_program_is_found_by_its_code as *const () as u64;
        let mine = images.find(here).expect("this code is loaded");
        assert!(mine.program);
        assert_eq!(images.program(), Some(mine));
        assert!(mine.names() >= Some(BuildNames::Legacy), "tests are not stripped");
        assert!(images.load_new().expect("/proc is mounted").is_empty(), "nothing was loaded since");
    }
}
