//! `holdup check [URL]`: the self-check of a service, which says what holdup sees in it and what would show more.

use std::io::Write;
use std::process::ExitCode;

use super::exit_code::NEGATIVE;
use super::target::EndpointTarget;
use crate::export::json::SelfCheckAnswer;
use crate::model::check::Coverage;

const PATH: &str = "/debug/holdup/self-check";

#[derive(Debug, clap::Args)]
#[command(after_help = "Exit code 1 if something is missing. For a process without an endpoint, use `holdup ps`.")]
pub(super) struct Arguments {
    #[command(flatten)]
    target: EndpointTarget,
    /// Print the endpoint's JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let endpoint = arguments.target.endpoint()?;
    let text = endpoint.text(PATH)?;
    let answer: SelfCheckAnswer = endpoint.parsed(&text, PATH)?;
    if arguments.json {
        out.write_all(text.as_bytes())?;
    } else {
        for check in &answer.checks {
            writeln!(out, "{:<8}{}: {}", check.coverage, check.subject, check.detail)?;
            if let Some(remedy) = &check.remedy {
                writeln!(out, "{:<8}to see more: {remedy}", "")?;
            }
        }
    }
    let missing = answer.checks.iter().any(|check| check.coverage == Coverage::Missing.as_str());
    Ok(if missing { NEGATIVE.into() } else { ExitCode::SUCCESS })
}
