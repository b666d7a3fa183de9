//! The last lines of a watch: one for each function that held workers up.

use std::time::Duration;

use super::news::News;
use crate::export::group_text::GroupView;
use crate::export::text::milliseconds;
use crate::model::plural::plural;
use crate::model::stall::Stalls;
use crate::model::stall_group::StallGroup;

/// Lines at most. Further functions are one line together.
const MAX_LINES: usize = 20;

/// One line for each group of stalls, those that took most time first.
pub(crate) fn summary(stalls: &Stalls) -> Vec<News> {
    let mut groups = stalls.groups();
    let rest = groups.split_off(groups.len().min(MAX_LINES));
    let mut lines: Vec<News> = groups.into_iter().map(line).collect();
    lines.extend(further(&rest));
    lines.extend(forgotten(stalls.counters.forgotten));
    lines
}

fn line(group: StallGroup) -> News {
    let text = format!("in all: {}", GroupView::from(&group).summary());
    News::Summary { group, text }
}

/// The groups that have no line.
fn further(rest: &[StallGroup]) -> Option<News> {
    let total: Duration = rest.iter().map(|group| group.total).sum();
    let functions = plural(rest.len() as u64, "more function");
    (!rest.is_empty()).then(|| News::Notice(format!("in all: {functions}, {} together", milliseconds(total))))
}

/// The kinds of stalls that have left the history.
fn forgotten(kinds: u64) -> Option<News> {
    (kinds > 0).then(|| {
        News::Notice(format!(
            "in all: {} of stalls left the bounded history and are not in these lines",
            plural(kinds, "kind")
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::text::Style;
    use crate::model::cause::CauseClass;
    use crate::model::stall::{Stall, StallEntry, StallId};

    #[test]
    fn each_function_has_one_line_and_the_rest_one_together() {
        let entry = |number: u64| {
            let mut stall = Stall::example(&format!("api::f{number}"), Duration::from_millis(number), CauseClass::Lock);
            (stall.id, stall.ended) = (StallId(number), true);
            StallEntry::new(stall)
        };
        let mut stalls = Stalls { entries: (1..=23).map(entry).collect(), ..Stalls::default() };
        stalls.counters.forgotten = 2;
        let lines: Vec<String> = summary(&stalls).iter().filter_map(|line| line.text(Style::Plain)).collect();
        assert_eq!(lines.len(), MAX_LINES + 2);
        assert!(
            lines[0].starts_with("holdup: in all: 1 stall by api::f23, 23.0 ms (8 %): waiting for a lock"),
            "{lines:#?}"
        );
        assert_eq!(lines[20], "holdup: in all: 3 more functions, 6.0 ms together\n");
        assert!(lines[21].contains("2 kinds of stalls left"), "{lines:#?}");
        assert!(summary(&Stalls::default()).is_empty());
    }
}
