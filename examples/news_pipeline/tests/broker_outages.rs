//! The reference service without a broker, with messages that are no articles, at a stop, and with invalid options. It
//! reports the error, goes on if it can, and loses no confirmed article.

mod support;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Headers;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Message};
use serde_json::Value;
use support::pipeline::{Folder, Member, PATIENCE, Part, Tansu, eventually};
use support::service::program;

/// Starts the whole service on free ports, with these brokers.
fn service(servers: &str, arguments: &[&str]) -> Part {
    let always = ["--api", "127.0.0.1:0", "--diagnostics", "127.0.0.1:0", "--bootstrap-servers", servers];
    Part::start(&[&always, arguments].concat())
}

/// The JSON of a page of the service's API.
fn page(service: &Part, path: &str) -> Value {
    let news = service.announced("news");
    let url = news.replace("/latest-news", path);
    let config = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(30))).build();
    let mut answer = ureq::Agent::new_with_config(config).get(url).call().expect("the API answers");
    serde_json::from_str(&answer.body_mut().read_to_string().expect("text")).expect("it is JSON")
}

fn number(page: &Value, field: &str) -> u64 {
    page[field].as_u64().unwrap_or_else(|| panic!("no {field} in {page:#}"))
}

#[test]
fn a_broker_that_is_away_at_the_start_is_waited_for() {
    let Some(mut tansu) = Tansu::installed("tansu-late") else { return };
    let service = service(&tansu.servers(), &["--drain-limit", "30s"]);
    service.wait_for_log("the topics: the broker does not list its topics");
    eventually("articles wait", || number(&page(&service, "/healthz"), "fetched") > 0);
    assert_eq!(number(&page(&service, "/healthz"), "produced"), 0);

    tansu.run();
    eventually("all of them arrive", || {
        let health = page(&service, "/healthz");
        number(&health, "consumed") > 0 && number(&health, "produced") == number(&health, "fetched")
    });
    service.signal("TERM");
    let (code, logged) = service.end();
    assert_eq!(code, Some(0), "{logged:#?}");
}

#[test]
fn a_service_without_its_broker_answers_and_ends_in_time() {
    // Nothing listens on port 1.
    let service = service("127.0.0.1:1", &["--drain-limit", "2s"]);
    service.wait_for_log("the topics: the broker does not list its topics");
    eventually("articles wait", || number(&page(&service, "/healthz"), "fetched") > 0);
    service.signal("TERM");
    let (code, logged) = service.end();
    assert_eq!(code, Some(1), "articles that were fetched are not published: {logged:#?}");
    let last = logged.last().expect("it says why");
    assert!(last.contains("Kafka did not confirm") || last.contains("the drain did not finish"), "{logged:#?}");
}

#[test]
fn a_broker_that_is_away_midway_holds_back_a_bounded_number_and_loses_none() {
    let broker = Part::start(&["broker"]);
    let service = service(&broker.announced("broker"), &["--outstanding", "4", "--feed-interval", "100ms"]);
    eventually("articles pass", || number(&page(&service, "/healthz"), "consumed") > 20);

    // Stopped but not ended: its connections stay open without answers.
    broker.signal("STOP");
    eventually("backpressure is seen", || number(&page(&service, "/counters"), "outstanding") == 4);
    let fetched = number(&page(&service, "/healthz"), "fetched");
    assert!(number(&page(&service, "/healthz"), "produced") < fetched);
    broker.signal("CONT");

    eventually("all that was fetched arrives", || {
        let health = page(&service, "/healthz");
        number(&health, "produced") >= fetched && number(&health, "consumed") >= fetched
    });
    assert_eq!(number(&page(&service, "/counters"), "outstanding_most"), 4, "never more than the bound");
    service.signal("TERM");
    let (code, logged) = service.end();
    assert_eq!(code, Some(0), "everything was confirmed before the end: {logged:#?}");
    for line in &logged {
        assert!(serde_json::from_str::<Value>(line).is_ok(), "logs that are no terminal's are JSON: {line}");
    }
}

#[test]
fn deliveries_that_fail_are_counted_and_tried_again() {
    let broker = Part::start(&["broker"]);
    let service = service(&broker.announced("broker"), &["--delivery-timeout", "1s", "--drain-limit", "60s"]);
    eventually("articles pass", || number(&page(&service, "/healthz"), "consumed") > 0);
    broker.signal("STOP");
    eventually("a delivery fails", || number(&page(&service, "/counters"), "retried") > 0);
    let fetched = number(&page(&service, "/healthz"), "fetched");
    broker.signal("CONT");
    eventually("all that was fetched arrives", || {
        let health = page(&service, "/healthz");
        number(&health, "produced") >= fetched && number(&health, "consumed") >= fetched
    });
    service.signal("TERM");
    let (code, logged) = service.end();
    assert_eq!(code, Some(0), "{logged:#?}");
    assert!(logged.iter().any(|line| line.contains("an article was not delivered")), "it is logged: {logged:#?}");
}

