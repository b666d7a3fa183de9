//! Computation. Each case computes for a given time, so that it is as long on a fast machine as on a slow one.

use std::hint::black_box;
use std::io::Write as _;
use std::time::Instant;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use pbkdf2::sha2::Sha256;

use super::{Case, Scene, prepared};
use crate::truth::Cause;

pub(super) const CASES: &[Case] = &[
    Case::stall("busy-loop", "a loop that counts", Cause::Computing, |scene| {
        Box::pin(async move {
            count_up(&scene);
            Ok(())
        })
    }),
    Case::stall("quadratic", "compares each of 300 words with each", Cause::Computing, |scene| {
        Box::pin(async move {
            let words = || Ok((0..300_u32).map(|number| format!("word {}", number % 97)).collect::<Vec<_>>());
            compare_each_with_each(&scene, &prepared(words).await?);
            Ok(())
        })
    }),
    Case::stall("json", "serde_json parses a large document", Cause::Computing, |scene| {
        Box::pin(async move {
            let text = prepared(|| Ok(serde_json::to_string(&vec![["a word", "\u{e9}", "10\n"]; 3_000])?)).await?;
            parse_json(&scene, &text)
        })
    }),
    Case::stall("regex", "fancy-regex backtracks", Cause::Computing, |scene| {
        Box::pin(async move {
            let pattern = prepared(|| {
                let mut builder = fancy_regex::RegexBuilder::new(r"^(a|aa)+\1?b$");
                Ok(builder.backtrack_limit(5_000).build()?)
            });
            backtrack(&scene, &pattern.await?);
            Ok(())
        })
    }),
    Case::stall("compression", "flate2 compresses a buffer", Cause::Computing, |scene| {
        Box::pin(async move {
            let text = || Ok((0..16_384_u32).map(|at| (at.wrapping_mul(at) >> 7) as u8 & 0x3f).collect::<Vec<_>>());
            compress(&scene, &prepared(text).await?)
        })
    }),
    Case::stall("password-hash", "PBKDF2 with HMAC-SHA-256", Cause::Computing, |scene| {
        Box::pin(async move {
            hash_password(&scene);
            Ok(())
        })
    }),
];

#[inline(never)]
fn count_up(scene: &Scene) {
    let (mut sum, length) = (0_u64, scene.length());
    let begun = scene.log.begin(here!());
    let since = Instant::now();
    while since.elapsed() < length {
        sum = black_box(sum.wrapping_mul(31).wrapping_add(7));
    }
    begun.end(line!());
}

#[inline(never)]
fn compare_each_with_each(scene: &Scene, words: &[String]) {
    let length = scene.length();
    let mut equal = 0_usize;
    let begun = scene.log.begin(here!());
    let since = Instant::now();
    for word in words.iter().cycle() {
        if since.elapsed() >= length {
            break;
        }
        for other in words {
            equal += usize::from(black_box(word) == other);
        }
    }
    begun.end(line!());
    black_box(equal);
}

#[inline(never)]
fn parse_json(scene: &Scene, text: &str) -> anyhow::Result<()> {
    let length = scene.length();
    let begun = scene.log.begin(here!());
    let since = Instant::now();
    while since.elapsed() < length {
        let parsed: serde_json::Value = serde_json::from_str(text)?;
        black_box(parsed);
    }
    begun.end(line!());
    Ok(())
}

#[inline(never)]
fn backtrack(scene: &Scene, pattern: &fancy_regex::Regex) {
    let (text, length) = ("a".repeat(40), scene.length());
    let begun = scene.log.begin(here!());
    let since = Instant::now();
    while since.elapsed() < length {
        // It fails at its limit, repeatedly.
        black_box(pattern.is_match(&text).is_ok());
    }
    begun.end(line!());
}

#[inline(never)]
fn compress(scene: &Scene, text: &[u8]) -> anyhow::Result<()> {
    let length = scene.length();
    let begun = scene.log.begin(here!());
    let since = Instant::now();
    while since.elapsed() < length {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text)?;
        black_box(encoder.finish()?);
    }
    begun.end(line!());
    Ok(())
}

#[inline(never)]
fn hash_password(scene: &Scene) {
    let (mut key, length) = ([0_u8; 32], scene.length());
    let begun = scene.log.begin(here!());
    let since = Instant::now();
    while since.elapsed() < length {
        pbkdf2::pbkdf2_hmac::<Sha256>(b"correct horse", b"battery staple", 50, &mut key);
        black_box(&key);
    }
    begun.end(line!());
}
