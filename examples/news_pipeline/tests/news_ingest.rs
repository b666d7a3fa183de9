//! Ingest of the reference service: `/sources` reports every kind of bad feed, and the healthy ones go on.
//!
//! `HOLDUP_NEWS_PIPELINE` names the program to test; without it, cargo builds it.

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use support::service::{Service, program};
use support::{DEADLINE, wait_until};

/// The embedded feeds without a fault.
const HEALTHY: [&str; 6] = ["world", "science", "markets", "harbour", "culture", "weather"];

/// Requests of this test.
trait Asked {
    fn get(&self, path: &str) -> Value;

    fn source(&self, name: &str) -> Value;

    /// Waits until the condition holds for the source, and returns its state.
    fn wait_for_source(&self, name: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value;
}

impl Asked for Service {
    fn get(&self, path: &str) -> Value {
        let config = ureq::Agent::config_builder().timeout_global(Some(DEADLINE)).proxy(None).build();
        let url = format!("http://{}{path}", self.address("news"));
        let mut answer = ureq::Agent::new_with_config(config).get(url).call().expect("the API answers");
        serde_json::from_str(&answer.body_mut().read_to_string().expect("it is text")).expect("it is JSON")
    }

    fn source(&self, name: &str) -> Value {
        let list = self.get("/sources");
        let sources = list["sources"].as_array().expect("a list");
        let found = sources.iter().find(|source| source["name"] == name);
        found.unwrap_or_else(|| panic!("{name} is not in {list:#}")).clone()
    }

    fn wait_for_source(&self, name: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let mut source = Value::Null;
        wait_until(&format!("{name}: {what}"), || {
            source = self.source(name);
            holds(&source)
        });
        source
    }
}

fn number(source: &Value, field: &str) -> u64 {
    source[field].as_u64().unwrap_or_else(|| panic!("no {field} in {source:#}"))
}

#[test]
fn every_bad_feed_is_reported_and_the_others_go_on() {
    let bad = [
        ("slow", "not complete within 1s"),
        ("drip", "not complete within 1s"),
        ("huge", "larger than 256.0 KiB"),
        ("broken", "not a feed"),
        ("page", "not a feed"),
        ("invalid-utf8", "UTF-8, and has bytes that are not, first at byte"),
        ("unknown-encoding", "the encoding \"x-runes\" is unknown"),
        ("deep", "larger than 256.0 KiB"),
        ("unavailable", "503 Service Unavailable"),
        ("redirects", "too many redirects"),
    ];
    let kinds: Vec<&str> = bad.iter().map(|(kind, _)| *kind).chain(["latin1", "incomplete", "bomb", "flaky"]).collect();
    let service = Service::start(&[
        "--odd-feed",
        &kinds.join(","),
        "--feed-timeout",
        "1s",
        "--feed-size-limit",
        "256KiB",
        "--feed-interval",
        "200ms",
        // Large enough for the items of the year 2000 too.
        "--cache-size",
        "1000",
        "--readers",
        "0",
    ]);
    for (kind, why) in bad {
        let source = service.wait_for_source(kind, "fails", |source| source["state"] == "failing");
        let error = source["error"].as_str().unwrap_or_default();
        assert!(error.contains(why), "{kind}: {source:#}");
        assert_eq!(number(&source, "articles"), 0, "{source:#}");
    }
    let latin1 = service.wait_for_source("latin1", "is read", |source| number(source, "articles") == 1);
    assert_eq!(latin1["state"], "working", "{latin1:#}");
    let incomplete = service.wait_for_source("incomplete", "is read", |source| number(source, "articles") == 1);
    assert!(number(&incomplete, "left_out") >= 1, "{incomplete:#}");
    service.wait_for_source("bomb", "is read", |source| source["state"] == "working");
    service.wait_for_source("flaky", "recovers", |source| {
        number(source, "failures") >= 1 && source["state"] == "working" && source["error"].is_null()
    });
    wait_until("Latin-1 is read as such", || {
        service.get("/latest-news?source=latin1")["items"][0]["title"] == "Café für alle open"
    });

    for name in HEALTHY {
        let visits = number(&service.source(name), "visits");
        let later = service.wait_for_source(name, "goes on", |source| number(source, "visits") >= visits + 2);
        assert_eq!((later["state"].as_str(), number(&later, "failures")), (Some("working"), 0), "{later:#}");
    }
    let consumed = number(&service.get("/healthz"), "consumed");
    wait_until("news still come through", || number(&service.get("/healthz"), "consumed") > consumed);
}

#[test]
fn a_feed_with_deep_nesting_is_reported() {
    let service = Service::start(&["--odd-feed", "deep", "--readers", "0"]);
    let deep = service.wait_for_source("deep", "fails", |source| source["state"] == "failing");
    assert!(deep["error"].as_str().unwrap_or_default().contains("not a feed"), "{deep:#}");
}

#[test]
fn a_feed_that_breaks_off_is_reported() {
    let service = Service::start(&["--odd-feed", "cut", "--readers", "0"]);
    let cut = service.wait_for_source("cut", "fails", |source| source["state"] == "failing");
    assert!(!cut["error"].as_str().unwrap_or_default().is_empty(), "{cut:#}");
}

#[test]
fn a_failing_feed_is_tried_later_and_later() {
    let service = Service::start(&[
        "--odd-feed",
        "page",
        "--feed-interval",
        "50ms",
        "--feed-retry-max",
        "400ms",
        "--readers",
        "0",
    ]);
    let early = service.wait_for_source("page", "fails", |source| number(source, "failures_in_a_row") >= 1);
    let late = service.wait_for_source("page", "fails again", |source| number(source, "failures_in_a_row") >= 6);
    let (first, last) = (number(&early, "next_try_after_ms"), number(&late, "next_try_after_ms"));
    assert!((50..=800).contains(&first), "{early:#}");
    assert!((400..=800).contains(&last), "the longest pause, up to doubled by chance: {late:#}");
}

/// The head of a request, in lower case.
fn head_of(connection: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && connection.read(&mut byte).is_ok_and(|read| read == 1) {
        head.push(byte[0]);
    }
    String::from_utf8_lossy(&head).to_lowercase()
}

/// A feed with one article, and the requests that it received.
fn feed_with_tag() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let url = format!("http://user:secret@{}/feed.xml?key=secret", listener.local_addr().expect("it is bound"));
    let asked = Arc::new(Mutex::new(Vec::new()));
    let requests = Arc::clone(&asked);
    std::thread::spawn(move || {
        for mut connection in listener.incoming().flatten() {
            let request = head_of(&mut connection);
            let known = request.contains("if-none-match: \"v1\"");
            requests.lock().unwrap_or_else(PoisonError::into_inner).push(request);
            let feed = "<rss version=\"2.0\"><channel><title>t</title><item><guid isPermaLink=\"false\">7</guid>\
                <title>Only one</title><link>https://news.invalid/7</link>\
                <pubDate>Sat, 01 Jan 2000 00:00:00 +0000</pubDate></item></channel></rss>";
            let head = match known {
                true => "304 Not Modified\r\nETag: \"v1\"\r\n".to_owned(),
                false => format!(
                    "200 OK\r\nETag: \"v1\"\r\nLast-Modified: Sat, 01 Jan 2000 00:00:00 GMT\r\nContent-Length: {}\r\n",
                    feed.len()
                ),
            };
            let body = if known { "" } else { feed };
            let _sent = connection.write_all(format!("HTTP/1.1 {head}Connection: close\r\n\r\n{body}").as_bytes());
        }
    });
    (url, asked)
}

