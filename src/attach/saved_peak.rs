//! The peak of a process that has ended: from its file, and from the files of its program and libraries.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use crate::debug_files::{Links, hexadecimal};
use crate::heap::{FileError, SavedImage, SavedPeak, file_facts, newest_peak, without_allocator};
use crate::images::{Image, Images};
use crate::model::profile::{Mapping, Profile};
use crate::program_path::ProgramPath;
use crate::symbols::Symbolizer;

/// Whether these bytes are the file of a peak, even if it has none yet.
pub(crate) fn holds_peak(bytes: &[u8]) -> bool {
    !matches!(newest_peak(bytes), Err(FileError::Foreign))
}

/// Reads the file of a peak, and names its stacks. `program` is the program's file, where it lies elsewhere by now.
///
/// # Errors
/// The end of a sentence about the file, or a sentence about `program`.
pub(crate) fn read_peak(bytes: &[u8], program: Option<&Path>) -> Result<Profile, String> {
    let (_, contents) = newest_peak(bytes).map_err(|error| error.to_string())?;
    let peak = SavedPeak::read(contents).ok_or_else(|| FileError::Damaged.to_string())?;
    let (mut images, mut notes) = (Vec::new(), Vec::new());
    for saved in &peak.images {
        let found = match program.filter(|_| saved.program) {
            Some(program) => given(saved, program).map(Some)?,
            None => found(saved),
        };
        let has_code = || peak.addresses.iter().any(|address| saved.contains(*address));
        if found.is_none() && !saved.path.is_empty() && has_code() {
            notes.push(missing(saved));
        }
        images.push(Image::of_ended(saved.start..saved.end, saved.bias, &saved.name, found, saved.program));
    }
    let path = ProgramPath::of_ended(&peak.program, &peak.folder);
    let mut symbolizer = Symbolizer::of_images(Images::of_ended(images), path.origins(Vec::new()));
    let mappings = peak.images.iter().map(mapping).collect();
    let collection = peak.collection();
    let resolved = collection.resolve(&path.name(), peak.pid, mappings, |address| symbolizer.frames_at(address));
    let mut profile = without_allocator(resolved);
    profile.started_at = SystemTime::UNIX_EPOCH + peak.at;
    profile.quality.notes.extend(notes);
    Ok(profile)
}

fn mapping(image: &SavedImage) -> Mapping {
    let file = if image.path.is_empty() { &image.name } else { &image.path };
    Mapping { build_id: image.build_id.as_deref().map(Arc::from), ..Mapping::new(image.start, image.end, 0, &**file) }
}

/// The file of the same build: that which was loaded, or a debug file with its build id.
fn found(image: &SavedImage) -> Option<PathBuf> {
    let path = Path::new(&image.path);
    if image.path.is_empty() {
        return None;
    }
    if is_same_build(image, path) {
        return Some(path.to_owned());
    }
    let links = Links::of_build(bytes_of(image.build_id.as_deref()?)?);
    links.find(path).found.into_iter().next()
}

fn is_same_build(image: &SavedImage, path: &Path) -> bool {
    match &image.build_id {
        Some(saved) => build_id(path).as_ref() == Some(saved),
        None => file_facts(path) == Some(image.file),
    }
}

/// The file that was given for the program.
fn given(image: &SavedImage, path: &Path) -> Result<PathBuf, String> {
    let size = || std::fs::metadata(path).map(|metadata| metadata.len());
    if let Err(error) = size() {
        return Err(format!("{} cannot be read: {error}", path.display()));
    }
    let reason = match (&image.build_id, build_id(path)) {
        (Some(saved), Some(found)) if *saved == found => return Ok(path.to_owned()),
        (Some(saved), found) => {
            format!("build id {} instead of {saved}", found.as_deref().unwrap_or("none"))
        }
        // A copy has another time.
        (None, _) if size().is_ok_and(|size| size == image.file.0) => return Ok(path.to_owned()),
        (None, _) => format!("it does not have the size of {} bytes", image.file.0),
    };
    Err(format!("{} is not the build of the program whose peak this is: {reason}", path.display()))
}

fn build_id(path: &Path) -> Option<String> {
    Links::read(path).ok()?.build_id.as_deref().map(hexadecimal)
}

fn bytes_of(hexadecimal: &str) -> Option<Vec<u8>> {
    let digits = hexadecimal.as_bytes().chunks(2);
    digits.map(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok()).collect()
}

/// What a reader lacks, and what would help.
fn missing(image: &SavedImage) -> String {
    let is = if Path::new(&image.path).exists() { "is another build now" } else { "is not there any more" };
    let id = image.build_id.as_ref().map_or_else(String::new, |id| format!(" (build id {id})"));
    let remedy = if image.program { "; give the program of that build with --program" } else { "" };
    format!("{}{id} {is}, so its functions have no names{remedy}", image.path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_is_told_by_its_id_or_by_its_file() {
        let own = std::env::current_exe().expect("it runs");
        let path = own.to_string_lossy().into_owned();
        let image =
            SavedImage { path, program: true, file: file_facts(&own).expect("it is there"), ..SavedImage::default() };
        assert_eq!(found(&image), Some(own.clone()), "without a build id, its size and time");
        let later = SavedImage { file: (image.file.0, image.file.1 + 1), ..image.clone() };
        assert_eq!(found(&later), None);
        assert_eq!(given(&later, &own), Ok(own.clone()), "a copy has another time");
        let longer = SavedImage { file: (image.file.0 + 1, image.file.1), ..image.clone() };
        assert!(given(&longer, &own).expect_err("it is another one").contains("is not the build of the program"));
        let other = SavedImage { build_id: Some("00ff".to_owned()), ..image };
        assert_eq!(found(&other), None);
        let error = given(&other, &own).expect_err("it is another one");
        assert!(error.contains("instead of 00ff"), "{error}");
        assert!(missing(&other).contains("(build id 00ff) is another build now"), "{}", missing(&other));
        assert!(given(&other, Path::new("/nowhere")).expect_err("it is gone").contains("cannot be read"));
    }
}
