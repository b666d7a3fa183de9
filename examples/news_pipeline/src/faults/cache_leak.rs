//! `cache-leak`: answers are kept under a key that never comes again, and none is ever dropped.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use super::Commit;
use crate::article::Article;

/// The machine is not to suffer: here the leak ends.
const MOST: usize = 256 * 1024 * 1024;

/// Bytes of an answer as it is kept, with room for more.
const ANSWER: usize = 256 * 1024;

/// By the time of the request, which is the mistake: a key that does not come again finds nothing.
type Answers = Mutex<BTreeMap<Instant, Vec<u8>>>;

pub(super) fn arm() -> io::Result<Commit> {
    let answers = Answers::default();
    Ok(Box::new(move |news| keep_answer_forever(&answers, news)))
}

#[inline(never)]
fn keep_answer_forever(answers: &Answers, news: &[Arc<Article>]) -> io::Result<()> {
    let mut answer = serde_json::to_vec(news)?;
    // Written to, because the kernel gives no memory for room that is only reserved.
    answer.resize(ANSWER.max(answer.len()), b' ');
    let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
    if answers.len() * ANSWER < MOST {
        answers.insert(Instant::now(), answer);
    }
    Ok(())
}
