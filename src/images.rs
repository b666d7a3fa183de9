//! The programs and libraries in a process's address space, for those who unwind them and those who name their code.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use object::read::{ReadCache, ReadRef};
use object::{Object, ObjectSection, ObjectSegment, ObjectSymbol};

use crate::sys::{Mapping, Process};

/// One program or library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Image {
    /// Whose address space it is in.
    process: Process,
    /// The addresses it takes up.
    pub(crate) range: Range<u64>,
    /// What to subtract from an address to get the one that its file uses.
    pub(crate) bias: u64,
    /// The name to show: the file name, or `[vdso]`.
    pub(crate) name: Arc<str>,
    /// Where the file can be opened that it was loaded from; `None` for the vDSO, which has none.
    pub(crate) path: Option<PathBuf>,
    /// Whether it is the program itself.
    pub(crate) program: bool,
}

/// Everything that is loaded.
#[derive(Debug)]
pub(crate) struct Images {
    process: Process,
    list: Vec<Image>,
}

impl Images {
    /// Nothing yet.
    pub(crate) fn of(process: Process) -> Self {
        Self { process, list: Vec::new() }
    }

    /// Whose they are.
    pub(crate) fn process(&self) -> Process {
        self.process
    }

    /// The image that an address lies in.
    pub(crate) fn find(&self, address: u64) -> Option<&Image> {
        self.list.iter().find(|image| image.range.contains(&address))
    }

    /// Every one.
    pub(crate) fn all(&self) -> &[Image] {
        &self.list
    }

    /// The program itself.
    pub(crate) fn program(&self) -> Option<&Image> {
        self.list.iter().find(|image| image.program)
    }

    /// Adds what was loaded since, and returns it. What was unloaded stays: its addresses are on no stack.
    ///
    /// A library that was replaced on disk since it was loaded is left out: its file would tell lies.
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

/// The addresses of the image that an executable mapping is part of: its neighbours of the same file, in the order of
/// the file. The file may be mapped elsewhere too, by whoever reads its debug information, from its beginning.
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

/// Where the mapped file can be opened: at its own path first, because separate debug files lie beside it; where the
/// process sees it, which may live in another root; and at the kernel's links, which hold also what was deleted. Those to
/// libraries are for the privileged.
fn path_of(process: Process, mapping: &Mapping) -> Option<PathBuf> {
    let own = PathBuf::from(&mapping.path);
    let inside = || process.file("root").join(mapping.path.trim_start_matches('/'));
    let link = || process.file(&format!("map_files/{:x}-{:x}", mapping.start, mapping.end));
    let program = || process.file("exe");
    let all: [&dyn Fn() -> PathBuf; 4] = [&|| own.clone(), &inside, &program, &link];
    all.iter().map(|path| path()).find(|path| is_file(path, mapping))
}

/// The device is not compared: of files on overlayfs, as in containers, and on btrfs, the list of mappings tells another than
/// `stat`. A file that replaced this one has another inode, for this one still exists.
fn is_file(path: &Path, mapping: &Mapping) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.ino() == mapping.file.1)
}

/// The program that was started, even when a new one lies at its path by now.
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

/// Something to be read from an image's file, wherever its bytes come from.
pub(crate) trait Reader {
    type Output;

    fn read<'d, R: ReadRef<'d>>(self, file: &object::File<'d, R>) -> Self::Output;
}

impl Image {
    /// Reads from the image's file, or from memory where it has none. `None` where it is no object file.
    pub(crate) fn read<T: Reader>(&self, reader: T) -> Option<T::Output> {
        let Some(path) = &self.path else {
            let mut bytes = vec![0; usize::try_from(self.range.end - self.range.start).ok()?];
            let length = self.process.read_memory(self.range.start, &mut bytes);
            return Some(reader.read(&object::File::parse(&bytes[..length]).ok()?));
        };
        let cache = ReadCache::new(File::open(path).ok()?);
        Some(reader.read(&object::File::parse(&cache).ok()?))
    }

    /// What it offers to others; empty where it cannot be read.
    pub(crate) fn exports(&self) -> Exports {
        self.read(ReadExports).unwrap_or_default()
    }

    /// The GNU build id in hexadecimal.
    pub(crate) fn build_id(&self) -> Option<String> {
        self.read(BuildId)?
    }

    /// How far before a thread's pointer the program's own thread-local variables begin; `None` where it has none. Only for
    /// the program itself: those of libraries lie elsewhere in every thread.
    #[cfg(feature = "attach")]
    pub(crate) fn thread_locals(&self) -> Option<u64> {
        self.read(ThreadLocals)?
    }

