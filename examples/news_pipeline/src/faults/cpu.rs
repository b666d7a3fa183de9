//! `cpu`: compares each headline with each other, letter by letter, on the worker.

use std::{hint::black_box, io, sync::Arc, time::Instant};

use super::{Commit, HELD};
use crate::article::Article;

pub(super) fn arm() -> io::Result<Commit> {
    Ok(Box::new(|news| {
        black_box(compare_every_headline(news));
        Ok(())
    }))
}

// Not inlined and without a helper function, because the report must name it. All pairs of
// 100 headlines take about 20 ms. It repeats until enough time has passed, so that it is a stall on a
// fast machine and with few headlines too.
#[inline(never)]
fn compare_every_headline(news: &[Arc<Article>]) -> usize {
    let started = Instant::now();
    let mut similar = 0;
    for one in news.iter().cycle() {
        if started.elapsed() >= HELD {
            break;
        }
        for other in news {
            let mut shared = 0;
            for part in one.title.as_bytes().windows(3) {
                for candidate in other.title.as_bytes().windows(3) {
                    shared += usize::from(part == candidate);
                }
            }
            similar += usize::from(shared > one.title.len() / 2);
        }
    }
    similar
}
