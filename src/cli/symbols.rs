//! `holdup symbols extract BIN -o FILE`: what is needed of a program's debug information, for a stripped one of the same build.

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
    /// Write types, names and lines of an unstripped program to a file, for `--symbols` where only the stripped one is
    Extract {
        /// The unstripped program
        #[arg(value_name = "BIN")]
        program: PathBuf,
        /// Where to write, unless to BIN.symbols; a file that is there is replaced
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

/// `--symbols`, where processes are looked at by number.
#[derive(Debug, clap::Args)]
pub(super) struct SymbolsArgument {
    /// With --pid, for a stripped program: what `holdup symbols extract` wrote of the unstripped one
    #[arg(long, value_name = "FILE", requires = "pid")]
    symbols: Option<PathBuf>,
}

impl SymbolsArgument {
    pub(super) fn options(&self) -> Options {
        let options = Options::new();
        match &self.symbols {
            Some(file) => options.symbols(file),
            None => options,
        }
    }
}

/// The same where types are read too.
#[derive(Debug, clap::Args)]
pub(super) struct SourceArguments {
    #[command(flatten)]
    symbols: SymbolsArgument,
    /// With --pid: neither read nor keep what was read of the program's debug information
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
        .with_context(|| format!("no symbols could be extracted of {} to {}", program.display(), output.display()))?;
    writeln!(out, "Wrote symbols to '{}', {} KiB.", output.display(), extracted.size.div_ceil(1024))?;
    if !extracted.types {
        writeln!(
            out,
            "note: names and lines only; what tasks await is told of programs that are built with `debug = 2`"
        )?;
    }
    Ok(ExitCode::SUCCESS)
}
