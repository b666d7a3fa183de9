//! The index page: stalls, workers, paths and the self-check.

use std::fmt::Write as _;

use crate::export::group_text::{GroupPartView, GroupView};
use crate::export::stall_text::{StallView, task};
use crate::export::text::{Style, milliseconds};
use crate::model::check::SelfCheck;
use crate::model::holds::Counted;
use crate::model::plural::plural;
use crate::model::stall::{Stall, StallEntry, Stalls};
use crate::model::stall_group::StallGroup;
use crate::model::worker::{Activity, WorkerNow};

/// Functions on the page. The JSON has all of them.
const SHOWN: usize = 20;

/// Lines and causes of a function.
const PARTS: usize = 6;

/// Running stalls of a function.
const RUNNING: usize = 4;

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
    let is_held = |entry: &&StallEntry| !entry.stall.ended && entry.stall.counted_as() == Counted::Stall;
    let running = stalls.entries.iter().filter(is_held).count();
    let so_far = plural(stalls.counters.stalls, "stall");
    let (class, sentence) = match (running, stalls.counters.stalls) {
        (0, 0) => ("good", "Nothing has held this runtime up so far.".to_owned()),
        (0, _) => ("past", format!("Nothing holds this runtime up now. {so_far} so far.")),
        (1, _) => ("bad", format!("1 worker is held up now. {so_far} so far.")),
        (now, _) => ("bad", format!("{now} workers are held up now. {so_far} so far.")),
    };
    put(html, format_args!("<h1>holdup</h1><p class='headline {class}'>{sentence}</p>"));
    if let Some(others) = stalls.counters.other_long_polls() {
        put(html, format_args!("<p class=faint>Not counted as stalls: {others}.</p>"));
    }
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
    html.push_str("<h2>Stalls</h2><table class=stalls><thead><tr><th>function<th class=n>lost<th class=n>share<th class=n>longest<th class=n>count</thead>");
    for group in groups.iter().take(SHOWN) {
        group_rows(html, group, stalls);
    }
    html.push_str("</table>");
    if groups.len() > SHOWN {
        put(html, format_args!("<p class=faint>{} more in the JSON.</p>", groups.len() - SHOWN));
    }
}

/// The function with its sums, and below it what is known of its stalls. The width of the line above shows the share.
fn group_rows(html: &mut String, group: &StallGroup, stalls: &Stalls) {
    let entries = || stalls.entries.iter().filter(|entry| group.stalls.contains(&entry.stall.id));
    let Some(first) = entries().next() else { return };
    let view = GroupView::from(group);
    let name = match view.function {
        Some(function) => format!("<code>{}</code>", breakable(function)),
        None => view.name().to_owned(),
    };
    let running = match group.running {
        0 => String::new(),
        1 => " <span class=running>running</span>".to_owned(),
        several => format!(" <span class=running>{several} running</span>"),
    };
    put(
        html,
        format_args!(
            "<tbody class=group style='--share:{:.0}%'><tr><td>{name}{running}<td class=n>{}<td class=n>{}<td class=n>{}<td class=n>{}</tr><tr><td colspan=5><dl>",
            group.share * 100.0,
            milliseconds(group.total),
            view.percent(),
            milliseconds(group.longest),
            group.count,
        ),
    );
    for part in view.parts.iter().take(PARTS) {
        field(html, "cause", &cause(part, view.parts.len() > 1));
    }
    if view.parts.len() > PARTS {
        field(html, "", &plural((view.parts.len() - PARTS) as u64, "more place"));
    }
    field(html, "advice", &escape(&first.stall.cause.advice()));
    if let Some(build) = first.stall.build_advice {
        field(html, "build", &escape(build));
    }
    let running = entries().filter(|entry| !entry.stall.ended).take(RUNNING);
    let ended = Some(first).filter(|entry| entry.stall.ended);
    for entry in running.chain(ended) {
        stall(html, &entry.stall);
    }
    field(html, "seen", &view.seen());
    html.push_str("</dl></tbody>");
}

/// `sleeping at src/api.rs:7`, with count and time if the group has several.
fn cause(part: &GroupPartView<'_>, one_of_several: bool) -> String {
    let place = part.location.map_or_else(String::new, |location| format!(" at {}", breakable(location)));
    let sums = if one_of_several {
        format!(", {}, {}", plural(part.count, "poll"), milliseconds(part.total))
    } else {
        String::new()
    };
    format!("<b>{}</b>{place}{sums}", escape(&part.cause))
}

/// One stall of a function: its worker, what the worker did in order, its task, and who waited.
fn stall(html: &mut String, stall: &Stall) {
    let view = StallView::from(stall);
    field(html, if view.ended { "newest" } else { "running" }, &breakable(&view.story(Style::Plain)));
    if let Some(parts) = view.parts_sentence() {
        field(html, "parts", &breakable(&parts));
    }
    field(html, "task", &breakable(&view.task));
    if let Some(victims) = view.some_waited() {
        field(html, "victims", &breakable(victims));
    }
}

/// A line below a function. The text is HTML.
fn field(html: &mut String, name: &str, text: &str) {
    put(html, format_args!("<dt>{name}<dd>{text}"));
}

