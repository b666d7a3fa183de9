//! The places in source code that a program's panic messages name: constants of type `core::panic::Location`. They are plain
//! data, so builds without debug information and stripped programs have them too.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use object::read::ReadRef;
use object::{Object, ObjectSection};

use crate::images::{Image, ObjectReader};

/// A constant is a pointer to the path, its length, the line and the column.
const LOCATION_BYTES: usize = 24;

/// Bytes of a program's constants that are read. Those of real programs are far fewer.
const MAX_BYTES: u64 = 64 << 20;

/// Constants that are kept.
const MAX_LOCATIONS: usize = 200_000;

/// Longer paths are no paths.
const MAX_PATH: u64 = 1024;

/// The source paths of an image, and where its constants refer to them.
#[derive(Debug, Default)]
pub(super) struct Locations {
    paths: Vec<String>,
    /// The index of the path by the constant's address in the file.
    by_address: HashMap<u64, u32>,
}

impl Locations {
    /// Those of a loaded image. Its constants are read from memory, because their pointers are filled in there.
    pub(super) fn of(image: &Image) -> Self {
        let sections = image.read(ReadSections).unwrap_or_default();
        let read = |range: &Range<u64>| {
            let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap_or(0)];
            let length = image.process().read_memory(range.start.wrapping_add(image.bias), &mut bytes);
            bytes.truncate(length);
            (range.start, bytes)
        };
        Self::in_sections(&sections.iter().map(read).collect::<Vec<_>>(), image.bias)
    }

    /// Those in sections, given as address in the file and bytes.
    fn in_sections(sections: &[(u64, Vec<u8>)], bias: u64) -> Self {
        let (mut found, mut known) = (Self::default(), HashMap::new());
        for (start, bytes) in sections {
            for (position, constant) in words_of(bytes) {
                let Some(path) = path_of(constant, sections, bias) else { continue };
                if found.by_address.len() >= MAX_LOCATIONS {
                    return found;
                }
                let next = u32::try_from(known.len()).unwrap_or(0);
                let index = *known.entry(path).or_insert(next);
                if index == next && found.paths.len() < known.len() {
                    found.paths.push(path.to_owned());
                }
                found.by_address.insert(start + position, index);
            }
        }
        found
    }

    pub(super) fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// Every source path.
    pub(super) fn paths(&self) -> impl Iterator<Item = &str> {
        self.paths.iter().map(String::as_str)
    }

    /// The paths that a function's code refers to, each once. Code refers to a constant by its distance from the next
    /// instruction, in the last four bytes of a `lea`.
    pub(super) fn referred_by(&self, code: &[u8], start: u64) -> BTreeSet<&str> {
        let targets = (0..code.len()).filter_map(|position| lea_target(code, position, start));
        let paths = targets.filter_map(|target| self.paths.get(*self.by_address.get(&target)? as usize));
        paths.map(String::as_str).collect()
    }
}

/// The address that a `lea` with a distance from the next instruction takes: `48 8d 05` and its seven other registers.
fn lea_target(code: &[u8], position: usize, start: u64) -> Option<u64> {
    let [0x48 | 0x4c, 0x8d, register, distance @ ..] = code.get(position..position.checked_add(7)?)? else {
        return None;
    };
    let distance = i32::from_le_bytes(distance.try_into().ok()?);
    let relative = register & 0xc7 == 0x05;
    let next = start.wrapping_add(position as u64 + 7);
    relative.then(|| next.wrapping_add_signed(i64::from(distance)))
}

/// Every aligned piece of bytes with the size of a constant, with its position.
fn words_of(bytes: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    (0..bytes.len()).step_by(8).filter_map(|at| Some((at as u64, bytes.get(at..at.checked_add(LOCATION_BYTES)?)?)))
}

/// The path of a constant; `None` for other data.
fn path_of<'s>(constant: &[u8], sections: &'s [(u64, Vec<u8>)], bias: u64) -> Option<&'s str> {
    let word = |at: usize| constant.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
    let half = |at: usize| constant.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
    let length = word(8).filter(|length| (4..=MAX_PATH).contains(length))?;
    if half(16)? == 0 || half(20)? == 0 {
        return None;
    }
    let pointer = word(0)?.checked_sub(bias)?;
    let (start, bytes) =
        sections.iter().find(|(start, bytes)| (*start..start + bytes.len() as u64).contains(&pointer))?;
    let from = usize::try_from(pointer - start).ok()?;
    let text = bytes.get(from..from.checked_add(usize::try_from(length).ok()?)?)?;
    // Newer compilers end the path with a zero.
    let text = text.strip_suffix(b"\0").unwrap_or(text);
    std::str::from_utf8(text).ok().filter(|path| path.ends_with(".rs") && !path.contains('\0'))
}

/// Reads which addresses in the file hold constants.
struct ReadSections;

impl ObjectReader for ReadSections {
    type Output = Vec<Range<u64>>;

    fn read<'d, R: ReadRef<'d>>(self, file: &object::File<'d, R>) -> Self::Output {
        let holds_constants = |name: &str| name.starts_with(".data.rel.ro") || name.starts_with(".rodata");
        let sections = file.sections().filter(|section| section.name().is_ok_and(holds_constants));
        let sections = sections.filter(|section| section.size() <= MAX_BYTES);
        sections.map(|section| section.address()..section.address().saturating_add(section.size())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::Images;
    use crate::sys::Process;

    #[test]
    fn constants_in_memory_name_source_paths() {
        let mut images = Images::of(Process::own());
        images.load_new().expect("/proc is mounted");
        let here = std::panic::Location::caller();
        let found = Locations::of(images.program().expect("it runs"));
        assert!(found.paths().any(|path| path == here.file()), "{}", here.file());
        assert!(found.paths().any(|path| path.contains("/library/core/src/")));
        let libc = images.all().iter().find(|image| image.name.starts_with("libc.so")).expect("it is linked");
        assert!(Locations::of(libc).is_empty(), "it is not written in Rust");
    }

    #[test]
    fn only_whole_constants_count() {
        let constant = |pointer: u64, length: u64, line: u32| {
            [&pointer.to_le_bytes()[..], &length.to_le_bytes(), &line.to_le_bytes(), &7_u32.to_le_bytes()].concat()
        };
        let texts = (0x100, b"src/a.rs\0src/b.c".to_vec());
        for (bytes, path) in [
            (constant(0x1100, 8, 3), Some("src/a.rs")),
            (constant(0x1100, 9, 3), Some("src/a.rs")),
            (constant(0x1100, 8, 0), None),
            (constant(0x1109, 7, 3), None),
            (constant(0x1100, 400, 3), None),
            (constant(0x100, 8, 3), None),
            (constant(u64::MAX, u64::MAX, 3), None),
        ] {
            let found = Locations::in_sections(&[texts.clone(), (0x200, bytes)], 0x1000);
            assert_eq!(found.paths().next(), path);
        }
        // lea rdi, [rip + 0xf9] at 0x100: the next instruction lies at 0x107.
        let found = Locations::in_sections(&[texts, (0x200, constant(0x1100, 8, 3))], 0x1000);
        let code = [0x48, 0x8d, 0x3d, 0xf9, 0, 0, 0, 0xc3];
        assert_eq!(found.referred_by(&code, 0x100).into_iter().collect::<Vec<_>>(), ["src/a.rs"]);
        assert!(found.referred_by(&code, 0x101).is_empty() && found.referred_by(&code[..6], 0x100).is_empty());
    }
}
