//! Looks addresses up: debug information where there is some, otherwise the symbol table.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use addr2line::Loader;

use super::names::readable;
use super::origin::Origins;
use crate::images::{Exports, Image, Images};
use crate::model::profile::Mapping;
use crate::model::stack::{Address, Frame, Origin};
use crate::sys::Process;

/// Addresses whose frames are remembered. Emptied when full: the next stalls fill it again.
const MAX_REMEMBERED: usize = 16 * 1024;

/// Names for addresses of a process.
pub(crate) struct Symbolizer {
    origins: Origins,
    images: Images,
    /// `None` where a file cannot be read.
    loaders: HashMap<PathBuf, Option<Loader>>,
    /// By the first address of the image. Read only where nothing else names its code.
    exports: HashMap<u64, Exports>,
    remembered: HashMap<Address, Arc<[Frame]>>,
}

impl std::fmt::Debug for Symbolizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Symbolizer").field("origins", &self.origins).finish_non_exhaustive()
    }
}

impl Symbolizer {
    pub(crate) fn of(process: Process, origins: Origins) -> Self {
        Self {
            origins,
            images: Images::of(process),
            loaders: HashMap::new(),
            exports: HashMap::new(),
            remembered: HashMap::new(),
        }
    }

    /// Treats a crate as the user's from here on, where there are no line tables to tell.
    pub(crate) fn add_user_crate(&mut self, name: &str) {
        if !self.origins.user_crates.iter().any(|known| known == name) {
            self.origins.user_crates.push(name.to_owned());
            self.remembered.clear();
        }
    }

    /// Shows paths in these folders relative to them from here on.
    #[cfg(feature = "attach")]
    pub(crate) fn add_source_roots(&mut self, folders: Vec<String>) {
        self.origins.source_roots.extend(folders);
        self.remembered.clear();
    }

    /// Forgets every name, but keeps what was opened for them.
    #[cfg(feature = "bench")]
    pub(crate) fn forget(&mut self) {
        self.remembered.clear();
    }

    /// Opens the program's debug information, which takes milliseconds, before it is needed.
    pub(crate) fn warm_up(&mut self) {
        if self.images.load_new().is_err() {
            return;
        }
        if let Some(program) = self.images.program().cloned() {
            self.loader(&program);
        }
    }

    /// Opens everything that names code, which may be gone once the process is.
    #[cfg(feature = "attach")]
    pub(crate) fn open_all(&mut self) {
        if self.images.load_new().is_ok() {
            let all = self.images.all().to_vec();
            all.iter().for_each(|image| self.loader(image));
        }
    }

    /// The frames behind a stack of addresses, innermost first, inlined calls as frames of their own.
    pub(crate) fn frames(&mut self, addresses: &[Address]) -> Vec<Frame> {
        addresses.iter().flat_map(|address| self.frames_at(*address).to_vec()).collect()
    }

    /// The programs and libraries that addresses may lie in.
    pub(crate) fn mappings(&mut self) -> Vec<Mapping> {
        // What cannot be listed now may have been before.
        let _unreadable = self.images.load_new();
        self.images.all().iter().map(mapping_of).collect()
    }

    /// The frames of one address, innermost first: inlined calls, and last the function that was really called.
    pub(crate) fn frames_at(&mut self, address: Address) -> Arc<[Frame]> {
        if let Some(frames) = self.remembered.get(&address) {
            return Arc::clone(frames);
        }
        let frames: Arc<[Frame]> = self.look_up(address).into();
        if self.remembered.len() >= MAX_REMEMBERED {
            self.remembered.clear();
        }
        self.remembered.insert(address, Arc::clone(&frames));
        frames
    }

    /// The frame of a function that was looked up elsewhere, by its symbol.
    pub(crate) fn named(&self, mangled: &str, file: Option<&str>, line: Option<u32>) -> Frame {
        self.described(readable_symbol(mangled), file, line)
    }

    /// The frame of a function whose name is readable already.
    pub(crate) fn described(&self, function: String, file: Option<&str>, line: Option<u32>) -> Frame {
        // Names of C are those of the system; which library they are from is not told.
        let found = self.origins.find(&function, file, function.contains("::"));
        Frame {
            function: function.into(),
            file: file.map(|file| self.origins.shorten(file).into()),
            line: line.filter(|line| *line > 0),
            origin: found.origin,
            package: found.package,
        }
    }

