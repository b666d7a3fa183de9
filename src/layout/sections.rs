//! The sections of a file that hold debug information about types.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use gimli::{EndianSlice, LittleEndian, SectionId};
use object::{CompressionFormat, Object, ObjectSection, ReadCache};

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

/// Their bytes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sections {
    bytes: HashMap<SectionId, Vec<u8>>,
}

impl Sections {
    /// Reads them from a program's file, and nothing else of it. What the file does not have is empty.
    ///
    /// # Errors
    /// When the file cannot be read, is no object file, or has compressed sections.
    pub(crate) fn read(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let cache = ReadCache::new(&file);
        let object = object::File::parse(&cache).map_err(io::Error::other)?;
        let mut bytes = HashMap::new();
        for id in NEEDED {
            let Some(section) = object.section_by_name(id.name()) else { continue };
            let range = section.compressed_file_range().map_err(io::Error::other)?;
            if range.format != CompressionFormat::None {
                let message = format!("{} is compressed, which is not supported; link without", id.name());
                return Err(io::Error::new(io::ErrorKind::Unsupported, message));
            }
            // No larger than the file, whatever its header says.
            let length = range.uncompressed_size.min(file.metadata()?.len());
            let mut section = vec![0; usize::try_from(length).map_err(io::Error::other)?];
            file.read_exact_at(&mut section, range.offset)?;
            bytes.insert(id, section);
        }
        Ok(Self { bytes })
    }

    /// Changes bytes, for tests with damaged ones.
    #[cfg(test)]
    pub(crate) fn damage(&mut self, change: impl Fn(usize, u8) -> u8) {
        for section in self.bytes.values_mut() {
            section.iter_mut().enumerate().for_each(|(position, byte)| *byte = change(position, *byte));
        }
    }

    pub(super) fn dwarf(&self) -> gimli::Dwarf<Slice<'_>> {
        let section = |id| self.bytes.get(&id).map_or(&[][..], Vec::as_slice);
        let load = |id| Ok::<_, std::convert::Infallible>(EndianSlice::new(section(id), LittleEndian));
        let Ok(dwarf) = gimli::Dwarf::load(load);
        dwarf
    }
}
