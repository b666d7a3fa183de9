//! Profile one section of a program, from inside it, without a command and without an endpoint.
//!
//! Shows: `Watch::profile` over a window in which the section runs again and again, and the file that comes of it.
//!
//! ```console
//! $ cargo run --release --example profile_section            # writes section.svg and section.json
//! $ cargo run --features cli -- top section.json
//! ```
//! Look for `word_counts` under `count_words` in `section.svg` (any browser; click to zoom). How much of it is hashing, and
//! how much is making strings? `holdup top` shows the same as a table. A task counts the words on a worker, which is a stall
//! as well. That is not the question here: the profile says where the time goes *inside*.

use std::{
    collections::HashMap,
    env,
    fs::File,
    hint::black_box,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::Context;
use holdup::profile::Format;
use holdup::{Print, ProfileMode, ProfileOptions};

/// A section of 10 ms shows in one sample of 99 Hz, and says nothing; some hundred samples do.
const WINDOW: Duration = Duration::from_secs(2);

fn main() -> anyhow::Result<()> {
    let folder = env::args().nth(1).unwrap_or_else(|| ".".to_owned());
    let watch = holdup::Watch::builder().print(Print::Never).start()?;
    let runtime = watch.runtime(tokio::runtime::Builder::new_multi_thread().enable_all())?;

    // What the section needs is made before the window begins.
    let text: Arc<str> = "the quick brown fox jumps over the lazy dog and the dog sleeps on ".repeat(2000).into();
    let enough = Arc::new(AtomicBool::new(false));
    let section = {
        let enough = Arc::clone(&enough);
        runtime.spawn(async move {
            while !enough.load(Relaxed) {
                black_box(count_words(&text));
                tokio::task::yield_now().await;
            }
        })
    };
    // Collected on this thread, while the section runs on a worker. Another mode answers another question:
    // `Wall` where the section waits, `Stalled` what the watchdog has seen of it.
    let profile = watch.profile_blocking(&ProfileOptions::new(ProfileMode::Cpu).duration(WINDOW).rate(199))?;
    enough.store(true, Relaxed);
    runtime.block_on(section)?;

    for (name, format) in [("section.svg", Format::Flamegraph), ("section.json", Format::Json)] {
        let path = Path::new(&folder).join(name);
        let mut file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        profile.write(format, &mut file)?;
        println!("{}: {} samples of CPU time", path.display(), profile.sample_count());
    }
    Ok(())
}

#[inline(never)]
fn count_words(text: &str) -> usize {
    word_counts(text).values().filter(|count| **count > 1).count()
}

/// The mistake: it allocates a `String` for each word, only for a lookup.
#[inline(never)]
fn word_counts(text: &str) -> HashMap<String, u32> {
    let mut counts = HashMap::new();
    for word in text.split(' ') {
        *counts.entry(word.to_owned()).or_default() += 1;
    }
    counts
}