#[test]
fn a_drain_does_not_wait_for_a_batch_to_fill() {
    let broker = Part::start(&["broker"]);
    let lingering = ["--linger", "60s", "--delivery-timeout", "5m", "--drain-limit", "45s"];
    let service = service(&broker.announced("broker"), &lingering);
    eventually("articles wait for company", || number(&page(&service, "/counters"), "outstanding") > 0);
    assert_eq!(number(&page(&service, "/healthz"), "produced"), 0);
    service.signal("TERM");
    let signaled = Instant::now();
    let (code, logged) = service.end();
    assert_eq!(code, Some(0), "everything was flushed and confirmed: {logged:#?}");
    assert!(
        signaled.elapsed() < Duration::from_secs(30),
        "it took {:?}, nearly as long as the linger",
        signaled.elapsed()
    );
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let broker = Part::start(&["broker"]);
    let service = service(&broker.announced("broker"), &["--drain-limit", "5m", "--feed-interval", "100ms"]);
    eventually("articles pass", || number(&page(&service, "/healthz"), "consumed") > 0);
    broker.signal("STOP");
    eventually("something waits", || number(&page(&service, "/counters"), "outstanding") > 0);
    service.signal("TERM");
    service.wait_for_log("SIGTERM: draining");
    let signaled = Instant::now();
    service.signal("INT");
    let (code, logged) = service.end();
    broker.signal("CONT");
    assert_eq!(code, Some(130), "{logged:#?}");
    assert!(
        signaled.elapsed() < Duration::from_secs(60),
        "it took {:?}, and the drain has five minutes",
        signaled.elapsed()
    );
}

/// The text of a header of the dead letter.
fn header(message: &impl Message, key: &str) -> String {
    let headers = message.headers().expect("it has headers");
    let found = headers.iter().find(|header| header.key == key).and_then(|header| header.value);
    String::from_utf8(found.unwrap_or_else(|| panic!("no header {key}")).to_vec()).expect("text")
}

#[test]
fn messages_that_are_no_articles_go_to_the_dead_letter_topic_with_the_reason() {
    let broker = Part::start(&["broker"]);
    let servers = broker.announced("broker");
    let folder = Folder::new("poison");
    let member = Member::join(&servers, &folder, "record");
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &servers);

    let producer: BaseProducer = config.create().expect("a producer");
    let poisons: [&[u8]; 3] = [b"{\"id\": 7}", b"\xff\xfe no JSON", b""];
    for poison in poisons {
        let record = BaseRecord::to("latest-news").key("poison").payload(poison);
        producer.send(record).map_err(|(error, _)| error).expect("there is room");
    }
    producer.flush(PATIENCE).expect("the broker takes them");
    let produced = Part::start(&["produce", "--count", "10", "--bootstrap-servers", &servers]).end();
    assert_eq!(produced.0, Some(0), "{:#?}", produced.1);
    eventually("the articles after them arrive", || member.recorded().len() == 10);

    let consumer: BaseConsumer =
        config.set("group.id", "mourner").set("auto.offset.reset", "earliest").create().expect("a consumer");
    consumer.subscribe(&["latest-news-dead"]).expect("there is such a topic");
    let limit = Instant::now() + PATIENCE;
    let mut payloads = Vec::new();
    while payloads.len() < poisons.len() {
        assert!(Instant::now() < limit, "only {payloads:?}");
        let Some(letter) = consumer.poll(Duration::from_millis(200)) else { continue };
        let letter = letter.expect("the broker is there").detach();
        assert!(header(&letter, "reason").starts_with("it is not an article: "), "{:?}", header(&letter, "reason"));
        assert_eq!(header(&letter, "topic"), "latest-news");
        assert!(
            header(&letter, "offset").parse::<u64>().is_ok() && header(&letter, "partition").parse::<u64>().is_ok()
        );
        assert_eq!(letter.key(), Some(&b"poison"[..]));
        payloads.push(letter.payload().unwrap_or_default().to_vec());
    }
    payloads.sort();
    let mut expected = poisons.map(<[u8]>::to_vec);
    expected.sort();
    assert_eq!(payloads, expected, "unchanged");
    assert_eq!(member.leave(), Some(0));
}

/// A feed of three articles with a large second one, and from the third visit on a fourth.
fn feed_with_a_large_article() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let url = format!("http://{}/feed.xml", listener.local_addr().expect("it is bound"));
    let item = |name: &str, title: &str| {
        format!(
            "<item><guid isPermaLink=\"false\">{name}</guid><title>{title}</title>\
             <link>https://news.invalid/{name}</link><pubDate>Sat, 01 Jan 2000 00:00:00 +0000</pubDate></item>"
        )
    };
    // The longest title that the service accepts, in characters of four bytes.
    let items = [item("1", "Before"), item("2", &"𝔏".repeat(500)), item("3", "After"), item("4", "Later")];
    std::thread::spawn(move || {
        for (visit, mut connection) in listener.incoming().flatten().enumerate() {
            let shown = items[..if visit < 2 { 3 } else { 4 }].concat();
            let feed = format!("<rss version=\"2.0\"><channel><title>t</title>{shown}</channel></rss>");
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", feed.len());
            let mut request = [0; 4096];
            let _read = connection.read(&mut request);
            let _sent = connection.write_all(format!("{head}{feed}").as_bytes());
        }
    });
    url
}

