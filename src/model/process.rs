//! Processes of this machine, as far as they run Tokio.

/// One process that holds Tokio.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProcessSeen {
    pub(crate) pid: u32,
    /// The id of its user.
    pub(crate) user: u32,
    /// The name of its program's file.
    pub(crate) program: String,
    pub(crate) threads: usize,
    /// Threads with the name that Tokio gives its workers and blocking threads unless it is told another.
    pub(crate) tokio_threads: usize,
    /// What its files tell; `None` where they cannot be read.
    pub(crate) facts: Option<ProgramFacts>,
    pub(crate) verbs: Vec<VerbSeen>,
}

/// A verb of the command, and whether it works for a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VerbSeen {
    pub(crate) verb: &'static str,
    /// Why not, and what to do.
    pub(crate) refused: Option<String>,
}

/// What the file of a program or library tells about Tokio in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProgramFacts {
    /// It holds Tokio's code.
    pub(crate) tokio: bool,
    /// Which versions, where paths of its sources are in the file.
    pub(crate) versions: Vec<String>,
    pub(crate) debug: DebugTier,
    /// The file that the debug information is in, where that is another.
    pub(crate) debug_file: Option<String>,
}

/// What a file, or the debug file that belongs to it, offers for naming code and reading data; each includes the ones
/// before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum DebugTier {
    /// Stripped: addresses only.
    #[default]
    None,
    /// Functions.
    Symbols,
    /// Functions, inlined calls, files and lines.
    Lines,
    /// Types too, those of futures among them.
    Full,
}

impl DebugTier {
    /// The word for tables and JSON.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Symbols => "symbols",
            Self::Lines => "lines",
            Self::Full => "full",
        }
    }
}
