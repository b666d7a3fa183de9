//! `holdup symbols extract BIN -o FILE`: the types, names and lines of a program in a small file, for a stripped copy of
//! the same build.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

use crate::attach::{Options, extract};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Write the types, names and lines of a program to a file. Where a stripped copy runs, give it to `--symbols`
    Extract {
        /// The program with its debug information
        #[arg(value_name = "BIN")]
        program: PathBuf,
        /// The file to write or replace, by default BIN.symbols
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

/// `--symbols` and `--never-stop`, for verbs that observe a process.
#[derive(Debug, clap::Args)]
pub(super) struct SymbolsArgument {
    /// With --pid, for a stripped program: the file that `holdup symbols extract` wrote for the same build
    #[arg(long, value_name = "FILE", requires = "pid")]
    symbols: Option<PathBuf>,
    /// With --pid: stop no thread of the process, not even for microseconds. What running threads do is then missing, and
    /// --mode wall is refused
    #[arg(long, requires = "pid")]
    never_stop: bool,
}

impl SymbolsArgument {
    pub(super) fn options(&self) -> Options {
        let options = Options::new().never_stop(self.never_stop);
        match &self.symbols {
            Some(file) => options.symbols(file),
            None => options,
        }
    }
}

/// `--symbols` and `--no-cache`, for verbs that also read types.
#[derive(Debug, clap::Args)]
pub(super) struct SourceArguments {
    #[command(flatten)]
    symbols: SymbolsArgument,
    /// With --pid: do not use the cache of debug information on disk
    #[arg(long, requires = "pid")]
    no_cache: bool,
}

impl SourceArguments {
    pub(super) fn options(&self) -> Options {
        self.symbols.options().cache(!self.no_cache)
    }
}

pub(super) fn run(arguments: &Arguments, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let Verb::Extract { program, output } = &arguments.verb;
    let output = output.clone().unwrap_or_else(|| {
        let mut path = program.as_os_str().to_owned();
        path.push(".symbols");
        path.into()
    });
    let extracted = extract(program, &output)
        .with_context(|| format!("cannot extract symbols from {} to {}", program.display(), output.display()))?;
    writeln!(out, "Wrote symbols to '{}', {} KiB.", output.display(), extracted.size.div_ceil(1024))?;
    if !extracted.types {
        writeln!(
            out,
            "note: {} has names and lines only; to see what tasks await, build it with `debug = 2`",
            program.display()
        )?;
    }
    Ok(ExitCode::SUCCESS)
}
