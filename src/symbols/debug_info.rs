//! Looks up addresses in the debug information and the symbol table of one file.

use std::path::Path;

use addr2line::Loader;

use super::names::readable;

/// The frames of an address: name, file and line of each, innermost first.
pub(super) fn find_frames(loader: &Loader, address: u64) -> Vec<(String, Option<&str>, Option<u32>)> {
    let Ok(mut found) = loader.find_frames(address) else { return Vec::new() };
    let mut frames = Vec::new();
    // Broken debug information ends the list. The frames before it stay.
    while let Ok(Some(frame)) = found.next() {
        let name = frame.function.as_ref().and_then(|function| function.raw_name().ok());
        let file = frame.location.as_ref().and_then(|location| location.file);
        let line = frame.location.as_ref().and_then(|location| location.line);
        frames.push((name.map_or_else(String::new, |name| readable_symbol(&name)), file, line));
    }
    // The last frame is the function that was called. The symbol table has its name with the path.
    let called = frames.last_mut().filter(|(name, ..)| !name.contains("::"));
    if let (Some((name, ..)), Some(symbol)) = (called, loader.find_symbol(address)) {
        *name = readable_symbol(symbol);
    }
    frames
}

/// The debug information and symbols of a program. They may lie in a separate debug file.
pub(super) fn open(path: &Path) -> Option<Loader> {
    #[cfg(feature = "attach")]
    if let Ok((best, _)) = crate::debug_files::best(path)
        && best != path
        && let Ok(loader) = Loader::new(best)
    {
        return Some(loader);
    }
    Loader::new(path).ok()
}

/// The readable name of a symbol.
pub(super) fn readable_symbol(mangled: &str) -> String {
    readable(&format!("{:#}", rustc_demangle::demangle(mangled)))
}