#[test]
fn requests_are_conditional_and_secrets_stay_inside() {
    let (url, asked) = feed_with_tag();
    let service = Service::start(&["--feed", &url, "--feed-interval", "50ms", "--readers", "0"]);
    let name = url.rsplit_once('@').map(|(_, rest)| rest.trim_end_matches("?key=secret").to_owned()).expect("a host");
    let source = service.wait_for_source(&name, "is unchanged", |source| number(source, "unchanged") >= 2);
    assert_eq!(number(&source, "articles"), 1, "{source:#}");
    assert!(!source.to_string().contains("secret"), "{source:#}");

    let asked = asked.lock().unwrap_or_else(PoisonError::into_inner).clone();
    assert!(!asked[0].contains("if-none-match"), "{asked:?}");
    assert!(asked[1].contains("if-none-match: \"v1\""), "{asked:?}");
    assert!(asked[1].contains("if-modified-since: sat, 01 jan 2000 00:00:00 gmt"), "{asked:?}");
    assert!(asked[0].contains("authorization: basic"), "the source receives it: {asked:?}");
    wait_until("it comes through", || service.get("/latest-news")["items"][0]["title"] == "Only one");
}

#[test]
fn duplicates_are_dropped() {
    let service = Service::start(&["--feed-interval", "100ms", "--readers", "0"]);
    let world = service.wait_for_source("world", "shows items again", |source| number(source, "duplicates") >= 40);
    let articles = number(&world, "articles");
    assert!((20..200).contains(&articles), "{world:#}");
    let items = service.get("/latest-news")["items"].as_array().cloned().expect("a list");
    let mut ids: Vec<&str> = items.iter().filter_map(|item| item["id"].as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), items.len(), "no article twice");
}

#[test]
fn what_is_remembered_is_bounded() {
    // Six feeds show 120 items, so the items of a feed are forgotten before its next visit.
    let service = Service::start(&["--feed-interval", "100ms", "--feed-memory", "100", "--readers", "0"]);
    let world = service.wait_for_source("world", "is read again", |source| number(source, "articles") >= 45);
    // With a large enough memory, it is about one in ten.
    assert!(number(&world, "duplicates") < 4 * number(&world, "articles"), "taken as new again: {world:#}");
    let items = service.get("/latest-news")["items"].as_array().cloned().expect("a list");
    let mut ids: Vec<&str> = items.iter().filter_map(|item| item["id"].as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), items.len(), "and still no article twice in the cache");
}

