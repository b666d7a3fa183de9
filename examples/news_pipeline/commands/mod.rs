//! The parts of the pipeline as commands of their own.
//!
//! Without a command, the program is the whole service.

use clap::Subcommand;

use crate::scrape::ScrapeCommand;

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Print the titles of many pages, one line each
    Scrape(ScrapeCommand),
}

impl Command {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        match self {
            Self::Scrape(command) => command.run(),
        }
    }
}
