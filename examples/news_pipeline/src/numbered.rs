//! Articles with a number, for load and delivery tests. Each is about 250 bytes of JSON, like a real headline.

use chrono::{DateTime, Utc};

use crate::article::Article;

pub(crate) fn article(number: u64) -> Article {
    Article {
        id: number.to_string(),
        title: format!("Number {number}: what holds up a runtime, and which tasks have to wait for it meanwhile"),
        link: format!("https://news.example/numbered/{number}"),
        source: "numbered".to_owned(),
        published_at: published_at(number),
    }
}

/// One per second since 2020, so that the order of publication is the order of the numbers.
fn published_at(number: u64) -> DateTime<Utc> {
    const FIRST: i64 = 1_577_836_800;
    i64::try_from(number)
        .ok()
        .and_then(|number| DateTime::from_timestamp(FIRST.checked_add(number)?, 0))
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
}
