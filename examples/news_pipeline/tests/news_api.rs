//! The news API of the reference service: responses, conditions, validation, limits, streams, drain.
//!
//! `HOLDUP_NEWS_PIPELINE` names the program to test; without it, cargo builds it.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use support::service::{Service, program};
use support::{DEADLINE, wait_until};

const PROBLEM: &str = "application/problem+json";

/// A response as the client receives it.
struct Answer {
    status: u16,
    headers: ureq::http::HeaderMap,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// Checks that it is a problem in the format of RFC 9457, with this status.
    fn is_problem(&self, status: u16) -> Value {
        let problem = self.json();
        assert_eq!((self.status, self.header("content-type")), (status, PROBLEM), "{problem:#}");
        assert_eq!(problem["status"], status, "{problem:#}");
        assert!(problem["type"].is_string() && problem["title"].is_string(), "{problem:#}");
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{problem:#}");
        problem
    }
}

/// Requests of these tests.
trait Asked {
    fn url(&self, path: &str) -> String;

    fn get(&self, path: &str) -> Answer;

    fn get_if_none_match(&self, path: &str, tag: &str) -> Answer;

    fn post(&self, path: &str, kind: &str, body: &[u8]) -> Answer;

    fn wait_for_news(&self);
}

impl Asked for Service {
    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address("news"))
    }

    fn get(&self, path: &str) -> Answer {
        answer(agent().get(self.url(path)).call().expect("the API answers"))
    }

    fn get_if_none_match(&self, path: &str, tag: &str) -> Answer {
        answer(agent().get(self.url(path)).header("If-None-Match", tag).call().expect("the API answers"))
    }

    fn post(&self, path: &str, kind: &str, body: &[u8]) -> Answer {
        answer(agent().post(self.url(path)).header("Content-Type", kind).send(body).expect("the API answers"))
    }

    fn wait_for_news(&self) {
        wait_until("there is news", || self.get("/readyz").status == 200);
    }
}

fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder().timeout_global(Some(DEADLINE)).http_status_as_error(false).proxy(None);
    ureq::Agent::new_with_config(config.build())
}

fn answer(mut response: ureq::http::Response<ureq::Body>) -> Answer {
    Answer {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        body: response.body_mut().read_to_string().expect("it is text"),
    }
}

/// Writes raw bytes, and reads until the other side closes.
fn converse(service: &Service, request: &str) -> String {
    let mut connection = TcpStream::connect(service.address("news")).expect("it listens");
    connection.set_read_timeout(Some(DEADLINE)).expect("a time limit is possible");
    connection.write_all(request.as_bytes()).expect("it is taken");
    let mut response = Vec::new();
    // The other side may reset the connection after its response.
    let _end = connection.read_to_end(&mut response);
    String::from_utf8_lossy(&response).into_owned()
}

#[test]
fn news_are_bounded_filtered_and_conditional() {
    // The feeds stop, so that the cache does not change during the test.
    let service = Service::start(&["--feed-interval", "1h", "--readers", "0", "--cache-size", "50"]);
    wait_until("all feeds are in the cache", || service.get("/healthz").json()["consumed"] == 120);

    let news = service.get("/latest-news");
    let items = news.json()["items"].as_array().cloned().expect("a list");
    assert_eq!(items.len(), 50, "the cache has the requested size");
    let dates: Vec<&str> = items.iter().filter_map(|item| item["published_at"].as_str()).collect();
    assert_eq!(dates.len(), 50);
    let date = |text: &str| chrono::DateTime::parse_from_rfc3339(text).expect("a date");
    assert!(dates.windows(2).all(|pair| date(pair[0]) >= date(pair[1])), "newest first: {dates:?}");

    assert_eq!(service.get("/latest-news?limit=7").json()["items"].as_array().map(Vec::len), Some(7));
    assert_eq!(service.get("/latest-news?limit=0").json()["items"], json!([]));
    let of_one = service.get("/latest-news?source=culture").json()["items"].as_array().cloned().expect("a list");
    assert!(!of_one.is_empty() && of_one.iter().all(|item| item["source"] == "culture"), "{of_one:?}");
    assert_eq!(service.get("/latest-news?source=nobody").json()["items"], json!([]));
    for wrong in ["limit=-1", "limit=many", "limit=100001", "colour=red"] {
        service.get(&format!("/latest-news?{wrong}")).is_problem(400);
    }

    let tag = news.header("etag").to_owned();
    assert!(tag.starts_with('"') && tag.len() > 2, "{tag}");
    for known in [tag.clone(), format!("\"old\", W/{tag}"), "*".to_owned()] {
        let unchanged = service.get_if_none_match("/latest-news", &known);
        assert_eq!((unchanged.status, unchanged.body.as_str()), (304, ""), "{known}");
        assert_eq!(unchanged.header("etag"), tag);
    }
    assert_eq!(service.get_if_none_match("/latest-news", "\"old\"").status, 200);
    assert_ne!(service.get("/latest-news?limit=7").header("etag"), tag, "other bytes, another tag");
}

