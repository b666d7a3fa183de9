//! The command line as a person would type it, for the captions of pictures.

use std::sync::Arc;

use super::endpoint::without_secret;
use crate::model::profile::Profile;

/// The limit of the commands that a profile names, in bytes.
const MAX_COMMANDS: usize = 1000;

/// Adds the running command to those that made the profile.
pub(super) fn add_to(profile: &mut Profile) {
    profile.command = Some(joined(profile.command.as_deref(), current()));
}

/// The running command.
pub(super) fn current() -> String {
    shown(std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned()))
}

/// Both commands, or only the newer one if both are long.
fn joined(before: Option<&str>, command: String) -> Arc<str> {
    match before {
        Some(before) if before.len() + command.len() <= MAX_COMMANDS => format!("{before} && {command}").into(),
        _ => command.into(),
    }
}

/// `holdup`, whatever the program's path is, with its arguments. The tokens of URLs are left out.
fn shown(arguments: impl Iterator<Item = String>) -> String {
    std::iter::once("holdup".to_owned())
        .chain(arguments.map(|argument| quoted(without_secret(&argument))))
        .collect::<Vec<_>>()
        .join(" ")
}

/// The argument as a shell reads it.
fn quoted(argument: String) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "_@%+=:,./-".contains(c);
    if !argument.is_empty() && argument.chars().all(is_plain) {
        return argument;
    }
    format!("'{}'", argument.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_can_be_typed_again() {
        let arguments = ["record", "http://127.0.0.1:6060", "-I", "a|b", "", "it's"].map(str::to_owned);
        assert_eq!(shown(arguments.into_iter()), r"holdup record http://127.0.0.1:6060 -I 'a|b' '' 'it'\''s'");
        let secret = ["record", "http://x:0123456789abcdef@host:6060"].map(str::to_owned);
        assert_eq!(shown(secret.into_iter()), "holdup record http://host:6060");
    }

    #[test]
    fn commands_are_joined_within_a_limit() {
        assert_eq!(&*joined(None, "b".into()), "b");
        assert_eq!(&*joined(Some("a"), "b".into()), "a && b");
        assert_eq!(&*joined(Some(&"a".repeat(MAX_COMMANDS)), "b".into()), "b");
    }
}
