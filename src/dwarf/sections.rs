//! The sections of files that hold debug information about types: of the program's own, of its debug file, and of split
//! debug information.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use gimli::{EndianSlice, LittleEndian, SectionId};
use object::{CompressionFormat, Object, ObjectSection, ReadCache};

use crate::debug_files;

/// What reads them.
pub(super) type Slice<'d> = EndianSlice<'d, LittleEndian>;

/// The sections that types, and the places where they are declared, are read from.
const NEEDED: [SectionId; 7] = [
    SectionId::DebugAbbrev,
    SectionId::DebugAddr,
    SectionId::DebugInfo,
    SectionId::DebugLine,
    SectionId::DebugLineStr,
    SectionId::DebugStr,
    SectionId::DebugStrOffsets,
];

/// What a package of split debug information is taken apart with: its index, and all that the index has parts of.
const OF_PACKAGES: [SectionId; 7] = [
    SectionId::DebugCuIndex,
    SectionId::DebugLoc,
    SectionId::DebugLocLists,
    SectionId::DebugMacinfo,
    SectionId::DebugMacro,
    SectionId::DebugRngLists,
    SectionId::DebugTypes,
];

/// A section is no larger when it is uncompressed.
const MAX_UNCOMPRESSED: u64 = 8 << 30;

/// Files of split debug information that are read.
const MAX_SPLIT: usize = 20_000;

/// The bytes of one file's sections.
pub(super) type Bytes = HashMap<SectionId, Vec<u8>>;

/// Their bytes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sections {
    main: Bytes,
    /// Split debug information, all of it in one file.
    package: Option<Bytes>,
    /// Split debug information, by the number that the program has for each of its files.
    split: HashMap<u64, Bytes>,
    /// What could not be found or was refused, as sentences.
    pub(crate) missing: Vec<String>,
}

impl Sections {
    /// Reads them from a program's file, or from those that belong to it, and nothing else of them. What there is not is
    /// empty.
    ///
    /// # Errors
    /// When the file cannot be read, or is no object file.
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
                let needed = [&NEEDED[..], &OF_PACKAGES].concat();
                sections.package = read(&package, &needed, SectionId::dwo_name).ok();
            }
        }
        if sections.package.is_none() {
            sections.read_split(&wanted);
        }
        Ok(sections)
    }

    /// The numbers and files of units whose debug information is elsewhere.
    fn split_units(&self) -> Vec<(u64, PathBuf)> {
        // What is split has its addresses in a table.
        if self.main.get(&SectionId::DebugAddr).is_none_or(Vec::is_empty) {
            return Vec::new();
        }
        let dwarf = dwarf_of(&self.main);
        let (mut units, mut headers) = (Vec::new(), dwarf.units());
        while let Ok(Some(header)) = headers.next() {
            let Ok(unit) = dwarf.unit(header) else { continue };
            let (Some(id), Ok(Some(name))) = (unit.dwo_id, unit.dwo_name()) else { continue };
            let Ok(name) = dwarf.attr_string(&unit, name) else { continue };
            let folder = unit.comp_dir.map(|folder| folder.to_string_lossy().into_owned()).unwrap_or_default();
            if units.len() < MAX_SPLIT {
                units.push((id.0, Path::new(&folder).join(&*name.to_string_lossy())));
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
                "{} of {} files of split debug information are not where the program was built, such as {}; keep them \
                 there, or build with `split-debuginfo = \"packed\"` and keep the .dwp beside the program",
                absent.len(),
                wanted.len(),
                first.display()
            ));
        }
    }

    /// Changes bytes, for tests with damaged ones.
    #[cfg(test)]
    pub(crate) fn damage(&mut self, change: impl Fn(usize, u8) -> u8) {
        let files = [&mut self.main].into_iter().chain(&mut self.package).chain(self.split.values_mut());
        for section in files.flat_map(HashMap::values_mut) {
            section.iter_mut().enumerate().for_each(|(position, byte)| *byte = change(position, *byte));
        }
    }

    /// The debug information that is in the file itself.
    pub(super) fn dwarf(&self) -> gimli::Dwarf<Slice<'_>> {
        dwarf_of(&self.main)
    }

    /// What is split, in one file.
    pub(super) fn package(&self) -> Option<gimli::DwarfPackage<Slice<'_>>> {
        let bytes = self.package.as_ref()?;
        let load = |id| Ok::<_, gimli::Error>(slice_of(bytes, id));
        gimli::DwarfPackage::load(load, EndianSlice::new(&[], LittleEndian)).ok()
    }

    /// What is split, in the file of that number.
    pub(super) fn split(&self, id: gimli::DwoId) -> Option<gimli::Dwarf<Slice<'_>>> {
        self.split.get(&id.0).map(dwarf_of)
    }
}

/// The name of a section in a program's file.
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
            // No larger than the file, whatever its header says.
            let length = range.uncompressed_size.min(size);
            let mut section = vec![0; usize::try_from(length).map_err(io::Error::other)?];
            file.read_exact_at(&mut section, range.offset)?;
            bytes.insert(*id, section);
        } else if range.uncompressed_size <= MAX_UNCOMPRESSED {
            let data = section.uncompressed_data().map_err(|error| {
                io::Error::other(format!("its section {} cannot be uncompressed: {error}", id.name()))
            })?;
            bytes.insert(*id, data.into_owned());
        }
    }
    Ok(bytes)
}
