//! Reads profiles from files: folded stacks, pprof and holdup's JSON. The content decides the format.
//!
//! For any input, reading returns a profile or an error with its place, in bounded memory.

/// The error.
mod error;

/// Folded stacks.
mod folded;

/// holdup's JSON.
mod json;

/// pprof.
mod pprof;

use std::borrow::Cow;
use std::io::Read;

use flate2::read::MultiGzDecoder;

pub use error::ReadError;

use crate::export::profile::Format;
use crate::model::profile::Profile;

/// The size limit of an uncompressed file. The largest real profiles have some ten million bytes.
pub(crate) const MAX_BYTES: u64 = 256 * 1024 * 1024;

/// The first bytes of every gzip file.
const GZIP: [u8; 2] = [0x1f, 0x8b];

impl Profile {
    /// Reads a profile from the content of a file: folded stacks, pprof or holdup's JSON, possibly gzipped.
    ///
    /// # Errors
    /// If the content has another format, is damaged, or is larger than 256 MiB uncompressed.
    pub fn read(bytes: &[u8]) -> Result<Self, ReadError> {
        read(bytes, None)
    }
}

/// Reads a profile. Without a format, the content decides.
///
/// # Errors
/// If the content is damaged or too large, or the format can only be written.
pub(crate) fn read(bytes: &[u8], format: Option<Format>) -> Result<Profile, ReadError> {
    let bytes = uncompressed(bytes).map_err(|problem| ReadError::new(format.unwrap_or(Format::Pprof), problem))?;
    match format.unwrap_or_else(|| guess(&bytes)) {
        Format::Folded => folded::read(&bytes),
        Format::Pprof => pprof::read(&bytes),
        Format::Json => json::read(&bytes),
        other => Err(ReadError::new(other, "this format can be written only; keep profiles as json to convert them")),
    }
}

fn uncompressed(bytes: &[u8]) -> Result<Cow<'_, [u8]>, String> {
    let too_large = || format!("it is larger than {} MiB", MAX_BYTES / 1024 / 1024);
    if !bytes.starts_with(&GZIP) {
        return if bytes.len() as u64 > MAX_BYTES { Err(too_large()) } else { Ok(bytes.into()) };
    }
    let mut content = Vec::new();
    let read = MultiGzDecoder::new(bytes).take(MAX_BYTES + 1).read_to_end(&mut content);
    read.map_err(|error| format!("after {} uncompressed bytes: {error}", content.len()))?;
    if content.len() as u64 > MAX_BYTES { Err(too_large()) } else { Ok(content.into()) }
}

/// The format of the content: JSON begins with a brace, folded stacks are text, and everything else is protobuf.
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
    fn the_content_decides_the_format() {
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
    fn a_gzip_bomb_is_an_error() {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        let zeros = vec![0_u8; 1024 * 1024];
        for _ in 0..=MAX_BYTES / (1024 * 1024) {
            std::io::Write::write_all(&mut packed, &zeros).expect("writing to a vector succeeds");
        }
        let bomb = packed.finish().expect("writing to a vector succeeds");
        assert!(bomb.len() < 1024 * 1024, "{} bytes", bomb.len());
        let error = Profile::read(&bomb).expect_err("it is too large").to_string();
        assert!(error.contains("larger than 256 MiB"), "{error}");
    }
}
