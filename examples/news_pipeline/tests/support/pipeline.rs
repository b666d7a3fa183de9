//! Single commands of the reference service as processes, and brokers.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use super::service::program;

/// Upper bound for every wait. Groups, restarts and an unoptimized broker are slow.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

/// How long a broker waits for a heartbeat of a member.
pub(crate) const SESSION_TIMEOUT: Duration = Duration::from_secs(6);

/// Waits until a condition holds.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let limit = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < limit, "not in {PATIENCE:?}: {what}");
        sleep(Duration::from_millis(50));
    }
}

/// A running process with its output so far. It is killed on drop.
pub(crate) struct Part {
    child: Child,
    printed: Printed,
    logged: Printed,
    readers: Vec<JoinHandle<()>>,
}

type Printed = Arc<Mutex<Vec<String>>>;

impl Part {
    /// Starts the reference service with these arguments.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(program());
        command.args(arguments);
        Self::spawn(command)
    }

    fn spawn(mut command: Command) -> Self {
        // The Kafka settings of the environment must not affect the test.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("NEWS_") || name == OsStr::new("KAFKA_BOOTSTRAP_SERVERS") {
                command.env_remove(name);
            }
        }
        command.env_remove("RUST_LOG").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let (printed, logged) = (Printed::default(), Printed::default());
        let readers = vec![
            keep_lines(child.stdout.take().expect("it is piped"), &printed),
            keep_lines(child.stderr.take().expect("it is piped"), &logged),
        ];
        Self { child, printed, logged, readers }
    }

    /// The lines of standard error so far.
    pub(crate) fn logged(&self) -> Vec<String> {
        self.logged.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn wait_for_log(&self, text: &str) {
        let limit = Instant::now() + PATIENCE;
        while !self.logged().iter().any(|line| line.contains(text)) {
            assert!(Instant::now() < limit, "it did not log {text:?} but {:#?}", self.logged());
            sleep(Duration::from_millis(20));
        }
    }

    /// The value after a heading that it prints at its start, such as `broker` or `news`.
    pub(crate) fn announced(&self, heading: &str) -> String {
        let limit = Instant::now() + PATIENCE;
        loop {
            let printed = self.printed.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if let Some(value) = printed.iter().find_map(|line| line.strip_prefix(heading)?.split_whitespace().next()) {
                return value.to_owned();
            }
            assert!(Instant::now() < limit, "it announced no {heading} but {printed:#?}; {:#?}", self.logged());
            sleep(Duration::from_millis(20));
        }
    }

    /// Sends a signal, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status();
        assert!(sent.expect("`kill` is there").success(), "the signal {name} was not sent");
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("it is our child").is_none()
    }

    /// Waits for its end. Returns its exit code (`None` after a signal) and its log.
    pub(crate) fn end(mut self) -> (Option<i32>, Vec<String>) {
        let limit = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                for reader in self.readers.drain(..) {
                    reader.join().expect("reading lines does not panic");
                }
                return (status.code(), self.logged());
            }
            assert!(Instant::now() < limit, "it does not end; it logged {:#?}", self.logged());
            sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // It may have ended already.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
        if std::thread::panicking() {
            eprintln!("process {} logged:\n{}", self.child.id(), self.logged().join("\n"));
        }
    }
}

fn keep_lines(stream: impl Read + Send + 'static, lines: &Printed) -> JoinHandle<()> {
    let lines = Arc::clone(lines);
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
    })
}

/// A temporary folder of the test, removed on drop.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        let _nothing_there = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder can be made");
        Self(folder)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(&self.0);
    }
}

/// A member of the group that records the consumed articles.
pub(crate) struct Member {
    pub(crate) part: Part,
    record: PathBuf,
}

impl Member {
    pub(crate) fn join(servers: &str, folder: &Folder, name: &str) -> Self {
        let record = folder.path().join(name);
        let file = record.to_str().expect("the path is text");
        let part = Part::start(&[
            "consume",
            "--record",
            file,
            "--bootstrap-servers",
            servers,
            "--session-timeout",
            &format!("{}s", SESSION_TIMEOUT.as_secs()),
            "--drain-limit",
            "30s",
        ]);
        Self { part, record }
    }

    /// The recorded numbers, with repetitions.
    pub(crate) fn recorded(&self) -> Vec<u64> {
        let text = fs::read_to_string(&self.record).unwrap_or_default();
        // A killed process may leave half a line at the end.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| line.parse().expect("a number a line")).collect()
    }

    /// Sends SIGTERM, which makes it commit, and returns the exit code.
    pub(crate) fn leave(self) -> Option<i32> {
        self.part.signal("TERM");
        self.part.end().0
    }
}

/// The numbers below `count` that no record contains.
pub(crate) fn missing(count: u64, records: &[&[u64]]) -> Vec<u64> {
    let seen: BTreeSet<u64> = records.iter().flat_map(|record| record.iter().copied()).collect();
    (0..count).filter(|number| !seen.contains(number)).collect()
}

/// Tansu, an external Kafka broker with SQLite storage.
pub(crate) struct Tansu {
    program: PathBuf,
    folder: Folder,
    port: u16,
    part: Option<Part>,
}

impl Tansu {
    /// Starts it. `None` and a message if it is not installed; a panic if `HOLDUP_REQUIRE_BROKER` is set.
    pub(crate) fn start(name: &str) -> Option<Self> {
        let mut tansu = Self::installed(name)?;
        tansu.run();
        Some(tansu)
    }

    /// The installed broker, not yet running.
    pub(crate) fn installed(name: &str) -> Option<Self> {
        let folders = std::env::var_os("PATH").unwrap_or_default();
        let Some(program) =
            std::env::split_paths(&folders).map(|folder| folder.join("tansu")).find(|path| path.is_file())
        else {
            let message = "NOT TESTED: the external broker is not installed; run scripts/install_broker.sh";
            assert!(std::env::var_os("HOLDUP_REQUIRE_BROKER").is_none(), "{message}");
            // Not with `eprintln`, which the test harness captures.
            writeln!(std::io::stderr(), "\n{message}\n").expect("standard error is writable");
            return None;
        };
        let port =
            TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port is free").port();
        Some(Self { program, folder: Folder::new(name), port, part: None })
    }

    pub(crate) fn servers(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Starts it and waits until it answers. It keeps its stored messages.
    pub(crate) fn run(&mut self) {
        let address = format!("tcp://{}", self.servers());
        let mut command = Command::new(&self.program);
        // The path of the database is relative to the working directory.
        command.current_dir(self.folder.path()).args(["broker", "--storage-engine", "sqlite://tansu.db"]).args([
            "--listener-url",
            &address,
            "--advertised-listener-url",
            &address,
        ]);
        let part = self.part.insert(Part::spawn(command));
        let limit = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(part.is_running(), "tansu ended: {:#?}", part.logged());
            assert!(Instant::now() < limit, "tansu does not answer: {:#?}", part.logged());
            sleep(Duration::from_millis(50));
        }
    }

    /// Kills it.
    pub(crate) fn kill(&mut self) {
        self.part = None;
    }
}
