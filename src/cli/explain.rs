//! `holdup explain [WORD]`: the meaning of a cause or of an object, and the remedy.

use std::io::Write;
use std::process::ExitCode;
use std::str::FromStr;

use crate::model::cause::CauseClass;
use crate::model::cause_object::CauseObject;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A cause or an object, by its word in JSON such as not_scheduled or stdout_pipe; all of them by default
    word: Option<Word>,
}

/// A word of a report.
#[derive(Clone, Copy, Debug)]
enum Word {
    Class(CauseClass),
    Object(CauseObject),
}

impl FromStr for Word {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let class = word.parse().map(Self::Class).map_err(|error| error.to_string());
        class.or_else(|of_class| word.parse().map(Self::Object).map_err(|of_object| format!("{of_class}; {of_object}")))
    }
}

pub(super) fn run(arguments: &Arguments, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let all = CauseClass::ALL.map(Word::Class).into_iter().chain(CauseObject::ALL.map(Word::Object));
    for word in arguments.word.map_or_else(|| all.collect::<Vec<_>>(), |word| vec![word]) {
        match word {
            Word::Class(class) => writeln!(out, "{class} ({})\n  {}\n", class.title(), class.advice())?,
            Word::Object(object) => {
                writeln!(out, "{object} ({})\n  Seen: {}\n  {}\n", object.title(), object.seen(), object.advice())?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
