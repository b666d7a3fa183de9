//! Who may use the endpoint: rebound names, pages of other sites, tokens, other machines, and the Unix socket.

#[path = "../support/mod.rs"]
mod support;

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use holdup::check::{Check, Coverage};
use holdup::{Error, Print, Watch, WatchBuilder};
use support::http::{Answer, answer, raw};
use support::{DEADLINE, address_of, alone, wait_until};
use tracing::dispatcher::{self, Dispatch};

const TOKEN: &str = "0e5d5d1b8a8c4a5f9f57ad47ec1a8a72";

/// Paths of every kind: the page, data, a file, Go's, one that ends something, and one that does not exist.
const PATHS: [&str; 7] = [
    "/",
    "/debug/holdup/stalls",
    "/debug/holdup/page/uplot.js",
    "/debug/holdup/live",
    "/debug/pprof/cmdline",
    "/debug/holdup/profile/stop?name=x",
    "/unknown",
];

fn quiet() -> WatchBuilder {
    Watch::builder().print(Print::Never)
}

/// A request with these headers alone.
fn ask(address: SocketAddr, method: &str, path: &str, headers: &[&str]) -> Answer {
    raw(address, &head(method, path, headers))
}

fn head(method: &str, path: &str, headers: &[&str]) -> String {
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n{headers}\r\n")
}

fn endpoint_line(watch: &Watch) -> &Check {
    watch.self_check().checks.iter().find(|line| line.subject == "endpoint").expect("it has a line")
}

/// A file of a test, removed on drop.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str, mode: u32) -> Self {
        let path = std::env::temp_dir().join(format!("holdup-access-{name}-{}", std::process::id()));
        std::fs::write(&path, text).expect("is written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("is ours");
        Self(path)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _gone = std::fs::remove_file(&self.0);
    }
}

fn assert_refused(answer: &Answer, status: u16, parts: &[&str]) {
    let text = answer.text();
    assert_eq!(answer.status, status, "{text}");
    assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(answer.header("access-control-allow-origin"), None);
    assert!(text.lines().count() == 1 && parts.iter().all(|part| text.contains(part)), "{parts:?}: {text}");
}

#[test]
fn rebound_names_are_refused() {
    let _alone = alone();
    let watch = quiet().listen("127.0.0.1:0").allow_host("diagnostics.example").start().expect("starts");
    let address = address_of(&watch);
    let port = address.port();
    for path in PATHS {
        for (method, host) in [("GET", format!("evil.example:{port}")), ("POST", "127.0.0.1.evil.example".to_owned())] {
            let name = host.split(':').next().expect("a name");
            let refused = ask(address, method, path, &[&format!("Host: {host}")]);
            assert_refused(&refused, 421, &[name, "use an IP address or localhost", "WatchBuilder::allow_host"]);
        }
    }
    for host in ["127.0.0.1", "[::1]:6060", "localhost:1", "shop.localhost", "diagnostics.example:8443", "10.0.0.1"] {
        let answer = ask(address, "GET", "/debug/holdup/workers", &[&format!("Host: {host}")]);
        assert_eq!(answer.status, 200, "{host}: {}", answer.text());
        assert_eq!(answer.header("cross-origin-resource-policy"), Some("same-origin"));
    }
    assert_refused(&ask(address, "GET", "/", &[]), 400, &["Host"]);
    assert_refused(&ask(address, "GET", "/", &["Host: localhost", "Host: evil.example"]), 400, &["Host"]);
    assert_refused(&ask(address, "GET", "http://evil.example/", &["Host: localhost"]), 421, &["evil.example"]);
}

