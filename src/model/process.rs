//! Processes on this machine that use Tokio.

/// A process that uses Tokio.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TokioProcess {
    pub(crate) pid: u32,
    /// The id of its user.
    pub(crate) user: u32,
    /// The file name of its program.
    pub(crate) program: String,
    pub(crate) threads: usize,
    /// The number of threads with the default name of Tokio's workers and blocking threads.
    pub(crate) tokio_threads: usize,
    /// Facts from its files. `None` if they cannot be read.
    pub(crate) facts: Option<ProgramFacts>,
    pub(crate) verbs: Vec<VerbSupport>,
}

/// Whether a verb of the command works for a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VerbSupport {
    pub(crate) verb: &'static str,
    /// Why it does not work, and what to do.
    pub(crate) refused: Option<String>,
}

/// What the file of a program or library says about Tokio.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProgramFacts {
    /// It contains Tokio's code.
    pub(crate) tokio: bool,
    /// The versions of Tokio, if the file contains paths of Tokio's sources.
    pub(crate) versions: Vec<String>,
    pub(crate) debug: DebugTier,
    /// The file with the debug information, if it is a separate file.
    pub(crate) debug_file: Option<String>,
}

/// The amount of debug information in a file or its debug file. Each tier includes the ones before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum DebugTier {
    /// Stripped: addresses only.
    #[default]
    None,
    /// Names of functions.
    Symbols,
    /// Names of functions, inlined calls, files and lines.
    Lines,
    /// Types too, including futures.
    Full,
}

impl DebugTier {
    /// The word in tables and JSON.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Symbols => "symbols",
            Self::Lines => "lines",
            Self::Full => "full",
        }
    }
}