#[test]
fn the_tag_changes_with_the_news() {
    let service = Service::start(&["--readers", "0"]);
    service.wait_for_news();
    let before = service.get("/latest-news").header("etag").to_owned();
    wait_until("the news change", || service.get_if_none_match("/latest-news", &before).status == 200);
}

#[test]
fn items_are_validated_kept_and_bounded() {
    let service = Service::start(&["--items", "2", "--readers", "0", "--feed-interval", "1h"]);
    let post = |body: &Value| service.post("/items", "application/json", body.to_string().as_bytes());

    let posted = post(&json!({"name": "Tide tables", "price": 12.5}));
    assert_eq!((posted.status, posted.header("location")), (201, "/items/1"), "{}", posted.body);
    assert_eq!(posted.json(), json!({"id": 1, "name": "Tide tables", "price": 12.5}));
    assert_eq!(service.get("/items/1").json(), posted.json());

    // Characters, not bytes.
    for name in ["äöü", &"ü".repeat(50)] {
        assert_eq!(post(&json!({"name": name, "price": 0.01})).status, 201, "{name}");
    }
    service.get("/items/1").is_problem(404);
    assert_eq!(service.get("/items/3").status, 200, "the newest are kept");

    let pointers = |body: Value| -> Vec<String> {
        let problem = post(&body).is_problem(422);
        let errors = problem["errors"].as_array().cloned().unwrap_or_default();
        errors.iter().filter_map(|error| error["pointer"].as_str().map(str::to_owned)).collect()
    };
    assert_eq!(pointers(json!({"name": "ab", "price": 1})), ["/name"]);
    assert_eq!(pointers(json!({"name": "a".repeat(51), "price": 1})), ["/name"]);
    assert_eq!(pointers(json!({"name": "abc", "price": 0})), ["/price"]);
    assert_eq!(pointers(json!({"name": "", "price": -3.5})), ["/name", "/price"]);
    for wrong in
        [json!({"name": "abc"}), json!({"name": 3, "price": 1}), json!({"name": "abc", "price": 1, "a": 2}), json!(7)]
    {
        post(&wrong).is_problem(422);
    }
    for wrong in [&b"{"[..], b"", b"{\"name\":\"abc\",\"price\":1e999}", b"\xff\xfe"] {
        service.post("/items", "application/json", wrong).is_problem(400);
    }
    service.post("/items", "text/plain", b"{\"name\":\"abc\",\"price\":1}").is_problem(415);
    service.get("/items/none").is_problem(400);
    service.get("/items/-1").is_problem(400);
    assert_eq!(service.get("/healthz").json()["items"], 3);
    assert_eq!(service.get("/healthz").json()["items_gone"], 1);
}