#[test]
fn pages_of_other_sites_can_end_nothing_and_read_nothing() {
    let _alone = alone();
    let watch = quiet().listen("127.0.0.1:0").start().expect("starts");
    let address = address_of(&watch);
    let host = format!("Host: {address}");
    let stop = "/debug/holdup/profile/stop?name=mine";
    let mut recording = TcpStream::connect(address).expect("connects");
    recording.set_read_timeout(Some(DEADLINE)).expect("is set");
    let path = "/debug/holdup/profile?mode=stalled&seconds=60&format=json&name=mine";
    recording.write_all(head("GET", path, &[&host]).as_bytes()).expect("is sent");
    let own = [host.as_str(), "Sec-Fetch-Site: same-origin", &format!("Origin: http://{address}")];
    let foreign: [&[&str]; 6] = [
        &["Origin: https://evil.example"],
        &["Origin: null"],
        &[&format!("Origin: http://{}:1", address.ip())],
        &["Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors"],
        &["Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: cors"],
        &["Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"],
    ];
    for headers in foreign {
        let refused = ask(address, "POST", stop, &[&[host.as_str()], headers].concat());
        assert_refused(&refused, 403, &["a page of"]);
    }
    let preflight = ["Origin: https://evil.example", "Access-Control-Request-Method: POST", &host];
    assert_refused(&ask(address, "OPTIONS", stop, &preflight), 403, &["https://evil.example"]);
    let image = [host.as_str(), "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: image"];
    assert_refused(&ask(address, "GET", "/debug/holdup/stalls.svg", &image), 403, &["open the endpoint's address"]);
    let link = [host.as_str(), "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"];
    assert_eq!(ask(address, "GET", "/", &link).status, 200, "a link may lead to the page");
    // Only its own page ends the recording, which none of the others did.
    wait_until("it can be ended", || ask(address, "POST", stop, &own).status == 200);
    assert_eq!(answer(recording).status, 200);
}

#[test]
fn a_token_is_required_everywhere() {
    let _alone = alone();
    let file = File::new("required", &format!("{TOKEN}\n"), 0o600);
    for listen in ["127.0.0.1:0", "0.0.0.0:0"] {
        let builder = quiet().listen(listen).token_file(&file.0).insecure_no_token();
        let watch = builder.require_endpoint().start().expect("starts");
        let address = SocketAddr::from(([127, 0, 0, 1], address_of(&watch).port()));
        let line = endpoint_line(&watch);
        assert_eq!(line.coverage, Coverage::Full, "{line}");
        assert!(line.detail.ends_with(", with a token"), "{line}");
        for path in PATHS {
            let missing = ask(address, "GET", path, &["Host: localhost"]);
            assert_refused(&missing, 401, &["needs its token", "--token-file FILE", "Authorization: Bearer TOKEN"]);
            assert_eq!(missing.header("www-authenticate"), Some("Basic realm=\"holdup\", charset=\"UTF-8\""));
            assert_eq!(missing.header("x-go-pprof"), Some("1"), "the pprof tool prints the sentence");
            let other = format!("{}3", &TOKEN[..TOKEN.len() - 1]);
            for wrong in [other.as_str(), &TOKEN[1..], &format!("{TOKEN}0"), ""] {
                let refused =
                    ask(address, "POST", path, &["Host: localhost", &format!("Authorization: Bearer {wrong}")]);
                assert_refused(&refused, 401, &["not the token", "--token-file FILE"]);
                assert!(!refused.text().contains(TOKEN), "{}", refused.text());
            }
        }
        for right in
            ["Bearer 0e5d5d1b8a8c4a5f9f57ad47ec1a8a72", "Basic eDowZTVkNWQxYjhhOGM0YTVmOWY1N2FkNDdlYzFhOGE3Mg=="]
        {
            // With the token, any name is allowed.
            let headers = ["Host: prod-3.example", &format!("Authorization: {right}")];
            let answer = ask(address, "GET", "/debug/holdup/stalls", &headers);
            assert_eq!(answer.status, 200, "{}", answer.text());
            let foreign = [&headers[..], &["Origin: https://evil.example"]].concat();
            assert_refused(&ask(address, "GET", "/debug/holdup/stalls", &foreign), 403, &["https://evil.example"]);
        }
        assert_eq!(ask(address, "GET", "/healthz", &["Host: prod-3.example"]).text(), "ok\n");
    }
}

#[test]
fn beyond_loopback_nothing_is_served_without_a_token() {
    let _alone = alone();
    let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("loopback").port();
    let listen = format!("0.0.0.0:{port}");
    let watch = quiet().listen(&listen).start().expect("the service goes on");
    assert_eq!(watch.endpoint(), None);
    let line = endpoint_line(&watch);
    assert_eq!(line.coverage, Coverage::Missing);
    for part in
        [listen.as_str(), "there is no token", "HOLDUP_TOKEN_FILE", "listen on 127.0.0.1", "insecure_no_token()"]
    {
        assert!(line.to_string().contains(part), "{part}: {line}");
    }
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "nothing listens");
    let error = quiet().listen(&listen).require_endpoint().start().expect_err("it was required");
    assert!(
        matches!(error, Error::EndpointAccess { .. }) && error.to_string().contains("insecure_no_token()"),
        "{error}"
    );
    drop(watch);
    let open = quiet().listen(&listen).insecure_no_token().start().expect("starts");
    let line = endpoint_line(&open);
    assert_eq!(line.coverage, Coverage::Limited);
    assert!(line.detail.contains("answers anybody who can reach this machine"), "{line}");
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    assert_eq!(ask(address, "GET", "/debug/holdup/stalls", &["Host: 127.0.0.1"]).status, 200);
    assert_refused(&ask(address, "GET", "/", &["Host: evil.example"]), 421, &["evil.example"]);
}

