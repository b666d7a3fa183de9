//! The last lines of a watch: one for each kind of stall.

use std::sync::Arc;

use super::news::News;
use crate::export::stall_text::{Repeats, StallView};
use crate::export::to_ms;
use crate::model::plural::plural;
use crate::model::stall::{StallEntry, Stalls};

/// Lines at most. Further kinds are one line together.
const MAX_LINES: usize = 20;

/// One line for each kind, those that took most time first.
pub(crate) fn summary(stalls: &Stalls) -> Vec<News> {
    let mut entries: Vec<&StallEntry> = stalls.entries.iter().collect();
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.total));
    let rest = entries.split_off(entries.len().min(MAX_LINES));
    let mut lines: Vec<News> = entries.into_iter().map(line).collect();
    lines.extend(further(&rest, stalls.counters.forgotten));
    lines
}

fn line(entry: &StallEntry) -> News {
    let repeats = Repeats { count: entry.count, times: Some((entry.total, entry.longest)), suppressed: 0 };
    let text = format!("in all: {}", StallView::from(&entry.stall).summary(repeats));
    News::Summary { stall: Arc::new(entry.stall.clone()), text, count: entry.count, total_ms: to_ms(entry.total) }
}

/// The kinds that have no line.
fn further(rest: &[&StallEntry], forgotten: u64) -> Option<News> {
    let kinds = rest.len() as u64 + forgotten;
    (kinds > 0).then(|| News::Notice(format!("in all: {} more of stalls", plural(kinds, "kind"))))
}