    /// What the file offers for naming its code.
    pub(crate) fn names(&self) -> Option<Names> {
        self.read(WhichNames)
    }
}

/// As the ABI for x86-64 places the first block ("ELF Handling For Thread-Local Storage", variant II): right before the
/// thread pointer, aligned as its segment asks.
#[cfg(feature = "attach")]
struct ThreadLocals;

#[cfg(feature = "attach")]
impl Reader for ThreadLocals {
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

struct LowestSegment;

impl Reader for LowestSegment {
    type Output = Option<u64>;

    fn read<'d, R: ReadRef<'d>>(self, file: &object::File<'d, R>) -> Option<u64> {
        file.segments().map(|segment| segment.address()).min()
    }
}

/// The functions that a library offers to others, by their addresses in its file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Exports(Vec<(Range<u64>, String)>);

impl Exports {
    /// The function that an address lies in.
    pub(crate) fn find(&self, address: u64) -> Option<&str> {
        let behind = self.0.partition_point(|(range, _)| range.start <= address);
        let (range, name) = self.0.get(behind.checked_sub(1)?)?;
        range.contains(&address).then_some(name)
    }
}

struct ReadExports;

impl Reader for ReadExports {
    type Output = Exports;

    fn read<'d, R: ReadRef<'d>>(self, file: &object::File<'d, R>) -> Exports {
        let functions = file.dynamic_symbols().filter(|symbol| symbol.size() > 0 && symbol.is_definition());
        let named = functions.filter_map(|symbol| {
            let range = symbol.address()..symbol.address().checked_add(symbol.size())?;
            Some((range, symbol.name().ok()?.to_owned()))
        });
        let mut exports: Vec<_> = named.collect();
        // Of several names for one address, one that is not reserved (`__…`).
        exports.sort_by_key(|(range, name)| (range.start, name.starts_with('_'), name.len()));
        exports.dedup_by_key(|(range, _)| range.start);
        Exports(exports)
    }
}

struct BuildId;

impl Reader for BuildId {
    type Output = Option<String>;

    fn read<'d, R: ReadRef<'d>>(self, file: &object::File<'d, R>) -> Option<String> {
        let id = file.build_id().ok()??;
        Some(id.iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

/// What a file offers for naming its code; each includes the ones before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Names {
    /// Stripped.
    None,
    /// Functions.
    Symbols,
    /// Functions, inlined calls, files and lines; perhaps in a file of its own.
    Lines,
}

struct WhichNames;

impl Reader for WhichNames {
    type Output = Names;

    fn read<'d, R: ReadRef<'d>>(self, file: &object::File<'d, R>) -> Names {
        let has = |name: &str| file.section_by_name(name).is_some_and(|section| section.size() > 0);
        let elsewhere = matches!(file.gnu_debuglink(), Ok(Some(_)));
        if has(".debug_line") || elsewhere {
            Names::Lines
        } else if has(".symtab") {
            Names::Symbols
        } else {
            Names::None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(start: u64, end: u64, offset: u64, file: u64, executable: bool) -> Mapping {
        Mapping { start, end, executable, offset, file: (1, file), path: format!("/lib/{file}.so") }
    }

    #[test]
    fn a_file_that_is_also_mapped_for_reading_is_one_image() {
        let all = [
            mapping(0x1000, 0x9000, 0, 7, false),
            mapping(0xa000, 0xb000, 0, 7, false),
            mapping(0xb000, 0xc000, 0x1000, 7, true),
            mapping(0xc000, 0xd000, 0x2000, 7, false),
            // The linker puts writable data at the same page of the file again.
            mapping(0xd000, 0xe000, 0x2000, 7, false),
            mapping(0xe000, 0x1_0000, 0, 7, false),
            mapping(0x1_0000, 0x1_1000, 0x3000, 8, false),
        ];
        assert_eq!(extent(2, &all), 0xa000..0xe000);
        let vdso = [mapping(0x10, 0x20, 0, 1, false), mapping(0x20, 0x30, 0, 2, true)];
        assert_eq!(extent(1, &vdso), 0x20..0x30);
    }

    #[test]
    fn finds_this_program_and_its_libraries() {
        let mut images = Images::of(Process::own());
        images.load_new().expect("/proc is mounted");
        let here = finds_this_program_and_its_libraries as *const () as u64;
        let mine = images.find(here).expect("this code is loaded");
        assert!(mine.program);
        assert_eq!(images.program(), Some(mine));
        assert!(mine.names() >= Some(Names::Symbols), "tests are not stripped");
        assert!(images.load_new().expect("/proc is mounted").is_empty(), "nothing was loaded since");
    }
}