#[test]
fn a_bad_token_file_says_what_to_do() {
    let _alone = alone();
    let short = File::new("short", "secret\n", 0o600);
    let empty = File::new("empty", "", 0o600);
    let absent = std::env::temp_dir().join("holdup-access-absent");
    for (path, flaw) in [(&short.0, "6 characters"), (&empty.0, "is empty"), (&absent, "cannot be read")] {
        let watch = quiet().listen("127.0.0.1:0").token_file(path).start().expect("the service goes on");
        assert_eq!(watch.endpoint(), None);
        let line = endpoint_line(&watch).to_string();
        let shown = path.display().to_string();
        for part in [flaw, shown.as_str(), "openssl rand -hex 32"] {
            assert!(line.contains(part), "{part}: {line}");
        }
        assert!(!line.contains("secret"), "{line}");
        let required = quiet().listen("127.0.0.1:0").token_file(path).require_endpoint().start();
        let error = required.expect_err("it was required").to_string();
        assert!(error.contains(flaw) && error.contains("openssl rand -hex 32"), "{error}");
    }
}

/// What a watch says to the program's subscriber while it starts.
fn said_by(builder: WatchBuilder) -> String {
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);
    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = Dispatch::new(tracing_subscriber::fmt().with_writer(move || writer.clone()).finish());
    let watch = dispatcher::with_default(&subscriber, || builder.start()).expect("starts");
    watch.shutdown_timeout(DEADLINE).expect("everything is said");
    String::from_utf8_lossy(&lines.0.lock().expect("no panic")).into_owned()
}

#[test]
fn a_token_that_others_can_read_is_a_warning() {
    let _alone = alone();
    for (mode, is_said) in [(0o644, true), (0o640, true), (0o600, false), (0o400, false)] {
        let file = File::new("mode", TOKEN, mode);
        let said = said_by(Watch::builder().listen("127.0.0.1:0").token_file(&file.0));
        let remedy = format!("run chmod 600 {}", file.0.display());
        assert_eq!(said.contains(&remedy), is_said, "{mode:o}: {said}");
        assert!(!said.contains(TOKEN), "{said}");
    }
}

