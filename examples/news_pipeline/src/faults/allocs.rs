//! `allocs`: each request counts the phrases of all headlines, and makes every one of them as a new string.

use std::{collections::HashMap, hint::black_box, io, sync::Arc};

use super::Commit;
use crate::article::Article;

/// Words of the longest counted phrase.
const LONGEST: usize = 4;

pub(super) fn arm() -> io::Result<Commit> {
    Ok(Box::new(|news| {
        black_box(count_phrases_as_strings(news));
        Ok(())
    }))
}

// Not inlined, because the profile must name it. Slices of the headlines as keys would need no strings at all.
#[inline(never)]
fn count_phrases_as_strings(news: &[Arc<Article>]) -> usize {
    let mut counts: HashMap<String, usize> = HashMap::new();
    for article in news {
        let words: Vec<String> = article.title.split_whitespace().map(str::to_lowercase).collect();
        for length in 1..=LONGEST {
            for phrase in words.windows(length) {
                *counts.entry(phrase.join(" ")).or_default() += 1;
            }
        }
    }
    counts.values().copied().max().unwrap_or_default()
}
