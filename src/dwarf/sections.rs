//! The sections with debug information about types, from the program's file, its debug file, and split debug information.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use gimli::{EndianSlice, LittleEndian, SectionId};
use object::{CompressionFormat, Object, ObjectSection, ReadCache};

use crate::debug_files;

/// A reader of a section.
pub(super) type Slice<'d> = EndianSlice<'d, LittleEndian>;

/// The sections that describe types and their source locations.
const NEEDED: [SectionId; 7] = [
    SectionId::DebugAbbrev,
    SectionId::DebugAddr,
    SectionId::DebugInfo,
    SectionId::DebugLine,
    SectionId::DebugLineStr,
    SectionId::DebugStr,
    SectionId::DebugStrOffsets,
];

/// More sections that are needed to read a package of split debug information (`.dwp`).
const PACKAGE_SECTIONS: [SectionId; 7] = [
    SectionId::DebugCuIndex,
    SectionId::DebugLoc,
    SectionId::DebugLocLists,
    SectionId::DebugMacinfo,
    SectionId::DebugMacro,
    SectionId::DebugRngLists,
    SectionId::DebugTypes,
];

/// The maximum size of a section after decompression.
const MAX_DECOMPRESSED: u64 = 8 << 30;

/// The maximum number of files with split debug information.
const MAX_SPLIT: usize = 20_000;

/// The sections of one file.
pub(super) type Bytes = HashMap<SectionId, Vec<u8>>;

/// The sections of a program and of all files that belong to it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sections {
    main: Bytes,
    /// Split debug information in one file (`.dwp`).
    package: Option<Bytes>,
    /// Split debug information in one file for each unit (`.dwo`), by the id of the unit.
    split: HashMap<u64, Bytes>,
    /// Files that were not found or were refused, as sentences.
    pub(crate) missing: Vec<String>,
}

impl Sections {
    /// Reads the sections from a program's file or from its debug files. A missing section is empty.
    ///
    /// # Errors
    /// If the file cannot be read, or is not an object file.
    pub(crate) fn read(program: &Path) -> io::Result<Self> {
        let (path, missing) = debug_files::best(program)?;
        let main = read(&path, &NEEDED, own_name)?;
        let mut sections = Self { main, missing, ..Self::default() };
        let wanted = sections.split_units();
        if wanted.is_empty() {
            return Ok(sections);
        }
        for package in [debug_files::package(program), debug_files::package(&path)] {
            if sections.package.is_none() {
                let needed = [&NEEDED[..], &PACKAGE_SECTIONS].concat();
                sections.package = read(&package, &needed, SectionId::dwo_name).ok();
            }
        }
        if sections.package.is_none() {
            sections.read_split(&wanted);
        }
        Ok(sections)
    }

    /// The ids and files of units with split debug information.
    fn split_units(&self) -> Vec<(u64, PathBuf)> {
        // Split units always have a table of addresses.
        if self.main.get(&SectionId::DebugAddr).is_none_or(Vec::is_empty) {
            return Vec::new();
        }
        let dwarf = dwarf_of(&self.main);
        let (mut units, mut headers) = (Vec::new(), dwarf.units());
        while let Ok(Some(header)) = headers.next() {
            let Ok(unit) = dwarf.unit(header) else { continue };
            let (Some(id), Ok(Some(name))) = (unit.dwo_id, unit.dwo_name()) else { continue };
            let Ok(name) = dwarf.attr_string(&unit, name) else { continue };
            let directory = unit.comp_dir.map(|path| path.to_string_lossy().into_owned()).unwrap_or_default();
            if units.len() < MAX_SPLIT {
                units.push((id.0, Path::new(&directory).join(&*name.to_string_lossy())));
            }
        }
        units
    }

    fn read_split(&mut self, wanted: &[(u64, PathBuf)]) {
        let mut absent = Vec::new();
        for (id, path) in wanted {
            match read(path, &NEEDED, SectionId::dwo_name) {
                Ok(bytes) => drop(self.split.insert(*id, bytes)),
                Err(_) => absent.push(path),
            }
        }
        if let Some(first) = absent.first() {
            self.missing.push(format!(
                "{} of {} files with split debug information are missing, for example {}; keep them where the program was \
                 built, or build with `split-debuginfo = \"packed\"` and keep the .dwp file next to the program",
                absent.len(),
                wanted.len(),
                first.display()
            ));
        }
    }

    /// Changes bytes, for tests with damaged sections.
    #[cfg(test)]
    pub(crate) fn damage(&mut self, change: impl Fn(usize, u8) -> u8) {
        let files = [&mut self.main].into_iter().chain(&mut self.package).chain(self.split.values_mut());
        for section in files.flat_map(HashMap::values_mut) {
            section.iter_mut().enumerate().for_each(|(position, byte)| *byte = change(position, *byte));
        }
    }

    /// The debug information in the main file.
    pub(super) fn dwarf(&self) -> gimli::Dwarf<Slice<'_>> {
        dwarf_of(&self.main)
    }

    /// The package of split debug information, if there is one.
    pub(super) fn package(&self) -> Option<gimli::DwarfPackage<Slice<'_>>> {
        let bytes = self.package.as_ref()?;
        let load = |id| Ok::<_, gimli::Error>(slice_of(bytes, id));
        gimli::DwarfPackage::load(load, EndianSlice::new(&[], LittleEndian)).ok()
    }

    /// The split debug information of one unit.
    pub(super) fn split(&self, id: gimli::DwoId) -> Option<gimli::Dwarf<Slice<'_>>> {
        self.split.get(&id.0).map(dwarf_of)
    }
}

/// The name of a section in the main file.
fn own_name(id: SectionId) -> Option<&'static str> {
    Some(id.name())
}

fn slice_of(bytes: &Bytes, id: SectionId) -> Slice<'_> {
    EndianSlice::new(bytes.get(&id).map_or(&[][..], Vec::as_slice), LittleEndian)
}

fn dwarf_of(bytes: &Bytes) -> gimli::Dwarf<Slice<'_>> {
    let load = |id| Ok::<_, std::convert::Infallible>(slice_of(bytes, id));
    let Ok(dwarf) = gimli::Dwarf::load(load);
    dwarf
}

fn read(path: &Path, needed: &[SectionId], name: fn(SectionId) -> Option<&'static str>) -> io::Result<Bytes> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    let cache = ReadCache::new(&file);
    let object = object::File::parse(&cache).map_err(io::Error::other)?;
    let mut bytes = Bytes::new();
    for id in needed {
        let Some(section) = name(*id).and_then(|name| object.section_by_name(name)) else { continue };
        let range = section.compressed_file_range().map_err(io::Error::other)?;
        if range.format == CompressionFormat::None {
            // A damaged header could claim more bytes than the file has.
            let length = range.uncompressed_size.min(size);
            let mut section = vec![0; usize::try_from(length).map_err(io::Error::other)?];
            file.read_exact_at(&mut section, range.offset)?;
            bytes.insert(*id, section);
        } else if range.uncompressed_size <= MAX_DECOMPRESSED {
            let data = section
                .uncompressed_data()
                .map_err(|error| io::Error::other(format!("section {} cannot be decompressed: {error}", id.name())))?;
            bytes.insert(*id, data.into_owned());
        }
    }
    Ok(bytes)
}
