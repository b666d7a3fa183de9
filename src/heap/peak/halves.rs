//! The format of the file: two halves, which are written in turn. A process that is killed in mid-write leaves the older
//! half whole.
//!
//! Each half begins with a magic number, the version of the format, a checksum of the rest, a sequence number and a length.

use std::fmt;

/// The size of a half in bytes.
pub(super) const HALF: usize = 2 << 20;

/// The size of the file.
pub(super) const FILE: usize = 2 * HALF;

const MAGIC: &[u8; 8] = b"holduppk";

/// Files of other versions are refused: the peak of a crash is read soon, by the same holdup.
const VERSION: u32 = 1;

/// Magic number, version and checksum.
const UNSUMMED: usize = 16;

/// What precedes the contents: also sequence number and length.
const HEAD: usize = UNSUMMED + 16;

/// The largest contents of a half.
pub(super) const MAX_CONTENTS: usize = HALF - HEAD;

/// Why a file has no readable peak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileError {
    /// It is another file.
    Foreign,
    /// It was made, and no peak was written yet. A process that ended at once leaves it so.
    Unused,
    OtherVersion,
    Damaged,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Foreign => "it holds no peak of a heap",
            Self::Unused => "no peak was written to it",
            Self::OtherVersion => "another version of holdup wrote it; read it with that version",
            Self::Damaged => "it is damaged",
        })
    }
}

impl std::error::Error for FileError {}

/// The bytes of a half.
pub(super) fn half(sequence: u64, contents: &[u8]) -> Vec<u8> {
    let length = contents.len() as u64;
    let mut bytes = Vec::with_capacity(HEAD + contents.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&sequence.to_le_bytes());
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(contents);
    let sum = crc32fast::hash(bytes.get(UNSUMMED..).unwrap_or_default());
    if let Some(place) = bytes.get_mut(UNSUMMED - 4..UNSUMMED) {
        place.copy_from_slice(&sum.to_le_bytes());
    }
    bytes
}

/// Where the half with this number begins in the file.
pub(super) fn position(sequence: u64) -> u64 {
    (sequence % 2) * HALF as u64
}

/// Whether these are the bytes of such a file, whole or not.
fn is_peak_file(bytes: &[u8]) -> bool {
    let begins = |at: usize| bytes.get(at..).is_some_and(|half| half.starts_with(MAGIC));
    begins(0) || begins(HALF)
}

/// The newest whole half: its sequence number and contents.
pub(crate) fn newest(file: &[u8]) -> Result<(u64, &[u8]), FileError> {
    // A process may also end while it reserves the room.
    if (1..=FILE).contains(&file.len()) && file.iter().all(|byte| *byte == 0) {
        return Err(FileError::Unused);
    }
    if !is_peak_file(file) {
        return Err(FileError::Foreign);
    }
    let (first, second) = file.split_at(HALF.min(file.len()));
    let both = [read(first), read(second)];
    let is_other = both.contains(&Err(FileError::OtherVersion));
    let whole = both.into_iter().flatten().max_by_key(|(sequence, _)| *sequence);
    whole.ok_or(if is_other { FileError::OtherVersion } else { FileError::Damaged })
}

fn read(half: &[u8]) -> Result<(u64, &[u8]), FileError> {
    let rest = half.strip_prefix(MAGIC).ok_or(FileError::Damaged)?;
    let (version, rest) = rest.split_first_chunk().ok_or(FileError::Damaged)?;
    if u32::from_le_bytes(*version) != VERSION {
        return Err(FileError::OtherVersion);
    }
    let (sum, summed) = rest.split_first_chunk().ok_or(FileError::Damaged)?;
    let (sequence, rest) = summed.split_first_chunk().ok_or(FileError::Damaged)?;
    let (length, rest) = rest.split_first_chunk().ok_or(FileError::Damaged)?;
    let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| FileError::Damaged)?;
    let contents = rest.get(..length).ok_or(FileError::Damaged)?;
    let summed = summed.get(..16 + length).ok_or(FileError::Damaged)?;
    if crc32fast::hash(summed) != u32::from_le_bytes(*sum) {
        return Err(FileError::Damaged);
    }
    Ok((u64::from_le_bytes(*sequence), contents))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file after these writes. Of the last one, only so many bytes arrive.
    fn file(writes: &[(u64, &[u8])], arrive: usize) -> Vec<u8> {
        let mut file = vec![0; FILE];
        for (number, (sequence, contents)) in writes.iter().enumerate() {
            let half = half(*sequence, contents);
            let length = if number + 1 == writes.len() { arrive.min(half.len()) } else { half.len() };
            let at = position(*sequence) as usize;
            file[at..at + length].copy_from_slice(&half[..length]);
        }
        file
    }

    #[test]
    fn a_write_that_ends_early_leaves_the_older_half() {
        let writes: [(u64, &[u8]); 3] = [(1, b"one"), (2, b"two"), (3, b"three")];
        for arrive in 0..HEAD + b"three".len() {
            // The third half has the length of the first one's head, so its first bytes may even be equal.
            assert_eq!(newest(&file(&writes, arrive)), Ok((2, &b"two"[..])), "{arrive} bytes");
        }
        assert_eq!(newest(&file(&writes, HALF)), Ok((3, &b"three"[..])));
    }

    #[test]
    fn what_is_no_peak_is_told_apart() {
        assert_eq!((newest(&file(&[], 0)), newest(&[0; 100])), (Err(FileError::Unused), Err(FileError::Unused)));
        for other in [&b""[..], b"{}", b"holdup"] {
            assert_eq!(newest(other), Err(FileError::Foreign));
        }
        let whole = file(&[(1, b"one")], HALF);
        let mut newer = whole.clone();
        newer[HALF + 8] += 1;
        assert_eq!(newest(&newer), Err(FileError::OtherVersion));
        for at in [HALF + 12, HALF + 17, HALF + 25, HALF + HEAD] {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x40;
            assert_eq!(newest(&damaged), Err(FileError::Damaged), "byte {at}");
        }
        assert_eq!(newest(&whole[..HALF + HEAD + 1]), Err(FileError::Damaged), "a part of the file");
    }
}
