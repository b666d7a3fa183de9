//! `json`: a huge article arrives, and the handler parses it on the worker instead of on the blocking pool.

use std::{io, time::Instant};

use serde_json::Value;

use super::{Commit, HELD};

const PARAGRAPHS: usize = 50_000;

pub(super) fn arm() -> io::Result<Commit> {
    let paragraph = r#"{"text":"It was a \"long\" day at the harbour.","author":"Old library","page":17}"#;
    let paragraphs = vec![paragraph; PARAGRAPHS].join(",");
    let message = format!(r#"{{"title":"Everything","paragraphs":[{paragraphs}]}}"#).into_bytes();
    Ok(Box::new(move |_| {
        parse_huge_article(&message)?;
        Ok(())
    }))
}

// Not inlined, because the report must name it. It repeats until enough time has passed, also on a fast machine.
#[inline(never)]
fn parse_huge_article(message: &[u8]) -> io::Result<usize> {
    let started = Instant::now();
    let mut paragraphs = 0;
    while started.elapsed() < HELD {
        let article: Value = serde_json::from_slice(message)?;
        paragraphs += article.get("paragraphs").and_then(Value::as_array).map_or(0, Vec::len);
    }
    Ok(paragraphs)
}
