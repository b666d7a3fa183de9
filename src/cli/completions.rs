//! `holdup completions SHELL`: a completion script for a shell.

use std::io::Write;
use std::process::ExitCode;

use clap::ValueEnum;
use clap_complete::{Generator, shells};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The shell
    shell: Shell,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    /// Load it with: source <(holdup completions bash)
    Bash,
    /// Save it as _holdup in a folder of $fpath
    Zsh,
    /// Save it as ~/.config/fish/completions/holdup.fish
    Fish,
}

pub(super) fn run(arguments: &Arguments, mut command: clap::Command, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    command.set_bin_name("holdup");
    command.build();
    match arguments.shell {
        Shell::Bash => shells::Bash.try_generate(&command, out)?,
        Shell::Zsh => shells::Zsh.try_generate(&command, out)?,
        Shell::Fish => shells::Fish.try_generate(&command, out)?,
    }
    Ok(ExitCode::SUCCESS)
}
