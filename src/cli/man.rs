//! `holdup man [DIR]`: the manual pages of the command and its verbs.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap_mangen::Man;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A folder for one page per verb, such as ~/.local/share/man/man1; without it, the page of `holdup` goes to standard
    /// output
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments, mut command: clap::Command, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    command.build();
    match &arguments.folder {
        None => Man::new(command).render(out)?,
        Some(folder) => {
            let pages = write_pages(&command, folder)?;
            writeln!(out, "Wrote {pages} manual pages to '{}'.", folder.display())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes the page of a command and those of its verbs. Returns the number of pages.
fn write_pages(command: &clap::Command, folder: &Path) -> anyhow::Result<usize> {
    std::fs::create_dir_all(folder).with_context(|| format!("the folder {} cannot be created", folder.display()))?;
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let path = folder.join(format!("{name}.1"));
    let mut page = Vec::new();
    Man::new(command.clone()).render(&mut page)?;
    std::fs::write(&path, page).with_context(|| format!("{} cannot be written", path.display()))?;
    let verbs = command.get_subcommands().filter(|verb| verb.get_name() != "help");
    let verbs = verbs.map(|verb| write_pages(verb, folder));
    verbs.sum::<anyhow::Result<usize>>().map(|pages| pages + 1)
}