fn worker_table(html: &mut String, workers: &[WorkerNow]) {
    html.push_str("<h2>Workers now</h2>");
    if workers.is_empty() {
        html.push_str("<p class=faint>None yet. Build a runtime with <code>watch.runtime(…)</code>.</p>");
        return;
    }
    html.push_str("<div class=scroll><table class='lined workers'><tr><th>runtime<th>worker<th>thread<th>activity<th>task<th class=n>for<th class=n>polls</tr>");
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
    html.push_str("<h2>What holdup sees here</h2><table class='lined check'>");
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
    html.push_str("</table>");
}

fn put(html: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing into a string cannot fail.
    let _infallible = html.write_fmt(text);
}

/// Text as HTML. Names come from the program and its files, so they may contain any character.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

/// Text as HTML that may be broken inside paths of modules and files.
fn breakable(text: &str) -> String {
    escape(text).replace("::", "::<wbr>").replace('/', "/<wbr>")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::cause::{Cause, CauseClass};
    use crate::model::cause_object::CauseObject;
    use crate::model::evidence::Evidence;
    use crate::model::holds::Holds;
    use crate::model::stall::{StallId, StallPart};

    fn page_of(entries: Vec<StallEntry>) -> String {
        page(&Stalls { entries, ..Stalls::default() }, &[], &SelfCheck::default(), &[])
    }

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
    fn a_function_is_shown_once_with_its_lines_causes_and_share() {
        let entry = |id, line, class, ms| {
            let mut stall = Stall::example("api::<nap>", Duration::from_millis(ms), class);
            (stall.id, stall.ended) = (StallId(id), true);
            if let Some(culprit) = &mut stall.culprit {
                (culprit.frame.file, culprit.frame.line) = (Some("src/api.rs".into()), Some(line));
            }
            StallEntry::new(stall)
        };
        let page = page_of(vec![entry(1, 7, CauseClass::Sleeping, 30), entry(2, 8, CauseClass::Lock, 10)]);
        assert_eq!(page.matches("<code>api::<wbr>&lt;nap&gt;</code>").count(), 1, "{page}");
        let sleeping = "<b>sleeping</b> at src/<wbr>api.rs:7, 1 poll, 30.0 ms";
        let lock = "<b>waiting for a lock</b> at src/<wbr>api.rs:8, 1 poll, 10.0 ms";
        for part in [sleeping, lock, "100 %", "40.0 ms"] {
            assert!(page.contains(part), "{part}: {page}");
        }
        assert!(!page.contains("running</span>"), "{page}");
    }

    #[test]
    fn parts_the_machines_part_and_build_advice_are_shown() {
        let ms = Duration::from_millis;
        let mut stall = Stall::example("api::load", ms(120), CauseClass::Computing);
        (stall.ended, stall.build_advice) = (true, Some("Build with <names>."));
        (stall.cause.evidence.window, stall.cause.evidence.run_queue) = (ms(120), Some(ms(38)));
        let lock = Cause::new(CauseClass::Lock, Evidence::default());
        let first = StallPart { to: ms(70), ..stall.parts[0].clone() };
        stall.parts =
            vec![first, StallPart { culprit: stall.culprit.clone(), ..StallPart::new(ms(70), ms(120), lock) }];
        let page = page_of(vec![StallEntry::new(stall)]);
        for shown in [
            "was held for 120 ms by load (computing, and 38.0 ms without a CPU)",
            "<dt>parts<dd>0.0–70.0 ms computing in load, 70.0–120 ms waiting for a lock in load",
            "<dt>build<dd>Build with &lt;names&gt;.",
        ] {
            assert!(page.contains(shown), "{shown}: {page}");
        }
    }

    #[test]
    fn each_running_stall_of_a_function_is_shown() {
        let on = |worker| {
            let mut stall = Stall::example("api::nap", Duration::from_millis(30), CauseClass::Sleeping);
            (stall.id, stall.worker) = (StallId(worker as u64), Some(worker));
            StallEntry::new(stall)
        };
        let page = page_of(vec![on(1), on(2)]);
        assert!(page.contains("2 workers are held up now.") && page.contains("2 running</span>"), "{page}");
        for worker in [1, 2] {
            let story =
                format!("worker {worker} of runtime &quot;runtime-1&quot; held for 30.0 ms so far by nap (sleeping)");
            assert!(page.contains(&story), "{page}");
        }
    }

    #[test]
    fn what_holds_no_task_is_told_apart() {
        let mut stall = Stall::example("shop::load", Duration::from_millis(900), CauseClass::File);
        stall.holds = Holds::StartUp;
        let mut stalls = Stalls { entries: vec![StallEntry::new(stall)], ..Stalls::default() };
        stalls.counters.start_up = 1;
        let page = page(&stalls, &[], &SelfCheck::default(), &[]);
        for part in [
            "Nothing has held this runtime up so far.",
            "stalls: 1 long poll at start-up.",
            "the start-up of runtime &quot;runtime-1&quot; held for 900 ms so far",
        ] {
            assert!(page.contains(part), "{part}: {page}");
        }
    }

    #[test]
    fn the_object_decides_the_advice() {
        let mut stall = Stall::example("api::relay", Duration::from_millis(30), CauseClass::File);
        stall.cause.objects = vec![CauseObject::StandardOutputPipe];
        let page = page_of(vec![StallEntry::new(stall)]);
        let advice = escape(CauseObject::StandardOutputPipe.advice());
        for shown in
            ["<dt>cause<dd><b>writing to a full pipe on standard output</b>", &format!("<dt>advice<dd>{advice}")]
        {
            assert!(page.contains(shown), "{shown}: {page}");
        }
        assert!(!page.contains("tokio::fs"), "{page}");
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
