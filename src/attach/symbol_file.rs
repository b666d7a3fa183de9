//! A file of holdup's own format with a program's types, and the names of its code where the program is stripped. The cache
//! writes such files, and `holdup symbols extract` writes one for a stripped program.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::debug_files::Identity;
use crate::dwarf::{Program, Sections, pack};
use crate::symbols::NameTable;

/// The first bytes of each file.
const MAGIC: &[u8; 8] = b"holdupsy";

/// Files of another version are refused, because a new one is written quickly.
const VERSION: u32 = 2;

/// Larger files are refused.
pub(crate) const MAX_FILE: u64 = 1 << 30;

/// The length of magic number, version and checksum in bytes.
const HEAD: usize = MAGIC.len() + 8;

/// The contents of a file.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    /// The build of the program that the file describes.
    identity: Vec<u8>,
    /// Types; empty where the program describes none.
    pub(crate) types: Vec<u8>,
    /// Names and lines; empty where the file has none.
    pub(crate) names: Vec<u8>,
}

/// The contents as the file stores them. Slices are read at once, not byte by byte.
#[derive(Serialize, Deserialize)]
struct Stored<'a> {
    identity: &'a [u8],
    types: &'a [u8],
    names: &'a [u8],
}

impl Contents {
    pub(crate) fn of(identity: &Identity, types: Vec<u8>, names: Vec<u8>) -> Self {
        Self { identity: identity.bytes().to_vec(), types, names }
    }

    /// The bytes of a file.
    pub(crate) fn to_bytes(&self) -> io::Result<Vec<u8>> {
        let stored = Stored { identity: &self.identity, types: &self.types, names: &self.names };
        let body = postcard::to_allocvec(&stored).map_err(io::Error::other)?;
        let sum = crc32fast::hash(&body);
        Ok([&MAGIC[..], &VERSION.to_le_bytes(), &sum.to_le_bytes(), &body].concat())
    }

    /// The contents of a file that belongs to this program.
    ///
    /// # Errors
    /// The end of a sentence, where the file is none of ours, is damaged, or belongs to another program.
    pub(crate) fn from_bytes(bytes: &[u8], identity: &Identity) -> Result<Self, String> {
        let (head, body) = bytes.split_at_checked(HEAD).ok_or("it is not a symbol file")?;
        let numbers = head.strip_prefix(MAGIC).ok_or("it is not a symbol file")?;
        let number =
            |at: usize| numbers.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes);
        if number(0) != Some(VERSION) {
            return Err("another version of holdup wrote it".to_owned());
        }
        if number(4) != Some(crc32fast::hash(body)) {
            return Err("it is damaged".to_owned());
        }
        let stored: Stored<'_> = postcard::from_bytes(body).map_err(|_| "it is damaged")?;
        if stored.identity != identity.bytes() {
            return Err("it belongs to another build of the program".to_owned());
        }
        Ok(Self { identity: stored.identity.to_vec(), types: stored.types.to_vec(), names: stored.names.to_vec() })
    }

    /// Reads a file for this program.
    ///
    /// # Errors
    /// As [`from_bytes`](Self::from_bytes), and where the file cannot be read.
    pub(crate) fn read(file: File, identity: &Identity) -> Result<Self, String> {
        let mut bytes = Vec::new();
        let read = file.take(MAX_FILE).read_to_end(&mut bytes);
        read.map_err(|error| format!("it cannot be read: {error}"))?;
        Self::from_bytes(&bytes, identity)
    }
}

/// What a symbol file holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extracted {
    /// The size in bytes.
    pub(crate) size: usize,
    /// Whether it describes types, which await paths need.
    pub(crate) types: bool,
}

/// Writes the needed part of an unstripped program's debug information, for the stripped program of the same build.
///
/// # Errors
/// When the program cannot be read, or the file cannot be written.
pub(crate) fn extract(program: &Path, to: &Path) -> io::Result<Extracted> {
    let identity = Identity::of(program)?;
    let sections = Sections::read(program)?;
    let types = pack(&Program::of(&sections)).unwrap_or_default();
    let names = NameTable::of(program)?.to_bytes();
    let extracted = |size| Extracted { size, types: !types.is_empty() };
    let bytes = Contents::of(&identity, types.clone(), names).to_bytes()?;
    std::fs::write(to, &bytes)?;
    Ok(extracted(bytes.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_damaged_or_of_another_program_is_refused() {
        let own = Identity::of(&std::env::current_exe().expect("it runs")).expect("it can be read");
        let contents = Contents::of(&own, vec![1, 2, 3], vec![4; 100]);
        let bytes = contents.to_bytes().expect("it is small");
        let read = Contents::from_bytes(&bytes, &own).expect("it is whole");
        assert_eq!((read.types, read.names), (contents.types, contents.names));
        for position in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[position] ^= 0x40;
            assert!(Contents::from_bytes(&damaged, &own).is_err(), "byte {position}");
            assert!(Contents::from_bytes(&bytes[..position], &own).is_err(), "{position} bytes");
        }
        let other = Contents { identity: vec![7], ..Contents::default() }.to_bytes().expect("it is small");
        let error = Contents::from_bytes(&other, &own).expect_err("it is another's");
        assert!(error.contains("another build"), "{error}");
    }
}