#[test]
fn limits_hold_and_the_service_goes_on() {
    let service = Service::start(&["--readers", "0", "--header-timeout", "500ms", "--body-limit", "1KiB"]);
    let item = |bytes: usize| json!({"name": "n".repeat(bytes), "price": 1}).to_string();
    service.post("/items", "application/json", item(900).as_bytes()).is_problem(422);
    service.post("/items", "application/json", item(2000).as_bytes()).is_problem(413);

    // Declared far too large, and never sent.
    let response = converse(
        &service,
        "POST /items HTTP/1.1\r\nHost: news\r\nContent-Type: application/json\r\nContent-Length: 99999999\r\nConnection: close\r\n\r\n",
    );
    assert!(response.starts_with("HTTP/1.1 413 "), "{response}");
    // Without a length, in chunks.
    let chunk = "7".repeat(4096);
    let response = converse(
        &service,
        &format!(
            "POST /items HTTP/1.1\r\nHost: news\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n1000\r\n{chunk}\r\n"
        ),
    );
    assert!(response.starts_with("HTTP/1.1 413 "), "{response}");

    let response =
        converse(&service, &format!("GET / HTTP/1.1\r\nHost: news\r\nX-Long: {}\r\n\r\n", "a".repeat(20_000)));
    assert!(response.starts_with("HTTP/1.1 431 "), "{response}");

    // A head that never ends (slow-loris): the connection is closed, without a response or with 408.
    let response = converse(&service, "GET / HTTP/1.1\r\nHost: ne");
    assert!(response.is_empty() || response.starts_with("HTTP/1.1 408 "), "{response}");

    service.get("/nowhere").is_problem(404);
    let refused = service.post("/latest-news", "application/json", b"{}");
    refused.is_problem(405);
    assert!(refused.header("allow").contains("GET"), "{:?}", refused.headers);
    service.wait_for_news();
}

#[test]
fn a_body_that_never_ends_takes_no_longer_than_a_request_may() {
    let service = Service::start(&["--readers", "0", "--request-timeout", "500ms"]);
    let response = converse(
        &service,
        "POST /items HTTP/1.1\r\nHost: news\r\nContent-Type: application/json\r\nContent-Length: 100\r\nConnection: close\r\n\r\n{",
    );
    assert!(response.starts_with("HTTP/1.1 503 ") && response.contains("--request-timeout"), "{response}");
    assert!(service.get("/healthz").json()["refused"].as_u64() >= Some(1));
}

/// Sends the head of a request and the first byte of its body, with a short read timeout.
fn begin_post(service: &Service) -> TcpStream {
    let mut stream = TcpStream::connect(service.address("news")).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_millis(50))).expect("a time limit is possible");
    let head = b"POST /items HTTP/1.1\r\nHost: news\r\nContent-Type: application/json\r\nContent-Length: 30\r\n\r\n{";
    stream.write_all(head).expect("it is taken");
    stream
}

#[test]
fn requests_beyond_the_limit_are_refused() {
    let service = Service::start(&["--readers", "0", "--requests", "1", "--request-timeout", "20s"]);
    service.wait_for_news();
    // It occupies the only permit, because its body does not arrive. The previous request may release its permit shortly
    // after its response; then this one is rejected and sent again.
    let mut waiting = begin_post(&service);
    wait_until("the turn is taken", || {
        let answered = waiting.read(&mut [0]).is_ok();
        if answered {
            waiting = begin_post(&service);
        }
        !answered && service.get("/latest-news").status == 503
    });
    let refused = service.get("/latest-news");
    refused.is_problem(503);
    assert_eq!(refused.header("retry-after"), "1");
    waiting.write_all(b"\"name\":\"late\",\"price\":1.25}    ").expect("it is still taken");
    wait_until("the turn is free again", || service.get("/latest-news").status == 200);
}

