//! The page at `/`, and its files.

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::answer::{HTML, TEXT, answer};

/// The path of its files.
pub(super) const FILES: &str = "/debug/holdup/page/{name}";

const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// The browser runs nothing but these files, and asks nobody but this endpoint.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const INDEX: &str = include_str!("page/index.html");

/// `(name, type, text)` of each file.
macro_rules! files {
    ($($name:literal: $kind:expr,)*) => { &[$(($name, $kind, include_str!(concat!("page/", $name)))),*] };
}

const TABLE: &[(&str, &str, &str)] = files! {
    "chart.js": SCRIPT,
    "check.js": SCRIPT,
    "colors.js": SCRIPT,
    "contact.js": SCRIPT,
    "dom.js": SCRIPT,
    "event_stream.js": SCRIPT,
    "evidence.js": SCRIPT,
    "flame.css": CSS,
    "flame.js": SCRIPT,
    "flame_button.js": SCRIPT,
    "flame_filters.js": SCRIPT,
    "flame_functions.js": SCRIPT,
    "flame_layout.js": SCRIPT,
    "flame_legend.js": SCRIPT,
    "flame_name.js": SCRIPT,
    "flame_recorder.js": SCRIPT,
    "flame_shelf.js": SCRIPT,
    "flame_summary.js": SCRIPT,
    "flame_table.js": SCRIPT,
    "flame_text.js": SCRIPT,
    "flame_toolbar.js": SCRIPT,
    "flame_tree.js": SCRIPT,
    "flame_view.js": SCRIPT,
    "flame_window_link.js": SCRIPT,
    "format.js": SCRIPT,
    "heatmap.js": SCRIPT,
    "heatmap_bins.js": SCRIPT,
    "held.js": SCRIPT,
    "lane_drawing.js": SCRIPT,
    "lane_input.js": SCRIPT,
    "lane_table.js": SCRIPT,
    "lanes.js": SCRIPT,
    "live.js": SCRIPT,
    "main.js": SCRIPT,
    "number_history.js": SCRIPT,
    "numbers.js": SCRIPT,
    "page.css": CSS,
    "profile_data.js": SCRIPT,
    "profile_filter.js": SCRIPT,
    "recording_shelf.js": SCRIPT,
    "request.js": SCRIPT,
    "selection.js": SCRIPT,
    "stall_details.js": SCRIPT,
    "stall_filter.js": SCRIPT,
    "stalls.js": SCRIPT,
    "store.js": SCRIPT,
    "task_rows.js": SCRIPT,
    "tasks.js": SCRIPT,
    "theme.js": SCRIPT,
    "time_window.js": SCRIPT,
    "timeline.js": SCRIPT,
    "uplot.css": CSS,
    "uplot.js": SCRIPT,
    "uplot.license.txt": TEXT,
    "view_state.js": SCRIPT,
};

/// The page.
pub(super) async fn index() -> Response {
    secured(answer(HTML, INDEX))
}

/// A file of the page.
pub(super) async fn file(Path(name): Path<String>) -> Response {
    match TABLE.iter().find(|(known, ..)| *known == name) {
        Some((_, kind, text)) => secured(answer(kind, *text)),
        None => (StatusCode::NOT_FOUND, answer(TEXT, "the page has no such file\n")).into_response(),
    }
}

fn secured(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, header::HeaderValue::from_static(POLICY));
    headers.insert(header::REFERRER_POLICY, header::HeaderValue::from_static("no-referrer"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_folder_is_served() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/http/page");
        let entries = std::fs::read_dir(folder).expect("the folder is there");
        let mut names: Vec<String> =
            entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
        // Node needs `package.json` to test the modules.
        names.retain(|name| !["index.html", "package.json"].contains(&name.as_str()));
        names.sort();
        assert_eq!(names, TABLE.iter().map(|(name, ..)| *name).collect::<Vec<_>>());
    }
}