#[test]
fn an_article_that_no_broker_accepts_is_counted_and_logged_and_the_others_arrive() {
    let broker = Part::start(&["broker"]);
    let feed = feed_with_a_large_article();
    let service = service(
        &broker.announced("broker"),
        &["--feed", &feed, "--feed-interval", "200ms", "--message-size-limit", "1500B", "--readers", "0"],
    );
    eventually("those before, after and later arrive", || {
        let health = page(&service, "/healthz");
        // A broker may deliver an article before it confirms it to the producer.
        number(&health, "consumed") == 3 && number(&health, "produced") == 3
    });
    let news = page(&service, "/latest-news");
    let mut titles: Vec<&str> = news["items"].as_array().expect("a list").iter().map(title).collect();
    titles.sort_unstable();
    assert_eq!(titles, ["After", "Before", "Later"]);

    let (health, counters) = (page(&service, "/healthz"), page(&service, "/counters"));
    assert_eq!((number(&health, "fetched"), number(&health, "produced")), (4, 3), "{health:#}");
    assert_eq!((number(&counters, "confirmed"), number(&counters, "undeliverable")), (3, 1), "{counters:#}");
    assert!(number(&health, "errors") >= 1, "{health:#}");
    service.signal("TERM");
    let (code, logged) = service.end();
    assert_eq!(code, Some(0), "what is given up does not hold up the end: {logged:#?}");
    let lines: Vec<_> = logged.iter().filter(|line| line.contains("cannot be published")).collect();
    assert!(lines.len() == 1 && lines[0].contains("MessageSizeTooLarge"), "once, with the reason: {logged:#?}");
}

fn title(article: &Value) -> &str {
    article["title"].as_str().expect("text")
}

#[test]
fn nonsense_is_refused_at_the_start_with_what_to_do() {
    let refused: [(&[&str], &str); 12] = [
        (&["--bootstrap-servers", "localhost"], "has no port; write host:port"),
        (&["--bootstrap-servers", "localhost:0"], "a port lies between 1 and 65535"),
        (&["--bootstrap-servers", ":9092,a:1"], "names no host"),
        (&["--acks", "leader"], "--idempotence on needs --acks all"),
        (&["--linger", "20s", "--delivery-timeout", "10s"], "choose a longer delivery timeout"),
        (&["--message-size-limit", "10B"], "write a size between"),
        (&["--outstanding", "0"], "between 1 and 100000 sends"),
        (&["--session-timeout", "1s"], "must be between 6s and 300s"),
        (&["--compression", "brotli"], "possible values: none, gzip, snappy, lz4"),
        (&["load", "--messages", "5000000"], "the embedded broker has room for"),
        (&["load", "api", "--url", "https://127.0.0.1/"], "only pages at http://"),
        (&["consume", "--record", "/nowhere/at/all"], "cannot write to /nowhere/at/all"),
    ];
    for (arguments, expected) in refused {
        // The default port may be in use, which would be refused first.
        let output = Command::new(program()).args(arguments).env("NEWS_API", "127.0.0.1:0").output().expect("it runs");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{arguments:?} was accepted");
        assert!(stderr.contains(expected), "{arguments:?} was refused with {stderr}");
    }
}

#[test]
fn the_load_command_prints_throughput_and_percentiles() {
    let broker = Part::start(&["broker"]);
    let servers = broker.announced("broker");
    let service = service(&servers, &["--readers", "0"]);
    let url = service.announced("news");
    let output = Command::new(program())
        .args(["load", "all", "--json", "--messages", "2000", "--bootstrap-servers", &servers])
        .args(["--url", &url, "--duration", "1s", "--rate", "50", "--connections", "4"])
        .output()
        .expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let results: Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    for (place, done) in [(0, 2000), (1, 2000), (2, 50)] {
        assert_eq!(results[place]["done"].as_u64(), Some(done), "{results:#}");
        assert_eq!(results[place]["failed"].as_u64(), Some(0), "{results:#}");
        assert!(results[place]["per_second"].as_f64().is_some_and(|rate| rate > 0.0), "{results:#}");
    }
    for place in [0, 2] {
        let latency = &results[place]["latency_us"];
        let all = ["p50", "p90", "p99", "p99_9", "max"].map(|name| number(latency, name));
        assert!(all.is_sorted() && all[0] > 0, "{latency:#}");
    }
}
