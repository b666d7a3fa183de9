//! The token in a request: `Authorization: Bearer TOKEN`, or the password of `Authorization: Basic …`, whatever the user's
//! name is. Browsers ask for a password on their own, and Go's pprof tool takes it from the address.

use axum::http::{HeaderMap, header};

use crate::token::Token;

/// Whether a request has the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Credentials {
    Right,
    Wrong,
    Missing,
}

impl Credentials {
    pub(super) fn of(headers: &HeaderMap, token: &Token) -> Self {
        let mut given = headers.get_all(header::AUTHORIZATION).iter();
        match (given.next(), given.next()) {
            (None, _) => Self::Missing,
            (Some(value), None) if secret(value.as_bytes()).is_some_and(|secret| token.is(&secret)) => Self::Right,
            _ => Self::Wrong,
        }
    }
}

/// The secret in the header's value.
fn secret(value: &[u8]) -> Option<Vec<u8>> {
    let end = value.iter().position(|byte| *byte == b' ')?;
    let (scheme, rest) = (&value[..end], value[end..].trim_ascii());
    if scheme.eq_ignore_ascii_case(b"bearer") {
        return Some(rest.to_vec());
    }
    if !scheme.eq_ignore_ascii_case(b"basic") {
        return None;
    }
    let pair = base64(rest)?;
    let colon = pair.iter().position(|byte| *byte == b':')?;
    Some(pair[colon + 1..].to_vec())
}

/// Decodes base64 with or without its padding.
fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let digits = text.strip_suffix(b"==").or_else(|| text.strip_suffix(b"=")).unwrap_or(text);
    let mut bytes = Vec::with_capacity(digits.len() * 3 / 4);
    let (mut held, mut bits) = (0_u32, 0);
    for digit in digits {
        held = (held << 6 | u32::from(sextet(*digit)?)) & 0xFFFF;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(held >> bits & 0xFF).ok()?);
        }
    }
    // Six bits that are left belong to no byte.
    (bits < 6).then_some(bytes)
}

fn sextet(digit: u8) -> Option<u8> {
    match digit {
        b'A'..=b'Z' => Some(digit - b'A'),
        b'a'..=b'z' => Some(digit - b'a' + 26),
        b'0'..=b'9' => Some(digit - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn base64_is_decoded() {
        // The test vectors of RFC 4648.
        for (text, bytes) in [
            ("", ""),
            ("Zg==", "f"),
            ("Zm8=", "fo"),
            ("Zm9v", "foo"),
            ("Zm9vYg==", "foob"),
            ("Zm9vYmE=", "fooba"),
            ("Zm9vYmFy", "foobar"),
            ("Zm8", "fo"),
        ] {
            assert_eq!(base64(text.as_bytes()).as_deref(), Some(bytes.as_bytes()), "{text}");
        }
        for text in ["Z", "Zm9vY", "Zm9v Zm9v", "====", "Zg=a", "Zm-_", "é"] {
            assert_eq!(base64(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn both_schemes_carry_the_token() {
        let path = std::env::temp_dir().join(format!("holdup-credentials-{}", std::process::id()));
        std::fs::write(&path, "0123456789abcdef").expect("is written");
        let token = Token::of_file(&path).expect("is good").token;
        std::fs::remove_file(&path).expect("is ours");
        let of = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, HeaderValue::from_str(value).expect("is text"));
            }
            Credentials::of(&headers, &token)
        };
        for value in [
            "Bearer 0123456789abcdef",
            "bearer   0123456789abcdef ",
            // x:0123456789abcdef, :0123456789abcdef
            "Basic eDowMTIzNDU2Nzg5YWJjZGVm",
            "BASIC OjAxMjM0NTY3ODlhYmNkZWY=",
        ] {
            assert_eq!(of(&[value]), Credentials::Right, "{value}");
        }
        for value in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer 0123456789abcdeF",
            "0123456789abcdef",
            "Token 0123456789abcdef",
            "Basic 0123456789abcdef",
            // 0123456789abcdef without a colon
            "Basic MDEyMzQ1Njc4OWFiY2RlZg==",
            "Basic %",
        ] {
            assert_eq!(of(&[value]), Credentials::Wrong, "{value}");
        }
        assert_eq!(of(&[]), Credentials::Missing);
        assert_eq!(of(&["Bearer 0123456789abcdef", "Bearer 0123456789abcdef"]), Credentials::Wrong);
    }
}
