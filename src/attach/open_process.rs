//! A process that exists and may be read. Everything about it starts here.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::error::AttachError;
use super::options::Options;
use super::remedies;
use super::symbol_file::Contents;
use crate::debug_files::Identity;
use crate::images::Images;
use crate::process::Stops;
use crate::program_path::ProgramPath;
use crate::symbols::{NameTable, Symbolizer};
use crate::sys::{self, Permissions, Process};

/// A process that exists and may be read.
#[derive(Debug)]
pub(crate) struct OpenProcess {
    pub(crate) process: Process,
    /// The file name of its program.
    pub(crate) program: Arc<str>,
    pub(crate) options: Options,
    /// The contents of the given symbol file.
    pub(crate) symbols: Option<Contents>,
}

impl OpenProcess {
    /// Checks that the process can be read, and reads the symbol file.
    ///
    /// # Errors
    /// See [`AttachError`]: each message names the remedy.
    pub(crate) fn open(pid: u32, options: Options) -> Result<Self, AttachError> {
        if !sys::SUPPORTED {
            return Err(AttachError::Unsupported);
        }
        let process = Process::with_id(pid);
        check(process, &Permissions::own())?;
        sys::raise_file_limit();
        let symbols = options.symbols.as_deref().map(|file| read_symbols(process, file)).transpose()?;
        Ok(Self { process, program: ProgramPath::of(process).name(), options, symbols })
    }

    /// The stops of an observation that begins now.
    pub(crate) fn stops(&self) -> Stops {
        Stops::new(!self.options.never_stop)
    }

    /// Names for its addresses.
    ///
    /// # Errors
    /// When the symbol file is damaged.
    pub(crate) fn symbolizer(&self) -> Result<Symbolizer, AttachError> {
        let origins = ProgramPath::of(self.process).origins(Vec::new());
        let mut symbolizer = Symbolizer::of(self.process, origins);
        if let (Some(contents), Some(file)) = (&self.symbols, &self.options.symbols) {
            let names = NameTable::from_bytes(&contents.names).ok_or_else(|| refused(file, "it is damaged"))?;
            symbolizer.use_names(names);
        }
        Ok(symbolizer)
    }
}

/// Reads a symbol file that belongs to the program of this process.
fn read_symbols(process: Process, file: &Path) -> Result<Contents, AttachError> {
    let mut images = Images::of(process);
    images.load_new().map_err(|error| AttachError::of_read(process, error))?;
    let path = images.program().and_then(|image| image.path.clone());
    let path = path.ok_or_else(|| refused(file, "the program's own file is gone"))?;
    let identity = Identity::of(&path).map_err(|error| refused(file, format!("the program's own file: {error}")))?;
    let opened = File::open(file).map_err(|error| refused(file, format!("it cannot be read: {error}")))?;
    Contents::read(opened, &identity).map_err(|reason| refused(file, reason))
}

fn refused(file: &Path, reason: impl Into<String>) -> AttachError {
    AttachError::Symbols { file: file.to_owned(), reason: reason.into() }
}

/// Whether the memory map of a process can be read, which is what everything begins with.
pub(crate) fn check(process: Process, rights: &Permissions) -> Result<(), AttachError> {
    let pid = process.id();
    let Some(status) = process.status() else { return Err(AttachError::NoProcess { pid }) };
    if sys::has_ended(status.state) {
        return Err(AttachError::Ended { pid });
    }
    if status.of_kernel {
        return Err(AttachError::Kernel { pid });
    }
    match process.mappings() {
        Ok(_) => Ok(()),
        Err(error) if error.kind() != io::ErrorKind::PermissionDenied => Err(AttachError::NoProcess { pid }),
        Err(_) if status.user != rights.user => Err(AttachError::OtherUser { pid, user: status.user }),
        Err(_) => {
            let reason = remedies::closed_process(status.one_user, rights).to_owned();
            Err(AttachError::Closed { pid, reason })
        }
    }
}
