//! The path of a program's file and the folder in which it runs.

use std::path::PathBuf;
use std::sync::Arc;

use crate::symbols::Origins;
#[cfg(feature = "attach")]
use crate::sys::Process;

/// The path of a program's file and its working folder.
#[derive(Debug)]
pub(crate) struct ProgramPath {
    path: Option<PathBuf>,
    folder: Option<PathBuf>,
}

impl ProgramPath {
    /// Those of our own program.
    pub(crate) fn own() -> Self {
        Self { path: std::env::current_exe().ok(), folder: std::env::current_dir().ok() }
    }

    /// Those of another process.
    #[cfg(feature = "attach")]
    pub(crate) fn of(process: Process) -> Self {
        let path = std::fs::read_link(process.file("exe")).ok().map(|path| {
            let shown = path.to_string_lossy();
            // The kernel appends this to the path of a deleted file.
            shown.strip_suffix(" (deleted)").map_or_else(|| path.clone(), PathBuf::from)
        });
        Self { path, folder: std::fs::read_link(process.file("cwd")).ok() }
    }

    /// Those of a process that has ended.
    #[cfg(feature = "cli")]
    pub(crate) fn of_ended(path: &str, folder: &str) -> Self {
        let known = |path: &str| Some(path).filter(|path| !path.is_empty()).map(PathBuf::from);
        Self { path: known(path), folder: known(folder) }
    }

    /// The name of its file, for display.
    pub(crate) fn name(&self) -> Arc<str> {
        self.file_name().as_deref().unwrap_or("unknown").into()
    }

    /// The name of its file, if known.
    pub(crate) fn file_name(&self) -> Option<String> {
        Some(self.path.as_ref()?.file_name()?.to_string_lossy().into_owned())
    }

    /// The origins of the program's code. Shown paths are relative to the folder in which the program was built, if it still
    /// lies there, and to its working folder.
    pub(crate) fn origins(&self, user_crates: Vec<String>) -> Origins {
        let built_in = self.path.as_ref().and_then(|path| path.to_str()?.split_once("/target/").map(|(root, _)| root));
        let started_in = self.folder.as_ref().and_then(|folder| folder.to_str());
        let roots = [built_in, started_in].into_iter().flatten().filter(|root| root.len() > 1);
        Origins { user_crates, source_roots: roots.map(str::to_owned).collect(), ..Origins::default() }
    }
}
