//! The endpoint's token: where it comes from, which form it has, and how it is compared.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::hint::black_box;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The token itself.
const VALUE: &str = "HOLDUP_TOKEN";

/// The path of a file with the token.
const FILE: &str = "HOLDUP_TOKEN_FILE";

/// A shorter token could be guessed.
const MIN_LENGTH: usize = 16;

/// A longer file holds something else.
const MAX_LENGTH: u64 = 1024;

/// Permission bits with which others may read or replace the token.
const OTHERS: u32 = 0o066;

/// A secret that requests must contain.
#[derive(Clone)]
pub(crate) struct Token(Box<str>);

/// A token, and what is wrong with the place that it comes from.
#[derive(Debug)]
pub(crate) struct FoundToken {
    pub(crate) token: Token,
    pub(crate) notice: Option<String>,
}

/// Why there is no token, and what to do.
#[derive(Debug)]
pub(crate) struct TokenError {
    pub(crate) problem: String,
    pub(crate) remedy: String,
}

impl Token {
    /// The token that the environment gives, if it gives one.
    ///
    /// # Errors
    /// If it gives a bad one. An empty variable is bad too, because a secret that went missing must not open the endpoint.
    pub(crate) fn of_environment() -> Result<Option<FoundToken>, TokenError> {
        match (std::env::var_os(VALUE), std::env::var_os(FILE)) {
            (Some(value), _) => of_variable(value).map(|token| Some(FoundToken { token, notice: None })),
            (None, Some(path)) => Self::of_file(Path::new(&path)).map(Some),
            (None, None) => Ok(None),
        }
    }

    /// The token in a file.
    ///
    /// # Errors
    /// If the file cannot be read, or holds no token.
    pub(crate) fn of_file(path: &Path) -> Result<FoundToken, TokenError> {
        let shown = path.display();
        let remedy = || format!("write a token there: (umask 077; openssl rand -hex 32 > {shown})");
        let read = read(path);
        let (text, mode) = read.map_err(|error| TokenError {
            problem: format!("the token file {shown} cannot be read: {error}"),
            remedy: remedy(),
        })?;
        let token = parse(&text);
        let token = token.map_err(|flaw| TokenError {
            problem: format!("the token in the file {shown} {flaw}"),
            remedy: remedy(),
        })?;
        let notice = (mode & OTHERS != 0).then(|| {
            format!("other users of this machine may read or change the token file {shown}; run chmod 600 {shown}")
        });
        Ok(FoundToken { token, notice })
    }

    /// A token that a person gave as part of something else.
    #[cfg(feature = "cli")]
    pub(crate) fn of_text(text: &str) -> Option<Self> {
        parse(text).ok()
    }

    /// Whether these are its bytes. The time does not depend on where they differ.
    pub(crate) fn is(&self, given: &[u8]) -> bool {
        let own = self.0.as_bytes();
        let byte = |bytes: &[u8], at: usize| bytes.get(at).copied().unwrap_or(0);
        let length = own.len().max(given.len());
        let pairs = (0..length).map(|at| byte(own, at) ^ byte(given, at));
        // The compiler cannot see that the result is decided already.
        let difference = pairs.fold(u8::from(own.len() != given.len()), |all, bits| black_box(all | bits));
        difference == 0
    }

    /// The value of the header `Authorization`.
    #[cfg(feature = "cli")]
    pub(crate) fn bearer(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

/// Without the secret.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

fn of_variable(value: OsString) -> Result<Token, TokenError> {
    let token = value.into_string().map_err(|_| "is no text".to_owned()).and_then(|value| parse(&value));
    token.map_err(|flaw| TokenError {
        problem: format!("the token in {VALUE} {flaw}"),
        remedy: format!("set {VALUE} to the output of openssl rand -hex 32, or unset it"),
    })
}

/// The text of a file, and its mode.
fn read(path: &Path) -> io::Result<(String, u32)> {
    let file = File::open(path)?;
    let mode = file.metadata()?.permissions().mode();
    let mut text = String::new();
    file.take(MAX_LENGTH).read_to_string(&mut text)?;
    Ok((text, mode))
}

/// The token, or what is wrong with it.
fn parse(text: &str) -> Result<Token, String> {
    let text = text.trim();
    match text.len() {
        0 => Err("is empty".to_owned()),
        _ if !text.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Err("has other characters than visible ASCII".to_owned())
        }
        length if length < MIN_LENGTH => Err(format!("has {length} characters, and needs at least {MIN_LENGTH}")),
        _ => Ok(Token(text.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "0123456789abcdef";

    #[test]
    fn tokens_have_a_form() {
        let token = parse(&format!(" {GOOD}\n")).expect("space around it is no part of it");
        assert!(token.is(GOOD.as_bytes()));
        assert_eq!(format!("{token:?}"), "Token");
        for (text, flaw) in [
            ("", "is empty"),
            (" \n", "is empty"),
            ("0123456789abcde", "has 15 characters, and needs at least 16"),
            ("0123456789 abcdef", "has other characters"),
            ("0123456789abcdefé", "has other characters"),
        ] {
            let found = parse(text).expect_err(text);
            assert!(found.starts_with(flaw), "{text}: {found}");
        }
        let error = of_variable("short".into()).expect_err("it is short");
        assert_eq!(error.problem, "the token in HOLDUP_TOKEN has 5 characters, and needs at least 16");
        assert_eq!(error.remedy, "set HOLDUP_TOKEN to the output of openssl rand -hex 32, or unset it");
    }

    #[test]
    fn every_difference_is_seen() {
        let token = parse(GOOD).expect("is good");
        for at in 0..GOOD.len() {
            let mut other = GOOD.as_bytes().to_vec();
            other[at] ^= 1;
            assert!(!token.is(&other), "byte {at}");
        }
        for other in [&b""[..], b"0", b"0123456789abcde", b"0123456789abcdef0", b"0123456789abcdef\0"] {
            assert!(!token.is(other), "{other:?}");
        }
    }

    #[test]
    fn files_are_read_and_their_mode_is_checked() {
        let path = std::env::temp_dir().join(format!("holdup-token-{}", std::process::id()));
        let write = |text: &str, mode: u32| {
            std::fs::write(&path, text).expect("is written");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("is ours");
            Token::of_file(&path)
        };
        let kept = write(&format!("{GOOD}\n"), 0o600).expect("is good");
        assert!(kept.token.is(GOOD.as_bytes()) && kept.notice.is_none());
        for mode in [0o640, 0o604, 0o620] {
            let notice = write(GOOD, mode).expect("is good").notice.expect("others can read or change it");
            assert!(notice.ends_with(&format!("run chmod 600 {}", path.display())), "{notice}");
        }
        let error = write("", 0o600).expect_err("is empty");
        assert!(error.problem.ends_with(" is empty") && error.remedy.contains("openssl rand -hex 32 > /"), "{error:?}");
        std::fs::remove_file(&path).expect("is ours");
        let error = Token::of_file(&path).expect_err("is gone").problem;
        assert!(error.contains(&*path.to_string_lossy()) && error.contains("cannot be read"), "{error}");
    }
}
