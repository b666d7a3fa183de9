//! The frames of addresses, from debug information if there is any, otherwise from the symbol table.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use addr2line::Loader;

use super::crate_owners::CrateOwners;
use super::debug_info::{find_frames, open, readable_symbol};
#[cfg(feature = "attach")]
use super::name_table::NameTable;
use super::names::function_item;
use super::origin::Origins;
use crate::images::{Exports, Image, Images};
use crate::model::profile::Mapping;
use crate::model::stack::{Address, Frame, Origin};
use crate::sys::Process;

/// Addresses in the cache of frames. A full cache is emptied.
const MAX_CACHED: usize = 16 * 1024;

/// Symbolizes the addresses of a process.
pub(crate) struct Symbolizer {
    origins: Origins,
    images: Images,
    /// By path; `None` for a file that cannot be read.
    loaders: HashMap<PathBuf, Option<Loader>>,
    /// By the first address of the image. Read only if nothing else names its code.
    exports: HashMap<u64, Exports>,
    /// Who owns the crates of the program.
    program: OnceLock<Arc<CrateOwners>>,
    /// Who owns the crates of libraries, by the first address of each.
    libraries: HashMap<u64, Arc<CrateOwners>>,
    build_advice: Option<Option<&'static str>>,
    cached: HashMap<Address, Arc<[Frame]>>,
    /// Names of a stripped program's code.
    #[cfg(feature = "attach")]
    names: Option<NameTable>,
}

impl std::fmt::Debug for Symbolizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Symbolizer").field("origins", &self.origins).finish_non_exhaustive()
    }
}

impl Symbolizer {
    pub(crate) fn of(process: Process, origins: Origins) -> Self {
        Self::of_images(Images::of(process), origins)
    }

    /// Symbolizes addresses in these images, and in others that the process loads.
    pub(crate) fn of_images(images: Images, origins: Origins) -> Self {
        Self {
            origins,
            images,
            loaders: HashMap::new(),
            exports: HashMap::new(),
            program: OnceLock::new(),
            libraries: HashMap::new(),
            build_advice: None,
            cached: HashMap::new(),
            #[cfg(feature = "attach")]
            names: None,
        }
    }

    /// Uses a table for the program's code from now on, before its file.
    #[cfg(feature = "attach")]
    pub(crate) fn use_names(&mut self, names: NameTable) {
        self.names = Some(names);
        self.cached.clear();
    }

    /// Presumes from now on that a crate is the user's, unless the program shows another owner.
    pub(crate) fn presume_user_crate(&mut self, name: &str) {
        if !self.origins.presumed.iter().any(|known| known == name) {
            self.origins.presumed.push(name.to_owned());
            self.cached.clear();
        }
    }

    /// The crates that are known to be the user's without line tables.
    pub(crate) fn user_crates(&self) -> Vec<String> {
        let found = self.owners_of_program().user_crates();
        let mut all = self.origins.user_crates.clone();
        all.extend(found.into_iter().filter(|name| !self.origins.user_crates.contains(name)));
        all
    }