#[test]
fn connections_beyond_the_limit_wait_for_one_that_ends() {
    let service = Service::start(&["--readers", "0", "--connections", "1"]);
    let address = service.address("news");
    let mut first = TcpStream::connect(address).expect("it listens");
    first.set_read_timeout(Some(DEADLINE)).expect("a time limit is possible");
    first.write_all(b"GET /stream HTTP/1.1\r\nHost: news\r\n\r\n").expect("it is taken");
    let mut start = [0; 12];
    first.read_exact(&mut start).expect("it is answered");
    assert_eq!(&start, b"HTTP/1.1 200");

    let mut second = TcpStream::connect(address).expect("the kernel takes it");
    second.write_all(b"GET /healthz HTTP/1.1\r\nHost: news\r\nConnection: close\r\n\r\n").expect("it is taken");
    second.set_read_timeout(Some(std::time::Duration::from_millis(300))).expect("a time limit is possible");
    assert!(second.read(&mut start).is_err(), "answered beyond the limit");
    drop(first);
    second.set_read_timeout(Some(DEADLINE)).expect("a time limit is possible");
    second.read_exact(&mut start).expect("it is answered when there is room");
    assert_eq!(&start, b"HTTP/1.1 200");
}

#[test]
fn the_stream_sends_articles_and_ends_with_the_service() {
    let mut service = Service::start(&["--readers", "0", "--streams", "1"]);
    let mut connection = TcpStream::connect(service.address("news")).expect("it listens");
    connection.set_read_timeout(Some(DEADLINE)).expect("a time limit is possible");
    connection.write_all(b"GET /stream HTTP/1.1\r\nHost: news\r\n\r\n").expect("it is taken");
    let mut lines = BufReader::new(connection.try_clone().expect("it can be shared")).lines().map_while(Result::ok);
    let mut line_with = |start: &str| {
        lines.find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("the stream ended before {start:?}"))
    };
    assert!(line_with("content-type").contains("text/event-stream"));
    service.get("/stream").is_problem(503);
    for _ in 0..3 {
        line_with("event: article");
        let id = line_with("id: ").trim_start_matches("id: ").to_owned();
        let data = line_with("data: ");
        let article: Value = serde_json::from_str(data.trim_start_matches("data: ")).expect("it is JSON");
        assert_eq!(article["id"], id.as_str());
        assert!(article["title"].is_string() && article["published_at"].is_string(), "{article:#}");
    }

    let signaled = Command::new("kill").arg(service.child.id().to_string()).status().expect("`kill` is there");
    assert!(signaled.success());
    let status = std::cell::Cell::new(None);
    wait_until("the service ends", || {
        status.set(service.child.try_wait().expect("it is our child"));
        status.get().is_some()
    });
    assert_eq!(status.get().and_then(|status| status.code()), Some(0), "a reader of the stream does not keep it");
    let _gone = connection.shutdown(Shutdown::Both);
}

#[test]
fn the_index_and_the_document_say_what_there_is() {
    let service = Service::start(&["--readers", "0"]);
    let document = service.get("/openapi.json").json();
    assert_eq!(document["openapi"].as_str().map(|version| &version[..3]), Some("3.1"), "{document:#}");
    let index = service.get("/").body;
    let paths = [
        "/latest-news",
        "/sources",
        "/items",
        "/items/{id}",
        "/stream",
        "/healthz",
        "/counters",
        "/readyz",
        "/openapi.json",
    ];
    for path in paths {
        assert!(document["paths"][path].is_object(), "{path} is not in {document:#}");
        assert!(index.contains(path), "{path} is not in {index}");
    }
    let new = &document["components"]["schemas"]["NewItem"]["properties"];
    assert_eq!((&new["name"]["minLength"], &new["name"]["maxLength"]), (&json!(3), &json!(50)), "{new:#}");
    assert_eq!(new["price"]["exclusiveMinimum"].as_f64(), Some(0.0), "{new:#}");
}

#[test]
fn wrong_options_are_reported_at_the_start() {
    for (arguments, message) in [
        (["--body-limit", "1B"], "between 64 B and 64"),
        (["--items", "0"], "between 1 and 1000000"),
        (["--requests", "many"], "between 1 and 100000"),
        (["--request-timeout", "0s"], "longer than zero"),
        (["--header-limit", "1KiB"], "between 8"),
        (["--api", "127.0.0.1"], "--api chooses the address"),
    ] {
        let ended = Command::new(program()).args(arguments).output().expect("it runs");
        let stderr = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(!ended.status.success() && stderr.contains(message), "{arguments:?}: {stderr}");
    }
}
