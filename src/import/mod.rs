//! Profiles read back from files: folded stacks, Go's profiles, and holdup's own JSON. The content tells which it is.
//!
//! Whatever the bytes are, reading ends with a profile or an error that names the place, in bounded memory.

/// `outermost;…;innermost value`.
mod folded;

/// holdup's own format.
mod json;

/// Go's profiles.
mod pprof;

use std::borrow::Cow;
use std::fmt;
use std::io::Read;

use flate2::read::MultiGzDecoder;

use crate::export::profile::Format;
use crate::model::profile::Profile;

/// The most bytes that a file may have, unpacked. The largest real profiles have some ten million.
pub(crate) const MAX_BYTES: u64 = 256 * 1024 * 1024;

/// What every gzip file begins with.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Why a file could not be read as a profile.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReadError {
    /// What it was taken for: `pprof`, `folded`, `json`.
    pub format: &'static str,
    /// What is wrong, and where.
    pub problem: String,
}

impl ReadError {
    fn new(format: Format, problem: impl Into<String>) -> Self {
        Self { format: format.name(), problem: problem.into() }
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a {} profile that can be read: {}", self.format, self.problem)
    }
}

impl std::error::Error for ReadError {}

impl Profile {
    /// Reads a profile from a file's content: folded stacks, Go's profile, or holdup's own JSON, each also gzipped.
    ///
    /// # Errors
    /// When it is none of these, broken, or larger than 256 MiB when unpacked.
    pub fn read(bytes: &[u8]) -> Result<Self, ReadError> {
        read(bytes, None)
    }
}

/// Reads a profile of a known format, or of the one that the content looks like.
///
/// # Errors
/// When it is broken or too large, or a format that is only written.
pub(crate) fn read(bytes: &[u8], format: Option<Format>) -> Result<Profile, ReadError> {
    let bytes = unpacked(bytes).map_err(|problem| ReadError::new(format.unwrap_or(Format::Pprof), problem))?;
    match format.unwrap_or_else(|| guess(&bytes)) {
        Format::Folded => folded::read(&bytes),
        Format::Pprof => pprof::read(&bytes),
        Format::Json => json::read(&bytes),
        other => Err(ReadError::new(other, "it can be written only; keep the profile as json to make others of it")),
    }
}

fn unpacked(bytes: &[u8]) -> Result<Cow<'_, [u8]>, String> {
    let too_large = || format!("it is larger than {} MiB", MAX_BYTES / 1024 / 1024);
    if !bytes.starts_with(&GZIP) {
        return if bytes.len() as u64 > MAX_BYTES { Err(too_large()) } else { Ok(bytes.into()) };
    }
    let mut unpacked = Vec::new();
    let read = MultiGzDecoder::new(bytes).take(MAX_BYTES + 1).read_to_end(&mut unpacked);
    read.map_err(|error| format!("after {} unpacked bytes: {error}", unpacked.len()))?;
    if unpacked.len() as u64 > MAX_BYTES { Err(too_large()) } else { Ok(unpacked.into()) }
}

/// JSON begins with a brace, folded stacks are text, and anything else can only be protobuf.
fn guess(bytes: &[u8]) -> Format {
    let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    let is_text = |bytes: &[u8]| bytes.iter().all(|byte| *byte >= b' ' || byte.is_ascii_whitespace());
    match first {
        Some(b'{') => Format::Json,
        None => Format::Folded,
        Some(_) if is_text(bytes.get(..4096).unwrap_or(bytes)) => Format::Folded,
        Some(_) => Format::Pprof,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_tells_the_format() {
        for (bytes, format) in [
            (&b" {\"format\":1}"[..], Format::Json),
            (b"main;f 3\n", Format::Folded),
            ("größe;f 3\n".as_bytes(), Format::Folded),
            (b"", Format::Folded),
            (&[0x0a, 0x04, 0x08, 0x01], Format::Pprof),
        ] {
            assert_eq!(guess(bytes), format, "{bytes:?}");
        }
    }

    #[test]
    fn what_unpacks_to_too_much_is_refused() {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        let zeros = vec![0_u8; 1024 * 1024];
        for _ in 0..=MAX_BYTES / (1024 * 1024) {
            std::io::Write::write_all(&mut packed, &zeros).expect("a vector takes everything");
        }
        let bomb = packed.finish().expect("a vector takes everything");
        assert!(bomb.len() < 1024 * 1024, "{} bytes", bomb.len());
        let error = Profile::read(&bomb).expect_err("it is too large").to_string();
        assert!(error.contains("larger than 256 MiB"), "{error}");
    }
}
