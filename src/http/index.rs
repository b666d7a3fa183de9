//! The index page: stalls, workers, paths and the self-check.

use std::fmt::Write as _;

use crate::export::group_text::{GroupPartView, GroupView};
use crate::export::stall_text::task;
use crate::export::text::milliseconds;
use crate::model::check::SelfCheck;
use crate::model::plural::plural;
use crate::model::stall::{StallEntry, Stalls};
use crate::model::stall_group::StallGroup;
use crate::model::worker::{Activity, WorkerNow};

/// Functions on the page. The JSON has all of them.
const SHOWN: usize = 20;

/// Lines and causes of a function.
const PARTS: usize = 6;

const STYLE: &str = include_str!("index.css");

/// The page. `paths` are the paths of the endpoint with their descriptions.
pub(super) fn page(stalls: &Stalls, workers: &[WorkerNow], check: &SelfCheck, paths: &[(&str, &str)]) -> String {
    let mut html = String::with_capacity(16 * 1024);
    html.push_str("<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>");
    html.push_str("<meta http-equiv=refresh content=5><title>holdup</title><style>");
    html.push_str(STYLE);
    html.push_str("</style><main>");
    headline(&mut html, stalls);
    delivery(&mut html, stalls);
    stall_table(&mut html, stalls);
    worker_table(&mut html, workers);
    path_list(&mut html, paths);
    check_table(&mut html, check);
    html.push_str("</main></html>\n");
    html
}

fn headline(html: &mut String, stalls: &Stalls) {
    let running = stalls.entries.iter().filter(|entry| !entry.stall.ended).count();
    let so_far = plural(stalls.counters.stalls, "stall");
    let (class, sentence) = match (running, stalls.counters.stalls) {
        (0, 0) => ("good", "Nothing has held this runtime up so far.".to_owned()),
        (0, _) => ("past", format!("Nothing holds this runtime up now. {so_far} so far.")),
        (1, _) => ("bad", format!("1 worker is held up now. {so_far} so far.")),
        (now, _) => ("bad", format!("{now} workers are held up now. {so_far} so far.")),
    };
    put(html, format_args!("<h1>holdup</h1><p class='headline {class}'>{sentence}</p>"));
}

/// What the terminal, the log or the callback did not get.
fn delivery(html: &mut String, stalls: &Stalls) {
    for sentence in stalls.notes.iter().cloned().chain(stalls.counters.undelivered()) {
        put(html, format_args!("<p class=bad>Attention: {}.</p>", escape(&sentence)));
    }
}

fn stall_table(html: &mut String, stalls: &Stalls) {
    let groups = stalls.groups();
    if groups.is_empty() {
        return;
    }
    html.push_str("<h2>Stalls</h2><div class=scroll><table><tr><th>state<th>function<th>cause<th>task<th>worker<th class=n>lost<th class=n>share<th class=n>longest<th class=n>count</tr>");
    for group in groups.iter().take(SHOWN) {
        group_rows(html, group, stalls);
    }
    html.push_str("</table></div>");
    if groups.len() > SHOWN {
        put(html, format_args!("<p class=faint>{} more in the JSON.</p>", groups.len() - SHOWN));
    }
}

/// The function with its sums, its lines and causes, the advice for the one that took most time, and the stalls that run.
fn group_rows(html: &mut String, group: &StallGroup, stalls: &Stalls) {
    let entries = || stalls.entries.iter().filter(|entry| group.stalls.contains(&entry.stall.id));
    let Some(first) = entries().next() else { return };
    let view = GroupView::from(group);
    let state = if group.running > 0 { "<span class=running>running</span>" } else { "<span class=ended>ended</span>" };
    put(
        html,
        format_args!(
            "<tr><td>{state}<td><code>{}</code><br><small>{}</small><td>{}<td>{}<td>{}<td class=n>{}<td class=n>{}<td class=n>{}<td class=n>{}</tr>",
            escape(view.name()),
            escape(&view.seen()),
            causes(&view),
            escape(&task(&first.stall.task)),
            worker(first),
            milliseconds(group.total),
            view.percent(),
            milliseconds(group.longest),
            group.count,
        ),
    );
    for advice in [Some(first.stall.cause.class.advice()), first.stall.build_advice].into_iter().flatten() {
        put(html, format_args!("<tr class=advice><td><td colspan=8>{}</tr>", escape(advice)));
    }
}

/// Causes with their lines, one below the other.
fn causes(view: &GroupView<'_>) -> String {
    let part = |part: &GroupPartView<'_>| {
        let place =
            part.location.map_or_else(String::new, |location| format!("<br><small>{}</small>", escape(location)));
        let count = if view.parts.len() > 1 { format!(" × {}", part.count) } else { String::new() };
        format!("{}{count}{place}", escape(part.cause))
    };
    view.parts.iter().take(PARTS).map(part).collect::<Vec<_>>().join("<br>")
}