/// Pages by path, each a response with its head.
fn pages() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            std::thread::spawn(move || answer_page(connection));
        }
    });
    format!("http://{address}")
}

fn answer_page(mut connection: TcpStream) {
    let request = head_of(&mut connection);
    let html = |head: &str, body: &[u8]| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {head}\r\nConnection: close\r\n\r\n");
        [head.as_bytes(), body].concat()
    };
    let answer = match request.split_whitespace().nth(1).unwrap_or_default() {
        "/plain" => html("text/html", b"<!doctype html><html><head><TITLE>\n Fish &amp; <b>chips</b>\t</TITLE></head>"),
        "/script" => html(
            "text/html",
            b"<script>var a = '<title>no</title>';</script><!-- <title>no</title> --><title>Yes</title>",
        ),
        "/head" => html("text/html; charset=iso-8859-1", b"<title>Caf\xe9</title>"),
        "/meta" => html("text/html", b"<meta charset='windows-1251'><title>\xcc\xe8\xf0</title>"),
        "/guess" => html("text/html", b"<title>Caf\xe9</title>"),
        "/control" => html("text/html", b"<title>a\x1b[31mb\x07c</title>"),
        "/none" => html("text/html", b"<p>nothing"),
        "/long" => html("text/html", &[b"<p>".to_vec(), vec![b'x'; 200_000], b"<title>late</title>".to_vec()].concat()),
        "/silent" => {
            std::thread::sleep(DEADLINE);
            Vec::new()
        }
        _ => b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec(),
    };
    let _sent = connection.write_all(&answer);
}

#[test]
fn titles_are_scraped_in_order_with_errors_in_place() {
    let base = pages();
    let closed = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    let cases = [
        (format!("{base}/silent"), "error: no title within 2s"),
        (format!("{base}/plain"), "Fish & <b>chips</b>"),
        (format!("{base}/script"), "Yes"),
        (format!("{base}/head"), "Café"),
        (format!("{base}/meta"), "Мир"),
        (format!("{base}/guess"), "Café"),
        (format!("{base}/control"), "a [31mb c"),
        (format!("{base}/none"), "error: the page has no title"),
        (format!("{base}/long"), "error: there is no title in the first 64.0 KiB"),
        (format!("{base}/missing"), "error: the answer is 404 Not Found"),
        (format!("http://{closed}/"), "error: error sending request"),
    ];
    let scraped = Command::new(program())
        .env("NO_PROXY", "127.0.0.1")
        .args(["scrape", "--page-timeout", "2s", "--page-size-limit", "64KiB"])
        .args(cases.iter().map(|(url, _)| url))
        .output()
        .expect("it runs");
    let lines = String::from_utf8(scraped.stdout).expect("it is UTF-8");
    let lines: Vec<&str> = lines.lines().collect();
    assert_eq!(lines.len(), cases.len(), "{lines:#?}");
    for ((url, title), line) in cases.iter().zip(lines) {
        assert!(line.starts_with(&format!("{url}\t{title}")), "{line}, not {title}");
    }
    let stderr = String::from_utf8_lossy(&scraped.stderr).into_owned();
    assert!(!scraped.status.success() && stderr.contains("5 of 11 pages gave no title"), "{stderr}");
}

#[test]
fn wrong_options_are_reported_at_the_start() {
    for (arguments, message) in [
        (vec!["--feed", "ftp://news.invalid/"], "only http:// and https://"),
        (vec!["--feed", "http://news.invalid/", "--odd-feed", "huge"], "cannot be used with"),
        #[cfg(not(feature = "tls"))]
        (vec!["--feed", "https://news.invalid/"], "--features tls"),
        (vec!["--odd-feed", "none"], "possible values"),
        (vec!["--feed-size-limit", "large"], "such as 64KiB"),
        (vec!["--feeds-at-once", "0"], "between 1 and 256"),
        (vec!["--feed-timeout", "0s"], "longer than zero"),
        (vec!["scrape"], "<URL>"),
        (vec!["scrape", "news.invalid"], "write a whole address"),
    ] {
        let ended = Command::new(program()).args(&arguments).output().expect("it runs");
        let stderr = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(!ended.status.success() && stderr.contains(message), "{arguments:?}: {stderr}");
    }
}

/// Environment variables have the effect of flags.
#[test]
fn options_are_taken_from_the_environment() {
    let ended = Command::new(program()).env("NEWS_FEEDS_AT_ONCE", "1000").output().expect("it runs");
    let stderr = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(!ended.status.success() && stderr.contains("between 1 and 256"), "{stderr}");
}