/// Runs the next test in another process with these variables. Returns the lines that it prints.
fn with_environment(variables: &[(&str, &str)]) -> String {
    let mut command = Command::new(std::env::current_exe().expect("it exists"));
    command.args(["--exact", "a_watch_with_the_environment_of_another_test", "--ignored", "--nocapture"]);
    let output = command.envs(variables.iter().copied()).output().expect("it runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
#[ignore = "another test runs it with an environment"]
fn a_watch_with_the_environment_of_another_test() {
    let file = File::new("environment", "a-token-of-the-builder", 0o600);
    let watch = quiet().listen("127.0.0.1:0").token_file(&file.0).start().expect("starts");
    println!("{}", endpoint_line(&watch));
    let Some(address) = watch.endpoint().and_then(holdup::EndpointAddress::tcp) else { return };
    for token in [TOKEN, "a-token-of-the-builder"] {
        let headers = ["Host: localhost", &format!("Authorization: Bearer {token}")];
        println!("{token}: {}", ask(address, "GET", "/", &headers).status);
    }
}

#[test]
fn the_environment_takes_precedence() {
    let file = File::new("variable", TOKEN, 0o600);
    let path = file.0.to_string_lossy().into_owned();
    for variables in [[("HOLDUP_TOKEN", TOKEN)], [("HOLDUP_TOKEN_FILE", path.as_str())]] {
        let printed = with_environment(&variables);
        assert!(printed.contains(&format!("{TOKEN}: 200")), "{printed}");
        assert!(printed.contains("a-token-of-the-builder: 401"), "{printed}");
    }
    for (variables, flaw) in [
        ([("HOLDUP_TOKEN", "")], "the token in HOLDUP_TOKEN is empty"),
        ([("HOLDUP_TOKEN", "short")], "the token in HOLDUP_TOKEN has 5 characters"),
        ([("HOLDUP_TOKEN_FILE", "/nonexistent/token")], "the token file /nonexistent/token cannot be read"),
    ] {
        let printed = with_environment(&variables);
        assert!(printed.contains("none: ") && printed.contains(flaw), "{printed}");
        assert!(!printed.contains(": 200"), "{printed}");
    }
}

fn over_socket(path: &Path, request: &str) -> Answer {
    let mut stream = UnixStream::connect(path).expect("connects");
    stream.set_read_timeout(Some(DEADLINE)).expect("is set");
    stream.write_all(request.as_bytes()).expect("is taken");
    answer(stream)
}

#[test]
fn a_unix_socket_is_for_the_user_of_the_process() {
    let _alone = alone();
    let folder = std::env::temp_dir().join(format!("holdup-access-socket-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder of our own");
    let path = folder.join("my.sock");
    let listen = format!("unix:{}", path.display());
    // A process that was killed leaves its socket.
    drop(UnixListener::bind(&path).expect("it listens"));
    let watch = quiet().listen(&listen).require_endpoint().start().expect("nobody listens there");
    assert_eq!(watch.endpoint().map(ToString::to_string), Some(listen.clone()));
    assert_eq!(std::fs::metadata(&path).expect("it exists").mode() & 0o777, 0o600);
    let line = endpoint_line(&watch);
    assert_eq!((line.coverage, line.detail.contains(&listen)), (Coverage::Full, true), "{line}");
    let answer = over_socket(&path, &head("GET", "/debug/holdup/workers", &["Host: whatever.example"]));
    assert_eq!(answer.status, 200, "browsers cannot reach it: {}", answer.text());
    let foreign = head("GET", "/", &["Host: whatever.example", "Origin: https://evil.example"]);
    assert_refused(&over_socket(&path, &foreign), 403, &["https://evil.example"]);

    let second = quiet().listen(&listen).start().expect("the service goes on");
    assert_eq!(second.endpoint(), None);
    let line = endpoint_line(&second).to_string();
    assert!(line.contains("in use") && line.contains("ss -xlp"), "{line}");
    let required = quiet().listen(&listen).require_endpoint().start();
    assert!(matches!(required, Err(Error::Listen { .. })), "{required:?}");
    let file = folder.join("file");
    std::fs::write(&file, "data").expect("is written");
    let over_a_file = quiet().listen(format!("unix:{}", file.display())).start().expect("the service goes on");
    assert!(endpoint_line(&over_a_file).detail.contains("no socket"), "{}", endpoint_line(&over_a_file));
    assert_eq!(std::fs::read_to_string(&file).expect("it is whole"), "data");
    assert_eq!(over_socket(&path, &head("GET", "/healthz", &["Host: a"])).status, 200, "the first one still serves");
    drop((watch, second, over_a_file));
    std::fs::remove_file(&file).expect("it is ours");
    let left: Vec<_> = std::fs::read_dir(&folder).expect("it exists").flatten().map(|entry| entry.path()).collect();
    assert!(left.is_empty(), "{left:?}");
    std::fs::remove_dir(&folder).expect("it is empty");
}

#[test]
fn an_event_stream_is_not_for_other_pages() {
    let _alone = alone();
    let watch = quiet().listen("127.0.0.1:0").start().expect("starts");
    let address = address_of(&watch);
    let events = ["Host: localhost", "Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: cors", "Accept: text/event-stream"];
    assert_refused(&ask(address, "GET", "/debug/holdup/live", &events), 403, &["a page of another site"]);
    let mut own = TcpStream::connect(address).expect("connects");
    own.set_read_timeout(Some(Duration::from_secs(20))).expect("is set");
    own.write_all(head("GET", "/debug/holdup/live", &["Host: localhost", "Sec-Fetch-Site: same-origin"]).as_bytes())
        .expect("is sent");
    let mut start = [0; 15];
    std::io::Read::read_exact(&mut own, &mut start).expect("it answers");
    assert_eq!(&start, b"HTTP/1.1 200 OK");
}
