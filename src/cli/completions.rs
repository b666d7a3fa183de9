//! `holdup completions SHELL`: what makes a shell complete verbs and options.

use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, ValueEnum};
use clap_complete::{Generator, shells};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The shell
    shell: Shell,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    /// source <(holdup completions bash)
    Bash,
    /// holdup completions zsh > a folder of $fpath, as _holdup
    Zsh,
    /// holdup completions fish > ~/.config/fish/completions/holdup.fish
    Fish,
}

pub(super) fn run(arguments: &Arguments, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let mut command = super::Arguments::command();
    command.set_bin_name("holdup");
    command.build();
    match arguments.shell {
        Shell::Bash => shells::Bash.try_generate(&command, out)?,
        Shell::Zsh => shells::Zsh.try_generate(&command, out)?,
        Shell::Fish => shells::Fish.try_generate(&command, out)?,
    }
    Ok(ExitCode::SUCCESS)
}