    /// What a report says whose stack shows no function of the user: the settings for a build with more names. `None` if the
    /// build names every function.
    pub(crate) fn build_advice(&mut self) -> Option<&'static str> {
        #[cfg(feature = "attach")]
        if self.names.is_some() {
            return None;
        }
        *self.build_advice.get_or_insert_with(|| {
            let mut images = Images::of(self.images.process());
            images.load_new().ok()?;
            // The user's code may lie in a library that another language has loaded.
            let program = images.program().into_iter();
            let mut all = program.chain(images.all().iter().filter(|image| !image.program));
            all.find(|image| CrateOwners::of(image).holds_rust())?.names()?.advice()
        })
    }

    fn owners_of_program(&self) -> Arc<CrateOwners> {
        Arc::clone(self.program.get_or_init(|| {
            let mut loaded = Images::of(self.images.process());
            let program = self.images.program().or_else(|| loaded.load_new().ok()?.iter().find(|image| image.program));
            Arc::new(program.map_or_else(CrateOwners::unknown, CrateOwners::of))
        }))
    }

    fn owners_of(&mut self, image: &Image) -> Arc<CrateOwners> {
        if image.program {
            return self.owners_of_program();
        }
        Arc::clone(self.libraries.entry(image.range.start).or_insert_with(|| Arc::new(CrateOwners::of(image))))
    }

    /// Shows paths in these folders relative to them from now on.
    #[cfg(feature = "attach")]
    pub(crate) fn add_source_roots(&mut self, folders: Vec<String>) {
        self.origins.source_roots.extend(folders);
        self.cached.clear();
    }

    /// Empties the cache of frames. Opened files stay open.
    #[cfg(feature = "bench")]
    pub(crate) fn clear_cache(&mut self) {
        self.cached.clear();
    }

    /// Opens the program's debug information in advance, because that takes milliseconds.
    pub(crate) fn warm_up(&mut self) {
        if self.images.load_new().is_err() {
            return;
        }
        if let Some(program) = self.images.program().cloned() {
            self.loader(&program);
        }
    }

    /// Opens every file that names code. A file may be gone after the end of the process.
    #[cfg(feature = "attach")]
    pub(crate) fn open_all(&mut self) {
        if self.images.load_new().is_ok() {
            let all = self.images.all().to_vec();
            all.iter().for_each(|image| self.loader(image));
        }
    }

    /// The frames of a stack of addresses, innermost first. Each inlined call is a frame.
    pub(crate) fn frames(&mut self, addresses: &[Address]) -> Vec<Frame> {
        addresses.iter().flat_map(|address| self.frames_at(*address).to_vec()).collect()
    }

    /// The mappings of all programs and libraries.
    pub(crate) fn mappings(&mut self) -> Vec<Mapping> {
        // Images of an earlier list stay known after an error.
        let _unreadable = self.images.load_new();
        self.images.all().iter().map(mapping_of).collect()
    }

    /// The frames of one address, innermost first: inlined calls, then the called function.
    pub(crate) fn frames_at(&mut self, address: Address) -> Arc<[Frame]> {
        if let Some(frames) = self.cached.get(&address) {
            return Arc::clone(frames);
        }
        let frames: Arc<[Frame]> = self.look_up(address).into();
        if self.cached.len() >= MAX_CACHED {
            self.cached.clear();
        }
        self.cached.insert(address, Arc::clone(&frames));
        frames
    }

    /// The frame of a function with a known symbol.
    pub(crate) fn named(&self, mangled: &str, file: Option<&str>, line: Option<u32>) -> Frame {
        self.described(readable_symbol(mangled), file, line)
    }

    /// The frame of a function with a known readable name.
    pub(crate) fn described(&self, function: String, file: Option<&str>, line: Option<u32>) -> Frame {
        let owners = match file {
            None if function.contains("::") => self.owners_of_program(),
            // A C name counts as the system's. Its library is unknown.
            _ => Arc::new(CrateOwners::unknown()),
        };
        let found = self.origins.find(&function, file, &owners);
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
        let owners = self.owners_of(&image);
        #[cfg(feature = "attach")]
        if image.program
            && let Some(names) = &self.names
        {
            let found = names.find(in_file).into_iter();
            let frames: Vec<Frame> =
                found.map(|(name, file, line)| self.frame(name.to_owned(), file, line, &image, &owners)).collect();
            if !frames.is_empty() {
                return frames;
            }
        }
        self.loader(&image);
        let loader = image.path.as_ref().and_then(|path| self.loaders.get(path)?.as_ref());
        let mut frames =
            loader.map_or_else(Vec::new, |loader| self.frames_by_debug_info(loader, in_file, &image, &owners));
        if frames.is_empty() {
            let symbol = loader.and_then(|loader| loader.find_symbol(in_file)).map(readable_symbol);
            let symbol = symbol.or_else(|| self.exported(&image, in_file));
            frames.push(match symbol {
                Some(name) => self.frame(name, None, None, &image, &owners),
                None => nameless(address, Some(&image)),
            });
        }
        frames
    }

    /// The name of an exported function. A stripped library and the vDSO have no other symbols.
    fn exported(&mut self, image: &Image, in_file: u64) -> Option<String> {
        let exports = self.exports.entry(image.range.start).or_insert_with(|| image.exports());
        exports.find(in_file).map(readable_symbol)
    }

    fn loader(&mut self, image: &Image) {
        if let Some(path) = &image.path {
            self.loaders.entry(path.clone()).or_insert_with(|| open(path));
        }
    }

    /// Frames from debug information; empty without debug information for this address.
    fn frames_by_debug_info(&self, loader: &Loader, address: u64, image: &Image, owners: &CrateOwners) -> Vec<Frame> {
        let found = find_frames(loader, address).into_iter();
        found.map(|(name, file, line)| self.frame(name, file, line, image, owners)).collect()
    }

    fn frame(
        &self,
        function: String,
        file: Option<&str>,
        line: Option<u32>,
        image: &Image,
        owners: &CrateOwners,
    ) -> Frame {
        // The compiler merged code without a line from several places, so its file may be any of theirs.
        let trusted = file.filter(|_| line.is_some_and(|line| line > 0));
        let found = self.origins.find(&function, trusted, owners);
        let library = (!image.program).then(|| Arc::clone(&image.name));
        // `debug = "line-tables-only"` names inlined functions without their path. The name of their file shows most of the
        // path.
        let module = file.filter(|_| !function.contains("::")).and_then(|file| self.origins.module_of(file));
        let function = match module {
            Some(module) if image.program => format!("{module}::{function}"),
            // Where lines are known, the frame of the function itself is there too.
            _ if trusted.is_none() => function_item(&function).map(str::to_owned).unwrap_or(function),
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

fn mapping_of(image: &Image) -> Mapping {
    let file = image.path.as_ref().map_or_else(|| image.name.to_string(), |path| path.to_string_lossy().into_owned());
    Mapping { build_id: image.build_id().map(Arc::from), ..Mapping::new(image.range.start, image.range.end, 0, file) }
}

/// A frame without a name, as `library+0x1234`. Other tools can resolve it.
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