/// The worker of the first entry. Others of the group may be elsewhere.
fn worker(entry: &StallEntry) -> String {
    let index = entry.stall.worker.map_or_else(|| "block_on".to_owned(), |worker| worker.to_string());
    format!("{} {index}", escape(&entry.stall.runtime))
}

fn worker_table(html: &mut String, workers: &[WorkerNow]) {
    html.push_str("<h2>Workers now</h2>");
    if workers.is_empty() {
        html.push_str("<p class=faint>None yet. Build a runtime with <code>watch.runtime(…)</code>.</p>");
        return;
    }
    html.push_str("<div class=scroll><table><tr><th>runtime<th>worker<th>thread<th>activity<th>task<th class=n>for<th class=n>polls</tr>");
    for now in workers {
        let worker = now.worker.map_or_else(|| "block_on".to_owned(), |worker| worker.to_string());
        let class = if now.activity == Activity::Polling { "busy" } else { "faint" };
        put(
            html,
            format_args!(
                "<tr><td>{}<td>{worker}<td>{} <small>{}</small><td class={class}>{}<td>{}<td class=n>{}<td class=n>{}</tr>",
                escape(&now.runtime),
                escape(&now.thread),
                now.tid,
                now.activity.as_str(),
                now.task.as_ref().map_or_else(String::new, |polled| escape(&task(polled))),
                now.polling_for.map_or_else(String::new, milliseconds),
                now.polls,
            ),
        );
    }
    html.push_str("</table></div>");
}

fn path_list(html: &mut String, paths: &[(&str, &str)]) {
    html.push_str("<h2>More</h2><ul>");
    for (path, description) in paths {
        put(html, format_args!("<li><a href='{path}'>{path}</a> <span class=faint>{description}</span>"));
    }
    html.push_str("</ul>");
}

fn check_table(html: &mut String, check: &SelfCheck) {
    html.push_str("<h2>What holdup sees here</h2><div class=scroll><table>");
    for line in &check.checks {
        let remedy = line
            .remedy
            .as_ref()
            .map_or_else(String::new, |remedy| format!("<br><small>To see more: {}</small>", escape(remedy)));
        let coverage = line.coverage.as_str();
        put(
            html,
            format_args!(
                "<tr><td><span class='coverage {coverage}'>{coverage}</span><td>{}<td>{}{remedy}</tr>",
                line.subject,
                escape(&line.detail)
            ),
        );
    }
    html.push_str("</table></div>");
}

fn put(html: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing into a string cannot fail.
    let _infallible = html.write_fmt(text);
}

/// Text as HTML. Names come from the program and its files, so they may contain any character.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::cause::CauseClass;
    use crate::model::stall::{Stall, StallId};

    #[test]
    fn a_page_without_stalls_says_so_and_lists_every_path() {
        let stalls = Stalls::default();
        let paths = [("/debug/holdup/stalls", "stalls"), ("/healthz", "health")];
        let page = page(&stalls, &[], &SelfCheck::default(), &paths);
        assert!(page.contains("Nothing has held this runtime up so far."));
        for (path, _) in paths {
            assert!(page.contains(&format!("href='{path}'")), "{path}");
        }
    }

    #[test]
    fn a_function_is_one_row_with_its_lines_causes_and_share() {
        let entry = |id, line, class, ms| {
            let mut stall = Stall::example("api::<nap>", Duration::from_millis(ms), class);
            (stall.id, stall.ended) = (StallId(id), true);
            if let Some(culprit) = &mut stall.culprit {
                (culprit.frame.file, culprit.frame.line) = (Some("src/api.rs".into()), Some(line));
            }
            StallEntry::new(stall)
        };
        let entries = vec![entry(1, 7, CauseClass::Sleeping, 30), entry(2, 8, CauseClass::Lock, 10)];
        let page = page(&Stalls { entries, ..Stalls::default() }, &[], &SelfCheck::default(), &[]);
        assert_eq!(page.matches("<code>api::&lt;nap&gt;</code>").count(), 1, "{page}");
        for part in ["sleeping × 1", "waiting for a lock × 1", "src/api.rs:7", "src/api.rs:8", "100 %", "40.0 ms"] {
            assert!(page.contains(part), "{part}: {page}");
        }
    }

    #[test]
    fn what_was_not_delivered_is_on_the_page() {
        let notes = vec!["the stall callback has not returned for <3> s".to_owned()];
        let mut stalls = Stalls { notes, ..Stalls::default() };
        stalls.counters.unprinted = 2;
        let page = page(&stalls, &[], &SelfCheck::default(), &[]);
        assert!(page.contains("Attention: the stall callback has not returned for &lt;3&gt; s."), "{page}");
        assert!(page.contains("Attention: 2 reports were not printed."), "{page}");
    }

    #[test]
    fn names_cannot_break_out_of_the_page() {
        assert_eq!(escape("<T as \"X\">&'a"), "&lt;T as &quot;X&quot;&gt;&amp;&#39;a");
    }
}
