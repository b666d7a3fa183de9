//! The reference service as a process.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// The heading of the last line that the service prints at its start.
const LAST_ANNOUNCED: &str = "faults";

/// The running service. It is killed on drop.
pub(crate) struct Service {
    pub(crate) child: Child,
    announced: Vec<String>,
}

impl Service {
    /// Starts it on free ports, and waits for its first lines.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::start_for("60s", arguments)
    }

    /// Starts it with a time limit, after which it ends by itself.
    pub(crate) fn start_for(time: &str, arguments: &[&str]) -> Self {
        Self::run(Command::new(program()).args(["--for", time]).args(arguments))
    }

    /// Starts it with a given command.
    pub(crate) fn run(command: &mut Command) -> Self {
        let mut child = command
            .args(["--api", "127.0.0.1:0", "--diagnostics", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the service starts");
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines().map_while(Result::ok);
        let mut announced = Vec::new();
        for line in lines.by_ref() {
            let last = line.starts_with(LAST_ANNOUNCED);
            announced.push(line);
            if last {
                break;
            }
        }
        // The output must be read, or the service would block on a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let mut stderr = BufReader::new(child.stderr.take().expect("it is piped"));
        if !announced.last().is_some_and(|line| line.starts_with(LAST_ANNOUNCED)) {
            let mut message = String::new();
            let _read = stderr.read_to_string(&mut message);
            panic!("the service did not start: {message}");
        }
        // Messages of the preloaded library are passed on.
        let forward = |line: std::io::Result<String>| {
            if let Some(line) = line.ok().filter(|line| line.starts_with("soak:")) {
                println!("{line}");
            }
        };
        std::thread::spawn(move || stderr.lines().for_each(forward));
        Self { child, announced }
    }

    /// The address that it printed under a heading such as `diagnostics`.
    pub(crate) fn address(&self, heading: &str) -> SocketAddr {
        let address = self.announced.iter().find_map(|line| {
            line.strip_prefix(heading)?.trim().strip_prefix("http://")?.split(['/', ' ']).next()?.parse().ok()
        });
        address.unwrap_or_else(|| panic!("no address of {heading} in {:?}", self.announced))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended already.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// The program that `HOLDUP_NEWS_PIPELINE` names; without it, the one that cargo built for this test or bench.
pub(crate) fn program() -> PathBuf {
    std::env::var_os("HOLDUP_NEWS_PIPELINE").map_or_else(|| env!("CARGO_BIN_EXE_news_pipeline").into(), PathBuf::from)
}
