//! The title of an HTML page, as browsers find and show it.

use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};
use html5gum::{DefaultEmitter, StartTag, Token, Tokenizer};

/// Limit of a printed title, in characters.
const LONGEST: usize = 300;

/// An encoding declaration is searched within this many bytes.
const ENCODING_BYTES: usize = 1024;

/// The first title on the page, in one line. `None` if there is none or it is empty. `charset` is that of the response's
/// head.
pub(super) fn find(page: &[u8], charset: Option<&str>) -> Option<String> {
    let (text, ..) = encoding(page, charset).decode(page);
    let mut title = Vec::new();
    let mut inside = false;
    for Ok(token) in tokens(text.as_bytes()) {
        match token {
            Token::StartTag(tag) if tag.name.as_slice() == b"title" => inside = true,
            Token::String(text) if inside => title.extend_from_slice(&text),
            Token::EndTag(tag) if inside && tag.name.as_slice() == b"title" => break,
            _ => {}
        }
    }
    // A terminal would interpret control characters.
    let title = String::from_utf8_lossy(&title).replace(char::is_control, " ");
    let title = title.split_whitespace().collect::<Vec<_>>().join(" ");
    let short: String = title.chars().take(LONGEST).collect();
    (!short.is_empty()).then_some(short)
}

/// Decodes the page. The encoding is chosen in the order of browsers: byte order mark, the head of the response, the page
/// itself, UTF-8 if it is valid, windows-1252. An unknown name counts as none.
fn encoding(page: &[u8], charset: Option<&str>) -> &'static Encoding {
    let known = |label: &str| Encoding::for_label(label.as_bytes());
    let by_mark = Encoding::for_bom(page).map(|(encoding, _)| encoding);
    by_mark.or_else(|| charset.and_then(known)).or_else(|| declared(page).as_deref().and_then(known)).unwrap_or_else(
        || {
            // The last character may have been cut off.
            let holds = std::str::from_utf8(page).map_or_else(|error| error.error_len().is_none(), |_| true);
            if holds { UTF_8 } else { WINDOWS_1252 }
        },
    )
}

/// The encoding in `<meta charset=…>` or `<meta http-equiv=content-type content="…; charset=…">`.
fn declared(page: &[u8]) -> Option<String> {
    let start = page.get(..ENCODING_BYTES).unwrap_or(page);
    tokens(start).find_map(|Ok(token)| match token {
        Token::StartTag(tag) if tag.name.as_slice() == b"meta" => attribute(&tag, b"charset").or_else(|| {
            let content = attribute(&tag, b"content")?.to_ascii_lowercase();
            let (_, label) = content.split_once("charset=")?;
            Some(label.split(';').next()?.trim().to_owned())
        }),
        _ => None,
    })
}

fn attribute(tag: &StartTag<()>, name: &[u8]) -> Option<String> {
    let (_, value) = tag.attributes.iter().find(|(attribute, _)| attribute.as_slice() == name)?;
    Some(String::from_utf8_lossy(value).into_owned())
}

/// Markup inside titles, scripts and styles is text.
fn tokens(page: &[u8]) -> impl Iterator<Item = Result<Token, std::convert::Infallible>> {
    let mut emitter = DefaultEmitter::default();
    emitter.naively_switch_states(true);
    Tokenizer::new_with_emitter(page, emitter)
}
