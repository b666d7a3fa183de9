//! The index page: stalls, workers, paths and the self-check.

use std::fmt::Write as _;

use crate::export::stall_text::task;
use crate::export::text::milliseconds;
use crate::model::check::SelfCheck;
use crate::model::plural::plural;
use crate::model::stall::{StallEntry, Stalls};
use crate::model::worker::{Activity, WorkerNow};

/// Stalls on the page. The JSON has all of them.
const SHOWN: usize = 20;

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
    if stalls.entries.is_empty() {
        return;
    }
    html.push_str("<h2>Stalls</h2><div class=scroll><table><tr><th>state<th>culprit<th>cause<th>task<th>worker<th class=n>held<th class=n>longest<th class=n>count</tr>");
    for entry in stalls.entries.iter().take(SHOWN) {
        stall_row(html, entry);
    }
    html.push_str("</table></div>");
    if stalls.entries.len() > SHOWN {
        put(html, format_args!("<p class=faint>{} more in the JSON.</p>", stalls.entries.len() - SHOWN));
    }
}

fn stall_row(html: &mut String, entry: &StallEntry) {
    let stall = &entry.stall;
    let state = if stall.ended { "<span class=ended>ended</span>" } else { "<span class=running>running</span>" };
    let culprit = match &stall.culprit {
        Some(culprit) => {
            let call = culprit.call.as_ref().map_or_else(String::new, |call| format!(" → {}", escape(call)));
            let location = culprit.frame.location().unwrap_or_default();
            format!("<code>{}</code><br><small>{}{call}</small>", escape(&culprit.frame.function), escape(&location))
        }
        None => "<i>unknown</i>".to_owned(),
    };
    let worker = stall.worker.map_or_else(|| "block_on".to_owned(), |worker| worker.to_string());
    put(
        html,
        format_args!(
            "<tr><td>{state}<td>{culprit}<td title=\"{}\">{}<td>{}<td>{} {worker}<td class=n>{}<td class=n>{}<td class=n>{}</tr>",
            escape(stall.cause.class.advice()),
            stall.cause.class.title(),
            escape(&task(&stall.task)),
            escape(&stall.runtime),
            milliseconds(stall.duration),
            milliseconds(entry.longest),
            entry.count,
        ),
    );
    put(html, format_args!("<tr class=advice><td><td colspan=7>{}</tr>", escape(stall.cause.class.advice())));
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
    use super::*;

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
