//! `cache-leak`: a cache keeps responses under keys that never repeat, and drops none.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use super::Commit;
use crate::article::Article;

/// Upper bound of the leak, to protect the machine.
const MOST: usize = 256 * 1024 * 1024;

/// Size of a kept response in bytes, including spare capacity.
const ANSWER: usize = 256 * 1024;

/// Keyed by the time of the request. This is the mistake: such a key never repeats.
type Answers = Mutex<BTreeMap<Instant, Vec<u8>>>;

pub(super) fn arm() -> io::Result<Commit> {
    let answers = Answers::default();
    Ok(Box::new(move |news| keep_answer_forever(&answers, news)))
}

#[inline(never)]
fn keep_answer_forever(answers: &Answers, news: &[Arc<Article>]) -> io::Result<()> {
    let mut answer = serde_json::to_vec(news)?;
    // Written to, because the kernel allocates no memory for a mere reservation.
    answer.resize(ANSWER.max(answer.len()), b' ');
    let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
    if answers.len() * ANSWER < MOST {
        answers.insert(Instant::now(), answer);
    }
    Ok(())
}