    fn look_up(&mut self, address: Address) -> Vec<Frame> {
        if self.images.find(address.0).is_none() && self.images.load_new().is_err() {
            return vec![nameless(address, None)];
        }
        let Some(image) = self.images.find(address.0).cloned() else { return vec![nameless(address, None)] };
        let in_file = address.0.wrapping_sub(image.bias);
        self.loader(&image);
        let loader = image.path.as_ref().and_then(|path| self.loaders.get(path)?.as_ref());
        let mut frames = loader.map_or_else(Vec::new, |loader| self.with_lines(loader, in_file, &image));
        if frames.is_empty() {
            let symbol = loader.and_then(|loader| loader.find_symbol(in_file)).map(readable_symbol);
            let symbol = symbol.or_else(|| self.exported(&image, in_file));
            frames.push(match symbol {
                Some(name) => self.frame(name, None, None, &image),
                None => nameless(address, Some(&image)),
            });
        }
        frames
    }

    /// The name of an exported function, of a library that has no other symbols, or of the vDSO.
    fn exported(&mut self, image: &Image, in_file: u64) -> Option<String> {
        let exports = self.exports.entry(image.range.start).or_insert_with(|| image.exports());
        exports.find(in_file).map(readable_symbol)
    }

    fn loader(&mut self, image: &Image) {
        if let Some(path) = &image.path {
            self.loaders.entry(path.clone()).or_insert_with(|| Loader::new(path).ok());
        }
    }

    /// Frames from debug information; empty where there is none for this address.
    fn with_lines(&self, loader: &Loader, address: u64, image: &Image) -> Vec<Frame> {
        let Ok(mut found) = loader.find_frames(address) else { return Vec::new() };
        let mut frames = Vec::new();
        // Broken debug information ends the list; what was read before it stays.
        while let Ok(Some(frame)) = found.next() {
            let name = frame.function.as_ref().and_then(|function| function.raw_name().ok());
            let file = frame.location.as_ref().and_then(|location| location.file);
            let line = frame.location.as_ref().and_then(|location| location.line);
            frames.push((name.map_or_else(String::new, |name| readable_symbol(&name)), file, line));
        }
        // The last one was really called, so the symbol table knows it, with its path.
        let called = frames.last_mut().filter(|(name, ..)| !name.contains("::"));
        if let (Some((name, ..)), Some(symbol)) = (called, loader.find_symbol(address)) {
            *name = readable_symbol(symbol);
        }
        frames.into_iter().map(|(name, file, line)| self.frame(name, file, line, image)).collect()
    }

    fn frame(&self, function: String, file: Option<&str>, line: Option<u32>, image: &Image) -> Frame {
        // Code without a line has been put together from several places, and its file may be any of theirs.
        let trusted = file.filter(|_| line.is_some_and(|line| line > 0));
        let found = self.origins.find(&function, trusted, image.program);
        let library = (!image.program).then(|| Arc::clone(&image.name));
        // `debug = "line-tables-only"` names inlined functions without their path; their file tells most of it.
        let module = file.filter(|_| !function.contains("::")).and_then(|file| self.origins.module_of(file));
        let function = match module {
            Some(module) if image.program => format!("{module}::{function}"),
            _ => function,
        };
        Frame {
            function: function.into(),
            file: file.map(|file| self.origins.shorten(file).into()),
            line: line.filter(|line| *line > 0),
            origin: found.origin,
            package: found.package.or(library),
        }
    }
}

fn readable_symbol(mangled: &str) -> String {
    readable(&format!("{:#}", rustc_demangle::demangle(mangled)))
}

fn mapping_of(image: &Image) -> Mapping {
    let file = image.path.as_ref().map_or_else(|| image.name.to_string(), |path| path.to_string_lossy().into_owned());
    Mapping { build_id: image.build_id().map(Arc::from), ..Mapping::new(image.range.start, image.range.end, 0, file) }
}

/// A frame that nothing names: `library+0x1234`, so that it can be looked up elsewhere.
fn nameless(address: Address, image: Option<&Image>) -> Frame {
    let function = match image {
        Some(image) => format!("{}+{:#x}", image.name, address.0.wrapping_sub(image.bias)),
        None => format!("{:#x}", address.0),
    };
    let system = image.is_some_and(|image| !image.program);
    Frame {
        function: function.into(),
        file: None,
        line: None,
        origin: if system { Origin::System } else { Origin::Unknown },
        package: image.map(|image| Arc::clone(&image.name)),
    }
}
